"""From the text of a filter to its condition, by `grammar.lark`. Knows no catalog, and not what a name stands for.

What the grammar does not know is refused where it stands, and told by what would have fitted there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, get_args

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from echosearch.errors import BadFilter, shown
from echosearch.filters.conditions import (
    All,
    Between,
    Compare,
    Condition,
    Either,
    Flag,
    Like,
    Missing,
    Name,
    Not,
    OneOf,
    Operator,
    Value,
    is_int64,
    refused,
)

_DEEPEST: Final = 15
"""Parentheses and NOTs in each other: SQLite's parser goes 18 deep."""

_OPERATORS: Final[dict[str, Operator]] = {"==": "=", "<>": "!=", **{one: one for one in get_args(Operator)}}
_TURNED: Final[dict[str, Operator]] = {**_OPERATORS, "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMMENT: Final = re.compile(r"--[^\n]*|/\*(?s:.*?)(?:\*/|\Z)")
_STRANGE: Final = re.compile(r"[^\w\s'\"()]+")
_EXPECTED: Final = {
    **{"WORD": "a name", "NUMBER": "a value", "EQUAL": "a comparison", "COMMA": "a comma"},
    **{word: word for word in ("BETWEEN", "IN", "LIKE", "IS", "AND", "OR")},
    "RPAR": "a closing parenthesis",
}
"""What a message calls the tokens of the grammar."""

_NO_MEANING: Final = (
    "has no meaning here; a filter knows names, values, comparisons, BETWEEN, IN, LIKE, IS NULL, AND, OR and NOT"
)
_NO_PART: Final = "each part of a name is a word, or anything in double quotes"


def read(text: str) -> Condition:
    """The condition that a text states. BadFilter where it states none."""
    reader: Any = _language().parse_interactive(text)
    tokens = [Token("", "")]
    try:
        for token in _bounded(reader.iter_parse()):
            tokens.append(token)
        condition: Condition = reader.feed_eof(tokens[-1])
    except UnexpectedCharacters as error:
        raise _unreadable(text, error.pos_in_stream or 0) from error
    except UnexpectedToken as error:
        before = tokens[-2 if tokens[-1] is error.token else -1]
        raise _misfit(error.token, before, reader.accepts()) from error
    return condition


@cache
def _language() -> Lark:
    return Lark.open(
        "grammar.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="basic",
        transformer=_Meaning(),
        lexer_callbacks={"WORD": _word},
    )


def _word(token: Token) -> Token:
    """A word, which has letters, digits and underscores of any script. BadFilter for other signs."""
    if not token.isidentifier():
        raise _wrong(token, f"{shown(token)} {_NO_MEANING}")
    return token


def _perhaps_not(kind: Callable[..., Condition]) -> Callable[..., Condition]:
    """What the grammar's `operand [NOT] ...` says."""

    def condition(_: _Meaning, name: Name, is_not: Token | None, *told: Value) -> Condition:
        return Not(kind(name, *told)) if is_not else kind(name, *told)

    return condition


@v_args(inline=True)
class _Meaning(Transformer[Token, Condition]):
    """What each rule of the grammar makes of its parts."""

    negation, flag = Not, Flag
    between, like, missing = _perhaps_not(Between), _perhaps_not(Like), _perhaps_not(Missing)
    one_of = _perhaps_not(lambda name, *values: OneOf(name, values))

    def either(self, *conditions: Condition) -> Condition:
        return Either(conditions)

    def both(self, *conditions: Condition) -> Condition:
        return All(conditions)

    def comparison(self, name: Name, operator: str, value: Value | Token) -> Condition:
        if not isinstance(value, Token):
            return Compare(name, _OPERATORS[operator], value)
        is_true = (value.type == "TRUE") == (_OPERATORS[operator] == "=")
        return Flag(name) if is_true else Not(Flag(name))

    def turned(self, value: Value | Token, operator: str, name: Name) -> Condition:
        return self.comparison(name, _TURNED[operator], value)

    def name(self, *parts: Token) -> Name:
        texts = (_unquoted(part) if part.type == "QUOTED" else str(part) for part in parts)
        return Name(tuple(texts), 1 + (parts[0].start_pos or 0))

    def number(self, sign: Token | None, digits: Token) -> int | float:
        """A finite number; a whole one of more than 64 bits as a float."""
        written = f"{sign or ''}{digits}"
        if digits.isdecimal() and is_int64(int(written)):
            return int(written)
        if math.isinf(value := float(written)):
            raise _wrong(digits, f"{shown(digits)} is too large for a number")
        return value

    def text(self, token: Token) -> str:
        return _unquoted(token)


def _unquoted(token: Token) -> str:
    quote = token[0]
    return token[1:-1].replace(quote * 2, quote)


def _wrong(token: Token, sentence: str) -> BadFilter:
    return refused(token.start_pos or 0, sentence)


def _bounded(tokens: Iterator[Token]) -> Iterator[Token]:
    """The same tokens. BadFilter where parentheses and NOTs stand in too many others."""
    opened: list[int] = []
    nots = 0
    for token in tokens:
        if token.type == "LPAR":
            opened.append(nots + 1)
        elif token.type == "RPAR" and opened:
            opened.pop()
        nots = nots + 1 if token.type == "NOT" else 0
        if sum(opened) + nots > _DEEPEST:
            raise _wrong(token, f"parentheses and NOT are nested more than {_DEEPEST} deep")
        yield token


def _unreadable(text: str, start: int) -> BadFilter:
    """The error for what is no token at all."""
    if comment := _COMMENT.match(text, start):
        return refused(start, f"a filter has no comments; take {shown(comment[0].rstrip())} out")
    if text.startswith('""', start):
        return refused(start, _NO_PART)
    if strange := _STRANGE.match(text, start):
        return refused(start, f"{shown(strange[0])} {_NO_MEANING}")
    return refused(start, f"the quote {text[start]} is not closed; a quote within a text is written twice")


def _misfit(token: Token, before: Token, fitting: set[str]) -> BadFilter:
    """The error for a token after another, where only the `fitting` kinds of token can stand."""
    if token.type == "$END":
        missing = "a closing parenthesis" if "RPAR" in fitting else "something"
        return _wrong(before, f"{missing} is missing after {shown(before)}")
    if token.type == "LPAR" and before.type == "WORD":
        return _wrong(before, f"{shown(before)} {_NO_MEANING}")
    if token.type == "WORD" and before.type == "TEXT" and token.start_pos == before.end_pos:
        return _wrong(token, f"the text ends before {shown(token)}; a quote within a text is written twice")
    return _wrong(token, _why(token, before.type, fitting))


def _why(token: Token, after: str, fitting: set[str]) -> str:
    """What is wrong with a token that stands after one of another kind."""
    kinds = {token.type, after}
    if token == "." and after in ("WORD", "QUOTED"):
        return "a name has at most three parts"
    if after == "DOT" or (token.startswith(".") and after in ("WORD", "QUOTED")):
        return _NO_PART
    if "NULL" in fitting:
        return "IS goes with NULL or NOT NULL; compare with values by ="
    if token.type == "NULL" and "NUMBER" in fitting:
        return "NULL is no value; write IS NULL or IS NOT NULL"
    if kinds in ({"ORDER", "TRUE"}, {"ORDER", "FALSE"}):
        return "TRUE and FALSE are compared with = or !=, not with <, <=, > or >="
    if fitting == {"LPAR"}:
        return "IN needs values in parentheses, such as IN ('A', 'B')"
    if fitting == {"LPAR", "TEXT"}:
        return "LIKE goes with a text in single quotes, such as LIKE 'A%'"
    if "NUMBER" in fitting and "WORD" not in fitting:
        return _no_value(token)
    if token.type in ("EQUAL", "ORDER") or fitting == {"LPAR", "QUOTED", "WORD"}:
        return "a comparison has a name on one side and a value on the other"
    expected = [called for kind, called in _EXPECTED.items() if kind in fitting]
    return f"{shown(token)} does not fit here; expected {', '.join(expected)}"


def _no_value(token: Token) -> str:
    if token.type == "QUOTED":
        return f"double quotes hold a name; text stands in single quotes: {shown(_unquoted(token))}"
    if token.type in ("COMMA", "RPAR"):
        return f"a value is missing before {shown(token)}"
    return "a value belongs here: a number, or text in single quotes"
