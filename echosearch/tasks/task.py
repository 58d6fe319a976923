"""What a zero-shot task is: report phrases with a rule that turns similarities into scores. Knows no file.

The rules are the published ones (`scores.py`); what makes two tasks the same is only what changes a score.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from echosearch.encoders import Standing
from echosearch.errors import BadOption, BadTask
from echosearch.typed import from_json

Mode = Literal["binary", "regression", "categorical", "contrastive"]
Aggregate = Literal["mean", "median", "max", "top2", "top3"]
"""How a study's videos become one score; top2 and top3 are the mean of the two or three highest."""
Form = Literal["exact", "approximate"]

MODES: Final = ("binary", "regression", "categorical", "contrastive")
AGGREGATES: Final = ("mean", "median", "max", "top2", "top3")
NOT_VALIDATED: Final = "not validated on patients"
NUMBER: Final = "<#>"
"""Where the number stands in a prompt of a regression."""

FEWEST_PROMPTS: Final = 5
"""With fewer, a fifth of the ranks of a regression is not even one."""
MOST_PROMPTS: Final = 20_000
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
    """A named set of prompts with its rule. BadTask says what is wrong with it.

    binary: `prompts`; regression: `prompts` with `<#>`, and `range`; categorical, contrastive: `classes`.
    `normal` names the class of a categorical task that says that nothing is there, if it has one. `views` are
    those in which the finding is visible (none given: all). `aggregate` makes one score of a study's videos.
    `validated` says on which patients the wording was tried, None when on none.
    """

    name: str
    mode: Mode
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
        _check_phrases(self)
        if self.mode == "regression":
            _check_regression(self)
        elif self.range is not None:
            raise BadTask(f"task {self.name}: a range goes with mode regression only", "range")
        if self.normal is not None and (self.mode != "categorical" or self.normal not in self.columns):
            raise BadTask(
                f"task {self.name}: normal names a class of a categorical task, not {self.normal!r}", "normal"
            )

    @property
    def gives_value(self) -> bool:
        """Whether its scores are values, such as an ejection fraction, and no finding."""
        return self.mode == "regression"

    @property
    def published_threshold(self) -> PublishedFigure | None:
        """The threshold that the wording's authors published for a binary task, if they did."""
        if self.mode != "binary":
            return None
        return next((figure for figure in self.published if figure.name.startswith("threshold")), None)

    def threshold_for(self, model: str, standing: Standing) -> PublishedFigure | None:
        """The published threshold, for scores of an index made with `model`; None where there is none.

        BadOption where it is another's: it belongs to one space, and to videos prepared as its authors did.
        """
        figure = self.published_threshold
        if figure is None or figure.is_of(standing.published):
            return figure
        is_it, whose = standing.preset and standing.preset.name == figure.model, figure.whose(None).partition(",")[0]
        differs = f"made that way ({'; '.join(standing.differences)})" if is_it else "that"
        raise BadOption(
            f"the threshold of {self.name} was published {whose}, and {model} is not {differs}; learn one from labels: "
            "echosearch calibrate"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scores that a video gets: value (and spread over frames), or one for each class."""
        if self.classes:
            return tuple(each.name for each in self.classes)
        return ("value", "spread") if self.mode == "regression" else ("value",)

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


def task_from_dict(told: Mapping[str, Any]) -> Task:
    """The task that `dataclasses.asdict` made plain, lists for tuples. BadTask on anything else."""
    try:
        return from_json(Task, json.dumps(told))
    except ValueError as error:
        raise BadTask(f"this is no task that echosearch has written: {error}") from error


def _check_phrases(task: Task) -> None:
    if bool(task.classes) != (task.mode in ("categorical", "contrastive")) or bool(task.prompts) == bool(task.classes):
        kinds = "classes, each with prompts" if task.mode in ("categorical", "contrastive") else "prompts"
        raise BadTask(f"task {task.name}: mode {task.mode} needs {kinds}")
    if task.classes and len(task.classes) < 2 and task.mode == "contrastive":
        raise BadTask(f"task {task.name}: a contrastive task weighs two classes or more against each other")
    names = [each.name for each in task.classes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadTask(f"task {task.name}: two classes are called {twice!r}")
    for name in names:
        if not _CLASS_NAME.fullmatch(name):
            sentence = f"task {task.name}: {name!r} cannot be the name of a class; use letters, digits and spaces"
            raise BadTask(sentence, "classes", name)
    for name, prompts in [(each.name, each.prompts) for each in task.classes] or [("", task.prompts)]:
        where = f"task {task.name}, class {name}" if name else f"task {task.name}"
        keys = ("classes", name) if name else ("prompts",)
        if not prompts:
            raise BadTask(f"{where}: there is no prompt", *keys)
        for place, prompt in enumerate(prompts):
            if not isinstance(prompt, str) or not prompt.strip():
                raise BadTask(f"{where}: a prompt is a phrase of a report, not {prompt!r}", *keys, place)
            if (NUMBER in prompt) != (task.mode == "regression"):
                has = f"has no {NUMBER}" if task.mode == "regression" else f"has {NUMBER}, which regressions have"
                raise BadTask(f"{where}: the prompt {prompt!r} {has}", *keys, place)
        if len(set(prompts)) < len(prompts):
            raise BadTask(f"{where}: a prompt stands there twice")


def _check_regression(task: Task) -> None:
    if task.range is None:
        raise BadTask(f"task {task.name}: a regression needs a range, such as [0, 100]")
    low, high, step = task.range.low, task.range.high, task.range.step
    if step < 1 or not -100_000 <= low < high <= 100_000:
        raise BadTask(
            f"task {task.name}: a range is LOW to HIGH in whole steps, not {low} to {high} in steps of {step}",
            "range",
        )
    count = len(task.range.values) * len(task.prompts)
    if not FEWEST_PROMPTS <= count <= MOST_PROMPTS:
        raise BadTask(
            f"task {task.name}: {count} prompts with their numbers; the rule needs {FEWEST_PROMPTS} to {MOST_PROMPTS}, "
            "as it keeps the best fifth of them",
            "range",
        )
