"""Thresholds and probabilities: by hand, by scipy, on patients left out; what is refused; how well they carry over."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from label_helpers import sample_of
from scipy.optimize import minimize
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from echosearch.errors import BadLabels, BadOption, BadQuery, CalibrationMismatch
from echosearch.index.catalog import SweepKey
from echosearch.learning.calibration import Calibration, LeftOut, calibrate, fit_platt, overlap, platt
from echosearch.learning.labels import Labelled
from echosearch.learning.sample import Sample, sample, stratified_folds
from echosearch.learning.statistics import expected_calibration_error
from echosearch.learning.thresholds import ThresholdRule, choose_threshold, steady_threshold
from echosearch.tasks.task import Task, TaskClass
from echosearch.types import VideoRecord
from echosearch.types.people import clusters

MAX_F1 = ThresholdRule("max-f1")
PACER = Task("pacer", "binary", prompts=("a pacemaker",), views=("A4C",))
GRADES = tuple(TaskClass(name, (name,)) for name in ("none", "mild", "severe"))
WEIGHED = Task("size", "contrastive", classes=GRADES)
GRADED = Task("size", "categorical", classes=GRADES)
KEY = SweepKey("pacer", PACER.id, "exact", 1, "the recipe", "fp32", ("value",), "{}")


def noisy(seed: int = 0, patients: int = 60, share: float = 0.4) -> Sample:
    """One to four videos of each patient, who has the finding or not; scores around 0.2 and 0.3."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    labels = (random.random(patients) < share)[codes]
    scores = 0.2 + 0.1 * labels + 0.04 * random.normal(size=patients)[codes] + 0.04 * random.normal(size=len(codes))
    return sample_of(scores, labels, codes)


def made(fitted: dict[str, Any] | None = None) -> Calibration:
    return Calibration(
        name="mine",
        task="pacer",
        content_id=PACER.id,
        form="exact",
        formula_version=1,
        recipe="the recipe",
        precision="fp32",
        classes=(),
        scale="score",
        labels="labels.csv",
        labels_sha256="0" * 64,
        label_column="label",
        split=None,
        model="toy",
        created_at="2026-01-01T00:00:00",
        **(fitted or calibrate(noisy(), MAX_F1)),
    )


# The one score that is judged.


def test_a_score_of_classes_is_the_log_odds_of_those_that_count() -> None:
    columns = {"none": np.array([0.5, 0.25]), "mild": np.array([0.3, 0.25]), "severe": np.array([0.2, 0.5])}
    found = WEIGHED.rule.decision(columns, ["severe", "mild"])
    assert found == pytest.approx([math.log(0.5 / 0.5), math.log(0.75 / 0.25)])
    assert WEIGHED.rule.decision(columns, ["severe"]) == pytest.approx([math.log(0.2 / 0.8), 0])


def test_of_two_weighed_classes_the_first_counts() -> None:
    two = Task("two", "contrastive", classes=GRADES[1:])
    columns = {"mild": np.array([0.9, 1.0, 0.0]), "severe": np.array([0.1, 0.0, 1.0])}
    found = two.rule.decision(columns)
    assert found[0] == pytest.approx(math.log(9))
    assert np.isfinite(found).all()  # a weight of 0 after rounding as well
    assert found[1] == -found[2] > 600
    assert two.rule.decision(columns, ["severe"]) == pytest.approx(-found)


def test_a_score_of_grades_is_the_highest_and_any_grade_may_count() -> None:
    columns = {"none": np.array([0.9, 0.1]), "mild": np.array([0.3, 0.2]), "severe": np.array([0.1, 0.4])}
    assert GRADED.rule.decision(columns, ["mild", "severe"]).tolist() == [0.3, 0.4]
    assert GRADED.rule.decision(columns, ["none", "mild", "severe"]).tolist() == [0.9, 0.4]
    one = Task("one", "categorical", classes=GRADES[2:])
    assert one.rule.chosen([]) == ("severe",)
    assert PACER.rule.decision({"value": np.array([3.0])}).tolist() == [3]


@pytest.mark.parametrize(
    ("task", "classes", "sentence"),
    [
        (PACER, ["a"], r"^pacer has no classes, so none can be positive$"),
        (WEIGHED, [], r"^say which classes of size are positive, some of none, mild, severe: --class CLASS$"),
        (WEIGHED, ["none", "mild", "severe"], r"^say which classes of size are positive"),
        (GRADED, [], r"^say which classes of size are positive"),
        (replace(GRADED, normal="none"), ["none", "mild", "severe"], r"^say which classes of size are positive"),
        (GRADED, ["huge"], r"^size has the classes none, mild, severe, not 'huge'$"),
    ],
)
def test_classes_that_do_not_fit(task: Task, classes: list[str], sentence: str) -> None:
    with pytest.raises(BadOption, match=sentence):
        task.rule.chosen(classes)


# Which videos are used.


def record(video_id: int, view: str | None) -> VideoRecord:
    return VideoRecord(
        video_id, f"/{video_id}", None, None, view, None, "video", 9, 9, 20, 20, 30.0, 9, f"{video_id:064d}", "2026"
    )


def labelled(labels: dict[int, int], patients: tuple[str | None, ...], studies: tuple[str | None, ...]) -> Labelled:
    ids = np.array(list(labels), np.int64)
    values = np.array(list(labels.values()), np.float64)
    return Labelled(ids, values, studies, patients, ("said before",))


def test_videos_of_other_views_are_left_out_and_patients_that_are_not_known_are_said() -> None:
    told = labelled({2: 1, 3: 0, 5: 1, 7: 0, 8: 1}, ("P", "P", None, None, None), ("S", "S", None, "S", "T"))
    views = {2: "a4c", 3: "PLAX", 5: None, 7: "A4C", 8: "A4C", 9: "A4C"}
    of = dict(zip(told.video_ids.tolist(), zip(told.patients, told.studies, strict=True), strict=True)) | {
        9: ("Z", "Z")
    }
    records = {
        video_id: replace(record(video_id, view), patient=of[video_id][0], study=of[video_id][1])
        for video_id, view in views.items()
    }
    found = sample(PACER, np.array([2, 3, 5, 7, 8, 9]), np.array([0.2, 0.3, 0.5, 0.7, 0.8, 0.9]), told, records)
    assert found.ids.tolist() == [2, 5, 7, 8]
    assert found.scores.tolist() == [0.2, 0.5, 0.7, 0.8]
    assert found.labels.tolist() == [1, 1, 0, 1]
    assert found.clusters.tolist() == [0, 1, 0, 2]  # 7 has the study of 2, whose patient is known
    assert found.contents == tuple(f"{number:064d}" for number in (2, 5, 7, 8))
    assert found.warnings == (
        "said before",
        "1 labelled videos have a view that does not show pacer and are left out",
        "of 1 labelled videos it is not known whether their view shows pacer; they count",
        "of 2 videos the patient is not known: 1 are taken as one patient a study, 1 as one each (copies as one), "
        "so intervals may be too narrow",
    )
    later = sample(PACER, np.array([2]), np.array([0.2]), told, records)
    assert "3 labelled videos were added since the sweep and are left out" in later.warnings


def test_nothing_is_left_of_labels_in_other_views() -> None:
    told = labelled({1: 1, 2: 0}, (None, None), (None, None))
    records = {1: record(1, "PLAX"), 2: record(2, "PSAX")}
    with pytest.raises(BadLabels, match=r"^no labelled video can be used for pacer: 2 have a view that does not show"):
        sample(PACER, np.array([1, 2]), np.zeros(2), told, records)


# The map to probabilities.


def test_a_map_by_hand() -> None:
    # Three of three at 1 count as 4/5, eight of eight at 0 as 1/10; a line through two points meets both.
    slope, offset = fit_platt(np.array([1.0] * 3 + [0.0] * 8), np.array([True] * 3 + [False] * 8))
    assert (slope, offset) == pytest.approx((math.log(36), -math.log(9)), rel=1e-4)
    assert platt(np.array([1.0, 0.0]), slope, offset) == pytest.approx([0.8, 0.1], rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_map_is_what_scipy_finds(seed: int) -> None:
    told = noisy(seed)
    labels = told.labels == 1
    positives, negatives = labels.sum(), (~labels).sum()
    softened = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: Any) -> Any:
        linear = parameters[0] * 100 * (told.scores - 0.25) + parameters[1]
        return np.sum(np.logaddexp(0, linear) - softened * linear)

    best = minimize(loss, [0, 0], tol=1e-12).x
    slope, offset = fit_platt(told.scores, labels)
    assert slope == pytest.approx(best[0] * 100, rel=1e-4)
    assert offset == pytest.approx(best[1] - best[0] * 25, rel=1e-4)


def test_probabilities_of_far_scores_are_0_and_1() -> None:
    assert platt(np.array([-1e9, 0.0, 1e9]), 1.0, 0.0) == pytest.approx([0, 0.5, 1], abs=1e-12)


# Folds.


@pytest.mark.parametrize("seed", range(0, 300, 10))
def test_patients_are_never_in_both_parts_and_both_classes_are_learnt_from(seed: int) -> None:
    for number in range(seed, seed + 10):
        random = np.random.default_rng(number)
        codes = random.integers(random.integers(2, 9), size=random.integers(4, 30))
        labels = random.random(len(codes)) < random.uniform(0.1, 0.9)
        fewest = min(len(np.unique(codes[labels])), len(np.unique(codes[~labels])))
        if fewest < 2:
            continue
        try:
            folds = stratified_folds(labels, codes)
        except BadLabels:
            assert fewest == 2  # one of the two is entangled with the other class
            continue
        assert 2 <= len(folds) <= min(5, fewest)
        assert sorted(np.concatenate([part for _, part in folds])) == list(range(len(codes)))
        for rest, part in folds:
            assert not set(codes[rest]) & set(codes[part])
            assert sorted([*rest, *part]) == list(range(len(codes)))
            assert set(labels[rest]) == {True, False}


@pytest.mark.parametrize("rule", ["max-f1", "youden", "sensitivity:0.9", "precision:0.7"])
def test_patients_left_out_are_judged_by_thresholds_that_did_not_see_them(rule: str) -> None:
    told, chosen = noisy(), ThresholdRule.parse(rule)
    found = calibrate(told, chosen)
    labels = told.labels == 1
    predicted, probabilities, thresholds = np.zeros(len(labels), bool), np.zeros(len(labels)), []
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for rest, part in splitter.split(labels, labels, told.clusters):
        thresholds.append(steady_threshold(told.scores[rest], labels[rest], told.clusters[rest], chosen))
        predicted[part] = told.scores[part] >= thresholds[-1]
        slope, offset = fit_platt(told.scores[rest], labels[rest])
        probabilities[part] = 1 / (1 + np.exp(-(slope * told.scores[part] + offset)))
    assert found["left_out"] == LeftOut(tuple(told.clusters), tuple(map(int, labels)), tuple(map(int, predicted)))
    assert found["fold_thresholds"] == tuple(thresholds)
    assert found["sensitivity"] == predicted[labels].mean()
    assert found["specificity"] == (~predicted[~labels]).mean()
    assert found["f1"] == pytest.approx(2 * (predicted & labels).sum() / (predicted.sum() + labels.sum()))
    assert found["calibration_error"] == pytest.approx(expected_calibration_error(probabilities, labels))
    # What is used afterwards is learnt from all.
    assert found["threshold"] == steady_threshold(told.scores, labels, told.clusters, chosen)
    assert (found["slope"], found["offset"]) == fit_platt(told.scores, labels)
    assert (found["rule"], found["folds"], found["patients"]) == (rule, 5, 60)
    assert (found["videos"], found["positives"]) == (len(labels), labels.sum())


def test_the_same_labels_give_the_same_calibration() -> None:
    assert calibrate(noisy(), MAX_F1) == calibrate(noisy(), MAX_F1)


@pytest.mark.parametrize(
    ("told", "rule", "error", "sentence"),
    [
        (sample_of([1, 2, 3], [0, 1, 2]), MAX_F1, BadLabels, r"^a calibration needs labels 0 and 1, not 2; say which"),
        (
            sample_of([1, 2, 3], [0, 0, 0]),
            MAX_F1,
            BadLabels,
            r"^a calibration needs videos of 2 patients or more with the label 1, and 0 are there$",
        ),
        (
            sample_of([1, 2, 3, 4], [0, 0, 1, 1], ["A", "A", "B", "C"]),
            MAX_F1,
            BadLabels,
            r"^a calibration needs videos of 2 patients or more with the label 0, and 1 are there$",
        ),
        (
            sample_of([4, 3, 2, 1], [0, 0, 1, 1]),
            MAX_F1,
            BadLabels,
            r"^the score is no higher for videos with the label 1 than for those with 0, so no threshold tells",
        ),
        (sample_of([1, 1, 1, 1], [0, 0, 1, 1]), MAX_F1, BadLabels, r"^the score is no higher"),
        (
            sample_of([1, 2, 3, 4, 5], [0, 1, 0, 1, 0]),
            ThresholdRule("precision", 0.9),
            BadOption,
            r"^no threshold has a precision of 0\.9; the best, 0\.5,",
        ),
        (
            sample_of([9, 8, 7, 6, 5, 4, 3, 2], [1, 0, 0, 0, 1, 0, 1, 0]),  # the first alone is precise
            ThresholdRule("precision", 1.0),
            BadOption,
            r"^without one fold of the patients no threshold has a precision of 1; .* wish for less, or give more",
        ),
    ],
)
def test_labels_that_allow_no_calibration(
    told: Sample, rule: ThresholdRule, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        calibrate(told, rule)


# A calibration as a thing that is kept.


def test_a_score_at_the_threshold_is_positive() -> None:
    mine = made(calibrate(noisy(), MAX_F1) | {"threshold": 0.25, "slope": 2.0, "offset": -0.5})
    assert mine.is_positive(np.array([0.2499, 0.25, 0.3])).tolist() == [False, True, True]
    assert mine.probability(np.array([0.25])).tolist() == [0.5]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            {"recipe": "another"},
            r"^calibration mine was made for another recipe \(or its videos .*\) \(the recipe; here: another\), so its",
        ),
        ({"form": "approximate"}, r"another form \(exact; here: approximate\)"),
        ({"precision": "bf16"}, r"another precision of the text \(fp32; here: bf16\)"),
        ({"formula_version": 2}, r"another formula \(1; here: 2\)"),
        ({"content_id": "0" * 64}, r"another wording of the task \(.{12}\.\.\.; here: 0{12}\.\.\.\).* calibrate pacer"),
    ],
)
def test_a_calibration_is_refused_for_other_scores(other: dict[str, Any], sentence: str) -> None:
    mine = made()
    mine.check(KEY)
    with pytest.raises(CalibrationMismatch, match=sentence):
        mine.check(replace(KEY, **other))


def test_a_calibration_is_read_as_it_was_written() -> None:
    mine = made()
    assert Calibration.from_json(mine.to_json()) == mine
    assert json.loads(mine.to_json())["calibration_format"] == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"calibration_format": 2},
        {"threshold": "high"},
        {"threshold": None},
        {"slope": float("nan")},
        {"fold_thresholds": []},
        {"fold_thresholds": [float("inf")]},
        {"videos": 1.5},
        {"name": 7},
        {"classes": "mild"},
        {"contents": [1]},
        {"left_out": {"clusters": [1, 2], "labels": [0, 1], "predicted": [0]}},
        {"left_out": {"clusters": [1, 2], "labels": [1, 1], "predicted": [0, 1]}},
        {"left_out": {"clusters": ["a", "b"], "labels": [0, 1], "predicted": [0, 1]}},
        {"left_out": {"clusters": [1, 2], "labels": [0, 1]}},
        {"left_out": 3},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_damaged_calibration_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=r"^my\.json (is no calibration that echosearch has written: |has a threshold)"):
        Calibration.from_json(json.dumps(made().to_dict() | damage), "my.json")


@pytest.mark.parametrize("text", ["", "no json", "[]", "3", "{}", '{"calibration_format": 1}'])
def test_what_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"^the calibration is no calibration that echosearch has written: "):
        Calibration.from_json(text)


def test_videos_that_are_used_again_are_counted() -> None:
    mine = made(calibrate(sample_of([1, 2, 3, 4], [0, 0, 1, 1]), MAX_F1))  # videos 1 to 4
    again = sample_of([0, 0, 0], [0, 0, 0], first_id=3)  # 3, 4, 5
    assert overlap(mine.contents, again) == (2, 0)
    twice = replace(again, contents=(*again.contents, again.contents[0]))  # two files with the same bytes
    assert overlap(mine.contents, twice) == (3, 0)
    assert overlap(mine.contents, replace(again, contents=())) == (0, 0)
    of_people = tuple(frozenset({content, again.contents[0]}) for content in again.contents)  # all of 3's patient
    assert overlap(mine.contents, replace(again, relatives=of_people)) == (2, 1)


# How many have it.

KNOWN = LeftOut(tuple(range(100)), (1,) * 20 + (0,) * 80, (1,) * 16 + (0,) * 4 + (0,) * 72 + (1,) * 8)
"""Sensitivity 0.8, specificity 0.9."""


def test_a_prevalence_by_hand() -> None:
    mine = made(calibrate(noisy(), MAX_F1) | {"left_out": KNOWN, "fold_thresholds": (0.5, 0.7), "threshold": 0.1})
    scores = np.array([0.9] * 30 + [0.6] * 10 + [0.2] * 60)
    found = mine.prevalence_among(scores, np.arange(100))
    # 40 of 100 are called by one fold's threshold, 30 by the other's: (0.35 + 0.9 - 1) / (0.8 + 0.9 - 1).
    assert found.value == pytest.approx(0.25 / 0.7)
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert 0 <= found.interval.low < 0.25 / 0.7 < found.interval.high < 0.8


def test_thresholds_of_folds_do_not_multiply_patients() -> None:
    fitted = calibrate(noisy(), MAX_F1) | {"left_out": KNOWN}
    scores, people = np.random.default_rng(0).random(60), np.arange(60) // 2
    one = made(fitted | {"fold_thresholds": (0.5,)}).prevalence_among(scores, people)
    five = made(fitted | {"fold_thresholds": (0.5,) * 5}).prevalence_among(scores, people)
    assert five == one


def test_no_prevalence_from_a_threshold_that_knows_nothing() -> None:
    blind = LeftOut(tuple(range(160)), (1,) * 80 + (0,) * 80, (1, 0) * 80)
    mine = made(calibrate(noisy(), MAX_F1) | {"left_out": blind})
    with pytest.raises(BadQuery, match=r"does no better than chance, so no prevalence follows from it"):
        mine.prevalence_among(np.zeros(5), np.arange(5))


# How it carries over: 400 labelled videos of 200 patients, judged on 2,000 others.

AXIS = np.eye(64)[0]
PROMPT = 0.8 * AXIS + 0.6 * np.eye(64)[1]


def archive(random: np.random.Generator, patients: int, share: float) -> tuple[Any, Any, Any]:
    """Patients (n,), labels (n,) and scores (n,) of made-up unit vectors; videos of a patient resemble each other."""
    codes = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    labels = (random.random(patients) < share)[codes]
    noise = random.normal(size=(len(codes), 64)) + 0.6 * random.normal(size=(patients, 64))[codes]
    vectors = noise / 8 + 0.5 * labels[:, None] * AXIS
    return codes, labels, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ PROMPT


@pytest.mark.slow
def test_400_labels_carry_over_to_2000_other_videos() -> None:
    """Probabilities, threshold and prevalence, in ten archives; in a second one of each a tenth has the finding."""
    holds, near = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        patients, labels, scores = (rows[:400] for rows in archive(random, 240, 0.3))
        mine = made(calibrate(sample_of(scores, labels, patients), MAX_F1))
        others, truth, theirs = (rows[:2400] for rows in archive(random, 1000, 0.3))
        assert len(truth) == 2400
        assert 0.9 < roc_auc_score(truth, theirs) < 0.99  # neither hopeless nor trivial
        assert expected_calibration_error(mine.probability(theirs), truth, 10) <= 0.05
        best = f1_score(truth, theirs >= choose_threshold(theirs, truth, MAX_F1))
        near.append(f1_score(truth, mine.is_positive(theirs)) >= best - 0.03)
        rarer, rare_truth, rare = archive(random, 1000, 0.1)
        for codes, known, values in ((others, truth, theirs), (rarer, rare_truth, rare)):
            told = mine.prevalence_among(values, codes).interval
            assert told.low is not None
            assert told.high is not None
            assert told.high - told.low < 0.3
            holds.append(told.low <= known.mean() <= told.high)
    assert sum(holds) >= 18, holds
    assert sum(near) >= 9, near  # a threshold of so few labels is a draw as well: of 60 archives it was 58


def test_an_archive_without_patients_is_calibrated_by_video() -> None:
    told = noisy()
    alone = sample_of(told.scores, told.labels, [None] * len(told.labels))
    assert calibrate(alone, MAX_F1)["patients"] == len(told.labels)
    assert clusters(alone.patients, alone.studies, alone.ids.tolist()).by_video == len(told.labels)
