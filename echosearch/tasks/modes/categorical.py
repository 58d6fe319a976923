"""Categorical tasks: how much a video is like the phrases of each class, such as each grade of a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from echosearch.tasks.modes.mode import Mode, Model
from echosearch.tasks.sweep import Doubles, Embed, MeanSimilarity, Scorer, mean_prompts

if TYPE_CHECKING:
    from echosearch.index import SweepKey


class Categorical(Mode):
    """Classes, each with its own mean similarity; one of them may be `normal`: nothing is there."""

    keys = frozenset({"classes", "normal"})
    kind = "mean similarity of each class"

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        """See `Mode`."""
        return MeanSimilarity(key, mean_prompts(self.task.groups, embed))

    def decision(self, columns: Mapping[str, Doubles], classes: Sequence[str] = ()) -> Doubles:
        """The highest score (n,) of the positive classes."""
        return np.asarray(np.max([columns[name] for name in self.chosen(classes)], axis=0))
