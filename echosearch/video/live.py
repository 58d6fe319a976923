"""Recordings that nobody closed: Matroska or WebM without a duration. Read in order by OpenCV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from echosearch.errors import UnreadableVideo
from echosearch.types import MediaKind
from echosearch.video.read import Frame, OpenMedia, is_even, name_for_decord

_MASTERS: Final = {bytes.fromhex("18538067"), bytes.fromhex("1F43B675"), b"\xa0"}  # Segment, Cluster, BlockGroup
_BLOCKS: Final = {b"\xa1", b"\xa3"}  # Block, SimpleBlock


def open_live(path: Path, refused: UnreadableVideo) -> OpenMedia:
    """A video that decord has `refused`, as it does not say how many frames it has; that error where it is no other."""
    if not (blocks := matroska_blocks(path)):
        raise refused
    return _LiveVideo(path, blocks, refused)


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
        self.fps = fps if 0 < fps < 1000 and is_even(starts, fps) else None

    def frames(self, frame_numbers: Sequence[int]) -> Iterator[Frame]:
        yield from (frame for _, frame in self._decoded(frame_numbers) if frame is not None)

    pictures = frames

    def _decoded(self, wanted: Sequence[int]) -> Iterator[tuple[float, Frame | None]]:
        """Milliseconds of each frame, and its RGB where it is wanted."""
        with name_for_decord(self._path) as name:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # as decord
            for number in range(wanted[-1] + 1) if wanted else count():
                if not capture.grab():
                    return
                frame = np.asarray(capture.retrieve()[1])[:, :, ::-1].astype(np.uint8) if number in wanted else None
                yield capture.get(cv2.CAP_PROP_POS_MSEC), frame


def matroska_blocks(path: Path) -> Counter[int]:
    """Stored frames by track of a Matroska or WebM file (RFC 9559); none where its elements do not end with it."""
    blocks: Counter[int] = Counter()
    end, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(16).ljust(16, b"\0")
            of_id, of_size = 9 - head[0].bit_length(), 9 - head[9 - head[0].bit_length()].bit_length()
            kind, body = head[:of_id], of_id + of_size
            size = int.from_bytes(head[of_id:body], "big") & ((1 << 7 * of_size) - 1)
            at += body
            if kind not in _MASTERS:  # into those one goes, which may be of unknown size
                at += size
            if kind in _BLOCKS:
                blocks[head[body] if body < len(head) else 0] += 1
    return blocks if at == end else Counter()
