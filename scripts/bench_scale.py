"""What housekeeping costs on indexes of growing size: toy model, tiny videos, every step a command of its own.

    python scripts/bench_scale.py [--videos 1000 10000 100000] [--folder DIR]

Each size: an ingest that is killed half-way, its resumption, a run that finds nothing to do, opening (the same
as `echosearch info`), a search with its text cached, deleting 1,000 (a tenth at most), and compacting. Prints a
table in Markdown, and how much longer the largest takes than the smallest, beside how many more videos it has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from echosearch.errors import IndexStateError
from echosearch.index import Store

TEMPLATES = 50
FOLDER_SIZE = 1000
ECHOSEARCH = [sys.executable, "-m", "echosearch"]

Seconds = dict[str, float]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    told: dict[int, Seconds] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for count in sorted(arguments.videos):
            told[count] = measure(Path(folder), count)
            print(f"{count}: {told[count]}", file=sys.stderr, flush=True)
    print_table(told)


def measure(folder: Path, count: int) -> Seconds:
    """Seconds of each step, and sizes in MB, for an index of so many videos."""
    media, index = folder / f"media-{count}", folder / f"index-{count}"
    write_media(media, count)
    ingest = [*ECHOSEARCH, "ingest", str(media), "--model", "toy", "--index", str(index), "--json"]
    told: Seconds = {}
    told["ingest, killed half-way"] = _until_killed(ingest, index, count // 2)
    committed = _count(index)
    told["ingest resumed"] = _seconds(ingest)
    assert _count(index) == count
    told["ingest, nothing to do"] = _seconds(ingest)
    told["info"] = _seconds([*ECHOSEARCH, "info", "--index", str(index)])
    search = [*ECHOSEARCH, "search", "RED", "--index", str(index)]
    _seconds(search)
    told["search, text cached"] = _seconds(search)
    told["index, MB"] = _megabytes(index)
    deleted = min(1000, count // 10)
    ids = [str(1 + n * (count // deleted)) for n in range(deleted)]
    told[f"delete {deleted}"] = _seconds([*ECHOSEARCH, "delete", *ids, "--index", str(index)])
    told["compact"] = _seconds([*ECHOSEARCH, "compact", "--index", str(index)])
    told["check"] = _seconds([*ECHOSEARCH, "check", "--index", str(index)])
    told["info after"] = _seconds([*ECHOSEARCH, "info", "--index", str(index)])
    assert _count(index) == count - deleted
    told["videos/s, resumed"] = (count - committed) / told["ingest resumed"]
    return told


def write_media(folder: Path, count: int) -> None:
    """Tiny AVIs, all of different bytes: some pictures, and a number after the end of the file."""
    templates = []
    folder.mkdir()
    for n in range(TEMPLATES):
        path = folder / "template.avi"
        rng = np.random.default_rng(n)
        with av.open(path, "w") as container:
            stream = container.add_stream("mjpeg", rate=20)
            stream.width = stream.height = 32  # type: ignore[union-attr]
            stream.pix_fmt = "yuvj420p"  # type: ignore[union-attr]
            colour = rng.integers(0, 255, 3, np.uint8)
            for _ in range(2):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), colour), format="rgb24")
                container.mux(stream.encode(frame))  # type: ignore[union-attr, arg-type]
            container.mux(stream.encode())  # type: ignore[union-attr]
        templates.append(path.read_bytes())
        path.unlink()
    for n in range(count):
        inner = folder / f"{n // FOLDER_SIZE:05}"
        inner.mkdir(exist_ok=True)
        (inner / f"{n:07}.avi").write_bytes(templates[n % TEMPLATES] + n.to_bytes(8, "little"))


def _until_killed(command: list[str], index: Path, count: int) -> float:
    """Run until so many videos are committed, then kill it without warning."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and _count(index) < count:
            time.sleep(0.2)
        process.kill()
    return time.monotonic() - started


def _count(index: Path) -> int:
    try:
        store = Store(index)
    except IndexStateError:
        return 0  # not there yet
    with store.catalog_only() as catalog:
        return catalog.counts.live()


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def print_table(told: dict[int, Seconds]) -> None:
    """Sizes side by side; in the last column how much more the largest needs than the smallest."""
    sizes = sorted(told)
    label: Callable[[int], str] = lambda size: f"{size:,}"  # noqa: E731
    print(f"| seconds | {' | '.join(map(label, sizes))} | growth ({sizes[-1] // sizes[0]} times the videos) |")
    print("|---" * (len(sizes) + 2) + "|")
    for first, last in zip(told[sizes[0]].items(), told[sizes[-1]].items(), strict=True):
        rows = [list(told[size].values())[list(told[sizes[0]]).index(first[0])] for size in sizes]
        cells = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in rows]
        print(f"| {last[0]} | {' | '.join(cells)} | {last[1] / first[1]:.1f} |")


if __name__ == "__main__":
    main()
