"""The segments in which the vectors of videos lie, and those that were replaced. Knows no vector."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Float, Table, Text, delete, func, insert, select, update

from echosearch.index.catalog.base import Subject, chunks, metadata
from echosearch.index.catalog.videos import videos

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


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """An active segment with what the catalog knows of its ids: their number, digest and sum."""

    name: str
    count: int
    ids_sha256: str
    videos: int
    ids_sum: int


class Size(NamedTuple):
    """An active segment: its name, number of rows, and with what its vectors were made (JSON)."""

    name: str
    rows: int
    numerics: str


class Segments(Subject):
    """Which segments are active or retired, and which videos lie in them."""

    def active(self) -> list[SegmentRow]:
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

    def sizes(self) -> list[Size]:
        """The active segments, oldest first."""
        order = (segments.c.added_generation, segments.c.name)
        rows = self._connection.execute(select(segments.c.name, segments.c.count, segments.c.numerics).order_by(*order))
        return [Size(*row) for row in rows]

    def retired(self) -> dict[str, float]:
        """Segments that were replaced, and when (seconds since 1970); readers of an older commit may use them."""
        rows = self._connection.execute(select(retired.c.name, retired.c.retired_at))
        return {row.name: row.retired_at for row in rows}

    def ids_in(self, segment: str) -> list[int]:
        """All ids, deleted ones included, whose vectors lie in a segment, ascending."""
        query = select(videos.c.id).where(videos.c.segment == segment).order_by(videos.c.id)
        return list(self._connection.execute(query).scalars())

    def of(self, ids: Iterable[int]) -> dict[int, str | None]:
        """Those of some ids that the catalog has, deleted ones included, and the segment that each lies in, or None."""
        found: dict[int, str | None] = {}
        for chunk in chunks(sorted(ids)):
            rows = self._connection.execute(select(videos.c.id, videos.c.segment).where(videos.c.id.in_(chunk)))
            found.update((row.id, row.segment) for row in rows)
        return found

    def dead_ids(self) -> list[int]:
        """Ids whose vectors still lie in a segment and which are not to be found, ascending."""
        dead = videos.c.deleted_at.is_not(None) & videos.c.segment.is_not(None)
        return list(self._connection.execute(select(videos.c.id).where(dead).order_by(videos.c.id)).scalars())

    def add(self, name: str, count: int, ids_sha256: str, numerics: str) -> None:
        """Make a segment active."""
        self._write(
            insert(segments).values(
                name=name,
                count=count,
                ids_sha256=ids_sha256,
                numerics=numerics,
                added_generation=self._session.generation,
            )
        )

    def move_rows(self, names: Sequence[str], into: str | None, dropped: Sequence[int]) -> None:
        """Say that the vectors of these segments lie in another one now; those of the ids `dropped` are gone."""
        for chunk in chunks(dropped):
            self._write(update(videos).where(videos.c.id.in_(chunk)).values(segment=None))
        for some in chunks(names):
            self._write(update(videos).where(videos.c.segment.in_(some)).values(segment=into))

    def retire(self, names: Sequence[str], is_kept: bool = False) -> int:
        """Let go of segments; videos that still lie in one have no vectors any more and are deleted. Their number.

        With `is_kept` the grace time of their folders never ends.
        """
        retired_at = math.inf if is_kept else time.time()
        lost = 0
        for name in names:
            here = videos.c.segment == name
            live = here & videos.c.deleted_at.is_(None)
            lost += self._write(update(videos).where(live).values(deleted_at=self._now)).rowcount
            self._write(update(videos).where(here).values(segment=None))
            self._write(delete(segments).where(segments.c.name == name))
            self._write(insert(retired).values(name=name, retired_at=retired_at))
        return lost

    def forget_retired(self, names: Sequence[str]) -> None:
        """Say that the folders of these retired segments are gone."""
        for chunk in chunks(names):
            self._write(delete(retired).where(retired.c.name.in_(chunk)))
