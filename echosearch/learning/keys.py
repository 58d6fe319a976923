"""Tables whose rows each say one thing of a video, study or patient, and which videos a key names. Knows no catalog."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Generic, Literal, TypeVar, get_args

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


Value = TypeVar("Value", float, str)


@dataclass(frozen=True, slots=True)
class Row(Generic[Value]):
    """One row: the line of the file (from 1) that it ends on, the key as it stands there, and what it says."""

    line: int
    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class KeyedFile(Generic[Value]):
    """The rows of a CSV; `kind` says what its keys name, `empty` how many rows had nothing in the `column`.

    BadLabels where no row has anything, or one key has two different values.
    """

    file: Path
    sha256: str
    kind: KeyKind
    key_column: str
    column: str
    rows: tuple[Row[Value], ...]
    empty: int

    noun: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.rows:
            raise BadLabels(f"{self.file} has no {self.noun}: all {self.empty} cells of {self.column!r} are empty")
        first: dict[str, Row[Value]] = {}
        for row in self.rows:
            self.check_same(first.setdefault(row.key, row), row, row.key)

    def check_same(self, first: Row[Value], row: Row[Value], name: str) -> None:
        """BadLabels where two rows about what is called `name` differ."""
        if first.value != row.value:
            which = "" if isinstance(first.value, str) else f", {first.value:.9g} and {row.value:.9g}"
            lines = f"{self.file}: lines {first.line} and {row.line}"
            raise BadLabels(f"{lines} give {name} different {self.noun}s{which}")

    @property
    def repeated(self) -> int:
        """How many rows say again what an earlier one said."""
        return len(self.rows) - len({row.key for row in self.rows})

    def notes(self, repeated: int) -> list[str]:
        """What is to be said of rows that say nothing, or nothing new."""
        told = {f"have no {self.column} and are left out": self.empty, "repeat an earlier one": repeated}
        return [f"{count} rows of {self.file.name} {what}" for what, count in told.items() if count]

    def finder(self, records: Sequence[VideoRecord]) -> Callable[[str], Sequence[VideoRecord]]:
        """The videos that a key names, in the order of the records.

        A video is named by its id, or by its file as FileFinder finds it, seen from the folder of this file and from
        Videos/ in it.
        """
        if self.kind == "video":
            by_path = {Path(record.path): [record] for record in records}
            folder = media_path(self.file).parent
            files = FileFinder(by_path, [folder, folder / "Videos"])
            return lambda key: by_path[path] if (path := files.find(key)) is not None else []
        by_key: dict[str | None, list[VideoRecord]] = defaultdict(list)
        for record in records:
            by_key[_key_of(record, self.kind)].append(record)
        return lambda key: by_key.get(key, [])

    def nothing_fits(self, records: Sequence[VideoRecord]) -> BadLabels:
        """What to raise where no row fits a video: an example of the file beside one of the index."""
        known = next((told for record in records if (told := _key_of(record, self.kind)) is not None), None)
        there = f"no {self.kind}" if known is None else f"for example {known!r}"
        return BadLabels(
            f"no row of {self.file} fits a video of the index: the file has for example {self.rows[0].key!r} "
            f"(column {self.key_column}, taken as {self.kind}), the index {there}"
        )


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


def keyed_cells(table: Table, kind: KeyKind, key_column: str, column: str) -> list[tuple[int, str, str]]:
    """Line, key and cell of each row. BadLabels for a key that is empty or no id."""
    found = [(line, key, cell) for line, (key, cell) in table.cells(key_column, column)]
    for line, key, _ in found:
        if not key:
            raise BadLabels(f"{table.file}, line {line}: the {kind} is empty")
        if kind == "video_id" and not _ID.fullmatch(key):
            raise BadLabels(
                f"{table.file}, line {line}: {key!r} is no id of a video, which is a whole number from 1; "
                "if the column names files, say so: --key video_id=video"
            )
    return found


def named_column(table: Table, key_column: str, told: str, option: str, others: Sequence[str]) -> str:
    """The column that an option names. BadOption where there is none, or it is that of the keys."""
    column = table.named(told)
    if column is None or column == key_column:
        raise BadOption(f"{option} {told}: {table.file.name} has no such column; it has {', '.join(others)}")
    return column


def _key_of(record: VideoRecord, kind: KeyKind) -> str | None:
    """What a row about a video has as its key, of this kind."""
    if kind == "video_id":
        return str(record.video_id)
    if kind == "video":
        return record.path
    return record.study if kind == "study" else record.patient
