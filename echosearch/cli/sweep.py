"""`echosearch sweep`: zero-shot tasks over the whole index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.options import (
    FilePath,
    Whole,
    force_option,
    index_option,
    model_option,
    model_runtime_options,
    open_index,
    output_option,
    sweep_missing_option,
    sweep_named,
    wait_option,
    where_option,
)
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.learning import SweepResult

_RECORD_COLUMNS = ("video_id", "path", "study", "patient", "view", "view_predicted")


@click.command()
@click.argument("tasks", nargs=-1, metavar="TASK...")
@click.option("--all", "every", is_flag=True, help="All tasks of `echosearch tasks list`.")
@click.option(
    "--approximate",
    is_flag=True,
    help="Regressions only: score the mean frame instead of every frame. Faster; a different number, kept apart.",
)
@click.option("--only-missing", is_flag=True, help="Show only the videos that had no score before this run.")
@click.option("--no-keep", is_flag=True, help="Write nothing to the index, for example if it is read-only.")
@click.option("--calibration", metavar="NAME", help="The calibration to apply. Default: the newest of each task.")
@click.option("--published-threshold", is_flag=True, help="Also apply the threshold that a task's authors published.")
@where_option
@sweep_missing_option
@click.option("-k", type=Whole(0), default=5, show_default=True, help="Number of top videos to show.")
@click.option("--plot", type=FilePath(dir_okay=False), metavar="PNG", help="Also draw the distribution of the scores.")
@force_option
@model_option
@index_option
@wait_option
@model_runtime_options
@output_option("json", "csv")
def sweep(
    tasks: tuple[str, ...],
    every: bool,
    approximate: bool,
    only_missing: bool,
    no_keep: bool,
    calibration: str | None,
    published_threshold: bool,
    where: tuple[str, ...],
    sweep_missing: bool,
    k: int,
    plot: Path | None,
    force: bool,
    model: str | None,
    index: str | None,
    wait: float,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Score every video of an index for zero-shot tasks, in one pass; only what has no score yet is scored.

    TASK is the name of a task (`echosearch tasks list`) or a task file. Scores are similarities to phrases, or numbers
    found by ranking them: they are no measurements. Published thresholds are shown, and applied only if asked for.
    With --where only the videos that meet the conditions are scored and shown.

    \b
    Example:
      echosearch sweep ejection_fraction pacemaker
      echosearch sweep pacemaker --plot pacemaker.png --csv > scores.csv
    """  # fmt: skip
    from echosearch.tasks import folder_problems, known_tasks

    if every == bool(tasks):
        raise BadOption("name the tasks to sweep, or give --all" if not tasks else "--all goes without names of tasks")
    wanted = (
        [task for task, _ in known_tasks().values() if not approximate or task.rule.can_approximate] if every else tasks
    )
    render.print_notes(folder_problems() if every else (), err=True)
    if force and plot is None:
        raise BadOption("--force goes with --plot PNG")
    opened = open_index(index, model, device, precision)
    picture = None if plot is None else opened.output(plot, "the picture", ".png", force)
    before = {} if not only_missing else opened.zeroshot.scored(*wanted, approximate=approximate)
    sweep_named(opened, where, sweep_missing, wait)
    found = opened.matching(where) if where else None
    if found is not None:
        render.print_notes((*found.notes, found.sentence), err=True)
    with render.progress() as listener:
        results = opened.zeroshot.sweep(
            *wanted,
            approximate=approximate,
            keep=not no_keep,
            calibration=calibration,
            published_threshold=published_threshold,
            wait_seconds=wait,
            progress=listener,
            among=None if found is None else found.ids,
        )
    if found is not None and found.by_scores:
        results = [result.chosen_by_scores() for result in results]
    if only_missing:
        results = [result.without(before[result.task.name]) for result in results]
    _show(opened, results, output, k)
    if picture is not None:
        from echosearch.pictures import plot_sweeps

        plot_sweeps([each.kept(each.counted) if each.counted.any() else each for each in results], picture)
        click.echo(f"plot {render.printable(str(picture.path))}", err=output is not None)


def _show(opened: Index, results: Sequence[SweepResult], output: str | None, k: int) -> None:
    if output == "json":
        _print_json(results)
        return
    first = results[0]
    render.print_source(first.index, first.generation, first.model, err=output is not None)
    warnings = dict.fromkeys(warning for result in results for warning in result.warnings)
    render.print_notes(warnings, err=output is not None)
    if output == "csv":
        names = [f"{result.task.name}.{name}" for result in results for name in (*result.rows(), *_assumption(result))]
        render.print_csv([*_RECORD_COLUMNS, *names], _rows(opened, results))
        return
    for result in results:
        _show_task(opened, result, k)


def _print_json(results: Sequence[SweepResult]) -> None:
    """One JSON list; the videos of each task one by one, so that they are never all in memory as text."""
    for number, result in enumerate(results):
        head = json.dumps(result.summary().to_dict(), indent=2)[:-2]
        click.echo(f'{"," if number else "["}\n{head},\n  "videos": [', nl=False)
        for place, row in enumerate(result.scores()):
            click.echo(f"{',' if place else ''}\n    {json.dumps(row, allow_nan=False)}", nl=False)
        click.echo("\n  ]\n}", nl=False)
    click.echo("\n]")


def _rows(opened: Index, results: Sequence[SweepResult]) -> Iterator[dict[str, Any]]:
    """A row for each video that any of the tasks has scored; videos and scores both come by ascending id."""
    columns = [(result.task.name, result.ids, _told(result), _assumption(result)) for result in results]
    for video in opened.videos():
        row: dict[str, Any] = {}
        for task, ids, told, assumption in columns:
            place = int(ids.searchsorted(video.video_id))
            if place < len(ids) and ids[place] == video.video_id:
                row |= {f"{task}.{name}": values[place] for name, values in told.items()}
                row |= {f"{task}.{name}": text for name, text in assumption.items()}
        if row:
            yield video.to_dict() | row


def _told(result: SweepResult) -> dict[str, list[Any]]:
    return {name: values.tolist() for name, values in result.rows().items()}


def _assumption(result: SweepResult) -> dict[str, str]:
    """Beside p and yes, in each row: by what they are, and for what prevalence."""
    return {} if result.called is None else {"p_and_yes": result.called.calibration.assumption}


def _show_task(opened: Index, result: SweepResult, k: int) -> None:
    summary = result.summary()
    click.echo(
        f"\n{result.task.name}: {summary.kind}, {result.form} form, {len(result.ids)} videos, "
        f"{result.scored_now} scored now; wording: {render.printable(summary.validated)}"
    )
    for shown in summary.published:
        use, figure = ", applied, as asked" if shown.applied else "", shown.figure
        click.echo(f"published {shown.of}{use}: {figure.name} {figure.value:g} ({figure.source})")
    counted, rest = result.kept(result.counted), result.kept(~result.counted)
    if len(counted.ids):
        _show_scores(counted)
        _show_called(result)
        _show_highest(opened, counted, k)
    if len(rest.ids):
        whose = "do not show it" if result.all_views else "are not known"
        click.echo(f"\n{len(rest.ids)} videos whose views {whose}, apart:")
        _show_scores(rest)
        _show_highest(opened, rest, k)


def _show_scores(result: SweepResult) -> None:
    from echosearch.learning import distribution

    figures = ("lowest", "p5", "median", "p95", "highest", "mean")
    told = {name: distribution(values) or {} for name, values in result.columns.items()}
    rows = [(name, *(f"{its[figure]:.4g}" for figure in figures)) for name, its in told.items()]
    render.print_table(("column", *figures), rows, right=figures)


def _show_called(result: SweepResult) -> None:
    if result.called is None:
        click.echo("no calibration: a score is no probability (echosearch calibrate)")
        return
    called = result.called.summary()
    click.echo(
        f"calibration {called.calibration} ({called.labels}, {called.rule}): {called.positive} of {called.videos} "
        "videos that can show it are called positive; on patients left out "
        + ", ".join(f"{name} {figure.sentence}" for name, figure in result.called.calibration.figures().items())
    )
    if result.called.prevalence is not None:
        click.echo(f"estimated share that truly has it {result.called.prevalence.sentence}")
    click.echo(called.assumption)


def _show_highest(opened: Index, result: SweepResult, k: int) -> None:
    """The videos with the highest score: of classes as calibrated, else the first of two, or the last of more."""
    if not k:
        return
    if result.called is not None:
        title, scores = f"calibrated for {result.called.calibration.name}", result.called.scores
    else:
        names = result.task.columns
        title = names[0] if len(names) == 2 or not result.task.classes else names[-1]
        scores = result.columns[title]
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], result.ids[row]))[:k]
    click.echo(f"highest {title}")
    rows = _told(result)
    records = {record.video_id: record for record in opened.videos_of(int(result.ids[row]) for row in order)}
    order = [row for row in order if int(result.ids[row]) in records]  # the others were deleted just now
    videos = [records[int(result.ids[row])] for row in order]
    render.print_table(
        ("id", *rows, "path", "study", "patient", "view"),
        [
            (video.video_id, *(_cell(values[row]) for values in rows.values()),
             video.path, video.study, video.patient, render.in_words(video))
            for row, video in zip(order, videos, strict=True)
        ],
        right=("id", *rows),
    )  # fmt: skip


def _cell(value: float | bool | str | None) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else value
