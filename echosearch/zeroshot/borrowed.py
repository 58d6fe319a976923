"""Figures that authors published with a task: for which model, and whether they may be applied in an index."""

from __future__ import annotations

from typing import Final

from echosearch.errors import BadOption
from echosearch.store import Manifest
from echosearch.zeroshot.probe import Probe
from echosearch.zeroshot.tasks import PublishedFigure, Task

BORROWED: Final = "a published threshold belongs to its authors' videos and patients, which these need not be like"


def published_threshold(task: Task | Probe, manifest: Manifest) -> PublishedFigure | None:
    """The threshold that was published for a task, None where there is none.

    BadOption where it is another model's: it belongs to one space, and to videos prepared as its authors did.
    """
    figure, standing = task.published_threshold if isinstance(task, Task) else None, manifest.standing
    if figure is None or (figure.model is not None and figure.model == standing.published):
        return figure
    if figure.model is None:
        raise BadOption(f"the published threshold of {task.name} does not say its model; write it into the task: model")
    is_it = standing.preset is not None and standing.preset.name == figure.model
    differs = f", as published ({'; '.join(standing.prepared + standing.sampled)})" if is_it else ""
    raise BadOption(
        f"the threshold of {task.name} was published for {figure.model}, and {manifest.model} is not that{differs}; "
        "learn one from labels: echosearch calibrate"
    )


def whose(figure: PublishedFigure, published: str | None) -> str:
    """For which model a figure was published, beside scores of an index that is `published` as this preset, if any."""
    other = "on other patients" if figure.model is not None and figure.model == published else "not for this model"
    return f"for {figure.model or 'a model that is not said'}, {other}"
