"""Pictures of scores, with matplotlib. Knows arrays and results; opens no window and no index."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

from echosearch.files import GENERATOR
from echosearch.learning import Estimate, Evaluation, LevelResult, SweepResult, Threshold
from echosearch.outputs import Output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#31688e", "#b5482f", "#4d8f4d", "#7a5195", "#8c6d31", "#5f6b73")


def plot_sweeps(results: Sequence[SweepResult], output: Output) -> None:
    """Draw how the scores of each task lie, with its thresholds: of a regression the values, else every column.

    BackendError when the file cannot be written.
    """
    figure = new_figure(8, 2.8 * len(results))
    for number, result in enumerate(results, start=1):
        axes = figure.add_subplot(len(results), 1, number)
        names = result.task.rule.drawn
        for colour, name in zip(COLOURS * len(names), names, strict=False):
            axes.hist(result.columns[name], bins=60, histtype="step", linewidth=1.4, color=colour, label=name)
        marks = _thresholds(result)
        for style, (name, value) in zip(("--", ":", "-."), marks.items(), strict=False):
            axes.axvline(value, color="#222222", linestyle=style, linewidth=1, label=f"{name} {value:g}")
        axes.set_title(f"{result.task.name}, {result.form}, {len(result.ids)} videos, {result.model}", fontsize=10)
        axes.set_xlabel(result.kind)
        axes.set_ylabel("videos")
        if len(names) > 1 or marks:
            axes.legend(fontsize=8, frameon=False)
    save(figure, output)


def _thresholds(result: SweepResult) -> dict[str, float]:
    """What is to be drawn beside the scores; not what a calibration of classes says, which is of their log odds."""
    lines = {}
    figure = result.task.rule.published_threshold
    if figure is not None and figure.is_of(result.published):
        lines["published threshold" + (", applied" if result.applied else ", not applied")] = figure.value
    if result.called is not None and not result.called.calibration.classes:
        lines[f"threshold of calibration {result.called.calibration.name}"] = result.called.calibration.threshold
    return lines


def draw_evaluation(evaluation: Evaluation, title: str, unit: str = "") -> Figure:
    """How scores stand to labels: of a finding ROC at each level, and reliability where it is calibrated.

    A measurement is drawn as scatter and agreement, by video and by study, in its `unit`.
    """
    videos = evaluation.levels[0]
    is_finding = videos.positives is not None
    figure = _draw_finding(evaluation) if is_finding else _draw_measurement(evaluation, _plain(unit))
    about = f"{videos.units} labelled videos of {videos.patients} patients; in brackets 95 % intervals over patients"
    figure.suptitle(f"{fill(_plain(title), 80)}\n{about}", fontsize=11)
    return figure


def _draw_finding(evaluation: Evaluation) -> Figure:
    columns = 2 if evaluation.reliability else 1
    figure = new_figure(6.2 * columns, 7.2)
    _draw_roc(figure.add_subplot(1, columns, 1), evaluation.levels, evaluation.threshold)
    if evaluation.reliability:
        _draw_reliability(figure.add_subplot(1, columns, 2), evaluation)
    return figure


def _draw_roc(axes: Axes, levels: Sequence[LevelResult], threshold: Threshold | None) -> None:
    from sklearn.metrics import roc_curve

    for colour, level in zip(COLOURS, levels, strict=False):
        name = f"{level.level}: AUROC {_in_words(level.figures['auroc'])}; {level.positives} of {level.units} positive"
        has_both = level.positives not in (0, level.units)
        false_alarms, found, _ = roc_curve(level.labels, level.scores) if has_both else ([], [], [])
        axes.plot(false_alarms, found, color=colour, linewidth=1.6, label=name)
        if level.counts is not None and has_both:
            axes.plot(*_at_threshold(level), "o", color=colour, markersize=7)
    if threshold is not None:
        at = fill(f"at the frozen threshold {threshold.value:.4g} ({_plain(threshold.origin)})", 64)
        axes.plot([], [], "o", color="#222222", markersize=7, label=at)
    _draw_diagonal(axes, (0, 1), "chance")
    _finish(axes, "ROC, labelled videos only", "1 - specificity", "sensitivity")


def _at_threshold(level: LevelResult) -> tuple[list[float], list[float]]:
    """Where on the curve a threshold has brought a level with both classes: 1 - specificity, sensitivity."""
    assert level.counts is not None
    counts = level.counts
    negatives = counts["true_negatives"] + counts["false_positives"]
    positives = counts["true_positives"] + counts["false_negatives"]
    return [counts["false_positives"] / negatives], [counts["true_positives"] / positives]


def _draw_reliability(axes: Axes, evaluation: Evaluation) -> None:
    bins = evaluation.reliability
    probability, share = [each.mean_probability for each in bins], [each.positive_share for each in bins]
    name = f"video: calibration error {evaluation.calibration_error:.3f}, Brier score {evaluation.brier_score:.3f}"
    axes.plot(probability, share, "o-", color=COLOURS[0], linewidth=1.2, markersize=5, label=name)
    for number, each in enumerate(bins):
        above = number % 2 == 0
        axes.annotate(
            f"{each.count}", (each.mean_probability, each.positive_share), (0, 7 if above else -7),
            textcoords="offset points", ha="center", va="bottom" if above else "top", fontsize=8,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip
    _draw_diagonal(axes, (0, 1), "a probability that is the share")
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.07, 1.07))
    _finish(
        axes,
        f"reliability, {sum(each.count for each in bins)} labelled videos; numbers count them",
        "probability by the calibration",
        "share that is labelled positive",
    )


def _draw_measurement(evaluation: Evaluation, unit: str) -> Figure:
    levels = [level for level in evaluation.levels if level.level in ("video", "study")]
    figure = new_figure(12.4, 6.6 * len(levels))
    for row, (colour, level) in enumerate(zip(COLOURS, levels, strict=False)):
        what = f"{level.units} labelled videos" if level.level == "video" else f"{level.units} studies of these videos"
        _draw_scatter(figure.add_subplot(len(levels), 2, 2 * row + 1), level, what, unit, colour)
        _draw_agreement(figure.add_subplot(len(levels), 2, 2 * row + 2), level, what, unit, colour)
    return figure


def _draw_scatter(axes: Axes, level: LevelResult, what: str, unit: str, colour: str) -> None:
    mae, r = level.figures["mae"], level.figures["pearson_r"]
    name = f"mean absolute error {_in_words(mae, unit)}\nPearson r {_in_words(r)}"
    axes.scatter(level.labels, level.scores, s=14, color=colour, alpha=0.5, linewidths=0, label=name)
    ends = (min(level.labels.min(), level.scores.min()), max(level.labels.max(), level.scores.max()))
    _draw_diagonal(axes, (float(ends[0]), float(ends[1])), "value = label")
    _finish(axes, what, _with_unit("label", unit), _with_unit("value", unit))


def _draw_agreement(axes: Axes, level: LevelResult, what: str, unit: str, colour: str) -> None:
    """Bland & Altman 1986: differences over means, with bias and limits of agreement."""
    axes.scatter(
        (level.scores + level.labels) / 2, level.scores - level.labels, s=14, color=colour, alpha=0.5, linewidths=0
    )
    for key, name, style in (
        ("upper_limit", "upper limit", "--"),
        ("bias", "bias", "-"),
        ("lower_limit", "lower limit", "--"),
    ):
        figure = level.figures[key]
        if figure.value is not None:
            axes.axhline(
                figure.value, color="#222222", linestyle=style, linewidth=1.1, label=f"{name} {_in_words(figure, unit)}"
            )
    axes.axhline(0, color="#999999", linestyle=":", linewidth=1)
    _finish(
        axes,
        f"Bland-Altman, {what}",
        _with_unit("mean of value and label", unit),
        _with_unit("value - label", unit),
    )


def _draw_diagonal(axes: Axes, ends: tuple[float, float], name: str) -> None:
    axes.plot(ends, ends, color="#999999", linestyle=":", linewidth=1.2, label=name)
    axes.set_aspect("equal", adjustable="box")


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Titles, and the legend below, where it hides nothing."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _in_words(estimate: Estimate, unit: str = "") -> str:
    """A figure with its interval, as in `0.912 (0.871 to 0.95)`."""
    if estimate.value is None:
        return f"not given ({estimate.counted})"
    low, high = estimate.interval.low, estimate.interval.high
    value = f"{estimate.value:.3g} {unit}".rstrip()
    return f"{value} (no interval)" if low is None else f"{value} ({low:.3g} to {high:.3g})"


def _with_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def _plain(text: str) -> str:
    """Text from elsewhere; between two dollar signs matplotlib would read a formula."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty picture, its sides in inches, that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_svg(figure: Figure) -> bytes:
    """The picture as SVG without a date, its text as outlines; equal pictures give equal bytes."""
    from matplotlib import rc_context

    stream = BytesIO()
    with rc_context({"svg.hashsalt": GENERATOR, "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": GENERATOR})
    return stream.getvalue()


def save(figure: Any, output: Output) -> None:
    """Write a picture, which says that it is ours. BackendError when the file cannot be written."""
    with output.writing() as file:
        figure.savefig(file, dpi=120, format="png", metadata={"Software": GENERATOR})
