"""What every subject of the catalog stands on: its transaction, paths as text, and the folders that files lie below."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import BigInteger, Column, Connection, Executable, Integer, MetaData, Table, Text, insert, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.types import TypeDecorator

from echosearch.config import FORMAT_VERSION
from echosearch.errors import NewerFormat

_AT_ONCE: Final = 400
"""Parameters in one statement; SQLite's oldest limit is 999."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Session:
    """One transaction. `generation` is the commit that is read, or the one in the making; `now` is its time, ISO 8601.

    Where only reading is meant, `now` is None.
    """

    connection: Connection
    generation: int
    now: str | None = None


class Subject:
    """The tables of one subject within a transaction: what is read from them and what is written to them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection

    @property
    def _now(self) -> str:
        if self._session.now is None:
            raise TypeError("a reader's transaction changes nothing; see Writer.transaction")
        return self._session.now

    def _write(self, statement: Executable, rows: list[dict[str, Any]] | None = None) -> CursorResult[Any]:
        """Change something, for each of some rows. TypeError in a transaction that only reads."""
        assert self._now
        return self._connection.execute(statement, rows)

    def _write_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """`_write`, for a million rows of numbers, which SQLite itself moves in seconds."""
        assert self._now
        self._driver.executemany(statement, rows)

    @property
    def _driver(self) -> sqlite3.Connection:
        """SQLite itself, in the same transaction: for a million rows of numbers, which it moves in seconds."""
        driver: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]
        return driver


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


class Roots(Subject):
    """The folders below which all files lie."""

    def all(self) -> list[Path]:
        """The folders below which all videos lie."""
        return [Path(path) for path in self._connection.execute(select(roots.c.path)).scalars()]

    def place(self, root: Path, path: Path) -> tuple[int, str]:
        """Root and relative path of a file: below a root that is known already, else below `root`."""
        known = {Path(row.path): int(row.id) for row in self._connection.execute(select(roots.c.id, roots.c.path))}
        found = root_of(path, known)
        if found is None:
            found = root
            added = insert(roots).values(path=str(root)).returning(roots.c.id)
            known[root] = self._write(added).scalar_one()
        return known[found], str(path.relative_to(found))

    def members(self, paths: Sequence[Path]) -> Iterator[tuple[int, Path, list[str]]]:
        """The paths below each root that has any, relative to it."""
        known = {Path(path): root_id for root_id, path in self._connection.execute(select(roots.c.id, roots.c.path))}
        members: dict[Path, list[str]] = defaultdict(list)
        for path in paths:
            if (root := root_of(path, known)) is not None:
                members[root].append(str(path.relative_to(root)))
        for root, relative in members.items():
            yield known[root], root, relative

    def rows_at(
        self, table: Table, paths: Sequence[Path], names: Sequence[str], *where: Any
    ) -> Iterator[tuple[Path, Any]]:
        """Each of `paths` that a table has, with some columns."""
        columns = [table.c[name] for name in names]
        for root_id, root, members in self.members(paths):
            for chunk in chunks(members):
                here = (table.c.root_id == root_id, table.c.relative_path.in_(chunk))
                for path, *row in self._connection.execute(
                    select(table.c.relative_path, *columns).where(*here, *where)
                ):
                    yield root / path, row


def root_of(path: Path, known: Mapping[Path, int]) -> Path | None:
    """The longest known root that holds a path."""
    return next((parent for parent in path.parents if parent in known), None)


def chunks(items: Sequence[Item], size: int = _AT_ONCE) -> Iterator[Sequence[Item]]:
    """The items, at most so many at once."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def catalog_format(connection: sqlite3.Connection) -> int:
    """The format of a catalog; SQLite's own `user_version`, so that it changes with the tables or not at all."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) or 1  # format 1 did not set it


def refuse_newer(path: Path, version: int) -> None:
    """NewerFormat for what a later echosearch has written: its meaning is not known here."""
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"{path} has format {version}, and this echosearch reads up to {FORMAT_VERSION}; update echosearch"
        )
