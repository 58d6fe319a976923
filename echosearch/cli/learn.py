"""`echosearch calibrate`, `calibrations` and `probe`: what is learnt from labels and kept in an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echosearch.cli import render
from echosearch.cli.labels import class_option, label_options, labels_of
from echosearch.cli.options import (
    FilePath,
    force_option,
    index_option,
    model_runtime_options,
    output_option,
    wait_option,
)
from echosearch.config import index_path
from echosearch.errors import BadOption
from echosearch.files import refuse_device

if TYPE_CHECKING:
    from echosearch.zeroshot.calibration import Calibration
    from echosearch.zeroshot.probe import Probe

model_option = click.option(
    "--model",
    metavar="WHERE",
    help="Where the weights of the index's model lie now. Default: where they lay at ingest.",
)


@click.command()
@click.argument("task", metavar="TASK")
@label_options
@class_option
@click.option(
    "--rule",
    default="max-f1",
    show_default=True,
    metavar="RULE",
    help="How the threshold is chosen: max-f1 or youden (each the mean over resamples of the labelled patients), "
    "sensitivity:S or precision:P (wished, 0 to 1).",
)
@click.option("--name", metavar="NAME", help="What to call it. Default: the task and its classes.")
@click.option("--replace", is_flag=True, help="Put it in place of a calibration of the same name.")
@model_option
@index_option
@wait_option
@model_runtime_options
@output_option("json")
def calibrate(
    task: str,
    label_file: Path | None,
    key: str | None,
    label_column: str | None,
    positive: str | None,
    split: str | None,
    classes: tuple[str, ...],
    rule: str,
    name: str | None,
    replace: bool,
    model: str | None,
    index: str | None,
    wait: float,
    device: Any,
    precision: Any,
    output: str | None,
) -> None:
    """Learn from labels at which score a finding is called, and what chance of it a score means.

    The threshold and the map to a probability (Platt) are learnt from all labelled videos; how good they are is told
    by folds over whole patients. Both are kept in the index, and from then on `sweep` shows them. They belong to this
    task, this model and this way of preparing videos, and to patients like the labelled ones.

    \b
    Example:
      echosearch calibrate pacemaker --labels labels.csv --label-column pacemaker
      echosearch calibrate lv_dilation --class severe --labels labels.csv --positive severe --rule sensitivity:0.9
    """  # fmt: skip
    from echosearch.api import open_index
    from echosearch.zeroshot.statistics import ThresholdRule

    chosen = ThresholdRule.parse(rule)
    labels = labels_of(label_file, key, label_column, positive, split)
    opened = open_index(index_path(index), model, device, precision)
    made, warnings = opened.zeroshot.calibrate(task, labels, chosen, classes, name, replace, wait)
    if output == "json":
        render.print_json(made.to_dict() | {"warnings": list(warnings)})
        return
    for warning in warnings:
        click.echo(f"note: {render.printable(warning)}")
    _show_calibration(made)


def _purged(studies: int) -> str:
    return f"; {studies} training studies purged" if studies else ""


def _show_calibration(made: Calibration) -> None:
    classes = f" ({' or '.join(made.classes)})" if made.classes else ""
    lines = {
        "calibration": f"{made.name}: {made.task}{classes}, {made.form} form, "
        f"made {made.created_at[:19]} with {made.model}",
        "labels": f"{made.labels}, column {made.label_column}{f', split {made.split}' if made.split else ''}: "
        f"{made.videos} videos of {made.patients} patients, {made.positives} positive{_purged(made.purged)}",
        "threshold": f"{made.threshold:.6g} ({made.rule_in_words}) on the {_scale(made)}",
        "probability": f"1 / (1 + exp(-({made.slope:.6g} * score + {made.offset:.6g})))",
        "left out": f"{made.folds} folds over whole patients: sensitivity {made.sensitivity:.3f}, specificity "
        f"{made.specificity:.3f}, F1 {made.f1:.3f}, calibration error {made.calibration_error:.3f}",
        "recipe": made.recipe,
    }
    for name, line in lines.items():
        click.echo(f"{name:12} {render.printable(line)}")


def _scale(made: Calibration) -> str:
    from echosearch.zeroshot.sample import LOG_ODDS, weight_of

    return f"{made.scale}: weight {weight_of(made.threshold):.4g}" if made.scale == LOG_ODDS else made.scale


@click.group()
def calibrations() -> None:
    """Calibrations kept in an index: list, show, export to another index, import, delete.

    \b
    Example:
      echosearch calibrations list
      echosearch calibrations export pacemaker pacemaker.json
    """


@calibrations.command("list")
@index_option
@output_option("json")
def list_calibrations(index: str | None, output: str | None) -> None:
    """List the calibrations of an index, oldest first.

    \b
    Example:
      echosearch calibrations list
    """
    from echosearch.api import open_index

    kept = open_index(index_path(index)).zeroshot.calibrations()
    if output == "json":
        render.print_json([each.to_dict() for each in kept])
        return
    if not kept:
        click.echo("no calibrations; make one: echosearch calibrate TASK --labels FILE")
        return
    render.print_table(
        ("name", "task", "classes", "form", "threshold", "rule", "labels", "videos", "positive", "made"),
        [
            (each.name, each.task, " or ".join(each.classes), each.form, f"{each.threshold:.4g}", each.rule,
             each.labels + _purged(each.purged), each.videos, each.positives, each.created_at[:19])
            for each in kept
        ],
        right=("threshold", "videos", "positive"),
    )  # fmt: skip


@calibrations.command("show")
@click.argument("name")
@index_option
@output_option("json")
def show_calibration(name: str, index: str | None, output: str | None) -> None:
    """Show a calibration with all that it was made from.

    \b
    Example:
      echosearch calibrations show pacemaker
    """
    made = _named(index, name)
    if output == "json":
        render.print_json(made.to_dict())
    else:
        _show_calibration(made)


@calibrations.command("export")
@click.argument("name")
@click.argument("file", type=FilePath(dir_okay=False), metavar="OUT.json")
@force_option
@index_option
def export_calibration(name: str, file: Path, force: bool, index: str | None) -> None:
    """Write a calibration into a file, for another index of the same recipe. It names no patient and no path.

    \b
    Example:
      echosearch calibrations export pacemaker pacemaker.json
    """
    made = _named(index, name)
    written = _write(index, file, "the calibration", force, made.to_dict())
    click.echo(f"calibration {made.name} written to {render.printable(str(written))}")


@calibrations.command("import")
@click.argument("file", type=FilePath(dir_okay=False), metavar="IN.json")
@click.option("--replace", is_flag=True, help="Put it in place of a calibration of the same name.")
@index_option
@wait_option
def import_calibration(file: Path, replace: bool, index: str | None, wait: float) -> None:
    """Keep a calibration of another index in this one; refused unless recipe, task and form are the same.

    \b
    Example:
      echosearch calibrations import pacemaker.json
    """
    from echosearch.api import open_index
    from echosearch.zeroshot.calibration import Calibration

    made = Calibration.from_json(_read(file), str(file))
    open_index(index_path(index)).zeroshot.add_calibration(made, replace, wait)
    click.echo(f"calibration {made.name} kept")


@calibrations.command("delete")
@click.argument("name")
@index_option
@wait_option
def delete_calibration(name: str, index: str | None, wait: float) -> None:
    """Delete a calibration; scores stay.

    \b
    Example:
      echosearch calibrations delete pacemaker
    """
    from echosearch.api import open_index

    open_index(index_path(index)).zeroshot.forget("calibration", name, wait)
    click.echo(f"calibration {render.printable(name)} deleted")


def _write(index: str | None, path: Path, what: str, force: bool, told: dict[str, Any]) -> Path:
    """Gives where it was written."""
    from echosearch.api import open_index

    output = open_index(index_path(index)).output(path, what, ".json", force)
    with output.writing() as file:
        file.write(json.dumps(told, indent=1).encode() + b"\n")
    return output.path


def _read(file: Path) -> str:
    try:
        refuse_device(file)
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"cannot read {file}: {error}") from error


def _named(index: str | None, name: str) -> Calibration:
    from echosearch.api import open_index

    kept = open_index(index_path(index)).zeroshot.calibrations()
    for each in kept:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in kept) or "none"
    raise BadOption(f"there is no calibration {name!r} in this index; there are {names}")


@click.group()
def probe() -> None:
    """Linear probes on the video embeddings: train, list, show, export, import, delete; `sweep probe:NAME` scores.

    \b
    Example:
      echosearch probe train ef --labels FileList.csv --label-column EF --split TRAIN
      echosearch sweep probe:ef
    """


@probe.command("train")
@click.argument("name")
@label_options
@click.option("--kind", type=click.Choice(["logistic", "ridge"]), help="Default: logistic where all labels are 0 or 1.")
@click.option("--view", "views", multiple=True, metavar="VIEW", help="Learn from videos of this view. May be repeated.")
@click.option("--motion", is_flag=True, help="Learn from how the frames of a video differ as well: from what moves.")
@click.option("--replace", is_flag=True, help="Put it in place of a probe of the same name.")
@index_option
@wait_option
@output_option("json")
def train_probe(
    name: str,
    label_file: Path | None,
    key: str | None,
    label_column: str | None,
    positive: str | None,
    split: str | None,
    kind: str | None,
    views: tuple[str, ...],
    motion: bool,
    replace: bool,
    index: str | None,
    wait: float,
    output: str | None,
) -> None:
    """Learn weights for the dimensions of the video embedding from labels, and keep them in the index.

    Logistic regression for yes and no, ridge regression for numbers; scaling and penalty by cross-validation over
    whole patients, and how good it is by patients that had no part in either. With --motion there are as many weights
    again, for how far each dimension varies over the frames (its standard deviation): an ejection fraction is motion,
    and the video embedding is a mean of single frames.

    \b
    Example:
      echosearch probe train ef --labels FileList.csv --label-column EF --split TRAIN --view A4C --motion
    """
    from echosearch.api import open_index

    labels = labels_of(label_file, key, label_column, positive, split)
    zeroshot = open_index(index_path(index)).zeroshot
    made, warnings = zeroshot.train_probe(name, labels, kind, views, replace, wait, motion)
    if output == "json":
        render.print_json(_probe_dict(made) | {"warnings": list(warnings)})
        return
    for warning in warnings:
        click.echo(f"note: {render.printable(warning)}")
    _show_probe(made)


def _probe_dict(made: Probe) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(made.to_json())
    return {"name": made.name} | told


def _show_probe(made: Probe) -> None:
    told = made.training
    lines = {
        "probe": f"{made.name}, {made.kind}, {len(made.weights)} weights"
        + (" (half of them for how far each dimension varies over the frames)" if made.motion else "")
        + (f", views {', '.join(made.views)}" if made.views else ""),
        "labels": f"{told.labels}, column {told.label_column}: {told.videos} videos of {told.patients} patients"
        + ("" if told.positives is None else f", {told.positives} positive")
        + _purged(told.purged),
        "chosen": f"penalty {told.penalty:g}, {'each dimension scaled' if told.scaled else 'dimensions as they are'}",
        "left out": f"{told.folds} folds over whole patients: {told.figure} {told.value:.3f} "
        f"(without looking: {told.chance:.3g})",
        "recipe": made.recipe,
    }
    for name, line in lines.items():
        click.echo(f"{name:12} {render.printable(line)}")


@probe.command("list")
@index_option
@output_option("json")
def list_probes(index: str | None, output: str | None) -> None:
    """List the probes of an index.

    \b
    Example:
      echosearch probe list
    """
    from echosearch.api import open_index

    kept = open_index(index_path(index)).zeroshot.probes()
    if output == "json":
        render.print_json([_probe_dict(each) for each in kept])
        return
    if not kept:
        click.echo("no probes; make one: echosearch probe train NAME --labels FILE")
        return
    render.print_table(
        ("name", "kind", "labels", "column", "videos", "patients", "figure", "left out"),
        [
            (each.name, each.kind, each.training.labels + _purged(each.training.purged), each.training.label_column,
             each.training.videos,
             each.training.patients, each.training.figure, f"{each.training.value:.3f}")
            for each in kept
        ],
        right=("videos", "patients", "left out"),
    )  # fmt: skip


@probe.command("show")
@click.argument("name")
@index_option
@output_option("json")
def show_probe(name: str, index: str | None, output: str | None) -> None:
    """Show a probe with all that it was made from; --json with its weights.

    \b
    Example:
      echosearch probe show ef
    """
    made = _probe(index, name)
    if output == "json":
        render.print_json(_probe_dict(made))
    else:
        _show_probe(made)


@probe.command("export")
@click.argument("name")
@click.argument("file", type=FilePath(dir_okay=False), metavar="OUT.json")
@force_option
@index_option
def export_probe(name: str, file: Path, force: bool, index: str | None) -> None:
    """Write a probe into a file, for another index of the same recipe. It names no patient and no path.

    \b
    Example:
      echosearch probe export ef ef-probe.json
    """
    made = _probe(index, name)
    written = _write(index, file, "the probe", force, made.to_dict())
    click.echo(f"{made.name} written to {render.printable(str(written))}")


@probe.command("import")
@click.argument("file", type=FilePath(dir_okay=False), metavar="IN.json")
@click.option("--replace", is_flag=True, help="Put it in place of a probe of the same name.")
@index_option
@wait_option
def import_probe(file: Path, replace: bool, index: str | None, wait: float) -> None:
    """Keep a probe of another index in this one; refused unless the recipe is the same.

    \b
    Example:
      echosearch probe import ef-probe.json
    """
    from echosearch.api import open_index
    from echosearch.zeroshot.probe import Probe

    made = Probe.from_json(_read(file), str(file))
    open_index(index_path(index)).zeroshot.add_probe(made, replace, wait)
    click.echo(f"{made.name} kept")


@probe.command("delete")
@click.argument("name")
@index_option
@wait_option
def delete_probe(name: str, index: str | None, wait: float) -> None:
    """Delete a probe; its scores stay, but cannot be asked for any more.

    \b
    Example:
      echosearch probe delete ef
    """
    from echosearch.api import open_index

    open_index(index_path(index)).zeroshot.forget("probe", name.removeprefix("probe:"), wait)
    click.echo(f"probe {render.printable(name)} deleted")


def _probe(index: str | None, name: str) -> Probe:
    from echosearch.api import open_index
    from echosearch.zeroshot.probe import PREFIX, Probe

    made = open_index(index_path(index)).zeroshot.find(PREFIX + name.removeprefix(PREFIX))
    assert isinstance(made, Probe)
    return made
