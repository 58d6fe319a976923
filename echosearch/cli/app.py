"""The program `echosearch`: its commands, each imported on demand, and the edge that turns errors into exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections import UserDict
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Any, Final

import click

from echosearch import __version__
from echosearch.cli import render
from echosearch.errors import BackendError, EchoSearchError, InputError
from echosearch.interrupt import INTERRUPTED, TwoInterrupts

INTERNAL_ERROR: Final = 70
COMMANDS: Final = {
    "annotate": "keeping:annotate",
    "calibrate": "learn:calibrate",
    "calibrations": "learn:calibrations",
    "check": "keeping:check",
    "cohort": "cohort:cohort",
    "compact": "keeping:compact",
    "delete": "keeping:delete",
    "evaluate": "evaluate:evaluate",
    "export-embeddings": "exchange:export_embeddings",
    "failures": "reading:failures",
    "import-embeddings": "exchange:import_embeddings",
    "info": "reading:info",
    "ingest": "ingest:ingest",
    "list": "reading:list_videos",
    "models": "reading:models",
    "phantom": "phantom:phantom",
    "probe": "learn:probe",
    "reembed": "keeping:reembed",
    "roots": "keeping:roots",
    "search": "search:search",
    "show": "reading:show",
    "similar": "search:similar",
    "sweep": "sweep:sweep",
    "tasks": "tasks:tasks",
    "undelete": "keeping:undelete",
}
"""Where each command is defined: a module of this package, and a name in it."""


class OnDemand(UserDict[str, Any]):
    """Commands by name. Each is imported when it is looked up, so that `ingest` imports nothing of `cohort`."""

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = resolve_name(f"echosearch.cli.{self.data[name]}")
        return command


@click.group(
    commands=OnDemand(COMMANDS), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="echosearch")
def app() -> None:
    """Search echocardiogram videos by report phrase and by example.

    A research tool: it ranks videos by similarity and diagnoses nothing.

    \b
    Example:
      echosearch ingest /data/echo --model echo-clip
      echosearch search "SEVERE LV DILATION"
      echosearch similar 17 --contact-sheet alike.png

    Exit codes: 0 done, 1 some videos failed, 2 the request is wrong, 3 the index does not allow it,
    4 the disk, model or another engine failed, 70 a bug, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code."""
    interrupts = TwoInterrupts()
    try:
        with interrupts:
            exit_code = _run(arguments)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the edge of the process
        # While a library is being imported, or a commit undone, an interrupt comes out as an error of any kind.
        came = interrupts.came or isinstance(error, KeyboardInterrupt | click.Abort)
        exit_code = _say("interrupted", INTERRUPTED) if came else _in_words(error)
    sys.exit(exit_code)


def _run(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names of any bytes go out as they are; where the encoding lacks a letter, it is escaped.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    result = app.main(arguments, prog_name="echosearch", standalone_mode=False)
    sys.stdout.flush()
    return int(result or 0)


def _in_words(error: BaseException) -> int:
    """Print what went wrong; returns the exit code for it."""
    if isinstance(error, EchoSearchError):
        return _say(f"error: {error}", error.exit_code)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if isinstance(error.filename, str | bytes):
            return _say(f"error: {os.fsdecode(error.filename)}: {reason}", InputError.exit_code)
        if _output_fails():
            return _say(f"error: cannot write the output: {reason}", BackendError.exit_code)
        return _say(f"error: the system refused something: {reason}", BackendError.exit_code)
    traceback.print_exception(error)
    return _say("error: this is a bug in echosearch; please report the lines above", INTERNAL_ERROR)


def _output_fails() -> bool:
    """Whether the rest of standard output cannot be written; it is then dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  else Python complains at exit
        return True
    return False


def _say(sentence: str, exit_code: int) -> int:
    click.echo(render.printable_lines(sentence), err=True)
    return exit_code
