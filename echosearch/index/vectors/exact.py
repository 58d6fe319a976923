"""Candidates by plain numpy in float64: slow and plain. The others must offer rows that are as near."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from echosearch.errors import DamagedIndex
from echosearch.index.vectors.nearest import LiveRows, Ranking


class ExactFinder:
    """A `CandidateFinder`; see the module."""

    def __init__(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Over ids (n,) and their unit vectors (n, D)."""
        self._ids, self._vectors = ids, vectors

    @classmethod
    def build(cls, rows: LiveRows) -> Self:
        """An engine that holds all live rows."""
        return cls(rows.ids, rows.gather(np.arange(len(rows)))[0])

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Hold these ids (n,) as well, which it does not hold, with their unit vectors (n, D)."""
        self._ids, self._vectors = np.concatenate([self._ids, ids]), np.concatenate([self._vectors, vectors])

    def remove(self, ids: npt.NDArray[np.int64]) -> None:
        """Hold these ids (n,) no more."""
        kept = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    @property
    def coverage(self) -> npt.NDArray[np.int64]:
        """(n,) all ids that it holds."""
        return self._ids

    def nearest(
        self, queries: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.int64] | None = None
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k rows with the largest products; see `CandidateFinder`."""
        chosen = np.full(len(self._ids), True) if allowed is None else np.isin(self._ids, allowed)
        products = self._vectors[chosen].astype(np.float64) @ queries.T.astype(np.float64)
        return [Ranking.of(self._ids[chosen], column.astype(np.float32), k) for column in products.T]

    def damage(self, rows: LiveRows) -> list[str]:
        """Where it holds another vector for a live id than its segment."""
        live = np.isin(self._ids, rows.ids)
        right = rows.gather(rows.positions(self._ids))[0]
        found = int(np.sum(np.any(self._vectors[live] != right, axis=1)))
        return [f"the exact index holds other vectors than the segments for {found} videos"] if found else []

    def save(self, folder: Path) -> None:
        """Write two arrays into a folder that does not exist yet."""
        folder.mkdir(parents=True)
        np.save(folder / "ids.npy", self._ids)
        np.save(folder / "vectors.npy", self._vectors)

    @classmethod
    def load(cls, folder: Path, dim: int) -> Self:
        """What `save` wrote, of vectors with `dim` numbers. DamagedIndex when it cannot be what it says."""
        try:
            ids, vectors = np.load(folder / "ids.npy"), np.load(folder / "vectors.npy")
            if vectors.shape != (len(ids), dim):
                raise ValueError(f"{len(ids)} ids have vectors of shape {vectors.shape}, with {dim} numbers each")
        except (OSError, ValueError) as error:
            raise DamagedIndex(f"the exact index in {folder} cannot be used: {error}") from error
        return cls(ids, vectors)
