"""A video on its way: facts, sampling, preparation, pixels, unit vectors and the one pooling rule. Knows numpy only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MediaKind = Literal["video", "still"]
Interpolation = Literal["bicubic", "bilinear", "nearest", "area"]
UNIT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the container says of a video. `fps` is None where it does not say, or says nonsense."""

    kind: MediaKind
    num_frames: int
    height: int
    width: int
    fps: float | None

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.height < 1 or self.width < 1:
            raise ValueError(f"a video has at least one frame of at least one pixel, not {self}")
        if self.fps is not None and not 0 < self.fps < 100_000:
            raise ValueError(f"fps is a positive number or None, not {self.fps}")


@dataclass(frozen=True, slots=True)
class FrameSampling:
    """Which 0-based frames of a video are encoded; integer arithmetic only.

    Frames `start, start + stride, ...` below `stop` (None: the end); with `count`, that many of them evenly
    spread (the middle frame of each of `count` equal parts), or all when there are no more than `count`.
    """

    start: int = 0
    stop: int | None = None
    stride: int = 1
    count: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or self.stride < 1:
            raise ValueError(f"a sampling starts at 0 or later with a stride of 1 or more, not {self}")
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"a sampling stops after it starts, not {self}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"a sampling takes at least one frame, not {self}")

    def frame_numbers(self, num_frames: int) -> list[int]:
        """The frames to take of a video with `num_frames` frames; empty when it ends before `start`."""
        stop = num_frames if self.stop is None else min(self.stop, num_frames)
        candidates = range(self.start, stop, self.stride)
        if self.count is None or len(candidates) <= self.count:
            return list(candidates)
        return [candidates[(2 * i + 1) * len(candidates) // (2 * self.count)] for i in range(self.count)]

    @classmethod
    def parse(cls, text: str) -> FrameSampling:
        """Read `all`, `even:N`, or `START:STOP:STRIDE` (any part may be empty). ValueError otherwise."""
        if text == "all":
            return cls()
        if match := re.fullmatch(r"even:(\d+)", text):
            return cls(count=int(match[1]))
        if match := re.fullmatch(r"(\d*):(\d*)(?::(\d*))?", text):
            start, stop, stride = match.groups()
            return cls(int(start or 0), int(stop) if stop else None, int(stride or 1))
        raise ValueError(f"a frame sampling is 'all', 'even:N' or 'START:STOP:STRIDE', not {text!r}")

    def __str__(self) -> str:
        if (self.start, self.stop, self.stride) == (0, None, 1):
            return "all" if self.count is None else f"even:{self.count}"
        spread = "" if self.count is None else f", {self.count} of them evenly spread"
        return f"{self.start}:{'' if self.stop is None else self.stop}:{self.stride}{spread}"


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """How decoded RGB frames become `(3, size, size)` pixels, and how the encoder scales those.

    `fit` is the geometry:
      crop-resize  centre crop to a square, drop `zoom` of each side from each edge, resize (EchoCLIP's published way)
      resize-crop  resize the shorter side to `size`, centre crop (open_clip `shortest`)
      resize-pad   resize the longer side to `size`, pad with `fill` (open_clip `longest`)
      squash       resize both sides to `size`, whatever the aspect
    `resizer` is the library whose arithmetic is meant: OpenCV's `bicubic` has a = -0.75 and no antialiasing,
    Pillow's has a = -0.5 with antialiasing. `mean` and `std` (0-1 scale, in `channel_order`) are applied in the
    encoder's batch, never here.
    """

    size: int
    fit: Literal["crop-resize", "resize-crop", "resize-pad", "squash"]
    resizer: Literal["opencv", "pillow"]
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    zoom: float = 0.0
    fill: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size is at least 1 pixel, not {self.size}")
        if not 0 <= self.zoom < 0.5:
            raise ValueError(f"zoom is the part dropped from each edge, 0 to below 0.5, not {self.zoom}")
        if self.zoom and self.fit != "crop-resize":
            raise ValueError(f"zoom goes with fit 'crop-resize' only, not with {self.fit!r}")
        if self.resizer == "pillow" and self.interpolation == "area":
            raise ValueError("Pillow has no 'area' interpolation")
        if {len(self.mean), len(self.std)} != {3}:
            raise ValueError(f"mean and std are three numbers each, not {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ValueError(f"std is positive, not {self.std}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill is a grey level, 0 to 255, not {self.fill}")


@dataclass(frozen=True, slots=True, eq=False)
class PreparedVideo:
    """One video as a worker hands it over.

    `pixels` (T, 3, S, S) uint8 in the spec's channel order; `frame_numbers` (T,) int32, 0-based in the file.
    """

    facts: VideoFacts
    content_sha256: str
    frame_numbers: npt.NDArray[np.int32]
    pixels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        count = len(self.frame_numbers)
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[:2] != (count, 3):
            raise ValueError(f"pixels are ({count}, 3, S, S) uint8, not {self.pixels.shape} {self.pixels.dtype}")
        if count < 1 or self.frame_numbers.dtype != np.int32:
            raise ValueError("a prepared video has at least one frame, and int32 frame numbers")


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
