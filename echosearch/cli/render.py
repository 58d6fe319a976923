"""Prints answers as text, JSON, CSV or paths, and progress. Knows the types of answers, not how they are made.

Progress goes to standard error, so that output stays clean.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from echosearch.search import SearchResult
from echosearch.tables import write_csv
from echosearch.types import Answer, Failure, IngestProgress, ProgressListener, in_words as in_words, plain

if TYPE_CHECKING:
    from rich.table import Table

_HIT_COLUMNS: Final = (
    "rank", "score", "percentile", "video_id", "path", "study", "patient", "view", "best_frame", "best_time_seconds",
    "view_predicted",
)  # fmt: skip
_SECONDS_BETWEEN_LINES: Final = 10.0


def answer(
    output: str | None,
    result: Answer | Sequence[Answer],
    text: Iterable[str | Table],
    columns: Sequence[str] = (),
    rows: Iterable[Mapping[str, Any]] = (),
    paths: Iterable[str] = (),
) -> None:
    """Print an answer as asked for: as JSON, as CSV, its paths, or as text line by line, each made printable."""
    if output == "json":
        print_json(result)
    elif output == "csv":
        print_csv(columns, rows)
    elif output == "paths":
        for path in paths:
            click.echo(path)
    else:
        for part in text:
            if isinstance(part, str):
                click.echo(printable(part))
            else:
                _print_rich(part)


def print_json(answer: Answer | Sequence[Answer]) -> None:
    """An answer as JSON, indented; bytes of file names that are not UTF-8 come as lone surrogates."""
    click.echo(json.dumps(plain(answer), indent=2, allow_nan=False))


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A header line and a line for each row; no cell is a formula to a spreadsheet. Flags are True and False."""
    flags = ({name: str(value) if isinstance(value, bool) else value for name, value in row.items()} for row in rows)
    write_csv(sys.stdout, columns, flags)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Print a `table`."""
    _print_rich(table(columns, rows, right))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table for people; `right` names the columns of numbers. Columns of text without any are left out."""
    from rich import box
    from rich.table import Table

    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    shown = [n for n, column in enumerate(columns) if column in right or any(row[n] for row in cells)]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n in shown:
        number = columns[n] in right
        made.add_column(columns[n], justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in cells:
        made.add_row(*(row[n] for n in shown))
    return made


def _print_rich(table: Table) -> None:
    from rich.console import Console

    # Not on a terminal, long paths matter more than the width of a page.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


def fact_lines(facts: Mapping[str, str]) -> Iterator[str]:
    """The facts of one thing, a line each, with its name in front."""
    return (f"{name:12} {fact}" for name, fact in facts.items())


def print_notes(notes: Iterable[str], err: bool = False) -> None:
    """Notes beside an answer."""
    for note in notes:
        click.echo(f"note: {printable(note)}", err=err)


def print_index(path: Path, output: str | None) -> None:
    """Which index is used; on standard error if standard output is for a program."""
    click.echo(f"index {printable(str(path))}", err=output is not None)


def print_source(index: str, generation: int, model: str, err: bool = False) -> None:
    """The index and model that an answer comes from."""
    click.echo(f"index {printable(index)} (generation {generation}), model {model}", err=err)


def print_result(result: SearchResult, output: str | None) -> None:
    """Hits in the way asked for, with what is needed to judge them."""
    if output != "json":
        print_source(result.index, result.generation, result.model, err=output is not None)
        print_notes(result.warnings, err=output is not None)
        click.echo(f"question {printable(result.query.text)}", err=output is not None)
    hits = (hit.to_dict() for hit in result.hits)
    answer(output, result, _hits(result), _HIT_COLUMNS, hits, (hit.path for hit in result.hits))


def _hits(result: SearchResult) -> Iterator[str | Table]:
    if not result.hits:
        yield "no hits"
        return
    yield table(
        ("rank", result.score_kind, "percentile", "id", "path", "study", "patient", "view", "frame", "second"),
        (
            (
                hit.rank,
                f"{hit.score:.4f}",
                f"{hit.percentile:.1f}",
                hit.video_id,
                hit.path,
                hit.study,
                hit.patient,
                in_words(hit),
                hit.best_frame,
                None if hit.best_time_seconds is None else f"{hit.best_time_seconds:.2f}",
            )
            for hit in result.hits
        ),
        right=("rank", result.score_kind, "percentile", "id", "frame", "second"),
    )


def failure_lines(failures: Sequence[Failure]) -> Iterator[str]:
    """The first failures, and how many more there are."""
    for failure in failures[:10]:
        yield f"failed: {failure.path}: {failure.code}: {failure.message}"
    if len(failures) > 10:
        yield f"... and {len(failures) - 10} more: echosearch failures"


def printable(text: str) -> str:
    """Text that a terminal can show: line breaks, control characters and bytes that are not UTF-8 are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def printable_lines(text: str) -> str:
    """`printable`, but our own line breaks are kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def bytes_in_words(count: int) -> str:
    """1536 -> 1.5 KiB."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@contextmanager
def progress() -> Iterator[ProgressListener]:
    """A listener that shows progress until the block is left."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} failed"),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("ingest", total=None, rate="", failed=0)
        rate = _Rate()

        def show(now: IngestProgress) -> None:
            words = rate_in_words(rate.videos_a_second(now.done))
            bar.update(task, completed=now.done, total=now.total, rate=words, failed=now.failed)

        yield show


def rate_in_words(videos_a_second: float) -> str:
    """A rate in plain numbers: 0.4, 7.6, 760 videos/s."""
    return f"{videos_a_second:.{0 if videos_a_second >= 10 else 1}f} videos/s"


class _Rate:
    """Videos done in a second since the first report, which comes when the start-up is over."""

    def __init__(self) -> None:
        self._started: float | None = None

    def videos_a_second(self, done: int) -> float:
        """The mean rate so far, 0 at first."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        return done / max(now - self._started, 1e-9)


class _PlainLines:
    """A line every few seconds, and one at the end."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._printed = time.monotonic()

    def __call__(self, now: IngestProgress) -> None:
        rate = self._rate.videos_a_second(now.done)
        seconds = time.monotonic()
        finished = now.committed + now.failed >= now.total
        if not finished and (now.done == now.total or seconds - self._printed < _SECONDS_BETWEEN_LINES):
            return  # when all are done, the line comes with the last commit
        self._printed = seconds
        left = f"{(now.total - now.done) / rate:.0f} s left" if rate else "time left not known yet"
        click.echo(f"{now.done}/{now.total} videos, {rate_in_words(rate)}, {left}, {now.failed} failed", err=True)
