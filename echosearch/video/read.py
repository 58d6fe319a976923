"""Decoding: a file to RGB frames, only those asked for. Knows no preprocessing and no model.

decord reads videos (OpenCV live ones without a duration), `still` stills. All hand over RGB, whatever the file holds.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from echosearch.errors import InaccessibleVideo, UnreadableVideo, UnsupportedVideo
from echosearch.types import MediaKind
from echosearch.video.containers import edit_list_end, matroska_blocks
from echosearch.video.files import STILL_SUFFIXES, VIDEO_SUFFIXES, named_refusals
from echosearch.video.still import read_still

Frame = npt.NDArray[np.uint8]

_FRAMES_AT_ONCE: Final = 32
"""Frames taken from decord in one call: bounds memory, and holds the usual sampling, so that decord is done early."""

_NO_COUNT: Final = "broken metadata"
_DAMAGED_OR_UNKNOWN: Final = "it cannot be decoded: the file is damaged or of a kind that the decoder does not know"
_WORDS: Final = {
    "recovered from nearest frames": "frames are damaged or missing, and decord would repeat a neighbour",
    "Error sending packet": "a part of the video is damaged and cannot be decoded",
    "av_read_frame failed": "the file ends too early, or a part of it is damaged",
    "REWIND_RETRY_MAX": "the file ends too early, or a part of it is damaged",
    "cannot find video stream": "the file holds no video, or its beginning is damaged",
    _NO_COUNT: "the file does not say how many frames it has; its beginning or end is damaged",
}
"""What a file is said to be, by a sign in decord's own words, which name its source lines and variables."""

_NO_REPEATED_FRAME: Final = 1e-9
"""Part of a video's frames that decord may replace by a neighbour before it raises: none."""

_SAME_SECOND: Final = 1e-4
"""Within which times are the same: decord's are float32."""


class OpenMedia(Protocol):
    """An open file: what its container says, and its frames one by one."""

    kind: MediaKind
    num_frames: int
    fps: float | None

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        """RGB frames (H, W, 3) uint8 for ascending 0-based frame numbers. UnreadableVideo when one is damaged."""
        ...

    def pictures(self, frame_numbers: Sequence[int]) -> Iterator[Frame | Image.Image]:
        """The same for `prepare`: a still in its own mode (palette, alpha), which some models resize before RGB."""
        ...


def open_media(path: Path) -> OpenMedia:
    """Open a video or a still. UnreadableVideo or UnsupportedVideo say why not."""
    suffix = path.suffix.lower()
    with named_refusals():
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise InaccessibleVideo("this is not a file")
        path.open("rb").close()
        if status.st_size == 0:
            raise UnreadableVideo("the file is empty")
        if suffix in STILL_SUFFIXES:
            return _Still(path)
        if suffix in VIDEO_SUFFIXES:
            try:
                return _Video(path)
            except UnreadableVideo as error:
                if str(error) != _WORDS[_NO_COUNT] or not (blocks := matroska_blocks(path)):
                    raise
                return _LiveVideo(path, blocks, error)
    raise UnsupportedVideo(
        f"files of type {suffix or '(no suffix)'} are not read; "
        f"these are: {' '.join(sorted(VIDEO_SUFFIXES | STILL_SUFFIXES))}"
    )


def decoder_name() -> str:
    """The decoders with their versions, for provenance."""
    import decord
    import PIL

    return f"decord {decord.__version__}, Pillow {PIL.__version__}, OpenCV {cv2.__version__}"


class _Video:
    kind: MediaKind = "video"

    def __init__(self, path: Path) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, IndexError)
        with self._named_errors(), _name_for_decord(path) as name:
            self._reader = decord.VideoReader(name, ctx=decord.cpu(0), num_threads=1, fault_tol=_NO_REPEATED_FRAME)
            fps = float(self._reader.get_avg_fps())
            stored = len(self._reader)
            starts = self._reader.get_frame_timestamp(range(stored))[:, 0]
        self._in_order = bool(np.all(np.diff(starts) > 0))
        # A cut MP4 stores frames before its start and after its end: decoded, never shown, not counted by a player.
        is_hidden = (starts < 0) | (starts > edit_list_end(path) - _SAME_SECOND)
        hidden = int(np.sum(is_hidden)) if self._in_order else 0
        self.num_frames = stored - hidden
        if self.num_frames == 0:
            raise UnreadableVideo("the file holds no video frames")
        self._key_frames: list[int] = list(self._reader.get_key_indices())
        self._seeks_exactly = self._in_order and len(self._key_frames) == stored
        self.fps = fps if 0 < fps < 1000 and _is_even(starts[~is_hidden], fps) else None  # NaN fails this as well

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        asked = set(frame_numbers)
        steps = self._steps(frame_numbers)
        for first in range(0, len(steps), _FRAMES_AT_ONCE):
            numbers = steps[first : first + _FRAMES_AT_ONCE]
            with self._named_errors():
                batch: Frame = self._reader.get_batch(numbers).asnumpy()
                if numbers[-1] == steps[-1]:
                    self._reader.seek(0)  # ends its thread's work, which else decodes on to the end of the file
            yield from (frame for number, frame in zip(numbers, batch, strict=True) if number in asked)

    pictures = frames

    def _steps(self, frame_numbers: Sequence[int]) -> list[int]:
        """The frames to take from decord, in order: those asked for, and what keeps it from seeking.

        decord jumps to a key frame when one lies ahead, and then miscounts where frames are stored in another
        order than shown (HEVC's open groups, MPEG-4 with B frames). It does not jump when the frame before each
        key frame is taken as well; where the file gives no times (B frames in AVI), it must not even skip.
        """
        if self._seeks_exactly or not frame_numbers:
            return list(frame_numbers)
        last = frame_numbers[-1]
        if not self._in_order:
            return list(range(last + 1))
        return sorted({*frame_numbers, *(key - 1 for key in self._key_frames if 0 < key <= last)})

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            if "The size must exactly match" in str(error):
                raise UnsupportedVideo("decord cannot hand over frames of this width") from error
            raise UnreadableVideo(_in_plain_words(str(error))) from error


class _LiveVideo:
    """A recording that nobody closed: Matroska or WebM without a duration, which decord needs. Read in order by OpenCV.

    OpenCV passes over what it cannot decode; so as many frames as some track has blocks, or none at all.
    """

    kind: MediaKind = "video"

    def __init__(self, path: Path, blocks: Counter[int], refused: UnreadableVideo) -> None:
        self._path = path
        starts = np.array([start for start, _ in self._decoded(range(0))]) / 1000
        self.num_frames = len(starts)
        if self.num_frames not in blocks.values():
            raise refused
        seconds = float(starts[-1] - starts[0])
        fps = (len(starts) - 1) / seconds if seconds > 0 else 0
        self.fps = fps if 0 < fps < 1000 and _is_even(starts, fps) else None

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        yield from (frame for _, frame in self._decoded(frame_numbers) if frame is not None)

    pictures = frames

    def _decoded(self, wanted: Sequence[int]) -> Iterator[tuple[float, Frame | None]]:
        """Milliseconds of each frame, and its RGB where it is wanted."""
        with _name_for_decord(self._path) as name:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # as decord
            for number in range(wanted[-1] + 1) if wanted else count():
                if not capture.grab():
                    return
                frame = np.asarray(capture.retrieve()[1])[:, :, ::-1].astype(np.uint8) if number in wanted else None
                yield capture.get(cv2.CAP_PROP_POS_MSEC), frame


def _in_plain_words(decord_says: str) -> str:
    return next((words for sign, words in _WORDS.items() if sign in decord_says), _DAMAGED_OR_UNKNOWN)


def _is_even(starts: npt.NDArray[np.floating[Any]], fps: float) -> bool:
    """Whether frames lie within half a frame of where a constant rate puts them; files without times count as even."""
    if not np.all(np.isfinite(starts)) or not np.any(np.diff(starts) > 0):
        return True
    by_rate = starts.min() + np.arange(len(starts)) / fps
    return bool(np.all(np.abs(np.sort(starts) - by_rate) <= 0.5 / fps))


@contextmanager
def _name_for_decord(path: Path) -> Iterator[str]:
    """The path, or the open file by number where the name is not UTF-8, which decord cannot pass on."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield name


class _Still:
    kind: MediaKind = "still"
    num_frames = 1
    fps: float | None = None

    def __init__(self, path: Path) -> None:
        self._picture = read_still(path)

    def pictures(self, frame_numbers: Sequence[int]) -> Iterator[Image.Image]:
        for _ in frame_numbers:
            yield self._picture

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        for picture in self.pictures(frame_numbers):
            yield np.asarray(picture.convert("RGB"))
