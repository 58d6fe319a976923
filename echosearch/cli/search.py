"""`echosearch search` and `echosearch similar`: videos by phrase and by example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import (
    IdOrFile,
    force_option,
    index_option,
    model_runtime_options,
    open_index,
    output_option,
    query_options,
    sweep_missing_option,
    sweep_named,
    where_option,
)
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.files import Output
    from echosearch.types import SearchResult


@click.command()
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option(
    "--not",
    "without",
    multiple=True,
    metavar="PHRASE",
    help="Rank videos that match this phrase lower. May be repeated.",
)
@click.option(
    "--score",
    type=click.Choice(["cosine", "mean"]),
    default="cosine",
    show_default=True,
    help="mean: the inner product with the mean frame embedding as it is (EchoCLIP-R's published form).",
)
@where_option
@sweep_missing_option
@index_option
@query_options
@force_option
@model_runtime_options
@output_option("json", "csv", "paths")
def search(
    phrases: tuple[str, ...],
    without: tuple[str, ...],
    score: Any,
    where: tuple[str, ...],
    sweep_missing: bool,
    index: str | None,
    k: int,
    min_score: float | None,
    model: str | None,
    contact_sheet: Path | None,
    force: bool,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Find videos by report phrases; several phrases are averaged.

    Scores of different phrases are not comparable: the percentile says what share of all videos scores no
    higher for this query. The frame is the 0-based one of the file that matches best.

    \b
    Example:
      echosearch search "SEVERE LV DILATION" -k 5
      echosearch search "PACER LEAD IN THE RIGHT VENTRICLE" --not "MITRAL CLIP" --json
    """  # fmt: skip
    opened = open_index(index, model, device, precision)
    sheet = _sheet(opened, contact_sheet, force)
    sweep_named(opened, where, sweep_missing)
    result = opened.search(*phrases, without=without, k=k, min_score=min_score, score=score, where=where)
    _answer(result, output, sheet, " + ".join(phrases) + "".join(f" - {phrase}" for phrase in without))


@click.command()
@click.argument("example", metavar="ID|FILE", type=IdOrFile())
@click.option(
    "--exclude",
    multiple=True,
    type=click.Choice(["study", "patient", "content"]),
    help="Leave out videos of the example's study, patient, or with its bytes. May be repeated.",
)
@where_option
@sweep_missing_option
@index_option
@query_options
@force_option
@model_runtime_options
@output_option("json", "csv", "paths")
def similar(
    example: int | Path,
    exclude: tuple[Any, ...],
    where: tuple[str, ...],
    sweep_missing: bool,
    index: str | None,
    k: int,
    min_score: float | None,
    model: str | None,
    contact_sheet: Path | None,
    force: bool,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Find videos that look like an example: the id of a video of the index, or any video file.

    A video asked for by id is left out of its own hits; copies of it are not (--exclude content).

    \b
    Example:
      echosearch similar 17 --exclude patient
      echosearch similar new.avi -k 5 --contact-sheet alike.png
    """  # fmt: skip
    opened = open_index(index, model, device, precision)
    sheet = _sheet(opened, contact_sheet, force, [example] if isinstance(example, Path) else [])
    sweep_named(opened, where, sweep_missing)
    result = opened.similar(example, k=k, exclude=exclude, min_score=min_score, where=where)
    _answer(result, output, sheet, f"similar to {example}")


def _sheet(opened: Index, path: Path | None, force: bool, inputs: Sequence[Path] = ()) -> Output | None:
    if path is None and force:
        raise BadOption("--force goes with --contact-sheet PNG")
    return None if path is None else opened.output(path, "the contact sheet", ".png", force, inputs)


def _answer(result: SearchResult, output: str | None, sheet: Output | None, title: str) -> None:
    render.print_result(result, output)
    if sheet is None:
        return
    from echosearch.pictures import write_contact_sheet

    for warning in write_contact_sheet(sheet, title, result.hits, result.warnings):
        click.echo(f"note: {render.printable(warning)}", err=True)
    click.echo(f"contact sheet {render.printable(str(sheet.path))}", err=output is not None)
