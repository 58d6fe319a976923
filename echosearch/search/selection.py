"""From criteria to units: criteria decided by SQL, units counted at each step, ranked. Knows no model and no printing.

At level video a criterion is decided of each video. At level study and patient every comparison in it is decided of a
study: true where it is true of any of the study's videos, and a task has one score a study. With `same_video` one
video has to meet all criteria by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from echosearch.filters import Condition, atoms, combine
from echosearch.index import Snapshot
from echosearch.search.criteria import Criteria
from echosearch.search.result import Level, Per, Step
from echosearch.types import VideoRecord, people, with_study_keys

Pick = Literal["first", "latest", "best"]
Ids = npt.NDArray[np.int64]
Truth = npt.NDArray[np.int8]
"""-1 no, 0 unknown, 1 yes."""

NO, UNKNOWN, YES = -1, 0, 1


@dataclass(frozen=True, slots=True)
class Units:
    """What is selected: each video, study or patient, and which of several is picked where one per study or patient."""

    level: Level
    per: Per | None = None
    pick: Pick = "first"
    same_video: bool = False

    @classmethod
    def best(cls, level: Level, per: Per | None) -> Units:
        """Those of a search: the most similar one stands for several."""
        return cls(level, per, "best" if level == "patient" or per is not None else "first")


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """By what units are ranked: `similarity` gives the scores (n,) of videos (n,); a unit has that of its best video.

    Units with one of the `examples` are out, and videos `left_out` stand for no unit. `top` of them are kept; `words`
    say what they are similar to.
    """

    similarity: Callable[[Ids], npt.NDArray[np.float32]]
    words: str
    examples: Set[int] = frozenset()
    left_out: Set[int] = frozenset()
    top: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A video or a study that may be a member: its videos by ascending id, and what they have in common.

    `study` is as it is keyed, `person` the number of whom it is of.
    """

    name: str
    study: str | None
    patient: str | None
    acquired_at: str | None
    records: tuple[VideoRecord, ...]
    person: int = 0

    @property
    def video_ids(self) -> tuple[int, ...]:
        """Ids of its videos, ascending."""
        return tuple(record.video_id for record in self.records)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Who is in: the units; where they are ranked, score and id of each one's best video; everyone else."""

    members: tuple[Unit, ...]
    scores: tuple[float | None, ...]
    best: tuple[int | None, ...]
    others: tuple[Unit, ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    reasons: Mapping[str, str]
    """Of each unit that is left out, by name: at which step, and whether no or unknown."""


def select(snapshot: Snapshot, what: Units, criteria: Criteria, ranked: Ranked | None = None) -> Selection:
    """The units that meet all criteria, ranked where that is asked for, in the order of their rank or name."""
    records, notes = with_study_keys(snapshot.catalog.videos.records())
    return _Counting(what, records, notes).run(snapshot, criteria, ranked)


class _Counting:
    """The units that are left, and what each step took away."""

    def __init__(self, what: Units, records: Sequence[VideoRecord], notes: list[str]) -> None:
        self.what = what
        self.records = records
        self.steps: list[Step] = []
        self.notes = notes
        self.reasons: dict[str, str] = {}
        self.by_study = what.level != "video"
        self.meeting: set[int] | None = None
        self.units, homeless = _units(records, self.by_study)
        self.every = list(self.units)
        self._count(f"all {'studies' if self.by_study else 'videos'} of the index", 0, len(homeless))
        if homeless:
            self.notes.append(f"{len(homeless)} videos have no study in the catalog, so they are left out")

    def run(self, snapshot: Snapshot, criteria: Criteria, ranked: Ranked | None) -> Selection:
        if self.by_study:
            self._note_conflicts()
        if "patient" in (self.what.level, self.what.per):
            self._keep("the patient is known", [YES if unit.patient else UNKNOWN for unit in self.units])
        if self.what.per == "study":
            self._keep("the study is known", [YES if unit.study else UNKNOWN for unit in self.units])
        for criterion, truths in self._decided(snapshot, criteria):
            self._keep(criterion, [truths[unit.name] for unit in self.units])
        self._hold_on_to_meeting()
        best = {} if ranked is None else self._best(ranked)
        scores = {name: score for name, (score, _) in best.items()}
        self._pick_one(scores)
        if ranked is not None and ranked.top is not None:
            self._keep_top(ranked.top, ranked.words, scores)
        kept = {unit.name for unit in self.units}
        members = sorted(self.units, key=lambda unit: (-scores.get(unit.name, 0.0), _natural(unit.name)))
        return Selection(
            members=tuple(members),
            scores=tuple(scores.get(unit.name) for unit in members),
            best=tuple(best[unit.name][1] if unit.name in best else None for unit in members),
            others=tuple(unit for unit in self.every if unit.name not in kept),
            steps=tuple(self.steps),
            notes=tuple(self.notes),
            reasons=self.reasons,
        )

    # Criteria.

    def _decided(self, snapshot: Snapshot, criteria: Criteria) -> list[tuple[str, dict[str, int]]]:
        """For each criterion in words what is true of each unit."""
        if not criteria.conditions:
            return []
        of = {record.video_id: record.study for record in self.records}
        if not self.by_study:
            ids, truths = snapshot.catalog.conditions.decisions(
                criteria.conditions, criteria.names, criteria.attributes, criteria.columns()
            )
            names = [str(video_id) for video_id in ids.tolist()]
            return [
                (str(each), dict(zip(names, truths[:, place].tolist(), strict=True)))
                for place, each in enumerate(criteria.conditions)
            ]
        if self.what.same_video:
            ids, truths = snapshot.catalog.conditions.decisions(
                criteria.conditions, criteria.names, criteria.attributes, criteria.columns()
            )
            together = np.minimum.accumulate(truths, axis=1)
            self.meeting = set(ids[together[:, -1] == YES].tolist())
            return [
                (f"{each} (of one video with the above)" if place else str(each), _any(ids, together[:, place], of))
                for place, each in enumerate(criteria.conditions)
            ]
        leaves = list(dict.fromkeys(leaf for each in criteria.conditions for leaf in atoms(each)))
        ids, truths = snapshot.catalog.conditions.decisions(
            leaves, criteria.names, criteria.attributes, criteria.columns(of)
        )
        names = [unit.name for unit in self.every]
        decided: dict[Condition, Truth] = {}
        for place, leaf in enumerate(leaves):
            any_of = _any(ids, truths[:, place], of)
            decided[leaf] = np.array([any_of[name] for name in names], np.int8)
        return [
            (str(each), dict(zip(names, combine(each, decided.__getitem__).tolist(), strict=True)))
            for each in criteria.conditions
        ]

    def _hold_on_to_meeting(self) -> None:
        """Of each study hold on to the videos that meet all criteria by themselves, where that was asked for."""
        if self.meeting is None:
            return
        meeting = self.meeting
        self.units = [
            replace(unit, records=tuple(record for record in unit.records if record.video_id in meeting))
            for unit in self.units
        ]

    def _keep(self, name: str, truths: Sequence[int]) -> None:
        """Go on with the units of which it is true."""
        for unit, truth in zip(self.units, truths, strict=True):
            if truth != YES:
                self.reasons[unit.name] = f"{name}: {'no' if truth == NO else 'unknown'}"
        self.units = [unit for unit, truth in zip(self.units, truths, strict=True) if truth == YES]
        self._count(name, sum(truth == NO for truth in truths), sum(truth == UNKNOWN for truth in truths))

    def _count(self, name: str, no: int, unknown: int) -> None:
        self.steps.append(
            Step(
                name=name,
                kept=len(self.units),
                no=no,
                unknown=unknown,
                videos=sum(len(unit.records) for unit in self.units),
                studies=len({unit.study for unit in self.units} - {None}),
                patients=len({unit.patient for unit in self.units} - {None}),
            )
        )

    def _note_conflicts(self) -> None:
        conflicts = sum(
            len({record.patient for record in unit.records if record.patient is not None}) > 1 for unit in self.units
        )
        if conflicts:
            self.notes.append(
                f"{conflicts} studies have videos of more than one patient in the catalog; the first known one counts"
            )

    # Ranking, one of each, the best.

    def _best(self, ranked: Ranked) -> dict[str, tuple[float, int]]:
        """Of each unit the score and the id of its most similar video; units of an example, or without videos, go."""
        its = self._of_examples(ranked.examples)
        if ranked.examples:
            word = "the example itself" if len(ranked.examples) == 1 else "an example itself"
            self._keep(f"not {word}", [NO if unit.name in its else YES for unit in self.units])
        if ranked.left_out:
            left = [not ranked.left_out >= set(unit.video_ids) for unit in self.units]
            self._keep("not what belongs to an example", [YES if one else NO for one in left])
        ids = np.array(sorted({id_ for unit in self.units for id_ in unit.video_ids} - ranked.left_out), np.int64)
        score_of = dict(zip(ids.tolist(), ranked.similarity(ids).tolist(), strict=True))
        return {
            unit.name: max(((score_of[id_], id_) for id_ in unit.video_ids if id_ in score_of), key=_first_of_best)
            for unit in self.units
        }

    def _of_examples(self, examples: Set[int]) -> set[str]:
        """Units of the examples: of their patients or studies, where one of each is kept."""
        own = [unit for unit in self.every if not examples.isdisjoint(unit.video_ids)]
        if "patient" in (self.what.level, self.what.per):
            people_ = {unit.person for unit in own}
            return {unit.name for unit in self.every if unit.person in people_}
        if self.what.per == "study":
            studies = {unit.study for unit in own} - {None}
            return {unit.name for unit in own} | {unit.name for unit in self.every if unit.study in studies}
        return {unit.name for unit in own}

    def _pick_one(self, scores: Mapping[str, float]) -> None:
        level, per, pick = self.what.level, self.what.per, self.what.pick
        if level != "patient" and per is None:
            return
        whose = "study" if per == "study" else "patient"
        unit_word = "study" if self.by_study else "video"
        chosen: dict[str | int | None, Unit] = {}
        for unit in sorted(self.units, key=_order(pick, scores)):
            chosen.setdefault(unit.study if whose == "study" else unit.person, unit)
        if pick != "best":
            self._note_dates()
        kept = {unit.name for unit in chosen.values()}
        index = "index " if level == "patient" else ""
        self._keep(
            f"one {index}{unit_word} per {whose} ({pick})", [YES if unit.name in kept else NO for unit in self.units]
        )

    def _note_dates(self) -> None:
        dates = [unit.acquired_at for unit in self.units]
        if undated := sum(moment(date) is None for date in dates):
            self.notes.append(f"{undated} of {len(dates)} have no date, and count as the last to be picked")
        without = sum(moment(date) is not None and datetime.fromisoformat(date or "").tzinfo is None for date in dates)
        if 0 < without < len(dates) - undated:
            self.notes.append(f"{without} of {len(dates)} have a time without its zone, and are taken as UTC")

    def _keep_top(self, top: int, words: str, scores: Mapping[str, float]) -> None:
        ranked = sorted(self.units, key=lambda unit: (-scores[unit.name], _natural(unit.name)))
        kept = {unit.name for unit in ranked[:top]}
        self._keep(f"the {top} most similar to {words}", [YES if unit.name in kept else NO for unit in self.units])


def _first_of_best(scored: tuple[float, int]) -> tuple[float, int]:
    score, video_id = scored
    return score, -video_id


def _any(ids: Ids, truths: Truth, studies: Mapping[int, str | None]) -> dict[str, int]:
    """Of each study: yes where any of its videos is a yes, else unknown where any is unknown, else no."""
    found: dict[str, int] = {}
    for video_id, truth in zip(ids.tolist(), truths.tolist(), strict=True):
        study = studies.get(video_id)
        if study is not None:
            found[study] = max(found.get(study, NO), truth)
    return found


def _units(records: Sequence[VideoRecord], by_study: bool) -> tuple[list[Unit], list[VideoRecord]]:
    """Videos one by one, or by study, in natural order; and the videos that have no study."""
    codes = people(records, np.array([record.video_id for record in records], np.int64)).codes.tolist()
    person_of = {record.video_id: code for record, code in zip(records, codes, strict=True)}
    if not by_study:
        return [_of_records(str(record.video_id), [record], person_of) for record in records], []
    members: dict[str, list[VideoRecord]] = {}
    homeless = []
    for record in records:
        if record.study is None:
            homeless.append(record)
        else:
            members.setdefault(record.study, []).append(record)
    return [_of_records(name, members[name], person_of) for name in sorted(members, key=_natural)], homeless


def _of_records(name: str, records: Sequence[VideoRecord], person_of: Mapping[int, int]) -> Unit:
    """What videos have in common: the first known patient, the earliest date."""
    return Unit(
        name=name,
        study=next((record.study for record in records if record.study is not None), None),
        patient=next((record.patient for record in records if record.patient is not None), None),
        acquired_at=min((record.acquired_at for record in records), key=_undated_last, default=None),
        records=tuple(records),
        person=person_of[records[0].video_id],
    )


def _order(pick: str, scores: Mapping[str, float]) -> Callable[[Unit], tuple[Any, ...]]:
    """The first in this order is picked; what has no date comes last, ties go by name."""
    if pick == "best":
        return lambda unit: (-scores[unit.name], _natural(unit.name))
    sign = 1 if pick == "first" else -1

    def by_date(unit: Unit) -> tuple[Any, ...]:
        when = moment(unit.acquired_at)
        return (when is None, sign * (when or 0.0), _natural(unit.name))

    return by_date


def moment(date: str | None) -> float | None:
    """Seconds since 1970 of a date of the catalog, by which dates of several zones are ordered; without a zone UTC."""
    try:
        told = datetime.fromisoformat(date or "")
    except ValueError:
        return None
    return (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp()


def _undated_last(date: str | None) -> tuple[bool, float]:
    when = moment(date)
    return when is None, when or 0.0


def _natural(name: str) -> tuple[int, int, str]:
    """Whole numbers by size, before other names."""
    return (0, int(name), name) if name.isascii() and name.isdecimal() and len(name) <= 18 else (1, 0, name)
