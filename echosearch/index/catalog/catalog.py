"""Connections and transactions on `catalog.sqlite`: a reader's is one snapshot, a writer's ends with one commit."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from echosearch.config import FORMAT_VERSION
from echosearch.errors import BackendError, DamagedIndex, InputError
from echosearch.index.catalog.base import Roots, Session, catalog_format, metadata, refuse_newer, state
from echosearch.index.catalog.conditions import Conditions
from echosearch.index.catalog.files import Deleted, Failures, Files
from echosearch.index.catalog.kept import Cohorts, Learned
from echosearch.index.catalog.migrations import migrate
from echosearch.index.catalog.purge import Purging
from echosearch.index.catalog.segments import Segments
from echosearch.index.catalog.sweeps import Sweeps
from echosearch.index.catalog.videos import Attributes, Counts, Videos, attributes_table
from echosearch.types import seen_view

_BUSY_SECONDS: Final = 30.0
"""How long to wait for SQLite's own short locks; the writers' lock lies above and is asked first."""

_LOG_BYTES: Final = 64 * 1024
"""More than the files need that SQLite makes beside a catalog for its first reader."""


class CatalogReader:
    """One moment of the catalog, subject by subject; all is read in one transaction. Knows no vector."""

    def __init__(self, connection: Connection, now: str | None = None) -> None:
        # Read at once: SQLite takes its snapshot at the first read, not at BEGIN.
        told = connection.execute(select(state.c.generation, state.c.description)).one()
        self.generation: int = told.generation if now is None else told.generation + 1
        self.description: str | None = told.description
        """What the index is bound to, as JSON; None while `manifest.json` says so, as when it was made."""
        self._connection = connection
        session = Session(connection, self.generation, now)
        self.videos = Videos(session)
        self.attributes = Attributes(session)
        self.segments = Segments(session)
        self.files = Files(session)
        self.roots = Roots(session)
        self.failures = Failures(session)
        self.deleted = Deleted(session)
        self.counts = Counts(session)
        self.conditions = Conditions(session)
        self.sweeps = Sweeps(session)
        self.fitted = Learned(session)
        self.cohorts = Cohorts(session)
        self.purging = Purging(session)

    def next_video_id(self) -> int:
        """The id that will be given next; all that were ever given are lower."""
        return int(self._connection.execute(select(state.c.next_video_id)).scalar_one())

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the catalog."""
        told = [str(row[0]) for row in self._connection.exec_driver_sql("PRAGMA integrity_check")]
        keys = [
            f"{row[0]} row {row[1]} points to nothing"
            for row in self._connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
        return [line for line in told if line != "ok"] + keys


class Transaction(CatalogReader):
    """One commit in the making, the generation that it will be; nothing of it is seen by anyone before it ends."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, datetime.now(UTC).isoformat(timespec="seconds"))

    def describe(self, description: str) -> None:
        """Say what the index is bound to from this commit on (JSON)."""
        self._connection.execute(update(state).values(description=description))


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
    def reading(self) -> Iterator[CatalogReader]:
        """A snapshot: all that is read within sees one and the same commit."""
        if self._writable or not _is_without_log(self._path):
            with self._connection("BEGIN") as connection:
                yield CatalogReader(connection)
            return
        before = _stamp(self._path)
        with self._connection("BEGIN", self._unlogged_engine) as connection:
            yield CatalogReader(connection)
        if _stamp(self._path) != before:  # such a reader holds no lock, so two commits may be mixed in what it saw
            raise BackendError(f"the catalog {self._path} was changed while it was being read; try again")

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

    def shrink(self) -> bool:
        """Write the file anew without what was deleted, and empty the log; False while somebody reads older states."""
        with _named_errors(self._path), closing(_connect(self._path, "rw")) as connection:
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

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
                # SQLite may have rolled back by itself, an interrupt may have cut the connection: keep what tells why.
                with suppress(SQLAlchemyError, sqlite3.Error):
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")


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
            connection = _migrated(connection)
        connection.create_function("seen_view", 2, seen_view, deterministic=True)
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "handle_error", _refuse_what_sqlite_cannot_hold)
    return engine


def _refuse_what_sqlite_cannot_hold(context: ExceptionContext) -> None:
    """A value of the user's, in a query, that is of no kind that SQLite has."""
    error = context.original_exception
    if isinstance(error, OverflowError):
        raise InputError(
            "a whole number that was given is beyond 64 bits; nothing in an index is that large"
        ) from error
    if isinstance(error, UnicodeEncodeError):
        raise InputError(f"{error.object[:200]!r} is not UTF-8 text, so nothing in an index has that name") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
    try:
        refuse_newer(path, catalog_format(connection))
        connection.execute("PRAGMA foreign_keys=ON")
        if mode == "rw":
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")  # what is deleted reads as zeros at once
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
