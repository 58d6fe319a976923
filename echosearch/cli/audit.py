"""The commands of `echosearch cohort` that draw members to be judged, and read back what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import (
    FilePath,
    Finite,
    Whole,
    force_option,
    index_option,
    open_index,
    output_option,
    wait_option,
)
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echosearch.cohort import Audit


@click.command("sample")
@click.argument("name")
@click.option("-n", "count", type=Whole(1), default=50, show_default=True, help="Number of members to judge.")
@click.option(
    "--strategy",
    type=click.Choice(["random", "borderline"]),
    default="random",
    show_default=True,
    help="random: to estimate precision. borderline: those nearest to a threshold, to learn from.",
)
@click.option("--sheet", type=FilePath(dir_okay=False), required=True, metavar="OUT.csv")
@click.option("--seed", type=Whole(), help="Default: derived from the cohort's, different for each audit.")
@click.option("--no-pictures", is_flag=True, help="No contact sheet beside the CSV.")
@index_option
@wait_option
def sample(
    name: str,
    count: int,
    strategy: Any,
    sheet: Path,
    seed: int | None,
    no_pictures: bool,
    index: str | None,
    wait: float,
) -> None:
    """Draw members to be judged: a CSV to fill in (yes, no, unclear) and a contact sheet beside it.

    \b
    Example:
      echosearch cohort sample low-ef-lead -n 50 --sheet sheet.csv
      echosearch cohort judge low-ef-lead sheet.csv
    """
    from echosearch.pictures import tiles, write_contact_sheet

    opened = open_index(index)
    made = opened.cohorts.get(name)
    table = opened.output(sheet, "the sheet", ".csv", force=None)
    picture = None if no_pictures else opened.output(sheet.with_suffix(".png"), "the contact sheet", ".png", force=None)
    drawn = opened.cohorts.sample(name, count, strategy, table.path, seed, wait)
    click.echo(f"audit {drawn.number}: {len(drawn.units)} of {drawn.population} members, {strategy}, seed {drawn.seed}")
    click.echo(f"sheet {render.printable(str(table.path))}; fill in the column verdict with yes, no or unclear")
    if picture is not None:
        hits = tiles(made, drawn, opened.cohorts.records(made))
        render.print_notes(write_contact_sheet(picture, f"{name}, audit {drawn.number}", hits, made.notes), err=True)
        click.echo(f"contact sheet {render.printable(str(picture.path))} (its numbers are the rows of the sheet)")


@click.command("judge")
@click.argument("name")
@click.argument("sheet", type=FilePath(dir_okay=False), metavar="JUDGED.csv")
@click.option("--audit", "number", type=Whole(), help="Which audit. Default: the newest.")
@click.option("--wish", type=Finite(), metavar="P", help="Also say which threshold would reach this precision.")
@click.option(
    "--measure", metavar="NAME", help="The measure, such as task.pacemaker.p. Default: all for which this is possible."
)
@index_option
@wait_option
@output_option("json")
def judge(
    name: str,
    sheet: Path,
    number: int | None,
    wish: float | None,
    measure: str | None,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Read a judged sheet back: precision with its interval (of a random sample), and judgements kept as labels.

    Of a sheet that was judged in part before, what is empty now keeps its judgement.

    \b
    Example:
      echosearch cohort judge low-ef-lead sheet.csv --wish 0.95
    """
    from echosearch.cohort import judged_audit, suggestions

    if measure is not None and wish is None:
        raise BadOption("--measure goes with --wish P")
    opened = open_index(index)
    judged = opened.cohorts.judge(name, sheet, number, wait)
    thresholds = () if wish is None else suggestions(opened.cohorts.get(name), judged, wish, measure)
    if output == "json":
        render.print_json(judged_audit(judged, thresholds))
        return
    click.echo(f"{len(judged.judgements)} of {len(judged.units)} judged")
    for line in audit_lines([judged]):
        click.echo(render.printable(line))
    for each in thresholds:
        click.echo(render.printable(each.sentence))
    click.echo(f"the judgements are kept; as labels: echosearch cohort labels {name} OUT.csv")


@click.command("labels")
@click.argument("name")
@click.argument("out", type=FilePath(dir_okay=False), metavar="OUT.csv")
@click.option("--finding", metavar="TASK", help="The column finding.TASK of the sheets. Default: the verdicts.")
@force_option
@index_option
def labels(name: str, out: Path, finding: str | None, force: bool, index: str | None) -> None:
    """Write the judgements of all audits as labels, for `calibrate`, `probe train` and `evaluate`.

    \b
    Example:
      echosearch cohort labels low-ef-lead judged.csv --finding pacemaker
      echosearch calibrate pacemaker --labels judged.csv
    """
    from echosearch.tables import write_csv

    opened = open_index(index)
    table = opened.output(out, "the labels", ".csv", force)
    found = opened.cohorts.labels(name, finding)
    write_csv(table, (found.key_column, "label"), found.table())
    render.print_notes(found.notes)
    click.echo(f"{len(found.rows)} labels written to {render.printable(str(table.path))}")


def audit_lines(audits: Sequence[Audit]) -> list[str]:
    """A sentence for each audit: how it was drawn, and what follows from it."""
    return [f"audit {audit.number} ({audit.strategy}, {len(audit.units)} drawn): {_found(audit)}" for audit in audits]


def _found(audit: Audit) -> str:
    from echosearch.cohort import precision

    if not audit.judgements:
        return "not judged yet"
    if audit.strategy != "random":
        return f"{len(audit.judgements)} judged; no precision follows from members chosen for their doubt"
    try:
        found = precision(audit)
    except BadOption as error:
        return str(error)
    share = f"precision {found.value:.3f} (95 % interval {found.low:.3f} to {found.high:.3f})"
    return "; ".join([f"{share}, {found.yes} yes and {found.no} no of {found.members} members", *found.notes])
