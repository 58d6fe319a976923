"""From a score to a probability and a yes or no, learnt from labels of one's own. Knows no index and no file.

A calibration belongs to one task, one form and one recipe: scores of another model mean something else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.catalog import SweepKey
from echosearch.errors import BadLabels, BadOption, CalibrationMismatch
from echosearch.zeroshot.sample import Sample
from echosearch.zeroshot.statistics import (
    Estimate,
    Outcomes,
    ThresholdRule,
    choose_threshold,
    confusion,
    expected_calibration_error,
    prevalence,
)

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MOST_FOLDS: Final = 5
_FEWEST_CLUSTERS: Final = 2
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What thresholds and maps of the other folds made of each labelled video; lists of equal length."""

    clusters: tuple[int, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and a Platt map for one score, and all that says how they came about.

    A video is positive at `threshold` or above; its probability is 1 / (1 + exp(-(slope * score + offset))).
    `classes` are those of the task that count as positive. `sensitivity`, `specificity` and `calibration_error` are of
    videos of patients left out, judged by thresholds and maps that did not see them. `contents` are the beginnings of
    the content hashes of the videos used, to tell whether an evaluation uses them again.
    """

    name: str
    task: str
    content_id: str
    form: str
    formula_version: int
    recipe: str
    precision: str
    classes: tuple[str, ...]
    rule: str
    threshold: float
    slope: float
    offset: float
    labels: str
    labels_sha256: str
    label_column: str
    split: str | None
    videos: int
    positives: int
    patients: int
    folds: int
    sensitivity: float
    specificity: float
    f1: float
    calibration_error: float
    left_out: LeftOut
    contents: tuple[str, ...]
    model: str
    created_at: str

    def probability(self, scores: Doubles) -> Doubles:
        """(n,) from scores (n,), by the Platt map."""
        return platt(scores, self.slope, self.offset)

    def is_positive(self, scores: Doubles) -> Bools:
        """(n,) from scores (n,), by the threshold."""
        return np.asarray(scores >= self.threshold)

    def prevalence(self, predicted: Bools, clusters: Ids, seed: int = 0) -> Estimate:
        """True share of positives among other videos of which some are called so (Rogan & Gladen 1978).

        It assumes that sensitivity and specificity there are what they were on the labelled patients.
        """
        told = self.left_out
        known = Outcomes(np.array(told.clusters, np.int64), np.array(told.labels, bool), np.array(told.predicted, bool))
        return prevalence(known, predicted, clusters, seed=seed)

    def check(self, key: SweepKey) -> None:
        """CalibrationMismatch unless it was made for scores of this kind."""
        mine = (self.content_id, self.form, self.formula_version, self.recipe, self.precision)
        theirs = (key.content_id, key.form, key.formula_version, key.recipe, key.precision)
        names = ("prompts of the task", "form", "formula", "recipe", "precision of the text")
        for name, one, other in zip(names, mine, theirs, strict=True):
            if one != other:
                raise CalibrationMismatch(
                    f"calibration {self.name} was made for another {name} ({_short(one)}; here: {_short(other)}), "
                    f"so its threshold means nothing here; calibrate {key.task} again"
                )

    def overlap(self, contents: tuple[str, ...]) -> int:
        """How many videos with these content hashes it was made from."""
        return len({_beginning(content) for content in contents} & set(self.contents))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"calibration_format": _FORMAT} | asdict(self)

    def to_json(self) -> str:
        """As it is kept and exported; `from_json` reads it."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str, source: str = "the calibration") -> Calibration:
        """The calibration that `to_json` wrote. BadOption on anything else."""
        try:
            told = json.loads(text)
            if told.pop("calibration_format") != _FORMAT:
                raise ValueError("it has a newer format")
            left_out = LeftOut(**{name: tuple(values) for name, values in told["left_out"].items()})
            lists = {name: tuple(told[name]) for name in ("classes", "contents")}
            found = cls(**told | lists | {"left_out": left_out})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadOption(f"{source} is no calibration that echosearch has written: {error}") from error
        if not all(map(math.isfinite, (found.threshold, found.slope, found.offset))):
            raise BadOption(f"{source} has a threshold or map that is no finite number")
        return found


def calibrate(sample: Sample, rule: ThresholdRule, seed: int = 0) -> dict[str, Any]:
    """Threshold, map and how both did on patients left out, as the fields of a `Calibration` that come from data.

    BadLabels unless both classes are there, in two patients or more each.
    """
    labels = _binary(sample)
    folds = list(_folds(labels, sample.clusters, seed))
    predicted, probabilities = np.zeros(len(labels), bool), np.empty(len(labels))
    for rest, part in folds:
        threshold = choose_threshold(sample.scores[rest], labels[rest], rule)
        predicted[part] = sample.scores[part] >= threshold
        probabilities[part] = platt(sample.scores[part], *fit_platt(sample.scores[rest], labels[rest]))
    counts = confusion(predicted, labels)
    slope, offset = fit_platt(sample.scores, labels)
    return {
        "rule": str(rule),
        "threshold": choose_threshold(sample.scores, labels, rule),
        "slope": slope,
        "offset": offset,
        "videos": len(labels),
        "positives": int(labels.sum()),
        "patients": len(np.unique(sample.clusters)),
        "folds": len(folds),
        "sensitivity": counts.sensitivity,
        "specificity": counts.specificity,
        "f1": counts.f1,
        "calibration_error": expected_calibration_error(probabilities, labels, min(10, len(labels))),
        "left_out": LeftOut(
            tuple(sample.clusters.tolist()), tuple(map(int, labels.tolist())), tuple(map(int, predicted.tolist()))
        ),
        "contents": tuple(sorted({_beginning(content) for content in sample.contents})),
    }


def _binary(sample: Sample) -> Bools:
    if not np.isin(sample.labels, (0, 1)).all():
        other = next(label for label in sample.labels.tolist() if label not in (0, 1))
        raise BadLabels(
            f"a calibration needs labels 0 and 1, not {other:g}; say which values mean that it is there: --positive"
        )
    labels: Bools = sample.labels == 1
    for value, there in ((1, labels), (0, ~labels)):
        count = len(np.unique(sample.clusters[there]))
        if count < _FEWEST_CLUSTERS:
            raise BadLabels(
                f"a calibration needs videos of {_FEWEST_CLUSTERS} patients or more with the label {value}, "
                f"and {count} are there"
            )
    return labels


def _folds(labels: Bools, clusters: Ids, seed: int) -> Iterator[tuple[Ids, Ids]]:
    """Rows to learn from and rows left out; a patient is never in both, and both classes are always learnt from."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(clusters[labels])), len(np.unique(clusters[~labels])))
    splitter = StratifiedGroupKFold(min(MOST_FOLDS, fewest), shuffle=True, random_state=seed)
    for rest, part in splitter.split(labels, labels, clusters):
        if not len(part):
            continue
        if labels[rest].all() or not labels[rest].any():
            raise BadLabels("too few patients have one of the labels to learn from some and judge by others")
        yield rest, part


def fit_platt(scores: Doubles, labels: Bools) -> tuple[float, float]:
    """Slope and offset of a logistic map from scores (n,) to the chance of a label 1 (Platt 1999), by scikit-learn.

    With Platt's softened targets, so that labels that a score separates wholly do not give certainty.
    """
    from sklearn.linear_model import LogisticRegression

    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    x = ((scores - middle) / spread)[:, None]
    positives = int(labels.sum())
    chance = np.where(labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))
    both = np.concatenate([np.ones(len(labels)), np.zeros(len(labels))])
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate([x, x]), both, sample_weight=np.concatenate([chance, 1 - chance])
    )
    slope = float(fitted.coef_[0, 0]) / spread
    return slope, float(fitted.intercept_[0]) - slope * middle


def platt(scores: Doubles, slope: float, offset: float) -> Doubles:
    """(n,) probabilities of scores (n,)."""
    return np.asarray(1 / (1 + np.exp(-np.clip(slope * scores + offset, -700, 700))))


def _beginning(content_sha256: str) -> str:
    return content_sha256[:16]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
