"""Several processes may make one new index at once: one makes it, the others add to it, or say why they cannot."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video
from store_helpers import make_store, mounted

from echosearch import open_index
from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BackendError, BadOption, IndexLocked, IndexStateError, RecipeMismatch, SpaceMismatch
from echosearch.index import Store
from echosearch.index.check import check_index as check
from echosearch.ingest import IngestOptions, export_embeddings, import_embeddings, ingest
from echosearch.types import ModelRequest

Load = Callable[[ModelRequest, str], Encoder]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """red.avi in one folder, blue.avi in another."""
    write_video(tmp_path / "a" / "red.avi", plain_frames(2, (220, 20, 20)))
    write_video(tmp_path / "b" / "blue.avi", plain_frames(2, (20, 20, 220)))
    return tmp_path / "a", tmp_path / "b"


def _ingest(index: Path, folder: Path, load: Load = load_encoder, **options: Any) -> Any:
    return ingest(index, [folder], IngestOptions(ModelRequest("toy"), workers=1, **options), load=load)


def _meanwhile(other: Callable[[], object]) -> Load:
    """While this process loads its model, another makes the index."""

    def load(request: ModelRequest, decoder: str) -> Encoder:
        other()
        return load_encoder(request, decoder)

    return load


def _names(index: Path) -> set[str]:
    return {Path(video.path).name for video in open_index(index).videos()}


def test_an_index_that_was_made_meanwhile_is_added_to(folders: tuple[Path, Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    report = _ingest(index, folders[0], _meanwhile(lambda: _ingest(index, folders[1])))
    assert report.added == 1
    assert _names(index) == {"red.avi", "blue.avi"}
    assert check(index).problems == ()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_may_appear_at_the_very_last_moment(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, rename = tmp_path / "index", Path.rename

    def late(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        _ingest(index, folders[1])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    _ingest(index, folders[0])
    assert _names(index) == {"red.avi", "blue.avi"}


def test_another_model_frames_or_writer_is_named(folders: tuple[Path, Path], tmp_path: Path, tiny_model: Path) -> None:
    index = tmp_path / "index"
    with pytest.raises(RecipeMismatch, match="this index keeps its frames as float32, not float16"):
        _ingest(index, folders[0], _meanwhile(lambda: _ingest(index, folders[1])), frames="float16")
    other = tmp_path / "other"

    def by_another_model() -> None:
        ingest(other, [folders[1]], IngestOptions(ModelRequest(f"local-dir:{tiny_model}"), workers=1))

    with pytest.raises(SpaceMismatch, match="is not the one that this index was made with"):
        _ingest(other, folders[0], _meanwhile(by_another_model))
    with Store(index).writer(), pytest.raises(IndexLocked, match="is being written to by process"):
        _ingest(index, folders[0])
    for path in (index, other):
        assert _names(path) == {"blue.avi"}


def test_an_import_adds_to_what_was_made_meanwhile(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, file = tmp_path / "index", tmp_path / "out.npz"
    _ingest(tmp_path / "source", folders[0])
    export_embeddings(tmp_path / "source", file)
    create = Store.create_as.__func__  # type: ignore[attr-defined]

    def late(cls: type[Store], path: Path, manifest: Any) -> Store:
        monkeypatch.setattr(Store, "create_as", classmethod(create))
        _ingest(index, folders[1])
        made: Store = create(cls, path, manifest)
        return made

    monkeypatch.setattr(Store, "create_as", classmethod(late))
    assert import_embeddings(index, file).added == 1
    assert _names(index) == {"red.avi", "blue.avi"}


def test_what_is_no_index_is_still_refused_and_so_is_an_index_within_an_index(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it")
    with pytest.raises(IndexStateError, match="exists already and is not an index; give another --index"):
        _ingest(tmp_path / "full", folders[0])
    _ingest(tmp_path / "index", folders[0])
    for inside in ("new", "segments/new", "cache/new"):
        with pytest.raises(BadOption, match="lies in the index"):
            _ingest(tmp_path / "index" / inside, folders[1])
        assert not (tmp_path / "index" / inside).exists()


@pytest.mark.slow
def test_four_processes_make_one_index(folders: tuple[Path, Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    for number in range(2, 4):
        write_video(tmp_path / str(number) / f"{number}.avi", plain_frames(2, (20, number * 50, 20)))
    sources = [*folders, tmp_path / "2", tmp_path / "3"]
    command = [sys.executable, "-m", "echosearch", "ingest", "--model", "toy", "--index", index, "--wait", "100"]
    running = [
        subprocess.Popen([*command, source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for source in sources
    ]
    told = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0, 0], told
    assert _names(index) == {"red.avi", "blue.avi", "2.avi", "3.avi"}
    assert check(index).problems == ()


# A folder that is there, and empty.

NAMES = ["ann", "cache", "catalog.sqlite", "manifest.json", "segments", "writer.lock"]


def _is_a_new_index(path: Path) -> bool:
    report = check(path)
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("catalog.sqlite-"))
    return report.is_whole and report.generation == 0 and names == NAMES


def test_an_empty_volume_is_made_an_index(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with mounted(tmp_path / "index") as index:
        (index / "lost+found").mkdir()
        _ingest(index, folders[0])
        assert _names(index) == {"red.avi"}
        assert check(index).is_whole
    assert list((tmp_path / "index").iterdir()) == []


def test_so_is_an_empty_folder_by_a_link_and_one_whose_parent_may_not_be_written(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    _ingest(tmp_path / "link", folders[0])
    assert (tmp_path / "link").is_symlink()
    assert _names(tmp_path / "disk") == {"red.avi"}
    (tmp_path / "theirs" / "mine").mkdir(parents=True)
    mkdir = Path.mkdir

    def refused(path: Path, *arguments: Any, **more: Any) -> None:
        if path.parent == tmp_path / "theirs" and not path.exists():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        mkdir(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refused)
    _ingest(tmp_path / "theirs" / "mine", folders[0])
    assert _names(tmp_path / "theirs" / "mine") == {"red.avi"}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("at", range(6))
def test_what_fails_on_the_way_leaves_an_empty_folder_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, at: int
) -> None:
    index, rename, steps = tmp_path / "index", Path.rename, iter(range(100))
    if is_there:
        index.mkdir()

    def failing(path: Path, target: Path) -> Path:
        if next(steps) == (at if is_there else 0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        if is_there and at == 5:  # all five entries are in their places
            patch.setattr("echosearch.index.store.fsync_path", lambda path: rename(tmp_path / "nothing", path))
        with pytest.raises(BackendError, match=rf"^cannot write to the index {index}: No "):
            make_store(index)
    assert list(tmp_path.rglob("*")) == ([index] if is_there else [])
    make_store(index).close()
    assert check(index).is_whole


class Killed(BaseException):
    """Stands for a process that is killed: nothing of it is cleaned up."""


@pytest.mark.parametrize("at", range(5))
def test_what_a_process_left_there_that_was_killed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    index, rename, steps = tmp_path / "index", Path.rename, iter(range(100))
    index.mkdir()

    def killed(path: Path, target: Path) -> Path:
        if next(steps) == at:
            monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            raise Killed
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        make_store(index)
    monkeypatch.undo()
    assert len(list(index.iterdir())) >= at + 2
    assert not Store.exists(index)
    make_store(index).close()
    assert _is_a_new_index(index)


@pytest.mark.parametrize("is_empty", [False, True])
def test_an_index_that_lost_its_manifest_is_never_made_anew(
    folders: tuple[Path, Path], tmp_path: Path, is_empty: bool
) -> None:
    index = tmp_path / "index"
    _ingest(index, folders[0])
    (index / "manifest.json").unlink()
    if is_empty:  # the disk of its segments is not mounted either
        for name in ("segments", "ann"):
            (index / name).rename(tmp_path / name)
            (index / name).mkdir()
    before, catalog = set(index.rglob("*.npy")), (index / "catalog.sqlite").read_bytes()
    with pytest.raises(IndexStateError, match="exists already and is not an index; give another --index"):
        _ingest(index, folders[0])
    assert set(index.rglob("*.npy")) == before
    assert (index / "catalog.sqlite").read_bytes() == catalog


def test_what_another_program_is_writing_there_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "index" / ".partial-0123").mkdir(parents=True)
    with pytest.raises(IndexStateError, match="exists already and is not an index"):
        make_store(tmp_path / "index")
    assert [path.name for path in (tmp_path / "index").iterdir()] == [".partial-0123"]


def test_an_index_may_appear_between_two_looks(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, exists = tmp_path / "index", Store.exists
    index.mkdir()
    calls = iter(range(100))

    def late(path: Path) -> bool:
        found = exists(path)
        if next(calls) == 1:  # after it was seen that there is none
            monkeypatch.setattr(Store, "exists", staticmethod(exists))
            _ingest(index, folders[1])
        return found

    monkeypatch.setattr(Store, "exists", staticmethod(late))
    _ingest(index, folders[0])
    assert _names(index) == {"red.avi", "blue.avi"}


@pytest.mark.slow
def test_four_processes_make_one_index_in_an_empty_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    test_four_processes_make_one_index(folders, tmp_path)
