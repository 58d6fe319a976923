"""What a cohort is: a saved selection with all that is needed to repeat and to judge it. Knows no index and no file.

Every type is frozen and goes to plain JSON and back; a cohort that is kept is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from echosearch.errors import BadFilter, BadOption, DamagedIndex
from echosearch.learning import assumption
from echosearch.search import (
    Example,
    Level,
    Per,
    Phrase,
    Pick,
    Question,
    Step,
    Units,
    check_units,
    conditions,
    examples,
    phrases,
)
from echosearch.typed import from_json
from echosearch.types import BESIDE, Answer, whole

PICKS: Final = get_args(Pick)


@dataclass(frozen=True, slots=True)
class Definition:
    """What was asked for. Several `where` are joined by AND; `top` of those are kept that are ranked highest.

    Ranked is by phrases that are `near` and videos that units are `like`, and away from phrases `without` and videos
    `unlike`; a phrase with a weight is a `Phrase`, a moment of a video or one with a weight an `Example`.
    `aggregates` overrides how a task's videos become one score of a study, as (task, rule) pairs. `seed` decides
    splits and samples, never who is a member. BadOption where the parts do not go together.
    """

    where: tuple[str, ...] = ()
    level: Level = "study"
    near: tuple[str | Phrase, ...] = ()
    like: tuple[int | Example, ...] = ()
    top: int | None = None
    one_per: Per | None = None
    pick: Pick = "first"
    same_video: bool = False
    aggregates: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    without: tuple[str | Phrase, ...] = ()
    unlike: tuple[int | Example, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (("near", phrases), ("like", examples), ("without", phrases), ("unlike", examples)):
            object.__setattr__(self, name, _plain(kind(name, _several(getattr(self, name)))))
        object.__setattr__(self, "where", tuple(conditions(self.where)))
        check_units(self.level, self.one_per)
        self._check_ranking()
        self._check_aggregates()
        if self.pick not in PICKS:
            raise BadOption(f"pick is {', '.join(PICKS)}, not {self.pick!r}")
        if self.pick != "first" and self.level != "patient" and self.one_per is None:
            raise BadOption(f"pick {self.pick} says which one of several: it goes with level patient or one per ...")
        if self.same_video and self.level == "video":
            raise BadOption("same video goes with level study or patient; at level video it is always so")
        whole("a seed", self.seed, 0)

    def _check_ranking(self) -> None:
        if not (self.where or self.is_ranked):
            raise BadOption("nothing is asked; give --where CONDITION, or --near PHRASE or --like ID with --top N")
        if self.top is not None:
            whole("top", self.top, 1)
        if (self.top is not None) != self.is_ranked:
            raise BadOption("--near and --like rank, and --top N says how many to keep: they go together")
        if (self.without or self.unlike) and not self.is_ranked:
            raise BadOption("--not and --unlike rank away from something: they go with --near or --like")
        if self.pick == "best" and not self.is_ranked:
            raise BadOption("pick best needs a ranking: --near PHRASE or --like ID, with --top N")
        if self.is_ranked:
            _ = self.question  # its parts check themselves

    def _check_aggregates(self) -> None:
        tasks = [task for task, _ in self.aggregates]
        if tasks and (self.level == "video" or self.same_video):
            raise BadOption("an aggregate makes one score of a study's videos; here videos are judged one by one")
        if len(set(tasks)) < len(tasks):
            raise BadOption(f"one aggregate for each task, not several: {', '.join(sorted(tasks))}")

    @property
    def is_ranked(self) -> bool:
        """Whether members have a similarity by which they are ranked."""
        return bool(self.near or self.like)

    @property
    def units(self) -> Units:
        """What is selected, and which one of several."""
        return Units(self.level, self.one_per, self.pick, self.same_video)

    @property
    def question(self) -> Question:
        """By what its units are ranked, as a search would ask it."""
        return Question(
            wanted=(*phrases("near", self.near), *examples("like", self.like)),
            unwanted=(*phrases("without", self.without), *examples("unlike", self.unlike)),
            where=self.where,
            level=self.level,
            per=self.one_per,
            k=self.top,
        )

    @property
    def asked(self) -> str | None:
        """The text form of the question that gives the same units; where no search can, of the terms that rank them."""
        if not self.is_ranked:
            return None
        picks = self.level == "patient" or self.one_per is not None
        is_search = not self.same_video and not self.aggregates and (self.pick == "best" or not picks)
        with suppress(BadFilter):  # of a purge may be left what is no filter
            return str(self.question) if is_search else self.question.ranking
        return self.question.ranking


def _several(values: Any) -> Any:
    """A list; one example was given and kept by itself at first."""
    return () if values is None else (values,) if isinstance(values, int) else values


def _plain(terms: Iterable[Phrase | Example]) -> tuple[Any, ...]:
    """Terms as they are kept: plain text and ids where neither weight nor moment says more."""
    return tuple(map(_written, terms))


def _written(term: Phrase | Example) -> str | int | Phrase | Example:
    if isinstance(term, Phrase):
        return term.text if term.weight == 1 else term
    if isinstance(term.video, Path):
        raise BadOption(
            f"a cohort is repeated later, so its examples are videos of the index, not the file {term.video}"
        )
    return term.video if (term.second, term.weight) == (None, 1) else term


@dataclass(frozen=True, slots=True)
class Measure:
    """A swept task as a criterion uses it, whole, so that it can be repeated and read.

    `name` as in the filter (`task.pacemaker.yes`); `kind` value, p or yes; `column` that of the task's scores, "" for
    the score that a calibration judges. `task` is the task's content (of a probe its weights), `prompts` all phrases.
    `aggregate` says how a study's videos become one score; `threshold` is that of the criterion (the score on which a
    yes is decided, or the number it is compared with), with its `origin`; `below` says that low scores are in.
    """

    name: str
    kind: Literal["value", "p", "yes"]
    column: str
    task_name: str
    content_id: str
    form: str
    aggregate: str
    views: tuple[str, ...]
    prompts: tuple[str, ...]
    task: dict[str, Any]
    calibration: dict[str, Any] | None
    threshold: float | None
    below: bool
    origin: str
    unit: str
    validated: str


@dataclass(frozen=True, slots=True)
class Member:
    """One unit of the cohort: a video, a study, or a patient with the index study that was picked.

    `values` holds each measure (and each attribute or field that a criterion names) of the unit, None where unknown.
    `score` is the similarity by which members are ranked. `margin` says how far the member is from being left out: the
    least distance of a measure to its threshold, in standard deviations over all units; None without measures.
    """

    unit: str
    patient: str | None
    study: str | None
    acquired_at: str | None
    video_ids: tuple[int, ...]
    values: dict[str, int | float | str | None]
    score: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """One attribute among some units: how many have it, and mean and standard deviation, or counts of each value."""

    known: int
    missing: int
    mean: float | None
    sd: float | None
    counts: dict[str, int]
    """Of text (and of numbers with few different values), most frequent first, at most 12; "" for nothing."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of table one: an attribute among the units included and among those excluded."""

    attribute: str
    included: Summary
    excluded: Summary


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a measure's score lies over the units: bin edges (n + 1) and counts (n) of included and excluded ones."""

    measure: str
    title: str
    edges: tuple[float, ...]
    included: tuple[int, ...]
    excluded: tuple[int, ...]
    threshold: float | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Making(Answer):
    """How a cohort was made: definition, every prompt and threshold, counts after each criterion; all but its members.

    `domain` says what the model is made for; `notes` are those of the time when it was made. Members whose data was
    purged from the index are gone, and counted in `purged`; such a cohort cannot be made again.
    """

    cohort_format: Literal[1] = 1
    name: str
    definition: Definition
    criteria: tuple[str, ...]
    measures: tuple[Measure, ...]
    steps: tuple[Step, ...]
    table_one: tuple[TableRow, ...]
    distributions: tuple[Distribution, ...]
    index: str
    model: str
    domain: str
    recipe: str
    frames_dtype: str
    generation: int
    version: str
    created_at: str
    notes: tuple[str, ...] = ()
    about: str = ""
    purged: int = 0
    question: str | None = None
    """The text form of what members are ranked by; None where they are not ranked, or the cohort is older."""

    all_views: bool = True
    """Whether scores of videos count whose view is not known; in cohorts without this key they did."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """For what prevalence each p and yes is, and by which calibration, in words."""
        return tuple(dict.fromkeys(assumption(each.calibration) for each in self.measures if each.calibration))


@dataclass(frozen=True, slots=True)
class CohortManifest(Answer):
    """What goes beside exported data: how the cohort was made, and how many members and videos it has."""

    made: Making = field(metadata=BESIDE)
    assumptions: tuple[str, ...]
    num_members: int
    num_videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort(Making):
    """A selection as it was made. Its JSON is what an index keeps."""

    members: tuple[Member, ...]

    @property
    def videos(self) -> int:
        """Number of videos of all members."""
        return sum(len(member.video_ids) for member in self.members)

    def manifest(self) -> CohortManifest:
        """All but the members."""
        made = Making(**{each.name: getattr(self, each.name) for each in fields(Making)})
        return CohortManifest(made, self.assumptions, len(self.members), self.videos)

    def to_json(self) -> str:
        """As it is kept; `from_json` reads it."""
        return json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Cohort:
        """The cohort that `to_json` wrote, today or earlier. DamagedIndex on anything else."""
        try:
            return from_json(cls, _today(text))
        except ValueError as error:
            raise DamagedIndex(f"a cohort of this index cannot be read: {error}; restore it from a copy") from error


def _today(text: str) -> str:
    """A cohort's JSON with its example in a list; at first there was one, which stood alone."""
    kept = json.loads(text)
    definition = kept.get("definition") if isinstance(kept, dict) else None
    if isinstance(definition, dict) and not isinstance(definition.get("like", []), list):
        definition["like"] = [] if definition["like"] is None else [definition["like"]]
    return json.dumps(kept)
