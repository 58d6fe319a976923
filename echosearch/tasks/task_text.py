"""A task as the text of its YAML file, and back. Knows no folder and no scores.

What a file gets wrong is said as `FILE, line L, column C: sentence`; YAML's own guesses (an unquoted `no` that
becomes false) are refused where text is wanted, because a prompt must reach the model letter by letter.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

import yaml

from echosearch.errors import BadTask
from echosearch.tasks.task import AGGREGATES, MODES, PublishedFigure, Task, TaskClass, ValueRange

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


def read_task(path: Path) -> Task:
    """The task of a YAML file. BadTask names file, line and column."""
    return parse_task(decode(read_bytes(path), str(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds. BadTask where there is none."""
    try:
        if path.exists() and not path.is_file():  # a pipe without a writer would never end
            raise BadTask(f"{path} is no file")
        return path.read_bytes()
    except OSError as error:
        raise BadTask(f"{path} cannot be read: {error.strerror or error}") from error


def decode(data: bytes, file: str) -> str:
    """UTF-8, with a byte order mark or without. BadTask names the place of what is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise BadTask(f"{at(file, *_line_and_column(before))}this is not UTF-8 text") from error


def parse_task(text: str, file: str) -> Task:
    """The task of a YAML text; `file` stands in BadTask."""
    reader, root = _Reader(file), _compose(text, file)
    keys = reader.entries(root, "a task", _KEYS)
    told = reader.values(root, keys, _KEYS, ("name", "mode"), "a task has name, mode, and prompts or classes")
    step, unit = told.pop("step", 1), told.pop("unit", "")
    if "range" in told:
        low, high = told["range"]
        told["range"] = ValueRange(low, high, step, unit)
    elif stray := [key for key in ("step", "unit") if key in keys]:
        raise reader.refusal(keys[stray[0]][0], f"{stray[0]} goes with a range, which is missing")
    try:
        return Task(**told)
    except BadTask as error:
        raise reader.refusal(_culprit(reader, keys, error.where), str(error)) from error


def _culprit(reader: _Reader, keys: _Entries, where: tuple[str | int, ...]) -> yaml.Node:
    """The node at which a refusal of `Task` points; the mode where it is about the whole."""
    match where:
        case ("classes", str(name), *within):
            key, phrases = reader.entries(keys["classes"][1], "classes")[name]
            return cast(yaml.Node, phrases.value[within[0]]) if within else key
        case ("prompts", int(place)):
            return cast(yaml.Node, keys["prompts"][1].value[place])
        case (str(key),) if key in keys:
            return keys[key][1]
    return keys["mode"][1]


def _compose(text: str, file: str) -> yaml.Node:
    """The nodes of a YAML text; nothing is constructed from them."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        place = _line_and_column(text[: error.position])
        raise BadTask(f"{at(file, *place)}this character cannot stand in YAML as it is") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        hint = "; text with signs such as : % # [ needs quotes" if isinstance(error, yaml.scanner.ScannerError) else ""
        raise BadTask(f"{at(file, *_place_of(mark))}this is not YAML: {said}{hint}") from error
    except RecursionError as error:
        raise BadTask(f"{file}: nested too deeply for a task") from error
    except (ValueError, OverflowError) as error:  # an escape for a character that does not exist
        raise BadTask(f"{file}: this is not YAML: {error}") from error
    if root is None:
        raise BadTask(f"{at(file, 1, 1)}the file is empty; a task has name, mode, and prompts or classes")
    return root


_Entries = Mapping[str, tuple[yaml.Node, yaml.Node]]
"""Key -> its node and that of its value."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values out of nodes, and says where one is not what it should be."""

    file: str

    def refusal(self, node: yaml.Node, sentence: str) -> BadTask:
        return BadTask(f"{at(self.file, *_place_of(node.start_mark))}{sentence}")

    def entries(self, node: yaml.Node, what: str, allowed: Iterable[str] | None = None) -> _Entries:
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

    def values(
        self, node: yaml.Node, keys: _Entries, readers: Mapping[str, _Read], needed: Iterable[str], has: str
    ) -> dict[str, Any]:
        """What each key says, read as its reader does; `has` says what has to be there."""
        for key in needed:
            if key not in keys:
                raise self.refusal(node, f"the key {key} is missing; {has}")
        return {key: readers[key](self, value, key) for key, (_, value) in keys.items()}

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.refusal(node, f"{what} is a list, one item a line after a dash, or in [ ]")
        return list(node.value)

    def classes(self, node: yaml.Node, what: str) -> tuple[TaskClass, ...]:
        found = self.entries(node, what)
        return tuple(TaskClass(name, self.phrases(value, f"class {name}")) for name, (_, value) in found.items())

    def ends(self, node: yaml.Node, what: str) -> tuple[int, ...]:
        ends = self.items(node, what)
        if len(ends) != 2:
            raise self.refusal(node, f"{what} is two whole numbers, such as [0, 100]")
        return tuple(self.whole(end, what) for end in ends)

    def figures(self, node: yaml.Node, what: str) -> tuple[PublishedFigure, ...]:
        read = []
        for item in self.items(node, what):
            keys = self.entries(item, "a published figure", _FIGURE_KEYS)
            has = "a published figure has name, value and source"
            read.append(PublishedFigure(**self.values(item, keys, _FIGURE_KEYS, ("name", "value", "source"), has)))
        return tuple(read)

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

    def mode(self, node: yaml.Node, what: str) -> str:
        return self._choice(node, what, MODES)

    def aggregate(self, node: yaml.Node, what: str) -> str:
        return self._choice(node, what, AGGREGATES)

    def _choice(self, node: yaml.Node, what: str, choices: Sequence[str]) -> str:
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


_Read = Callable[[_Reader, yaml.Node, str], Any]

_KEYS: Final[Mapping[str, _Read]] = {
    "name": _Reader.text, "mode": _Reader.mode, "about": _Reader.text, "prompts": _Reader.phrases,
    "classes": _Reader.classes, "range": _Reader.ends, "step": _Reader.whole, "unit": _Reader.text,
    "normal": _Reader.text, "views": _Reader.texts, "aggregate": _Reader.aggregate, "source": _Reader.text,
    "validated": _Reader.text, "published": _Reader.figures,
}  # fmt: skip
"""How each key of a task is read."""

_FIGURE_KEYS: Final[Mapping[str, _Read]] = {
    "name": _Reader.text, "value": _Reader.number, "source": _Reader.text, "model": _Reader.text,
}  # fmt: skip


def _nearest(name: str, choices: Iterable[str]) -> str:
    near = get_close_matches(name, choices, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"


def at(file: str, line: int, column: int) -> str:
    """How a sentence about a place begins; both from 1."""
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
    told["published"] = [{key: is_ for key, is_ in asdict(each).items() if is_ is not None} for each in task.published]
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
