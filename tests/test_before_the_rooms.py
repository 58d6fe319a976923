"""What the program made before its rooms were redrawn opens unchanged: index, task, calibration, probe, cohort, export.

`formats/before-the-rooms.zip` was made by version 81a4fe9 with the toy model: ten videos, their calibration, probe,
sweeps, three cohorts (by a filter, by an example, by a phrase), an audit, an exported cohort and exported vectors; with
what that version said of them in `expected.json`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

Run = Callable[..., tuple[int, str, str]]

NEWER = {"question", "without", "unlike", "query"}
"""Keys that came with the redrawn house, or say more since."""


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The folder is the working one; gives what was said then."""
    with zipfile.ZipFile(ROOT / "tests" / "formats" / "before-the-rooms.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "tasks"))
    told: dict[str, Any] = json.loads((tmp_path / "expected.json").read_text())
    return told


def comparable(told: Any) -> Any:
    """Without where the index lies and how large it is, without newer keys, and with an example in a list."""
    if isinstance(told, list):
        return [comparable(each) for each in told]
    if not isinstance(told, dict):
        return told
    kept = {key: comparable(value) for key, value in told.items() if key not in NEWER | {"index", "disk_bytes"}}
    if "like" in kept and not isinstance(kept["like"], list):
        kept["like"] = [] if kept["like"] is None else [kept["like"]]
    return kept


def contents(folder: Path) -> dict[str, bytes]:
    passing = ("-wal", "-shm", "writer.lock", "writer.json")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and "cache" not in file.parts and not file.name.endswith(passing)
    }


QUESTIONS: list[tuple[str, list[object]]] = [
    ("info", ["info"]),
    ("list", ["list"]),
    ("search", ["search", "red", "-k", 5]),
    ("similar", ["similar", 3, "-k", 5]),
    ("filter", ["list", "--where", "task.red.yes AND attr.age > 5"]),
    ("calibrations", ["calibrations", "list"]),
    ("probes", ["probe", "list"]),
    ("sweep", ["sweep", "red", "probe:redness"]),
    ("cohorts", ["cohort", "list"]),
]


def test_every_question_has_the_answer_of_then_and_nothing_changes(earlier: dict[str, Any], run: Run) -> None:
    before = contents(Path("index"))
    for name, arguments in QUESTIONS:
        code, out, err = run(*arguments, "--index", "index", "--json")
        assert code == 0, err
        assert comparable(json.loads(out)) == comparable(earlier[name]), name
    code, out, _ = run("cohort", "show", "yes", "--index", "index", "--json")
    assert comparable(json.loads(out)["audits"]) == comparable(earlier["audits"])
    assert contents(Path("index")) == before


@pytest.mark.parametrize("name", ["yes", "like", "near"])
def test_cohorts_can_be_made_again_with_the_same_members(earlier: dict[str, Any], run: Run, name: str) -> None:
    code, out, err = run("cohort", "rerun", name, "--index", "index", "--json")
    assert code == 0, err
    told, then = json.loads(out), earlier["rerun"][name]
    assert comparable(told["moved"]) == comparable(then["moved"]) == {}
    assert told.keys() == then.keys()
    assert [told[key] for key in ("stayed", "came", "went")] == [then[key] for key in ("stayed", "came", "went")]


def test_a_cohort_is_exported_as_it_was(earlier: dict[str, Any], run: Run) -> None:
    code, _, err = run("cohort", "export", "yes", "again", "--index", "index")
    assert code == 0, err
    then, now = Path("cohort-yes"), Path("again")
    assert {file.name for file in now.iterdir()} == {file.name for file in then.iterdir()}
    assert (now / "members.csv").read_bytes() == (then / "members.csv").read_bytes()
    told, before = (json.loads((folder / "manifest.json").read_text()) for folder in (now, then))
    assert comparable(told) == comparable(before)


def test_exported_vectors_make_the_same_index(earlier: dict[str, Any], run: Run) -> None:
    code, _, err = run("import-embeddings", "embeddings.npz", "--index", "other")
    assert code == 0, err
    code, out, err = run("search", "red", "-k", 5, "--index", "other", "--json")
    assert code == 0, err
    assert json.loads(out)["hits"] == earlier["search"]["hits"]


def test_a_writer_adds_to_it(earlier: dict[str, Any], run: Run) -> None:
    for arguments in (
        ["sweep", "pacemaker"],
        ["cohort", "create", "new", "--where", "task.red.yes"],
        ["cohort", "delete", "like", "--yes"],
    ):
        code, _, err = run(*arguments, "--index", "index")
        assert code == 0, err
    code, out, _ = run("check", "--index", "index", "--json")
    assert code == 0
    assert json.loads(out)["problems"] == []
