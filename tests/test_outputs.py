"""What is written for the user: whole or not at all, and over nothing that is not ours to replace."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from click.testing import CliRunner
from conftest import plain_frames, write_video
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from store_helpers import mounted
from test_store import fill

from echosearch import open_index
from echosearch.cli.app import app
from echosearch.errors import BackendError, BadOption
from echosearch.files import is_our_own, refuse_inside_index
from echosearch.ingest import export_embeddings
from echosearch.outputs import Output, OutputFolder
from echosearch.pictures.contact_sheet import write_contact_sheet
from echosearch.pictures.plots import save
from echosearch.tasks.task import Task
from echosearch.tasks.task_files import write_tasks

Run = Callable[..., tuple[int, str, str]]


def picture(path: Path, software: str | None = None) -> Path:
    """A PNG as another program writes it, or one that says it is ours."""
    told = PngInfo()
    if software is not None:
        told.add_text("Software", software)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (0, 0, 200)).save(path, pnginfo=told)
    return path


def sheet(path: Path, force: bool | None = False, sources: tuple[Path, ...] = ()) -> Output:
    return Output(path, "the sheet", ".png", sources, force)


def write(output: Output, rest: Callable[[], bytes]) -> None:
    with output.writing() as file:
        file.write(b"n")
        file.write(rest())


def written(output: Output) -> bytes:
    write(output, lambda: b"ew")
    return output.path.read_bytes()


# The mark.


def test_what_is_written_here_says_so(tmp_path: Path) -> None:
    write_contact_sheet(sheet(tmp_path / "hits.png"), "red", [])
    save(Figure(), Output(tmp_path / "plot.png", "the picture", ".png"))
    with Image.open(tmp_path / "hits.png") as shown, Image.open(tmp_path / "plot.png") as plot:
        assert (shown.info["Software"], plot.info["Software"]) == ("echosearch", "echosearch")
    assert is_our_own(tmp_path / "hits.png")
    assert is_our_own(tmp_path / "plot.png")
    (tmp_path / "hits.png").rename(tmp_path / "HITS.PNG")
    assert is_our_own(tmp_path / "HITS.PNG")


def test_what_others_wrote_is_not_ours(tmp_path: Path) -> None:
    Figure().savefig(tmp_path / "matplotlib.png")
    picture(tmp_path / "plain.png")
    picture(tmp_path / "gimp.png", "GIMP, not echosearch")
    ours = picture(tmp_path / "ours.png", "echosearch").read_bytes()
    assert is_our_own(tmp_path / "ours.png")
    (tmp_path / "film.avi").write_bytes(ours)  # what we write has our suffixes
    (tmp_path / "mark-only.png").write_bytes(ours[8:])
    at_end = tmp_path / "late.png"
    Image.new("RGB", (40, 30)).save(at_end)
    at_end.write_bytes(at_end.read_bytes().ljust(512, b"\0") + b"tEXtSoftware\0echosearch")
    (tmp_path / "page.html").write_text("<!DOCTYPE html><p>generator echosearch</p>")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    others = {path.name for path in tmp_path.iterdir() if path.name != "ours.png"}
    assert {name for name in {*others, "gone.png"} if is_our_own(tmp_path / name)} == set()


def test_only_the_beginning_of_a_file_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.write(picture(tmp_path / "ours.png", "echosearch").read_bytes()[:128])
        file.truncate(1 << 40)  # a terabyte with nothing in it
    assert is_our_own(tmp_path / "large.png")


# What may be written, and what not.


def test_a_new_file_appears_whole(tmp_path: Path) -> None:
    output = sheet(tmp_path / "new.png", sources=(tmp_path,))  # new in a source folder: why not
    with output.writing() as file:
        file.write(b"new")
        assert not output.path.exists()
        assert [path.name[:9] for path in tmp_path.iterdir()] == [".partial-"]  # hidden from an ingest
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new.png": b"new"}


def test_another_file_is_replaced_with_force_only(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(BadOption, match=rf"^{path} exists already; give another name, or --force to replace it$"):
        sheet(path)
    with pytest.raises(BadOption, match=rf"^{path} exists already; give another name$"):
        sheet(path, force=None)
    assert path.read_bytes() == b"precious"
    assert written(sheet(path, force=True)) == b"new"


def test_one_of_our_own_is_replaced_in_a_source_folder_too(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", "echosearch")
    assert written(sheet(path, sources=(tmp_path,))) == b"new"
    path = picture(tmp_path / "a.png", "echosearch")
    assert written(sheet(path, force=None)) == b"new"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_of_a_source_folder_is_never_replaced(tmp_path: Path, force: bool) -> None:
    source = tmp_path / "archive"
    still = picture(source / "deep" / "still.png")
    before = still.read_bytes()
    (tmp_path / "link.png").symlink_to(still)
    (tmp_path / "chain.png").symlink_to("link.png")
    (tmp_path / "same").symlink_to(source)
    (tmp_path / "hard.png").hardlink_to(still)
    lies = rf"lies in the source folder {source}, and sources are never replaced; give another name$"
    for path, named in (
        (still, str(still)),
        (source / "deep" / ".." / "deep" / "still.png", ".*still.png"),
        (tmp_path / "link.png", rf"{tmp_path}/link.png \(a link to {still}\)"),
        (tmp_path / "chain.png", rf"{tmp_path}/chain.png \(a link to {still}\)"),
        (tmp_path / "same" / "deep" / "still.png", ".*still.png"),
    ):
        with pytest.raises(BadOption, match=f"^{named} {lies}"):
            sheet(path, force, (source,))
        with pytest.raises(BadOption, match=" is itself a source, and sources are never replaced"):
            sheet(path, force, (still,))
    with pytest.raises(BadOption, match=r"hard.png is itself a source"):
        sheet(tmp_path / "hard.png", force, (still,))
    assert (still.read_bytes(), len(list(tmp_path.rglob(".partial-*")))) == (before, 0)


def test_over_a_hard_link_only_the_name_is_replaced(tmp_path: Path) -> None:
    film = tmp_path / "archive" / "a.avi"
    film.parent.mkdir()
    film.write_bytes(b"film")
    (tmp_path / "hits.png").hardlink_to(film)
    with pytest.raises(BadOption, match=r"hits\.png exists already"):
        sheet(tmp_path / "hits.png", sources=(film.parent,))
    assert written(sheet(tmp_path / "hits.png", True, (film.parent,))) == b"new"
    assert film.read_bytes() == b"film"


def test_who_may_read_a_file_stays_when_it_is_replaced(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", "echosearch")
    path.chmod(0o600)
    assert written(sheet(path)) == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_through_a_link_the_real_file_is_replaced(tmp_path: Path) -> None:
    real = picture(tmp_path / "real" / "a.png", "echosearch")
    (tmp_path / "a.png").symlink_to(real)
    assert written(sheet(tmp_path / "a.png")) == b"new"
    assert (real.read_bytes(), (tmp_path / "a.png").is_symlink()) == (b"new", True)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_to_replace(tmp_path: Path, force: bool) -> None:
    (tmp_path / "film.avi").write_bytes(b"film")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    for name, target in (("null", "/dev/null"), ("film", "film.avi"), ("loop", "loop.png"), ("dangling", "gone.png")):
        (tmp_path / f"{name}.png").symlink_to(target)
    for name, sentence in (
        ("folder", "is not a regular .png file, as the sheet must be; give another name$"),
        ("fifo", "is not a regular .png file"),
        ("null", r"\(a link to /dev/null\) is not a regular .png file"),
        ("film", r"\(a link to .*/film.avi\) is not a regular .png file"),
        ("dangling", r"\(a link to .*/gone.png\) exists already, and leads nowhere; give another name$"),
    ):
        with pytest.raises(BadOption, match=sentence):
            sheet(tmp_path / f"{name}.png", force)
    with pytest.raises(BackendError, match=r"cannot write the sheet .*/loop\.png: Too many levels of symbolic links"):
        sheet(tmp_path / "loop.png", force)
    with pytest.raises(BadOption, match=r"^the name of the sheet ends in \.png, not 'null'$"):
        sheet(Path("/dev/null"), force)
    assert (tmp_path / "film.avi").read_bytes() == b"film"
    assert stat.S_ISFIFO((tmp_path / "fifo.png").stat().st_mode)


def test_where_the_disk_does_not_let_it_is_said_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, sentence in (("none", "No such file or directory"), ("file", "Not a directory")):
        path = tmp_path / folder / "a.png"
        with pytest.raises(BackendError, match=f"^cannot write the sheet {path}: {sentence}$"):
            sheet(path)
    with pytest.raises(BackendError, match="File name too long"):
        sheet(tmp_path / ("a" * 300 + ".png"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert written(sheet(tmp_path / ("a" * 251 + ".png"))) == b"new"


def test_a_read_only_disk_is_said_early(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(BackendError, match=f"^cannot write the sheet {disk}/a.png: Read-only file system$"):
            sheet(disk / "a.png")


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def come() -> bytes:
        (tmp_path / "a.png").write_bytes(b"precious")
        return b"new"

    with pytest.raises(BadOption, match=r"a\.png exists already"):
        write(sheet(tmp_path / "a.png"), come)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"precious"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device"), ZeroDivisionError()])
def test_what_is_interrupted_leaves_what_was_there(tmp_path: Path, stop: BaseException) -> None:
    path = picture(tmp_path / "a.png", "echosearch")
    before, expected = path.read_bytes(), BackendError if isinstance(stop, OSError) else type(stop)
    message = f"^cannot write the sheet {path}: No space left on device$" if isinstance(stop, OSError) else None

    def fail() -> bytes:
        raise stop

    with pytest.raises(expected, match=message):
        write(sheet(path), fail)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.png": before}


def test_home_folders_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert written(sheet(Path("~/a.png"))) == b"new"
    assert (tmp_path / "a.png").read_bytes() == b"new"


# Inside an index nothing is written.


def an_index(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).mkdir() if name == "segments" else (folder / name).write_bytes(b"index")
    return folder


@pytest.mark.parametrize(
    "names", [("manifest.json", "catalog.sqlite"), ("manifest.json", "segments"), ("catalog.sqlite", "segments")]
)
def test_nothing_is_written_into_an_index_be_it_damaged(tmp_path: Path, names: tuple[str, str]) -> None:
    index = an_index(tmp_path / "index", *names)
    (index / "cache" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (index / "ann").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "way").symlink_to(index)
    (tmp_path / "catalog.json").symlink_to(index / names[0])
    inside = rf"lies in the index {index}, which holds its own files only; give another place$"
    for name in ("a.json", "manifest.json", "cache/a.json", "cache/deep/a.json", "ann/a.json", "cache/../a.json"):
        with pytest.raises(BadOption, match=inside):
            Output(index / name, "the probe", ".json", force=True)
        with pytest.raises(BadOption, match=inside):
            OutputFolder(index / name, "the export")
        with pytest.raises(BadOption, match=inside):
            refuse_inside_index(index / name)
    for path in (tmp_path / "way" / "a.json", tmp_path / "catalog.json"):
        with pytest.raises(BadOption, match=inside):
            Output(path, "the probe", ".json", force=True)
    for folder in (index, index / "tasks"):
        with pytest.raises(BadOption, match=inside):
            write_tasks([Task("wire", "binary", ("W",))], folder)
    assert not (index / "tasks").exists()
    refuse_inside_index(index)
    refuse_inside_index(index / ".." / "a.json")
    with (index / ".." / "a.json").resolve().open("w"):
        pass
    assert sorted(path.name for path in index.iterdir()) == sorted([*names, "ann", "cache"])


def test_a_folder_of_an_export_is_no_index(tmp_path: Path) -> None:
    folder = an_index(tmp_path / "export", "manifest.json")
    assert written(Output(folder / "a.json", "the probe", ".json")) == b"new"


# Folders.


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with OutputFolder(tmp_path / "x" / ".." / name, "the export").writing() as folder:
            assert folder.name.startswith(".partial-")
            (folder / "a.csv").write_text("a")
        assert (tmp_path / name / "a.csv").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_what_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, sentence in (
        ("full", "is not empty; name a new folder, so that nothing there is mixed or lost$"),
        ("full/mine.txt", "is not a folder; name one that is new or empty$"),
        ("link", "is not a folder"),
        ("no/new", rf"^{tmp_path}/no does not exist; make it first, or name another folder$"),
    ):
        with pytest.raises(BadOption, match=sentence):
            OutputFolder(tmp_path / name, "the export")


def test_a_folder_that_filled_meanwhile_stays(tmp_path: Path) -> None:
    def fill_it() -> None:
        with OutputFolder(tmp_path / "new", "the export").writing():
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "mine.txt").touch()

    sentence = f"^cannot write the export {tmp_path}/new: Directory not empty$"
    with pytest.raises(BackendError, match=sentence):
        fill_it()
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "mine.txt"]


# The commands, on an archive of films and stills, an index of it, and all that can be written out of an index.

FILES: dict[str, tuple[str, list[str]]] = {
    "search": (".png", ["search", "RED", "-k", "1", "--contact-sheet", "OUT"]),
    "similar": (".png", ["similar", "1", "-k", "1", "--contact-sheet", "OUT"]),
    "sweep": (".png", ["sweep", "red", "--plot", "OUT"]),
    "plot": (".png", ["evaluate", "red", "--labels", "labels.csv", "--repeats", "100", "--plot", "OUT"]),
    "predictions": (".csv", ["evaluate", "ef", "--labels", "values.csv", "--repeats", "100", "--predictions", "OUT"]),
    "embeddings": (".npz", ["export-embeddings", "OUT"]),
    "calibration": (".json", ["calibrations", "export", "red", "OUT"]),
    "probe": (".json", ["probe", "export", "mine", "OUT"]),
    "report": (".html", ["cohort", "report", "all", "--pictures", "0", "--out", "OUT"]),
    "labels": (".csv", ["cohort", "labels", "all", "OUT"]),
}
SAMPLE = ["cohort", "sample", "all", "-n", "2", "--sheet", "OUT"]
FOLDERS: dict[str, list[str]] = {
    "export": ["cohort", "export", "all", "OUT"],
    "phantom": ["phantom", "make", "OUT", "--studies", "1"],
    "tasks": ["tasks", "import", "prompts.json", "--into", "OUT"],
}
each_file = pytest.mark.parametrize("kind", FILES)


def command(words: list[str], out: Path, *more: str) -> list[str]:
    return [str(out) if word == "OUT" else word for word in words] + list(more)


def digest(folder: Path) -> dict[str, str]:
    """All files beside the index, and those that links lead to."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "index")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = tmp_path_factory.mktemp("outputs")
    for n, red in enumerate(range(250, 50, -20)):
        write_video(w / "v" / f"v{n}.avi", plain_frames(3, (red, 100, 40)), fps=10)
    picture(w / "v" / "still.png")
    picture(w / "stills" / "far.png")
    (w / "v" / "far.png").symlink_to(w / "stills" / "far.png")
    (w / "labels.csv").write_text("video,red\n" + "".join(f"v{n}.avi,{int(n < 5)}\n" for n in range(10)))
    (w / "values.csv").write_text("video,ef\n" + "".join(f"v{n}.avi,{n}\n" for n in range(10)))
    (w / "manifest.csv").write_text("path,study,patient\n" + "".join(f"v{n}.avi,S{n},P{n}\n" for n in range(10)))
    (w / "tasks").mkdir()
    (w / "tasks" / "red.yaml").write_text("name: red\nmode: binary\nprompts: ['red']\n")
    (w / "tasks" / "ef.yaml").write_text(
        "name: ef\nmode: regression\nprompts: ['red <#>', 'blue <#>']\nrange: [0, 9]\nunit: '%'\n"
    )
    (w / "prompts.json").write_text('{"wire": {"mode": "binary", "label_sources": ["WIRE"]}}')
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, w)
        for words in (
            "ingest v --model toy --manifest manifest.csv",
            "calibrate red --labels labels.csv",
            "probe train mine --labels labels.csv",
            "cohort create all --where task.red.value>-2",
            "cohort sample all -n 2 --sheet sheet.csv --no-pictures",
        ):
            done = CliRunner().invoke(app, words.split())
            assert done.exit_code == 0, (words, done.output, done.exception)
        cohorts = open_index(w / "index").cohorts
        [audit] = cohorts.audits("all")
        rows = [f"{audit.stamp},{unit},yes\n" for unit in audit.units]
        (w / "judged.csv").write_text("audit,unit,verdict\n" + "".join(rows))
        cohorts.judge("all", w / "judged.csv")
    return w


def at_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.chdir(folder)
    patch.setenv("ECHOSEARCH_INDEX", str(folder / "index"))
    patch.setenv("ECHOSEARCH_TASKS", str(folder / "tasks"))


@pytest.fixture
def w(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive, from which nothing may be changed."""
    at_home(monkeypatch, made)
    before = digest(made)
    yield made
    assert digest(made) == before


@each_file
def test_a_command_replaces_its_own_or_with_force(kind: str, w: Path, run: Run, tmp_path: Path) -> None:
    suffix, words = FILES[kind]
    out = tmp_path / f"out{suffix}"
    out.write_bytes(b"precious")
    code, told, err = run(*command(words, out))
    assert (code, told) == (2, "")
    assert err == f"error: {out} exists already; give another name, or --force to replace it\n"
    assert out.read_bytes() == b"precious"
    code, _, err = run(*command(words, out, "--force"))
    assert (code, out.read_bytes() == b"precious") == (0, False), err
    first = out.read_bytes()
    code, _, err = run(*command(words, out))
    assert code == (0 if suffix in (".png", ".html") else 2), err
    assert is_our_own(out) == (suffix in (".png", ".html"))
    assert (out.read_bytes(), list(tmp_path.iterdir())) == (first, [out])


@each_file
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_command_never_replaces_what_is_of_the_archive(
    kind: str, force: tuple[str], w: Path, run: Run, tmp_path: Path
) -> None:
    suffix, words = FILES[kind]
    source = w / "v" / f"mine{suffix}"
    source.write_bytes(b"precious")
    for name, target in (("film", w / "v" / "v0.avi"), ("mine", source), ("vectors", w / "index" / "catalog.sqlite")):
        (tmp_path / f"{name}{suffix}").symlink_to(target)
    (tmp_path / f"gone{suffix}").symlink_to("nowhere")
    sources = f"lies in the source folder {w / 'v'}, and sources are never replaced"
    inside = f"lies in the index {w / 'index'}, which holds its own files only"
    for out, sentence in (
        (source, sources),
        (tmp_path / f"mine{suffix}", sources),
        (tmp_path / f"film{suffix}", f"is not a regular {suffix} file"),
        (tmp_path / f"gone{suffix}", "exists already, and leads nowhere"),
        (tmp_path / f"vectors{suffix}", inside),
        (w / "index" / f"new{suffix}", inside),
        (w / "index" / "segments" / f"new{suffix}", inside),
        (w / "index" / "cache" / f"new{suffix}", inside),
        (w / "v" / "v0.avi", f"ends in {suffix}, not 'v0.avi'"),
        (Path("/dev/null"), f"ends in {suffix}, not 'null'"),
    ):
        code, told, err = run(*command(words, out, *force))
        assert (code, told, sentence in err) == (2, "", True), (out, err)
    assert source.read_bytes() == b"precious"
    source.unlink()
    assert len(list(tmp_path.iterdir())) == 4


@each_file
def test_a_command_says_early_where_it_cannot_write(kind: str, w: Path, run: Run, tmp_path: Path) -> None:
    suffix, words = FILES[kind]
    out = tmp_path / "none" / f"out{suffix}"
    code, told, err = run(*command(words, out))
    assert (code, told, err.endswith(f" {out}: No such file or directory\n")) == (4, "", True), err
    assert not list(tmp_path.iterdir())


def test_new_outputs_may_lie_in_a_source_folder(w: Path, run: Run) -> None:
    for suffix, words in FILES.values():
        out = w / "v" / f"new{suffix}"
        code, _, err = run(*command(words, out))
        assert code == 0, err
        out.unlink()


def test_a_still_that_is_linked_into_a_source_folder_stays(w: Path, run: Run) -> None:
    far = w / "stills" / "far.png"
    code, _, err = run("search", "RED", "--contact-sheet", far, "--force")
    assert (code, err) == (2, f"error: {far} is itself a source, and sources are never replaced; give another name\n")


@pytest.mark.parametrize("state", ["live", "deleted", "failed"])
def test_nor_one_that_is_linked_in_under_another_suffix(state: str, w: Path, run: Run, tmp_path: Path) -> None:
    far, link = tmp_path / "far.png", tmp_path / "linked" / "still.jpg"
    link.parent.mkdir()
    link.symlink_to(far)
    if state == "failed":
        far.write_bytes(b"no picture")
    else:
        picture(far, "another program")
    before = far.read_bytes()
    run("ingest", link.parent)
    if state == "deleted":
        run("delete", link)
    code, _, err = run("search", "RED", "--contact-sheet", far, "--force")
    assert (code, err) == (2, f"error: {far} is itself a source, and sources are never replaced; give another name\n")
    assert far.read_bytes() == before


def test_what_a_command_reads_it_does_not_replace(w: Path, run: Run, tmp_path: Path) -> None:
    example = picture(tmp_path / "example.png")
    before = example.read_bytes()
    for words in (
        ["similar", example, "--contact-sheet", example],
        ["evaluate", "ef", "--labels", "values.csv", "--predictions", "values.csv"],
    ):
        code, told, err = run(*words, "--force")
        assert (code, told, "is itself a source, and sources are never replaced" in err) == (2, "", True), err
    assert example.read_bytes() == before


def test_force_alone_is_refused(w: Path, run: Run) -> None:
    for words, sentence in (
        (["search", "RED"], "--force goes with --contact-sheet PNG"),
        (["similar", "1"], "--force goes with --contact-sheet PNG"),
        (["sweep", "red"], "--force goes with --plot PNG"),
        (["evaluate", "red", "--labels", "labels.csv"], "--force goes with --plot PNG or --predictions OUT.csv"),
    ):
        code, told, err = run(*words, "--force")
        assert (code, told, err) == (2, "", f"error: {sentence}\n")


@pytest.mark.parametrize("taken", ["out.csv", "out.png"])
def test_a_sample_replaces_neither_sheet_nor_picture_and_draws_nothing(
    taken: str, w: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / taken).write_bytes(b"judged")
    before = len(open_index(w / "index").cohorts.audits("all"))
    code, told, err = run(*command(SAMPLE, tmp_path / "out.csv"))
    assert (code, told, err) == (2, "", f"error: {tmp_path / taken} exists already; give another name\n")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(taken, b"judged")]
    assert len(open_index(w / "index").cohorts.audits("all")) == before
    code, _, err = run(*command(SAMPLE, w / "index" / "out.csv"))
    assert (code, "lies in the index" in err) == (2, True)
    assert "--force" not in run("cohort", "sample", "--help")[1]


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_is_new_and_in_no_index(kind: str, w: Path, run: Run, tmp_path: Path) -> None:
    for out in (w / "index" / "new", w / "index" / "segments" / "new", w / "index" / "cache"):
        code, _, err = run(*command(FOLDERS[kind], out))
        assert (code, f"lies in the index {w / 'index'}, which holds its own files only" in err) == (2, True), err
    assert not (w / "index" / "new").exists()
    (tmp_path / "file").write_bytes(b"precious")
    code, _, err = run(*command(FOLDERS[kind], tmp_path / "file"))
    assert code in (2, 4), err
    assert (tmp_path / "file").read_bytes() == b"precious"
    code, _, err = run(*command(FOLDERS[kind], tmp_path / "new"))
    assert (code, (tmp_path / "new").is_dir()) == (0, True), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new"]


def test_python_users_are_protected_too(w: Path, tmp_path: Path) -> None:
    (w / "v" / "notes.csv").write_bytes(b"mine")
    (w / "v" / "notes.npz").write_bytes(b"mine")
    index = open_index(w / "index")
    lies = "lies in the source folder .*/v, and sources are never replaced"
    with pytest.raises(BadOption, match=lies):
        index.zeroshot.write_predictions("ef", w / "v" / "notes.csv", force=True)
    with pytest.raises(BadOption, match=lies):
        index.cohorts.sample("all", 2, "random", w / "v" / "notes.csv")
    with pytest.raises(BadOption, match=lies):
        export_embeddings(w / "index", w / "v" / "notes.npz", force=True)
    with pytest.raises(BadOption, match="lies in the index"):
        index.cohorts.export("all", w / "index" / "new")
    with pytest.raises(BadOption, match=lies):
        write_contact_sheet(index.output(w / "v" / "still.png", "the contact sheet", ".png", force=True), "red", [])
    (w / "v" / "notes.csv").unlink()
    (w / "v" / "notes.npz").unlink()
    (tmp_path / "mine.csv").write_text("mine")
    index.zeroshot.write_predictions("ef", tmp_path / "mine.csv", force=True)
    assert (tmp_path / "mine.csv").read_text().startswith("FileName,EF_pred\n")


def test_a_picture_that_is_interrupted_leaves_the_one_before(
    w: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hits.png"
    assert run("search", "RED", "--contact-sheet", out)[0] == 0
    before = out.read_bytes()

    def half(self: Image.Image, file: BinaryIO, *_: object, **__: object) -> None:
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    assert run("search", "BLUE", "--contact-sheet", out)[0] == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"hits.png": before}


def test_a_disk_that_fills_half_way_leaves_the_picture_before(w: Path, run: Run, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "1m") as disk:
        out = disk / "hits.png"
        assert run("search", "RED", "-k", "1", "--contact-sheet", out)[0] == 0
        before = out.read_bytes()
        ballast = fill(disk, 4096)
        code, _, err = run("search", "BLUE", "-k", "6", "--contact-sheet", out)
        ballast.unlink()
        assert (code, err) == (4, f"error: cannot write the contact sheet {out}: No space left on device\n")
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == {"hits.png": before}
