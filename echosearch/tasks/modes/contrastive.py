"""Contrastive tasks: the weights of classes of phrases, by the softmax of their similarities with the model's scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from echosearch.errors import BadOption, BadQuery, BadTask
from echosearch.tasks.modes.mode import LOG_ODDS, Mode, Model
from echosearch.tasks.sweep import (
    Doubles,
    Embed,
    MeanSimilarity,
    Scorer,
    Vectors,
    mean_prompts,
    mean_similarities,
)

if TYPE_CHECKING:
    from echosearch.index import SweepKey

_LEAST_WEIGHT: Final = 1e-300
"""A weight of a class that is 0 after rounding counts as this, so that its log odds are finite."""


class Contrastive(Mode):
    """Two classes or more, and the weight of each; thresholds are learnt on the log odds of the positive ones."""

    keys = frozenset({"classes"})
    kind = "weight of each class"
    are_weights = True
    scale = LOG_ODDS

    def check(self) -> None:
        """See `Mode`."""
        if len(self.task.classes) < 2:
            raise BadTask(f"task {self.task.name}: a contrastive task weighs two classes or more against each other")

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        """See `Mode`."""
        if model.logit_scale is None:
            raise BadQuery(f"{self.task.name} is contrastive, and the model of this index has no logit scale")
        return Weights(key, mean_prompts(self.task.groups, embed), model.logit_scale)

    def decision(self, columns: Mapping[str, Doubles], classes: Sequence[str] = ()) -> Doubles:
        """Log odds (n,) of the weight of the positive classes."""
        chosen = self.chosen(classes)
        sides = [[columns[name] for name in columns if (name in chosen) == wanted] for wanted in (True, False)]
        yes, no = (np.log(np.maximum(np.stack(side, axis=1).sum(axis=1), _LEAST_WEIGHT)) for side in sides)
        return np.asarray(yes - no)

    def threshold(self, given: float) -> tuple[float, str]:
        """See `Mode`; people give a weight between 0 and 1."""
        if not 0 < given < 1:
            raise BadOption(f"a threshold on the weight of classes lies between 0 and 1, not {given:g}")
        return math.log(given / (1 - given)), f": weight {given:g}, as log odds"


@dataclass(frozen=True, slots=True, eq=False)
class Weights(MeanSimilarity):
    """The softmax over classes of the scaled mean similarities."""

    logit_scale: float

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        similarities = mean_similarities(videos.pooled, videos.norms, self.mean_prompts)
        return list(softmax(similarities, self.logit_scale).T)


def softmax(similarities: Doubles, logit_scale: float) -> Doubles:
    """(n, C): weights of classes of mean similarities (n, C), with the model's logit scale."""
    from scipy.special import softmax as of_logits

    weights: Doubles = of_logits(logit_scale * similarities, axis=1)
    return weights
