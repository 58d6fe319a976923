"""Tasks on disk: built in, in the user's folder, as YAML of their own, or in the published JSON. Knows no scores.

What a file gets wrong is said as `FILE, line L, column C: sentence`; YAML's own guesses (an unquoted `no` that
becomes false) are refused where text is wanted, because a prompt must reach the model letter by letter.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import yaml

from echosearch import files
from echosearch.config import tasks_path
from echosearch.errors import BackendError, BadTask, UnknownTask
from echosearch.files import PARTIAL, Output, refuse_inside_index
from echosearch.zeroshot.tasks import AGGREGATES, MODES, Aggregate, Mode, PublishedFigure, Task, TaskClass, ValueRange

BUILT_IN: Final = "built in"
"""Where a task comes from that no file of the user holds."""

SUFFIXES: Final = (".yaml", ".yml")

_KEYS: Final = (
    "name", "mode", "about", "prompts", "classes", "range", "step", "unit", "normal", "views", "aggregate", "source",
    "validated", "published",
)  # fmt: skip
_TEXT_KEYS: Final = ("name", "about", "normal", "source", "validated")
_FIGURE_KEYS: Final = ("name", "value", "source")
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TAG: Final = "tag:yaml.org,2002:"
_READ_AS: Final = {
    "bool": "yes or no",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "nothing",
}


def find_task(reference: str, folder: Path | None = None) -> Task:
    """The task of a file (.yaml, .yml), or of this name in the user's folder or built in.

    UnknownTask offers the nearest names; BadTask when the file is wrong, or a name could mean two tasks.
    """
    if reference.lower().endswith(SUFFIXES):
        return read_task(files.absolute(Path(reference)))
    folder = tasks_path() if folder is None else folder
    theirs = _read_folder(folder)
    for name, error in theirs.refused:
        if name == reference:
            raise error
    known = theirs.known()
    if reference in known:
        return known[reference][0]
    near = get_close_matches(reference.lower(), known, n=3, cutoff=0.5)
    parts = [f"no task is called {reference!r}, built in" + (f" or in {folder}" if folder is not None else "")]
    if near:
        parts.append(f"nearest: {', '.join(near)}")
    if theirs.refused:
        parts.append(f"{len(theirs.refused)} files there give no task")
    parts.append("`echosearch tasks list` shows all, and a file of your own is given by its path, ending in .yaml")
    raise UnknownTask("; ".join(parts))


def known_tasks(folder: Path | None = None) -> dict[str, tuple[Task, str]]:
    """Every task that `find_task` finds by name, in alphabetical order, with its origin: built in, or its file."""
    return _read_folder(tasks_path() if folder is None else folder).known()


def folder_problems(folder: Path | None = None) -> list[str]:
    """A sentence for each file of the user's folder that gives no task."""
    theirs = _read_folder(tasks_path() if folder is None else folder)
    return [str(error) for _, error in theirs.refused]


def builtin_tasks() -> dict[str, Task]:
    """The tasks that come with the program, by name."""
    return dict(_builtin_tasks())


@cache
def _builtin_tasks() -> Mapping[str, Task]:
    folder = importlib.resources.files(__package__).joinpath("builtin")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(SUFFIXES))
    tasks = [_parse_task(_decode(folder.joinpath(name).read_bytes(), name), name) for name in files]
    return {task.name: task for task in tasks}


@dataclass(frozen=True, slots=True)
class _UserTasks:
    """`refused` has the name that a file would have given, as far as it is known, and why it gives none."""

    tasks: dict[str, tuple[Task, Path]]
    refused: list[tuple[str, BadTask]]

    def known(self) -> dict[str, tuple[Task, str]]:
        known = {name: (task, BUILT_IN) for name, task in _builtin_tasks().items()}
        known |= {name: (task, str(path)) for name, (task, path) in self.tasks.items() if name not in known}
        refused = {name for name, _ in self.refused}
        return {name: known[name] for name in sorted(known) if name not in refused}


def _read_folder(folder: Path | None) -> _UserTasks:
    found = _UserTasks({}, [])
    for path in _task_files(folder) if folder is not None else ():
        try:
            task = read_task(path)
        except BadTask as error:
            found.refused.append((path.stem, error))
            continue
        built_in = _builtin_tasks().get(task.name)
        if built_in is not None and not _same_rule(task, built_in):
            sentence = f"{path}: a task of another content with the name {task.name} is built in; give it another name"
            found.refused.append((task.name, BadTask(f"{sentence}, or use the file by its path from another folder")))
        elif task.name in found.tasks:
            other = found.tasks[task.name][1]
            found.refused.append(
                (task.name, BadTask(f"{path}: the task {task.name} stands in {other} too; remove one"))
            )
        else:
            found.tasks[task.name] = (task, path)
    return found


def _task_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadTask(f"the folder of tasks {folder} cannot be read: {error.strerror or error}") from error


def _same_rule(one: Task, other: Task) -> bool:
    """Whether the two give the same answers for a video and for a study."""
    return (one.id, one.views, one.aggregate, one.normal) == (other.id, other.views, other.aggregate, other.normal)


def read_task(path: Path) -> Task:
    """The task of a YAML file. BadTask names file, line and column."""
    return _parse_task(_decode(_read_bytes(path), str(path)), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe without a writer would never end
            raise BadTask(f"{path} is no file")
        return path.read_bytes()
    except OSError as error:
        raise BadTask(f"{path} cannot be read: {error.strerror or error}") from error


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise BadTask(f"{_at(file, *_line_and_column(before))}this is not UTF-8 text") from error


def _parse_task(text: str, file: str) -> Task:
    reader, root = _Reader(file), _compose(text, file)
    keys = reader.entries(root, "a task", _KEYS)
    for needed in ("name", "mode"):
        if needed not in keys:
            raise reader.refusal(root, f"the key {needed} is missing; a task has name, mode, and prompts or classes")
    task_range = _range(reader, keys)
    values = {key: node for key, (_, node) in keys.items()}
    told: dict[str, Any] = {key: reader.text(values[key], key) for key in _TEXT_KEYS if key in values}
    told["mode"] = cast(Mode, reader.choice(values["mode"], "mode", MODES))
    if "aggregate" in values:
        told["aggregate"] = cast(Aggregate, reader.choice(values["aggregate"], "aggregate", AGGREGATES))
    if "prompts" in values:
        told["prompts"] = reader.phrases(values["prompts"], "prompts")
    if "classes" in values:
        classes = reader.entries(values["classes"], "classes")
        told["classes"] = tuple(
            TaskClass(name, reader.phrases(node, f"class {name}")) for name, (_, node) in classes.items()
        )
    if "views" in values:
        told["views"] = reader.texts(values["views"], "views")
    if "published" in values:
        told["published"] = _figures(reader, values["published"])
    try:
        return Task(range=task_range, **told)
    except BadTask as error:
        raise reader.refusal(_culprit(str(error), keys), str(error)) from error


def _range(reader: _Reader, keys: _Entries) -> ValueRange | None:
    if "range" not in keys:
        for key in ("step", "unit"):
            if key in keys:
                raise reader.refusal(keys[key][0], f"{key} goes with a range, which is missing")
        return None
    ends = reader.items(keys["range"][1], "range")
    if len(ends) != 2:
        raise reader.refusal(keys["range"][1], "range is two whole numbers, such as [0, 100]")
    low, high = (reader.whole(node, "range") for node in ends)
    step = reader.whole(keys["step"][1], "step") if "step" in keys else 1
    return ValueRange(low, high, step, reader.text(keys["unit"][1], "unit") if "unit" in keys else "")


def _figures(reader: _Reader, node: yaml.Node) -> tuple[PublishedFigure, ...]:
    figures = []
    for item in reader.items(node, "published"):
        keys = reader.entries(item, "a published figure", _FIGURE_KEYS)
        for needed in _FIGURE_KEYS:
            if needed not in keys:
                raise reader.refusal(
                    item, f"the key {needed} is missing; a published figure has name, value and source"
                )
        name, source = (reader.text(keys[key][1], key) for key in ("name", "source"))
        figures.append(PublishedFigure(name, reader.number(keys["value"][1], "value"), source))
    return tuple(figures)


_SIGNS: Final = (
    ("normal", "normal names"),
    ("range", ": a range "),
    ("range", "with their numbers"),
)
"""Key of a file, and words by which a refusal of `Task` speaks of it."""


def _culprit(message: str, keys: _Entries) -> yaml.Node:
    """The node that a refusal of `Task` speaks of; the mode where it speaks of the whole."""
    if "a task's name" in message:
        return keys["name"][1]
    spoken_of = keys.get("prompts", (None, None))[1]
    for key, phrases in keys["classes"][1].value if "classes" in keys else ():
        if f"{key.value!r} cannot be" in message or (f"class {key.value}:" in message and not phrases.value):
            return cast(yaml.Node, key)
        if f"class {key.value}:" in message:
            spoken_of = phrases
    for phrase in spoken_of.value if spoken_of is not None else ():
        if f"prompt {phrase.value!r}" in message or f"not {phrase.value!r}" in message:
            return cast(yaml.Node, phrase)
    for key, sign in _SIGNS:
        if key in keys and sign in message:
            return keys[key][1]
    return keys["mode"][1]


def _compose(text: str, file: str) -> yaml.Node:
    """The nodes of a YAML text; nothing is constructed from them."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        place = _line_and_column(text[: error.position])
        raise BadTask(f"{_at(file, *place)}this character cannot stand in YAML as it is") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "; text with signs such as : % # [ needs quotes" if isinstance(error, yaml.scanner.ScannerError) else ""
        raise BadTask(f"{_at(file, *_place_of(mark))}this is not YAML: {said}{hint}") from error
    except RecursionError as error:
        raise BadTask(f"{file}: nested too deeply for a task") from error
    except (ValueError, OverflowError) as error:  # an escape for a character that does not exist
        raise BadTask(f"{file}: this is not YAML: {error}") from error
    if root is None:
        raise BadTask(f"{_at(file, 1, 1)}the file is empty; a task has name, mode, and prompts or classes")
    return root


_Entries = Mapping[str, tuple[yaml.Node, yaml.Node]]
"""Key -> its node and that of its value."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values out of nodes, and says where one is not what it should be."""

    file: str

    def refusal(self, node: yaml.Node, sentence: str) -> BadTask:
        return BadTask(f"{_at(self.file, *_place_of(node.start_mark))}{sentence}")

    def entries(self, node: yaml.Node, what: str, allowed: Sequence[str] | None = None) -> _Entries:
        if not isinstance(node, yaml.MappingNode):
            raise self.refusal(node, f"{what} is a mapping of keys to values, each key with a colon")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = self.text(key, "a key")
            if name in found:
                first = found[name][0].start_mark.line + 1
                raise self.refusal(key, f"the key {name} stands there twice, first in line {first}")
            if allowed is not None and name not in allowed:
                raise self.refusal(key, f"{what} has no key {name!r}; {_nearest(name, allowed)}")
            found[name] = (key, value)
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.refusal(node, f"{what} is a list, one item a line after a dash, or in [ ]")
        return list(node.value)

    def phrases(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """Texts of which YAML has dropped nothing: unquoted ones lose blanks at their end, and all from a # on."""
        texts = self.texts(node, what)
        for item in node.value:
            rest = _rest_of_line(item.end_mark)
            if item.style is None and rest[:1].isspace() and rest.lstrip()[:1] in ("", "#"):
                raise self.refusal(item, f"YAML drops {rest!r} at the end of {item.value!r}; put the phrase in quotes")
        return texts

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        first_lines: dict[str, int] = {}
        for item in self.items(node, what):
            text = self.text(item, f"an item of {what}")
            if text in first_lines:
                raise self.refusal(item, f"{text!r} stands in {what} twice, first in line {first_lines[text]}")
            first_lines[text] = item.start_mark.line + 1
        return tuple(first_lines)

    def text(self, node: yaml.Node, what: str) -> str:
        if isinstance(node, yaml.MappingNode):
            raise self.refusal(node, f"{what} is one text, not a mapping; a text with a colon needs quotes")
        if isinstance(node, yaml.SequenceNode):
            raise self.refusal(node, f"{what} is one text, not a list; a text that begins with [ needs quotes")
        if node.tag == f"{_TAG}str":
            return str(node.value)
        if not node.value:
            raise self.refusal(node, f"{what} is empty; write a text, or leave it out")
        read_as = _READ_AS.get(node.tag.removeprefix(_TAG), f"something special ({node.tag})")
        raise self.refusal(
            node, f'{what} is text; YAML reads {node.value} as {read_as}: write "{node.value}" in quotes'
        )

    def choice(self, node: yaml.Node, what: str, choices: Sequence[str]) -> str:
        text = self.text(node, what)
        if text not in choices:
            raise self.refusal(node, f"{text!r} is no {what}; {_nearest(text, choices)}")
        return text

    def whole(self, node: yaml.Node, what: str) -> int:
        return int(self._plain(node, _WHOLE, f"{what} is in whole numbers"))

    def number(self, node: yaml.Node, what: str) -> float:
        value = float(self._plain(node, _NUMBER, f"{what} is a number"))
        if not math.isfinite(value):
            raise self.refusal(node, f"{what} is a number, and {node.value} is too large for one")
        return value

    def _plain(self, node: yaml.Node, pattern: re.Pattern[str], wanted: str) -> str:
        """The letters of a number as they stand: YAML would read 010 as 8 and 1:30 as 90."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.refusal(node, f"{wanted}, not a list or a mapping")
        if node.style is not None or not pattern.fullmatch(node.value):
            raise self.refusal(node, f"{wanted} without quotes or leading zeros, not {node.value!r}")
        return str(node.value)


def _nearest(name: str, choices: Sequence[str]) -> str:
    near = get_close_matches(name, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"


def _at(file: str, line: int, column: int) -> str:
    return f"{file}, line {line}, column {column}: "


def _place_of(mark: yaml.Mark | None) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _rest_of_line(mark: yaml.Mark) -> str:
    rest = (mark.buffer or "")[mark.pointer :].split("\n", 1)[0]
    return rest.rstrip("\r\0")  # the reader ends its text with a NUL


def _line_and_column(before: str) -> tuple[int, int]:
    """Where one stands after this text, both from 1."""
    lines = before.split("\n")
    return len(lines), len(lines[-1]) + 1


def to_plain(task: Task) -> dict[str, Any]:
    """A task as the keys and values of its file: text, whole numbers, lists; what it does not have is left out."""
    told: dict[str, Any] = {"name": task.name, "mode": task.mode, "about": task.about}
    told["prompts"] = list(task.prompts)
    told["classes"] = {each.name: list(each.prompts) for each in task.classes}
    if task.range is not None:
        told["range"] = [task.range.low, task.range.high]
        told["step"] = task.range.step if task.range.step != 1 else None
        told["unit"] = task.range.unit
    told |= {"normal": task.normal, "views": list(task.views), "aggregate": task.aggregate, "source": task.source}
    told["validated"] = task.validated
    told["published"] = [asdict(figure) for figure in task.published]
    return {key: value for key, value in told.items() if value or (key == "validated" and value is not None)}


def to_yaml(task: Task) -> str:
    """A task as the text of a file from which `read_task` makes an equal one; phrases stand in double quotes."""
    told = to_plain(task)
    for key in ("range", "views"):
        if key in told:
            told[key] = _OneLine(told[key])
    return yaml.dump(told, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)


class _OneLine(list[Any]):
    """A list in brackets."""


class _Dumper(yaml.SafeDumper):
    """Shows each blank of a phrase; single words stand as they are, unless YAML would read them as something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None if re.fullmatch(r"[A-Za-z0-9_.]+", text) else '"'
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


def _represent_one_line(dumper: yaml.SafeDumper, items: _OneLine) -> yaml.Node:
    return dumper.represent_sequence(f"{_TAG}seq", items, flow_style=True)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(_OneLine, _represent_one_line)


def import_published(path: Path) -> tuple[list[Task], list[str]]:
    """The tasks of a file in the format of the published prompts, and a sentence for everything that is not used.

    Prompts stay as they are. `testers`, where a task has them, are what it is scored with. Classes come in the order
    of `value_mapping`; one that is called normal is the task's normal class. BadTask when the file is no such JSON.
    """
    data = _read_bytes(path)
    source = f"{path.name}, sha256 {hashlib.sha256(data).hexdigest()}"
    tasks: dict[str, Task] = {}
    warnings: list[str] = []
    for title, entry in _json_object(_decode(data, str(path)), str(path)).items():
        try:
            task, remarks = _published_task(title, entry, source)
        except BadTask as error:
            warnings.append(f"{title!r} is left out: {error}")
            continue
        if task.name in tasks:
            warnings.append(f"{title!r} is left out: the file has another task that would be called {task.name}")
            continue
        tasks[task.name] = task
        warnings += remarks
    return list(tasks.values()), warnings


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Which tasks are new to a folder, and the names of those that need no file."""

    new: tuple[Task, ...]
    already_there: tuple[str, ...]
    built_in: tuple[str, ...]


def plan_import(tasks: Iterable[Task], folder: Path) -> ImportPlan:
    """What `write_tasks` would have to write. BadTask when a name stands for something else already."""
    theirs = _read_folder(folder)
    known, unclear = theirs.known(), {name for name, _ in theirs.refused}
    new: list[Task] = []
    already_there: list[str] = []
    built_in: list[str] = []
    taken: list[str] = []
    for task in tasks:
        target = folder / f"{task.name}.yaml"
        if task.name in known:
            other, origin = known[task.name]
            if other.id != task.id:
                taken.append(f"{task.name} ({origin})")
            else:
                (built_in if origin == BUILT_IN else already_there).append(task.name)
        elif task.name in unclear or target.exists():
            taken.append(f"{task.name} ({target})")
        else:
            new.append(task)
    if taken:
        raise BadTask(
            f"nothing was stored: with other content there is already {', '.join(taken)}; "
            "give all of them other names, e.g. with --prefix published_"
        )
    return ImportPlan(tuple(new), tuple(already_there), tuple(built_in))


def write_tasks(tasks: Sequence[Task], folder: Path) -> list[Path]:
    """Write a new file for each into a folder, all or none; in no index. BackendError where the disk does not let."""
    refuse_inside_index(folder / "tasks")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write_all(tasks, folder)
    except OSError as error:
        raise BackendError(
            f"cannot write tasks into {folder}, nothing was stored: {error.strerror or error}"
        ) from error


def _write_all(tasks: Sequence[Task], folder: Path) -> list[Path]:
    targets = [Output(folder / f"{task.name}.yaml", f"task {task.name}", ".yaml", force=None).path for task in tasks]
    partials = [folder / f"{PARTIAL}{secrets.token_hex(8)}" for _ in tasks]
    written: list[Path] = []
    try:
        for task, partial in zip(tasks, partials, strict=True):
            with partial.open("x", encoding="utf-8", newline="\n") as file:
                file.write(to_yaml(task))
                file.flush()
                os.fsync(file.fileno())
        for target, partial in zip(targets, partials, strict=True):
            written.append(partial.rename(target))
    finally:
        for path in partials if len(written) == len(tasks) else [*partials, *written]:
            path.unlink(missing_ok=True)
    return written


def _json_object(text: str, file: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        [(commonest, times)] = Counter(key for key, _ in pairs).most_common(1) or [("", 1)]
        if times > 1:
            raise BadTask(f"{file}: the key {commonest!r} stands twice in one object, so one of them would be lost")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise BadTask(f"{_at(file, error.lineno, error.colno)}this is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets in brackets
        raise BadTask(f"{file}: this JSON cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise BadTask(f"{_at(file, 1, 1)}published prompts are one object, task name -> mode and label_sources")
    return value


def _published_task(title: str, entry: Any, source: str) -> tuple[Task, list[str]]:
    if not isinstance(entry, dict):
        raise BadTask("it is no object with mode and label_sources")
    mode = entry.get("mode")
    if mode not in ("binary", "regression", "categorical"):
        raise BadTask(f"its mode is binary, regression or categorical, not {mode!r}")
    name = _task_name(title)
    remarks = []
    if name != title:
        remarks.append(f"{title!r} is called {name} here, as names are lower-case letters, digits and _")
    phrases_key, values_key = ("testers", "tester_values") if "testers" in entry else ("label_sources", "values")
    prompts = _phrases(entry, phrases_key)
    used = {"mode", phrases_key}
    told: dict[str, Any] = {"prompts": prompts}
    if mode == "regression":
        used.add("range")
        told["range"] = _published_range(entry.get("range"))
    if mode == "categorical":
        used |= {values_key, "value_mapping"}
        classes, about_classes = _published_classes(entry, prompts, values_key)
        remarks += [f"{title!r}: {remark}" for remark in about_classes]
        normal = next((each.name for each in classes if each.name.lower() == "normal"), None)
        told = {"classes": classes, "normal": normal}
    if unused := [key for key in entry if key not in used]:
        why = ", as it is scored with its testers" if "testers" in entry else ""
        remarks.append(f"{title!r}: not used{why}: {', '.join(unused)}")
    return Task(name=name, mode=mode, source=source, **told), remarks


def _task_name(title: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    return (name if name[:1].isalpha() else f"task_{name}".rstrip("_"))[:64]


def _phrases(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = entry.get(key)
    if not isinstance(found, list) or not all(isinstance(phrase, str) for phrase in found):
        raise BadTask(f"its {key} is no list of phrases")
    return tuple(found)


def _published_range(found: Any) -> ValueRange:
    if not isinstance(found, list) or [type(end) for end in found] != [int, int]:
        raise BadTask(f"its range is two whole numbers, such as [0, 100], not {found!r}")
    return ValueRange(*found)


def _published_classes(
    entry: Mapping[str, Any], prompts: tuple[str, ...], values_key: str
) -> tuple[tuple[TaskClass, ...], list[str]]:
    values, mapping = entry.get(values_key), entry.get("value_mapping", {})
    if not isinstance(values, list) or len(values) != len(prompts):
        raise BadTask(f"its {values_key} is no list of one value for each of {len(prompts)} prompts")
    if not all(type(value) in (int, str) for value in values):
        raise BadTask(f"its {values_key} has more than whole numbers and text")
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise BadTask("its value_mapping does not give names to values")
    groups: dict[str, list[str]] = {name: [] for name in mapping.values()}
    remarks = []
    for value, prompt in zip(values, prompts, strict=True):
        name = mapping.get(str(value), str(value))
        if name not in groups:
            remarks.append(f"value {value} has no name in value_mapping, so its class is called {name}")
        groups.setdefault(name, []).append(prompt)
    remarks += [f"class {name} has no prompt, so it gets no score" for name, phrases in groups.items() if not phrases]
    return tuple(TaskClass(name, tuple(phrases)) for name, phrases in groups.items() if phrases), remarks
