"""The tables. Paths are text in which `%` and bytes that are not UTF-8 are written as `%XX`."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator


class PathText(TypeDecorator[str]):
    """A file name of any bytes as readable, reversible text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """A path with surrogate escapes, as stored."""
        if value is None:
            return None
        return re.sub("[%\udc80-\udcff]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        """A stored path, with surrogate escapes again."""
        if value is None:
            return None

        def character(match: re.Match[str]) -> str:
            byte = int(match[1], 16)
            return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)

        return re.sub("%([0-9A-F]{2})", character, value)


metadata = MetaData()

state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("next_video_id", BigInteger, nullable=False),
    Column("purge_key", Text),  # with which what is purged is hashed; made by the first purge
    Column("description", Text),  # JSON, once it has changed with the videos: then manifest.json is a copy of this
)

roots = Table(
    "roots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", PathText, nullable=False, unique=True),
)

segments = Table(
    "segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("ids_sha256", Text, nullable=False),
    Column("numerics", Text, nullable=False),
    Column("added_generation", BigInteger, nullable=False),
)

retired = Table(
    "retired",
    metadata,
    Column("name", Text, primary_key=True),
    Column("retired_at", Float, nullable=False),  # seconds since 1970
)

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

attribute_columns = Table(
    "attribute_columns",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("video_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("root_id", Integer, ForeignKey("roots.id"), nullable=False),
    Column("relative_path", PathText, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Index("tombstone_path", "root_id", "relative_path"),
    Index("tombstone_content", "content_sha256"),
)

purged = Table(
    "purged",
    metadata,
    Column("keyed_hash", Text, primary_key=True),  # of bytes or of a place that are not to come back silently
)

failures = Table(
    "failures",
    metadata,
    Column("root_id", Integer, ForeignKey("roots.id"), nullable=False),
    Column("relative_path", PathText, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", PathText, nullable=False),
    Column("size_bytes", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("failed_at", Text, nullable=False),
    UniqueConstraint("root_id", "relative_path"),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task", Text, nullable=False),
    Column("content_id", Text, nullable=False),  # of what decides the scores, whatever the task is called
    Column("form", Text, nullable=False),
    Column("formula_version", Integer, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("columns", Text, nullable=False),  # JSON: a name for each column of its scores
    Column("definition", Text, nullable=False),  # JSON: the task as it was when it was first swept
    Column("created_at", Text, nullable=False),
    UniqueConstraint("content_id", "form", "formula_version", "recipe", "precision"),
)

scores = Table(
    "scores",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweeps.id"), primary_key=True),
    Column("column", Integer, primary_key=True),
    Column("video_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("value", Float, nullable=False),
    sqlite_with_rowid=False,  # a column of scores is read in one run, by id
)

fitted = Table(
    "fitted",
    metadata,
    Column("kind", Text, primary_key=True),  # calibration, probe
    Column("name", Text, primary_key=True),
    Column("recipe", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON
    Column("created_at", Text, nullable=False),
)

cohorts = Table(
    "cohorts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: the whole selection, members included
    Column("created_at", Text, nullable=False),
)

audits = Table(
    "audits",
    metadata,
    Column("cohort", Text, ForeignKey("cohorts.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: what was sampled, and how it was judged
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
