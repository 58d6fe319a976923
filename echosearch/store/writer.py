"""The one process that changes an index: batches, deletions, merging, FAISS. Knows no model and no video file."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echosearch.catalog import (
    AttributeType,
    Catalog,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    SweepKey,
)
from echosearch.config import GRACE_SECONDS, MERGE_FROM, REWRITE_ROWS, SMALL_SEGMENT
from echosearch.store.lock import named_disk_errors
from echosearch.store.manifest import Manifest
from echosearch.store.view import CATALOG, Views, newest_ann
from echosearch.types import Numerics
from echosearch.vectors import (
    FaissIndex,
    Segment,
    SegmentRows,
    StoredVideo,
    write_segment,
)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one commit brings: videos (their ids are given by the commit), failures, and what is new of known bytes.

    `touched` have another time, `moved` (root, path) another place.
    """

    new: Sequence[tuple[NewVideo, StoredVideo]] = ()
    failed: Sequence[FailedFile] = ()
    touched: Sequence[KnownFile] = ()
    moved: Sequence[tuple[KnownFile, Path, Path]] = ()
    changed: Sequence[MetadataChange] = ()


class Writer(Views):
    """The one process that changes an index, while it holds the lock. Made by `Store.writer`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest, Catalog(path / CATALOG, writable=True))
        self._remove_orphans()

    def declare_attributes(self, types: Mapping[str, AttributeType]) -> None:
        """Make room for a manifest's columns. BadManifest when text would go among numbers."""
        with self.view() as view:
            known = {column.name: column.type for column in view.catalog.attribute_columns()}
        if any(known.get(name) != type_ for name, type_ in types.items()):
            with self._catalog.writing() as transaction:
                transaction.declare_attributes(types)

    def commit(self, batch: Batch, numerics: Numerics) -> int:
        """All of a batch or nothing: first the segment, then one transaction. Gives the new generation."""
        with named_disk_errors(self.path):
            placed: list[NewVideo] = []
            info = None
            if batch.new:
                ids = self._catalog.reserve_ids(len(batch.new))
                placed = [replace(video, video_id=id_) for id_, (video, _) in zip(ids, batch.new, strict=True)]
                rows = SegmentRows(np.array(ids, np.int64), [stored for _, stored in batch.new])
                info = write_segment(self.path / "segments", rows, self.manifest.frames_dtype, numerics)
            with self._catalog.writing() as transaction:
                if info is not None:
                    transaction.add_segment(info.name, info.count, info.ids_sha256, json.dumps(info.numerics))
                    transaction.add_videos(info.name, placed)
                for failed in batch.failed:
                    transaction.record_failure(failed)
                for file in batch.touched:
                    transaction.touch(file)
                for file, root, path in batch.moved:
                    transaction.move(file, root, path)
                transaction.change_metadata(batch.changed)
        return transaction.generation

    def forget_failures(self, paths: Sequence[Path]) -> None:
        """Take failures that are true no more off the list."""
        if paths:
            with named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.forget_failures(paths)

    def change_metadata(self, changes: Sequence[MetadataChange]) -> int:
        """Set fields and attributes of videos; gives the number of videos changed."""
        if changes:
            with named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.change_metadata(changes)
        return len(changes)

    def delete(self, ids: Iterable[int]) -> int:
        """Delete live videos on purpose: a later ingest says so instead of bringing them back."""
        return self._delete(ids, bury=True)

    def prune(self, ids: Iterable[int]) -> int:
        """Delete those of `ids` whose files are still not there; a file that comes back is ingested again."""
        with self.view() as view:
            gone = [video_id for video_id, (_, path) in view.catalog.places(ids).items() if not path.exists()]
        return self._delete(gone, bury=False)

    def _delete(self, ids: Iterable[int], bury: bool) -> int:
        wanted = sorted(set(ids))
        if wanted:
            with named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.delete(wanted, bury)
        return len(wanted)

    def verify(self, ids: Iterable[int]) -> int:
        """Note that imported vectors were made as the index's own are; gives the number of videos."""
        wanted = sorted(set(ids))
        if wanted:
            with named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.verify(wanted)
        return len(wanted)

    def undelete(self, ids: Iterable[int]) -> tuple[list[int], int]:
        """Take back deletions: the ids that are live again, and how many have to be ingested again for that."""
        wanted = sorted(set(ids))
        if not wanted:
            return [], 0
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            back = transaction.unbury(wanted)
        return back, len(wanted) - len(back)

    def unbury_files(self, paths: Sequence[Path]) -> None:
        """Let these files, and others with the bytes that they had, be ingested again."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            transaction.unbury_files(paths)

    def rename_root(self, old: Path, new: Path) -> int:
        """Say that the videos below one folder lie below another now; gives the number of roots that changed."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            return transaction.rename_root(old, new)

    def compact(self) -> dict[str, int]:
        """Rewrite segments that hold deleted rows, without these, and merge small ones. Counts of segments and rows."""
        with self.view() as view:
            dead = set(view.catalog.deleted_ids())
        before = len(self._segments())
        names = [name for name, segment in self._segments().items() if dead.intersection(segment.ids.tolist())]
        self._rewrite(names)
        self.merge()
        return {"segments_before": before, "segments": len(self._segments()), "rows_dropped": len(dead)}

    def merge(self) -> None:
        """Make one segment of neighbouring small ones that were made with the same numerics."""
        small: dict[str, list[str]] = {}
        with self.view() as view:
            numerics = view.catalog.numerics()
        for name, segment in self._segments().items():
            if segment.info.count < SMALL_SEGMENT:
                small.setdefault(numerics[name], []).append(name)
        for names in small.values():
            if len(names) >= MERGE_FROM:
                self._rewrite(names)

    def _segments(self) -> dict[str, Segment]:
        with self.view():
            assert self._loaded is not None
            return self._loaded.segments

    def _rewrite(self, names: Sequence[str]) -> None:
        """Write the live rows of segments into new ones and let the old ones go, group by group."""
        with self.view() as view:
            numerics = view.catalog.numerics()
            live = set(view.rows.ids.tolist())
        for group in _groups(names, self._segments(), numerics):
            found = sorted(
                (int(id_), segment, row)
                for segment in (self._segments()[name] for name in group)
                for row, id_ in enumerate(segment.ids)
                if int(id_) in live
            )
            with named_disk_errors(self.path):
                info = None
                if found:
                    rows = SegmentRows(
                        np.array([id_ for id_, _, _ in found], np.int64),
                        [segment.stored(row) for _, segment, row in found],
                    )
                    told = Numerics(**json.loads(numerics[group[0]]))
                    info = write_segment(self.path / "segments", rows, self.manifest.frames_dtype, told)
                with self._catalog.writing() as transaction:
                    if info is not None:
                        transaction.add_segment(info.name, info.count, info.ids_sha256, json.dumps(info.numerics))
                        transaction.place_in(info.name, [id_ for id_, _, _ in found])
                    gone = {int(id_) for name in group for id_ in self._segments()[name].ids} - live
                    transaction.retire_segments(group)
                    transaction.forget_scores(sorted(gone))

    def drop_segments(self, names: Sequence[str]) -> int:
        """Let go of damaged segments: their videos are deleted, to be ingested again. The number of videos lost."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            gone = [video_id for name in names for video_id in transaction.ids_in(name)]
            lost = transaction.retire_segments(names)
            transaction.forget_scores(gone)
        return lost

    def store_scores(
        self, parts: Sequence[tuple[SweepKey, npt.NDArray[np.int64], Sequence[npt.NDArray[np.float64]]]]
    ) -> None:
        """Keep scores of several sweeps in one commit: of each the ids (n,) ascending and its columns (n,)."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            for key, ids, columns in parts:
                transaction.add_scores(transaction.begin_sweep(key), ids, columns)

    def keep_fitted(self, item: Fitted) -> None:
        """Keep a calibration or probe, in place of one of the same name."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            transaction.put_fitted(item)

    def drop_fitted(self, kind: FittedKind, name: str) -> bool:
        """Forget a calibration or probe; False when there is none of that name."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            return transaction.drop_fitted(kind, name) > 0

    def add_cohort(self, name: str, content: str) -> bool:
        """Keep a cohort; False, with nothing done, when there is one of that name."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            if transaction.cohort(name) is not None:
                return False
            transaction.add_cohort(name, content)
        return True

    def drop_cohort(self, name: str) -> bool:
        """Forget a cohort with its audits; False when there is none of that name."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            return transaction.drop_cohort(name) > 0

    def put_audit(self, cohort: str, number: int, content: str) -> None:
        """Keep an audit of a cohort, in place of the one of the same number."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            transaction.put_audit(cohort, number, content)

    def drop_faiss(self) -> None:
        """Remove the FAISS index; `finish` builds another."""
        for folder in (self.path / "ann").iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        self._loaded = None

    def finish(self) -> None:
        """Merge small segments, and write FAISS anew where it lacks committed rows or holds many dead ones."""
        self.merge()
        with self.view() as view:
            index, rows = self._loaded_index(), view.rows
            if not len(rows) or (index.num_uncovered == 0 and index.num_dead <= len(rows) // 10):
                return
            folder = self.path / "ann" / str(view.generation)
            with named_disk_errors(self.path):
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one of this very generation
                FaissIndex.build(rows).save(folder)
        for other in (self.path / "ann").iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def _loaded_index(self) -> FaissIndex:
        assert self._loaded is not None
        return self._loaded.index

    def _remove_orphans(self) -> None:
        """Remove what a writer that died has left: nobody reads it, and the lock is ours."""
        with self._catalog.reading() as snapshot:
            active = {row.name for row in snapshot.segments()}
            retired = snapshot.retired_segments()
        in_grace = {name for name, at in retired.items() if time.time() - at < GRACE_SECONDS}
        with named_disk_errors(self.path):
            folders = list((self.path / "segments").iterdir())
        orphans = [folder for folder in folders if folder.name not in active | in_grace]
        if retired.keys() - in_grace:
            with named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.forget_retired(sorted(retired.keys() - in_grace))
        newest = newest_ann(self.path)
        for folder in [*orphans, *(folder for folder in (self.path / "ann").glob("*") if folder != newest)]:
            shutil.rmtree(folder, ignore_errors=True)


def _groups(names: Sequence[str], segments: Mapping[str, Segment], numerics: Mapping[str, str]) -> list[list[str]]:
    """Segments that can become one: made with the same numerics, and together small enough for memory."""
    groups: list[list[str]] = []
    rows = 0
    for name in sorted(names, key=lambda name: (numerics[name], int(segments[name].ids[0]))):
        count = segments[name].info.count
        if not groups or rows + count > REWRITE_ROWS or numerics[groups[-1][0]] != numerics[name]:
            groups.append([])
            rows = 0
        groups[-1].append(name)
        rows += count
    return groups
