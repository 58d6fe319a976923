"""Ctrl-C: once, and a command keeps what is complete and ends; twice, and the process is gone at once."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
_SHOW_CURSOR: Final = b"\x1b[?25h"


class TwoInterrupts:
    """While installed, the first SIGINT is a KeyboardInterrupt and the second ends the process and its workers.

    Once there was a first, this stays installed: what is still going on while the process ends can be stopped too.
    Where SIGINT is ignored, or another's, it is left alone.
    """

    def __init__(self) -> None:
        self._came = False
        self._is_ours = False

    def __enter__(self) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
            self._is_ours = True

    def __exit__(self, *_: object) -> None:
        if self._is_ours and not self._came:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._came:
            _end_now()
        self._came = True
        # An interrupt while SQLAlchemy closes a connection would be logged with a traceback, and raised all the same.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
        # The interpreter hands signals back to the system at its very end; what comes then shall not change the code.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt


def _end_now() -> None:
    """Leave without tidying up: an index survives that, as it survives a kill."""
    for child in multiprocessing.active_children():
        child.kill()
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(2, _SHOW_CURSOR)  # a progress bar hides it
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
