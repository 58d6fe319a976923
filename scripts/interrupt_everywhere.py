"""Ctrl-C at many moments of a command's life: how it ends, and whether the index is whole and the work can go on.

    .venv/bin/python scripts/interrupt_everywhere.py --moments 200

Each time a fresh copy of a small index is taken, the command is started as a process of its own, its whole group gets
SIGINT after so many milliseconds, and then: the exit code is 130 with the one word "interrupted", or 0 where the work
was done, or death by SIGINT before the handler stands; `check` finds nothing; every video that was there is there with
its vector, under its id; the command, run again, finishes. Prints a table, and what went otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echosearch.api import open_index
from echosearch.cli import main
from echosearch.index import check_index as check

ECHOSEARCH = Path(sys.executable).parent / "echosearch"
COMMANDS = {
    "ingest": ["ingest", "VIDEOS"],
    "sweep": ["sweep", "pacemaker"],
    "compact": ["compact"],
    "info": ["info"],
}
ENDS = {130: "130", 0: "done", -signal.SIGINT: "by SIGINT"}
NO_FAISS = "there is no FAISS index; every vector is scanned. The next ingest writes it."


@dataclass
class Told:
    """Of one command: its length in seconds, how often it ended how, the latest death by SIGINT, and what is wrong."""

    seconds: float
    ends: Counter[str] = field(default_factory=Counter)
    latest_death: float = 0.0
    problems: list[str] = field(default_factory=list)


def make_base(folder: Path) -> Path:
    """videos/ with 24 tiny videos, an index of the first 16 in three segments, of which two are deleted."""
    import av

    videos = folder / "videos"
    for part in range(4):
        for number in range(6):
            (videos / str(part)).mkdir(parents=True, exist_ok=True)
            with av.open(str(videos / str(part) / f"{number}.avi"), "w") as container:
                stream = container.add_stream("mjpeg", rate=10)
                stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
                colour = np.array([60 * part + 20, 40 * number + 20, 90], np.uint8)
                for _ in range(3):
                    frame = av.VideoFrame.from_ndarray(np.tile(colour, (32, 32, 1)), "rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
    for part in range(3):
        assert here("ingest", videos / str(part), "--model", "toy", "--index", folder / "index")[0] == 0
    assert here("delete", 2, 9, "--index", folder / "index")[0] == 0
    return folder


def here(*arguments: object) -> tuple[int, str]:
    """A command in this process: exit code and all that it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            return int(left.code or 0), said.getvalue()
    raise AssertionError("a command ends with an exit code")


def vectors(index: Path) -> dict[int, npt.NDArray[np.float32]]:
    """The video embeddings of an index by id, in its own order."""
    with closing(open_index(index)) as opened:
        return {video.video_id: opened.video_embedding(video.video_id) for video in opened.videos()}


def start(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """The command as a process in a group of its own."""
    line = [str(folder / "videos") if word == "VIDEOS" else word for word in words]
    return subprocess.Popen(
        [str(ECHOSEARCH), *line, "--index", str(folder / "work")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(words: Sequence[str], base: Path, moment: float, told: Told) -> None:
    """One run with Ctrl-C after `moment` seconds."""
    work = base / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base / "index", work)
    before = vectors(work)
    process = start(words, base)
    with process:
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            told.problems.append(f"{moment * 1000:.0f} ms: did not end")
            return
    end = ENDS.get(process.returncode, f"code {process.returncode}")
    if "Fatal Python error: init_import_site" in said:  # Python itself was still starting
        end = "by SIGINT"
    told.ends[end] += 1
    problems = []
    if end == "by SIGINT":
        told.latest_death = max(told.latest_death, moment)
    elif end.startswith("code"):
        problems.append(f"ended with {end}: {said[-300:]}")
    elif end == "130" and (said.strip().splitlines()[-1:] != ["interrupted"] or "Traceback" in said):
        problems.append(f"said {said[-300:]!r}")
    problems += wrong_with(work, before, [str(base / "videos") if word == "VIDEOS" else word for word in words])
    told.problems += [f"{moment * 1000:.0f} ms: {problem}" for problem in problems]


def wrong_with(work: Path, before: dict[int, npt.NDArray[np.float32]], words: Sequence[str]) -> Iterator[str]:
    """What is not as it should be after an interrupt."""
    yield from (problem for problem in check(work).problems if problem != NO_FAISS)
    after = vectors(work)
    if list(after) != sorted(after):
        yield "ids do not ascend"
    if lost := [one for one in before if one not in after or not np.array_equal(before[one], after[one])]:
        yield f"videos lost or changed: {lost}"
    code, said = here(*words, "--index", work)
    if code != 0:
        yield f"run again: code {code}: {said[-300:]}"
    yield from (f"at the end: {problem}" for problem in check(work).problems)
    expected = len(before) + 6 if words[0] == "ingest" else len(after)
    if len(vectors(work)) != expected:
        yield f"at the end {len(vectors(work))} videos, not {expected}"


def try_command(name: str, base: Path, moments: int) -> Told:
    """A command's whole life, in so many steps, from its first millisecond to a little after its end."""
    words = COMMANDS[name]
    lengths = []
    for _ in range(2):
        shutil.rmtree(base / "work", ignore_errors=True)
        shutil.copytree(base / "index", base / "work")
        started = time.monotonic()
        with start(words, base) as process:
            _, said = process.communicate()
        assert process.returncode == 0, said
        lengths.append(time.monotonic() - started)
    told = Told(min(lengths))
    for moment in np.linspace(0.002, told.seconds * 1.02, moments):
        interrupt(words, base, float(moment), told)
    return told


def run(moments: int, folder: Path) -> dict[str, Told]:
    """All commands, with the moments shared out among them."""
    base = make_base(folder)
    return {name: try_command(name, base, moments // len(COMMANDS)) for name in COMMANDS}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--moments", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = run(asked.moments, Path(scratch))
    print("command   seconds  moments  130  done  by SIGINT (latest, ms)  wrong")
    for command, result in results.items():
        print(
            f"{command:8} {result.seconds:8.2f} {sum(result.ends.values()):8} {result.ends['130']:4} "
            f"{result.ends['done']:5} {result.ends['by SIGINT']:10} ({result.latest_death * 1000:.0f})"
            f"{'':14} {len(result.problems):5}"
        )
    for command, result in results.items():
        for wrong in result.problems:
            print(f"{command}: {wrong}")
    sys.exit(1 if any(result.problems for result in results.values()) else 0)
