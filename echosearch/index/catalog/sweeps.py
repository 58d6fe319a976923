"""Scores of tasks for videos, each with what decides them. Knows no task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
)

from echosearch.index.catalog.base import Subject, metadata

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

_IDENTITY: Final = ("content_id", "form", "formula_version", "recipe", "precision")


@dataclass(frozen=True, slots=True)
class SweepKey:
    """What a column of scores is of. Equal but for `task` and `definition` means equal scores.

    `content_id` digests what decides the scores; `columns` names them; `definition` is the task whole, as JSON;
    `precision` is that of the text embeddings.
    """

    task: str
    content_id: str
    form: str
    formula_version: int
    recipe: str
    precision: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A sweep that was begun, with its number of scored videos; deleted ones count."""

    sweep_id: int
    key: SweepKey
    created_at: str
    videos: int


class Sweeps(Subject):
    """All sweeps and their scores."""

    def all(self) -> list[SweepRow]:
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

    def id_of(self, key: SweepKey) -> int | None:
        """The sweep that holds such scores, or None."""
        found = select(sweeps.c.id).where(*(sweeps.c[name] == getattr(key, name) for name in _IDENTITY))
        return self._connection.execute(found).scalar_one_or_none()

    def scores(self, sweep_id: int, column: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Ids (n,) ascending and values (n,) float64 of one column of a sweep; deleted videos are among them."""
        rows = self._driver.execute(
            'SELECT video_id, value FROM scores WHERE sweep_id = ? AND "column" = ? ORDER BY video_id',
            (sweep_id, column),
        )
        table = np.fromiter(rows, dtype=np.dtype([("id", np.int64), ("value", np.float64)]))
        return np.ascontiguousarray(table["id"]), np.ascontiguousarray(table["value"])

    def add(self, key: SweepKey, ids: npt.NDArray[np.int64], columns: Sequence[npt.NDArray[np.float64]]) -> None:
        """Keep the scores of videos (n,) ascending, each column (n,); a score that is there is replaced."""
        sweep_id = self.id_of(key)
        if sweep_id is None:
            values = {name: getattr(key, name) for name in (*_IDENTITY, "task", "definition")}
            added = insert(sweeps).values(**values, columns=json.dumps(key.columns), created_at=self._now)
            sweep_id = self._write(added.returning(sweeps.c.id)).scalar_one()
        for number, values_of in enumerate(columns):
            rows = zip(repeat(sweep_id), repeat(number), ids.tolist(), values_of.tolist(), strict=False)
            self._write_many("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def forget_scores(self, ids: Sequence[int]) -> None:
        """Drop the scores of videos whose vectors are gone."""
        for sweep_id, names in self._connection.execute(select(sweeps.c.id, sweeps.c.columns)).all():
            for column in range(len(json.loads(names))):
                rows = ((sweep_id, column, video_id) for video_id in ids)
                self._write_many('DELETE FROM scores WHERE sweep_id = ? AND "column" = ? AND video_id = ?', rows)


def _sweep_key(row: Any) -> SweepKey:
    told = {name: getattr(row, name) for name in (*_IDENTITY, "task", "definition")}
    return SweepKey(**told, columns=tuple(json.loads(row.columns)))
