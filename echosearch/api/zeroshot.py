"""The zero-shot side of an index: sweep tasks and probes, calibrate, evaluate. What is learnt is kept in the index.

zeroshot = echosearch.open_index("indexes/default").zeroshot
[pacemaker] = zeroshot.sweep("pacemaker")
zeroshot.evaluate("pacemaker", read_labels(Path("labels.csv")))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadOption, BadQuery, UnknownTask, nearest, shown
from echosearch.index import FittedKind, Snapshot, Store, SweepKey
from echosearch.learning import (
    PREFIX,
    AnyTask,
    Calibration,
    Evaluation,
    IdColumn,
    LabelFile,
    Probe,
    ReportFile,
    Retrieval,
    Score as RetrievalScore,
    SweepResult,
    Threshold,
    ThresholdRule,
    check_calibratable,
    check_named,
    default_name,
    judge,
    kept,
    learn_calibration,
    learn_probe,
    pair,
    retrieval,
    sweep_or_score,
    tell,
    write_predictions,
)
from echosearch.tasks import (
    VIEW_TASK,
    Embed,
    Form,
    Model,
    PublishedFigure,
    Scorer,
    builtin_task,
    find_task,
    predict_views,
    stored,
    sweep,
    sweep_without_keeping,
    tells_views,
)
from echosearch.types import EncodedText, ProgressListener


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Zero-shot questions to one index; made by `Index.zeroshot`. `precision` is that of phrases embedded here.

    With `all_views` sweeps tell of every video, and those of which it is not known whether their view shows what is
    asked count (see `types.views`).
    """

    store: Store
    precision: str
    embed: Callable[[Sequence[str]], list[EncodedText]]
    notes: Callable[[Snapshot], list[str]]
    all_views: bool = False

    # Sweeps.

    def sweep(
        self,
        *tasks: AnyTask | str,
        approximate: bool = False,
        keep: bool = True,
        calibration: str | None = None,
        published_threshold: bool = False,
        wait_seconds: float = 0.0,
        progress: ProgressListener | None = None,
        among: npt.NDArray[np.int64] | None = None,
    ) -> list[SweepResult]:
        """Score every live video for some tasks, in one pass; what was scored before is not scored again.

        Only the videos `among` (n,) ascending ids are scored and told of, where these are given.

        A task is a `Task`, the name of a built-in or own one, the path of a task file, or `probe:NAME`. `approximate`
        asks the mean frame instead of every frame (regressions only) and is kept apart from exact scores. `keep`
        False writes nothing. Scores are called by the newest calibration of each task, or by the one named; a
        published threshold is applied only if that is asked for.
        """
        chosen, form = self._chosen(tasks), _form(approximate)
        borrowed = {task.name: self.published_threshold(task) if published_threshold else None for task in chosen}
        if published_threshold and not any(borrowed.values()):
            raise BadOption(f"no threshold was published for {', '.join(borrowed)}")
        cut: list[str] = []
        scorers = [self._scorer(task, form, cut) for task in chosen]
        if calibration is not None:
            check_named(self.calibrations(), calibration, [scorer.key for scorer in scorers])
        if keep:
            swept = sweep(self.store, scorers, wait_seconds, progress, among)
            if VIEW_TASK in [task.name for task in chosen] and tells_views(self.store.description):
                with self.store.writer(wait_seconds) as writer:
                    predict_views(writer, self._scorer(builtin_task(VIEW_TASK), "exact"))
        else:
            swept = sweep_without_keeping(self.store, scorers, progress, among)
        with self.store.snapshot() as snapshot:
            known, notes, index = kept.calibrations(snapshot), (*self.notes(snapshot), *cut), str(self.store.path)
            return [
                tell(snapshot, task, its, known, calibration, self.all_views, among, borrowed[task.name], index, notes)
                for task, its in zip(chosen, swept, strict=True)
            ]

    def published_threshold(self, task: AnyTask) -> PublishedFigure | None:
        """The threshold that was published for a task, if any. BadOption where it is not for this index's model."""
        description = self.store.description
        return task.rule.threshold_for(description.model, description.standing)

    def scored(self, *tasks: AnyTask | str, approximate: bool = False) -> dict[str, npt.NDArray[np.int64]]:
        """For each task by name the live videos (n,) that have a score already; needs no model."""
        with self.store.snapshot() as snapshot:
            told = {task.name: stored(snapshot, self.key(task, _form(approximate))) for task in self._chosen(tasks)}
        return {name: np.empty(0, np.int64) if found is None else found.ids for name, found in told.items()}

    def find(self, task: AnyTask | str) -> AnyTask:
        """A task or probe by name. UnknownTask offers the nearest."""
        if not isinstance(task, str):
            return task
        if not task.startswith(PREFIX):
            return find_task(task)
        known, label = {probe.label: probe for probe in self.probes()}, task.removeprefix(PREFIX)
        if label in known:
            return known[label]
        there = nearest(label, known) if known else "there are none. Make one: echosearch probe train"
        raise UnknownTask(f"there is no probe {label!r} in this index; {there}")

    # Learning from labels.

    def calibrate(
        self,
        task: AnyTask | str,
        labels: LabelFile,
        rule: ThresholdRule,
        classes: Sequence[str] = (),
        name: str | None = None,
        replace: bool = False,
        wait_seconds: float = 0.0,
        prevalence: float | Literal["estimate"] | None = None,
    ) -> tuple[Calibration, tuple[str, ...]]:
        """Learn a threshold and a map to probabilities, and keep them; gives warnings beside it.

        `classes` are those that count as positive. The name is the task's unless another is given; one that is taken
        is refused, or replaced if asked. Probabilities are for a `prevalence`: the labels' own, or the one that is
        stated, or `estimate`: once, from all videos as they are now. BadLabels, with nothing kept, where the labels do
        not allow it.
        """
        found = self.find(task)
        check_calibratable(found)
        called = name or default_name(found, classes, prevalence)
        with self.store.snapshot() as snapshot:
            kept.check_free(snapshot, "calibration", called, replace)
        scorer, views = self._scorer(found, "exact"), self.all_views
        made, warnings = learn_calibration(
            self.store, found, scorer, labels, rule, classes, called, prevalence, views, wait_seconds
        )
        kept.keep(self.store, made, wait_seconds, replace)
        return made, warnings

    def calibrations(self) -> list[Calibration]:
        """All that are kept in the index, oldest first."""
        with self.store.snapshot() as snapshot:
            return kept.calibrations(snapshot)

    def add_calibration(self, calibration: Calibration, replace: bool = False, wait_seconds: float = 0.0) -> None:
        """Keep a calibration of another index. CalibrationMismatch unless recipe and task are the same.

        BadOption where its name is taken, unless that one is to be replaced.
        """
        kept.check_made_for(self.store.description, calibration)
        found = self.find(calibration.task)
        calibration.check(self.key(found, _form(calibration.form == "approximate"), calibration.precision))
        found.rule.chosen(calibration.classes)
        kept.keep(self.store, calibration, wait_seconds, replace)

    def train_probe(
        self,
        label: str,
        labels: LabelFile,
        kind: str | None = None,
        views: Sequence[str] = (),
        replace: bool = False,
        wait_seconds: float = 0.0,
        motion: bool = False,
    ) -> tuple[Probe, tuple[str, ...]]:
        """Learn a linear probe on the video embeddings and keep it; gives warnings beside it.

        `kind` is logistic or ridge; by default what the labels call for. Only videos of `views` are learnt from,
        if some are given. `motion` learns from how the embeddings vary over frames as well; BadQuery where the index
        keeps no frames.
        """
        with self.store.snapshot() as snapshot:
            kept.check_free(snapshot, "probe", label, replace)
        probe, warnings = learn_probe(self.store, label, labels, kind, views, motion)
        kept.keep(self.store, probe, wait_seconds, replace)
        return probe, warnings

    def add_probe(self, probe: Probe, replace: bool = False, wait_seconds: float = 0.0) -> None:
        """Keep a probe of another index. CalibrationMismatch unless its recipe and dimensions are this index's.

        BadOption where its name is taken, unless that one is to be replaced.
        """
        kept.check_made_for(self.store.description, probe)
        kept.keep(self.store, probe, wait_seconds, replace)

    def probes(self) -> list[Probe]:
        """All that are kept in the index, by name."""
        with self.store.snapshot() as snapshot:
            return kept.probes(snapshot)

    def forget(self, kind: FittedKind, name: str, wait_seconds: float = 0.0) -> None:
        """Delete a calibration or probe. BadOption where there is none."""
        kept.forget(self.store, kind, name, wait_seconds)

    # Judging by labels.

    def evaluate(
        self,
        task: AnyTask | str,
        labels: LabelFile,
        classes: Sequence[str] = (),
        calibration: str | None = None,
        threshold: Threshold | None = None,
        approximate: bool = False,
        repeats: int = 1000,
        seed: int = 0,
    ) -> Evaluation:
        """Judge the scores of a task by labels, at video, study and patient level; sweeps what is missing.

        A finding is judged at `threshold` (of a contrastive task a weight, 0 to 1), else at that of the calibration (by
        default the newest that fits).
        """
        found = self.find(task)
        scorer = self._scorer(found, _form(approximate))
        return judge(self.store, found, scorer, labels, classes, calibration, threshold, repeats, seed)

    def evaluate_retrieval(
        self,
        reports: ReportFile,
        score: RetrievalScore = "mean",
        views: Sequence[str] = (),
        repeats: int = 1000,
        seed: int = 0,
    ) -> Retrieval:
        """Judge the way from each report to its own video among all reports' videos, and back; one pair a report.

        A report is paired with the first video of its study, patient or file that has one of `views`, if some are
        given. `mean` is EchoCLIP-R's published form.
        """
        with self.store.snapshot() as snapshot:
            pairs = pair(reports, list(snapshot.catalog.videos.records()), views)
            positions = snapshot.rows.positions(np.array(pairs.video_ids, np.int64))
            vectors, norms = snapshot.rows.gather(positions)
        cut: list[str] = []
        embedded = self._embed(cut)(list(dict.fromkeys(pairs.texts)))
        row_of = {text: row for row, text in enumerate(dict.fromkeys(pairs.texts))}
        texts = embedded[[row_of[text] for text in pairs.texts]]
        warnings = (*pairs.warnings, *([f"the model holds only the beginning of {len(cut)} reports"] if cut else []))
        return retrieval(texts, vectors, norms, score, pairs.clusters, repeats, seed, warnings)

    def write_predictions(
        self,
        task: AnyTask | str,
        path: Path,
        id_column: IdColumn = "FileName",
        with_suffix: bool = False,
        approximate: bool = False,
        force: bool = False,
    ) -> tuple[str, ...]:
        """Write the scores of every video as CardioBench's evaluators read them; gives warnings.

        BadOption for a file that is there already, unless `force`; one of a source folder is never replaced.
        """
        output = self.store.output(path, "the predictions", ".csv", force)
        found = self.find(task)
        swept, warnings = sweep_or_score(self.store, self._scorer(found, _form(approximate)))
        with self.store.snapshot() as snapshot:
            records = {record.video_id: record for record in snapshot.catalog.videos.records()}
        swept = swept.kept(np.isin(swept.ids, list(records)))  # some may have been deleted meanwhile
        told = write_predictions(output, found, swept.ids, swept.columns, records, id_column, with_suffix)
        return (*warnings, *told)

    # How it is done.

    def _chosen(self, tasks: Sequence[AnyTask | str]) -> list[AnyTask]:
        """Each task once, in the order in which they were named."""
        if not tasks:
            raise BadQuery("no task is named; `echosearch tasks list` shows what there is")
        return list({(found := self.find(task)).name: found for task in tasks}.values())

    def key(self, task: AnyTask, form: Form = "exact", precision: str | None = None) -> SweepKey:
        """Under what the scores of a task are kept; `precision` is that of phrases, if not of those embedded here."""
        return task.key(form, self._model(precision))

    def _model(self, precision: str | None = None) -> Model:
        description = self.store.description
        return Model(description.recipe.id, precision or self.precision, description.logit_scale)

    def _scorer(self, task: AnyTask, form: Form, cut: list[str] | None = None) -> Scorer:
        return task.scorer(form, self._model(), self._embed([] if cut is None else cut))

    def _embed(self, cut: list[str]) -> Embed:
        """Phrases to text embeddings; of phrases that the model does not hold whole a sentence goes to `cut`."""

        def embed(phrases: Sequence[str]) -> npt.NDArray[np.float32]:
            texts = self.embed(phrases)
            cut.extend(
                f"the model holds only the beginning of {shown(phrase)}; cut: {shown(text.cut)}"
                for phrase, text in zip(phrases, texts, strict=True)
                if text.cut
            )
            return np.stack([text.vector for text in texts])

        return embed


def _form(approximate: bool) -> Form:
    return "approximate" if approximate else "exact"
