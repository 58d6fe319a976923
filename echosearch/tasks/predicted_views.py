"""Views of which the manifest says nothing, by a model whose preset says how well it tells them. Knows no file."""

from __future__ import annotations

from typing import Final

from echosearch.index import IndexDescription, Writer
from echosearch.tasks.scorers import Embed, Model, task_scorer
from echosearch.tasks.sweep import Swept, stored, sweep_under
from echosearch.tasks.task_files import builtin_tasks

VIEW_TASK: Final = "view"
SURE: Final = 0.9
"""Weight of a class from which on a video is said to be of it: a doubtful one is not flagged."""


def tells_views(description: IndexDescription) -> bool:
    """Whether the index's model is measured to tell views."""
    preset = description.standing.preset
    return preset is not None and VIEW_TASK in preset.measured


def predict_views(writer: Writer, precision: str, embed: Embed) -> None:
    """Sweep the view task where videos have no score of it yet, and keep the views of which it is sure."""
    description = writer.description
    model = Model(description.recipe.id, precision, description.logit_scale)
    scorer = task_scorer(builtin_tasks()[VIEW_TASK], "exact", model, embed)
    sweep_under(writer, [scorer])
    with writer.snapshot() as snapshot:
        swept = stored(snapshot, scorer.key)
        before = {record.video_id: record.view_predicted for record in snapshot.catalog.videos.records()}
    found = {} if swept is None else sure(swept)
    if changed := {video_id: name for video_id, name in found.items() if before[video_id] != name}:
        with writer.transaction() as transaction:
            transaction.videos.predict_views(changed)


def sure(kept: Swept) -> dict[int, str | None]:
    """The class of each video of which one has nearly all of the weight; None where no class has."""
    names = list(kept.columns)
    return {
        video_id: max(zip(row, names, strict=True))[1] if max(row) >= SURE else None
        for video_id, *row in zip(kept.ids.tolist(), *(kept.columns[name].tolist() for name in names), strict=True)
    }
