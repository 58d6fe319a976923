"""Reading and preparing in other processes, ahead of the encoder. Keeps order, bounds memory, loses one file at most.

Worker processes are spawned, know no torch, and are replaced when one dies or takes too long.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from echosearch.errors import EchoSearchError
from echosearch.types import Failure, FrameSampling, PreparedVideo, PreprocessSpec
from echosearch.video import prepare_video

Task = TypeVar("Task")


class Decoders(Generic[Task]):
    """A pool of decoding processes; made by `decoders`."""

    def __init__(self, pool: ProcessPool, workers: int, timeout_seconds: float) -> None:
        self._pool = pool
        self.workers = workers
        self._timeout_seconds = timeout_seconds

    def wait_until_ready(self) -> None:
        """Return when every process has started and imported what it needs."""
        for future in [self._pool.schedule(_ready) for _ in range(self.workers)]:
            future.result()

    def prepared(
        self, tasks: Iterable[tuple[Task, Path]], sampling: FrameSampling, spec: PreprocessSpec, ahead: int
    ) -> Iterator[tuple[Task, PreparedVideo | Failure]]:
        """Each file prepared, or why not, in order; at most `ahead` files are in work or waiting to be taken."""
        waiting: deque[tuple[Task, Path, Any]] = deque()
        for task, path in tasks:
            if len(waiting) >= ahead:
                yield self._result(*waiting.popleft())
            future = self._pool.schedule(_prepare, args=[path, sampling, spec], timeout=self._timeout_seconds)
            waiting.append((task, path, future))
        while waiting:
            yield self._result(*waiting.popleft())

    def _result(self, task: Task, path: Path, future: Any) -> tuple[Task, PreparedVideo | Failure]:
        try:
            return task, future.result()
        except FutureTimeout:
            message = f"decoding took longer than {self._timeout_seconds:g} s (--timeout) and was ended"
            return task, Failure(str(path), "timeout", message)
        except ProcessExpired as error:
            message = f"the decoding process died (exit code {error.exitcode})"
            return task, Failure(str(path), "decoder-died", message)


@contextmanager
def decoders(workers: int, timeout_seconds: float) -> Iterator[Decoders[Any]]:
    """Start `workers` processes; they are ended when the block is left, whatever the reason."""
    pool = ProcessPool(workers, initializer=_start, context=multiprocessing.get_context("spawn"))
    try:
        decoding: Decoders[Any] = Decoders(pool, workers, timeout_seconds)
        pool.schedule(_ready)  # start the processes now, while the caller loads a model
        yield decoding
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _start() -> None:
    # Ctrl-C reaches the whole group of processes; the parent decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ready() -> None:
    return None


def _prepare(path: Path, sampling: FrameSampling, spec: PreprocessSpec) -> PreparedVideo | Failure:
    try:
        return prepare_video(path, sampling, spec)
    except EchoSearchError as error:
        return Failure(str(path), error.code(), str(error))
    except MemoryError:
        return Failure(str(path), "out-of-memory", "decoding it needs more memory than there is")
    except Exception as error:  # noqa: BLE001  the edge of a process: one file must not stop the others
        return Failure(str(path), "internal-error", f"{type(error).__name__}: {error}")
