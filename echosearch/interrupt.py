"""Ctrl-C: once, and a command keeps what is complete and ends; twice, and the process is gone at once.

Imports next to nothing, as it is there before all else.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import time
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
_SHOW_CURSOR: Final = b"\x1b[?25h"
_PATIENCE_SECONDS: Final = 30.0
"""After a first interrupt a command has so long to tidy up; one that is stuck by then is ended all the same."""


def end_at_once(_number: int, _frame: FrameType | None) -> None:
    """Leave without tidying up: an index survives that, as it survives a kill. A handler of SIGINT."""
    workers = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    for worker in workers():
        worker.kill()
    text = b"interrupted\n"
    if os.isatty(2):
        text = _SHOW_CURSOR + text  # a progress bar hides it
    try:
        os.write(2, text)
    finally:
        os._exit(INTERRUPTED)


class TwoInterrupts:
    """While installed, the first SIGINT is a KeyboardInterrupt and the second ends the process and its workers.

    Once there was a first (`came`), this stays installed: what is still going on while the process ends can be
    stopped too. Where SIGINT is ignored, or another's, it is left alone.
    """

    def __init__(self) -> None:
        import logging
        import threading

        self._log_of_connections = logging.getLogger("sqlalchemy.pool")
        self._no_log = logging.CRITICAL + 1
        self.came = False
        self._before = signal.getsignal(signal.SIGINT)
        in_main = threading.current_thread() is threading.main_thread()
        self._is_ours = in_main and self._before in (signal.default_int_handler, end_at_once)

    def __enter__(self) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self._is_ours and not self.came:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            end_at_once(number, frame)
        self.came = True
        # An interrupt while SQLAlchemy closes a connection would be logged with a traceback, and raised all the same;
        # one in a destructor would be shown, and lost.
        self._log_of_connections.setLevel(self._no_log)
        sys.unraisablehook = _say_nothing
        # The interpreter hands signals back to the system at its very end; what comes then shall not change the code.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        if self._before is end_at_once:  # a process of our own, not a test or a notebook
            _thread.start_new_thread(_end_when_stuck, (number,))
        raise KeyboardInterrupt


def _end_when_stuck(number: int) -> None:
    """An interrupt can hit an import or a lock of somebody else's, so that what follows waits for ever."""
    time.sleep(_PATIENCE_SECONDS)
    end_at_once(number, None)


def _say_nothing(_: object) -> None:
    pass
