"""What a sweep is answered with. Knows no catalog and no printing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.learning.calibration import Calibration
from echosearch.learning.intervals import NONE, Estimate
from echosearch.learning.probe import AnyTask
from echosearch.tasks import NOT_VALIDATED, Form, PublishedFigure
from echosearch.types import BESIDE, NO, UNKNOWN, YES, Answer, Shown, counted

_SHOWS = {YES: "yes", UNKNOWN: "unknown", NO: "no"}


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """What a calibration makes of scores (n,): probabilities (n,), yes or no (n,), and the true share of yes.

    `scores` are those that it judges (of a contrastive task log odds); `seen` (n,) marks the videos that can show the
    finding: of the others `p` and `yes` are unknown, and the prevalence is without them.
    """

    calibration: Calibration
    scores: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    positive: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_]
    prevalence: Estimate | None
    caution: str = ""
    """Why no prevalence follows, where that is not for lack of labels."""

    def of(self, left: npt.NDArray[np.bool_]) -> Called:
        """The same for some of the videos, without the prevalence, which is that of all."""
        rows = {name: getattr(self, name)[left] for name in ("scores", "probability", "positive", "seen")}
        return replace(self, **rows, prevalence=None)

    def summary(self) -> CalledSummary:
        """How many are called positive, by what, and the prevalence with its assumption."""
        calibration = self.calibration
        return CalledSummary(
            calibration=calibration.name,
            classes=calibration.classes,
            rule=calibration.rule,
            threshold=calibration.threshold,
            scale=calibration.scale,
            labels=calibration.labels,
            **calibration.figures(),
            videos=int(self.seen.sum()),
            positive=int((self.positive & self.seen).sum()),
            prevalence=self.prevalence,
            assumption=f"{calibration.assumption}; {ASSUMPTION}",
        )


ASSUMPTION = (
    "the share that truly has it assumes that sensitivity and specificity are here what they were on the labelled "
    "patients left out"
)


@dataclass(frozen=True, slots=True)
class CalledSummary(Answer):
    """How many of the `videos` that can show it are called `positive`, by which calibration, and the prevalence.

    Its figures are those on patients left out; `prevalence` is None of a part of the videos.
    """

    calibration: str
    classes: tuple[str, ...]
    rule: str
    threshold: float
    scale: str
    labels: str
    sensitivity: Estimate
    specificity: Estimate
    f1: Estimate
    videos: int
    positive: int
    prevalence: Estimate | None
    assumption: str


@dataclass(frozen=True, slots=True)
class ShownFigure(Answer):
    """A published figure beside a sweep: `of` whom it is, and whether it was `applied`."""

    figure: PublishedFigure = field(metadata=BESIDE)
    of: str
    applied: bool


@dataclass(frozen=True, slots=True)
class SweepSummary(Answer):
    """What was scored and how, and how each column is distributed (None: no video counts).

    `shows` counts videos by whether their view shows the finding.
    """

    task: str
    task_id: str
    mode: str
    kind: str
    form: Form
    validated: str
    index: str
    generation: int
    model: str
    recipe: str
    frames_dtype: str
    num_videos: int
    scored_now: int
    published: tuple[ShownFigure, ...]
    shows: dict[str, int]
    all_views: bool
    columns: dict[str, dict[str, float] | None]
    called: CalledSummary | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SweepAnswer(Answer):
    """A sweep of one task: the summary, and a row of scores for each of the videos."""

    summary: SweepSummary = field(metadata=BESIDE)
    videos: tuple[dict[str, int | float | bool | str | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult:
    """Scores of one task for all live videos, with all that is needed to say how they came about.

    `ids` (n,) int64 ascending; `columns` name -> (n,) float64: of a regression `value` and its `spread` over frames,
    of a contrastive task the weight of each class (0 to 1), else a mean similarity (higher: more like the phrases).
    `shown` (n,) says whether the view shows it; those of which it does not are left out unless `all_views`.
    `scored_now` of these videos had no score before. `called` is by a calibration of one's own, `applied` the
    published threshold where it was asked for; `published` is the preset whose published figures are of this very way.
    """

    task: AnyTask
    form: Form
    index: str
    generation: int
    model: str
    recipe: str
    frames_dtype: str
    ids: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.float64]]
    shown: Shown
    scored_now: int
    warnings: tuple[str, ...] = ()
    called: Called | None = None
    applied: PublishedFigure | None = None
    published: str | None = None
    all_views: bool = False

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """(n,) which videos count: those whose view shows it, with `all_views` also those of which that is unknown."""
        return counted(self.shown, self.all_views)

    @property
    def kind(self) -> str:
        """What the numbers are, in words."""
        return self.task.rule.kind

    def chosen_by_scores(self) -> SweepResult:
        """The same without a prevalence, which does not follow where scores say which videos are there."""
        if self.called is None or self.called.prevalence is None:
            return self
        reason = "no prevalence of videos that were chosen by scores"
        told = replace(self.called.prevalence, value=None, interval=NONE, reason=reason)
        return replace(self, called=replace(self.called, prevalence=told))

    def without(self, ids: npt.NDArray[np.int64]) -> SweepResult:
        """The same without some videos."""
        return self.kept(~np.isin(self.ids, ids))

    def kept(self, left: npt.NDArray[np.bool_]) -> SweepResult:
        """The same for some of the videos (n,)."""
        columns = {name: values[left] for name, values in self.columns.items()}
        called = self.called and self.called.of(left)
        return replace(self, ids=self.ids[left], columns=columns, shown=self.shown[left], called=called)

    def rows(self) -> dict[str, npt.NDArray[Any]]:
        """All that is told of each video, by name (n,): its scores, whether its view `shows` it, and `p` and `yes`.

        `yes_published` is what the authors' threshold says, where the sweep was asked to apply it. What is unknown is
        None, as in a filter: p and yes of videos that do not count.
        """
        told: dict[str, npt.NDArray[Any]] = dict(self.columns)
        if self.task.views:
            told["shows"] = np.array([_SHOWS[each] for each in self.shown.tolist()], object)
        if self.called is not None:
            told["p"] = _known(self.called.probability, self.called.seen)
            told["yes"] = _known(self.called.positive, self.called.seen)
        if self.applied is not None:
            told["yes_published"] = _known(self.columns["value"] >= self.applied.value, self.counted)
        return told

    def summary(self) -> SweepSummary:
        """What was scored and how, and how each column is distributed."""
        return SweepSummary(
            task=self.task.name,
            task_id=self.task.id,
            mode=self.task.mode,
            kind=self.kind,
            form=self.form,
            validated=self.task.validated or NOT_VALIDATED,
            index=self.index,
            generation=self.generation,
            model=self.model,
            recipe=self.recipe,
            frames_dtype=self.frames_dtype,
            num_videos=len(self.ids),
            scored_now=self.scored_now,
            published=tuple(
                ShownFigure(each, each.whose(self.published), each == self.applied) for each in self.task.published
            ),
            shows={name: int((self.shown == each).sum()) for each, name in _SHOWS.items()},
            all_views=self.all_views,
            columns={name: distribution(values[self.counted]) for name, values in self.columns.items()},
            called=None if self.called is None else self.called.summary(),
            warnings=self.warnings,
        )

    def scores(self) -> Iterator[dict[str, int | float | bool | str | None]]:
        """A row for each video: `video_id`, and its `rows()`."""
        columns = {name: values.tolist() for name, values in self.rows().items()}
        for row, video_id in enumerate(self.ids.tolist()):
            yield {"video_id": video_id} | {name: values[row] for name, values in columns.items()}

    def answer(self) -> SweepAnswer:
        """Summary and scores, as --json prints them."""
        return SweepAnswer(self.summary(), tuple(self.scores()))


def _known(values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """The values (n,), or None where they are not known."""
    told = values.astype(object)
    told[~known] = None
    return told


def distribution(values: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float] | None:
    """Mean, extremes and some percentiles; None where there is nothing."""
    if not len(values):
        return None
    told = np.percentile(values, [0, 5, 25, 50, 75, 95, 100])
    names = ("lowest", "p5", "p25", "median", "p75", "p95", "highest")
    return {"mean": float(np.mean(values))} | dict(zip(names, map(float, told), strict=True))
