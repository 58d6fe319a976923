"""What merging in tiers costs and keeps: ratios of one run, on this machine.

Commits batches of random vectors with merging and without, counts the rows that merging rewrites, and measures what
one large merge takes in time and memory. Example: .venv/bin/python scripts/bench_merge.py --commits 1000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

import echosearch.index.merging
import echosearch.index.writer
from echosearch.encoders.toy import ToyBackend
from echosearch.files import fsync_path
from echosearch.index import Batch, Store
from echosearch.index.catalog import NewVideo, VideoMetadata
from echosearch.index.vectors import StoredVideo
from echosearch.types import Fingerprint, Numerics, VideoFacts

NUMERICS = Numerics("fp32", "cpu", "none", "none", "none")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--videos", type=int, default=32, help="videos of a commit")
    parser.add_argument("--frames", type=int, default=4, help="frames of a video")
    parser.add_argument("--large", type=int, default=131_072, help="rows of the large merge, of 20 frames each")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="where to work, some 4 bytes x dim x frames x videos x 3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        told = {"commits": _commits(Path(folder), arguments)}
        if arguments.large:
            told["large merge"] = _large(Path(folder), arguments)
    print(json.dumps(told, indent=1))


def _commits(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds with and without merging, and what merging rewrote."""
    found: dict[str, Any] = {}
    seconds = {}
    for name, merge_from in (("without", 10**9), ("with", 8)):
        echosearch.index.writer.MERGE_FROM = merge_from  # type: ignore[misc]
        with _rewritten() as rows, _store(folder / name, arguments.dim).writer() as writer:
            started = time.monotonic()
            for number in range(arguments.commits):
                writer.commit(Batch(_videos(arguments.videos, arguments.frames, arguments.dim, number)), NUMERICS)
            seconds[name] = time.monotonic() - started
        with Store(folder / name).snapshot() as snapshot:
            found[f"segments {name}"] = len(snapshot.segments)
        found[f"rows rewritten per row committed, {name}"] = sum(rows) / (arguments.commits * arguments.videos)
        shutil.rmtree(folder / name)
    found["time with merging / without"] = round(seconds["with"] / seconds["without"], 2)
    found["milliseconds a commit, without"] = round(1000 * seconds["without"] / arguments.commits, 1)
    return found


def _large(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Eight segments become one, in a process of its own: its peak memory beside that of opening the index."""
    echosearch.index.writer.MERGE_FROM = 10**9  # type: ignore[misc]
    path = folder / "large"
    with _store(path, arguments.dim).writer() as writer:
        for number in range(8):
            writer.commit(Batch(_videos(arguments.large // 8, 20, arguments.dim, number)), NUMERICS)
    size = sum(file.stat().st_size for file in (path / "segments").rglob("*.npy"))
    queue: Any = multiprocessing.get_context("spawn").SimpleQueue()
    process = multiprocessing.get_context("spawn").Process(target=_merge, args=(path, queue))
    process.start()
    before, peak, seconds = queue.get()
    process.join()
    started = time.monotonic()
    for file in (path / "segments").glob("*/*.npy"):
        with file.open("rb") as data:
            hashlib.file_digest(data, "sha256")
    once = (time.monotonic() - started) / 2  # what was merged and what it became are both there
    started = time.monotonic()
    shutil.copytree(path / "segments", folder / "copy")
    fsync_path(folder / "copy")
    copied = (time.monotonic() - started) / 2
    return {
        "GB merged": round(size / 1e9, 2),
        "seconds": round(seconds, 1),
        "time / time to hash the rows once": round(seconds / once, 2),
        "time / time to copy the files": round(seconds / copied, 2),
        "MB of memory above an open index": round((peak - before) / 2**20, 1),
        "that as a share of the rows": round((peak - before) / size, 4),
    }


def _merge(path: Path, queue: Any) -> None:
    echosearch.index.writer.MERGE_FROM = 8  # type: ignore[misc]
    with Store(path).writer() as writer:
        with writer.snapshot():
            pass
        before, highest, done = _anonymous(), [0], Event()

        def watch() -> None:
            while not done.wait(0.005):
                highest[0] = max(highest[0], _anonymous())

        watcher = Thread(target=watch)
        watcher.start()
        started = time.monotonic()
        writer.merge()
        seconds = time.monotonic() - started
        done.set()
        watcher.join()
    queue.put((before, highest[0], seconds))


def _anonymous() -> int:
    """Bytes of memory of this process that are no pages of files, which the system takes back when it needs them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def _rewritten() -> Iterator[list[int]]:
    """The numbers of rows of the segments that merging writes meanwhile."""
    rows: list[int] = []
    plain = echosearch.index.merging.MergedRows

    class Counted(plain):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            rows.append(len(self.ids))

    echosearch.index.merging.MergedRows = Counted  # type: ignore[misc]
    yield rows
    echosearch.index.merging.MergedRows = plain  # type: ignore[misc]


def _store(path: Path, dim: int) -> Store:
    from dataclasses import replace

    card = replace(ToyBackend(None, "none").card, dim=dim)
    return Store.create(path, card, Fingerprint(_units(2, dim, 0), _units(3, dim, 1)))


def _videos(count: int, frames: int, dim: int, number: int) -> list[tuple[NewVideo, StoredVideo]]:
    rows = _units(count * (frames + 1), dim, number)
    return [
        (_video(f"{number}-{n}", frames), _stored(rows[n * (frames + 1) : (n + 1) * (frames + 1)]))
        for n in range(count)
    ]


def _stored(rows: Any) -> StoredVideo:
    return StoredVideo(rows[0], 0.9, np.arange(len(rows) - 1, dtype=np.int32), rows[1:])


def _video(name: str, frames: int) -> NewVideo:
    digest = hashlib.sha256(name.encode()).hexdigest()
    facts = VideoFacts("video", frames, 112, 112, 30.0)
    return NewVideo(0, Path("/media"), Path("/media", name), facts, frames, digest, 1, 1, VideoMetadata())


def _units(count: int, dim: int, seed: int) -> Any:
    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


if __name__ == "__main__":
    main()
