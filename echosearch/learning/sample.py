"""Scores beside labels, and folds of them: what a calibration is fitted to and an evaluation judges. Knows no index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels
from echosearch.learning.labels import Labelled
from echosearch.types import NO, UNKNOWN, Clusters, VideoRecord, people, shows

if TYPE_CHECKING:
    from echosearch.learning.probe import AnyTask

MOST_FOLDS: Final = 5
_DRAWS: Final = 20

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Labelled videos with their scores, by video: ids (n,) ascending, `scores` and `labels` (n,), study, patient.

    `clusters` (n,) says which rows share a patient, `relatives` the contents of all videos of their person. Videos
    whose view does not show the task's finding are left out, and `warnings` says how many.
    """

    ids: Ids
    scores: Doubles
    labels: Doubles
    studies: tuple[str | None, ...]
    patients: tuple[str | None, ...]
    contents: tuple[str, ...]
    clusters: Ids
    warnings: tuple[str, ...]
    relatives: tuple[frozenset[str], ...] = ()

    def findings(self, needs: str) -> npt.NDArray[np.bool_]:
        """The labels as yes and no (n,). BadLabels, which says what `needs` them, unless all are 0 and 1."""
        if len(others := self.labels[~np.isin(self.labels, (0, 1))]):
            raise BadLabels(f"{needs} labels 0 and 1, not {others[0]:g}; say which values mean yes: --positive")
        return np.asarray(self.labels == 1)


def sample(
    task: AnyTask,
    ids: Ids,
    scores: Doubles,
    labelled: Labelled,
    records: Mapping[int, VideoRecord],
) -> Sample:
    """Scores (n,) of videos `ids`, ascending, beside the labels of those that have one. BadLabels where none is left.

    `records` are all live videos: who is one person is decided over them.
    """
    shown = shows(task.views, [records[video_id].seen_view for video_id in labelled.video_ids.tolist()])
    scored = np.isin(labelled.video_ids, ids)
    elsewhere, unscored = int((shown == NO).sum()), int(((shown != NO) & ~scored).sum())
    seen = np.flatnonzero((shown != NO) & scored).tolist()
    if not seen:
        raise BadLabels(
            f"no labelled video can be used for {task.name}: {elsewhere} have a view that does not show it"
            + (f", {unscored} have no score" if unscored else "")
        )
    kept = labelled.video_ids[seen]
    together = people(records.values(), kept)
    warnings = list(labelled.warnings)
    if elsewhere:
        warnings.append(f"{elsewhere} labelled videos have a view that does not show {task.name} and are left out")
    if unknown := int((shown[seen] == UNKNOWN).sum()):
        warnings.append(
            f"of {unknown} labelled videos it is not known whether their view shows {task.name}; they count"
        )
    if unscored:
        warnings.append(f"{unscored} labelled videos were added since the sweep and are left out")
    warnings += unknown_patients(together)
    return Sample(
        ids=kept,
        scores=scores[np.searchsorted(ids, kept)],
        labels=labelled.labels[seen],
        studies=tuple(labelled.studies[number] for number in seen),
        patients=tuple(labelled.patients[number] for number in seen),
        contents=tuple(records[video_id].content_sha256 for video_id in kept.tolist()),
        clusters=together.codes,
        warnings=tuple(warnings),
        relatives=_relatives(records, kept),
    )


def _relatives(records: Mapping[int, VideoRecord], ids: Ids) -> tuple[frozenset[str], ...]:
    """Of each of some videos the content hashes of all that are of its person."""
    codes = people(records.values(), np.array(list(records), np.int64)).codes.tolist()
    person_of = dict(zip(records, codes, strict=True))
    contents: dict[int, set[str]] = {}
    for video_id, record in records.items():
        contents.setdefault(person_of[video_id], set()).add(record.content_sha256)
    return tuple(frozenset(contents[person_of[video_id]]) for video_id in ids.tolist())


def unknown_patients(together: Clusters) -> list[str]:
    """What is to be said where videos have no patient to hold them together."""
    if not together.by_study and not together.by_video:
        return []
    return [
        f"of {together.by_study + together.by_video} videos the patient is not known: {together.by_study} are taken as "
        f"one patient a study, {together.by_video} as one each (copies as one), so intervals may be too narrow"
    ]


def stratified_folds(labels: npt.NDArray[np.bool_], clusters: Ids, seed: int = 0) -> list[tuple[Ids, Ids]]:
    """Rows to learn from and rows left out; a patient is never in both, and both classes are always learnt from.

    Five folds, or as many as there are patients with the rarer label. With few of them a draw can put all of a class
    into one fold; then another is drawn. BadLabels where there is none.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(clusters[labels])), len(np.unique(clusters[~labels])))
    for count in range(min(MOST_FOLDS, fewest), 1, -1):
        for draw in range(seed, seed + _DRAWS):
            splitter = StratifiedGroupKFold(count, shuffle=True, random_state=draw)
            folds = [(rest, part) for rest, part in splitter.split(labels, labels, clusters) if len(part)]
            if all(0 < labels[rest].sum() < len(rest) for rest, _ in folds):
                return folds
    raise BadLabels("too few patients have one of the labels to learn from some and judge by others")
