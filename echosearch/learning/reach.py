"""Of which videos something can be learnt or said: who has a label, and for a probe of motion how long they are.

It says something of those no shorter than the shortest that it learnt from. How far frames differ depends on how much
of a beat they show: of a still nothing moves, whatever the heart does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels
from echosearch.index import Snapshot
from echosearch.learning.labels import LabelFile, Labelled, join
from echosearch.tasks import AnyTask
from echosearch.types import YES, VideoRecord, shows, with_study_keys

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
    rows = list(snapshot.catalog.videos.lengths())
    ids, embedded, frames, fps = np.array(rows, np.float64).reshape(-1, 4).T
    stop = snapshot.description.recipe.sampling.stop
    seen = frames if stop is None else np.minimum(frames, stop)
    return Lengths(ids.astype(np.int64), embedded.astype(np.int64), seen / fps)


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


def labelled_videos(snapshot: Snapshot, labels: LabelFile) -> tuple[dict[int, VideoRecord], Labelled]:
    """All videos by id, and those that have a label."""
    known, notes = with_study_keys(snapshot.catalog.videos.records())
    labelled = join(labels, known)
    records = {record.video_id: record for record in known}
    return records, replace(labelled, warnings=(*labelled.warnings, *notes))


def usable(snapshot: Snapshot, labels: LabelFile, task: AnyTask) -> tuple[dict[int, VideoRecord], Labelled]:
    """All videos by id, and those that have a label and are long enough for the task."""
    records, labelled = labelled_videos(snapshot, labels)
    short = np.isin(labelled.video_ids, too_short(snapshot, task))
    told = f"{short.sum()} labelled videos are shorter than any that {task.name} learnt motion from, and are left out"
    return records, labelled.kept(~short, told)


def of_views(records: Mapping[int, VideoRecord], labelled: Labelled, views: Sequence[str]) -> Labelled:
    """The labelled videos of some views; all if none is given. BadLabels where none is left."""
    of = shows(views, [records[video_id].seen_view for video_id in labelled.video_ids.tolist()]) == YES
    if not of.any():
        raise BadLabels(f"none of the {len(of)} labelled videos has the view {', '.join(views)}")
    return labelled.kept(of, f"{(~of).sum()} labelled videos are not of the view {', '.join(views)} and are left out")
