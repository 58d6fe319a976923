"""The sheet of an audit: what a person fills in, and how it is read back from a spreadsheet program."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from echosearch.cohort.audit import FINDING, Audit, Judgement, Verdict, audited_members, score_name
from echosearch.cohort.cohort import Cohort, Member
from echosearch.errors import BadLabels, BadOption
from echosearch.outputs import Output
from echosearch.tables import Table, read_table, safe_cell, unsafe_cell, write_csv

_WORDS: Final[dict[str, Verdict]] = {
    "yes": "yes", "y": "yes", "true": "yes", "1": "yes",
    "no": "no", "n": "no", "false": "no", "0": "no",
    "unclear": "unclear",
}  # fmt: skip
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def write_sheet(output: Output, cohort: Cohort, audit: Audit, with_patients: bool = True) -> None:
    """The sheet to fill in: one row for each unit with its measures, then verdict, note and `finding.TASK`, all empty.

    UTF-8 with a byte order mark, by which spreadsheet programs know it. BadOption where the
    audit is of another cohort, units would not be told apart when read back, or level patient is asked to hide
    patients. BackendError where the file cannot be written.
    """
    members = audited_members(cohort, audit)
    _Units(audit)
    if not with_patients and cohort.definition.level == "patient":
        raise BadOption(f"the units of cohort {cohort.name} are patients, so its sheet cannot leave them out")
    columns, rows = _sheet(cohort, [members[unit] for unit in audit.units], audit.stamp, with_patients)
    text = io.StringIO(newline="")
    write_csv(text, columns, rows)
    with output.writing() as file:
        file.write(text.getvalue().encode("utf-8-sig"))


def _sheet(
    cohort: Cohort, members: Sequence[Member], stamp: str, with_patients: bool
) -> tuple[list[str], list[dict[str, object]]]:
    measures = [name for measure in cohort.measures for name in dict.fromkeys((measure.name, score_name(measure)))]
    tasks = dict.fromkeys(measure.task_name for measure in cohort.measures)
    about = ["audit", "unit", "study", *(["patient"] if with_patients else []), "acquired_at", "video_ids"]
    assumed = {"p_and_yes": "; ".join(cohort.assumptions)} if cohort.assumptions else {}
    columns = [*about, *measures, *assumed, "verdict", "note", *(FINDING + task for task in tasks)]
    rows: list[dict[str, object]] = [
        {
            "audit": stamp,
            "unit": member.unit,
            "study": member.study,
            "patient": member.patient,
            "acquired_at": member.acquired_at,
            "video_ids": " ".join(map(str, member.video_ids)),
        }
        | assumed
        | {name: member.values.get(name) for name in measures}
        for member in members
    ]
    return columns, rows


def read_judgements(path: Path, audit: Audit) -> dict[str, Judgement]:
    """What was judged, by unit, in the order of the sample, from a sheet that `write_sheet` wrote.

    Rows and columns may have been moved, left out or added, and cells may have lost the apostrophe of `safe_cell` or
    the zeros of a number. A row without a verdict was not judged. Verdicts are yes, no and unclear in any case, also y,
    n, true, false, 1, 0. BadLabels says what cannot be used, and in which line.
    """
    table = read_table(path, "judgements", "audit,unit,verdict")
    columns = _columns(table)
    units = _Units(audit)
    read: dict[str, Judgement | None] = {}
    for line, cells in table.rows:
        where = f"{table.file}, line {line}: "
        row = dict(zip(table.header, cells, strict=True))
        if (stamp := row[columns["audit"]]) != audit.stamp:
            raise BadLabels(
                f"{where}the row is of audit {stamp!r}, and judgements of {audit.stamp!r} are read; name the audit "
                "(--audit), or, if this is its sheet all the same, write its name into the column"
            )
        unit = units.find(where, row[columns["unit"]], read)
        judgement = _judgement(where, unit, row, columns)
        read[unit] = _same(where, unit, read.get(unit), judgement)
    judged = {unit: judgement for unit in audit.units if (judgement := read.get(unit)) is not None}
    if not judged:
        raise BadLabels(f"{table.file} has no judgement: no cell of its column {columns['verdict']!r} is filled in")
    return judged


def _columns(table: Table) -> dict[str, str]:
    """The file's column for each of audit, unit, verdict and, where they are there, note and `finding.NAME`."""
    columns = {}
    for name in ("audit", "unit", "verdict", "note"):
        if (column := table.named(name)) is not None:
            columns[name] = column
        elif name != "note":
            there = ", ".join(filter(None, table.header))
            raise BadLabels(f"{table.file} has no column {name!r}, so it is no sheet of an audit; it has {there}")
    return columns | {column: column for column in table.header if column.casefold().startswith(FINDING)}


class _Units:
    """The units of a sample, found again by what a spreadsheet program may have made of their cells."""

    def __init__(self, audit: Audit) -> None:
        """BadOption where two units differ in blanks or an apostrophe only."""
        self._label = audit.label
        self._unit_of: dict[str, str] = {}
        self._alike: dict[str, list[str]] = {}
        for unit in audit.units:
            written = safe_cell(unit)
            for cell in (written, written.removeprefix("'")):
                if (other := self._unit_of.setdefault(_plain(unsafe_cell(cell.strip())), unit)) != unit:
                    raise BadOption(
                        f"the units {other!r} and {unit!r} of audit {audit.label} cannot be told apart in a "
                        "spreadsheet; leave one of them out of the cohort"
                    )
            self._alike.setdefault(_as_number(unit), []).append(unit)

    def find(self, where: str, cell: str, earlier: Iterable[str]) -> str:
        """The unit that a cell names. BadLabels where none or several could be meant; `earlier` rows had these."""
        number = self._alike.get(_as_number(cell), [])
        unit = self._unit_of.get(_plain(cell)) or (number[0] if len(number) == 1 else None)
        if unit is None:
            raise BadLabels(
                f"{where}{cell!r} is not a unit of audit {self._label}; a spreadsheet program changes long numbers and "
                "dates, unless it reads the column as text"
            )
        if unit in earlier and len(number) > 1:
            raise BadLabels(
                f"{where}{cell!r} comes twice, and a spreadsheet program writes {' and '.join(number)} alike, so it "
                "is not sure which is meant; let it read the column unit as text"
            )
        return unit


def _plain(text: str) -> str:
    """Blanks and line ends as one blank each: they do not survive every program."""
    return " ".join(text.split())


def _as_number(text: str) -> str:
    """A text that is a number as a spreadsheet program writes it: 007 as 7, 12.10 as 12.1; another as it is."""
    return f"{float(text):.15g}" if _NUMBER.fullmatch(text) else _plain(text)


def _judgement(where: str, unit: str, row: Mapping[str, str], columns: Mapping[str, str]) -> Judgement | None:
    cell = row[columns["verdict"]]
    findings = {
        name[len(FINDING) :]: row[name] for name in columns if name.casefold().startswith(FINDING) and row[name]
    }
    if not cell:
        if findings:
            name = next(iter(findings))
            raise BadLabels(f"{where}{unit!r} has {FINDING}{name} and no verdict; write yes, no or unclear")
        return None
    if (verdict := _WORDS.get(cell.casefold())) is None:
        raise BadLabels(f"{where}{cell!r} is no verdict, which is yes, no or unclear (or empty: not judged)")
    return Judgement(verdict, findings, row[columns["note"]] if "note" in columns else "")


def _same(where: str, unit: str, earlier: Judgement | None, later: Judgement | None) -> Judgement | None:
    """What two rows of a unit say. BadLabels where they disagree; notes may."""
    if earlier is None or later is None:
        return earlier or later
    if (earlier.verdict, earlier.findings) != (later.verdict, later.findings):
        raise BadLabels(
            f"{where}{unit!r} is judged twice, and differently: {_in_words(earlier)}, and then {_in_words(later)}"
        )
    return earlier


def _in_words(judgement: Judgement) -> str:
    return " ".join([judgement.verdict, *(f"{name}={text}" for name, text in judgement.findings.items())])
