"""One immutable folder of vectors: written whole or not at all, read by memory map. Knows no catalog.

ids.npy            int64 (n,), ascending            pooled.npy   float32 (n, D), unit rows
norms.npy          float32 (n,), pooled_norm        frames.npy   float32 | float16 (sum T, D), unit rows
offsets.npy        int64 (n + 1,), rows of frames   frame_numbers.npy   int32 (sum T,), 0-based in the file
segment.json       counts, sizes and digests of these files, numerics
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import CatalogSegmentsDisagree, DamagedIndex
from echosearch.types import EncodedVideo, Numerics

FramesDtype = Literal["float32", "float16", "none"]
NO_FRAMES: Final = "none"
PARTIAL_PREFIX: Final = ".partial-"


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


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRows:
    """What goes into a segment: ascending ids (n,) int64 and as many videos."""

    ids: npt.NDArray[np.int64]
    videos: Sequence[StoredVideo]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.videos) or not len(self.ids):
            raise ValueError("a segment has one id for each video, and at least one")
        if not np.all(np.diff(self.ids) > 0):
            raise ValueError("the ids of a segment are ascending")


def write_segment(folder: Path, rows: SegmentRows, frames_dtype: FramesDtype, numerics: Numerics) -> SegmentInfo:
    """Write a segment under a fresh random name in `folder`; when this returns it is there, whole and synced."""
    keeps_frames = frames_dtype != NO_FRAMES
    if keeps_frames and any(_num_frames(video) != len(video.frame_numbers) for video in rows.videos):
        raise ValueError("a segment that keeps frames needs a frame embedding for every frame number")
    lengths = [len(video.frame_numbers) for video in rows.videos]
    arrays: dict[str, npt.NDArray[Any]] = {
        "ids": rows.ids.astype(np.int64),
        "pooled": np.stack([video.vector for video in rows.videos]),
        "norms": np.array([video.pooled_norm for video in rows.videos], np.float32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "frame_numbers": np.concatenate([video.frame_numbers for video in rows.videos]),
    }
    if keeps_frames:
        frames = [video.frame_embeddings for video in rows.videos if video.frame_embeddings is not None]
        arrays["frames"] = np.concatenate(frames).astype(frames_dtype)
    name = secrets.token_hex(8)
    partial = folder / f"{PARTIAL_PREFIX}{name}"
    partial.mkdir()
    try:
        files = {f"{key}.npy": _write_array(partial / f"{key}.npy", values) for key, values in arrays.items()}
        info = SegmentInfo(
            name,
            len(rows.ids),
            sum(lengths),
            arrays["pooled"].shape[1],
            frames_dtype,
            ids_sha256(arrays["ids"]),
            files,
            asdict(numerics),
        )
        with (partial / "segment.json").open("w") as file:
            json.dump(asdict(info), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fsync_path(partial)
        partial.rename(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # what could not be completed: a full disk has no room for it
    fsync_path(folder)
    return info


def _num_frames(video: StoredVideo) -> int:
    return 0 if video.frame_embeddings is None else len(video.frame_embeddings)


def open_segment(folder: Path, name: str) -> Segment:
    """Open a segment, checking the size of each file and the digest of its ids.

    DamagedIndex when a file is missing or cannot be read, CatalogSegmentsDisagree when one has another size.
    """
    path = folder / name
    try:
        values = json.loads((path / "segment.json").read_text())
        files = {file: (int(size), str(digest)) for file, (size, digest) in dict(values["files"]).items()}
        info = SegmentInfo(**values | {"files": files})
        sizes = {file: (path / file).stat().st_size for file in files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"segment {path} cannot be read: {error}") from error
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
    """An open segment; arrays are memory-mapped when first used."""

    def __init__(self, path: Path, info: SegmentInfo) -> None:
        self.path = path
        self.info = info

    @cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        """(n,) ascending."""
        return np.asarray(self._load("ids", mapped=False))

    @cached_property
    def pooled(self) -> npt.NDArray[np.float32]:
        """(n, D) unit rows."""
        return self._load("pooled")

    @cached_property
    def norms(self) -> npt.NDArray[np.float32]:
        """(n,) length of each mean before it was renormalised."""
        return self._load("norms")

    def damage(self) -> list[str]:
        """What a full read finds wrong: bytes that changed, rows that are not finite or not of unit length."""
        found = []
        for name, (_, digest) in self.info.files.items():
            try:
                with (self.path / name).open("rb") as file:
                    now = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                found.append(f"{self.path / name} cannot be read: {error.strerror}")
                continue
            if now != digest:
                found.append(f"{self.path / name} has other bytes than were written")
        if not found:
            lengths = np.linalg.norm(self.pooled.astype(np.float64), axis=1)
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
            np.array(self._frame_numbers[frames]),
            embeddings,
        )

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(n + 1,) first row of each video's frames, and the end."""
        return self._load("offsets")

    @cached_property
    def _frame_numbers(self) -> npt.NDArray[np.int32]:
        return self._load("frame_numbers")

    @cached_property
    def frames(self) -> npt.NDArray[Any]:
        """(sum T, D) unit rows, float32 or float16. DamagedIndex in a segment that keeps none."""
        return self._load("frames")

    def _load(self, name: str, mapped: bool = True) -> npt.NDArray[Any]:
        path = self.path / f"{name}.npy"
        try:
            values: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedIndex(f"{path} cannot be read: {error}") from error
        return values


def ids_sha256(ids: npt.NDArray[np.int64]) -> str:
    """Digest of ids (n,) as little-endian int64."""
    return hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()


def _write_array(path: Path, values: npt.NDArray[Any]) -> tuple[int, str]:
    """Write one array, synced; its size in bytes and the digest of the file."""
    with path.open("w+b") as file:
        np.save(file, values, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Make a folder's entries survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
