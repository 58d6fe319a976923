"""Pictures show the numbers: what is drawn is read back from the figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_curve

from echosearch.errors import BackendError
from echosearch.learning.calibration import Calibration, calibrate
from echosearch.learning.evaluation import Evaluation, Threshold, evaluate
from echosearch.learning.sample import Sample
from echosearch.learning.thresholds import ThresholdRule
from echosearch.outputs import Output
from echosearch.pictures.plots import draw_evaluation, save
from echosearch.types.people import clusters

Doubles = npt.NDArray[np.float64]


def _sample(scores: Doubles, labels: Doubles, per_study: int = 2, per_patient: int = 4) -> Sample:
    count = len(scores)
    studies = tuple(f"S{row // per_study:03}" for row in range(count))
    patients = tuple(f"P{row // per_patient:03}" for row in range(count))
    ids = np.arange(1, count + 1)
    together = clusters(patients, studies, ids.tolist()).codes
    return Sample(ids, scores, labels, studies, patients, tuple(f"{row:064x}" for row in ids), together, ())


def _finding(count: int = 240) -> Sample:
    random = np.random.default_rng(5)
    labels = np.repeat(random.random(count // 2) < 0.4, 2).astype(np.float64)
    return _sample((0.3 * labels + random.normal(0, 0.25, count)).round(2), labels)


def _measurement(count: int = 96) -> Sample:
    random = np.random.default_rng(6)
    labels = np.repeat(random.uniform(20, 70, count // 2), 2)
    return _sample(0.7 * labels + 15 + random.normal(0, 5, count), labels)


def _calibration(sample: Sample) -> Calibration:
    fitted = calibrate(sample, ThresholdRule("youden"))
    names = (
        "name",
        "task",
        "content_id",
        "form",
        "recipe",
        "precision",
        "labels",
        "labels_sha256",
        "label_column",
        "scale",
    )
    return Calibration(
        **dict.fromkeys(names, "x"), formula_version=1, classes=(), split=None, model="m", created_at="", **fitted
    )


def _lines(axes: Any) -> dict[str, list[list[float]]]:
    """What each line with a name is: x and y."""
    return {
        line.get_label(): [np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()]
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def _legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def _about(evaluation: Evaluation, level: int, name: str, shown: str = ".3g") -> tuple[str, str, str]:
    figure = evaluation.levels[level].figures[name]
    assert figure.value is not None
    assert figure.interval.low is not None
    assert figure.interval.high is not None
    return tuple(f"{number:{shown}}" for number in (figure.value, figure.interval.low, figure.interval.high))  # type: ignore[return-value]


def test_roc_is_scikit_learns_at_every_level() -> None:
    evaluation = evaluate(_finding(), "mean", True, Threshold(0.15, "calibration pacer"), repeats=50)
    figure = draw_evaluation(evaluation, "pacer, model, labels.csv")
    [axes] = figure.axes
    legend, lines = _legend(axes), _lines(axes)
    assert len(legend) == 5
    for number, level in enumerate(evaluation.levels):
        value, low, high = _about(evaluation, number, "auroc")
        name = f"{level.level}: AUROC {value} ({low} to {high}); {level.positives} of {level.units} positive"
        assert legend[number] == name
        false_alarms, found, _ = roc_curve(level.labels, level.scores)
        assert lines[name] == [false_alarms.tolist(), found.tolist()]
    assert legend[3:] == ["at the frozen threshold 0.15 (calibration pacer)", "chance"]
    assert figure.get_suptitle() == (
        "pacer, model, labels.csv\n240 labelled videos of 60 patients; in brackets 95 % intervals over patients"
    )
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (
        "ROC, labelled videos only", "1 - specificity", "sensitivity",
    )  # fmt: skip


def test_the_threshold_lies_on_each_curve() -> None:
    evaluation = evaluate(_finding(), "mean", True, Threshold(0.15, "given"), repeats=10)
    [axes] = draw_evaluation(evaluation, "t").axes
    points = [
        (line.get_xdata()[0], line.get_ydata()[0])  # type: ignore[index]
        for line in axes.get_lines()
        if line.get_marker() == "o" and len(line.get_xdata())  # type: ignore[arg-type]
    ]
    expected = []
    for level in evaluation.levels:
        called, positive = level.scores >= 0.15, level.labels == 1
        expected.append((pytest.approx(called[~positive].mean()), pytest.approx(called[positive].mean())))
    assert points == expected


def test_roc_by_hand_without_a_threshold() -> None:
    # Highest first: positive, negative, positive and negative tied, negative. Videos that are each their own patient.
    sample = _sample(np.array([4.0, 3, 2, 2, 1]), np.array([1.0, 0, 1, 0, 0]), 1, 1)
    [axes] = draw_evaluation(evaluate(sample, "mean", True, repeats=10), "t").axes
    video = next(iter(_lines(axes).values()))
    np.testing.assert_allclose(video, [[0, 0, 1 / 3, 2 / 3, 1], [0, 0.5, 0.5, 1, 1]])
    assert [text.split(":")[0] for text in _legend(axes)] == ["video", "study", "patient", "chance"]


def test_a_level_with_one_class_has_no_curve_and_says_so() -> None:
    sample = _sample(np.arange(8.0), np.array([1.0, 0] * 4))
    [axes] = draw_evaluation(evaluate(sample, "mean", True, Threshold(3, "given"), repeats=10), "t").axes
    lines = _lines(axes)
    few = "0 patients: no AUROC below 10 patients a class"
    for unit, count in (("study", 4), ("patient", 2)):
        name = f"{unit}: AUROC not given ({count} of {count}, {few}); {count} of {count} positive"
        assert lines[name] == [[], []]


def test_reliability_is_drawn_where_there_is_a_calibration() -> None:
    sample = _finding()
    calibration = replace(_calibration(sample), contents=())  # as if of other videos
    evaluation = evaluate(sample, "mean", True, Threshold(calibration.threshold, "c"), calibration, repeats=10)
    figure = draw_evaluation(evaluation, "t")
    _, axes = figure.axes
    name = f"video: calibration error {evaluation.calibration_error:.3f}, Brier score {evaluation.brier_score:.3f}"
    assert _legend(axes) == [name, "a probability that is the share"]
    probabilities, shares = _lines(axes)[name]
    assert probabilities == [each.mean_probability for each in evaluation.reliability]
    assert shares == [each.positive_share for each in evaluation.reliability]
    assert [text.get_text() for text in axes.texts] == [str(each.count) for each in evaluation.reliability]
    assert axes.get_title() == "reliability, 240 labelled videos; numbers count them"


def test_a_measurement_is_drawn_by_video_and_study() -> None:
    evaluation = evaluate(_measurement(), "mean", False, repeats=50)
    figure = draw_evaluation(evaluation, "ef", "%")
    assert [axes.get_title() for axes in figure.axes] == [
        "96 labelled videos",
        "Bland-Altman, 96 labelled videos",
        "48 studies of these videos",
        "Bland-Altman, 48 studies of these videos",
    ]
    for number, level in enumerate(evaluation.levels[:2]):
        scatter, agreement = figure.axes[2 * number], figure.axes[2 * number + 1]
        points = np.asarray(scatter.collections[0].get_offsets())
        np.testing.assert_array_equal(points, np.stack([level.labels, level.scores], axis=1))
        ends = [min(points.min(axis=0)), max(points.max(axis=0))]
        assert _lines(scatter)["value = label"] == [ends, ends]
        mae, r = _about(evaluation, number, "mae"), _about(evaluation, number, "pearson_r")
        assert _legend(scatter)[0] == (
            f"mean absolute error {mae[0]} % ({mae[1]} to {mae[2]})\nPearson r {r[0]} ({r[1]} to {r[2]})"
        )
        assert (scatter.get_xlabel(), scatter.get_ylabel()) == ("label, %", "value, %")
        points = np.asarray(agreement.collections[0].get_offsets())
        np.testing.assert_allclose(points[:, 0], (level.scores + level.labels) / 2)
        np.testing.assert_allclose(points[:, 1], level.scores - level.labels)
        errors = level.scores - level.labels
        middle, spread = errors.mean(), 1.96 * errors.std(ddof=1)
        told = [
            f"{name} {value} % ({low} to {high})"
            for name, (value, low, high) in (
                ("upper limit", _about(evaluation, number, "upper_limit")),
                ("bias", _about(evaluation, number, "bias")),
                ("lower limit", _about(evaluation, number, "lower_limit")),
            )
        ]
        assert _legend(agreement) == told
        heights = [ys[0] for _, ys in _lines(agreement).values()]
        np.testing.assert_allclose(heights, [middle + spread, middle, middle - spread])
        assert (agreement.get_xlabel(), agreement.get_ylabel()) == ("mean of value and label, %", "value - label, %")


def test_one_video_without_a_study_can_be_drawn(tmp_path: Path) -> None:
    one = Sample(np.array([1]), np.array([50.0]), np.array([55.0]), (None,), (None,), ("",), np.array([0]), ())
    evaluation = evaluate(one, "mean", False, repeats=10)
    save(draw_evaluation(evaluation, "ef"), Output(tmp_path / "p.png", "the picture", ".png"))
    scatter, agreement = draw_evaluation(evaluation, "ef").axes
    few = "not given (1 patients: not given below 10 patients)"
    assert _legend(scatter)[0] == f"mean absolute error {few}\nPearson r {few}"
    assert agreement.get_legend() is None
    assert scatter.get_xlabel() == "label"


def test_a_picture_is_a_png_with_any_text_in_it(tmp_path: Path) -> None:
    evaluation = evaluate(_finding(), "mean", True, Threshold(0.15, "labels_$a$_{.csv"), repeats=10)
    save(draw_evaluation(evaluation, "$x_{$ " + "long " * 60, "$%"), Output(tmp_path / "p.png", "the picture", ".png"))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "p.png"]
    with pytest.raises(BackendError, match=r"cannot write the picture .*p\.png"):
        save(draw_evaluation(evaluation, "t"), Output(tmp_path / "none" / "p.png", "the picture", ".png"))


def test_nothing_opens_a_window() -> None:
    import subprocess
    import sys

    code = "import sys, echosearch.pictures.plots; print([m for m in sys.modules if m.startswith('matplotlib')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
