"""A mode is a class and a line: one that is made up here goes all the way from a task file to JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from store_helpers import add, make_store, new_video, unit

from echosearch.api.zeroshot import ZeroShot
from echosearch.errors import BadOption, BadTask
from echosearch.index import SweepKey
from echosearch.learning import Probe, Training
from echosearch.tasks import Embed, Model, Scorer, Task, Vectors, read_task, to_yaml
from echosearch.tasks.modes import MODES
from echosearch.tasks.modes.mode import SCORE, Mode
from echosearch.tasks.sweep import Doubles, Floats
from echosearch.types import EncodedText

WORDS = {"up": unit(1), "right": unit(0, 1)}


class Nearest(Mode):
    """Prompts; the highest similarity of any of them, and which it is."""

    columns = ("value", "which")
    kind = "similarity to the nearest phrase"
    drawn = ("value",)

    def check(self) -> None:
        if len(self.task.prompts) < 2:
            raise BadTask(f"task {self.task.name}: of one phrase none is nearest", "prompts")

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        return NearestScorer(key, embed(self.task.prompts))


@dataclass(frozen=True)
class NearestScorer:
    key: SweepKey
    prompts: Floats
    numbers_per_frame: int = 0

    def columns(self, videos: Vectors) -> list[Doubles]:
        found = (videos.pooled @ self.prompts.T).astype(np.float64)
        return [found.max(axis=1), found.argmax(axis=1).astype(np.float64)]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "nearest", Nearest)


def embed(phrases: Sequence[str]) -> list[EncodedText]:
    return [EncodedText(WORDS[phrase]) for phrase in phrases]


def _file(folder: Path, text: str) -> Path:
    path = folder / "side.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_mode_of_ones_own_goes_from_its_file_to_json(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    add(store, new_video("a.avi", unit(0.6, 0.8)), new_video("b.avi", unit(1)), new_video("c.avi", unit(0, 1)))
    path = _file(tmp_path, "name: side\nmode: nearest\nprompts: [up, right]\nviews: [A4C]\n")
    task = read_task(path)
    assert (task.columns, read_task(_file(tmp_path, to_yaml(task)))) == (("value", "which"), task)

    zeroshot = ZeroShot(store, "fp32", embed, lambda _: [], all_views=True)
    [result] = zeroshot.sweep(str(path))
    assert result.columns["value"] == pytest.approx([0.8, 1, 1], abs=1e-6)
    assert result.columns["which"].tolist() == [1, 0, 1]
    told = json.loads(json.dumps(result.summary().to_dict()))
    assert (told["mode"], told["kind"]) == ("nearest", "similarity to the nearest phrase")
    assert told["columns"]["value"]["highest"] == pytest.approx(1)
    [again] = zeroshot.sweep(task)
    assert (again.scored_now, again.columns["which"].tolist()) == (0, [1, 0, 1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mode: nearest\nprompts: [up]", r"line 3, column 10: task side: of one phrase none is nearest"),
        ("mode: nearest\nclasses: {a: [up]}", "line 2, column 7: task side: mode nearest needs prompts"),
        (
            "mode: nearest\nprompts: [up, right]\nrange: [0, 9]",
            "line 4, column 8: .* a range goes with mode regression only",
        ),
        ("mode: zigzag", "line 2, column 7: 'zigzag' is no mode; there are binary, .*, contrastive, nearest"),
    ],
)
def test_what_its_files_may_not_say_is_refused_with_the_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadTask, match=sentence):
        read_task(_file(tmp_path, f"name: side\n{text}\n"))


def test_tasks_and_probes_are_asked_the_same() -> None:
    training = Training("l.csv", "0" * 64, "ef", 9, None, 9, 5, True, 1.0, "MAE", 1.0, 2.0, contents=("ab",))
    motion = Probe("ef", "ridge", "recipe", (1.0, 2.0), 0.0, training, motion=True)
    finding = Probe("lead", "logistic", "recipe", (1.0,), 0.0, training)
    asked = [Task("side", "nearest", ("up", "right")), motion, finding]
    assert [each.rule.kind for each in asked] == ["similarity to the nearest phrase", "value", "probability"]
    assert [each.rule.gives_value for each in asked] == [False, True, False]
    assert [each.rule.scale for each in asked] == [SCORE] * 3
    assert [each.rule.learnt_from for each in asked] == [(), ("ab",), ("ab",)]
    assert [each.rule.shortest for each in asked] == [None, (2, None), None]
    for each in asked:
        assert each.rule.decision({"value": np.array([3.0])}).tolist() == [3]
        with pytest.raises(BadOption, match="has no classes, so none can be positive"):
            each.rule.chosen(["severe"])
