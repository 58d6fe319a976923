"""Tables whose rows are about videos, studies or patients: the videos that a key names. Knows no catalog."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

from echosearch.errors import BadLabels, BadOption
from echosearch.tables import Table
from echosearch.types import VideoRecord
from echosearch.video import FileFinder, media_path

KeyKind = Literal["video_id", "video", "study", "patient"]

KEY_KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)
"""What a row can be about; a list with several such columns is about the first of these."""

_KEY_COLUMNS: Final[dict[KeyKind, tuple[str, ...]]] = {
    "video_id": ("video_id",),
    "video": ("video", "path", "file", "filename", "hashedfilename", "dicom_filepath"),
    "study": ("study", "study_id"),
    "patient": ("patient", "patient_id", "subject_id"),
}
KEY_NAMES: Final = frozenset(name for names in _KEY_COLUMNS.values() for name in names)
"""Columns with these names, in whatever case, name what rows are about."""

_ID: Final = re.compile(r"[1-9]\d{0,17}")
_KINDS: Final = "video_id, video, study or patient"
_USUAL_KEYS: Final = ("video", "path", "filename", "study", "patient")


def find_key(table: Table, told: str | None) -> tuple[KeyKind, str]:
    """What the keys name, and the column that they stand in.

    `told` is one of KEY_KINDS, a column with a usual name for that, or COLUMN=KIND. BadLabels where nothing is told
    and no column has a usual name, BadOption where what is told does not fit.
    """
    usual = {kind: column for kind in KEY_KINDS if (column := _usual_column(table, kind)) is not None}
    if told is None:
        for kind, column in usual.items():
            return kind, column
        raise BadLabels(
            f"{table.file} has no column that says what a row is about ({', '.join(_USUAL_KEYS)}); "
            f"name it: --key COLUMN=KIND, with {_KINDS}"
        )
    column_told, equals, kind_told = told.rpartition("=")
    named = table.named(column_told if equals else told)
    for kind in KEY_KINDS:
        if named is not None and (kind_told == kind if equals else named.casefold() in _KEY_COLUMNS[kind]):
            return kind, named
        if not equals and told == kind and kind in usual:
            return kind, usual[kind]
    if named is not None:
        raise BadOption(f"--key {told}: say what the column {named!r} names: --key {named}=KIND, with {_KINDS}")
    raise BadOption(f"--key {told}: {table.file.name} has no such column; it has {', '.join(table.header)}")


def _usual_column(table: Table, kind: KeyKind) -> str | None:
    return next((column for name in _KEY_COLUMNS[kind] if (column := table.named(name)) is not None), None)


def check_key(file: Path, line: int, kind: KeyKind, key: str) -> None:
    """BadLabels for a key that is empty or no id."""
    if not key:
        raise BadLabels(f"{file}, line {line}: the {kind} is empty")
    if kind == "video_id" and not _ID.fullmatch(key):
        raise BadLabels(
            f"{file}, line {line}: {key!r} is no id of a video, which is a whole number from 1; "
            "if the column names files, say so: --key video_id=video"
        )


def finder(file: Path, kind: KeyKind, records: Sequence[VideoRecord]) -> Callable[[str], Sequence[VideoRecord]]:
    """The videos that a key in `file` names, in the order of the records.

    A video is named by its id, or by its file as FileFinder finds it, seen from the folder of `file` and from Videos/
    in it.
    """
    if kind == "video":
        by_path = {Path(record.path): [record] for record in records}
        folder = media_path(file).parent
        files = FileFinder(by_path, [folder, folder / "Videos"])
        return lambda key: by_path[path] if (path := files.find(key)) is not None else []
    by_key: dict[str | None, list[VideoRecord]] = defaultdict(list)
    for record in records:
        by_key[_key_of(record, kind)].append(record)
    return lambda key: by_key.get(key, [])


def nothing_fits(file: Path, kind: KeyKind, column: str, key: str, records: Sequence[VideoRecord]) -> BadLabels:
    """What to raise where no row fits a video: an example `key` of the file beside one of the index."""
    known = next((told for record in records if (told := _key_of(record, kind)) is not None), None)
    there = f"no {kind}" if known is None else f"for example {known!r}"
    return BadLabels(
        f"no row of {file} fits a video of the index: the file has for example {key!r} "
        f"(column {column}, taken as {kind}), the index {there}"
    )


def _key_of(record: VideoRecord, kind: KeyKind) -> str | None:
    """What a row about a video has as its key, of this kind."""
    if kind == "video_id":
        return str(record.video_id)
    if kind == "video":
        return record.path
    return record.study if kind == "study" else record.patient
