"""One index on disk: description, catalog, segments and FAISS, which change together or not at all.

A reader opens a `View` of one generation; a writer holds the one lock and commits batches. Knows no model and
no video file.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from echosearch.config import FORMAT_VERSION
from echosearch.errors import IndexLocked, IndexStateError
from echosearch.files import PARTIAL, fsync_path, refuse_inside_index
from echosearch.index.catalog import Catalog
from echosearch.index.description import (
    MANIFEST,
    IndexDescription,
    named_disk_errors,
    read_description,
    write_json,
    written_format,
)
from echosearch.index.migrating import migrate_index
from echosearch.index.snapshot import CATALOG, Snapshots
from echosearch.index.vectors import FramesDtype
from echosearch.index.writer import Writer
from echosearch.outputs import Output
from echosearch.types import EncoderCard, Fingerprint, finite

_LOCK: Final = "writer.lock"
_HOLDER: Final = "writer.json"
HOLDERS: Final = (_LOCK, _HOLDER)
"""The files of the lock in an index folder."""


class Store(Snapshots):
    """An index folder, open for reading; `writer` opens it for writing as well."""

    def __init__(self, path: Path) -> None:
        """Open the index in a folder. IndexStateError says why it cannot be used."""
        super().__init__(path, read_description(path), Catalog(path / CATALOG))

    @classmethod
    def create(cls, path: Path, card: EncoderCard, probe: Fingerprint, frames_dtype: FramesDtype = "float32") -> Store:
        """A new, empty index in a folder that does not exist or is empty; it exists once its description does."""
        return cls.create_as(path, IndexDescription.of(card, probe, frames_dtype))

    @classmethod
    def create_as(cls, path: Path, description: IndexDescription) -> Store:
        """`create`, with a given description; where another process made one first, that one is opened.

        The description is then that process' own: whoever adds to the index has to check that it is the same.
        """
        refuse_inside_index(path)
        with named_disk_errors(path):
            if not os.path.lexists(path):
                with _made(path.with_name(f"{PARTIAL}{path.name}"), description) as partial:
                    _move(partial, path)
        if not cls.exists(path):
            _make_in_place(path, description)
        return cls(path)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is an index in this folder."""
        return (path / MANIFEST).is_file()

    @property
    def cache_path(self) -> Path:
        """A folder whose contents may be deleted at any time."""
        return self.path / "cache"

    def output(
        self, path: Path, what: str, suffix: str, force: bool | None = False, inputs: Sequence[Path] = ()
    ) -> Output:
        """A file to write for the user, checked: not over `inputs`, nor what is in a source folder or linked there."""
        with self.catalog_only() as catalog:
            files = catalog.files.paths() if force else ()  # without, nothing but our own is replaced
            meant = [file for file in files if file.suffix.lower() == suffix or os.path.islink(file)]  # noqa: PTH114
            return Output(Path(path), what, suffix, (*catalog.roots.all(), *inputs, *meant), force)

    @contextmanager
    def writer(self, wait_seconds: float = 0.0) -> Iterator[Writer]:
        """The right to change the index; IndexLocked says who has it, after waiting for it so long."""
        with lock(self.path, wait_seconds):
            if written_format(self.path) != FORMAT_VERSION:
                migrate_index(self.path)
            writer = Writer(self.path, self.description)
            try:
                yield writer
            finally:
                writer.close()


@contextmanager
def lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the writers' lock of an index; the operating system lets go of it however this process ends."""
    finite("the time to wait, in seconds,", wait_seconds, 0, 1e6)
    holder = path / _HOLDER
    file = FileLock(path / _LOCK, timeout=wait_seconds)
    with named_disk_errors(path):
        try:
            file.acquire()
        except Timeout as error:
            raise IndexLocked(
                f"{path} is being written to by {_who(holder)}; try again later, or --wait SECONDS"
            ) from error
    try:
        with named_disk_errors(path):
            write_json(
                holder,
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "command": " ".join(sys.argv)[:500],
                    "since": datetime.now().astimezone().isoformat(timespec="seconds"),
                },
            )
        yield
        holder.unlink(missing_ok=True)
    finally:
        file.release()


def _who(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text("utf-8"))
        return f"process {told['pid']} on {told['host']} since {told['since']} ({told['command']})"
    except (OSError, ValueError, KeyError):
        return "another process"


_FOLDERS: Final = ("segments", "ann", "cache")
_CATALOG_FILES: Final = (CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm")

_PARTIAL: Final = f"{PARTIAL}new"
"""How the name of an index begins that is made within its folder; what else is not whole is another program's."""

_MAKING_SECONDS: Final = 5.0
"""So long another process that makes an index in the same folder is waited for."""


@contextmanager
def _made(name: Path, description: IndexDescription) -> Iterator[Path]:
    """An empty index under a name of its own that begins so; what is not moved from there is removed."""
    partial = name.with_name(f"{name.name}-{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        for folder in _FOLDERS:
            (partial / folder).mkdir()
        Catalog.create(partial / CATALOG).close()
        write_json(partial / MANIFEST, description.to_dict())
        fsync_path(partial)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, path: Path) -> None:
    """Give a new index its place, unless something appeared there meanwhile."""
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return
        raise
    fsync_path(path.parent)


def _make_in_place(path: Path, description: IndexDescription) -> None:
    """Make an index in an empty folder that is there: a disk's own, a linked one, one in a folder of somebody else.

    What a process that died before the description left there is replaced. IndexStateError if other things are there.
    """
    refusal = IndexStateError(f"{path} exists already and is not an index; give another --index")
    with named_disk_errors(path):
        if not path.is_dir() or (_has_others(path) and not Store.exists(path)):
            raise refusal
    try:
        with lock(path, _MAKING_SECONDS), named_disk_errors(path):
            if Store.exists(path):  # another process has made it
                return
            if not _is_unused(path):
                raise refusal
            with ExitStack() as undoing:
                for name in (*HOLDERS, *_CATALOG_FILES, *_FOLDERS, MANIFEST):  # in turn from the last
                    undoing.callback(_remove, path / name)
                for left in [*(path / name for name in (*_FOLDERS, *_CATALOG_FILES)), *path.glob(f"{_PARTIAL}*")]:
                    _remove(left)
                with _made(path / _PARTIAL, description) as partial:
                    for name in (*_FOLDERS, CATALOG, MANIFEST):
                        fsync_path(path)  # whatever a power cut leaves, the description is not there before all else
                        (partial / name).rename(path / name)
                    fsync_path(path)
                undoing.pop_all()
    except IndexLocked:
        if not Store.exists(path):
            raise


def _has_others(path: Path) -> bool:
    """Whether a folder holds anything that an index on its way does not."""
    ours = {*_FOLDERS, *_CATALOG_FILES, *HOLDERS, f"{PARTIAL}{HOLDERS[1]}", "lost+found"}  # that is in new volumes
    return any(entry.name not in ours and not entry.name.startswith(_PARTIAL) for entry in path.iterdir())


def _is_unused(path: Path) -> bool:
    """Whether a folder without a description was never an index: an index may have lost its description."""
    if any(any((path / name).iterdir()) for name in _FOLDERS if (path / name).exists()):
        return False
    if not (path / CATALOG).exists():
        return True
    with closing(Catalog(path / CATALOG)) as catalog, catalog.reading() as snapshot:
        return snapshot.generation == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
