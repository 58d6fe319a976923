"""How a person leaves an index folder for good: every entry of the folder says how. At once, without grace.

The catalog's rows go last: whatever dies on the way, the person can still be named, and purged again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final

import numpy as np

from echosearch.errors import BackendError
from echosearch.index.catalog import Person, Rewriters
from echosearch.index.upkeep import drop_vectors, erase_replaced, refuse_damaged
from echosearch.index.writer import Writer
from echosearch.types import Answer

OUT_OF_REACH: Final = (
    "the files of the archive themselves, which echosearch never changes",
    "what was written elsewhere: exports, reports, contact sheets, audit sheets, files of labels",
    "other indexes, and copies of this one: backups, snapshots, what the disk keeps of erased files",
    "segments that a repair dropped while their disk was away, until the first write after it is back",
    "commands as the shell remembers them",
)
"""What a purge does not remove, in the words of a receipt."""


def _segments(writer: Writer, person: Person) -> int:
    """Segments that hold the person are written anew without it; replaced and unknown ones are erased now."""
    drop_vectors(writer, np.array(sorted(person.ids), np.int64))
    return erase_replaced(writer)


def _faiss(writer: Writer, _: Person) -> int:
    writer.finish(anew=True)
    return 0


def _whole(pattern: str) -> Callable[[Writer, Person], int]:
    """Entries that are of use, but not needed, go as a whole."""

    def purge(writer: Writer, _: Person) -> int:
        gone = [path for path in writer.path.iterdir() if fnmatch(path.name, pattern)]
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return len(gone)

    return purge


def _nothing(_: Writer, __: Person) -> int:
    """Of nobody, or purged elsewhere: the catalog by its tables, the holder of the lock when the lock is let go."""
    return 0


ENTRIES: Final[dict[str, Callable[[Writer, Person], int]]] = {
    "segments": _segments,
    "ann": _faiss,
    "cache": _whole("cache"),
    "before-format-*": _whole("before-format-*"),
    ".partial-*": _whole(".partial-*"),
    "manifest.json": _nothing,
    "catalog.sqlite*": _nothing,
    "writer.lock": _nothing,
    "writer.json": _nothing,
}
"""How each entry of an index folder is purged, in this order."""


class _Tried(Exception):
    """Takes a transaction back that was tried only."""


@dataclass(frozen=True, slots=True)
class Purged(Answer):
    """What went: numbers of videos, of parts by entry of the index folder, and of rows by table."""

    videos: int
    entries: dict[str, int]
    tables: dict[str, int]


def purge(writer: Writer, person: Person, rewriters: Rewriters) -> Purged:
    """Purge a person from an index, whose lock is ours; what went, by entry and by table.

    BackendError when a reader keeps the catalog's log from being emptied.
    """
    refuse_damaged(writer, person.ids)
    with suppress(_Tried), writer.transaction() as transaction:
        transaction.purging.purge(person, rewriters)
        raise _Tried  # nothing is erased before it is certain that the catalog can let go as well
    writer.delete(person.ids)
    gone = {entry: how(writer, person) for entry, how in ENTRIES.items()}
    (writer.path / "cache").mkdir(exist_ok=True)
    with writer.transaction() as transaction:
        tables = transaction.purging.purge(person, rewriters)
    if not writer.catalog_file.shrink():
        raise BackendError(
            f"everything is purged from {writer.path} except the catalog's log, which another process is reading; end "
            "that process, then run: echosearch compact"
        )
    return Purged(len(person.ids), gone, tables)
