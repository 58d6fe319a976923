"""The first of the command `echosearch`: what has to stand before anything else is imported. Knows no command."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from typing import TextIO

from echosearch.interrupt import end_at_once


def main() -> None:
    """Run the command line as a process of its own; from here on, Ctrl-C ends it with 130 and one word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # what is done stays done
    open_standard_streams()
    from echosearch.cli import main as run

    run()


def open_standard_streams() -> None:
    """Have 0, 1 and 2 open, else the next file, perhaps one of an index, gets what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  open as long as the process
    sys.stdout = _Stream(1, sys.stdout, BrokenPipeError)
    sys.stderr = _Stream(2, sys.stderr, OSError)


class _Stream(io.TextIOWrapper):
    """Standard output or error; from the first error of the kind `forgiven` on, all that is written is lost.

    So nobody's work stops halfway because its words are read no more.
    """

    def __init__(self, number: int, before: TextIO | None, forgiven: type[OSError]) -> None:
        self._number = number
        self._forgiven = forgiven
        told = (before.encoding, before.errors) if before is not None else ("utf-8", "backslashreplace")
        by_line = number == 2 or os.isatty(number)
        super().__init__(open(number, "wb", closefd=False), *told, line_buffering=by_line)  # noqa: SIM115

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except self._forgiven:
            return self._lose(len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except self._forgiven:
            self._lose(0)

    def _lose(self, count: int) -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._number)
        os.close(nowhere)
        return count
