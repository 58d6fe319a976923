"""`echosearch calibrate`, `calibrations` and `probe`: what is learnt from labels and kept in an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from echosearch.cli.kept import Kept, add_commands, replace_option
from echosearch.cli.labels import class_option, label_options, labels_of
from echosearch.cli.options import (
    Prevalence,
    index_option,
    model_option,
    model_runtime_options,
    open_index,
    output_option,
    wait_option,
)

if TYPE_CHECKING:
    from echosearch.api.zeroshot import ZeroShot
    from echosearch.learning import Calibration, Probe


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
@click.option(
    "--prevalence",
    type=Prevalence(0, 1),
    metavar="X",
    help="The prevalence that probabilities are calibrated for: a share such as 0.05, or `estimate`: once, from "
    "all videos as they are now. Default: as among the labels.",
)
@click.option("--name", metavar="NAME", help="Its name. Default: the task, its classes and the prevalence.")
@replace_option("calibration")
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
    prevalence: float | Literal["estimate"] | None,
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
    task, this model and this way of preparing videos, and to patients like the labelled ones. Labels are often chosen
    so that half are positive: say then with --prevalence how common the finding is, or every probability is too high.

    \b
    Example:
      echosearch calibrate pacemaker --labels labels.csv --label-column pacemaker
      echosearch calibrate pacemaker --labels labels.csv --prevalence 0.05
      echosearch calibrate lv_dilation --class severe --labels labels.csv --positive severe --rule sensitivity:0.9
    """  # fmt: skip
    from echosearch.learning import ThresholdRule

    chosen = ThresholdRule.parse(rule)
    labels = labels_of(label_file, key, label_column, positive, split)
    opened = open_index(index, model, device, precision)
    made, warnings = opened.zeroshot.calibrate(task, labels, chosen, classes, name, replace, wait, prevalence)
    _CALIBRATIONS.print_new(made, warnings, output)


def _purged(studies: int) -> str:
    return f"; {studies} training studies purged" if studies else ""


def _lines_of_calibration(made: Calibration) -> dict[str, str]:
    classes = f" ({' or '.join(made.classes)})" if made.classes else ""
    return {
        "calibration": f"{made.name}: {made.task}{classes}, {made.form} form, "
        f"made {made.created_at[:19]} with {made.model}",
        "labels": f"{made.labels}, column {made.label_column}{f', split {made.split}' if made.split else ''}: "
        f"{made.videos} videos of {made.patients} patients, {made.positives} positive{_purged(made.purged)}",
        "threshold": f"{made.threshold:.6g} ({made.rule_in_words}) on the {_scale(made)}",
        "probability": f"1 / (1 + exp(-({made.slope:.6g} * score + {made.offset:.6g})))",
        "p and yes": made.assumption,
        "left out": f"{made.folds} folds over whole patients: "
        + "; ".join(f"{name} {figure.sentence}" for name, figure in made.figures().items())
        + (f"; calibration error {error:.3f}" if (error := made.shown().calibration_error) is not None else ""),
        **({"few labels": made.few_labels} if made.few_labels else {}),
        "recipe": made.recipe,
    }


def _scale(made: Calibration) -> str:
    from scipy.special import expit

    from echosearch.tasks import LOG_ODDS

    return f"{made.scale}: weight {expit(made.threshold):.4g}" if made.scale == LOG_ODDS else made.scale


@click.group()
def calibrations() -> None:
    """Calibrations kept in an index: list, show, export to another index, import, delete.

    \b
    Example:
      echosearch calibrations list
      echosearch calibrations export pacemaker pacemaker.json
    """


def _calibration(zeroshot: ZeroShot, name: str) -> Calibration:
    from echosearch.learning import named

    return named(zeroshot.calibrations(), name)


_CALIBRATIONS: Kept[Calibration] = Kept(
    noun="calibration",
    hint="echosearch calibrate TASK --labels FILE",
    example="pacemaker",
    file="pacemaker.json",
    helps={
        "list": "List the calibrations of an index, oldest first.",
        "show": "Show a calibration and what it was made from.",
        "export": "Write a calibration into a file, for another index of the same recipe. It names no patient and no "
        "path.",
        "import": "Keep a calibration of another index in this one; refused unless recipe, task and form are the same.",
        "delete": "Delete a calibration; scores stay.",
    },
    columns=("name", "task", "classes", "form", "threshold", "rule", "labels", "videos", "positive", "p for", "made"),
    right=("threshold", "videos", "positive", "p for"),
    all=lambda zeroshot: zeroshot.calibrations(),
    find=_calibration,
    add=lambda zeroshot, made, replace, wait: zeroshot.add_calibration(made, replace, wait),
    called=lambda made: f"calibration {made.name}",
    row=lambda made: (
        made.name, made.task, " or ".join(made.classes), made.form, f"{made.threshold:.4g}", made.rule,
        made.labels + _purged(made.purged), made.videos, made.positives,
        "not adjusted" if made.prevalence is None else f"{made.prevalence:.3g}", made.created_at[:19],
    ),
    lines=_lines_of_calibration,
)  # fmt: skip
add_commands(calibrations, _CALIBRATIONS)


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
@replace_option("probe")
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
    labels = labels_of(label_file, key, label_column, positive, split)
    zeroshot = open_index(index).zeroshot
    made, warnings = zeroshot.train_probe(name, labels, kind, views, replace, wait, motion)
    _PROBES.print_new(made, warnings, output)


def _lines_of_probe(made: Probe) -> dict[str, str]:
    told = made.training
    return {
        "probe": f"{made.name}, {made.kind}, {len(made.weights)} weights"
        + (" (half of them for how far each dimension varies over the frames)" if made.motion else "")
        + (f", views {', '.join(made.views)}" if made.views else ""),
        "labels": f"{told.labels}, column {told.label_column}: {told.videos} videos of {told.patients} patients"
        + ("" if told.positives is None else f", {told.positives} positive")
        + _purged(told.purged),
        "chosen": f"penalty {told.penalty:g}, {'each dimension scaled' if told.scaled else 'dimensions as they are'}",
        "left out": f"{told.folds} folds over whole patients: {told.judged}",
        "recipe": made.recipe,
    }


def _probe(zeroshot: ZeroShot, name: str) -> Probe:
    from echosearch.learning import PREFIX, Probe

    made = zeroshot.find(PREFIX + _label(name))
    assert isinstance(made, Probe)
    return made


def _label(name: str) -> str:
    return name.removeprefix("probe:")


_PROBES: Kept[Probe] = Kept(
    noun="probe",
    hint="echosearch probe train NAME --labels FILE",
    example="ef",
    file="ef-probe.json",
    helps={
        "list": "List the probes of an index.",
        "show": "Show a probe and what it was made from; --json includes its weights.",
        "export": "Write a probe into a file, for another index of the same recipe. It names no patient and no path.",
        "import": "Keep a probe of another index in this one; refused unless the recipe is the same.",
        "delete": "Delete a probe; its scores stay, but can no longer be used.",
    },
    columns=("name", "kind", "labels", "column", "videos", "patients", "left out"),
    right=("videos", "patients"),
    all=lambda zeroshot: zeroshot.probes(),
    find=_probe,
    add=lambda zeroshot, made, replace, wait: zeroshot.add_probe(made, replace, wait),
    called=lambda made: made.name,
    row=lambda made: (
        made.name, made.kind, made.training.labels + _purged(made.training.purged), made.training.label_column,
        made.training.videos, made.training.patients, made.training.judged,
    ),
    lines=_lines_of_probe,
    key=_label,
)  # fmt: skip
add_commands(probe, _PROBES)
