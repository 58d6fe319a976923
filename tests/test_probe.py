"""Linear probes are what scikit-learn's pipelines make of the same data; what is refused; what is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from store_helpers import random_units

from echosearch.errors import BadLabels, BadOption
from echosearch.learning import probe as probe_module
from echosearch.learning.probe import (
    Probe,
    Training,
    check_label,
    features,
    probe_kind,
    train,
)
from echosearch.tasks import Model

MODEL = Model("recipe", "fp32", None)
TRAINING = Training("l.csv", "0" * 64, "label", 90, 40, 30, 5, True, 0.1, "AUROC", 0.87654, 0.5, "TRAIN", ("ab", "cd"))


def data(kind: str, patients: int = 24, seed: int = 0) -> tuple[Any, Any, Any]:
    """Unit vectors (n, 12) whose dimensions differ in spread, labels, patients; two or three videos of each."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(patients), random.integers(2, 4, patients))
    hidden = random.normal(size=patients)[codes]
    spread = np.geomspace(1, 0.01, 12)
    rows = random.normal(size=(len(codes), 12)) * spread + 1
    rows[:, 9] += 0.1 * hidden  # in a quiet dimension, so that scaling helps
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = (hidden > 0).astype(float) if kind == "logistic" else 50 + 10 * hidden
    return rows.astype(np.float32).astype(np.float64), labels, codes


def pipeline(kind: str, scaled: bool, penalty: float, vectors: Any) -> Any:
    """The same model by scikit-learn alone. Unscaled, all dimensions are divided by the one spread of the data."""
    if kind == "logistic":
        model: Any = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=20_000)
    else:
        model = Ridge(alpha=penalty)
    if scaled:
        return make_pipeline(StandardScaler(), model)
    # A penalty on weights of x is spread**2 times as strong as on weights of x / spread.
    factor = float(vectors.std()) ** 2
    model.set_params(**({"C": 1 / (penalty * factor)} if kind == "logistic" else {"alpha": penalty * factor}))
    return make_pipeline(StandardScaler(with_std=False), model)


def guesses(model: Any, vectors: Any) -> Any:
    return model.decision_function(vectors) if hasattr(model, "decision_function") else model.predict(vectors)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_weights_do_on_raw_vectors_what_the_pipeline_does(kind: Any, scaled: bool, penalty: float) -> None:
    vectors, labels, _ = data(kind)
    weights, offset = probe_module._fit(vectors, labels, kind, probe_module._Choice(scaled, penalty))
    model = pipeline(kind, scaled, penalty, vectors).fit(vectors, labels)
    fresh = random_units(20, 12, 5).astype(np.float64)
    tolerance = 1e-9 if kind == "ridge" else 5e-3
    for rows in (vectors, fresh):
        expected = guesses(model, rows)
        assert rows @ weights + offset == pytest.approx(expected, rel=tolerance, abs=tolerance * np.ptp(expected))


@pytest.mark.parametrize("kind", [pytest.param("logistic", marks=pytest.mark.slow), "ridge"])
def test_a_probe_is_chosen_and_judged_on_patients_left_out(kind: Any) -> None:
    """The whole training again, by pipelines: the choice within each training part, then the figure."""
    vectors, labels, codes = data(kind)
    weights, offset, told = train(vectors, labels, codes, kind)
    rarer = min(len(set(codes[labels == each])) for each in (0, 1))
    assert told.get("rarer") == (rarer if kind == "logistic" else None)

    def folds(rows: Any) -> Any:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0) if kind == "logistic" else GroupKFold(5)
        return list(splitter.split(rows, labels[rows], codes[rows]))

    def loss(found: Any, truth: Any) -> float:
        if kind == "ridge":
            return float(((found - truth) ** 2).sum())
        return float(-np.log(np.where(truth == 1, 1 / (1 + np.exp(-found)), 1 / (1 + np.exp(found)))).sum())

    def best(rows: Any) -> tuple[bool, float]:
        losses = {}
        for scaled in (False, True):
            for penalty in 10.0 ** np.arange(5, -4, -1):
                losses[scaled, penalty] = 0.0
                for rest, part in folds(rows):
                    some = vectors[rows[rest]]
                    model = pipeline(kind, scaled, penalty, some).fit(some, labels[rows[rest]])
                    losses[scaled, penalty] += loss(guesses(model, vectors[rows[part]]), labels[rows[part]])
        return min(losses, key=lambda choice: losses[choice])

    everything = np.arange(len(labels))
    left_out = np.zeros(len(labels))
    for rest, part in folds(everything):
        assert not set(codes[rest]) & set(codes[part])
        scaled, penalty = best(rest)
        model = pipeline(kind, scaled, penalty, vectors[rest]).fit(vectors[rest], labels[rest])
        left_out[part] = guesses(model, vectors[part])
    assert (told["scaled"], told["penalty"]) == pytest.approx(best(everything))
    model = pipeline(kind, told["scaled"], told["penalty"], vectors).fit(vectors, labels)
    assert vectors @ weights + offset == pytest.approx(guesses(model, vectors), rel=2e-2, abs=2e-2)
    assert told["folds"] == 5
    if kind == "logistic":
        assert (told["figure"], told["chance"]) == ("AUROC", 0.5)
        assert told["value"] == pytest.approx(roc_auc_score(labels, left_out), abs=2e-3)
        assert told["value"] > 0.9
    else:
        assert told["figure"] == "MAE"
        assert told["value"] == pytest.approx(np.abs(left_out - labels).mean(), rel=1e-6)
        assert told["chance"] == pytest.approx(np.abs(labels.mean() - labels).mean())
        assert told["value"] < 0.7 * told["chance"]


@pytest.mark.slow
def test_labels_that_mean_nothing_are_learnt_no_better_than_by_chance() -> None:
    """Labels of patients drawn by lot; patients resemble themselves, so folds over videos would be fooled."""
    values = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        codes = np.repeat(np.arange(40), 4)
        rows = random.normal(size=(40, 12))[codes] + 0.1 * random.normal(size=(160, 12))
        labels = random.permutation(np.arange(40) % 2)[codes].astype(float)
        values.append(train(rows / np.linalg.norm(rows, axis=1, keepdims=True), labels, codes, "logistic")[2]["value"])
    assert 0.3 < np.mean(values) < 0.65, values


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_fewest_patients_are_enough(kind: Any) -> None:
    """Five of each class: within a training part there are four."""
    random = np.random.default_rng(0)
    codes = np.arange(10 if kind == "logistic" else 5)
    labels = (codes % 2).astype(float) if kind == "logistic" else codes.astype(float)
    weights, _, told = train(random.normal(size=(len(codes), 6)), labels, codes, kind)
    assert np.isfinite(weights).all()
    assert told["folds"] == 5


@pytest.mark.parametrize(
    ("labels", "patients", "kind", "sentence"),
    [
        ([0, 0, 0, 1, 1, 1], range(6), "logistic", r"^a probe needs .* of 5 patients or more in each class; 0 has 3$"),
        ([0] * 9, range(9), "logistic", r"5 patients or more in each class; 1 has 0$"),
        ([0, 1] * 20, [0, 1, 2, 3] * 10, "logistic", r"5 patients or more in each class; 0 has 2$"),
        ([1.5, 2.5, 3.5, 4.5, 5.5], [1, 1, 2, 3, 4], "ridge", r"^a probe needs .* of 5 patients or more, not 4$"),
        ([7.0] * 8, range(8), "ridge", r"^all 8 labels are 7, so there is nothing to learn from them$"),
    ],
)
def test_too_little_to_learn_from(labels: list[float], patients: Any, kind: Any, sentence: str) -> None:
    vectors = random_units(len(labels), 12, 1).astype(np.float64)
    with pytest.raises(BadLabels, match=sentence):
        train(vectors, np.array(labels, float), np.array(list(patients)), kind)


def test_labels_say_which_probe() -> None:
    yes_no, numbers = np.array([0.0, 1, 1]), np.array([0.0, 1, 2])
    assert probe_kind(yes_no, None) == "logistic"
    assert probe_kind(numbers, None) == "ridge"
    assert probe_kind(yes_no, "ridge") == "ridge"
    with pytest.raises(BadOption, match=r"^a logistic probe needs labels 0 and 1; say which values mean yes"):
        probe_kind(numbers, "logistic")
    with pytest.raises(BadOption, match=r"^a probe is logistic or ridge, not 'forest'$"):
        probe_kind(yes_no, "forest")


def test_a_name_is_plain_and_free() -> None:
    check_label("ef_2", ["ef"])
    with pytest.raises(BadOption, match=r"^a probe's name is lower-case letters, digits and _, not 'My probe'$"):
        check_label("My probe")
    with pytest.raises(BadOption, match=r"^there is a probe ef already; give another name, or --replace$"):
        check_label("ef", ["ef"])


class Rows:
    """Vectors of a few videos, as a `Scorer` is given them."""

    def __init__(self, pooled: Any) -> None:
        self.pooled = pooled
        self.norms = np.ones(len(pooled), np.float32)
        self.frames = pooled
        self.offsets = np.arange(len(pooled) + 1)


def test_a_score_by_hand() -> None:
    rows = Rows(np.array([[0.6, 0.8], [1, 0], [0, -1]], np.float32))
    ridge = Probe("size", "ridge", "recipe", (10.0, -5.0), 1.0, TRAINING)
    assert ridge.scorer("exact", MODEL).columns(rows)[0] == pytest.approx([3, 11, 6], abs=1e-6)
    logistic = Probe("pacer", "logistic", "recipe", (1000.0, 0.0), -600.0, TRAINING)
    [found] = logistic.scorer("exact", MODEL).columns(rows)
    assert found == pytest.approx([0.5, 1, 0], abs=1e-4)  # far from the border without an overflow


def test_motion_is_the_standard_deviation_over_frames() -> None:
    rows = Rows(np.array([[0.6, 0.8], [1, 0]], np.float32))
    assert features(rows, motion=False).tolist() == rows.pooled.astype(np.float64).tolist()
    rows.frames = np.array([[1, 0.5], [0, 0.5], [0.25, -1]], np.float32)
    rows.offsets = np.array([0, 2, 3])
    # 1 and 0 lie half a unit from their mean; a single frame does not move.
    assert features(rows, motion=True)[:, 2:].tolist() == [[0.5, 0], [0, 0]]
    ridge = Probe("size", "ridge", "recipe", (10.0, -5.0, 4.0, 2.0), 1.0, TRAINING, motion=True)
    assert ridge.scorer("exact", MODEL).columns(rows)[0] == pytest.approx([5, 11], abs=1e-6)
    assert ridge.scorer("exact", MODEL).numbers_per_frame > 0


def test_a_probe_is_read_as_it_was_written() -> None:
    mine = Probe("ef", "logistic", "recipe", (0.1, 1 / 3), -2.5, TRAINING, ("A4C",))
    again = Probe.from_json(mine.to_json())
    assert again == mine
    assert (again.name, again.id, again.key()) == ("probe:ef", mine.id, mine.key())
    assert mine.validated == (
        "trained on 90 videos of 30 patients (l.csv); AUROC 0.877 on patients left out (chance 0.5)"
    )
    assert asdict(again)["training"]["contents"] == ("ab", "cd")
    few = replace(TRAINING, patients=19)  # of a finding there cannot be ten with and ten without
    assert few.judged == "AUROC on patients left out not given, as they are 19"
    rare = replace(few, patients=60, rarer=9)
    assert rare.judged == "AUROC on patients left out not given, as one class has 9 of them"
    assert replace(rare, rarer=10).judged.startswith("AUROC 0.877 on patients left out")
    assert replace(few, positives=None, figure="MAE", patients=10).judged.startswith("MAE 0.877 on patients left out")
    assert replace(few, positives=None, patients=9).judged.endswith("not given, as they are 9")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"probe_format": 2}, "it has a newer format"),
        ({"kind": "forest"}, "kind should be 'logistic' or 'ridge', not 'forest'"),
        ({"weights": []}, "weights and offset of a probe are numbers below 1e.100"),
        ({"weights": [0.1, float("nan")]}, "weights and offset of a probe are numbers"),
        ({"weights": [0.1, "0.2"]}, "weights.1 should be a valid number, not '0.2'"),
        ({"weights": [0.1, True]}, "weights.1 should be a valid number, not True"),
        ({"weights": [0.1, 1e308]}, "weights and offset of a probe are numbers"),
        ({"weights": "0.1"}, "weights should be a valid array, not '0.1'"),
        ({"offset": None}, "offset should be a valid number, not None"),
        ({"offset": float("inf")}, "weights and offset of a probe are numbers"),
        ({"label": 3}, "label should be a valid string, not 3"),
        ({"views": [1]}, "views.0 should be a valid string, not 1"),
        ({"aggregate": "most"}, "aggregate should be 'mean', 'median', 'max', 'top2' or 'top3', not 'most'"),
        ({"columns": ["value", "more"]}, "a probe has one column and no classes"),
        ({"mode": "binary"}, "mode should be 'probe', not 'binary'"),
        ({"motion": 1}, "motion should be a valid boolean, not 1"),
        ({"motion": True, "weights": [0.1, 0.2, 0.3]}, "a probe of motion has two weights for each dimension"),
        ({"surprise": 1}, "surprise: unexpected keyword argument"),
        ({"training": {}}, "training.labels: field required"),
        ({"training": None}, "training should be an object, not None"),
        ({"training": asdict(TRAINING) | {"videos": "90"}}, "training.videos should be a valid integer, not '90'"),
        (
            {"training": asdict(TRAINING) | {"positives": "many"}},
            "training.positives should be a valid integer, not 'many'",
        ),
        ({"training": asdict(TRAINING) | {"value": None}}, "training.value should be a valid number, not None"),
        (
            {"training": asdict(TRAINING) | {"value": float("nan")}},
            "training: penalty, value, chance and shortest_seconds are finite numbers",
        ),
        ({"training": asdict(TRAINING) | {"penalty": True}}, "training.penalty should be a valid number, not True"),
        (
            {"training": asdict(TRAINING) | {"shortest_seconds": "1"}},
            "shortest_seconds should be a valid number, not '1'",
        ),
        ({"training": asdict(TRAINING) | {"split": [1]}}, r"training.split should be a valid string, not \[1\]"),
        ({"training": asdict(TRAINING) | {"scaled": "no"}}, "training.scaled should be a valid boolean, not 'no'"),
        ({"training": asdict(TRAINING) | {"contents": [1]}}, "training.contents.0 should be a valid string, not 1"),
    ],
)
def test_a_file_that_is_no_probe_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    told = Probe("ef", "ridge", "recipe", (0.1, 0.2), 1.0, TRAINING, ("A4C",)).to_dict()
    assert Probe.from_json(json.dumps(told)).views == ("A4C",)
    with pytest.raises(BadOption, match=rf"^my\.json is no probe that echosearch has written: .*{sentence}"):
        Probe.from_json(json.dumps(told | wrong), "my.json")


def test_whole_numbers_are_numbers() -> None:
    """Other programs write 0.0 as 0; the scores, and so the id, are the same."""
    mine = Probe("ef", "ridge", "recipe", (0.0, 2.0), 1.0, TRAINING)
    assert Probe.from_json(json.dumps(mine.to_dict() | {"weights": [0, 2], "offset": 1})).id == mine.id


def test_a_probe_of_before_motion_is_read() -> None:
    mine = Probe("ef", "ridge", "recipe", (0.1, 0.2), 1.0, TRAINING)
    told = json.loads(mine.to_json())
    del told["motion"], told["training"]["shortest_frames"], told["training"]["shortest_seconds"]
    assert Probe.from_json(json.dumps(told)) == mine


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '"probe"', "{"])
def test_text_that_is_no_probe_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"^my\.json is no probe that echosearch has written: "):
        Probe.from_json(text, "my.json")


def test_only_what_changes_a_score_changes_the_id() -> None:
    mine = Probe("ef", "ridge", "recipe", (0.1, 0.2), 1.0, TRAINING)
    assert mine.id == Probe("other", "ridge", "recipe", (0.1, 0.2), 1.0, TRAINING, ("A4C",)).id
    for other in (("logistic", (0.1, 0.2), 1.0), ("ridge", (0.1, 0.3), 1.0), ("ridge", (0.1, 0.2), 1.5)):
        kind, weights, offset = other
        assert mine.id != Probe("ef", kind, "recipe", weights, offset, TRAINING).id  # type: ignore[arg-type]
