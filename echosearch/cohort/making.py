"""From a selection to a cohort that says all of itself: where scores come from, margins, table one, distributions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean, stdev
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from echosearch.cohort.cohort import Cohort, Definition, Distribution, Measure, Member, Summary, TableRow
from echosearch.errors import BadOption, nearest
from echosearch.filters import All, Between, Compare, Condition, Either, Flag, Name, Not, atoms
from echosearch.index import Snapshot
from echosearch.search import (
    DOMAIN,
    Criteria,
    Measured,
    Parts,
    Ranked,
    Selection,
    Source,
    Unit,
    Vocabulary,
    by_study,
    read_criteria,
    select,
)
from echosearch.tasks import AGGREGATES, NOT_VALIDATED, Aggregate
from echosearch.types import VideoRecord, in_words, view_name, with_study_keys

_BINS: Final = 40
_MOST_VALUES: Final = 12
"""An attribute with more different texts may name people, so its texts are only counted."""


def make(
    snapshot: Snapshot,
    vocabulary: Vocabulary,
    definition: Definition,
    made_by: tuple[str, str],
    ranking: Ranked | None = None,
    notes: Sequence[str] = (),
    criteria: Sequence[str] | None = None,
) -> tuple[Cohort, Selection]:
    """The cohort of one moment of an index, without a name, and the selection behind it.

    `made_by` are the index's path and this program's version. `notes` are said of it besides its own. `criteria` are
    the conditions as they were understood when the definition was first applied, if it was. BadFilter and BadOption
    say what is wrong with it.
    """
    where = definition.where if criteria is None else criteria
    aggregates = _aggregates(definition, vocabulary)
    asked, own_notes = read_criteria(snapshot, vocabulary, where, aggregates)
    if unused := aggregates.keys() - {each.source.task.name for each in asked.measures.values()}:
        raise BadOption(f"no criterion asks {', '.join(sorted(unused))}, so there is nothing to aggregate")
    selection = select(snapshot, definition.units, asked, ranking)
    if definition.level != "video" and not definition.same_video:
        own_notes += [
            f"{each.source.name}: the threshold was learnt on videos, and is applied to one score a study "
            f"({each.source.aggregate})"
            for each in asked.measures.values()
            if each.source.calibration is not None
        ]
        asked = _studied(asked, with_study_keys(snapshot.catalog.videos.records())[0])
    bounds = _bounds_of(asked)
    index, version = made_by
    description = snapshot.description
    preset = description.standing.preset
    cohort = Cohort(
        name="",
        definition=definition,
        criteria=tuple(map(str, asked.conditions)),
        measures=_measures_of(asked, bounds),
        steps=selection.steps,
        members=_members_of(selection, asked, bounds, definition.level),
        table_one=_table_one(selection, [each.name for each in vocabulary.attributes]),
        distributions=_distributions_of(selection, asked, bounds),
        index=index,
        model=description.model,
        domain=preset.domain if preset is not None else "not said; ask the model's authors",
        recipe=description.recipe.id,
        frames_dtype=description.frames_dtype,
        generation=snapshot.generation,
        version=version,
        created_at=now(),
        notes=(*notes, *own_notes, *selection.notes),
        all_views=vocabulary.all_views,
        question=definition.asked,
    )
    return cohort, selection


def now() -> str:
    """The time of day, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _aggregates(definition: Definition, vocabulary: Vocabulary) -> dict[str, Aggregate]:
    for task, rule in definition.aggregates:
        if task not in vocabulary.tasks:
            raise BadOption(f"there is no task {task!r} to aggregate; {nearest(task, vocabulary.tasks)}")
        if rule not in AGGREGATES:
            raise BadOption(f"the videos of a study become one score by {', '.join(AGGREGATES)}, not {rule!r}")
    return {task: cast(Aggregate, rule) for task, rule in definition.aggregates}


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A number to which a criterion compares the score of a source; `below` says that lower scores are in."""

    score: float
    below: bool
    origin: str


def _bounds_of(criteria: Criteria) -> dict[Parts, list[Bound]]:
    """For each measure the numbers that decide about it, in the order of the criteria."""
    found: dict[Parts, list[Bound]] = {parts: [] for parts in criteria.measures}
    for criterion in criteria.conditions:
        for leaf, denied in _with_sign(criterion, False):
            known = criteria.names.get(leaf.name)
            if known is None or known.parts not in found:
                continue
            source = criteria.measures[known.parts].source
            found[known.parts] += _bounds(leaf, denied, source)
    return found


def _with_sign(condition: Condition, denied: bool) -> Iterable[tuple[Any, bool]]:
    """The leaves, each with whether an odd number of NOTs stands before it."""
    if isinstance(condition, Not):
        yield from _with_sign(condition.condition, not denied)
    elif isinstance(condition, All | Either):
        for part in condition.conditions:
            yield from _with_sign(part, denied)
    else:
        yield condition, denied


def _bounds(leaf: Condition, denied: bool, source: Source) -> list[Bound]:
    if source.kind == "yes":
        assert source.calibration is not None
        made = source.calibration
        origin = f"calibration {made.name} ({made.rule_in_words} on {made.labels}, made {made.created_at[:10]})"
        return [Bound(made.threshold, denied, origin)] if isinstance(leaf, Flag) else []
    if isinstance(leaf, Compare) and leaf.operator not in ("=", "!="):
        numbers = [(float(leaf.value), (leaf.operator in ("<", "<=")) != denied)]
    elif isinstance(leaf, Between):
        numbers = [(float(leaf.low), denied), (float(leaf.high), not denied)]
    else:
        return []
    return [Bound(number, below, "the filter") for number, below in numbers]


def _measures_of(criteria: Criteria, bounds: Mapping[Parts, Sequence[Bound]]) -> tuple[Measure, ...]:
    """What every score was, whole: prompts, task, calibration, threshold and its origin."""
    return tuple(_measure(measured.source, bounds[parts]) for parts, measured in criteria.measures.items())


def _measure(source: Source, bounds: Sequence[Bound]) -> Measure:
    task = source.task
    threshold, origin = _threshold(bounds)
    return Measure(
        name=source.name,
        kind=source.kind,
        column=source.column,
        task_name=task.name,
        content_id=task.id,
        form="exact",
        aggregate=source.aggregate,
        views=task.views,
        prompts=tuple(prompt for group in task.groups for prompt in group),
        task=json.loads(task.to_json()),
        calibration=json.loads(source.calibration.to_json()) if source.calibration is not None else None,
        threshold=threshold,
        below=threshold is not None and bounds[0].below,
        origin=origin,
        unit=task.rule.unit,
        validated=task.validated or NOT_VALIDATED,
    )


def _threshold(bounds: Sequence[Bound]) -> tuple[float | None, str]:
    """The one number that decides, with its origin; where several do, none of them is *the* threshold."""
    different = list(dict.fromkeys((bound.score, bound.below, bound.origin) for bound in bounds))
    if not different:
        return None, "none: it is not compared with a number"
    if len(different) == 1:
        return different[0][0], different[0][2]
    several = ", ".join(f"{'below' if below else 'above'} {score:.6g} ({origin})" for score, below, origin in different)
    return None, f"several: {several}"


# Members.


def _members_of(
    selection: Selection, criteria: Criteria, bounds: Mapping[Parts, Sequence[Bound]], level: str
) -> tuple[Member, ...]:
    """The members with the values by which they were chosen, and how near they are to being left out."""
    scores = {
        parts: _by_unit(measured, (*selection.members, *selection.others), bounds[parts])
        for parts, measured in criteria.measures.items()
    }
    spreads = {parts: _spread(of.values()) for parts, of in scores.items()}
    used = _fields_of(criteria)
    members, domain_of = [], criteria.domains or {}
    for unit, score in zip(selection.members, selection.scores, strict=True):
        values: dict[str, float | str | None] = {name: _field(unit, parts, domain_of) for name, parts in used.items()}
        margins = []
        for parts, measured in criteria.measures.items():
            found = scores[parts].get(unit.name)
            values[measured.source.name] = _shown(measured.source, found)
            if measured.source.kind == "yes":
                values[f"{measured.source.name} (score)"] = found
            if found is None or not spreads[parts]:
                continue
            shown = found if measured.source.kind != "p" else _probability(measured.source, found)
            spread = spreads[parts] if measured.source.kind != "p" else 1.0
            margins += [abs(shown - bound.score) / spread for bound in bounds[parts]]
        members.append(
            Member(
                unit=(unit.patient or "") if level == "patient" else unit.name,
                patient=unit.patient,
                study=unit.study,
                acquired_at=unit.acquired_at,
                video_ids=unit.video_ids,
                values=values,
                score=score,
                margin=min(margins, default=None),
            )
        )
    return tuple(members)


def _fields_of(criteria: Criteria) -> dict[str, Parts]:
    """The fields and attributes that the criteria name, as they are to be called."""
    parts = [criteria.names[leaf.name].parts for criterion in criteria.conditions for leaf in atoms(criterion)]
    return {
        str(Name(each, 1)): each for each in parts if each not in criteria.measures and each[0] in ("video", "attr")
    }


def _field(unit: Unit, parts: Parts, domain_of: Mapping[int, str | None]) -> float | str | None:
    """The one value of a unit's videos, or several joined by `; `."""
    known = list(
        dict.fromkeys(value for record in unit.records if (value := _of_record(record, parts, domain_of)) is not None)
    )
    if not known:
        return None
    return known[0] if len(known) == 1 else "; ".join(map(str, known))


def _of_record(record: VideoRecord, parts: Parts, domain_of: Mapping[int, str | None]) -> float | str | None:
    space, name = parts
    if space == "attr":
        return record.attributes.get(name)
    if parts == DOMAIN:
        return domain_of.get(record.video_id)
    if name == "view":
        return in_words(record)
    if name == "duration_seconds":
        return record.num_frames / record.fps if record.fps else None
    value: float | str | None = getattr(record, name)
    return value


def _by_unit(measured: Measured, units: Sequence[Unit], bounds: Sequence[Bound]) -> dict[str, float]:
    """Of each unit that has one, its score; where its videos have several, that which is farthest in.

    Videos of a study share one score, unless one video has to meet all criteria by itself: then the best one decides.
    """
    best = min if bounds and bounds[0].below else max
    score_of = dict(zip(measured.ids.tolist(), measured.scores.tolist(), strict=True))
    found = {}
    for unit in units:
        scores = [score_of[video_id] for video_id in unit.video_ids if video_id in score_of]
        if scores:
            found[unit.name] = best(scores)
    return found


def _spread(values: Iterable[float]) -> float:
    scores = list(values)
    return stdev(scores) if len(scores) > 1 else 0.0


def _shown(source: Source, score: float | None) -> float | str | None:
    if score is None:
        return None
    if source.kind == "yes":
        assert source.calibration is not None
        return "yes" if score >= source.calibration.threshold else "no"
    return _probability(source, score) if source.kind == "p" else score


def _probability(source: Source, score: float) -> float:
    assert source.calibration is not None
    return float(source.calibration.probability(np.array([score]))[0])


# What was included beside what was excluded.


def _table_one(selection: Selection, attributes: Sequence[str]) -> tuple[TableRow, ...]:
    """Number of videos, view, year and each attribute, of members and of all other units."""
    rows: list[tuple[str, Any]] = [
        ("videos of the unit", lambda unit: len(unit.records)),
        ("view", lambda unit: [view_name(record.seen_view) or None for record in unit.records]),
        ("year", lambda unit: None if unit.acquired_at is None else int(unit.acquired_at[:4])),
    ]
    rows += [(f"attr.{name}", _attribute(name)) for name in attributes]
    found = []
    for name, read in rows:
        included, excluded = _read(selection.members, read), _read(selection.others, read)
        values = {value for _, value in [*included, *excluded] if value is not None}
        named = len(values) > _MOST_VALUES
        is_flag = values <= {0, 1}
        found.append(TableRow(name, _summary(included, named, is_flag), _summary(excluded, named, is_flag)))
    return tuple(row for row in found if row.included.known or row.excluded.known)


def _attribute(name: str) -> Any:
    def read(unit: Unit) -> Any:
        known = [record.attributes[name] for record in unit.records if record.attributes.get(name) is not None]
        if not known:
            return None
        numbers = [value for value in known if isinstance(value, int | float)]
        return fmean(numbers) if len(numbers) == len(known) else known[0]

    return read


def _read(units: Sequence[Unit], read: Any) -> list[tuple[str, Any]]:
    """(unit, value) for each value of each unit; a unit without any has None once."""
    found: list[tuple[str, Any]] = []
    for unit in units:
        value = read(unit)
        values = sorted({each for each in value if each is not None}) if isinstance(value, list) else [value]
        found += [(unit.name, each) for each in values or [None]]
    return found


def _summary(values: Sequence[tuple[str, Any]], named: bool, is_flag: bool) -> Summary:
    known = [value for _, value in values if value is not None]
    units = {name for name, value in values if value is not None}
    missing = len({name for name, _ in values} - units)
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    counts: dict[str, int] = {}
    if known and len(numbers) < len(known):
        tally = Counter(map(str, known))
        counts = {} if named else dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))
        return Summary(len(units), missing, None, None, counts)
    if numbers and is_flag:
        counts = {"1": int(sum(numbers)), "0": len(numbers) - int(sum(numbers))}
    mean = fmean(numbers) if numbers else None
    return Summary(len(units), missing, mean, stdev(numbers) if len(numbers) > 1 else None, counts)


def _distributions_of(
    selection: Selection, criteria: Criteria, bounds: Mapping[Parts, Sequence[Bound]]
) -> tuple[Distribution, ...]:
    """How the scores behind each measure lie among members and among all others."""
    found = []
    for parts, measured in criteria.measures.items():
        source = measured.source
        included = _scores(measured, selection.members, bounds[parts])
        excluded = _scores(measured, selection.others, bounds[parts])
        if source.kind == "p":
            assert source.calibration is not None
            included, excluded = (source.calibration.probability(each) for each in (included, excluded))
        both = np.concatenate([included, excluded])
        if not len(both):
            continue
        edges = np.histogram_bin_edges(both, _BINS)
        threshold, origin = _threshold(bounds[parts])
        found.append(
            Distribution(
                measure=source.name,
                title=_title(source),
                edges=tuple(edges.tolist()),
                included=tuple(np.histogram(included, edges)[0].tolist()),
                excluded=tuple(np.histogram(excluded, edges)[0].tolist()),
                threshold=threshold,
                origin=origin,
            )
        )
    return tuple(found)


def _title(source: Source) -> str:
    unit = f" ({source.task.rule.unit})" if source.task.rule.unit else ""
    if source.kind == "p":
        return f"{source.task.name}: probability"
    if source.calibration is not None:
        return f"{source.task.name}: {source.calibration.scale}"
    return f"{source.task.name}: {source.column}{unit}"


def _scores(measured: Measured, units: Sequence[Unit], bounds: Sequence[Bound]) -> npt.NDArray[np.float64]:
    return np.array(sorted(_by_unit(measured, units, bounds).values()), np.float64)


def _studied(criteria: Criteria, records: Iterable[VideoRecord]) -> Criteria:
    """The same criteria with each task's score that of the study."""
    of = {record.video_id: record.study for record in records}
    return replace(criteria, measures={parts: by_study(each, of) for parts, each in criteria.measures.items()})
