"""A phantom's frames: outlines painted along the beams, blurred and speckled as scanners do, laid out as a sector.

The picture is made on a grid of depth x angle, where the scanner's own blur is simple, and gathered into pixels.
Frame k depends on the video and k alone. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from echosearch.errors import BadOption
from echosearch.phantom.study import Look, Video
from echosearch.phantom.views import Scene, draw_scene

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

_SUBPIXEL: Final = 4
"""Binary digits below the pixel, for OpenCV's polygons."""
_BANK: Final = 1024
_MOTION, _NOISE = 1, 2


def render(video: Video, frame_numbers: Sequence[int] | None = None, *, size: tuple[int, int] | None = None) -> Pixels:
    """Frames (T, H, W, 3) uint8 RGB: those of `frame_numbers` (0-based), or all.

    `size` is (height, width): the centre crop of that shape, rendered at that size, so that small is fast.
    BadOption for a frame that the video does not have, or a size under 16 pixels.
    """
    numbers = range(video.num_frames) if frame_numbers is None else frame_numbers
    height, width = size or (video.height, video.width)
    frames = np.empty((len(numbers), height, width, 3), np.uint8)
    for place, frame in zip(frames, render_each(video, numbers, size=size), strict=True):
        place[:] = frame
    return frames


def render_each(
    video: Video, frame_numbers: Sequence[int] | None = None, *, size: tuple[int, int] | None = None
) -> Iterator[Pixels]:
    """The frames of `render`, one (H, W, 3) at a time, for videos that are large."""
    numbers = list(range(video.num_frames)) if frame_numbers is None else [int(number) for number in frame_numbers]
    check_frame_numbers(video, numbers)
    height, width = size or (video.height, video.width)
    if min(height, width) < 16 or max(height, width) > 4096:
        raise BadOption(f"a phantom is rendered at 16 to 4096 pixels a side, not {width}x{height}")
    sector, motion = _Sector(video, height, width), Motion(video)
    for number in numbers:
        phase, shift = motion.at(number)
        yield sector.show(draw_scene(video, phase, shift), number, shift)


def check_frame_numbers(video: Video, numbers: Sequence[int]) -> None:
    """BadOption unless all are frames of the video."""
    wrong = [number for number in numbers if not 0 <= number < video.num_frames]
    if wrong:
        raise BadOption(f"{video.video_id} has frames 0 to {video.num_frames - 1}, not {wrong[0]}")


class Motion:
    """The clock of a video: phase of the beat, breath and hand at each frame."""

    def __init__(self, video: Video) -> None:
        rng = np.random.default_rng([*video.seed, _MOTION])
        seconds = (video.num_frames + 1) / video.fps
        beats = int(seconds * video.heart_rate_bpm / 60 * 1.3) + 4
        lengths = 60 / video.heart_rate_bpm * np.clip(1 + 0.03 * rng.standard_normal(beats), 0.9, 1.1)
        self._starts = np.concatenate([[0], np.cumsum(lengths)]) - rng.random() * lengths[0]
        self._fps = video.fps
        self._breath = (rng.uniform(0.2, 0.35), rng.uniform(0, 2 * np.pi), video.look.breathing_cm)
        self._tremor = (rng.uniform(0.6, 1.8), rng.uniform(0, 2 * np.pi, 2), video.look.tremor_cm)

    def at(self, number: int) -> tuple[float, tuple[float, float]]:
        """Phase 0 to 1, and the shift (x, depth) in cm, at frame `number`."""
        seconds = number / self._fps
        rate, start, reach = self._breath
        breath = reach * np.sin(2 * np.pi * rate * seconds + start)
        rate, starts, reach = self._tremor
        tremor = reach * np.sin(2 * np.pi * rate * seconds + starts)
        return self.beats_at(number) % 1, (float(0.4 * breath + tremor[0]), float(breath + tremor[1]))

    def beats_at(self, number: int) -> float:
        """Beats since the start of the one that the video begins in; the fraction is the phase."""
        return float(np.interp(number / self._fps, self._starts, np.arange(len(self._starts))))


class _Sector:
    """The scanner with its settings for one video at one size."""

    def __init__(self, video: Video, height: int, width: int) -> None:
        look = video.look
        self._video, self._look = video, look
        scale = max(height / video.height, width / video.width)  # a crop that covers, never bars
        top = (height - scale * video.height) / 2 + look.sector_top * video.height * scale
        self._half_angle = np.deg2rad(look.half_angle_degrees)
        depth = min(look.sector_depth * video.height, 0.56 * video.width / np.sin(self._half_angle)) * scale
        self._rows = int(np.clip(0.9 * depth, 56, 340))
        self._columns = int(np.clip(1.35 * self._half_angle * self._rows, 56, 400))
        self._row_scale = self._rows / look.depth_cm
        self._column_scale = self._columns / (2 * self._half_angle)
        self._rng_offset = np.random.default_rng([*video.seed, _NOISE]).integers(0, 1 << 30)
        self._gain, self._haze, self._ground = self._static_fields(look)
        x, y = np.meshgrid(
            np.arange(width, dtype=np.float32) + np.float32(0.5 - width / 2),
            np.arange(height, dtype=np.float32) + np.float32(0.5 - top),
        )
        rows = np.hypot(x, y) * np.float32(self._rows / depth)
        columns = np.arctan2(x, y) * np.float32(self._column_scale) + np.float32(self._columns / 2)
        self._maps = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
        self._levels = _levels(look)
        self._marks = _marks(look, height, width, scale, top, depth)

    def show(self, scene: Scene, number: int, shift: tuple[float, float]) -> Pixels:
        """Paint, blur, speckle, lay out and tint one frame (H, W, 3)."""
        echo = self._paint(scene)
        seen = echo.astype(np.float32)
        seen += self._look.specular * np.maximum(cv2.Sobel(echo, cv2.CV_32F, 0, 1, ksize=3, scale=0.25), 0)
        seen *= self._gain
        seen += self._haze
        seen *= self._speckle(number, shift)
        seen += self._grain(number)
        polar = cv2.convertScaleAbs(np.maximum(seen, 0))
        grey = cv2.remap(
            polar, self._maps[0], self._maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        picture = np.asarray(cv2.merge([cv2.LUT(grey, level) for level in self._levels]), np.uint8)
        return picture if self._marks is None else np.maximum(picture, self._marks)

    def _paint(self, scene: Scene) -> Pixels:
        """(rows, columns) echo strength: polygons in beam coordinates, and the blur of the beam."""
        points = np.concatenate([layer for layer, _ in scene.layers])
        x, depth = points[:, 0], np.maximum(points[:, 1], 0.05)
        columns = (np.arctan2(x, depth) + self._half_angle) * self._column_scale - 0.5
        rows = np.hypot(x, depth) * self._row_scale - 0.5
        fixed = np.round(np.stack([columns, rows], 1) * (1 << _SUBPIXEL)).astype(np.int32)
        echo = self._ground.copy()
        start = 0
        for layer, level in scene.layers:
            stop = start + len(layer)
            cv2.fillPoly(echo, [fixed[start:stop]], min(level, 255.0), cv2.LINE_AA, _SUBPIXEL)
            start = stop
        blur = 0.0085 * self._rows
        return np.asarray(cv2.GaussianBlur(echo, (0, 0), sigmaX=1.5 * blur, sigmaY=max(blur * 0.75, 0.5)), np.uint8)

    def _static_fields(self, look: Look) -> tuple[Field, Field, Pixels]:
        """Gain by depth and angle with drop-out; near-field haze; the tissue around the heart."""
        rows = np.linspace(0, 1, self._rows, dtype=np.float32)[:, None]
        angle = np.linspace(-1, 1, self._columns, dtype=np.float32)[None]
        rng = np.random.default_rng([*self._video.seed, _NOISE, 1])
        lost = np.float32(0)
        for _ in range(3):
            centre, spread, reach = (
                rng.choice((-1, 1)) * rng.uniform(0.35, 1.05),
                rng.uniform(0.1, 0.3),
                rng.uniform(0, 0.7),
            )
            fading = 1 / (1 + np.exp(-(rows - reach) * 9))
            lost = np.maximum(lost, look.dropout * np.exp(-(((angle - centre) / spread) ** 2)) * fading)
        gain = look.gain * (1 - lost) * (1.06 - 0.28 * rows**2) * (1 - 0.35 * np.abs(angle) ** 6)
        haze = look.haze * np.exp(-rows / 0.07) + 0.3 * look.haze * np.exp(
            -(((rows - 0.16) / 0.14) ** 2) - (angle / 0.7) ** 2
        )
        haze += 120 * np.exp(-rows / 0.012) + 0.12 * look.haze * (1 - rows)  # clutter fills the blood a little
        coarse = rng.random((7, 6)).astype(np.float32)
        patches = cv2.resize(coarse, (self._columns, self._rows), interpolation=cv2.INTER_CUBIC)
        unevenness = cv2.resize(
            rng.random((9, 8)).astype(np.float32), patches.shape[::-1], interpolation=cv2.INTER_CUBIC
        )
        gain = gain * (0.68 + 0.64 * np.clip(unevenness, 0, 1))
        ground = look.background * (0.35 + 1.3 * np.clip(patches, 0, 1)) * (1 + 0.5 * np.exp(-rows / 0.2))
        return gain.astype(np.float32), haze.astype(np.float32), np.clip(ground, 0, 255).astype(np.uint8)

    def _speckle(self, number: int, shift: tuple[float, float]) -> Field:
        """Factors about 1: part moves with the tissue, part boils."""
        down, aside = (
            round(shift[1] * self._row_scale),
            round(shift[0] / (0.5 * self._look.depth_cm) * self._column_scale),
        )
        held = self._window(0, -down, -aside)
        boiling = self._window(number + 1, 0, 0)
        strength = np.float32(self._look.speckle)
        return np.asarray(1 + strength * (np.float32(0.8) * held + np.float32(0.6) * boiling))

    def _grain(self, number: int) -> Field:
        return np.asarray(np.float32(self._look.noise * 0.7) * self._window(number + 1_000_003, 0, 0))

    def _window(self, key: int, down: int, aside: int) -> Field:
        """A part of the noise bank that only the video and `key` choose."""
        top, left = _scatter(int(self._rng_offset) + key)
        bank = _noise_bank()
        top = 40 + top % (_BANK - 80 - self._rows)
        left = 40 + left % (_BANK - 80 - self._columns)
        top, left = top + max(-40, min(40, down)), left + max(-40, min(40, aside))
        return bank[top : top + self._rows, left : left + self._columns]


def _scatter(key: int) -> tuple[int, int]:
    """Two numbers that look random, from one (the finaliser of splitmix64)."""
    mixed = (key + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 31
    return mixed & 0xFFFFFFFF, mixed >> 32


@lru_cache(maxsize=1)
def _noise_bank() -> Field:
    """Speckle (1024, 1024): log-compressed magnitude of blurred complex noise, mean 0 and spread 1."""
    rng = np.random.default_rng(20_260_101)
    parts = [
        cv2.GaussianBlur(rng.standard_normal((_BANK, _BANK), dtype=np.float32), (0, 0), sigmaX=1.0, sigmaY=0.7)
        for _ in range(2)
    ]
    magnitude = np.log(np.hypot(*parts) + np.float32(0.08))
    return np.asarray(np.clip((magnitude - magnitude.mean()) / magnitude.std(), -2.5, 2.5), np.float32)


def _levels(look: Look) -> list[Pixels]:
    """For red, green and blue: a grey level's level on the screen."""
    grey = np.linspace(0, 1, 256) ** look.contrast * 255
    return [np.clip(np.round(grey * part), 0, 255).astype(np.uint8) for part in look.tint]


def _marks(look: Look, height: int, width: int, scale: float, top: float, depth: float) -> Pixels | None:
    """What scanners draw beside the sector, on black; None where there is nothing."""
    if look.marks == 0:
        return None
    picture = np.zeros((height, width, 3), np.uint8)
    half, dot = np.deg2rad(look.half_angle_degrees), max(1, round(height / 260))
    tip = (width / 2, top)
    side = width / 2 + 0.47 * scale * width / max(scale, 1e-9)
    for centimetre in range(1, int(look.depth_cm) + 1):
        reach = depth * centimetre / look.depth_cm
        large = centimetre % 5 == 0
        if look.marks == 1:
            at = (tip[0] + (reach + dot) * np.sin(half + 0.02), tip[1] + reach * np.cos(half + 0.02))
            cv2.circle(picture, (round(at[0]), round(at[1])), dot if large else max(1, dot - 1), (200, 200, 200), -1)
        else:
            at = (side, tip[1] + reach)
            start = (round(at[0]) - (3 if large else 1) * dot, round(at[1]))
            cv2.line(picture, start, (round(at[0]), round(at[1])), (170, 170, 170), 1)
    cv2.circle(picture, (round(tip[0] - 0.06 * width), round(max(top, 3 * dot))), 2 * dot, (90, 190, 220), 1)
    if look.marks == 3:
        bar = np.linspace(255, 0, max(8, height // 4)).astype(np.uint8)
        columns = slice(max(0, round(side) - 8 * dot), max(1, round(side) - 5 * dot))
        picture[round(0.04 * height) : round(0.04 * height) + len(bar), columns] = bar[:, None, None]
        words: tuple[Any, ...] = (cv2.FONT_HERSHEY_SIMPLEX, height / 1500, (180, 180, 180), 1, cv2.LINE_AA)
        cv2.putText(picture, f"{look.depth_cm:.0f} cm", (round(0.02 * width), round(0.06 * height)), *words)
        cv2.putText(picture, "2D", (round(0.02 * width), round(0.1 * height)), *words)
    return picture
