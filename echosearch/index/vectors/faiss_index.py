"""FAISS inner product: offers candidates, which are rescored exactly from the segments. Derived, never trusted.

What the FAISS file does not cover is scanned in float32 and merged; ids that it holds and that are not live are
dropped. Candidates are widened until no row left out can belong to the k best, so ties and copies come out right.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BackendError, DamagedIndex
from echosearch.index.vectors.rows import LiveRows, Ranking, Weighting
from echosearch.index.vectors.segment import fsync_path, ids_sha256

_MARGIN: Final = 32
_TOLERANCE: Final = 4e-6
"""More than float32 inner products of unit vectors of up to 4,096 dimensions differ from the exact ones."""

_HASHED_BYTES: Final = 256 * 2**20
"""Files up to this size are hashed whenever they are opened, larger ones by `damage` only: that takes seconds."""

_TYPE: Final = "IndexIDMap2,Flat inner product"


@dataclass(frozen=True, slots=True)
class FaissFile:
    """What `ann.json` says: type of index, number of vectors, digest of their ids, dimensions and file size."""

    type: str
    count: int
    ids_sha256: str
    dim: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class _Allowed:
    """Positions (n,) of the rows that may be hits, and of those among them that FAISS lacks.

    `selection` makes FAISS offer no others; without it, it offers all that it holds, `num_dead` dead rows among them.
    """

    positions: npt.NDArray[np.int64]
    uncovered: npt.NDArray[np.int64]
    num_dead: int
    selection: Any | None


class FaissIndex:
    """See the module. `index` is None where there is no FAISS index: then every row is scanned."""

    def __init__(self, rows: LiveRows, index: Any | None, covered: npt.NDArray[np.int64]) -> None:
        self._rows = rows
        self._index = index
        self._is_covered = np.isin(rows.ids, covered)
        self.num_uncovered = int(np.sum(~self._is_covered))
        """Live rows that FAISS does not hold."""
        self.num_dead = len(covered) - (len(rows) - self.num_uncovered)
        """Rows that FAISS holds and that are not live."""
        self._everything = _Allowed(np.arange(len(rows)), np.flatnonzero(~self._is_covered), self.num_dead, None)

    @classmethod
    def none(cls, rows: LiveRows) -> FaissIndex:
        """No FAISS index at all; the answers are the same."""
        return cls(rows, None, np.empty(0, np.int64))

    @classmethod
    def build(cls, rows: LiveRows) -> FaissIndex:
        """A FAISS index over all live rows."""
        import faiss

        index = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.dim))
        for chunk in rows.chunks(np.arange(len(rows))):
            index.add_with_ids(rows.gather(chunk)[0], rows.ids[chunk])
        return cls(rows, index, rows.ids)

    @classmethod
    def load(cls, folder: Path, rows: LiveRows) -> FaissIndex:
        """The index that `save` wrote, over today's rows. DamagedIndex when it cannot be what it says."""
        import faiss

        try:
            description = FaissFile(**json.loads((folder / "ann.json").read_text()))
            path = folder / "index.faiss"
            if path.stat().st_size != description.size_bytes:
                raise ValueError(f"{path.name} has another size than ann.json says")
            if description.size_bytes <= _HASHED_BYTES and _sha256(path) != description.sha256:
                raise ValueError(f"{path.name} has other bytes than were written")
            index: Any = faiss.read_index(str(path))
            covered = faiss.vector_to_array(index.id_map)
            told = (index.ntotal, ids_sha256(covered), index.d, index.metric_type)
            described = (description.count, description.ids_sha256, description.dim, faiss.METRIC_INNER_PRODUCT)
            if told != described:
                raise ValueError(f"{path.name} is not the index that ann.json describes")
            if index.d != rows.dim:
                raise ValueError(f"{path.name} has {index.d} dimensions, the index has {rows.dim}")
        except (OSError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            raise DamagedIndex(f"the FAISS index in {folder} cannot be used: {error}") from error
        return cls(rows, index, covered)

    def damage(self) -> list[str]:
        """Where the FAISS index holds another vector for a live id than its segment."""
        if self._index is None:
            return []
        import faiss

        held = faiss.vector_to_array(self._index.id_map)
        flat = faiss.downcast_index(self._index.index)
        found = 0
        for first in range(0, len(held), 8192):
            ids = held[first : first + 8192]
            positions = self._rows.positions(ids)
            live = np.isin(ids, self._rows.ids)
            vectors = flat.reconstruct_n(first, len(ids))[live]
            found += int(np.sum(np.any(vectors != self._rows.gather(positions)[0], axis=1)))
        return [f"the FAISS index holds other vectors than the segments for {found} videos"] if found else []

    def save(self, folder: Path) -> None:
        """Write `index.faiss` and `ann.json` into a folder that does not exist yet; it appears whole."""
        import faiss

        if self._index is None:
            raise ValueError("there is no FAISS index to save; build one")
        partial = folder.with_name(f".partial-{folder.name}")
        partial.mkdir(parents=True)
        path = partial / "index.faiss"
        try:
            faiss.write_index(self._index, str(path))
            digest = ids_sha256(faiss.vector_to_array(self._index.id_map))
            size, sha256 = path.stat().st_size, _sha256(path)
            description = FaissFile(_TYPE, self._index.ntotal, digest, self._index.d, size, sha256)
            (partial / "ann.json").write_text(json.dumps(asdict(description), indent=1))
            for file in (path, partial / "ann.json"):
                fsync_path(file)
            fsync_path(partial)
            partial.rename(folder)
        except RuntimeError as error:  # how FAISS tells that the disk is full
            raise BackendError(f"cannot write the FAISS index {folder}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # what could not be completed: a full disk has no room for it
        fsync_path(folder.parent)

    def nearest(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        weighting: Weighting = "cosine",
        among: npt.NDArray[np.int64] | None = None,
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k best live rows, or all when there are fewer; see VectorIndex."""
        allowed = self._everything if among is None else self._allowed(among)
        if k < 1 or not len(allowed.positions):
            return [Ranking(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        return [self._nearest(query, min(k, len(allowed.positions)), weighting, allowed) for query in queries]

    def _allowed(self, among: npt.NDArray[np.int64]) -> _Allowed:
        """The rows that may be hits, for all queries of one call."""
        positions = self._rows.allowed(among)
        uncovered = positions[~self._is_covered[positions]]
        selection = None if self._index is None else _selection(self._rows.ids[positions])
        return _Allowed(positions, uncovered, 0, selection)

    def _nearest(self, query: npt.NDArray[np.float32], k: int, weighting: Weighting, allowed: _Allowed) -> Ranking:
        wanted = k + _MARGIN
        while True:
            positions, lowest = self._candidates(query, wanted, weighting, allowed)
            scores = self._rows.scores(positions, query, weighting)
            best = Ranking.of(self._rows.ids[positions], scores, k)
            complete = len(best.ids) == k and lowest < best.scores[-1] - _TOLERANCE
            if complete or len(positions) == len(allowed.positions):
                return best
            if wanted >= len(allowed.positions):  # FAISS gives less than it says it holds
                scores = self._rows.scores(allowed.positions, query, weighting)
                return Ranking.of(self._rows.ids[allowed.positions], scores, k)
            wanted *= 4

    def _candidates(
        self, query: npt.NDArray[np.float32], wanted: int, weighting: Weighting, allowed: _Allowed
    ) -> tuple[npt.NDArray[np.int64], float]:
        """Positions of candidates, and a score that no row left out exceeds (within the tolerance)."""
        if weighting == "mean":  # FAISS holds renormalised vectors, so its order is another one
            return self._scan(allowed.positions, query, wanted, weighting)
        scanned, lowest = self._scan(allowed.uncovered, query, wanted, weighting)
        offered = len(allowed.positions) - len(allowed.uncovered) + allowed.num_dead
        if self._index is None or not offered:
            return scanned, lowest
        found = min(wanted + allowed.num_dead, offered)
        near, ids = self._index.search(query[None], found, params=allowed.selection)
        covered = self._rows.positions(ids[0])
        if found < offered:
            lowest = max(lowest, float(near[0][-1]))
        return np.concatenate([covered, scanned]), lowest

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


def _selection(ids: npt.NDArray[np.int64]) -> Any:
    """FAISS's search parameters under which only these ids (n,) are found, in about the time that their share takes.

    A bit for each id up to the highest: ids are given one after another, so these are not many more than the rows.
    """
    import faiss

    module: Any = faiss  # the types that SWIG generates do not know the arguments that faiss adds
    chosen = np.zeros(int(ids.max(initial=0)) + 1, bool)
    chosen[ids] = True
    return module.SearchParameters(sel=module.IDSelectorBitmap(np.packbits(chosen, bitorder="little")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
