"""Of which videos a probe of motion can say something: those no shorter than the shortest that it learnt from.

How far frames differ depends on how much of a beat they show: of a still nothing moves, whatever the heart does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echosearch.store import View
from echosearch.zeroshot.probe import Probe
from echosearch.zeroshot.tasks import Task

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """What the model saw of each live video: ids (n,) ascending, embedded frames (n,), seconds (n,), NaN if unknown."""

    ids: Ids
    frames: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]


def lengths(view: View) -> Lengths:
    """Of all live videos; the seconds are those of the part that frames are sampled from."""
    rows = list(view.catalog.lengths())
    ids, embedded, frames, fps = np.array(rows, np.float64).reshape(-1, 4).T
    stop = view.manifest.recipe.sampling.stop
    seen = frames if stop is None else np.minimum(frames, stop)
    return Lengths(ids.astype(np.int64), embedded.astype(np.int64), seen / fps)


def too_short(view: View, task: Task | Probe) -> Ids:
    """Live videos (n,), ascending, of which a probe of motion has seen none so short; none for all else."""
    if not isinstance(task, Probe) or not task.motion:
        return np.empty(0, np.int64)
    told, all_ = task.training, lengths(view)
    short = all_.frames < (told.shortest_frames or 2)
    if told.shortest_seconds is not None:
        short |= all_.seconds < told.shortest_seconds * (1 - 1e-9)  # NaN is not less
    return all_.ids[short]


def bounds(seen: Lengths, ids: Ids) -> tuple[int, float | None]:
    """The fewest frames and the least known seconds of some videos: what `Training` keeps."""
    some = np.isin(seen.ids, ids)
    seconds = seen.seconds[some]
    known = seconds[np.isfinite(seconds)]
    return int(seen.frames[some].min()), float(known.min()) if len(known) else None


def caution(probe: Probe, count: int) -> str:
    """What is to be said of videos that are too short."""
    told = probe.training
    time = "" if told.shortest_seconds is None else f" or {told.shortest_seconds:.2f} s"
    return (
        f"{count} videos show less than {told.shortest_frames or 2} frames{time}, the least that {probe.name} learnt "
        "motion from, so their scores are not to be trusted; filters take them as unknown"
    )
