"""What every encoder shares: unit length, checks, the text cache. Knows no particular model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, EncoderFailed
from echosearch.types import EmbeddingCache, EncodedText, EncoderBackend, EncoderCard, Fingerprint

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
