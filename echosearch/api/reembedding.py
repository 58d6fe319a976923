"""Embedding an index anew, and how far scores moved by it: those of every task whose scores the index keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echosearch.api.index import open_index
from echosearch.errors import EchoSearchError
from echosearch.ingest import IngestOptions, reembed
from echosearch.learning import SweepResult
from echosearch.tasks import Form, Swept, Task, stored, task_from_dict
from echosearch.types import Answer, Failure, ProgressListener

_FORMS: dict[str, Form] = {"exact": "exact", "approximate": "approximate"}


@dataclass(frozen=True, slots=True)
class ReembedReport(Answer):
    """How many `videos` were embedded again, and how far that moved embeddings and scores.

    `ids` old -> new, of files that have not changed; `left_out` could not be embedded; `learnt` texts of what was
    learnt do not apply any more; `moved` has figures by kind of embedding and by column of scores.
    """

    index: str
    videos: int
    is_other_recipe: bool
    left_out: tuple[Failure, ...]
    ids: dict[int, int]
    learnt: int
    moved: dict[str, dict[str, float]]
    notes: tuple[str, ...]


def reembed_index(
    path: Path,
    options: IngestOptions,
    leave_out: bool = False,
    dry_run: bool = False,
    listener: ProgressListener | None = None,
) -> ReembedReport:
    """`ingest.reembed`, and in figures how far embeddings and the scores of each swept task moved."""
    zeroshot = open_index(path, precision=options.precision).zeroshot
    kept: list[tuple[Task, Form, Swept]] = []
    with zeroshot.store.snapshot() as snapshot:
        for key in (row.key for row in snapshot.catalog.sweeps.all()):
            definition, form = json.loads(key.definition), _FORMS[key.form]
            task = None if definition["mode"] == "probe" else task_from_dict(definition)
            if task is not None and (swept := stored(snapshot, zeroshot.key(task, form))) is not None:
                kept.append((task, form, swept))
    done = reembed(path, options, leave_out, dry_run, listener)
    moved: dict[str, dict[str, float]] = {
        f"{kind} embeddings": {"lowest_cosine": min(cosines), "median_cosine": float(np.median(cosines))}
        for kind, cosines in done.cosines.items()
    }
    notes = []
    # What is kept is of all videos, whether their view shows it or not; so is what it is compared with.
    zeroshot = open_index(path, precision=options.precision, all_views=True).zeroshot
    for task, form, before in kept if done.ids else ():
        try:
            [now] = zeroshot.sweep(task, approximate=form == "approximate", wait_seconds=options.wait_seconds)
            moved |= _moved(before, now, done.ids, done.is_other_recipe)
        except EchoSearchError as error:
            notes.append(f"{task.name} was not scored again: {error}")
    return ReembedReport(
        done.index, done.videos, done.is_other_recipe, done.left_out, done.ids, done.learnt, moved, tuple(notes)
    )


def _moved(before: Swept, now: SweepResult, ids: dict[int, int], is_other: bool) -> dict[str, dict[str, float]]:
    """How far each column of scores moved, on videos with `ids` old -> new; by another recipe only order compares."""
    from scipy.stats import spearmanr

    known = np.isin(before.ids, list(ids))
    new_ids = [ids[old] for old in before.ids[known].tolist()]
    rows = np.searchsorted(now.ids, new_ids)
    assert now.ids[rows].tolist() == new_ids, "each score is compared with that of the same video"
    moved: dict[str, dict[str, float]] = {}
    for name, values in before.columns.items() if known.any() else ():
        old, new = values[known], now.columns[name][rows]
        figures = moved[f"{now.task.name} {name}"] = {"videos": len(old)}
        if not is_other:
            figures |= {"mean_change": float(np.abs(new - old).mean()), "max_change": float(np.abs(new - old).max())}
        if np.ptp(old) > 0 and np.ptp(new) > 0:
            figures["rank_correlation"] = float(spearmanr(old, new).statistic)
    return moved
