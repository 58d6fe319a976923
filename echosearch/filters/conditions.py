"""The filter language: conditions over fields, manifest attributes and swept tasks. Knows no catalog.

    view = 'A4C' AND attr.age >= 18 AND acquired_at BETWEEN '2015' AND '2020' AND NOT task.tavr.yes

`grammar.lark` is the language, and `reading` makes the conditions below of a text.

A condition says yes, no, or, where a value is not known, nothing: `decided` arrays hold 1, -1 and 0 for these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from typing import ClassVar, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadFilter, shown

Value = int | float | str
ValueType = Literal["number", "text", "date", "flag"]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Decided = npt.NDArray[np.int8]

_LONGEST: Final = 4000
_MOST_CONDITIONS: Final = 200
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "IS", "NULL", "LIKE", "TRUE", "FALSE"})
_NUMBER: Final = re.compile(r"\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?", re.ASCII)
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?)?", re.ASCII)
_FIRST_MOMENT: Final = "0000-01-01T00:00:00"

_HOLDS: Final[dict[ValueType, str]] = {"number": "numbers", "text": "text", "date": "dates", "flag": "yes or no"}


@dataclass(frozen=True, slots=True)
class Name:
    """What a condition is about, in one to three parts; `position` is its first character in the filter, from 1.

    The same name at two places is equal.
    """

    parts: tuple[str, ...]
    position: int = field(compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.parts) <= 3 or not all(self.parts):
            raise ValueError(f"a name has one to three parts, none of them empty, not {self.parts}")

    def __str__(self) -> str:
        return _dotted(self.parts)


@dataclass(frozen=True, slots=True)
class Compare:
    """`attr.age >= 18`"""

    name: Name
    operator: Operator
    value: Value

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise ValueError(f"an operator is one of {', '.join(get_args(Operator))}, not {self.operator!r}")
        _check_values(self.value)

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {_written(self.value)}"


@dataclass(frozen=True, slots=True)
class Between:
    """`attr.age BETWEEN 18 AND 65`, both ends included."""

    name: Name
    low: Value
    high: Value

    def __post_init__(self) -> None:
        _check_values(self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name} BETWEEN {_written(self.low)} AND {_written(self.high)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """`attr.site IN ('A', 'B')`"""

    name: Name
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("one of no values is none")
        _check_values(*self.values)

    def __str__(self) -> str:
        return f"{self.name} IN ({', '.join(map(_written, self.values))})"


@dataclass(frozen=True, slots=True)
class Missing:
    """`attr.age IS NULL`: always yes or no."""

    name: Name

    def __str__(self) -> str:
        return f"{self.name} IS NULL"


@dataclass(frozen=True, slots=True)
class Like:
    """`attr.site LIKE 'st%'`: % is any text, _ any character; ASCII letters are alike in both cases."""

    name: Name
    pattern: str

    def __post_init__(self) -> None:
        _check_values(self.pattern)

    def __str__(self) -> str:
        return f"{self.name} LIKE {_written(self.pattern)}"


@dataclass(frozen=True, slots=True)
class Flag:
    """`task.tavr.yes`, which `task.tavr.yes = TRUE` says as well."""

    name: Name

    def __str__(self) -> str:
        return str(self.name)


@dataclass(frozen=True, slots=True)
class Not:
    """What is not so; unknown stays unknown."""

    condition: Condition

    def __str__(self) -> str:
        match self.condition:
            case Missing(name):
                return f"{name} IS NOT NULL"
            case Between(name) | OneOf(name) | Like(name):
                return f"{name} NOT{str(self.condition).removeprefix(str(name))}"
        return f"NOT {enclosed(self.condition)}"


@dataclass(frozen=True)
class _Joined:
    """Two or more conditions; those of an inner one of the same kind become its own."""

    conditions: tuple[Condition, ...]
    _word: ClassVar[str]

    def __post_init__(self) -> None:
        parts = (each.conditions if isinstance(each, type(self)) else (each,) for each in self.conditions)
        object.__setattr__(self, "conditions", tuple(chain.from_iterable(parts)))
        if len(self.conditions) < 2:
            raise ValueError(f"{self._word} joins two or more conditions")

    def __str__(self) -> str:
        return f" {self._word} ".join(map(enclosed, self.conditions))


class All(_Joined):
    """Conditions joined by AND."""

    _word = "AND"


class Either(_Joined):
    """Conditions joined by OR."""

    _word = "OR"


Atom = Compare | Between | OneOf | Missing | Like | Flag
Condition = Atom | Not | All | Either


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name that can be asked about, in full (`video.view`, `attr.age`, `task.tavr.yes`), and what it holds."""

    parts: tuple[str, ...]
    type: ValueType

    def __post_init__(self) -> None:
        if len(self.parts) not in (2, 3) or self.type not in _HOLDS:
            raise ValueError(f"a known name has two or three parts and one of the types {', '.join(_HOLDS)}: {self}")

    def __str__(self) -> str:
        return _dotted(self.parts)


def _check_values(*values: Value) -> None:
    """ValueError for what no filter can say: it could not be written and read again."""
    for value in values:
        if type(value) not in (int, float, str):
            raise ValueError(f"a value is a number or text, not {value!r}")
        if isinstance(value, str):
            if _NOT_TEXT.search(value):
                raise ValueError(f"text has neither NUL nor half characters: {value!r}")
        elif not math.isfinite(value) or (isinstance(value, int) and not is_int64(value)):
            raise ValueError(f"a number is finite and a whole one has 64 bits, not {value!r}")


def is_int64(value: int) -> bool:
    """Whether SQLite has it as a whole number."""
    return -(2**63) <= value < 2**63


def _written(value: Value) -> str:
    """A value as a filter has it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _dotted(parts: Sequence[str]) -> str:
    return ".".join(part if _is_bare(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def _is_bare(part: str) -> bool:
    """Whether a part of a name needs no quotes."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part) is not None and part.upper() not in _KEYWORDS


def enclosed(condition: Condition) -> str:
    """As text, in parentheses where AND and NOT would tear it apart."""
    return f"({condition})" if isinstance(condition, All | Either) else str(condition)


# From text to conditions.


def parse_filter(text: str) -> Condition:
    """The condition that a filter states. BadFilter says what is wrong with it, and at which character (from 1)."""
    if not text.strip():
        raise refused(0, "it is empty; write a condition such as view = 'A4C'")
    if len(text) > _LONGEST:
        raise refused(_LONGEST, f"a filter has at most {_LONGEST:,} characters, and this one has {len(text):,}")
    if strange := _NOT_TEXT.search(text):
        raise refused(strange.start(), f"{strange[0]!r} is no character of a text; take it out")
    from echosearch.filters.reading import read  # here, so that only who filters waits for lark

    condition = read(text)
    if (count := sum(1 for _ in _atoms(condition))) > _MOST_CONDITIONS:
        raise refused(0, f"it has {count} conditions, and {_MOST_CONDITIONS} are the most")
    return condition


def refused(start: int, sentence: str) -> BadFilter:
    """An error at a character, from 0."""
    return BadFilter(f"the filter, character {start + 1}: {sentence}")


# What a condition consists of.


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that all have to hold."""
    return condition.conditions if isinstance(condition, All) else (condition,)


def atoms(condition: Condition) -> tuple[Atom, ...]:
    """What AND, OR and NOT join, each once, in order."""
    return tuple(dict.fromkeys(_atoms(condition)))


def names(condition: Condition) -> tuple[Name, ...]:
    """What a condition is about, each name once, in order."""
    return tuple(dict.fromkeys(atom.name for atom in _atoms(condition)))


def _atoms(condition: Condition) -> Iterator[Atom]:
    match condition:
        case Not(inner):
            yield from _atoms(inner)
        case All(parts) | Either(parts):
            for part in parts:
                yield from _atoms(part)
        case _:
            yield condition


def combine(condition: Condition, decided: Callable[[Condition], Decided]) -> Decided:
    """Kleene's three-valued logic over arrays (n,) of -1 (no), 0 (unknown) and 1 (yes), as given for each atom."""
    match condition:
        case Not(inner):
            result: Decided = -combine(inner, decided)
        case All(parts):
            result = np.minimum.reduce([combine(part, decided) for part in parts])
        case Either(parts):
            result = np.maximum.reduce([combine(part, decided) for part in parts])
        case _:
            result = decided(condition)
    return result


# What the names mean.


def qualified(condition: Condition, names: Mapping[Name, KnownName]) -> Condition:
    """The same condition with every name written in full, as `resolve` found it."""
    match condition:
        case Not(inner):
            return Not(qualified(inner, names))
        case All(parts):
            return All(tuple(qualified(part, names) for part in parts))
        case Either(parts):
            return Either(tuple(qualified(part, names) for part in parts))
    full: Condition = replace(condition, name=Name(names[condition.name].parts, condition.name.position))
    return full


def resolve(condition: Condition, known: Sequence[KnownName]) -> dict[Name, KnownName]:
    """What each name of a condition stands for: the known name of the same parts or, where only one fits, in any case.

    A single part stands for the last of two. BadFilter where none or several fit, or values of another type are asked.
    """
    found: dict[Name, KnownName] = {}
    for atom in _atoms(condition):
        if atom.name not in found:
            found[atom.name] = _find(atom.name, known)
        _check_types(atom, found[atom.name].type)
    return found


def _find(name: Name, known: Sequence[KnownName]) -> KnownName:
    for one in known:
        if one.parts == name.parts:
            return one
    wanted = _folded(name.parts)
    fitting = [one for one in known if _folded(one.parts) == wanted]
    if len(wanted) == 1:
        fitting = [one for one in known if len(one.parts) == 2 and _folded(one.parts[1:]) == wanted]
    if not fitting:
        raise _wrong(name, f"there is no name {shown(str(name))}; {_near(name, known)}")
    if len(fitting) > 1 and (fields := [one for one in fitting if one.parts[0] == "video"]):
        fitting = fields  # a video's own comes before what a manifest calls by the same name; attr.NAME is that
    if len(fitting) > 1:
        raise _wrong(name, f"{shown(str(name))} can be {' or '.join(map(str, fitting))}; write the one that is meant")
    return fitting[0]


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _wrong(name: Name, sentence: str) -> BadFilter:
    return refused(name.position - 1, sentence)


def _near(name: Name, known: Sequence[KnownName]) -> str:
    """The five known names that read most alike: whole, and then by their last part."""
    asked, near = _folded(name.parts), []
    for last in (-3, -1):
        spelled = [".".join(_folded(one.parts[last:])) for one in known]
        alike = get_close_matches(".".join(asked[last:]), spelled, 5)
        near += [str(one) for text in alike for one, its in zip(known, spelled, strict=True) if its == text]
    if near:
        return f"near: {', '.join(list(dict.fromkeys(near))[:5])}"
    return "`echosearch info` lists fields and attributes, `echosearch tasks list` the tasks"


def _check_types(atom: Atom, type_: ValueType) -> None:
    name = atom.name
    match atom:
        case Flag() if type_ != "flag":
            raise _wrong(name, f"{name} holds {_HOLDS[type_]} and is neither true nor false; compare it with a value")
        case Like() if type_ != "text":
            raise _wrong(name, f"LIKE is for text, and {name} holds {_HOLDS[type_]}")
        case Compare() | Between() | OneOf() if type_ == "flag":
            raise _wrong(name, f"{name} is yes or no, not compared with values; write {name} or NOT {name}")
        case Compare(operator=operator, value=value):
            if operator not in ("=", "!="):
                _check_ordered(name, type_, value)
            _check_type(name, type_, value)
        case Between(low=low, high=high):
            _check_ordered(name, type_, low, high)
            _check_type(name, type_, low)
            _check_type(name, type_, high)
        case OneOf(values=values):
            for value in values:
                _check_type(name, type_, value)


def _check_ordered(name: Name, type_: ValueType, *values: Value) -> None:
    """Text is ordered letter by letter, which for numbers is another order than theirs; a year may begin a date."""
    for value in values if type_ == "text" else ():
        text = str(value)
        if not isinstance(value, str) or (is_plain_number(text) and not _DATE.fullmatch(text)):
            raise _wrong(
                name,
                f"{name} holds text, which is ordered letter by letter, so that '9' is above '18' and '100' below it; "
                f"it cannot be compared with the number {text}. Correct or empty the cells that are no numbers, and "
                "give the manifest again under another column name",
            )


def is_plain_number(text: str) -> bool:
    """Whether a text is a number, and no name such as 007."""
    plain = text.removeprefix("-")
    return _NUMBER.fullmatch(plain) is not None and not (len(plain) > 1 and plain[0] == "0" and plain[1].isdigit())


def _check_type(name: Name, type_: ValueType, value: Value) -> None:
    told = shown(value) if isinstance(value, str) else repr(value)
    if type_ == "number" and isinstance(value, str):
        is_number = _NUMBER.fullmatch(value.removeprefix("-"))
        way_out = "leave the quotes out" if is_number else "compare it with a number"
        raise _wrong(name, f"{name} holds numbers, and {told} is text; {way_out}")
    if type_ == "text" and not isinstance(value, str):
        raise _wrong(name, f"{name} holds text, and {told} is a number; write it as it stands there, in single quotes")
    if type_ == "date" and date_prefix(str(value)) is None:
        raise _wrong(name, f"{name} holds dates, and {told} is none; write '2019', '2019-05' or '2019-05-31T14:05'")
    if type_ == "date" and not isinstance(value, str):
        raise _wrong(name, f"{name} holds dates, and {told} is a number; write '{told}'")


def is_above(low: Value, high: Value, type_: ValueType) -> bool:
    """Whether nothing lies between two ends of a range, as the first is the higher; '2020-05' and '2020' overlap."""
    if isinstance(low, str) and isinstance(high, str):
        if type_ == "date":
            shared = min(len(low), len(high))
            low, high = low.replace(" ", "T")[:shared], high.replace(" ", "T")[:shared]
        return low > high
    return not isinstance(low, str) and not isinstance(high, str) and low > high


def date_prefix(text: str) -> str | None:
    """How the dates of the catalog begin that a year, month, day or minute stands for; None where it is no date."""
    if not _DATE.fullmatch(text):
        return None
    prefix = text.replace(" ", "T")
    try:
        datetime.fromisoformat(prefix + _FIRST_MOMENT[len(prefix) :])
    except ValueError:
        return None
    return prefix
