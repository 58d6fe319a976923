"""Embedding an index anew, and how far scores moved by it: those of every task whose scores the index keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from echosearch.api.index import open_index
from echosearch.errors import EchoSearchError
from echosearch.ingest import IngestOptions, reembed
from echosearch.learning import SweepResult
from echosearch.tasks import Form, Swept, Task, stored, task_from_dict
from echosearch.types import ProgressListener

_FORMS: dict[str, Form] = {"exact": "exact", "approximate": "approximate"}


def reembed_index(
    path: Path,
    options: IngestOptions,
    leave_out: bool = False,
    dry_run: bool = False,
    listener: ProgressListener | None = None,
) -> dict[str, Any]:
    """`ingest.reembed`, and in figures how far embeddings and the scores of each swept task `moved`; JSON values."""
    zeroshot = open_index(path, precision=options.precision).zeroshot
    kept: list[tuple[Task, Form, Swept]] = []
    with zeroshot.store.snapshot() as snapshot:
        for key in (row.key for row in snapshot.catalog.sweeps.all()):
            definition, form = json.loads(key.definition), _FORMS[key.form]
            task = None if definition["mode"] == "probe" else task_from_dict(definition)
            if task is not None and (swept := stored(snapshot, zeroshot.key(task, form))) is not None:
                kept.append((task, form, swept))
    told = reembed(path, options, leave_out, dry_run, listener)
    told["left_out"] = [failure.to_dict() for failure in told["left_out"]]
    told["moved"], told["notes"] = {}, []
    for kind, found in told.pop("cosines").items():
        told["moved"][f"{kind} embeddings"] = {"lowest_cosine": min(found), "median_cosine": float(np.median(found))}
    # What is kept is of all videos, whether their view shows it or not; so is what it is compared with.
    zeroshot = open_index(path, precision=options.precision, all_views=True).zeroshot
    for task, form, before in kept if told["ids"] else ():
        try:
            [now] = zeroshot.sweep(task, approximate=form == "approximate", wait_seconds=options.wait_seconds)
            told["moved"] |= _moved(before, now, told["ids"], told["is_other_recipe"])
        except EchoSearchError as error:
            told["notes"].append(f"{task.name} was not scored anew: {error}")
    return told


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
        told = moved[f"{now.task.name} {name}"] = {"videos": len(old)}
        if not is_other:
            told |= {"mean_change": float(np.abs(new - old).mean()), "max_change": float(np.abs(new - old).max())}
        if np.ptp(old) > 0 and np.ptp(new) > 0:
            told["rank_correlation"] = float(spearmanr(old, new).statistic)
    return moved
