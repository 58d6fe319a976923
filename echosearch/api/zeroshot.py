"""The zero-shot side of an index: sweep tasks and probes, calibrate, evaluate. What is learnt is kept in the index.

zeroshot = echosearch.open_index("indexes/default").zeroshot
[pacemaker] = zeroshot.sweep("pacemaker")
zeroshot.evaluate("pacemaker", read_labels(Path("labels.csv")))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import (
    BackendError,
    BadLabels,
    BadOption,
    BadQuery,
    CalibrationMismatch,
    IndexLocked,
    UnknownTask,
    shown,
)  # fmt: skip
from echosearch.index import FittedKind, Snapshot, Store, SweepKey
from echosearch.learning import (
    PREFIX,
    Calibration,
    Evaluation,
    Features,
    IdColumn,
    LabelFile,
    Probe,
    ReportFile,
    Retrieval,
    Sample,
    Score as RetrievalScore,
    SweepResult,
    Threshold,
    ThresholdRule,
    Training,
    beginnings,
    calibrate,
    cautions,
    check_finding,
    check_labels,
    check_named,
    check_range,
    check_value,
    evaluate,
    fitting,
    frozen_threshold,
    kept,
    labelled_videos,
    lengths,
    made_for,
    of_views,
    overlap,
    pair,
    probe_kind,
    retrieval,
    sample,
    tell,
    train,
    unknown_patients,
    usable,
    write_predictions,
)  # fmt: skip  # fmt: skip
from echosearch.tasks import (
    VIEW_TASK,
    AnyTask,
    Embed,
    Form,
    Model,
    PublishedFigure,
    Scorer,
    Swept,
    builtin_task,
    columns_of,
    find_task,
    predict_views,
    stored,
    sweep,
    sweep_without_keeping,
    tells_views,
)
from echosearch.types import EncodedText, ProgressListener, people

_BORROWED: Final = "a published threshold belongs to its authors' videos and patients, which these need not be like"


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
        chosen = self._chosen(tasks)
        form: Form = "approximate" if approximate else "exact"
        description = self.store.description
        borrowed = {task.name: self.published_threshold(task) if published_threshold else None for task in chosen}
        if published_threshold and not any(borrowed.values()):
            raise BadOption(f"no threshold was published for {', '.join(borrowed)}")
        cut: list[str] = []
        scorers = [self._scorer(task, form, cut) for task in chosen]
        if calibration is not None:
            check_named(self.calibrations(), calibration, [scorer.key for scorer in scorers])
        if keep:
            swept = sweep(self.store, scorers, wait_seconds, progress, among)
            if VIEW_TASK in [task.name for task in chosen] and tells_views(description):
                with self.store.writer(wait_seconds) as writer:
                    predict_views(writer, self._scorer(builtin_task(VIEW_TASK), "exact", []))
        else:
            swept = sweep_without_keeping(self.store, scorers, progress, among)
        with self.store.snapshot() as snapshot:
            known = kept.calibrations(snapshot)
            return [
                SweepResult(
                    task=task,
                    form=form,
                    index=str(self.store.path),
                    generation=snapshot.generation,
                    model=description.model,
                    recipe=description.recipe.id,
                    frames_dtype=description.frames_dtype,
                    ids=told.swept.ids,
                    columns=told.swept.columns,
                    shown=told.shown,
                    scored_now=told.swept.scored_now,
                    warnings=(
                        *self.notes(snapshot),
                        *cut,
                        *told.about_views,
                        *cautions(snapshot, task),
                        *told.cautions,
                        *([_BORROWED] if borrowed[task.name] else []),
                    ),
                    called=told.called,
                    applied=borrowed[task.name],
                    published=description.standing.published,
                    all_views=self.all_views,
                )
                for task, found in zip(chosen, swept, strict=True)
                for told in [tell(snapshot, task, found, known, calibration, self.all_views, among)]
            ]

    def published_threshold(self, task: AnyTask) -> PublishedFigure | None:
        """The threshold that was published for a task, if any. BadOption where it is not for this index's model."""
        description = self.store.description
        return task.rule.threshold_for(description.model, description.standing)

    def scored(self, *tasks: AnyTask | str, approximate: bool = False) -> dict[str, npt.NDArray[np.int64]]:
        """For each task by name the live videos (n,) that have a score already; needs no model."""
        form: Form = "approximate" if approximate else "exact"
        with self.store.snapshot() as snapshot:
            kept = {task.name: stored(snapshot, self.key(task, form)) for task in self._chosen(tasks)}
        return {name: np.empty(0, np.int64) if found is None else found.ids for name, found in kept.items()}

    def find(self, task: AnyTask | str) -> AnyTask:
        """A task or probe by name. UnknownTask offers the nearest."""
        if not isinstance(task, str):
            return task
        if not task.startswith(PREFIX):
            return find_task(task)
        known = {probe.name: probe for probe in self.probes()}
        if task in known:
            return known[task]
        raise UnknownTask(
            f"there is no probe {task.removeprefix(PREFIX)!r} in this index; there are "
            f"{', '.join(probe.label for probe in known.values()) or 'none'}. Make one: echosearch probe train"
        )

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
        if found.rule.gives_value:
            raise BadQuery(f"{found.name} gives a value, not a yes or no; see how far it is off: echosearch evaluate")
        chosen = found.rule.chosen(classes)
        at = [] if prevalence is None else [f"at-{prevalence}"]
        called = name or "-".join([found.name.replace(":", "-"), *(each.replace(" ", "_") for each in classes), *at])
        with self.store.snapshot() as snapshot:
            kept.check_free(snapshot, "calibration", called, replace)
        told, key = self._sample(found, labels, "exact", chosen, check_labels, wait_seconds)
        if flattered := _trained_on(found, told):
            raise BadLabels(f"{flattered[0]}; a calibration would keep that flattery")
        made = Calibration(
            name=called,
            task=found.name,
            **made_for(key),
            classes=chosen,
            scale=found.rule.scale,
            **labels.origin,
            model=self.store.description.model,
            created_at=kept.now(),
            **calibrate(told, rule),
        )
        if prevalence == "estimate":
            made = made.at(self._prevalence(made, found), "estimated")
        elif prevalence is not None:
            made = made.at(prevalence, "stated")
        kept.keep(self.store, made, wait_seconds, replace)
        few = [f"{made.few_labels}; threshold and p of so few may be far off"] if made.few_labels else []
        return made, (*told.warnings, *few)

    def _prevalence(self, made: Calibration, task: AnyTask) -> float:
        """How common the finding is in the index by a new calibration. BadLabels where that cannot be told."""
        swept, _ = self._swept(self._scorer(task, "exact", []), 0.0)
        with self.store.snapshot() as snapshot:
            told = tell(snapshot, task, swept, [made], all_views=self.all_views)
        found = told.called.prevalence if told.called is not None else None
        if found is None or found.value is None or not 0 < found.value < 1:
            reasons = [] if found is None else [found.reason or f"it comes out as {found.value:g}"]
            why = "; ".join((*told.cautions, *reasons)) or "no video can show it"
            raise BadLabels(f"the prevalence cannot be estimated: {why}; state it: --prevalence 0.05")
        return found.value

    def calibrations(self) -> list[Calibration]:
        """All that are kept in the index, oldest first."""
        with self.store.snapshot() as snapshot:
            return kept.calibrations(snapshot)

    def add_calibration(self, calibration: Calibration, replace: bool = False, wait_seconds: float = 0.0) -> None:
        """Keep a calibration of another index. CalibrationMismatch unless recipe and task are the same.

        BadOption where its name is taken, unless that one is to be replaced.
        """
        if calibration.recipe != self.store.description.recipe.id:
            raise CalibrationMismatch(
                f"calibration {calibration.name} was made with {calibration.model} by another recipe "
                f"({calibration.recipe[:12]}...) than this index's ({self.store.description.recipe.id[:12]}...), "
                "so its threshold means nothing here"
            )
        found = self.find(calibration.task)
        form: Form = "approximate" if calibration.form == "approximate" else "exact"
        calibration.check(self.key(found, form, calibration.precision))
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
            records, labelled = labelled_videos(snapshot, labels)
            labelled = of_views(records, labelled, views)
            shortest = {}
            if motion:
                seen = lengths(snapshot)
                stills = np.isin(labelled.video_ids, seen.ids[seen.frames < 2])
                told_of = f"{stills.sum()} labelled videos show one frame and no motion, and are left out"
                labelled = labelled.kept(~stills, told_of)
                shortest = seen.shortest(labelled.video_ids)
            known = columns_of(snapshot, Features(motion, self.store.description.dim), labelled.video_ids)
        together = people(records.values(), labelled.video_ids)
        chosen = probe_kind(labelled.labels, kind)
        weights, offset, told = train(known, labelled.labels, together.codes, chosen)
        training = Training(
            **labels.origin,
            videos=len(labelled.labels),
            positives=int(labelled.labels.sum()) if chosen == "logistic" else None,
            patients=together.count,
            contents=beginnings(records[video_id].content_sha256 for video_id in labelled.video_ids.tolist()),
            **told,
            **shortest,
        )
        recipe = self.store.description.recipe.id
        probe = Probe(label, chosen, recipe, tuple(weights.tolist()), offset, training, tuple(views), motion=motion)
        kept.keep(self.store, probe, wait_seconds, replace)
        return probe, (*labelled.warnings, *unknown_patients(together))

    def add_probe(self, probe: Probe, replace: bool = False, wait_seconds: float = 0.0) -> None:
        """Keep a probe of another index. CalibrationMismatch unless its recipe and dimensions are this index's.

        BadOption where its name is taken, unless that one is to be replaced.
        """
        description = self.store.description
        if probe.recipe != description.recipe.id:
            raise CalibrationMismatch(
                f"{probe.name} was trained by another recipe ({probe.recipe[:12]}...) than this index's "
                f"({description.recipe.id[:12]}...), so its weights mean nothing here"
            )
        if probe.dim != description.dim:
            raise CalibrationMismatch(
                f"{probe.name} is for {probe.dim} dimensions, and the embeddings here have {description.dim}"
            )
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
        form: Form = "approximate" if approximate else "exact"
        is_value = found.rule.gives_value
        if is_value and (calibration is not None or threshold is not None):
            raise BadOption(f"{found.name} gives a value and is judged by its errors, so no threshold goes with it")
        chosen = found.rule.chosen(classes)
        used = None if is_value else fitting(self.calibrations(), self.key(found, form), chosen, calibration)
        frozen = frozen_threshold(threshold, used, found.rule)
        odd = check_range(labels, found) if is_value else []
        told, _ = self._sample(found, labels, form, chosen, check_value if is_value else check_finding)
        judged = evaluate(told, found.aggregate, not is_value, frozen, used, repeats, seed)
        return replace(judged, warnings=(*odd, *judged.warnings, *_trained_on(found, told)))

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
        scorer = self._scorer(found, "approximate" if approximate else "exact", [])
        swept, warnings = self._swept(scorer, 0.0)
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

    def _scorer(self, task: AnyTask, form: Form, cut: list[str]) -> Scorer:
        return task.scorer(form, self._model(), self._embed(cut))

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

    def _sample(
        self,
        task: AnyTask,
        labels: LabelFile,
        form: Form,
        classes: tuple[str, ...],
        check: Callable[[Sample], object],
        wait_seconds: float = 0.0,
    ) -> tuple[Sample, SweepKey]:
        """Labelled videos with their scores; sweeps what is missing once the labels are known to pass `check`."""
        scorer = self._scorer(task, form, [])
        with self.store.snapshot() as snapshot:
            records, labelled = usable(snapshot, labels, task)
            check(sample(task, snapshot.rows.ids, np.zeros(len(snapshot.rows.ids)), labelled, records))
        swept, warnings = self._swept(scorer, wait_seconds)
        with self.store.snapshot() as snapshot:
            records, labelled = usable(snapshot, labels, task)
        scores = task.rule.decision(swept.columns, classes)
        found = sample(task, swept.ids, scores, labelled, records)
        return replace(found, warnings=(*found.warnings, *warnings)), swept.key

    def _swept(self, scorer: Scorer, wait_seconds: float) -> tuple[Swept, list[str]]:
        """All scores; where they cannot be kept (read-only, or another process is writing), they are made and told."""
        try:
            return sweep(self.store, [scorer], wait_seconds)[0], []
        except (IndexLocked, BackendError) as error:
            [swept] = sweep_without_keeping(self.store, [scorer])
            return swept, [f"the scores were not kept: {error}"]


def _trained_on(task: AnyTask, told: Sample) -> list[str]:
    """What is to be said of videos that a probe was trained on."""
    if not any(seen := overlap(task.rule.learnt_from, told)):
        return []
    others = f", and on videos of the same patients as {seen[1]} others" if seen[1] else ""
    return [
        f"{task.name} was trained on {seen[0]} of these videos{others}, so its scores flatter it; use other patients'"
    ]
