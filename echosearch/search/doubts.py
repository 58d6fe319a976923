"""What a filter asks that no video of an index can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from echosearch.filters import Between, Compare, Condition, KnownName, Name, OneOf, atoms, is_above
from echosearch.index import VIEW, Snapshot
from echosearch.search.measures import DOMAINS
from echosearch.search.vocabulary import DOMAIN
from echosearch.types import YES, shows

_MOST_DOUBTS: Final = 5
"""Texts of one condition that are told to be in no video."""


def doubts(
    snapshot: Snapshot, criteria: Sequence[Condition], known: Mapping[Name, KnownName], attributes: Mapping[str, int]
) -> list[str]:
    """What is asked that no video can be: ranges from high to low, texts that none has or all write otherwise."""
    told = []
    for atom in dict.fromkeys(atom for criterion in criteria for atom in atoms(criterion)):
        match atom:
            case Between(low=low, high=high) if is_above(low, high, known[atom.name].type):
                told.append(f"{atom} is true of no value, as the lower end comes first")
            case Compare(operator="=" | "!=", value=str(value)):
                told += _doubt(snapshot, known[atom.name], attributes, [value])
            case OneOf(values=values):
                told += _doubt(
                    snapshot, known[atom.name], attributes, [value for value in values if isinstance(value, str)]
                )
    return told


def _doubt(snapshot: Snapshot, known: KnownName, attributes: Mapping[str, int], texts: Sequence[str]) -> list[str]:
    if known.parts == DOMAIN:
        among = f", which is {', '.join(DOMAINS)}"
        return [f"no video has {text!r} in {known}{among}" for text in texts if text not in DOMAINS]
    if known.type != "text" or known.parts[0] not in ("video", "attr"):
        return []
    if known.parts == VIEW:
        views = snapshot.catalog.counts.views()
        texts = [text for text in texts if (shows([text], views) != YES).all()]
    told = [
        f"no video has {text!r} in {known}" + "; there is " * bool(there) + ", ".join(map(repr, there))
        for text, there in snapshot.catalog.conditions.spellings(known, attributes, texts).items()
    ]
    return told if len(told) <= _MOST_DOUBTS else [*told[:_MOST_DOUBTS], f"nor {len(told) - _MOST_DOUBTS} other texts"]
