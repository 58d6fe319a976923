"""The names of a filter as they were when a cohort was made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import cast

from echosearch.cohort.cohort import Cohort, Measure
from echosearch.filters import names, parse_filter
from echosearch.learning import AnyTask, Calibration, Probe
from echosearch.search import DOMAIN_BY, Source, Vocabulary
from echosearch.tasks import Aggregate, task_from_dict


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
