"""The writers' lock of an index, who holds it, and what a disk that fails is called."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from echosearch.errors import BackendError, IndexLocked
from echosearch.index.description import write_json
from echosearch.types import finite

_LOCK: Final = "writer.lock"
_HOLDER: Final = "writer.json"
HOLDERS: Final = (_LOCK, _HOLDER)
"""The files of the lock in an index folder."""


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


@contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """What the disk refuses, as a BackendError that names the index."""
    try:
        yield
    except OSError as error:
        raise BackendError(f"cannot write to the index {path}: {error.strerror or error}") from error
