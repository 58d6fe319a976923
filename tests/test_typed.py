"""JSON that is kept or exchanged: wrong values are refused with their place, texts of earlier versions are read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from echosearch.cohort.audit import Audit
from echosearch.cohort.cohort import Cohort
from echosearch.errors import BadOption, BadTask, DamagedIndex
from echosearch.learning.calibration import Calibration
from echosearch.learning.probe import Probe
from echosearch.tasks.task import task_from_dict
from echosearch.typed import from_json

KEPT = Path(__file__).parent / "kept_json"
"""As an index of the version before pydantic had them, with other paths."""

READERS: dict[str, Callable[[str], Any]] = {
    "audit": Audit.from_json,
    "calibration": Calibration.from_json,
    "cohort": Cohort.from_json,
    "probe": Probe.from_json,
}


@dataclass(frozen=True, slots=True)
class Part:
    count: int
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"a count is 0 or more, not {self.count}")


@dataclass(frozen=True, slots=True)
class Whole:
    name: str
    kind: Literal["a", "b"]
    parts: tuple[Part, ...] = ()
    values: dict[str, int | float | str | None] = field(default_factory=dict)
    is_done: bool = False


GOOD: dict[str, Any] = {"name": "x", "kind": "a", "parts": [{"count": 1, "share": 2}], "values": {"n": 5, "f": 5.0}}


def test_values_come_back_as_what_they_are() -> None:
    read = from_json(Whole, json.dumps(GOOD | {"made": 3}), {"made": 3})
    assert read == Whole("x", "a", (Part(1, 2.0),), {"n": 5, "f": 5.0})
    assert (type(read.parts[0].share), type(read.values["n"]), type(read.values["f"])) == (float, int, float)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": 5}, "name should be a valid string, not 5"),
        ({"name": None}, "name should be a valid string, not None"),
        ({"kind": "c"}, "kind should be 'a' or 'b', not 'c'"),
        ({"is_done": 1}, "is_done should be a valid boolean, not 1"),
        ({"more": 1}, "more: unexpected keyword argument"),
        ({"made": 4}, "it has a newer format"),
        ({"parts": {}}, "parts should be a valid array, not {}"),
        ({"parts": [{"count": True}]}, "parts.0.count should be a valid integer, not True"),
        ({"parts": [{"count": 1.0}]}, "parts.0.count should be a valid integer, not 1.0"),
        ({"parts": [{"count": "1"}]}, "parts.0.count should be a valid integer, not '1'"),
        ({"parts": [{"count": 1, "share": "1"}]}, "parts.0.share should be a valid number, not '1'"),
        ({"parts": [{"count": 1, "share": False}]}, "parts.0.share should be a valid number, not False"),
        ({"parts": [{"count": 1, "shares": 1}]}, "parts.0.shares: unexpected keyword argument"),
        ({"parts": [{}]}, "parts.0.count: field required"),
        ({"parts": [3]}, "parts.0 should be an object, not 3"),
        ({"parts": [{"count": -1}]}, "parts.0: a count is 0 or more, not -1"),
        ({"values": [["n", 5]]}, r"values should be an object, not [['n', 5]]"),
    ],
)
def test_what_a_type_does_not_hold_is_refused_with_its_place(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        from_json(Whole, json.dumps(GOOD | wrong), {"made": 3})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value: line 1 column 1"),
        ("[]", r"it should be an object, not \[\]"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "integer string conversion"),
    ],
    ids=["nothing", "a list", "deep", "long"],
)
def test_text_that_is_no_object_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_json(Whole, text, {"made": 3})


@pytest.mark.parametrize("file", sorted(KEPT.glob("*.json")), ids=lambda file: file.stem)
def test_what_an_earlier_version_kept_is_read_and_written_as_it_was(file: Path) -> None:
    text = file.read_text("utf-8")
    again = json.loads(json.dumps(READERS[file.stem](text).to_dict()))
    again.pop("probe_format", None)
    for each in (again, again.get("training", {}), again.get("definition", {})):
        for name in (
            "purged",
            "prevalence",
            "prevalence_from",
            "all_views",
            "rarer",
            "question",
            "without",
            "unlike",
        ):  # came later
            each.pop(name, None)
    told = json.loads(text)
    if "definition" in told:
        told["definition"]["like"] = []  # there was one example or none
    assert json.dumps(again, sort_keys=True) == json.dumps(told, sort_keys=True)


def test_a_cohort_that_does_not_hold_what_it_says_is_refused() -> None:
    """Each of these was read once, and failed later or was shown as it stood."""
    told = json.loads((KEPT / "cohort.json").read_text("utf-8"))
    for wrong, sentence in (
        ({"generation": "7"}, "generation should be a valid integer, not '7'"),
        (
            {"members": told["members"] + [told["members"][0] | {"video_ids": ["1"]}]},
            r"video_ids.0 should be a valid i",
        ),
        ({"definition": told["definition"] | {"same_video": "no"}}, "definition.same_video should be a valid boolean"),
        ({"definition": told["definition"] | {"top": -1}}, "top is at least 1, not -1"),
        ({"steps": [told["steps"][0] | {"kept": 1.5}]}, "steps.0.kept should be a valid integer, not 1.5"),
    ):
        with pytest.raises(DamagedIndex, match=rf"^a cohort of this index cannot be read: .*{sentence}.*; restore it"):
            Cohort.from_json(json.dumps(told | wrong))


def test_a_kept_task_that_is_none_is_refused() -> None:
    good = {"name": "x", "mode": "binary", "prompts": ["A"]}
    assert task_from_dict(good).prompts == ("A",)
    for wrong, sentence in (
        ({"prompts": ["A", 5]}, "prompts.1 should be a valid string, not 5"),
        ({"prompts": []}, "task x: mode binary needs prompts"),
        ({"range": [0, 5]}, r"range should be an object, not \[0, 5\]"),
    ):
        with pytest.raises(BadTask, match=f"^this is no task that echosearch has written: {sentence}$"):
            task_from_dict(good | wrong)


@pytest.mark.parametrize("read", [Calibration.from_json, Probe.from_json])
def test_a_file_of_brackets_is_refused(read: Callable[[str, str], Any]) -> None:
    with pytest.raises(
        BadOption, match=r"^my\.json is no (calibration|probe) that echosearch has written: .*recursion"
    ):
        read("[" * 100_000, "my.json")


def test_importing_it_imports_no_pydantic() -> None:
    code = "import sys, echosearch.api, echosearch.typed, echosearch.cohort; sys.exit(int('pydantic' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
