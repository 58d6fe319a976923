"""How far an ingest is: a bar on a terminal, plain lines elsewhere. On standard error, so that output stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from echosearch.types import IngestProgress, ProgressListener

_SECONDS_BETWEEN_LINES: Final = 10.0


@contextmanager
def ingest_progress() -> Iterator[ProgressListener]:
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
        rate = _Rate()
        task = bar.add_task("ingest", total=None, rate="", failed=0)

        def show(progress: IngestProgress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=in_words(rate.videos_a_second(progress)),
                failed=progress.failed,
            )

        yield show


def in_words(videos_a_second: float) -> str:
    """A rate in plain numbers: 0.4, 7.6, 760 videos/s."""
    return f"{videos_a_second:.{0 if videos_a_second >= 10 else 1}f} videos/s"


class _Rate:
    """Videos done in a second since the first report, which comes when the start-up is over."""

    def __init__(self) -> None:
        self._started: float | None = None

    def videos_a_second(self, progress: IngestProgress) -> float:
        """The mean rate so far, 0 at first."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        return progress.done / max(now - self._started, 1e-9)


class _PlainLines:
    def __init__(self) -> None:
        self._rate = _Rate()
        self._told = time.monotonic()

    def __call__(self, progress: IngestProgress) -> None:
        rate = self._rate.videos_a_second(progress)
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_LINES and progress.done < progress.total:
            return
        if progress.done == progress.total and progress.committed + progress.failed < progress.total:
            return  # the last commit tells
        self._told = now
        left = f"{(progress.total - progress.done) / rate:.0f} s left" if rate else "time left not known yet"
        click.echo(
            f"{progress.done}/{progress.total} videos, {in_words(rate)}, {left}, {progress.failed} failed", err=True
        )
