"""Candidates by FAISS's flat inner product, in memory and on disk. Knows ids and unit vectors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from echosearch.errors import BackendError, DamagedIndex
from echosearch.files import fsync_path, whole_folder
from echosearch.index.vectors.nearest import LiveRows, Ranking
from echosearch.index.vectors.segment import ids_sha256

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


class FlatFaiss:
    """A `CandidateFinder` that compares a query with every vector, so it gives the very nearest."""

    def __init__(self, index: Any) -> None:
        """Around FAISS's own index."""
        self._index = index

    @classmethod
    def build(cls, rows: LiveRows) -> Self:
        """An engine that holds all live rows."""
        import faiss

        finder = cls(faiss.IndexIDMap2(faiss.IndexFlatIP(rows.dim)))
        for chunk in rows.chunks(np.arange(len(rows))):
            finder.add(rows.ids[chunk], rows.gather(chunk)[0])
        return finder

    def add(self, ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Hold these ids (n,) as well, which it does not hold, with their unit vectors (n, D)."""
        self._index.add_with_ids(vectors, ids)

    def remove(self, ids: npt.NDArray[np.int64]) -> None:
        """Hold these ids (n,) no more."""
        self._index.remove_ids(ids)

    @property
    def coverage(self) -> npt.NDArray[np.int64]:
        """(n,) all ids that it holds, in the order in which they came."""
        import faiss

        ids: npt.NDArray[np.int64] = faiss.vector_to_array(self._index.id_map)
        return ids

    def nearest(
        self, queries: npt.NDArray[np.float32], k: int, allowed: npt.NDArray[np.int64] | None = None
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k rows with the largest products; see `CandidateFinder`."""
        products, ids = self._index.search(queries, k, params=None if allowed is None else _selection(allowed))
        return [Ranking(some[some >= 0], near[some >= 0]) for some, near in zip(ids, products, strict=True)]

    def damage(self, rows: LiveRows) -> list[str]:
        """Where it holds another vector for a live id than its segment."""
        import faiss

        held = self.coverage
        flat = faiss.downcast_index(self._index.index)
        found = 0
        for first in range(0, len(held), 8192):
            ids = held[first : first + 8192]
            positions = rows.positions(ids)
            live = np.isin(ids, rows.ids)
            vectors = flat.reconstruct_n(first, len(ids))[live]
            found += int(np.sum(np.any(vectors != rows.gather(positions)[0], axis=1)))
        return [f"the FAISS index holds other vectors than the segments for {found} videos"] if found else []

    def save(self, folder: Path) -> None:
        """Write `index.faiss` and `ann.json` into a folder that does not exist yet; it appears whole."""
        import faiss

        try:
            with whole_folder(folder, folder.name) as partial:
                path = partial / "index.faiss"
                faiss.write_index(self._index, str(path))
                size, sha256 = path.stat().st_size, _sha256(path)
                count, dim = self._index.ntotal, self._index.d
                description = FaissFile(_TYPE, count, ids_sha256(self.coverage), dim, size, sha256)
                (partial / "ann.json").write_text(json.dumps(asdict(description), indent=1))
                for file in (path, partial / "ann.json"):
                    fsync_path(file)
        except RuntimeError as error:  # how FAISS tells that the disk is full
            raise BackendError(f"cannot write the FAISS index {folder}: {error}") from error

    @classmethod
    def load(cls, folder: Path, dim: int) -> Self:
        """What `save` wrote, of vectors with `dim` numbers. DamagedIndex when it cannot be what it says."""
        import faiss

        try:
            description = FaissFile(**json.loads((folder / "ann.json").read_text()))
            path = folder / "index.faiss"
            if path.stat().st_size != description.size_bytes:
                raise ValueError(f"{path.name} has another size than ann.json says")
            if description.size_bytes <= _HASHED_BYTES and _sha256(path) != description.sha256:
                raise ValueError(f"{path.name} has other bytes than were written")
            index: Any = faiss.read_index(str(path))
            told = (index.ntotal, ids_sha256(faiss.vector_to_array(index.id_map)), index.d, index.metric_type)
            described = (description.count, description.ids_sha256, description.dim, faiss.METRIC_INNER_PRODUCT)
            if told != described:
                raise ValueError(f"{path.name} is not the index that ann.json describes")
            if index.d != dim:
                raise ValueError(f"{path.name} has {index.d} dimensions, the index has {dim}")
        except (OSError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            raise DamagedIndex(f"the FAISS index in {folder} cannot be used: {error}") from error
        return cls(index)


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
