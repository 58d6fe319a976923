"""What every encoder shares: unit length, checks, batches, kept phrases. Knows no particular model."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, EncoderFailed
from echosearch.files import whole_file
from echosearch.types import EmbeddingCache, EncodedText, EncoderBackend, EncoderCard, Fingerprint

Key = TypeVar("Key")
Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]

FINGERPRINT_PHRASES: Final = (
    "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 55% ",
    "ECHO DENSITY IN RIGHT VENTRICLE SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. ",
    "red left",
)
"""With `fingerprint_clip` what a machine embeds to show that it makes the same vectors."""


def fingerprint_clip() -> npt.NDArray[np.uint8]:
    """Two RGB frames (2, 240, 320, 3) uint8 of smooth coloured ramps, from integer arithmetic alone."""
    t, y, x = np.mgrid[0:2, 0:240, 0:320]
    red = np.abs((2 * x + 60 * t) % 510 - 255)
    green = np.abs((3 * y + 90 * t) % 510 - 255)
    blue = np.abs((x + 2 * y + 120 * t) % 510 - 255)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def cache_key(space_id: str, precision: str, phrase: str) -> str:
    """Under which a phrase's embedding is kept: same space, precision and exact text, same vector."""
    return hashlib.sha256("\0".join((space_id, precision, phrase)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Encoder:
    """A backend with the checks and the cache that are the same for all."""

    backend: EncoderBackend
    batch_frames: int = 32

    @property
    def card(self) -> EncoderCard:
        """What the encoder says of itself."""
        return self.backend.card

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (T, 3, S, S) uint8 as unit rows (T, D). EncoderFailed when a row has no direction."""
        size = self.card.recipe.preprocess.size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are (T, 3, {size}, {size}) uint8, not {pixels.shape} {pixels.dtype}")
        parts = [
            self.backend.encode_pixels(pixels[first : first + self.batch_frames])
            for first in range(0, len(pixels), self.batch_frames)
        ]
        return unit_rows(np.concatenate(parts))

    def encode_text(self, phrases: Sequence[str], cache: EmbeddingCache | None = None) -> list[EncodedText]:
        """Embed phrases, in their order; those that `cache` holds are not computed again."""
        for phrase in phrases:
            if not phrase.strip():
                raise BadQuery("the phrase is empty; give some words of a report")
        space_id, precision = self.card.recipe.space.id, self.card.numerics.precision
        found: dict[str, EncodedText] = {}
        if cache is not None:
            for phrase in phrases:
                if (known := cache.get(cache_key(space_id, precision, phrase))) is not None:
                    found[phrase] = known
        missing = [phrase for phrase in dict.fromkeys(phrases) if phrase not in found]
        if missing:
            vectors, cuts = self.backend.encode_text(missing)
            for phrase, vector, cut in zip(missing, unit_rows(vectors), cuts, strict=True):
                found[phrase] = EncodedText(vector, cut)
                if cache is not None:
                    cache.put(cache_key(space_id, precision, phrase), found[phrase])
        return [found[phrase] for phrase in phrases]

    def probe(self, pixels: npt.NDArray[np.uint8]) -> Fingerprint:
        """The encoder's fingerprint: the prepared probe clip (T, 3, S, S) and the probe phrases, embedded."""
        phrases = np.stack([text.vector for text in self.encode_text(FINGERPRINT_PHRASES)])
        return Fingerprint(self.encode_pixels(pixels), phrases)


def unit_rows(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Rows scaled to unit length, float32. EncoderFailed when one is not finite or has no length."""
    exact = rows.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    if not np.all(np.isfinite(lengths)):
        raise EncoderFailed("the model gave an embedding that is not finite (NaN or infinity)")
    if not np.all(lengths > 1e-12):
        raise EncoderFailed("the model gave an embedding of length zero")
    unit: npt.NDArray[np.float32] = (exact / lengths[:, None]).astype(np.float32)
    return unit


def encode_stream(
    encoder: Encoder, videos: Iterable[tuple[Key, Pixels | None]]
) -> Iterator[tuple[Key, Embeddings | EncoderFailed | None]]:
    """Embed the frames of many videos, in order, `encoder.batch_frames` at a time.

    `videos` gives (key, pixels (T, 3, S, S) uint8); a video with None instead of pixels is handed on with None,
    in its place. Gives (key, unit rows (T, D)), or the error of a video whose embeddings have no direction.
    """
    waiting: deque[tuple[Key, int]] = deque()  # and how many frames; 0 where none are embedded
    pixels: list[Pixels] = []  # still to embed
    rows: list[Embeddings] = []  # still to hand on

    def finished() -> Iterator[tuple[Key, Embeddings | EncoderFailed | None]]:
        nonlocal rows
        while waiting and waiting[0][1] <= sum(map(len, rows)):
            key, count = waiting.popleft()
            if not count:
                yield key, None
                continue
            of_video, rows = _take(rows, count)
            try:
                yield key, unit_rows(of_video)
            except EncoderFailed as error:
                yield key, error

    for key, frames in videos:
        waiting.append((key, 0 if frames is None else len(frames)))
        if frames is not None:
            pixels.append(frames)
        while sum(map(len, pixels)) >= encoder.batch_frames:
            batch, pixels = _take(pixels, encoder.batch_frames)
            rows.append(encoder.backend.encode_pixels(batch))
        yield from finished()
    if pixels:
        rows.append(encoder.backend.encode_pixels(np.concatenate(pixels)))
    yield from finished()


def _take(parts: list[npt.NDArray[Any]], count: int) -> tuple[npt.NDArray[Any], list[npt.NDArray[Any]]]:
    """The first `count` rows as one array, and what is left."""
    taken, rest = [], deque(parts)
    while count:
        part = rest.popleft()
        taken.append(part[:count])
        if len(part) > count:
            rest.appendleft(part[count:])
        count -= len(taken[-1])
    return np.concatenate(taken), list(rest)


class TextCache:
    """An `EmbeddingCache` in a folder; a file that is damaged counts as not there."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim

    def get(self, key: str) -> EncodedText | None:
        """What was put under this key, unless it was lost or damaged since."""
        try:
            values = json.loads(self._path(key).read_text("utf-8"))
            data = base64.b64decode(values["float32"], validate=True)
            if hashlib.sha256(data).hexdigest() != values["sha256"]:
                return None
            vector = np.frombuffer(data, "<f4").astype(np.float32)
            return EncodedText(vector, str(values["cut"])) if len(vector) == self._dim else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, text: EncodedText) -> None:
        """Keep an embedding; where that cannot be done (read-only, full), nothing happens."""
        data = text.vector.astype("<f4").tobytes()
        values = {
            "float32": base64.b64encode(data).decode(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "cut": text.cut,
        }
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, synced=False) as file:
                file.write(json.dumps(values).encode())

    def _path(self, key: str) -> Path:
        return self._folder / "text" / key[:2] / f"{key}.json"
