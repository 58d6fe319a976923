"""A manifest CSV: what it says of which file, with typed attributes. Knows no index and no model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from echosearch.errors import BadManifest, BadOption
from echosearch.index import AttributeType, AttributeValue, MetadataChange, VideoMetadata
from echosearch.tables import MISSING, Table, read_table
from echosearch.types import VideoRecord
from echosearch.video import FileFinder, media_path

FIELDS: Final = ("path", "study", "patient", "view", "acquired_at")
"""What a column may be mapped to; every other column is an attribute."""

_USUAL_NAMES: Final = {
    "path": ("path", "file", "filename", "dicom_filepath"),
    "study": ("study", "study_id"),
    "patient": ("patient", "patient_id", "subject_id"),
    "view": ("view",),
    "acquired_at": ("acquired_at", "acquisition_datetime"),
}
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_EXACT: Final = 2**53
"""From here on a real number no longer tells one whole number from the next."""
_REAL: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]\d+)?|[-+]?\d*\.\d+[eE]\d+")
"""Programs write 1e+34 or 1.2e34; 12E34 is an id."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    metadata: VideoMetadata
    cells: Mapping[str, str]
    """Its attributes as they are written."""


@dataclass(frozen=True, slots=True)
class MetadataTable:
    """The rows of a manifest, which fields it has columns for, the type of each attribute, and `empty` columns."""

    file: Path
    fields: frozenset[str]
    types: dict[str, AttributeType]
    empty: frozenset[str]
    rows: tuple[_Row, ...]
    notes: tuple[str, ...] = ()

    def among(self, known: Mapping[str, AttributeType]) -> MetadataTable:
        """The same for an index with these attributes: where it has text, numbers stay as they are written."""
        texts = [name for name, type_ in self.types.items() if type_ != "text" and known.get(name) == "text"]
        if not texts:
            return self
        rows = []
        for row in self.rows:
            written = {name: _value(row.cells[name], "text") for name in texts}
            metadata = replace(row.metadata, attributes={**row.metadata.attributes, **written})
            rows.append(replace(row, metadata=metadata))
        return replace(self, types=self.types | dict.fromkeys(texts, "text"), rows=tuple(rows))

    def match(self, files: Sequence[Path], folders: Iterable[Path]) -> tuple[dict[Path, VideoMetadata], list[str]]:
        """What the manifest says of each of `files`, and warnings about rows and files that have no partner.

        A row's path may be relative to the manifest's folder or one of `folders` (see FileFinder). BadManifest when
        two rows say different things of a file.
        """
        finder = FileFinder(files, [self.file.parent, *folders])
        found: dict[Path, _Row] = {}
        unmatched: list[_Row] = []
        for row in self.rows:
            path = finder.find(row.path)
            if path is None:
                unmatched.append(row)
                continue
            before = found.setdefault(path, row)
            if before.metadata != row.metadata:
                raise BadManifest(f"{self.file}: lines {before.line} and {row.line} disagree about {path.name}")
        warnings = list(self.notes)
        if finder.cut:
            some = ", ".join(f"{end} for {told!r}" for told, end in list(finder.cut.items())[:3])
            warnings.append(
                f"{len(finder.cut)} paths of {self.file.name} do not exist here, and were matched by the end of the "
                f"path: {some}"
            )
        if unmatched:
            some = ", ".join(f"line {row.line} {row.path!r}" for row in unmatched[:3])
            warnings.append(f"{len(unmatched)} rows of {self.file.name} match no file, or several: {some}")
        if without := len(set(files) - found.keys()):
            warnings.append(f"{without} files have no row in {self.file.name}")
        return {path: row.metadata for path, row in found.items()}, warnings

    def fits_nothing(self, files: Sequence[Path]) -> BadManifest:
        """What to raise where no row fits a file: an example of both sides."""
        told = self.rows[0].path if self.rows else "no row"
        return BadManifest(
            f"no row of {self.file} matches a file: the manifest has for example {told!r}, the videos "
            f"{str(files[0])!r}; give another column (--map COLUMN=path), or the manifest of these videos"
        )

    def change(self, record: VideoRecord, told: VideoMetadata) -> MetadataChange | None:
        """What a row says otherwise than the catalog; an empty cell of a column that is there empties the value."""
        fields = {name: getattr(told, name) for name in self.fields if getattr(told, name) != getattr(record, name)}
        attributes: dict[str, AttributeValue] = {
            name: told.attributes[name] for name in self.types if record.attributes.get(name) != told.attributes[name]
        }
        attributes |= {name: None for name in self.empty if record.attributes.get(name) is not None}
        return MetadataChange(record.video_id, fields, attributes) if fields or attributes else None


Told = Mapping[Path, tuple[MetadataTable, VideoMetadata]]
"""What manifests say of files: which manifest, and what."""


def news(told: Told, videos: Iterable[tuple[Path, VideoRecord]]) -> list[MetadataChange]:
    """What manifests say otherwise than the catalog of videos that lie at some paths now."""
    changes = [told[path][0].change(record, told[path][1]) for path, record in videos if path in told]
    return [change for change in changes if change is not None]


def as_known(record: VideoRecord, change: MetadataChange | None) -> VideoMetadata:
    """What the catalog knows of a video, with what a manifest says otherwise."""
    fields = {name: getattr(record, name) for name in FIELDS[1:]}
    if change is None:
        return VideoMetadata(**fields, attributes=record.attributes)
    return VideoMetadata(**fields | change.fields, attributes=record.attributes | change.attributes)


def read_metadata(file: Path, column_map: Mapping[str, str] | None = None) -> MetadataTable:
    """Read a CSV with a header line (comma, semicolon or tab). `column_map` gives columns their fields.

    A column `attr.NAME`, as lists and exports of ours have it, is the attribute NAME.

    BadManifest says which line cannot be read, BadOption which mapping cannot be meant.
    """
    table = read_table(file, "manifests", "path,study,patient", BadManifest)
    columns = _columns(file, table.header, column_map or {})
    others = [column for column in table.header if column and column not in columns.values()]
    attributes = {column.removeprefix("attr.") or column: column for column in others}
    if len(attributes) < len(others):
        raise BadManifest(f"{file}: no column may come twice, as NAME and as attr.NAME")
    cells_of = {name: [(line, cell) for line, (cell,) in table.cells(attributes[name])] for name in attributes}
    types = {name: type_ for name in attributes if (type_ := _type_of([cell for _, cell in cells_of[name]]))}
    empty = frozenset(attributes) - types.keys()
    rows = tuple(
        _row(file, line, dict(zip(table.header, cells, strict=True)), columns, types, attributes)
        for line, cells in table.rows
    )
    notes = [note for name, type_ in types.items() if type_ == "text" and (note := _odd_cells(name, cells_of[name]))]
    notes += _unnamed(table)
    return MetadataTable(
        media_path(file),
        frozenset(columns) - {"path"},
        types,
        empty,
        rows,
        tuple(f"{file.name}: {each}" for each in notes),
    )


def _odd_cells(name: str, cells: Sequence[tuple[int, str]]) -> str | None:
    """What to say of a column that would hold numbers, were it not for some cells."""
    given = [(line, cell) for line, cell in cells if not _is_missing(cell)]
    odd = [(line, cell) for line, cell in given if not _is_number(cell)]
    odd = odd or [(line, cell) for line, cell in given if not _is_exact(cell)]
    if 2 * len(odd) > len(given):
        return None
    some = ", ".join(f"line {line} {cell!r}" for line, cell in odd[:3])
    return (
        f"column {name!r} is read as text: {len(odd)} of its {len(given)} values are not numbers that can be stored "
        f"exactly: {some}; to compare it as numbers, correct or empty these cells"
    )


def _unnamed(table: Table) -> list[str]:
    """What to say of columns without a name; those of row numbers, as programs write them, go without a word."""
    count = sum(
        any(cells[place] and not _INTEGER.fullmatch(cells[place]) for _, cells in table.rows)
        for place, name in enumerate(table.header)
        if not name
    )
    return [f"{count} columns have values but no name, and are left out"] if count else []


def _columns(file: Path, header: Sequence[str], column_map: Mapping[str, str]) -> dict[str, str]:
    """field -> column."""
    columns: dict[str, str] = {}
    for column, field in column_map.items():
        if column not in header:
            raise BadOption(f"--map {column}={field}: {file.name} has no column {column!r}; it has {', '.join(header)}")
        if field not in FIELDS:
            raise BadOption(f"--map {column}={field}: the fields are {', '.join(FIELDS)}")
        if field in columns:
            raise BadOption(f"--map gives {field} twice: {columns[field]} and {column}")
        columns[field] = column
    for field, names in _USUAL_NAMES.items():
        usual = [name for name in header if name.lower() in names and name not in columns.values()]
        if field not in columns and len(usual) > 1:
            raise BadManifest(
                f"{file}: {' and '.join(usual)} could both be {field}; say which: --map {usual[0]}={field}"
            )
        if field not in columns and usual:
            columns[field] = usual[0]
    if "path" not in columns:
        raise BadManifest(
            f"{file} has no column for the file's path (path, file or filename); name it: --map COLUMN=path"
        )
    return columns


def _row(
    file: Path,
    line: int,
    cells: Mapping[str, str],
    columns: Mapping[str, str],
    types: Mapping[str, AttributeType],
    column_of: Mapping[str, str],
) -> _Row:
    path = cells[columns["path"]]
    if not path:
        raise BadManifest(f"{file}, line {line}: the path is empty")
    fields = {field: _none_if_missing(cells[column]) for field, column in columns.items() if field != "path"}
    if (moment := fields.get("acquired_at")) is not None:
        try:
            fields["acquired_at"] = datetime.fromisoformat(moment).isoformat()
        except ValueError as error:
            raise BadManifest(
                f"{file}, line {line}: {moment!r} is no date such as 2019-05-31 or 2019-05-31 14:05"
            ) from error
    attributes = {name: _value(cells[column_of[name]], type_) for name, type_ in types.items()}
    written = {name: cells[column_of[name]] for name in types}
    return _Row(line, path, VideoMetadata(**fields, attributes=attributes), written)


def _type_of(cells: Sequence[str]) -> AttributeType | None:
    """The type that all values of a column have, or None where it has no value."""
    given = [cell for cell in cells if not _is_missing(cell)]
    if not given or all(cell.casefold() == "none" for cell in given):
        return None
    numbers = [cell for cell in given if cell.casefold() != "none"]
    if not all(map(_is_number, numbers)):
        return "text"
    if all(_INTEGER.fullmatch(cell) for cell in numbers):
        return "integer"
    return "real" if all(map(_is_exact, numbers)) else "text"


def _is_exact(cell: str) -> bool:
    return abs(float(cell)) < _EXACT or "e" in cell.lower()


def _is_number(cell: str) -> bool:
    """Whether a cell is a number that an index keeps as it stands; 007 and ids of 19 digits or more are names."""
    if re.match(r"[-+]?0\d", cell):
        return False
    if re.fullmatch(r"[-+]?\d+", cell):
        return _INTEGER.fullmatch(cell.removeprefix("+")) is not None
    return _REAL.fullmatch(cell) is not None and math.isfinite(float(cell))


def _value(cell: str, type_: AttributeType) -> AttributeValue:
    if _is_missing(cell) or (type_ != "text" and cell.casefold() == "none"):
        return None
    if type_ == "text":
        return cell
    return int(cell) if type_ == "integer" else float(cell)


def _is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING


def _none_if_missing(cell: str) -> str | None:
    return None if _is_missing(cell) or cell.casefold() == "none" else cell
