"""From the text form of a question to the question, by `question.lark`. Knows no index."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput, v_args
from lark.exceptions import VisitError

from echosearch.errors import BadQuery, InputError, shown
from echosearch.filters import conjuncts, parse_filter
from echosearch.search.question import Example, Phrase, Question, Term

_ESCAPE: Final = re.compile(r"\\(?:[\\tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_EXAMPLE: Final = "'PACER LEAD' + video 17 - 'MITRAL CLIP' level study k 10 where view = 'A4C'"


def read(text: str) -> Question:
    """The question that a text states. BadQuery says at which character it cannot be understood."""
    try:
        parts: Any = _language().parse(text)
    except UnexpectedInput as error:
        place = len(text) if error.pos_in_stream in (None, -1) else error.pos_in_stream
        raise BadQuery(
            f"the question, character {place + 1}: cannot be read on from here; an example: {_EXAMPLE}"
        ) from error
    except VisitError as error:
        if isinstance(error.orig_exc, InputError):
            raise error.orig_exc from error
        raise
    asked: dict[str, Any] = {"wanted": [], "unwanted": []}
    for name, value in parts:
        if name in ("wanted", "unwanted"):
            asked[name].append(value)
        elif name in asked:
            raise BadQuery(f"the question says {name} twice")
        else:
            asked[name] = value
    return Question(**asked)


@cache
def _language() -> Lark:
    return Lark.open("question.lark", rel_to=__file__, parser="lalr", transformer=_Meaning())


@v_args(inline=True)
class _Meaning(Transformer[Token, Any]):
    """What each rule of the grammar makes of its parts."""

    def start(self, *parts: tuple[str, Any]) -> list[tuple[str, Any]]:
        return list(parts)

    def plus(self, term: Term) -> tuple[str, Term]:
        return "wanted", term

    def minus(self, term: Term) -> tuple[str, Term]:
        return "unwanted", term

    def phrase(self, weight: Token | None, text: Token) -> Phrase:
        return Phrase(_unquoted(text), _weight(weight))

    def video(self, weight: Token | None, video_id: Token, second: Token | None) -> Example:
        return Example(_whole(video_id), None if second is None else float(second), _weight(weight))

    def file(self, weight: Token | None, path: Token, second: Token | None) -> Example:
        if not (name := _unquoted(path)):
            raise _wrong(path.start_pos or 0, "the path is empty")
        return Example(Path(name), None if second is None else float(second), _weight(weight))

    def word(self, name: Token, value: Token) -> tuple[str, str]:
        return str(name), str(value)

    def words(self, name: Token, *values: Token) -> tuple[str, list[str]]:
        return str(name), list(map(str, values))

    def figure(self, name: Token, value: Token) -> tuple[str, float]:
        return str(name), float(value) if name == "min_score" else _whole(value)

    def everything(self, name: Token) -> tuple[str, None]:
        return str(name), None

    def filter(self, token: Token) -> tuple[str, list[str]]:
        return "where", [str(part) for part in conjuncts(parse_filter(token[len("where") :].strip()))]


def _unquoted(token: Token) -> str:
    text = token[1:-1].replace("''", "'")
    return _ESCAPE.sub(lambda escape: escape[0].encode("ascii").decode("unicode_escape"), text)


def _weight(token: Token | None) -> float:
    return 1.0 if token is None else float(token)


def _whole(token: Token) -> int:
    if not (token.isascii() and token.isdecimal() and len(token) <= 30):
        raise _wrong(token.start_pos or 0, f"a whole number belongs here, not {shown(token)}")
    return int(token)


def _wrong(place: int, sentence: str) -> BadQuery:
    return BadQuery(f"the question, character {place + 1}: {sentence}")
