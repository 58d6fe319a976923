"""What a sweep costs: ratios measured in one run, on random embeddings of EchoCLIP's shape, two threads.

    python scripts/bench_sweep.py [--videos 10000] [--repeats 5]
    python scripts/bench_sweep.py --memory 200000        # anonymous memory of a sweep over so many videos

Ejection fraction (202 prompts, 20 frames a video, 512 dimensions): a sweep over segments on disk (in the page cache)
against the published way over the same embeddings in memory, and against the bare matrix product. Then a binary task
over a million videos against reading their bytes once, and storing a million scores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from echosearch.encoders.toy import ToyBackend
from echosearch.index import Batch, IndexDescription, Store
from echosearch.index.catalog import NewVideo, VideoMetadata
from echosearch.index.vectors import StoredVideo
from echosearch.tasks import Model
from echosearch.tasks.sweep import score, sweep
from echosearch.tasks.task import Task
from echosearch.tasks.task_files import find_task
from echosearch.types import Fingerprint, Numerics, VideoFacts

DIM: Final = 512
FRAMES: Final = 20
BATCH: Final = 4096
Floats = npt.NDArray[np.float32]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--binary-videos", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, metavar="VIDEOS", help="only measure the memory of such a sweep")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            memory(Path(folder), arguments.memory)
            return
        regression(Path(folder), arguments.videos, arguments.repeats)
        binary(Path(folder), arguments.binary_videos, arguments.repeats)


def units(rng: np.random.Generator, count: int) -> Floats:
    """Random unit rows (count, DIM)."""
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def make_index(path: Path, videos: int, frames_each: int) -> tuple[Store, list[Floats]]:
    """An index of random videos, and the frames of its first 16 batches, in memory."""
    card = ToyBackend(None, "none").card
    rng = np.random.default_rng(0)
    description = IndexDescription.of(
        card, Fingerprint(units(rng, 2), units(rng, 3)), "float32" if frames_each else "none"
    )
    object.__setattr__(description, "dim", DIM)
    store = Store.create_as(path, description)
    numerics = Numerics("fp32", "cpu", "none", "none", "none")
    kept = []
    for first in range(0, videos, BATCH):
        count = min(BATCH, videos - first)
        pooled = units(rng, count)
        frames = units(rng, count * frames_each) if frames_each else None
        if frames is not None and len(kept) < 16:
            kept.append(frames)
        new = [_video(first + n, pooled[n], frames, n, frames_each) for n in range(count)]
        with store.writer() as writer:
            writer.commit(Batch(new), numerics)
    return store, kept


def _video(number: int, vector: Floats, frames: Floats | None, row: int, each: int) -> tuple[NewVideo, StoredVideo]:
    numbers = np.arange(max(each, 1), dtype=np.int32)
    own = None if frames is None else frames[row * each : (row + 1) * each]
    path = Path("/bench", f"{number}.avi")
    facts = VideoFacts("video", 40, 112, 112, 30.0)
    video = NewVideo(0, path.parent, path, facts, len(numbers), f"{number:064x}", 1, 1, VideoMetadata())
    return video, StoredVideo(vector, 0.9, numbers, own)


def published(frames: torch.Tensor, prompts: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The published rule as it is published: every similarity sorted, for videos (N, T, D) at once."""
    similarities = frames @ prompts.T
    ranked = values[similarities.argsort(dim=-1, descending=True)]
    means = ranked.to(torch.float32).mean(dim=1)
    return means[:, : int(0.2 * len(prompts))].median(dim=-1).values


def regression(folder: Path, videos: int, repeats: int) -> None:
    """Ejection fraction: ours, the published way, and the product alone."""
    store, parts = make_index(folder / "regression", videos, FRAMES)
    task = find_task("ejection_fraction")
    prompts = units(np.random.default_rng(1), 202)
    scorer = task.scorer("exact", Model("bench", "fp32", None), lambda phrases: prompts)
    values = torch.tensor(task.values)
    in_memory = torch.from_numpy(np.concatenate(parts)).view(-1, FRAMES, DIM)
    found: dict[int, float] = {}

    def ours() -> None:
        with store.snapshot() as snapshot:
            for [(_, ids, columns)] in score(snapshot.rows, [scorer], [snapshot.rows.ids]):
                found.update(zip(ids.tolist(), columns[0].tolist(), strict=True))

    def theirs() -> torch.Tensor:
        return torch.cat([published(part, torch.from_numpy(prompts), values) for part in in_memory.split(500)])

    def product() -> None:
        for part in in_memory.split(500):
            part.reshape(-1, DIM) @ torch.from_numpy(prompts).T

    ours_s, theirs_s, product_s = alternating([ours, theirs, product], repeats)
    with store.snapshot() as snapshot:
        mine = np.array([found[id_] for id_ in snapshot.rows.ids.tolist()])
    other = theirs().numpy()
    assert len(mine) == len(other)
    far = np.abs(mine - other) > 1e-4  # a mean of 20 numbers differs in its last bit
    print(f"ejection fraction, {len(mine)} videos of {FRAMES} frames, {len(prompts)} prompts, {DIM} dimensions:")
    for name, seconds in (("sweep", ours_s), ("published", theirs_s), ("product alone", product_s)):
        print(f"  {name:14} {len(mine) / seconds:9.0f} videos/s")
    print(f"  sweep / published      {theirs_s / ours_s:.2f}   (bar 1.6, wish 2.0)")
    print(f"  sweep / product alone  {product_s / ours_s:.2f}   (bar 0.55, wish 0.8)")
    print(f"  videos whose value differs: {int(far.sum())} of {len(mine)}   (bar 1 %)")


def binary(folder: Path, videos: int, repeats: int) -> None:
    """A binary task over many videos against reading their bytes once; and storing the scores."""
    store, _ = make_index(folder / "binary", videos, 0)
    task = Task("pacer", "binary", ("one", "two"))
    prompts = units(np.random.default_rng(2), 2)
    scorer = task.scorer("exact", Model("bench", "fp32", None), lambda phrases: prompts)

    def ours() -> None:
        with store.snapshot() as snapshot:
            for _ in score(snapshot.rows, [scorer], [snapshot.rows.ids]):
                pass

    def reading() -> None:
        with store.snapshot() as snapshot:
            for segment, _ in snapshot.rows.by_segment():
                with (segment.path / "pooled.npy").open("rb") as file:
                    while file.read(1 << 24):
                        pass

    ours_s, reading_s = alternating([ours, reading], repeats)
    print(f"binary task, {videos} videos: {ours_s:.2f} s; reading their bytes once: {reading_s:.2f} s")
    print(f"  reading / sweep        {reading_s / ours_s:.2f}   (bar 0.5)")
    with store.snapshot() as snapshot:
        ids = snapshot.rows.ids
    values = np.random.default_rng(3).random(len(ids))
    started = time.perf_counter()
    with store.writer() as writer, writer.transaction() as transaction:
        transaction.sweeps.add(scorer.key, ids, [values])
    print(f"  storing {len(ids)} scores: {time.perf_counter() - started:.1f} s   (bar 10 s for a million)")


def alternating(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, run in turns so that the machine's moods meet them all."""
    for function in functions:
        function()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, mine in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            mine.append(time.perf_counter() - started)
    return [statistics.median(mine) for mine in seconds]


def memory(folder: Path, videos: int) -> None:
    """The most anonymous memory that a kept sweep adds."""
    store, kept = make_index(folder / "memory", videos, FRAMES)
    del kept
    prompts = units(np.random.default_rng(1), 202)
    scorer = find_task("ejection_fraction").scorer("exact", Model("bench", "fp32", None), lambda phrases: prompts)
    before = most = anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    [swept] = sweep(store, [scorer])
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    print(
        f"sweep of {len(swept.ids)} videos, kept: {seconds:.0f} s, anonymous memory {before / 2**20:.0f} MiB before, "
        f"at most {most / 2**20:.0f} MiB   (bar 1 GB)"
    )


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  read fifty times a second
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


if __name__ == "__main__":
    assert hasattr(os, "sched_getaffinity"), "RssAnon is Linux's"
    main()
