"""What an index's commands write for the user. Knows what is to be kept from it: the sources of the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from echosearch.files import Output
from echosearch.store.view import Views


def output_of(
    store: Views, path: Path, what: str, suffix: str, force: bool | None = False, inputs: Sequence[Path] = ()
) -> Output:
    """The checked output, over no file of the index's source folders, and over none of `inputs`. Errors as of `Output`.

    Where a source folder has links to files elsewhere, these are kept too.
    """
    with store.catalog_only() as catalog:
        videos = [video for _, video in catalog.places().values()] if force else []
        stills = [video for video in videos if video.suffix.lower() == suffix]  # only they could be meant
        return Output(Path(path), what, suffix, (*catalog.roots(), *inputs, *stills), force)
