"""What a filter costs a search: random embeddings of EchoCLIP's size, one thread; ratios measured in one run.

    python scripts/bench_filters.py [--videos 200000] [--repeats 7] [--index DIR]

Conditions that 100, 10, 1 and 0.01 % of the videos meet. For each: the search without a filter, the condition alone
in SQL, the nearest alone among the ids that it gives, and the search with the filter: SQL, then the nearest. Times are
the medians of wall clock and of processor time, which other work on the machine leaves alone. Every answer has to be
that of the exact index. With --index the index stays there and is taken again the next time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from echosearch.encoders.toy import ToyBackend
from echosearch.filters.conditions import KnownName, parse_filter, resolve
from echosearch.index import Batch, IndexDescription, Snapshot, Store
from echosearch.index.catalog import NewVideo, VideoMetadata
from echosearch.index.vectors import Ranking, StoredVideo, Weighting
from echosearch.types import Fingerprint, Numerics, VideoFacts

DIM: Final = 512
BATCH: Final = 4096
VALUES: Final = 10_000
CONDITIONS: Final = {"100 %": "attr.n >= 0", "10 %": "attr.n < 1000", "1 %": "attr.n < 100", "0.01 %": "attr.n = 0"}
HITS: Final = 10
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--index", type=Path, help="where the index is or is to be made; default: a temporary folder")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.index or Path(folder, "index")
        if not Store.exists(path):
            make_index(path, arguments.videos)
        with Store(path).snapshot() as snapshot:
            compare(snapshot, arguments.repeats)


def make_index(path: Path, videos: int) -> None:
    """An index of random unit vectors, each with a whole number `n` below 10,000."""
    rng = np.random.default_rng(0)
    manifest = IndexDescription.of(ToyBackend(None, "none").card, Fingerprint(units(rng, 2), units(rng, 3)), "none")
    object.__setattr__(manifest, "dim", DIM)
    numerics = Numerics("fp32", "cpu", "none", "none", "none")
    with Store.create_as(path, manifest).writer() as writer:
        writer.declare_attributes({"n": "integer"})
        for first in range(0, videos, BATCH):
            vectors = units(rng, min(BATCH, videos - first))
            values = rng.integers(0, VALUES, len(vectors)).tolist()
            new = [_video(first + row, vectors[row], value) for row, value in enumerate(values)]
            writer.commit(Batch(new), numerics)
        writer.finish()


def _video(number: int, vector: Floats, n: int) -> tuple[NewVideo, StoredVideo]:
    path = Path("/bench", f"{number}.avi")
    facts = VideoFacts("video", 40, 112, 112, 30.0)
    metadata = VideoMetadata(study=f"S{number // 8}", patient=f"P{number // 40}", attributes={"n": n})
    video = NewVideo(0, path.parent, path, facts, 1, f"{number:064x}", 1, 1, metadata)
    return video, StoredVideo(vector, 0.9, np.zeros(1, np.int32), None)


def units(rng: np.random.Generator, count: int) -> Floats:
    """Random unit rows (count, DIM)."""
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def compare(snapshot: Snapshot, repeats: int) -> None:
    """A table in Markdown: milliseconds of each, wall clock / processor, and the ratios of both."""
    query = units(np.random.default_rng(1), 1)
    print(
        f"{len(snapshot.rows)} videos, {DIM} dimensions, {HITS} hits; "
        f"ms by wall clock / processor, medians of {repeats}"
    )
    print("| met by | videos | no filter | SQL alone | nearest alone | filtered | filtered / (no filter + SQL) |")
    print("|---" * 7 + "|")
    for share, text in CONDITIONS.items():
        ids = matching(snapshot, text)
        check(snapshot, query, ids)
        [unfiltered, sql, among, filtered] = alternating(
            [
                lambda: nearest(snapshot, query),
                lambda text=text: matching(snapshot, text),
                lambda ids=ids: nearest(snapshot, query, ids),
                lambda text=text: nearest(snapshot, query, matching(snapshot, text)),
            ],
            repeats,
        )
        ratio = filtered / (unfiltered + sql)
        cells = [f"{wall:.1f} / {processor:.1f}" for wall, processor in (unfiltered, sql, among, filtered)]
        print(f"| {share} | {len(ids)} | {' | '.join(cells)} | {ratio[0]:.2f} / {ratio[1]:.2f} |", flush=True)


def matching(snapshot: Snapshot, text: str) -> Ids:
    """The ids (m,) of the videos that meet a condition on attributes, by SQL."""
    condition = parse_filter(text)
    columns = snapshot.catalog.attributes.columns()
    names = resolve(condition, [KnownName(("attr", column.name), "number") for column in columns])
    return snapshot.catalog.conditions.matching(
        condition, names, {column.name: column.number for column in columns}, {}
    ).ids


def nearest(snapshot: Snapshot, query: Floats, among: Ids | None = None, weighting: Weighting = "cosine") -> Ranking:
    """The best hits for one query (1, DIM)."""
    [ranking] = snapshot.index.nearest(query, HITS, weighting, among)
    return ranking


def check(snapshot: Snapshot, query: Floats, ids: Ids) -> None:
    """AssertionError unless the filtered hits are those of exact scores of all rows, to the bit."""
    rows, allowed = snapshot.rows, snapshot.rows.allowed(ids)
    for weighting in ("cosine", "mean"):
        right = Ranking.of(rows.ids[allowed], rows.scores(allowed, query[0], weighting), HITS)
        found = nearest(snapshot, query, ids, weighting)
        assert len(right.ids) == min(HITS, len(ids))
        assert np.array_equal(found.ids, right.ids), (weighting, found.ids, right.ids)
        assert np.array_equal(found.scores, right.scores), (weighting, found.scores, right.scores)


def alternating(functions: list[Callable[[], object]], repeats: int) -> list[npt.NDArray[np.float64]]:
    """Median milliseconds (2,) of each by wall clock and by processor, run in turns."""
    told: list[list[tuple[float, float]]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, mine in zip(functions, told, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            function()
            mine.append((time.perf_counter() - wall, time.process_time() - processor))
    return [1000 * np.array([statistics.median(column) for column in zip(*mine, strict=True)]) for mine in told]


if __name__ == "__main__":
    main()
