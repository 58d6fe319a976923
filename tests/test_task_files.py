"""Files of tasks: what is read, what is refused and where, what is imported unchanged; and `echosearch tasks`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from echosearch.cli.tasks import tasks as tasks_group
from echosearch.config import tasks_path
from echosearch.errors import BackendError, BadTask, UnknownTask
from echosearch.tasks.published import import_published
from echosearch.tasks.task import PublishedFigure, Task, TaskClass, ValueRange
from echosearch.tasks.task_files import (
    find_task,
    folder_problems,
    known_tasks,
    plan_import,
    to_yaml,
    write_tasks,
)
from echosearch.tasks.task_text import builtin_tasks, read_task

LEAD = 'name: lead\nmode: binary\nprompts: ["LEAD. "]\n'
EF = 'name: ef\nmode: regression\nprompts:\n  - "EF <#>% "\nrange: [0, 100]\n'
SIZE = "name: size\nmode: categorical\nclasses:\n  mild: [A]\n  severe: [B]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of tasks, not there yet."""
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "mine"))
    return tmp_path / "mine"


def _file(folder: Path, text: str | bytes, name: str = "t.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    text = """
        # in our own words
        name: ef
        mode: regression
        about: >-
          Two
          lines.
        prompts:
          - "EF IS <#>%. "
          - EF about <#> %
        range: [-10, 100]
        step: 5
        unit: "%"
        views: [A4C]
        aggregate: median
        source: us
        validated: "on nobody"
        published:
          - {name: MAE, value: 8, source: "a paper"}
          - {name: "R2", value: -1.5e-3, source: "a paper"}
    """
    assert read_task(_file(tmp_path, "\ufeff" + re.sub(r"(?m)^ {8}", "", text))) == Task(
        "ef",
        "regression",
        ("EF IS <#>%. ", "EF about <#> %"),
        range=ValueRange(-10, 100, 5, "%"),
        views=("A4C",),
        aggregate="median",
        about="Two lines.",
        source="us",
        validated="on nobody",
        published=(PublishedFigure("MAE", 8.0, "a paper"), PublishedFigure("R2", -0.0015, "a paper")),
    )


def test_comments_and_blanks_that_cost_nothing_are_let_be(tmp_path: Path) -> None:
    text = (
        "name: x # c\nmode: binary \nviews: # c\n  - A4C # c\nprompts:\n  - 'A ' # c\n  - \"B\"  \n  - C\n  - D\n    E"
    )
    assert read_task(_file(tmp_path, text)).prompts == ("A ", "B", "C", "D E")
    assert read_task(_file(tmp_path, "{name: x, mode: binary, prompts: [ A , B ]}")).prompts == ("A", "B")


def test_classes_and_the_normal_one(tmp_path: Path) -> None:
    task = read_task(_file(tmp_path, SIZE + "normal: mild\n"))
    assert task.classes == (TaskClass("mild", ("A",)), TaskClass("severe", ("B",)))
    assert task.normal == "mild"


def test_the_id_is_that_of_what_decides_scores(tmp_path: Path) -> None:
    task = read_task(_file(tmp_path, LEAD))
    other = "# c\nprompts:\n  - 'LEAD. ' # c\nabout: x\nviews: [A4C]\nmode: binary\nname: lead\n"
    assert read_task(_file(tmp_path, other)).id == task.id
    assert read_task(_file(tmp_path, LEAD.replace("LEAD. ", "LEAD."))).id != task.id


@pytest.mark.parametrize(
    ("text", "line", "column", "sentence"),
    [
        ("", 1, 1, "the file is empty; a task has name, mode, and prompts or classes"),
        ("# only this\n", 1, 1, "the file is empty"),
        ("- name", 1, 1, "a task is a mapping of keys to values, each key with a colon"),
        ("name: a: b", 1, 8, "this is not YAML: mapping values are not allowed here; text with signs .* needs quotes"),
        ("name: x\nunit: %", 2, 7, "this is not YAML: .*found character '%' that cannot start any token"),
        ("name: x\nviews: [A4C\n", 3, 1, "this is not YAML: while parsing a flow sequence, expected ',' or '\\]'"),
        ("name: x\n---\nname: y", 2, 1, "this is not YAML: expected a single document in the stream"),
        ("name: *x", 1, 7, "this is not YAML: found undefined alias 'x'"),
        ("name: x\nabout: \x01", 2, 8, "this character cannot stand in YAML as it is"),
        (LEAD + "promts: [x]", 4, 1, "a task has no key 'promts'; did you mean prompts\\?"),
        (LEAD + "zzz: [x]", 4, 1, "a task has no key 'zzz'; there are name, mode, about, .*, published"),
        (LEAD + "mode: binary", 4, 1, "the key mode stands there twice, first in line 2"),
        (LEAD + "no: x", 4, 1, 'a key is text; YAML reads no as yes or no: write "no" in quotes'),
        (LEAD + "<<: x", 4, 1, "a key is text; YAML reads << as something special \\(tag:yaml.org,2002:merge\\)"),
        ("mode: binary\n", 1, 1, "the key name is missing; a task has name, mode, and prompts or classes"),
        ("\nname: x\n", 2, 1, "the key mode is missing"),
        ("name: no\nmode: binary", 1, 7, 'name is text; YAML reads no as yes or no: write "no" in quotes'),
        ("name: 5\nmode: binary", 1, 7, 'name is text; YAML reads 5 as a number: write "5" in quotes'),
        (LEAD + "about: 1.5", 4, 8, 'about is text; YAML reads 1.5 as a number: write "1.5" in quotes'),
        (LEAD + "validated: 2023-08-30", 4, 12, "validated is text; YAML reads 2023-08-30 as a date"),
        (LEAD + "source: ~", 4, 9, 'source is text; YAML reads ~ as nothing: write "~" in quotes'),
        (LEAD + "source:", 4, 8, "source is empty; write a text, or leave it out"),
        (LEAD + "source: !!python/name:os.system x", 4, 9, "source is text; YAML reads x as something special"),
        (LEAD + "about: [x]", 4, 8, "about is one text, not a list; a text that begins with \\[ needs quotes"),
        (LEAD + "about: !!str [x]", 4, 8, "about is one text, not a list"),
        (LEAD + "views: A4C", 4, 8, "views is a list, one item a line after a dash, or in \\[ \\]"),
        (LEAD + "views: [A4C, A2C, A4C]", 4, 19, "'A4C' stands in views twice, first in line 4"),
        (LEAD + "aggregate: maxx", 4, 12, "'maxx' is no aggregate; did you mean max\\?"),
        (LEAD + "aggregate: on", 4, 12, "aggregate is text; YAML reads on as yes or no"),
        ("name: x\nmode: regresion", 2, 7, "'regresion' is no mode; did you mean regression\\?"),
        ("name: x\nmode: 'yes!'", 2, 7, "'yes!' is no mode; there are binary, regression, categorical, contrastive"),
        ("name: x\nmode: binary\nprompts:\n  - A\n  - yes", 5, 5, "an item of prompts is text; YAML reads yes as"),
        ("name: x\nmode: binary\nprompts:\n  - A\n  -", 5, 4, "an item of prompts is empty"),
        ("name: x\nmode: binary\nprompts:\n  - LV: big", 4, 5, "an item of prompts is one text, not a mapping"),
        ("name: x\nmode: binary\nprompts:\n  - A\n  - 'A'", 5, 5, "'A' stands in prompts twice, first in line 4"),
        ("name: x\nmode: binary\nprompts:\n  - A\n  - ' '", 5, 5, "task x: a prompt is a phrase of a report, not ' '"),
        ("name: x\nmode: binary\nprompts:\n  - A \n", 4, 5, "YAML drops ' ' at the end of 'A'; put the phrase in quo"),
        ("name: x\nmode: binary\nprompts:\r\n  - A  # 1\r\n", 4, 5, "YAML drops '  # 1' at the end of 'A'; put the"),
        (SIZE + "  big:\n  - C\n  - D ", 8, 5, "YAML drops ' ' at the end of 'D'; put the phrase in quotes"),
        ("name: x\nmode: binary\nprompts:\n  - A\n  - B <#>", 5, 5, "task x: the prompt 'B <#>' has <#>"),
        ("name: X\nmode: binary\nprompts: [A]", 1, 7, "a task's name is lower-case letters, digits and _"),
        ("name: x\nmode: binary", 2, 7, "task x: mode binary needs prompts"),
        (LEAD + "range: [0, 9]", 4, 8, "task lead: a range goes with mode regression only"),
        (LEAD + "step: 2", 4, 1, "step goes with a range, which is missing"),
        (LEAD + "unit: mm", 4, 1, "unit goes with a range, which is missing"),
        (LEAD + "normal: mild", 4, 9, "task lead: normal names a class of a categorical task, not 'mild'"),
        ("name: x\nmode: regression\nprompts: [A <#>]", 2, 7, "task x: a regression needs a range, such as"),
        (EF.replace("<#>", "5"), 4, 5, "task ef: the prompt 'EF 5% ' has no <#>"),
        (EF.replace("[0, 100]", "[0, 3]"), 5, 8, "task ef: 4 prompts with their numbers; the rule needs 5"),
        (EF.replace("[0, 100]", "[100, 0]"), 5, 8, "task ef: a range is LOW to HIGH in whole steps, not 100 to 0"),
        (EF.replace("[0, 100]", "[0]"), 5, 8, "range is two whole numbers, such as \\[0, 100\\]"),
        (EF.replace("[0, 100]", "0..100"), 5, 8, "range is a list, one item a line after a dash, or in \\[ \\]"),
        (EF.replace("[0, 100]", "[0, 010]"), 5, 12, "range is in whole numbers without .* leading zeros, not '010'"),
        (EF.replace("[0, 100]", "[0, 1:30]"), 5, 12, "range is in whole numbers .*, not '1:30'"),
        (EF.replace("[0, 100]", "[0, 99.5]"), 5, 12, "range is in whole numbers .*, not '99.5'"),
        (EF.replace("[0, 100]", "[0, '9']"), 5, 12, "range is in whole numbers without quotes .*, not '9'"),
        (EF.replace("[0, 100]", "[0, [9]]"), 5, 12, "range is in whole numbers, not a list or a mapping"),
        (EF + "step: 0", 5, 8, "task ef: a range is LOW to HIGH in whole steps, not 0 to 100 in steps of 0"),
        (SIZE + "normal: big", 6, 9, "task size: normal names a class of a categorical task, not 'big'"),
        (SIZE + "prompts: [A]", 2, 7, "task size: mode categorical needs classes, each with prompts"),
        (SIZE + "  mild: [C]", 6, 3, "the key mild stands there twice, first in line 4"),
        (SIZE + "  no: [C]", 6, 3, 'a key is text; YAML reads no as yes or no: write "no" in quotes'),
        (SIZE + "  'a,b': [C]", 6, 3, "task size: 'a,b' cannot be the name of a class"),
        (SIZE + "  big: []", 6, 3, "task size, class big: there is no prompt"),
        (SIZE + "  big: C", 6, 8, "class big is a list, one item a line"),
        (SIZE + "  big: [A, ' ']", 6, 12, "task size, class big: a prompt is a phrase of a report, not ' '"),
        (SIZE + "  big:\n    - C\n    - A <#>", 8, 7, "task size, class big: the prompt 'A <#>' has <#>"),
        (LEAD + "published: [{name: A, value: 1}]", 4, 13, "the key source is missing; a published figure has name,"),
        (LEAD + "published: [{nam: A}]", 4, 14, "a published figure has no key 'nam'; did you mean name\\?"),
        (LEAD + "published: [{name: A, value: .nan, source: x}]", 4, 30, "value is a number .*, not '.nan'"),
        (LEAD + "published: [{name: A, value: 1e999, source: x}]", 4, 30, "value is a number, and 1e999 is too large"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_column(
    tmp_path: Path, text: str, line: int, column: int, sentence: str
) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(BadTask, match=f"^{re.escape(str(path))}, line {line}, column {column}: {sentence}"):
        read_task(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"name: x\nabout: gr\xfc\xdf\n", r"t\.yaml, line 2, column 10: this is not UTF-8 text$"),
        (b"[" * 20_000, r"t\.yaml: nested too deeply for a task$"),
        (b'name: "\\UFFFFFFFF"', r"t\.yaml: this is not YAML: "),
    ],
)
def test_bytes_that_are_no_task(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(BadTask, match=sentence):
        read_task(_file(tmp_path, data))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match=r"none\.yaml cannot be read: No such file or directory"):
        read_task(tmp_path / "none.yaml")
    with pytest.raises(BadTask, match=r"is no file$"):
        read_task(tmp_path)


_TEXTS = st.text(max_size=20)
_PHRASES = st.lists(
    st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()) and "<#>" not in text),
    min_size=1, max_size=3, unique=True,
).map(tuple)  # fmt: skip
_CLASS_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_ .()/+-]{0,8}", fullmatch=True) | st.sampled_from(
    ["no", "null", "1e3", "2020-01-01", "12"]
)
_RANGES = st.builds(ValueRange, st.integers(-50, 0), st.integers(10, 50), st.integers(1, 2), _TEXTS)


@st.composite
def _tasks(draw: st.DrawFn) -> Task:
    mode = draw(st.sampled_from(["binary", "regression", "categorical", "contrastive"]))
    told: dict[str, Any] = {}
    if mode in ("binary", "regression"):
        told["prompts"] = draw(_PHRASES)
    if mode == "regression":
        told["prompts"] = tuple(f"{prompt}<#>{prompt}" for prompt in told["prompts"])
        told["range"] = draw(_RANGES)
    if mode in ("categorical", "contrastive"):
        names = draw(st.lists(_CLASS_NAMES, min_size=2, max_size=3, unique=True))
        told["classes"] = tuple(TaskClass(name, draw(_PHRASES)) for name in names)
    if mode == "categorical":
        told["normal"] = draw(st.none() | st.sampled_from(names))
    figures = st.builds(PublishedFigure, _TEXTS, st.floats(allow_nan=False, allow_infinity=False), _TEXTS)
    return Task(
        name=draw(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True) | st.sampled_from(["no", "y", "null"])),
        mode=mode,
        views=tuple(draw(st.lists(_TEXTS, max_size=2, unique=True))),
        aggregate=draw(st.sampled_from(["mean", "median", "max"])),
        about=draw(_TEXTS),
        source=draw(_TEXTS),
        validated=draw(st.none() | _TEXTS),
        published=tuple(draw(st.lists(figures, max_size=2))),
        **told,
    )


@given(task=_tasks())
def test_a_task_comes_back_from_its_file_as_it_was(task: Task, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(to_yaml(task), "utf-8", newline="\n")
    assert read_task(path) == task


def test_trailing_blanks_and_words_that_yaml_knows_stand_in_quotes() -> None:
    task = Task("no", "categorical", classes=(TaskClass("null", ("A. ", "No")), TaskClass("x y", ('"B"\n',))))
    assert to_yaml(task) == (
        "name: 'no'\nmode: categorical\nclasses:\n"
        "  'null':\n  - \"A. \"\n  - 'No'\n"
        '  "x y":\n  - "\\"B\\"\\n"\n'
        "aggregate: mean\n"
    )


def test_every_built_in_task_comes_back_from_its_file(tmp_path: Path) -> None:
    for task in builtin_tasks().values():
        assert read_task(_file(tmp_path, to_yaml(task))) == task


def test_where_the_users_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tasks_path() == tmp_path / "mine"
    monkeypatch.delenv("ECHOSEARCH_TASKS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    assert tasks_path() == tmp_path / "settings" / "echosearch" / "tasks"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for unusable in ("relative", ""):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert tasks_path() == tmp_path / "home" / ".config" / "echosearch" / "tasks"


def test_a_task_is_found_by_path_and_by_name(folder: Path, tmp_path: Path) -> None:
    path = _file(folder, LEAD, "anything.yaml")
    by_path = find_task(str(path))
    assert by_path.name == "lead"
    assert find_task("lead") == by_path
    assert find_task("pacemaker") == builtin_tasks()["pacemaker"]
    assert known_tasks()["lead"] == (by_path, str(path))
    assert known_tasks()["pacemaker"] == (builtin_tasks()["pacemaker"], "built in")
    assert list(known_tasks()) == sorted([*builtin_tasks(), "lead"])
    other = _file(tmp_path / "other", LEAD.replace("lead", "wire"), "wire.yml").parent
    assert find_task("wire", other).name == "wire"
    assert "lead" not in known_tasks(other)


def test_an_unknown_name_gets_the_nearest(folder: Path) -> None:
    with pytest.raises(
        UnknownTask, match=r"no task is called 'pacemakr', built in or in .*mine; did you mean pacemaker\?$"
    ):
        find_task("pacemakr")
    with pytest.raises(UnknownTask, match=r"did you mean lv_dilation or "):
        find_task("LV_Dilatation")
    with pytest.raises(
        UnknownTask, match=r"'qqq', built in or in .*mine; `echosearch tasks list` shows all, and a file"
    ):
        find_task("qqq")
    _file(folder, "")
    with pytest.raises(UnknownTask, match="1 files there give no task"):
        find_task("qqq")


def test_a_task_that_takes_a_built_in_name_is_refused_unless_it_is_the_same(folder: Path) -> None:
    built_in = builtin_tasks()["pacemaker"]
    path = _file(folder, to_yaml(replace(built_in, about="mine")))
    assert find_task("pacemaker") == built_in
    for other in (replace(built_in, prompts=("X",)), replace(built_in, aggregate="mean"), replace(built_in, views=())):
        path.write_text(to_yaml(other))
        with pytest.raises(
            BadTask, match=r"t\.yaml: a task of another content with the name pacemaker is built in; giv"
        ):
            find_task("pacemaker")
        assert "pacemaker" not in known_tasks()
        assert find_task(str(path)) == other


def test_one_bad_file_hides_no_other_task(folder: Path) -> None:
    _file(folder, LEAD, "lead.yaml")
    _file(folder, "name: 5", "bad.yaml")
    _file(folder, "no task", "notes.txt")
    _file(folder, "half", ".lead-1234.partial")
    assert find_task("lead").name == "lead"
    [problem] = folder_problems()
    assert problem.startswith(f"{folder / 'bad.yaml'}, line 1, column 1: the key mode is missing")
    with pytest.raises(BadTask, match=r"bad\.yaml, line 1, column 1: the key mode is missing"):
        find_task("bad")


def test_two_files_with_one_name_are_refused(folder: Path) -> None:
    _file(folder, LEAD, "a.yaml")
    _file(folder, LEAD, "b.yaml")
    with pytest.raises(BadTask, match=r"b\.yaml: the task lead stands in .*a\.yaml too; remove one"):
        find_task("lead")
    assert "lead" not in known_tasks()


def test_a_folder_that_is_a_file_is_refused(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(BadTask, match=r"the folder of tasks .*mine cannot be read: Not a directory"):
        find_task("lead")


PUBLISHED = {
    "wire": {"mode": "binary", "label_sources": ["WIRE SEEN. ", "A  WIRE"]},
    "pump": {"mode": "binary", "label_sources": ["PUMP <#>CM DEEP. "], "testers": ["PUMP 4.0CM DEEP. "]},
    "depth": {"mode": "regression", "label_sources": ["DEPTH <#>MM. "], "range": [0, 20]},
    "Wall size": {
        "mode": "categorical",
        "label_sources": ["THICK, MILD", "THICK, SEVERE", "THICK, GRADE 1"],
        "values": [1, 3, 1],
        "value_mapping": {"0": "Normal", "1": "Mild", "3": "Severe"},
        "testers": ["THICK, SEVERE. ", "THICK, MILD. "],
        "tester_values": [3, 1],
        "author": "nobody",
    },
    "fluid": {
        "mode": "categorical",
        "label_sources": ["FLUID. ", "NO FLUID. ", "MUCH FLUID. ", "FLUID. "],
        "values": [1, 0, 2, 2],
        "value_mapping": {"1": "Some", "0": "Normal"},
    },
}


def _published(folder: Path, entries: Any = PUBLISHED) -> Path:
    return _file(folder, json.dumps(entries, indent=1), "prompts.json")


def test_published_prompts_come_in_unchanged(tmp_path: Path) -> None:
    path = _published(tmp_path)
    source = f"prompts.json, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    found, warnings = import_published(path)
    assert found == [
        Task("wire", "binary", ("WIRE SEEN. ", "A  WIRE"), source=source),
        Task("pump", "binary", ("PUMP 4.0CM DEEP. ",), source=source),
        Task("depth", "regression", ("DEPTH <#>MM. ",), range=ValueRange(0, 20), source=source),
        Task(
            "wall_size",
            "categorical",
            classes=(TaskClass("Mild", ("THICK, MILD. ",)), TaskClass("Severe", ("THICK, SEVERE. ",))),
            source=source,
        ),
        Task(
            "fluid",
            "categorical",
            classes=(
                TaskClass("Some", ("FLUID. ",)),
                TaskClass("Normal", ("NO FLUID. ",)),
                TaskClass("2", ("MUCH FLUID. ", "FLUID. ")),
            ),
            normal="Normal",
            source=source,
        ),
    ]
    assert warnings == [
        "'pump': not used, as it is scored with its testers: label_sources",
        "'Wall size' is called wall_size here, as names are lower-case letters, digits and _",
        "'Wall size': class Normal has no prompt, so it gets no score",
        "'Wall size': not used, as it is scored with its testers: label_sources, values, author",
        "'fluid': value 2 has no name in value_mapping, so its class is called 2",
    ]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (["A"], "it is no object with mode and label_sources"),
        ({"label_sources": ["A"]}, "its mode is binary, regression or categorical, not None"),
        ({"mode": "contrastive"}, "its mode is binary, regression or categorical, not 'contrastive'"),
        ({"mode": "binary"}, "its label_sources is no list of phrases"),
        ({"mode": "binary", "label_sources": ["A", 5]}, "its label_sources is no list of phrases"),
        ({"mode": "binary", "label_sources": ["A"], "testers": "A"}, "its testers is no list of phrases"),
        ({"mode": "binary", "label_sources": ["A <#>"]}, "task x: the prompt 'A <#>' has <#>, which regressions have"),
        ({"mode": "binary", "label_sources": ["A", "A"]}, "task x: a prompt stands there twice"),
        ({"mode": "regression", "label_sources": ["<#>"]}, "its range is two whole numbers, .*, not None"),
        ({"mode": "regression", "label_sources": ["<#>"], "range": [0, 9.5]}, r"its range .*, not \[0, 9\.5\]"),
        ({"mode": "regression", "label_sources": ["<#>"], "range": [False, True]}, r"its range .*, not \[False, "),
        ({"mode": "regression", "label_sources": ["<#>"], "range": [0, 3]}, "task x: 4 prompts with their numbers"),
        ({"mode": "categorical", "label_sources": ["A"]}, "its values is no list of one value for each of 1 prompts"),
        ({"mode": "categorical", "label_sources": ["A"], "values": [1, 2]}, "its values is no list of one value"),
        ({"mode": "categorical", "label_sources": ["A"], "values": [1.5]}, "its values has more than whole numbers"),
        ({"mode": "categorical", "label_sources": ["A"], "values": [1], "testers": ["B"]}, "its tester_values is no "),
        ({"mode": "categorical", "label_sources": ["A"], "values": [1], "value_mapping": ["B"]}, "its value_mapping "),
        ({"mode": "categorical", "label_sources": ["A"], "values": [1], "value_mapping": {"1": 1}}, "its value_mappin"),
    ],
)  # fmt: skip
def test_a_published_task_that_cannot_be_used_is_named(tmp_path: Path, entry: Any, sentence: str) -> None:
    found, [warning] = import_published(_published(tmp_path, {"x": entry, "wire": PUBLISHED["wire"]}))
    assert [task.name for task in found] == ["wire"]
    assert re.match(f"'x' is left out: {sentence}", warning), warning


@pytest.mark.parametrize(
    ("title", "name"),
    [("LV-Size (mm)", "lv_size_mm"), ("3d", "task_3d"), ("Größe", "gr_e"), ("心", "task"), ("a" * 70, "a" * 64)],
)  # fmt: skip
def test_a_title_becomes_a_name(tmp_path: Path, title: str, name: str) -> None:
    [task], [warning] = import_published(_published(tmp_path, {title: PUBLISHED["wire"]}))
    assert task.name == name
    assert warning == f"{title!r} is called {name} here, as names are lower-case letters, digits and _"


def test_two_titles_that_would_get_one_name(tmp_path: Path) -> None:
    path = _published(tmp_path, {"wire": PUBLISHED["wire"], "Wire": PUBLISHED["pump"]})
    [task], warnings = import_published(path)
    assert task.prompts == ("WIRE SEEN. ", "A  WIRE")
    assert warnings == ["'Wire' is left out: the file has another task that would be called wire"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"a": 1,\n "b": }', r"prompts\.json, line 2, column 7: this is not JSON: Expecting value$"),
        (b"", r"prompts\.json, line 1, column 1: this is not JSON: Expecting value$"),
        (b"[1]", r"prompts\.json, line 1, column 1: published prompts are one object, task name -> mode and label"),
        (b'{"a": 1, "": 2, "": 3}', r"prompts\.json: the key '' stands twice in one object, so one of them would be"),
        (b"[" * 100_000, r"prompts\.json: this JSON cannot be read"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"prompts\.json: this JSON cannot be read"),
        (b'{\n"\xff": 1}', r"prompts\.json, line 2, column 2: this is not UTF-8 text$"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_published_prompts(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(BadTask, match=sentence):
        import_published(_file(tmp_path, data, "prompts.json"))


def test_what_an_import_would_write(folder: Path) -> None:
    pacemaker = replace(builtin_tasks()["pacemaker"], views=(), aggregate="mean")
    wire, depth = Task("wire", "binary", ("W",)), Task("depth", "binary", ("D",))
    write_tasks([wire], folder)
    plan = plan_import([pacemaker, replace(wire, source="elsewhere"), depth], folder)
    assert plan.new == (depth,)
    assert plan.already_there == ("wire",)
    assert plan.built_in == ("pacemaker",)


def test_a_name_that_stands_for_something_else_is_refused(folder: Path) -> None:
    _file(folder, "name: 5", "broken.yaml")
    _file(folder, to_yaml(Task("wire", "binary", ("W",))), "any.yaml")
    _file(folder, to_yaml(Task("view", "binary", ("W",))), "hidden.yaml")
    clashing = [Task(name, "binary", ("X",)) for name in ("pacemaker", "wire", "broken", "view")]
    with pytest.raises(
        BadTask, match=r"^nothing was stored: .* pacemaker \(built in\), wire \(.*any\.yaml\), broken \(.*br"
    ):
        plan_import([*clashing, Task("free", "binary", ("X",))], folder)
    with pytest.raises(
        BadTask, match=r"already view \(.*view\.yaml\); give all of them other names, .* --prefix publish"
    ):
        plan_import(clashing[3:], folder)


def test_all_files_are_written_or_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = [Task(name, "binary", ("X. ",)) for name in ("a", "b", "c")]
    rename, calls = Path.rename, iter(range(3))

    def full(path: Path, target: Path) -> Path:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(BackendError, match=r"into .*mine, nothing was stored: No space left on device$"):
            write_tasks(three, folder)
    assert list(folder.iterdir()) == []
    assert write_tasks(three, folder) == [folder / "a.yaml", folder / "b.yaml", folder / "c.yaml"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.yaml", "b.yaml", "c.yaml"]
    assert find_task("b") == three[1]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match=r"cannot write tasks into .*file/x, nothing was stored: Not a directory"):
        write_tasks([Task("a", "binary", ("X",))], tmp_path / "file" / "x")


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `echosearch tasks ...`: exit code and standard output; errors come as they were raised."""

    def run(*arguments: object) -> tuple[int, str]:
        result = tasks_group.main([str(argument) for argument in arguments], standalone_mode=False)
        return int(result or 0), capsys.readouterr().out

    return run


def test_list_shows_what_each_task_is(call: Call, folder: Path) -> None:
    path = _file(folder, EF + "step: 5\nunit: mm\n")
    _file(folder, "", "empty.yaml")
    code, out = call("list")
    assert code == 0
    assert out.splitlines()[0].startswith(f"note: {folder / 'empty.yaml'}, line 1, column 1: the file is empty; ")
    rows = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip()}
    assert rows["name"] == ["name", "mode", "classes or range", "views", "prompts", "validated", "origin"]
    assert rows["lv_dilation"] == [
        "lv_dilation", "contrastive", "normal, mild, moderate, severe", "all", "12", "not validated on patients",
        "built in",
    ]  # fmt: skip
    assert rows["ef"][1:6] == ["regression", "0 to 100 mm in steps of 5", "all", "21", "not validated on patients"]
    assert "not validated on patients" not in rows["pacemaker"]
    told = json.loads(call("list", "--json")[1])
    assert len(told["tasks"]) == 17
    assert len(told["problems"]) == 1
    assert told["tasks"][0]["origin"] == str(path)


def test_show_prints_a_file_that_can_be_used(call: Call, tmp_path: Path) -> None:
    task = builtin_tasks()["lv_dilation"]
    code, out = call("show", "lv_dilation")
    assert code == 0
    assert out.splitlines()[0] == f"# built in; 12 prompts; id {task.id}"
    assert out.splitlines()[1] == "# not validated on patients"
    path = _file(tmp_path, out)
    assert read_task(path) == task
    assert call("show", path)[1].splitlines()[0] == f"# {path}; 12 prompts; id {task.id}"
    assert "not validated" not in call("show", "pacemaker")[1]
    told = json.loads(call("show", "pacemaker", "--json")[1])
    assert told["prompts"][1] == "ECHO DENSITY IN RIGHT ATRIUM SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. "
    assert told["id"] == builtin_tasks()["pacemaker"].id
    assert (told["num_prompts"], told["origin"]) == (2, "built in")
    with pytest.raises(UnknownTask, match=r"did you mean pacemaker\?"):
        call("show", "pacemaker2")


def test_show_escapes_what_a_terminal_would_obey(call: Call, tmp_path: Path) -> None:
    task = Task("a", "binary", ("LEAD\u202e \x1b[2J",))
    out = call("show", _file(tmp_path, to_yaml(task)))[1]
    assert all(line.isprintable() for line in out.splitlines())
    assert read_task(_file(tmp_path, out)) == task


def test_validate_says_a_line_for_each_file(call: Call, tmp_path: Path) -> None:
    good, bad = _file(tmp_path, EF), _file(tmp_path, "mode: binary", "bad.yaml")
    assert call("validate", good) == (0, f"{good}: ok, task ef, 101 prompts\n")
    code, out = call("validate", bad, good)
    assert code == 2
    assert out.splitlines() == [
        f"{bad}, line 1, column 1: the key name is missing; a task has name, mode, and prompts or classes",
        f"{good}: ok, task ef, 101 prompts",
    ]
    code, out = call("validate", good, "--json")
    assert json.loads(out) == [{"file": str(good), "task": "ef", "num_prompts": 101, "error": None}]


def test_import_writes_a_file_for_each_task(call: Call, tmp_path: Path, folder: Path) -> None:
    entries = PUBLISHED | {"pacemaker": {"mode": "binary", "label_sources": [*builtin_tasks()["pacemaker"].prompts]}}
    path = _published(tmp_path, entries)
    code, out = call("import", path, "--dry-run")
    assert code == 0
    assert "would be written: depth, 21 prompts\n" in out
    assert out.splitlines()[-1] == f"5 tasks would be written into {folder}"
    assert not folder.exists()

    code, out = call("import", path)
    assert code == 0
    assert "note: 'pump': not used, as it is scored with its testers: label_sources\n" in out
    assert "written: wire, 2 prompts\n" in out
    assert "built in already, with these prompts: pacemaker\n" in out
    assert out.splitlines()[-1] == f"5 tasks written into {folder}"
    assert sorted(file.name for file in folder.iterdir()) == [
        "depth.yaml", "fluid.yaml", "pump.yaml", "wall_size.yaml", "wire.yaml",
    ]  # fmt: skip
    assert [find_task(task.name) for task in import_published(path)[0][:5]] == import_published(path)[0][:5]

    told = json.loads(call("import", path, "--json")[1])
    assert told["written"] == told["would_be_written"] == []
    assert told["already_there"] == ["wire", "pump", "depth", "wall_size", "fluid"]
    assert told["built_in"] == ["pacemaker"]
    assert len(told["warnings"]) == 5


def test_import_with_another_content_needs_a_prefix(call: Call, tmp_path: Path) -> None:
    path, into = _published(tmp_path, {"wire": PUBLISHED["wire"], "view": PUBLISHED["pump"]}), tmp_path / "into"
    with pytest.raises(BadTask, match=r"nothing was stored: .* view \(built in\); .*--prefix published_$"):
        call("import", path, "--into", into)
    assert not into.exists()
    assert call("import", path, "--into", into, "--prefix", "published_")[0] == 0
    assert sorted(file.name for file in into.iterdir()) == ["published_view.yaml", "published_wire.yaml"]
    with pytest.raises(BadTask, match=r"a task's name is lower-case letters, .*, not 'P-wire'$"):
        call("import", path, "--into", into, "--prefix", "P-")


def test_import_of_nothing_is_refused(call: Call, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(
        BadTask, match=r"prompts\.json has no task that can be used, so nothing was stored; 'x' is left o"
    ):
        call("import", _published(tmp_path, {"x": 1}))
    assert not folder.exists()
