"""Filters: what is written is what is asked; SQL and a plain evaluation agree; nothing else gets in."""

from __future__ import annotations

import hashlib
import math
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sqlalchemy import Engine, event
from store_helpers import new_video, unit

from echosearch.errors import BadFilter
from echosearch.filters.conditions import (
    All,
    Between,
    Compare,
    Condition,
    Either,
    Flag,
    KnownName,
    Like,
    Missing,
    Name,
    Not,
    OneOf,
    ValueType,
    atoms,
    combine,
    conjuncts,
    date_prefix,
    names,
    parse_filter,
    resolve,
)
from echosearch.index.catalog import FIELDS, Catalog, CatalogReader, Measures, VideoMetadata
from echosearch.types import VideoFacts

Parts = tuple[str, ...]


def name(*parts: str) -> Name:
    """A name, wherever it stands."""
    return Name(parts, 1)


X, Y, Z = name("x"), name("y"), name("z")
EF = name("attr", "LV EF")


# From text to conditions.


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("x", Flag(X)),
        ("task.tavr.yes", Flag(name("task", "tavr", "yes"))),
        ("x = 1", Compare(X, "=", 1)),
        ("x == 1", Compare(X, "=", 1)),
        ("x != 'a'", Compare(X, "!=", "a")),
        ("x <> 1.5", Compare(X, "!=", 1.5)),
        ("x<-2", Compare(X, "<", -2)),
        ("x <= -1.5e-3", Compare(X, "<=", -0.0015)),
        ("x > .5", Compare(X, ">", 0.5)),
        ("x >= 5.", Compare(X, ">=", 5.0)),
        ("35 > x", Compare(X, "<", 35)),
        ("-35 <= x", Compare(X, ">=", -35)),
        ("'a' < x", Compare(X, ">", "a")),
        ("1 >= x", Compare(X, "<=", 1)),
        ("1 = x", Compare(X, "=", 1)),
        ("1 != x", Compare(X, "!=", 1)),
        ("x = ''", Compare(X, "=", "")),
        ("x = 'it''s \\ \"so\" -- /* ; %'", Compare(X, "=", 'it\'s \\ "so" -- /* ; %')),
        ("x = 'Größe\n½'", Compare(X, "=", "Größe\n½")),
        ('"x" = 1', Compare(X, "=", 1)),
        ('attr."LV EF" = 1', Compare(EF, "=", 1)),
        ('attr . "LV EF" = 1', Compare(EF, "=", 1)),
        ('task."probe:ef".value = 1', Compare(name("task", "probe:ef", "value"), "=", 1)),
        ('"a""b"."c.d" = 1', Compare(name('a"b', "c.d"), "=", 1)),
        ("größe = 1", Compare(name("größe"), "=", 1)),
        (
            "attr.date = 1 AND attr.case = 2",
            All((Compare(name("attr", "date"), "=", 1), Compare(name("attr", "case"), "=", 2))),
        ),
        ('"case" = 1', Compare(name("case"), "=", 1)),
        ("case = 1 AND attr.select = 2", All((Compare(name("case"), "=", 1), Compare(name("attr", "select"), "=", 2)))),
        ("attr.and = 1", Compare(name("attr", "and"), "=", 1)),
        ("likely = 1 AND order_id > 2", All((Compare(name("likely"), "=", 1), Compare(name("order_id"), ">", 2)))),
        ("x='a'AND y=1and z", All((Compare(X, "=", "a"), Compare(Y, "=", 1), Flag(Z)))),
        ("नमस्ते = 1", Compare(name("नमस्ते"), "=", 1)),
        ("x BETWEEN 1 AND 2", Between(X, 1, 2)),
        ("x NOT BETWEEN -1 AND 'b'", Not(Between(X, -1, "b"))),
        ("NOT x BETWEEN 1 AND 2 AND y", All((Not(Between(X, 1, 2)), Flag(Y)))),
        ("x IN (1)", OneOf(X, (1,))),
        ("x in ('A', 'B', -3)", OneOf(X, ("A", "B", -3))),
        ("x NOT IN ('A')", Not(OneOf(X, ("A",)))),
        ("x IS NULL", Missing(X)),
        ("x IS NOT NULL", Not(Missing(X))),
        ("NOT x IS NULL", Not(Missing(X))),
        ("x LIKE 'st%'", Like(X, "st%")),
        ("x NOT LIKE '_'", Not(Like(X, "_"))),
        ("NOT x NOT LIKE '_'", Not(Not(Like(X, "_")))),
        ("x = TRUE", Flag(X)),
        ("true = x", Flag(X)),
        ("x = FALSE", Not(Flag(X))),
        ("x != TRUE", Not(Flag(X))),
        ("x <> FALSE", Flag(X)),
        ("NOT NOT x", Not(Not(Flag(X)))),
        ("NOT x = 1 AND y", All((Not(Compare(X, "=", 1)), Flag(Y)))),
        ("NOT (x = 1 AND y)", Not(All((Compare(X, "=", 1), Flag(Y))))),
        ("x AND y AND z", All((Flag(X), Flag(Y), Flag(Z)))),
        ("x AND (y AND z)", All((Flag(X), Flag(Y), Flag(Z)))),
        ("x or (y OR z)", Either((Flag(X), Flag(Y), Flag(Z)))),
        ("x OR y AND z", Either((Flag(X), All((Flag(Y), Flag(Z)))))),
        ("(x OR y) AND z", All((Either((Flag(X), Flag(Y))), Flag(Z)))),
        ("x BETWEEN 1 AND 2 OR y", Either((Between(X, 1, 2), Flag(Y)))),
        ("(((x))) = (((-1)))", Compare(X, "=", -1)),
        ("x IN ((1), (2))", OneOf(X, (1, 2))),
        ("\tx\r\n=\u00a01 ", Compare(X, "=", 1)),
        ("x = 9223372036854775807", Compare(X, "=", 2**63 - 1)),
        ("x = -9223372036854775808", Compare(X, "=", -(2**63))),
    ],
)
def test_conditions(text: str, condition: Condition) -> None:
    parsed = parse_filter(text)
    assert parsed == condition
    assert parse_filter(str(parsed)) == condition


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2.0**63),
        ("-9223372036854775809", -(2.0**63)),
        ("5", 5),
        ("5.0", 5.0),
        ("1e300", 1e300),
    ],
)
def test_whole_numbers_of_64_bits_stay_whole(text: str, value: float) -> None:
    parsed = parse_filter(f"x = {text}")
    assert isinstance(parsed, Compare)
    assert parsed.value == value
    assert type(parsed.value) is type(value)


@pytest.mark.parametrize(
    ("text", "character", "sentence"),
    [
        ("", 1, "it is empty; write a condition such as view = 'A4C'"),
        (" \n", 1, "it is empty"),
        ("x = 'a\x00b'", 7, "'\\x00' is no character of a text; take it out"),
        ("x = '\ud800'", 6, "'\\ud800' is no character of a text"),
        ("x" * 4001, 4001, "a filter has at most 4,000 characters, and this one has 4,001"),
        ("x = 'a", 5, "the quote ' is not closed; a quote within a text is written twice"),
        ("x = 'it's'", 9, "the text ends before 's'; a quote within a text is written twice"),
        ("x = 'it' 's'", 10, "\"'s'\" does not fit here; expected AND, OR"),
        ("x = 'a'')", 8, "the quote ' is not closed"),
        ('"x = 1', 1, 'the quote " is not closed'),
        ("x /* y", 3, "a filter has no comments; take '/* y' out"),
        ("x = 1 -- note", 7, "a filter has no comments; take '-- note' out"),
        ("x /* a */ = 1", 3, "a filter has no comments; take '/* a */' out"),
        ("/*+ a */ x = 1", 1, "a filter has no comments; take '/*+ a */' out"),
        ("{# a #} x", 1, "'{#' has no meaning here"),
        ("-- x", 1, "a filter has no comments"),
        ("x = 1; DROP TABLE videos", 6, "';' has no meaning here; a filter knows names, values, comparisons, BETWEEN"),
        ("x = 1;", 6, "';' has no meaning here"),
        ("x = ‘A4C’", 5, "'‘A4C’' has no meaning here"),
        ("x\u200b = 1", 1, "'x\\u200b' has no meaning here"),
        ("x + 1 > 2", 3, "'+' has no meaning here"),
        ("x = +1", 5, "'+' has no meaning here"),
        ("x || y", 3, "'||' has no meaning here"),
        ("x = :p", 5, "':' has no meaning here"),
        ("x = ?", 5, "'?' has no meaning here"),
        ("x = @p", 5, "'@' has no meaning here"),
        ("x = $1", 5, "'$' has no meaning here"),
        ("x[1] = 2", 2, "'[' has no meaning here"),
        ("x -> 'a' = 1", 3, "'-' does not fit here; expected a comparison, BETWEEN, IN, LIKE, IS, AND, OR"),
        ("x::int = 1", 2, "'::' has no meaning here"),
        ("x <=> 1", 5, "a value belongs here: a number, or text in single quotes"),
        ("!x", 1, "'!' has no meaning here"),
        ("{{ x }}", 1, "'{{' has no meaning here"),
        ("x = N'a'", 5, "a value belongs here"),
        ("x = 1e", 6, "'e' does not fit here; expected AND, OR"),
        ("x = ²", 5, "'²' has no meaning here"),
        ("a.* = 1", 3, "'*' has no meaning here"),
        ("lower(x) = 'a'", 1, "'lower' has no meaning here"),
        ("CAST(x AS int) = 1", 1, "'CAST' has no meaning here"),
        (
            "x COLLATE nocase = 'a'",
            3,
            "'COLLATE' does not fit here; expected a comparison, BETWEEN, IN, LIKE, IS, AND, OR",
        ),
        ("x = DATE '2019-01-01'", 5, "a value belongs here"),
        ("x IN (SELECT 1)", 7, "a value belongs here"),
        ("x NOT IN (SELECT y FROM z)", 11, "a value belongs here"),
        ("x LIKE 'a' ESCAPE 'b'", 12, "'ESCAPE' does not fit here; expected AND, OR"),
        ("x ILIKE 'a'", 3, "'ILIKE' does not fit here; expected a comparison, BETWEEN, IN, LIKE, IS, AND, OR"),
        ("x BETWEEN SYMMETRIC 1 AND 2", 11, "a value belongs here"),
        ("x IS DISTINCT FROM 1", 6, "IS goes with NULL or NOT NULL; compare with values by ="),
        ("x IS UNKNOWN", 6, "IS goes with NULL or NOT NULL"),
        ("x ISNULL", 3, "'ISNULL' does not fit here"),
        ("x NOTNULL", 3, "'NOTNULL' does not fit here"),
        ("x = ALL (1)", 5, "a value belongs here"),
        ("like = 1", 1, "'like' does not fit here; expected a name, a value"),
        ("x = 1 AND in = 2", 11, "'in' does not fit here; expected a name, a value"),
        ("attr.not = 1", 6, "each part of a name is a word"),
        ("x = 1 FROM t", 7, "'FROM' does not fit here; expected AND, OR"),
        ("SELECT 1", 8, "'1' does not fit here; expected a comparison, BETWEEN, IN, LIKE, IS, AND, OR"),
        ("x y", 3, "'y' does not fit here"),
        ("x = 1 y = 2", 7, "'y' does not fit here"),
        ("x = 0x1F", 6, "'x1F' does not fit here"),
        ("x = 1_000", 6, "'_000' does not fit here"),
        ("2ch = 1", 2, "'ch' does not fit here"),
        ("x)", 2, "')' does not fit here"),
        ("x = 1 \r\n AND y = = 3", 18, "a value belongs here"),
        ("x = 1 \r\n AND y = ", 16, "something is missing after '='"),
        ("x AND", 3, "something is missing after 'AND'"),
        ("(x", 2, "a closing parenthesis is missing after 'x'"),
        ("x NOT NULL", 7, "'NULL' does not fit here; expected BETWEEN, IN, LIKE"),
        ("x NOT IS NULL", 7, "'IS' does not fit here; expected BETWEEN, IN, LIKE"),
        ("x BETWEEN 1 2", 13, "'2' does not fit here; expected AND"),
        ("x =. 1", 4, "a value belongs here"),
        ("task.<=.yes", 6, "each part of a name is a word"),
        ("x = 1 ANDy", 7, "'ANDy' does not fit here; expected AND, OR"),
        ("IS NOT NULL", 1, "'IS' does not fit here; expected a name, a value"),
        ("lower (x) = 'a'", 1, "'lower' has no meaning here"),
        ("x IN (1,,2)", 9, "a value is missing before ','"),
        ("x IN (1,)", 9, "a value is missing before ')'"),
        ("x IN (, 1)", 7, "a value is missing before ','"),
        ("x IN ()", 7, "a value is missing before ')'"),
        ("y OR x IN 1", 11, "IN needs values in parentheses, such as IN ('A', 'B')"),
        ("y OR TRUE", 6, "something is missing after 'TRUE'"),
        ("TRUE OR y", 6, "'OR' does not fit here; expected a comparison"),
        ("x IN (NULL)", 7, "NULL is no value; write IS NULL or IS NOT NULL"),
        ("x = NULL", 5, "NULL is no value; write IS NULL or IS NOT NULL"),
        ("NULL != x", 1, "NULL is no value"),
        ("x BETWEEN NULL AND 1", 11, "NULL is no value"),
        ("x IN (TRUE)", 7, "a value belongs here: a number, or text in single quotes"),
        ("x < TRUE", 5, "TRUE and FALSE are compared with = or !=, not with <, <=, > or >="),
        ("FALSE >= x", 7, "TRUE and FALSE are compared with = or !="),
        ("x IS TRUE", 6, "IS goes with NULL or NOT NULL; compare with values by ="),
        ("x IS NOT 3", 10, "IS goes with NULL or NOT NULL"),
        ("x LIKE 1", 8, "LIKE goes with a text in single quotes, such as LIKE 'A%'"),
        ("x LIKE y", 8, "LIKE goes with a text"),
        ('view = "A4C"', 8, "double quotes hold a name; text stands in single quotes: 'A4C'"),
        ("x = y", 5, "a value belongs here: a number, or text in single quotes"),
        ("x = NOT y", 5, "a value belongs here"),
        ("x = 'a' 'b'", 9, "\"'b'\" does not fit here"),
        ("x = - -1", 7, "a value belongs here"),
        ("x = -'a'", 6, "a value belongs here"),
        ("x = (1, 2)", 7, "',' does not fit here; expected a closing parenthesis"),
        ("x = 1 IS NULL", 7, "'IS' does not fit here; expected AND, OR"),
        ("1 < x < 3", 7, "a comparison has a name on one side and a value on the other"),
        ("x = 1 = 2", 7, "a comparison has a name on one side"),
        ("x IS NULL IS NULL", 11, "'IS' does not fit here; expected AND, OR"),
        ("1 = 2", 5, "a comparison has a name on one side"),
        ("-x = 1", 2, "a value belongs here"),
        ("(x AND y) = 1", 11, "a comparison has a name on one side"),
        ("x.y.z.w = 1", 6, "a name has at most three parts"),
        ("x.y.z.w.v = 1", 6, "a name has at most three parts"),
        ('x."" = 1', 3, "each part of a name is a word, or anything in double quotes"),
        ("x.1 = 1", 2, "each part of a name is a word"),
        ("x.null = 1", 3, "each part of a name is a word"),
        ("x..y = 1", 3, "each part of a name is a word"),
        ("x = 1e999", 5, "'1e999' is too large for a number"),
        ("x = -1" + "0" * 400, 6, "'1" + "0" * 56 + "...' is too large for a number"),
        ("NOT (" * 7 + "NOT (x" + ")" * 8, 40, "parentheses and NOT are nested more than 15 deep"),
        ("NOT " * 16 + "x", 61, "parentheses and NOT are nested more than 15 deep"),
        (" AND ".join(["x"] * 201), 1, "it has 201 conditions, and 200 are the most"),
    ],
)
def test_what_a_filter_cannot_say(text: str, character: int, sentence: str) -> None:
    with pytest.raises(BadFilter) as told:
        parse_filter(text)
    assert str(told.value).startswith(f"the filter, character {character}: {sentence}")


def test_as_many_and_as_deep_as_is_allowed() -> None:
    chain = parse_filter(" OR ".join(["x BETWEEN 1 AND 2"] * 100 + ["y"] * 100))
    assert isinstance(chain, Either)
    assert len(chain.conditions) == 200
    assert parse_filter("(" * 15 + "x" + ")" * 15) == Flag(X)
    assert parse_filter("(x) OR " * 20 + "(x)") == Either((Flag(X),) * 21)


def test_only_who_reads_a_filter_waits_for_the_parser() -> None:
    asks = "import sys, echosearch.api.index, echosearch.filters as f; print('lark' in sys.modules, end=' '); "
    asks += "f.parse_filter('x = 1'); print('lark' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert told.stdout == "False True\n"


def test_positions_are_those_of_the_text() -> None:
    condition = parse_filter("'ä' = x AND\r\n\"y z\".w IS NULL OR NOT (x = 3)")
    assert isinstance(condition, Either)
    first, second = condition.conditions
    assert isinstance(first, All)
    assert isinstance(second, Not)
    assert [atom.name.position for atom in (*first.conditions, second.condition)] == [7, 14, 38]  # type: ignore[union-attr]


def test_parts_of_a_condition() -> None:
    condition = parse_filter("x = 1 AND (y OR NOT x = 1) AND NOT (z IS NULL AND x > 2)")
    x_is_1, z_missing, x_is_more = Compare(X, "=", 1), Missing(Z), Compare(X, ">", 2)
    assert conjuncts(condition) == (
        x_is_1,
        Either((Flag(Y), Not(x_is_1))),
        Not(All((z_missing, x_is_more))),
    )
    assert conjuncts(x_is_1) == (x_is_1,)
    assert atoms(condition) == (x_is_1, Flag(Y), z_missing, x_is_more)
    assert names(condition) == (X, Y, Z)


def test_logic_of_three_values() -> None:
    """Kleene's tables, for all nine pairs of no, unknown and yes."""
    given_ = {
        Flag(X): np.array([-1, -1, -1, 0, 0, 0, 1, 1, 1], np.int8),
        Flag(Y): np.array([-1, 0, 1, -1, 0, 1, -1, 0, 1], np.int8),
    }

    def told(text: str) -> list[int]:
        decided = combine(parse_filter(text), lambda atom: given_[atom])  # type: ignore[index]
        assert decided.dtype == np.int8
        return decided.tolist()

    assert told("x AND y") == [-1, -1, -1, -1, 0, 0, -1, 0, 1]
    assert told("x OR y") == [-1, 0, 1, 0, 0, 1, 1, 1, 1]
    assert told("NOT x") == [1, 1, 1, 0, 0, 0, -1, -1, -1]
    assert told("NOT (x AND NOT y)") == [1, 1, 1, 0, 0, 1, -1, 0, 1]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Name((), 1), "a name has one to three parts"),
        (lambda: Name(("a", "b", "c", "d"), 1), "a name has one to three parts"),
        (lambda: Name(("a", ""), 1), "none of them empty"),
        (lambda: Compare(X, "LIKE", 1), "an operator is one of =, !="),  # type: ignore[arg-type]
        (lambda: Compare(X, "=", True), "a value is a number or text, not True"),
        (lambda: Compare(X, "=", None), "a value is a number or text, not None"),  # type: ignore[arg-type]
        (lambda: Compare(X, "=", math.nan), "a number is finite"),
        (lambda: Between(X, 1, -math.inf), "a number is finite"),
        (lambda: OneOf(X, (1, 2**63)), "a whole one has 64 bits"),
        (lambda: OneOf(X, ()), "one of no values is none"),
        (lambda: Like(X, "a\x00"), "text has neither NUL nor half characters"),
        (lambda: All((Flag(X),)), "AND joins two or more"),
        (lambda: Either(()), "OR joins two or more"),
        (lambda: KnownName(("x",), "number"), "a known name has two or three parts"),
        (lambda: KnownName(("x", "y"), "real"), "one of the types number, text, date, flag"),  # type: ignore[arg-type]
    ],
)
def test_conditions_that_no_filter_can_state(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


# There and back.

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
TEXTS = st.one_of(
    st.text(CHARACTERS, max_size=8), st.sampled_from(["'", "''", "--", "/*", ";", "\\", "\\'", '"', "\r\n"])
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.sampled_from(
    [
        "x",
        "a_1",
        "_",
        "view",
        "kind",
        "date",
        "case",
        "if",
        "any",
        "null",
        "true",
        "select",
        "index",
        "row",
        "AND",
        "In",
    ]
)
NAMES = st.lists(st.one_of(WORDS, st.text(CHARACTERS, min_size=1, max_size=5)), min_size=1, max_size=3).map(
    lambda parts: Name(tuple(parts), 1)
)


def trees(leaves: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    """Conditions of up to eight leaves."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: Either(tuple(parts))),
        ),
        max_leaves=8,
    )


def leaves(
    about: st.SearchStrategy[Name], values: st.SearchStrategy[Any], kinds: Sequence[str]
) -> st.SearchStrategy[Condition]:
    """Conditions that neither AND, OR nor NOT makes."""
    operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
    made: dict[str, st.SearchStrategy[Condition]] = {
        "compare": st.builds(Compare, about, operators, values),
        "between": st.builds(Between, about, values, values),
        "one of": st.builds(OneOf, about, st.lists(values, min_size=1, max_size=3).map(tuple)),
        "missing": st.builds(Missing, about),
        "like": st.builds(Like, about, values),
        "flag": st.builds(Flag, about),
    }
    return st.one_of(*(made[kind] for kind in kinds))


@given(
    trees(
        st.one_of(
            leaves(NAMES, st.one_of(TEXTS, NUMBERS), ["compare", "between", "one of", "missing", "flag"]),
            leaves(NAMES, TEXTS, ["like"]),
        )
    )
)
@settings(deadline=None)
def test_a_condition_is_what_its_text_says(condition: Condition) -> None:
    assert parse_filter(str(condition)) == condition


# What names mean.

KNOWN = [
    KnownName(("video", "view"), "text"),
    KnownName(("video", "height"), "number"),
    KnownName(("video", "acquired_at"), "date"),
    KnownName(("attr", "Height"), "number"),
    KnownName(("attr", "EF"), "number"),
    KnownName(("attr", "ef"), "number"),
    KnownName(("attr", "age"), "number"),
    KnownName(("attr", "site"), "text"),
    KnownName(("attr", "Straße"), "text"),
    KnownName(("task", "tavr", "yes"), "flag"),
    KnownName(("task", "ejection_fraction", "value"), "number"),
]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("attr.age IS NULL", ("attr", "age")),
        ("ATTR.Age IS NULL", ("attr", "age")),
        ("age IS NULL", ("attr", "age")),
        ("AGE IS NULL", ("attr", "age")),
        ("View IS NULL", ("video", "view")),
        ("attr.EF IS NULL", ("attr", "EF")),
        ("attr.ef IS NULL", ("attr", "ef")),
        ("video.HEIGHT IS NULL", ("video", "height")),
        ("strasse IS NULL", ("attr", "Straße")),
        ("Task.TAVR.yes", ("task", "tavr", "yes")),
        ("view LIKE '%'", ("video", "view")),
        ("view > 'A'", ("video", "view")),
    ],
)
def test_names(text: str, parts: Parts) -> None:
    condition = parse_filter(text)
    [(asked, found)] = resolve(condition, KNOWN).items()
    assert asked == names(condition)[0]
    assert found.parts == parts


def test_a_bare_name_is_the_field_before_the_attribute() -> None:
    condition = parse_filter("height > 170 AND attr.height > 3")
    assert [found.parts for found in resolve(condition, KNOWN).values()] == [("video", "height"), ("attr", "Height")]


def test_the_same_name_twice_is_one() -> None:
    found = resolve(parse_filter("age > 1 AND age < 3 AND attr.age != 2"), KNOWN)
    assert {str(asked): str(one) for asked, one in found.items()} == {"age": "attr.age", "attr.age": "attr.age"}


@pytest.mark.parametrize(
    ("text", "character", "sentence"),
    [
        ("view = 'a' AND atr.age > 1", 16, "there is no name 'atr.age'; near: attr.age"),
        ("agee > 1", 1, "there is no name 'agee'; near: attr.age"),
        ("task.tavr", 1, "there is no name 'task.tavr'; near: task.tavr.yes"),
        ("yes", 1, "there is no name 'yes'; near: task.tavr.yes"),
        ("task.ejection_fracton.value < 3", 1, "there is no name 'task.ejection_fracton.value'; near: task.eject"),
        ("qqq > 1", 1, "there is no name 'qqq'; `echosearch info` lists fields and attributes, `echosearch tasks"),
        ("EF > 1", 1, "'EF' can be attr.EF or attr.ef; write the one that is meant"),
        ("attr.Ef > 1", 1, "'attr.Ef' can be attr.EF or attr.ef; write the one that is meant"),
        ("\"\x1b[31m\" > 1", 1, "there is no name '\"\\x1b[31m\"'; "),
        ("age = 'x'", 1, "age holds numbers, and 'x' is text; compare it with a number"),
        ("view = 'a' OR age IN (1, '-2.5')", 15, "age holds numbers, and '-2.5' is text; leave the quotes out"),
        ("age BETWEEN 1 AND '3'", 1, "age holds numbers, and '3' is text; leave the quotes out"),
        ("age = 1 AND NOT (age < '3')", 18, "age holds numbers, and '3' is text; leave the quotes out"),
        ("age LIKE '1%'", 1, "LIKE is for text, and age holds numbers"),
        ("acquired_at LIKE '2019%'", 1, "LIKE is for text, and acquired_at holds dates"),
        ("age", 1, "age holds numbers and is neither true nor false; compare it with a value"),
        ("view = TRUE", 1, "view holds text and is neither true nor false; compare it with a value"),
        ("site = -3", 1, "site holds text, and -3 is a number; write it as it stands there, in single quotes"),
        ("site BETWEEN 'a' AND 3", 1, "site holds text, which is ordered letter by letter"),
        ("site >= 18", 1, "site holds text, which is ordered letter by letter"),
        ("site >= '18'", 1, "site holds text, which is ordered letter by letter"),
        ("site NOT BETWEEN '9' AND '100'", 1, "site holds text, which is ordered letter by letter"),
        ("task.tavr.yes = 1", 1, "task.tavr.yes is yes or no, not compared with values; write task.tavr.yes or NOT"),
        ("task.tavr.yes > 0", 1, "task.tavr.yes is yes or no"),
        ("task.tavr.yes IN (0, 1)", 1, "task.tavr.yes is yes or no"),
        ("task.tavr.yes LIKE '1'", 1, "LIKE is for text, and task.tavr.yes holds yes or no"),
        ("acquired_at > 2019", 1, "acquired_at holds dates, and 2019 is a number; write '2019'"),
        ("acquired_at > 20190531", 1, "acquired_at holds dates, and 20190531 is none; write '2019', '2019-05' or"),
        ("acquired_at = '31.5.2019'", 1, "acquired_at holds dates, and '31.5.2019' is none; write '2019'"),
        ("acquired_at IN ('2019', '2019-02-29')", 1, "acquired_at holds dates, and '2019-02-29' is none"),
    ],
)  # fmt: skip
def test_names_and_values_that_do_not_fit(text: str, character: int, sentence: str) -> None:
    condition = parse_filter(text)
    with pytest.raises(BadFilter) as told:
        resolve(condition, KNOWN)
    assert str(told.value).startswith(f"the filter, character {character}: {sentence}")


def test_at_most_five_near_names_the_nearest_first() -> None:
    known = [KnownName(("attr", f"velocity{letter}"), "number") for letter in "abcdefgh"]
    known.append(KnownName(("attr", "velocty"), "number"))
    with pytest.raises(BadFilter, match=r"near: attr\.velocty(, attr\.velocity[a-h]){4}$"):
        resolve(parse_filter("attr.velocty_ > 1"), known)


def test_a_name_that_is_near_as_a_whole_comes_before_one_that_ends_alike() -> None:
    known = [KnownName(("task", task, "value"), "number") for task in ("age", "ejection_fraction")]
    with pytest.raises(BadFilter, match=r"near: task\.ejection_fraction\.value, task\.age\.value$"):
        resolve(parse_filter("task.ejection_fracton.value > 1"), known)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("2019", "2019"),
        ("2019-05", "2019-05"),
        ("2020-02-29", "2020-02-29"),
        ("2019-05-31T14:05", "2019-05-31T14:05"),
        ("2019-05-31 14:05:59", "2019-05-31T14:05:59"),
        ("2019-02-29", None),
        ("2019-13", None),
        ("0000", None),
        ("2019-05-31T24:00", None),
        ("2019-05-31T14", None),
        ("2019-5-31", None),
        ("20190531", None),
        ("2019-05-31T14:05:00+00:00", None),
        ("٢٠١٩", None),
        ("2019\n", None),
        ("", None),
    ],
)
def test_dates(text: str, prefix: str | None) -> None:
    assert date_prefix(text) == prefix


# What is true of which video.

NOTES = ["it's", "50%", "a_b", "Größe", "größe", "", "x\ny", '"', "A", "a", "ab", "--", "\U0001f600", "~"]
SITES = ["A", "B", "St. Mary's", "a", "é"]
MOMENTS = ["2015-01-01T00:00:00", "2019-05-31T00:00:00", "2019-05-31T14:05:00", "2019-05-31T14:05:30.250000",
           "2019-12-31T23:59:59", "2020-12-31T23:59:59+02:00"]  # fmt: skip
LITERAL_DATES = [
    "2015",
    "2019",
    "2019-05",
    "2019-05-31",
    "2019-05-31T14:05",
    "2019-05-31 14:05:30",
    "2020-12-31",
    "2021",
]

TYPES: dict[Parts, ValueType] = {
    **{("video", field): type_ for field, type_ in FIELDS.items()},
    ("video", "domain"): "text",
    ("attr", "age"): "number",
    ("attr", "LV EF"): "number",
    ("attr", "site"): "text",
    ("attr", "note"): "text",
    ("task", "ef", "value"): "number",
    ("task", "probe:lv", "value"): "number",
    ("task", "tavr", "yes"): "flag",
}
ALL_KNOWN = [KnownName(parts, type_) for parts, type_ in TYPES.items()]
NUMBERS_ASKED = [
    -5,
    -1.5,
    0,
    0.5,
    1,
    1.6,
    2,
    3,
    20.0,
    25,
    35.5,
    40,
    64,
    112,
    1000,
    2**53,
    2**53 + 1,
    2**62 + 1,
    -(2**62),
]


@dataclass(frozen=True)
class Clinic:
    """A catalog, and what it holds as plain Python: facts[video id][name]; None is unknown."""

    catalog: Catalog
    path: Path
    facts: dict[int, dict[Parts, Any]]
    measures: Measures
    attributes: dict[str, int]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    path = tmp_path_factory.mktemp("clinic") / "catalog.sqlite"
    facts = make_catalog(path, 60)
    with closing(Catalog(path)) as catalog, catalog.reading() as snapshot:
        attributes = {column.name: column.number for column in snapshot.attributes.columns()}
        records = {record.video_id: record for record in snapshot.videos.records()}
        for video_id in set(facts) - set(records):
            del facts[video_id]
        for video_id, record in records.items():
            facts[video_id]["video", "added_at"] = record.added_at
        assert len(facts) == 57
        yield Clinic(catalog, path, facts, make_measures(facts), attributes)


def make_catalog(path: Path, count: int) -> dict[int, dict[Parts, Any]]:
    """Videos with gaps everywhere, some deleted; what is known of each."""
    chance = random.Random(7)
    facts: dict[int, dict[Parts, Any]] = {}
    with closing(Catalog.create(path)) as catalog:
        ids = catalog.reserve_ids(count)
        videos = []
        for video_id in ids:
            maybe = lambda values: chance.choice([None, *values])  # noqa: E731
            fps, frames = maybe([0.0, 20.0, 25.0]), chance.choice([40, 64])
            height, width, size = (
                chance.choice([112, 113]),
                chance.choice([112, 1024]),
                chance.choice([1000, 2**53 + 1]),
            )
            attributes = {
                "age": maybe([-5, 0, 1, 40, 2**53 + 1, 2**62]),
                "LV EF": maybe([-1.5, 0.0, 35.5, 2.0**53]),
                "site": maybe(SITES),
                "note": maybe(NOTES),
            }
            if chance.random() < 0.2:  # no row in the wide table
                attributes = dict.fromkeys(attributes)
            told = VideoMetadata(
                maybe(["S1", "S2"]), maybe(["P1"]), maybe(["A4C", "apical 4 chamber", "PLAX"]), maybe(MOMENTS)
            )
            predicted = maybe(["A4C", "PLAX"])
            kind, unverified = chance.choice(["video", "image"]), maybe(["elsewhere"])
            video, _ = new_video(f"{video_id}.avi", unit(1))
            videos.append(
                replace(
                    video,
                    video_id=video_id,
                    facts=VideoFacts(kind, frames, height, width, fps or None),
                    num_embedded_frames=frames // 2,
                    size_bytes=size,
                    unverified=unverified,
                    metadata=replace(told, attributes={} if not any(attributes.values()) else attributes),
                )
            )
            facts[video_id] = {
                ("video", "video_id"): video_id,
                ("video", "study"): told.study,
                ("video", "patient"): told.patient,
                ("video", "view"): predicted if told.view is None else told.view,
                ("video", "view_predicted"): predicted,
                ("video", "kind"): kind,
                ("video", "unverified"): unverified,
                ("video", "acquired_at"): told.acquired_at,
                ("video", "num_frames"): frames,
                ("video", "num_embedded_frames"): frames // 2,
                ("video", "height"): height,
                ("video", "width"): width,
                ("video", "fps"): fps,
                ("video", "duration_seconds"): frames / fps if fps else None,
                ("video", "size_bytes"): size,
                **{("attr", key): value for key, value in videos[-1].metadata.attributes.items()},
            }
            for key in attributes:
                facts[video_id].setdefault(("attr", key), None)
        with catalog.writing() as transaction:
            transaction.attributes.declare({"age": "integer", "LV EF": "real", "site": "text", "note": "text"})
            transaction.segments.add("one", count, "digest", "{}")
            transaction.videos.add("one", videos)
            transaction.videos.predict_views({video_id: facts[video_id]["video", "view_predicted"] for video_id in ids})
            transaction.deleted.add(ids[10:13], on_purpose=True)
            still = [(video_id,) for video_id, known in facts.items() if known["video", "fps"] == 0]
            transaction._connection.exec_driver_sql("UPDATE videos SET fps = 0 WHERE id = ?", still)
    return facts


def make_measures(facts: Mapping[int, dict[Parts, Any]]) -> Measures:
    """Scores with gaps, written into the facts as well. They know of videos that are not live: those do not count."""
    chance = random.Random(8)
    pools: dict[Parts, list[Any]] = {
        ("task", "ef", "value"): [-1.5, 0.0, 35.5, 64.0, math.nan],
        ("task", "probe:lv", "value"): [0.5, 1.0, None],
        ("task", "tavr", "yes"): [0.0, 1.0, math.nan],
        ("video", "domain"): ["echo", "other", None],
    }
    measures = {}
    for parts, pool in pools.items():
        told = {video_id: chance.choice(pool) for video_id in range(1, 70) if chance.random() < 0.8}
        for video_id, known in facts.items():
            value = told.get(video_id)
            known[parts] = None if value is None or value != value else value
        values: Any = np.array(list(told.values())) if parts == ("task", "ef", "value") else list(told.values())
        measures[parts] = (np.array(list(told), np.int64), values)
    return measures


def truth(condition: Condition, about: Mapping[Name, KnownName], facts: Mapping[Parts, Any]) -> bool | None:
    """What a condition says of one video, worked out as one would by hand; None: unknown."""
    if isinstance(condition, Not):
        inner = truth(condition.condition, about, facts)
        return None if inner is None else not inner
    if isinstance(condition, All | Either):
        told = {truth(part, about, facts) for part in condition.conditions}
        decisive = isinstance(condition, Either)
        return decisive if decisive in told else None if None in told else not decisive
    known = about[condition.name]
    value = facts[known.parts]
    if isinstance(condition, Missing):
        return value is None
    if value is None:
        return None
    if isinstance(condition, Flag):
        return bool(value)
    if isinstance(condition, Like):
        return is_like(value, condition.pattern)

    def compared(operator: str, asked: Any) -> bool:
        mine = value
        if known.type == "date":
            asked = asked.replace(" ", "T")
            mine = value[: len(asked)]
        if known.parts == ("video", "view") and operator in ("=", "!="):
            mine, asked = (FOUR_CHAMBER.get(text, text) for text in (mine, asked))
        return {
            "=": mine == asked,
            "!=": mine != asked,
            "<": mine < asked,
            "<=": mine <= asked,
            ">": mine > asked,
            ">=": mine >= asked,
        }[operator]

    if isinstance(condition, Between):
        return compared(">=", condition.low) and compared("<=", condition.high)
    if isinstance(condition, OneOf):
        return any(compared("=", asked) for asked in condition.values)
    return compared(condition.operator, condition.value)


FOUR_CHAMBER = dict.fromkeys(["A4C", "apical 4 chamber", "4CH"], "A4C")


def is_like(text: str, pattern: str) -> bool:
    """SQL's LIKE by its definition: % is any text, _ one character, A to Z are alike in both cases."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(is_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    if not text:
        return False
    same = text[0] == pattern[0] or (
        text[0].isascii() and pattern[0].isascii() and text[0].lower() == pattern[0].lower()
    )
    return (pattern[0] == "_" or same) and is_like(text[1:], pattern[1:])


def asked_names(type_: ValueType) -> st.SearchStrategy[Name]:
    full = [parts for parts, its in TYPES.items() if its == type_]
    folded = [tuple(part.upper() for part in parts) for parts in full]
    last = [parts[1:] for parts in full if len(parts) == 2]
    return st.sampled_from([*full, *folded, *last]).map(lambda parts: Name(parts, 1))


def pattern_pieces() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(["%", "_", "A", "a", "é", "'", "4", "50", "\\", "Gr", "ö", "E"]), max_size=5).map(
        "".join
    )


COMPARED = ["compare", "between", "one of", "missing"]
ASKED = trees(
    st.one_of(
        leaves(asked_names("number"), st.one_of(st.sampled_from(NUMBERS_ASKED), NUMBERS), COMPARED),
        leaves(
            asked_names("text"),
            st.sampled_from([*NOTES, *SITES, "A4C", "4CH", "S1", "echo", "elsewhere", "video"]),
            COMPARED,
        ),
        leaves(asked_names("text"), pattern_pieces(), ["like"]),
        leaves(asked_names("date"), st.sampled_from(LITERAL_DATES), COMPARED),
        leaves(asked_names("flag"), st.nothing(), ["flag", "missing"]),
    )
)


@given(condition=ASKED)
@settings(max_examples=300, deadline=None)
def test_sql_decides_as_plain_logic_does(clinic: Clinic, condition: Condition) -> None:
    parsed = parse_filter(str(condition))
    about = resolve(parsed, ALL_KNOWN)
    expected = {video_id: truth(parsed, about, facts) for video_id, facts in clinic.facts.items()}
    with clinic.catalog.reading() as snapshot:
        found = snapshot.conditions.matching(parsed, about, clinic.attributes, clinic.measures)
        leaves_ = atoms(parsed)
        ids, decided = snapshot.conditions.decisions(leaves_, about, clinic.attributes, clinic.measures)
    assert found.ids.tolist() == sorted(video_id for video_id, told in expected.items() if told)
    assert found.no == sum(told is False for told in expected.values())
    assert found.unknown == sum(told is None for told in expected.values())
    assert ids.tolist() == sorted(expected)
    combined = combine(parsed, lambda atom: decided[:, leaves_.index(atom)])  # type: ignore[arg-type]
    assert combined.tolist() == [{True: 1, False: -1, None: 0}[expected[int(video_id)]] for video_id in ids]


def ask(snapshot: CatalogReader, clinic: Clinic, text: str) -> tuple[list[int], int, int]:
    """Ids, and how many are no and unknown."""
    condition = parse_filter(text)
    found = snapshot.conditions.matching(condition, resolve(condition, ALL_KNOWN), clinic.attributes, clinic.measures)
    return found.ids.tolist(), found.no, found.unknown


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Clinic]:
    """Four videos; the counts below are counted by hand."""
    moments = ["2014-12-31T23:59:59", "2015-01-01T00:00:00", "2020-12-31T18:30:00", None]
    ages = [17, 18, None, 90]
    with closing(Catalog.create(tmp_path / "catalog.sqlite")) as catalog:
        ids = catalog.reserve_ids(4)
        with catalog.writing() as transaction:
            transaction.attributes.declare({"age": "integer"})
            transaction.segments.add("one", 4, "digest", "{}")
            transaction.videos.add(
                "one",
                [
                    replace(
                        new_video(f"{video_id}.avi", unit(1), fps=fps)[0],
                        video_id=video_id,
                        metadata=VideoMetadata(acquired_at=moment, view=view, attributes={"age": age}),
                    )
                    for video_id, moment, age, view, fps in zip(
                        ids, moments, ages, ["A4C", "a4c", None, "100%"], [20.0, 10.0, None, None], strict=True
                    )
                ],
            )
        measures = {("task", "tavr", "yes"): (np.array([1, 2, 9]), [1.0, 0.0, 1.0])}
        yield Clinic(catalog, tmp_path / "catalog.sqlite", {}, measures, {"age": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acquired_at BETWEEN '2015-01-01' AND '2020-12-31'", ([2, 3], 1, 1)),
        ("acquired_at < '2015'", ([1], 2, 1)),
        ("acquired_at > '2015'", ([3], 2, 1)),
        ("acquired_at <= '2015'", ([1, 2], 1, 1)),
        ("acquired_at = '2020-12'", ([3], 2, 1)),
        ("acquired_at NOT IN ('2014', '2020-12-31 18:30')", ([2], 2, 1)),
        ("attr.age >= 18", ([2, 4], 1, 1)),
        ("NOT attr.age >= 18", ([1], 2, 1)),
        ("attr.age >= 18 OR task.tavr.yes", ([1, 2, 4], 0, 1)),
        ("attr.age >= 18 AND task.tavr.yes", ([], 2, 2)),
        ("task.tavr.yes = FALSE", ([2], 1, 2)),
        ("task.tavr.yes IS NULL", ([3, 4], 2, 0)),
        ("view = 'A4C'", ([1, 2], 1, 1)),
        ("view != 'apical four-chamber'", ([4], 2, 1)),
        ("view IN ('4CH', 'PLAX')", ([1, 2], 1, 1)),
        ("NOT view IN ('PLAX')", ([1, 2, 4], 0, 1)),
        ("view > 'A4C'", ([2], 2, 1)),  # as it is written
        ("view LIKE 'a4_'", ([1, 2], 1, 1)),
        ("view NOT LIKE '%\u0025'", ([], 3, 1)),
        ("view LIKE '1%'", ([4], 2, 1)),
        ("duration_seconds = 2", ([1], 1, 2)),
        ("duration_seconds IN (2, 4.0)", ([1, 2], 0, 2)),
        ("video_id IN (2, 3, 77)", ([2, 3], 2, 0)),
        ("attr.age != 17 AND attr.age IS NOT NULL", ([2, 4], 2, 0)),
        ("attr.age > 9999999999999999999", ([], 3, 1)),
    ],
)
def test_answers_worked_out_by_hand(four: Clinic, text: str, expected: tuple[list[int], int, int]) -> None:
    with four.catalog.reading() as snapshot:
        assert ask(snapshot, four, text) == expected


def test_decisions_of_several_conditions_at_once(four: Clinic) -> None:
    asked = [parse_filter(text) for text in ("attr.age > 17", "view IS NULL OR task.tavr.yes")]
    about = resolve(All(tuple(asked)), ALL_KNOWN)
    with four.catalog.reading() as snapshot:
        ids, decided = snapshot.conditions.decisions(asked, about, four.attributes, four.measures)
        none = snapshot.conditions.decisions([], {}, {}, {})
    assert ids.tolist() == [1, 2, 3, 4]
    assert decided.tolist() == [[-1, 1], [1, -1], [0, 1], [1, 0]]
    assert (ids.dtype, decided.dtype) == (np.int64, np.int8)
    assert none[0].tolist() == [1, 2, 3, 4]
    assert none[1].shape == (4, 0)


@pytest.mark.parametrize(
    "text",
    [
        "{} = 9007199254740993",
        "{} IN (9007199254740993, 0.5)",
        "{} IN (-1.25, 9007199254740993)",
        "{} > 9007199254740992",
    ],
)
def test_whole_numbers_are_not_rounded_to_compare_them(clinic: Clinic, text: str) -> None:
    """2**53 + 1 is no float, and is neither equal to 2**53 nor beside it."""
    assert {facts["attr", "LV EF"] for facts in clinic.facts.values()} >= {2.0**53}
    of_age = [video_id for video_id, facts in clinic.facts.items() if (facts["attr", "age"] or 0) == 2**53 + 1]
    with clinic.catalog.reading() as snapshot:
        assert ask(snapshot, clinic, text.format('attr."LV EF"'))[0] == []
        found = ask(snapshot, clinic, f"{text.format('age')} AND age < 9999999999999999")[0]
    assert found == of_age != []


def test_an_empty_catalog(tmp_path: Path) -> None:
    with closing(Catalog.create(tmp_path / "catalog.sqlite")) as catalog, catalog.reading() as snapshot:
        nobody = Clinic(catalog, tmp_path, {}, {("task", "tavr", "yes"): (np.empty(0, np.int64), [])}, {})
        assert ask(snapshot, nobody, "view = 'A4C' OR task.tavr.yes") == ([], 0, 0)


def test_bounds_of_the_language_are_within_those_of_sqlite(clinic: Clinic) -> None:
    """Deep, long and wide filters are answered, which SQLite would refuse a little further out."""
    deep = "age < 0 OR site = 'A' AND (" * 15 + "age IS NULL" + ")" * 15
    many = " OR ".join([*(f"age={number}" for number in range(-100, 99)), "age IS NULL"])
    long = f"age NOT IN ({','.join(['1'] * 1900)})"
    half_nots = "age<0 OR site='A' AND NOT (" * 7 + "age IS NULL" + ")" * 7
    with clinic.catalog.reading() as snapshot:
        for text in (deep, many, long, half_nots):
            condition = parse_filter(text)
            about = resolve(condition, ALL_KNOWN)
            ids = sorted(video_id for video_id, facts in clinic.facts.items() if truth(condition, about, facts))
            assert ask(snapshot, clinic, text)[0] == ids


def test_more_measures_than_sqlite_joins_tables(clinic: Clinic) -> None:
    known = [KnownName(("task", f"t{number}", "value"), "number") for number in range(150)]
    measures = {one.parts: (np.array([number + 1]), [float(number)]) for number, one in enumerate(known)}
    condition = parse_filter(" OR ".join(f"task.t{number}.value = {number}" for number in range(150)))
    with clinic.catalog.reading() as snapshot:
        found = snapshot.conditions.matching(condition, resolve(condition, known), {}, measures)
    assert found.ids.tolist() == sorted(clinic.facts)


def test_nothing_is_left_behind(clinic: Clinic) -> None:
    """The temporary table goes, after errors as well, and the same snapshot answers again."""
    with clinic.catalog.reading() as snapshot:
        before = ask(snapshot, clinic, "task.ef.value > 1 AND task.tavr.yes")
        broken = replace(clinic, measures={**clinic.measures, ("task", "tavr", "yes"): (np.array([1]), [object()])})
        with pytest.raises(sqlite3.Error, match="type 'object' is not supported"):
            ask(snapshot, broken, "task.tavr.yes")
        assert ask(snapshot, clinic, "task.ef.value > 1 AND task.tavr.yes") == before
        left = snapshot._connection.exec_driver_sql("SELECT name FROM sqlite_temp_master").all()
    assert left == []


def test_what_is_written_is_never_part_of_a_statement(clinic: Clinic) -> None:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with clinic.catalog.reading() as snapshot:
            ask(
                snapshot,
                clinic,
                "site = 'zqz''--' AND note LIKE 'zqz%' AND age IN (987654, 3) AND view BETWEEN 'zqz' AND 'zqz' "
                "AND acquired_at > '1987' AND acquired_at IN ('1987', '1987-06') AND task.\"probe:lv\".value < 987654",
            )
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert any("measured" in statement for statement in statements)
    assert not [statement for statement in statements if any(word in statement for word in ("zqz", "9876", "1987"))]


# What comes from outside.


def hostile() -> list[str]:
    """A thousand filters that nobody should write."""
    chance = random.Random(20)
    fixed = [
        "'; DROP TABLE videos; --", "view = 'A4C'; DROP TABLE videos", "view = 'A4C' OR 1=1 --", "1 OR 1",
        "age = 1; ATTACH '/tmp/x' AS y", "ATTACH DATABASE '/tmp/x' AS y", "PRAGMA writable_schema = 1", "PRAGMA x",
        "load_extension('x')", "age = load_extension('x')", "age IN (SELECT id FROM videos)", "VACUUM INTO '/tmp/x'",
        "view = 'a' UNION SELECT * FROM videos", "age = (SELECT 1)", "EXISTS (SELECT 1)", "randomblob(1000000000) = 1",
        "DELETE FROM videos", "UPDATE videos SET view = 'x'", "CREATE TABLE x (y)", "age = zeroblob(9)",
        "age = 1 LIMIT 1",
        "age = 1e999", "age = -1e999", f"age = {10**400}", f"age = -{10**400}", "age = " + "9" * 3990, "age = nan",
        "age = inf", "site = '" + "x" * 3900 + "'", "site LIKE '" + "%a" * 1900 + "'",
        "site LIKE '" + "%_" * 1900 + "b'",
        "x" * 4000, '"' + "x" * 3990 + '"', '"' + "attr.age" * 400 + '" = 1', "." * 4000, "," * 4000, "'" * 3999,
        "'" * 4000, '"' * 3999, "-" * 4000, "- " * 2000, "(" * 4000, ")" * 4000, "NOT " * 999 + "x", "= " * 1999,
        "age AND " * 499 + "age", "(age=1) OR " * 300 + "age=1", "a." * 1999 + "a", "age IN (" + "1," * 1900 + "1)",
        "age IN (" * 400, "CASE " * 700, "IF " * 999, "IF(" * 999, "age = 1 /*" + "*" * 3000, "/*" * 2000, "{{" * 2000,
        "{%" * 2000, "age\u2028=\u20281", "age = \uff11", "\ufeffage = 1", "age = 1\u202e", "a\u0301ge = 1",
        "age = '\x1b[2J'",
        "site = '\U0010ffff'", "view = 'A4C\x00'", "\x00", "\ud800", "site = '\udfff'",
        "age = 1 \x0b AND \x0c age = 2",
        "\x1b[31m = 1", '"\x1b[31m" = 1', "age == = 1", "age = = 1", "age =! 1", "age >= <= 1", "() = ()", "(())",
        "age IN (())",
        "age BETWEEN 1 AND", "age BETWEEN AND 1", "age BETWEEN 1", "age IS", "age IS NOT", "age NOT", "NOT", "AND",
        "IN (1)",
        "INTERVAL '1' DAY", "age = INTERVAL '1' DAY", "x'00' = age", "age = 0b1", "age = 1__0", "[age] = 1",
        "`age` = 1",
        "age #>> 'a'", "age @> 'a'", "age ? 'a'", "age::text = 'a'", "age COLLATE x = 1", "$$x$$ = 1", "age = $1",
        "age = ?1",
        "age = :x", "@x = 1", "#x", "age = 1 AS b", "age b = 1", "DISTINCT age = 1", "age OVER () = 1",
        "age MEMBER OF (x)",
    ]  # fmt: skip
    for depth in range(1, 90, 3):
        fixed += [
            "(" * depth + "age = 1" + ")" * depth,
            "NOT " * depth + "age = 1",
            "NOT (" * depth + "age=1" + ")" * depth,
        ]
        fixed.append("(age < 0 OR site = 'A' AND " * depth + "age = 1" + ")" * depth)
    soup = [
        "age", "view", "attr", "site", "task.tavr.yes", "acquired_at", '"LV EF"', "'A'", "'2019'", "''", "1", "-1.5",
        "1e5",
        "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "(", ")", "(", ")", ",", ".", "=", "<",
        ">=",
        "!=", "-", "+", "*", ";", "SELECT", "FROM", "CASE", "WHEN", "END", "CAST", "AS", "IF", "ANY", "ALL", "EXISTS",
        "COLLATE", "ESCAPE", "||", "::", "--", "/*", "*/", "'", '"', "\\", "{", "}", "[", "]", "@", "$", "?", ":",
        "é", "\n",
    ]  # fmt: skip
    well_formed = ["age = 1", "view LIKE '%'", "task.tavr.yes", "site IS NULL", "acquired_at > '2019'", "age IN (1, 2)"]
    while len(fixed) < 1000:
        kind = len(fixed) % 4
        if kind == 0:
            fixed.append(" ".join(chance.choices(soup, k=chance.randint(1, 12))))
        elif kind == 1:
            fixed.append("".join(chance.choices(soup, k=chance.randint(1, 40))))
        elif kind == 2:  # one thing changed
            text = f" {chance.choice(['AND', 'OR'])} ".join(chance.choices(well_formed, k=3))
            place = chance.randrange(len(text))
            fixed.append(text[:place] + chance.choice(soup) + text[place + chance.randint(0, 2) :])
        else:
            fixed.append(
                "".join(chr(chance.choice([chance.randrange(32, 127), chance.randrange(0x3000)])) for _ in range(30))
            )
    return fixed


def test_hostile_filters_are_answered_or_refused(clinic: Clinic) -> None:
    filters = hostile()
    assert len(filters) == 1000
    before = hashlib.sha256(clinic.path.read_bytes()).hexdigest()
    answered, slowest = 0, 0.0
    with clinic.catalog.reading() as snapshot:
        for text in filters:
            start = time.thread_time()
            try:
                ids, no, unknown = ask(snapshot, clinic, text)
            except BadFilter as error:
                message = str(error)
                assert message.startswith("the filter, character ")
                assert message.isprintable()
                assert len(message) < 600
            else:
                answered += 1
                assert len(ids) + no + unknown == len(clinic.facts)
            slowest = max(slowest, time.thread_time() - start)
    assert 20 < answered < 500
    assert slowest < 1.0
    assert hashlib.sha256(clinic.path.read_bytes()).hexdigest() == before
