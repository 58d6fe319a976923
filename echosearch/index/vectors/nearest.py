"""The live rows of an index and which are nearest: an engine offers candidates, which are scored exactly here.

Engines are derived and never trusted. What one does not hold is scanned in float32 and merged; ids that it holds and
that are not live are dropped. Candidates are widened until no row left out can belong to the k best, so ties and copies
come out right, and every engine gives the same ids and the same float32 scores. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

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


_MARGIN: Final = 32
_TOLERANCE: Final = 4e-6
"""More than float32 inner products of unit vectors of up to 4,096 dimensions differ from the exact ones."""


class CandidateFinder(Protocol):
    """An engine: ids and unit vectors, and which of them are near a query, by float32 inner product."""

    @classmethod
    def build(cls, rows: LiveRows) -> Self:
        """An engine that holds all live rows."""
        ...

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Hold these ids (n,) as well, which it does not hold, with their unit vectors (n, D)."""
        ...

    def remove(self, ids: npt.NDArray[np.int64]) -> None:
        """Hold these ids (n,) no more."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into a folder that does not exist yet; it appears whole. BackendError when that fails."""
        ...

    @classmethod
    def load(cls, folder: Path, dim: int) -> Self:
        """What `save` wrote, of vectors with `dim` numbers. DamagedIndex when it cannot be what it says."""
        ...

    @property
    def coverage(self) -> npt.NDArray[np.int64]:
        """(n,) all ids that it holds, in any order."""
        ...

    def nearest(
        self, queries: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.int64] | None = None
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k rows with the largest products, or all when there are fewer.

        Where `allowed` (m,) is given, only ids among these ascending ones count.
        """
        ...

    def damage(self, rows: LiveRows) -> list[str]:
        """Sentences about live ids for which it holds other vectors than their segments."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Allowed:
    """Positions (n,) of the rows that may be hits, and of those among them that the engine lacks.

    With `ids` the engine offers no others; without, it offers all that it holds, `num_dead` dead rows among them.
    """

    positions: npt.NDArray[np.int64]
    uncovered: npt.NDArray[np.int64]
    num_dead: int
    ids: npt.NDArray[np.int64] | None


class VectorIndex:
    """See the module. Without a finder every row is scanned, and the answers are the same."""

    def __init__(self, rows: LiveRows, finder: CandidateFinder | None = None) -> None:
        covered = np.empty(0, np.int64) if finder is None else finder.coverage
        self._rows = rows
        self._finder = finder
        self._is_covered = np.isin(rows.ids, covered)
        self.num_uncovered = int(np.sum(~self._is_covered))
        """Live rows that the finder does not hold."""
        self.num_dead = len(covered) - (len(rows) - self.num_uncovered)
        """Rows that the finder holds and that are not live."""
        self._everything = _Allowed(np.arange(len(rows)), np.flatnonzero(~self._is_covered), self.num_dead, None)

    def damage(self) -> list[str]:
        """Sentences about live ids for which the finder holds another vector than their segment."""
        return [] if self._finder is None else self._finder.damage(self._rows)

    def brought_up(self, kind: type[CandidateFinder]) -> CandidateFinder:
        """A finder of all live rows and no others: this one, changed, or one of a kind. This index ends with it."""
        if self._finder is None:
            return kind.build(self._rows)
        held = self._finder.coverage
        self._finder.remove(held[~np.isin(held, self._rows.ids)])
        for chunk in self._rows.chunks(self._everything.uncovered):
            self._finder.add(self._rows.ids[chunk], self._rows.gather(chunk)[0])
        return self._finder

    def nearest(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        weighting: Weighting = "cosine",
        among: npt.NDArray[np.int64] | None = None,
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k best live rows, or all when there are fewer.

        Only rows whose ids are `among` these (m,) ascending count, where it is given; ids in it that are not live are
        ignored. ValueError when it is no such array.
        """
        allowed = self._everything if among is None else self._allowed(among)
        if k < 1 or not len(allowed.positions):
            return [Ranking(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        return [self._nearest(query, min(k, len(allowed.positions)), weighting, allowed) for query in queries]

    def _allowed(self, among: npt.NDArray[np.int64]) -> _Allowed:
        """The rows that may be hits, for all queries of one call."""
        positions = self._rows.allowed(among)
        return _Allowed(positions, positions[~self._is_covered[positions]], 0, self._rows.ids[positions])

    def _nearest(self, query: npt.NDArray[np.float32], k: int, weighting: Weighting, allowed: _Allowed) -> Ranking:
        wanted = k + _MARGIN
        while True:
            positions, lowest = self._candidates(query, wanted, weighting, allowed)
            scores = self._rows.scores(positions, query, weighting)
            best = Ranking.of(self._rows.ids[positions], scores, k)
            complete = len(best.ids) == k and lowest < best.scores[-1] - _TOLERANCE
            if complete or len(positions) == len(allowed.positions):
                return best
            if wanted >= len(allowed.positions):
                scores = self._rows.scores(allowed.positions, query, weighting)
                return Ranking.of(self._rows.ids[allowed.positions], scores, k)
            wanted *= 4

    def _candidates(
        self, query: npt.NDArray[np.float32], wanted: int, weighting: Weighting, allowed: _Allowed
    ) -> tuple[npt.NDArray[np.int64], float]:
        """Positions of candidates, and a score that no row left out exceeds (within the tolerance)."""
        if weighting == "mean":  # finders hold renormalised vectors, so their order is another one
            return self._scan(allowed.positions, query, wanted, weighting)
        scanned, lowest = self._scan(allowed.uncovered, query, wanted, weighting)
        offered = len(allowed.positions) - len(allowed.uncovered) + allowed.num_dead
        if self._finder is None or not offered:
            return scanned, lowest
        found = min(wanted + allowed.num_dead, offered)
        [near] = self._finder.nearest(query[None], found, allowed.ids)
        if len(near.ids) < found:  # less than it says it holds: nobody knows what is missing
            lowest = np.inf
        elif found < offered:
            lowest = max(lowest, float(near.scores[-1]))
        return np.concatenate([self._rows.positions(near.ids), scanned]), lowest

    def _scan(
        self,
        positions: npt.NDArray[np.int64],
        query: npt.NDArray[np.float32],
        wanted: int,
        weighting: Weighting,
    ) -> tuple[npt.NDArray[np.int64], float]:
        """The `wanted` best of these positions by float32 products, and the best score left out."""
        if len(positions) <= wanted:
            return positions, -np.inf
        near = np.empty(len(positions), np.float32)
        first = 0
        for chunk in self._rows.chunks(positions):
            vectors, norms = self._rows.gather(chunk)
            products = vectors @ query
            near[first : first + len(chunk)] = products * norms if weighting == "mean" else products
            first += len(chunk)
        order = np.argpartition(-near, wanted)
        return positions[order[:wanted]], float(near[order[wanted]])
