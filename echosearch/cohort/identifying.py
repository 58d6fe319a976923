"""What in a cohort may say who somebody is, and the cohort without it. Knows names, values and criteria; no index.

It goes by names ("mrn", "PatientName", "dob") and by what values look like. What a person writes in free text, in a
phrase or about a cohort, it cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from echosearch.cohort.cohort import Cohort, Summary, TableRow
from echosearch.errors import BadFilter, BadOption
from echosearch.filters import All, Between, Compare, Condition, Either, Like, Name, Not, OneOf, atoms, parse_filter

MASK: Final = "..."
IDS: Final = frozenset({"study", "patient", "video_id"})
"""Fields of every video by which an index knows people."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_OF_PERSONS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        mrn name names surname forename lastname firstname patient patients subject person study accession id ids uid
        uuid guid dob birth birthday birthdate born address street city zip postcode postal phone telephone tel mobile
        fax ssn nhs insurance email mail initials contact relative physician doctor operator sonographer path file
        filename
        """,
    )
)
_LOOKS: Final = re.compile(r"[^@\s]+@[^@\s]+\.\w+|.*\d{5}.*|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
"""An e-mail address, five digits or more in a row, a date."""
_NEARLY_ALL: Final = 0.8
_LONG: Final = 1e5


def identifying(cohort: Cohort, shown: Collection[str] = ()) -> frozenset[str]:
    """The last parts of those names in a cohort that may identify; none of `shown`, as `attr.site` or `site`.

    BadOption where a name to show is in no criterion and not in table one.
    """
    rows = {row.attribute.removeprefix("attr."): row for row in cohort.table_one if row.attribute.startswith("attr.")}
    asked = {name.parts[-1] for text in (*cohort.definition.where, *cohort.criteria) for name in _names(text)}
    wanted = {each.removeprefix("attr.") for each in shown}
    if unknown := sorted(wanted - rows.keys() - asked):
        raise BadOption(f"the cohort has no column {unknown[0]!r} to show; it has {', '.join(sorted({*rows, *asked}))}")
    by_values = {name for name, row in rows.items() if _has_identifiers(row)}
    return frozenset(({name for name in {*rows, *asked} if _is_of_persons(name)} | by_values) - wanted)


def _is_of_persons(name: str) -> bool:
    return name in IDS or not _OF_PERSONS.isdisjoint(word.lower() for word in _WORD.findall(name))


def _has_identifiers(row: TableRow) -> bool:
    """Whether values look like identifiers, or nearly every unit has one of its own."""
    values, known = {*row.included.counts, *row.excluded.counts}, row.included.known + row.excluded.known
    means = [abs(mean) for mean in (row.included.mean, row.excluded.mean) if mean is not None]
    if means:
        return max(means) >= _LONG
    return len(values) > max(2, _NEARLY_ALL * known - 1) or any(_LOOKS.fullmatch(value) for value in values)


def without_identifiers(cohort: Cohort, hidden: Collection[str]) -> Cohort:
    """A cohort whose criteria, notes, table one and members' values say nothing of the columns `hidden`."""
    masked = {each: _masked_text(each, hidden) for each in (*cohort.definition.where, *cohort.criteria)}
    whose = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(hidden)) or "(?!)")
    is_masked = any(old != new for old, new in masked.items())

    def of_step(name: str) -> str:
        for old in sorted(masked, key=len, reverse=True):
            name = name.replace(old, masked[old])
        return name

    return replace(
        cohort,
        definition=replace(cohort.definition, where=tuple(masked[text] for text in cohort.definition.where)),
        criteria=tuple(masked[text] for text in cohort.criteria),
        steps=tuple(replace(step, name=of_step(step.name)) for step in cohort.steps),
        notes=tuple(
            f"a note on {found[0]} is left out" if is_masked and (found := whose.search(note)) else note
            for note in cohort.notes
        ),
        table_one=tuple(
            replace(row, included=_emptied(row.included), excluded=_emptied(row.excluded))
            if row.attribute.removeprefix("attr.") in hidden
            else row
            for row in cohort.table_one
        ),
        members=tuple(
            replace(member, values={name: value for name, value in member.values.items() if not _is_one(name, hidden)})
            for member in cohort.members
        ),
    )


def _emptied(summary: Summary) -> Summary:
    return replace(summary, mean=None, sd=None, counts={})


def _is_one(name: str, hidden: Collection[str]) -> bool:
    """Whether a measure, such as `attr.mrn` or `attr."Accession Number"`, is of one of the hidden columns."""
    return name.partition(".")[2].strip('"') in hidden


def _names(text: str) -> list[Name]:
    try:
        return [atom.name for atom in atoms(parse_filter(text))]
    except BadFilter:
        return []


def _masked_text(text: str, hidden: Collection[str]) -> str:
    try:
        condition = parse_filter(text)
    except BadFilter:
        return text
    masked = _masked(condition, hidden)
    return text if masked == condition else str(masked)


def _masked(condition: Condition, hidden: Collection[str]) -> Condition:
    match condition:
        case Not(inner):
            return Not(_masked(inner, hidden))
        case All(parts):
            return All(tuple(_masked(part, hidden) for part in parts))
        case Either(parts):
            return Either(tuple(_masked(part, hidden) for part in parts))
    if condition.name.parts[-1] not in hidden:
        return condition
    match condition:
        case Compare():
            return replace(condition, value=MASK)
        case Between():
            return replace(condition, low=MASK, high=MASK)
        case OneOf():
            return replace(condition, values=(MASK,))
        case Like():
            return replace(condition, pattern=MASK)
    return condition
