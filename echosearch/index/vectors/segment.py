"""One immutable folder of vectors: written whole or not at all, read by memory map. Knows no catalog.

A memory map holds a file descriptor, and a process may have few: the maps used last stay open, `_MOST_MAPS` of all
segments together. A view that a caller holds stays valid.

ids.npy            int64 (n,), ascending            pooled.npy   float32 (n, D), unit rows
norms.npy          float32 (n,), pooled_norm        frames.npy   float32 | float16 (sum T, D), unit rows
offsets.npy        int64 (n + 1,), rows of frames   frame_numbers.npy   int32 (sum T,), 0-based in the file
segment.json       counts, sizes and digests of these files, numerics
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from echosearch.errors import CatalogSegmentsDisagree, DamagedIndex, OutOfReach, ReadRefused
from echosearch.files import whole_folder
from echosearch.types import EncodedVideo, Numerics

FramesDtype = Literal["float32", "float16", "none"]
Array = Literal["pooled", "norms", "frame_numbers", "frames"]
NO_FRAMES: Final = "none"

MEND: Final = "restore it from a copy, or drop its videos with: echosearch check --repair"

_LOST: Final = (errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO)
"""What the system says of a file that is not there, or whose disk fails."""

_WAY_BACK: Final = (
    "if its disk is not mounted, mount it; if it is lost for good, drop it with: echosearch check --repair --missing"
)
_REFUSALS: Final = {
    errno.EMFILE: "too many open files; allow this process more of them (ulimit -n)",
    errno.ENFILE: "too many open files on this machine; end some programs",
    errno.ENOMEM: "not enough memory; end some programs",
    errno.EACCES: "no permission to read it; make the index folder readable for you",
    errno.EPERM: "no permission to read it; make the index folder readable for you",
}

_HEADERS: Final = threading.Lock()
"""numpy parses an array's header as Python, and CPython 3.11 may mix up what two threads parse (SystemError)."""
_MOST_MAPS: Final = 48


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What `segment.json` says. `files` is name -> [bytes, sha256]; `ids_sha256` stands in the catalog too."""

    name: str
    count: int
    num_frames: int
    dim: int
    frames_dtype: FramesDtype
    ids_sha256: str
    files: dict[str, tuple[int, str]]
    numerics: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class StoredVideo:
    """One video's vectors as a segment keeps them.

    `vector` (D,) float32 of unit length, `frame_numbers` (T,) int32, `frame_embeddings` (T, D) in the segment's
    dtype, or None where it keeps none.
    """

    vector: npt.NDArray[np.float32]
    pooled_norm: float
    frame_numbers: npt.NDArray[np.int32]
    frame_embeddings: npt.NDArray[Any] | None

    @classmethod
    def of(cls, video: EncodedVideo) -> StoredVideo:
        """A video fresh from the encoder."""
        return cls(video.pooled.vector, video.pooled.pooled_norm, video.frame_numbers, video.frame_embeddings)


class RowsToWrite(Protocol):
    """Rows of a segment in the making."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """(n,) ascending."""
        ...

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) number of frames of each video."""
        ...

    def chunks(self, array: Array) -> Iterator[npt.NDArray[Any]]:
        """All of an array, a little at a time."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRows:
    """Rows that are in memory: ascending ids (n,) int64 and as many videos."""

    ids: npt.NDArray[np.int64]
    videos: Sequence[StoredVideo]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.videos) or not len(self.ids):
            raise ValueError("a segment has one id for each video, and at least one")
        if not np.all(np.diff(self.ids) > 0):
            raise ValueError("the ids of a segment are ascending")

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) number of frames of each video."""
        return np.array([len(video.frame_numbers) for video in self.videos], np.int64)

    def chunks(self, array: Array) -> Iterator[npt.NDArray[Any]]:
        """All of an array, a little at a time. ValueError when frames are asked for and some have none."""
        for video in self.videos:
            if array == "frames":
                if video.frame_embeddings is None or len(video.frame_embeddings) != len(video.frame_numbers):
                    raise ValueError("a segment that keeps frames needs a frame embedding for every frame number")
                yield video.frame_embeddings
            elif array == "frame_numbers":
                yield video.frame_numbers
            else:
                yield video.vector[None] if array == "pooled" else np.array([video.pooled_norm], np.float32)


def write_segment(folder: Path, rows: RowsToWrite, frames_dtype: FramesDtype, numerics: Numerics) -> SegmentInfo:
    """Write a segment under a fresh random name in `folder`; when this returns it is there, whole and synced."""
    ids, offsets = rows.ids.astype(np.int64), np.concatenate([[0], np.cumsum(rows.lengths)])
    count, num_frames, dim = len(ids), int(offsets[-1]), next(rows.chunks("pooled")).shape[1]
    arrays: list[tuple[str, Iterable[npt.NDArray[Any]], str, tuple[int, ...]]] = [
        ("ids", [ids], "int64", (count,)),
        ("pooled", rows.chunks("pooled"), "float32", (count, dim)),
        ("norms", rows.chunks("norms"), "float32", (count,)),
        ("offsets", [offsets], "int64", (count + 1,)),
        ("frame_numbers", rows.chunks("frame_numbers"), "int32", (num_frames,)),
    ]
    if frames_dtype != NO_FRAMES:
        arrays.append(("frames", rows.chunks("frames"), frames_dtype, (num_frames, dim)))
    name = secrets.token_hex(8)
    with whole_folder(folder / name, name) as partial:
        files = {
            f"{array}.npy": _write_array(partial / f"{array}.npy", chunks, dtype, shape)
            for array, chunks, dtype, shape in arrays
        }
        info = SegmentInfo(name, count, num_frames, dim, frames_dtype, ids_sha256(ids), files, asdict(numerics))
        with (partial / "segment.json").open("w") as file:
            json.dump(asdict(info), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    return info


def out_of_reach(what: str, error: OSError, way_back: str = _WAY_BACK) -> OutOfReach:
    """Why a file or folder of an index cannot be read: OutOfReach where it may be lost, else ReadRefused."""
    which = f" ({error.filename})" if error.filename and str(error.filename) not in what else ""
    if error.errno in _LOST:
        return OutOfReach(f"{what} cannot be read: {error.strerror}{which}; {way_back}")
    reason, _, way_out = _REFUSALS.get(error.errno or 0, error.strerror or str(error)).partition("; ")
    return ReadRefused(f"{what} cannot be read: {reason}{which}; {way_out or 'nothing is lost'}")


def open_segment(folder: Path, name: str) -> Segment:
    """Open a segment, checking the size of each file and the digest of its ids.

    OutOfReach when a file is missing or cannot be read today, DamagedIndex when `segment.json` is not what was
    written, CatalogSegmentsDisagree when another file is not.
    """
    path = folder / name
    try:
        values = json.loads((path / "segment.json").read_text())
        files = {file: (int(size), str(digest)) for file, (size, digest) in dict(values["files"]).items()}
        info = SegmentInfo(**values | {"files": files})
        sizes = {file: (path / file).stat().st_size for file in files}
    except OSError as error:
        raise out_of_reach(f"segment {path}", error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedIndex(
            f"segment {path} cannot be read: its segment.json is not what was written; {MEND}"
        ) from error
    for file, (size, _) in files.items():
        if sizes[file] != size:
            raise CatalogSegmentsDisagree(
                f"{path / file} has {sizes[file]} bytes where its segment was written with {size}; "
                "restore the folder from a copy"
            )
    segment = Segment(path, info)
    if ids_sha256(segment.ids) != info.ids_sha256:
        raise CatalogSegmentsDisagree(
            f"{path / 'ids.npy'} does not hold the ids that it was written with; restore it from a copy"
        )
    return segment


class Segment:
    """An open segment; arrays are memory-mapped when used, and small ones read when first used."""

    def __init__(self, path: Path, info: SegmentInfo) -> None:
        self.path = path
        self.info = info

    @cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        """(n,) ascending."""
        return self.load("ids", mapped=False)

    @property
    def pooled(self) -> npt.NDArray[np.float32]:
        """(n, D) unit rows."""
        return self.array("pooled")

    @cached_property
    def norms(self) -> npt.NDArray[np.float32]:
        """(n,) length of each mean before it was renormalised."""
        return self.load("norms", mapped=False)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(n + 1,) first row of each video's frames, and the end."""
        return self.load("offsets", mapped=False)

    @property
    def frames(self) -> npt.NDArray[Any]:
        """(sum T, D) unit rows, float32 or float16. OutOfReach in a segment that keeps none."""
        return self.array("frames")

    def damage(self) -> list[str]:
        """What a full read finds wrong: bytes that changed, rows that are not finite or not of unit length.

        OutOfReach when a file cannot be read today.
        """
        found = []
        for name, (_, digest) in self.info.files.items():
            try:
                with (self.path / name).open("rb") as file:
                    now = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise out_of_reach(str(self.path / name), error) from error
            if now != digest:
                found.append(f"{self.path / name} has other bytes than were written")
        if not found:
            lengths = np.sqrt(np.einsum("ij,ij->i", self.pooled, self.pooled, dtype=np.float64))
            if not np.all(np.abs(lengths - 1) < 1e-3):
                found.append(f"{self.path / 'pooled.npy'} holds rows that are not of unit length")
        return found

    def stored(self, row: int) -> StoredVideo:
        """All that is kept of one video, read into memory."""
        frames = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        embeddings = None if self.info.frames_dtype == NO_FRAMES else np.array(self.frames[frames])
        return StoredVideo(
            np.array(self.pooled[row]),
            float(self.norms[row]),
            np.array(self.array("frame_numbers")[frames]),
            embeddings,
        )

    def array(self, name: Array) -> npt.NDArray[Any]:
        """One of the arrays, as a memory map."""
        if name == "norms":
            return self.norms
        return _map(self, name)

    def load(self, name: str, mapped: bool) -> npt.NDArray[Any]:
        """Open one of the arrays as a memory map, or read it. OutOfReach or DamagedIndex when that fails."""
        path = self.path / f"{name}.npy"
        try:
            with _HEADERS:
                values: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except OSError as error:
            raise out_of_reach(str(path), error) from error
        except (ValueError, EOFError) as error:
            raise DamagedIndex(f"{path} cannot be read: it is not what was written; {MEND}") from error
        return values


@lru_cache(maxsize=_MOST_MAPS)
def _map(segment: Segment, name: str) -> npt.NDArray[Any]:
    return segment.load(name, mapped=True)


def close_maps() -> None:
    """Let go of all memory maps that nobody is using; they are opened again when they are needed."""
    _map.cache_clear()


def ids_sha256(ids: npt.NDArray[np.int64]) -> str:
    """Digest of ids (n,) as little-endian int64."""
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()


def _write_array(
    path: Path, chunks: Iterable[npt.NDArray[Any]], dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> tuple[int, str]:
    """Write the chunks as one array of this shape, synced; size in bytes and digest of the file."""
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        header = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
        write(header.getvalue())
        rows = 0
        for chunk in chunks:
            write(np.asarray(chunk, dtype).tobytes())
            rows += len(chunk)
        if rows != shape[0]:
            raise ValueError(f"{path.name} expected {shape[0]} rows, got {rows}")
        file.flush()
        os.fsync(file.fileno())
        return file.tell(), digest.hexdigest()
