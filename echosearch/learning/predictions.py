"""Scores as a CSV that CardioBench's evaluators read. Knows its columns and how it names videos; no index and no label.

They join by the text of an id: `FileName` (EchoNet-Dynamic's list has no suffix, EchoNet-Pediatric's has),
`HashedFileName` (EchoNet-LVH, no suffix) or `patient_id` (CAMUS, one ejection fraction a patient). Of views they need
the probabilities of VIEWS, and count what these leave of 1 as another view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadOption
from echosearch.learning.probe import AnyTask
from echosearch.learning.statistics import aggregate
from echosearch.outputs import Output
from echosearch.tables import write_csv
from echosearch.types import NO, UNKNOWN, VideoRecord, shows
from echosearch.video import MEDIA_SUFFIXES

IdColumn = Literal["FileName", "HashedFileName", "patient_id"]
ID_COLUMNS: Final[tuple[IdColumn, ...]] = get_args(IdColumn)

VIEWS: Final = ("A2C", "A3C", "A4C", "PSAX", "PLAX")
"""The views that CardioBench knows, in its order."""

_SUFFIXES: Final = MEDIA_SUFFIXES | {".dcm"}

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


def write_predictions(
    output: Output,
    task: AnyTask,
    ids: Ids,
    columns: Mapping[str, Doubles],
    records: Mapping[int, VideoRecord],
    id_column: IdColumn = "FileName",
    with_suffix: bool = False,
) -> tuple[str, ...]:
    """Write the scores of videos `ids` (n,), `columns` name -> (n,), by video id; gives warnings.

    A measurement becomes `EF_pred`, the weights of views `prob_VIEW` and `view_pred`. Videos whose view does not
    show what the task is about are left out. With `patient_id` there is a row a patient, of the means of the videos. A
    file is named without suffix unless `with_suffix`.

    BadOption for a task that is neither, or where no row is left; BackendError when the file cannot be written.
    """
    if id_column not in ID_COLUMNS:
        raise BadOption(f"predictions are by {', '.join(ID_COLUMNS)}, not by {id_column!r}")
    values, warnings = _values(task, columns, len(ids))
    order = np.argsort(ids, kind="stable")
    shown = shows(task.views, [records[video_id].seen_view for video_id in ids.tolist()])
    kept = order[shown[order] != NO].tolist()
    if unknown := int((shown == UNKNOWN).sum()):
        warnings.append(f"of {unknown} videos it is not known whether their view shows {task.name}; they are written")
    if elsewhere := len(ids) - len(kept):
        warnings.append(f"{elsewhere} videos have a view that does not show {task.name} and are left out")
    videos = [records[int(ids[row])] for row in kept]
    values = {name: numbers[kept] for name, numbers in values.items()}
    if id_column == "patient_id":
        names, values, told = _by_patient(videos, values)
    else:
        names, told = _by_file(videos, with_suffix)
    if not names:
        raise BadOption(
            f"no video with a score of {task.name} can be named by {id_column}, so there is nothing to write"
        )
    told_of = {id_column: names} | {name: numbers.tolist() for name, numbers in values.items()}
    if "EF_pred" not in values:
        best = np.stack(list(values.values())).argmax(axis=0)
        classes = [name.removeprefix("prob_") for name in values]
        told_of = {id_column: names, "view_pred": [classes[each] for each in best]} | told_of
    rows = (dict(zip(told_of, row, strict=True)) for row in zip(*told_of.values(), strict=True))
    write_csv(output, list(told_of), rows)
    return (*warnings, *told)


def check_predictable(task: AnyTask) -> None:
    """BadOption for a task whose scores CardioBench's evaluators do not read."""
    _values(task, {name: np.empty(0) for name in task.columns}, 0)


def _values(task: AnyTask, columns: Mapping[str, Doubles], count: int) -> tuple[dict[str, Doubles], list[str]]:
    """What is written of each video, by column, and what is to be said of it."""
    if task.rule.gives_value:
        if task.rule.unit not in ("", "%"):
            raise BadOption(f"{task.name} is in {task.rule.unit}, so it is no ejection fraction, which is in %")
        return {"EF_pred": columns["value"]}, []
    if not task.rule.are_weights or not set(VIEWS) & set(task.columns):
        raise BadOption(
            "CardioBench's evaluators read an ejection fraction (a regression) or views (a contrastive task with "
            f"classes such as {VIEWS[2]}), and {task.name} is neither"
        )
    unknown = [view for view in VIEWS if view not in task.columns]
    others = [name for name in task.columns if name not in VIEWS]
    warnings = [f"{task.name} does not know {', '.join(unknown)}: written with probability 0"] if unknown else []
    weights = {name: columns.get(name, np.zeros(count)) for name in (*VIEWS, *others)}
    return {f"prob_{name}": numbers for name, numbers in weights.items()}, warnings


def _by_patient(
    videos: Sequence[VideoRecord], values: Mapping[str, Doubles]
) -> tuple[tuple[str, ...], dict[str, Doubles], list[str]]:
    patients = [video.patient for video in videos]
    names = tuple(sorted({patient for patient in patients if patient is not None}))
    means = {name: aggregate(numbers, patients, "mean")[1] for name, numbers in values.items() if names}
    nobody = patients.count(None)
    return names, means, [f"of {nobody} videos the patient is not known; they are left out"] if nobody else []


def _by_file(videos: Sequence[VideoRecord], with_suffix: bool) -> tuple[tuple[str, ...], list[str]]:
    names = tuple(_file_name(Path(video.path), with_suffix) for video in videos)
    again = len(names) - len(set(names))
    return names, [
        f"{again} videos have the file name of an earlier one; CardioBench reads the first of each only"
    ] if again else []


def _file_name(path: Path, with_suffix: bool) -> str:
    """What is no suffix of a video stays: a DICOM file may be called by a UID alone."""
    return path.name if with_suffix or path.suffix.lower() not in _SUFFIXES else path.stem
