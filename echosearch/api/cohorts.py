"""The cohort side of an index: filters, selections that are kept, audits. Calls down; knows no printing.

cohorts = echosearch.open_index("indexes/default").cohorts
made = cohorts.create("low-ef", Definition(where=("task.ejection_fraction.value < 35",), level="patient"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from echosearch import __version__
from echosearch.api.zeroshot import ZeroShot
from echosearch.cohort import (
    Audit,
    AuditLabels,
    Cohort,
    Definition,
    Difference,
    ExportedCohort,
    Format,
    Rerun,
    Strategy,
    bounds_of,
    diff,
    distributions_of,
    draw,
    export,
    followed,
    labels,
    measures_of,
    members_of,
    pinned,
    read_judgements,
    rerun,
    studied,
    table_one,
    task_of_measure,
    write_sheet,
)
from echosearch.errors import BackendError, BadFilter, BadOption, UnknownCohort, nearest
from echosearch.filters import (
    All,
    Condition,
    Name,
    parse_filter,
    qualified,
    resolve,
)
from echosearch.index import PURGED, VIEW, Matches, Snapshot, Store
from echosearch.learning import AnyTask, kept
from echosearch.search import (
    DOMAIN,
    DOMAIN_BY,
    Criteria,
    Filtering,
    Parts,
    Query,
    Question,
    Ranked,
    Selection,
    Source,
    Units,
    Vocabulary,
    criteria_of,
    domain,
    doubts,
    measure,
    ranked,
    select,
    task_of,
)
from echosearch.tasks import AGGREGATES, Aggregate, known_tasks, stored
from echosearch.types import Hit, ProgressListener, VideoRecord, people, with_study_keys

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Vector = Callable[[Snapshot, Question], tuple[npt.NDArray[np.float32], list[str]]]
"""The one unit vector (D,) that stands for the terms of a question, and what is to be said of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """The live videos of which a filter is true, how many are left out and why, and whether it asks tasks."""

    ids: npt.NDArray[np.int64]
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


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Filters and cohorts of one index; made by `Index.cohorts`."""

    store: Store
    zeroshot: ZeroShot
    vector: Vector
    notes: Callable[[Snapshot], list[str]]

    # Filters.

    def matching(self, snapshot: Snapshot, where: Sequence[str]) -> Filtered:
        """The videos of one moment of the index of which all conditions are true. BadFilter says what is wrong."""
        criteria, notes = self._criteria(snapshot, self._vocabulary(snapshot), list(map(parse_filter, where)), {})
        both = criteria.conditions[0] if len(criteria.conditions) == 1 else All(criteria.conditions)
        found: Matches = snapshot.catalog.conditions.matching(
            both, criteria.names, criteria.attributes, criteria.columns()
        )
        return Filtered(found.ids, found.no, found.unknown, tuple(notes), bool(criteria.measures))

    def units(self, snapshot: Snapshot, question: Question, ranked: Ranked) -> tuple[Selection, list[str]]:
        """The studies, patients or videos that a question ranks, as a cohort has them, and what is to be said."""
        conditions = list(map(parse_filter, question.where))
        criteria, notes = self._criteria(snapshot, self._vocabulary(snapshot), conditions, {})
        found = select(snapshot, Units.best(question.level, question.per), criteria, ranked)
        return found, [*notes, *found.notes]

    def sweep_missing(
        self, where: Sequence[str], wait_seconds: float = 0.0, progress: ProgressListener | None = None
    ) -> list[str]:
        """Sweep the tasks that conditions name, where some videos have no score yet; gives their names."""
        with self.store.snapshot() as snapshot:
            vocabulary = self._vocabulary(snapshot)
            tasks = self._tasks_named(vocabulary, [parse_filter(text) for text in where])
        return self._sweep_unscored(tasks, wait_seconds, progress)

    def sweep_again(self, name: str, wait_seconds: float = 0.0, progress: ProgressListener | None = None) -> list[str]:
        """Sweep the tasks of a cohort as it has them, where some videos have no score yet; gives their names."""
        tasks = {each.name: each for each in map(task_of_measure, self.get(name).measures)}
        return self._sweep_unscored(list(tasks.values()), wait_seconds, progress)

    # Cohorts.

    def create(self, name: str, definition: Definition, about: str = "", wait_seconds: float = 0.0) -> Cohort:
        """Select, and keep the selection under a name that is free. BadFilter, BadOption say what is wrong."""
        self._check_free(name)
        return self.keep(replace(self.preview(definition), about=about), name, wait_seconds)

    def keep(self, cohort: Cohort, name: str, wait_seconds: float = 0.0) -> Cohort:
        """Keep a selection under a name that is free. BadOption where it is taken."""
        self._check_free(name)
        named = replace(cohort, name=name)
        with self.store.writer(wait_seconds) as writer:
            self._check_free(name)  # another process may have made one meanwhile
            with writer.transaction() as transaction:
                transaction.cohorts.add(name, named.to_json())
        return named

    def preview(self, definition: Definition) -> Cohort:
        """The cohort that a definition gives now, without a name and not kept."""
        with self.store.snapshot() as snapshot:
            conditions = [parse_filter(text) for text in definition.where]
            made, _ = self._made(snapshot, self._vocabulary(snapshot), definition, conditions)
        return made

    def names(self) -> list[str]:
        """The cohorts that are kept, oldest first."""
        with self.store.snapshot() as snapshot:
            return list(snapshot.catalog.cohorts.all())

    def all(self) -> list[Cohort]:
        """All that are kept, oldest first."""
        with self.store.snapshot() as snapshot:
            return [Cohort.from_json(content) for content in snapshot.catalog.cohorts.all().values()]

    def get(self, name: str) -> Cohort:
        """One cohort. UnknownCohort offers the nearest names."""
        with self.store.snapshot() as snapshot:
            content = snapshot.catalog.cohorts.content(name)
            if content is not None:
                return Cohort.from_json(content)
            known = list(snapshot.catalog.cohorts.all())
        there = nearest(name, known) if known else "there are none. Make one: echosearch cohort create NAME --where ..."
        raise UnknownCohort(f"there is no cohort {name!r} in this index; {there}")

    def delete(self, name: str, wait_seconds: float = 0.0) -> None:
        """Forget a cohort with its audits. UnknownCohort where there is none."""
        self.get(name)
        with self.store.writer(wait_seconds) as writer, writer.transaction() as transaction:
            transaction.cohorts.drop(name)

    def diff(self, first: str, second: str) -> Difference:
        """What two cohorts have in common, and how they differ."""
        return diff(self.get(first), self.get(second))

    def rerun(self, name: str) -> Rerun:
        """The definition of a cohort on today's index, with the prompts and thresholds that it was made with."""
        before = self.get(name)
        if before.purged or PURGED in json.dumps(before.definition.where):
            raise BadOption(
                f"cohort {name} cannot be rerun: data of {before.purged} members was purged from this index"
            )
        with self.store.snapshot() as snapshot:
            before, anew = followed(before, snapshot.catalog.videos.embedded_anew())
            vocabulary = pinned(self._vocabulary(snapshot), before)
            conditions = [parse_filter(text) for text in before.criteria]
            now, selection = self._made(snapshot, vocabulary, before.definition, conditions)
            if any(each.name.startswith(DOMAIN_BY) for each in before.measures):
                note = "the domain is told by file and view, and no longer by tasks"
                now = replace(now, notes=(*now.notes, note))
            return rerun(
                before,
                replace(now, name=name, about=before.about, notes=(*now.notes, *anew)),
                selection.reasons,
                set(snapshot.rows.ids.tolist()),
                snapshot.catalog.videos.added_since(before.generation),
                set(*snapshot.catalog.videos.columns("patient")) - {None},
            )

    def export(
        self,
        name: str,
        folder: Path,
        form: Format = "csv",
        views: Sequence[str] = (),
        label: str | None = None,
        named: bool = True,
    ) -> ExportedCohort:
        """Write a cohort and its manifest into a new folder; the same bytes each time while its videos stay.

        Unless `named`, numbers stand for people, and what may say who they are is left out.
        """
        cohort = self.get(name)
        with self.store.snapshot() as snapshot:
            if label is not None and label not in {each.name for each in snapshot.catalog.attributes.columns()}:
                raise BadOption(f"there is no attribute {label!r} in this index; `echosearch info` shows what there is")
            every, _ = with_study_keys(snapshot.catalog.videos.records())
            cohort, _ = followed(cohort, snapshot.catalog.videos.embedded_anew())
        codes = people(every, np.array([record.video_id for record in every], np.int64)).codes.tolist()
        records = {record.video_id: record for record in every}
        return export(cohort, records, dict(zip(records, codes, strict=True)), folder, form, views, label, named)

    def records(self, cohort: Cohort) -> dict[int, VideoRecord]:
        """The videos of a cohort, as far as they are still in the index, by the ids that they had in the cohort."""
        ids = {video_id for member in cohort.members for video_id in member.video_ids}
        with self.store.snapshot() as snapshot:
            now = {id_: id_ for id_ in ids} | {
                old: new for old, new in snapshot.catalog.videos.embedded_anew().items() if old in ids
            }
            found = {record.video_id: record for record in snapshot.catalog.videos.records(now.values())}
        return {old: found[new] for old, new in now.items() if new in found}

    # Audits.

    def sample(
        self, name: str, count: int, strategy: Strategy, sheet: Path, seed: int | None = None, wait_seconds: float = 0.0
    ) -> Audit:
        """Draw members to be judged, write the sheet, and keep the audit. `seed` is by default the cohort's.

        Both or neither: the number is taken, the sheet written and the audit kept under one lock.
        """
        cohort = self.get(name)
        with self.store.writer(wait_seconds) as writer:
            number = len(self.audits(name)) + 1
            chosen = cohort.definition.seed + number - 1 if seed is None else seed
            audit = Audit(
                number=number,
                cohort=name,
                strategy=strategy,
                seed=chosen,
                units=draw(cohort, count, strategy, chosen),
                population=len(cohort.members),
                created_at=_now(),
            )
            write_sheet(self.store.output(sheet, "the sheet", ".csv", None), cohort, audit)
            try:
                with writer.transaction() as transaction:
                    transaction.cohorts.put_audit(name, number, audit.to_json())
            except BackendError:
                sheet.unlink(missing_ok=True)
                raise
        return audit

    def judge(self, name: str, sheet: Path, number: int | None = None, wait_seconds: float = 0.0) -> Audit:
        """Read a judged sheet back and keep what it says; units that it leaves empty keep their earlier judgement."""
        with self.store.writer(wait_seconds) as writer:
            audits = self.audits(name)
            if not audits:
                raise BadOption(f"cohort {name} has no audit; draw one: echosearch cohort sample {name} --sheet FILE")
            audit = _audit_of(audits, number)
            judgements = audit.judgements | read_judgements(sheet, audit)
            judged = replace(audit, judgements=judgements, judged_at=_now())
            with writer.transaction() as transaction:
                transaction.cohorts.put_audit(name, judged.number, judged.to_json())
        return judged

    def audits(self, name: str) -> list[Audit]:
        """All audits of a cohort, oldest first."""
        self.get(name)
        with self.store.snapshot() as snapshot:
            return [Audit.from_json(content) for content in snapshot.catalog.cohorts.audits(name)]

    def labels(self, name: str, finding: str | None = None) -> AuditLabels:
        """What all audits of a cohort judged, as labels of its units."""
        return labels(self.audits(name), self.get(name), finding)

    def tiles(self, cohort: Cohort, audit: Audit) -> list[Hit]:
        """The first video of each unit of an audit with its middle frame, for a contact sheet."""
        records, members = self.records(cohort), {member.unit: member for member in cohort.members}
        tiles = []
        for row, unit in enumerate(audit.units, start=1):
            member = members[unit]
            record = next((records[video_id] for video_id in member.video_ids if video_id in records), None)
            if record is None:
                continue
            tiles.append(
                Hit(
                    rank=row,
                    score=member.score if member.score is not None else member.margin or 0.0,
                    percentile=0.0,
                    video_id=record.video_id,
                    path=record.path,
                    study=record.study,
                    patient=record.patient,
                    view=record.view,
                    best_frame=record.num_frames // 2,
                    best_time_seconds=None,
                    view_predicted=record.view_predicted,
                )
            )
        return tiles

    # How it is done.

    def _check_free(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise BadOption(f"a cohort's name is letters, digits and _ . -, such as low-ef-2020, not {name!r}")
        if name in self.names():
            raise BadOption(f"there is a cohort {name} already; give another name, or delete it: cohort delete {name}")

    def _vocabulary(self, snapshot: Snapshot) -> Vocabulary:
        tasks: dict[str, AnyTask] = {name: task for name, (task, _) in known_tasks().items()}
        tasks |= {probe.name: probe for probe in kept.probes(snapshot)}
        calibrations = tuple(kept.calibrations(snapshot))
        attributes = tuple(snapshot.catalog.attributes.columns())
        return Vocabulary(attributes, tasks, calibrations, self.zeroshot.key, all_views=self.zeroshot.all_views)

    def _made(
        self, snapshot: Snapshot, vocabulary: Vocabulary, definition: Definition, conditions: Sequence[Condition]
    ) -> tuple[Cohort, Selection]:
        """The cohort of one moment, without a name, and the selection behind it."""
        aggregates = _aggregates(definition, vocabulary)
        criteria, notes = self._criteria(snapshot, vocabulary, conditions, aggregates)
        if unused := aggregates.keys() - {each.source.task.name for each in criteria.measures.values()}:
            raise BadOption(f"no criterion asks {', '.join(sorted(unused))}, so there is nothing to aggregate")
        if definition.level != "video" and not definition.same_video:
            notes += [
                f"{each.source.name}: the threshold was learnt on videos, and is applied to one score a study "
                f"({each.source.aggregate})"
                for each in criteria.measures.values()
                if each.source.calibration is not None
            ]
        ranking, more = self._ranked(snapshot, definition)
        selection = select(snapshot, definition.units, criteria, ranking)
        if definition.level != "video" and not definition.same_video:
            criteria = studied(criteria, with_study_keys(snapshot.catalog.videos.records())[0])
        bounds = bounds_of(criteria)
        attributes = [each.name for each in vocabulary.attributes]
        description = self.store.description
        preset = description.standing.preset
        cohort = Cohort(
            name="",
            definition=definition,
            criteria=tuple(map(str, criteria.conditions)),
            measures=measures_of(criteria, bounds),
            steps=selection.steps,
            members=members_of(selection, criteria, bounds, definition.level),
            table_one=table_one(selection, attributes),
            distributions=distributions_of(selection, criteria, bounds),
            index=str(self.store.path),
            model=description.model,
            domain=preset.domain if preset is not None else "not said; ask the model's authors",
            recipe=description.recipe.id,
            frames_dtype=description.frames_dtype,
            generation=snapshot.generation,
            version=__version__,
            created_at=_now(),
            notes=(*self.notes(snapshot), *notes, *more, *selection.notes),
            all_views=vocabulary.all_views,
            question=str(definition.question) if definition.is_ranked else None,
        )
        return cohort, selection

    def _ranked(self, snapshot: Snapshot, definition: Definition) -> tuple[Ranked | None, list[str]]:
        if not definition.is_ranked:
            return None, []
        question = definition.question
        vector, notes = self.vector(snapshot, question)
        return ranked(snapshot, question, Query(vector, question.score_kind), top=definition.top), notes

    def _criteria(
        self,
        snapshot: Snapshot,
        vocabulary: Vocabulary,
        conditions: Sequence[Condition],
        aggregates: Mapping[str, Aggregate],
    ) -> tuple[Criteria, list[str]]:
        """Conditions with all that their names stand for, and what is to be said of it."""
        known = vocabulary.known()
        written = criteria_of(conditions)
        found_names = {name: found for each in written for name, found in resolve(each, known).items()}
        criteria = tuple(qualified(each, found_names) for each in written)
        resolved = {Name(found.parts, name.position): found for name, found in found_names.items()}
        sources: dict[Parts, tuple[Name, Source]] = {}
        for name, found in resolved.items():
            if found.parts[0] in ("task", "probe", "calibration"):
                sources.setdefault(found.parts, (name, vocabulary.source(name, found.parts, aggregates)))
        notes, measures = doubts(snapshot, criteria, resolved, vocabulary.attribute_numbers()), {}
        notes += [source.calibration.assumption for _, source in sources.values() if source.calibration is not None]
        for parts, (name, source) in sources.items():
            measured = measure(snapshot, source, self.zeroshot.key(source.task), vocabulary.all_views)
            if measured is None:
                raise BadFilter(
                    f"the filter, character {name.position}: {source.task.name} was never swept over this index; "
                    f"sweep it (echosearch sweep {source.task.name}), or add --sweep-missing"
                )
            if len(measured.unscored):
                notes.append(
                    f"{len(measured.unscored)} videos have no score of {source.task.name} yet, so it is unknown for "
                    "them, and for their studies (--sweep-missing)"
                )
            if measured.unseen:
                notes.append(
                    f"of {measured.unseen} videos it is not known whether their view shows {source.task.name}, so it "
                    "is unknown for them (--all-views counts them)"
                )
            measures[parts] = measured
        if any(found.parts == VIEW for found in resolved.values()) and (count := snapshot.catalog.counts.predicted()):
            notes.append(
                f"the view of {count} videos is predicted by {self.store.description.model}, and not in the manifest"
            )
        told: dict[int, str | None] | None = None
        if any(found.parts == DOMAIN for found in resolved.values()):
            preset = self.store.description.standing.preset
            records = snapshot.catalog.videos.records()
            told = {record.video_id: domain(record, preset, vocabulary.all_views) for record in records}
            if unknown := list(told.values()).count(None):
                notes.append(f"of {unknown} videos the view is not known, so neither is the domain (--all-views)")
        asked = Criteria(criteria, resolved, vocabulary.attribute_numbers(), measures, told)
        return asked, list(dict.fromkeys(notes))

    def _tasks_named(self, vocabulary: Vocabulary, conditions: Sequence[Condition]) -> list[AnyTask]:
        known = vocabulary.known()
        found: dict[str, AnyTask] = {}
        for condition in conditions:
            for name in resolve(condition, known).values():
                if name.parts[0] == "calibration":
                    calibration = next(each for each in vocabulary.calibrations if each.name == name.parts[1])
                    if calibration.task in vocabulary.tasks:
                        found[calibration.task] = vocabulary.tasks[calibration.task]
                elif (task := task_of(name.parts, vocabulary.tasks.values())) is not None:
                    found[task] = vocabulary.tasks[task]
        return list(found.values())

    def _sweep_unscored(
        self, tasks: Sequence[AnyTask], wait_seconds: float, progress: ProgressListener | None
    ) -> list[str]:
        with self.store.snapshot() as snapshot:
            missing = [task for task in tasks if self._unscored(snapshot, task)]
        if missing:
            self.zeroshot.sweep(*missing, wait_seconds=wait_seconds, progress=progress)
        return [task.name for task in missing]

    def _unscored(self, snapshot: Snapshot, task: AnyTask) -> bool:
        kept = stored(snapshot, self.zeroshot.key(task))
        return kept is None or len(kept.ids) < len(snapshot.rows)


def _aggregates(definition: Definition, vocabulary: Vocabulary) -> dict[str, Aggregate]:
    for task, rule in definition.aggregates:
        if task not in vocabulary.tasks:
            raise BadOption(f"there is no task {task!r} to aggregate; {nearest(task, vocabulary.tasks)}")
        if rule not in AGGREGATES:
            raise BadOption(f"the videos of a study become one score by {', '.join(AGGREGATES)}, not {rule!r}")
    return {task: cast(Aggregate, rule) for task, rule in definition.aggregates}


def _audit_of(audits: Sequence[Audit], number: int | None) -> Audit:
    wanted = number if number is not None else audits[-1].number
    for audit in audits:
        if audit.number == wanted:
            return audit
    raise BadOption(f"there is no audit {wanted}; there are {', '.join(str(audit.number) for audit in audits)}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
