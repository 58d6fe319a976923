"""The one process that changes an index: batches, deletions, merging, FAISS. Knows no model and no video file."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.config import GRACE_SECONDS
from echosearch.errors import CatalogSegmentsDisagree, DamagedIndex, IndexStateError, OutOfReach
from echosearch.files import PARTIAL, erase_folder, fsync_path
from echosearch.index.catalog import (
    AttributeType,
    Catalog,
    FailedFile,
    KnownFile,
    MetadataChange,
    NewVideo,
    SweepKey,
    Transaction,
)
from echosearch.index.description import MANIFEST, IndexDescription, write_json
from echosearch.index.leftovers import ASIDE, leftovers
from echosearch.index.lock import named_disk_errors
from echosearch.index.merging import Size, grouped, to_merge
from echosearch.index.snapshot import CATALOG, ENGINE, Snapshots, ann_folders, newest_ann, whole_segment
from echosearch.index.vectors import (
    MergedRows,
    Segment,
    SegmentInfo,
    SegmentRows,
    StoredVideo,
    write_segment,
)
from echosearch.types import Numerics

Part = tuple[SegmentInfo, list[NewVideo]]
"""A segment that is written, and the videos in it."""
_Rest = tuple[SegmentInfo | None, list[str], list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one commit brings: videos (their ids are given by the commit), failures, and what is new of known bytes.

    `touched` have another time, `moved` (root, path) another place; the files of `gone` have bytes that were deleted;
    vectors of `verified` were shown to be right.
    """

    new: list[tuple[NewVideo, StoredVideo]] = field(default_factory=list)
    failed: list[FailedFile] = field(default_factory=list)
    touched: list[KnownFile] = field(default_factory=list)
    moved: list[tuple[KnownFile, Path, Path]] = field(default_factory=list)
    changed: list[MetadataChange] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    verified: list[int] = field(default_factory=list)


class Writer(Snapshots):
    """The one process that changes an index, while it holds the lock. Made by `Store.writer`."""

    def __init__(self, path: Path, description: IndexDescription) -> None:
        super().__init__(path, description, Catalog(path / CATALOG, writable=True))
        self._left_alone: dict[str, str] = {}
        self.brings_up = True
        """Whether its commits bring the index up to this program's versions of kinds of which it holds no video."""
        self._write_description()
        self._tidy()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about segments that were not merged or compacted, as their bytes are not what was written."""
        return tuple(self._left_alone.values())

    def declare_attributes(self, types: Mapping[str, AttributeType]) -> None:
        """Make room for a manifest's columns. BadManifest when text would go among numbers."""
        with self.snapshot() as snapshot:
            known = {column.name: column.type for column in snapshot.catalog.attributes.columns()}
        if any(known.get(name) != type_ for name, type_ in types.items()):
            with self.transaction() as transaction:
                transaction.attributes.declare(types)

    def commit(self, batch: Batch, numerics: Numerics) -> int:
        """All of a batch or nothing: first the segment, then one transaction. Then merges, in commits of their own.

        Gives the generation of the batch.
        """
        part = self.place(batch.new, numerics) if batch.new else None
        with self.transaction() as transaction:
            transaction.deleted.add(batch.gone, on_purpose=False)
            for file, root, path in batch.moved:
                transaction.files.move(file, root, path)
            if part is not None:
                _add_segment(transaction, *part)
            for failed in batch.failed:
                transaction.failures.record(failed)
            for file in batch.touched:
                transaction.files.touch(file)
            transaction.videos.change_metadata(batch.changed)
            transaction.videos.verify(batch.verified)
        self.merge()
        return transaction.generation

    def place(self, new: Sequence[tuple[NewVideo, StoredVideo]], numerics: Numerics) -> Part:
        """Give videos ids and write their segment, which is of the index once a commit says so, and else erased."""
        ids = self._catalog.reserve_ids(len(new))
        placed = [replace(video, video_id=id_) for id_, (video, _) in zip(ids, new, strict=True)]
        return self._write(SegmentRows(np.array(ids, np.int64), [stored for _, stored in new]), numerics), placed

    def _write(self, rows: SegmentRows | MergedRows, numerics: Numerics) -> SegmentInfo:
        with named_disk_errors(self.path):
            return write_segment(self.path / "segments", rows, self.description.frames_dtype, numerics)

    def switch(
        self, description: IndexDescription, parts: Sequence[Part], gone: Sequence[int], relearn: Callable[[str], str]
    ) -> int:
        """Put videos embedded anew in the place of the old ones, with what the index is bound to now, in one commit.

        `parts` were placed; videos `gone`, ascending, are deleted with their vectors, whether replaced or not; no
        segment of theirs may be damaged. `relearn` rewrites what was learnt (JSON); gives how many texts it changed.
        """
        ids = np.array(gone, np.int64)
        others = [self._without(self._whole(group), ids) for group in grouped(self._holding(ids))]
        with self.transaction() as transaction:
            for part in parts:
                _add_segment(transaction, *part)
            for other in others:
                _replace(transaction, *other)
            transaction.deleted.add(gone, on_purpose=False)
            changed = transaction.fitted.rewrite(relearn)
            transaction.describe(json.dumps(description.to_dict()))
        self._loaded, self.description = None, description
        self._write_description()
        return changed

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One commit to the catalog: all of it or, when an error leaves the block, nothing. See `brings_up`."""
        with named_disk_errors(self.path), self._catalog.writing() as transaction:
            recipe = self.description.recipe
            now = recipe.brought_up(*(kind for kind in recipe.outdated if not transaction.videos.embedded([kind])))
            if is_brought_up := self.brings_up and now != recipe and now.id == recipe.id:
                transaction.describe(json.dumps(replace(self.description, recipe=now).to_dict()))
            yield transaction
        if is_brought_up:
            self._write_description()

    def _write_description(self) -> None:
        """Write the copy of what the catalog says that the index is bound to, unless it says so already."""
        with self._catalog.reading() as snapshot:
            told = snapshot.description
        if told is not None and json.loads((self.path / MANIFEST).read_text("utf-8")) != json.loads(told):
            with named_disk_errors(self.path):
                write_json(self.path / MANIFEST, json.loads(told))
                fsync_path(self.path)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete live videos on purpose: a later ingest says so instead of bringing them back."""
        if wanted := sorted(set(ids)):
            with self.transaction() as transaction:
                transaction.deleted.add(wanted, on_purpose=True)

    def compact(self) -> dict[str, Any]:
        """Rewrite segments that hold deleted rows, without these, and merge small ones. Counts of segments and rows.

        Damaged segments stay as they are; `notes` say which.
        """
        before = len(self._sizes())
        with self.snapshot() as snapshot:
            dead = np.array(snapshot.catalog.segments.dead_ids(), np.int64)
        self.drop_vectors(dead)
        self.merge()
        self._tidy()
        self._catalog.shrink()
        with self.snapshot() as snapshot:
            dropped = len(dead) - len(snapshot.catalog.segments.dead_ids())
        counts = {"segments_before": before, "segments": len(self._sizes()), "rows_dropped": dropped}
        return {**counts, "notes": tuple(self.notes)}

    def drop_vectors(self, ids: npt.NDArray[np.int64]) -> None:
        """Write the segments that hold any of these deleted videos (n,) ascending anew, without them."""
        for group in grouped(self._holding(ids)):
            self._rewrite(group, ids)

    def refuse_damaged(self, ids: Iterable[int]) -> None:
        """DamagedIndex where segments that hold any of these videos cannot be written anew without them."""
        for size in self._holding(np.array(sorted(set(ids)), np.int64)):
            with self._catalog.reading() as snapshot:
                try:
                    whole_segment(self.path, size.name, snapshot)
                except OutOfReach:
                    raise
                except IndexStateError as error:
                    raise DamagedIndex(
                        f"nothing was changed: these videos lie in a damaged segment, which cannot be written anew "
                        f"without them ({error}); let it go first: echosearch check --repair"
                    ) from error

    def _holding(self, ids: npt.NDArray[np.int64]) -> list[Size]:
        with self.snapshot() as snapshot:
            segments = snapshot.segments
        return [size for size in self._sizes() if np.isin(segments[size.name].ids, ids, assume_unique=True).any()]

    def erase_replaced(self) -> int:
        """Erase all folders of segments that the catalog does not name, now; readers of an older commit lose them."""
        with self._catalog.reading() as snapshot:
            active = {size.name for size in self._sizes()}
            retired = list(snapshot.segments.retired())
        pattern = re.compile(rf"[0-9a-f]{{16}}|{ASIDE}|{re.escape(PARTIAL)}.*")
        folders = [folder for folder in (self.path / "segments").iterdir() if folder.name not in active]
        if self.aside_path.is_symlink() and self.aside_path.is_dir():  # it may hold other things as well
            folders = [*self.aside_path.iterdir(), *folders]
        erased = [folder for folder in folders if pattern.fullmatch(folder.name)]
        with named_disk_errors(self.path):
            for folder in erased:
                shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
            with self._catalog.writing() as transaction:
                transaction.segments.forget_retired(retired)
        return len(erased)

    def shrink(self) -> bool:
        """Leave nothing in the catalog's file and log of what was deleted; False while somebody reads older states."""
        return self._catalog.shrink()

    def merge(self) -> None:
        """Make one segment of several of similar size, until there are few; see `merging`. Damaged ones stay."""
        merged = False
        while groups := to_merge([size for size in self._sizes() if size.name not in self._left_alone]):
            for group in groups:
                merged |= self._rewrite(group, np.empty(0, np.int64))
        if merged:
            self._tidy()

    def _sizes(self) -> list[Size]:
        with self._catalog.reading() as snapshot:
            return [Size(*told) for told in snapshot.segments.sizes()]

    def _rewrite(self, group: Sequence[Size], dropped: npt.NDArray[np.int64]) -> bool:
        """Write the rows of segments but those of some ids into a new one, in place of these; False if there is none.

        Segments that are not what was written are left alone: in a new one nobody would find the damage again.
        """
        segments = self._whole(group)
        if not segments or (len(segments) < len(group) and not len(dropped)):  # fewer are to become one: merge anew
            return False
        rest = self._without(segments, dropped)
        with self.transaction() as transaction:
            _replace(transaction, *rest)
        return True

    def _without(self, segments: Sequence[Segment], dropped: npt.NDArray[np.int64]) -> _Rest:
        """Write the rows of segments but those of some ids into a new one, if any: that, their names, ids dropped."""
        kept = [~np.isin(segment.ids, dropped, assume_unique=True) for segment in segments]
        gone = [int(id_) for segment, some in zip(segments, kept, strict=True) for id_ in segment.ids[~some]]
        info = None
        if any(some.any() for some in kept):
            numerics = Numerics(**segments[0].info.numerics)
            info = self._write(MergedRows(segments, kept), numerics)
        return info, [segment.path.name for segment in segments], gone

    def _whole(self, group: Sequence[Size]) -> list[Segment]:
        """Those segments every byte of which is as it was written; the others are named in `notes`."""
        segments = []
        with self._catalog.reading() as snapshot:
            for size in group:
                try:
                    segments.append(whole_segment(self.path, size.name, snapshot))
                except IndexStateError as error:
                    is_damaged = not isinstance(error, OutOfReach)
                    self._left_alone[size.name] = (
                        f"segment {size.name} is damaged, and is left as it is: echosearch check --repair"
                        if is_damaged
                        else str(error)
                    )
        return segments

    @property
    def aside_path(self) -> Path:
        """The folder, there or not, of what a repair let go of."""
        return self.path / "segments" / ASIDE

    def let_go(self, names: Sequence[str]) -> int:
        """Delete the videos of segments that cannot be used, to be ingested again. Gives the number of videos lost.

        Their folders are moved to `segments/aside`, at once or, where they cannot be reached, when they can.
        """
        with self.transaction() as transaction:
            gone = [video_id for name in names for video_id in transaction.segments.ids_in(name)]
            lost = transaction.segments.retire(names, is_kept=True)
            transaction.sweeps.forget_scores(gone)
        self._tidy()
        return lost

    def store_scores(
        self, parts: Sequence[tuple[SweepKey, npt.NDArray[np.int64], Sequence[npt.NDArray[np.float64]]]]
    ) -> None:
        """Keep scores of several sweeps in one commit: of each the ids (n,) ascending and its columns (n,)."""
        with self.transaction() as transaction:
            for key, ids, columns in parts:
                transaction.sweeps.add_scores(transaction.sweeps.begin(key), ids, columns)

    def drop_faiss(self) -> None:
        """Remove the FAISS index; `finish` builds another."""
        for folder in ann_folders(self.path):
            shutil.rmtree(folder, ignore_errors=True)
        self._loaded = None

    def finish(self) -> None:
        """Merge small segments, and write FAISS anew where it lacks committed rows or holds many dead ones."""
        self.merge()
        with self.snapshot() as snapshot:
            index, num_rows = snapshot.index, len(snapshot.rows)
            if not num_rows or (index.num_uncovered == 0 and index.num_dead <= num_rows // 10):
                return
            folder = self.path / "ann" / str(snapshot.generation)
            self._loaded = None  # with the index that is changed now
            with named_disk_errors(self.path):
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one of this very generation
                index.brought_up(ENGINE).save(folder)
        for other in ann_folders(self.path):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def _tidy(self) -> None:
        """Erase what nobody misses, see `leftovers`; move aside what a repair let go of. The lock is ours."""
        with self._catalog.reading() as snapshot:
            found = leftovers(self.path, snapshot, GRACE_SECONDS)
            retired = snapshot.segments.retired()
        if found.newer:
            raise CatalogSegmentsDisagree("; ".join(found.newer))
        for folder in found.to_move_aside:
            with suppress(OSError):  # it stays known, and the next writer tries again
                self.aside_path.mkdir(exist_ok=True)
                folder.rename(self.aside_path / folder.name)
        newest = newest_ann(self.path)
        for folder in [*found.to_erase, *(other for other in ann_folders(self.path) if other != newest)]:
            erase_folder(folder)
        over = [name for name, at in retired.items() if time.time() - at >= GRACE_SECONDS]
        over += [folder.name for folder in found.to_move_aside if not folder.exists()]
        if over:
            with self.transaction() as transaction:
                transaction.segments.forget_retired(over)


def _add_segment(transaction: Transaction, info: SegmentInfo, videos: Sequence[NewVideo] = ()) -> None:
    transaction.segments.add(info.name, info.count, info.ids_sha256, json.dumps(info.numerics))
    if videos:
        transaction.videos.add(info.name, videos)
        transaction.failures.forget([video.path for video in videos])


def _replace(transaction: Transaction, info: SegmentInfo | None, names: Sequence[str], gone: Sequence[int]) -> None:
    """Put a segment, if there is one, in the place of others, of which some rows are gone."""
    if info is not None:
        _add_segment(transaction, info)
    transaction.segments.move_rows(names, None if info is None else info.name, gone)
    transaction.segments.retire(names)
    transaction.sweeps.forget_scores(gone)
