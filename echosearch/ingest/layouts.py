"""Public data sets as they are unpacked: which CSV says what of which videos. Knows folders and columns, no index.

EchoNet-Dynamic    FileList.csv, Videos/                          apical four-chamber
EchoNet-Pediatric  A4C/ and PSAX/, each like EchoNet-Dynamic
EchoNet-LVH        MeasurementsList.csv, Batch1..4/               parasternal long axis
MIMIC-IV-ECHO      echo-record-list.csv, files/pNN/pSUBJECT/sSTUDY/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from echosearch.errors import BadManifest
from echosearch.index import AttributeType, AttributeValue
from echosearch.ingest.metadata import MetadataTable, read_metadata

_MEASURED = ("Calc", "CalcValue", "Frame", "X1", "X2", "Y1", "Y2")
"""Columns of EchoNet-LVH's list that differ between the rows of one video."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A data set that was recognised, and what its lists say."""

    name: str
    tables: tuple[MetadataTable, ...]


def recognise(folder: Path) -> Layout | None:
    """The data set that a folder is, if it is one of those above. BadManifest when its list cannot be read."""
    if _is_echonet(folder):
        view = folder.name if folder.name in ("A4C", "PSAX") else "A4C"
        return Layout("EchoNet", (_echonet(folder, view),))
    parts = [part for part in ("A4C", "PSAX") if _is_echonet(folder / part)]
    if parts:
        return Layout("EchoNet-Pediatric", tuple(_echonet(folder / part, part) for part in parts))
    if (folder / "MeasurementsList.csv").is_file():
        return Layout("EchoNet-LVH", (_echonet_lvh(folder / "MeasurementsList.csv"),))
    if (folder / "echo-record-list.csv").is_file():
        return Layout("MIMIC-IV-ECHO", (read_metadata(folder / "echo-record-list.csv"),))
    return None


def _is_echonet(folder: Path) -> bool:
    return (folder / "FileList.csv").is_file() and (folder / "Videos").is_dir()


def _echonet(folder: Path, view: str) -> MetadataTable:
    table = read_metadata(folder / "FileList.csv")
    return replace(
        table,
        # The list names files without their folder: Videos/ beside it, which the other half of a data set has too.
        rows=tuple(
            replace(row, path=f"Videos/{row.path}", metadata=replace(row.metadata, view=view)) for row in table.rows
        ),
        fields=table.fields | {"view"},
    )


def _echonet_lvh(file: Path) -> MetadataTable:
    """One row a video: each measurement is a column (the mean where there are several), constant columns stay."""
    table = read_metadata(file, {"HashedFileName": "path"})
    missing = [column for column in ("Calc", "CalcValue") if column not in table.types]
    if missing:
        raise BadManifest(f"{file} has no column {' and no column '.join(missing)}, as EchoNet-LVH's list has")
    rows_of: dict[str, list[dict[str, AttributeValue]]] = defaultdict(list)
    first: dict[str, Any] = {}
    for row in table.rows:
        rows_of[row.path].append(row.metadata.attributes)
        first.setdefault(row.path, row)
    measures = sorted({str(attributes["Calc"]) for rows in rows_of.values() for attributes in rows})
    constant: dict[str, AttributeType] = {
        name: type_
        for name, type_ in table.types.items()
        if name not in _MEASURED and all(len({row[name] for row in rows}) == 1 for rows in rows_of.values())
    }
    rows = []
    for path, measured in rows_of.items():
        attributes: dict[str, AttributeValue] = {name: measured[0][name] for name in constant}
        for measure in measures:
            attributes[measure] = _mean([row["CalcValue"] for row in measured if row["Calc"] == measure])
        rows.append(replace(first[path], metadata=replace(first[path].metadata, view="PLAX", attributes=attributes)))
    types = constant | dict.fromkeys(measures, "real")
    return replace(table, fields=table.fields | {"view"}, types=types, rows=tuple(rows))


def _mean(values: Sequence[AttributeValue]) -> float | None:
    numbers = [float(value) for value in values if value is not None]
    return fmean(numbers) if numbers else None
