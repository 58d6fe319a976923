"""The cohort side of an index: selections that are kept, compared, exported and audited. Calls down; knows no printing.

cohorts = echosearch.open_index("indexes/default").cohorts
made = cohorts.create("low-ef", Definition(where=("task.ejection_fraction.value < 35",), level="patient"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    check_repeatable,
    diff,
    followed,
    kept,
    labels,
    make,
    pinned,
    rerun,
    task_of_measure,
)
from echosearch.errors import UnknownVideo
from echosearch.index import Snapshot, Store
from echosearch.learning import AnyTask
from echosearch.search import Query, Question, Ranked, Vocabulary, ranked, tasks_named
from echosearch.tasks import stored
from echosearch.types import ProgressListener, VideoRecord

Vector = Callable[[Snapshot, Question], tuple[npt.NDArray[np.float32], list[str]]]
"""The one unit vector (D,) that stands for the terms of a question, and what is to be said of them."""


@dataclass(frozen=True, slots=True)
class Cohorts:
    """The cohorts of one index; made by `Index.cohorts`."""

    store: Store
    zeroshot: ZeroShot
    vector: Vector
    notes: Callable[[Snapshot], list[str]]

    def create(self, name: str, definition: Definition, about: str = "", wait_seconds: float = 0.0) -> Cohort:
        """Select, and keep the selection under a name that is free. BadFilter, BadOption say what is wrong."""
        with self.store.snapshot() as snapshot:
            kept.check_free(snapshot, name)
        return self.keep(replace(self.preview(definition), about=about), name, wait_seconds)

    def keep(self, cohort: Cohort, name: str, wait_seconds: float = 0.0) -> Cohort:
        """Keep a selection under a name that is free. BadOption where it is taken."""
        named = replace(cohort, name=name)
        kept.keep(self.store, named, wait_seconds)
        return named

    def preview(self, definition: Definition) -> Cohort:
        """The cohort that a definition gives now, without a name and not kept."""
        with self.store.snapshot() as snapshot:
            ranking, notes = self._ranked(snapshot, definition)
            said = (*self.notes(snapshot), *notes)
            made, _ = make(snapshot, self._vocabulary(snapshot), definition, self._made_by, ranking, said)
        return made

    def all(self) -> list[Cohort]:
        """All that are kept, oldest first."""
        with self.store.snapshot() as snapshot:
            return kept.every(snapshot)

    def get(self, name: str) -> Cohort:
        """One cohort. UnknownCohort offers the nearest names."""
        with self.store.snapshot() as snapshot:
            return kept.named(snapshot, name)

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
        check_repeatable(before)
        with self.store.snapshot() as snapshot:
            before, notes = followed(before, snapshot.catalog.videos.embedded_anew())
            vocabulary = pinned(self._vocabulary(snapshot), before)
            try:
                ranking, more = self._ranked(snapshot, before.definition)
            except UnknownVideo as error:
                raise UnknownVideo(
                    f"cohort {name} cannot be made again, as an example of it is gone: {error}"
                ) from error
            said, by = (*self.notes(snapshot), *more), self._made_by
            now, selection = make(snapshot, vocabulary, before.definition, by, ranking, said, before.criteria)
            now = replace(now, name=name, about=before.about, notes=(*now.notes, *notes))
            return rerun(snapshot, before, now, selection.reasons)

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
        with self.store.snapshot() as snapshot:
            return kept.write_out(snapshot, kept.named(snapshot, name), folder, form, views, label, named)

    def records(self, cohort: Cohort) -> dict[int, VideoRecord]:
        """The videos of a cohort, as far as they are still in the index, by the ids that they had in the cohort."""
        with self.store.snapshot() as snapshot:
            return kept.records_of(snapshot, cohort)

    def sweep_missing(
        self,
        where: Sequence[str] = (),
        wait_seconds: float = 0.0,
        progress: ProgressListener | None = None,
        cohort: str | None = None,
    ) -> list[str]:
        """Sweep the tasks that conditions name, where some videos have no score yet; gives their names.

        Of a `cohort` the tasks as it has them.
        """
        measures = () if cohort is None else self.get(cohort).measures
        with self.store.snapshot() as snapshot:
            tasks = {task.name: task for task in tasks_named(self._vocabulary(snapshot), where)}
            tasks |= {task.name: task for task in map(task_of_measure, measures)}
            missing = [task for task in tasks.values() if self._is_unscored(snapshot, task)]
        if missing:
            self.zeroshot.sweep(*missing, wait_seconds=wait_seconds, progress=progress)
        return [task.name for task in missing]

    def sample(
        self, name: str, count: int, strategy: Strategy, sheet: Path, seed: int | None = None, wait_seconds: float = 0.0
    ) -> Audit:
        """Draw members to be judged, write the sheet, and keep the audit. `seed` is by default the cohort's."""
        return kept.new_audit(self.store, name, count, strategy, sheet, seed, wait_seconds)

    def judge(self, name: str, sheet: Path, number: int | None = None, wait_seconds: float = 0.0) -> Audit:
        """Read a judged sheet back and keep what it says; units that it leaves empty keep their earlier judgement."""
        return kept.judge(self.store, name, sheet, number, wait_seconds)

    def audits(self, name: str) -> list[Audit]:
        """All audits of a cohort, oldest first."""
        with self.store.snapshot() as snapshot:
            return kept.audits_of(snapshot, name)

    def labels(self, name: str, finding: str | None = None) -> AuditLabels:
        """What all audits of a cohort judged, as labels of its units."""
        return labels(self.audits(name), self.get(name), finding)

    @property
    def _made_by(self) -> tuple[str, str]:
        return str(self.store.path), __version__

    def _vocabulary(self, snapshot: Snapshot) -> Vocabulary:
        return Vocabulary.of(snapshot, self.zeroshot.key, self.zeroshot.all_views)

    def _ranked(self, snapshot: Snapshot, definition: Definition) -> tuple[Ranked | None, list[str]]:
        if not definition.is_ranked:
            return None, []
        question = definition.question
        vector, notes = self.vector(snapshot, question)
        return ranked(snapshot, question, Query(vector, question.score_kind), top=definition.top), notes

    def _is_unscored(self, snapshot: Snapshot, task: AnyTask) -> bool:
        known = stored(snapshot, self.zeroshot.key(task))
        return known is None or len(known.ids) < len(snapshot.rows)
