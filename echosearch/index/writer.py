"""The one process that changes an index: batches, merging, FAISS. Knows no model and no video file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echosearch.config import MERGE_FROM
from echosearch.files import fsync_path
from echosearch.index.catalog import (
    AttributeType,
    Catalog,
    CatalogReader,
    FailedFile,
    KnownFile,
    MetadataChange,
    NewVideo,
    Size,
    Transaction,
)
from echosearch.index.description import MANIFEST, IndexDescription, named_disk_errors, write_json
from echosearch.index.leftovers import clear, leftovers
from echosearch.index.merging import rest_of, to_merge, whole_ones
from echosearch.index.snapshot import CATALOG, ENGINE, Snapshots, ann_folders, newest_ann
from echosearch.index.vectors import (
    RowsToWrite,
    Segment,
    SegmentInfo,
    SegmentRows,
    StoredVideo,
    write_segment,
)
from echosearch.types import Numerics

Part = tuple[SegmentInfo, list[NewVideo]]
"""A segment that is written, and the videos in it."""


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
        self.tidy()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about segments that were not merged or compacted, as their bytes are not what was written."""
        return tuple(self._left_alone.values())

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
                add_part(transaction, *part)
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
        ids = self.catalog_file.reserve_ids(len(new))
        placed = [replace(video, video_id=id_) for id_, (video, _) in zip(ids, new, strict=True)]
        return self.write(SegmentRows(np.array(ids, np.int64), [stored for _, stored in new]), numerics), placed

    def write(self, rows: RowsToWrite, numerics: Numerics) -> SegmentInfo:
        """Write a segment, which is of the index once a commit says so, and else erased."""
        with named_disk_errors(self.path):
            return write_segment(self.path / "segments", rows, self.description.frames_dtype, numerics)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One commit to the catalog: all of it or, when an error leaves the block, nothing. See `brings_up`."""
        with named_disk_errors(self.path), self.catalog_file.writing() as transaction:
            recipe = self.description.recipe
            now = recipe.brought_up(*(kind for kind in recipe.outdated if not transaction.videos.embedded([kind])))
            if is_brought_up := self.brings_up and now != recipe and now.id == recipe.id:
                transaction.describe(json.dumps(replace(self.description, recipe=now).to_dict()))
            yield transaction
        if is_brought_up:
            self._write_description()

    def adopt(self, description: IndexDescription) -> None:
        """Go on with another description, which the last commit gave the index."""
        self._loaded, self.description = None, description
        self._write_description()

    def _write_description(self) -> None:
        """Write the copy of what the catalog says that the index is bound to, unless it says so already."""
        with self.catalog_file.reading() as snapshot:
            told = snapshot.description
        if told is not None and json.loads((self.path / MANIFEST).read_text("utf-8")) != json.loads(told):
            with named_disk_errors(self.path):
                write_json(self.path / MANIFEST, json.loads(told))
                fsync_path(self.path)

    def declare_attributes(self, types: Mapping[str, AttributeType]) -> None:
        """Make room for a manifest's columns. BadManifest when text would go among numbers."""
        with self.snapshot() as snapshot:
            known = {column.name: column.type for column in snapshot.catalog.attributes.columns()}
        if any(known.get(name) != type_ for name, type_ in types.items()):
            with self.transaction() as transaction:
                transaction.attributes.declare(types)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete live videos on purpose: a later ingest says so instead of bringing them back."""
        if wanted := sorted(set(ids)):
            with self.transaction() as transaction:
                transaction.deleted.add(wanted, on_purpose=True)

    def merge(self) -> None:
        """Make one segment of several of similar size, until there are few; see `merging`. Damaged ones stay."""
        merged = False
        while groups := self._to_merge():
            for group in groups:
                merged |= self.rewrite(group, np.empty(0, np.int64))
        if merged:
            self.tidy()

    def _to_merge(self) -> list[list[Size]]:
        with self.catalog_file.reading() as catalog:
            sizes = [size for size in catalog.segments.sizes() if size.name not in self._left_alone]
        return to_merge(sizes, MERGE_FROM) if len(sizes) >= MERGE_FROM else []

    def rewrite(self, group: Sequence[Size], dropped: npt.NDArray[np.int64]) -> bool:
        """Write the rows of segments but those of some ids into a new one, in place of these; False if there is none.

        Segments that are not what was written are left alone: in a new one nobody would find the damage again.
        """
        segments = self.whole(group)
        if not segments or (len(segments) < len(group) and not len(dropped)):  # fewer are to become one: merge anew
            return False
        rest = rest_of(segments, dropped, self.write)
        with self.transaction() as transaction:
            rest.take_over(transaction)
        return True

    def whole(self, group: Sequence[Size]) -> list[Segment]:
        """Those segments every byte of which is as it was written; the others are named in `notes`."""
        with self.catalog_file.reading() as catalog:
            segments, left_alone = whole_ones(self.path, group, catalog)
        self._left_alone |= left_alone
        return segments

    def finish(self, anew: bool = False) -> None:
        """Merge small segments, and bring FAISS up where it lacks committed rows or holds many dead ones.

        With `anew` it is removed first.
        """
        if anew:
            for folder in ann_folders(self.path):
                shutil.rmtree(folder, ignore_errors=True)
            self._loaded = None
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

    def tidy(self) -> None:
        """Erase what nobody misses, see `leftovers`; move aside what a repair let go of. The lock is ours."""
        with self.catalog_file.reading() as catalog:
            found = leftovers(self.path, catalog) if self._is_untidy(catalog) else None
        if found is not None and (over := clear(self.path, found)):
            with self.transaction() as transaction:
                transaction.segments.forget_retired(over)

    def _is_untidy(self, catalog: CatalogReader) -> bool:
        """Whether there may be anything but the segments of the catalog and one FAISS index."""
        newest = newest_ann(self.path)
        if catalog.segments.retired() or any(folder != newest for folder in ann_folders(self.path)):
            return True
        try:
            there = {folder.name for folder in (self.path / "segments").iterdir()}
        except OSError:
            return True
        return not there <= {size.name for size in catalog.segments.sizes()}


def add_part(transaction: Transaction, info: SegmentInfo, new: Sequence[NewVideo]) -> None:
    """Add a segment and its videos, which are no failures any more."""
    transaction.segments.add(info.name, info.count, info.ids_sha256, json.dumps(info.numerics))
    transaction.videos.add(info.name, new)
    transaction.failures.forget([video.path for video in new])
