"""Figures, thresholds, prevalence and intervals: by hand, against scikit-learn and SciPy, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn import metrics
from sklearn.calibration import calibration_curve

from echosearch.errors import BadLabels, BadOption, BadQuery
from echosearch.zeroshot import statistics
from echosearch.zeroshot.statistics import (
    Estimate,
    Interval,
    Outcomes,
    Ranking,
    ThresholdRule,
    aggregate,
    aggregate_labels,
    at_threshold,
    choose_threshold,
    cluster_bootstrap,
    clusters,
    confusion,
    estimates,
    expected_calibration_error,
    first_known,
    prevalence,
    ranking_statistics,
    regression_statistics,
    reliability,
    rogan_gladen,
    steady_threshold,
    threshold_statistics,
)

# Two of five have the finding; the worked values below are all of these.
SCORES = np.array([0.5, 0.9, 0.7, 0.8, 0.6])
LABELS = np.array([0, 1, 1, 0, 0])


def test_patients_come_first_then_studies_then_videos() -> None:
    # Video 2 has no patient, but its study has one; 3 has a study only; 4 and 5 have nothing.
    told = clusters(["P1", None, None, None, None, "S2"], ["S1", "S1", "S2", None, None, None], [1, 2, 3, 4, 5, 6])
    assert told.codes.tolist() == [0, 0, 1, 2, 3, 4]  # the patient S2 is not the study S2
    assert (told.count, told.by_study, told.by_video) == (5, 1, 2)
    with pytest.raises(ValueError, match="one patient, study and id for each row"):
        clusters([None], [None], [])


def test_videos_become_studies() -> None:
    groups = ["B", None, "A", "B", "B"]
    values = [1.0, 99.0, 5.0, 2.0, 6.0]
    assert aggregate(values, groups, "mean")[0] == ("A", "B")
    assert aggregate(values, groups, "mean")[1].tolist() == [5, 3]
    assert aggregate(values, groups, "median")[1].tolist() == [5, 2]
    assert aggregate(values, groups, "max")[1].tolist() == [5, 6]
    assert first_known(["p", "q", None, None, "r"], groups) == (None, "p")
    with pytest.raises(ValueError, match="values are one row of 5 numbers"):
        aggregate([1.0], groups, "mean")


def test_a_study_has_what_one_of_its_videos_has() -> None:
    names, labels, disagreeing = aggregate_labels([1, 0, 0, 0], ["A", "A", "B", "B"], binary=True)
    assert (names, labels.tolist(), disagreeing) == (("A", "B"), [1, 0], 1)
    _, labels, disagreeing = aggregate_labels([50, 60, 70, 70], ["A", "A", "B", "B"], binary=False)
    assert (labels.tolist(), disagreeing) == ([55, 70], 1)


def test_ranking_by_hand() -> None:
    # 0.9 is above three negatives, 0.7 above two: 5 of 6 pairs.
    # Precision is 1 at 0.9 and 2/3 at 0.7, each with half the recall.
    ranking = Ranking(SCORES, LABELS)
    assert ranking.auroc() == pytest.approx(5 / 6)
    assert ranking.auprc() == pytest.approx((1 + 2 / 3) / 2)
    # One positive ties with a negative (half) and is above another; at their score the precision is 1/2.
    tied = Ranking([1, 1, 0], [1, 0, 0])
    assert (tied.auroc(), tied.auprc()) == (0.75, 0.5)
    assert math.isnan(Ranking([1, 2], [1, 1]).auroc())
    assert math.isnan(Ranking([1, 2], [0, 0]).auprc())
    assert math.isnan(ranking.auroc(np.array([1, 0, 0, 1, 1])))


def test_counts_at_a_frozen_threshold_by_hand() -> None:
    # 0.9, 0.8 and 0.7 are called positive, the threshold itself included.
    called = at_threshold(SCORES, 0.7)
    assert called.tolist() == [False, True, True, True, False]
    counts = confusion(called, LABELS)
    assert counts == statistics.Confusion(true_positives=2, false_positives=1, true_negatives=2, false_negatives=0)
    assert (counts.sensitivity, counts.specificity, counts.precision) == (1, 2 / 3, 2 / 3)
    assert (counts.f1, counts.accuracy) == (4 / 5, 4 / 5)
    assert confusion(called, LABELS, np.array([3, 0, 2, 1, 1])) == statistics.Confusion(2, 1, 4, 0)
    assert math.isnan(confusion([0, 0], [0, 0]).f1)


def test_errors_of_a_measurement_by_hand() -> None:
    # Errors -2, 5, 0; their mean is 1, their squares sum to 29, from the mean to 9 + 16 + 1 = 26, variance 26 / 2.
    # Labels lie -7, -4, 11 from their mean 59: 186; predictions -10, 0, 10 from theirs: 200; product 70 + 110.
    told = estimates(regression_statistics([50, 60, 70], [52, 55, 70]), np.arange(3), repeats=10)
    assert {name: estimate.value for name, estimate in told.items()} == pytest.approx(
        {
            "mae": 7 / 3,
            "rmse": math.sqrt(29 / 3),
            "r2": 1 - 29 / 186,
            "bias": 1,
            "lower_limit": 1 - 1.96 * math.sqrt(13),
            "upper_limit": 1 + 1.96 * math.sqrt(13),
            "pearson_r": 180 / math.sqrt(200 * 186),
        }
    )


def test_what_has_no_value_is_none() -> None:
    constant = estimates(regression_statistics([1, 2], [0.1, 0.1]), np.arange(2), repeats=5)
    assert constant["r2"] == Estimate(None, Interval(None, None, 5, 5))
    assert constant["pearson_r"].value is None
    assert math.isnan(statistics.limits_of_agreement([1], [2])[0])


def test_probabilities_by_hand() -> None:
    # Squares 0.01, 0.64, 0.09, 0.04. Two bins: mean 0.15 and half positive, mean 0.75 and all positive.
    probabilities, labels = [0.8, 0.1, 0.7, 0.2], [1, 0, 1, 1]
    assert statistics.brier(probabilities, labels) == pytest.approx(0.78 / 4)
    low, high = reliability(probabilities, labels, 2)
    assert (low.low, low.high, low.count, low.mean_probability, low.positive_share) == pytest.approx(
        (0.1, 0.2, 2, 0.15, 0.5)
    )
    assert (high.mean_probability, high.positive_share) == pytest.approx((0.75, 1))
    assert expected_calibration_error(probabilities, labels, 2) == pytest.approx((0.35 + 0.25) / 2)


def test_equal_probabilities_share_a_bin() -> None:
    rows = reliability([0.5, 0.5, 0.5, 0.9], [0, 1, 0, 1], 4)
    assert [(row.count, row.positive_share) for row in rows] == [(3, pytest.approx(1 / 3)), (1, 1)]
    with pytest.raises(BadOption, match="there is one bin or more, not 0"):
        reliability([0.5], [1], 0)
    with pytest.raises(ValueError, match=r"probabilities lie between 0 and 1, not 0\.5 to 2\.0"):
        reliability([0.5, 2], [1, 0])


def test_bins_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    probabilities = random.random(200)
    labels = random.random(200) < probabilities**2
    share, mean = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    rows = reliability(probabilities, labels, 10)
    assert [row.positive_share for row in rows] == pytest.approx(share)
    assert [row.mean_probability for row in rows] == pytest.approx(mean)


Rows = list[tuple[int, bool, int]]
ROWS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30).filter(
    lambda rows: {label for _, label, weight in rows if weight} == {False, True}
)
"""Score (few values, so that many tie), label, weight; both classes count."""


def _arrays(rows: Rows) -> tuple[Any, Any, Any]:
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    return scores / 7, labels, weights


@given(ROWS)
def test_ranks_and_counts_are_scikit_learns(rows: Rows) -> None:
    scores, labels, weights = _arrays(rows)
    told = {name: figure(weights) for name, figure in ranking_statistics(scores, labels).items()}
    assert told["auroc"] == pytest.approx(metrics.roc_auc_score(labels, scores, sample_weight=weights))
    assert told["auprc"] == pytest.approx(metrics.average_precision_score(labels, scores, sample_weight=weights))
    called = at_threshold(scores, 3 / 7)
    counts = {name: figure(weights) for name, figure in threshold_statistics(called, labels).items()}
    assert counts["sensitivity"] == pytest.approx(metrics.recall_score(labels, called, sample_weight=weights))
    assert counts["specificity"] == pytest.approx(metrics.recall_score(~labels, ~called, sample_weight=weights))
    assert counts["accuracy"] == pytest.approx(metrics.accuracy_score(labels, called, sample_weight=weights))
    assert counts["f1"] == pytest.approx(metrics.f1_score(labels, called, sample_weight=weights))
    if (called * weights).any():
        assert counts["precision"] == pytest.approx(metrics.precision_score(labels, called, sample_weight=weights))
    assert statistics.brier(scores, labels, weights) == pytest.approx(
        metrics.brier_score_loss(labels, scores, sample_weight=weights)
    )


@given(ROWS)
def test_a_weight_is_how_often_a_row_is_there(rows: Rows) -> None:
    scores, labels, weights = _arrays(rows)
    values = np.arange(len(rows)) % 5 + scores
    for make, truth in (
        (ranking_statistics, labels),
        (regression_statistics, values),
        (lambda called, truth: threshold_statistics(called > 0.5, truth), labels),
    ):
        weighted = {name: figure(weights) for name, figure in make(scores, truth).items()}
        again = make(np.repeat(scores, weights), np.repeat(truth, weights))
        once = {name: figure(np.ones(weights.sum(), np.int64)) for name, figure in again.items()}
        assert weighted == pytest.approx(once, nan_ok=True, abs=1e-9)


def test_measurements_are_scikit_learns_and_scipys() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(55, 10, 200)
    predicted = truth + random.normal(2, 6, 200)
    weights = random.integers(0, 4, 200)
    told = {name: figure(weights) for name, figure in regression_statistics(predicted, truth).items()}
    assert told["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted, sample_weight=weights))
    assert told["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted, sample_weight=weights))
    assert told["r2"] == pytest.approx(metrics.r2_score(truth, predicted, sample_weight=weights))
    assert statistics.pearson_r(predicted, truth) == pytest.approx(pearsonr(predicted, truth).statistic)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        # From the top, precision is 1, 1/2, 2/3, 1/2, 2/5 and sensitivity 1/2, 1/2, 1, 1, 1.
        ("max-f1", 0.65),  # 2/3, 1/2, 4/5, 2/3, 4/7
        ("youden", 0.65),  # 1/2, 1/6, 2/3, 1/3, 0
        ("sensitivity:0.5", 0.85),
        ("sensitivity:0.9", 0.65),
        ("precision:1", 0.85),
        ("precision:0.6", 0.65),
        ("precision:0.5", 0.55),
        ("precision:0.4", 0.5),  # all are positive: there is no score below
    ],
)
def test_a_threshold_lies_midway_between_scores(rule: str, threshold: float) -> None:
    assert choose_threshold(SCORES, LABELS, ThresholdRule.parse(rule)) == pytest.approx(threshold)


def test_tied_scores_are_called_together() -> None:
    # The only choices are the two that score 1 (one right, one wrong), or all four.
    assert choose_threshold([1, 1, 0, 0], [1, 0, 1, 0], ThresholdRule("sensitivity", 0.5)) == 0.5
    assert choose_threshold([1, 1, 0, 0], [1, 0, 1, 0], ThresholdRule("sensitivity", 0.6)) == 0


def test_neighbouring_floats_have_nothing_between_them() -> None:
    above = np.nextafter(0.3, 1)
    assert choose_threshold([0.3, above], [0, 1], ThresholdRule("youden")) == above


def test_what_no_threshold_can_do_is_said() -> None:
    # From the top, precision is 0, 1/2, 1/3.
    with pytest.raises(BadOption, match=r"no threshold has a precision of 0\.9; the best, 0\.5, is had at 1\.5 with a"):
        choose_threshold([3, 2, 1], [0, 1, 0], ThresholdRule("precision", 0.9))
    with pytest.raises(BadLabels, match="all 2 labels are 0; a threshold needs some of both classes"):
        choose_threshold([1, 2], [0, 0], ThresholdRule("youden"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("best", "a threshold is chosen by max-f1, youden, sensitivity:0.9 or precision:0.8, not 'best'"),
        ("precision", "precision needs a value"),
        ("youden:0.5", "youden takes no value"),
        ("precision:high", "'high' is no number"),
        ("sensitivity:90", r"the sensitivity that is wished is above 0 and at most 1, not 90\.0"),
        ("sensitivity:nan", "above 0 and at most 1, not nan"),
    ],
)
def test_a_rule_that_cannot_be_meant(text: str, sentence: str) -> None:
    with pytest.raises(BadOption, match=sentence):
        ThresholdRule.parse(text)


@pytest.mark.parametrize("text", ["max-f1", "youden", "sensitivity:0.9", "precision:0.75"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(ThresholdRule.parse(text)) == text


@given(ROWS, st.sampled_from(["max-f1", "youden", "sensitivity:0.7", "sensitivity:1", "precision:0.5"]))
def test_no_other_threshold_does_better(rows: Rows, text: str) -> None:
    rows = [row for row in rows if row[2]]
    scores, labels, _ = _arrays(rows)
    rule = ThresholdRule.parse(text)
    every = {float(cut): confusion(at_threshold(scores, cut), labels) for cut in sorted(set(scores), reverse=True)}
    if rule.kind == "precision":
        good = [cut for cut, counts in every.items() if counts.precision >= 0.5]
        if not good:
            with pytest.raises(BadOption, match=r"no threshold has a precision of 0\.5"):
                choose_threshold(scores, labels, rule)
            return
        best = min(good)
    elif rule.kind == "sensitivity":
        assert rule.target is not None
        best = max(cut for cut, counts in every.items() if counts.sensitivity >= rule.target)
    else:
        merit: Callable[[statistics.Confusion], float] = (
            (lambda counts: counts.f1)
            if rule.kind == "max-f1"
            else lambda counts: round(counts.sensitivity + counts.specificity, 12)
        )
        best = max(every, key=lambda cut: merit(every[cut]))  # the first, so the highest, of equals
    assert at_threshold(scores, choose_threshold(scores, labels, rule)).tolist() == at_threshold(scores, best).tolist()


@pytest.mark.parametrize("kind", ["max-f1", "youden"])
def test_a_steady_threshold_is_the_mean_over_resampled_patients(kind: Literal["max-f1", "youden"]) -> None:
    rule, random = ThresholdRule(kind), np.random.default_rng(8)
    codes = random.integers(0, 9, 40)
    labels = (codes < 4) | (random.random(40) < 0.1)
    scores = np.round(random.normal(labels * 1.5, 1), 1)  # with ties
    draws, thresholds = np.random.default_rng(3), []
    patients = list(dict.fromkeys(codes[np.lexsort((labels, -scores))].tolist()))  # by their highest score
    for _ in range(25):  # every patient's videos, copied as often as the patient was drawn
        rows = np.concatenate([np.flatnonzero(codes == patients[drawn]) for drawn in draws.integers(9, size=9)])
        if len(set(labels[rows])) == 2:
            thresholds.append(choose_threshold(scores[rows], labels[rows], rule))
    assert len(set(thresholds)) > 3
    steady = steady_threshold(scores, labels, codes * 10, rule, 25, 3)
    assert steady == pytest.approx(np.mean(thresholds), abs=1e-12)
    other = random.permutation(40)  # as another ingest would have it, with other numbers for the patients
    assert steady_threshold(scores[other], labels[other], 9 - codes[other], rule, 25, 3) == steady


def test_what_a_wish_or_a_single_patient_leaves_of_a_steady_threshold() -> None:
    alone, wish = np.arange(5), ThresholdRule("sensitivity", 0.5)
    assert steady_threshold(SCORES, LABELS, alone, wish) == choose_threshold(SCORES, LABELS, wish)
    youden = ThresholdRule("youden")
    assert steady_threshold(SCORES, LABELS, np.zeros(5, int), youden) == choose_threshold(SCORES, LABELS, youden)
    # Two patients, each of one class: resamples with both are the data as they are, the others have no threshold.
    assert steady_threshold([2, 4], [0, 1], np.array([0, 1]), youden) == 3
    with pytest.raises(BadLabels, match=r"^all 2 labels are 0;"):
        steady_threshold([1, 2], [0, 0], np.array([0, 1]), youden)


def test_a_steady_threshold_loses_less_on_others() -> None:
    random, rule = np.random.default_rng(5), ThresholdRule("max-f1")

    def drawn(count: int) -> tuple[Any, Any]:
        labels = random.random(count) < 0.1
        return random.normal(labels * 2.0, 1), labels

    others, truth = drawn(50_000)
    best = confusion(others >= choose_threshold(others, truth, rule), truth).f1
    loss: dict[str, list[float]] = {"one sample": [], "steady": []}
    for _ in range(60):
        scores, labels = drawn(400)
        for name, threshold in (
            ("one sample", choose_threshold(scores, labels, rule)),
            ("steady", steady_threshold(scores, labels, np.arange(400), rule)),
        ):
            loss[name].append(best - confusion(others >= threshold, truth).f1)
    assert np.mean(loss["steady"]) < 0.8 * np.mean(loss["one sample"])


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


def test_resamples_without_a_value_are_counted() -> None:
    # Two of four patients have the finding; a resample has neither with probability (2/4)^4 = 1/16.
    figures = threshold_statistics([1, 1, 0, 0], [1, 1, 0, 0])
    told = cluster_bootstrap(figures, np.arange(4), repeats=4000)["sensitivity"]
    assert told.undefined / 4000 == pytest.approx(1 / 16, abs=0.015)
    assert (told.low, told.high) == (1, 1)


def test_one_patient_says_nothing_of_others() -> None:
    # Three videos of the only patient who has it: the share found would be 2/3 in every resample.
    figures = threshold_statistics([1, 1, 0, 0, 0], [1, 1, 1, 0, 0])
    told = cluster_bootstrap(figures, np.array([1, 1, 1, 2, 3]), repeats=50)
    assert (told["sensitivity"].low, told["sensitivity"].high) == (None, None)
    assert told["accuracy"].low is not None
    assert cluster_bootstrap(figures, np.zeros(5, np.int64), repeats=50)["accuracy"].low is None


def test_degrees_of_freedom_by_hand() -> None:
    # One of ten differs: deviations 0.9 and nine of 0.1, squares 0.81 and 9 of 0.01, together 0.9; their squares
    # 0.6561 + 0.0009 = 0.657; 0.657 / 0.81 - 1 / 10 = 0.7111; 2 / 0.7111.
    assert statistics._freedom(np.array([1.0] + [0.0] * 9)) == pytest.approx(2.8125)
    # Four that lie equally far out count fully: 3. Student's t at 2.5 % is -3.18245, widened by sqrt(4 / 3).
    even = np.array([-1.0, -1.0, 1.0, 1.0])
    assert statistics._freedom(even) == 3
    assert statistics._tail([even], 0.95) == pytest.approx(NormalDist().cdf(-3.18245 * math.sqrt(4 / 3)), rel=1e-4)
    assert statistics._tail([np.zeros(4)], 0.9) == pytest.approx(0.05)


def test_many_clusters_give_the_textbook_interval() -> None:
    errors = np.random.default_rng(6).normal(size=3000)
    told = cluster_bootstrap(regression_statistics(errors, np.zeros(3000)), np.arange(3000), repeats=2000)["bias"]
    half = 1.96 * errors.std() / math.sqrt(3000)
    assert (told.low, told.high) == pytest.approx((errors.mean() - half, errors.mean() + half), abs=half / 10)


def test_options_and_values_check_themselves() -> None:
    with pytest.raises(BadOption, match="a bootstrap needs one resample or more, not 0"):
        cluster_bootstrap({}, np.arange(3), repeats=0)
    with pytest.raises(BadOption, match=r"lies between 0 and 1, such as 0\.95, not 95"):
        cluster_bootstrap({}, np.arange(3), level=95)
    with pytest.raises(ValueError, match="both ends or none"):
        Interval(0, None, 1, 0)
    with pytest.raises(ValueError, match="runs from low to high"):
        Interval(1, math.nan, 1, 0)
    with pytest.raises(ValueError, match="scores are finite numbers"):
        Ranking([1, math.nan], [0, 1])
    with pytest.raises(ValueError, match="labels of two classes are 0 and 1"):
        Ranking([1, 2], [0, 2])
    with pytest.raises(ValueError, match="scores are one row of 2 numbers"):
        Ranking([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        confusion([1], [0, 1])
    with pytest.raises(ValueError, match="one weight for each of 2 rows"):
        confusion([1, 0], [0, 1], np.ones(3, np.int64))
    with pytest.raises(ValueError, match="one cluster, label and prediction for each row"):
        Outcomes(np.arange(2), np.zeros(2, bool), np.zeros(3, bool))


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
    with pytest.raises(BadLabels, match="labels of both classes"):
        prevalence(Outcomes(np.arange(2), np.ones(2, bool), np.ones(2, bool)), np.ones(2, bool), np.arange(2))


def _outcomes(hits: int, positives: int, rejected: int, negatives: int) -> Outcomes:
    labels = np.arange(positives + negatives) < positives
    predicted = np.r_[np.arange(positives) < hits, np.arange(negatives) >= rejected]
    return Outcomes(np.arange(positives + negatives), labels, predicted)


def test_prevalence_by_hand() -> None:
    # 8 of 10 found, 9 of 10 rejected, 30 of 100 called positive: 2/7, as above.
    called = np.arange(100) < 30
    told = prevalence(_outcomes(8, 10, 9, 10), called, np.arange(100), repeats=300)
    assert told.value == pytest.approx(2 / 7)
    assert told.interval.low is not None
    assert told.interval.high is not None
    assert 0 <= told.interval.low < 2 / 7 < told.interval.high <= 1
    certain = prevalence(_outcomes(800, 1000, 900, 1000), called, np.arange(100), repeats=300)
    assert certain.interval.low is not None
    assert certain.interval.low > told.interval.low  # more labels, less doubt
    assert prevalence(_outcomes(8, 10, 9, 10), called, np.zeros(100, np.int64)).interval.low is None


def _patients(random: np.random.Generator, count: int) -> Any:
    """Cluster codes of `count` patients who have 1 to about 15 videos, three on average."""
    return np.repeat(np.arange(count), random.geometric(0.3, count))


@pytest.mark.slow
def test_intervals_contain_the_truth_and_do_not_where_patients_are_ignored() -> None:
    """Of 1,000 archives of 100 patients, whose videos share half of what moves a score, or more."""
    phi = NormalDist().cdf
    spread = math.sqrt(25 + 16)  # an error is 2 + N(0, 25) by patient + N(0, 16) by video: a folded normal
    truth = {
        "mae": spread * math.sqrt(2 / math.pi) * math.exp(-2 / 41) + 2 * (1 - 2 * phi(-2 / spread)),
        "sensitivity": phi(1 / math.sqrt(2)),  # a score is label + N(0, 1) by patient + N(0, 1) by video, cut at 0
        "auroc": phi(1 / 2),
    }
    contained: dict[tuple[str, bool], list[bool]] = {(name, whole): [] for name in truth for whole in (True, False)}
    for run in range(1000):
        random = np.random.default_rng(run)
        codes = _patients(random, 100)
        errors = 2 + random.normal(0, 5, 100)[codes] + random.normal(0, 4, len(codes))
        labels = (random.random(100) < 0.4)[codes]
        scores = labels + random.normal(size=100)[codes] + random.normal(size=len(codes))
        figures = {
            "mae": regression_statistics(errors, np.zeros(len(codes)))["mae"],
            "sensitivity": threshold_statistics(scores >= 0, labels)["sensitivity"],
            "auroc": ranking_statistics(scores, labels)["auroc"],
        }
        for whole in (True, False) if run % 10 == 0 else (True,):
            told = cluster_bootstrap(figures, codes if whole else np.arange(len(codes)), repeats=400, seed=run)
            for name, interval in told.items():
                assert interval.low is not None
                assert interval.high is not None
                contained[name, whole].append(interval.low <= truth[name] <= interval.high)
    coverage = {what: float(np.mean(runs)) for what, runs in contained.items()}
    for name in truth:
        assert coverage[name, True] >= 0.93, coverage
        assert coverage[name, False] < 0.87, coverage


@pytest.mark.slow
def test_intervals_of_a_prevalence_contain_the_truth() -> None:
    """Of 1,000 pairs of 100 labelled patients (40 % have it) and 150 others (20 %)."""
    contained = []
    for run in range(1000):
        random = np.random.default_rng(run)
        known, asked = _patients(random, 100), _patients(random, 150)
        labels = (random.random(100) < 0.4)[known]
        scores = 2 * labels + random.normal(size=100)[known] + random.normal(size=len(known))
        others = 2 * (random.random(150) < 0.2)[asked] + random.normal(size=150)[asked]
        others = others + random.normal(size=len(asked))
        told = prevalence(Outcomes(known, labels, scores >= 1), others >= 1, asked, repeats=400, seed=run).interval
        assert told.low is not None
        assert told.high is not None
        contained.append(told.low <= 0.2 <= told.high)
    assert np.mean(contained) >= 0.93
