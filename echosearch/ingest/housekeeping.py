"""Taking videos out of an index, back in, and saying that they lie elsewhere. Embeds nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from echosearch.errors import InputError, UnknownVideo
from echosearch.files import absolute
from echosearch.index import CatalogReader, Store, compact
from echosearch.types import Answer
from echosearch.video import media_path

Wanted = Sequence[int | Path]


@dataclass(frozen=True, slots=True)
class NamedVideo:
    """An id and the path at which the index has it."""

    video_id: int
    path: str


@dataclass(frozen=True, slots=True)
class Deletion(Answer):
    """The `videos` that were meant, and which of them were `deleted`: in a dry run none."""

    index: str
    generation: int
    dry_run: bool
    deleted: tuple[int, ...]
    videos: tuple[NamedVideo, ...]


@dataclass(frozen=True, slots=True)
class Undeletion(Answer):
    """Ids of the videos that are live again, and of those that are not.

    `to_ingest` have no vectors any more and come back when their folder is ingested; of `path_taken` another video has
    the path, so they stay deleted.
    """

    index: str
    generation: int
    undeleted: tuple[int, ...]
    to_ingest: tuple[int, ...]
    path_taken: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Compaction(Answer):
    """Numbers of segments before and now, and of deleted videos whose vectors were dropped."""

    index: str
    generation: int
    segments_before: int
    segments: int
    rows_dropped: int
    notes: tuple[str, ...]


def delete_videos(
    index_path: Path,
    videos: Wanted,
    study: str | None = None,
    patient: str | None = None,
    wait_seconds: float = 0.0,
    dry_run: bool = False,
) -> Deletion:
    """Delete videos by id, path, study or patient, all in one commit; what is known of them stays for `undelete`.

    A dry run only says which. UnknownVideo when one of them is not there; then nothing is done.
    """
    store = Store(index_path)
    with nullcontext(store) if dry_run else store.writer(wait_seconds) as opened:
        with opened.snapshot() as snapshot:
            chosen = _live(snapshot.catalog, videos, study, patient)
        if not isinstance(opened, Store):
            opened.delete(chosen)
        with opened.snapshot() as snapshot:
            generation = snapshot.generation
    return Deletion(
        index=str(index_path),
        generation=generation,
        dry_run=dry_run,
        deleted=() if dry_run else tuple(sorted(chosen)),
        videos=tuple(NamedVideo(video_id, str(path)) for video_id, path in sorted(chosen.items())),
    )


def undelete_videos(
    index_path: Path,
    videos: Wanted,
    study: str | None = None,
    patient: str | None = None,
    wait_seconds: float = 0.0,
) -> Undeletion:
    """Take deletions back, with all that was known of the videos: by id, path, study or patient, in one commit.

    UnknownVideo when one of them was not deleted.
    """
    with Store(index_path).writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            chosen = _deleted(snapshot.catalog, videos, study, patient)
        with writer.transaction() as transaction:
            back, to_ingest, taken = transaction.deleted.restore(chosen)
        with writer.snapshot() as snapshot:
            generation = snapshot.generation
    return Undeletion(str(index_path), generation, tuple(back), tuple(to_ingest), tuple(taken))


def compact_index(index_path: Path, wait_seconds: float = 0.0) -> Compaction:
    """Rewrite segments without the vectors of deleted videos, and merge small ones."""
    with Store(index_path).writer(wait_seconds) as writer:
        report = compact(writer)
        writer.finish()
        with writer.snapshot() as snapshot:
            return Compaction(str(index_path), snapshot.generation, **report)


def move_roots(index_path: Path, old: Path, new: Path, wait_seconds: float = 0.0) -> int:
    """Say that the videos below `old` lie below `new` now; gives the number of folders of the index that changed."""
    folders = [Path(os.path.normpath(absolute(folder))) for folder in (old, new)]
    with Store(index_path).writer(wait_seconds) as writer:
        with writer.transaction() as transaction:
            changed = transaction.files.rename_root(*folders)
        with writer.snapshot() as snapshot:
            roots = snapshot.catalog.roots.all()
    if not changed:
        raise InputError(f"no folder of the index lies at or below {folders[0]}; it has: {', '.join(map(str, roots))}")
    return changed


def _live(catalog: CatalogReader, videos: Wanted, study: str | None, patient: str | None) -> dict[int, Path]:
    """The path of each live video that is meant, by id. UnknownVideo when one of them is not there."""
    wanted: set[int] = set()
    for video in videos:
        if isinstance(video, int):
            if not catalog.files.places([video]):
                raise UnknownVideo(f"there is no video {video} in this index; nothing was deleted")
            wanted.add(video)
        else:
            path = media_path(video)
            known = catalog.files.known([path]).get(path)
            if known is None:
                raise UnknownVideo(f"{path} is not in this index; nothing was deleted")
            wanted.add(known.video_id)
    if study is not None or patient is not None:
        whose = catalog.deleted.whose(study, patient)
        found = catalog.videos.ids_where(study=study, patient=patient)
        if not found:
            raise UnknownVideo(f"there is no video of {whose} in this index; nothing was deleted")
        wanted |= found
    return {video_id: path for video_id, (_, path) in catalog.files.places(wanted).items()}


def _deleted(catalog: CatalogReader, videos: Wanted, study: str | None, patient: str | None) -> set[int]:
    """The ids that were deleted on purpose and are meant. UnknownVideo when one of them was not."""
    wanted: set[int] = set()
    for video in videos:
        if isinstance(video, int):
            found = catalog.deleted.ids() & {video}
        else:
            found = set(catalog.deleted.at([media_path(video)]).get(media_path(video), {}))
        if not found:
            raise UnknownVideo(f"{video} was not deleted from this index; nothing was undeleted")
        wanted |= found
    if study is not None or patient is not None:
        whose = catalog.deleted.whose(study, patient)
        if not (found := catalog.deleted.ids(study=study, patient=patient)):
            raise UnknownVideo(f"no video of {whose} was deleted from this index; nothing was undeleted")
        wanted |= found
    return wanted
