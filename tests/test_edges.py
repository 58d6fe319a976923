"""Where the program meets what it does not rule: paths, numbers, streams, signals, rights, a user without a home."""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import plain_frames, write_video
from store_helpers import add, make_store, new_video, unit

from echosearch import open_index
from echosearch.cli.app import app
from echosearch.cli.options import FilePath, Finite, Whole
from echosearch.cohort.cohort import Definition
from echosearch.config import index_path, tasks_path
from echosearch.errors import BadOption, BadQuery, InputError, UnknownVideo
from echosearch.index.check import check_index as check
from echosearch.ingest import IngestOptions, ingest, read_metadata
from echosearch.types import ModelRequest
from echosearch.video import find_media, media_path

Run = Callable[..., tuple[int, str, str]]

ECHOSEARCH = Path(sys.executable).parent / "echosearch"
HUGE = 10**30


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three colours, each a video of a study of a patient; nothing here changes it."""
    folder = tmp_path_factory.mktemp("edges")
    for name, colour in (("red", (220, 20, 20)), ("green", (20, 220, 20)), ("blue", (20, 20, 220))):
        write_video(folder / "v" / f"{name}.avi", plain_frames(4, colour), fps=19)
    (folder / "m.csv").write_text("path,study,patient\nred.avi,S1,P1\ngreen.avi,S2,P2\nblue.avi,S3,P3\n")
    tables = [read_metadata(folder / "m.csv")]
    ingest(folder / "i", [folder / "v"], IngestOptions(ModelRequest("toy"), workers=1), tables)
    return folder / "i"


def parameters(command: click.Command, words: str = "") -> Iterator[tuple[str, click.Parameter]]:
    for parameter in command.params:
        yield f"{words} {parameter.name}", parameter
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from parameters(each, f"{words} {name}")


EVERY = dict(parameters(app))


# Numbers.


def test_every_number_and_path_of_a_command_is_of_a_kind_that_checks_itself() -> None:
    kinds = {type(parameter.type) for parameter in EVERY.values()}
    assert {Whole, Finite, FilePath} <= kinds
    unchecked = (click.types.IntParamType, click.types.FloatParamType, click.IntRange, click.FloatRange)
    assert [name for name, each in EVERY.items() if isinstance(each.type, unchecked)] == []
    assert [name for name, each in EVERY.items() if type(each.type) is click.Path] == []


@pytest.mark.parametrize("name", [name for name, each in EVERY.items() if type(each.type) is Finite])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("nan", "it is a finite number, not nan"),
        ("inf", "it is a finite number, not inf"),
        ("-inf", "it is a finite number, not -inf"),
        ("1e309", "it is a finite number, not inf"),
        ("", "'' is not a finite number"),
        ("half", "'half' is not a finite number"),
    ],
)
def test_every_option_that_takes_a_number_refuses_what_is_none(name: str, value: str, sentence: str) -> None:
    with pytest.raises(click.BadParameter, match=sentence):
        EVERY[name].type_cast_value(click.Context(app), [value] if EVERY[name].nargs == -1 else value)


@pytest.mark.parametrize("name", [name for name, each in EVERY.items() if isinstance(each.type, Whole)])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("99999999999999999999", r"it is at most \d+, not 99999999999999999999"),
        ("-99999999999999999999", r"it is at least -?\d+, not -99999999999999999999"),
        ("9" * 40, "not one of more than 30 digits"),
        ("9" * 5000, "9' is not a whole number"),
        ("1.5", "'1.5' is not a whole number"),
        ("", "'' is not a whole number"),
    ],
)
def test_every_option_that_takes_a_whole_number_refuses_what_is_none(name: str, value: str, sentence: str) -> None:
    with pytest.raises(click.BadParameter, match=sentence):
        EVERY[name].type_cast_value(click.Context(app), value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["delete", "99999999999999999999"], "it is at most 9223372036854775807, not 99999999999999999999"),
        (["undelete", "99999999999999999999"], "it is at most 9223372036854775807, not 99999999999999999999"),
        (["similar", "99999999999999999999"], "it is at most 9223372036854775807, not 99999999999999999999"),
        (["show", "99999999999999999999"], "it is at most 9223372036854775807, not 99999999999999999999"),
        (["delete", "1", "--wait", "nan"], "'--wait': it is a finite number, not nan"),
        (["search", "red", "--min-score", "nan"], "'--min-score': it is a finite number, not nan"),
        (["list", "--study", "bad\udcff"], r"'bad\\udcff' is not UTF-8 text, so nothing in an index has that name"),
        (["delete", "--patient", "bad\udcff"], r"'bad\\udcff' is not UTF-8 text, so nothing in an index has that name"),
        (["ingest", ".", "--workers", "99999999"], "--workers is at most 1024, not 99999999"),
        (["ingest", ""], "the path is empty"),
        (["delete", ""], "the path is empty"),
    ],
)
def test_numbers_and_texts_that_no_index_can_hold_end_with_a_sentence(
    index: Path, run: Run, arguments: list[str], sentence: str
) -> None:
    code, _, err = run(*arguments, "--index", index)
    assert code == 2
    assert re.search(sentence, err), err


@pytest.mark.parametrize("number", [HUGE, 2**63, -HUGE, 0])
@pytest.mark.parametrize(
    "ask", ["similar", "video", "video_embedding", "pooled_norm", "frame_embeddings", "frame_numbers"]
)
def test_python_callers_hear_the_same_of_ids(index: Path, ask: str, number: int) -> None:
    with (
        closing(open_index(index)) as opened,
        pytest.raises(UnknownVideo, match="the id of"),
    ):
        getattr(opened, ask)(number)


def test_python_callers_hear_the_same_of_other_numbers(index: Path) -> None:
    with closing(open_index(index)) as opened:
        for value in (math.nan, math.inf, -math.inf, 10**400):
            with pytest.raises(BadOption, match=r"^the least score is a finite number, not (nan|inf|-inf)$"):
                opened.search("red", min_score=value)
            with pytest.raises(BadOption, match=r"^the least score is a finite number, not (nan|inf|-inf)$"):
                opened.similar(1, min_score=value)
        for ask in (lambda k: opened.search("red", k=k), lambda k: opened.similar(1, k=k)):
            with pytest.raises(BadQuery, match=r"^k is at most 9223372036854775807, not one of more than 30 digits$"):
                ask(HUGE)
            with pytest.raises(BadQuery, match=r"^k is a whole number, not 2.5$"):
                ask(2.5)
        assert opened.search("red", min_score=1e308).hits == ()
        with pytest.raises(InputError, match="a whole number that was given is beyond 64 bits"):
            list(opened.videos_of([HUGE]))
        with pytest.raises(InputError, match=r"'bad\\udcff' is not UTF-8 text"):
            list(opened.videos(study="bad\udcff"))
    with pytest.raises(UnknownVideo, match="the id of a video is at most 9223372036854775807, not one of more than 30"):
        Definition(like=(HUGE,), top=1)
    with pytest.raises(BadOption, match="--workers is at most 1024, not"):
        IngestOptions(workers=HUGE)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_time_to_wait_that_is_none_is_refused(tmp_path: Path, seconds: float) -> None:
    with (
        closing(make_store(tmp_path / "i")) as store,
        pytest.raises(BadOption, match=r"^the time to wait, in seconds, is"),
        store.writer(seconds),
    ):
        pass


# Paths.


@pytest.fixture
def odd_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a loop of links, a file and a folder called ~arch."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    write_video(Path("~arch/a.avi"), plain_frames(2, (200, 0, 0)))
    write_video(Path("plain.avi"), plain_frames(2, (200, 0, 0)))
    return tmp_path


def test_a_folder_called_like_the_home_of_nobody_is_that_folder(odd_paths: Path, run: Run) -> None:
    code, out, err = run("ingest", "~arch", "--model", "toy", "--index", "~index")
    assert (code, out.splitlines()[0]) == (0, f"index {odd_paths}/~index"), err
    [video] = json.loads(run("list", "--json", "--index", "~index")[1])
    assert video["path"] == str(odd_paths / "~arch" / "a.avi")
    assert json.loads(run("similar", "~arch/a.avi", "--json", "--index", "~index")[1])["hits"][0]["video_id"] == 1
    assert run("delete", "~arch/a.avi", "--index", "~index")[0] == 0


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("loop/x.avi", "cannot read .*/loop/x.avi: Too many levels of symbolic links"),
        ("loop", "cannot read .*/loop: Too many levels of symbolic links"),
        ("one/x.avi", "cannot read .*/one/x.avi: Too many levels of symbolic links"),
        ("x" * 300, "cannot read .*/x{300}: File name too long"),
        ("plain.avi/x.avi", "plain.avi/x.avi does not exist; give a video file or a folder of them"),
        ("~nobody-here/x.avi", "~nobody-here/x.avi does not exist; give a video file or a folder of them"),
        ("", "the path is empty"),
    ],
)
def test_sources_that_are_none_are_refused_by_name(odd_paths: Path, run: Run, source: str, sentence: str) -> None:
    code, _, err = run("ingest", source, "--model", "toy", "--index", "i")
    assert (code, bool(re.search(sentence, err))) == (2, True), err
    assert not Path("i").exists()


@pytest.mark.parametrize(
    ("index", "code", "sentence"),
    [
        ("loop", 2, "loop/manifest.json: Too many levels of symbolic links|there is no index at .*/loop"),
        ("x" * 300, 2, "x{300}/manifest.json: File name too long"),
        ("plain.avi", 3, "there is no index at .*/plain.avi"),
        ("~nobody-here", 3, "there is no index at .*/~nobody-here"),
        ("bad\udcff", 2, r"the path of an index is UTF-8 text, and '.*/bad\\udcff' is not; give another --index"),
        ("", 2, "--index is empty"),
    ],
)
@pytest.mark.parametrize("command", [["info"], ["search", "red"], ["compact"]])
def test_paths_of_no_index_are_refused_by_name(
    odd_paths: Path, run: Run, command: list[str], index: str, code: int, sentence: str
) -> None:
    ended, _, err = run(*command, "--index", index)
    assert bool(re.search(sentence, err)), err
    assert ended in (code, 3)


def test_an_index_whose_path_is_not_utf8_is_refused_before_anything_is_made(odd_paths: Path, run: Run) -> None:
    code, _, err = run("ingest", "plain.avi", "--model", "toy", "--index", "bad\udcff")
    assert (code, "the path of an index is UTF-8 text" in err) == (2, True)
    assert sorted(path.name for path in odd_paths.iterdir()) == ["loop", "one", "plain.avi", "two", "~arch"]


def test_paths_of_python_callers_that_are_none_are_refused(odd_paths: Path) -> None:
    for ask in (media_path, index_path):
        with pytest.raises(InputError, match=r"^a path cannot contain a NUL character: 'a\\x00b'$"):
            ask(Path("a\0b"))
    assert media_path(Path("loop/x.avi")) == odd_paths / "loop" / "x.avi"


def test_a_user_without_a_home_has_no_tasks_of_their_own(
    index: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pwd

    def nobody(_: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME", "ECHOSEARCH_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert tasks_path() is None
    assert "pacemaker" in run("tasks", "list")[1]
    code, out, err = run("sweep", "pacemaker", "--no-keep", "--index", index)
    assert (code, "pacemaker" in out) == (0, True), err
    code, _, err = run("sweep", "nonsense", "--index", index)
    assert (code, "no task is called 'nonsense', built in; " in err) == (2, True), err
    (tmp_path / "prompts.json").write_text('{"Red": {"mode": "binary", "label_sources": ["red"]}}')
    code, _, err = run("tasks", "import", tmp_path / "prompts.json")
    assert (code, "there is no home folder for tasks of your own; name a folder: --into FOLDER" in err) == (2, True), (
        err
    )
    assert run("tasks", "import", tmp_path / "prompts.json", "--into", tmp_path / "mine")[0] == 0
    assert run("info", "--index", "~/i")[0] == 3  # ~ is a name like others then


# Standard streams.


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = f"ES={ECHOSEARCH}; {line}"
    return subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "streams",
    [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", "| true", "2> >(true)", "> >(true) 2>&1"],
)
def test_an_ingest_is_done_whoever_reads_what_it_says(tmp_path: Path, colours: Path, streams: str) -> None:
    done = shell(f"$ES ingest colours --model toy --index i {streams}; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr, "rror" in done.stderr) == (0, False, False), done.stderr
    with closing(open_index(tmp_path / "i")) as opened:
        assert [Path(video.path).name for video in opened.videos()] == ["blue.avi", "green.avi", "red.avi"]
    assert check(tmp_path / "i").problems == ()


@pytest.mark.slow
def test_a_full_disk_behind_the_output_is_said(index: Path) -> None:
    for command in ("list --csv", "info --json", "search red", "--help"):
        full = shell(f"$ES {command} {'' if '--help' in command else '--index i'} > /dev/full", index.parent)
        assert full.returncode == 4
        assert full.stderr.splitlines()[-1] == "error: cannot write the output: No space left on device"
    assert shell("$ES list --index i > /dev/full 2>&1", index.parent).returncode == 4
    assert shell("$ES search --index i 2> /dev/full", index.parent).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_what_a_library_prints_never_lands_in_a_file_that_was_opened(tmp_path: Path, closed: tuple[int, ...]) -> None:
    code = """
import os, sys
from echosearch.start import open_standard_streams
open_standard_streams()
with open(sys.argv[1], "r+b") as file:
    for number in (1, 2):
        os.write(number, b"printed by a library")
    print("said", file=sys.stderr)
    print(file.fileno() > 2, [os.get_inheritable(number) for number in range(3)], flush=True)
"""
    file = tmp_path / "segment"
    file.write_bytes(b"vectors, vectors, vectors")

    def close() -> None:
        for number in closed:
            os.close(number)

    done = subprocess.run([sys.executable, "-c", code, file], preexec_fn=close, capture_output=True, check=False)
    assert done.returncode == 0
    assert file.read_bytes() == b"vectors, vectors, vectors"
    if 1 not in closed:
        assert done.stdout == b"printed by a libraryTrue [True, True, True]\n"


def test_a_file_that_cannot_be_read_is_not_called_the_output(
    run: Run, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/data/x.csv")

    monkeypatch.setattr("echosearch.encoders.describe_presets", refuse)
    assert run("models") == (2, "", "error: /data/x.csv: Permission denied\n")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("echosearch.encoders.describe_presets", fail)
    assert run("models") == (4, "", "error: the system refused something: Input/output error\n")


# Ctrl-C.

AT_AN_IMPORT = """
import os, signal, sys
import echosearch.start

wanted = sys.argv[1]
sys.argv[1:] = ["models"]

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
echosearch.start.main()
"""
AS_ANOTHER_ERROR = """
import signal, sys
import echosearch.cli, echosearch.encoders, echosearch.start
from sqlalchemy.exc import PendingRollbackError

def presets():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise wanted from error

wanted = eval(sys.argv[1])
sys.argv[1:] = ["models"]
echosearch.encoders.describe_presets = presets
echosearch.start.main()
"""
STUCK = """
import signal, sys, threading
import echosearch.cli, echosearch.encoders, echosearch.interrupt, echosearch.start

def presets():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        threading.Event().wait()

echosearch.interrupt._PATIENCE_SECONDS = 0.5
sys.argv[1:] = ["models"]
echosearch.encoders.describe_presets = presets
echosearch.start.main()
"""


def process(code: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_what_is_stuck_after_ctrl_c_is_ended() -> None:
    code, _, err = process(STUCK)
    assert (code, err.split()) == (130, ["interrupted"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["click", "echosearch.cli.app", "echosearch.cli.reading", "echosearch.encoders.load"]
)
def test_ctrl_c_during_an_import_is_one_word_and_130(module: str) -> None:
    code, _, err = process(AT_AN_IMPORT, module)
    assert (code, err.split()) == (130, ["interrupted"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    ["ImportError('a C extension')", "SystemError('returned with an exception set')", "PendingRollbackError('x')",
     "OSError(4, 'Interrupted system call')", "RuntimeError('x')", "KeyError('x')"],
)  # fmt: skip
def test_ctrl_c_that_comes_out_as_another_error_is_one_word_and_130(error: str) -> None:
    code, _, err = process(AS_ANOTHER_ERROR, error)
    assert (code, err.split()) == (130, ["interrupted"])


def cut(transaction: Any) -> None:
    """As SQLAlchemy leaves a connection when an interrupt comes while it executes."""
    transaction._connection.invalidate()
    raise KeyboardInterrupt


def test_undoing_a_transaction_whose_connection_an_interrupt_cut_keeps_the_interrupt(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "i")) as store:
        add(store, new_video("a.avi", unit(1)))
        with store.writer() as writer:
            catalog: Any = writer.catalog_file
            for act in (catalog.writing, catalog.reading):
                with pytest.raises(KeyboardInterrupt), act() as inner:
                    cut(inner)
        with store.snapshot() as snapshot:
            assert snapshot.rows.ids.tolist() == [1]


@pytest.mark.slow
def test_ctrl_c_at_any_moment_leaves_a_whole_index(tmp_path: Path) -> None:
    from interrupt_everywhere import run as interrupt_everywhere

    for name, told in interrupt_everywhere(32, tmp_path).items():
        assert told.problems == [], name
        assert told.ends["130"] > 0, name


# Rights.


def without_rights() -> None:
    """Before a program starts: root, too, is bound by the modes of files."""
    for capability in (1, 2):  # to read and write, and to list, whatever the mode
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # drops it from what a program may have


def bound(*words: object) -> tuple[int, str, str]:
    """`echosearch` as a process that is bound by the modes of files."""
    line = [str(ECHOSEARCH), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, preexec_fn=without_rights, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """a.avi, deep/down/b.avi, and folders whose rights a test takes away: lost+found, deep/secret with c.avi."""
    for number, name in enumerate(("a.avi", "deep/down/b.avi", "deep/secret/c.avi")):
        write_video(tmp_path / "disk" / name, plain_frames(2, (200, 20 * number, 0)))
    (tmp_path / "disk" / "lost+found").mkdir()
    yield tmp_path / "disk"
    for folder in ("", "lost+found", "deep", "deep/secret", "deep/down"):
        (tmp_path / "disk" / folder).chmod(0o755)


@pytest.mark.slow
def test_folders_that_cannot_be_listed_are_passed_over_with_a_note(disk: Path) -> None:
    (disk / "lost+found").chmod(0)
    (disk / "deep" / "secret").chmod(0)
    code, out, err = bound("ingest", disk, "--model", "toy", "--index", disk.parent / "i")
    assert code == 0, err
    [note] = [line for line in out.splitlines() if line.startswith("note: skipped")]
    assert note.startswith("note: skipped 2 folders that cannot be listed: ")
    assert f"{disk}/lost+found (Permission denied)" in note
    assert f"{disk}/deep/secret (Permission denied)" in note
    assert "2 added" in out


@pytest.mark.slow
def test_only_a_source_that_cannot_be_read_itself_is_an_error(disk: Path) -> None:
    (disk / "deep" / "secret").chmod(0)
    secret = disk / "deep" / "secret"
    for source, sentence in (
        (secret, f"Error: Invalid value for 'SOURCE...': Path '{secret}' is not readable."),
        (secret / "c.avi", f"error: no permission to read {secret / 'c.avi'}"),
    ):
        code, _, err = bound("ingest", source, "--model", "toy", "--index", disk.parent / "i")
        assert (code, err.splitlines()[-1]) == (2, sentence)
    assert not (disk.parent / "i").exists()


@pytest.mark.slow
def test_files_that_cannot_be_read_are_failures_by_name(disk: Path) -> None:
    (disk / "a.avi").chmod(0)
    (disk / "deep" / "secret").chmod(0o400)  # its names can be listed, its files not opened
    code, out, err = bound("ingest", disk, "--model", "toy", "--index", disk.parent / "i", "--json")
    assert code == 1, err
    failures = {failure["path"]: (failure["code"], failure["message"]) for failure in json.loads(out)["failures"]}
    assert failures == {
        str(path): ("inaccessible-video", "no permission to read the file")
        for path in (disk / "a.avi", disk / "deep" / "secret" / "c.avi")
    }
    (disk / "a.avi").chmod(0o644)
    (disk / "deep" / "secret").chmod(0o755)
    assert json.loads(bound("ingest", disk, "--index", disk.parent / "i", "--json")[1])["added"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0, 0o400, 0o100])
def test_prune_deletes_nothing_that_only_cannot_be_looked_at(disk: Path, mode: int) -> None:
    index = disk.parent / "i"
    assert bound("ingest", disk, "--model", "toy", "--index", index)[0] == 0
    (disk / "deep" / "down" / "b.avi").unlink()
    (disk / "deep" / "secret").chmod(mode)
    code, out, err = bound("ingest", disk, "--index", index, "--prune", "--yes", "--json")
    assert code == (1 if mode == 0o400 else 0), err  # its name is listed then, so it is a failure
    assert json.loads(out)["pruned"] == 1
    left = [Path(line).name for line in bound("list", "--paths", "--index", index)[1].splitlines()]
    assert sorted(left) == ["a.avi", "c.avi"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ingest", "DISK", "--manifest", "HIDDEN"],
        ["annotate", "HIDDEN"],
        ["similar", "HIDDEN"],
        ["calibrate", "pacemaker", "--labels", "HIDDEN"],
        ["tasks", "validate", "HIDDEN"],
        ["import-embeddings", "HIDDEN"],
        ["probe", "import", "HIDDEN"],
    ],
)
def test_a_list_that_cannot_be_read_is_named(index: Path, disk: Path, command: list[str]) -> None:
    hidden = disk.parent / "hidden.csv"
    hidden.write_text("path\n")
    hidden.chmod(0)
    words = [{"DISK": str(disk), "HIDDEN": str(hidden)}.get(word, word) for word in command]
    code, out, err = bound(*words, *([] if command[0] == "tasks" else ["--index", index]))
    assert code == 2, err
    assert re.search(f"(File|Path) '{hidden}' is not readable", err), out + err
    assert "cannot write" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "command",
    [
        ["annotate"],
        ["import-embeddings"],
        ["calibrations", "import"],
        ["probe", "import"],
        ["calibrate", "pacemaker", "--labels"],
        ["tasks", "validate"],
    ],
)
@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "/dev/null"])
def test_a_device_is_not_read_to_its_end_which_it_may_not_have(
    index: Path, run: Run, command: list[str], device: str
) -> None:
    code, out, err = run(*command, device, *([] if command[0] == "tasks" else ["--index", index]))
    assert (code, f"{device} is a device, not a file" in err or f"{device} is no file" in out) == (2, True), out + err


def test_what_is_passed_over_is_counted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "v" / "a.avi", plain_frames(2, (200, 0, 0)))
    for number in range(7):
        (tmp_path / "v" / f"closed{number}").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if "closed" in str(path):
            raise OSError(5, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=rf"^cannot list the folder {tmp_path}/v/closed1: Input/output error$"):
        find_media(tmp_path / "v" / "closed1")
    code, out, _ = run("ingest", tmp_path / "v", "--model", "toy", "--index", tmp_path / "i")
    assert code == 0
    assert "note: skipped 7 folders that cannot be listed: " in out
    assert out.count("(Input/output error)") == 5
    assert "(Input/output error), ...\n" in out
