"""One index on disk: manifest, catalog, segments and FAISS, which change together or not at all.

A reader opens a `View` of one generation; a writer holds the one lock and commits batches. Knows no model and
no video file.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from echosearch.catalog import (
    AttributeType,
    Catalog,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    Snapshot,
    SweepKey,
    refuse_newer,
)
from echosearch.config import FORMAT_VERSION, GRACE_SECONDS, MERGE_FROM, REWRITE_ROWS, SMALL_SEGMENT
from echosearch.errors import (
    BackendError,
    CatalogSegmentsDisagree,
    DamagedIndex,
    IndexLocked,
    IndexNotFound,
    IndexStateError,
    UnknownVideo,
)
from echosearch.types import EncoderCard, ModelRequest, Numerics, ProbeVectors, Recipe
from echosearch.vectors import (
    FaissIndex,
    FramesDtype,
    LiveRows,
    Segment,
    SegmentRows,
    StoredVideo,
    fsync_path,
    open_segment,
    write_segment,
)

_MANIFEST: Final = "manifest.json"
_CATALOG: Final = "catalog.sqlite"
_LOCK: Final = "writer.lock"
_HOLDER: Final = "writer.json"
_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index is bound to: the model that made it, its recipe, and the vectors that prove a machine."""

    created_at: str
    model: str
    weights: str
    notice: str | None
    dim: int
    frames_dtype: FramesDtype
    precision: str
    logit_scale: float | None
    recipe: Recipe
    probe: ProbeVectors

    @classmethod
    def of(cls, card: EncoderCard, probe: ProbeVectors, frames_dtype: FramesDtype) -> Manifest:
        """The manifest of a new index."""
        return cls(
            datetime.now(UTC).isoformat(timespec="seconds"),
            card.name,
            card.weights,
            card.notice,
            card.dim,
            frames_dtype,
            card.numerics.precision,
            card.logit_scale,
            card.recipe,
            probe,
        )

    def request(self) -> ModelRequest:
        """The model to load for this index, from where its weights lay when it was made."""
        weights = None if self.weights in (self.model, "none") else self.weights
        return ModelRequest(self.model, weights, sampling=self.recipe.sampling)

    def to_dict(self) -> dict[str, Any]:
        """As `manifest.json` holds it."""
        shallow = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return (
            {"format_version": FORMAT_VERSION}
            | shallow
            | {
                "space_id": self.recipe.space.id,
                "recipe_id": self.recipe.id,
                "recipe": self.recipe.to_dict(),
                "probe": self.probe.to_dict(),
            }
        )


class _Views:
    """Views of an index folder; what does not change between two commits stays open."""

    def __init__(self, path: Path, manifest: Manifest, catalog: Catalog) -> None:
        self.path = path
        self.manifest = manifest
        self._catalog = catalog
        self._loaded: _Loaded | None = None

    @contextmanager
    def view(self) -> Iterator[View]:
        """One moment of the index: whatever is asked within sees the same commit."""
        with ExitStack() as stack:
            snapshot = stack.enter_context(self._catalog.reading())
            try:
                loaded = self._load(snapshot)
            except (DamagedIndex, CatalogSegmentsDisagree):
                missed = snapshot.generation
                stack.close()
                snapshot = stack.enter_context(self._catalog.reading())
                if snapshot.generation == missed:
                    raise
                loaded = self._load(snapshot)  # what an older commit names may be gone by now: once more
            yield View(self.manifest, snapshot, loaded)  # not self._loaded: another thread may be at another commit

    def _load(self, snapshot: Snapshot) -> _Loaded:
        loaded = self._loaded
        if loaded is None or loaded.generation != snapshot.generation:
            loaded = self._loaded = _Loaded.open(self.path, self.manifest, snapshot, loaded)
        return loaded

    @contextmanager
    def catalog_only(self) -> Iterator[Snapshot]:
        """What the catalog says, whether or not the segments agree: to find out what is damaged."""
        with self._catalog.reading() as snapshot:
            yield snapshot

    def close(self) -> None:
        """Let go of the catalog."""
        self._catalog.close()


class Store(_Views):
    """An index folder, open for reading; `writer` opens it for writing as well."""

    def __init__(self, path: Path) -> None:
        """Open the index in a folder. IndexStateError says why it cannot be used."""
        super().__init__(path, _read_manifest(path), Catalog(path / _CATALOG))

    @classmethod
    def create(cls, path: Path, card: EncoderCard, probe: ProbeVectors, frames_dtype: FramesDtype = "float32") -> Store:
        """A new, empty index in a folder that does not exist or is empty; it appears whole."""
        return cls.create_as(path, Manifest.of(card, probe, frames_dtype))

    @classmethod
    def create_as(cls, path: Path, manifest: Manifest) -> Store:
        """`create`, with a manifest that is there already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise IndexStateError(f"{path} is there already and is no index; give another --index")
        partial = path.with_name(f"{_PARTIAL}{path.name}-{secrets.token_hex(4)}")
        with _named_disk_errors(path):
            try:
                partial.mkdir(parents=True)
                for name in ("segments", "ann", "cache"):
                    (partial / name).mkdir()
                Catalog.create(partial / _CATALOG).close()
                _write_json(partial / _MANIFEST, manifest.to_dict())
                fsync_path(partial)
                partial.rename(path)
                fsync_path(path.parent)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise IndexStateError(f"{path} was made by another process meanwhile; run this again") from error
                raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return cls(path)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is an index in this folder."""
        return (path / _MANIFEST).is_file()

    @property
    def cache_path(self) -> Path:
        """A folder whose contents may be deleted at any time."""
        return self.path / "cache"

    @contextmanager
    def writer(self, wait_seconds: float = 0.0) -> Iterator[Writer]:
        """The right to change the index; IndexLocked says who has it, after waiting for it so long."""
        with _lock(self.path, wait_seconds):
            _migrate(self.path)
            writer = Writer(self.path, self.manifest)
            try:
                yield writer
            finally:
                writer.close()


class _Loaded:
    """The vectors of one generation, checked against the catalog; FAISS is read when first used."""

    def __init__(self, path: Path, generation: int, segments: dict[str, Segment], rows: LiveRows) -> None:
        self._path = path
        self.generation = generation
        self.segments = segments
        self.rows = rows
        self.problems: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, manifest: Manifest, snapshot: Snapshot, before: _Loaded | None) -> _Loaded:
        """Open what the catalog names; segments that `before` has stay open. IndexStateError when at odds."""
        segments: dict[str, Segment] = {}
        for row in snapshot.segments():
            segment = before.segments.get(row.name) if before else None
            segment = segment or open_segment(path / "segments", row.name)
            told = (segment.info.count, segment.info.ids_sha256, segment.info.dim, int(segment.ids.sum()))
            if told != (row.count, row.ids_sha256, manifest.dim, row.ids_sum) or row.count != row.videos:
                raise CatalogSegmentsDisagree(
                    f"segment {row.name} of {path} and its catalog do not hold the same videos "
                    f"({segment.info.count} and {row.videos}); restore both from one copy of the index"
                )
            segments[row.name] = segment
        deleted = np.array(snapshot.deleted_ids(), np.int64)
        return cls(path, snapshot.generation, segments, LiveRows(list(segments.values()), deleted, manifest.dim))

    @cached_property
    def index(self) -> FaissIndex:
        """FAISS over the live rows; without its file, or with a damaged one, every row is scanned."""
        problems: tuple[str, ...] = ()
        for _ in range(2):  # a writer may replace the file while it is being read
            newest = _newest_ann(self._path)
            if newest is None:
                if len(self.rows):
                    problems = ("there is no FAISS index; every vector is scanned. The next ingest writes it.",)
                break
            try:
                return FaissIndex.load(newest, self.rows)
            except DamagedIndex as error:
                problems = (f"{error}; every vector is scanned instead. The next ingest writes it anew.",)
        self.problems = problems
        return FaissIndex.none(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One generation of an index: what the catalog says, and the vectors that it speaks of."""

    manifest: Manifest
    catalog: Snapshot
    _loaded: _Loaded

    @property
    def generation(self) -> int:
        """The number of the commit that is seen."""
        return self.catalog.generation

    @property
    def rows(self) -> LiveRows:
        """All live vectors."""
        return self._loaded.rows

    @property
    def index(self) -> FaissIndex:
        """The search for the nearest."""
        return self._loaded.index

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with derived files, once they were used; the answers are right all the same."""
        return self._loaded.problems

    def numerics(self, video_id: int) -> Numerics:
        """With what a live video's vectors were made. UnknownVideo when there is none."""
        segment, _ = self._place(video_id)
        return Numerics(**segment.info.numerics)

    def stored(self, video_id: int) -> StoredVideo:
        """The vectors of a live video. UnknownVideo when there is none."""
        segment, row = self._place(video_id)
        return segment.stored(row)

    def _place(self, video_id: int) -> tuple[Segment, int]:
        place = self.rows.place(video_id)
        if place is None:
            raise UnknownVideo(f"there is no video {video_id} in this index")
        return place


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


class Writer(_Views):
    """The one process that changes an index, while it holds the lock. Made by `Store.writer`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        super().__init__(path, manifest, Catalog(path / _CATALOG, writable=True))
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
        with _named_disk_errors(self.path):
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
            with _named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.forget_failures(paths)

    def change_metadata(self, changes: Sequence[MetadataChange]) -> int:
        """Set fields and attributes of videos; gives the number of videos changed."""
        if changes:
            with _named_disk_errors(self.path), self._catalog.writing() as transaction:
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
            with _named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.delete(wanted, bury)
        return len(wanted)

    def verify(self, ids: Iterable[int]) -> int:
        """Note that imported vectors were made as the index's own are; gives the number of videos."""
        wanted = sorted(set(ids))
        if wanted:
            with _named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.verify(wanted)
        return len(wanted)

    def undelete(self, ids: Iterable[int]) -> tuple[list[int], int]:
        """Take back deletions: the ids that are live again, and how many have to be ingested again for that."""
        wanted = sorted(set(ids))
        if not wanted:
            return [], 0
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            back = transaction.unbury(wanted)
        return back, len(wanted) - len(back)

    def unbury_files(self, paths: Sequence[Path]) -> None:
        """Let these files, and others with the bytes that they had, be ingested again."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            transaction.unbury_files(paths)

    def rename_root(self, old: Path, new: Path) -> int:
        """Say that the videos below one folder lie below another now; gives the number of roots that changed."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
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
            with _named_disk_errors(self.path):
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
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            gone = [video_id for name in names for video_id in transaction.ids_in(name)]
            lost = transaction.retire_segments(names)
            transaction.forget_scores(gone)
        return lost

    def store_scores(
        self, parts: Sequence[tuple[SweepKey, npt.NDArray[np.int64], Sequence[npt.NDArray[np.float64]]]]
    ) -> None:
        """Keep scores of several sweeps in one commit: of each the ids (n,) ascending and its columns (n,)."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            for key, ids, columns in parts:
                transaction.add_scores(transaction.begin_sweep(key), ids, columns)

    def keep_fitted(self, item: Fitted) -> None:
        """Keep a calibration or probe, in place of one of the same name."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            transaction.put_fitted(item)

    def drop_fitted(self, kind: FittedKind, name: str) -> bool:
        """Forget a calibration or probe; False when there is none of that name."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            return transaction.drop_fitted(kind, name) > 0

    def add_cohort(self, name: str, content: str) -> bool:
        """Keep a cohort; False, with nothing done, when there is one of that name."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            if transaction.cohort(name) is not None:
                return False
            transaction.add_cohort(name, content)
        return True

    def drop_cohort(self, name: str) -> bool:
        """Forget a cohort with its audits; False when there is none of that name."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
            return transaction.drop_cohort(name) > 0

    def put_audit(self, cohort: str, number: int, content: str) -> None:
        """Keep an audit of a cohort, in place of the one of the same number."""
        with _named_disk_errors(self.path), self._catalog.writing() as transaction:
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
            with _named_disk_errors(self.path):
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
        with _named_disk_errors(self.path):
            folders = list((self.path / "segments").iterdir())
        orphans = [folder for folder in folders if folder.name not in active | in_grace]
        if retired.keys() - in_grace:
            with _named_disk_errors(self.path), self._catalog.writing() as transaction:
                transaction.forget_retired(sorted(retired.keys() - in_grace))
        newest = _newest_ann(self.path)
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


def _newest_ann(path: Path) -> Path | None:
    folders = [folder for folder in (path / "ann").glob("*") if folder.name.isdecimal()]
    return max(folders, key=lambda folder: int(folder.name), default=None)


def _read_manifest(path: Path) -> Manifest:
    file = path / _MANIFEST
    if not file.is_file():
        near = sorted(found.parent for found in path.parent.glob(f"[!.]*/{_MANIFEST}")) if path.parent.is_dir() else []
        hint = f"; there are {', '.join(map(str, near[:5]))}" if near else ""
        raise IndexNotFound(f"there is no index at {path}{hint}. Make one with: echosearch ingest VIDEOS --model MODEL")
    try:
        values = json.loads(file.read_text("utf-8"))
        version = int(values["format_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"{file} cannot be read: {error!r}; restore it from a copy") from error
    refuse_newer(path, version)
    try:
        manifest = Manifest(
            recipe=Recipe.from_dict(values["recipe"]),
            probe=ProbeVectors.from_dict(values["probe"]),
            **{name: values[name] for name in Manifest.__dataclass_fields__ if name not in ("recipe", "probe")},
        )
        recipe_id = values["recipe_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"{file} cannot be read: {error!r}; restore it from a copy") from error
    if manifest.recipe.id != recipe_id:
        raise DamagedIndex(f"{file} was changed: its recipe no longer has the hash that stands beside it")
    return manifest


def _migrate(path: Path) -> None:
    """Bring an index of an older format to today's, after a copy of what changes; the lock is ours.

    The manifest comes last, and every step may be done twice: a crash in between leaves an index to migrate.
    """
    values = json.loads((path / _MANIFEST).read_text("utf-8"))
    refuse_newer(path, values["format_version"])  # a newer program may have migrated it while we waited
    if values["format_version"] == FORMAT_VERSION:
        return
    with Catalog(path / _CATALOG).reading() as snapshot:
        copy = path / f"before-format-{FORMAT_VERSION}-generation-{snapshot.generation}"
    with _named_disk_errors(path):
        if not copy.exists():
            partial = copy.with_name(f"{_PARTIAL}{copy.name}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            Catalog.copy(path / _CATALOG, partial / _CATALOG)
            shutil.copy(path / _MANIFEST, partial)
            for file in (_CATALOG, _MANIFEST, "."):
                fsync_path(partial / file)
            partial.rename(copy)
            fsync_path(path)
        Catalog.migrate(path / _CATALOG)
        _write_json(path / _MANIFEST, values | {"format_version": FORMAT_VERSION})
        fsync_path(path)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    """Replace a file as a whole, so that no reader ever sees half of it."""
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def _lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the writers' lock of an index; the operating system lets go of it however this process ends."""
    holder = path / _HOLDER
    lock = FileLock(path / _LOCK, timeout=wait_seconds)
    with _named_disk_errors(path):
        try:
            lock.acquire()
        except Timeout as error:
            raise IndexLocked(
                f"{path} is being written to by {_who(holder)}; try again later, or --wait SECONDS"
            ) from error
    try:
        with _named_disk_errors(path):
            _write_json(
                holder,
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "command": " ".join(sys.argv)[:500],
                    "since": datetime.now().astimezone().isoformat(timespec="seconds"),
                },
            )
        yield
        holder.unlink(missing_ok=True)
    finally:
        lock.release()


def _who(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text("utf-8"))
        return f"process {told['pid']} on {told['host']} since {told['since']} ({told['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


@contextmanager
def _named_disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"cannot write to the index {path}: {error.strerror or error}") from error
