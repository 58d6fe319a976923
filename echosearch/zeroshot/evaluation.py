"""How good a score is, judged by labels, with intervals over patients. Knows no index and draws nothing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption
from echosearch.zeroshot.calibration import Calibration
from echosearch.zeroshot.sample import Sample
from echosearch.zeroshot.statistics import (
    Estimate,
    ReliabilityBin,
    aggregate,
    aggregate_labels,
    at_threshold,
    brier,
    confusion,
    estimates,
    expected_calibration_error,
    first_known,
    ranking_statistics,
    regression_statistics,
    reliability,
    threshold_statistics,
)
from echosearch.zeroshot.tasks import Aggregate

Level = Literal["video", "study", "patient"]
LEVELS: Final[tuple[Level, ...]] = ("video", "study", "patient")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold that was fixed before these labels were looked at, and where it is from."""

    value: float
    origin: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise BadOption(f"a threshold is a finite number, not {self.value}")


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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        told = {"level": self.level, "units": self.units, "positives": self.positives, "patients": self.patients}
        return told | {
            "disagreeing": self.disagreeing,
            "left_out": self.left_out,
            "figures": {name: asdict(estimate) for name, estimate in self.figures.items()},
            "counts": self.counts,
        }


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
    (check_finding if is_finding else check_value)(sample)
    levels = [_level(level, sample, how, is_finding, threshold, repeats, seed) for level in LEVELS]
    warnings = list(sample.warnings)
    if calibration is not None and (seen := calibration.overlap(sample.contents)):
        warnings.append(
            f"{seen} of these videos were used to make calibration {calibration.name}: "
            "its calibration error, and figures at its threshold, flatter it"
        )
    probabilities = calibration.probability(sample.scores) if calibration is not None and is_finding else None
    bins = min(10, len(sample.labels))
    return Evaluation(
        levels=tuple(level for level in levels if level is not None),
        threshold=threshold,
        calibration=calibration.name if probabilities is not None and calibration is not None else None,
        calibration_error=(
            None if probabilities is None else expected_calibration_error(probabilities, sample.labels == 1, bins)
        ),
        brier_score=None if probabilities is None else brier(probabilities, sample.labels == 1),
        reliability=() if probabilities is None else reliability(probabilities, sample.labels == 1, bins),
        warnings=tuple(warnings),
    )


def check_value(sample: Sample) -> None:
    """BadLabels where the labels are only 0 and 1: they are no measurements."""
    if np.isin(sample.labels, (0, 1)).all():
        raise BadLabels(
            "this task gives a value, and the labels are only 0 and 1; give labels that are measured values"
        )


def check_finding(sample: Sample) -> None:
    """BadLabels unless the labels are 0 and 1, and both are there."""
    if not np.isin(sample.labels, (0, 1)).all():
        other = next(label for label in sample.labels.tolist() if label not in (0, 1))
        raise BadLabels(f"a finding is judged by labels 0 and 1, not {other:g}; say which values mean yes: --positive")
    if len(np.unique(sample.labels)) < 2:
        raise BadLabels(
            f"all {len(sample.labels)} videos that can be used have the label {sample.labels[0]:g}; both are needed"
        )


def _level(
    level: Level,
    sample: Sample,
    how: Aggregate,
    is_finding: bool,
    threshold: Threshold | None,
    repeats: int,
    seed: int,
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
    figures, counts = _figures(scores, labels, together, is_finding, threshold, repeats, seed)
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


def _figures(
    scores: Doubles,
    labels: Doubles,
    together: npt.NDArray[np.int64],
    is_finding: bool,
    threshold: Threshold | None,
    repeats: int,
    seed: int,
) -> tuple[dict[str, Estimate], dict[str, int] | None]:
    if not is_finding:
        return estimates(regression_statistics(scores, labels), together, repeats, seed), None
    positive = labels == 1
    wanted = dict(ranking_statistics(scores, positive))
    if threshold is None:
        return estimates(wanted, together, repeats, seed), None
    called = at_threshold(scores, threshold.value)
    wanted |= threshold_statistics(called, positive)
    return estimates(wanted, together, repeats, seed), asdict(confusion(called, positive))
