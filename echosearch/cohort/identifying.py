"""What in a cohort may say who somebody is, and the cohort without it. Knows names, values and criteria; no index.

It goes by names ("mrn", "PatientName", "dob") and by what values look like. What a person writes in free text, in a
phrase or about a cohort, it cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import PureWindowsPath
from typing import Any, Final

from echosearch.cohort.cohort import Cohort, Summary, TableRow
from echosearch.errors import BadFilter, BadOption
from echosearch.filters import All, Between, Compare, Condition, Either, Like, Name, Not, OneOf, atoms, parse_filter

MASK: Final = "..."
_LEFT_OUT: Final = "(left out)"
IDS: Final = frozenset({"study", "patient", "video_id"})
"""Fields of every video by which an index knows people."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_OF_PERSONS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        mrn name names surname forename lastname firstname patient patients subject person study accession id ids uid
        uuid guid dob birth birthday birthdate born address street city zip postcode postal phone telephone tel mobile
        pid fax ssn nhs insurance email mail initials contact physician doctor operator sonographer path file
        filename
        """,
    )
)
_COMPOUND: Final = re.compile(
    r"(?:patient|subject|study|accession|phone|mrn|ssn|dob)(?:s|id|no|nr|num|number|key|code)|[a-z]*(?:name|birth|phone)"
)
_LOOKS: Final = re.compile(
    r"[^@\s]+@[^@\s]+\.\w+"  # an e-mail address
    r"|.*\d{5}.*|(?!(?:19|20)\d\d\s?-\s?(?:19|20)\d\d$)\+?\(?\d(?:[\s()/.-]*\d){6,}"  # a number, a phone
    r"|\d{4}[-/.]\d\d?[-/.]\d\d?\b.*|\d{1,2}[-./ ](?:\d{1,2}|[A-Za-z]{3,9})[-./ ]\d{2,4}"  # a date
    r"|.*\^.*|[A-Z][\w'-]+,\s?[A-Z][\w'.\s-]*"  # a person's name, as in DICOM or in a list
    r"|(?:/|\\\\|[A-Za-z]:[\\/]).*|.*\.(?i:avi|mp4|dcm)"  # a path or file
)
_NEARLY_ALL: Final = 0.8
_LONG: Final = 1e5


def identifying(cohort: Cohort, show: Collection[str] = ()) -> frozenset[str]:
    """The last parts of those names in a cohort that may identify; none of those to `show`, as `attr.site` or `site`.

    BadOption where a name to show is in no criterion and not in table one.
    """
    rows = {row.attribute.removeprefix("attr."): row for row in cohort.table_one if row.attribute.startswith("attr.")}
    asked = {name.parts[-1] for text in (*cohort.definition.where, *cohort.criteria) for name in _names(text)}
    wanted = {each.removeprefix("attr.") for each in show}
    if unknown := sorted(wanted - rows.keys() - asked):
        raise BadOption(f"the cohort has no column {unknown[0]!r} to show; it has {', '.join(sorted({*rows, *asked}))}")
    by_values = {name.casefold() for name, row in rows.items() if _has_identifiers(row)}
    shown = {name.casefold() for name in wanted}
    return frozenset(
        name
        for name in {*rows, *asked}  # a criterion may write a column in another case
        if (_is_of_persons(name) or name.casefold() in by_values) and name.casefold() not in shown
    )


def _is_of_persons(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    return name in IDS or any(word in _OF_PERSONS or _COMPOUND.fullmatch(word) for word in words)


def _has_identifiers(row: TableRow) -> bool:
    """Whether values look like identifiers, or nearly every unit has one of its own, or they are too many to list."""
    values, known = {*row.included.counts, *row.excluded.counts}, row.included.known + row.excluded.known
    means = [abs(mean) for mean in (row.included.mean, row.excluded.mean) if mean is not None]
    if means:
        return max(means) >= _LONG
    return (
        not values or len(values) > max(2, _NEARLY_ALL * known - 1) or any(_LOOKS.fullmatch(value) for value in values)
    )


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
        definition=(
            definition := replace(cohort.definition, where=tuple(masked[text] for text in cohort.definition.where))
        ),
        question=cohort.question and definition.asked,
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


# Ids and paths.

_ABSOLUTE: Final = re.compile(r"(?:^|(?<=[:/]))(?:/|[A-Za-z]:[\\/]).*", re.DOTALL)
"""The path in the name of a model, as in `local-dir:/models/a` or `open_clip:ViT-B-32//models/a.pt`."""


def redacted(cohort: Cohort, with_ids: bool, with_paths: bool) -> Cohort:
    """The cohort without what was not asked for, in all but its members and the id of an example."""
    measures = tuple(
        replace(each, **_without({"task": each.task, "calibration": each.calibration}, with_ids, with_paths))
        for each in cohort.measures
    )
    cohort = replace(cohort, measures=measures)
    if not with_paths:
        cohort = replace(cohort, index=_LEFT_OUT, model=without_path(cohort.model))
    if not with_ids:
        cohort = replace(
            cohort,
            steps=tuple(replace(step, name=_without_examples(step.name, cohort)) for step in cohort.steps),
            notes=tuple(_without_examples(note, cohort) for note in cohort.notes),
            question=cohort.question and _without_examples(cohort.question, cohort),
        )
    return cohort


def _without_examples(text: str, cohort: Cohort) -> str:
    """A text in which the ids of a cohort's examples are left out, whichever they had when it was written."""
    if not (cohort.definition.like or cohort.definition.unlike):
        return text
    return re.sub(r"\b((?:video|example|like|id)\s+)#?\d+", rf"\1{_LEFT_OUT}", text)


def _without(values: Mapping[str, Any], with_ids: bool, with_paths: bool) -> dict[str, Any]:
    """A task or calibration without the content hashes of videos, and with no folder before a file or model."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            kept[key] = _without(value, with_ids, with_paths)
        elif key == "contents" and not with_ids:
            kept[key] = _LEFT_OUT
        elif key == "labels" and isinstance(value, str) and not with_paths:
            kept[key] = PureWindowsPath(value).name  # which knows the other kind of path as well
        elif key == "model" and isinstance(value, str) and not with_paths:
            kept[key] = without_path(value)
        else:
            kept[key] = value
    return kept


def without_path(model: str) -> str:
    """The name of a model without the path in it."""
    return _ABSOLUTE.sub(_LEFT_OUT, model)


def manifest_of(cohort: Cohort, with_ids: bool) -> dict[str, Any]:
    """The manifest of a cohort, as plain JSON values, without the id of an example unless `with_ids`."""
    manifest = cohort.manifest().to_dict()
    if not with_ids:
        manifest["definition"] |= {side: _LEFT_OUT for side in ("like", "unlike") if manifest["definition"][side]}
        manifest["question"] = manifest["question"] and _without_examples(manifest["question"], cohort)
        manifest["notes"] = [_without_examples(note, cohort) for note in manifest["notes"]]
    return manifest


def _numbers(names: Iterable[str | None]) -> dict[str | None, str]:
    return {name: str(place) for place, name in enumerate(dict.fromkeys(filter(None, names)), start=1)}


def nameless(cohort: Cohort) -> Cohort:
    """A cohort whose members, patients and studies are numbers, without dates, ids, paths and what may identify."""
    patients, studies = (_numbers(getattr(each, what) for each in cohort.members) for what in ("patient", "study"))
    cohort = redacted(without_identifiers(cohort, identifying(cohort)), with_ids=False, with_paths=False)
    members = (
        replace(
            member,
            unit=str(number),
            patient=patients.get(member.patient),
            study=studies.get(member.study),
            acquired_at=None,
            values={name: value for name, value in member.values.items() if name != "video.acquired_at"},
        )
        for number, member in enumerate(cohort.members, start=1)
    )
    return replace(cohort, members=tuple(members))
