"""Labels from a CSV, and which videos of an index they belong to. Knows columns and paths, no score and no catalog."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.keys import KEY_NAMES, KeyedFile, Row, find_key, keyed_cells, named_column
from echosearch.tables import MISSING, Table, read_table
from echosearch.types import VideoRecord

_NEVER_LABELS: Final = KEY_NAMES | {"", "split", "view", "acquired_at", "acquisition_datetime"}
_WORDS: Final = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class LabelFile(KeyedFile[float]):
    """The labels of a CSV, or of a `split` of it; `positive` are the values that count as 1, where they are words."""

    noun: ClassVar[str] = "label"
    split: str | None = None
    positive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if not math.isfinite(row.value):
                raise BadLabels(f"{self.file}, line {row.line}: the label {row.value} is no finite number")
        KeyedFile.__post_init__(self)

    @property
    def origin(self) -> dict[str, Any]:
        """What is kept of it beside what was learnt from it, by the name of the field."""
        names = {"labels": self.file.name, "label_column": self.column}
        return names | {"labels_sha256": self.sha256, "split": self.split}


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Videos with their labels, by video: ids (n,) int64 ascending, labels (n,) float64, study and patient or None.

    `warnings` say how many rows fit no video (or several files), and how many videos got no label.
    """

    video_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float64]
    studies: tuple[str | None, ...]
    patients: tuple[str | None, ...]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.studies),)
        if self.video_ids.shape != shape or self.labels.shape != shape or len(self.patients) != len(self.studies):
            raise ValueError("one label, study and patient for each video")
        if not np.all(np.diff(self.video_ids) > 0):
            raise ValueError("video ids ascend, each once")
        if not np.all(np.isfinite(self.labels)):
            raise ValueError("labels are finite numbers")

    def kept(self, left: npt.NDArray[np.bool_], left_out: str) -> Labelled:
        """Some of the videos (n,), with a warning where that is not all. BadLabels where none is left."""
        if left.all():
            return self
        if not left.any():
            raise BadLabels(f"no labelled video is left: {left_out}")
        rows = np.flatnonzero(left).tolist()
        return replace(
            self,
            video_ids=self.video_ids[rows],
            labels=self.labels[rows],
            studies=tuple(self.studies[row] for row in rows),
            patients=tuple(self.patients[row] for row in rows),
            warnings=(*self.warnings, left_out),
        )


def read_labels(
    path: Path,
    key: str | None = None,
    label_column: str | None = None,
    split: str | None = None,
    positive: str | None = None,
) -> LabelFile:
    """Read a CSV with a header line (comma, semicolon or tab): EchoNet's lists as they are, or one's own.

    `key` is what rows are about (KEY_KINDS), a column with a usual name for that, or COLUMN=KIND. `split` keeps the
    rows whose column `split` says so. Labels are numbers, or true, false, yes, no; `positive` lists, with commas, the
    values that count as 1, all others as 0. `label_column` may be a measurement of EchoNet-LVH's list (columns Calc
    and CalcValue; the mean where a video has several). Rows without a label are left out and counted.

    BadLabels says which line cannot be read, BadOption which option does not fit the file.
    """
    table = read_table(path, "labels", "video,label")
    kind, key_column = find_key(table, key)
    measurement = label_column if label_column is not None and _is_measurement(table, label_column) else None
    column = "CalcValue" if measurement is not None else _label_column(table, key_column, label_column)
    positives = _positives(table, column, positive)
    if split is not None:
        table = _in_split(table, split)
    if measurement is not None:
        table = table.where("Calc", measurement)
    cells = keyed_cells(table, kind, key_column, column)
    rows = [Row(line, key, _number(table.file, line, cell, positives)) for line, key, cell in cells if cell]
    return LabelFile(
        file=table.file,
        sha256=table.sha256,
        kind=kind,
        key_column=key_column,
        column=measurement or column,
        split=split,
        positive=tuple(sorted(positives)),
        rows=tuple(_means(rows) if measurement is not None else rows),
        empty=len(cells) - len(rows),
    )


def _is_measurement(table: Table, told: str) -> bool:
    """Whether a label is one of the measurements of EchoNet-LVH's list, which has one in each row."""
    has_columns = {"Calc", "CalcValue"} <= set(table.header)
    return has_columns and told not in table.header and told in table.values("Calc")


def _label_column(table: Table, key_column: str, told: str | None) -> str:
    left = [name for name in table.header if name != key_column and name.casefold() not in _NEVER_LABELS]
    if told is None and len(left) == 1:
        return left[0]
    if told is None:
        what = f"several columns that could be the label: {', '.join(left)}" if left else "no column of labels"
        raise BadOption(f"{table.file.name} has {what}; say which: --label-column COLUMN")
    return named_column(table, key_column, told, "--label-column", left)


def _in_split(table: Table, split: str) -> Table:
    column = table.named("split")
    if column is None:
        raise BadOption(f"--split {split}: {table.file.name} has no column called split")
    kept = table.where(column, split)
    if not kept.rows:
        raise BadOption(f"--split {split}: {table.file.name} has {', '.join(table.values(column)) or 'no splits'}")
    return kept


def _positives(table: Table, column: str, told: str | None) -> frozenset[str]:
    """The values that count as 1, in lower case; none where labels are numbers."""
    if told is None:
        return frozenset()
    values = table.values(column)
    wanted = [value.strip() for value in told.split(",")]
    for value in wanted:
        if value.casefold() not in {known.casefold() for known in values}:
            raise BadOption(f"--positive {told}: no row has {column} {value!r}; there are {_some(values)}")
    return frozenset(value.casefold() for value in wanted)


def _number(file: Path, line: int, cell: str, positives: frozenset[str]) -> float:
    if cell.casefold() in MISSING:
        raise BadLabels(f"{file}, line {line}: {cell!r} is no label; leave the cell empty where none is known")
    if positives:
        return float(cell.casefold() in positives)
    if (word := _WORDS.get(cell.casefold())) is not None:
        return word
    if not _NUMBER.fullmatch(cell):
        raise BadLabels(
            f"{file}, line {line}: {cell!r} is no label, which is a number, or true, false, yes or no; "
            "for other words say which count as 1: --positive severe,moderate"
        )
    return float(cell)


def _means(rows: Sequence[Row[float]]) -> list[Row[float]]:
    """One row for each key, with the mean of its values."""
    rows_of: dict[str, list[Row[float]]] = {}
    for row in rows:
        rows_of.setdefault(row.key, []).append(row)
    return [replace(same[0], value=fmean(row.value for row in same)) for same in rows_of.values()]


def _some(values: Sequence[str]) -> str:
    return ", ".join(values[:10]) + (f" and {len(values) - 10} more" if len(values) > 10 else "")


def join(labels: LabelFile, videos: Iterable[VideoRecord]) -> Labelled:
    """The videos that a file has labels for; a study's or a patient's label goes to all of its videos.

    Keys name videos as `KeyedFile.finder` says. BadLabels where nothing fits, or where rows with different labels fit
    one video.
    """
    records = sorted(videos, key=lambda record: record.video_id)
    find = labels.finder(records)
    row_of: dict[int, Row[float]] = {}
    unmatched = []
    for row in labels.rows:
        found = find(row.key)
        if not found:
            unmatched.append(row)
        for record in found:
            labels.check_same(row_of.setdefault(record.video_id, row), row, record.path)
    if not row_of:
        raise labels.nothing_fits(records)
    labelled = [record for record in records if record.video_id in row_of]
    return Labelled(
        video_ids=np.array([record.video_id for record in labelled], np.int64),
        labels=np.array([row_of[record.video_id].value for record in labelled], np.float64),
        studies=tuple(record.study for record in labelled),
        patients=tuple(record.patient for record in labelled),
        warnings=tuple(_warnings(labels, unmatched, len(records) - len(labelled))),
    )


def _warnings(labels: LabelFile, unmatched: Sequence[Row[float]], unlabelled: int) -> list[str]:
    file = labels.file.name
    warnings = []
    if unmatched:
        some = ", ".join(f"line {row.line} {row.key!r}" for row in unmatched[:3])
        what = "no file, or several" if labels.kind == "video" else "no video"
        warnings.append(f"{len(unmatched)} rows of {file} match {what}: {some}")
    if unlabelled:
        warnings.append(f"{unlabelled} videos have no label in {file}")
    return warnings + labels.notes(labels.repeated)
