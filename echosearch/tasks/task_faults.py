"""What is wrong with a file of tasks, as sentences that name the place: `FILE, line L, column C:`. Knows no task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import yaml

from echosearch.errors import BadTask

Entries = Mapping[str, tuple[yaml.Node, yaml.Node]]
"""Of a mapping of YAML: key -> its node and that of its value."""

_READ_AS: Final = {
    "bool": "yes or no",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "nothing",
}


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
        raise BadTask(f"{at(file, *line_and_column(before))}this is not UTF-8 text") from error


def not_yaml(error: Exception, text: str, file: str) -> BadTask:
    """What to raise for a text of which YAML makes no nodes."""
    match error:
        case RecursionError():
            return BadTask(f"{file}: nested too deeply for a task")
        case yaml.reader.ReaderError():
            place = line_and_column(text[: error.position])
            return BadTask(f"{at(file, *place)}this character cannot stand in YAML as it is")
        case yaml.MarkedYAMLError():
            said = ", ".join(part for part in (error.context, error.problem) if part)
            is_sign = isinstance(error, yaml.scanner.ScannerError)
            hint = "; text with signs such as : % # [ needs quotes" if is_sign else ""
            place = place_of(error.problem_mark or error.context_mark)
            return BadTask(f"{at(file, *place)}this is not YAML: {said}{hint}")
    return BadTask(f"{file}: this is not YAML: {error}")  # an escape for a character that does not exist


def no_text(node: yaml.Node, what: str) -> str:
    """What to say of a node that stands where a text has to."""
    if isinstance(node, yaml.MappingNode):
        return f"{what} is one text, not a mapping; a text with a colon needs quotes"
    if isinstance(node, yaml.SequenceNode):
        return f"{what} is one text, not a list; a text that begins with [ needs quotes"
    if not node.value:
        return f"{what} is empty; write a text, or leave it out"
    read_as = _READ_AS.get(node.tag.rpartition(":")[2], f"something special ({node.tag})")
    return f'{what} is text; YAML reads {node.value} as {read_as}: write "{node.value}" in quotes'


def culprit(keys: Entries, where: tuple[str | int, ...]) -> yaml.Node:
    """The node at which a refusal of a task points; the mode where it is about the whole."""
    match where:
        case ("classes", str(name), *within):
            key, phrases = next(pair for pair in keys["classes"][1].value if pair[0].value == name)
            return cast(yaml.Node, phrases.value[within[0]] if within else key)
        case ("prompts", int(place)):
            return cast(yaml.Node, keys["prompts"][1].value[place])
        case (str(key),) if key in keys:
            return keys[key][1]
    return keys["mode"][1]


def at(file: str, line: int, column: int) -> str:
    """How a sentence about a place begins; both from 1."""
    return f"{file}, line {line}, column {column}: "


def place_of(mark: yaml.Mark | None) -> tuple[int, int]:
    """Line and column, from 1."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def line_and_column(before: str) -> tuple[int, int]:
    """Where one stands after this text, both from 1."""
    lines = before.split("\n")
    return len(lines), len(lines[-1]) + 1
