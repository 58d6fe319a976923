"""Answers about an index and its videos that are put together here, as frozen types. Knows no index and no printing.

The answers of searches, ingests, cohorts and tasks stand where they are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from echosearch.types import BESIDE, Answer, VideoRecord


@dataclass(frozen=True, slots=True)
class IndexInfo(Answer):
    """What an index is and holds: how it was made, and its numbers of videos, frames and bytes.

    `numerics` are those by which its segments were embedded, `attributes` the type of each; `unverified` counts
    imported videos whose vectors nobody has verified.
    """

    index: str
    generation: int
    model: str
    weights: str | None
    notice: str | None
    notes: tuple[str, ...]
    dim: int
    frames_dtype: str
    precision: str
    numerics: tuple[dict[str, Any], ...]
    created_at: str
    space: str
    recipe: str
    sampling: str
    preparation: str
    recipe_parts: dict[str, Any]
    videos: int
    patients: int
    embedded_frames: int
    media_bytes: int
    studies: int
    deleted: int
    views: dict[str, int]
    unverified: int
    failures: int
    attributes: dict[str, str]
    roots: tuple[str, ...]
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class VideoDetails(Answer):
    """All that is known of one video, and of the index and model that know it."""

    index: str
    model: str
    video: VideoRecord = field(metadata=BESIDE)
    pooled_norm: float
    embedded_frame_numbers: tuple[int, ...]
