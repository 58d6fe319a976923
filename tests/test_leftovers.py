"""Nothing that the catalog does not know is erased but what a writer left that died; damage locks no index."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video
from store_helpers import ROOT, add, contents, make_store, new_video, random_units

from echosearch.api.purging import purge_videos
from echosearch.errors import DamagedIndex
from echosearch.files import is_our_own
from echosearch.index import Store
from echosearch.index.check import check_index as check, repair_index as repair
from echosearch.index.upkeep import compact
from echosearch.ingest import IngestOptions, compact_index, export_embeddings, import_embeddings, ingest
from echosearch.types import ModelRequest
from echosearch.video import content_sha256


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def _index(path: Path, segments: int = 3, seed: int = 0, name: str = "") -> Path:
    """Two videos in each of some segments, and FAISS."""
    rows = random_units(2 * segments, 32, seed)
    with closing(make_store(path)) as store:
        for first in range(0, 2 * segments, 2):
            videos = [new_video(f"{name}{n}.avi", rows[n]) for n in (first, first + 1)]
            add(store, *videos, finish=first == 2 * segments - 2)
    return path


def _more(index: Path, name: str, seed: int) -> Path:
    """Two more videos, in a segment of their own, whose folder is given."""
    before = set((index / "segments").iterdir())
    with closing(Store(index)) as store:
        add(store, *(new_video(f"{name}{n}.avi", row) for n, row in enumerate(random_units(2, 32, seed))))
    [folder] = set((index / "segments").iterdir()) - before
    return folder


def _segments(index: Path) -> list[Path]:
    with closing(Store(index)) as store, store.catalog_only() as snapshot:
        return [index / "segments" / name for name, _, _ in snapshot.segments.sizes()]


def _digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*y")}


def _seen(index: Path) -> dict[int, Any]:
    with closing(Store(index)) as store, store.snapshot() as snapshot:
        return contents(snapshot)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _catalog_of(source: Path, index: Path) -> None:
    for file in index.glob("catalog.sqlite*"):
        file.unlink()
    for file in source.glob("catalog.sqlite*"):
        shutil.copy(file, index)


LEFT = "the index has no segment {}, which holds vectors that the index does not have; it is left alone"


@pytest.mark.parametrize("yes", [True, False])
def test_the_recommended_repair_erases_no_sound_segment_of_an_older_catalog(
    tmp_path: Path, yes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 3)
    index = _index(tmp_path / "index", 2)
    shutil.copytree(index, tmp_path / "copy")
    with closing(Store(index)) as store:  # the third is written, then merged with the others
        store_catalog = tmp_path / "copy"
        with closing(Store(store_catalog)) as copy, copy.writer() as writer:
            writer.catalog_file.reserve_ids(2)
        add(store, *(new_video(f"more{n}.avi", row) for n, row in enumerate(random_units(2, 32, 5))))
        with store.writer():
            pass
    [merged] = (index / "segments").iterdir()
    digests = _digests(index / "segments")
    _catalog_of(tmp_path / "copy", index)
    assert check(index).kept == (LEFT.format(merged),)
    report = repair(index, missing=True, yes=yes)
    assert (report.videos_lost, report.kept) == (4, (LEFT.format(merged),))
    for _ in range(2):
        compact_index(index)
    assert _digests(index / "segments") == digests


def test_the_recommended_repair_erases_nothing_under_a_catalog_of_another_index(tmp_path: Path) -> None:
    index = _index(tmp_path / "index")
    _catalog_of(_index(tmp_path / "other", 5, 1, "other"), index)
    digests = _digests(index / "segments")
    report = repair(index, missing=True)
    assert report.videos_lost == 10
    assert report.kept == tuple(LEFT.format(folder) for folder in sorted((index / "segments").iterdir()))
    compact_index(index)
    assert _digests(index / "segments") == digests


def test_copies_that_went_their_own_ways_and_are_laid_over_each_other_lose_nothing(tmp_path: Path) -> None:
    x = _index(tmp_path / "x")
    shutil.copytree(x, tmp_path / "y")
    own = _more(x, "x", 7)
    _more(tmp_path / "y", "y", 8)
    y = _seen(tmp_path / "y")
    digests = _digests(own)
    subprocess.run(["cp", "-a", f"{tmp_path / 'y'}/.", x], check=True)
    assert LEFT.format(own) in check(x).kept
    with Store(x).writer() as writer:
        compact(writer)
    assert (_digests(own), _seen(x)) == (digests, y)


def test_what_a_writer_left_that_died_is_named_by_check_and_erased_by_the_next(tmp_path: Path) -> None:
    index = _index(tmp_path / "index")
    with Store(index).writer() as writer:  # ids were given, and never committed
        writer.catalog_file.reserve_ids(2)
    uncommitted = index / "segments" / "00000000000000aa"
    copied = index / "segments" / "00000000000000bb"
    shutil.copytree(_more_at(tmp_path / "fresh", 7), uncommitted)
    shutil.copytree(_segments(index)[0], copied)
    before = _seen(index)
    erased = "was left by a writer that died, and is of no use; the next writer erases it"
    assert check(index).kept == (f"{uncommitted} {erased}", f"{copied} {erased}")
    with Store(index).writer():
        pass
    assert sorted((index / "segments").iterdir()) == sorted(_segments(index))
    assert _seen(index) == before


def _more_at(path: Path, first_id: int) -> Path:
    """A segment that holds two videos from this id on."""
    _index(path, (first_id - 1) // 2)
    return _more(path, "fresh", 3)


# What lies beside the segments.


@pytest.mark.parametrize("kind", ["file", "dangling", "closed"])
def test_a_trouble_with_aside_is_told_and_locks_nothing(tmp_path: Path, kind: str) -> None:
    index = _index(tmp_path / "index")
    aside = index / "segments" / "aside"
    if kind == "file":
        aside.write_text("mine")
    elif kind == "dangling":
        aside.symlink_to(tmp_path / "nowhere")
    else:
        aside.symlink_to(aside)  # cannot be listed, whoever asks
    reason = {"file": "Not a directory", "dangling": "No such file or directory"}.get(
        kind, "Too many levels of symbolic links"
    )
    way_out = "it must be a folder, for what a repair drops: fix it, or move it elsewhere"
    report = check(index)
    assert (report.problems, report.kept) == ((), (f"{aside} cannot be listed ({reason}); {way_out}",))
    damaged = _segments(index)[0]
    _flip(damaged / "norms.npy")
    report = repair(index)
    assert (report.videos_lost, report.moved_aside) == (2, ())
    assert f"{damaged} was dropped; the next writer moves it aside" in report.kept
    assert len(_seen(index)) == 4
    aside.unlink()
    with Store(index).writer():
        pass
    assert [folder.name for folder in aside.iterdir()] == [damaged.name]


@pytest.mark.parametrize("name", [".DS_Store", "README", "lost+found"])
def test_a_stray_thing_among_the_segments_is_no_segment(tmp_path: Path, name: str) -> None:
    index = _index(tmp_path / "index")
    (index / "segments" / name).write_text("")
    assert check(index).kept == (f"{index / 'segments' / name} does not belong to the index; it is left alone",)


def test_a_repair_is_judged_by_what_it_leaves(tmp_path: Path, run: Any) -> None:
    index = _index(tmp_path / "index")
    with closing(sqlite3.connect(index / "catalog.sqlite")) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("INSERT INTO tombstones VALUES (999, 77, 'x.avi', 'x')")
    _flip(_segments(index)[0] / "norms.npy")
    code, out, _ = run("check", "--repair", "--index", index)
    assert (code, "repaired: 1 segments dropped" in out) == (3, True), out
    assert "left: tombstones row " in out
    assert run("check", "--index", index)[0] == 3


def test_a_repair_of_faiss_alone_leaves_nothing(tmp_path: Path) -> None:
    index = _index(tmp_path / "index")
    shutil.rmtree(index / "ann")
    report = repair(index)
    assert (report.repaired, report.left, report.is_whole) == (("the FAISS index was rebuilt",), (), True)


# Damage in one segment does not lock the index.


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of four real videos in four segments, one of them damaged, that are merged from three on."""
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 1)
    for number in range(4):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(1, (number * 60, 120, 30)))
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    _flip(_segments(tmp_path / "index")[1] / "norms.npy")
    for number in range(4, 7):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(1, (200, 250 - number * 30, 30)))
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 3)
    return tmp_path / "index"


def _note(index: Path) -> str:
    return f"segment {_segments(index)[1].name} is damaged, and was left alone; drop it with: echosearch check --repair"


def test_an_ingest_goes_on_beside_a_damaged_segment_and_says_so(archive: Path, tmp_path: Path) -> None:
    note, damaged = _note(archive), _segments(archive)[1]
    report = ingest(archive, [tmp_path / "videos"], IngestOptions(workers=1))
    assert (report.added, note in report.warnings) == (3, True)
    assert damaged in _segments(archive)
    assert len(_segments(archive)) < 4
    assert len(_seen(archive)) == 7
    assert check(archive).problems == (f"{damaged / 'norms.npy'} has other bytes than were written",)


def test_so_does_an_import(archive: Path, tmp_path: Path) -> None:
    ingest(tmp_path / "other", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    export_embeddings(tmp_path / "other", tmp_path / "e.npz")
    note = _note(archive)
    report = import_embeddings(archive, tmp_path / "e.npz")
    assert (report.added, note in report.warnings) == (3, True)


def test_compact_leaves_a_damaged_segment_alone_and_says_so(archive: Path, run: Any) -> None:
    note, damaged = _note(archive), _segments(archive)[1]
    code, out, _ = run("compact", "--index", archive)
    assert (code, f"note: {note}" in out) == (0, True)
    assert "4 segments before, 2 now; the vectors of 0 deleted videos dropped" in out
    assert damaged in _segments(archive)


def test_a_purge_is_refused_only_where_its_own_segment_is_damaged(archive: Path) -> None:
    before = _digests(archive / "segments")
    with pytest.raises(DamagedIndex, match=r"^nothing was changed: .* drop it first: echosearch check --repair$"):
        purge_videos(archive, [2])
    assert (_digests(archive / "segments"), len(_seen(archive))) == (before, 4)
    purge_videos(archive, [3])
    assert sorted(_seen(archive)) == [1, 2, 4]
    assert repair(archive).videos_lost == 1
    aside = archive / "segments" / "aside"
    aside.rename(archive.parent / "elsewhere")
    aside.symlink_to(archive.parent / "elsewhere")
    (aside / "mine").write_text("mine")
    purge_videos(archive, [2])
    assert [path.name for path in (archive.parent / "elsewhere").iterdir()] == ["mine"]
    assert sorted(_seen(archive)) == [1, 4]
    assert check(archive).is_whole


# Pipes and devices.


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    code = (
        "import sys; from pathlib import Path; from echosearch.files import is_our_own\n"
        "from echosearch.video import content_sha256\n"
        "for name in sys.argv[1:]:\n"
        "    print(is_our_own(Path(name)))\n"
        "    try: content_sha256(Path(name))\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    paths = [tmp_path / "pipe.png", tmp_path / "zero.png", tmp_path]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=30, cwd=ROOT, check=True
    )
    words = "it is a pipe or device, not a file"
    assert done.stdout.splitlines() == ["False", words, "False", words, "False", "Is a directory"]
    (tmp_path / "a").write_bytes(b"a")
    assert content_sha256(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()
    assert not is_our_own(tmp_path / "a")
