"""Whole commands of this tree against those of another one, in alternation: medians and ratios.

git worktree add /tmp/base COMMIT
python scripts/bench_against.py --base /tmp/base --pairs 7

Each command is a process of its own, by the same Python; both trees ask one index that the other tree made. An ingest
makes a new index each time, a sweep scores all videos anew (--no-keep).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {
    "ingest": [
        "ingest",
        "phantoms/videos",
        "--index",
        "new-{run}",
        "--model",
        "echo-mini",
        "--manifest",
        "phantoms/manifest.csv",
    ],
    "search, cached phrase": ["search", "pacemaker lead", "--index", "index"],
    "search, filter": [
        "search",
        "pacemaker lead",
        "--index",
        "index",
        "--where",
        "view = 'A4C' AND attr.ef_percent < 50",
    ],
    "search, task filter": ["search", "pacemaker lead", "--index", "index", "--where", "task.pacemaker.value > 0"],
    "list, filter": ["list", "--index", "index", "--where", "attr.ef_percent < 50", "--json"],
    "similar": ["similar", "3", "--index", "index"],
    "sweep": ["sweep", "pacemaker", "ejection_fraction", "--index", "index", "--no-keep"],
}


def run(tree: Path, command: list[str], folder: Path) -> float:
    """Seconds of a command of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "echosearch", *command], env=environment, cwd=folder, capture_output=True
    )
    if done.returncode:
        sys.exit(f"{tree}: echosearch {' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - began


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the other tree")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--studies", type=int, default=30, help="phantoms in the index")
    options = parser.parse_args()
    trees = {"base": options.base.resolve(), "here": ROOT}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(trees["base"], ["phantom", "make", "phantoms", "--studies", str(options.studies), "--seed", "1"], folder)
        run(trees["base"], [part.format(run="x") for part in COMMANDS["ingest"]], folder)
        (folder / "new-x").rename(folder / "index")
        run(trees["base"], ["sweep", "pacemaker", "--index", "index"], folder)
        run(trees["base"], ["search", "pacemaker lead", "--index", "index"], folder)
        print("| command | base, s | here, s | here / base, median of pairs |\n|---|---|---|---|")
        for what, command in COMMANDS.items():
            seconds: dict[str, list[float]] = {tree: [] for tree in trees}
            for pair in range(options.pairs):
                for tree in sorted(trees, reverse=bool(pair % 2)):
                    parts = [part.format(run=f"{tree}-{pair}") for part in command]
                    seconds[tree].append(run(trees[tree], parts, folder))
            ratio = median(here / base for here, base in zip(seconds["here"], seconds["base"], strict=True))
            print(
                f"| {what} | {median(seconds['base']):.2f} | {median(seconds['here']):.2f} | {ratio:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
