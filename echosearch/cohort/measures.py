"""What filters ask of swept tasks, as numbers by video: of each video alone, or one for all videos of a study.

A video whose view does not show a finding has no score here: what it would say means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.catalog import SweepKey
from echosearch.cohort.names import AnyTask, Source
from echosearch.store import View
from echosearch.types import VideoRecord
from echosearch.zeroshot.reach import too_short
from echosearch.zeroshot.sample import decision
from echosearch.zeroshot.statistics import aggregate
from echosearch.zeroshot.sweep import Swept, stored
from echosearch.zeroshot.task_files import builtin_tasks

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_UNSCORED: Final = "\0"
DOMAINS: Final = ("ok", "still", "doppler", "other view")
OK, STILL, DOPPLER, OTHER_VIEW = DOMAINS
SURE: Final = 0.9
"""Weight of a class from which on a video is said to be of it: a doubtful one is not flagged."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a name stands for, by video: ids (n,) ascending and `values` (n,); flags are 0 and 1.

    `scores` (n,) is the number on which a yes is decided, and else the value itself. `unscored` (m,) are live videos
    that could show it and have no score yet.
    """

    source: Source
    ids: Ids
    values: Doubles
    scores: Doubles
    unscored: Ids


def measure(view: View, source: Source, key: SweepKey) -> Measured | None:
    """The stored scores of live videos that may show it, by view and length; None where the task was never swept."""
    kept = stored(view, key)
    if kept is None:
        return None
    showing = np.array([row[0] for row in _showing(view, source.task)], np.int64)
    live = np.setdiff1d(showing, too_short(view, source.task), assume_unique=True)
    seen = np.isin(kept.ids, live, assume_unique=True)
    columns = {name: values[seen] for name, values in kept.columns.items()}
    if source.calibration is None:
        scores = columns[source.column]
    else:
        scores = decision(source.task, columns, source.calibration.classes)
    unscored = np.setdiff1d(live, kept.ids[seen], assume_unique=True)
    return Measured(source, kept.ids[seen], _values(source, scores), scores, unscored)


def by_study(measured: Measured, studies: Mapping[int, str | None]) -> Measured:
    """The same with one score for all videos of a study, that of the source's aggregate; videos of none keep theirs.

    Also videos whose view does not show it get their study's score. A study of which a video that could show it has no
    score yet has none either: it might come out otherwise.
    """
    if not len(measured.ids):
        return measured
    of = [studies.get(video_id) for video_id in measured.ids.tolist()]
    names, scores = aggregate(measured.scores, of, measured.source.aggregate)
    unsure = {studies.get(video_id) for video_id in measured.unscored.tolist()}
    score_of = {name: score for name, score in zip(names, scores.tolist(), strict=True) if name not in unsure}
    alone = {
        video_id: score
        for video_id, score, study in zip(measured.ids.tolist(), measured.scores.tolist(), of, strict=True)
        if study is None
    }
    spread = {video_id: score_of[study] for video_id, study in studies.items() if study in score_of} | alone
    ids = np.array(sorted(spread), np.int64)
    joined = np.array([spread[video_id] for video_id in ids.tolist()], np.float64)
    return replace(measured, ids=ids, scores=joined, values=_values(measured.source, joined))


def _values(source: Source, scores: Doubles) -> Doubles:
    if source.calibration is None:
        return scores
    if source.kind == "p":
        return source.calibration.probability(scores)
    return source.calibration.is_positive(scores).astype(np.float64)


def _showing(view: View, task: AnyTask) -> Sequence[tuple[int, str | None]]:
    """Id and view of the live videos whose view, as far as it is known, shows what a task is about."""
    shown = {name.upper() for name in task.views}
    return [
        (video_id, name)
        for video_id, _, _, name, _ in view.catalog.belongings()
        if not shown or name is None or name.upper() in shown
    ]


# Whether a video is of a kind that the model is made for.


def domains(
    view: View, keys: Mapping[str, SweepKey], views: Sequence[str], knows_modes: bool
) -> tuple[Ids, list[str | None]] | None:
    """Ids (n,) and the domain of each live video: ok, still, doppler or other view. None where a task is not swept.

    `views` are those that the model is made for (none given: any); the catalog's view counts, else what the view
    task is sure of. Stills are known from the file, and from the mode task where the model `knows_modes`. The domain of
    a video is None where a task that it needs has no score of it yet.
    """
    kept = {name: stored(view, key) for name, key in keys.items()}
    found = {name: _sure(each) for name, each in kept.items() if each is not None}
    if len(found) < len(keys):
        return None
    wanted = {name.upper() for name in views}
    ids, told = [], []
    for record in view.catalog.videos():
        ids.append(record.video_id)
        told.append(_domain(record, found, wanted, knows_modes))
    return np.array(ids, np.int64), told


def _domain(
    record: VideoRecord, found: Mapping[str, Mapping[int, str | None]], wanted: Set[str], knows_modes: bool
) -> str | None:
    if record.kind == "still" or record.num_frames == 1:
        return STILL
    mode = found["image_mode"].get(record.video_id, _UNSCORED) if knows_modes else None
    if mode in (STILL, DOPPLER):
        return mode
    shown = record.view
    if wanted and shown is None:
        shown = found["view"].get(record.video_id, _UNSCORED)
    if _UNSCORED in (mode, shown):
        return None
    return OTHER_VIEW if wanted and shown is not None and shown.upper() not in wanted else OK


def domain_tasks(views: Sequence[str], knows_modes: bool) -> list[AnyTask]:
    """The built-in tasks that have to be swept before domains can be told."""
    wanted = (*(["view"] if views else []), *(["image_mode"] if knows_modes else []))
    return [builtin_tasks()[name] for name in wanted]


def _sure(kept: Swept) -> dict[int, str | None]:
    """The class of each video of which one has nearly all of the weight; None where no class has."""
    names = list(kept.columns)
    weights = np.stack([kept.columns[name] for name in names], axis=1)
    return {
        video_id: names[int(row.argmax())] if row.max() >= SURE else None
        for video_id, row in zip(kept.ids.tolist(), weights, strict=True)
    }
