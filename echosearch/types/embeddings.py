"""Unit vectors and the one pooling rule. Knows numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

UNIT_TOLERANCE = 1e-4


def check_unit_rows(name: str, rows: npt.NDArray[Any]) -> None:
    """Raise ValueError unless `rows` (N, D) float32 are finite and every row has length 1."""
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise ValueError(f"{name} are (N, D) float32, not {rows.shape} {rows.dtype}")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE):  # NaN fails this as well
        raise ValueError(f"{name} have rows that are not of unit length: {lengths.min()}..{lengths.max()}")


@dataclass(frozen=True, slots=True, eq=False)
class VideoEmbedding:
    """`vector` (D,) float32 of unit length, and `pooled_norm`, the length that the mean had before (0 to 1]."""

    vector: npt.NDArray[np.float32]
    pooled_norm: float

    def __post_init__(self) -> None:
        check_unit_rows("a video embedding", self.vector[None])
        if not 0 < self.pooled_norm <= 1 + UNIT_TOLERANCE:
            raise ValueError(f"pooled_norm is above 0 and at most 1, not {self.pooled_norm}")


def pool(frame_embeddings: npt.NDArray[np.float32]) -> VideoEmbedding:
    """Mean of unit frame embeddings (T, D), renormalised. ValueError where the mean has no direction.

    Summed in float64, so that the order and number of frames cost no precision.
    """
    mean = frame_embeddings.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if not norm > 1e-6:  # NaN fails this as well
        raise ValueError(f"the mean of the frame embeddings has length {norm}, so no direction")
    return VideoEmbedding((mean / norm).astype(np.float32), float(np.float32(norm)))


@dataclass(frozen=True, slots=True, eq=False)
class EncodedVideo:
    """Frame embeddings (T, D) float32 of unit length with their 0-based frame numbers, and their pooled form."""

    frame_embeddings: npt.NDArray[np.float32]
    frame_numbers: npt.NDArray[np.int32]
    pooled: VideoEmbedding

    def __post_init__(self) -> None:
        check_unit_rows("frame embeddings", self.frame_embeddings)
        if self.frame_numbers.shape != (len(self.frame_embeddings),):
            raise ValueError("one frame number for each frame embedding")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """One phrase: `vector` (D,) float32 of unit length, and `cut`, the words that the context did not hold."""

    vector: npt.NDArray[np.float32]
    cut: str = ""

    def __post_init__(self) -> None:
        check_unit_rows("a text embedding", self.vector[None])
