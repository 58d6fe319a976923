"""`echosearch evaluate`: how good scores are, judged by labels or by reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.labels import class_option, label_options, labels_of
from echosearch.cli.options import (
    FilePath,
    Finite,
    Whole,
    force_option,
    index_option,
    model_option,
    model_runtime_options,
    open_index,
    output_option,
)
from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.api import Index
    from echosearch.api.evaluations import Origin
    from echosearch.learning import AnyTask, Evaluation, Retrieval, Threshold

RETRIEVAL = "retrieval"


@click.command()
@click.argument("task", metavar="TASK|retrieval")
@label_options
@class_option
@click.option("--calibration", metavar="NAME", help="Whose threshold to judge. Default: the newest that fits.")
@click.option(
    "--threshold",
    type=Finite(),
    metavar="S",
    help="Judge at this score (for classes: at this weight, 0 to 1). It must not come from these labels.",
)
@click.option("--published-threshold", is_flag=True, help="Judge at the threshold that the task's authors published.")
@click.option("--approximate", is_flag=True, help="Judge the scores of `sweep --approximate`.")
@click.option(
    "--reports",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    help="retrieval: a CSV with one report per row: a study, patient or video, and its text.",
)
@click.option("--text-column", metavar="COLUMN", help="retrieval: the column with the text.")
@click.option(
    "--view", "views", multiple=True, metavar="VIEW", help="retrieval: pair reports only with videos of this view."
)
@click.option(
    "--score",
    type=click.Choice(["mean", "cosine"]),
    default="mean",
    show_default=True,
    help="retrieval: mean is EchoCLIP-R's published form.",
)
@click.option(
    "--predictions",
    type=FilePath(dir_okay=False),
    metavar="OUT.csv",
    help="Also write what CardioBench's evaluators read: EF_pred, or prob_VIEW and view_pred, of every scored video.",
)
@click.option(
    "--id-column",
    type=click.Choice(["FileName", "HashedFileName", "patient_id"]),
    default="FileName",
    show_default=True,
    help="With --predictions: what identifies a row.",
)
@click.option("--with-suffix", is_flag=True, help="With --predictions: file names with .avi, as EchoNet-Pediatric has.")
@click.option("--plot", type=FilePath(dir_okay=False), metavar="PNG", help="Also draw ROC or agreement.")
@force_option
@click.option("--repeats", type=Whole(100, 100_000), default=1000, show_default=True, help="Resamples.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Of the resamples.")
@model_option
@index_option
@model_runtime_options
@output_option("json")
def evaluate(
    task: str,
    label_file: Path | None,
    key: str | None,
    label_column: str | None,
    positive: str | None,
    split: str | None,
    classes: tuple[str, ...],
    calibration: str | None,
    threshold: float | None,
    published_threshold: bool,
    approximate: bool,
    reports: Path | None,
    text_column: str | None,
    views: tuple[str, ...],
    score: Any,
    predictions: Path | None,
    id_column: Any,
    with_suffix: bool,
    plot: Path | None,
    force: bool,
    repeats: int,
    seed: int,
    model: str | None,
    index: str | None,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Judge the scores of a task by labels, or the way from reports to videos, with intervals over patients.

    A finding is judged by ranking (AUROC, AUPRC) and at a threshold that was fixed before: that of a calibration, or
    one that is given. A measurement is judged by its errors. `evaluate retrieval` looks for each report's own video
    among all reports' videos, and for each video's report. What others published stands beside it, marked so.

    \b
    Example:
      echosearch evaluate ejection_fraction --labels FileList.csv --label-column EF --split TEST
      echosearch evaluate pacemaker --labels labels.csv --plot roc.png
      echosearch evaluate retrieval --reports reports.csv --view A4C
    """  # fmt: skip
    if (task == RETRIEVAL) != (reports is not None):
        raise BadOption("evaluate retrieval and --reports FILE go together")
    _refuse_what_does_not_belong(task, click.get_current_context())
    if reports is not None:
        from echosearch.learning import read_reports

        file = read_reports(reports, key, text_column)
        opened = open_index(index, model, device, precision)
        found = opened.zeroshot.evaluate_retrieval(file, score, views, repeats, seed)
        _show_retrieval(opened, found, output)
        return
    from echosearch.learning import check_predictable

    labels = labels_of(label_file, key, label_column, positive, split)
    opened = open_index(index, model, device, precision)
    inputs = [label_file] if label_file is not None else []
    picture = None if plot is None else opened.output(plot, "the picture", ".png", force, inputs)
    table = None if predictions is None else opened.output(predictions, "the predictions", ".csv", force, inputs)
    if force and picture is None and table is None:
        raise BadOption("--force goes with --plot PNG or --predictions OUT.csv")
    chosen = opened.zeroshot.find(task)
    if table is not None:
        check_predictable(chosen)
    frozen = _threshold(opened, chosen, threshold, published_threshold, calibration)
    result = opened.zeroshot.evaluate(chosen, labels, classes, calibration, frozen, approximate, repeats, seed)
    _show(opened, chosen, result, output)
    if picture is not None:
        from echosearch.pictures import draw_evaluation, save

        title = f"{chosen.name}, {opened.description.model}, {labels.file.name}"
        save(draw_evaluation(result, title, chosen.rule.unit), picture)
        click.echo(f"plot {render.printable(str(picture.path))}", err=output is not None)
    if table is not None:
        written = opened.zeroshot.write_predictions(chosen, table.path, id_column, with_suffix, approximate, force)
        render.print_notes(written, err=True)
        click.echo(f"predictions {render.printable(str(table.path))}", err=output is not None)


_OF_RETRIEVAL = {"reports", "text_column", "views", "score"}
_OF_LABELS = {
    "label_file", "label_column", "positive", "split", "classes", "calibration", "threshold", "published_threshold",
    "approximate", "predictions", "id_column", "with_suffix", "plot", "force",
}  # fmt: skip


def _refuse_what_does_not_belong(task: str, context: click.Context) -> None:
    """BadOption for an option that would be ignored."""
    from click.core import ParameterSource

    wrong = _OF_LABELS if task == RETRIEVAL else _OF_RETRIEVAL
    for option in context.command.params:
        name = option.name or ""
        if name in wrong and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            where = "a task judged by labels" if task == RETRIEVAL else "evaluate retrieval"
            raise BadOption(f"{option.opts[0]} goes with {where}, not with evaluate {task}")


def _threshold(
    opened: Index, task: AnyTask, given: float | None, published: bool, calibration: str | None
) -> Threshold | None:
    from echosearch.learning import Threshold

    if sum((given is not None, published, calibration is not None)) > 1:
        raise BadOption("judge at one threshold: --threshold, --published-threshold or --calibration")
    if given is not None:
        return Threshold(given, "given")
    if not published:
        return None
    figure = opened.zeroshot.published_threshold(task)
    if figure is None:
        raise BadOption(f"no threshold was published for {task.name}")
    return Threshold(figure.value, f"published: {figure.source}")


def _show(opened: Index, task: AnyTask, result: Evaluation, output: str | None) -> None:
    from echosearch.api.evaluations import evaluation_answer

    found = evaluation_answer(opened, task, result)
    if output == "json":
        render.print_json(found)
        return
    _print_origin(found.origin)
    click.echo(f"{task.name}; wording: {found.wording}")
    if result.threshold is not None:
        click.echo(f"threshold {result.threshold.value:.6g} ({render.printable(result.threshold.origin)})")
    for level in result.levels:
        units = f"{level.units} {level.level}s" if level.level != "study" else f"{level.units} studies"
        how = "" if level.level == "video" else f", {task.aggregate} of their videos"
        positives = "" if level.positives is None else f", {level.positives} positive"
        click.echo(f"\n{units} of {level.patients} patients{positives}{how}")
        if level.left_out:
            click.echo(f"note: {level.left_out} videos have no known {level.level}, and are left out here")
        if level.disagreeing:
            click.echo(f"note: the labels of {level.disagreeing} of these {units.rpartition(' ')[2]} differ within")
        render.print_table(
            ("figure", "value", _INTERVAL, "counts"),
            [(_NAMES.get(name, name), *figure.in_words()) for name, figure in level.figures.items()],
            right=("value",),
        )
        if level.counts is not None:
            click.echo(
                "at the threshold: " + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in level.counts.items())
            )
    if result.calibration_error is not None and result.brier_score is not None:
        click.echo(
            f"\nprobabilities of calibration {result.calibration} by video: calibration error "
            f"{result.calibration_error:.3f} (ten bins of equal count), "
            f"Brier score {result.brier_score:.3f}"
        )
    for figure in task.published:
        of = figure.whose(opened.description.standing.published)
        click.echo(f"published {of}: {figure.name} {figure.value:g} ({figure.source})")


_INTERVAL = "95 % interval over patients"
_NAMES = {
    "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "r2": "R2", "pearson_r": "Pearson r",
    "lower_limit": "lower limit of agreement", "upper_limit": "upper limit of agreement",
}  # fmt: skip


def _print_origin(origin: Origin) -> None:
    render.print_source(origin.index, origin.generation, origin.model)
    render.print_notes(origin.warnings)


def _show_retrieval(opened: Index, found: Retrieval, output: str | None) -> None:
    from echosearch.api.evaluations import retrieval_answer

    answer = retrieval_answer(opened, found)
    if output == "json":
        render.print_json(answer)
        return
    _print_origin(answer.origin)
    published = [f"published for {each.model}" for each in found.published]
    render.print_table(("figure", "value", _INTERVAL, "counts", *published), found.table(), right=("value",))
