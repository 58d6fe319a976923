"""How long videos are, of which a probe of motion can say something.

It says something of those no shorter than the shortest that it learnt from. How far frames differ depends on how much
of a beat they show: of a still nothing moves, whatever the heart does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.index import Snapshot
from echosearch.learning.probe import AnyTask

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """What the model saw of each live video: ids (n,) ascending, embedded frames (n,), seconds (n,), NaN if unknown."""

    ids: Ids
    frames: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]

    def shortest(self, ids: Ids) -> dict[str, Any]:
        """The fewest frames and the least known seconds of some videos, as `Training` keeps them."""
        some = np.isin(self.ids, ids)
        known = self.seconds[some & np.isfinite(self.seconds)]
        least = float(known.min()) if len(known) else None
        return {"shortest_frames": int(self.frames[some].min()), "shortest_seconds": least}


def lengths(snapshot: Snapshot) -> Lengths:
    """Of all live videos; the seconds are those of the part that frames are sampled from."""
    ids, embedded, frames, fps = snapshot.catalog.videos.columns("video_id", "num_embedded_frames", "num_frames", "fps")
    stop = snapshot.description.recipe.sampling.stop
    seen = frames if stop is None else np.minimum(frames, stop)
    return Lengths(ids, embedded, seen / np.where(fps == 0, np.nan, fps))


def too_short(snapshot: Snapshot, task: AnyTask) -> Ids:
    """Live videos (n,), ascending, of which a probe of motion has seen none so short; none for all else."""
    if task.rule.shortest is None:
        return np.empty(0, np.int64)
    (frames, seconds), all_ = task.rule.shortest, lengths(snapshot)
    short = all_.frames < frames
    if seconds is not None:
        short |= all_.seconds < seconds * (1 - 1e-9)  # NaN is not less
    return all_.ids[short]


def cautions(snapshot: Snapshot, task: AnyTask) -> list[str]:
    """What is to be said of videos that show less motion than a probe learnt from."""
    short = too_short(snapshot, task)
    if task.rule.shortest is None or not len(short):
        return []
    frames, seconds = task.rule.shortest
    time = "" if seconds is None else f" or {seconds:.2f} s"
    return [
        f"{len(short)} videos show less than {frames} frames{time}, the least that {task.name} "
        "learnt motion from, so their scores are not to be trusted; filters take them as unknown"
    ]
