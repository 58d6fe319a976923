"""Paths and files as users name them, and whole files. Knows an index by the names of its files only.

All that is written is there whole or not at all: it has the name of something partial until it is complete and on disk.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from echosearch.errors import BadOption, InputError

PARTIAL: Final = ".partial-"
"""How the name of what is not yet whole begins; nobody reads it."""

GENERATOR: Final = "echosearch"
"""What pictures (PNG text `Software`) and pages (HTML meta `generator`) written here say near their beginning."""

_MARKS: Final = {
    ".png": (b"\x89PNG\r\n\x1a\n", f"tEXtSoftware\0{GENERATOR}".encode()),
    ".html": (b"<!DOCTYPE html>", f'<meta name="generator" content="{GENERATOR}">'.encode()),
}
_MARKED_BYTES: Final = 512

_INDEX_NAMES: Final = ("manifest.json", "catalog.sqlite", "segments")
"""A folder with two of these is an index, be it a damaged one."""


def absolute(path: Path) -> Path:
    """The absolute path, with `~` and `~name` as home folders where there are such, else as names.

    InputError for what is no path of any file.
    """
    if "\0" in str(path):
        raise InputError(f"a path cannot contain a NUL character: {str(path)[:200]!r}")
    with suppress(RuntimeError):  # no such user, or no home folder at all
        path = path.expanduser()
    return path.absolute()


def is_gone(path: Path) -> bool:
    """Whether there is certainly no such file; one that cannot be looked at, today, is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def refuse_device(path: Path) -> None:
    """OSError where a path that is to be read whole is a device: some have no end."""
    if stat.S_ISCHR(path.stat().st_mode):
        raise OSError(f"{path} is a device, not a file")


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to be read whole. OSError where it is a pipe or device as well: some never begin, others never end.

    Another program may put one in a file's place at any moment, so what was opened is looked at, without waiting.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or device, not a file", str(path))


@contextmanager
def whole_file(
    path: Path, name: str = "", look_again: Callable[[], Path] | None = None, synced: bool = True
) -> Iterator[BinaryIO]:
    """A file to write into, which takes its place when the block ends, and is removed when it fails.

    Until then it is called partial, and then `name`, else at random; whoever dies leaves that. It gets the rights of
    what is there; `look_again` is asked at the last moment where that is, and raises where it must stay. What may be
    lost at any time need not be `synced`.
    """
    partial = path.with_name(PARTIAL + (name or secrets.token_hex(8)))
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        if look_again is not None:
            path = look_again()
        with suppress(OSError):  # it is new, or this disk knows no rights
            shutil.copymode(path, partial)  # what was private stays so
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, name: str = "") -> Iterator[Path]:
    """A folder to write synced files into, which takes its place when the block ends, and is removed when it fails.

    Until then it is called partial, and then `name`, else at random; whoever dies leaves that.
    """
    partial = path.with_name(PARTIAL + (name or secrets.token_hex(8)))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        fsync_path(partial)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # what could not be completed: a full disk has no room for it
    fsync_path(path.parent)


def write_new(contents: Mapping[Path, bytes]) -> None:
    """Write several files that are not there yet in one folder each: all of them, or none."""
    partials = {path: path.with_name(PARTIAL + secrets.token_hex(8)) for path in contents}
    written: list[Path] = []
    try:
        for path, partial in partials.items():
            with partial.open("xb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, partial in partials.items():
            written.append(partial.rename(path))
    finally:
        for path in partials.values() if len(written) == len(contents) else [*partials.values(), *written]:
            path.unlink(missing_ok=True)


def erase_folder(folder: Path) -> None:
    """Remove a folder; whoever dies meanwhile leaves one that is visibly not whole."""
    partial = folder.with_name(PARTIAL + folder.name.removeprefix(PARTIAL))
    with suppress(OSError):
        folder.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def fsync_path(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_our_own(path: Path) -> bool:
    """Whether a file is a picture or page that echosearch wrote, by its first bytes. One that cannot be read is not."""
    if mark := _MARKS.get(path.suffix.lower()):
        with suppress(OSError), open_regular(path) as file:
            head = file.read(_MARKED_BYTES)
            return head.startswith(mark[0]) and mark[1] in head
    return False


def refuse_inside_index(path: Path) -> None:
    """BadOption for a file or folder in an index folder: its next writer would take it for what a crash left."""
    path = absolute(path)
    for folder in (*Path(os.path.realpath(path)).parents, *plain(path).parents):
        if sum(identity(folder / name) is not None for name in _INDEX_NAMES) > 1:
            raise BadOption(f"{path} lies in the index {folder}, which holds its own files only; give another place")


def plain(path: Path) -> Path:
    """Without `..`, and with links as they are named."""
    return Path(os.path.abspath(path))  # noqa: PTH100  .absolute() keeps '..'


def identity(path: Path) -> tuple[int, int] | None:
    """What is the same for one file or folder however it is named; None where nothing can be looked at."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
