"""Paths and files as users name them, and as disks have them. Knows no index, no video and no format."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def absolute(path: Path) -> Path:
    """The absolute path, with `~` and `~name` as home folders where there are such, else as names."""
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
