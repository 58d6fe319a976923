"""Figures with 95 % intervals over patients. Knows arrays and which rows share a patient; no task, no index, no file.

Shares at a fixed threshold have Clopper & Pearson's interval, AUROC DeLong's by patient, all else a bootstrap. A figure
that fewer than `FEWEST` patients decide is not given: there is a sentence with the counts instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery
from echosearch.learning.statistics import Bools, Floats, Statistic, Weights, binary, finite

Codes = npt.NDArray[np.int64]

FEWEST: Final = 10
"""Patients from whom on a figure is given; of a ranking in each class."""

_TAIL: Final = 0.025
_FARTHEST: Final = (2.06, 2.2)
"""Standard errors that an AUROC's interval reaches at most, towards 1/2 and away from it; see `auroc`."""

_Z: Final = 1.959964

_MOST_LEFT_OUT: Final = 500
"""Above so many clusters they are left out in groups, for time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval; of a bootstrap over `repeats` resamples, `undefined` of which had no value and are left out.

    `low` and `high` are None where nothing can be said.
    """

    low: float | None
    high: float | None
    repeats: int = 0
    undefined: int = 0

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if (low is None) != (high is None) or (low is not None and high is not None and not low <= high):  # or NaN
            raise ValueError(f"an interval runs from low to high, or has neither, not {self}")


NONE: Final = Interval(None, None)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. Where one of them is None, `reason` says why, in words.

    A share is that of `count` in `of` rows; `patients` decide a figure (of a ranking those of the rarer class).
    """

    value: float | None
    interval: Interval
    count: int | None = None
    of: int | None = None
    patients: int | None = None
    reason: str = ""

    def in_words(self) -> tuple[str, str, str]:
        """The figure, its interval, and what it is made of."""
        low, high = self.interval.low, self.interval.high
        ends = "cannot be told" if low is None else f"{low:.3f} to {high:.3f}"
        if self.interval.undefined:
            ends += f" ({self.interval.undefined} of {self.interval.repeats} resamples had none)"
        return "none" if self.value is None else f"{self.value:.3f}", ends, self.counted

    @property
    def sentence(self) -> str:
        """All of it: `0.983 (0.910 to 0.999; 58 of 59, 40 patients)`."""
        value, ends, counted = self.in_words()
        return f"not given ({counted})" if self.value is None else f"{value} ({ends}; {counted})"

    @property
    def counted(self) -> str:
        """What it is made of, in words: `58 of 59, 40 patients`, and why there is no more where there is not."""
        told = [] if self.of is None else [f"{self.count} of {self.of}"]
        told += [] if self.patients is None else [f"{self.patients} patients"]
        return ", ".join(told) + (f": {self.reason}" if self.reason else "")


def few_labels(
    clusters: Codes, labels: Bools, least: tuple[int, int] = (20, 80), what: str = "a prevalence is given"
) -> str:
    """What is to be said of labels (n,) of fewer patients with and without a finding than `least`; else empty."""
    there = len(np.unique(clusters[labels])), len(np.unique(clusters[~labels]))
    if there[0] >= least[0] and there[1] >= least[1]:
        return ""
    told = f"labels of {there[0]} patients with the finding and {there[1]} without"
    return f"{told}: from {least[0]} and {least[1]} on {what}"


def kish(counts: npt.ArrayLike) -> float:
    """How many rows clusters of so many rows are worth if their rows are alike: (sum m)^2 / sum m^2 (Kish 1965)."""
    rows = np.asarray(counts, np.float64)
    return float(rows.sum() ** 2 / (rows**2).sum())


def clopper_pearson(share: float, worth: float) -> Interval:
    """Of a share among `worth` independent rows, which need be no whole number (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    hits, misses = share * worth, (1 - share) * worth
    low = float(betaincinv(hits, misses + 1, _TAIL)) if hits > 0 else 0.0
    return Interval(low, float(betaincinv(hits + 1, misses, 1 - _TAIL)) if misses > 0 else 1.0)


def share(hits: npt.ArrayLike, among: npt.ArrayLike, clusters: Codes) -> Estimate:
    """How many of the rows `among` (n,) are `hits` (n,), by Clopper & Pearson at Kish's effective number of patients.

    Sound whatever the videos of a patient have in common; wide where that is nothing.
    """
    counted = binary(among)
    rows = rows_of(clusters[counted])
    total, count = int(counted.sum()), int((binary(hits) & counted).sum())
    if len(rows) < FEWEST:
        return Estimate(None, NONE, count, total, len(rows), f"no share below {FEWEST} patients")
    return Estimate(count / total, clopper_pearson(count / total, kish(rows)), count, total, len(rows))


def shares(called: npt.ArrayLike, labels: npt.ArrayLike, clusters: Codes) -> dict[str, Estimate]:
    """`f1`, `sensitivity`, `specificity`, `precision` and `accuracy` of predictions (n,) of yes and no, by `share`.

    F1 is 2 J / (1 + J) of the share J of hits among all that are positive or called so (Jaccard), and so are its ends.
    """
    yes, positive = binary(called), binary(labels)
    jaccard = share(yes & positive, yes | positive, clusters)
    ends = (_f1(jaccard.interval.low), _f1(jaccard.interval.high))
    f1 = replace(jaccard, value=_f1(jaccard.value), interval=Interval(*ends), count=None, of=None)
    return {
        "f1": f1 if f1.value is not None else replace(f1, reason=f"no F1 below {FEWEST} patients"),
        "sensitivity": share(yes, positive, clusters),
        "specificity": share(~yes, ~positive, clusters),
        "precision": share(positive, yes, clusters),
        "accuracy": share(yes == positive, np.ones_like(yes), clusters),
    }


def _f1(jaccard: float | None) -> float | None:
    return None if jaccard is None else 2 * jaccard / (1 + jaccard)


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike, clusters: Codes) -> Estimate:
    """AUROC of scores (n,) with binary labels (n,), by DeLong's variance for clustered rows (Obuchowski 1997).

    The end towards 1/2 is found on the logit scale, the other on the probit scale, both by Student's t with the degrees
    of freedom that the variance is worth, but not beyond `_FARTHEST`: so the simulations of
    scripts/simulate_coverage.py chose. At perfect separation it is [0.025^(1/n), 1], n the smaller class' effective
    patients.
    """
    positive = binary(labels)
    numbers = finite("scores", scores, len(positive))
    codes = np.unique(clusters, return_inverse=True)[1]
    sizes = [rows_of(codes[rows]) for rows in (positive, ~positive)]
    fewest = min(map(len, sizes))
    told = (int(positive.sum()), len(positive), fewest)
    if fewest < FEWEST:
        return Estimate(None, NONE, *told, f"no AUROC below {FEWEST} patients a class")
    above, below = _placements(numbers, positive)
    value = float(above.mean())
    least = _TAIL ** (1 / min(map(kish, sizes)))
    if value in (0, 1):
        return Estimate(value, Interval(least, 1) if value else Interval(0, 1 - least), *told)
    width = int(codes.max()) + 1
    ours = np.bincount(codes[positive], above - value, width) / len(above)
    theirs = np.bincount(codes[~positive], below - value, width) / len(below)
    variance, doubt = 2 * width / (width - 1) * float(ours @ theirs), 0.0
    for each, rows in ((ours, positive), (theirs, ~positive)):
        added = each[np.unique(codes[rows])]
        part = len(added) / (len(added) - 1) * float(added @ added)
        variance, doubt = variance + part, doubt + part**2 / _freedom(added)
    if not variance > 0:
        return Estimate(value, NONE, *told, "no interval: the scores do not differ")
    return Estimate(value, _around(value, math.sqrt(variance), variance**2 / doubt), *told)


def _around(value: float, error: float, freedom: float) -> Interval:
    """An interval of an AUROC with a standard error."""
    from scipy.special import expit, logit, ndtr, ndtri, stdtrit

    inwards, outwards = (min(-float(stdtrit(freedom, _TAIL)), most) * error for most in _FARTHEST)
    high = max(value, 1 - value)
    near = float(expit(logit(high) - inwards / (high * (1 - high))))
    far = float(ndtr(ndtri(high) + outwards / NormalDist().pdf(NormalDist().inv_cdf(high))))
    return Interval(near, far) if value == high else Interval(1 - far, 1 - near)


def _placements(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Of each positive the share of negatives below it, of each negative that of positives above it; ties half."""
    from scipy.stats import rankdata

    among_all = rankdata(scores)
    below = (among_all[rows] - rankdata(scores[rows]) for rows in (positive, ~positive))
    return next(below) / np.count_nonzero(~positive), 1 - next(below) / np.count_nonzero(positive)


def rows_of(codes: Codes) -> Codes:
    """How many rows each of the clusters has that are there."""
    return np.unique(codes, return_counts=True)[1]


def estimates(
    statistics: Mapping[str, Statistic],
    clusters: Codes,
    repeats: int = 1000,
    seed: int = 0,
    patients: int | None = None,
) -> dict[str, Estimate]:
    """Each statistic of the data as they are, with its interval from `cluster_bootstrap`; `patients` decide them."""
    count = len(np.unique(clusters)) if patients is None else patients
    if count < FEWEST:
        reason = f"not given below {FEWEST} patients" + ("" if patients is None else " a class")
        return {name: Estimate(None, NONE, patients=count, reason=reason) for name in statistics}
    once = np.ones(len(clusters), np.int64)
    told = {}
    for name, interval in cluster_bootstrap(statistics, clusters, repeats, seed).items():
        if math.isnan(value := statistics[name](once)):
            told[name] = Estimate(None, NONE, patients=count, reason="it has no value for these data")
            continue
        reason = "no interval: resamples give none or all the same" if interval.low is None else ""
        told[name] = Estimate(value, interval, patients=count, reason=reason)
    return told


def cluster_bootstrap(
    statistics: Mapping[str, Statistic], clusters: Codes, repeats: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals over resamples of whole clusters (n,), such as patients, the same for all statistics.

    The percentiles lie a little further out than 2.5 %, the more so the fewer clusters decide (`_tail`); checked by
    simulation from 50 clusters. Resamples without a value are left out and counted. There is no interval where a
    single cluster decides whether there is a value, nor where all resamples give the same: that is no certainty.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    drawn = {name: np.empty(repeats) for name in statistics}
    for repeat, counts in enumerate(resamples(len(names), repeats, np.random.default_rng(seed))):
        weights = counts[codes]
        for name, statistic in statistics.items():
            drawn[name][repeat] = statistic(weights)
    return {
        name: _interval(drawn[name], _leaving_out(statistic, codes, len(names)))
        for name, statistic in statistics.items()
    }


def resamples(count: int, repeats: int, random: np.random.Generator) -> Iterator[Weights]:
    """How often each of `count` clusters is drawn, `repeats` times."""
    for _ in range(repeats):
        yield np.bincount(random.integers(count, size=count), minlength=count)


def _leaving_out(statistic: Statistic, codes: Codes, count: int) -> Floats:
    """The statistic without each cluster in turn; where there are many, without each of as many groups as allowed."""
    groups = min(count, _MOST_LEFT_OUT)
    group_of = codes % groups
    return np.array([statistic((group_of != group).astype(np.int64)) for group in range(groups)])


def _interval(drawn: Floats, left_out: Floats) -> Interval:
    """Percentiles of resampled values; `left_out` are the values without each cluster."""
    defined = drawn[np.isfinite(drawn)]
    undefined = len(drawn) - len(defined)
    if not len(defined) or not np.isfinite(left_out).all() or np.ptp(defined) == 0:
        return Interval(None, None, len(drawn), undefined)
    tail = _tail(left_out)
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(float(low), float(high), len(drawn), undefined)


def _tail(left_out: Floats) -> float:
    """The share of resamples that lie below an interval: the expanded percentile (Hesterberg 2015).

    Resamples of n clusters spread by sqrt((n - 1) / n) too little, and Student's t stands for the normal quantile. Its
    degrees of freedom are what the jackknife's variance is worth (`_freedom`).
    """
    from scipy.special import stdtrit

    narrowing = (len(left_out) - 1) / len(left_out)
    return NormalDist().cdf(float(stdtrit(_freedom(left_out), _TAIL)) / math.sqrt(narrowing))


def _freedom(values: Floats) -> float:
    """Degrees of freedom of a variance, from the kurtosis of what each cluster adds; n - 1 if normal.

    Few, where few clusters decide, such as the patients who have the finding (Satterthwaite 1946).
    """
    squares = (values - values.mean()) ** 2
    most = len(values) - 1.0
    if not squares.sum() > 0:
        return most
    excess = float((squares**2).sum() / squares.sum() ** 2) - 1 / len(values)
    return min(most, 2 / excess) if excess > 0 else most


# How common a finding is among videos that a threshold has called.


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


def prevalence(outcomes: tuple[Codes, Bools, Bools], predicted: Bools, clusters: Codes) -> Estimate:
    """How many of some videos (n,) have a finding, from how many a threshold calls so and how it did on others.

    `outcomes` are the clusters by patient, labels and calls (n,) of labelled videos that it was not chosen on.
    Interval by Lang & Reiczigel (2014), at Kish's effective numbers of patients: it has a width also where all are
    called right. No figure where labels or patients are too few; BadQuery as `rogan_gladen`.
    """
    known, labels, called = outcomes
    counts = (int(predicted.sum()), len(predicted), len(np.unique(clusters)))
    if few := few_labels(known, labels):
        return Estimate(None, NONE, *counts, few)
    sensitivity, specificity = float(called[labels].mean()), float(1 - called[~labels].mean())
    value = rogan_gladen(float(predicted.mean()), sensitivity, specificity)
    if counts[2] < FEWEST:
        return Estimate(None, NONE, *counts, f"no prevalence below {FEWEST} patients")
    tested, have, have_not = (kish(rows_of(codes)) for codes in (clusters, known[labels], known[~labels]))
    found = (sensitivity * have + 1) / (have + 2)
    rejected = (specificity * have_not + 1) / (have_not + 2)
    apparent = (predicted.mean() * tested + _Z**2 / 2) / (tested + _Z**2)
    gain = found + rejected - 1
    middle = float(apparent + rejected - 1) / gain
    doubt = (found * (1 - found) / (have + 2), rejected * (1 - rejected) / (have_not + 2))
    shift = 2 * _Z**2 * (middle * doubt[0] - (1 - middle) * doubt[1])
    variance = apparent * (1 - apparent) / (tested + _Z**2) + middle**2 * doubt[0] + (1 - middle) ** 2 * doubt[1]
    half = _Z * math.sqrt(variance) / gain
    low, high = (min(1.0, max(0.0, middle + shift + side)) for side in (-half, half))
    return Estimate(value, Interval(min(low, value), max(high, value)), *counts)
