"""Batches that mix frames of several videos, so that short videos fill the model as well as long ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from echosearch.encoders.encoder import Encoder, unit_rows
from echosearch.errors import EncoderFailed

Key = TypeVar("Key")
Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]


def encode_stream(
    encoder: Encoder, videos: Iterable[tuple[Key, Pixels | None]]
) -> Iterator[tuple[Key, Embeddings | EncoderFailed | None]]:
    """Embed the frames of many videos, in order, `encoder.batch_frames` at a time.

    `videos` gives (key, pixels (T, 3, S, S) uint8); a video with None instead of pixels is handed on with None,
    in its place. Gives (key, unit rows (T, D)), or the error of a video whose embeddings have no direction.
    """
    waiting: deque[tuple[Key, int, list[Embeddings]]] = deque()  # key, frames still to embed, parts
    buffer: list[Pixels] = []
    buffered = 0

    for key, pixels in videos:
        waiting.append((key, 0 if pixels is None else len(pixels), []))
        if pixels is not None:
            buffer.append(pixels)
            buffered += len(pixels)
        while buffered >= encoder.batch_frames:
            batch, buffer = _take(buffer, encoder.batch_frames)
            buffered -= len(batch)
            _hand_out(encoder.backend.encode_pixels(batch), waiting)
        yield from _finished(waiting)
    if buffered:
        _hand_out(encoder.backend.encode_pixels(np.concatenate(buffer)), waiting)
    yield from _finished(waiting)


def _take(buffer: list[Pixels], count: int) -> tuple[Pixels, list[Pixels]]:
    """The first `count` frames as one array, and what is left."""
    taken, rest = [], list(buffer)
    while count:
        head = rest[0][:count]
        taken.append(head)
        count -= len(head)
        rest = [rest[0][len(head) :], *rest[1:]] if len(head) < len(rest[0]) else rest[1:]
    return np.concatenate(taken), rest


def _hand_out(rows: Embeddings, waiting: deque[tuple[Key, int, list[Embeddings]]]) -> None:
    """Give each waiting video its rows of a batch."""
    for position, (key, missing, parts) in enumerate(waiting):
        part, rows = rows[:missing], rows[missing:]
        if len(part):
            waiting[position] = (key, missing - len(part), [*parts, part])
        if not len(rows):
            return


def _finished(
    waiting: deque[tuple[Key, int, list[Embeddings]]],
) -> Iterator[tuple[Key, Embeddings | EncoderFailed | None]]:
    """Those at the head of the queue that have all their rows."""
    while waiting and waiting[0][1] == 0:
        key, _, parts = waiting.popleft()
        if not parts:
            yield key, None
            continue
        try:
            yield key, unit_rows(np.concatenate(parts))
        except EncoderFailed as error:
            yield key, error
