"""What filters ask of swept tasks, as numbers by video: of each video alone, or one for all videos of a study.

A video whose view does not show a finding has no score here: what it would say means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.encoders import Preset
from echosearch.index import Snapshot, SweepKey
from echosearch.learning import aggregate, too_short
from echosearch.search.vocabulary import Source
from echosearch.tasks import stored
from echosearch.types import NO, UNKNOWN, YES, VideoRecord, counted, shows, view_name

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

DOMAINS: Final = ("ok", "still", "doppler", "other view", "cine")
OK, STILL, DOPPLER, OTHER_VIEW, CINE = DOMAINS


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a name stands for, by video: ids (n,) ascending and `values` (n,); flags are 0 and 1.

    `scores` (n,) is the number on which a yes is decided, and else the value itself. `unscored` (m,) are live videos
    that could show it and have no score yet, and `unseen` is of how many that is not known.
    """

    source: Source
    ids: Ids
    values: Doubles
    scores: Doubles
    unscored: Ids
    unseen: int = 0


def measure(snapshot: Snapshot, source: Source, key: SweepKey, all_views: bool = False) -> Measured | None:
    """The stored scores of live videos that show it, by view and length; None where the task was never swept.

    With `all_views` those of which the view is not known count as well.
    """
    kept = stored(snapshot, key)
    if kept is None:
        return None
    every, views = snapshot.catalog.videos.columns("video_id", "view")
    shown = shows(source.task.views, views.tolist())
    live = every[counted(shown, all_views)]
    live = np.setdiff1d(live, too_short(snapshot, source.task), assume_unique=True)
    seen = np.isin(kept.ids, live, assume_unique=True)
    columns = {name: values[seen] for name, values in kept.columns.items()}
    if source.calibration is None:
        scores = columns[source.column]
    else:
        scores = source.task.rule.decision(columns, source.calibration.classes)
    unscored = np.setdiff1d(live, kept.ids[seen], assume_unique=True)
    unseen = 0 if all_views else int((shown == UNKNOWN).sum())
    return Measured(source, kept.ids[seen], _values(source, scores), scores, unscored, unseen)


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


def domain(record: VideoRecord, preset: Preset | None, all_views: bool = False) -> str | None:
    """Whether a video is of a kind that a model is made for, one of DOMAINS, by its file and its view.

    None where the view has to be known and is not, unless `all_views`.
    """
    views, kinds = ((), ("video",)) if preset is None else (preset.views, preset.kinds)
    kind = "still" if record.num_frames == 1 else record.kind
    if kind not in kinds:
        return STILL if kind == "still" else CINE
    [shown] = shows(views, [record.seen_view])
    if "DOPPLER" in view_name(record.seen_view) and not (views and shown == YES):
        return DOPPLER
    return {YES: OK, NO: OTHER_VIEW}.get(shown, OK if all_views else None)
