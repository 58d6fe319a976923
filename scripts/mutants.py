"""Change one line of the program at a time, and see whether the tests notice.

python scripts/mutants.py                         300 mutants of seed 1; 90 % are to be killed
python scripts/mutants.py --mutants 40 --seed 7   others
python scripts/mutants.py --list                  name them, run nothing
python scripts/mutants.py --quick                 only the most specific tests: to see what may survive
python scripts/mutants.py --again                 those that survived the last run, after tests were written

Each mutant runs against the unit tests that reach its line (coverage contexts, one run of all unit tests in
advance), who killed it last time and the most specific first, until one fails. Mutants are spread evenly over eight
areas; within one, lines are drawn by chance, and of each line one change. Left out is what no user could notice:
messages, annotations, `__repr__`, sizes of buffers. What was run is kept in `.cache/mutants` and not run twice while
the tree stays as it is. A mutant that hangs counts as killed. `mutation.py` makes the changes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutation import Mutant, mutants_of

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "mutants"
KILLERS = CACHE / "killers.json"
AREAS = {
    "index": ("index/*.py", "files.py", "outputs.py"),
    "vectors": ("index/vectors/*.py",),
    "catalog": ("index/catalog/*.py",),
    "scores": ("tasks/modes/*.py", "tasks/sweep.py", "learning/retrieval.py", "types/views.py"),
    "statistics": ("learning/statistics.py", "learning/intervals.py", "learning/evaluation.py", "types/people.py"),
    "selection": (
        "search/selection.py",
        "search/ranking.py",
        "cohort/making.py",
        "cohort/compare.py",
        "search/measures.py",
    ),
    "export": ("cohort/export.py", "ingest/transfer.py", "ingest/embeddings_file.py", "tables.py"),
    "calibration": ("learning/calibration.py", "learning/thresholds.py", "learning/intervals.py", "learning/probe.py"),
}
HEAVY = (
    "numpy",
    "scipy.stats",
    "scipy.optimize",
    "scipy.special",
    "sklearn.linear_model",
    "sklearn.isotonic",
    "sklearn.metrics",
    "torch",
    "faiss",
    "open_clip",
    "cv2",
    "av",
    "decord",
    "PIL.Image",
    "sqlalchemy",
    "matplotlib.figure",
    "jinja2",
    "lark",
    "pydantic",
    "click",
    "rich",
    "huggingface_hub",
    "safetensors.torch",
    "hypothesis",
    "pytest",
    "yaml",
    "threadpoolctl",
)
"""Imported once, before the processes that run the tests are forked."""
FIRST = 60
"""So many of the most specific tests run before the rest."""


# As a plug-in of pytest (`-p mutants`): how each test ended and how long it took.

_REPORT = os.environ.get("MUTANTS_REPORT")
_seen: dict[str, list[Any]] = {}


def pytest_runtest_logreport(report: Any) -> None:
    """Note each phase of each test."""
    outcome, seconds = _seen.get(report.nodeid, ["passed", 0.0])
    _seen[report.nodeid] = [outcome if report.outcome == "passed" else report.outcome, seconds + report.duration]


def pytest_sessionfinish(session: Any) -> None:
    """Write what was noted (the process that gathers, not the workers)."""
    if _REPORT and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(_REPORT).write_text(json.dumps(_seen), "utf-8")


# The unmodified tree: which test reaches which line.


@dataclass
class Reach:
    """Tests that pass on the unmodified tree, and the lines that each of them reaches."""

    seconds: dict[str, float]
    lines: dict[str, dict[int, set[str]]]  # path -> line -> contexts "nodeid|phase"
    size: dict[str, int] = field(default_factory=dict)  # nodeid -> how many lines it reaches
    of_file: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for node in self.seconds:
            self.of_file[node.split("::")[0]].append(node)
        for contexts_of in self.lines.values():
            for contexts in contexts_of.values():
                for context in contexts:
                    node = context.rpartition("|")[0]
                    self.size[node] = self.size.get(node, 0) + 1

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that reach the mutant's line, the most specific first.

        A line reached while a fixture was set up counts for every test of that file, which come last: the fixture may
        be theirs too.
        """
        direct: set[str] = set()
        files: set[str] = set()
        for path, line in [(mutant.path, line) for line in mutant.lines] or self._uses(mutant.names):
            for context in self.lines.get(path, {}).get(line, ()):
                node, _, phase = context.rpartition("|")
                files |= {node.split("::")[0]} if phase == "setup" else set()
                direct |= {node}
        others = [*self.of_file] if not mutant.lines else files  # what runs on import, every test reaches
        nodes = direct.union(*(self.of_file[file] for file in others)) & self.seconds.keys()
        return sorted(nodes, key=lambda node: (node not in direct, self.size.get(node, 0), node))

    def _uses(self, names: Iterable[str]) -> list[tuple[str, int]]:
        """Where a name that is set on import is used."""
        import ast

        wanted, found = set(names), []
        for path in self.lines:
            for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
                name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
                if name in wanted and isinstance(node, ast.Name | ast.Attribute):
                    found.append((path, node.lineno))
        return found


def tree_digest() -> str:
    """Of program and tests."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "echosearch").rglob("*"), *(ROOT / "tests").rglob("*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def make_copy(name: str) -> Path:
    """A copy of the tree in which a mutant may stand, with `shared` beside it."""
    folder = CACHE / name
    shutil.rmtree(folder, ignore_errors=True)
    skip = shutil.ignore_patterns(".git", ".venv", ".cache", "__pycache__", ".hypothesis", "demo", ".*_cache")
    shutil.copytree(ROOT, folder / "p", ignore=skip, symlinks=True)
    if (ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to((ROOT.parent / "shared").resolve())
    return folder / "p"


def measure_reach(digest: str, workers: int) -> Reach:
    """Run all unit tests on the unmodified tree, once for each state of it."""
    kept = CACHE / f"reach-{digest}.json"
    if not kept.is_file():
        copy, report, data = make_copy("base"), CACHE / "base.json", CACHE / "base.coverage"
        print("running all unit tests once, with coverage ...", flush=True)
        environment = os.environ | {
            "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'scripts'}",
            "MUTANTS_REPORT": str(report),
            "COVERAGE_FILE": str(data),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "mutants", "-n", str(workers), "--dist", "loadfile"]
        command += ["-m", "not slow", "--cov=echosearch", "--cov-context=test", "--cov-report="]
        subprocess.run(command, cwd=copy, env=environment, check=False, stdout=subprocess.DEVNULL)
        kept.write_text(json.dumps(_read_reach(copy, report, data)), "utf-8")
    found = json.loads(kept.read_text("utf-8"))
    lines = {path: {int(line): set(names) for line, names in of.items()} for path, of in found["lines"].items()}
    return Reach(found["seconds"], lines)


def _read_reach(copy: Path, report: Path, data_file: Path) -> dict[str, Any]:
    from coverage import CoverageData

    data = CoverageData(str(data_file))
    data.read()
    lines = {}
    for path in data.measured_files():
        contexts = data.contexts_by_lineno(path)
        lines[str(Path(path).relative_to(copy))] = {line: [c for c in of if c] for line, of in contexts.items()}
    ended = json.loads(report.read_text("utf-8"))
    failed = [node for node, (outcome, _) in ended.items() if outcome == "failed"]
    if failed:
        print(f"not used, they fail on the unmodified copy: {', '.join(failed)}", flush=True)
    return {"seconds": {node: s for node, (outcome, s) in ended.items() if outcome == "passed"}, "lines": lines}


# Drawing mutants.


def draw(count: int, seed: int) -> list[Mutant]:
    """`count` mutants, evenly over the areas, at most one a line."""
    rng = random.Random(seed)
    drawn = []
    for number, (area, patterns) in enumerate(AREAS.items()):
        by_line: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
        for pattern in patterns:
            paths = sorted((ROOT / "echosearch").glob(pattern))
            if not paths:
                sys.exit(f"no file for {pattern} ({area})")
            for path in paths:
                for mutant in mutants_of(str(path.relative_to(ROOT)), path.read_text("utf-8"), area):
                    by_line[(mutant.path, mutant.line)].append(mutant)
        wanted = count // len(AREAS) + (number < count % len(AREAS))
        places = rng.sample(sorted(by_line), min(wanted, len(by_line)))
        drawn += [rng.choice(by_line[place]) for place in places]
    return drawn


# Running them.


@dataclass
class Running:
    """One process that runs tests against one mutant."""

    mutant: Mutant
    slot: int
    stages: list[list[str]]
    pid: int = 0
    until: float = 0.0
    ran: int = 0


def start_stage(running: Running, copy: Path, seconds: dict[str, float]) -> None:
    """Begin with the next stage's tests."""
    nodes = running.stages[0]
    running.until = time.monotonic() + 90 + 6 * sum(seconds[node] for node in nodes)
    running.ran += len(nodes)
    running.pid = fork_tests(nodes, copy, stop=True)


def fork_tests(nodes: list[str], copy: Path, stop: bool) -> int:
    """Fork a process that runs tests, to the first that fails or all, and ends with pytest's exit code."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(copy.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(copy)
    sys.modules["__main__"] = types.ModuleType("__main__")  # decoding workers import the main module by its path
    sys.path[:] = [str(copy), *[place for place in sys.path if Path(place or ".").resolve() != ROOT / "scripts"]]
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ |= {"PYTHONPATH": str(copy), "HYPOTHESIS_STORAGE_DIRECTORY": str(copy.parent / "hypothesis")}
    wanted = copy.parent / "nodes.txt"
    wanted.write_text("\n".join(nodes), "utf-8")
    import pytest

    options = ["-q", "-rfE", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--basetemp={copy.parent / 'tmp'}"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is imported before the fork
    options += ["-x"] if stop else []
    code = pytest.main([*options, f"@{wanted}"])
    os._exit(int(code))


def import_heavy() -> None:
    """Import other people's packages, and nothing of echosearch."""
    place = ROOT / "echosearch" / "encoders" / "torchvision_import.py"
    spec = importlib.util.spec_from_file_location("torchvision_import", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.import_torchvision()
    for name in HEAVY:
        importlib.import_module(name)


def leave_out_failing(reach: Reach, copies: list[Path], kept: Path) -> None:
    """Run all tests on the unmodified copies, the way the mutants are run; who fails there tells nothing."""
    if not kept.is_file():
        print("running all unit tests once more, the way the mutants are run ...", flush=True)
        files = sorted(reach.of_file, key=lambda file: -sum(reach.seconds[node] for node in reach.of_file[file]))
        jobs = []
        for slot, copy in enumerate(copies):
            nodes = [node for file in files[slot :: len(copies)] for node in reach.of_file[file]]
            jobs.append((fork_tests(nodes, copy, stop=False), copy.parent / "log.txt"))
        failed = []
        for pid, log in jobs:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            failed += failures(log)
            if code not in (0, 1) or (code and not failures(log)):
                sys.exit(f"the tests cannot be run in this way: see {log}")
        kept.write_text(json.dumps(failed), "utf-8")
    for node in json.loads(kept.read_text("utf-8")):
        print(f"not used, it fails on the unmodified copy: {node}", flush=True)
        reach.seconds.pop(node, None)


def failures(log: Path) -> list[str]:
    """The tests that failed, out of pytest's summary."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return [line.split(" ", 1)[1].split(" - ")[0] for line in lines if line.startswith(("FAILED ", "ERROR "))]


def put(mutant: Mutant, copy: Path, stamp: int, text: str) -> None:
    """Write a file of the copy, with a time of its own so that no stale bytecode is used."""
    path = copy / mutant.path
    path.write_text(text, "utf-8")
    os.utime(path, (stamp, stamp))


def run_all(
    mutants: list[Mutant], reach: Reach, copies: list[Path], kept: Path, quick: bool
) -> dict[str, dict[str, Any]]:
    """Run each mutant; results are appended to `kept`, one JSON line each."""
    done = {}
    if kept.is_file():
        done = {row["key"]: row for row in map(json.loads, kept.read_text("utf-8").splitlines())}
    killers: dict[str, str] = json.loads(KILLERS.read_text("utf-8")) if KILLERS.is_file() else {}
    waiting = [mutant for mutant in mutants if mutant.key not in done][::-1]
    free, running, stamp = list(range(len(copies))), [], int(time.time())

    def finish(mutant: Mutant, state: str, by: str, tests: int) -> None:
        row = {"key": mutant.key, "state": state, "by": by, "tests": tests}
        done[mutant.key] = row
        if not (quick and state == "survived"):
            with kept.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
        if state == "killed":
            killers[mutant.name] = by
            KILLERS.write_text(json.dumps(killers), "utf-8")
        print(f"{len(done):>4} {state:<9} {mutant} {by}", flush=True)

    while waiting or running:
        while waiting and free:
            mutant = waiting.pop()
            tests = reach.tests(mutant)
            if not tests:
                finish(mutant, "survived", "no unit test reaches it", 0)
                continue
            slot, stamp = free.pop(), stamp + 1
            put(mutant, copies[slot], stamp, mutant.text)
            stages = [[killers[mutant.name]] if killers.get(mutant.name) in tests else []]
            stages += [sorted(tests[:FIRST]), [] if quick else sorted(tests[FIRST:])]
            running.append(Running(mutant, slot, [stage for stage in stages if stage]))
            start_stage(running[-1], copies[slot], reach.seconds)
        time.sleep(0.05)
        for job in list(running):
            pid, status = os.waitpid(job.pid, os.WNOHANG)
            late = time.monotonic() > job.until
            if not pid and not late:
                continue
            if late and not pid:
                os.killpg(job.pid, signal.SIGKILL)
                os.waitpid(job.pid, 0)
            code = 1 if late else os.waitstatus_to_exitcode(status)
            job.stages.pop(0)
            if code == 0 and job.stages:
                start_stage(job, copies[job.slot], reach.seconds)
                continue
            by = "" if code == 0 else "time" if late else _who(copies[job.slot].parent / "log.txt", code)
            finish(job.mutant, "survived" if code == 0 else "killed", by, job.ran)
            stamp += 1
            put(job.mutant, copies[job.slot], stamp, (ROOT / job.mutant.path).read_text("utf-8"))
            running.remove(job)
            free.append(job.slot)
    return done


def _who(log: Path, code: int) -> str:
    """The test that failed, or how the process ended; not to be run at all is no death."""
    failed = failures(log)
    if code > 0 and not failed:
        sys.exit(f"pytest ended with {code} and named no test: see {log}")
    return failed[0] if failed else f"signal {-code}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300, help="how many (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (1)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    parser.add_argument("--quick", action="store_true", help=f"at most {FIRST} tests for each mutant")
    parser.add_argument("--again", action="store_true", help="only those that survived the last run of this draw")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    mutants = draw(options.mutants, options.seed)
    survivors = CACHE / f"survivors-{options.seed}-{options.mutants}.json"
    if options.again:
        last = set(json.loads(survivors.read_text("utf-8")))
        mutants = [mutant for mutant in mutants if mutant.name in last]
    if options.list:
        print("\n".join(str(mutant) for mutant in mutants))
        return
    digest = tree_digest()
    reach = measure_reach(digest, options.workers)
    copies = [make_copy(f"slot-{slot}") for slot in range(options.workers)]
    import_heavy()
    leave_out_failing(reach, copies, CACHE / f"failing-{digest}.json")
    done = run_all(mutants, reach, copies, CACHE / f"done-{digest}.jsonl", options.quick)
    lived = [mutant for mutant in mutants if done[mutant.key]["state"] == "survived"]
    survivors.write_text(json.dumps([mutant.name for mutant in lived]), "utf-8")
    print("\nSurvivors:")
    for mutant in lived:
        row = done[mutant.key]
        print(f"  {mutant}  ({row['by'] or str(row['tests']) + ' tests'})")
    print("\narea          mutants  killed")
    for area in AREAS:
        of_area = [mutant for mutant in mutants if mutant.area == area]
        killed = sum(done[mutant.key]["state"] == "killed" for mutant in of_area)
        print(f"{area:<12} {len(of_area):>8} {killed:>7}")
    share = 1 - len(lived) / len(mutants) if mutants else 1.0
    print(f"{'all':<12} {len(mutants):>8} {len(mutants) - len(lived):>7}   {share:.1%} killed")


if __name__ == "__main__":
    main()
