"""What a question is answered with: hits, and all that is needed to say how they came about. Knows no index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from echosearch.types import Answer, Exclude, Hit, ScoreKind

Level = Literal["video", "study", "patient"]
Per = Literal["study", "patient"]


@dataclass(frozen=True, slots=True)
class AskedTerm(Answer):
    """A term of a question: a phrase, a video of the index or a file, with its weight; one moment where `second` is."""

    phrase: str | None = None
    video: int | None = None
    file: str | None = None
    second: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Filtering(Answer):
    """What a filter left: of how many videos it is true, false, and unknown because a value is missing."""

    where: tuple[str, ...]
    videos: int
    no: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Step(Answer):
    """One line of the attrition diagram: of the units before it, those `kept`, and those it leaves out, and why.

    `no`: the criterion is false; `unknown`: a value is missing. Units are of the level (studies at level patient, until
    one is picked); `videos`, `studies` and `patients` count what the kept ones hold. The first step is everything: its
    `unknown` counts videos whose study is not known, which belong to no unit.
    """

    name: str
    kept: int
    no: int
    unknown: int
    videos: int
    studies: int
    patients: int


@dataclass(frozen=True, slots=True)
class Asked(Answer):
    """The question of an answer; `text` is its text form, which `Question.parse` and `search --question` read.

    `filter` counts single videos; at other levels, or with one per study or patient, `steps` count units.
    """

    text: str
    wanted: tuple[AskedTerm, ...]
    unwanted: tuple[AskedTerm, ...]
    where: tuple[str, ...]
    exclude: tuple[Exclude, ...]
    level: Level
    per: Per | None
    k: int | None
    offset: int
    min_score: float | None
    score: ScoreKind
    filter: Filtering | None
    steps: tuple[Step, ...] | None


@dataclass(frozen=True, slots=True)
class SearchResult(Answer):
    """Hits in order, with all that is needed to say how they came about."""

    query: Asked
    index: str
    generation: int
    model: str
    recipe: str
    score_kind: ScoreKind
    warnings: tuple[str, ...]
    hits: tuple[Hit, ...]
