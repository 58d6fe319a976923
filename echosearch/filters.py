"""The filter language: conditions over fields, manifest attributes and swept tasks. Knows no catalog.

    view = 'A4C' AND attr.age >= 18 AND acquired_at BETWEEN '2015' AND '2020' AND NOT task.tavr.yes

sqlglot reads the text, and what it reads becomes the conditions below or is refused. It reads all of SQL and passes
over some words silently, so every character of a filter has to be found again in what it makes of it.

A condition says yes, no, or, where a value is not known, nothing: `decided` arrays hold 1, -1 and 0 for these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.parser import Parser

from echosearch.errors import BadFilter

Value = int | float | str
ValueType = Literal["number", "text", "date", "flag"]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Decided = npt.NDArray[np.int8]

_LONGEST: Final = 4000
_DEEPEST: Final = 15
"""Parentheses and NOTs in each other: SQLite's parser goes 18 deep, sqlglot's about 40."""

_MOST_CONDITIONS: Final = 200
_SHOWN: Final = 60
"""Characters of a filter in a message."""

_SYMBOLS: Final = frozenset({"(", ")", ",", ".", "=", "==", "!=", "<>", "<", "<=", ">", ">=", "-"})
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "IS", "NULL", "LIKE", "TRUE", "FALSE"})
_NUMBER: Final = re.compile(r"\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?", re.ASCII)
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?)?", re.ASCII)
_FIRST_MOMENT: Final = "0000-01-01T00:00:00"

_OPERATORS: Final[dict[type[exp.Expr], Operator]] = {
    exp.EQ: "=",
    exp.NEQ: "!=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_TURNED: Final[dict[Operator, Operator]] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HOLDS: Final[dict[ValueType, str]] = {"number": "numbers", "text": "text", "date": "dates", "flag": "yes or no"}
_ALL_THERE_IS: Final = "a filter knows names, values, comparisons, BETWEEN, IN, LIKE, IS NULL, AND, OR and NOT"


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
        if self.operator not in _TURNED:
            raise ValueError(f"an operator is one of {', '.join(_TURNED)}, not {self.operator!r}")
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
        return self._as("BETWEEN")

    def _as(self, word: str) -> str:
        return f"{self.name} {word} {_written(self.low)} AND {_written(self.high)}"


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
        return self._as("IN")

    def _as(self, word: str) -> str:
        return f"{self.name} {word} ({', '.join(map(_written, self.values))})"


@dataclass(frozen=True, slots=True)
class Missing:
    """`attr.age IS NULL`: always yes or no."""

    name: Name

    def __str__(self) -> str:
        return self._as("IS NULL")

    def _as(self, words: str) -> str:
        return f"{self.name} {words}"


@dataclass(frozen=True, slots=True)
class Like:
    """`attr.site LIKE 'st%'`: % is any text, _ any character; ASCII letters are alike in both cases."""

    name: Name
    pattern: str

    def __post_init__(self) -> None:
        _check_values(self.pattern)

    def __str__(self) -> str:
        return self._as("LIKE")

    def _as(self, word: str) -> str:
        return f"{self.name} {word} {_written(self.pattern)}"


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
            case Missing():
                return self.condition._as("IS NOT NULL")
            case Between():
                return self.condition._as("NOT BETWEEN")
            case OneOf():
                return self.condition._as("NOT IN")
            case Like():
                return self.condition._as("NOT LIKE")
        return f"NOT {_enclosed(self.condition)}"


@dataclass(frozen=True, slots=True)
class All:
    """Two or more conditions joined by AND; those of an inner `All` become its own."""

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        flat = tuple(one for each in self.conditions for one in (each.conditions if isinstance(each, All) else (each,)))
        if len(flat) < 2:
            raise ValueError("AND joins two or more conditions")
        object.__setattr__(self, "conditions", flat)

    def __str__(self) -> str:
        return " AND ".join(map(_enclosed, self.conditions))


@dataclass(frozen=True, slots=True)
class Either:
    """Two or more conditions joined by OR; those of an inner `Either` become its own."""

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        flat = tuple(
            one for each in self.conditions for one in (each.conditions if isinstance(each, Either) else (each,))
        )
        if len(flat) < 2:
            raise ValueError("OR joins two or more conditions")
        object.__setattr__(self, "conditions", flat)

    def __str__(self) -> str:
        return " OR ".join(map(_enclosed, self.conditions))


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
        elif not math.isfinite(value) or (isinstance(value, int) and not _is_int64(value)):
            raise ValueError(f"a number is finite and a whole one has 64 bits, not {value!r}")


def _is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _written(value: Value) -> str:
    """A value as a filter has it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _dotted(parts: Sequence[str]) -> str:
    return ".".join(part if _is_bare(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def _is_bare(part: str) -> bool:
    """Whether a part of a name needs no quotes: it is no word of any SQL, but for `view`, which is harmless."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", part) or part.upper() in Parser.NO_PAREN_FUNCTION_PARSERS:
        return False
    return sqlglot.tokenize(part)[0].token_type in (TokenType.VAR, TokenType.VIEW)


def _enclosed(condition: Condition) -> str:
    return f"({condition})" if isinstance(condition, All | Either) else str(condition)


# From text to conditions.


def parse_filter(text: str) -> Condition:
    """The condition that a filter states. BadFilter says what is wrong with it, and at which character (from 1)."""
    _check_text(text)
    pieces = _pieces(text)
    _check_symbols(pieces)
    _check_commas(pieces)
    _check_bounds(pieces)
    tree = _tree(text, pieces)
    _check_words(pieces, tree)
    return _condition(tree)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, value or symbol of a filter, where it starts (from 0), and line and column of its end for sqlglot."""

    text: str
    start: int
    place: tuple[int, int]

    @property
    def is_word(self) -> bool:
        return self.text.isidentifier()

    @property
    def keyword(self) -> str | None:
        """The word of this language that it is, in capitals."""
        return word if (word := self.text.upper()) in _KEYWORDS else None


def _bad(start: int, sentence: str) -> BadFilter:
    """An error at a character, from 0."""
    return BadFilter(f"the filter, character {start + 1}: {sentence}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _check_text(text: str) -> None:
    if not text.strip():
        raise _bad(0, "it is empty; write a condition such as view = 'A4C'")
    if len(text) > _LONGEST:
        raise _bad(_LONGEST, f"a filter has at most {_LONGEST:,} characters, and this one has {len(text):,}")
    if strange := _NOT_TEXT.search(text):
        raise _bad(strange.start(), f"{strange[0]!r} is no character of a text; take it out")


def _pieces(text: str) -> list[_Piece]:
    """All that stands in a filter but spaces. BadFilter for comments and quotes that are not closed."""
    try:
        tokens = sqlglot.tokenize(text)
    except SqlglotError as error:
        raise _unclosed(text) from error
    pieces = [_Piece(text[token.start : token.end + 1], token.start, (token.line, token.col)) for token in tokens]
    end = 0
    for start, length in [*((piece.start, len(piece.text)) for piece in pieces), (len(text), 0)]:
        if skipped := text[end:start].lstrip():
            raise _bad(start - len(skipped), f"a filter has no comments; take {_shown(skipped.rstrip())} out")
        end = start + length
    return pieces


def _unclosed(text: str) -> BadFilter:
    """The error for a filter that cannot be cut into pieces."""
    rest = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)
    if quote := re.search("['\"]", rest):
        return _bad(quote.start(), f"the quote {quote[0]} is not closed; a quote within a text is written twice")
    return _bad(0, f"it cannot be read; {_ALL_THERE_IS}")


def _check_symbols(pieces: Sequence[_Piece]) -> None:
    for before, piece in zip([None, *pieces], pieces, strict=False):
        if piece.text.upper() in Parser.NO_PAREN_FUNCTION_PARSERS and (before is None or before.text != "."):
            raise _bad(piece.start, f'{_shown(piece.text)} is a word of SQL; if it is a name, write "{piece.text}"')
        if piece.text[0] in "'\"" or piece.is_word or piece.text in _SYMBOLS or _NUMBER.fullmatch(piece.text):
            continue
        raise _bad(piece.start, f"{_shown(piece.text)} has no meaning here; {_ALL_THERE_IS}")


def _check_commas(pieces: Sequence[_Piece]) -> None:
    """sqlglot takes (1,,2) and (1,) for (1, 2) and (1)."""
    for before, after in pairwise(pieces):
        if (before.text == "," and after.text in ",)") or (before.text == "(" and after.text == ","):
            raise _bad(after.start, f"a value is missing before {after.text!r}")


def _check_bounds(pieces: Sequence[_Piece]) -> None:
    words = [piece.keyword for piece in pieces]
    conditions = 1 + words.count("AND") + words.count("OR") - words.count("BETWEEN")
    if conditions > _MOST_CONDITIONS:
        raise _bad(0, f"it has {conditions} conditions, and {_MOST_CONDITIONS} are the most")
    opened: list[int] = []
    nots = 0
    for piece in pieces:
        if piece.text == "(":
            opened.append(nots + 1)
        elif piece.text == ")" and opened:
            opened.pop()
        nots = nots + 1 if piece.keyword == "NOT" else 0
        if sum(opened) + nots > _DEEPEST:
            raise _bad(piece.start, f"parentheses and NOT are nested more than {_DEEPEST} deep")


def _tree(text: str, pieces: Sequence[_Piece]) -> exp.Expr:
    try:
        return sqlglot.parse_one(text, into=exp.Condition)
    except ParseError as error:
        raise _misfit(error, pieces) from error
    except SqlglotError as error:
        raise _unclosed(text) from error
    except RecursionError as error:
        raise _bad(0, "it is nested too deep") from error


def _misfit(error: ParseError, pieces: Sequence[_Piece]) -> BadFilter:
    """In our words what sqlglot says of the piece at which it gave up."""
    told = error.errors[0] if error.errors else {}
    place = (told.get("line"), told.get("col"))
    piece = next((piece for piece in pieces if piece.place == place), pieces[-1])
    what = str(told.get("description"))
    if what.startswith("Expecting )"):
        return _bad(piece.start, f"a closing parenthesis is missing after {_shown(piece.text)}")
    if what.startswith("Required keyword: 'expression'"):
        return _bad(piece.start, f"something is missing after {_shown(piece.text)}")
    is_of_sql = piece.is_word and piece.keyword is None and not _is_bare(piece.text)
    quotes = f'; if it is a name, write "{piece.text}"' if is_of_sql else ""
    return _bad(piece.start, f"{_shown(piece.text)} does not fit here{quotes}")


def _check_words(pieces: Sequence[_Piece], tree: exp.Expr) -> None:
    """BadFilter for a word that sqlglot took for anything but a name, or passed over."""
    starts = {identifier.meta.get("start") for identifier in tree.find_all(exp.Identifier)}
    for piece in pieces:
        is_name = piece.text[0] == '"' or (piece.is_word and piece.keyword is None)
        if is_name and piece.start not in starts:
            raise _bad(piece.start, f"{_shown(piece.text)} has no meaning here; {_ALL_THERE_IS}")


def _condition(node: exp.Expr) -> Condition:
    node = node.unnest()
    kind = type(node)
    if kind is exp.And:
        return All(tuple(map(_condition, _joined(node))))
    if kind is exp.Or:
        return Either(tuple(map(_condition, _joined(node))))
    if kind is exp.Not:
        _check_arguments(node, "this")
        return Not(_condition(node.this))
    if kind is exp.Column:
        return Flag(_name(node))
    if kind in _OPERATORS:
        return _comparison(node, _OPERATORS[kind])
    if kind is exp.Between:
        _check_arguments(node, "this", "low", "high")
        return Between(_name(node.this), _value(node.args["low"]), _value(node.args["high"]))
    if kind is exp.In:
        return _one_of(node)
    if kind is exp.Is:
        return _missing(node)
    if kind is exp.Like:
        return _like(node)
    raise _refused(node)


def _joined(node: exp.Expr) -> list[exp.Expr]:
    """What a chain of ANDs, or of ORs, joins; a loop, for chains are long."""
    kind = type(node)
    backwards = []
    while type(node) is kind:
        _check_arguments(node, "this", "expression")
        backwards.append(node.expression)
        node = node.this
    return [node, *reversed(backwards)]


def _comparison(node: exp.Expr, operator: Operator) -> Condition:
    _check_arguments(node, "this", "expression")
    left, right = node.this.unnest(), node.expression.unnest()
    if type(left) is not exp.Column and type(right) is exp.Column:
        left, right, operator = right, left, _TURNED[operator]
    name = _name(left)
    if type(right) is not exp.Boolean:
        return Compare(name, operator, _value(right))
    if operator not in ("=", "!="):
        raise _refused(node, f"TRUE and FALSE are compared with = or !=, not with {operator}")
    return Flag(name) if right.this == (operator == "=") else Not(Flag(name))


def _one_of(node: exp.Expr) -> Condition:
    _check_arguments(node, "this", "expressions")
    if not node.expressions:
        raise _refused(node, "IN needs values in parentheses, such as IN ('A', 'B')")
    return OneOf(_name(node.this), tuple(map(_value, node.expressions)))


def _missing(node: exp.Expr) -> Condition:
    _check_arguments(node, "this", "expression")
    if type(node.expression) is not exp.Null:
        raise _refused(node, "IS goes with NULL or NOT NULL; compare with values by =")
    return Missing(_name(node.this))


def _like(node: exp.Expr) -> Condition:
    _check_arguments(node, "this", "expression", "negate")
    pattern = _value(node.expression)
    if not isinstance(pattern, str):
        raise _refused(node, "LIKE goes with a text in single quotes, such as LIKE 'A%'")
    like = Like(_name(node.this), pattern)
    return Not(like) if node.args.get("negate") else like


def _check_arguments(node: exp.Expr, *known: str) -> None:
    """BadFilter where sqlglot read more into a piece than is known here."""
    if any(value for name, value in node.args.items() if name not in known):
        raise _refused(node)


def _name(node: exp.Expr) -> Name:
    node = node.unnest()
    if type(node) is not exp.Column:
        raise _refused(node, "a comparison has a name on one side and a value on the other")
    _check_arguments(node, "this", "table", "db", "catalog")
    parts = node.parts
    if len(parts) > 3:
        raise _refused(node, "a name has at most three parts")
    for part in parts:
        if type(part) is not exp.Identifier or "start" not in part.meta or not part.this:
            raise _refused(node, "each part of a name is a word, or anything in double quotes")
    return Name(tuple(part.this for part in parts), parts[0].meta["start"] + 1)


def _value(node: exp.Expr) -> Value:
    node = node.unnest()
    sign = 1
    if type(node) is exp.Neg:
        _check_arguments(node, "this")
        node, sign = node.this, -1
    if type(node) is exp.Literal and node.is_string and sign == 1:
        return str(node.this)
    if type(node) is exp.Literal and not node.is_string:
        return _number(node, sign)
    if type(node) is exp.Null:
        raise _refused(node, "NULL is no value; write IS NULL or IS NOT NULL")
    if type(node) is exp.Column and node.this.args.get("quoted") and sign == 1:
        text = str(node.this.this)
        raise _refused(node, f"double quotes hold a name; text stands in single quotes: {_shown(text)}")
    raise _refused(node, "a value belongs here: a number, or text in single quotes")


def _number(node: exp.Expr, sign: int) -> int | float:
    """A finite number; a whole one of more than 64 bits as a float."""
    text = str(node.this)
    if not _NUMBER.fullmatch(text):
        raise _refused(node, f"{_shown(text)} is no number")
    if text.isdecimal() and _is_int64(sign * int(text)):
        return sign * int(text)
    value = sign * float(text)
    if not math.isfinite(value):
        raise _refused(node, f"{_shown(text)} is too large for a number")
    return value


def _refused(node: exp.Expr, sentence: str = f"this has no meaning here; {_ALL_THERE_IS}") -> BadFilter:
    """An error at the first character that is known of a node or, failing that, of what it stands in."""
    around: exp.Expr | None = node
    while around is not None:
        starts = [one.meta["start"] for one in around.walk() if "start" in one.meta]
        if starts:
            return _bad(min(starts), sentence)
        around = around.parent
    return _bad(0, sentence)


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
        raise _wrong(name, f"there is no name {_shown(str(name))}; {_near(name, known)}")
    if len(fitting) > 1:
        raise _wrong(name, f"{_shown(str(name))} can be {' or '.join(map(str, fitting))}; write the one that is meant")
    return fitting[0]


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _wrong(name: Name, sentence: str) -> BadFilter:
    return _bad(name.position - 1, sentence)


def _near(name: Name, known: Sequence[KnownName]) -> str:
    """The five known names that read most alike, whole or by their last part."""
    asked = _folded(name.parts)
    whole, last = SequenceMatcher(b=".".join(asked)), SequenceMatcher(b=asked[-1])
    likeness = {
        str(one): max(_likeness(whole, ".".join(_folded(one.parts))), _likeness(last, one.parts[-1].casefold()))
        for one in known
    }
    nearest = sorted((text for text, ratio in likeness.items() if ratio), key=lambda text: -likeness[text])[:5]
    if nearest:
        return f"near: {', '.join(nearest)}"
    return "`echosearch info` lists fields and attributes, `echosearch tasks list` the tasks"


def _likeness(matcher: SequenceMatcher[str], text: str) -> float:
    """How much of two texts is the same, 0 where it is less than six tenths (difflib's own bound)."""
    matcher.set_seq1(text)
    is_near = matcher.real_quick_ratio() >= 0.6 and matcher.quick_ratio() >= 0.6
    return ratio if is_near and (ratio := matcher.ratio()) >= 0.6 else 0.0


def _check_types(atom: Atom, type_: ValueType) -> None:
    name = atom.name
    match atom:
        case Flag() if type_ != "flag":
            raise _wrong(name, f"{name} holds {_HOLDS[type_]} and is neither true nor false; compare it with a value")
        case Like() if type_ != "text":
            raise _wrong(name, f"LIKE is for text, and {name} holds {_HOLDS[type_]}")
        case Compare() | Between() | OneOf() if type_ == "flag":
            raise _wrong(name, f"{name} is yes or no, not compared with values; write {name} or NOT {name}")
        case Compare(value=value):
            _check_type(name, type_, value)
        case Between(low=low, high=high):
            _check_type(name, type_, low)
            _check_type(name, type_, high)
        case OneOf(values=values):
            for value in values:
                _check_type(name, type_, value)


def _check_type(name: Name, type_: ValueType, value: Value) -> None:
    shown = _shown(value) if isinstance(value, str) else repr(value)
    if type_ == "number" and isinstance(value, str):
        is_number = _NUMBER.fullmatch(value.removeprefix("-"))
        way_out = "leave the quotes out" if is_number else "compare it with a number"
        raise _wrong(name, f"{name} holds numbers, and {shown} is text; {way_out}")
    if type_ == "text" and not isinstance(value, str):
        raise _wrong(name, f"{name} holds text, and {shown} is a number; write '{shown}'")
    if type_ == "date" and date_prefix(str(value)) is None:
        raise _wrong(name, f"{name} holds dates, and {shown} is none; write '2019', '2019-05' or '2019-05-31T14:05'")
    if type_ == "date" and not isinstance(value, str):
        raise _wrong(name, f"{name} holds dates, and {shown} is a number; write '{shown}'")


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
