"""What a zero-shot task is: report phrases, and a mode that makes scores of similarities to them. Knows no file.

What a mode means stands in `modes`. What makes two tasks the same is only what changes a score.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from echosearch.errors import BadQuery, BadTask
from echosearch.index import SweepKey
from echosearch.tasks.modes import MODES
from echosearch.tasks.modes.mode import NUMBER, Aggregate, Form, Mode, Model
from echosearch.tasks.sweep import FORMULA_VERSION, Embed, Scorer
from echosearch.typed import from_json

AGGREGATES: Final = ("mean", "median", "max", "top2", "top3")
NOT_VALIDATED: Final = "not validated on patients"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CLASS_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ .()/+-]{0,63}")


@dataclass(frozen=True, slots=True)
class TaskClass:
    """One of the classes of a categorical or contrastive task, with the phrases that speak for it."""

    name: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueRange:
    """The whole numbers from `low` to `high`, both included, in steps; `unit` as it is shown."""

    low: int
    high: int
    step: int = 1
    unit: str = ""

    @property
    def values(self) -> range:
        """All of them."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A figure that the authors of a model (a preset's name) printed, shown beside ours and never applied by itself."""

    name: str
    value: float
    source: str
    model: str | None = None

    def is_of(self, published: str | None) -> bool:
        """Whether it is of scores in an index that was made in the published way of this preset, if of any."""
        return self.model is not None and self.model == published

    def whose(self, published: str | None) -> str:
        """For whom it was printed, as it stands beside such scores."""
        of = "on other patients" if self.is_of(published) else "not for this model"
        return f"for {self.model or 'a model that is not said'}, {of}"


@dataclass(frozen=True, slots=True)
class Task:
    """A named set of prompts with its mode, one of MODES. BadTask says what is wrong with it.

    The mode says which of `prompts`, `classes`, `range` and `normal` it has; `normal` names the class that says that
    nothing is there. `views` are those in which the finding is visible (none given: all). `aggregate` makes one score
    of a study's videos. `validated` says on which patients the wording was tried, None when on none.
    """

    name: str
    mode: str
    prompts: tuple[str, ...] = ()
    classes: tuple[TaskClass, ...] = ()
    range: ValueRange | None = None
    normal: str | None = None
    views: tuple[str, ...] = ()
    aggregate: Aggregate = "mean"
    about: str = ""
    source: str = ""
    validated: str | None = None
    published: tuple[PublishedFigure, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadTask(
                f"a task's name is lower-case letters, digits and _, such as pacemaker, not {self.name!r}", "name"
            )
        if self.mode not in MODES:
            raise BadTask(f"task {self.name}: mode is {', '.join(MODES)}, not {self.mode!r}")
        if self.aggregate not in AGGREGATES:
            raise BadTask(f"task {self.name}: aggregate is {', '.join(AGGREGATES)}, not {self.aggregate!r}")
        rule = self.rule
        if bool(self.classes) != ("classes" in rule.keys) or bool(self.prompts) == bool(self.classes):
            kinds = "classes, each with prompts" if "classes" in rule.keys else "prompts"
            raise BadTask(f"task {self.name}: mode {self.mode} needs {kinds}")
        _check_classes(self)
        _check_prompts(self)
        rule.check()
        if self.range is not None and "range" not in rule.keys:
            raise BadTask(f"task {self.name}: a range goes with mode {_with_key('range')} only", "range")
        if self.normal is not None and ("normal" not in rule.keys or self.normal not in self.columns):
            said = f"normal names a class of a {_with_key('normal')} task, not {self.normal!r}"
            raise BadTask(f"task {self.name}: {said}", "normal")

    @property
    def rule(self) -> Mode:
        """What its mode says of it."""
        return MODES[self.mode](self)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scores that a video gets: one for each class, or those of the mode."""
        return tuple(each.name for each in self.classes) or self.rule.columns

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The phrases as they are encoded: one group for each class, or one in all; numbers filled in.

        Of a regression: template by template, each with all its values in ascending order.
        """
        if self.classes:
            return tuple(each.prompts for each in self.classes)
        if self.range is None:
            return (self.prompts,)
        values = self.range.values
        return (tuple(prompt.replace(NUMBER, str(value)) for prompt in self.prompts for value in values),)

    @property
    def values(self) -> tuple[int, ...]:
        """Of a regression: the number in each phrase of its group."""
        return tuple(self.range.values) * len(self.prompts) if self.range is not None else ()

    @property
    def num_prompts(self) -> int:
        """How many phrases are encoded, those with each of their numbers."""
        return sum(len(group) for group in self.groups)

    @property
    def content(self) -> str:
        """What decides the scores, as canonical JSON: the same for a file with another comment or layout."""
        told: dict[str, Any] = {"mode": self.mode, "groups": self.groups}
        if self.classes:
            told["classes"] = self.columns
        if self.range is not None:
            told["values"] = self.values
        return json.dumps(told, sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """Hash of the content, hexadecimal."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    def key(self, form: Form, model: Model) -> SweepKey:
        """Under what its scores are kept."""
        columns = self.columns if form == "exact" else self.columns[:1]
        made_by = (form, FORMULA_VERSION, model.recipe, model.precision)
        return SweepKey(self.name, self.id, *made_by, columns, self.to_json())

    def scorer(self, form: Form, model: Model, embed: Embed) -> Scorer:
        """The task ready to score. BadQuery where there is no such form of it, or the model lacks what it needs."""
        if form == "approximate" and not self.rule.can_approximate:
            raise BadQuery(
                f"{self.name} is {self.mode}, so its exact form is as quick: only regressions are approximated"
            )
        return self.rule.scorer(self.key(form, model), model, embed)

    def to_json(self) -> str:
        """As it is kept; `task_from_dict` reads it."""
        return json.dumps(asdict(self), sort_keys=True)


def task_from_dict(told: Mapping[str, Any]) -> Task:
    """The task that `dataclasses.asdict` made plain, lists for tuples. BadTask on anything else."""
    try:
        return from_json(Task, json.dumps(told))
    except ValueError as error:
        raise BadTask(f"this is no task that echosearch has written: {error}") from error


def _with_key(key: str) -> str:
    return " or ".join(name for name, mode in MODES.items() if key in mode.keys)


def _check_classes(task: Task) -> None:
    names = [each.name for each in task.classes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadTask(f"task {task.name}: two classes are called {twice!r}")
    for name in names:
        if not _CLASS_NAME.fullmatch(name):
            sentence = f"task {task.name}: {name!r} cannot be the name of a class; use letters, digits and spaces"
            raise BadTask(sentence, "classes", name)


def _check_prompts(task: Task) -> None:
    numbered = task.rule.numbered
    for name, prompts in [(each.name, each.prompts) for each in task.classes] or [("", task.prompts)]:
        where = f"task {task.name}, class {name}" if name else f"task {task.name}"
        keys = ("classes", name) if name else ("prompts",)
        if not prompts:
            raise BadTask(f"{where}: there is no prompt", *keys)
        for place, prompt in enumerate(prompts):
            if not isinstance(prompt, str) or not prompt.strip():
                raise BadTask(f"{where}: a prompt is a phrase of a report, not {prompt!r}", *keys, place)
            if (NUMBER in prompt) != numbered:
                has = f"has no {NUMBER}" if numbered else f"has {NUMBER}, which regressions have"
                raise BadTask(f"{where}: the prompt {prompt!r} {has}", *keys, place)
        if len(set(prompts)) < len(prompts):
            raise BadTask(f"{where}: a prompt stands there twice")
