"""Evaluations as answers: with the index and model that they are of, and all that is to be known beside them."""

from __future__ import annotations

from dataclasses import dataclass, field

from echosearch.api.index import Index
from echosearch.learning import (
    AnyTask,
    Evaluation,
    LevelFigures,
    ReliabilityBin,
    Retrieval,
    RetrievalFigures,
    Threshold,
)
from echosearch.tasks import NOT_VALIDATED, Aggregate, PublishedFigure
from echosearch.types import BESIDE, Answer


@dataclass(frozen=True, slots=True)
class Origin(Answer):
    """The index and model of an answer."""

    index: str
    generation: int
    model: str
    recipe: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationAnswer(Answer):
    """How good the scores of a task are, at each level; `wording` says on which patients its phrases were tried."""

    origin: Origin = field(metadata=BESIDE)
    task: str
    task_id: str
    wording: str
    aggregate: Aggregate
    threshold: Threshold | None
    levels: tuple[LevelFigures, ...]
    calibration: str | None
    calibration_error: float | None
    brier: float | None
    reliability: tuple[ReliabilityBin, ...]
    published: tuple[PublishedFigure, ...]


@dataclass(frozen=True, slots=True)
class RetrievalAnswer(Answer):
    """How well reports and videos find each other."""

    origin: Origin = field(metadata=BESIDE)
    figures: RetrievalFigures = field(metadata=BESIDE)


def evaluation_answer(index: Index, task: AnyTask, found: Evaluation) -> EvaluationAnswer:
    """An evaluation of a task by labels, made with this index."""
    return EvaluationAnswer(
        origin=_origin(index, found.warnings),
        task=task.name,
        task_id=task.id,
        wording=task.validated or NOT_VALIDATED,
        aggregate=task.aggregate,
        threshold=found.threshold,
        levels=tuple(level.answer() for level in found.levels),
        calibration=found.calibration,
        calibration_error=found.calibration_error,
        brier=found.brier_score,
        reliability=found.reliability,
        published=task.published,
    )


def retrieval_answer(index: Index, found: Retrieval) -> RetrievalAnswer:
    """An evaluation of retrieval, made with this index."""
    return RetrievalAnswer(_origin(index, found.warnings), found.answer())


def _origin(index: Index, warnings: tuple[str, ...]) -> Origin:
    info = index.info()
    return Origin(info.index, info.generation, info.model, info.recipe, (*info.notes, *warnings))
