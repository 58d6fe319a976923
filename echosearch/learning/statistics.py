"""Figures of merit, without their uncertainty. Knows arrays; no task, no index, no file.

A statistic that has no value for some data (a sensitivity where nobody has the finding) is NaN here and
None in what is handed out. Weights are whole numbers: how often each row counts. So a bootstrap over patients is
a reweighting, and nothing is copied or sorted twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadOption

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.int64]
Known = TypeVar("Known")
Statistic = Callable[[Weights], float]
"""A figure of some data that are fixed, as a function of how often each row counts."""

LIMITS: Final = 1.96
"""Limits of agreement lie so many standard deviations from the bias (Bland & Altman 1986)."""

_HOW: Final[dict[str, Callable[[Floats], Any]]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "top2": lambda values: np.sort(values)[-2:].mean(),
    "top3": lambda values: np.sort(values)[-3:].mean(),
}


def aggregate(
    values: npt.ArrayLike, groups: Sequence[str | None], how: Literal["mean", "median", "max", "top2", "top3"]
) -> tuple[tuple[str, ...], Floats]:
    """One value for each group: names, sorted, and what `how` makes of their rows (n,). None is no group.

    `top2` and `top3` are the mean of the two or three highest (of all, where there are fewer).
    """
    numbers = finite("values", values, len(groups))
    rows_of = _rows_of(groups)
    summary = _HOW[how]
    return tuple(rows_of), np.array([float(summary(numbers[rows])) for rows in rows_of.values()], np.float64)


def aggregate_labels(
    labels: npt.ArrayLike, groups: Sequence[str | None], binary: bool
) -> tuple[tuple[str, ...], Floats, int]:
    """One label for each group, as `aggregate`, and how many groups had rows that disagree.

    A study or patient has a finding when one of its videos has it (the maximum); a measurement is the mean.
    """
    numbers = finite("labels", labels, len(groups))
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


def auprc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Statistic:
    """Average precision of scores (n,): the precision at each distinct score, weighted by the recall that it adds.

    As scikit-learn's, but sorted once, so that reweighted ranks cost no more than sums.
    """
    unsorted = binary(labels)
    numbers = finite("scores", scores, len(unsorted))
    order = np.argsort(-numbers, kind="stable")
    descending, positive = numbers[order], unsorted[order]
    starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]])

    def weighted(weights: Weights) -> float:
        weight = weights[order]
        positives = np.add.reduceat(np.where(positive, weight, 0), starts).astype(np.float64)
        found, predicted = np.cumsum(positives), np.cumsum(np.add.reduceat(weight, starts))
        precision = np.divide(found, predicted, out=np.zeros_like(found), where=predicted > 0)
        return _ratio(float(positives @ precision), float(positives.sum()))

    return weighted


def confusion(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, int]:
    """How many predictions (n,) of yes and no are right and wrong by labels (n,), by name."""
    positive, called = binary(labels), binary(predicted)
    if called.shape != positive.shape:
        raise ValueError(f"{len(positive)} labels and {len(called)} predictions")
    rejected, missed, false_alarms, found = np.bincount(2 * called + positive, minlength=4).tolist()
    return {
        "true_positives": found,
        "false_positives": false_alarms,
        "true_negatives": rejected,
        "false_negatives": missed,
    }


def regression_statistics(predicted: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, Statistic]:
    """Errors of predicted values (n,), in the labels' unit, and how the two go together.

    `mae`, `rmse`; `bias` above 0 where predictions are too high; its limits of agreement with n - 1, as if rows were
    independent (Bland & Altman 1986); `r2`, below 0 where the labels' mean does better; Pearson's `pearson_r`. NaN:
    limits of a single row, `r2` and `pearson_r` of what is constant.
    """
    truth = finite("labels", labels)
    values = finite("predicted values", predicted, len(truth))
    errors = values - truth

    def limit(side: float, weights: Weights) -> float:
        middle = _mean(errors, weights)
        return middle + side * LIMITS * math.sqrt(_ratio(float(weights @ (errors - middle) ** 2), weights.sum() - 1))

    def r2(weights: Weights) -> float:
        return 1 - _ratio(_mean(errors**2, weights), _variance(truth, weights))

    def pearson_r(weights: Weights) -> float:
        product = _mean((values - _mean(values, weights)) * (truth - _mean(truth, weights)), weights)
        return _ratio(product, math.sqrt(_variance(values, weights) * _variance(truth, weights)))

    return {
        "mae": partial(_mean, np.abs(errors)),
        "rmse": lambda weights: math.sqrt(_mean(errors**2, weights)),
        "r2": r2,
        "bias": partial(_mean, errors),
        "lower_limit": partial(limit, -1),
        "upper_limit": partial(limit, 1),
        "pearson_r": pearson_r,
    }


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
    positive = binary(labels)
    numbers = finite("probabilities", probabilities, len(positive))
    if bins < 1:
        raise BadOption(f"there is one bin or more, not {bins}")
    if numbers.min() < 0 or numbers.max() > 1:
        raise ValueError(f"probabilities lie between 0 and 1, not {numbers.min()} to {numbers.max()}")
    rank = np.searchsorted(np.sort(numbers), numbers)  # of the first of its equals
    bin_of = rank * bins // len(numbers)
    parts = [(numbers[bin_of == each], positive[bin_of == each]) for each in np.unique(bin_of)]
    return tuple(
        ReliabilityBin(float(some.min()), float(some.max()), len(some), float(some.mean()), float(hits.mean()))
        for some, hits in parts
    )


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 10) -> float:
    """Mean distance of probability from share of positives, over the bins of `reliability` by their count.

    With equal counts after Nguyen & O'Connor 2015; it is above 0 by chance, the more so with few rows a bin.
    """
    rows = reliability(probabilities, labels, bins)
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.mean_probability - row.positive_share) for row in rows) / total


def finite(name: str, values: npt.ArrayLike, count: int | None = None) -> Floats:
    """Values (count,) as float64. ValueError unless they are so many (one or more), and finite."""
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not len(numbers) or len(numbers) != (count or len(numbers)):
        raise ValueError(f"{name} are one row of {count or 'one or more'} numbers, not {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} are finite numbers")
    return numbers


def binary(values: npt.ArrayLike) -> Bools:
    """Labels or predictions (n,) as bool. ValueError unless all are 0 or 1."""
    numbers = finite("labels of two classes", values)
    positive: Bools = numbers == 1
    if not np.all(positive | (numbers == 0)):
        raise ValueError("labels of two classes are 0 and 1")
    return positive


def _mean(values: Floats, weights: Weights) -> float:
    return _ratio(float(weights @ values), float(weights.sum()))


def _variance(values: Floats, weights: Weights) -> float:
    """Of the rows that count, with n; 0 where they are equal, which rounding errors would not be."""
    counted = values[weights > 0]
    if not len(counted) or counted.min() == counted.max():
        return 0.0
    return _mean((values - _mean(values, weights)) ** 2, weights)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
