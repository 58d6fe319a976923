"""The nearest rows: an engine offers candidates, which are rescored exactly from the segments. Knows no engine.

Engines are derived and never trusted. What one does not hold is scanned in float32 and merged; ids that it holds and
that are not live are dropped. Candidates are widened until no row left out can belong to the k best, so ties and copies
come out right, and every engine gives the same ids and the same float32 scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from echosearch.index.vectors.rows import LiveRows, Ranking, Weighting

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
