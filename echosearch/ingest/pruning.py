"""What an ingest lets go of: videos whose files are gone, where asked, and failures that are true no more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from echosearch.errors import BadOption
from echosearch.files import is_gone
from echosearch.index import Writer
from echosearch.ingest.adding import MediaFile
from echosearch.types import Failure
from echosearch.video import media_path


def vanished(writer: Writer, there: Sequence[Path], sources: Sequence[Path], yes: bool) -> list[int]:
    """Live videos below the sources whose files are gone. BadOption when that is more than a tenth, unless said yes."""
    found = set(there)
    folders = [media_path(source) for source in sources]
    with writer.snapshot() as snapshot:
        places = snapshot.catalog.files.places()
    below = {
        video_id: path
        for video_id, (_, path) in places.items()
        if any(folder == path or folder in path.parents for folder in folders)
    }
    gone = [video_id for video_id, path in below.items() if path not in found and is_gone(path)]
    if len(gone) > len(below) / 10 and not yes:
        raise BadOption(
            f"{len(gone)} of {len(below)} videos below {', '.join(map(str, folders))} are gone; "
            "if this is intended, and no disk is missing, repeat with --prune --yes"
        )
    return gone


def let_go(writer: Writer, gone: Sequence[int], failed: Sequence[Failure], sources: Sequence[Path]) -> int:
    """Delete videos whose files were gone, but for those found elsewhere since, and forget outdated failures.

    Those are failures below the sources, of files that are as they were when embedded, or gone. Gives the number of
    videos deleted.
    """
    folders = {media_path(source) for source in sources}
    paths = [path for failure in failed if folders & {path := Path(failure.path), *path.parents}]
    with writer.snapshot() as snapshot:
        pruned = [id_ for id_, (_, path) in snapshot.catalog.files.places(gone).items() if is_gone(path)]
        known = snapshot.catalog.files.known(paths)

    def is_outdated(path: Path) -> bool:
        if path in known:
            now = MediaFile.at(path.parent, path)
            return (known[path].size_bytes, known[path].mtime_ns) == (now.size_bytes, now.mtime_ns)
        return is_gone(path) and not os.path.lexists(path)

    outdated = [path for path in paths if is_outdated(path)]
    if pruned or outdated:
        with writer.transaction() as transaction:
            transaction.deleted.add(pruned, on_purpose=False)
            transaction.failures.forget(outdated)
    return len(pruned)
