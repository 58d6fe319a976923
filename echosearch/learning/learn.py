"""Learning from an index: labels beside its videos and their scores, and what calibrations, probes and judgements need.

Knows the index and no model: phrases are embedded in the `Scorer` that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from echosearch.errors import BackendError, BadLabels, BadOption, BadQuery, IndexLocked
from echosearch.index import Snapshot, Store
from echosearch.learning.calibration import Calibration, beginnings, calibrate, check_labels, made_for, overlap
from echosearch.learning.calling import fitting, lengths, tell, too_short
from echosearch.learning.evaluation import (
    Evaluation,
    Threshold,
    check_finding,
    check_range,
    check_value,
    evaluate,
    frozen_threshold,
)
from echosearch.learning.kept import calibrations, now
from echosearch.learning.labels import LabelFile, Labelled, join
from echosearch.learning.probe import AnyTask, Features, Probe, Training, probe_kind, train
from echosearch.learning.sample import Sample, sample, unknown_patients
from echosearch.learning.thresholds import ThresholdRule
from echosearch.tasks import Scorer, Swept, columns_of, sweep, sweep_without_keeping
from echosearch.types import YES, VideoRecord, people, shows, with_study_keys


def learn_calibration(
    store: Store,
    task: AnyTask,
    scorer: Scorer,
    labels: LabelFile,
    rule: ThresholdRule,
    classes: Sequence[str] = (),
    name: str = "",
    prevalence: float | Literal["estimate"] | None = None,
    all_views: bool = False,
    wait_seconds: float = 0.0,
) -> tuple[Calibration, tuple[str, ...]]:
    """A threshold and a map to probabilities from labels, kept nowhere yet, with warnings; errors as `calibrate`.

    Probabilities are for a `prevalence`: the labels' own, or the one stated, or that of all videos as they are now.
    BadQuery for a task that gives a value.
    """
    check_calibratable(task)
    chosen = task.rule.chosen(classes)
    found = _labelled_scores(store, task, scorer, labels, chosen, check_labels, wait_seconds)
    if flattered := _trained_on(task, found):
        raise BadLabels(f"{flattered[0]}; a calibration would keep that flattery")
    made = Calibration(
        name=name,
        task=task.name,
        **made_for(scorer.key),
        classes=chosen,
        scale=task.rule.scale,
        **labels.origin,
        model=store.description.model,
        created_at=now(),
        **calibrate(found, rule),
    )
    if prevalence == "estimate":
        made = made.at(_prevalence(store, task, scorer, made, all_views), "estimated")
    elif prevalence is not None:
        made = made.at(prevalence, "stated")
    few = [f"{made.few_labels}; threshold and p of so few may be far off"] if made.few_labels else []
    return made, (*found.warnings, *few)


def default_name(task: AnyTask, classes: Sequence[str], prevalence: float | Literal["estimate"] | None) -> str:
    """What a calibration without a name is called: after its task, its classes and the prevalence that it is for."""
    at = [] if prevalence is None else [f"at-{prevalence}"]
    return "-".join([task.name.replace(":", "-"), *(each.replace(" ", "_") for each in classes), *at])


def check_calibratable(task: AnyTask) -> None:
    """BadQuery for a task that gives a value."""
    if task.rule.gives_value:
        raise BadQuery(f"{task.name} gives a value, not a yes or no; see how far it is off: echosearch evaluate")


def _prevalence(store: Store, task: AnyTask, scorer: Scorer, made: Calibration, all_views: bool) -> float:
    """How common the finding is in the index by a new calibration. BadLabels where that cannot be told."""
    swept, _ = sweep_or_score(store, scorer)
    with store.snapshot() as snapshot:
        called = tell(snapshot, task, swept, [made], all_views=all_views).called
    found = None if called is None else called.prevalence
    if found is not None and found.value is not None and 0 < found.value < 1:
        return found.value
    reasons = [] if called is None or not called.caution else [called.caution]
    reasons += [] if found is None else [found.reason or f"it comes out as {found.value:g}"]
    why = "; ".join(reasons) or "no video can show it"
    raise BadLabels(f"the prevalence cannot be estimated: {why}; state it: --prevalence 0.05")


def learn_probe(
    store: Store,
    label: str,
    labels: LabelFile,
    kind: str | None = None,
    views: Sequence[str] = (),
    motion: bool = False,
) -> tuple[Probe, tuple[str, ...]]:
    """A linear probe on the video embeddings, kept nowhere yet, with warnings; errors as `train`.

    `kind` is logistic or ridge; by default what the labels call for. Only videos of `views` are learnt from, if some
    are given. `motion` learns from how the embeddings vary over frames as well; BadQuery where the index keeps none.
    """
    description, shortest = store.description, {}
    with store.snapshot() as snapshot:
        records, labelled = _labelled(snapshot, labels)
        labelled = _of_views(records, labelled, views)
        if motion:
            seen = lengths(snapshot)
            stills = np.isin(labelled.video_ids, seen.ids[seen.frames < 2])
            told_of = f"{stills.sum()} labelled videos show one frame and no motion, and are left out"
            labelled = labelled.kept(~stills, told_of)
            shortest = seen.shortest(labelled.video_ids)
        known = columns_of(snapshot, Features(motion, description.dim), labelled.video_ids)
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
    recipe = description.recipe.id
    probe = Probe(label, chosen, recipe, tuple(weights.tolist()), offset, training, tuple(views), motion=motion)
    return probe, (*labelled.warnings, *unknown_patients(together))


def judge(
    store: Store,
    task: AnyTask,
    scorer: Scorer,
    labels: LabelFile,
    classes: Sequence[str] = (),
    calibration: str | None = None,
    threshold: Threshold | None = None,
    repeats: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Judge the scores of a task by labels, at video, study and patient level; sweeps what is missing.

    A finding is judged at `threshold` (of weights: a weight), else at that of the calibration (by default the newest
    that fits). BadOption for either with a task that gives a value.
    """
    is_value = task.rule.gives_value
    if is_value and (calibration is not None or threshold is not None):
        raise BadOption(f"{task.name} gives a value and is judged by its errors, so no threshold goes with it")
    chosen, used = task.rule.chosen(classes), None
    if not is_value:
        with store.snapshot() as snapshot:
            used = fitting(calibrations(snapshot), scorer.key, chosen, calibration)
    frozen = frozen_threshold(threshold, used, task.rule)
    odd = check_range(labels, task) if is_value else []
    found = _labelled_scores(store, task, scorer, labels, chosen, check_value if is_value else check_finding)
    judged = evaluate(found, task.aggregate, not is_value, frozen, used, repeats, seed)
    return replace(judged, warnings=(*odd, *judged.warnings, *_trained_on(task, found)))


def _labelled_scores(
    store: Store,
    task: AnyTask,
    scorer: Scorer,
    labels: LabelFile,
    classes: tuple[str, ...],
    check: Callable[[Sample], object],
    wait_seconds: float = 0.0,
) -> Sample:
    """Labelled videos with their scores; sweeps what is missing once the labels are known to pass `check`."""
    with store.snapshot() as snapshot:
        records, labelled = _usable(snapshot, labels, task)
        check(sample(task, snapshot.rows.ids, np.zeros(len(snapshot.rows.ids)), labelled, records))
    swept, warnings = sweep_or_score(store, scorer, wait_seconds)
    with store.snapshot() as snapshot:
        records, labelled = _usable(snapshot, labels, task)
    found = sample(task, swept.ids, task.rule.decision(swept.columns, classes), labelled, records)
    return replace(found, warnings=(*found.warnings, *warnings))


def sweep_or_score(store: Store, scorer: Scorer, wait_seconds: float = 0.0) -> tuple[Swept, list[str]]:
    """All scores; where they cannot be kept (read-only, or another process is writing), they are made, with a note."""
    try:
        return sweep(store, [scorer], wait_seconds)[0], []
    except (IndexLocked, BackendError) as error:
        [swept] = sweep_without_keeping(store, [scorer])
        return swept, [f"the scores were not kept: {error}"]


def _trained_on(task: AnyTask, found: Sample) -> list[str]:
    """What is to be said of videos that a probe was trained on."""
    if not any(seen := overlap(task.rule.learnt_from, found)):
        return []
    others = f", and on videos of the same patients as {seen[1]} others" if seen[1] else ""
    return [
        f"{task.name} was trained on {seen[0]} of these videos{others}, so its scores flatter it; use other patients'"
    ]


def _labelled(snapshot: Snapshot, labels: LabelFile) -> tuple[dict[int, VideoRecord], Labelled]:
    """All videos by id, and those that have a label."""
    known, notes = with_study_keys(snapshot.catalog.videos.records())
    labelled = join(labels, known)
    records = {record.video_id: record for record in known}
    return records, replace(labelled, warnings=(*labelled.warnings, *notes))


def _usable(snapshot: Snapshot, labels: LabelFile, task: AnyTask) -> tuple[dict[int, VideoRecord], Labelled]:
    """All videos by id, and those that have a label and are long enough for the task."""
    records, labelled = _labelled(snapshot, labels)
    short = np.isin(labelled.video_ids, too_short(snapshot, task))
    told = f"{short.sum()} labelled videos are shorter than any that {task.name} learnt motion from, and are left out"
    return records, labelled.kept(~short, told)


def _of_views(records: Mapping[int, VideoRecord], labelled: Labelled, views: Sequence[str]) -> Labelled:
    """The labelled videos of some views; all if none is given. BadLabels where none is left."""
    of = shows(views, [records[video_id].seen_view for video_id in labelled.video_ids.tolist()]) == YES
    if not of.any():
        raise BadLabels(f"none of the {len(of)} labelled videos has the view {', '.join(views)}")
    return labelled.kept(of, f"{(~of).sum()} labelled videos are not of the view {', '.join(views)} and are left out")
