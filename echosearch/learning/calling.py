"""What one moment of an index tells of a task's scores: which videos show it, and what a calibration calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, CalibrationMismatch
from echosearch.index import Snapshot, SweepKey
from echosearch.learning.calibration import Calibration
from echosearch.learning.kept import named
from echosearch.learning.reach import too_short
from echosearch.learning.results import Called
from echosearch.tasks import AnyTask, Swept
from echosearch.types import NO, UNKNOWN, Belonging, Shown, counted, people, shows


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The videos of a sweep that are told of, whether their view shows it (n,), and what a calibration calls them.

    `about_views` are sentences on views, `cautions` on why there is no prevalence.
    """

    swept: Swept
    shown: Shown
    called: Called | None
    about_views: tuple[str, ...]
    cautions: tuple[str, ...]


def tell(
    snapshot: Snapshot,
    task: AnyTask,
    swept: Swept,
    known: Sequence[Calibration],
    name: str | None = None,
    all_views: bool = False,
    among: npt.NDArray[np.int64] | None = None,
) -> Told:
    """What a sweep says of the live videos, of those `among` (n,) where they are given.

    It is called by the calibration of that `name` if it fits, else by the newest that does.
    """
    every = list(snapshot.catalog.videos.belongings())
    live = np.isin(swept.ids, snapshot.rows.ids)
    swept = swept.kept(live if among is None else live & np.isin(swept.ids, among))
    view_of = {each.video_id: each.view for each in every}
    shown = shows(task.views, [view_of[video_id] for video_id in swept.ids.tolist()])
    about, seen_in = [], f"{task.name} is seen in {', '.join(task.views)}"
    if elsewhere := int((shown == NO).sum()):
        left_out = "" if all_views else " and are left out (--all-views)"
        about.append(f"{seen_in}; {elsewhere} videos have another view{left_out}")
    if unknown := int((shown == UNKNOWN).sum()):
        apart = "they count" if all_views else "they are listed apart and do not count (--all-views)"
        about.append(f"{seen_in}; of {unknown} videos the view is not known: {apart}")
    left = (shown != NO) | all_views
    swept, shown = swept.kept(left), shown[left]
    fitting = [each for each in known if each.fits(swept.key)]
    if not fitting or not len(swept.ids):
        return Told(swept, shown, None, tuple(about), ())
    calibration = next((each for each in fitting if each.name == name), fitting[-1])
    seen = counted(shown, all_views) & ~np.isin(swept.ids, too_short(snapshot, task))
    called, cautions = _called(every, task, swept, seen, calibration)
    return Told(swept, shown, called, tuple(about), cautions)


def _called(
    every: Sequence[Belonging],
    task: AnyTask,
    swept: Swept,
    seen: npt.NDArray[np.bool_],
    calibration: Calibration,
) -> tuple[Called, tuple[str, ...]]:
    """Probability, yes or no, and prevalence; beside it what is to be said where no prevalence follows."""
    scores = task.rule.decision(swept.columns, calibration.classes)
    prevalence, cautions = None, []
    if seen.any():
        try:
            prevalence = calibration.prevalence_among(scores[seen], people(every, swept.ids).codes[seen])
        except BadQuery as error:
            cautions.append(f"calibration {calibration.name}: {error}")
    called = Called(
        calibration=calibration,
        scores=scores,
        probability=calibration.probability(scores),
        positive=calibration.is_positive(scores),
        seen=seen,
        prevalence=prevalence,
    )
    return called, tuple(cautions)


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
