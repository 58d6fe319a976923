"""What one moment of the catalog says. Only reads, in the one transaction of its connection. Knows no vector."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, Table, func, select

from echosearch.errors import BadOption
from echosearch.filters import Condition, KnownName, Name
from echosearch.index.catalog.conditions import SEEN_VIEW, Matches, Measures, decisions, matching, spellings
from echosearch.index.catalog.purge import Person, find_person
from echosearch.index.catalog.records import (
    AttributeType,
    Fitted,
    FittedKind,
    KnownFile,
    SameBytes,
    SegmentRow,
    SweepKey,
    SweepRow,
)  # fmt: skip
from echosearch.index.catalog.shared import chunks, keyed_hash, root_of
from echosearch.index.catalog.tables import (
    attribute_columns,
    attributes_table,
    audits,
    cohorts,
    failures,
    fitted,
    purged,
    retired,
    roots,
    scores,
    segments,
    state,
    sweeps,
    tombstones,
    videos,
)
from echosearch.types import Belonging, Failure, MediaKind, VideoRecord, study_keys

Thing = TypeVar("Thing", Path, str)


@dataclass(frozen=True, slots=True)
class AttributeColumn:
    """A column of the wide attribute table."""

    number: int
    name: str
    type: AttributeType


class CatalogReader:
    """What one moment of the catalog says."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Read at once: SQLite takes its snapshot at the first read, not at BEGIN.
        told = connection.execute(select(state.c.generation, state.c.description)).one()
        self.generation: int = told.generation
        self.description: str | None = told.description
        """What the index is bound to, as JSON; None while `manifest.json` says so, as when it was made."""

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

    def segment_sizes(self) -> list[tuple[str, int, str]]:
        """Name, number of rows, and with what its vectors were made (JSON) of each active segment, oldest first."""
        order = (segments.c.added_generation, segments.c.name)
        rows = self._connection.execute(select(segments.c.name, segments.c.count, segments.c.numerics).order_by(*order))
        return [(name, count, numerics) for name, count, numerics in rows]

    def embedded(self, kinds: Iterable[MediaKind]) -> list[int]:
        """Ids, ascending, of videos of these kinds whose vectors lie in a segment, deleted ones included."""
        here = videos.c.segment.is_not(None) & videos.c.kind.in_(list(kinds))
        return list(self._connection.execute(select(videos.c.id).where(here).order_by(videos.c.id)).scalars())

    def next_video_id(self) -> int:
        """The id that will be given next; all that were ever given are lower."""
        return int(self._connection.execute(select(state.c.next_video_id)).scalar_one())

    def ids_in(self, segment: str) -> list[int]:
        """All ids, deleted ones included, whose vectors lie in a segment, ascending."""
        query = select(videos.c.id).where(videos.c.segment == segment).order_by(videos.c.id)
        return list(self._connection.execute(query).scalars())

    def segments_of(self, ids: Iterable[int]) -> dict[int, str | None]:
        """Those of some ids that the catalog has, deleted ones included, and the segment that each lies in, or None."""
        found: dict[int, str | None] = {}
        for chunk in chunks(sorted(ids)):
            rows = self._connection.execute(select(videos.c.id, videos.c.segment).where(videos.c.id.in_(chunk)))
            found.update((row.id, row.segment) for row in rows)
        return found

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
        dead = videos.c.deleted_at.is_not(None) & videos.c.segment.is_not(None)
        return list(self._connection.execute(select(videos.c.id).where(dead).order_by(videos.c.id)).scalars())

    def count(self, *where: Any) -> int:
        """Number of live videos."""
        query = select(func.count()).select_from(videos).where(videos.c.deleted_at.is_(None), *where)
        return int(self._connection.execute(query).scalar_one())

    def totals(self) -> dict[str, int]:
        """Numbers of videos, studies, patients, bytes of media, and deleted ids, for display."""
        live = videos.c.deleted_at.is_(None)
        row = self._connection.execute(
            select(
                func.count(),
                func.count(videos.c.patient.distinct()),
                func.coalesce(func.sum(videos.c.num_embedded_frames), 0),
                func.coalesce(func.sum(videos.c.size_bytes), 0),
            ).where(live)
        ).one()
        pairs = self._connection.execute(select(videos.c.patient, videos.c.study).where(live).distinct()).all()
        studies = study_keys([patient for patient, _ in pairs], [study for _, study in pairs])
        names = ("videos", "patients", "embedded_frames", "media_bytes")
        told = dict(zip(names, map(int, row), strict=True))
        return told | {"studies": len({*studies} - {None}), "deleted": len(self.deleted_ids())}

    def videos(self, ids: Iterable[int] | None = None, deleted: bool = False) -> Iterator[VideoRecord]:
        """Live videos by ascending id: all of them, or those of `ids`; with `deleted` the deleted ones as well."""
        query = self._select_videos()
        if not deleted:
            query = query.where(videos.c.deleted_at.is_(None))
        if ids is None:
            yield from self._records(query)
            return
        for chunk in chunks(sorted(set(ids))):
            yield from self._records(query.where(videos.c.id.in_(chunk)))

    def ids_where(
        self, *, study: str | None = None, patient: str | None = None, content_sha256: str | None = None
    ) -> set[int]:
        """Ids of the live videos of a study, of a patient, or with these bytes."""
        wanted = {"study": study, "patient": patient, "content_sha256": content_sha256}
        where = [videos.c[name] == value for name, value in wanted.items() if value is not None]
        query = select(videos.c.id).where(videos.c.deleted_at.is_(None), *where)
        return set(self._connection.execute(query).scalars())

    def whose(self, study: str | None, patient: str | None) -> str:
        """Whose videos are meant, in words. BadOption where several patients have such a study and none is named."""
        query = select(func.count(videos.c.patient.distinct())).where(videos.c.study == study)  # deleted ones as well
        if study is not None and patient is None and (count := self._connection.execute(query).scalar_one()) > 1:
            raise BadOption(
                f"{count} patients have a study {study!r}; say whose is meant: --patient (see list --study)"
            )
        asked = {"study": study, "patient": patient}
        return " of ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)

    def count_without(self, what: Literal["study", "patient"]) -> int:
        """Number of live videos of which the study, or the patient, is not known."""
        return self.count(videos.c[what].is_(None))

    def belongings(self) -> Iterator[Belonging]:
        """Whose each live video is, by ascending id; lighter than whole records."""
        columns = (videos.c.id, videos.c.study, videos.c.patient, SEEN_VIEW, videos.c.content_sha256)
        query = select(*columns).where(videos.c.deleted_at.is_(None)).order_by(videos.c.id)
        for row in self._connection.execute(query):
            yield Belonging(*row)

    def lengths(self) -> Iterator[tuple[int, int, int, float | None]]:
        """Id, number of embedded frames and of all frames, and frames a second of each live video, by ascending id."""
        columns = (videos.c.id, videos.c.num_embedded_frames, videos.c.num_frames, videos.c.fps)
        query = select(*columns).where(videos.c.deleted_at.is_(None)).order_by(videos.c.id)
        for row in self._connection.execute(query):
            yield row.id, row.num_embedded_frames, row.num_frames, row.fps or None

    def count_views(self) -> dict[str | None, int]:
        """Number of live videos of each view, known or predicted, as it is written; None: neither."""
        query = select(SEEN_VIEW, func.count()).where(videos.c.deleted_at.is_(None)).group_by(SEEN_VIEW)
        return {view: int(count) for view, count in self._connection.execute(query)}

    def count_predicted(self) -> int:
        """Number of live videos whose view is predicted only."""
        return self.count(SEEN_VIEW.is_distinct_from(videos.c.view))

    def verified(self, ids: Iterable[int]) -> set[int]:
        """Those of some ids whose vectors were made here, or by a machine whose probe vectors agreed."""
        found: set[int] = set()
        for chunk in chunks(sorted(ids)):
            query = select(videos.c.id).where(videos.c.id.in_(chunk), videos.c.unverified.is_(None))
            found.update(self._connection.execute(query).scalars())
        return found

    def count_unverified(self) -> int:
        """Number of live videos whose vectors came from elsewhere, with no probe that shows that they are right."""
        return self.count(videos.c.unverified.is_not(None))

    def known_files(self, paths: Sequence[Path]) -> dict[Path, KnownFile]:
        """Those of `paths` that are live videos."""
        names = ("id", "size_bytes", "mtime_ns", "content_sha256")
        rows = self._at(videos, paths, names, videos.c.deleted_at.is_(None))
        return {path: KnownFile(*row) for path, row in rows}

    def failed_files(self, paths: Sequence[Path], codes: Sequence[str]) -> dict[Path, tuple[int | None, int | None]]:
        """Size and time that those of `paths` had which could not be ingested, for one of these reasons."""
        rows = self._at(failures, paths, ("size_bytes", "mtime_ns"), failures.c.code.in_(codes))
        return {path: (size_bytes, mtime_ns) for path, (size_bytes, mtime_ns) in rows}

    def tombstones_at(self, paths: Sequence[Path]) -> dict[Path, dict[int, tuple[int, int]]]:
        """Those of `paths` that were deleted on purpose: size and time that each id had; of purged ones nothing."""
        found: dict[Path, dict[int, tuple[int, int]]] = {path: {} for path in self._purged(paths)}
        for path, (video_id,) in self._at(tombstones, paths, ("video_id",)):
            had = select(videos.c.size_bytes, videos.c.mtime_ns).where(videos.c.id == video_id)
            found.setdefault(path, {})[video_id] = tuple(self._connection.execute(had).one())
        return found

    def _at(self, table: Table, paths: Sequence[Path], names: Sequence[str], *where: Any) -> Iterator[tuple[Path, Any]]:
        """Each of `paths` that a table has, with some columns."""
        columns = [table.c[name] for name in names]
        for root_id, root, members in self._by_root(paths):
            for chunk in chunks(members):
                here = (table.c.root_id == root_id, table.c.relative_path.in_(chunk))
                for path, *row in self._connection.execute(
                    select(table.c.relative_path, *columns).where(*here, *where)
                ):
                    yield root / path, row

    def is_purged(self, content_sha256: str) -> bool:
        """Whether a video with these bytes was purged."""
        return bool(self._purged([content_sha256]))

    def tombstones(self, *, study: str | None = None, patient: str | None = None) -> set[int]:
        """Ids of the videos deleted on purpose and not purged: all, or those of a study or patient."""
        wanted = {"study": study, "patient": patient}
        where = [videos.c[name] == value for name, value in wanted.items() if value is not None]
        query = select(tombstones.c.video_id).join(videos, videos.c.id == tombstones.c.video_id).where(*where)
        return set(self._connection.execute(query).scalars())

    def with_content(self, content_sha256: str) -> list[SameBytes]:
        """All videos that were made of these bytes, deleted ones included, by ascending id."""
        rows = self._connection.execute(
            select(videos, roots.c.path, tombstones.c.video_id.label("tombstone"))
            .join(roots, roots.c.id == videos.c.root_id)
            .outerjoin(tombstones, tombstones.c.video_id == videos.c.id)
            .where(videos.c.content_sha256 == content_sha256)
            .order_by(videos.c.id)
        )
        return [
            SameBytes(
                row.id,
                Path(row.path),
                Path(row.path, row.relative_path),
                row.size_bytes,
                row.mtime_ns,
                row.deleted_at is None,
                row.segment is not None,
                row.unverified is None,
                (row.study, row.patient),
                row.tombstone is not None,
                row.replaced_by,
            )
            for row in rows
        ]

    def person(self, ids: Iterable[int], paths: Iterable[Path], study: str | None, patient: str | None) -> Person:
        """All that is known of some videos, of a study or of a patient, deleted videos included; see `purge`."""
        return find_person(self._connection, ids, paths, study, patient)

    def _purged(self, things: Sequence[Thing]) -> set[Thing]:
        """Those of some paths or content hashes that were purged; only keyed hashes of them are left."""
        key = self._connection.execute(select(state.c.purge_key)).scalar_one()
        if key is None:
            return set()
        hashed = {keyed_hash(key, thing): thing for thing in things}
        found = set()
        for chunk in chunks(list(hashed)):
            query = select(purged.c.keyed_hash).where(purged.c.keyed_hash.in_(chunk))
            found |= {hashed[value] for value in self._connection.execute(query).scalars()}
        return found

    def places(self, ids: Iterable[int] | None = None) -> dict[int, tuple[Path, Path]]:
        """Root and path of live videos: of all, or of those of `ids`."""
        query = (
            select(videos.c.id, roots.c.path, videos.c.relative_path)
            .join(roots, roots.c.id == videos.c.root_id)
            .where(videos.c.deleted_at.is_(None))
        )
        queries = [query] if ids is None else [query.where(videos.c.id.in_(chunk)) for chunk in chunks(sorted(ids))]
        return {
            video_id: (Path(root), Path(root, path))
            for each in queries
            for video_id, root, path in self._connection.execute(each)
        }

    def files(self) -> Iterator[Path]:
        """Paths of all videos, deleted ones included, and of all files that could not be ingested."""
        for table in (videos, failures):
            query = select(roots.c.path, table.c.relative_path).join(table, roots.c.id == table.c.root_id)
            for root, path in self._connection.execute(query):
                yield Path(root, path)

    def replaced_by(self, video_id: int) -> int | None:
        """The id that a changed file has now, or None."""
        query = select(videos.c.replaced_by).where(videos.c.id == video_id)
        return self._connection.execute(query).scalar_one_or_none()

    def embedded_anew(self) -> dict[int, int]:
        """Old -> latest id of each video that was embedded anew: its file has the same bytes, and another id since."""
        heir, found = videos.alias(), dict[int, int]()
        same = (videos.c.replaced_by == heir.c.id) & (videos.c.content_sha256 == heir.c.content_sha256)
        pairs = select(videos.c.id, heir.c.id).join(heir, same).order_by(videos.c.id.desc())
        for old, new in self._connection.execute(pairs):
            found[old] = found.get(new, new)
        return found

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
        found = select(sweeps.c.id).where(*(sweeps.c[name] == getattr(key, name) for name in SWEEP_IDENTITY))
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
            if (root := root_of(path, known)) is not None:
                members[root].append(str(path.relative_to(root)))
        for root, relative in members.items():
            yield known[root], root, relative


_RECORD_COLUMNS: Final = (
    "study", "patient", "view", "acquired_at", "kind", "num_frames", "num_embedded_frames", "height", "width", "fps",
    "size_bytes", "content_sha256", "added_at", "unverified", "view_predicted",
)  # fmt: skip
SWEEP_IDENTITY: Final = ("content_id", "form", "formula_version", "recipe", "precision")


def _sweep_key(row: Any) -> SweepKey:
    told = {name: getattr(row, name) for name in (*SWEEP_IDENTITY, "task", "definition")}
    return SweepKey(**told, columns=tuple(json.loads(row.columns)))
