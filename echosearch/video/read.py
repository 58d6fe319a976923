"""Decoding: a file to RGB frames, only those asked for. Knows no preprocessing and no model.

decord reads videos (`live` those without a duration), `still` stills. All hand over RGB, whatever the file holds.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from echosearch.errors import InaccessibleVideo, UnreadableVideo, UnsupportedVideo
from echosearch.types import MediaKind
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
                if str(error) != _WORDS[_NO_COUNT]:
                    raise
                from echosearch.video.live import open_live

                return open_live(path, error)
    raise UnsupportedVideo(
        f"files of type {suffix or '(no suffix)'} are not supported; "
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
        with self._named_errors(), name_for_decord(path) as name:
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
        self.fps = fps if 0 < fps < 1000 and is_even(starts[~is_hidden], fps) else None  # NaN fails this as well

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


def _in_plain_words(decord_says: str) -> str:
    return next((words for sign, words in _WORDS.items() if sign in decord_says), _DAMAGED_OR_UNKNOWN)


def is_even(starts: npt.NDArray[np.floating[Any]], fps: float) -> bool:
    """Whether frames lie within half a frame of where a constant rate puts them; files without times count as even."""
    if not np.all(np.isfinite(starts)) or not np.any(np.diff(starts) > 0):
        return True
    by_rate = starts.min() + np.arange(len(starts)) / fps
    return bool(np.all(np.abs(np.sort(starts) - by_rate) <= 0.5 / fps))


@contextmanager
def name_for_decord(path: Path) -> Iterator[str]:
    """The path, or the open file by number where the name is not UTF-8, which decord cannot pass on."""
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield name


def edit_list_end(path: Path) -> float:
    """Seconds at which the one video track of an MP4 or MOV ends by its edit list; infinity where none says so.

    ISO 14496-12, 8.6.6: empty edits, which delay the start, and one edit at its normal rate.
    """
    with path.open("rb") as file:
        moov = next((body for kind, body in _top_boxes(file) if kind == b"moov"), b"")
    try:
        return _edit_list_end(moov)
    except (struct.error, IndexError):
        return float("inf")


def _edit_list_end(moov: bytes) -> float:
    boxes = list(_boxes(moov))
    tracks = [body for kind, body in boxes if kind == b"trak" and _inside(body, b"mdia", b"hdlr")[8:12] == b"vide"]
    if len(tracks) != 1 or any(kind == b"mvex" for kind, _ in boxes):  # fragments may come after the edit
        return float("inf")
    listed, movie = _inside(tracks[0], b"edts", b"elst"), _inside(moov, b"mvhd")
    if not listed:
        return float("inf")
    (units_per_second,) = struct.unpack_from(">I", movie, 20 if movie[0] else 12)
    (count,) = struct.unpack_from(">I", listed, 4)
    entry = struct.Struct(">Qqi" if listed[0] else ">Iii")  # duration in the movie's units, start (-1: empty), rate
    edits = [entry.unpack_from(listed, 8 + entry.size * n) for n in range(min(count, 3))]
    if [rate for _, start, rate in edits if start >= 0] != [0x10000] or edits[-1][0] == 0 or units_per_second == 0:
        return float("inf")
    return float(sum(duration for duration, _, _ in edits) / units_per_second)


def _top_boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the file's boxes; of its media data the beginning."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 16 <= end:
        file.seek(at)
        size, kind, long_size = struct.unpack(">I4sQ", file.read(16))
        header, size = (16, long_size) if size == 1 else (8, size or end - at)
        if size < header or at + size > end:
            return
        file.seek(at + header)
        yield kind, file.read(size - header if kind == b"moov" else 0)
        at += size


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _inside(data: bytes, *kinds: bytes) -> bytes:
    """Content of the first box of each kind within the one before; nothing where there is none."""
    for wanted in kinds:
        data = next((body for kind, body in _boxes(data) if kind == wanted), b"")
    return data


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
