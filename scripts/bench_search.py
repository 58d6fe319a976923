"""What a search costs as a whole process, on an index of 100,000 toy rows. Ratios measured in one run.

    python scripts/bench_search.py [--videos 100000] [--repeats 9]

A search whose text is cached (`echosearch search RED --json`, best frames included) alternates with
`python -c "import faiss, sqlalchemy, click, numpy"`, what it cannot do without. It must not import torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from echosearch.config import COMMIT_VIDEOS
from echosearch.encoders import fingerprint_clip, load_encoder
from echosearch.index import Batch, Store
from echosearch.index.catalog import NewVideo, VideoMetadata
from echosearch.index.vectors import StoredVideo
from echosearch.types import ModelRequest, VideoFacts
from echosearch.video import prepare

FRAMES_A_VIDEO = 20
BASE = [sys.executable, "-c", "import faiss, sqlalchemy, click, numpy"]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        make_index(index, arguments.videos)
        search = [sys.executable, "-m", "echosearch", "search", "RED", "--json", "--index", str(index)]
        told = json.loads(subprocess.run(search, check=True, capture_output=True).stdout)  # caches the text
        assert len(told["hits"]) == 10
        assert all(hit["best_frame"] is not None for hit in told["hits"])
        imports = subprocess.run(
            [sys.executable, "-X", "importtime", *search[1:]], check=True, capture_output=True, text=True
        ).stderr
        loaded = {line.rsplit("|")[-1].strip() for line in imports.splitlines() if "|" in line}
        print(f"torch imported: {'torch' in loaded}   (must be False)")
        ours, base = [], []
        _seconds(search), _seconds(BASE)
        for _ in range(arguments.repeats):
            base.append(_seconds(BASE))
            ours.append(_seconds(search))
        ratios = [mine / theirs for mine, theirs in zip(ours, base, strict=True)]
        print(
            f"{arguments.videos} videos, warm: search {statistics.median(ours):.2f} s, imports alone "
            f"{statistics.median(base):.2f} s (medians of {arguments.repeats})"
        )
        print(f"  ratio: {statistics.median(ratios):.2f} (median)   (bar: at most 2.50)")


def make_index(path: Path, count: int) -> None:
    """An index of random unit vectors, through the same writer as ever."""
    encoder = load_encoder(ModelRequest("toy"))
    probe = encoder.probe(prepare(fingerprint_clip(), encoder.card.recipe.preprocess))
    store = Store.create(path, encoder.card, probe)
    rng = np.random.default_rng(0)
    dim = encoder.card.dim
    frame_numbers = np.arange(0, 2 * FRAMES_A_VIDEO, 2, dtype=np.int32)
    with store.writer() as writer:
        for first in range(0, count, COMMIT_VIDEOS):  # as an ingest does
            size = min(COMMIT_VIDEOS, count - first)
            frames = _unit(rng.standard_normal((size, FRAMES_A_VIDEO, dim)) + rng.standard_normal((size, 1, dim)))
            vectors = _unit(frames.mean(axis=1))
            new = [
                (
                    _video(first + row),
                    StoredVideo(vectors[row].astype(np.float32), 0.9, frame_numbers, frames[row].astype(np.float32)),
                )
                for row in range(size)
            ]
            writer.commit(Batch(new), encoder.card.numerics)
        writer.finish()


def _video(number: int) -> NewVideo:
    return NewVideo(
        video_id=0,
        root=Path("/data"),
        path=Path(f"/data/p{number % 1000:03}/{number:07}.avi"),
        facts=VideoFacts("video", 60, 112, 112, 30.0),
        num_embedded_frames=FRAMES_A_VIDEO,
        content_sha256=f"{number:064x}",
        size_bytes=100_000,
        mtime_ns=number,
        metadata=VideoMetadata(study=f"S{number // 8}", patient=f"P{number // 40}", view="A4C"),
    )


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
