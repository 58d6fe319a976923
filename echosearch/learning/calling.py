"""What one moment of an index tells of a task's scores: which videos show it, and what a calibration calls them.

A probe of motion says something of videos no shorter than the shortest that it learnt from. How far frames differ
depends on how much of a beat they show: of a still nothing moves, whatever the heart does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, CalibrationMismatch
from echosearch.index import Snapshot, SweepKey
from echosearch.learning.calibration import Calibration
from echosearch.learning.kept import named
from echosearch.learning.probe import AnyTask
from echosearch.learning.results import Called, SweepResult
from echosearch.tasks import PublishedFigure, Swept
from echosearch.types import NO, UNKNOWN, clusters, counted, shows

Ids = npt.NDArray[np.int64]

_BORROWED: Final = "a published threshold belongs to its authors' videos and patients, which these need not be like"


def tell(
    snapshot: Snapshot,
    task: AnyTask,
    swept: Swept,
    known: Sequence[Calibration],
    name: str | None = None,
    all_views: bool = False,
    among: npt.NDArray[np.int64] | None = None,
    applied: PublishedFigure | None = None,
    index: str = "",
    notes: Sequence[str] = (),
) -> SweepResult:
    """What a sweep says of the live videos of an index, of those `among` (n,) where they are given, after `notes`.

    It is called by the calibration of that `name` if it fits, else by the newest that does.
    """
    description = snapshot.description
    every, views = snapshot.catalog.videos.columns("video_id", "view")
    live = np.isin(swept.ids, snapshot.rows.ids)
    swept = swept.kept(live if among is None else live & np.isin(swept.ids, among))
    shown = shows(task.views, views[np.searchsorted(every, swept.ids)].tolist())
    warnings, seen_in = list(notes), f"{task.name} is seen in {', '.join(task.views)}"
    if elsewhere := int((shown == NO).sum()):
        left_out = "" if all_views else " and are left out (--all-views)"
        warnings.append(f"{seen_in}; {elsewhere} videos have another view{left_out}")
    if unknown := int((shown == UNKNOWN).sum()):
        apart = "they count" if all_views else "they are listed apart and do not count (--all-views)"
        warnings.append(f"{seen_in}; of {unknown} videos the view is not known: {apart}")
    left = (shown != NO) | all_views
    swept, shown = swept.kept(left), shown[left]
    warnings += cautions(snapshot, task)
    fitting, called = [each for each in known if each.fits(swept.key)], None
    if fitting and len(swept.ids):
        calibration = next((each for each in fitting if each.name == name), fitting[-1])
        seen = counted(shown, all_views) & ~np.isin(swept.ids, too_short(snapshot, task))
        called = _called(snapshot, task, swept, seen, calibration)
        warnings += [called.caution] if called.caution else []
    return SweepResult(
        task=task,
        form="exact" if swept.key.form == "exact" else "approximate",
        index=index,
        generation=snapshot.generation,
        model=description.model,
        recipe=description.recipe.id,
        frames_dtype=description.frames_dtype,
        ids=swept.ids,
        columns=swept.columns,
        shown=shown,
        scored_now=swept.scored_now,
        warnings=(*warnings, *([_BORROWED] if applied is not None else [])),
        called=called,
        applied=applied,
        published=description.standing.published,
        all_views=all_views,
    )


def _called(
    snapshot: Snapshot,
    task: AnyTask,
    swept: Swept,
    seen: npt.NDArray[np.bool_],
    calibration: Calibration,
) -> Called:
    """Probability, yes or no, and prevalence, or why none follows."""
    scores = task.rule.decision(swept.columns, calibration.classes)
    prevalence, caution = None, ""
    if seen.any():
        try:
            every, *told = snapshot.catalog.videos.columns("video_id", "patient", "study", "content_sha256")
            patients, studies, contents = (column.tolist() for column in told)
            whose = clusters(patients, studies, contents, np.searchsorted(every, swept.ids[seen]))
            prevalence = calibration.prevalence_among(scores[seen], whose.codes)
        except BadQuery as error:
            caution = f"calibration {calibration.name}: {error}"
    return Called(
        calibration=calibration,
        scores=scores,
        probability=calibration.probability(scores),
        positive=calibration.is_positive(scores),
        seen=seen,
        prevalence=prevalence,
        caution=caution,
    )


def check_named(known: Sequence[Calibration], name: str, keys: Sequence[SweepKey]) -> None:
    """BadOption unless there is a calibration of that name, CalibrationMismatch unless it is for one of these."""
    calibration = named(known, name)
    if not any(calibration.fits(key) for key in keys):
        calibration.check(next((key for key in keys if key.task == calibration.task), keys[0]))


def fitting(
    known: Sequence[Calibration], key: SweepKey, classes: tuple[str, ...], name: str | None
) -> Calibration | None:
    """The calibration that is named, which has to fit; else the newest that fits, or None."""
    if name is None:
        return next((each for each in reversed(known) if each.fits(key) and each.classes == classes), None)
    calibration = named(known, name)
    calibration.check(key)
    if calibration.classes != classes:
        mine, asked = (" or ".join(some) or "the task as a whole" for some in (calibration.classes, classes))
        raise CalibrationMismatch(f"calibration {name} is for {mine}, and {asked} is asked for")
    return calibration


# How long videos are, of which a probe of motion can say something.


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
