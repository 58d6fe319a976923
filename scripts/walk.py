"""How much of the program one has to read to follow a video from file to hit.

python scripts/walk.py                 this tree
python scripts/walk.py --tree FOLDER   another one, such as a worktree of an older commit, by the same Python

Counts the modules of `echosearch` in which the body of a function runs during a real `ingest` and a real `search` of
phantoms with echo-mini, and all lines of those files; in the main process, and with the decoding workers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPY = """
import os, sys, threading
_seen = set()
_tree, _log = os.environ["WALK_TREE"], os.environ["WALK_LOG"]
_OPTIMIZED = 1  # bodies of functions, not of modules and classes

def _spy(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & _OPTIMIZED and code.co_filename not in _seen:
        _seen.add(code.co_filename)
        if code.co_filename.startswith(_tree):
            number = os.open(f"{_log}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(number, (code.co_filename + chr(10)).encode())
            os.close(number)

threading.setprofile(_spy)
sys.setprofile(_spy)
"""
"""Stands as `sitecustomize` in every process; writes at once what it sees, as workers end without tidying up."""


def walk(tree: Path, command: list[str], folder: Path) -> tuple[set[str], set[str]]:
    """Files of a tree in which a function ran: in the main process, and in all."""
    log = Path(tempfile.mkdtemp(dir=folder))
    (folder / "spy").mkdir(exist_ok=True)
    (folder / "spy" / "sitecustomize.py").write_text(SPY, "utf-8")
    environment = os.environ | {
        "PYTHONPATH": f"{folder / 'spy'}{os.pathsep}{tree}",
        "WALK_TREE": str(tree / "echosearch"),
        "WALK_LOG": str(log),
    }
    done = subprocess.Popen([sys.executable, "-m", "echosearch", *command], env=environment, cwd=folder)
    if done.wait():
        sys.exit(f"echosearch {' '.join(command)} ended with {done.returncode}")
    seen = {int(file.name): set(file.read_text("utf-8").split("\n")) - {""} for file in log.iterdir()}
    return seen[done.pid], set().union(*seen.values())


def lines(files: set[str]) -> int:
    """All lines of these files."""
    return sum(len(Path(file).read_text("utf-8").splitlines()) for file in files)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the tree to walk through (this one)")
    parser.add_argument("--list", action="store_true", help="name the modules")
    options = parser.parse_args()
    tree = options.tree.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = os.environ | {"PYTHONPATH": str(tree)}
        made = [sys.executable, "-m", "echosearch", "phantom", "make", "phantoms", "--studies", "3", "--seed", "1"]
        subprocess.run(made, env=plain, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        manifest = ["--manifest", "phantoms/manifest.csv"]
        ingest = walk(tree, ["ingest", "phantoms/videos", "--index", "i", "--model", "echo-mini", *manifest], folder)
        search = walk(tree, ["search", "pacemaker lead", "--index", "i"], folder)
    print(f"\n{'':<8} main process        with workers")
    for what, (main_process, every) in {"ingest": ingest, "search": search}.items():
        told = [f"{len(files):>3} modules {lines(files):>6,} lines" for files in (main_process, every)]
        print(f"{what:<8} {told[0]}   {told[1]}")
    both = [a | b for a, b in zip(ingest, search, strict=True)]
    print(f"{'both':<8} " + "   ".join(f"{len(files):>3} modules {lines(files):>6,} lines" for files in both))
    if options.list:
        for file in sorted(both[1], key=lambda file: -lines({file})):
            print(f"{lines({file}):>6}  {Path(file).relative_to(tree)}")


if __name__ == "__main__":
    main()
