"""Several processes may make one new index at once: one makes it, the others add to it, or say why they cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video

from echosearch import open_index
from echosearch.check import check
from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BadOption, IndexLocked, IndexStateError, RecipeMismatch, SpaceMismatch
from echosearch.ingest import IngestOptions, export_embeddings, import_embeddings, ingest
from echosearch.store import Store
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
    with pytest.raises(IndexStateError, match="is there already and is no index; give another --index"):
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
