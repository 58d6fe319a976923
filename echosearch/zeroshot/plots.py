"""Pictures of scores, with matplotlib. Knows arrays and results; opens no window and no index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echosearch.errors import BackendError
from echosearch.zeroshot.results import SweepResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#31688e", "#b5482f", "#4d8f4d", "#7a5195", "#8c6d31", "#5f6b73")


def plot_sweeps(
    results: Sequence[SweepResult], path: Path, thresholds: dict[str, dict[str, float]] | None = None
) -> None:
    """Draw how the scores of each task lie; `thresholds` name -> value are drawn where a task has some.

    Of a regression the values, else one line for each column. BackendError when the file cannot be written.
    """
    figure = _figure(8, 2.8 * len(results))
    for number, result in enumerate(results, start=1):
        axes = figure.add_subplot(len(results), 1, number)
        names = ["value"] if result.task.mode == "regression" else list(result.columns)
        for colour, name in zip(_COLOURS * len(names), names, strict=False):
            axes.hist(result.columns[name], bins=60, histtype="step", linewidth=1.4, color=colour, label=name)
        marks = {
            f"published {each.name}, not applied": each.value
            for each in result.task.published
            if "threshold" in each.name.lower()
        } | (thresholds or {}).get(result.task.name, {})
        for style, (name, value) in zip(("--", ":", "-."), marks.items(), strict=False):
            axes.axvline(value, color="#222222", linestyle=style, linewidth=1, label=f"{name} {value:g}")
        axes.set_title(f"{result.task.name}, {result.form}, {len(result.ids)} videos, {result.model}", fontsize=10)
        axes.set_xlabel(result.kind)
        axes.set_ylabel("videos")
        if len(names) > 1 or marks:
            axes.legend(fontsize=8, frameon=False)
    save(figure, path)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a picture whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    try:
        figure.savefig(partial, dpi=120, format="png")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BackendError(f"cannot write the picture {path}: {error.strerror or error}") from error
