"""A task with its phrases embedded: which similarities it needs, and what it makes of them. Knows no index."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery
from echosearch.index import SweepKey
from echosearch.tasks.scores import (
    FORMULA_VERSION,
    Doubles,
    Floats,
    mean_prompt,
    mean_similarities,
    regression,
    softmax,
)
from echosearch.tasks.task import Form, Task

Embed = Callable[[Sequence[str]], Floats]
"""Phrases to unit text embeddings (P, D) float32."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a score depends on besides the task: the recipe of the vectors, and how phrases are embedded."""

    recipe: str
    precision: str
    logit_scale: float | None


class Vectors(Protocol):
    """Some videos as an index keeps them; frames are read only if they are asked for."""

    @property
    def pooled(self) -> Floats:
        """(n, D) video embeddings."""
        ...

    @property
    def norms(self) -> Floats:
        """(n,) length of each mean before it was renormalised."""
        ...

    @property
    def frames(self) -> Floats:
        """(F, D) frame embeddings, video after video."""
        ...

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(n + 1,) where each video's frames begin, and the end."""
        ...


class Scorer(Protocol):
    """Makes scores of vectors."""

    @property
    def key(self) -> SweepKey:
        """Under what the catalog keeps the scores."""
        ...

    @property
    def numbers_per_frame(self) -> int:
        """How many numbers it makes of each frame; 0 if it needs no frames."""
        ...

    def columns(self, videos: Vectors) -> list[Doubles]:
        """Its columns (n,) for some videos."""
        ...


def task_scorer(task: Task, form: Form, model: Model, embed: Embed) -> Scorer:
    """A task ready to score. The approximate form is that of regressions, and asks the mean frame instead of each.

    BadQuery where the model lacks what the task needs.
    """
    if form == "approximate" and task.mode != "regression":
        raise BadQuery(f"{task.name} is {task.mode}, so its exact form is as quick: only regressions are approximated")
    if task.mode == "contrastive" and model.logit_scale is None:
        raise BadQuery(f"{task.name} is contrastive, and the model of this index has no logit scale")
    key = task_key(task, form, model)
    groups = [embed(group) for group in task.groups]
    if task.mode == "regression":
        values = np.array(task.values, np.int64)
        return PooledRegression(key, groups[0], values) if form == "approximate" else Regression(key, groups[0], values)
    scale = model.logit_scale if task.mode == "contrastive" else None
    return MeanSimilarity(key, np.stack([mean_prompt(group) for group in groups]), scale)


def task_key(task: Task, form: Form, model: Model) -> SweepKey:
    """Under what the scores of a task are kept."""
    columns = task.columns if form == "exact" else task.columns[:1]
    definition = json.dumps(asdict(task), sort_keys=True)
    return SweepKey(task.name, task.id, form, FORMULA_VERSION, model.recipe, model.precision, columns, definition)


@dataclass(frozen=True, slots=True, eq=False)
class MeanSimilarity:
    """Binary, categorical and (with a logit scale) contrastive tasks: `mean_prompts` (C, D), one for each column."""

    key: SweepKey
    mean_prompts: Floats
    logit_scale: float | None = None
    numbers_per_frame: int = 0

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        found = mean_similarities(videos.pooled, videos.norms, self.mean_prompts)
        return list((found if self.logit_scale is None else softmax(found, self.logit_scale)).T)


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """The published regression: unit prompts (P, D) and the number in each (P,)."""

    key: SweepKey
    prompts: Floats
    values: npt.NDArray[np.int64]

    @property
    def numbers_per_frame(self) -> int:
        """See `Scorer`."""
        return len(self.prompts)

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        return list(regression(videos.frames @ self.prompts.T, self.values, videos.offsets))


@dataclass(frozen=True, slots=True, eq=False)
class PooledRegression:
    """The same rule for the video embedding as if it were the only frame: quick, and another number."""

    key: SweepKey
    prompts: Floats
    values: npt.NDArray[np.int64]
    numbers_per_frame: int = 0

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        one_frame_each = np.arange(len(videos.pooled) + 1)
        value, _ = regression(videos.pooled @ self.prompts.T, self.values, one_frame_each)
        return [value]
