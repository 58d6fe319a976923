"""Taking videos out of an index, back in, and saying that they lie elsewhere. Embeds nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echosearch.errors import InputError, UnknownVideo
from echosearch.store import Store, View, Writer
from echosearch.video import media_path


def delete_videos(
    index_path: Path,
    videos: Sequence[int | Path],
    study: str | None = None,
    patient: str | None = None,
    undelete: bool = False,
    wait_seconds: float = 0.0,
) -> dict[str, Any]:
    """Delete videos by id, path, study or patient, all in one commit; or take their deletion back.

    UnknownVideo when one of them is not there; then nothing is done.
    """
    with Store(index_path).writer(wait_seconds) as writer:
        done: dict[str, Any] = {"index": str(index_path)}
        if undelete:
            back, to_ingest = writer.undelete(_buried(writer, videos, study, patient))
            done |= {"undeleted": back, "to_ingest": to_ingest}
        else:
            with writer.view() as view:
                wanted = _live(view, videos, study, patient)
            writer.delete(wanted)
            done["deleted"] = sorted(wanted)
        with writer.view() as view:
            done["generation"] = view.generation
    return done


def compact_index(index_path: Path, wait_seconds: float = 0.0) -> dict[str, Any]:
    """Rewrite segments without the vectors of deleted videos, and merge small ones."""
    with Store(index_path).writer(wait_seconds) as writer:
        report = writer.compact()
        writer.finish()
        with writer.view() as view:
            return {"index": str(index_path), "generation": view.generation} | report


def move_roots(index_path: Path, old: Path, new: Path, wait_seconds: float = 0.0) -> int:
    """Say that the videos below `old` lie below `new` now; gives the number of folders of the index that changed."""
    folders = [Path(os.path.normpath(folder.expanduser().absolute())) for folder in (old, new)]
    with Store(index_path).writer(wait_seconds) as writer:
        changed = writer.rename_root(*folders)
        with writer.view() as view:
            roots = view.catalog.roots()
    if not changed:
        raise InputError(f"no folder of the index lies at or below {folders[0]}; it has: {', '.join(map(str, roots))}")
    return changed


def _live(view: View, videos: Sequence[int | Path], study: str | None, patient: str | None) -> set[int]:
    wanted: set[int] = set()
    for video in videos:
        if isinstance(video, int):
            if not view.catalog.places([video]):
                raise UnknownVideo(f"there is no video {video} in this index; nothing was deleted")
            wanted.add(video)
        else:
            path = media_path(video)
            known = view.catalog.known_files([path]).get(path)
            if known is None:
                raise UnknownVideo(f"{path} is not in this index; nothing was deleted")
            wanted.add(known.video_id)
    for name, value in (("study", study), ("patient", patient)):
        if value is not None:
            found = view.catalog.ids_where(**{name: value})
            if not found:
                raise UnknownVideo(f"there is no video of {name} {value!r} in this index; nothing was deleted")
            wanted |= found
    return wanted


def _buried(writer: Writer, videos: Sequence[int | Path], study: str | None, patient: str | None) -> set[int]:
    wanted: set[int] = set()
    with writer.view() as view:
        for video in videos:
            paths = [] if isinstance(video, int) else [media_path(video)]
            found = view.catalog.buried_ids(paths) if paths else view.catalog.buried_where() & {video}
            if not found:
                raise UnknownVideo(f"{video} was not deleted from this index; nothing was undeleted")
            wanted |= found
        for name, value in (("study", study), ("patient", patient)):
            if value is not None:
                wanted |= view.catalog.buried_where(**{name: value})
    if not wanted:
        raise UnknownVideo("nothing of that was deleted from this index")
    return wanted
