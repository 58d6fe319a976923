"""The videos: what each is, whose it is, and what a manifest or a model says of it. Knows no vector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    case,
    func,
    insert,
    select,
    text,
    update,
)

from echosearch.errors import BadManifest
from echosearch.index.catalog.base import PathText, Roots, Subject, chunks, metadata, roots
from echosearch.types import MediaKind, VideoFacts, VideoRecord, study_keys

AttributeType = Literal["integer", "real", "text"]
AttributeValue = int | float | str | None

_MOST_ATTRIBUTES: Final = 1500
"""SQLite allows 2,000 columns."""

attribute_columns = Table(
    "attribute_columns",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
)

ATTRIBUTE_TYPES = {"integer": BigInteger, "real": Float, "text": Text}


def attributes_table(numbers_and_types: list[tuple[int, str]]) -> Table:
    """The wide table of attributes: column `a<number>` for each row of `attribute_columns`, typed."""
    return Table(
        "attributes",
        MetaData(),
        Column("video_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        *(Column(f"a{number}", ATTRIBUTE_TYPES[type_]) for number, type_ in numbers_and_types),
    )


@dataclass(frozen=True, slots=True)
class AttributeColumn:
    """A column of the wide attribute table."""

    number: int
    name: str
    type: AttributeType


videos = Table(
    "videos",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("segment", Text, ForeignKey("segments.name")),  # NULL: deleted, and its vectors are gone
    Column("root_id", Integer, ForeignKey("roots.id"), nullable=False),
    Column("relative_path", PathText, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("num_frames", Integer, nullable=False),
    Column("num_embedded_frames", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("fps", Float),
    Column("study", Text),
    Column("patient", Text),
    Column("view", Text),
    Column("acquired_at", Text),
    Column("added_generation", BigInteger, nullable=False),
    Column("added_at", Text, nullable=False),
    Column("deleted_at", Text),
    Column("replaced_by", BigInteger),
    Column("unverified", Text),  # where vectors came from that no probe has verified; NULL: all is well
    Column("view_predicted", Text),  # by a model that is measured to tell views; `view` is the manifest's
    # Only one live video for each path, whatever happens.
    Index(
        "live_path",
        "root_id",
        "relative_path",
        unique=True,
        sqlite_where=text("deleted_at IS NULL"),
    ),
    Index("video_segment", "segment"),
    Index("video_content", "content_sha256"),
    Index("video_study", "study"),
    Index("video_patient", "patient"),
    Index("video_deleted", "id", sqlite_where=text("deleted_at IS NOT NULL")),
    Index("video_unverified", "id", sqlite_where=text("unverified IS NOT NULL")),
)

SEEN_VIEW: Final[ColumnElement[Any]] = case(
    (videos.c.view_predicted.is_(None), videos.c.view),
    (videos.c.view.is_(None), videos.c.view_predicted),
    else_=func.seen_view(videos.c.view, videos.c.view_predicted, type_=Text),
)
"""`types.views.seen_view`, which is asked only where there are two: Python takes six times as long."""


@dataclass(frozen=True, slots=True)
class VideoMetadata:
    """What a manifest says of a video; attributes are its other columns, None where a cell is empty."""

    study: str | None = None
    patient: str | None = None
    view: str | None = None
    acquired_at: str | None = None
    attributes: dict[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """New values for some fields and attributes of a video; what is not named stays as it is."""

    video_id: int
    fields: dict[str, str | None]
    attributes: dict[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class NewVideo:
    """A video to add; its id is 0 until the commit gives it one, `replaces` the id of its path's earlier bytes.

    `unverified` says where its vectors came from, if from elsewhere and no probe has shown that they are right.
    """

    video_id: int
    root: Path
    path: Path
    facts: VideoFacts
    num_embedded_frames: int
    content_sha256: str
    size_bytes: int
    mtime_ns: int
    metadata: VideoMetadata
    replaces: int | None = None
    unverified: str | None = None


class Videos(Subject):
    """All videos, of which deleted ones are kept with the time when they were deleted."""

    def records(self, ids: Iterable[int] | None = None, deleted: bool = False) -> Iterator[VideoRecord]:
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

    def columns(self, *names: str) -> tuple[npt.NDArray[Any], ...]:
        """Columns of all live videos, each (n,), by ascending id: `video_id`, `view` as it is seen, and others' own.

        Whole numbers are int64, fractions float64, of which NaN is not known, and texts objects, of which None is not.
        """
        columns = [_SEEN[name] if name in _SEEN else videos.c[name] for name in names]
        query = select(*columns).where(videos.c.deleted_at.is_(None)).order_by(videos.c.id)
        told = zip(*self._driver.execute(str(query.compile(self._connection))), strict=True)
        return tuple(np.array(next(told, ()), _DTYPES.get(type(column.type), np.dtype(object))) for column in columns)

    def embedded(self, kinds: Iterable[MediaKind]) -> list[int]:
        """Ids, ascending, of videos of these kinds whose vectors lie in a segment, deleted ones included."""
        here = videos.c.segment.is_not(None) & videos.c.kind.in_(list(kinds))
        return list(self._connection.execute(select(videos.c.id).where(here).order_by(videos.c.id)).scalars())

    def verified(self, ids: Iterable[int]) -> set[int]:
        """Those of some ids whose vectors were made here, or by a machine whose fingerprint agreed."""
        found: set[int] = set()
        for chunk in chunks(sorted(ids)):
            query = select(videos.c.id).where(videos.c.id.in_(chunk), videos.c.unverified.is_(None))
            found.update(self._connection.execute(query).scalars())
        return found

    def added_since(self, generation: int) -> set[int]:
        """Ids of the live videos that were not there yet at a generation."""
        query = select(videos.c.id).where(videos.c.deleted_at.is_(None), videos.c.added_generation > generation)
        return set(self._connection.execute(query).scalars())

    def replaced_by(self, video_id: int) -> int | None:
        """The id that a changed file has now, or None."""
        query = select(videos.c.replaced_by).where(videos.c.id == video_id)
        return self._connection.execute(query).scalar_one_or_none()

    def embedded_anew(self) -> dict[int, int]:
        """Old -> latest id of each video that was embedded again: its file has the same bytes, and another id since."""
        heir, found = videos.alias(), dict[int, int]()
        same = (videos.c.replaced_by == heir.c.id) & (videos.c.content_sha256 == heir.c.content_sha256)
        pairs = select(videos.c.id, heir.c.id).join(heir, same).order_by(videos.c.id.desc())
        for old, new in self._connection.execute(pairs):
            found[old] = found.get(new, new)
        return found

    def add(self, segment: str, new: Sequence[NewVideo]) -> None:
        """Add the videos of a segment; what they replace is deleted."""
        place = Roots(self._session).place
        for video in new:
            if video.replaces is not None:
                gone = {"deleted_at": self._now, "replaced_by": video.video_id}
                self._write(update(videos).where(videos.c.id == video.replaces).values(gone))
        self._write(insert(videos), [self._row(segment, video, *place(video.root, video.path)) for video in new])
        Attributes(self._session).add({video.video_id: video.metadata.attributes for video in new})

    def _row(self, segment: str, video: NewVideo, root_id: int, relative_path: str) -> dict[str, Any]:
        return {
            "id": video.video_id,
            "segment": segment,
            "root_id": root_id,
            "relative_path": relative_path,
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
            "added_generation": self._session.generation,
            "added_at": self._now,
            "unverified": video.unverified,
        }

    def change_metadata(self, changes: Sequence[MetadataChange]) -> None:
        """Set fields and attributes of videos; attributes have to be declared."""
        for change in changes:
            if change.fields:
                self._write(update(videos).where(videos.c.id == change.video_id).values(**change.fields))
        Attributes(self._session).change((change.video_id, change.attributes) for change in changes)

    def verify(self, ids: Sequence[int]) -> None:
        """Note that the vectors of these videos were made as the index's own are."""
        for chunk in chunks(ids):
            self._write(update(videos).where(videos.c.id.in_(chunk)).values(unverified=None))

    def predict_views(self, views: Mapping[int, str | None]) -> None:
        """Keep which view a model finds in live videos, by id."""
        changes = [(view, video_id) for video_id, view in views.items()]
        self._write_many("UPDATE videos SET view_predicted = ? WHERE id = ?", changes)

    def _select_videos(self) -> Select[Any]:
        columns = Attributes(self._session).columns()
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
        names = [column.name for column in Attributes(self._session).columns()]
        width = 3 + len(_RECORD_COLUMNS)
        for row in self._connection.execute(query):
            facts = dict(zip(_RECORD_COLUMNS, row[3:width], strict=True))
            yield VideoRecord(
                video_id=row[0],
                path=str(Path(row[1], row[2])),
                **facts,
                attributes=dict(zip(names, row[width:], strict=True)),
            )


_SEEN: Final = {"video_id": videos.c.id, "view": SEEN_VIEW}
_DTYPES: Final = {BigInteger: np.dtype(np.int64), Integer: np.dtype(np.int64), Float: np.dtype(np.float64)}
_RECORD_COLUMNS: Final = (
    "study", "patient", "view", "acquired_at", "kind", "num_frames", "num_embedded_frames", "height", "width", "fps",
    "size_bytes", "content_sha256", "added_at", "unverified", "view_predicted",
)  # fmt: skip


class Counts(Subject):
    """How many live videos there are of each sort."""

    def _count(self, *where: Any) -> int:
        """Number of live videos."""
        query = select(func.count()).select_from(videos).where(videos.c.deleted_at.is_(None), *where)
        return int(self._connection.execute(query).scalar_one())

    def live(self) -> int:
        """All live videos."""
        return self._count()

    def totals(self) -> dict[str, int]:
        """Numbers of videos, studies, patients, bytes of media, and deleted ids, for display."""
        names = ("video_id", "patient", "study", "num_embedded_frames", "size_bytes")
        ids, patients, studies, frames, sizes = (column.tolist() for column in Videos(self._session).columns(*names))
        dead = select(func.count()).where(videos.c.deleted_at.is_not(None), videos.c.segment.is_not(None))
        return {
            "videos": len(ids),
            "studies": len({*study_keys(patients, studies)} - {None}),
            "patients": len({*patients} - {None}),
            "embedded_frames": sum(frames),
            "media_bytes": sum(sizes),
            "deleted": self._connection.execute(dead).scalar_one(),
        }

    def without(self, what: Literal["study", "patient"]) -> int:
        """Number of live videos of which the study, or the patient, is not known."""
        return self._count(videos.c[what].is_(None))

    def views(self) -> dict[str | None, int]:
        """Number of live videos of each view, known or predicted, as it is written; None: neither."""
        query = select(SEEN_VIEW, func.count()).where(videos.c.deleted_at.is_(None)).group_by(SEEN_VIEW)
        return {view: int(count) for view, count in self._connection.execute(query)}

    def predicted(self) -> int:
        """Number of live videos whose view is predicted only."""
        return self._count(SEEN_VIEW.is_distinct_from(videos.c.view))

    def unverified(self) -> int:
        """Number of live videos whose vectors came from elsewhere, with no probe that shows that they are right."""
        return self._count(videos.c.unverified.is_not(None))


class Attributes(Subject):
    """Which attributes there are, and their values for videos."""

    def columns(self) -> list[AttributeColumn]:
        """The manifest columns that are kept as attributes, in the order in which they came."""
        rows = self._connection.execute(select(attribute_columns).order_by(attribute_columns.c.number))
        return [AttributeColumn(*row) for row in rows]

    def declare(self, types: Mapping[str, AttributeType]) -> None:
        """Make sure that there is a column for each attribute; whole numbers become real where fractions come.

        BadManifest when text would go among numbers.
        """
        known = {column.name: column for column in self.columns()}
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
                self._write(insert(attribute_columns).values(number=number, name=name, type=wanted))
                # No declared type: SQLite then keeps each value as it is.
                self._write(text(f"ALTER TABLE attributes ADD COLUMN a{number}"))
            elif (known[name].type, wanted) == ("integer", "real"):
                self._write(update(attribute_columns).where(attribute_columns.c.name == name).values(type="real"))
                column = f"a{known[name].number}"
                beyond = text(f"SELECT 1 FROM attributes WHERE abs({column}) >= {2**53} LIMIT 1")
                if self._connection.execute(beyond).first():
                    raise BadManifest(
                        f"attribute {name!r} holds whole numbers of 2^53 and above in this index, which fractions "
                        "would round; rename the column"
                    )
                self._write(text(f"UPDATE attributes SET {column} = CAST({column} AS REAL)"))
            elif wanted == "text" and known[name].type != "text":
                raise BadManifest(
                    f"attribute {name!r} holds numbers ({known[name].type}) in this index, and text in the "
                    "manifest; leave cells without a number empty, or rename the column"
                )

    def add(self, values: Mapping[int, Mapping[str, AttributeValue]]) -> None:
        """Keep the attributes of new videos, by id; they have to be declared."""
        columns = self.columns()
        wide = attributes_table([(column.number, column.type) for column in columns])
        rows = [
            {"video_id": video_id}
            | {f"a{column.number}": _as(column, attributes.get(column.name)) for column in columns}
            for video_id, attributes in values.items()
            if attributes
        ]
        if rows:
            self._write(insert(wide), rows)

    def change(self, changes: Iterable[tuple[int, Mapping[str, AttributeValue]]]) -> None:
        """Set some attributes of videos, by id; they have to be declared."""
        columns = {column.name: column for column in self.columns()}
        wide = attributes_table([(column.number, column.type) for column in columns.values()])
        for video_id, attributes in changes:
            now = {f"a{columns[name].number}": _as(columns[name], value) for name, value in attributes.items()}
            if now and self._write(update(wide).where(wide.c.video_id == video_id).values(now)).rowcount == 0:
                self._write(insert(wide).values(video_id=video_id, **now))


def _as(column: AttributeColumn, value: AttributeValue) -> AttributeValue:
    """A value in the type of its column, which may have come from another manifest."""
    if value is None or column.type == "integer":
        return value
    return str(value) if column.type == "text" else float(value)
