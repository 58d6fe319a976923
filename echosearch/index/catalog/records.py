"""What goes into the catalog and what a writer asks of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from echosearch.types import Failure, VideoFacts

AttributeType = Literal["integer", "real", "text"]
AttributeValue = int | float | str | None
FittedKind = Literal["calibration", "probe"]


@dataclass(frozen=True, slots=True)
class VideoMetadata:
    """What a manifest says of a video; attributes are its other columns, None where a cell is empty."""

    study: str | None = None
    patient: str | None = None
    view: str | None = None
    acquired_at: str | None = None
    attributes: dict[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A live video as a later ingest sees it."""

    video_id: int
    size_bytes: int
    mtime_ns: int
    content_sha256: str


@dataclass(frozen=True, slots=True)
class SameBytes:
    """A video, deleted ones included, that was made of certain bytes, and where these lay.

    `person` is its study and patient, `on_purpose` says that it was deleted so, `replaced_by` which video has its path.
    """

    video_id: int
    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    is_live: bool
    has_vectors: bool
    is_verified: bool
    person: tuple[str | None, str | None] = (None, None)
    on_purpose: bool = False
    replaced_by: int | None = None


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """New values for some fields and attributes of a video; what is not named stays as it is."""

    video_id: int
    fields: dict[str, str | None]
    attributes: dict[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that could not be ingested; size and time are None where even those could not be had."""

    root: Path
    failure: Failure
    size_bytes: int | None
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class NewVideo:
    """A video to add; its id is 0 until the commit gives it one, `replaces` the id of its path's earlier bytes.

    `unverified` says where its vectors came from, if from elsewhere and no probe has shown that they are right.
    """

    video_id: int
    root: Path
    path: Path
    facts: VideoFacts
    num_embedded_frames: int
    content_sha256: str
    size_bytes: int
    mtime_ns: int
    metadata: VideoMetadata
    replaces: int | None = None
    unverified: str | None = None


@dataclass(frozen=True, slots=True)
class SweepKey:
    """What a column of scores is of. Equal but for `task` and `definition` means equal scores.

    `content_id` digests what decides the scores; `columns` names them; `definition` is the task whole, as JSON;
    `precision` is that of the text embeddings.
    """

    task: str
    content_id: str
    form: str
    formula_version: int
    recipe: str
    precision: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A sweep that was begun, with its number of scored videos; deleted ones count."""

    sweep_id: int
    key: SweepKey
    created_at: str
    videos: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learnt from labels and is kept by name: a calibration or a probe; `content` is JSON."""

    kind: FittedKind
    name: str
    recipe: str
    content: str
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """An active segment with what the catalog knows of its ids: their number, digest and sum."""

    name: str
    count: int
    ids_sha256: str
    videos: int
    ids_sum: int
