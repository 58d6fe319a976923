"""The small interfaces that layers hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from echosearch.types.embeddings import EncodedText
from echosearch.types.models import EncoderCard
from echosearch.types.results import IngestProgress

ProgressListener = Callable[[IngestProgress], None]


class EncoderBackend(Protocol):
    """What a model has to bring: its card and two methods. Checking, batching and caching are written on top."""

    @property
    def card(self) -> EncoderCard: ...

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (B, 3, S, S) uint8 as (B, D) float32, of any length."""
        ...

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        """Embed P phrases as (P, D) float32, of any length; and for each the words that did not fit, or ''."""
        ...


class EmbeddingCache(Protocol):
    """A place for text embeddings; may forget anything at any time, and never fails."""

    def get(self, key: str) -> EncodedText | None: ...

    def put(self, key: str, text: EncodedText) -> None: ...
