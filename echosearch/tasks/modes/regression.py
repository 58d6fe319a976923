"""Regressions: a number, read from the phrases that name it in each of many wordings. EchoCLIP's published regression.

In the approximate form the video embedding stands for each frame: quick, and another number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadTask
from echosearch.tasks.modes.mode import Mode, Model
from echosearch.tasks.sweep import Doubles, Embed, Floats, Ids, Scorer, Vectors

if TYPE_CHECKING:
    from echosearch.index import SweepKey
    from echosearch.tasks.task import Task

FEWEST_PROMPTS: Final = 5
"""With fewer, a fifth of the ranks is not even one."""
MOST_PROMPTS: Final = 20_000

_BLOCK: Final = 1 << 18
"""Similarities that are ranked at once: what a processor's cache holds."""


class Regression(Mode):
    """Prompts with a number and the range that it has; a value, and its spread over frames."""

    task: Task
    keys = frozenset({"prompts", "range"})
    numbered = True
    columns = ("value", "spread")
    can_approximate = True
    gives_value = True

    def check(self) -> None:
        """See `Mode`."""
        name, of = self.task.name, self.task.range
        if of is None:
            raise BadTask(f"task {name}: a regression needs a range, such as [0, 100]")
        if of.step < 1 or not -100_000 <= of.low < of.high <= 100_000:
            told = f"not {of.low} to {of.high} in steps of {of.step}"
            raise BadTask(f"task {name}: a range is LOW to HIGH in whole steps, {told}", "range")
        count = len(of.values) * len(self.task.prompts)
        if not FEWEST_PROMPTS <= count <= MOST_PROMPTS:
            needs = f"the rule needs {FEWEST_PROMPTS} to {MOST_PROMPTS}, as it keeps the best fifth of them"
            raise BadTask(f"task {name}: {count} prompts with their numbers; {needs}", "range")

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        """See `Mode`."""
        [prompts], values = (embed(group) for group in self.task.groups), np.array(self.task.values, np.int64)
        return (PooledNumbers if key.form == "approximate" else Numbers)(key, prompts, values)

    @property
    def kind(self) -> str:
        """See `Mode`."""
        return f"value in {self.unit}" if self.unit else "value"

    @property
    def drawn(self) -> tuple[str, ...]:
        """See `Mode`."""
        return ("value",)


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Asks each frame: unit prompts (P, D) and the number in each (P,)."""

    key: SweepKey
    prompts: Floats
    values: Ids

    @property
    def numbers_per_frame(self) -> int:
        """See `Scorer`."""
        return len(self.prompts)

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        return list(regression(videos.frames @ self.prompts.T, self.values, videos.offsets))


@dataclass(frozen=True, slots=True, eq=False)
class PooledNumbers:
    """Asks the video embedding as if it were the only frame."""

    key: SweepKey
    prompts: Floats
    values: Ids
    numbers_per_frame: int = 0

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        one_frame_each = np.arange(len(videos.pooled) + 1)
        return [regression(videos.pooled @ self.prompts.T, self.values, one_frame_each)[0]]


def regression(similarities: Floats, values: Ids, offsets: Ids) -> tuple[Doubles, Doubles]:
    """(n,) values and (n,) their spread over frames, of frame similarities (F, P) to prompts with `values` (P,).

    Frames of video i are rows offsets[i] to offsets[i + 1]. EchoCLIP's published regression (echonet/echo_CLIP):
    in each frame prompts are ranked by similarity (ties by prompt order) and become their values; these are averaged
    over frames rank by rank; of the first fifth of the ranks the lower median counts. The spread is the standard
    deviation over frames of what the rule gives for each frame alone.
    """
    kept = len(values) // 5
    ranked = _best_values(similarities, values, kept)
    middle = (kept - 1) // 2
    counts = np.diff(offsets)
    sums = np.add.reduceat(ranked, offsets[:-1], axis=0, dtype=np.int64)
    means = sums / counts[:, None]
    found = np.partition(means, middle, axis=1)[:, middle]
    alone = np.partition(ranked, middle, axis=1)[:, middle].astype(np.float64)
    first, second = (np.add.reduceat(power, offsets[:-1]) / counts for power in (alone, alone**2))
    spread = np.sqrt(np.maximum(second - first**2, 0))
    return found, spread


def _best_values(similarities: Floats, values: Ids, kept: int) -> npt.NDArray[np.int32]:
    """(F, kept): the values of the prompts that are nearest to each frame, nearest first, ties by prompt order.

    Similarity and position become one integer, so that a plain sort of numbers gives the order of a stable one.
    """
    count, prompts = similarities.shape
    table: npt.NDArray[np.int32] = values.astype(np.int32)
    best = np.empty((count, kept), np.int32)
    rows = max(1, _BLOCK // prompts)
    keys = np.empty((min(rows, count), prompts, 2), np.int32)  # as little-endian int64: similarity high, position low
    for first in range(0, count, rows):
        block = similarities[first : first + rows]
        here = keys[: len(block)]
        here[..., 0] = np.arange(prompts)
        here[..., 1] = _descending(block)
        whole = here.view("<i8")[..., 0]
        if kept < prompts:
            whole.partition(kept - 1, axis=1)
        nearest = np.sort(whole[:, :kept], axis=1)
        np.take(table, nearest.view("<i4")[:, ::2], out=best[first : first + rows])
    return best


def _descending(similarities: Floats) -> npt.NDArray[np.int32]:
    """Integers that ascend as the floats descend, equal where these are equal."""
    bits = (similarities + np.float32(0)).view(np.int32)  # -0 is 0
    flipped = bits >> 31
    flipped &= 0x7FFFFFFF
    flipped ^= bits
    np.invert(flipped, out=flipped)
    return flipped
