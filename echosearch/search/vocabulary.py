"""What names of a filter stand for: fields, attributes, and what tasks and calibrations say. Knows no scores.

task.NAME.COLUMN          the score of a swept task: value, spread, or the weight of a class
task.NAME.p, .yes         what the task's calibration makes of it
calibration.NAME.p, .yes  the same by a calibration's own name, where a task has several
probe.NAME.value          a linear probe (.p and .yes where it is calibrated)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from echosearch.errors import BadFilter
from echosearch.filters import KnownName, Name, ValueType
from echosearch.index import FIELDS, AttributeColumn, Snapshot, SweepKey
from echosearch.learning import PREFIX, AnyTask, Calibration, kept
from echosearch.tasks import Aggregate, known_tasks

Kind = Literal["value", "p", "yes"]
Parts = tuple[str, ...]

DOMAIN: Final = ("video", "domain")
"""The field that says whether a video is of a kind that the model is made for."""

DOMAIN_BY: Final = "video.domain by "
"""How tasks are called in cohorts of before that told it then, followed by the task."""

_CALLED: Final = ("p", "yes")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a name of a task stands for: a column of its scores, or what `calibration` makes of them.

    `aggregate` says how the videos of a study become one score.
    """

    parts: Parts
    task: AnyTask
    kind: Kind
    column: str
    calibration: Calibration | None
    aggregate: Aggregate

    @property
    def name(self) -> str:
        """As it stands in a filter."""
        return str(Name(self.parts, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """All that can be named in a filter over one index."""

    attributes: tuple[AttributeColumn, ...]
    tasks: Mapping[str, AnyTask]
    calibrations: tuple[Calibration, ...]
    key_of: Callable[[AnyTask], SweepKey]
    pinned: Mapping[Parts, Source] = field(default_factory=dict)
    """What some names stood for when a cohort was made: they keep that meaning."""
    all_views: bool = False

    @classmethod
    def of(cls, snapshot: Snapshot, key_of: Callable[[AnyTask], SweepKey], all_views: bool) -> Vocabulary:
        """That of one moment of an index: its attributes, calibrations and probes, and all tasks that can be named."""
        tasks: dict[str, AnyTask] = {name: task for name, (task, _) in known_tasks().items()}
        tasks |= {probe.name: probe for probe in kept.probes(snapshot)}
        attributes = tuple(snapshot.catalog.attributes.columns())
        return cls(attributes, tasks, tuple(kept.calibrations(snapshot)), key_of, all_views=all_views)

    def known(self) -> list[KnownName]:
        """Every name with its type."""
        names = [KnownName(("video", name), type_) for name, type_ in FIELDS.items()]
        names.append(KnownName(DOMAIN, "text"))
        names += [KnownName(("attr", each.name), _type_of(each)) for each in self.attributes]
        for task in self.tasks.values():
            names += [KnownName((*_prefix(task), name), "number") for name in _own_columns(task)]
            if not task.rule.gives_value:
                names += _called_names(_prefix(task))
        for calibration in self.calibrations:
            names += _called_names(("calibration", calibration.name))
        return names

    def attribute_numbers(self) -> dict[str, int]:
        """Attribute -> its column in the catalog."""
        return {each.name: each.number for each in self.attributes}

    def source(self, name: Name, parts: Parts, aggregates: Mapping[str, Aggregate]) -> Source:
        """What a name of a task, probe or calibration stands for. BadFilter where none or several calibrations fit."""
        if parts in self.pinned:
            return self._still_fitting(name, self.pinned[parts])
        space, label, column = parts
        calibration: Calibration | None
        if space == "calibration":
            calibration = next(each for each in self.calibrations if each.name == label)
            task = self.tasks.get(calibration.task)
            if task is None or not self._fits(calibration, task):
                raise BadFilter(
                    f"{_at(name)}: calibration {label} is for another wording, form or recipe of {calibration.task} "
                    "than this index and its tasks have; calibrate again"
                )
        else:
            task = self.tasks[label if space == "task" else f"{PREFIX}{label}"]
            calibration = self._only_calibration(name, task) if column in _CALLED else None
        rule = aggregates.get(task.name, task.aggregate)
        if calibration is None:
            return Source(parts, task, "value", column, None, rule)
        kind: Kind = "p" if column == "p" else "yes"
        return Source(parts, task, kind, "", calibration, rule)

    def _only_calibration(self, name: Name, task: AnyTask) -> Calibration:
        """The newest that fits; where several are for different classes, none is meant without being named."""
        fitting = [each for each in self.calibrations if self._fits(each, task)]
        if not fitting:
            raise BadFilter(
                f"{_at(name)}: {task.name} has no calibration that fits, so there is no yes and no probability; "
                f"make one: echosearch calibrate {task.name} --labels FILE (or compare its score: "
                f"{_dotted(task, next(iter(_own_columns(task)), 'value'))})"
            )
        if len({each.classes for each in fitting}) > 1:
            told = ", ".join(f'calibration."{each.name}".{name.parts[-1]}' for each in fitting)
            raise BadFilter(f"{_at(name)}: {task.name} is calibrated for different classes; name the one: {told}")
        return fitting[-1]

    def _still_fitting(self, name: Name, source: Source) -> Source:
        if source.calibration is not None and not self._fits(source.calibration, source.task):
            raise BadFilter(
                f"{_at(name)}: the cohort's calibration {source.calibration.name} is for scores by another formula, "
                "recipe or precision than are made now, so its threshold means nothing here"
            )
        return source

    def _fits(self, calibration: Calibration, task: AnyTask) -> bool:
        return calibration.fits(self.key_of(task))


def task_of(parts: Parts, tasks: Iterable[AnyTask]) -> str | None:
    """The task or probe that a name with these parts is about, by its own name; None for fields and calibrations."""
    return next((task.name for task in tasks if _prefix(task) == parts[:2]), None)


def _prefix(task: AnyTask) -> tuple[str, str]:
    space, _, label = task.name.rpartition(":")
    return space or "task", label


def _dotted(task: AnyTask, column: str) -> str:
    return str(Name((*_prefix(task), column), 1))


def _own_columns(task: AnyTask) -> Sequence[str]:
    """The columns of its scores; a class that is called p or yes gives way to the calibrated answer."""
    return [name for name in task.columns if name not in _CALLED]


def _called_names(prefix: tuple[str, str]) -> list[KnownName]:
    return [KnownName((*prefix, "p"), "number"), KnownName((*prefix, "yes"), "flag")]


def _type_of(column: AttributeColumn) -> ValueType:
    return "text" if column.type == "text" else "number"


def _at(name: Name) -> str:
    return f"the filter, character {name.position}"
