"""A repair destroys nothing: what is out of reach is not damaged, and what is let go of is listed and moved aside."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from store_helpers import NUMERICS, add, contents, make_store, new_video, random_units, unit

from echosearch.errors import BackendError, CatalogSegmentsDisagree, DamagedIndex, OutOfReach
from echosearch.index import Batch, Store
from echosearch.index.check import CheckReport, check_index as check, repair_index as repair
from echosearch.index.upkeep import compact
from echosearch.ingest import IngestOptions, ingest
from echosearch.types import ModelRequest

Run = Callable[..., tuple[int, str, str]]
MOUNT = "if its disk is not mounted, mount it; if it is lost for good"


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Twelve videos in three segments of four, with FAISS."""
    with closing(make_store(tmp_path / "index")) as store:
        rows = random_units(12, 32, 0)
        for first in (0, 4, 8):
            videos = [new_video(f"{n}.avi", rows[n]) for n in range(first, first + 4)]
            add(store, *videos, finish=first == 8)
    return tmp_path / "index"


def _segments(index: Path) -> list[Path]:
    with closing(sqlite3.connect(index / "catalog.sqlite")) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM segments ORDER BY added_generation")]
    return [index / "segments" / name for name in names]


def _seen(index: Path) -> dict[int, tuple[str, bytes, float, bytes, bytes]]:
    with closing(Store(index)) as store, store.snapshot() as snapshot:
        return contents(snapshot)


def _files(folder: Path) -> dict[str, str]:
    """Every file of a folder with its digest; SQLite's log and the lock may come and go."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(("catalog.sqlite-", "writer."))
    }


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _sql(index: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(index / "catalog.sqlite")) as connection, connection:
        return connection.execute(statement).fetchall()


# A disk that is not mounted.


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of twelve real videos in three segments, beside `videos` and a manifest."""
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 4)
    for number in range(12):
        write_video(tmp_path / "videos" / f"{number:02}.avi", plain_frames(1, (number * 20, 120, 30)))
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    write_video(tmp_path / "videos" / "new.avi", plain_frames(1, (250, 250, 250)))
    (tmp_path / "m.csv").write_text("path,study\n00,S1\n")
    return tmp_path / "index"


@pytest.mark.parametrize("is_empty", [True, False])
def test_without_the_disk_of_its_segments_no_command_loses_anything(
    archive: Path, run: Run, is_empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    before, files = _seen(archive), _files(archive)
    segments, unplugged = archive / "segments", tmp_path / "unplugged"
    segments.rename(unplugged)
    if is_empty:
        segments.mkdir()
    for command in (
        ("ingest", tmp_path / "videos"),
        ("ingest", tmp_path / "videos", "--prune", "--yes"),
        ("annotate", tmp_path / "m.csv"),
        ("delete", 3),
        ("compact",),
        ("search", "red"),
        ("check",),
        ("check", "--repair"),
        ("check", "--repair", "--yes"),
        ("check", "--repair", "--missing"),
    ):
        code, out, err = run(*command, "--index", archive)
        assert code == 3, (command, out, err)
        assert MOUNT in out + err, command
        assert list(segments.rglob("*")) == [], command
    if is_empty:
        segments.rmdir()
    unplugged.rename(segments)
    assert _files(archive) == files
    assert _seen(archive) == before
    code, out, _ = run("ingest", tmp_path / "videos", "--index", archive)
    assert (code, "1 added" in out, "12 unchanged" in out) == (0, True, True), out
    assert run("check", "--index", archive)[0] == 0


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_let_go_of_while_its_disk_was_away_is_never_erased(
    index: Path, tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    names = {folder.name for folder in _segments(index)}
    files = _files(index / "segments")
    (index / "segments").rename(tmp_path / "unplugged")
    (index / "segments").mkdir()
    report = repair(index, missing=True, yes=True)
    assert (report.videos_lost, report.moved_aside, report.out_of_reach, report.not_done) == (12, (), (), None)
    assert _seen(index) == {}
    for number in range(times):  # writers come and go before the disk is back
        with Store(index).writer() as writer:
            writer.commit(Batch([new_video(f"again {number}.avi", unit(1, number))]), NUMERICS)
    new = {folder.name for folder in (index / "segments").iterdir()}
    for name in names:
        (tmp_path / "unplugged" / name).rename(index / "segments" / name)
    kept = check(index).kept
    assert [f"{index}/segments/{name} was dropped; the next writer moves it aside" for name in sorted(names)] == [*kept]
    for _ in range(2):
        with Store(index).writer() as writer:
            compact(writer)
            writer.finish()
    assert {folder.name for folder in (index / "segments").iterdir()} == new | {"aside"}
    assert _files(index / "segments" / "aside") == files
    assert check(index).kept == tuple(
        f"{index}/segments/aside/{name} was dropped by a repair; it may be removed" for name in sorted(names)
    )
    assert check(index).problems == ()
    assert len(_seen(index)) == times


# Out of reach is not damaged.


@contextmanager
def _failing(number: int, *paths: Path) -> Iterator[None]:
    """Opening one of these files, or one below, fails, as a disk or a right that is missing has it."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, *arguments: Any, **more: Any) -> Any:
            if isinstance(file, str | Path) and {Path(file), *Path(file).parents} & set(paths):
                raise OSError(number, os.strerror(number), str(file))
            return function(file, *arguments, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", wrapped(builtins.open))
        patch.setattr(io, "open", wrapped(io.open))
        patch.setattr(os, "listdir", wrapped(os.listdir))
        patch.setattr(os, "scandir", wrapped(os.scandir))
        yield


FILES = ["segment.json", "ids.npy", "pooled.npy", "norms.npy", "frames.npy", "offsets.npy", "frame_numbers.npy"]


NOT_LOST = {
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.EMFILE: "too many open files; allow this process more of them (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOMEM: "not enough memory",
    errno.ELOOP: "Too many levels of symbolic links",
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, *NOT_LOST])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_today_is_not_damaged(index: Path, name: str, number: int) -> None:
    before, folder = _seen(index), _segments(index)[1]
    with _failing(number, folder / name):
        report = check(index)
        assert report.problems == ()
        [sentence] = report.out_of_reach
        assert sentence.startswith(f"segment {folder}" if name in FILES[:1] else f"{folder / name} cannot be read")
        if number in NOT_LOST:
            assert NOT_LOST[number].partition(";")[0] in sentence
            assert "--missing" not in sentence
        else:
            assert os.strerror(number) in sentence
            assert sentence.endswith(f"{MOUNT}, drop it with: echosearch check --repair --missing")
        report = repair(index, yes=True, missing=number in NOT_LOST)  # these are lost in no case
        assert (report.videos_lost, report.repaired, len(report.out_of_reach)) == (0, (), 1)
        assert not report.is_whole
    assert _seen(index) == before
    assert check(index) == CheckReport(str(index), report.generation, 3, ())


@pytest.mark.parametrize("what", ["", *FILES])
def test_a_folder_or_file_that_is_away_for_a_while_costs_nothing(
    index: Path, run: Run, tmp_path: Path, what: str
) -> None:
    before, path = _seen(index), _segments(index)[1] / what
    path.rename(tmp_path / "away")
    code, out, _ = run("check", "--repair", "--index", index)
    assert code == 3
    assert "No such file or directory" in out
    assert MOUNT in out
    assert "3 segments, 0 problems, 1 out of reach" in out
    told = json.loads(run("check", "--repair", "--index", index, "--json")[1])
    assert (told["videos_lost"], told["repaired"], len(told["out_of_reach"])) == (0, [], 1)
    (tmp_path / "away").rename(path)
    assert _seen(index) == before
    assert run("check", "--index", index)[0] == 0


def test_the_damaged_go_and_what_is_out_of_reach_stays(index: Path, tmp_path: Path) -> None:
    before = _seen(index)
    away, damaged, _ = _segments(index)
    away.rename(tmp_path / "away")
    _flip(damaged / "pooled.npy")
    report = repair(index)
    assert report.problems == (f"{damaged / 'pooled.npy'} has other bytes than were written",)
    assert report.repaired == ("1 segments dropped, with 4 videos: ingest their folders again",)
    assert report.moved_aside == (str(index / "segments" / "aside" / damaged.name),)
    assert [away.name in sentence for sentence in report.out_of_reach] == [True]
    (tmp_path / "away").rename(away)
    with Store(index).writer() as writer:
        writer.finish()
    assert _seen(index) == {id_: kept for id_, kept in before.items() if id_ not in (5, 6, 7, 8)}
    assert check(index).problems == ()


def test_faiss_is_derived_and_its_folder_may_be_away(index: Path, tmp_path: Path) -> None:
    before = _seen(index)
    (index / "ann").rename(tmp_path / "ann")
    assert check(index).problems == ("there is no FAISS index; every vector is scanned. The next ingest writes it.",)
    assert repair(index).repaired == ("the FAISS index was rebuilt",)
    assert check(index).problems == ()
    with _failing(errno.EIO, index / "ann"):
        assert _seen(index) == before
        with Store(index).writer() as writer:
            writer.commit(Batch([new_video("more.avi", unit(1))]), NUMERICS)
    assert len(_seen(index)) == 13


@pytest.mark.parametrize(
    ("damage", "error", "sentence"),
    [
        (lambda path: path.write_bytes(b"no catalog" * 500), DamagedIndex, "file is not a database"),
        (lambda path: path.unlink(), DamagedIndex, "is missing; restore the index from a copy"),
        (lambda path: (path.unlink(), path.mkdir()), DamagedIndex, "is missing; restore the index from a copy"),
        (lambda path: os.truncate(path, 5000), (DamagedIndex, BackendError), "catalog"),
    ],
)
def test_without_its_catalog_nothing_of_an_index_is_touched(
    index: Path, damage: Callable[[Path], Any], error: Any, sentence: str
) -> None:
    for log in index.glob("catalog.sqlite-*"):
        log.unlink()
    damage(index / "catalog.sqlite")
    files = _files(index)
    for command in (check, repair, lambda path: repair(path, missing=True, yes=True)):
        with pytest.raises(error, match=sentence):
            command(index)
        assert {name for name in _files(index) if name.startswith("segments")} == {
            name for name in files if name.startswith("segments")
        }


# What is let go of is listed, and moved aside.


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_more_than_a_few_videos_are_let_go_of_only_with_yes(
    index: Path, run: Run, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    options = ["--repair", "--missing"] if how == "missing" else ["--repair"]
    segments = _segments(index)
    for folder in segments:
        if how == "damaged":
            _flip(folder / "norms.npy")
        else:
            (folder / "norms.npy").unlink()
    files = _files(index)
    code, out, _ = run("check", *options, "--index", index)
    assert code == 3
    listed = ", ".join(sorted(folder.name for folder in segments))
    some = "/media/echo/0.avi, /media/echo/1.avi, /media/echo/2.avi, ..."
    assert f"not repaired: nothing was changed: this would drop 12 videos ({some}) in 3 segments ({listed})" in out
    told = json.loads(run("check", *options, "--index", index, "--json")[1])
    assert told["not_done"].endswith("is missing, repeat with --yes")
    assert (told["videos_lost"], told["moved_aside"], told["repaired"]) == (0, [], [])
    assert _files(index) == files
    told = json.loads(run("check", *options, "--yes", "--index", index, "--json")[1])
    assert (told["videos_lost"], told["not_done"]) == (12, None)
    aside = index / "segments" / "aside"
    assert told["moved_aside"] == sorted(str(aside / folder.name) for folder in segments)
    assert {path.removeprefix("segments/"): digest for path, digest in files.items() if "segments" in path} == _files(
        aside
    )
    for _ in range(2):  # no writer erases them
        run("compact", "--index", index)
    assert len(_files(aside)) == len(FILES) * 3 - (3 if how == "missing" else 0)
    code, out, _ = run("check", "--index", index)
    assert code == 0
    assert out.count("was dropped by a repair; it may be removed") == 3


def test_ten_videos_are_a_few(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store:
        add(store, *(new_video(f"{n}.avi", unit(1, n)) for n in range(11)), finish=True)
        [folder] = _segments(store.path)
        _flip(folder / "pooled.npy")
        assert repair(store.path).videos_lost == 0
        with store.writer() as writer:
            writer.delete([4])  # deleted videos are not lost
        assert repair(store.path).videos_lost == 10


@pytest.mark.parametrize("option", ["--missing", "--yes"])
def test_options_of_a_repair_need_it(index: Path, run: Run, option: str) -> None:
    code, _, err = run("check", option, "--index", index)
    assert (code, err) == (2, f"error: {option} goes with --repair\n")


# What is not known is erased only when it is certain that nobody misses it.


def _older_catalog(index: Path, tmp_path: Path, work: Callable[[], object]) -> None:
    """Do some work, then put back the catalog from before it."""
    with closing(sqlite3.connect(index / "catalog.sqlite")) as now, closing(sqlite3.connect(tmp_path / "c")) as copy:
        now.backup(copy)
    work()
    for file in index.glob("catalog.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "c", index / "catalog.sqlite")


def test_a_catalog_older_than_the_segments_is_refused_and_costs_nothing(index: Path, tmp_path: Path, run: Run) -> None:
    def more() -> None:
        with closing(Store(index)) as store:
            add(store, *(new_video(f"later {n}.avi", unit(1, n)) for n in range(3)))

    _older_catalog(index, tmp_path, more)
    files = _files(index)
    sentence = (
        r"holds videos up to id 15, and the next that the catalog gives is 13: the catalog is older than the segments, "
        "or another's; restore both from one copy of the index"
    )
    for act in (lambda: Store(index).writer().__enter__(), lambda: repair(index, missing=True, yes=True)):
        with pytest.raises(CatalogSegmentsDisagree, match=sentence):
            act()
    code, out, _ = run("check", "--index", index)
    assert (code, "is 13: the catalog is older than the segments" in out) == (3, True)
    assert _files(index) == files
    assert len(_seen(index)) == 12  # an older index, to read


def test_a_catalog_from_before_a_merge_erases_nothing(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)

    def merged() -> None:
        with pytest.MonkeyPatch.context() as patch, closing(Store(index)) as store:
            patch.setattr("echosearch.index.writer.MERGE_FROM", 3)
            with store.writer() as writer:
                writer.finish()
            with store.writer():
                pass

    _older_catalog(index, tmp_path, merged)
    [folder] = (index / "segments").iterdir()
    files = _files(index / "segments")
    for _ in range(2):
        with pytest.raises(OutOfReach, match=MOUNT), Store(index).writer() as writer, writer.snapshot():
            pass
    assert _files(index / "segments") == files
    told = (f"the index has no segment {folder}, which holds vectors that the index does not have; it is left alone",)
    assert check(index).kept == told
    assert repair(index, missing=True, yes=True).kept == told
    with Store(index).writer() as writer:
        writer.finish()
    assert _files(index / "segments") == files


def test_a_catalog_of_another_index_erases_nothing(index: Path, tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "other")) as other:
        for number in range(20):
            add(other, new_video(f"{number}.avi", unit(1, number)))
    files = _files(index / "segments")
    for file in index.glob("catalog.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "other" / "catalog.sqlite", index)
    with pytest.raises(OutOfReach, match=MOUNT), Store(index).writer() as writer, writer.snapshot():
        pass
    assert _files(index / "segments") == files


@pytest.mark.parametrize("name", ["lost+found", "copy of 3", "0123456789abcdef"])
def test_a_folder_that_is_no_segment_of_ours_is_left_alone_and_told(index: Path, name: str) -> None:
    folder = index / "segments" / name
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with Store(index).writer() as writer:
        writer.finish()
    assert (folder / "notes.txt").read_text() == "mine"
    [sentence] = check(index).kept
    if name == "0123456789abcdef":
        why = "cannot be read (No such file or directory); it is left alone"
        assert sentence == f"the index has no segment {folder}, and it {why}"
    else:
        assert sentence == f"{folder} does not belong to the index; it is left alone"
    assert check(index).problems == ()


def test_an_orphan_that_cannot_be_read_today_is_left_alone(index: Path) -> None:
    orphan = index / "segments" / "0123456789abcdef"
    shutil.copytree(_segments(index)[0], orphan)
    for name in ("segment.json", "ids.npy"):
        with _failing(errno.EIO, orphan / name), Store(index).writer():
            pass
        assert len(list(orphan.iterdir())) == len(FILES)
    with Store(index).writer():
        pass
    assert not orphan.exists()  # it holds nothing that the index does not have


def test_merging_and_compacting_do_not_make_damage_look_whole(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that were rewritten have new hashes: wrong bytes would never be found again."""
    _, damaged, _ = _segments(index)
    _flip(damaged / "frames.npy")
    files = _files(damaged)
    with Store(index).writer() as writer:
        writer.delete([2, 6])
        counts = compact(writer)
        assert (counts["rows_dropped"], counts["segments"]) == (1, 3)
        monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 2)
        writer.merge()
        assert writer.notes == (
            f"segment {damaged.name} is damaged, and was left alone; drop it with: echosearch check --repair",
        )
    assert _files(damaged) == files
    assert len(_segments(index)) == 2  # the others became one
    assert repair(index).videos_lost == 3
    assert len(_seen(index)) == 7


def test_a_segment_is_erased_as_a_whole(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies while a folder is being removed leaves what is visibly not whole."""
    orphan = index / "segments" / "0123456789abcdef"
    shutil.copytree(_segments(index)[0], orphan)
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: (Path(path) / "ids.npy").unlink())
    with Store(index).writer():
        pass
    assert not orphan.exists()
    assert len(list((index / "segments" / ".partial-0123456789abcdef").iterdir())) == len(FILES) - 1
    monkeypatch.undo()
    with Store(index).writer():
        pass
    assert len(list((index / "segments").iterdir())) == 3


def test_ids_are_not_given_twice_after_a_refusal(index: Path) -> None:
    _sql(index, "UPDATE state SET next_video_id = 5")
    orphan = index / "segments" / "0123456789abcdef"
    shutil.copytree(_segments(index)[2], orphan)
    with pytest.raises(CatalogSegmentsDisagree, match="up to id 12, and the next that the catalog gives is 5"):
        Store(index).writer().__enter__()
    assert np.load(orphan / "ids.npy").tolist() == [9, 10, 11, 12]
