"""Which live videos a condition holds for, decided by SQL. Knows names that are resolved; no text of a filter.

What a user wrote gets into SQL as bound parameters only. SQL's three truth values are those of `filters`: 1 is yes,
-1 no, and 0 unknown.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    column,
    func,
    not_,
    or_,
    select,
    table,
)

from echosearch.filters import (
    All,
    Between,
    Compare,
    Condition,
    Decided,
    Either,
    Flag,
    KnownName,
    Like,
    Missing,
    Name,
    Not,
    OneOf,
    Operator,
    Value,
    ValueType,
    date_prefix,
    names as names_of,
)
from echosearch.index.catalog.base import Subject
from echosearch.index.catalog.videos import SEEN_VIEW, attributes_table, videos
from echosearch.types import alike

Ids = npt.NDArray[np.int64]
Parts = tuple[str, ...]
Columns = Mapping[Parts, ColumnElement[Any]]
Measure = tuple[Ids, Sequence[float | str | None] | npt.NDArray[np.float64]]
"""Ids (n,) ascending and their n values; None and NaN are unknown, and so are videos that are not among the ids."""

Measures = Mapping[Parts, Measure]

FIELDS: Final[Mapping[str, ValueType]] = {
    "video_id": "number",
    "study": "text",
    "patient": "text",
    "view": "text",
    "view_predicted": "text",
    "kind": "text",
    "unverified": "text",
    "acquired_at": "date",
    "added_at": "date",
    "num_frames": "number",
    "num_embedded_frames": "number",
    "height": "number",
    "width": "number",
    "fps": "number",
    "duration_seconds": "number",
    "size_bytes": "number",
}
"""What can be asked of every video, as `video.NAME`."""

_ROWS_AT_ONCE: Final = 10_000

VIEW: Final = ("video", "view")
_NAMED_OTHERWISE: Final[Mapping[str, ColumnElement[Any]]] = {
    "video_id": videos.c.id,
    "view": SEEN_VIEW,
    "duration_seconds": videos.c.num_frames / videos.c.fps,  # by 0 it is NULL
}

_COMPARED: Final[Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The live videos for which a condition is true, ids (n,) int64 ascending, and the numbers of all others."""

    ids: Ids
    no: int
    unknown: int


class Conditions(Subject):
    """Which live videos conditions hold for.

    `names` tells what the names in the conditions stand for, `attributes` which number the column of an attribute has
    in the wide table. A name that is neither a field nor an attribute is one of the `measures`.
    """

    def matching(
        self, condition: Condition, names: Mapping[Name, KnownName], attributes: Mapping[str, int], measures: Measures
    ) -> Matches:
        """The live videos for which a condition is true.

        SQL counts the others, so that only the ids that are wanted are fetched.
        """
        [told], source, wanted = _asked(self._connection, [condition], names, attributes)
        live = videos.c.deleted_at.is_(None)
        matched = select(videos.c.id).select_from(source).where(live, told).order_by(videos.c.id)
        unknown = select(func.count()).select_from(source).where(live, told.is_(None))
        everything = select(func.count()).select_from(videos).where(live)
        with _measured(self._connection, [measures[parts] for parts in wanted]):
            ids = np.fromiter(self._connection.execute(matched).scalars(), np.int64)
            of_unknown = int(self._connection.execute(unknown).scalar_one())
        number = int(self._connection.execute(everything).scalar_one())
        return Matches(ids, number - len(ids) - of_unknown, of_unknown)

    def decisions(
        self,
        conditions: Sequence[Condition],
        names: Mapping[Name, KnownName],
        attributes: Mapping[str, int],
        measures: Measures,
    ) -> tuple[Ids, Decided]:
        """Of every live video, ids (n,) ascending, whether each condition is true (1), unknown (0) or false (-1)."""
        told, source, wanted = _asked(self._connection, conditions, names, attributes)
        query = (
            select(videos.c.id, *(case({1: 1, 0: -1}, value=one, else_=0) for one in told))
            .select_from(source)
            .where(videos.c.deleted_at.is_(None))
            .order_by(videos.c.id)
        )
        with _measured(self._connection, [measures[parts] for parts in wanted]):
            return _rows(self._connection, query, len(conditions))

    def spellings(
        self, known: KnownName, attributes: Mapping[str, int], texts: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """Texts that no live video has in a field or attribute, and how it writes them in another case or with blanks.

        ASCII letters are alike in both cases, and blanks around a text do not count.
        """
        columns, source = _columns({known}, attributes, ())
        place, live = columns[known.parts], videos.c.deleted_at.is_(None)
        there = select(place).select_from(source).where(live, place.in_(texts)).distinct()
        absent = sorted(set(texts) - set(self._connection.execute(there).scalars()))
        if not absent:
            return {}
        plain = func.lower(func.trim(place))
        asked = {text: _plain(text) for text in absent}
        alike = select(place).select_from(source).where(live, plain.in_(set(asked.values()))).distinct().order_by(place)
        written = defaultdict(list)
        for value in self._connection.execute(alike).scalars():
            written[_plain(value)].append(value)
        return {text: tuple(written[simple]) for text, simple in asked.items()}


def _plain(text: str) -> str:
    """As SQLite's `lower(trim())`, which knows blanks and ASCII letters only."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text.strip(" "))


def _asked(
    connection: Connection,
    conditions: Sequence[Condition],
    names: Mapping[Name, KnownName],
    attributes: Mapping[str, int],
) -> tuple[list[ColumnElement[bool]], FromClause, list[Parts]]:
    """The conditions as SQL, the tables that they need, and the measures among their names."""
    used = {names[name] for condition in conditions for name in names_of(condition)}
    wanted = sorted(known.parts for known in used if not _is_field(known.parts) and known.parts[0] != "attr")
    columns, source = _columns(used, attributes, wanted)
    is_of_views = any(known.parts == VIEW for known in used)
    views = connection.execute(select(SEEN_VIEW).distinct()).scalars().all() if is_of_views else []
    return [_expression(condition, names, columns, views) for condition in conditions], source, wanted


def _is_field(parts: Parts) -> bool:
    return parts[0] == "video" and parts[1] in FIELDS


def _columns(
    used: set[KnownName], attributes: Mapping[str, int], measured: Sequence[Parts]
) -> tuple[Columns, FromClause]:
    """The column behind each name, and the tables that these stand in, no more than are needed."""
    columns: dict[Parts, ColumnElement[Any]] = {("video", name): _field(name) for name in FIELDS}
    source: FromClause = videos
    kept = {known: attributes[known.parts[1]] for known in used if known.parts[0] == "attr"}
    if kept:
        types = {number: "text" if known.type == "text" else "real" for known, number in kept.items()}
        wide = attributes_table(list(types.items()))
        source = source.outerjoin(wide, wide.c.video_id == videos.c.id)
        columns |= {known.parts: wide.c[f"a{number}"] for known, number in kept.items()}
    if measured:
        names = [f"m{number}" for number in range(len(measured))]
        beside = table("measured", column("video_id"), *map(column, names), schema="temp")
        source = source.outerjoin(beside, beside.c.video_id == videos.c.id)
        columns |= {parts: beside.c[name] for parts, name in zip(measured, names, strict=True)}
    return columns, source


def _field(name: str) -> ColumnElement[Any]:
    return _NAMED_OTHERWISE[name] if name in _NAMED_OTHERWISE else videos.c[name]


def _expression(
    condition: Condition, names: Mapping[Name, KnownName], columns: Columns, views: Sequence[str | None]
) -> ColumnElement[bool]:
    """As SQL; `views` are all that videos have as they are written, of which those alike are meant."""
    match condition:
        case Not(inner):
            return not_(_expression(inner, names, columns, views))
        case All(parts):
            return and_(*(_expression(part, names, columns, views) for part in parts))
        case Either(parts):
            return or_(*(_expression(part, names, columns, views) for part in parts))
    known = names[condition.name]
    place = columns[known.parts]
    is_date = known.type == "date"
    match condition:
        case Missing():
            return place.is_(None)
        case Flag():
            return place == 1
        case Like(pattern=pattern):
            return place.like(pattern)
        case Compare(operator="=" | "!=" as operator_, value=str(view)) if known.parts == VIEW:
            return place.in_(alike([view], views)) if operator_ == "=" else place.not_in(alike([view], views))
        case Compare(operator=operator_, value=value):
            return _compared(place, operator_, value, is_date)
        case Between(low=low, high=high):
            return _compared(place, ">=", low, is_date) & _compared(place, "<=", high, is_date)
        case OneOf(values=values):
            meant = alike(list(map(str, values)), views) if known.parts == VIEW else values
            return _one_of(place, meant, is_date)


def _compared(place: ColumnElement[Any], operator_: Operator, value: Value, is_date: bool) -> ColumnElement[bool]:
    """A comparison; a date stands for all moments that begin like it: their first characters are compared."""
    if is_date:
        prefix = _prefix(value)
        return _COMPARED[operator_](func.substr(place, 1, len(prefix)), prefix)
    return _COMPARED[operator_](place, value)


def _one_of(place: ColumnElement[Any], values: Sequence[Value], is_date: bool) -> ColumnElement[bool]:
    if not is_date:
        # SQLAlchemy binds all values as it does the first; as floats, whole numbers beyond 2**53 would be rounded.
        return place.in_(sorted(values, key=lambda value: isinstance(value, float)))
    by_length = defaultdict(list)
    for prefix in map(_prefix, values):
        by_length[len(prefix)].append(prefix)
    return or_(*(func.substr(place, 1, length).in_(prefixes) for length, prefixes in by_length.items()))


def _prefix(value: Value) -> str:
    prefix = date_prefix(value) if isinstance(value, str) else None
    if prefix is None:
        raise ValueError(f"{value!r} is no date, which `resolve` would have said")
    return prefix


@contextmanager
def _measured(connection: Connection, measures: Sequence[Measure]) -> Iterator[None]:
    """A temporary table with a row for each video of any measure: columns `video_id` and m0, m1, ... in their order.

    It is in memory and this connection's own, so a reader of a catalog that nobody may write to can have it as well.
    """
    if not measures:
        yield
        return
    ids = np.unique(np.concatenate([ids for ids, _ in measures]))
    values = np.full((len(measures), len(ids)), None, dtype=object)
    for row, (own_ids, own_values) in zip(values, measures, strict=True):
        row[np.searchsorted(ids, own_ids)] = own_values
    names = [f"m{number}" for number in range(len(measures))]
    driver: Any = connection.connection.driver_connection
    connection.exec_driver_sql("PRAGMA temp_store=MEMORY")
    connection.exec_driver_sql(f"CREATE TEMP TABLE measured (video_id INTEGER PRIMARY KEY, {', '.join(names)})")
    try:
        # SQLite keeps NaN as NULL.
        places = ", ".join("?" * (1 + len(names)))
        driver.executemany(f"INSERT INTO temp.measured VALUES ({places})", zip(ids.tolist(), *values, strict=True))
        yield
    finally:
        connection.exec_driver_sql("DROP TABLE IF EXISTS temp.measured")


def _rows(connection: Connection, query: Select[Any], count: int) -> tuple[Ids, Decided]:
    """What a query of an id and `count` small numbers finds."""
    blocks = [np.empty((0, 1 + count), np.int64)]
    with connection.execute(query) as rows:
        for some in rows.partitions(_ROWS_AT_ONCE):
            blocks.append(np.fromiter(chain.from_iterable(some), np.int64).reshape(-1, 1 + count))
    found = np.concatenate(blocks)
    return found[:, 0].copy(), found[:, 1:].astype(np.int8)
