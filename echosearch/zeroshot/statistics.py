"""Figures of merit, thresholds, prevalence and their uncertainty. Knows arrays; no task, no index, no file.

A statistic that has no value for some data (a sensitivity where nobody has the finding) is NaN inside this module
and None in what is handed out. Weights are whole numbers: how often each row counts. So a bootstrap over patients is
a reweighting, and nothing is copied or sorted twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption, BadQuery
from echosearch.types.people import clusters as clusters

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.int64]
Known = TypeVar("Known")
Statistic = Callable[[Weights], float]
"""A figure of some data that are fixed, as a function of how often each row counts."""

LIMITS: Final = 1.96
"""Limits of agreement lie so many standard deviations from the bias (Bland & Altman 1986)."""

RESAMPLES: Final = 400
"""Over so many a threshold of best F1 or Youden's is averaged."""

_MOST_LEFT_OUT: Final = 500
"""Above so many clusters they are left out in groups, for time."""

_HOW: Final[dict[str, Callable[[Floats], Any]]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "top2": lambda values: np.sort(values)[-2:].mean(),
    "top3": lambda values: np.sort(values)[-3:].mean(),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval over `repeats` resamples; `undefined` of them had no value and are left out.

    `low` and `high` are None where a single cluster decides whether there is a value: nothing can be said.
    """

    low: float | None
    high: float | None
    repeats: int
    undefined: int

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None) or not 0 <= self.undefined <= self.repeats:
            raise ValueError(f"an interval has both ends or none, not {self}")
        if self.low is not None and self.high is not None and not self.low <= self.high:  # NaN fails this as well
            raise ValueError(f"an interval runs from low to high, not {self}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; `value` is None where the data have none."""

    value: float | None
    interval: Interval


def aggregate(
    values: npt.ArrayLike, groups: Sequence[str | None], how: Literal["mean", "median", "max", "top2", "top3"]
) -> tuple[tuple[str, ...], Floats]:
    """One value for each group: names, sorted, and what `how` makes of their rows (n,). None is no group.

    `top2` and `top3` are the mean of the two or three highest (of all, where there are fewer).
    """
    numbers = _numbers("values", values, len(groups))
    rows_of = _rows_of(groups)
    summary = _HOW[how]
    return tuple(rows_of), np.array([float(summary(numbers[rows])) for rows in rows_of.values()], np.float64)


def aggregate_labels(
    labels: npt.ArrayLike, groups: Sequence[str | None], binary: bool
) -> tuple[tuple[str, ...], Floats, int]:
    """One label for each group, as `aggregate`, and how many groups had rows that disagree.

    A study or patient has a finding when one of its videos has it (the maximum); a measurement is the mean.
    """
    numbers = _numbers("labels", labels, len(groups))
    names, values = aggregate(numbers, groups, "max" if binary else "mean")
    return names, values, sum(bool(np.ptp(numbers[rows]) > 0) for rows in _rows_of(groups).values())


def first_known(values: Sequence[Known | None], groups: Sequence[str | None]) -> tuple[Known | None, ...]:
    """For each group, in the order of `aggregate`, the first of its rows' values that is not None."""
    return tuple(
        next((values[row] for row in rows if values[row] is not None), None) for rows in _rows_of(groups).values()
    )


def _rows_of(groups: Sequence[str | None]) -> dict[str, list[int]]:
    rows_of: dict[str, list[int]] = {name: [] for name in sorted({name for name in groups if name is not None})}
    for row, name in enumerate(groups):
        if name is not None:
            rows_of[name].append(row)
    return rows_of


class Ranking:
    """Scores (n,) with binary labels (n,), sorted once, so that reweighted ranks cost no more than sums."""

    def __init__(self, scores: npt.ArrayLike, labels: npt.ArrayLike) -> None:
        positive = _binary(labels)
        numbers = _numbers("scores", scores, len(positive))
        self._order = np.argsort(-numbers, kind="stable")
        descending = numbers[self._order]
        self._positive = positive[self._order]
        self._starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]])

    def auroc(self, weights: Weights | None = None) -> float:
        """Probability that a positive scores higher than a negative, ties half (Hanley & McNeil 1982)."""
        positives, negatives = self._counts(weights)
        pairs = positives.sum() * negatives.sum()
        below = negatives.sum() - np.cumsum(negatives)
        return _ratio(float(positives @ (below + negatives / 2)), float(pairs))

    def auprc(self, weights: Weights | None = None) -> float:
        """Average precision: the precision at each distinct score, weighted by the recall that it adds."""
        positives, negatives = self._counts(weights)
        found = np.cumsum(positives)
        predicted = found + np.cumsum(negatives)
        precision = np.divide(found, predicted, out=np.zeros_like(found), where=predicted > 0)
        return _ratio(float(positives @ precision), float(positives.sum()))

    def _counts(self, weights: Weights | None) -> tuple[Floats, Floats]:
        """Positives and negatives at each distinct score, highest first."""
        weight = _weights(weights, len(self._order))[self._order]
        positives = np.add.reduceat(np.where(self._positive, weight, 0), self._starts)
        everything = np.add.reduceat(weight, self._starts)
        return positives.astype(np.float64), (everything - positives).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many rows are rightly and wrongly called positive and negative; what cannot be said is NaN."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the positives that are called so; also called recall."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the negatives that are called so."""
        return _ratio(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float:
        """Share of those called positive that are; also called positive predictive value."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and sensitivity."""
        wrong = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def accuracy(self) -> float:
        """Share of all rows that are called what they are."""
        right = self.true_positives + self.true_negatives
        return _ratio(right, right + self.false_positives + self.false_negatives)


def confusion(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> Confusion:
    """Count predictions (n,) of yes and no against labels (n,)."""
    positive = _binary(labels)
    called = _binary(predicted)
    if called.shape != positive.shape:
        raise ValueError(f"{len(positive)} labels and {len(called)} predictions")
    cell = 2 * called + positive
    counts = np.bincount(cell, weights=_weights(weights, len(positive)), minlength=4)
    true_negatives, false_negatives, false_positives, true_positives = (int(count) for count in counts)
    return Confusion(true_positives, false_positives, true_negatives, false_negatives)


def at_threshold(scores: npt.ArrayLike, threshold: float) -> Bools:
    """Which scores (n,) are called positive: those at the threshold or above."""
    called: Bools = np.asarray(scores, np.float64) >= threshold
    return called


def brier(probabilities: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Mean squared distance of probabilities (n,) from labels 0 and 1 (Brier 1950)."""
    return _mean(_errors(probabilities, _binary(labels)) ** 2, weights)


def ranking_statistics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Statistic]:
    """`auroc` and `auprc` of scores (n,) against binary labels (n,)."""
    ranking = Ranking(scores, labels)
    return {"auroc": ranking.auroc, "auprc": ranking.auprc}


def threshold_statistics(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Statistic]:
    """`f1`, `sensitivity`, `specificity`, `precision` and `accuracy` of predictions (n,) of yes and no."""
    called, positive = _binary(predicted), _binary(labels)

    return {
        "f1": lambda weights: confusion(called, positive, weights).f1,
        "sensitivity": lambda weights: confusion(called, positive, weights).sensitivity,
        "specificity": lambda weights: confusion(called, positive, weights).specificity,
        "precision": lambda weights: confusion(called, positive, weights).precision,
        "accuracy": lambda weights: confusion(called, positive, weights).accuracy,
    }


def regression_statistics(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Statistic]:
    """`mae`, `rmse`, `r2`, `bias`, `lower_limit`, `upper_limit` and `pearson_r` of predicted values (n,)."""
    truth = _numbers("labels", labels)
    values = _numbers("predicted values", predicted, len(truth))
    return {
        "mae": partial(mae, values, truth),
        "rmse": partial(rmse, values, truth),
        "r2": partial(r2, values, truth),
        "bias": partial(bias, values, truth),
        "lower_limit": lambda weights: limits_of_agreement(values, truth, weights)[0],
        "upper_limit": lambda weights: limits_of_agreement(values, truth, weights)[1],
        "pearson_r": partial(pearson_r, values, truth),
    }


def mae(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Mean absolute error of predicted values (n,), in the labels' unit."""
    return _mean(np.abs(_errors(predicted, labels)), weights)


def rmse(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Root of the mean squared error of predicted values (n,), in the labels' unit."""
    return math.sqrt(_mean(_errors(predicted, labels) ** 2, weights))


def bias(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Mean of predicted minus label (n,): above 0 where predictions are too high."""
    return _mean(_errors(predicted, labels), weights)


def limits_of_agreement(
    predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None
) -> tuple[float, float]:
    """Bias - and + 1.96 standard deviations of the errors, with n - 1 (Bland & Altman 1986); NaN for a single row.

    Rows count as independent: several videos of a patient widen or narrow the limits by what they share.
    """
    errors = _errors(predicted, labels)
    weight = _weights(weights, len(errors))
    middle = _mean(errors, weights)
    spread = math.sqrt(_ratio(float(weight @ (errors - middle) ** 2), float(weight.sum() - 1)))
    return middle - LIMITS * spread, middle + LIMITS * spread


def r2(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Share of the labels' variance that is explained, below 0 where their mean does better; NaN if all are equal."""
    truth = _numbers("labels", labels)
    if _is_constant(truth, weights):
        return math.nan
    unexplained = _mean(_errors(predicted, truth) ** 2, weights)
    return 1 - _ratio(unexplained, _mean((truth - _mean(truth, weights)) ** 2, weights))


def pearson_r(predicted: npt.ArrayLike, labels: npt.ArrayLike, weights: Weights | None = None) -> float:
    """Pearson's correlation of predicted values (n,) and labels; NaN where one of them is constant."""
    truth = _numbers("labels", labels)
    values = _numbers("predicted values", predicted, len(truth))
    if _is_constant(truth, weights) or _is_constant(values, weights):
        return math.nan
    x, y = values - _mean(values, weights), truth - _mean(truth, weights)
    return _ratio(_mean(x * y, weights), math.sqrt(_mean(x * x, weights) * _mean(y * y, weights)))


def estimates(
    statistics: Mapping[str, Statistic],
    clusters: npt.NDArray[np.int64],
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Each statistic of the data as they are, with its interval from `cluster_bootstrap`."""
    once = np.ones(len(clusters), np.int64)
    intervals = cluster_bootstrap(statistics, clusters, repeats, seed, level)
    return {name: Estimate(_or_none(statistic(once)), intervals[name]) for name, statistic in statistics.items()}


def cluster_bootstrap(
    statistics: Mapping[str, Statistic],
    clusters: npt.NDArray[np.int64],
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals over resamples of whole clusters (n,), such as patients, the same for all statistics.

    The percentiles lie a little further out than `level` says, the more so the fewer clusters decide (`_tail`);
    checked by simulation from 50 clusters. Resamples without a value (one class only) are left out and counted. A
    share that is 0 or 1 in the data is so in every resample: its interval has no width, and its counts say more.
    """
    _check_bootstrap(repeats, level)
    names, codes = np.unique(clusters, return_inverse=True)
    drawn = {name: np.empty(repeats) for name in statistics}
    for repeat, counts in enumerate(_resamples(len(names), repeats, np.random.default_rng(seed))):
        weights = counts[codes]
        for name, statistic in statistics.items():
            drawn[name][repeat] = statistic(weights)
    return {
        name: _interval(drawn[name], [_leaving_out(statistic, codes, len(names))], level)
        for name, statistic in statistics.items()
    }


def _check_bootstrap(repeats: int, level: float) -> None:
    if repeats < 1:
        raise BadOption(f"a bootstrap needs one resample or more, not {repeats}")
    if not 0 < level < 1:
        raise BadOption(f"the level of an interval lies between 0 and 1, such as 0.95, not {level}")


def _resamples(count: int, repeats: int, random: np.random.Generator) -> Iterator[Weights]:
    """How often each of `count` clusters is drawn, `repeats` times."""
    for _ in range(repeats):
        yield np.bincount(random.integers(count, size=count), minlength=count)


def _leaving_out(statistic: Statistic, codes: npt.NDArray[np.int64], count: int) -> Floats:
    """The statistic without each cluster in turn; where there are many, without each of as many groups as allowed."""
    groups = min(count, _MOST_LEFT_OUT)
    if count < 2:
        return np.array([math.nan])
    group_of = codes % groups
    return np.array([statistic((group_of != group).astype(np.int64)) for group in range(groups)])


def _interval(drawn: Floats, left_out: Sequence[Floats], level: float) -> Interval:
    """Percentiles of resampled values; `left_out` are, for each sample drawn from, the values without each cluster."""
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if not len(defined) or not all(np.isfinite(values).all() for values in left_out):
        return Interval(None, None, len(drawn), undefined)
    tail = _tail(left_out, level)
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(float(low), float(high), len(drawn), undefined)


def _tail(left_out: Sequence[Floats], level: float) -> float:
    """The share of resamples that lie below an interval: the expanded percentile (Hesterberg 2015).

    Resamples of n clusters spread by sqrt((n - 1) / n) too little, and Student's t stands for the normal quantile. Its
    degrees of freedom are what the variance is worth that the jackknife finds (Satterthwaite 1946): few, where
    few clusters decide, such as the patients who have the finding.
    """
    from scipy.special import stdtrit

    plain = (1 - level) / 2
    variances = np.array([_jackknife_variance(values) for values in left_out])
    if not variances.sum() > 0:
        return plain
    sizes = np.array([len(values) for values in left_out])
    freedom = variances.sum() ** 2 / sum(
        variance**2 / _freedom(values) for variance, values in zip(variances, left_out, strict=True)
    )
    narrowing = (variances * (sizes - 1) / sizes).sum() / variances.sum()
    return NormalDist().cdf(float(stdtrit(freedom, plain)) / math.sqrt(narrowing))


def _jackknife_variance(left_out: Floats) -> float:
    return float(np.var(left_out) * (len(left_out) - 1))


def _freedom(left_out: Floats) -> float:
    """Degrees of freedom of the jackknife variance, from the kurtosis of what each cluster adds; n - 1 if normal."""
    squares = (left_out - left_out.mean()) ** 2
    most = len(left_out) - 1.0
    if not squares.sum() > 0:
        return most
    excess = float((squares**2).sum() / squares.sum() ** 2) - 1 / len(left_out)
    return min(most, 2 / excess) if excess > 0 else most


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How a threshold is chosen: `max-f1`, `youden`, or the `sensitivity` or `precision` that is wished (`target`)."""

    kind: Literal["max-f1", "youden", "sensitivity", "precision"]
    target: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("max-f1", "youden", "sensitivity", "precision"):
            raise BadOption(f"a threshold is chosen by {_RULES}, not {self.kind!r}")
        if (self.target is None) == (self.kind in ("sensitivity", "precision")):
            needs = "needs a" if self.target is None else "takes no"
            raise BadOption(f"{self.kind} {needs} value; a threshold is chosen by {_RULES}")
        if self.target is not None and not 0 < self.target <= 1:
            raise BadOption(f"the {self.kind} that is wished is above 0 and at most 1, not {self.target}")

    @classmethod
    def parse(cls, text: str) -> ThresholdRule:
        """From `max-f1`, `youden`, `sensitivity:0.9` or `precision:0.8`. BadOption says what is wrong."""
        kind, colon, target = text.partition(":")
        try:
            return cls(kind, float(target) if colon else None)  # type: ignore[arg-type]
        except ValueError as error:
            raise BadOption(f"{target!r} is no number; a threshold is chosen by {_RULES}") from error

    def __str__(self) -> str:
        return self.kind if self.target is None else f"{self.kind}:{self.target:g}"


_RULES: Final = "max-f1, youden, sensitivity:0.9 or precision:0.8"


def choose_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike, rule: ThresholdRule) -> float:
    """The threshold that a rule picks for scores (n,) with binary labels (n,); a score at it or above is positive.

    Youden's J is sensitivity + specificity - 1 (Youden 1950). Of equally good thresholds the highest is taken; for a
    wished sensitivity the highest that reaches it, for a wished precision the lowest. It lies midway between
    neighbouring scores. BadLabels where one class only is there, BadOption where no threshold is precise enough.
    """
    positive = _binary(labels)
    numbers = _numbers("scores", scores, len(positive))
    if positive.all() or not positive.any():
        raise BadLabels(
            f"all {len(positive)} labels are {int(positive[0])}; a threshold needs some of both classes, 0 and 1"
        )
    return _Steps(numbers, positive).threshold(rule, np.ones(len(positive), np.int64))


def steady_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: npt.NDArray[np.int64],
    rule: ThresholdRule,
    repeats: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """`choose_threshold`, averaged over resamples of whole clusters (n,) where the rule picks a best (Breiman 1996).

    The best of one sample jumps with a few scores; the mean jumps less, and is nearer to what is best for others. A
    wished sensitivity or precision is a promise about these labels, so its threshold is not averaged. Resamples with
    one class only are left out. The order of the rows changes nothing.
    """
    chosen = choose_threshold(scores, labels, rule)
    if rule.target is not None:
        return chosen
    positive = _binary(labels)
    steps = _Steps(_numbers("scores", scores, len(positive)), positive)
    codes = _ordered(clusters, np.lexsort((positive, steps.place)))
    resamples = (counts[codes] for counts in _resamples(int(codes.max()) + 1, repeats, np.random.default_rng(seed)))
    drawn = [steps.threshold(rule, weights) for weights in resamples if len(np.unique(positive[weights > 0])) == 2]
    return chosen + float(np.mean(np.array(drawn) - chosen)) if drawn else chosen  # equal ones give just themselves


def _ordered(clusters: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Clusters (n,) numbered as they first come up when the rows are gone through in an order (n,)."""
    _, first, codes = np.unique(clusters[order], return_index=True, return_inverse=True)
    found = np.empty(len(clusters), np.int64)
    found[order] = np.argsort(np.argsort(first))[codes]
    return found


class _Steps:
    """Scores (n,) with labels (n,), sorted once: the distinct scores, highest first, and what stands at each."""

    def __init__(self, scores: Floats, positive: Bools) -> None:
        values, self.place = np.unique(-scores, return_inverse=True)
        self._values = -values
        self._positive = positive

    def threshold(self, rule: ThresholdRule, weights: Weights) -> float:
        """What the rule picks where each row counts so often; as if rows with weight 0 were not there."""
        everything = self._counted(weights)
        found = self._counted(np.where(self._positive, weights, 0))
        there = everything > 0
        positives, negatives = found[there], (everything - found)[there]
        steps = self._values[there]
        return _between(steps, _pick(rule, steps, np.cumsum(positives), np.cumsum(negatives)))

    def _counted(self, weights: Weights) -> Weights:
        return np.bincount(self.place, weights, len(self._values)).astype(np.int64)


def _pick(rule: ThresholdRule, steps: Floats, found: Weights, false_alarms: Weights) -> int:
    """Which step is the last to be called positive. Quantities are compared as integers or correctly rounded ratios."""
    positives, negatives = int(found[-1]), int(false_alarms[-1])
    if rule.kind == "max-f1":
        return int(np.argmax(2 * found / (found + false_alarms + positives)))
    if rule.kind == "youden":
        return int(np.argmax(found * negatives - false_alarms * positives))
    assert rule.target is not None
    if rule.kind == "sensitivity":
        return int(np.argmax(found / positives >= rule.target))
    precision = found / (found + false_alarms)
    reaching = np.flatnonzero(precision >= rule.target)
    if not len(reaching):
        best = int(np.argmax(precision))
        raise BadOption(
            f"no threshold has a precision of {rule.target:g}; the best, {precision[best]:.3g}, is had at "
            f"{_between(steps, best):.4g} with a sensitivity of {found[best] / positives:.3g}"
        )
    return int(reaching[-1])


def _between(steps: Floats, last: int) -> float:
    """Midway between the last score that is called positive and the next lower one; the lowest score has none."""
    high = float(steps[last])
    if last + 1 == len(steps):
        return high
    middle = high - (high - float(steps[last + 1])) / 2
    return middle if middle > steps[last + 1] else high  # floats next to each other have nothing between them


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What a frozen threshold called labelled videos that it was not chosen on: all (n,), clusters by patient."""

    clusters: npt.NDArray[np.int64]
    labels: Bools
    predicted: Bools

    def __post_init__(self) -> None:
        if not self.clusters.shape == self.labels.shape == self.predicted.shape:
            raise ValueError("one cluster, label and prediction for each row")


def rogan_gladen(apparent: float, sensitivity: float, specificity: float) -> float:
    """True prevalence from the share that a test calls positive, cut to 0..1 (Rogan & Gladen 1978).

    BadQuery where the test does no better than chance.
    """
    gain = sensitivity + specificity - 1
    if not gain > 0:  # NaN fails this as well
        raise BadQuery(
            f"with a sensitivity of {sensitivity:.3g} and a specificity of {specificity:.3g} the threshold does no "
            "better than chance, so no prevalence follows from it; calibrate with more labels or other prompts"
        )
    return min(1.0, max(0.0, (apparent + specificity - 1) / gain))


def prevalence(
    outcomes: Outcomes,
    predicted: Bools,
    clusters: npt.NDArray[np.int64],
    repeats: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """How many of some videos (n,) have a finding, from how many a threshold calls so and how it did on `outcomes`.

    Both sides are resampled by cluster, independently of each other: patients who stand on both are treated as
    two. Resamples in which the threshold does no better than chance are left out and counted. BadLabels where the
    outcomes have one class only, BadQuery as `rogan_gladen`.
    """
    _check_bootstrap(repeats, level)
    if outcomes.labels.all() or not outcomes.labels.any():
        raise BadLabels("a prevalence needs a sensitivity and a specificity, and so labels of both classes, 0 and 1")
    known = _cluster_sums(outcomes.clusters, _classes(outcomes))
    asked = _cluster_sums(clusters, np.stack([predicted, np.ones_like(predicted)], axis=1))
    value = _corrected(known.sum(axis=0), asked.sum(axis=0))
    randoms = np.random.default_rng(seed).spawn(2)
    draws = (_resamples(len(sums), repeats, random) for sums, random in zip((known, asked), randoms, strict=True))
    drawn = np.array([_corrected_or_nan(some @ known, others @ asked) for some, others in zip(*draws, strict=True)])
    left_out = [
        np.array([_corrected_or_nan(sums, asked.sum(axis=0)) for sums in known.sum(axis=0) - known]),
        np.array([_corrected_or_nan(known.sum(axis=0), sums) for sums in asked.sum(axis=0) - asked]),
    ]
    return Estimate(value, _interval(drawn, left_out, level))


def _classes(outcomes: Outcomes) -> Bools:
    """Of each row whether it is a positive, one that is called so, a negative, one that is called so (n, 4)."""
    labels, predicted = outcomes.labels, outcomes.predicted
    return np.stack([labels, labels & predicted, ~labels, ~labels & ~predicted], axis=1)


def _cluster_sums(clusters: npt.NDArray[np.int64], rows: Bools) -> npt.NDArray[np.int64]:
    """How many rows (n, k) of each cluster are true, (clusters, k)."""
    names, codes = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]), np.int64)
    np.add.at(sums, codes, rows)
    return sums


def _corrected(known: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> float:
    positives, hits, negatives, rejected = (int(count) for count in known)
    called, everything = (int(count) for count in asked)
    return rogan_gladen(called / everything, _ratio(hits, positives), _ratio(rejected, negatives))


def _corrected_or_nan(known: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> float:
    if not asked[1]:  # left out was the only cluster
        return math.nan
    try:
        return _corrected(known, asked)
    except BadQuery:  # one class only is left, or it is called no better than by chance
        return math.nan


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Probabilities from `low` to `high`: how many, their mean, and the share of them that are positive."""

    low: float
    high: float
    count: int
    mean_probability: float
    positive_share: float


def reliability(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Probabilities (n,) against binary labels (n,) in up to `bins` bins of about equal count, lowest first.

    Equal probabilities share a bin, so that the order of the rows does not matter.
    """
    positive = _binary(labels)
    numbers = _numbers("probabilities", probabilities, len(positive))
    if bins < 1:
        raise BadOption(f"there is one bin or more, not {bins}")
    if numbers.min() < 0 or numbers.max() > 1:
        raise ValueError(f"probabilities lie between 0 and 1, not {numbers.min()} to {numbers.max()}")
    rank = np.searchsorted(np.sort(numbers), numbers)  # of the first of its equals
    bin_of = rank * bins // len(numbers)
    return tuple(_reliability_bin(numbers[bin_of == each], positive[bin_of == each]) for each in np.unique(bin_of))


def _reliability_bin(probabilities: Floats, positive: Bools) -> ReliabilityBin:
    low, high = float(probabilities.min()), float(probabilities.max())
    return ReliabilityBin(low, high, len(positive), float(probabilities.mean()), float(positive.mean()))


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> float:
    """Mean distance of probability from share of positives, over the bins of `reliability` by their count.

    With equal counts after Nguyen & O'Connor 2015; it is above 0 by chance, the more so with few rows a bin.
    """
    rows = reliability(probabilities, labels, bins)
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.mean_probability - row.positive_share) for row in rows) / total


def _numbers(name: str, values: npt.ArrayLike, count: int | None = None) -> Floats:
    """Values (count,) as float64. ValueError unless they are so many (one or more), and finite."""
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers) or len(numbers) != (count or len(numbers)):
        raise ValueError(f"{name} are one row of {count or 'one or more'} numbers, not {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} are finite numbers")
    return numbers


def _binary(values: npt.ArrayLike) -> Bools:
    """Labels or predictions (n,) as bool. ValueError unless all are 0 or 1."""
    numbers = _numbers("labels of two classes", values)
    positive: Bools = numbers == 1
    if not np.all(positive | (numbers == 0)):
        raise ValueError("labels of two classes are 0 and 1")
    return positive


def _errors(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    truth = _numbers("labels", labels)
    return _numbers("predicted values", predicted, len(truth)) - truth


def _weights(weights: Weights | None, count: int) -> Weights:
    if weights is None:
        return np.ones(count, np.int64)
    if weights.shape != (count,):
        raise ValueError(f"one weight for each of {count} rows, not {weights.shape}")
    return weights


def _mean(values: Floats, weights: Weights | None) -> float:
    weight = _weights(weights, len(values))
    return _ratio(float(weight @ values), float(weight.sum()))


def _is_constant(values: Floats, weights: Weights | None) -> bool:
    """Whether all rows that count are equal: asked of the values, since a variance of rounding errors is not 0."""
    counted = values if weights is None else values[weights > 0]
    return bool(len(counted) == 0 or counted.min() == counted.max())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
