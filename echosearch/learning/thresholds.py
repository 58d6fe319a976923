"""How a threshold is chosen from scores and labels. Knows arrays; no task, no index, no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.intervals import resamples
from echosearch.learning.statistics import Bools, Floats, Weights, binary, finite
from echosearch.types import as_they_come

RESAMPLES: Final = 400
"""Over so many a threshold of best F1 or Youden's is averaged."""


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How a threshold is chosen: `max-f1`, `youden`, or the `sensitivity` or `precision` that is wished (`target`)."""

    kind: Literal["max-f1", "youden", "sensitivity", "precision"]
    target: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("max-f1", "youden", "sensitivity", "precision"):
            raise BadOption(f"a threshold is chosen by {_RULES}, not {self.kind!r}")
        if (self.target is None) == (self.kind in ("sensitivity", "precision")):
            needs = "needs a" if self.target is None else "takes no"
            raise BadOption(f"{self.kind} {needs} value; a threshold is chosen by {_RULES}")
        if self.target is not None and not 0 < self.target <= 1:
            raise BadOption(f"the {self.kind} that is wished is above 0 and at most 1, not {self.target}")

    @classmethod
    def parse(cls, text: str) -> ThresholdRule:
        """From `max-f1`, `youden`, `sensitivity:0.9` or `precision:0.8`. BadOption says what is wrong."""
        kind, colon, target = text.partition(":")
        try:
            return cls(kind, float(target) if colon else None)  # type: ignore[arg-type]
        except ValueError as error:
            raise BadOption(f"{target!r} is no number; a threshold is chosen by {_RULES}") from error

    def __str__(self) -> str:
        return self.kind if self.target is None else f"{self.kind}:{self.target:g}"


_RULES: Final = "max-f1, youden, sensitivity:0.9 or precision:0.8"


def choose_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike, rule: ThresholdRule) -> float:
    """The threshold that a rule picks for scores (n,) with binary labels (n,); a score at it or above is positive.

    Youden's J is sensitivity + specificity - 1 (Youden 1950). Of equally good thresholds the highest is taken; for a
    wished sensitivity the highest that reaches it, for a wished precision the lowest. It lies midway between
    neighbouring scores. BadLabels where one class only is there, BadOption where no threshold is precise enough.
    """
    positive = binary(labels)
    numbers = finite("scores", scores, len(positive))
    if positive.all() or not positive.any():
        raise BadLabels(
            f"all {len(positive)} labels are {int(positive[0])}; a threshold needs some of both classes, 0 and 1"
        )
    return _Steps(numbers, positive).threshold(rule, np.ones(len(positive), np.int64))


def steady_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: npt.NDArray[np.int64],
    rule: ThresholdRule,
    repeats: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """`choose_threshold`, averaged over resamples of whole clusters (n,) where the rule picks a best (Breiman 1996).

    The best of one sample jumps with a few scores; the mean jumps less, and is nearer to what is best for others. A
    wished sensitivity or precision is a promise about these labels, so its threshold is not averaged. Resamples with
    one class only are left out. The order of the rows changes nothing.
    """
    chosen = choose_threshold(scores, labels, rule)
    if rule.target is not None:
        return chosen
    positive = binary(labels)
    steps = _Steps(finite("scores", scores, len(positive)), positive)
    codes = _ordered(clusters, np.lexsort((positive, steps.place)))
    weighed = (counts[codes] for counts in resamples(int(codes.max()) + 1, repeats, np.random.default_rng(seed)))
    drawn = [steps.threshold(rule, weights) for weights in weighed if len(np.unique(positive[weights > 0])) == 2]
    return chosen + float(np.mean(np.array(drawn) - chosen)) if drawn else chosen  # equal ones give just themselves


def _ordered(clusters: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Clusters (n,) numbered as they first come up when the rows are gone through in an order (n,)."""
    found = np.empty(len(clusters), np.int64)
    found[order] = as_they_come(clusters[order])
    return found


class _Steps:
    """Scores (n,) with labels (n,), sorted once: the distinct scores, highest first, and what stands at each."""

    def __init__(self, scores: Floats, positive: Bools) -> None:
        values, self.place = np.unique(-scores, return_inverse=True)
        self._values = -values
        self._positive = positive

    def threshold(self, rule: ThresholdRule, weights: Weights) -> float:
        """What the rule picks where each row counts so often; as if rows with weight 0 were not there."""
        everything = self._counted(weights)
        found = self._counted(np.where(self._positive, weights, 0))
        there = everything > 0
        positives, negatives = found[there], (everything - found)[there]
        steps = self._values[there]
        return _between(steps, _pick(rule, steps, np.cumsum(positives), np.cumsum(negatives)))

    def _counted(self, weights: Weights) -> Weights:
        return np.bincount(self.place, weights, len(self._values)).astype(np.int64)


def _pick(rule: ThresholdRule, steps: Floats, found: Weights, false_alarms: Weights) -> int:
    """Which step is the last to be called positive. Quantities are compared as integers or correctly rounded ratios."""
    positives, negatives = int(found[-1]), int(false_alarms[-1])
    if rule.kind == "max-f1":
        return int(np.argmax(2 * found / (found + false_alarms + positives)))
    if rule.kind == "youden":
        return int(np.argmax(found * negatives - false_alarms * positives))
    assert rule.target is not None
    if rule.kind == "sensitivity":
        return int(np.argmax(found / positives >= rule.target))
    precision = found / (found + false_alarms)
    reaching = np.flatnonzero(precision >= rule.target)
    if not len(reaching):
        best = int(np.argmax(precision))
        raise BadOption(
            f"no threshold has a precision of {rule.target:g}; the best, {precision[best]:.3g}, is had at "
            f"{_between(steps, best):.4g} with a sensitivity of {found[best] / positives:.3g}"
        )
    return int(reaching[-1])


def _between(steps: Floats, last: int) -> float:
    """Midway between the last score that is called positive and the next lower one; the lowest score has none."""
    high = float(steps[last])
    if last + 1 == len(steps):
        return high
    middle = high - (high - float(steps[last + 1])) / 2
    return middle if middle > steps[last + 1] else high  # floats next to each other have nothing between them
