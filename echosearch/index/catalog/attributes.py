"""The other columns of manifests: a wide table with a column for each. Knows no video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, Table, Text, insert, select, text, update

from echosearch.errors import BadManifest
from echosearch.index.catalog.base import Subject, metadata

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
