"""Transactions on the catalog. A reader's snapshot is one transaction; a writer's ends with one commit.

`Snapshot` only reads. `Transaction` is what one commit consists of. Knows no vector.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from echosearch.catalog.conditions import Matches, Measures, decisions, matching, spellings
from echosearch.catalog.migrations import catalog_format, migrate, refuse_newer
from echosearch.catalog.records import (
    AttributeType,
    AttributeValue,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    SegmentRow,
    SweepKey,
    SweepRow,
)
from echosearch.catalog.tables import (
    ATTRIBUTE_TYPES,
    attribute_columns,
    attributes_table,
    audits,
    cohorts,
    failures,
    fitted,
    metadata,
    retired,
    roots,
    scores,
    segments,
    state,
    sweeps,
    tombstones,
    videos,
)
from echosearch.config import FORMAT_VERSION
from echosearch.errors import BackendError, BadManifest, DamagedIndex
from echosearch.filters import Condition, KnownName, Name
from echosearch.types import Failure, VideoRecord

_AT_ONCE: Final = 400
"""Parameters in one statement; SQLite's oldest limit is 999."""

_MOST_ATTRIBUTES: Final = 1500
"""SQLite allows 2,000 columns."""

_BUSY_SECONDS: Final = 30.0
"""How long to wait for SQLite's own short locks; the writers' lock lies above and is asked first."""

_LOG_BYTES: Final = 64 * 1024
"""More than the files need that SQLite makes beside a catalog for its first reader."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class AttributeColumn:
    """A column of the wide attribute table."""

    number: int
    name: str
    type: AttributeType


class Catalog:
    """One `catalog.sqlite`, opened for reading or for writing."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        if not path.is_file():
            raise DamagedIndex(f"the catalog {path} is missing; restore the index from a copy")
        self._path = path
        self._writable = writable
        self._engine = _engine(path, "rw" if writable else "ro")
        self._unlogged_engine = _engine(path, "ro&immutable=1")

    @classmethod
    def create(cls, path: Path) -> Catalog:
        """A new, empty catalog, opened for writing."""
        path.touch(exist_ok=False)
        catalog = cls(path, writable=True)
        with catalog._connection("BEGIN IMMEDIATE") as connection:
            metadata.create_all(connection)
            attributes_table([]).create(connection)
            connection.execute(insert(state).values(id=1, generation=0, next_video_id=1))
            connection.exec_driver_sql(f"PRAGMA user_version={FORMAT_VERSION}")
        return catalog

    @staticmethod
    def copy(path: Path, target: Path) -> None:
        """Write all that is committed into a new file."""
        with _named_errors(path), closing(_connect(path, "ro")) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)

    @staticmethod
    def migrate(path: Path) -> None:
        """Bring a catalog of an older format to today's; one of today's stays as it is."""
        with _named_errors(path), closing(_connect(path, "rw")) as connection:
            migrate(connection)

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """A snapshot: all that is read within sees one and the same commit."""
        if self._writable or not _is_without_log(self._path):
            with self._connection("BEGIN") as connection:
                yield Snapshot(connection)
            return
        before = _stamp(self._path)
        with self._connection("BEGIN", self._unlogged_engine) as connection:
            yield Snapshot(connection)
        if _stamp(self._path) != before:  # such a reader holds no lock, so two commits may be mixed in what it saw
            raise BackendError(f"the catalog {self._path} was changed while it was being read; ask again")

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """One commit: all of it or, when an error leaves the block, nothing. Raises the generation."""
        with self._connection("BEGIN IMMEDIATE") as connection:
            transaction = Transaction(connection)
            yield transaction
            connection.execute(update(state).values(generation=transaction.generation))

    def reserve_ids(self, count: int) -> range:
        """`count` ids that were never given before and never will be again, in a commit of its own."""
        with self._connection("BEGIN IMMEDIATE") as connection:
            first: int = connection.execute(select(state.c.next_video_id)).scalar_one()
            connection.execute(update(state).values(next_video_id=first + count))
        return range(first, first + count)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()
        self._unlogged_engine.dispose()

    @contextmanager
    def _connection(self, begin: str, engine: Engine | None = None) -> Iterator[Connection]:
        with _named_errors(self._path), (engine or self._engine).connect() as connection:
            connection.exec_driver_sql(begin)
            try:
                yield connection
            except BaseException:
                with suppress(DBAPIError):  # SQLite may have rolled back by itself: keep the error that tells why
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")


class Snapshot:
    """What one moment of the catalog says."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Read at once: SQLite takes its snapshot at the first read, not at BEGIN.
        self.generation: int = connection.execute(select(state.c.generation)).scalar_one()

    def segments(self) -> list[SegmentRow]:
        """The active segments, oldest first, with number and sum of the ids that the catalog places in each."""
        placed = (
            select(videos.c.segment, func.count().label("videos"), func.sum(videos.c.id).label("ids_sum"))
            .where(videos.c.segment.is_not(None))
            .group_by(videos.c.segment)
            .subquery()
        )
        rows = self._connection.execute(
            select(
                segments.c.name,
                segments.c.count,
                segments.c.ids_sha256,
                func.coalesce(placed.c.videos, 0),
                func.coalesce(placed.c.ids_sum, 0),
            )
            .outerjoin(placed, placed.c.segment == segments.c.name)
            .order_by(segments.c.added_generation, segments.c.name)
        )
        return [SegmentRow(*row) for row in rows]

    def retired_segments(self) -> dict[str, float]:
        """Segments that were replaced, and when (seconds since 1970); readers of an older commit may use them."""
        rows = self._connection.execute(select(retired.c.name, retired.c.retired_at))
        return {row.name: row.retired_at for row in rows}

    def numerics(self) -> dict[str, str]:
        """With what the vectors of each active segment were made, as JSON."""
        rows = self._connection.execute(select(segments.c.name, segments.c.numerics))
        return {row.name: row.numerics for row in rows}

    def ids_in(self, segment: str) -> list[int]:
        """All ids, deleted ones included, whose vectors lie in a segment, ascending."""
        query = select(videos.c.id).where(videos.c.segment == segment).order_by(videos.c.id)
        return list(self._connection.execute(query).scalars())

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the catalog."""
        told = [str(row[0]) for row in self._connection.exec_driver_sql("PRAGMA integrity_check")]
        keys = [
            f"{row[0]} row {row[1]} points to nothing"
            for row in self._connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
        return [line for line in told if line != "ok"] + keys

    def deleted_ids(self) -> list[int]:
        """Ids whose vectors still lie in a segment and which are not to be found, ascending."""
        return list(
            self._connection.execute(
                select(videos.c.id)
                .where(videos.c.deleted_at.is_not(None), videos.c.segment.is_not(None))
                .order_by(videos.c.id)
            ).scalars()
        )

    def count(self) -> int:
        """Number of live videos."""
        return int(
            self._connection.execute(
                select(func.count()).select_from(videos).where(videos.c.deleted_at.is_(None))
            ).scalar_one()
        )

    def totals(self) -> dict[str, int]:
        """Numbers of videos, studies, patients, bytes of media, and deleted ids, for display."""
        live = videos.c.deleted_at.is_(None)
        row = self._connection.execute(
            select(
                func.count(),
                func.count(videos.c.study.distinct()),
                func.count(videos.c.patient.distinct()),
                func.coalesce(func.sum(videos.c.num_embedded_frames), 0),
                func.coalesce(func.sum(videos.c.size_bytes), 0),
            ).where(live)
        ).one()
        names = ("videos", "studies", "patients", "embedded_frames", "media_bytes")
        return dict(zip(names, map(int, row), strict=True)) | {"deleted": len(self.deleted_ids())}

    def videos(self, ids: Iterable[int] | None = None) -> Iterator[VideoRecord]:
        """Live videos by ascending id: all of them, or those of `ids`."""
        if ids is None:
            yield from self._records(self._select_videos())
            return
        for chunk in _chunks(sorted(set(ids))):
            yield from self._records(self._select_videos().where(videos.c.id.in_(chunk)))

    def ids_where(
        self, *, study: str | None = None, patient: str | None = None, content_sha256: str | None = None
    ) -> set[int]:
        """Ids of the live videos of a study, of a patient, or with these bytes."""
        query = select(videos.c.id).where(videos.c.deleted_at.is_(None))
        for column, value in (
            (videos.c.study, study),
            (videos.c.patient, patient),
            (videos.c.content_sha256, content_sha256),
        ):
            if value is not None:
                query = query.where(column == value)
        return set(self._connection.execute(query).scalars())

    def count_without(self, what: Literal["study", "patient"]) -> int:
        """Number of live videos of which the study, or the patient, is not known."""
        query = select(func.count()).where(videos.c.deleted_at.is_(None), videos.c[what].is_(None))
        return int(self._connection.execute(query).scalar_one())

    def belongings(self) -> Iterator[tuple[int, str | None, str | None, str | None]]:
        """Id, study, patient and view of each live video, by ascending id; lighter than whole records."""
        columns = (videos.c.id, videos.c.study, videos.c.patient, videos.c.view)
        query = select(*columns).where(videos.c.deleted_at.is_(None)).order_by(videos.c.id)
        for row in self._connection.execute(query):
            yield row.id, row.study, row.patient, row.view

    def lengths(self) -> Iterator[tuple[int, int, int, float | None]]:
        """Id, number of embedded frames and of all frames, and frames a second of each live video, by ascending id."""
        columns = (videos.c.id, videos.c.num_embedded_frames, videos.c.num_frames, videos.c.fps)
        query = select(*columns).where(videos.c.deleted_at.is_(None)).order_by(videos.c.id)
        for row in self._connection.execute(query):
            yield row.id, row.num_embedded_frames, row.num_frames, row.fps or None

    def count_views(self) -> dict[str | None, int]:
        """Number of live videos of each view; None: not known."""
        query = select(videos.c.view, func.count()).where(videos.c.deleted_at.is_(None)).group_by(videos.c.view)
        return {view: int(count) for view, count in self._connection.execute(query)}

    def verified(self, ids: Iterable[int]) -> set[int]:
        """Those of some ids whose vectors were made here, or by a machine whose probe vectors agreed."""
        found: set[int] = set()
        for chunk in _chunks(sorted(ids)):
            query = select(videos.c.id).where(videos.c.id.in_(chunk), videos.c.unverified.is_(None))
            found.update(self._connection.execute(query).scalars())
        return found

    def count_unverified(self) -> int:
        """Number of live videos whose vectors came from elsewhere, with no probe that shows that they are right."""
        query = select(func.count()).where(videos.c.deleted_at.is_(None), videos.c.unverified.is_not(None))
        return int(self._connection.execute(query).scalar_one())

    def known_files(self, paths: Sequence[Path]) -> dict[Path, KnownFile]:
        """Those of `paths` that are live videos."""
        found: dict[Path, KnownFile] = {}
        for root_id, root, members in self._by_root(paths):
            for chunk in _chunks(members):
                rows = self._connection.execute(
                    select(
                        videos.c.relative_path,
                        videos.c.id,
                        videos.c.size_bytes,
                        videos.c.mtime_ns,
                        videos.c.content_sha256,
                    ).where(
                        videos.c.root_id == root_id,
                        videos.c.relative_path.in_(chunk),
                        videos.c.deleted_at.is_(None),
                    )
                )
                found |= {root / path: KnownFile(*rest) for path, *rest in rows}
        return found

    def ids_with_content(self, digests: Sequence[str]) -> dict[str, int]:
        """For each content hash of a live video the lowest id that has it."""
        found: dict[str, int] = {}
        for chunk in _chunks(list(digests)):
            rows = self._connection.execute(
                select(videos.c.content_sha256, videos.c.id)
                .where(videos.c.content_sha256.in_(chunk), videos.c.deleted_at.is_(None))
                .order_by(videos.c.id.desc())
            )
            found.update((digest, video_id) for digest, video_id in rows)
        return found

    def failed_files(self, paths: Sequence[Path], codes: Sequence[str]) -> dict[Path, tuple[int | None, int | None]]:
        """Size and time that those of `paths` had which could not be ingested, for one of these reasons."""
        found: dict[Path, tuple[int | None, int | None]] = {}
        for root_id, root, members in self._by_root(paths):
            for chunk in _chunks(members):
                rows = self._connection.execute(
                    select(failures.c.relative_path, failures.c.size_bytes, failures.c.mtime_ns).where(
                        failures.c.root_id == root_id,
                        failures.c.relative_path.in_(chunk),
                        failures.c.code.in_(codes),
                    )
                )
                found |= {root / path: (size_bytes, mtime_ns) for path, size_bytes, mtime_ns in rows}
        return found

    def buried_paths(self, paths: Sequence[Path]) -> set[Path]:
        """Those of `paths` that were deleted on purpose."""
        return set(self._buried(paths).values())

    def buried_ids(self, paths: Sequence[Path]) -> set[int]:
        """Ids of the videos at these paths that were deleted on purpose."""
        return set(self._buried(paths))

    def _buried(self, paths: Sequence[Path]) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for root_id, root, members in self._by_root(paths):
            for chunk in _chunks(members):
                rows = self._connection.execute(
                    select(tombstones.c.video_id, tombstones.c.relative_path).where(
                        tombstones.c.root_id == root_id, tombstones.c.relative_path.in_(chunk)
                    )
                )
                found |= {video_id: root / path for video_id, path in rows}
        return found

    def is_buried(self, content_sha256: str) -> bool:
        """Whether a video with these bytes was deleted on purpose."""
        query = select(tombstones.c.video_id).where(tombstones.c.content_sha256 == content_sha256).limit(1)
        return self._connection.execute(query).first() is not None

    def buried_where(self, *, study: str | None = None, patient: str | None = None) -> set[int]:
        """Ids of the videos deleted on purpose: all, or those of a study or patient."""
        query = select(tombstones.c.video_id).join(videos, videos.c.id == tombstones.c.video_id)
        if study is not None:
            query = query.where(videos.c.study == study)
        if patient is not None:
            query = query.where(videos.c.patient == patient)
        return set(self._connection.execute(query).scalars())

    def places(self, ids: Iterable[int] | None = None) -> dict[int, tuple[Path, Path]]:
        """Root and path of live videos: of all, or of those of `ids`."""
        query = (
            select(videos.c.id, roots.c.path, videos.c.relative_path)
            .join(roots, roots.c.id == videos.c.root_id)
            .where(videos.c.deleted_at.is_(None))
        )
        queries = [query] if ids is None else [query.where(videos.c.id.in_(chunk)) for chunk in _chunks(sorted(ids))]
        return {
            video_id: (Path(root), Path(root, path))
            for each in queries
            for video_id, root, path in self._connection.execute(each)
        }

    def replaced_by(self, video_id: int) -> int | None:
        """The id that a changed file has now, or None."""
        query = select(videos.c.replaced_by).where(videos.c.id == video_id)
        return self._connection.execute(query).scalar_one_or_none()

    def failures(self) -> list[Failure]:
        """Files that could not be ingested, by path."""
        rows = self._connection.execute(
            select(roots.c.path, failures.c.relative_path, failures.c.code, failures.c.message)
            .join(roots, roots.c.id == failures.c.root_id)
            .order_by(roots.c.path, failures.c.relative_path)
        )
        return [Failure(str(Path(root, path)), code, message) for root, path, code, message in rows]

    def attribute_columns(self) -> list[AttributeColumn]:
        """The manifest columns that are kept as attributes, in the order in which they came."""
        rows = self._connection.execute(select(attribute_columns).order_by(attribute_columns.c.number))
        return [AttributeColumn(*row) for row in rows]

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, oldest first."""
        videos_of = (
            select(scores.c.sweep_id, func.count().label("videos"))
            .where(scores.c.column == 0)
            .group_by(scores.c.sweep_id)
            .subquery()
        )
        rows = self._connection.execute(
            select(sweeps, func.coalesce(videos_of.c.videos, 0).label("videos"))
            .outerjoin(videos_of, videos_of.c.sweep_id == sweeps.c.id)
            .order_by(sweeps.c.id)
        )
        return [SweepRow(row.id, _sweep_key(row), row.created_at, row.videos) for row in rows]

    def sweep_id(self, key: SweepKey) -> int | None:
        """The sweep that holds such scores, or None."""
        found = select(sweeps.c.id).where(*(sweeps.c[name] == getattr(key, name) for name in _SWEEP_IDENTITY))
        return self._connection.execute(found).scalar_one_or_none()

    def scores(self, sweep_id: int, column: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Ids (n,) ascending and values (n,) float64 of one column of a sweep; deleted videos are among them."""
        rows = self._driver.execute(
            'SELECT video_id, value FROM scores WHERE sweep_id = ? AND "column" = ? ORDER BY video_id',
            (sweep_id, column),
        )
        table = np.fromiter(rows, dtype=np.dtype([("id", np.int64), ("value", np.float64)]))
        return np.ascontiguousarray(table["id"]), np.ascontiguousarray(table["value"])

    def fitted(self, kind: FittedKind) -> list[Fitted]:
        """All calibrations, or all probes, by name."""
        rows = self._connection.execute(select(fitted).where(fitted.c.kind == kind).order_by(fitted.c.name))
        return [Fitted(kind, row.name, row.recipe, row.content, row.created_at) for row in rows]

    def cohorts(self) -> dict[str, str]:
        """The content of each cohort by its name, oldest first."""
        rows = self._connection.execute(select(cohorts).order_by(cohorts.c.created_at, cohorts.c.name))
        return {row.name: row.content for row in rows}

    def cohort(self, name: str) -> str | None:
        """The content of one cohort, or None."""
        return self._connection.execute(select(cohorts.c.content).where(cohorts.c.name == name)).scalar_one_or_none()

    def audits(self, cohort: str) -> list[str]:
        """The content of each audit of a cohort, in the order of their numbers."""
        query = select(audits.c.content).where(audits.c.cohort == cohort).order_by(audits.c.number)
        return list(self._connection.execute(query).scalars())

    def added_since(self, generation: int) -> set[int]:
        """Ids of the live videos that were not there yet at a generation."""
        query = select(videos.c.id).where(videos.c.deleted_at.is_(None), videos.c.added_generation > generation)
        return set(self._connection.execute(query).scalars())

    def matching(
        self, condition: Condition, names: Mapping[Name, KnownName], attributes: Mapping[str, int], measures: Measures
    ) -> Matches:
        """The live videos of which a condition is true; see `conditions`."""
        return matching(self._connection, condition, names, attributes, measures)

    def spellings(
        self, known: KnownName, attributes: Mapping[str, int], texts: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """Texts that no live video has in a field or attribute, and how it writes them otherwise; see `conditions`."""
        return spellings(self._connection, known, attributes, texts)

    def decisions(
        self,
        asked: Sequence[Condition],
        names: Mapping[Name, KnownName],
        attributes: Mapping[str, int],
        measures: Measures,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Of every live video whether each condition is true (1), unknown (0) or false (-1): ids (n,), (n, C)."""
        return decisions(self._connection, asked, names, attributes, measures)

    def roots(self) -> list[Path]:
        """The folders below which all videos lie."""
        return [Path(path) for path in self._connection.execute(select(roots.c.path)).scalars()]

    @property
    def _driver(self) -> sqlite3.Connection:
        """SQLite itself, in the same transaction: for a million rows of numbers, which it moves in seconds."""
        driver: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]
        return driver

    def _select_videos(self) -> Select[Any]:
        columns = self.attribute_columns()
        wide = attributes_table([(column.number, column.type) for column in columns])
        return (
            select(
                videos.c.id,
                roots.c.path,
                videos.c.relative_path,
                *(videos.c[name] for name in _RECORD_COLUMNS),
                *(wide.c[f"a{column.number}"].label(f"a{column.number}") for column in columns),
            )
            .join(roots, roots.c.id == videos.c.root_id)
            .outerjoin(wide, wide.c.video_id == videos.c.id)
            .where(videos.c.deleted_at.is_(None))
            .order_by(videos.c.id)
        )

    def _records(self, query: Select[Any]) -> Iterator[VideoRecord]:
        names = [column.name for column in self.attribute_columns()]
        width = 3 + len(_RECORD_COLUMNS)
        for row in self._connection.execute(query):
            facts = dict(zip(_RECORD_COLUMNS, row[3:width], strict=True))
            yield VideoRecord(
                video_id=row[0],
                path=str(Path(row[1], row[2])),
                **facts,
                attributes=dict(zip(names, row[width:], strict=True)),
            )

    def _by_root(self, paths: Sequence[Path]) -> Iterator[tuple[int, Path, list[str]]]:
        """The paths below each root that has any, relative to it."""
        known = {Path(path): root_id for root_id, path in self._connection.execute(select(roots.c.id, roots.c.path))}
        members: dict[Path, list[str]] = defaultdict(list)
        for path in paths:
            if (root := _root_of(path, known)) is not None:
                members[root].append(str(path.relative_to(root)))
        for root, relative in members.items():
            yield known[root], root, relative


class Transaction(Snapshot):
    """One commit in the making; nothing of it is seen by anyone before it ends."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.generation += 1
        """The generation that this commit will be."""
        self._now = datetime.now(UTC).isoformat(timespec="seconds")

    def add_segment(self, name: str, count: int, ids_sha256: str, numerics: str) -> None:
        """Make a segment active."""
        self._connection.execute(
            insert(segments).values(
                name=name,
                count=count,
                ids_sha256=ids_sha256,
                numerics=numerics,
                added_generation=self.generation,
            )
        )

    def add_videos(self, segment: str, new: Sequence[NewVideo]) -> None:
        """Add the videos of a segment; what they replace is deleted, and their earlier failures are forgotten."""
        placed = [(video, *self._place(video.root, video.path)) for video in new]
        self._clear_failures([(root_id, relative) for _, root_id, relative in placed])
        for video in new:
            if video.replaces is not None:
                self._connection.execute(
                    update(videos)
                    .where(videos.c.id == video.replaces)
                    .values(deleted_at=self._now, replaced_by=video.video_id)
                )
        self._connection.execute(
            insert(videos),
            [
                {
                    "id": video.video_id,
                    "segment": segment,
                    "root_id": root_id,
                    "relative_path": relative,
                    "content_sha256": video.content_sha256,
                    "size_bytes": video.size_bytes,
                    "mtime_ns": video.mtime_ns,
                    "kind": video.facts.kind,
                    "num_frames": video.facts.num_frames,
                    "num_embedded_frames": video.num_embedded_frames,
                    "height": video.facts.height,
                    "width": video.facts.width,
                    "fps": video.facts.fps,
                    "study": video.metadata.study,
                    "patient": video.metadata.patient,
                    "view": video.metadata.view,
                    "acquired_at": video.metadata.acquired_at,
                    "added_generation": self.generation,
                    "added_at": self._now,
                    "unverified": video.unverified,
                }
                for video, root_id, relative in placed
            ],
        )
        self._set_attributes({video.video_id: video.metadata.attributes for video in new})

    def delete(self, ids: Iterable[int], bury: bool) -> None:
        """Delete live videos; with `bury` a tombstone keeps a later ingest from bringing them back silently."""
        for chunk in _chunks(sorted(ids)):
            live = videos.c.id.in_(chunk) & videos.c.deleted_at.is_(None)
            if bury:
                told = select(videos.c.id, videos.c.root_id, videos.c.relative_path, videos.c.content_sha256).where(
                    live
                )
                self._connection.execute(
                    insert(tombstones).from_select(["video_id", "root_id", "relative_path", "content_sha256"], told)
                )
            self._connection.execute(update(videos).where(live).values(deleted_at=self._now))

    def unbury(self, ids: Iterable[int]) -> list[int]:
        """Take tombstones away; gives the ids that are live again (their vectors are there and their path is free)."""
        back = []
        for video_id in sorted(ids):
            row = self._connection.execute(select(videos).where(videos.c.id == video_id)).one()
            self._connection.execute(delete(tombstones).where(tombstones.c.video_id == video_id))
            taken = select(videos.c.id).where(
                videos.c.root_id == row.root_id,
                videos.c.relative_path == row.relative_path,
                videos.c.deleted_at.is_(None),
            )
            if row.segment is not None and self._connection.execute(taken).first() is None:
                self._connection.execute(update(videos).where(videos.c.id == video_id).values(deleted_at=None))
                back.append(video_id)
        return back

    def unbury_files(self, paths: Sequence[Path]) -> None:
        """Take away the tombstones of these paths, and of the bytes that they had; ingesting brings them back."""
        for root_id, _, members in list(self._by_root(paths)):
            for chunk in _chunks(members):
                here = (tombstones.c.root_id == root_id) & tombstones.c.relative_path.in_(chunk)
                digests = list(self._connection.execute(select(tombstones.c.content_sha256).where(here)).scalars())
                self._connection.execute(delete(tombstones).where(here | tombstones.c.content_sha256.in_(digests)))

    def move(self, file: KnownFile, root: Path, path: Path) -> None:
        """Note that a video's file lies elsewhere now."""
        root_id, relative = self._place(root, path)
        self._clear_failures([(root_id, relative)])
        self._connection.execute(
            update(videos)
            .where(videos.c.id == file.video_id)
            .values(root_id=root_id, relative_path=relative, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
        )

    def change_metadata(self, changes: Sequence[MetadataChange]) -> None:
        """Set fields and attributes of videos; attributes have to be declared."""
        columns = {column.name: column for column in self.attribute_columns()}
        wide = attributes_table([(column.number, column.type) for column in columns.values()])
        for change in changes:
            if change.fields:
                self._connection.execute(update(videos).where(videos.c.id == change.video_id).values(**change.fields))
            if change.attributes:
                values = {
                    f"a{columns[name].number}": _as(columns[name], value) for name, value in change.attributes.items()
                }
                changed = self._connection.execute(
                    update(wide).where(wide.c.video_id == change.video_id).values(values)
                )
                if changed.rowcount == 0:
                    self._connection.execute(insert(wide).values(video_id=change.video_id, **values))

    def rename_root(self, old: Path, new: Path) -> int:
        """Say that everything below one folder lies below another now; gives the number of roots that changed."""
        changed = 0
        for root_id, path in self._connection.execute(select(roots.c.id, roots.c.path)).all():
            if Path(path) == old or old in Path(path).parents:
                moved = new / Path(path).relative_to(old)
                self._connection.execute(update(roots).where(roots.c.id == root_id).values(path=str(moved)))
                changed += 1
        return changed

    def place_in(self, segment: str, ids: Sequence[int]) -> None:
        """Say that these videos' vectors lie in another segment now."""
        for chunk in _chunks(ids):
            self._connection.execute(update(videos).where(videos.c.id.in_(chunk)).values(segment=segment))

    def retire_segments(self, names: Sequence[str]) -> int:
        """Let go of segments; videos that still lie in one have no vectors any more and are deleted. Their number."""
        lost = 0
        for name in names:
            here = videos.c.segment == name
            live = here & videos.c.deleted_at.is_(None)
            lost += self._connection.execute(update(videos).where(live).values(deleted_at=self._now)).rowcount
            self._connection.execute(update(videos).where(here).values(segment=None))
            self._connection.execute(delete(segments).where(segments.c.name == name))
            self._connection.execute(insert(retired).values(name=name, retired_at=time.time()))
        return lost

    def forget_retired(self, names: Sequence[str]) -> None:
        """Say that the folders of these retired segments are gone."""
        for chunk in _chunks(names):
            self._connection.execute(delete(retired).where(retired.c.name.in_(chunk)))

    def verify(self, ids: Sequence[int]) -> None:
        """Note that the vectors of these videos were made as the index's own are."""
        for chunk in _chunks(ids):
            self._connection.execute(update(videos).where(videos.c.id.in_(chunk)).values(unverified=None))

    def begin_sweep(self, key: SweepKey) -> int:
        """The sweep that holds such scores, made now if need be."""
        known = self.sweep_id(key)
        if known is not None:
            return known
        values = {name: getattr(key, name) for name in (*_SWEEP_IDENTITY, "task", "definition")}
        added = insert(sweeps).values(**values, columns=json.dumps(key.columns), created_at=self._now)
        made: int = self._connection.execute(added.returning(sweeps.c.id)).scalar_one()
        return made

    def add_scores(self, sweep_id: int, ids: npt.NDArray[np.int64], columns: Sequence[npt.NDArray[np.float64]]) -> None:
        """Keep the scores of videos (n,) ascending, each column (n,); a score that is there is replaced."""
        for number, values in enumerate(columns):
            rows = zip(repeat(sweep_id), repeat(number), ids.tolist(), values.tolist(), strict=False)
            self._driver.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def forget_scores(self, ids: Sequence[int]) -> None:
        """Drop the scores of videos whose vectors are gone."""
        for sweep_id, names in self._connection.execute(select(sweeps.c.id, sweeps.c.columns)).all():
            for column in range(len(json.loads(names))):
                rows = ((sweep_id, column, video_id) for video_id in ids)
                self._driver.executemany(
                    'DELETE FROM scores WHERE sweep_id = ? AND "column" = ? AND video_id = ?', rows
                )

    def put_fitted(self, item: Fitted) -> None:
        """Keep a calibration or probe, in place of one of the same name."""
        self.drop_fitted(item.kind, item.name)
        self._connection.execute(
            insert(fitted).values(
                kind=item.kind,
                name=item.name,
                recipe=item.recipe,
                content=item.content,
                created_at=item.created_at or self._now,
            )
        )

    def drop_fitted(self, kind: FittedKind, name: str) -> int:
        """Forget a calibration or probe; gives how many there were."""
        return self._connection.execute(delete(fitted).where(fitted.c.kind == kind, fitted.c.name == name)).rowcount

    def add_cohort(self, name: str, content: str) -> None:
        """Keep a cohort under a name that is free."""
        self._connection.execute(insert(cohorts).values(name=name, content=content, created_at=self._now))

    def drop_cohort(self, name: str) -> int:
        """Forget a cohort with its audits; gives how many there were."""
        self._connection.execute(delete(audits).where(audits.c.cohort == name))
        return self._connection.execute(delete(cohorts).where(cohorts.c.name == name)).rowcount

    def put_audit(self, cohort: str, number: int, content: str) -> None:
        """Keep an audit, in place of the one of the same number."""
        self._connection.execute(delete(audits).where(audits.c.cohort == cohort, audits.c.number == number))
        self._connection.execute(insert(audits).values(cohort=cohort, number=number, content=content))

    def touch(self, file: KnownFile) -> None:
        """Note that a file has another time, but the bytes that it had."""
        self._connection.execute(
            update(videos)
            .where(videos.c.id == file.video_id)
            .values(size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
        )

    def record_failure(self, failed: FailedFile) -> None:
        """Note why a file could not be ingested, in place of what was noted of it before."""
        root_id, relative = self._place(failed.root, Path(failed.failure.path))
        self._clear_failures([(root_id, relative)])
        self._connection.execute(
            insert(failures).values(
                root_id=root_id,
                relative_path=relative,
                code=failed.failure.code,
                message=failed.failure.message,
                size_bytes=failed.size_bytes,
                mtime_ns=failed.mtime_ns,
                failed_at=self._now,
            )
        )

    def forget_failures(self, paths: Sequence[Path]) -> None:
        """Take failures of these files off the list."""
        for root_id, _, members in list(self._by_root(paths)):
            self._clear_failures([(root_id, member) for member in members])

    def _clear_failures(self, keys: Sequence[tuple[int, str]]) -> None:
        for chunk in _chunks(keys, _AT_ONCE // 2):
            self._connection.execute(
                delete(failures).where(tuple_(failures.c.root_id, failures.c.relative_path).in_(chunk))
            )

    def _place(self, root: Path, path: Path) -> tuple[int, str]:
        """Root and relative path of a file: below a root that is known already, else below `root`."""
        known = {Path(row.path): int(row.id) for row in self._connection.execute(select(roots.c.id, roots.c.path))}
        found = _root_of(path, known)
        if found is None:
            found = root
            added = insert(roots).values(path=str(root)).returning(roots.c.id)
            known[root] = self._connection.execute(added).scalar_one()
        return known[found], str(path.relative_to(found))

    def declare_attributes(self, types: Mapping[str, AttributeType]) -> None:
        """Make sure that there is a column for each attribute; whole numbers become real where fractions come.

        BadManifest when text would go among numbers.
        """
        known = {column.name: column for column in self.attribute_columns()}
        if strange := set(types.values()) - ATTRIBUTE_TYPES.keys():
            raise BadManifest(
                f"attributes are {', '.join(ATTRIBUTE_TYPES)}, not {', '.join(sorted(map(str, strange)))}"
            )
        if len(known.keys() | types.keys()) > _MOST_ATTRIBUTES:
            raise BadManifest(f"an index keeps at most {_MOST_ATTRIBUTES} attributes")
        number = len(known)
        for name, wanted in types.items():
            if name not in known:
                number += 1
                self._connection.execute(insert(attribute_columns).values(number=number, name=name, type=wanted))
                # No declared type: SQLite then keeps each value as it is.
                self._connection.execute(text(f"ALTER TABLE attributes ADD COLUMN a{number}"))
            elif (known[name].type, wanted) == ("integer", "real"):
                self._connection.execute(
                    update(attribute_columns).where(attribute_columns.c.name == name).values(type="real")
                )
                column = f"a{known[name].number}"
                self._connection.execute(text(f"UPDATE attributes SET {column} = CAST({column} AS REAL)"))
            elif wanted == "text" and known[name].type != "text":
                raise BadManifest(
                    f"attribute {name!r} holds numbers ({known[name].type}) in this index, and text in the "
                    "manifest; leave cells without a number empty, or rename the column"
                )

    def _set_attributes(self, values: Mapping[int, Mapping[str, AttributeValue]]) -> None:
        columns = self.attribute_columns()
        wide = attributes_table([(column.number, column.type) for column in columns])
        rows = [
            {"video_id": video_id}
            | {f"a{column.number}": _as(column, attributes.get(column.name)) for column in columns}
            for video_id, attributes in values.items()
            if attributes
        ]
        if rows:
            self._connection.execute(insert(wide), rows)


_RECORD_COLUMNS: Final = (
    "study",
    "patient",
    "view",
    "acquired_at",
    "kind",
    "num_frames",
    "num_embedded_frames",
    "height",
    "width",
    "fps",
    "size_bytes",
    "content_sha256",
    "added_at",
    "unverified",
)


_SWEEP_IDENTITY: Final = ("content_id", "form", "formula_version", "recipe", "precision")


def _sweep_key(row: Any) -> SweepKey:
    told = {name: getattr(row, name) for name in (*_SWEEP_IDENTITY, "task", "definition")}
    return SweepKey(**told, columns=tuple(json.loads(row.columns)))


def _as(column: AttributeColumn, value: AttributeValue) -> AttributeValue:
    """A value in the type of its column, which may have come from another manifest."""
    if value is None or column.type == "integer":
        return value
    return str(value) if column.type == "text" else float(value)


def _root_of(path: Path, known: Mapping[Path, int]) -> Path | None:
    """The longest known root that holds a path."""
    return next((parent for parent in path.parents if parent in known), None)


def _chunks(items: Sequence[Item], size: int = _AT_ONCE) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _is_without_log(path: Path) -> bool:
    """Whether a reader must do without SQLite's log: it needs files beside the catalog, which cannot be made here."""
    return (not os.access(path.parent, os.W_OK) or _is_full(path.parent)) and not _size(_log(path))


def _is_full(folder: Path) -> bool:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < _LOG_BYTES


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, _size(_log(path))


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _engine(path: Path, mode: str) -> Engine:
    """An engine whose connections begin and end transactions only when told to."""

    def connect() -> sqlite3.Connection:
        connection = _connect(path, mode)
        if mode != "rw" and catalog_format(connection) < FORMAT_VERSION:
            return _migrated(connection)
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        refuse_newer(path, catalog_format(connection))
        connection.execute("PRAGMA foreign_keys=ON")
        if mode == "rw":
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrated(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A reader of an older format reads a copy in memory: the file is not a reader's to change."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        with closing(connection):
            connection.backup(memory)
        migrate(memory)
    except BaseException:
        memory.close()
        raise
    return memory


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        reason = str(cause)
        if isinstance(cause, sqlite3.DatabaseError) and any(
            sign in reason for sign in ("not a database", "malformed", "no such table", "no such column")
        ):
            raise DamagedIndex(f"the catalog {path} cannot be read ({reason}); restore it from a copy") from error
        raise BackendError(f"the catalog {path} failed: {reason}{_way_out(cause)}") from error


def _way_out(error: object) -> str:
    """What to do about an error that a full disk causes, or may have caused."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # the rest says more precisely what failed
    if code == sqlite3.SQLITE_FULL:
        return "; free some space, then run this again"
    if code == sqlite3.SQLITE_IOERR:
        return "; the disk may be full or failing: free some space, then run this again"
    return ""
