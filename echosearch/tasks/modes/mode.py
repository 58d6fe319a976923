"""What there is to know of a task or a probe by its mode. Knows no mode by name, no file and no index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from echosearch.errors import BadOption

if TYPE_CHECKING:
    from echosearch.encoders import Standing
    from echosearch.index import SweepKey
    from echosearch.tasks.sweep import Doubles, Embed, Scorer
    from echosearch.tasks.task import PublishedFigure

Aggregate = Literal["mean", "median", "max", "top2", "top3"]
"""How a study's videos become one score; top2 and top3 are the mean of the two or three highest."""
Form = Literal["exact", "approximate"]

NUMBER: Final = "<#>"
"""Where the number stands in a prompt of a regression."""

SCORE: Final = "score"
LOG_ODDS: Final = "log odds of the weight"


@dataclass(frozen=True, slots=True)
class Model:
    """What a score depends on besides the task: the recipe of the vectors, and how phrases are embedded."""

    recipe: str
    precision: str
    logit_scale: float | None


@dataclass(frozen=True, slots=True)
class Mode:
    """The rule of one task: how it is scored, and what its scores mean. `Task.rule` and `Probe.rule` make it.

    What is not said otherwise is that of one score a video by which a finding is called, higher for yes.
    """

    task: Any
    """The `Task` or `Probe` that is asked about."""

    # What stands in its file.
    keys: ClassVar[frozenset[str]] = frozenset({"prompts"})
    """Which of prompts, classes, range and normal such a task has."""
    numbered: ClassVar[bool] = False
    """Whether each prompt has a number, `<#>`."""

    # How it is scored.
    columns: ClassVar[tuple[str, ...]] = ("value",)
    """Names of the scores of a task without classes; the first is the one that counts."""
    can_approximate: ClassVar[bool] = False
    """Whether the mean frame can be asked instead of each, for time."""

    # What its scores mean.
    gives_value: ClassVar[bool] = False
    """Whether scores are values in a unit, judged by their errors; else they are called yes or no by a threshold."""
    are_weights: ClassVar[bool] = False
    """Whether the scores of its classes are weights that sum to 1."""
    scale: ClassVar[str] = SCORE
    """On what scale thresholds lie, and `decision` gives its scores."""

    def check(self) -> None:
        """BadTask where the task is none of this mode, for a reason that no key alone has."""

    def scorer(self, key: SweepKey, model: Model, embed: Embed) -> Scorer:
        """What makes scores of vectors, in the form of the key. BadQuery where the model lacks what it needs."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """What the numbers are, in words."""
        raise NotImplementedError

    @property
    def unit(self) -> str:
        """Of its values, as it is shown; empty where there is none."""
        return "" if self.task.range is None else str(self.task.range.unit)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The columns of which a picture shows how they lie."""
        return tuple(self.task.columns)

    @property
    def published_threshold(self) -> PublishedFigure | None:
        """The threshold that the wording's authors published, if they did and it can be applied to its score."""
        return None

    def threshold_for(self, model: str, standing: Standing) -> PublishedFigure | None:
        """The published threshold, for scores of an index made with `model`; None where there is none.

        BadOption where it is another's: it belongs to one space, and to videos prepared as its authors did.
        """
        figure = self.published_threshold
        if figure is None or figure.is_of(standing.published):
            return figure
        is_it, whose = standing.preset and standing.preset.name == figure.model, figure.whose(None).partition(",")[0]
        differs = f"made that way ({'; '.join(standing.differences)})" if is_it else "that"
        raise BadOption(
            f"the threshold of {self.task.name} was published {whose}, and {model} is not {differs}; learn one from "
            "labels: echosearch calibrate"
        )

    def chosen(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes that count as positive. BadOption where they do not fit the task.

        Of weights some, of two classes the first if none is named; of classes without a normal one all may count.
        """
        task, names = self.task, tuple(each.name for each in self.task.classes)
        if not names:
            if classes:
                raise BadOption(f"{task.name} has no classes, so none can be positive")
            return ()
        if not classes and len(names) == (2 if self.are_weights else 1):
            return names[:1]
        if strange := [name for name in classes if name not in names]:
            raise BadOption(f"{task.name} has the classes {', '.join(names)}, not {strange[0]!r}")
        if not classes or ((self.are_weights or task.normal is not None) and set(classes) == set(names)):
            raise BadOption(f"say which classes of {task.name} are positive, some of {', '.join(names)}: --class CLASS")
        return tuple(name for name in names if name in classes)

    def decision(self, columns: Mapping[str, Doubles], classes: Sequence[str] = ()) -> Doubles:
        """The one score (n,) by which videos are called, higher for yes, on `scale`; errors as `chosen`."""
        self.chosen(classes)
        return columns["value"]

    def threshold(self, given: float) -> tuple[float, str]:
        """A threshold as people give it, on `scale`, and what is to be said of that. BadOption outside its range."""
        return given, ""

    # What it was learnt from, where it was.
    @property
    def learnt_from(self) -> tuple[str, ...]:
        """The beginnings of the content hashes of the videos that taught it, sorted; none of a task of phrases."""
        return ()

    @property
    def shortest(self) -> tuple[int, float | None] | None:
        """The fewest frames and seconds that it can say something of; None where that is any video."""
        return None
