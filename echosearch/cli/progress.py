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
        started = time.monotonic()
        task = bar.add_task("ingest", total=None, rate="", failed=0)

        def show(progress: IngestProgress) -> None:
            rate = progress.done / max(time.monotonic() - started, 1e-9)
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                rate=f"{rate:.1f} videos/s",
                failed=progress.failed,
            )

        yield show


class _PlainLines:
    def __init__(self) -> None:
        self._started = self._told = time.monotonic()

    def __call__(self, progress: IngestProgress) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_LINES and progress.done < progress.total:
            return
        if progress.done == progress.total and progress.committed + progress.failed < progress.total:
            return  # the last commit tells
        self._told = now
        rate = progress.done / max(now - self._started, 1e-9)
        left = (progress.total - progress.done) / max(rate, 1e-9)
        click.echo(
            f"{progress.done}/{progress.total} videos, {rate:.1f}/s, {left:.0f} s left, {progress.failed} failed",
            err=True,
        )
