"""Binary tasks: how much a video is like some phrases that all say the same. EchoCLIP's published binary score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echosearch.tasks.modes.mode import Mode, Model
from echosearch.tasks.sweep import Embed, MeanSimilarity, Scorer, mean_prompts

if TYPE_CHECKING:
    from echosearch.index import SweepKey
    from echosearch.tasks.task import PublishedFigure


class Binary(Mode):
    """Prompts, and one mean similarity."""

    kind = "mean similarity"

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        """See `Mode`."""
        return MeanSimilarity(key, mean_prompts(self.task.groups, embed))

    @property
    def published_threshold(self) -> PublishedFigure | None:
        """See `Mode`."""
        return next((figure for figure in self.task.published if figure.name.startswith("threshold")), None)
