"""Reading and preparing in other processes, ahead of the encoder. Keeps order, bounds memory, loses one file at most.

Worker processes are spawned and know no torch. Each has a pipe of its own and a thread here that minds it, so one
that crashes, hangs or is killed, even while it hands over a result, costs its file and is replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from echosearch.errors import BackendError, EchoSearchError
from echosearch.types import Failure, FrameSampling, PreparedVideo, PreprocessSpec
from echosearch.video import prepare_video

Task = TypeVar("Task")
Outcome = PreparedVideo | Failure
Order = tuple[Path, FrameSampling, PreprocessSpec]

_START_SECONDS: Final = 120.0
_READY: Final = "ready"


class Decoders(Generic[Task]):
    """A fixed number of decoding processes; made by `decoders`."""

    def __init__(self, workers: int, timeout_seconds: float, memory_bytes: int) -> None:
        self.workers = workers
        self._timeout_seconds = timeout_seconds
        self._processes = [_DecodingProcess(memory_bytes) for _ in range(workers)]
        self._idle: SimpleQueue[_DecodingProcess] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(workers)

    def wait_until_ready(self) -> None:
        """Return when every process has started and imported what it needs. BackendError when one cannot."""
        for process in self._processes:
            process.wait_until_ready()

    def prepared(
        self, tasks: Iterable[tuple[Task, Path]], sampling: FrameSampling, spec: PreprocessSpec, ahead: int
    ) -> Iterator[tuple[Task, Outcome]]:
        """Each file prepared, or why not, in order; at most `ahead` files are in work or waiting to be taken."""
        waiting: deque[tuple[Task, Future[Outcome]]] = deque()
        for task, path in tasks:
            if len(waiting) >= ahead:
                done, future = waiting.popleft()
                yield done, future.result()
            waiting.append((task, self._threads.submit(self._prepare, (path, sampling, spec))))
        for done, future in waiting:
            yield done, future.result()

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.end()
        self._threads.shutdown()

    def _prepare(self, order: Order) -> Outcome:
        process = self._idle.get()
        try:
            return process.do(order, self._timeout_seconds)
        finally:
            self._idle.put(process)


@contextmanager
def decoders(workers: int, timeout_seconds: float, memory_bytes: int) -> Iterator[Decoders[Any]]:
    """Start `workers` processes; they are ended when the block is left, whatever the reason."""
    decoding: Decoders[Any] = Decoders(workers, timeout_seconds, memory_bytes)
    try:
        yield decoding
    finally:
        decoding.close()


class _DecodingProcess:
    """One worker process at a time: when it dies, the next call starts another."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._ended = False
        self._is_ready = False
        self._start()

    def wait_until_ready(self) -> None:
        if self._is_ready:
            return
        with suppress(EOFError, OSError):
            self._is_ready = self._pipe.poll(_START_SECONDS) and self._pipe.recv() == _READY
        if not self._is_ready and not self._ended:
            raise BackendError(
                "a decoding process did not start; a script that ingests needs: if __name__ == '__main__':"
            )

    def do(self, order: Order, timeout_seconds: float) -> Outcome:
        """Prepare one file. Whatever happens to the process comes back as that file's Failure."""
        path = str(order[0])
        self.wait_until_ready()
        watch = threading.Timer(timeout_seconds, self._process.kill)
        watch.start()
        try:
            self._pipe.send(order)
            outcome: Outcome = self._pipe.recv()
        except (EOFError, OSError):  # the pipe broke: the process is gone
            timed_out = not watch.is_alive()
            self._process.join()
            exit_code = self._process.exitcode
            if not self._ended:
                self._start()
            if timed_out:
                message = f"decoding took longer than {timeout_seconds:g} s (--timeout) and was stopped"
                return Failure(path, "timeout", message)
            return Failure(path, "decoder-died", f"the decoding process died ({_how(exit_code)})")
        else:
            return outcome
        finally:
            watch.cancel()

    def end(self) -> None:
        self._ended = True
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._is_ready = False
        self._process = context.Process(target=_serve, args=(theirs, self._memory_bytes), daemon=True)
        # Ctrl-C reaches the whole group of processes; this one decides what happens. A child keeps the mask that
        # it is born with; starting multiprocessing's resource tracker would lift it, so that one comes first.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the end of the process is the end of the pipe
        if self._ended:  # meanwhile, by the main thread
            self._process.kill()


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


def _serve(pipe: Connection, memory_bytes: int) -> None:
    """What a worker process does until its parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    pipe.send(_READY)
    # What decoders print of a damaged file comes back as its failure; on the terminal it would be noise.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            pipe.send(_prepare(*pipe.recv()))


def _prepare(path: Path, sampling: FrameSampling, spec: PreprocessSpec) -> Outcome:
    try:
        return prepare_video(path, sampling, spec)
    except EchoSearchError as error:
        return Failure(str(path), error.code(), str(error))
    except MemoryError:
        return Failure(str(path), "out-of-memory", "decoding it needs more memory than a worker may use")
    except Exception as error:  # noqa: BLE001  the edge of a process: one file must not stop the others
        return Failure(str(path), "internal-error", f"{type(error).__name__}: {error}")
