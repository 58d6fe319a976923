"""The live rows of an index across its segments, and their exact scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from echosearch.index.vectors.segment import Segment

Weighting = Literal["cosine", "mean"]
"""`cosine`: v . q; `mean`: pooled_norm * (v . q), the inner product with the mean that was not renormalised."""

_CHUNK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ids (n,) int64 and scores (n,) float32, best first, ties by ascending id."""

    ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], k: int) -> Ranking:
        """The k best of any scored ids."""
        order = np.lexsort((ids, -scores))[:k]
        return cls(ids[order], scores[order])


class LiveRows:
    """Rows of several segments without the deleted ones, addressed by position; ids are looked up, never joined."""

    def __init__(self, segments: Sequence[Segment], deleted: npt.NDArray[np.int64], dim: int) -> None:
        self.dim = dim
        self._segments = list(segments)
        self._starts = np.cumsum([0, *(segment.info.count for segment in segments)])
        every_id = np.concatenate([np.empty(0, np.int64), *(segment.ids for segment in segments)])
        order = np.argsort(every_id, kind="stable")
        alive = ~np.isin(every_id[order], deleted, assume_unique=True)
        self.ids = every_id[order][alive]
        """(n,) int64, ascending: the ids of all live rows."""
        self._places = order[alive]  # row across all segments, for each live id

    def __len__(self) -> int:
        return len(self.ids)

    def by_segment(self) -> Iterator[tuple[Segment, npt.NDArray[np.int64]]]:
        """Each segment with its live rows, ascending."""
        places = np.sort(self._places)
        for number, segment in enumerate(self._segments):
            first, last = np.searchsorted(places, self._starts[number : number + 2])
            yield segment, places[first:last] - self._starts[number]

    def positions(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions of those `ids` that are live, in their order; the others are left out."""
        if not len(self.ids):
            return np.empty(0, np.int64)
        found = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        live: npt.NDArray[np.int64] = found[self.ids[found] == ids]
        return live

    def allowed(self, among: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
        """Positions (n,) ascending of the rows that may be hits: all, or those whose ids are `among` these (m,).

        ValueError when `among` is no int64 array of ascending ids: one named twice would be found twice.
        """
        if among is None:
            return np.arange(len(self.ids))
        if among.ndim != 1 or among.dtype != np.int64 or not np.all(among[1:] > among[:-1]):
            raise ValueError("the ids to search among are an int64 array (m,) of ascending ids, each once")
        return np.flatnonzero(np.isin(self.ids, among, assume_unique=True))  # for many ids quicker than looking up each

    def place(self, video_id: int) -> tuple[Segment, int] | None:
        """The segment and row of a live id, or None."""
        position = self.positions(np.array([video_id], np.int64))
        if not len(position):
            return None
        place = int(self._places[position[0]])
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._segments[number], place - int(self._starts[number])

    def gather(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Video embeddings (n, D) and norms (n,) at these positions."""
        vectors = np.empty((len(positions), self.dim), np.float32)
        norms = np.empty(len(positions), np.float32)
        places = self._places[positions]
        numbers = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(numbers):
            chosen = numbers == number
            rows = places[chosen] - self._starts[number]
            vectors[chosen] = self._segments[number].pooled[rows]
            norms[chosen] = self._segments[number].norms[rows]
        return vectors, norms

    def chunks(self, positions: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Positions a few thousand at a time, so that memory is bounded whatever the index size."""
        for first in range(0, len(positions), _CHUNK):
            yield positions[first : first + _CHUNK]

    def scores(
        self, positions: npt.NDArray[np.int64], query: npt.NDArray[np.float32], weighting: Weighting
    ) -> npt.NDArray[np.float32]:
        """Exact scores (n,) of a unit query (D,): summed in float64, rounded once to float32.

        Each row is summed for itself, so a score depends neither on its neighbours nor on the batch.
        """
        parts = [np.empty(0, np.float32)]
        exact_query = query.astype(np.float64)
        for chunk in self.chunks(positions):
            vectors, norms = self.gather(chunk)
            exact: npt.NDArray[Any] = (vectors.astype(np.float64) * exact_query).sum(axis=1)
            if weighting == "mean":
                exact *= norms
            parts.append(exact.astype(np.float32))
        return np.concatenate(parts)
