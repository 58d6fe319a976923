"""From the text of filters to criteria whose names are known, and to the videos that meet them. Knows no cohort.

A filter is read with the vocabulary of an index. What its names stand for is looked up, and everything that makes an
answer doubtful is said: scores that are missing, views that are not known, texts that no video has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadFilter
from echosearch.filters import (
    All,
    Between,
    Compare,
    Condition,
    KnownName,
    Name,
    OneOf,
    atoms,
    conjuncts,
    is_above,
    parse_filter,
    qualified,
    resolve,
)
from echosearch.index import VIEW, Snapshot
from echosearch.learning import AnyTask
from echosearch.search.measures import DOMAINS, Measured, by_study, domain, measure
from echosearch.search.result import Filtering
from echosearch.search.vocabulary import DOMAIN, Parts, Source, Vocabulary, task_of
from echosearch.tasks import Aggregate
from echosearch.types import YES, shows

Ids = npt.NDArray[np.int64]

_MOST_DOUBTS: Final = 5
"""So many texts of one condition are named that no video has."""


@dataclass(frozen=True, slots=True, eq=False)
class Criteria:
    """Criteria whose names are known: the conditions, what each name is, and the columns of attributes."""

    conditions: tuple[Condition, ...]
    names: Mapping[Name, KnownName]
    attributes: Mapping[str, int]
    measures: Mapping[Parts, Measured]
    domains: Mapping[int, str | None] | None = None

    def columns(self, studies: Mapping[int, str | None] | None = None) -> dict[Parts, tuple[Ids, Sequence[Any]]]:
        """Measures as the catalog takes them; with `studies`, each task's score is that of the study."""
        found: dict[Parts, tuple[Ids, Sequence[Any]]] = {}
        for parts, measured in self.measures.items():
            chosen = measured if studies is None else by_study(measured, studies)
            found[parts] = (chosen.ids, chosen.values.tolist())
        if self.domains is not None:
            found[DOMAIN] = np.array(list(self.domains), np.int64), list(self.domains.values())
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """The live videos of which a filter is true, how many are left out and why, and whether it asks tasks."""

    ids: Ids
    no: int
    unknown: int
    notes: tuple[str, ...]
    by_scores: bool = False

    @property
    def sentence(self) -> str:
        """What is left, and why the others are out."""
        return f"filter: {len(self.ids)} videos; no: {self.no}, unknown (a value is missing): {self.unknown}"

    def summary(self, where: Sequence[str]) -> Filtering:
        """As it stands in an answer."""
        return Filtering(tuple(where), len(self.ids), self.no, self.unknown)


def matching(snapshot: Snapshot, vocabulary: Vocabulary, where: Sequence[str]) -> Filtered:
    """The videos of one moment of the index of which all conditions are true. BadFilter says what is wrong."""
    criteria, notes = read_criteria(snapshot, vocabulary, where)
    both = criteria.conditions[0] if len(criteria.conditions) == 1 else All(criteria.conditions)
    found = snapshot.catalog.conditions.matching(both, criteria.names, criteria.attributes, criteria.columns())
    return Filtered(found.ids, found.no, found.unknown, tuple(notes), bool(criteria.measures))


def read_criteria(
    snapshot: Snapshot,
    vocabulary: Vocabulary,
    where: Sequence[str],
    aggregates: Mapping[str, Aggregate] | None = None,
) -> tuple[Criteria, list[str]]:
    """Conditions with all that their names stand for, and what is to be said of them. BadFilter says what is wrong.

    Parts that are joined by AND are criteria of their own, in the order in which they were written.
    """
    known = vocabulary.known()
    written = [part for text in where for part in conjuncts(parse_filter(text))]
    found = {name: is_ for each in written for name, is_ in resolve(each, known).items()}
    conditions = tuple(qualified(each, found) for each in written)
    names = {Name(is_.parts, name.position): is_ for name, is_ in found.items()}
    attributes = vocabulary.attribute_numbers()
    notes = _doubts(snapshot, conditions, names, attributes)
    measures, about_measures = _measures(snapshot, vocabulary, names, aggregates or {})
    notes += about_measures
    asked = {is_.parts for is_ in names.values()}
    if VIEW in asked and (count := snapshot.catalog.counts.predicted()):
        model = snapshot.description.model
        notes.append(f"the view of {count} videos is predicted by {model}, and not in the manifest")
    domains = _domains(snapshot, vocabulary) if DOMAIN in asked else None
    if domains is not None and (unknown := list(domains.values()).count(None)):
        notes.append(f"of {unknown} videos the view is not known, so neither is the domain (--all-views)")
    return Criteria(conditions, names, attributes, measures, domains), list(dict.fromkeys(notes))


def tasks_named(vocabulary: Vocabulary, where: Sequence[str]) -> list[AnyTask]:
    """The tasks whose scores conditions ask for, each once."""
    known = vocabulary.known()
    found: dict[str, AnyTask] = {}
    for name in (name for text in where for name in resolve(parse_filter(text), known).values()):
        task = task_of(name.parts, vocabulary.tasks.values())
        if name.parts[0] == "calibration":
            task = next(each.task for each in vocabulary.calibrations if each.name == name.parts[1])
        if task is not None and task in vocabulary.tasks:
            found[task] = vocabulary.tasks[task]
    return list(found.values())


def _measures(
    snapshot: Snapshot,
    vocabulary: Vocabulary,
    names: Mapping[Name, KnownName],
    aggregates: Mapping[str, Aggregate],
) -> tuple[dict[Parts, Measured], list[str]]:
    """The scores behind names of tasks, and what is to be said of them. BadFilter where there are none."""
    sources: dict[Parts, tuple[Name, Source]] = {}
    for name, known in names.items():
        if known.parts[0] in ("task", "probe", "calibration"):
            sources.setdefault(known.parts, (name, vocabulary.source(name, known.parts, aggregates)))
    notes = [source.calibration.assumption for _, source in sources.values() if source.calibration is not None]
    measures = {}
    for parts, (name, source) in sources.items():
        task = source.task.name
        measured = measure(snapshot, source, vocabulary.key_of(source.task), vocabulary.all_views)
        if measured is None:
            raise BadFilter(
                f"the filter, character {name.position}: {task} was never swept over this index; "
                f"sweep it (echosearch sweep {task}), or add --sweep-missing"
            )
        if len(measured.unscored):
            notes.append(
                f"{len(measured.unscored)} videos have no score of {task} yet, so it is unknown for them, and for "
                "their studies (--sweep-missing)"
            )
        if measured.unseen:
            notes.append(
                f"of {measured.unseen} videos it is not known whether their view shows {task}, so it is unknown for "
                "them (--all-views counts them)"
            )
        measures[parts] = measured
    return measures, notes


def _domains(snapshot: Snapshot, vocabulary: Vocabulary) -> dict[int, str | None]:
    preset = snapshot.description.standing.preset
    return {
        record.video_id: domain(record, preset, vocabulary.all_views) for record in snapshot.catalog.videos.records()
    }


def _doubts(
    snapshot: Snapshot, criteria: Sequence[Condition], known: Mapping[Name, KnownName], attributes: Mapping[str, int]
) -> list[str]:
    """What is asked that no video can be: ranges from high to low, texts that none has or all write otherwise."""
    found = []
    for atom in dict.fromkeys(atom for criterion in criteria for atom in atoms(criterion)):
        match atom:
            case Between(low=low, high=high) if is_above(low, high, known[atom.name].type):
                found.append(f"{atom} is true of no value, as the lower end comes first")
            case Compare(operator="=" | "!=", value=str(value)):
                found += _doubt(snapshot, known[atom.name], attributes, [value])
            case OneOf(values=values):
                found += _doubt(
                    snapshot, known[atom.name], attributes, [value for value in values if isinstance(value, str)]
                )
    return found


def _doubt(snapshot: Snapshot, known: KnownName, attributes: Mapping[str, int], texts: Sequence[str]) -> list[str]:
    if known.parts == DOMAIN:
        among = f", which is {', '.join(DOMAINS)}"
        return [f"no video has {text!r} in {known}{among}" for text in texts if text not in DOMAINS]
    if known.type != "text" or known.parts[0] not in ("video", "attr"):
        return []
    if known.parts == VIEW:
        views = snapshot.catalog.counts.views()
        texts = [text for text in texts if (shows([text], views) != YES).all()]
    found = [
        f"no video has {text!r} in {known}" + "; there is " * bool(there) + ", ".join(map(repr, there))
        for text, there in snapshot.catalog.conditions.spellings(known, attributes, texts).items()
    ]
    more = len(found) - _MOST_DOUBTS
    return found if more <= 0 else [*found[:_MOST_DOUBTS], f"nor {more} other texts"]
