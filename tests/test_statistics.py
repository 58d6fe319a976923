"""Figures and thresholds: by hand, against scikit-learn and SciPy, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import pearsonr
from sklearn import metrics
from sklearn.calibration import calibration_curve

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.statistics import (
    Statistic,
    aggregate,
    aggregate_labels,
    auprc,
    confusion,
    expected_calibration_error,
    first_known,
    regression_statistics,
    reliability,
)
from echosearch.learning.thresholds import ThresholdRule, choose_threshold, steady_threshold
from echosearch.types.people import clusters

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


def of_all(figure: Statistic, count: int) -> float:
    return figure(np.ones(count, np.int64))


def test_ranking_by_hand() -> None:
    # Precision is 1 at 0.9 and 2/3 at 0.7, each with half the recall.
    assert of_all(auprc(SCORES, LABELS), 5) == pytest.approx((1 + 2 / 3) / 2)
    # One positive ties with a negative and is above another; at their score the precision is 1/2.
    assert of_all(auprc([1, 1, 0], [1, 0, 0]), 3) == 0.5
    assert math.isnan(of_all(auprc([1, 2], [0, 0]), 2))
    assert math.isnan(auprc(SCORES, LABELS)(np.array([1, 0, 0, 1, 1])))


def test_counts_at_a_frozen_threshold_by_hand() -> None:
    # 0.9, 0.8 and 0.7 are called positive, the threshold itself included.
    called = SCORES >= 0.7
    assert called.tolist() == [False, True, True, True, False]
    counts = confusion(called, LABELS)
    assert counts == {"true_positives": 2, "false_positives": 1, "true_negatives": 2, "false_negatives": 0}


def test_errors_of_a_measurement_by_hand() -> None:
    # Errors -2, 5, 0; their mean is 1, their squares sum to 29, from the mean to 9 + 16 + 1 = 26, variance 26 / 2.
    # Labels lie -7, -4, 11 from their mean 59: 186; predictions -10, 0, 10 from theirs: 200; product 70 + 110.
    told = regression_statistics([50, 60, 70], [52, 55, 70])
    assert {name: of_all(figure, 3) for name, figure in told.items()} == pytest.approx(
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


def test_what_has_no_value_is_nan() -> None:
    constant = regression_statistics([1, 2], [0.1, 0.1])
    assert math.isnan(of_all(constant["r2"], 2))
    assert math.isnan(of_all(constant["pearson_r"], 2))
    assert math.isnan(of_all(regression_statistics([1], [2])["upper_limit"], 1))


def test_probabilities_by_hand() -> None:
    # Two bins: mean 0.15 and half positive, mean 0.75 and all positive.
    probabilities, labels = [0.8, 0.1, 0.7, 0.2], [1, 0, 1, 1]
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
    assert auprc(scores, labels)(weights) == pytest.approx(
        metrics.average_precision_score(labels, scores, sample_weight=weights)
    )
    called = scores >= 3 / 7
    cells = metrics.confusion_matrix(labels, called, labels=[False, True]).ravel().tolist()
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert confusion(called, labels) == dict(zip(names, cells, strict=True))


@given(ROWS)
def test_a_weight_is_how_often_a_row_is_there(rows: Rows) -> None:
    scores, labels, weights = _arrays(rows)
    values = np.arange(len(rows)) % 5 + scores
    for make, truth in ((lambda these, truth: {"auprc": auprc(these, truth)}, labels), (regression_statistics, values)):
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
    once = of_all(regression_statistics(predicted, truth)["pearson_r"], 200)
    assert once == pytest.approx(pearsonr(predicted, truth).statistic)


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


Counts = dict[str, int]


def precision(counts: Counts) -> float:
    return counts["true_positives"] / (counts["true_positives"] + counts["false_positives"])


def sensitivity(counts: Counts) -> float:
    return counts["true_positives"] / (counts["true_positives"] + counts["false_negatives"])


def f1(counts: Counts) -> float:
    wrong = counts["false_positives"] + counts["false_negatives"]
    return 2 * counts["true_positives"] / (2 * counts["true_positives"] + wrong)


def youden(counts: Counts) -> float:
    specificity = counts["true_negatives"] / (counts["true_negatives"] + counts["false_positives"])
    return round(sensitivity(counts) + specificity, 12)


@given(ROWS, st.sampled_from(["max-f1", "youden", "sensitivity:0.7", "sensitivity:1", "precision:0.5"]))
def test_no_other_threshold_does_better(rows: Rows, text: str) -> None:
    rows = [row for row in rows if row[2]]
    scores, labels, _ = _arrays(rows)
    rule = ThresholdRule.parse(text)
    every = {float(cut): confusion(scores >= cut, labels) for cut in sorted(set(scores), reverse=True)}
    if rule.kind == "precision":
        good = [cut for cut, counts in every.items() if precision(counts) >= 0.5]
        if not good:
            with pytest.raises(BadOption, match=r"no threshold has a precision of 0\.5"):
                choose_threshold(scores, labels, rule)
            return
        best = min(good)
    elif rule.kind == "sensitivity":
        assert rule.target is not None
        best = max(cut for cut, counts in every.items() if sensitivity(counts) >= rule.target)
    else:
        merit: Callable[[Counts], float] = f1 if rule.kind == "max-f1" else youden
        best = max(every, key=lambda cut: merit(every[cut]))  # the first, so the highest, of equals
    assert (scores >= choose_threshold(scores, labels, rule)).tolist() == (scores >= best).tolist()


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
    best = metrics.f1_score(truth, others >= choose_threshold(others, truth, rule))
    loss: dict[str, list[float]] = {"one sample": [], "steady": []}
    for _ in range(60):
        scores, labels = drawn(400)
        for name, threshold in (
            ("one sample", choose_threshold(scores, labels, rule)),
            ("steady", steady_threshold(scores, labels, np.arange(400), rule)),
        ):
            loss[name].append(best - metrics.f1_score(truth, others >= threshold))
    assert np.mean(loss["steady"]) < 0.8 * np.mean(loss["one sample"])


def test_values_check_themselves() -> None:
    with pytest.raises(ValueError, match="scores are finite numbers"):
        auprc([1, math.nan], [0, 1])
    with pytest.raises(ValueError, match="labels of two classes are 0 and 1"):
        auprc([1, 2], [0, 2])
    with pytest.raises(ValueError, match="scores are one row of 2 numbers"):
        auprc([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        confusion([1], [0, 1])
