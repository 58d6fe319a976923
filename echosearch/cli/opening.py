"""Opens the index that a command names, with the scores that its conditions need. Imports late: help comes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from echosearch.cli.options import ALL_VIEWS
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.types import Device, Precision, ProgressListener

model_option = click.option(
    "--model",
    metavar="WHERE",
    help="Where the weights of the index's model lie now. Default: where they lay at ingest.",
)


def open_index(
    index: str | None, model: str | None = None, device: Device = "auto", precision: Precision = "fp32"
) -> Index:
    """The index at --index, else the default one, as `echosearch.api.open_index` opens it."""
    from echosearch.api import open_index as opened

    return opened(index, model, device, precision, click.get_current_context().meta.get(ALL_VIEWS, False))


def sweep_named(opened: Index, where: Sequence[str], wanted: bool, wait: float = 0.0) -> None:
    """With --sweep-missing: score first what the conditions need."""
    if not wanted:
        return
    if not where:
        raise BadOption("--sweep-missing goes with --where")
    print_swept(lambda listener: opened.cohorts.sweep_missing(where, wait, listener))


def print_swept(run: Callable[[ProgressListener], Sequence[str]]) -> None:
    """Sweep with a progress bar, and say what was swept."""
    from echosearch.cli.progress import ingest_progress

    with ingest_progress() as listener:
        swept = run(listener)
    click.echo(f"swept now: {', '.join(swept) or 'nothing was missing'}", err=True)
