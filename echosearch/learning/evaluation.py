"""How good a score is, judged by labels, with intervals over patients. Knows no index and draws nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.calibration import Calibration, overlap
from echosearch.learning.intervals import FEWEST, NONE, Codes, Estimate, auroc, estimates, few_labels, shares
from echosearch.learning.labels import LabelFile
from echosearch.learning.probe import AnyTask
from echosearch.learning.sample import Sample
from echosearch.learning.statistics import (
    ReliabilityBin,
    aggregate,
    aggregate_labels,
    auprc,
    confusion,
    expected_calibration_error,
    first_known,
    regression_statistics,
    reliability,
)
from echosearch.tasks import Aggregate, Mode
from echosearch.types import Answer

Level = Literal["video", "study", "patient"]
LEVELS: Final[tuple[Level, ...]] = ("video", "study", "patient")

Doubles = npt.NDArray[np.float64]
_Judged = tuple[dict[str, Estimate], dict[str, int] | None]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold that was fixed before these labels were looked at, and where it is from.

    `learnt` says that it is the calibration's: of videos that taught it, it is not judged.
    """

    value: float
    origin: str
    learnt: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise BadOption(f"a threshold is a finite number, not {self.value}")


def frozen_threshold(given: Threshold | None, calibration: Calibration | None, rule: Mode) -> Threshold | None:
    """At which threshold the scores of a task are judged: the one given, else the calibration's, if any."""
    if given is not None:
        value, remark = rule.threshold(given.value)
        return Threshold(value, given.origin + remark)
    if calibration is None:
        return None
    told = f"{calibration.rule_in_words}, {calibration.labels}; {calibration.scale}"
    return Threshold(calibration.threshold, f"calibration {calibration.name} ({told})", learnt=True)


@dataclass(frozen=True, slots=True, eq=False)
class LevelResult:
    """Figures of one level: `figures` name -> estimate with interval; of a finding also counts at the threshold.

    `scores` and `labels` (n,) are what they are of, for plots; `disagreeing` units had labels that differ within, and
    `left_out` videos belong to no unit, as their study or patient is not known.
    """

    level: Level
    units: int
    positives: int | None
    patients: int
    disagreeing: int
    left_out: int
    figures: dict[str, Estimate]
    counts: dict[str, int] | None
    scores: Doubles
    labels: Doubles

    def answer(self) -> LevelFigures:
        """The same without what it is of."""
        return LevelFigures(**{each.name: getattr(self, each.name) for each in fields(LevelFigures)})


@dataclass(frozen=True, slots=True)
class LevelFigures(Answer):
    """The figures of a `LevelResult`."""

    level: Level
    units: int
    positives: int | None
    patients: int
    disagreeing: int
    left_out: int
    counts: dict[str, int] | None
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Figures at every level, with the threshold that was used, and the named calibration's reliability by video."""

    levels: tuple[LevelResult, ...]
    threshold: Threshold | None
    calibration: str | None
    calibration_error: float | None
    brier_score: float | None
    reliability: tuple[ReliabilityBin, ...]
    warnings: tuple[str, ...]


def evaluate(
    sample: Sample,
    how: Aggregate,
    is_finding: bool,
    threshold: Threshold | None = None,
    calibration: Calibration | None = None,
    repeats: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Judge scores by labels: findings by ranking and at a frozen threshold, measurements by their errors.

    A study's or patient's score is the `how` of its videos'. BadLabels where a finding's labels are of one class only.
    """
    from sklearn.metrics import brier_score_loss

    (check_finding if is_finding else check_value)(sample)
    warnings, taught = list(sample.warnings), ""
    if calibration is not None and any(seen := overlap(calibration.contents, sample)):
        others = f", and {seen[1]} others are of patients whose videos were" if seen[1] else ""
        taught = f"{seen[0]} of these videos were used to make calibration {calibration.name}{others}"
        warnings.append(
            f"{taught}, so neither its threshold nor its probabilities are judged by them: use other videos; how it "
            f"did on patients left out: echosearch calibrations show {calibration.name}"
        )
    is_taught = taught if threshold is not None and threshold.learnt else ""
    judge = partial(_judge, is_finding, threshold, is_taught, repeats, seed)
    levels = [_level(level, sample, how, is_finding, judge) for level in LEVELS]
    probabilities: Any = None
    bins, positive = min(10, len(sample.labels)), sample.labels == 1
    if calibration is not None and is_finding and not taught:
        few = few_labels(sample.clusters, positive, (FEWEST, FEWEST), "probabilities are judged")
        warnings += [calibration.assumption, f"{int(positive.sum())} of these {len(positive)} videos are positive"]
        warnings += [few] if few else []
        probabilities = None if few else calibration.probability(sample.scores)
    known = probabilities is not None
    return Evaluation(
        levels=tuple(level for level in levels if level is not None),
        threshold=threshold,
        calibration=calibration.name if known and calibration is not None else None,
        calibration_error=expected_calibration_error(probabilities, positive, bins) if known else None,
        brier_score=float(brier_score_loss(positive, probabilities)) if known else None,
        reliability=reliability(probabilities, positive, bins) if known else (),
        warnings=tuple(warnings),
    )


def check_range(labels: LabelFile, task: AnyTask) -> list[str]:
    """What is to be said of labels that a task with a range cannot give, such as a pressure above the highest.

    BadLabels where all are fractions of it, or one lies off by more than the whole range: a slip, or another unit.
    """
    if task.range is None:
        return []
    low, high, rows = task.range.low, task.range.high, labels.rows
    ends = f"{task.name} gives {low} to {high} {task.rule.unit}".rstrip()
    if high > 1 and all(0 <= row.value <= 1 for row in rows) and not all(row.value in (0, 1) for row in rows):
        raise BadLabels(f"all {len(rows)} labels of {labels.file.name} lie between 0 and 1, and {ends}; give them so")
    outside = [row for row in rows if not low <= row.value <= high]
    far = [row for row in outside if not 2 * low - high <= row.value <= 2 * high - low]
    some = ", ".join(f"line {row.line}: {row.value:g}" for row in (far or outside)[:3])
    told = f"{len(far or outside)} of {len(rows)} labels of {labels.file.name} lie outside: {ends} ({some})"
    if far:
        raise BadLabels(f"{told}; that is too far to be; correct them, or leave their cells empty")
    return [told] if outside else []


def check_value(sample: Sample) -> None:
    """BadLabels where the labels are only 0 and 1: they are no measurements."""
    if np.isin(sample.labels, (0, 1)).all():
        raise BadLabels(
            "this task gives a value, and the labels are only 0 and 1; give labels that are measured values"
        )


def check_finding(sample: Sample) -> None:
    """BadLabels unless the labels are 0 and 1, and both are there."""
    if len(np.unique(sample.findings("a finding is judged by"))) < 2:
        raise BadLabels(
            f"all {len(sample.labels)} videos that can be used have the label {sample.labels[0]:g}; both are needed"
        )


def _level(
    level: Level,
    sample: Sample,
    how: Aggregate,
    is_finding: bool,
    judge: Callable[[Doubles, Doubles, Codes], _Judged],
) -> LevelResult | None:
    """Figures of videos, or of studies or patients where these are known; None where none is."""
    if level == "video":
        scores, labels, together, disagreeing, left_out = sample.scores, sample.labels, sample.clusters, 0, 0
    else:
        groups = sample.studies if level == "study" else sample.patients
        if all(group is None for group in groups):
            return None
        _, scores = aggregate(sample.scores, groups, how)
        _, labels, disagreeing = aggregate_labels(sample.labels, groups, is_finding)
        together = np.array(first_known(sample.clusters.tolist(), groups), np.int64)
        left_out = sum(group is None for group in groups)
    figures, counts = judge(scores, labels, together)
    return LevelResult(
        level=level,
        units=len(labels),
        positives=int(labels.sum()) if is_finding else None,
        patients=len(np.unique(together)),
        disagreeing=disagreeing,
        left_out=left_out,
        figures=figures,
        counts=counts,
        scores=scores,
        labels=labels,
    )


def _judge(
    is_finding: bool,
    threshold: Threshold | None,
    taught: str,
    repeats: int,
    seed: int,
    scores: Doubles,
    labels: Doubles,
    people: Codes,
) -> _Judged:
    """Errors, or AUROC, AUPRC, and figures at a threshold, but for one that was `taught` by these videos."""
    if not is_finding:
        return estimates(regression_statistics(scores, labels), people, repeats, seed), None
    positive = labels == 1
    ranked = auroc(scores, positive, people)
    told = {"auroc": ranked}
    told |= estimates({"auprc": auprc(scores, positive)}, people, repeats, seed, ranked.patients)
    if threshold is None:
        return told, None
    called = scores >= threshold.value
    judged = shares(called, positive, people)
    if taught:
        return told | {name: Estimate(None, NONE, reason=taught) for name in judged}, None
    return told | judged, confusion(called, positive)
