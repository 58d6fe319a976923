"""The zero-shot side of an index: sweep tasks and probes, calibrate, evaluate. What is learnt is kept in the index.

zeroshot = echosearch.open_index("indexes/default").zeroshot
[pacemaker] = zeroshot.sweep("pacemaker")
zeroshot.evaluate("pacemaker", read_labels(Path("labels.csv")))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from echosearch.catalog import Fitted, FittedKind, SweepKey
from echosearch.errors import BadLabels, BadOption, BadQuery, CalibrationMismatch, UnknownTask
from echosearch.store import Store, View
from echosearch.types import EncodedText, ProgressListener, VideoRecord
from echosearch.zeroshot.calibration import Calibration, calibrate
from echosearch.zeroshot.evaluation import Evaluation, Threshold, evaluate
from echosearch.zeroshot.labels import LabelFile, Labelled, join
from echosearch.zeroshot.probe import (
    PREFIX,
    Probe,
    Training,
    check_label,
    probe_key,
    probe_kind,
    probe_scorer,
    train,
)  # fmt: skip
from echosearch.zeroshot.results import Called, SweepResult
from echosearch.zeroshot.sample import Sample, chosen_classes, decision, sample
from echosearch.zeroshot.scorers import Embed, Model, Scorer, task_key, task_scorer
from echosearch.zeroshot.statistics import ThresholdRule, clusters
from echosearch.zeroshot.sweep import stored, sweep, sweep_without_keeping
from echosearch.zeroshot.task_files import find_task
from echosearch.zeroshot.tasks import Form, Task

AnyTask = Task | Probe


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Zero-shot questions to one index; made by `Index.zeroshot`. `precision` is that of phrases embedded here."""

    store: Store
    precision: str
    embed: Callable[[Sequence[str]], list[EncodedText]]
    notes: Callable[[View], list[str]]

    # Sweeps.

    def sweep(
        self,
        *tasks: AnyTask | str,
        approximate: bool = False,
        keep: bool = True,
        calibration: str | None = None,
        wait_seconds: float = 0.0,
        progress: ProgressListener | None = None,
    ) -> list[SweepResult]:
        """Score every live video for some tasks, in one pass; what was scored before is not scored again.

        A task is a `Task`, the name of a built-in or own one, the path of a task file, or `probe:NAME`. `approximate`
        asks the mean frame instead of every frame (regressions only) and is kept apart from exact scores. `keep`
        False writes nothing. Scores are called by the newest calibration of each task, or by the one named.
        """
        chosen = self._chosen(tasks)
        form: Form = "approximate" if approximate else "exact"
        cut: list[str] = []
        scorers = [self._scorer(task, form, cut) for task in chosen]
        if keep:
            swept = sweep(self.store, scorers, wait_seconds, progress)
        else:
            swept = sweep_without_keeping(self.store, scorers, progress)
        manifest = self.store.manifest
        with self.store.view() as view:
            known = self._calibrations(view)
            if calibration is not None and calibration not in {each.name for each in known}:
                raise BadOption(f"there is no calibration {calibration!r} in this index; there are {_names(known)}")
            return [
                SweepResult(
                    task=task,
                    form=form,
                    index=str(self.store.path),
                    generation=view.generation,
                    model=manifest.model,
                    recipe=manifest.recipe.id,
                    frames_dtype=manifest.frames_dtype,
                    ids=found.ids,
                    columns=found.columns,
                    scored_now=found.scored_now,
                    warnings=(*self.notes(view), *cut, *_unseen_views(view, task)),
                    called=_called(view, task, found.key, found.ids, found.columns, known, calibration),
                )
                for task, found in zip(chosen, swept, strict=True)
            ]

    def scored(self, *tasks: AnyTask | str, approximate: bool = False) -> dict[str, npt.NDArray[np.int64]]:
        """For each task by name the live videos (n,) that have a score already; needs no model."""
        form: Form = "approximate" if approximate else "exact"
        with self.store.view() as view:
            kept = {task.name: stored(view, self._key(task, form)) for task in self._chosen(tasks)}
        return {name: np.empty(0, np.int64) if found is None else found.ids for name, found in kept.items()}

    def find(self, task: AnyTask | str) -> AnyTask:
        """A task or probe by name. UnknownTask offers the nearest."""
        if not isinstance(task, str):
            return task
        if not task.startswith(PREFIX):
            return find_task(task)
        for probe in self.probes():
            if probe.name == task:
                return probe
        raise UnknownTask(
            f"there is no probe {task.removeprefix(PREFIX)!r} in this index; there are "
            f"{', '.join(probe.label for probe in self.probes()) or 'none'}. Make one: echosearch probe train"
        )

    # Learning from labels.

    def calibrate(
        self,
        task: AnyTask | str,
        labels: LabelFile,
        rule: ThresholdRule,
        classes: Sequence[str] = (),
        name: str | None = None,
        approximate: bool = False,
        wait_seconds: float = 0.0,
    ) -> tuple[Calibration, tuple[str, ...]]:
        """Learn a threshold and a map to probabilities, and keep them; gives warnings beside it.

        `classes` are those that count as positive. The name is the task's unless another is given; a calibration of
        that name is replaced. BadLabels, with nothing kept, where the labels do not allow it.
        """
        found = self.find(task)
        if found.mode == "regression":
            raise BadQuery(f"{found.name} gives a value, not a yes or no; see how far it is off: echosearch evaluate")
        form: Form = "approximate" if approximate else "exact"
        chosen = chosen_classes(found, classes)
        told, key = self._sample(found, labels, form, chosen)
        fitted = calibrate(told, rule)
        made = Calibration(
            name=name or "-".join([found.name.replace(":", "-"), *(each.replace(" ", "_") for each in classes)]),
            task=found.name,
            content_id=key.content_id,
            form=key.form,
            formula_version=key.formula_version,
            recipe=key.recipe,
            precision=key.precision,
            classes=chosen,
            labels=labels.file.name,
            labels_sha256=labels.sha256,
            label_column=labels.label_column,
            split=labels.split,
            model=self.store.manifest.model,
            created_at=_now(),
            **fitted,
        )
        self._keep("calibration", made.name, made.recipe, made.to_json(), wait_seconds)
        return made, told.warnings

    def calibrations(self) -> list[Calibration]:
        """All that are kept in the index, oldest first."""
        with self.store.view() as view:
            return self._calibrations(view)

    def add_calibration(self, calibration: Calibration, wait_seconds: float = 0.0) -> None:
        """Keep a calibration of another index. CalibrationMismatch unless recipe and task are the same."""
        found = self.find(calibration.task)
        if calibration.recipe != self.store.manifest.recipe.id:
            raise CalibrationMismatch(
                f"calibration {calibration.name} was made with {calibration.model} by another recipe "
                f"({calibration.recipe[:12]}...) than this index's ({self.store.manifest.recipe.id[:12]}...), so its "
                "threshold means nothing here"
            )
        form: Form = "approximate" if calibration.form == "approximate" else "exact"
        calibration.check(self._key(found, form))
        self._keep("calibration", calibration.name, calibration.recipe, calibration.to_json(), wait_seconds)

    def train_probe(
        self,
        label: str,
        labels: LabelFile,
        kind: str | None = None,
        views: Sequence[str] = (),
        replace: bool = False,
        wait_seconds: float = 0.0,
    ) -> tuple[Probe, tuple[str, ...]]:
        """Learn a linear probe on the video embeddings and keep it; gives warnings beside it.

        `kind` is logistic or ridge; by default what the labels call for. Only videos of `views` are learnt from,
        if some are given.
        """
        check_label(label, () if replace else [probe.label for probe in self.probes()])
        with self.store.view() as view:
            _, labelled = _joined(view, labels, views)
            vectors, _ = view.rows.gather(view.rows.positions(labelled.video_ids))
        together = clusters(labelled.patients, labelled.studies, labelled.video_ids.tolist())
        chosen = probe_kind(labelled.labels, kind)
        weights, offset, told = train(vectors.astype(np.float64), labelled.labels, together.codes, chosen)
        training = Training(
            labels=labels.file.name,
            labels_sha256=labels.sha256,
            label_column=labels.label_column,
            videos=len(labelled.labels),
            positives=int(labelled.labels.sum()) if chosen == "logistic" else None,
            patients=together.count,
            **told,
        )
        recipe = self.store.manifest.recipe.id
        probe = Probe(label, chosen, recipe, tuple(weights.tolist()), offset, training, tuple(views))
        self._keep("probe", label, recipe, probe.to_json(), wait_seconds)
        return probe, labelled.warnings

    def probes(self) -> list[Probe]:
        """All that are kept in the index, by name."""
        with self.store.view() as view:
            return [Probe.from_json(item.content) for item in view.catalog.fitted("probe")]

    def forget(self, kind: FittedKind, name: str, wait_seconds: float = 0.0) -> None:
        """Delete a calibration or probe. BadOption where there is none."""
        with self.store.writer(wait_seconds) as writer:
            if not writer.drop_fitted(kind, name):
                raise BadOption(f"there is no {kind} {name!r} in this index")

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

        A finding is judged at `threshold`, else at that of the calibration (by default the newest that fits).
        """
        found = self.find(task)
        form: Form = "approximate" if approximate else "exact"
        is_value = found.mode == "regression" or (isinstance(found, Probe) and found.kind == "ridge")
        chosen = () if is_value else chosen_classes(found, classes)
        told, key = self._sample(found, labels, form, chosen)
        used = None
        if not is_value:
            used = _fitting(self.calibrations(), key, chosen, calibration)
        if threshold is None and used is not None:
            threshold = Threshold(used.threshold, f"calibration {used.name} ({used.rule}, {used.labels})")
        return evaluate(told, found.aggregate, not is_value, threshold, used, repeats, seed)

    # How it is done.

    def _chosen(self, tasks: Sequence[AnyTask | str]) -> list[AnyTask]:
        """Each task once, in the order in which they were named."""
        if not tasks:
            raise BadQuery("no task is named; `echosearch tasks list` shows what there is")
        return list({(found := self.find(task)).name: found for task in tasks}.values())

    def _model(self) -> Model:
        manifest = self.store.manifest
        return Model(manifest.recipe.id, self.precision, manifest.logit_scale)

    def _key(self, task: AnyTask, form: Form) -> SweepKey:
        return probe_key(task) if isinstance(task, Probe) else task_key(task, form, self._model())

    def _scorer(self, task: AnyTask, form: Form, cut: list[str]) -> Scorer:
        if not isinstance(task, Probe):
            return task_scorer(task, form, self._model(), self._embed(cut))
        if task.recipe != self.store.manifest.recipe.id:
            raise CalibrationMismatch(f"{task.name} was trained by another recipe; train it again on this index")
        if form == "approximate":
            raise BadQuery(f"{task.name} needs the video embedding only, so its exact form is as quick")
        return probe_scorer(task)

    def _embed(self, cut: list[str]) -> Embed:
        """Phrases to text embeddings; of phrases that the model does not hold whole a sentence goes to `cut`."""

        def embed(phrases: Sequence[str]) -> npt.NDArray[np.float32]:
            texts = self.embed(phrases)
            cut.extend(
                f"the model holds only the beginning of {phrase!r}; cut: {text.cut!r}"
                for phrase, text in zip(phrases, texts, strict=True)
                if text.cut
            )
            return np.stack([text.vector for text in texts])

        return embed

    def _calibrations(self, view: View) -> list[Calibration]:
        kept = [Calibration.from_json(item.content, item.name) for item in view.catalog.fitted("calibration")]
        return sorted(kept, key=lambda calibration: calibration.created_at)

    def _sample(
        self, task: AnyTask, labels: LabelFile, form: Form, classes: tuple[str, ...]
    ) -> tuple[Sample, SweepKey]:
        """Labelled videos with their scores; sweeps what is missing once the labels are known to fit."""
        with self.store.view() as view:
            _joined(view, labels)
        scorer = self._scorer(task, form, [])
        [swept] = sweep(self.store, [scorer])
        with self.store.view() as view:
            records, labelled = _joined(view, labels)
        scores = decision(task, swept.columns, classes)
        return sample(task, swept.ids, scores, labelled, records), swept.key

    def _keep(self, kind: FittedKind, name: str, recipe: str, content: str, wait_seconds: float) -> None:
        with self.store.writer(wait_seconds) as writer:
            writer.keep_fitted(Fitted(kind, name, recipe, content, _now()))


def _joined(view: View, labels: LabelFile, views: Sequence[str] = ()) -> tuple[dict[int, VideoRecord], Labelled]:
    """All videos by id (of some views, if these are given), and those that have a label."""
    wanted = {name.upper() for name in views}
    records = {
        record.video_id: record
        for record in view.catalog.videos()
        if not wanted or (record.view is not None and record.view.upper() in wanted)
    }
    if wanted and not records:
        raise BadLabels(f"no video of the index has the view {', '.join(views)}")
    return records, join(labels, records.values())


def _fitting(
    known: Sequence[Calibration], key: SweepKey, classes: tuple[str, ...], name: str | None
) -> Calibration | None:
    """The calibration that is named, which has to fit; else the newest that fits, or None."""
    if name is not None:
        for calibration in known:
            if calibration.name == name:
                calibration.check(key)
                if calibration.classes != classes:
                    raise CalibrationMismatch(
                        f"calibration {name} is for {_classes(calibration.classes)}, and "
                        f"{_classes(classes)} is asked for"
                    )
                return calibration
        raise BadOption(f"there is no calibration {name!r} in this index; there are {_names(known)}")
    fitting = [each for each in known if _is_for(each, key) and each.classes == classes]
    return fitting[-1] if fitting else None


def _called(
    view: View,
    task: AnyTask,
    key: SweepKey,
    ids: npt.NDArray[np.int64],
    columns: dict[str, npt.NDArray[np.float64]],
    known: Sequence[Calibration],
    name: str | None,
) -> Called | None:
    """Probability, yes or no, and prevalence by a calibration: the one named if it fits, else the newest that fits."""
    fitting = [each for each in known if _is_for(each, key)]
    if name is not None and any(each.name == name and each.task == task.name for each in known):
        fitting = [each for each in known if each.name == name]
        fitting[0].check(key)
    if not fitting or not len(ids):
        return None
    calibration = fitting[-1]
    scores = decision(task, columns, calibration.classes)
    records = list(view.catalog.videos(ids.tolist()))
    seen = np.array([_is_seen(record, task) for record in records])
    together = clusters([record.patient for record in records], [record.study for record in records], ids.tolist())
    positive = calibration.is_positive(scores)
    return Called(
        calibration=calibration,
        scores=scores,
        probability=calibration.probability(scores),
        positive=positive,
        seen=seen,
        prevalence=calibration.prevalence(positive[seen], together.codes[seen]) if seen.any() else None,
    )


def _is_for(calibration: Calibration, key: SweepKey) -> bool:
    try:
        calibration.check(key)
    except CalibrationMismatch:
        return False
    return True


def _is_seen(record: VideoRecord, task: AnyTask) -> bool:
    """Whether a video's view shows what a task is about, as far as it is known."""
    return not task.views or record.view is None or record.view.upper() in {view.upper() for view in task.views}


def _unseen_views(view: View, task: AnyTask) -> list[str]:
    """What is to be said of videos whose view does not show what a task is about."""
    if not task.views:
        return []
    shown = {name.upper() for name in task.views}
    views = view.catalog.count_views()
    elsewhere = sum(count for name, count in views.items() if name is not None and name.upper() not in shown)
    told = []
    if elsewhere:
        told.append(f"{task.name} is seen in {', '.join(task.views)}; {elsewhere} videos have another view")
    if unknown := views.get(None, 0):
        told.append(f"{task.name} is seen in {', '.join(task.views)}; of {unknown} videos the view is not known")
    return told


def _names(known: Sequence[Calibration]) -> str:
    return ", ".join(calibration.name for calibration in known) or "none"


def _classes(classes: Sequence[str]) -> str:
    return " or ".join(classes) or "the task as a whole"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
