"""Figures at video, study and patient level, by hand; what is said beside them, and what cannot be judged."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from label_helpers import sample_of
from test_calibration import MAX_F1, made

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.calibration import calibrate
from echosearch.learning.evaluation import Evaluation, LevelResult, Threshold, evaluate
from echosearch.learning.sample import Sample

# Study S1 of patient A has it, T1 of A has not, nor S2 of B; C has a video without a study; the last has nothing.
TINY = sample_of(
    scores=[0.9, 0.5, 0.2, 0.6, 0.4, 0.8, 0.1],
    labels=[1, 0, 0, 0, 0, 1, 0],
    patients=["A", "A", "A", "B", "B", "C", None],
    studies=["S1", "S1", "T1", "S2", "S2", None, None],
)


MANY = sample_of(
    scores=np.tile(TINY.scores, 10),
    labels=np.tile(TINY.labels, 10),
    patients=[name and f"{name}{copy}" for copy in range(10) for name in TINY.patients],
    studies=[name and f"{name}-{copy}" for copy in range(10) for name in TINY.studies],
)
"""The same of ten times as many patients: no figure is another."""


def by_level(judged: Evaluation) -> dict[str, LevelResult]:
    return {level.level: level for level in judged.levels}


def figures(level: LevelResult) -> dict[str, float | None]:
    return {name: estimate.value for name, estimate in level.figures.items()}


def judge(told: Sample = MANY, how: Any = "mean", **options: Any) -> Evaluation:
    return evaluate(told, how, True, repeats=50, **options)


def test_a_finding_by_hand_at_every_level() -> None:
    levels = by_level(judge(threshold=Threshold(0.5, "given")))
    video, study, patient = levels["video"], levels["study"], levels["patient"]
    # Positives 0.9 and 0.8 are above all of 0.6, 0.5, 0.4, 0.2, 0.1; of these two reach 0.5.
    assert (video.units, video.positives, video.patients, video.disagreeing) == (70, 20, 40, 0)
    assert video.counts == {"true_positives": 20, "false_positives": 20, "true_negatives": 30, "false_negatives": 0}
    counted = {name: (told.count, told.of, told.patients) for name, told in video.figures.items()}
    assert counted == {
        "auroc": (20, 70, 20), "auprc": (None, None, 20), "f1": (None, None, 30), "sensitivity": (20, 20, 20),
        "specificity": (30, 50, 30), "precision": (20, 40, 30), "accuracy": (50, 70, 40),
    }  # fmt: skip
    assert figures(video) == pytest.approx(
        {
            "auroc": 1, "auprc": 1, "f1": 4 / 6, "sensitivity": 1, "specificity": 3 / 5, "precision": 2 / 4,
            "accuracy": 5 / 7,
        }
    )  # fmt: skip
    # S1 (0.9 + 0.5) / 2 with a video that has it, S2 (0.6 + 0.4) / 2, T1 0.2; S1 and T1 are of one patient.
    assert study.scores == pytest.approx(np.repeat([0.7, 0.5, 0.2], 10))
    assert study.labels.tolist() == [1] * 10 + [0] * 20
    assert (study.units, study.positives, study.patients, study.disagreeing) == (30, 10, 20, 10)
    assert study.counts == {"true_positives": 10, "false_positives": 10, "true_negatives": 10, "false_negatives": 0}
    # A (0.9 + 0.5 + 0.2) / 3, B 0.5, C 0.8.
    assert patient.scores == pytest.approx(np.repeat([1.6 / 3, 0.5, 0.8], 10))
    assert patient.labels.tolist() == [1] * 10 + [0] * 10 + [1] * 10
    assert (patient.units, patient.positives, patient.patients, patient.disagreeing) == (30, 20, 30, 10)
    assert patient.figures["specificity"].value == 0


@pytest.mark.parametrize(("how", "expected"), [("max", [0.9, 0.6, 0.2]), ("median", [0.7, 0.5, 0.2])])
def test_a_task_says_how_videos_become_a_study(how: str, expected: list[float]) -> None:
    assert by_level(judge(TINY, how=how))["study"].scores == pytest.approx(expected)


def test_levels_that_are_not_known_are_left_out() -> None:
    nobody = sample_of([1, 2, 3, 4], [0, 1, 0, 1], [None] * 4)
    assert list(by_level(judge(nobody))) == ["video"]
    assert list(by_level(judge(sample_of([1, 2, 3, 4], [0, 1, 0, 1])))) == ["video", "patient"]


def test_without_a_threshold_only_the_ranking_is_judged() -> None:
    for level in judge().levels:
        assert list(level.figures) == ["auroc", "auprc"]
        assert level.counts is None


def test_a_measurement_by_hand() -> None:
    copies = range(10)
    people, exams = ([f"{name}{copy}" for copy in copies for name in names] for names in ("AABC", "SSTU"))
    told = sample_of([50, 60, 40, 30] * 10, [55, 55, 40, 20] * 10, people, exams)
    levels = by_level(evaluate(told, "mean", False, repeats=50))
    # Errors of videos -5, 5, 0, 10; of studies 0, 0, 10.
    assert figures(levels["video"]) == pytest.approx(
        {
            "mae": 5, "rmse": math.sqrt(150 / 4), "bias": 2.5,
            "r2": 1 - 150 / (2 * 12.5**2 + 2.5**2 + 22.5**2),
            "lower_limit": 2.5 - 1.96 * math.sqrt(1250 / 39), "upper_limit": 2.5 + 1.96 * math.sqrt(1250 / 39),
            "pearson_r": np.corrcoef(told.scores, told.labels)[0, 1],
        }
    )  # fmt: skip
    study = levels["study"]
    assert (study.units, study.positives, study.counts, study.disagreeing) == (30, None, None, 0)
    assert study.figures["mae"].value == pytest.approx(10 / 3)
    assert study.figures["bias"].value == pytest.approx(10 / 3)
    assert figures(levels["patient"]) == pytest.approx(figures(study))


def test_intervals_are_over_patients() -> None:
    """The same videos ten times over are no more patients: the interval stays, and by video it shrinks."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    scores = labels + random.normal(size=60)
    people = [f"P{number}" for number in range(60)]
    once = by_level(judge(sample_of(scores, labels, people)))["video"].figures["auroc"].interval
    copies = sample_of(np.tile(scores, 10), np.tile(labels, 10), people * 10)
    whole = by_level(judge(copies))["video"].figures["auroc"].interval
    alone = by_level(judge(sample_of(copies.scores, copies.labels)))["video"].figures["auroc"].interval
    assert (once.low, once.high) == pytest.approx((whole.low, whole.high))
    assert once.low is not None
    assert alone.low is not None
    assert alone.high is not None
    assert once.high is not None
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_one_class_of_studies_has_no_ranking() -> None:
    exams = [f"S{number}" for number in range(20) for _ in "12"]
    told = sample_of([1, 2] * 10 + [3, 4] * 10, [1, 0] * 20, exams, exams)
    study = by_level(judge(told, threshold=Threshold(2.5, "given")))["study"]
    assert (study.positives, study.disagreeing) == (20, 20)
    assert study.figures["auroc"].value is None
    assert study.figures["specificity"].value is None
    assert study.figures["sensitivity"].value == 0.5  # means 1.5 and 3.5


def test_a_calibration_is_judged_on_the_way() -> None:
    mine = made(calibrate(sample_of([1, 2, 3, 4], [0, 1, 0, 1]), MAX_F1) | {"slope": 2.0, "offset": -1.0})
    told = sample_of([0.5, 0.5, 2.0, -9.0] * 10, [1, 0, 1, 0] * 10, first_id=5)
    judged = judge(told, calibration=mine)
    high, low = 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(19))
    assert judged.brier_score == pytest.approx((0.25 + 0.25 + (1 - high) ** 2 + low**2) / 4)
    assert judged.calibration_error == pytest.approx((0 + (1 - high) + low) / 4)
    assert [(each.count, each.positive_share) for each in judged.reliability] == [(10, 0), (20, 0.5), (10, 1)]
    assert judged.warnings == (
        "p by calibration mine is for a prevalence of 0.5 (the labels' own); its yes (max-f1) is best where the "
        "finding is as common as among its labels (2 of 4 videos)",
        "20 of these 40 videos are positive",
    )
    assert judge(told).reliability == ()
    assert judge(told).calibration_error is None


def test_a_threshold_is_not_judged_by_videos_that_taught_it() -> None:
    mine = made(calibrate(sample_of([1, 2, 3, 4], [0, 1, 0, 1]), MAX_F1))
    told = sample_of([0.5, 0.5, 2.0, -9.0] * 10, [1, 0, 1, 0] * 10, first_id=3)
    judged = judge(told, calibration=mine, threshold=Threshold(mine.threshold, "calibration mine", learnt=True))
    taught = "2 of these videos were used to make calibration mine"
    assert judged.warnings == (
        f"{taught}, so neither its threshold nor its probabilities are judged by them: use other videos; how it did on "
        "patients left out: echosearch calibrations show mine",
    )
    assert (judged.calibration_error, judged.brier_score, judged.reliability) == (None, None, ())
    for level in judged.levels:
        assert level.counts is None
        assert level.figures["auroc"].value is not None  # the ranking was not learnt
        for name in ("f1", "sensitivity", "specificity", "precision", "accuracy"):
            assert (level.figures[name].value, level.figures[name].reason) == (None, taught)
    # A threshold from elsewhere is judged, and so is the calibration's on others.
    assert judge(told, calibration=mine, threshold=Threshold(1, "given")).levels[0].figures["f1"].value is not None
    others = sample_of(told.scores, told.labels, first_id=100)
    learnt = Threshold(mine.threshold, "calibration mine", learnt=True)
    assert judge(others, calibration=mine, threshold=learnt).levels[0].figures["f1"].value is not None


def test_of_few_patients_there_are_counts_and_no_figures() -> None:
    mine = made(calibrate(sample_of([1, 2, 3, 4], [0, 1, 0, 1], first_id=90), MAX_F1))
    judged = judge(TINY, threshold=Threshold(0.5, "given"), calibration=mine)
    for level in judged.levels:
        assert {figure.value for figure in level.figures.values()} == {None}
        assert all("10 patients" in figure.reason for figure in level.figures.values())
    video = judged.levels[0].figures
    assert video["precision"].counted == "2 of 4, 3 patients: no share below 10 patients"
    assert (judged.calibration_error, judged.brier_score, judged.reliability) == (None, None, ())
    few = "labels of 2 patients with the finding and 3 without: from 10 and 10 on probabilities are judged"
    assert few in judged.warnings
    errors = evaluate(sample_of([50, 60, 40], [55, 55, 20]), "mean", False, repeats=20).levels[0].figures
    assert {name: figure.value for name, figure in errors.items()} == dict.fromkeys(errors)


def test_ties_and_the_seed_leave_figures_as_they_are() -> None:
    first, again, other = judge(), judge(), judge(seed=1)
    assert [figures(level) for level in first.levels] == [figures(level) for level in other.levels]
    assert [level.answer() for level in first.levels] == [level.answer() for level in again.levels]


def test_figures_are_plain_json() -> None:
    told = json.loads(
        json.dumps([level.answer().to_dict() for level in judge(threshold=Threshold(0.5, "given")).levels])
    )
    assert told[0]["level"] == "video"
    assert told[0]["figures"]["f1"]["value"] == pytest.approx(4 / 6)
    assert told[0]["figures"]["f1"]["interval"]["repeats"] == 0
    assert told[0]["figures"]["auprc"]["interval"]["repeats"] == 50
    assert [told[0]["figures"]["specificity"][name] for name in ("count", "of", "patients")] == [30, 50, 30]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 3], r"^a finding is judged by labels 0 and 1, not 3; say which values mean yes: --positive$"),
        ([1, 1, 1], r"^all 3 videos that can be used have the label 1; both are needed$"),
    ],
)
def test_labels_that_judge_no_finding(labels: list[int], sentence: str) -> None:
    with pytest.raises(BadLabels, match=sentence):
        judge(sample_of([1, 2, 3], labels))


def test_a_threshold_is_a_finite_number() -> None:
    with pytest.raises(BadOption, match=r"^a threshold is a finite number, not nan$"):
        Threshold(math.nan, "given")
