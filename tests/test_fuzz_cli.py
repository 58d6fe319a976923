"""Every command, option and argument with values that nobody should give: a sentence and a code, and nothing touched.

Invocations are made from the commands' own declarations, so that a new option is tried as soon as it is there. As many
as ECHOSEARCH_FUZZ says; `ECHOSEARCH_FUZZ=2000 pytest tests/test_fuzz_cli.py` is the long run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import plain_frames, write_video
from test_disk_and_signals import decoders_here

import echosearch.ingest.pipeline
import echosearch.ingest.transfer
from echosearch.cli import main
from echosearch.cli.app import app
from echosearch.cli.options import ExampleType, FilePath, Finite, IdOrFile, MappingType, PhraseType, SamplingType, Whole

pytestmark = pytest.mark.slow

INVOCATIONS = int(os.environ.get("ECHOSEARCH_FUZZ", "300"))
SEED = int(os.environ.get("ECHOSEARCH_FUZZ_SEED", "1"))
CODES = {0, 1, 2, 3, 4, 130}
SECONDS_AT_MOST = 30
NUM_VIDEOS = 10

WHOLE = ["0", "1", "2", "3", "5", "100", "-1", "-9223372036854775808", "9223372036854775807", "99999999999999999999"]
WHOLE += ["9" * 5000, "1.5", "nan", "", "٣", "1_0", " 5 ", "0x10", "1e3", "one", "bad\udcff"]
FINITE = ["0", "0.5", "1", "-1", "3", "nan", "inf", "-inf", "1e308", "1e309", "1e-320", "9" * 400, "", "half", "0x1p3"]
TEXT = ["red", "x", "", " ", "'", '"', "'; DROP TABLE videos; --", "a\nb", "a\tb\r", "bad\udcff", "Ä é 心", "\x1b[31m"]
TEXT += ["-", "--", "%s {0} {}", "../up", "a/b", "~", "~nobody-here", "x" * 5000, "1", "99999999999999999999", "nan"]
NAMES = [
    "reds",
    "kept",
    "lead",
    "red",
    "colour",
    "pacemaker",
    "ejection_fraction",
    "P1",
    "S1",
    "reddish",
    "level",
    "A4C",
]
WHERE = ["view = 'A4C'", "attr.age >= 18", "task.red.value > 0.1", "view = ", "nonsense(", "attr.age > " + "9" * 400]
WHERE += ["video_id = 99999999999999999999", "study IN ('S1', 'S2')", "patient = 'bad\udcff'", "NOT " * 300 + "fps > 1"]
MODELS = [
    "toy",
    "toy",
    "toy",
    "echo-clip",
    "nonsense",
    "open_clip:RN50/nonsense",
    "open_clip:x",
    "local-dir:",
    "hf-hub:x",
]
MODELS += ["local-dir:~nobody-here", "local-dir:/dev/null", "local-dir:" + "x" * 5000, ""]
SAMPLINGS = [
    "all",
    "even:3",
    "even:0",
    "0:10:2",
    "0:99999999999999999999:1",
    "even:99999999999999999999",
    "::",
    "",
    "x:y:z",
]
MAPPINGS = ["a=path", "age=study", "age=nonsense", "=", "a=", "=path", "bad\udcff=path", ""]
PATHS = [
    "out/new", "out/new.png", "out/new.csv", "out/new.json", "out/new.html", "out/new.npz", "out/folder/new.csv",
    "archive", "archive/v0.avi", "archive/still.png", "archive/link.avi", "archive/new.png", "archive/sub",
    "labels.csv", "manifest.csv", "reports.csv", "red.yaml", "prompts.json", "vectors.npz", "kept.json", "sheet.csv",
    "link-to-archive", "link-to-still.png", "loop", "loop/x.avi", "missing", "missing/x.csv", "out/empty",
    "empty/x.png", "empty.csv", "noise.csv", "noise.npz", "noise.yaml", "noise.json", "noise.avi", "labels.csv/x",
    "bad\udcff.csv",
    "i/catalog.sqlite", "i/manifest.json", "i", "i/segments", "/dev/null", "/dev/full", "/dev/null/x", "x" * 300,
    "a/" * 3000, "~nobody-here/x.csv", "~", "", "a\nb.csv", "-", "--",
]  # fmt: skip


EXAMPLES = [
    "1@0.1s", "1@0s", "1@99s", "1@s", "1@1", "@1s", "1^2", "1^0", "1@0.1s^0.5", "1@nans", "99999999999999999999@1s",
    "archive/v0.avi@0.1s", "archive/still.png@0s", "archive/still.png@1s", "missing@1s^2", "1@-1s", "1^1e400",
]  # fmt: skip
QUESTIONS = [
    "'red'", "'red' + video 1 - 'blue' level study k 2", "video 1@0.1s k 1", "2 * 'red'", "'red' where", "'",
    "'red' where 1 = 1 OR", "'red' k 99999999999999999999", "file 'archive/v0.avi'", "file '/dev/null'", "video 0",
    "1e400 * 'red'", "'a\0b'", "where x = 1", "'red' exclude study", "video 1 exclude study, content, patient",
    "'red' level patient per study", "'red' min_score 1e400", "(" * 5000,
]  # fmt: skip


NEEDED = {"index", "label_file", "label_column", "near", "level", "top"}
PROPER = {
    "index": ["i"],
    "sources": ["archive", "archive/v0.avi", "link-to-archive"],
    "videos": ["1", "2", "archive/v3.avi"],
    "examples": ["1", "1@0.1s", "archive/v3.avi"],
    "like": ["1", "5@0.1s"],
    "unlike": ["2"],
    "question": QUESTIONS[:3],
    "example": ["1", "5", "archive/v3.avi", "archive/still.png"],
    "manifest": ["manifest.csv"],
    "label_file": ["labels.csv"],
    "label_column": ["reddish", "level"],
    "key": ["video", "study"],
    "positive": ["1"],
    "reports": ["reports.csv"],
    "text_column": ["text"],
    "task": ["red.yaml", "red.yaml", "retrieval"],
    "tasks": ["red.yaml"],
    "reference": ["red.yaml", "pacemaker"],
    "files": ["red.yaml"],
    "name": ["reds"],
    "calibrate name": ["kept", "other"],
    "calibrations name": ["kept"],
    "probe name": ["lead"],
    "cohort name": ["reds", "reds", "other"],
    "first": ["reds"],
    "second": ["reds"],
    "calibration": ["kept"],
    "out": ["out/new.csv", "out/new.npz", "out/new.html"],
    "folder": ["out/new"],
    "into": ["out/new"],
    "file": ["out/new.json", "kept.json", "lead.json"],
    "tasks file": ["prompts.json"],
    "sheet": ["out/new.csv", "sheet.csv"],
    "source": ["vectors.npz"],
    "root": ["archive"],
    "old": ["archive"],
    "new": ["out", "archive"],
    "plot": ["out/new.png"],
    "contact_sheet": ["out/new.png"],
    "predictions": ["out/new.csv"],
    "model": ["toy"],
    "where": WHERE[:3],
    "views": ["A4C"],
    "sampling": ["all"],
    "study": ["S1"],
    "patient": ["P1"],
    "split": ["TEST"],
    "rule": ["youden", "sensitivity:0.9"],
}
"""Values that make sense, by the name of the parameter, or by the first word of the command and that."""


def call(*arguments: object) -> tuple[int, str]:
    """A command in this process: exit code, and all that it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0), said.getvalue()


def ok(*arguments: object) -> None:
    code, said = call(*arguments)
    assert code == 0, said


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """archive/ of ten patients, an index `i` of it with a sweep, a cohort, a calibration; lists and oddities beside."""
    import huggingface_hub.constants

    for module in (echosearch.ingest.pipeline, echosearch.ingest.transfer):
        monkeypatch.setattr(module, "decoders", decoders_here)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path / "out" / "tasks"))
    monkeypatch.setenv("HOME", str(tmp_path / "out" / "home"))
    monkeypatch.setenv("ECHOSEARCH_INDEX", str(tmp_path / "out" / "default"))
    monkeypatch.chdir(tmp_path)
    for number in range(NUM_VIDEOS):
        write_video(Path(f"archive/v{number}.avi"), plain_frames(3, (200 - 15 * number, 100, 40), size=32), fps=10)
    from PIL import Image

    Image.new("RGB", (32, 32), (9, 99, 9)).save("archive/still.png")
    Path("archive/sub").mkdir()
    Path("archive/link.avi").symlink_to("v0.avi")
    rows = [f"v{n}.avi,S{n},P{n},{'A4C' if n else 'PLAX'},{n + 14},{int(n < 5)},{9 * n},red {n}" for n in range(10)]
    table = "\n".join(["path,study,patient,view,age,reddish,level,text", *rows]) + "\n"
    for name in ("manifest.csv", "labels.csv", "reports.csv"):
        Path(name).write_text(table)
    Path("red.yaml").write_text("name: red\nmode: binary\nprompts: ['red']\n")
    Path("prompts.json").write_text('{"Red": {"mode": "binary", "label_sources": ["red"]}}')
    Path("link-to-archive").symlink_to("archive")
    Path("link-to-still.png").symlink_to("archive/still.png")
    Path("loop").symlink_to("loop")
    Path("empty.csv").touch()
    for suffix in ("csv", "npz", "yaml", "json", "avi"):
        Path(f"noise.{suffix}").write_bytes(random.Random(suffix).randbytes(500))
    ok("ingest", "archive", "--index", "i", "--model", "toy", "--manifest", "manifest.csv")
    ok("sweep", "red.yaml", "--index", "i")
    ok("cohort", "create", "reds", "--near", "red", "--top", "5", "--level", "video", "--index", "i")
    ok("export-embeddings", "vectors.npz", "--index", "i")
    ok("cohort", "sample", "reds", "-n", "4", "--sheet", "sheet.csv", "--index", "i")
    labels = ["--labels", "labels.csv", "--label-column", "reddish"]
    ok("calibrate", "red.yaml", *labels, "--name", "kept", "--index", "i")
    ok("calibrations", "export", "kept", "kept.json", "--index", "i")
    ok("probe", "train", "lead", *labels, "--index", "i")
    ok("probe", "export", "lead", "lead.json", "--index", "i")
    shutil.copytree("i", "pristine/i")
    Path("pristine/beside").mkdir()
    for path in Path().iterdir():
        if path.is_file():
            shutil.copyfile(path, f"pristine/beside/{path}")
    return tmp_path


@dataclass(frozen=True)
class Leaf:
    """A command, with the words that call it."""

    words: tuple[str, ...]
    command: click.Command


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[Leaf]:
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*words, name))
    else:
        yield Leaf(words, command)


def hostile(parameter: click.Parameter, rng: random.Random) -> str:
    """Any value for an option or argument, by what it declares itself to be."""
    kind, name = parameter.type, parameter.name or ""
    if rng.random() < 0.03:
        return rng.choice(TEXT)
    if isinstance(kind, click.Choice):
        return str(rng.choice([*kind.choices, "nonsense"]))
    pools: dict[type[Any], list[str]] = {
        Whole: WHOLE, Finite: FINITE, FilePath: PATHS, IdOrFile: WHOLE + PATHS,
        ExampleType: EXAMPLES + WHOLE + PATHS,
        PhraseType: [*NAMES, *TEXT, "red^2", "red^", "^2", "red^1e9", "red^-1", "a^0"],
        SamplingType: SAMPLINGS, MappingType: MAPPINGS,
    }  # fmt: skip
    for each, pool in pools.items():
        if isinstance(kind, each):
            return rng.choice(pool)
    by_name = {
        "model": MODELS,
        "weights": MODELS,
        "where": WHERE,
        "question": QUESTIONS,
        "label_column": NAMES,
        "task": [*NAMES, "red.yaml"],
    }
    return rng.choice(by_name.get(name, [*NAMES, *NAMES, *TEXT, "red.yaml", "noise.yaml"]))


def proper(leaf: Leaf, parameter: click.Parameter, rng: random.Random) -> str:
    """A value that makes sense, so that a command comes to its work."""
    kind, name = parameter.type, parameter.name or ""
    if isinstance(kind, click.Choice):
        return str(rng.choice(kind.choices))
    if isinstance(kind, Whole):
        return rng.choice(["1", "2", "5"])
    if isinstance(kind, Finite):
        return rng.choice(["0", "0.5", "2"])
    return rng.choice(PROPER.get(f"{leaf.words[0]} {name}", PROPER.get(name, ["red"])))


def invocation(leaf: Leaf, rng: random.Random) -> list[str]:
    """One command line, in any order: half of them wild, half of them right but for one value or for none."""
    options: list[str] = []
    arguments: list[str] = []
    is_wild = rng.random() < 0.4
    likely = rng.choice([0.1, 0.3, 0.7] if is_wild else [0.1, 0.2, 0.4])
    is_wrong = None if rng.random() < 0.4 else rng.choice(leaf.command.params)

    def value(parameter: click.Parameter) -> str:
        if parameter is is_wrong or (is_wild and parameter.name != "index"):
            return hostile(parameter, rng)
        return proper(leaf, parameter, rng)

    for parameter in leaf.command.params:
        if isinstance(parameter, click.Option):
            needed = parameter.required or parameter.name in NEEDED or (parameter is is_wrong)
            if rng.random() < (0.97 if needed else likely):
                options.append(rng.choice([*parameter.opts, *parameter.secondary_opts]))
                if not parameter.is_flag:
                    options += [value(parameter) for _ in range(parameter.nargs)]
        else:
            count = rng.choice([1, 1, 2, 3]) if parameter.nargs == -1 else parameter.nargs
            count += rng.choice([0] * 30 + [-1, 1])
            arguments += [value(parameter) for _ in range(count)]
    return [*leaf.words, *options, *arguments] if rng.random() < 0.5 else [*leaf.words, *arguments, *options]


def digest(place: Path, within: Sequence[str] = ()) -> dict[str, str]:
    """All files, folders and links beside the index and outside of out/, with their content."""
    found = {}
    for top in within or [path.name for path in place.iterdir() if path.name not in ("i", "pristine", "out")]:
        for path in (place / top, *sorted((place / top).rglob("*"))):
            if path.is_symlink():
                content = f"link to {path.readlink()}"
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = "no file"
            found[str(path.relative_to(place))] = content
    return found


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_to_wait(*_: object) -> None:
    raise AssertionError(f"took longer than {SECONDS_AT_MOST} s")


def tried(words: list[str]) -> tuple[int, str]:
    """Exit code and what was said; an exception that got out is told as code -1."""
    signal.alarm(SECONDS_AT_MOST)
    try:
        return call(*words)
    except BaseException as error:  # noqa: BLE001  whatever it is, it should not have come out
        return -1, repr(error)
    finally:
        signal.alarm(0)


def test_no_command_line_ends_in_a_traceback_or_touches_what_is_not_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    signal.signal(signal.SIGALRM, refuse_to_wait)
    every = list(leaves(app))
    assert len(every) > 25
    before = digest(place)
    codes: Counter[int] = Counter()
    wrong: list[str] = []
    slowest = (0.0, "")
    for number in range(INVOCATIONS):
        rng = random.Random(f"{SEED} {number}")
        words = invocation(every[number % len(every)], rng)
        shutil.rmtree(place / "i", ignore_errors=True)
        shutil.rmtree(place / "out", ignore_errors=True)
        shutil.copytree(place / "pristine" / "i", place / "i")
        (place / "out" / "empty").mkdir(parents=True)
        started = time.monotonic()
        code, said = tried(words)
        slowest = max(slowest, (time.monotonic() - started, repr(words)[:200]))
        codes[code] += 1
        if code not in CODES or "Traceback" in said:
            wrong.append(f"{number}: code {code}: {words!r:.600}\n    {said[-500:]}")
        now = digest(place)
        changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        if "--force" in words:  # a list or picture of the user's own, if that is said
            for name in {name for name in changed & before.keys() if not name.startswith("archive")}:
                changed.discard(name)
                shutil.copyfile(place / "pristine" / "beside" / name, place / name)
        asked = {Path(word).parts[0] for word in words if word not in ("", "/")} - {
            Path(name).parts[0] for name in before
        }
        for name in asked & now.keys():  # a new file or folder, as the invocation named it
            remove(place / name)
        changed = {name for name in changed if Path(name).parts[0] not in asked}
        if changed:
            wrong.append(f"{number}: changed {sorted(changed)[:5]}: {words!r:.600}\n    {said[-300:]}")
            before = digest(place)
    print(f"{INVOCATIONS} invocations of {len(every)} commands, codes {dict(codes)}, slowest {slowest}")
    assert not wrong, f"{len(wrong)} of {INVOCATIONS}\n" + "\n".join(wrong[:30])
    assert codes[0] > INVOCATIONS / 5  # some of it is work that is done
    assert codes[2] > INVOCATIONS / 10
