"""The `toy` encoder: vectors that can be worked out by hand. It has no medical meaning; it is for tests and docs.

A frame with mean red, green, blue r, g, b (0-1) is the direction of
`(r, g, b, top - bottom, left - right, 0.1, 0 ... 0)`, where top, bottom, left, right are the mean grey levels
(0-1) of the halves. A word RED, GREEN, BLUE, TOP, BOTTOM, LEFT, RIGHT or DARK is the matching axis (BOTTOM
and RIGHT with a minus, DARK the sixth); every other word counts its letters a-z on axes 7 to 32, where no
picture has anything. A phrase is the direction of the sum of its words, of which it reads the first 75.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.encoders.presets import list_presets
from echosearch.errors import BadQuery, shown
from echosearch.types import (
    EncoderCard,
    FrameSampling,
    Numerics,
    PreprocessSpec,
    Recipe,
    Space,
)

DIM: Final = 32
SIZE: Final = 16
CONTEXT_WORDS: Final = 75

_WORDS: Final = {
    "red": (0, 1.0),
    "green": (1, 1.0),
    "blue": (2, 1.0),
    "top": (3, 1.0),
    "bottom": (3, -1.0),
    "left": (4, 1.0),
    "right": (4, -1.0),
    "dark": (5, 1.0),
}


class ToyBackend:
    """See the module."""

    def __init__(self, sampling: FrameSampling | None, decoder: str) -> None:
        preset = list_presets()["toy"]
        space = Space("toy-1", "toy", "words", "lower case")
        spec = PreprocessSpec(SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **preset.preprocess)
        self.card = EncoderCard(
            name="toy",
            weights="none",
            dim=DIM,
            recipe=Recipe(space, spec, sampling or preset.sampling),
            numerics=Numerics("fp32", "cpu", "none", decoder, f"numpy {np.__version__}"),
            logit_scale=1.0,
            notice=preset.notice,
        )

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (B, 3, 16, 16) uint8 as (B, 32)."""
        scaled = pixels.astype(np.float64) / 255
        grey = scaled.mean(axis=1)
        half = SIZE // 2
        rows = np.zeros((len(pixels), DIM))
        rows[:, 0:3] = scaled.mean(axis=(2, 3))
        rows[:, 3] = grey[:, :half].mean(axis=(1, 2)) - grey[:, half:].mean(axis=(1, 2))
        rows[:, 4] = grey[:, :, :half].mean(axis=(1, 2)) - grey[:, :, half:].mean(axis=(1, 2))
        rows[:, 5] = 0.1
        return rows.astype(np.float32)

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        """Embed P phrases as (P, 32). BadQuery when no letter is left, or the words cancel out."""
        rows = np.zeros((len(phrases), DIM), np.float32)
        cuts = []
        for row, phrase in zip(rows, phrases, strict=True):
            words = phrase.split()
            cuts.append(" ".join(words[CONTEXT_WORDS:]))
            for word in words[:CONTEXT_WORDS]:
                self._add(word.lower(), row)
            if not row.any():
                raise BadQuery(f"nothing is left of the phrase {shown(phrase)} for the toy encoder")
        return rows, cuts

    @staticmethod
    def _add(word: str, row: npt.NDArray[np.float32]) -> None:
        letters = re.sub("[^a-z]", "", word)
        if letters in _WORDS:
            axis, sign = _WORDS[letters]
            row[axis] += sign
        else:
            for letter in letters:
                row[6 + ord(letter) - ord("a")] += 1
