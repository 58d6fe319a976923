"""What a question is answered with; every type goes to plain JSON by its fields. Knows no catalog and no printing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from echosearch.types.views import seen_view

Exclude = Literal["study", "patient", "content"]
ScoreKind = Literal["cosine", "mean", "contrast", "mixed"]

BESIDE: Final = {"beside": True}
"""Metadata of a field that holds a dataclass whose own fields stand beside the others in JSON; later fields win."""


class Answer:
    """What --json, Python and REST give: a frozen dataclass whose fields, by name, are its JSON (`api.schemas`)."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return cast("dict[str, Any]", plain(self))


def plain(value: object) -> Any:
    """An answer as plain JSON values: dataclasses as objects, tuples as lists, paths as text."""
    if is_dataclass(value):
        found: dict[str, Any] = {}
        for each in fields(value):
            its = plain(getattr(value, each.name))
            found |= its if each.metadata == BESIDE else {each.name: its}
        return found
    if isinstance(value, Mapping):
        return {key: plain(its) for key, its in value.items()}
    if isinstance(value, tuple | list):
        return [plain(its) for its in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class VideoRecord(Answer):
    """One video as the catalog knows it. `path` is absolute; attributes are the manifest's other columns.

    `unverified` says where its vectors came from, if from elsewhere and no probe has shown that they are right.
    `view` is the manifest's, `view_predicted` that of a model that is measured to tell views.
    """

    video_id: int
    path: str
    study: str | None
    patient: str | None
    view: str | None
    acquired_at: str | None
    kind: str
    num_frames: int
    num_embedded_frames: int
    height: int
    width: int
    fps: float | None
    size_bytes: int
    content_sha256: str
    added_at: str
    unverified: str | None = None
    view_predicted: str | None = None
    attributes: dict[str, int | float | str | None] = field(default_factory=dict)

    @property
    def seen_view(self) -> str | None:
        """The view that is known, else the predicted one."""
        return seen_view(self.view, self.view_predicted)


@dataclass(frozen=True, slots=True)
class Hit(Answer):
    """One answer. `best_frame` is 0-based in the file, `percentile` the share of videos scoring no higher."""

    rank: int
    score: float
    percentile: float
    video_id: int
    path: str
    study: str | None
    patient: str | None
    view: str | None
    best_frame: int | None
    best_time_seconds: float | None
    view_predicted: str | None = None


@dataclass(frozen=True, slots=True)
class Failure(Answer):
    """A file that could not be ingested: its absolute path, the error's code and the sentence."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far an ingest is: videos done (failures included) of those to do, failures, and videos committed."""

    done: int
    total: int
    failed: int
    committed: int


ProgressListener = Callable[[IngestProgress], None]


@dataclass(frozen=True, slots=True)
class IngestReport(Answer):
    """What an ingest did, by number of files.

    `model`: which one embedded, and how videos and phrases were prepared for it, in words;
    `returned`: known from before they were deleted; `updated`: other metadata, same vectors;
    `failed_earlier` and `deleted_earlier`: left alone because of that;
    `seconds_starting`: models, workers and looking at the folder.
    """

    index: str
    generation: int
    model: str
    added: int
    replaced: int
    unchanged: int
    moved: int
    returned: int
    updated: int
    pruned: int
    copies: int
    failed_earlier: int
    deleted_earlier: int
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    frames_encoded: int
    seconds_starting: float
    seconds_working: float
