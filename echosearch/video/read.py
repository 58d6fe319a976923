"""Decoding: a file to RGB frames, only those asked for. Knows no preprocessing and no model.

decord reads videos, Pillow stills. Both hand over RGB, whatever the file holds.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from echosearch.errors import UnreadableVideo, UnsupportedVideo
from echosearch.types import MediaKind
from echosearch.video.files import STILL_SUFFIXES, VIDEO_SUFFIXES

Frame = npt.NDArray[np.uint8]

_FRAMES_AT_ONCE: Final = 8
"""Frames taken from decord in one call: bounds memory on long cines at no cost in time."""


class OpenMedia(Protocol):
    """An open file: what its container says, and its frames one by one."""

    kind: MediaKind
    num_frames: int
    fps: float | None

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        """RGB frames (H, W, 3) uint8 for ascending 0-based frame numbers. UnreadableVideo when one is damaged."""
        ...


def open_media(path: Path) -> OpenMedia:
    """Open a video or a still. UnreadableVideo or UnsupportedVideo say why not."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UnreadableVideo("the file does not exist" if not path.exists() else "this is not a file")
    if not os.access(path, os.R_OK):
        raise UnreadableVideo("no permission to read the file")
    if path.stat().st_size == 0:
        raise UnreadableVideo("the file is empty")
    if suffix in STILL_SUFFIXES:
        return _Still(path)
    if suffix in VIDEO_SUFFIXES:
        return _Video(path)
    raise UnsupportedVideo(
        f"files of type {suffix or '(no suffix)'} are not read; "
        f"these are: {' '.join(sorted(VIDEO_SUFFIXES | STILL_SUFFIXES))}"
    )


def decoder_name() -> str:
    """The decoders with their versions, for provenance."""
    import decord
    import PIL

    return f"decord {decord.__version__}, Pillow {PIL.__version__}"


class _Video:
    kind: MediaKind = "video"

    def __init__(self, path: Path) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError)
        self._file = path.open("rb")
        with self._named_errors():
            self._reader = decord.VideoReader(self._name(path), ctx=decord.cpu(0), num_threads=1)
            self.num_frames = len(self._reader)
            if self.num_frames == 0:
                raise UnreadableVideo("the file holds no video frames")
            fps = float(self._reader.get_avg_fps())
        self.fps = fps if math.isfinite(fps) and 0 < fps < 1000 else None

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        for first in range(0, len(frame_numbers), _FRAMES_AT_ONCE):
            with self._named_errors():
                wanted = list(frame_numbers[first : first + _FRAMES_AT_ONCE])
                batch: Frame = self._reader.get_batch(wanted).asnumpy()
            yield from batch

    def _name(self, path: Path) -> str:
        """The path, or the open file by number where the name is not UTF-8, which decord cannot pass on."""
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            return f"/dev/fd/{self._file.fileno()}"
        return str(path)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            text = str(error)
            if "The size must exactly match" in text:
                raise UnsupportedVideo("decord cannot hand over frames of this width") from error
            raise UnreadableVideo(f"decord cannot decode it: {_first_line(text)}") from error


class _Still:
    kind: MediaKind = "still"
    num_frames = 1
    fps: float | None = None

    def __init__(self, path: Path) -> None:
        from PIL import Image, UnidentifiedImageError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    pages = getattr(image, "n_frames", 1)
                    if pages != 1:
                        raise UnsupportedVideo(f"a still with {pages} pages; give one picture a file")
                    if image.mode.startswith(("I", "F")):
                        raise UnsupportedVideo(
                            f"a still with {image.mode} pixels (more than 8 bits); "
                            "convert it to 8 bits with the window you mean"
                        )
                    self._rgb: Frame = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise UnreadableVideo(f"Pillow cannot decode it: {_first_line(str(error))}") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnsupportedVideo(f"the still is too large: {error}") from error

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        for _ in frame_numbers:
            yield self._rgb


def _first_line(text: str) -> str:
    lines: list[Any] = text.strip().splitlines() or ["(no message)"]
    return str(lines[0])[:300]
