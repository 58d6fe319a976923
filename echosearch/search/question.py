"""A question as one value, the same for the command line, Python and cohorts. Knows no index, no vector, no model.

    Question(wanted=("PACER LEAD", 17), unwanted=("MITRAL CLIP",), where=("view = 'A4C'",), k=5)

Text stands for a phrase, a whole number for a video of the index, a path for a file. `str(question)` is its text form,
the same for equal questions, and `Question.parse` reads it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from echosearch.errors import BadOption, BadQuery, UnknownVideo
from echosearch.files import absolute
from echosearch.search.result import Asked, AskedTerm, Filtering, Level, Per, Step
from echosearch.types import Exclude, ScoreKind, finite, whole

LEVELS: Final = get_args(Level)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase of a report, and how much it weighs among those on its side of the question."""

    text: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise BadQuery(f"a phrase is text, not {type(self.text).__name__}; give phrases one by one")
        if not self.text.strip():
            raise BadQuery("a phrase is empty; give some words of a report, such as 'SEVERE LV DILATION'")
        _check_weight(self)

    def __str__(self) -> str:
        return _weighted(self.weight, quoted(self.text))

    @property
    def asked(self) -> AskedTerm:
        """As an answer says it."""
        return AskedTerm(phrase=self.text, weight=self.weight)


@dataclass(frozen=True, slots=True)
class Example:
    """A video by its id in the index, or a file; with `second` one moment of it, else all of it."""

    video: int | Path
    second: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.video, Path):
            object.__setattr__(self, "video", absolute(self.video))
        elif isinstance(self.video, bool):
            raise BadQuery(f"the id of a video is a whole number, not {self.video}")
        else:
            object.__setattr__(self, "video", whole("the id of a video", self.video, 1, error=UnknownVideo))
        if self.second is not None:
            object.__setattr__(self, "second", finite("the second of a moment", self.second))
            if self.second < 0:
                raise BadQuery(f"a moment is at 0 seconds or later, not at {self.second}")
        _check_weight(self)

    @property
    def name(self) -> str:
        """`17`, `17@1.2s`, `/data/x.avi`, as a user writes it."""
        return str(self.video) + self._moment

    def __str__(self) -> str:
        what = f"file {quoted(str(self.video))}" if isinstance(self.video, Path) else f"video {self.video}"
        return _weighted(self.weight, what + self._moment)

    @property
    def _moment(self) -> str:
        return "" if self.second is None else f"@{number(self.second)}s"

    @property
    def asked(self) -> AskedTerm:
        """As an answer says it."""
        if isinstance(self.video, Path):
            return AskedTerm(file=str(self.video), second=self.second, weight=self.weight)
        return AskedTerm(video=self.video, second=self.second, weight=self.weight)


Term = Phrase | Example
Terms = Iterable[Term | str | int | Path]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: terms to be near to and far from, a filter, and what counts as one hit.

    `level` study or patient: one hit for each, for which its best video stands. At level video (or study) `per` keeps
    the best of each study or patient. `where` conditions are joined by AND. `exclude` leaves out videos of a wanted
    example's study or patient, or with its bytes. `k` is None for all. BadQuery and BadOption say what does not fit.
    """

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()
    where: tuple[str, ...] = ()
    exclude: tuple[Exclude, ...] = ()
    level: Level = "video"
    per: Per | None = None
    k: int | None = 10
    offset: int = 0
    min_score: float | None = None
    score: Literal["cosine", "mean"] = "cosine"

    def __post_init__(self) -> None:
        for side in ("wanted", "unwanted"):
            object.__setattr__(self, side, terms(side, getattr(self, side)))
        object.__setattr__(self, "where", tuple(conditions(self.where)))
        object.__setattr__(self, "exclude", tuple(sorted(set(listed("exclude", self.exclude)))))
        if not self.wanted:
            raise BadQuery(
                "nothing is asked; give a phrase of a report, such as 'SEVERE LV DILATION', or the id of a video"
            )
        self._check_numbers()
        check_units(self.level, self.per)
        for what in self.exclude:
            if what not in get_args(Exclude):
                raise BadOption(f"exclude is 'study', 'patient' or 'content', not {what!r}")
        if self.exclude and not any(isinstance(term, Example) for term in self.wanted):
            raise BadOption("--exclude leaves out what belongs to an example; give one, or leave it out")
        if self.score not in ("cosine", "mean"):
            raise BadOption(f"score is 'cosine' or 'mean', not {self.score!r}")
        if self.score == "mean" and (self.unwanted or self.examples):
            raise BadQuery(
                "score 'mean' is a published form for wanted phrases only; leave --not, examples or the score out"
            )

    def _check_numbers(self) -> None:
        if self.k is not None:
            object.__setattr__(self, "k", whole("k", self.k, 1, error=BadQuery))
        object.__setattr__(self, "offset", whole("the offset", self.offset, 0, error=BadQuery))
        if self.min_score is not None:
            object.__setattr__(self, "min_score", finite("the least score", self.min_score))

    @property
    def terms(self) -> tuple[Term, ...]:
        """Wanted ones, then unwanted ones."""
        return (*self.wanted, *self.unwanted)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All terms that are examples."""
        return tuple(term for term in self.terms if isinstance(term, Example))

    @property
    def video_ids(self) -> frozenset[int]:
        """Videos of the index that are wanted examples: they are no hits of their own."""
        wanted = (term.video for term in self.wanted if isinstance(term, Example))
        return frozenset(video for video in wanted if isinstance(video, int))

    @property
    def is_of_units(self) -> bool:
        """Whether hits stand for studies or patients, or one of each is kept."""
        return self.level != "video" or self.per is not None

    @property
    def score_kind(self) -> ScoreKind:
        """What its scores are called: `mixed` where an example stands beside another term."""
        if self.examples and len(self.terms) > 1:
            return "mixed"
        return "contrast" if self.unwanted else self.score

    @property
    def ranking(self) -> str:
        """The terms alone: `'PACER LEAD' + video 17 - 'MITRAL CLIP'`."""
        signs = ["+ "] * len(self.wanted) + ["- "] * len(self.unwanted)
        written = " ".join(sign + str(term) for sign, term in zip(signs, self.terms, strict=True))
        return written.removeprefix("+ ")

    def __str__(self) -> str:
        clauses = [
            ("score", self.score, "cosine"),
            ("level", self.level, "video"),
            ("per", self.per, None),
            ("exclude", ", ".join(self.exclude), ""),
            ("min_score", None if self.min_score is None else number(self.min_score), None),
            ("k", "all" if self.k is None else self.k, ""),
            ("offset", self.offset, 0),
            ("where", " AND ".join(self._criteria()), ""),
        ]
        return " ".join([self.ranking, *(f"{name} {value}" for name, value, usual in clauses if value != usual)])

    def _criteria(self) -> tuple[str, ...]:
        """The parts that are joined by AND, as filters are written."""
        if not self.where:
            return ()
        from echosearch.filters import (  # here, so that only who filters waits for lark
            conjuncts,
            enclosed,
            parse_filter,
        )

        parts = [part for text in self.where for part in conjuncts(parse_filter(text))]
        return tuple(map(enclosed if len(parts) > 1 else str, parts))

    @classmethod
    def parse(cls, text: str) -> Question:
        """The question of a text form. BadQuery says where it cannot be understood."""
        from echosearch.search.question_text import read

        return read(text)

    def asked(self, filter: Filtering | None = None, steps: Sequence[Step] | None = None) -> Asked:
        """As an answer says it, with what the filter left."""
        criteria = self._criteria()
        return Asked(
            text=str(self),
            wanted=tuple(term.asked for term in self.wanted),
            unwanted=tuple(term.asked for term in self.unwanted),
            where=criteria,
            exclude=self.exclude,
            level=self.level,
            per=self.per,
            k=self.k,
            offset=self.offset,
            min_score=self.min_score,
            score=self.score,
            filter=filter,
            steps=None if steps is None else tuple(steps),
        )


def terms(name: str, values: Terms) -> tuple[Term, ...]:
    """Terms as they are, and those that text, whole numbers and paths stand for."""
    return tuple(_term(value) for value in listed(name, values))


def _term(value: Term | str | int | Path) -> Term:
    if isinstance(value, Phrase | Example):
        return value
    if isinstance(value, Path | int | np.integer):
        return Example(value)
    if not isinstance(value, str):
        raise BadQuery(f"a phrase is text, not {type(value).__name__}; give phrases one by one")
    return Phrase(value)


def phrases(name: str, values: Terms) -> tuple[Phrase, ...]:
    """Phrases as they are, and those of text. BadOption for anything else."""
    found = terms(name, values)
    for term in found:
        if not isinstance(term, Phrase):
            raise BadOption(f"{name} takes phrases, not {term}")
    return tuple(term for term in found if isinstance(term, Phrase))


def examples(name: str, values: Terms) -> tuple[Example, ...]:
    """Examples as they are, and those of ids and paths; text is a path. BadOption for anything else."""
    given = listed(name, values)
    for value in given:
        if not isinstance(value, str | Path | int | np.integer | Phrase | Example):
            raise BadOption(f"{name} takes videos, by id or file, not {value!r}")
    found = tuple(_term(Path(value) if isinstance(value, str) else value) for value in given)
    for term in found:
        if not isinstance(term, Example):
            raise BadOption(f"{name} takes videos, by id or file, not the phrase {term}")
    return tuple(term for term in found if isinstance(term, Example))


def conditions(values: Iterable[str]) -> Sequence[str]:
    """Conditions of a filter. BadOption for what is not a list of texts."""
    texts = listed("where", values)
    for text in texts:
        if not isinstance(text, str):
            raise BadOption(f"a condition is text, not {type(text).__name__}")
    return texts


def listed(name: str, values: Iterable[Any]) -> Sequence[Any]:
    """The values of a list. BadOption for one string, taken letter by letter else, and for what is no list."""
    if isinstance(values, str):
        raise BadOption(f"{name} is a list of strings, not one string: [{values!r}]")
    try:
        return list(values)
    except TypeError:
        raise BadOption(f"{name} is a list, not {values!r}") from None


def check_units(level: str, per: str | None) -> None:
    """BadOption where a level is none, or one hit of each does not go with it."""
    if level not in LEVELS:
        raise BadOption(f"a level is {', '.join(LEVELS)}, not {level!r}")
    if per not in (None, *get_args(Per)) or (per, level) == ("study", "study"):
        raise BadOption(f"one per {per} does not go with level {level}")
    if level == "patient" and per == "study":
        raise BadOption("level patient takes one index study of each patient; leave one per study out")


def _check_weight(term: Term) -> None:
    object.__setattr__(term, "weight", finite("a weight", term.weight))
    if not 1e-6 <= term.weight <= 1e6:
        raise BadQuery(
            f"a weight is above 0 (from 1e-6 to 1e6), not {term.weight}; what is unwanted has a list of its own"
        )


def _weighted(weight: float, text: str) -> str:
    return text if weight == 1 else f"{number(weight)} * {text}"


def quoted(text: str) -> str:
    """Text in single quotes, twice within it; what cannot be printed, and a backslash, is escaped as in Python."""
    escaped = "".join(
        letter if letter.isprintable() and letter != "\\" else letter.encode("unicode_escape").decode()
        for letter in text
    )
    return "'" + escaped.replace("'", "''") + "'"


def number(value: float) -> str:
    """The shortest text of a number that reads as the same one: 2, 0.25, 1e-07."""
    return repr(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)
