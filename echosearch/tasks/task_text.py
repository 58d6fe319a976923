"""A task from the text of its YAML file, and those that come with the program. Knows no folder of the user.

What a file gets wrong is said as `FILE, line L, column C: sentence`; YAML's own guesses (an unquoted `no` that
becomes false) are refused where text is wanted, because a prompt must reach the model letter by letter.
"""

from __future__ import annotations

import importlib.resources
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from echosearch.errors import BadTask, nearest
from echosearch.tasks.modes import MODES
from echosearch.tasks.task import AGGREGATES, PublishedFigure, Task, TaskClass, ValueRange
from echosearch.tasks.task_faults import Entries, at, culprit, decode, no_text, not_yaml, place_of, read_bytes

_BUILT_IN: Final = importlib.resources.files(__package__).joinpath("builtin")
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@cache
def builtin_task(name: str) -> Task:
    """One of the tasks that come with the program, each in a file of its name."""
    text = _BUILT_IN.joinpath(f"{name}.yaml").read_text("utf-8")
    return parse_task(text, f"{name}.yaml")


def builtin_tasks() -> dict[str, Task]:
    """All of them, by name."""
    names = sorted(file.name for file in _BUILT_IN.iterdir() if file.name.endswith(".yaml"))
    return {name: builtin_task(name) for name in (file.removesuffix(".yaml") for file in names)}


def read_task(path: Path) -> Task:
    """The task of a YAML file. BadTask names file, line and column."""
    return parse_task(decode(read_bytes(path), str(path)), str(path))


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
        raise reader.refusal(culprit(keys, error.where), str(error)) from error


def _compose(text: str, file: str) -> yaml.Node:
    """The nodes of a YAML text; nothing is constructed from them."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise not_yaml(error, text, file) from error
    if root is None:
        raise BadTask(f"{at(file, 1, 1)}the file is empty; a task has name, mode, and prompts or classes")
    return root


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values out of nodes, and says where one is not what it should be."""

    file: str

    def refusal(self, node: yaml.Node, sentence: str) -> BadTask:
        return BadTask(f"{at(self.file, *place_of(node.start_mark))}{sentence}")

    def entries(self, node: yaml.Node, what: str, allowed: Iterable[str] | None = None) -> Entries:
        if not isinstance(node, yaml.MappingNode):
            raise self.refusal(node, f"{what} is a mapping of keys to values, each key with a colon")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = self.text(key, "a key")
            if name in found:
                first = found[name][0].start_mark.line + 1
                raise self.refusal(key, f"the key {name} stands there twice, first in line {first}")
            if allowed is not None and name not in allowed:
                raise self.refusal(key, f"{what} has no key {name!r}; {nearest(name, allowed)}")
            found[name] = (key, value)
        return found

    def values(
        self, node: yaml.Node, keys: Entries, readers: Mapping[str, _Read], needed: Iterable[str], has: str
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
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            raise self.refusal(node, no_text(node, what))
        return str(node.value)

    def choice(self, node: yaml.Node, what: str) -> str:
        text, choices = self.text(node, what), tuple(MODES) if what == "mode" else AGGREGATES
        if text not in choices:
            raise self.refusal(node, f"{text!r} is no {what}; {nearest(text, choices)}")
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
    "name": _Reader.text, "mode": _Reader.choice, "about": _Reader.text, "prompts": _Reader.phrases,
    "classes": _Reader.classes, "range": _Reader.ends, "step": _Reader.whole, "unit": _Reader.text,
    "normal": _Reader.text, "views": _Reader.texts, "aggregate": _Reader.choice, "source": _Reader.text,
    "validated": _Reader.text, "published": _Reader.figures,
}  # fmt: skip
"""How each key of a task is read."""

_FIGURE_KEYS: Final[Mapping[str, _Read]] = {
    "name": _Reader.text, "value": _Reader.number, "source": _Reader.text, "model": _Reader.text,
}  # fmt: skip


def _rest_of_line(mark: yaml.Mark) -> str:
    rest = (mark.buffer or "")[mark.pointer :].split("\n", 1)[0]
    return rest.rstrip("\r\0")  # the reader ends its text with a NUL
