"""Opens the index that a command names. Imports what that takes only then, so that help comes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from echosearch.cli.options import ALL_VIEWS

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.types import Device, Precision

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
