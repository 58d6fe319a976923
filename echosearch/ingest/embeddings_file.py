"""Vectors outside an index: one `.npz` that numpy reads, with what is needed to say what they are. Knows no index.

paths          (n,) text               v       (n, D) float32, unit rows       norms   (n,) float32, pooled_norm
offsets        (n + 1,) int64, rows of the two that follow, for each video
frame_numbers  (sum T,) int32, 0-based in the file      frames  (sum T, D) float32 | float16, unit rows
probe_frames, probe_phrases    the same model's fingerprint
ids, records, about            in files written here: ids, all that the catalog knows (JSON lines), the manifest

A file made elsewhere has `paths`, and `v` with `norms`, or `frames` with `offsets` and `frame_numbers`.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadEmbeddings
from echosearch.files import refuse_device
from echosearch.index import AttributeType, FramesDtype, StoredVideo, refuse_newer
from echosearch.outputs import Output
from echosearch.types import UNIT_TOLERANCE, Fingerprint, VideoEmbedding, pool

Array = npt.NDArray[Any]

_ROUNDED: Final = 1e-3
"""So much of its length a unit vector loses at most where it was rounded to half precision."""
_AGREEMENT: Final = {"float32": (1 - 1e-6, 1e-4), "float16": (1 - 1e-6, 2e-4)}
"""Lowest cosine between `v` and the mean of the frames, and largest difference of the norms, taken for rounding."""


def write_embeddings(
    output: Output,
    about: dict[str, Any],
    probe: Fingerprint,
    records: Sequence[Mapping[str, Any]],
    stored: Callable[[int], StoredVideo],
    frames_dtype: FramesDtype,
) -> None:
    """Write videos, of which `records` are known, with their vectors, one after the other: memory stays bounded.

    The same videos give the same bytes. BackendError when it cannot be written.
    """
    count, dim = len(records), int(about["dim"])
    ids: list[int] = [record["video_id"] for record in records]
    offsets = np.cumsum([0, *(record["num_embedded_frames"] for record in records)], dtype=np.int64)
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    with output.writing() as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        whole: dict[str, Array] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "ids": np.array(ids, np.int64),
            "paths": np.array([record["path"] for record in records], np.str_),
            "offsets": offsets,
            "records": np.frombuffer(lines, np.uint8),
            "probe_frames": probe.frames,
            "probe_phrases": probe.phrases,
            "norms": np.array([stored(id_).pooled_norm for id_ in ids], np.float32),
        }
        for name, values in whole.items():
            _write_rows(archive, name, [values], values.dtype, values.shape)
        _write_rows(archive, "v", (stored(id_).vector for id_ in ids), np.float32, (count, dim))
        numbers = (stored(id_).frame_numbers for id_ in ids)
        _write_rows(archive, "frame_numbers", numbers, np.int32, (int(offsets[-1]),))
        if frames_dtype != "none":
            frames = (cast("Array", stored(id_).frame_embeddings) for id_ in ids)
            _write_rows(archive, "frames", frames, frames_dtype, (int(offsets[-1]), dim))


def _write_rows(
    archive: zipfile.ZipFile, name: str, parts: Iterable[Array], dtype: npt.DTypeLike, shape: tuple[int, ...]
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())


class EmbeddingsFile:
    """An open file of embeddings, its small parts checked. BadEmbeddings says what is wrong, and in which row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._named_errors():
            refuse_device(path)
        with self._named_errors(), zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            small = names & {"paths", "norms", "offsets", "frame_numbers", "v", "probe_frames", "probe_phrases"}
            self._arrays = {name: _read_whole(archive, name) for name in small}
            told = {name: _read_whole(archive, name).tobytes().decode() for name in names & {"about", "records"}}
            self._frames = _read_header(archive, "frames") if "frames" in names else None
            self.about: dict[str, Any] | None = json.loads(told["about"]) if "about" in told else None
            self.records: list[dict[str, Any]] | None = (
                [json.loads(line) for line in told["records"].splitlines()] if "records" in told else None
            )
        self.paths = self._checked_paths()
        self._check_shapes()
        self._check_ours()

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        rows = self._arrays["v"].shape if self._frames is None else self._frames[0]
        return int(rows[1])

    @property
    def frames_dtype(self) -> FramesDtype:
        """How it keeps frame embeddings."""
        return "none" if self._frames is None else cast("FramesDtype", self._frames[1].name)

    @property
    def has_frame_numbers(self) -> bool:
        """Whether it says which frames its vectors are of."""
        return "frame_numbers" in self._arrays

    @property
    def attributes(self) -> dict[str, AttributeType]:
        """The typed attributes that its records have."""
        found = (self.about or {}).get("attributes", {})
        if not isinstance(found, dict) or not set(found.values()) <= {"integer", "real", "text"}:
            raise self._wrong(f"`about` has attributes of kinds that are not known here: {found!r}")
        return cast("dict[str, AttributeType]", found)

    @property
    def probe(self) -> Fingerprint | None:
        """The fingerprint of its model, if it has one."""
        if not {"probe_frames", "probe_phrases"} <= self._arrays.keys():
            return None
        with self._named_errors():
            return Fingerprint(*(self._arrays[name].astype(np.float32) for name in ("probe_frames", "probe_phrases")))

    def videos(self) -> Iterator[StoredVideo]:
        """The vectors of each video, checked, in the order of `paths`; frames are read as they are needed."""
        with self._named_errors(), zipfile.ZipFile(self.path) as archive:
            if self._frames is None:
                for row in range(len(self.paths)):
                    yield self._video(row, None)
                return
            offsets = self._arrays["offsets"]
            with archive.open("frames.npy") as file:
                shape, dtype = _read_array_header(file)
                for row in range(len(self.paths)):
                    count = int(offsets[row + 1] - offsets[row])
                    data = file.read(count * shape[1] * dtype.itemsize)
                    yield self._video(row, np.frombuffer(data, dtype).reshape(count, shape[1]))

    def _video(self, row: int, frames: Array | None) -> StoredVideo:
        numbers = np.empty(0, np.int32)
        if "frame_numbers" in self._arrays:
            offsets = self._arrays["offsets"]
            numbers = self._arrays["frame_numbers"][offsets[row] : offsets[row + 1]].astype(np.int32)
        if frames is None:
            vector = self._vector(row)
            norm = float(self._arrays["norms"][row])
        else:
            self._check_unit("frames", row, frames)
            try:
                pooled = pool(_unit(frames))
            except ValueError as error:
                raise self._wrong(f"video {row}: {error}") from error
            vector, norm = self._agreeing(row, pooled, frames.dtype.name)
            frames = frames if frames.dtype == np.float16 else _unit(frames)
        if not 0 < norm <= 1 + UNIT_TOLERANCE:
            raise self._wrong(f"norms of video {row} is {norm}, not the length of a mean of unit vectors (0 to 1]")
        return StoredVideo(vector, norm, numbers, frames)

    def _agreeing(self, row: int, pooled: VideoEmbedding, frames_dtype: str) -> tuple[Array, float]:
        """Direction and length of the mean of a video's frames; `v` and `norms` must say the same.

        Of frames that were rounded to float16, those made before the rounding are the better ones.
        """
        vector, norm = pooled.vector, pooled.pooled_norm
        cosine_needed, norm_tolerance = _AGREEMENT[frames_dtype]
        if "v" in self._arrays:
            told = self._vector(row)
            if not float(told.astype(np.float64) @ pooled.vector) >= cosine_needed:
                raise self._wrong(f"v of video {row} is not the direction of the mean of its frames")
            vector = told if frames_dtype == "float16" else vector
        if "norms" in self._arrays:
            length = float(self._arrays["norms"][row])
            if not abs(length - norm) <= norm_tolerance:
                raise self._wrong(
                    f"norms of video {row} is {length:.4f}, and the mean of its frames has length {norm:.4f}"
                )
            norm = length if frames_dtype == "float16" else norm
        return vector, norm

    def _vector(self, row: int) -> Array:
        told = self._arrays["v"][row][None]
        self._check_unit("v", row, told)
        unit: Array = _unit(told)[0]
        return unit

    def _check_unit(self, name: str, row: int, vectors: Array) -> None:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.all(np.abs(lengths - 1) <= _ROUNDED):  # NaN fails this as well
            worst = lengths[np.argmax(np.where(np.isnan(lengths), np.inf, np.abs(lengths - 1)))]
            raise self._wrong(
                f"{name} of video {row} has length {worst:.6g}, not 1; divide by the length "
                "(and give that of the mean of a video's unit frames as norms)"
            )

    def _checked_paths(self) -> list[str]:
        paths = self._arrays.get("paths")
        if paths is None or paths.ndim != 1 or paths.dtype.kind != "U" or not len(paths):
            raise self._wrong("it needs `paths`, a text for each video")
        texts = [str(text) for text in paths]
        [(path, times)] = Counter(texts).most_common(1)
        if times > 1:
            raise self._wrong(f"{path} is listed {times} times in `paths`")
        if self.records is not None and len(self.records) != len(texts):
            raise self._wrong(f"{len(self.records)} records for {len(texts)} paths")
        return texts

    def _check_shapes(self) -> None:
        count, arrays = len(self.paths), self._arrays
        if self._frames is None and not {"v", "norms"} <= arrays.keys():
            raise self._wrong("it needs `v` and `norms`, or `frames`: without the norms published scores are lost")
        if ("frame_numbers" in arrays) != ("offsets" in arrays) or (self._frames and "offsets" not in arrays):
            raise self._wrong("`offsets` and `frame_numbers` go together, and with `frames`")
        kinds = {"v": "f", "norms": "f", "offsets": "iu", "frame_numbers": "iu", "probe_frames": "f"}
        for name, kind in kinds.items():
            if name in arrays and arrays[name].dtype.kind not in kind:
                raise self._wrong(f"`{name}` is {arrays[name].dtype}; numbers are needed there")
        wanted: dict[str, tuple[int, ...]] = {"v": (count, self._dim_of("v")), "norms": (count,)}
        if "offsets" in arrays:
            offsets = arrays["offsets"]
            total = int(offsets[-1]) if offsets.ndim == 1 and len(offsets) else -1
            if offsets.shape != (count + 1,) or offsets[0] != 0 or np.any(np.diff(offsets.astype(np.int64)) < 0):
                raise self._wrong(f"`offsets` are {count + 1} ascending numbers from 0")
            wanted["frame_numbers"] = (total,)
            if np.any(arrays["frame_numbers"] < 0):
                raise self._wrong("`frame_numbers` are 0-based")
            if self._frames is not None and self._frames[0] != (total, self.dim):
                raise self._wrong(f"`frames` has shape {self._frames[0]}, and `offsets` say {total} rows")
        for name, shape in wanted.items():
            if name in arrays and arrays[name].shape != shape:
                raise self._wrong(f"`{name}` has shape {arrays[name].shape}, and {shape} is needed")
        if "v" in arrays and self._frames is not None and arrays["v"].shape[1] != self.dim:
            raise self._wrong(f"`v` has {arrays['v'].shape[1]} dimensions and `frames` {self.dim}")

    def _check_ours(self) -> None:
        """A file of our own: records belong to their rows, and nothing is newer than what is known here."""
        if self.about is not None:
            refuse_newer(self.path, int(self.about.get("format_version", 0)))
        self.attributes  # noqa: B018  checked when read
        for path, record in zip(self.paths, self.records or (), strict=False):
            if not isinstance(record, dict) or record.get("path") != path:
                raise self._wrong(f"the record beside {path} is not that video's; reorder all arrays or none")

    def _dim_of(self, name: str) -> int:
        shape = self._arrays[name].shape if name in self._arrays else ()
        return shape[1] if len(shape) == 2 else -1

    def _wrong(self, what: str) -> BadEmbeddings:
        return BadEmbeddings(f"{self.path}: {what}")

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise BadEmbeddings(f"{self.path} does not exist") from error
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise self._wrong(f"this is no .npz that can be read: {error}") from error


def _unit(rows: Array) -> npt.NDArray[np.float32]:
    """Vectors (n, D) as float32; those that were rounded to half precision get back the unit length that they lost."""
    exact = rows.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if rows.dtype == np.float32 and np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE):
        return rows
    unit: npt.NDArray[np.float32] = (exact / lengths).astype(np.float32)
    return unit


def _read_whole(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        values: Array = np.lib.format.read_array(file, allow_pickle=False)
    return values


def _read_header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(f"{name}.npy") as file:
        shape, dtype = _read_array_header(file)
    if dtype.name not in _AGREEMENT or len(shape) != 2:
        raise ValueError(f"`{name}` are (sum T, D) float32 or float16, not {shape} {dtype}")
    return shape, dtype


def _read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if fortran_order:
        raise ValueError("an array lies column by column; save np.ascontiguousarray of it")
    return shape, dtype
