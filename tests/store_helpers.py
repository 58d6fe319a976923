"""Small builders of indexes with known vectors, and the oracle that searches are checked against."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from echosearch.encoders.toy import DIM, ToyBackend
from echosearch.index import Batch, Snapshot, Store
from echosearch.index.catalog import AttributeValue, NewVideo, VideoMetadata
from echosearch.index.vectors import FramesDtype, StoredVideo, Weighting
from echosearch.search import Phrase, Query, Question, nearest
from echosearch.types import EncoderCard, Fingerprint, Hit, Numerics, VideoFacts

ROOT = Path(__file__).resolve().parent.parent
NUMERICS = Numerics("fp32", "cpu", "none", "none", "none")
MEDIA = Path("/media/echo")
"""Where the videos of these tests are said to lie; nothing reads them."""

Vector = npt.NDArray[np.float32]
New = tuple[NewVideo, StoredVideo]


def unit(*values: float, dim: int = DIM) -> Vector:
    """The direction of some numbers, filled up with zeros, as float32."""
    exact = np.zeros(dim)
    exact[: len(values)] = values
    return (exact / np.linalg.norm(exact)).astype(np.float32)


def random_units(count: int, dim: int, seed: int) -> Vector:
    """`count` random directions (count, dim)."""
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def toy_card() -> EncoderCard:
    """The toy encoder's card; an index needs no more of an encoder than this and probe vectors."""
    return ToyBackend(None, "none").card


def toy_probe() -> Fingerprint:
    """Probe vectors whose float32 bits are not round."""
    return Fingerprint(random_units(2, DIM, 1), random_units(3, DIM, 2))


def make_store(path: Path, frames_dtype: FramesDtype = "float32") -> Store:
    """A new, empty index."""
    return Store.create(path, toy_card(), toy_probe(), frames_dtype)


def stored(
    vector: Vector, norm: float = 1.0, frames: npt.NDArray[Any] | None = None, numbers: Sequence[int] | None = None
) -> StoredVideo:
    """Vectors as a segment keeps them; without `frames`, one frame that equals the video."""
    frames = vector[None] if frames is None else frames
    numbers = range(len(frames)) if numbers is None else numbers
    return StoredVideo(vector, float(np.float32(norm)), np.array(numbers, np.int32), frames)


def new_video(
    name: str,
    vector: Vector | StoredVideo,
    *,
    root: Path = MEDIA,
    content: str | None = None,
    fps: float | None = 20.0,
    study: str | None = None,
    patient: str | None = None,
    view: str | None = None,
    attributes: dict[str, AttributeValue] | None = None,
    replaces: int | None = None,
) -> New:
    """A video of a batch: `root / name`, whose bytes are told apart by `content` (by default its name)."""
    vectors = vector if isinstance(vector, StoredVideo) else stored(vector)
    video = NewVideo(
        video_id=0,
        root=root,
        path=root / name,
        facts=VideoFacts("video", 40, 112, 113, fps),
        num_embedded_frames=len(vectors.frame_numbers),
        content_sha256=hashlib.sha256(os.fsencode(content or name)).hexdigest(),
        size_bytes=1000,
        mtime_ns=1_700_000_000_000_000_001,
        metadata=VideoMetadata(study=study, patient=patient, view=view, attributes=attributes or {}),
        replaces=replaces,
    )
    return video, vectors


def add(store: Store, *new: New, finish: bool = False) -> list[int]:
    """Commit videos in one batch; their ids. With `finish`, FAISS is brought up to date as well."""
    with store.writer() as writer:
        writer.commit(Batch(new), NUMERICS)
        if finish:
            writer.finish()
    with store.snapshot() as snapshot:
        known = snapshot.catalog.files.known([video.path for video, _ in new])
    return [known[video.path].video_id for video, _ in new]


def contents(snapshot: Snapshot) -> dict[int, tuple[str, bytes, float, bytes, bytes]]:
    """All that an index says of each video, to compare two moments of it."""
    everything = {}
    for record in snapshot.catalog.videos.records():
        kept = snapshot.stored(record.video_id)
        frames = b"" if kept.frame_embeddings is None else kept.frame_embeddings.tobytes()
        parts = (record.path, kept.vector.tobytes(), kept.pooled_norm, frames, kept.frame_numbers.tobytes())
        everything[record.video_id] = parts
    return everything


def search(snapshot: Snapshot, query: Query, k: int) -> tuple[Hit, ...]:
    """The k best videos for a query."""
    return nearest(snapshot, Question((Phrase("whatever"),), k=k), query)


def oracle(
    rows: dict[int, tuple[Vector, float]], query: Vector, k: int, weighting: Weighting = "cosine"
) -> list[tuple[int, np.float32]]:
    """The k best of id -> (vector, pooled_norm), with scores: correctly rounded sums, ordered by (-score, id)."""
    scored = []
    for video_id, (vector, norm) in rows.items():
        exact = math.fsum(float(a) * float(b) for a, b in zip(vector, query, strict=True))
        score = np.float32(exact * float(norm) if weighting == "mean" else exact)
        scored.append((-score, video_id))
    return [(video_id, -negated) for negated, video_id in sorted(scored)[:k]]


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in another process, which can import the tests' modules."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@contextmanager
def running_python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Python code running in another process; it has printed its first line, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            if not process.stdout.readline():
                raise AssertionError(process.stderr.read())
            yield process
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


@contextmanager
def mounted(folder: Path, size: str = "16m") -> Iterator[Path]:
    """A small file system of its own on `folder`; skips where this process may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Mount a file system again, read-only."""
    _mount("-o", "remount,ro", folder)


def _mount(*arguments: object) -> None:
    try:
        subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        pytest.skip(f"this process may not mount a file system: {str(reason).strip()}")
