"""Probabilities and the prevalence that they are for; labels that a task cannot give."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_helpers import labels_of, sample_of
from test_calibration import MAX_F1, made, noisy
from test_zeroshot_api import EF, PACER, Archive, make_archive

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.calibration import Calibration, calibrate
from echosearch.learning.statistics import expected_calibration_error
from echosearch.learning.thresholds import ThresholdRule
from echosearch.tasks.task import ValueRange

KEPT = Path(__file__).parent / "kept_json" / "calibration.json"


def test_another_prevalence_moves_the_log_odds_and_nothing_else() -> None:
    # From half to one in twenty, odds fall from 1 to 1/19: a chance of 0.95 (odds 19) becomes one half.
    half = replace(made(), slope=1.0, offset=0.0, prevalence=0.5)
    rare = half.at(0.05)
    assert rare.probability(np.array([math.log(19), 0.0])) == pytest.approx([0.5, 0.05])
    assert (rare.prevalence, rare.prevalence_from) == (0.05, "stated")
    assert replace(rare, offset=0.0, prevalence=0.5, prevalence_from="labels") == half
    assert rare.at(0.5).offset == pytest.approx(0)  # and back: moves do not add up
    for wrong in (0, 1, -0.1, 5, math.nan):
        with pytest.raises(BadOption, match=r"^a prevalence lies between 0 and 1, such as 0\.05, not "):
            half.at(wrong)


def test_labels_own_prevalence_is_the_default_and_moves_nothing() -> None:
    told = noisy()
    mine = made(calibrate(told, MAX_F1))
    assert mine.prevalence == told.labels.mean()
    assert mine.at(float(told.labels.mean())).offset == pytest.approx(mine.offset)


def archive(random: np.random.Generator, count: int, share: float) -> tuple[Any, Any, Any]:
    """Patients, labels and scores of `count` patients with 1 to 4 videos each, which resemble each other."""
    codes = np.repeat(np.arange(count), random.integers(1, 5, count))
    labels = (np.arange(count) < share * count)[codes]
    scores = 2 * labels + 0.7 * random.normal(size=count)[codes] + 0.7 * random.normal(size=len(codes))
    return codes, labels, scores


@pytest.mark.parametrize("seed", range(3))
def test_stated_where_it_is_rarer_probabilities_are_right(seed: int) -> None:
    """Learnt where half are positive and used where 5 % are, they were right for half of what they said."""
    random = np.random.default_rng(seed)
    codes, labels, scores = archive(random, 600, 0.5)
    mine = made(calibrate(sample_of(scores, labels, codes), ThresholdRule("youden")))
    _, truth, theirs = archive(random, 6000, 0.05)
    naive, stated = mine.probability(theirs), mine.at(0.05).probability(theirs)
    assert truth[naive >= 0.8].mean() < 0.5
    assert expected_calibration_error(naive, truth) > 0.1
    assert expected_calibration_error(stated, truth) <= 0.03
    assert truth[stated >= 0.8].mean() > 0.75
    assert stated.mean() == pytest.approx(0.05, abs=0.015)
    # The other way round: labels where few are positive, an archive where half are.
    codes, labels, scores = archive(random, 2000, 0.1)
    rare = made(calibrate(sample_of(scores, labels, codes), ThresholdRule("youden")))
    _, truth, theirs = archive(random, 3000, 0.5)
    assert expected_calibration_error(rare.probability(theirs), truth) > 0.1
    assert expected_calibration_error(rare.at(0.5).probability(theirs), truth) <= 0.03


def test_what_p_and_yes_hang_on_is_said() -> None:
    fitted = calibrate(noisy(), MAX_F1)
    videos, positives = fitted["videos"], fitted["positives"]
    labels = f"as common as among its labels ({positives} of {videos} videos)"
    best = f"; its yes (max-f1) is best where the finding is {labels}"
    mine = made(fitted)
    share = f"{positives / videos:.3g}"
    assert mine.assumption == f"p by calibration mine is for a prevalence of {share} (the labels' own){best}"
    stated = replace(mine.at(0.05), name="rare", rule="youden")
    assert stated.assumption == "p by calibration rare is for a prevalence of 0.05 (stated)"
    estimated = replace(mine.at(0.0512, "estimated"), rule="sensitivity:0.9")
    assert estimated.assumption == "p by calibration mine is for a prevalence of 0.0512 (estimated when it was made)"
    assert "its yes (precision:0.8) is best where" in replace(mine, rule="precision:0.8").assumption
    old = replace(mine, prevalence=None)
    assert old.assumption == f"p by calibration mine is not adjusted: it is right where the finding is {labels}{best}"


def test_a_calibration_of_an_older_version_opens_and_says_that_it_is_not_adjusted() -> None:
    old = Calibration.from_json(KEPT.read_text("utf-8"))
    assert old.prevalence is None
    assert old.assumption == (
        "p by calibration lv_dilation-severe-moderate is not adjusted: it is right where the finding is as common as "
        "among its labels (31 of 87 videos)"
    )
    assert old.shown().assumption == old.assumption
    # 18 patients: counts stand for the figures, in JSON as well, and what is exported is what was kept.
    assert old.shown().sensitivity is old.shown().calibration_error is None
    assert old.shown().figures["sensitivity"].of == 31
    assert old.to_dict()["sensitivity"] == pytest.approx(21 / 31)
    moved = old.at(0.05)
    assert moved.offset == pytest.approx(old.offset + math.log(0.05 / 0.95) - math.log(31 / 56))


def test_damaged_prevalences_are_refused() -> None:
    for damage in ({"prevalence": 1.0}, {"prevalence": 0.0}, {"prevalence_from": "guessed"}, {"prevalence": "x"}):
        with pytest.raises(BadOption, match=r"is no calibration that echosearch has written"):
            Calibration.from_json(json.dumps(made().to_dict() | damage))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("large") / "index", count=300)


def test_another_prevalence_is_another_calibration(large: Archive) -> None:
    zeroshot, labels = large.zeroshot, large.labels()
    own, _ = zeroshot.calibrate(PACER, labels, MAX_F1)
    stated, _ = zeroshot.calibrate(PACER, labels, MAX_F1, prevalence=0.05)
    assert (own.name, stated.name, stated.prevalence) == ("pacer", "pacer-at-0.05", 0.05)
    assert stated.offset == pytest.approx(own.at(0.05).offset)
    assert stated.threshold == own.threshold
    estimated, warnings = zeroshot.calibrate(PACER, labels, MAX_F1, prevalence="estimate")
    assert (estimated.name, estimated.prevalence_from) == ("pacer-at-estimate", "estimated")
    assert estimated.prevalence == pytest.approx(1 / 3, abs=0.06)  # as many as have it
    assert not any("few" in warning for warning in warnings)  # 50 patients with it and 100 without
    for name in ("pacer", "pacer-at-0.05"):
        [swept] = zeroshot.sweep(PACER, calibration=name)
        assert swept.called is not None
        assert swept.called.calibration.name == name
        told = swept.summary().called
        assert told.assumption.startswith(swept.called.calibration.assumption)
        assert told.prevalence.value == pytest.approx(1 / 3, abs=0.06)  # which p is not asked for
        assert told.sensitivity.of == 100
    with pytest.raises(BadOption, match=r"^there is a calibration pacer-at-0\.05 of pacer already"):
        zeroshot.calibrate(PACER, labels, MAX_F1, prevalence=0.05)
    with pytest.raises(BadOption, match=r"^a prevalence lies between 0 and 1, such as 0\.05, not 1$"):
        zeroshot.calibrate(PACER, labels, MAX_F1, prevalence=1)


def test_of_videos_that_were_chosen_by_scores_there_is_no_prevalence(large: Archive) -> None:
    large.zeroshot.calibrate(PACER, large.labels(), MAX_F1, name="chosen")
    [swept] = large.zeroshot.sweep(PACER, calibration="chosen")
    assert swept.called is not None
    assert swept.called.prevalence is not None
    assert swept.called.prevalence.value is not None
    told = swept.chosen_by_scores().summary().called.prevalence
    assert (told.value, told.interval.low) == (None, None)
    assert told.reason == "no prevalence of videos that were chosen by scores"


def test_a_prevalence_is_not_estimated_from_few_labels(large: Archive) -> None:
    before = large.kept("calibration")
    with pytest.raises(BadLabels, match=r"^the prevalence cannot be estimated: labels of 14 patients with .* state it"):
        large.zeroshot.calibrate(PACER, large.labels(slice(80)), MAX_F1, name="few", prevalence="estimate")
    assert large.kept("calibration") == before
    _, warnings = large.zeroshot.calibrate(PACER, large.labels(slice(1, 8)), MAX_F1, name="tiny")
    few = "labels of 2 patients with the finding and 2 without: from 20 and 80 on a prevalence is given"
    assert f"{few}; threshold and p of so few may be far off" in warnings
    [swept] = large.zeroshot.sweep(PACER, calibration="tiny")
    assert swept.called is not None
    assert swept.called.prevalence is not None
    assert (swept.called.prevalence.value, swept.called.prevalence.reason) == (None, few)


# Labels that a task cannot give.

PERCENT = replace(EF, range=ValueRange(0, 100, unit="%"))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            [0.55, 0.6, 0.3, 1],
            r"^all 4 labels of labels\.csv lie between 0 and 1, and ef gives 0 to 100 %; give them so$",
        ),
        (
            [55, 5000, 60, -900],
            r"^2 of 4 labels of labels\.csv lie outside: .* \(line 3: 5000, line 5: -900\); that is too far",
        ),
        ([55, 200.5, 60, 40], r"^1 of 4 labels .* \(line 3: 200\.5\); .* correct them, or leave their cells empty$"),
    ],
)
def test_labels_far_from_a_tasks_range_are_refused_by_line(large: Archive, labels: list[float], sentence: str) -> None:
    file = labels_of(large.folder, {f"v{number}.avi": label for number, label in enumerate(labels)})
    with pytest.raises(BadLabels, match=sentence):
        large.zeroshot.evaluate(PERCENT, file, repeats=20)


def test_labels_somewhat_outside_are_judged_and_told(large: Archive) -> None:
    labels = {f"v{number}.avi": label for number, label in enumerate([20, 110, 200, 0, 100, 55])}
    judged = large.zeroshot.evaluate(PERCENT, labels_of(large.folder, labels), repeats=20)
    assert judged.warnings[0] == (
        "2 of 6 labels of labels.csv lie outside: ef gives 0 to 100 % (line 3: 110, line 4: 200)"
    )
    inside = {name: min(label, 100) for name, label in labels.items()}
    judged = large.zeroshot.evaluate(PERCENT, labels_of(large.folder, inside), repeats=20)
    assert not any("lie outside" in warning for warning in judged.warnings)
