"""From a score to a probability and a yes or no, learnt from labels of one's own. Knows no index and no file.

A calibration belongs to one task, one form and one recipe: scores of another model mean something else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption, CalibrationMismatch
from echosearch.index import FittedKind, SweepKey
from echosearch.learning.intervals import Estimate, few_labels, prevalence, shares
from echosearch.learning.sample import Sample, stratified_folds
from echosearch.learning.statistics import expected_calibration_error
from echosearch.learning.thresholds import RESAMPLES, ThresholdRule, steady_threshold
from echosearch.typed import from_json
from echosearch.types import BESIDE, Answer

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PrevalenceFrom = Literal["labels", "stated", "estimated"]

MADE_FOR: Final = {
    "content_id": "wording of the task",
    "form": "form",
    "formula_version": "formula",
    "recipe": "recipe (or its videos embedded again)",
    "precision": "precision of the text",
}
"""What a calibration has of the `SweepKey` of its scores, and how it is called."""

_FEWEST_CLUSTERS: Final = 2
_FORMAT: Final = {"calibration_format": 1}
_KEPT: Final = 16
"""So many characters of a content hash tell one video from another."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What thresholds and maps of the other folds made of each labelled video; lists of equal length."""

    clusters: tuple[int, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.clusters) == len(self.labels) == len(self.predicted):
            raise ValueError("rows of different lengths")
        if set(self.labels) != {0, 1} or not set(self.predicted) <= {0, 1}:
            raise ValueError("labels and predictions are 0 and 1, and labels have both")


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and a Platt map for one score, and all that says how they came about.

    A video is positive at `threshold` or above; its probability is 1 / (1 + exp(-(slope * score + offset))). The score
    is that of the task, or `scale` says what else: of a contrastive task the log odds of the weight of `classes`, those
    that count as positive. `sensitivity`, `specificity` and `calibration_error` are of
    videos of patients left out, judged by thresholds (`fold_thresholds`) and maps that did not see them.
    Where a rule picks a best (max-f1, youden), thresholds are means over `resamples` of the patients; 0: they are not.
    `contents` are the beginnings of the content hashes of the videos used, to tell whether an evaluation uses them
    again; those of `purged` studies are gone from it.
    Probabilities are right where `prevalence` of the videos have the finding, which is the labels' own share, was
    stated, or was estimated when it was made. None: made before that was kept, and so as common as among the labels.
    """

    name: str
    task: str
    content_id: str
    form: str
    formula_version: int
    recipe: str
    precision: str
    classes: tuple[str, ...]
    scale: str
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
    fold_thresholds: tuple[float, ...]
    sensitivity: float
    specificity: float
    f1: float
    calibration_error: float
    left_out: LeftOut
    contents: tuple[str, ...]
    model: str
    created_at: str
    resamples: int = 0
    purged: int = 0
    prevalence: float | None = None
    prevalence_from: PrevalenceFrom = "labels"

    def __post_init__(self) -> None:
        numbers = (self.threshold, self.slope, self.offset, *self.fold_thresholds)
        if not self.fold_thresholds or not all(map(math.isfinite, numbers)):
            raise ValueError("threshold, map and one or more fold_thresholds are finite numbers")
        if self.prevalence is not None and not 0 < self.prevalence < 1:
            raise ValueError(f"a prevalence lies between 0 and 1, not {self.prevalence}")

    @property
    def kept_as(self) -> tuple[FittedKind, str]:
        """As what and under which name an index keeps it."""
        return "calibration", self.name

    @property
    def rule_in_words(self) -> str:
        """The rule, and over how many resamples of the patients its thresholds were averaged."""
        return self.rule + (f", mean of {self.resamples} resamples" if self.resamples else "")

    @property
    def assumption(self) -> str:
        """For what prevalence its probabilities are, and whether its yes hangs on one as well, in words."""
        names = ("name", "positives", "videos", "prevalence", "prevalence_from", "rule")
        return assumption({name: getattr(self, name) for name in names})

    def at(self, prevalence: float, origin: PrevalenceFrom = "stated") -> Calibration:
        """The same with probabilities for another prevalence: log odds move by the difference (Saerens et al. 2002).

        BadOption unless it lies between 0 and 1.
        """
        from scipy.special import logit

        if not 0 < prevalence < 1:  # NaN fails this as well
            raise BadOption(f"a prevalence lies between 0 and 1, such as 0.05, not {prevalence:g}")
        now = self.prevalence or self.positives / self.videos
        moved = self.offset + float(logit(prevalence) - logit(now))
        return replace(self, offset=moved, prevalence=prevalence, prevalence_from=origin)

    def figures(self) -> dict[str, Estimate]:
        """`sensitivity`, `specificity` and `f1` on patients left out, with counts and intervals."""
        return figures(asdict(self.left_out))

    @property
    def few_labels(self) -> str:
        """What is to be said where too few patients were learnt from; empty where they are enough."""
        return few_labels(*_outcomes(asdict(self.left_out))[:2])

    def shown(self) -> CalibrationDetails:
        """For people: without a figure that too few patients decide, and with its assumption."""
        figures = self.figures()
        sensitivity, specificity, f1 = (figures[name].value for name in ("sensitivity", "specificity", "f1"))
        return CalibrationDetails(
            calibration=self,
            sensitivity=sensitivity,
            specificity=specificity,
            f1=f1,
            calibration_error=None if None in (sensitivity, specificity, f1) else self.calibration_error,
            figures=figures,
            assumption=self.assumption,
            few=self.few_labels,
        )

    def new(self, warnings: Sequence[str]) -> NewCalibration:
        """As it is shown when it was made just now."""
        return NewCalibration(self.shown(), tuple(warnings))

    def probability(self, scores: Doubles) -> Doubles:
        """(n,) from scores (n,), by the Platt map."""
        return platt(scores, self.slope, self.offset)

    def is_positive(self, scores: Doubles) -> Bools:
        """(n,) from scores (n,), by the threshold."""
        return np.asarray(scores >= self.threshold)

    def prevalence_among(self, scores: Doubles, clusters: Ids) -> Estimate:
        """True share of positives among other videos with scores (n,), by patient (Rogan & Gladen 1978).

        It assumes that sensitivity and specificity there are what they were on the labelled patients left out. These
        belong to the folds' thresholds, so it is these that call the videos, all with equal weight: called by
        `threshold`, intervals that should hold the truth in 95 of 100 archives held it in 88.
        """
        predicted = np.concatenate([scores >= threshold for threshold in self.fold_thresholds])
        found = prevalence(_outcomes(asdict(self.left_out)), predicted, np.tile(clusters, len(self.fold_thresholds)))
        return replace(found, count=int(self.is_positive(scores).sum()), of=len(scores))

    def check(self, key: SweepKey) -> None:
        """CalibrationMismatch unless it was made for scores of this kind."""
        for part, name in MADE_FOR.items():
            one, other = getattr(self, part), getattr(key, part)
            if one != other:
                raise CalibrationMismatch(
                    f"calibration {self.name} was made for another {name} ({_short(one)}; here: {_short(other)}), "
                    f"so its threshold means nothing here; calibrate {key.task} again"
                )

    def fits(self, key: SweepKey) -> bool:
        """Whether it was made for scores of this kind."""
        return all(getattr(self, part) == getattr(key, part) for part in MADE_FOR)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return _FORMAT | asdict(self)

    def to_json(self) -> str:
        """As it is kept and exported; `from_json` reads it."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str, source: str = "the calibration") -> Calibration:
        """The calibration that `to_json` wrote. BadOption on anything else."""
        try:
            return from_json(cls, text, _FORMAT)
        except ValueError as error:
            raise BadOption(f"{source} is no calibration that echosearch has written: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationDetails(Answer):
    """A calibration as it is shown: figures that too few patients decide are None, `few` says why."""

    calibration_format: Literal[1] = 1
    calibration: Calibration = field(metadata=BESIDE)
    sensitivity: float | None
    specificity: float | None
    f1: float | None
    calibration_error: float | None
    figures: dict[str, Estimate]
    assumption: str
    few: str


@dataclass(frozen=True, slots=True)
class NewCalibration(Answer):
    """A calibration that was made just now, with what is to be known beside it."""

    made: CalibrationDetails = field(metadata=BESIDE)
    warnings: tuple[str, ...]


def made_for(key: SweepKey) -> dict[str, Any]:
    """What a calibration of scores of this kind has of their key, by the name of the field."""
    return {part: getattr(key, part) for part in MADE_FOR}


def calibrate(sample: Sample, rule: ThresholdRule, seed: int = 0) -> dict[str, Any]:
    """Threshold, map and how both did on patients left out, as the fields of a `Calibration` that come from data.

    BadLabels as `check_labels`, and where the score is no higher for the label 1; BadOption where no threshold does
    what the rule asks.
    """
    labels = check_labels(sample)
    threshold = steady_threshold(sample.scores, labels, sample.clusters, rule, seed=seed)
    slope, offset = fit_platt(sample.scores, labels)
    if not slope > 0:
        raise BadLabels(
            "the score is no higher for videos with the label 1 than for those with 0, so no threshold tells them "
            "apart; see if the labels are the right way round (--positive), or try other prompts"
        )
    folds = stratified_folds(labels, sample.clusters, seed)
    predicted, probabilities = np.zeros(len(labels), bool), np.empty(len(labels))
    thresholds = [_threshold_of_some(sample, labels, rest, rule, seed) for rest, _ in folds]
    for (rest, part), one in zip(folds, thresholds, strict=True):
        predicted[part] = sample.scores[part] >= one
        probabilities[part] = platt(sample.scores[part], *fit_platt(sample.scores[rest], labels[rest]))
    return {
        "rule": str(rule),
        "threshold": threshold,
        "resamples": RESAMPLES if rule.target is None else 0,
        "slope": slope,
        "offset": offset,
        "videos": len(labels),
        "positives": int(labels.sum()),
        "prevalence": float(labels.mean()),
        "patients": len(np.unique(sample.clusters)),
        "folds": len(folds),
        "fold_thresholds": tuple(thresholds),
        "sensitivity": float(predicted[labels].mean()),
        "specificity": float((~predicted[~labels]).mean()),
        "f1": float(2 * (predicted & labels).sum() / (predicted.sum() + labels.sum())),
        "calibration_error": expected_calibration_error(probabilities, labels, min(10, len(labels))),
        "left_out": LeftOut(
            tuple(sample.clusters.tolist()), tuple(map(int, labels.tolist())), tuple(map(int, predicted.tolist()))
        ),
        "contents": beginnings(sample.contents),
    }


def figures(left_out: Mapping[str, Any]) -> dict[str, Estimate]:
    """What `Calibration.figures` says, of its `left_out` as JSON values."""
    clusters, labels, predicted = _outcomes(left_out)
    found = shares(predicted, labels, clusters)
    return {name: found[name] for name in ("sensitivity", "specificity", "f1")}


def _outcomes(told: Mapping[str, Any]) -> tuple[Ids, Bools, Bools]:
    return np.array(told["clusters"], np.int64), np.array(told["labels"], bool), np.array(told["predicted"], bool)


_FROM: Final = {"labels": "the labels' own", "stated": "stated", "estimated": "estimated when it was made"}


def assumption(told: Mapping[str, Any]) -> str:
    """What `Calibration.assumption` says, of one that is kept as JSON values, such as an older cohort's."""
    labels = f"as common as among its labels ({told.get('positives')} of {told.get('videos')} videos)"
    share, rule, name = told.get("prevalence"), str(told.get("rule")), told.get("name")
    if share is None:
        said = f"p by calibration {name} is not adjusted: it is right where the finding is {labels}"
    else:
        said = f"p by calibration {name} is for a prevalence of {share:.3g} ({_FROM[told['prevalence_from']]})"
    hangs_on_it = rule.startswith(("max-f1", "precision"))
    return said + (f"; its yes ({rule}) is best where the finding is {labels}" if hangs_on_it else "")


def check_labels(sample: Sample) -> Bools:
    """The labels as yes and no (n,). BadLabels unless both are there, in two patients or more each."""
    labels = sample.findings("a calibration needs")
    for value, there in ((1, labels), (0, ~labels)):
        count = len(np.unique(sample.clusters[there]))
        if count < _FEWEST_CLUSTERS:
            raise BadLabels(
                f"a calibration needs videos of {_FEWEST_CLUSTERS} patients or more with the label {value}, "
                f"and {count} are there"
            )
    return labels


def _threshold_of_some(sample: Sample, labels: Bools, rows: Ids, rule: ThresholdRule, seed: int) -> float:
    try:
        return steady_threshold(sample.scores[rows], labels[rows], sample.clusters[rows], rule, seed=seed)
    except BadOption as error:
        raise BadOption(
            f"without one fold of the patients {error}; so there is no telling how it does on others: "
            "wish for less, or give more labels"
        ) from error


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
    fitted = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(
        np.concatenate([x, x]), both, sample_weight=np.concatenate([chance, 1 - chance])
    )
    slope = float(fitted.coef_[0, 0]) / spread
    return slope, float(fitted.intercept_[0]) - slope * middle


def platt(scores: Doubles, slope: float, offset: float) -> Doubles:
    """(n,) probabilities of scores (n,)."""
    from scipy.special import expit

    return np.asarray(expit(slope * scores + offset))


def beginnings(contents: Iterable[str]) -> tuple[str, ...]:
    """What is kept of content hashes, sorted, each once."""
    return tuple(sorted({content[:_KEPT] for content in contents}))


def overlap(known: tuple[str, ...], told: Sample) -> tuple[int, int]:
    """How many rows are videos whose content hashes begin like `known`, and of how many others the person has one."""
    there = set(known)
    used = [content[:_KEPT] in there for content in told.contents]
    related = [any(content[:_KEPT] in there for content in contents) for contents in told.relatives]
    return sum(used), sum(one and not other for one, other in zip(related, used, strict=False))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."
