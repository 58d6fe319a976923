"""Intervals and prevalence: by hand, against SciPy and brute force, and by simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy import stats

from echosearch.errors import BadQuery
from echosearch.learning import intervals
from echosearch.learning.intervals import (
    NONE,
    Estimate,
    Interval,
    auroc,
    clopper_pearson,
    cluster_bootstrap,
    estimates,
    kish,
    prevalence,
    rogan_gladen,
    share,
    shares,
)
from echosearch.learning.statistics import auprc, regression_statistics

# Shares.


@pytest.mark.parametrize(("hits", "rows"), [(0, 12), (3, 12), (12, 12), (58, 59)])
def test_a_share_of_independent_rows_is_scipys_exact_interval(hits: int, rows: int) -> None:
    told = share(np.arange(rows) < hits, np.ones(rows), np.arange(rows))
    exact = stats.binomtest(hits, rows).proportion_ci(method="exact")
    assert (told.interval.low, told.interval.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert (told.value, told.count, told.of, told.patients) == (hits / rows, hits, rows, rows)


def test_videos_of_a_patient_count_as_kish_says() -> None:
    # Ten patients, nine with 1 video and one with 6: (9 + 6)^2 / (9 + 36) = 5, and 9 of 15 are 3 of 5.
    codes = np.array([*range(9), *[9] * 6])
    assert kish([1] * 9 + [6]) == 5
    told = share(np.arange(15) < 9, np.ones(15), codes)
    exact = stats.binomtest(3, 5).proportion_ci(method="exact")
    assert (told.interval.low, told.interval.high) == pytest.approx((exact.low, exact.high))
    # Of no whole number: 0.9 of 3.5 rows, by the beta distribution's own quantiles.
    between = clopper_pearson(0.9, 3.5)
    assert between.low == pytest.approx(stats.beta.ppf(0.025, 3.15, 1.35))
    assert between.high == pytest.approx(stats.beta.ppf(0.975, 4.15, 0.35))


def test_two_right_ones_are_no_precision_of_1() -> None:
    """2 true and 0 false positives were told as 1.000 (1.000 to 1.000)."""
    called, labels = np.arange(40) < 2, np.arange(40) < 15
    told = shares(called, labels, np.arange(40))
    assert told["precision"] == Estimate(None, NONE, 2, 2, 2, "no share below 10 patients")
    assert told["precision"].sentence == "not given (2 of 2, 2 patients: no share below 10 patients)"
    assert told["sensitivity"].value == 2 / 15
    assert told["specificity"].value == 1
    assert told["specificity"].interval.low == pytest.approx(0.025 ** (1 / 25))
    assert told["specificity"].sentence == f"1.000 ({0.025 ** (1 / 25):.3f} to 1.000; 25 of 25, 25 patients)"
    assert told["accuracy"].count == 27


def test_patients_and_not_videos_are_too_few() -> None:
    told = share(np.ones(90), np.ones(90), np.arange(90) // 10)
    assert (told.value, told.count, told.of, told.patients) == (None, 90, 90, 9)
    assert share(np.ones(100), np.ones(100), np.arange(100) // 10).value == 1
    nobody = share(np.zeros(20), np.zeros(20), np.arange(20))
    assert nobody.counted == "0 of 0, 0 patients: no share below 10 patients"


def test_f1_is_that_of_its_share_of_hits() -> None:
    # 12 hits, 3 misses, 5 false alarms: F1 24 / 32, a share of 12 in 20.
    labels = np.array([1] * 15 + [0] * 20)
    called = np.array([1] * 12 + [0] * 3 + [1] * 5 + [0] * 15)
    told = shares(called, labels, np.arange(35))["f1"]
    exact = stats.binomtest(12, 20).proportion_ci(method="exact")
    assert told.value == pytest.approx(24 / 32)
    assert told.interval.low == pytest.approx(2 * exact.low / (1 + exact.low))
    assert told.interval.high == pytest.approx(2 * exact.high / (1 + exact.high))
    assert told.of is None
    perfect = shares(labels, labels, np.arange(35))["f1"]
    assert (perfect.value, perfect.interval.high) == (1, 1)
    assert perfect.interval.low is not None
    assert perfect.interval.low < 0.9


# AUROC.


def brute(scores: Any, labels: Any, codes: Any) -> tuple[float, float, float]:
    """AUROC, its variance by Obuchowski (1997), step by step, and the degrees of freedom that it is worth."""
    beats = lambda a, b: (a > b) + (a == b) / 2  # noqa: E731
    up, down = [n for n in range(len(labels)) if labels[n]], [n for n in range(len(labels)) if not labels[n]]
    area = sum(beats(scores[i], scores[j]) for i in up for j in down) / len(up) / len(down)
    ours: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for i in up:
        ours[codes[i]] = ours.get(codes[i], 0) + sum(beats(scores[i], scores[j]) for j in down) / len(down) - area
    for j in down:
        theirs[codes[j]] = theirs.get(codes[j], 0) + sum(beats(scores[i], scores[j]) for i in up) / len(up) - area
    everyone = len(set(codes))
    first = len(ours) / (len(ours) - 1) * sum(each**2 for each in ours.values()) / len(up) ** 2
    second = len(theirs) / (len(theirs) - 1) * sum(each**2 for each in theirs.values()) / len(down) ** 2
    both = sum(ours[code] * theirs[code] for code in ours.keys() & theirs.keys())
    variance = first + second + 2 * everyone / (everyone - 1) * both / len(up) / len(down)

    def worth(values: list[float]) -> float:
        squares = [(value - sum(values) / len(values)) ** 2 for value in values]
        excess = sum(each**2 for each in squares) / sum(squares) ** 2 - 1 / len(values)
        return min(len(values) - 1, 2 / excess)

    freedom = variance**2 / (first**2 / worth(list(ours.values())) + second**2 / worth(list(theirs.values())))
    return area, variance, freedom


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("apart", [0.2, 1.0, 2.5, -1.5])
def test_auroc_is_delongs_by_patient(apart: float, mixed: bool) -> None:
    random = np.random.default_rng(int(10 * apart) + mixed + 100)
    codes = np.repeat(np.arange(30), random.integers(1, 5, 30))
    labels = (codes % 2 == 0) ^ (mixed & (random.random(len(codes)) < 0.2))
    scores = np.round(apart * labels + random.normal(size=30)[codes] + random.normal(size=len(codes)), 1)  # with ties
    told = auroc(scores, labels, codes + 7)
    area, variance, freedom = brute(scores, labels, codes)
    assert told.value == pytest.approx(area)
    high, error = max(area, 1 - area), math.sqrt(variance)
    quantile = stats.t.ppf(0.975, freedom)
    near = 1 / (1 + math.exp(-(math.log(high / (1 - high)) - min(quantile, 2.06) * error / high / (1 - high))))
    far = stats.norm.cdf(stats.norm.ppf(high) + min(quantile, 2.2) * error / stats.norm.pdf(stats.norm.ppf(high)))
    ends = (near, far) if area >= 0.5 else (1 - far, 1 - near)
    assert (told.interval.low, told.interval.high) == pytest.approx(ends)


def test_perfect_separation_has_a_width() -> None:
    # The positives' ten patients have 1 video each but one, who has 6: worth 5.
    codes = np.array([*range(9), *[9] * 6, *range(10, 40)])
    labels = codes < 10
    told = auroc(labels * 1.0, labels, codes)
    assert told == Estimate(1, Interval(0.025 ** (1 / 5), 1), 15, 45, 10)
    wrong = auroc(labels * -1.0, labels, codes)
    assert (wrong.value, wrong.interval.low) == (0, 0)
    assert wrong.interval.high == pytest.approx(1 - 0.025 ** (1 / 5))


def test_a_ranking_needs_ten_patients_a_class_and_scores_that_differ() -> None:
    labels = np.arange(60) < 9
    told = auroc(np.arange(60.0), labels, np.arange(60))
    assert (told.value, told.patients, told.reason) == (None, 9, "no AUROC below 10 patients a class")
    alike = auroc(np.zeros(60), np.arange(60) < 30, np.arange(60))
    assert (alike.value, alike.interval, alike.reason) == (0.5, NONE, "no interval: the scores do not differ")
    few = estimates({"auprc": auprc(np.arange(60.0), labels)}, np.arange(60), 50, patients=9)["auprc"]
    assert (few.value, few.reason) == (None, "not given below 10 patients a class")


# The bootstrap.


def test_what_all_resamples_agree_on_is_no_certainty() -> None:
    exact = estimates(regression_statistics(np.arange(20.0), np.arange(20.0)), np.arange(20), repeats=50)
    assert exact["mae"].value == 0
    assert exact["mae"].interval.low is None
    assert exact["mae"].reason == "no interval: resamples give none or all the same"
    ranked = estimates({"auprc": auprc(np.arange(40.0), np.arange(40) > 20)}, np.arange(40), 50)["auprc"]
    assert (ranked.value, ranked.interval.low) == (1, None)


@pytest.mark.parametrize("patients", [1, 3, 9])
def test_errors_of_few_patients_are_not_given(patients: int) -> None:
    codes = np.arange(90) % patients
    told = estimates(regression_statistics(np.arange(90.0), np.arange(90.0) ** 1.1), codes, repeats=20)
    for figure in told.values():
        assert figure == Estimate(None, NONE, patients=patients, reason="not given below 10 patients")


def test_a_figure_without_a_value_says_so() -> None:
    told = estimates(regression_statistics(np.arange(12.0), np.full(12, 3.0)), np.arange(12), repeats=20)
    assert (told["r2"].value, told["r2"].reason) == (None, "it has no value for these data")
    assert told["mae"].value is not None


def test_whole_clusters_are_drawn() -> None:
    codes = np.array([7, 3, 7, 9])
    seen = []

    def remember(weights: Any) -> float:
        seen.append(weights)
        return float(weights.sum())

    cluster_bootstrap({"x": remember}, codes, repeats=200, seed=3)
    drawn = np.array(seen[:200])
    assert np.array_equal(drawn[:, 0], drawn[:, 2])
    assert np.all(drawn[:, :1].sum(1) + drawn[:, 1] + drawn[:, 3] == 3)
    assert drawn[:, 1].mean() == pytest.approx(1, abs=0.2)


def test_two_clusters_by_hand() -> None:
    # Patients of mean 0 and 1 are drawn as 00, 01, 10, 11: means 0, 1/2 and 1, so the interval is all of it.
    means = regression_statistics([0, 0, 1, 1], [0, 0, 0, 0])
    told = cluster_bootstrap({"bias": means["bias"]}, np.array([1, 1, 2, 2]), repeats=100)["bias"]
    assert told == Interval(0, 1, 100, 0)


def test_a_seed_gives_the_same_interval_and_all_statistics_the_same_resamples() -> None:
    random = np.random.default_rng(5)
    figures = regression_statistics(random.normal(size=40), np.zeros(40))
    codes = np.arange(40) // 2
    first = cluster_bootstrap(figures, codes, 50, seed=1)
    assert first == cluster_bootstrap(figures, codes, 50, seed=1)
    assert first["mae"] == cluster_bootstrap({"mae": figures["mae"]}, codes, 50, seed=1)["mae"]
    assert first["mae"] != cluster_bootstrap(figures, codes, 50, seed=2)["mae"]


def ratio_of_labelled(labels: Any) -> Any:
    """Their share among the first rows, which has no value where none of these is drawn."""
    return lambda weights: (weights * labels)[:2].sum() / weights[:2].sum() if weights[:2].sum() else math.nan


def test_resamples_without_a_value_are_counted() -> None:
    # Two of four rows decide; a resample has neither with probability (2/4)^4 = 1/16.
    told = cluster_bootstrap({"x": ratio_of_labelled(np.array([1, 0, 0, 0]))}, np.arange(4), repeats=4000)["x"]
    assert told.undefined / 4000 == pytest.approx(1 / 16, abs=0.015)
    assert (told.low, told.high) == (0, 1)


def test_one_patient_says_nothing_of_others() -> None:
    codes = np.array([1, 1, 2, 3])  # the only patient of the two rows that decide
    told = cluster_bootstrap({"x": ratio_of_labelled(np.array([1, 0, 0, 0]))}, codes, repeats=50)["x"]
    assert (told.low, told.high) == (None, None)


def test_degrees_of_freedom_by_hand() -> None:
    # One of ten differs: deviations 0.9 and nine of 0.1, squares 0.81 and 9 of 0.01, together 0.9; their squares
    # 0.6561 + 0.0009 = 0.657; 0.657 / 0.81 - 1 / 10 = 0.7111; 2 / 0.7111.
    assert intervals._freedom(np.array([1.0] + [0.0] * 9)) == pytest.approx(2.8125)
    # Four that lie equally far out count fully: 3. Student's t at 2.5 % is -3.18245, widened by sqrt(4 / 3).
    even = np.array([-1.0, -1.0, 1.0, 1.0])
    assert intervals._freedom(even) == 3
    assert intervals._tail(even) == pytest.approx(NormalDist().cdf(-3.18245 * math.sqrt(4 / 3)), rel=1e-4)


def test_many_clusters_give_the_textbook_interval() -> None:
    errors = np.random.default_rng(6).normal(size=3000)
    told = cluster_bootstrap(regression_statistics(errors, np.zeros(3000)), np.arange(3000), repeats=2000)["bias"]
    half = 1.96 * errors.std() / math.sqrt(3000)
    assert (told.low, told.high) == pytest.approx((errors.mean() - half, errors.mean() + half), abs=half / 10)


def test_options_and_values_check_themselves() -> None:
    with pytest.raises(ValueError, match="runs from low to high, or has neither"):
        Interval(0, None, 1, 0)
    with pytest.raises(ValueError, match="runs from low to high"):
        Interval(1, math.nan, 1, 0)


@pytest.mark.parametrize(
    ("apparent", "sensitivity", "specificity", "expected"),
    [
        (0.3, 0.8, 0.9, 2 / 7),  # (0.3 + 0.9 - 1) / (0.8 + 0.9 - 1)
        (0.3, 1, 1, 0.3),
        (0.05, 0.8, 0.9, 0),  # fewer than the false alarms alone
        (0.9, 0.8, 0.9, 1),
    ],
)
def test_rogan_gladen_by_hand(apparent: float, sensitivity: float, specificity: float, expected: float) -> None:
    assert rogan_gladen(apparent, sensitivity, specificity) == pytest.approx(expected)


def test_no_prevalence_from_a_threshold_that_knows_nothing() -> None:
    with pytest.raises(BadQuery, match=r"sensitivity of 0\.4 and a specificity of 0\.6 .* no better than chance"):
        rogan_gladen(0.5, 0.4, 0.6)


def _outcomes(hits: int, positives: int, rejected: int, negatives: int) -> tuple[Any, Any, Any]:
    labels = np.arange(positives + negatives) < positives
    predicted = np.r_[np.arange(positives) < hits, np.arange(negatives) >= rejected]
    return (np.arange(positives + negatives), labels, predicted)


def test_prevalence_by_hand() -> None:
    """Lang & Reiczigel's formula for 30 of 100 called, 16 of 20 found, 72 of 80 rejected; the figure is 2/7."""
    called = np.arange(100) < 30
    told = prevalence(_outcomes(16, 20, 72, 80), called, np.arange(100))
    assert (told.value, told.count, told.of, told.patients) == (pytest.approx(2 / 7), 30, 100, 100)
    z = 1.959964
    found, rejected, apparent = 17 / 22, 73 / 82, (30 + z * z / 2) / (100 + z * z)
    share = (apparent + rejected - 1) / (found + rejected - 1)
    first, second = found * (1 - found) / 22, rejected * (1 - rejected) / 82
    middle = share + 2 * z * z * (share * first - (1 - share) * second)
    spread = apparent * (1 - apparent) / (100 + z * z) + share**2 * first + (1 - share) ** 2 * second
    half = z * math.sqrt(spread) / (found + rejected - 1)
    assert told.interval.low == pytest.approx(max(0, middle - half))
    assert told.interval.high == pytest.approx(middle + half)


@pytest.mark.parametrize(("hits", "rejected", "called"), [(20, 80, 0), (20, 80, 100), (20, 80, 30), (16, 80, 0)])
def test_a_prevalence_has_a_width_where_all_went_right(hits: int, rejected: int, called: int) -> None:
    told = prevalence(_outcomes(hits, 20, rejected, 80), np.arange(100) < called, np.arange(100))
    assert told.value is not None
    assert told.interval.low is not None
    assert told.interval.high is not None
    assert told.interval.low <= told.value <= told.interval.high
    assert 0.04 < told.interval.high - told.interval.low < 0.3


@pytest.mark.parametrize(("positives", "negatives"), [(19, 80), (20, 79), (2, 2)])
def test_no_prevalence_from_few_labels(positives: int, negatives: int) -> None:
    told = prevalence(_outcomes(positives, positives, negatives, negatives), np.arange(50) < 10, np.arange(50))
    assert (told.value, told.interval, told.count, told.of) == (None, NONE, 10, 50)
    assert told.reason == (
        f"labels of {positives} patients with the finding and {negatives} without: from 20 and 80 on a prevalence is "
        "given"
    )
    twice = (np.arange(100) // 2, np.arange(100) < 40, np.arange(100) < 40)  # two videos each are no patients
    assert prevalence(twice, np.arange(50) < 10, np.arange(50)).value is None


def test_no_prevalence_of_few_patients() -> None:
    """The same 36 videos, 9 of them called: of 9 patients there are counts, of 10 a figure."""
    learnt, called = _outcomes(18, 20, 72, 80), np.arange(36) < 9
    told = prevalence(learnt, called, np.arange(36) % 9)
    assert (told.value, told.interval, told.count, told.of, told.patients) == (None, NONE, 9, 36, 9)
    assert told.sentence == "not given (9 of 36, 9 patients: no prevalence below 10 patients)"
    assert prevalence(learnt, called, np.arange(36) % 10).value == pytest.approx((9 / 36 + 0.9 - 1) / 0.8)


def _patients(random: np.random.Generator, count: int) -> Any:
    """Cluster codes of `count` patients who have 1 to about 15 videos, three on average."""
    return np.repeat(np.arange(count), random.geometric(0.3, count))


@pytest.mark.slow
def test_errors_intervals_contain_the_truth_and_do_not_where_patients_are_ignored() -> None:
    """Of 1,000 archives of 100 patients, whose videos share more than half of what moves an error."""
    phi = NormalDist().cdf
    spread = math.sqrt(25 + 16)  # an error is 2 + N(0, 25) by patient + N(0, 16) by video: a folded normal
    truth = spread * math.sqrt(2 / math.pi) * math.exp(-2 / 41) + 2 * (1 - 2 * phi(-2 / spread))
    contained: dict[bool, list[bool]] = {True: [], False: []}
    for run in range(1000):
        random = np.random.default_rng(run)
        codes = _patients(random, 100)
        errors = 2 + random.normal(0, 5, 100)[codes] + random.normal(0, 4, len(codes))
        figures = {"mae": regression_statistics(errors, np.zeros(len(codes)))["mae"]}
        for whole in (True, False) if run % 10 == 0 else (True,):
            told = cluster_bootstrap(figures, codes if whole else np.arange(len(codes)), repeats=400, seed=run)["mae"]
            assert told.low is not None
            assert told.high is not None
            contained[whole].append(told.low <= truth <= told.high)
    assert np.mean(contained[True]) >= 0.93
    assert np.mean(contained[False]) < 0.87


@pytest.mark.slow
def test_the_coverage_table_misses_no_bar(tmp_path: Path) -> None:
    """A quick run of what scripts/simulate_coverage.py does with 10,000 simulations a cell."""
    script = Path(__file__).parents[1] / "scripts" / "simulate_coverage.py"
    command = [sys.executable, str(script), str(tmp_path / "table.csv"), "--quick", "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("no cell misses its bar\n")


@pytest.mark.slow
def test_intervals_of_a_prevalence_contain_the_truth() -> None:
    """Of 1,000 pairs of 200 labelled patients (30 % have it) and 150 others (20 %)."""
    contained = []
    for run in range(1000):
        random = np.random.default_rng(run)
        known, asked = _patients(random, 200), _patients(random, 150)
        labels = (np.arange(200) < 60)[known]
        scores = 2 * labels + random.normal(size=200)[known] + random.normal(size=len(known))
        others = 2 * (random.random(150) < 0.2)[asked] + random.normal(size=150)[asked]
        others = others + random.normal(size=len(asked))
        told = prevalence((known, labels, scores >= 1), others >= 1, asked).interval
        assert told.low is not None
        assert told.high is not None
        contained.append(told.low <= 0.2 <= told.high)
    assert np.mean(contained) >= 0.93
