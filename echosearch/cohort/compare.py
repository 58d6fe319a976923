"""What two cohorts have in common, and why a selection made again differs from the one that was kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from echosearch.cohort.cohort import Cohort, Measure, Member
from echosearch.errors import BadOption
from echosearch.filters import names, parse_filter
from echosearch.index import PURGED, Snapshot
from echosearch.learning import AnyTask, Calibration, Probe
from echosearch.search import DOMAIN_BY, Example, Source, Step, Vocabulary
from echosearch.tasks import Aggregate, task_from_dict
from echosearch.types import Answer, plain


@dataclass(frozen=True, slots=True)
class Difference(Answer):
    """Members of one cohort only, of both, of the other only; and what differs in how they were made."""

    first: str
    second: str
    only_first: tuple[str, ...]
    both: tuple[str, ...]
    only_second: tuple[str, ...]
    differs: dict[str, tuple[Any, Any]]
    """What of the definitions and of their provenance is not the same: name -> (first, second)."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The same definition on today's index: who came and who went, each with why."""

    before: Cohort
    now: Cohort
    stayed: tuple[str, ...]
    came: dict[str, str]
    went: dict[str, str]
    moved: dict[str, str]
    """Patients that stayed with another index study."""

    def answer(self) -> RerunAnswer:
        """What there is to say of it, without the cohorts themselves."""
        return RerunAnswer(
            cohort=self.before.name,
            generations=(self.before.generation, self.now.generation),
            stayed=len(self.stayed),
            came=self.came,
            went=self.went,
            moved=self.moved,
            steps=self.now.steps,
            notes=self.now.notes,
        )


@dataclass(frozen=True, slots=True)
class RerunAnswer(Answer):
    """A `Rerun` in JSON: `generations` of before and of now, `stayed` is how many; steps and notes of now."""

    cohort: str
    generations: tuple[int, int]
    stayed: int
    came: dict[str, str]
    went: dict[str, str]
    moved: dict[str, str]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]


_MADE: tuple[str, ...] = ("model", "recipe", "frames_dtype", "generation", "version")


def diff(first: Cohort, second: Cohort) -> Difference:
    """Compare members and definitions. BadOption where the units are not of one kind."""
    if first.definition.level != second.definition.level:
        raise BadOption(
            f"{first.name} holds {first.definition.level} units and {second.name} {second.definition.level} units, so "
            "their members cannot be compared"
        )
    one = {member.unit for member in first.members}
    other = {member.unit for member in second.members}
    differing = {
        name: (value, asdict(second.definition)[name])
        for name, value in asdict(first.definition).items()
        if value != asdict(second.definition)[name]
    }
    differing |= {name: (getattr(first, name), getattr(second, name)) for name in _MADE}
    thresholds = [
        {each.name: (each.content_id, each.threshold, each.origin) for each in c.measures} for c in (first, second)
    ]
    for name in sorted(thresholds[0].keys() & thresholds[1].keys()):
        differing[name] = (thresholds[0][name], thresholds[1][name])
    return Difference(
        first.name,
        second.name,
        tuple(sorted(one - other)),
        tuple(sorted(one & other)),
        tuple(sorted(other - one)),
        {name: pair for name, pair in differing.items() if pair[0] != pair[1]},
    )


def followed(cohort: Cohort, now: Mapping[int, int]) -> tuple[Cohort, list[str]]:
    """A cohort by the ids that its videos have `now` (old -> new), and a sentence where some were embedded again."""
    is_video = cohort.definition.level == "video"
    members = []
    for member in cohort.members:
        ids = tuple(now.get(id_, id_) for id_ in member.video_ids)
        members.append(replace(member, unit=str(ids[0]) if is_video else member.unit, video_ids=ids))
    anew = len({id_ for member in cohort.members for id_ in member.video_ids} & now.keys())
    note = f"{anew} videos of the cohort were embedded again since, and have other ids and scores now"
    like, unlike = (
        tuple(_followed(each, now) for each in side) for side in (cohort.definition.like, cohort.definition.unlike)
    )
    definition = replace(cohort.definition, like=like, unlike=unlike)
    question = cohort.question and definition.asked
    followed = replace(cohort, members=tuple(members), definition=definition, question=question)
    return followed, [note] if anew else []


def _followed(example: int | Example, now: Mapping[int, int]) -> int | Example:
    """The same example by the id that its video has `now`."""
    if isinstance(example, int):
        return now.get(example, example)
    assert isinstance(example.video, int)  # cohorts have no files
    return replace(example, video=now.get(example.video, example.video))


def check_repeatable(cohort: Cohort) -> None:
    """BadOption where the data of members was purged, so that a cohort cannot be made again."""
    if cohort.purged or PURGED in json.dumps(plain(cohort.definition)):
        raise BadOption(
            f"cohort {cohort.name} cannot be rerun: data of {cohort.purged} members was purged from this index"
        )


def rerun(snapshot: Snapshot, before: Cohort, now: Cohort, reasons: Mapping[str, str]) -> Rerun:
    """Why members came and went: `reasons` by unit as today's selection left them out."""
    videos = snapshot.catalog.videos
    live, added = set(snapshot.rows.ids.tolist()), videos.added_since(before.generation)
    patients: set[str] = set(*videos.columns("patient")) - {None}
    if any(each.name.startswith(DOMAIN_BY) for each in before.measures):
        now = replace(now, notes=(*now.notes, "the domain follows from file and view, and no longer from tasks"))
    then = {member.unit: member for member in before.members}
    today = {member.unit: member for member in now.members}
    went = {unit: _why_gone(before, then[unit], reasons, live, patients) for unit in sorted(then.keys() - today.keys())}
    came = {unit: _why_new(today[unit], added) for unit in sorted(today.keys() - then.keys())}
    moved = {
        unit: f"{then[unit].study} before, {today[unit].study} now"
        for unit in sorted(then.keys() & today.keys())
        if then[unit].study != today[unit].study
    }
    return Rerun(before, now, tuple(sorted(then.keys() & today.keys())), came, went, moved)


def _why_gone(before: Cohort, member: Member, reasons: Mapping[str, str], live: Set[int], patients: Set[str]) -> str:
    gone = [video_id for video_id in member.video_ids if video_id not in live]
    lost = f"; {len(gone)} of its {len(member.video_ids)} videos are no longer in the index" if gone else ""
    if len(gone) == len(member.video_ids):
        return "none of its videos is in the index any more"
    unit = member.study if before.definition.level == "patient" else member.unit
    if before.definition.level == "patient" and member.patient not in patients:
        return f"no video has this patient any more{lost}"
    return f"{reasons.get(unit or '', 'its videos belong to another unit now')}{lost}"


def _why_new(member: Member, added: Set[int]) -> str:
    new = sum(video_id in added for video_id in member.video_ids)
    if new == len(member.video_ids):
        return "new in the index"
    if new:
        return f"{new} of its {len(member.video_ids)} videos are new in the index"
    return "in the index before: its metadata, its scores or other units have changed since"


def pinned(vocabulary: Vocabulary, cohort: Cohort) -> Vocabulary:
    """Names as they were when the cohort was made: with its own wording of tasks, its probes and calibrations."""
    tasks, sources = dict(vocabulary.tasks), dict(vocabulary.pinned)
    calibrations = {each.name: each for each in vocabulary.calibrations}
    for each in cohort.measures:
        if each.name.startswith(DOMAIN_BY):
            continue
        task = task_of_measure(each)
        tasks[task.name] = task
        made = None
        if each.calibration is not None:
            made = Calibration.from_json(json.dumps(each.calibration), "the cohort's calibration")
            calibrations.setdefault(made.name, made)
        parts = names(parse_filter(f"{each.name} IS NULL"))[0].parts
        sources[parts] = Source(parts, task, each.kind, each.column, made, cast(Aggregate, each.aggregate))
    return replace(
        vocabulary,
        tasks=tasks,
        calibrations=tuple(calibrations.values()),
        pinned=sources,
        all_views=cohort.all_views,
    )


def task_of_measure(measure: Measure) -> AnyTask:
    """The task, or the probe, that a cohort was made with."""
    if measure.task.get("mode") == "probe":
        return Probe.from_json(json.dumps(measure.task))
    return task_from_dict(measure.task)
