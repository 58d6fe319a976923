"""A full disk, a folder that cannot be written to, two writers, readers of old commits, Ctrl-C: by the commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from store_helpers import NUMERICS, ROOT, add, contents, mounted, new_video, random_units, running_python, stored, unit
from test_store import fill

import echosearch.ingest.pipeline
from echosearch import open_index
from echosearch.encoders import load_encoder
from echosearch.errors import BackendError
from echosearch.index import Store
from echosearch.index.description import probe
from echosearch.index.upkeep import compact
from echosearch.index.vectors import FlatFaiss, LiveRows, SegmentRows, open_segment, write_segment
from echosearch.index.vectors.segment import close_maps
from echosearch.ingest import IngestOptions, ingest
from echosearch.ingest.decoding import _prepare
from echosearch.types import FrameSampling, ModelRequest, PreprocessSpec
from echosearch.video import decoder_name

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
COLOURS = [(220, 20, 20), (20, 220, 20), (20, 20, 220), (120, 120, 20), (20, 120, 120), (120, 20, 120)]


class DecodersHere:
    """Decodes in this process: these tests are about what is written, and start hundreds of ingests."""

    workers = 1

    def wait_until_ready(self) -> None:
        pass

    def prepared(
        self, tasks: Iterable[tuple[Any, Path]], sampling: FrameSampling, spec: PreprocessSpec, ahead: int
    ) -> Iterator[tuple[Any, Any]]:
        for task, path in tasks:
            yield task, _prepare(path, sampling, spec)


@contextmanager
def decoders_here(*_: object) -> Iterator[DecodersHere]:
    yield DecodersHere()


@pytest.fixture(autouse=True)
def no_decoding_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echosearch.ingest.pipeline, "decoders", decoders_here)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """first/ and second/ with three videos each, an `index` of the first, what.csv about them."""
    folder = tmp_path_factory.mktemp("made")
    for number, colour in enumerate(COLOURS):
        write_video(folder / ("first" if number < 3 else "second") / f"{number}.avi", plain_frames(3, colour), fps=10)
    rows = [f"{folder / 'first' / f'{number}.avi'},study {number},{number}.5" for number in range(3)]
    (folder / "what.csv").write_text("\n".join(["path,study,ef", *rows]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(echosearch.ingest.pipeline, "decoders", decoders_here)
        ingest(folder / "index", [folder / "first"], IngestOptions(ModelRequest("toy")))
    return folder


def empty_index(path: Path) -> Store:
    """Made with the toy as it is, so that phrases can be asked."""
    encoder = load_encoder(ModelRequest("toy"), decoder_name())
    return Store.create(path, encoder.card, probe(encoder))


# A full disk.


def nothing(index: Path, run: Run, made: Path) -> None:
    pass


def deleted(index: Path, run: Run, made: Path) -> None:
    assert run("delete", 1, 2, "--index", index)[0] == 0


def in_three_segments(index: Path, run: Run, made: Path) -> None:
    """Two of six videos are deleted, in two of three segments."""
    for number in (3, 4, 5):
        assert run("ingest", made / "second" / f"{number}.avi", "--index", index)[0] == 0
    assert run("delete", 1, 5, "--index", index)[0] == 0


def with_damaged_faiss(index: Path, run: Run, made: Path) -> None:
    next((index / "ann").rglob("index.faiss")).write_bytes(b"no FAISS")


def with_a_damaged_segment(index: Path, run: Run, made: Path) -> None:
    [segment] = (index / "segments").iterdir()
    data = bytearray((segment / "pooled.npy").read_bytes())
    data[-3] ^= 255
    assert run("ingest", made / "second", "--index", index)[0] == 0
    (segment / "pooled.npy").write_bytes(data)


def with_many_rows_and_no_faiss(index: Path, run: Run, made: Path) -> None:
    shutil.rmtree(index)
    with closing(empty_index(index)) as store:
        add(store, *(new_video(f"{n}.avi", row) for n, row in enumerate(random_units(300, 32, 0))))


Prepare = Callable[[Path, Run, Path], None]
STAGES: dict[str, tuple[Prepare | None, list[str]]] = {
    "ingest, new index": (None, ["ingest", "MADE/first", "--model", "toy"]),
    "ingest": (nothing, ["ingest", "MADE/second"]),
    "annotate": (nothing, ["annotate", "MADE/what.csv"]),
    "delete": (nothing, ["delete", "1", "2"]),
    "undelete": (deleted, ["undelete", "1", "2"]),
    "roots": (nothing, ["roots", "MADE/first", "/elsewhere"]),
    "compact": (in_three_segments, ["compact"]),
    "repair FAISS": (with_damaged_faiss, ["check", "--repair"]),
    "repair a segment": (with_a_damaged_segment, ["check", "--repair"]),
    "write a large FAISS": (with_many_rows_and_no_faiss, ["check", "--repair"]),
}


def full_disk_sentence(index: Path) -> str:
    """Every way to say that the disk of an index is full."""
    at_first = rf"{index.parent}/\.partial-{index.name}-[0-9a-f]{{8}}"
    return (
        rf"error: (cannot write to the index {index}: No space left on device"
        rf"|the catalog ({index}|{at_first})/catalog\.sqlite failed: "
        r"(database or disk is full; free some space, then run this again"
        r"|disk I/O error; the disk may be full or failing: free some space, then run this again)"
        rf"|cannot write the FAISS index {index}/ann/\d+: .*No space left on device.*)"
    )


def told(err: str) -> str:
    """Standard error without the progress of an ingest."""
    return "\n".join(line for line in err.splitlines() if not re.fullmatch(r"\d/\d videos, .* failed", line))


def live(index: Path) -> dict[str, Any]:
    """All that an index says of its live videos, by path: ids that a failed ingest had reserved are not given again."""
    with closing(Store(index)) as store, store.snapshot() as snapshot:
        vectors = contents(snapshot)
        return {
            record.path: (record.to_dict() | {"video_id": 0, "added_at": ""}, vectors[record.video_id][1:])
            for record in snapshot.catalog.videos.records()
        }


def shape(index: Path) -> dict[str, Any]:
    """What else there is: rows, folders and what was deleted."""
    with closing(Store(index)) as store, store.snapshot() as snapshot:
        return {
            "segments": len(snapshot.catalog.segments.active()),
            "dead": len(snapshot.catalog.segments.dead_ids()),
            "buried": snapshot.catalog.deleted.ids(),
            "roots": snapshot.catalog.roots.all(),
            "attributes": [column.name for column in snapshot.catalog.attributes.columns()],
            "failures": snapshot.catalog.failures.all(),
            "folders": len(list((index / "segments").iterdir())),
            "ann": len(list((index / "ann").iterdir())),
            "partial": sorted(map(str, index.rglob(".partial-*"))),
        }


def empty(folder: Path) -> None:
    close_maps()  # of files that are gone: they take room as long as they are open
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def problems_and_code(index: Path, run: Run) -> tuple[int, list[str]]:
    code, out, err = run("check", "--index", index, "--json")
    assert err == ""
    return code, json.loads(out)["problems"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_at_any_stage_is_a_sentence_and_loses_nothing(
    stage: str, made: Path, tmp_path: Path, run: Run
) -> None:
    prepare, words = STAGES[stage]
    index = tmp_path / "disk" / "index"
    command = [word.replace("MADE", str(made)) for word in words]
    command += ["--index", str(index)]
    prepared = tmp_path / "prepared"
    with mounted(index.parent, "20m") as disk:
        if prepare is not None:
            shutil.copytree(made / "index", index)
            prepare(index, run, made)
            shutil.copytree(index, prepared)
            before, was = live(index), problems_and_code(index, run)
        assert run(*command)[0] == 0
        after = live(index)
        expected = shape(index)
        assert problems_and_code(index, run) == (0, [])
        sentences = set()
        for leave in range(0, 1 << 20, 4096 if "FAISS" in stage else 8192):
            empty(disk)
            if prepare is not None:
                shutil.copytree(prepared, index)
            ballast = fill(disk, leave)
            code, out, err = run(*command)
            if code == 0:
                break
            assert code == 4, (leave, code, out, err)
            sentence = told(err)
            assert re.fullmatch(full_disk_sentence(index), sentence), (leave, err)
            sentences.add(re.sub(r"\.partial-index-[0-9a-f]{8}", "index", sentence))
            asked = run("search", "red", "--index", index, "--json") if Store.exists(index) else None
            ballast.unlink()
            if asked is None:
                assert list(disk.iterdir()) == []  # an index that cannot be made leaves nothing
            else:
                assert not list(index.glob("*/.partial-*"))  # half a segment would need room
            if asked is None:
                pass
            elif prepare is None:
                assert live(index) in ({}, after)
            else:
                assert live(index) in (before, after), leave
                assert problems_and_code(index, run) in (was, (0, [])), leave
            if asked is not None and asked[0] == 0:
                hits = json.loads(asked[1])["hits"]
                assert {hit["path"] for hit in hits} <= set(live(index)), leave
            elif asked is not None:
                assert (asked[0], bool(re.fullmatch(full_disk_sentence(index), asked[2].strip()))) == (4, True), asked
            assert run(*command)[0] == 0, leave
            assert live(index) == after, leave
            assert shape(index) == expected, leave
            assert problems_and_code(index, run) == (0, [])
        assert leave >= 32 << 10  # the sweep has seen full disks, and the end of them
        assert code == 0
        assert len(sentences) >= 2
        ballast.unlink()
        assert live(index) == after
        if stage == "write a large FAISS":
            assert any("cannot write the FAISS index" in sentence for sentence in sentences)


def test_half_a_segment_and_half_a_faiss_index_are_removed_at_once(tmp_path: Path) -> None:
    videos = [stored(row) for row in random_units(500, 32, 0)]
    rows = SegmentRows(np.arange(1, 501), videos)
    with mounted(tmp_path / "disk", "1m") as disk:
        write_segment(disk, rows, "none", NUMERICS)
        [folder] = disk.iterdir()
        index = FlatFaiss.build(LiveRows([open_segment(disk, folder.name)], np.empty(0, np.int64), 32))
        fill(disk, 24 << 10)
        with pytest.raises(OSError, match="No space left on device"):
            write_segment(disk, rows, "none", NUMERICS)
        with pytest.raises(BackendError, match=f"^cannot write the FAISS index {disk}/7: .*No space left on device"):
            index.save(disk / "7")
        assert {path.name for path in disk.iterdir()} == {folder.name, "ballast"}


def test_a_full_disk_holds_up_no_reader(made: Path, tmp_path: Path, run: Run) -> None:
    with mounted(tmp_path / "disk", "20m") as disk:
        shutil.copytree(made / "index", disk / "index")
        for leave in (0, 4 << 10, 28 << 10):
            ballast = fill(disk, leave)
            for command in (["search", "red"], ["similar", "1"], ["list"], ["info"], ["show", "1"], ["check"]):
                code, _, err = run(*command, "--index", disk / "index")
                assert (code, err) == (0, ""), (leave, command)
            ballast.unlink()


def test_a_text_cache_on_a_full_disk_fails_nothing(made: Path, tmp_path: Path, run: Run) -> None:
    with mounted(tmp_path / "disk", "20m") as disk:
        shutil.copytree(made / "index", disk / "index")
        _, expected, _ = run("search", "a phrase not asked before", "--index", disk / "index", "--json")
        shutil.rmtree(disk / "index" / "cache")
        answered = 0
        with closing(Store(disk / "index")) as store, store.snapshot():  # holds SQLite's files open, which need room
            for leave in range(0, 64 << 10, 4096):
                ballast = fill(disk, leave)
                code, out, err = run("search", "a phrase not asked before", "--index", disk / "index", "--json")
                assert (code, out, err) == (0, expected, ""), leave
                ballast.unlink()
                files = [path for path in disk.rglob("cache/**/*") if path.is_file()]
                assert all(json.loads(file.read_text()) for file in files)
                assert not [file for file in files if file.name.startswith(".partial-")]
                answered += bool(files)
                shutil.rmtree(disk / "index" / "cache", ignore_errors=True)
        assert 0 < answered < 16


def test_a_contact_sheet_on_a_full_disk_is_a_sentence(made: Path, tmp_path: Path, run: Run) -> None:
    command = ["search", "red", "--index", made / "index", "--contact-sheet"]
    with mounted(tmp_path / "disk", "20m") as disk:
        sheet = disk / "sheet.png"
        refused = 0
        for leave in range(0, 1 << 20, 4096):
            ballast = fill(disk, leave)
            code, out, err = run(*command, sheet)
            ballast.unlink()
            if code == 0:
                break
            assert "red" not in err
            assert (code, err) == (4, f"error: cannot write the contact sheet {sheet}: No space left on device\n")
            assert "/first/0.avi" in out  # the answer comes first, and stays
            assert not sheet.exists()
            refused += 1
        assert refused > 1
        whole = sheet.read_bytes()
        run(*command, tmp_path / "other.png")
        assert (tmp_path / "other.png").read_bytes() == whole


# A folder that cannot be written to.

MUTATING: list[list[str]] = [
    ["ingest", "MADE/second"],
    ["annotate", "MADE/what.csv"],
    ["delete", "1"],
    ["undelete", "2"],
    ["roots", "MADE/first", "/elsewhere"],
    ["compact"],
    ["check", "--repair"],
]


def with_paths(command: Sequence[str], made: Path) -> list[str]:
    return [word.replace("MADE", str(made)) for word in command]


@contextmanager
def bound_read_only(folder: Path, at: Path) -> Iterator[Path]:
    """The folder once more, at another place where nobody may write."""
    at.mkdir()
    for words in (["--bind", str(folder), str(at)], ["-o", "remount,bind,ro", str(at)]):
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            subprocess.run(["umount", "-l", str(at)], capture_output=True, check=False)
            pytest.skip(f"this process may not mount a file system: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def files_of(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(but)}


def test_a_read_only_index_is_searched_and_never_changed(made: Path, tmp_path: Path, run: Run) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(made / "index", kept / "index")
    assert run("delete", 2, "--index", kept / "index")[0] == 0
    before = files_of(kept)
    answers = [run(*command, "--index", kept / "index", "--json") for command in (["search", "red"], ["list"])]
    shutil.rmtree(kept / "index" / "cache")
    before = files_of(kept)
    with bound_read_only(kept, tmp_path / "bound") as folder:
        index = folder / "index"
        for command in MUTATING:
            code, out, err = run(*with_paths(command, made), "--index", index)
            assert (code, err) == (4, f"error: cannot write to the index {index}: Read-only file system\n"), command
            assert out in ("", f"index {index}\n")
        code, _, err = run("ingest", made / "first", "--model", "toy", "--index", folder / "new")
        assert (code, err) == (4, f"error: cannot write to the index {folder / 'new'}: Read-only file system\n")
        for command, (_, out, _) in zip((["search", "red"], ["list"]), answers, strict=True):
            assert run(*command, "--index", index, "--json")[:2] == (0, out.replace(str(kept), str(folder)))
        for command in (["info"], ["check"], ["similar", "1"], ["show", "1"], ["failures"]):
            assert run(*command, "--index", index)[::2] == (0, ""), command
    assert files_of(kept) == before


# Two writers.

HOLDS_WHEN_TOLD = """
import sys
from pathlib import Path
from echosearch.index import Store

store = Store(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    with store.writer():
        print("holding", flush=True)
        sys.stdin.readline()
    print("let go", flush=True)
"""


def locked_sentence(index: Path, pid: int, command: str) -> str:
    return (
        rf"error: {index} is being written to by process {pid} on {re.escape(socket.gethostname())} "
        rf"since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \({command}\); try again later, or --wait SECONDS\n"
    )


def test_while_another_process_writes_every_command_that_would_write_is_refused_or_waits(
    made: Path, tmp_path: Path, run: Run
) -> None:
    index = tmp_path / "index"
    shutil.copytree(made / "index", index)
    with running_python(HOLDS_WHEN_TOLD, index) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None

        def tell(expected: str) -> None:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert holder.stdout.readline() == f"{expected}\n"

        # Two more: what is undeleted has to be deleted before, and an index that is whole is repaired.
        for command in [["delete", "2"], *MUTATING]:
            words = [*with_paths(command, made), "--index", str(index)]
            tell("holding")
            before = files_of(index, but=("cache/", "catalog.sqlite-"))
            code, _, err = run(*words)
            assert (code, bool(re.fullmatch(locked_sentence(index, holder.pid, "-c .*"), err))) == (3, True), err
            assert run(*words, "--wait", "0.1")[::2] == (3, err)
            for asking in (["search", "red"], ["list"], ["info"], ["check"]):
                assert run(*asking, "--index", index)[::2] == (0, ""), asking
            assert files_of(index, but=("cache/", "catalog.sqlite-")) == before
            started = time.monotonic()
            later = threading.Timer(0.3, lambda: tell("let go"))
            later.start()
            code, _, err = run(*words, "--wait", "20")
            later.join()
            assert (code, told(err)) == (0, ""), command
            assert 0.2 < time.monotonic() - started < 10
    assert problems_and_code(index, run) == (0, [])


# Readers of an older commit.

READS_ONE_VIEW = """
import json, sys
from pathlib import Path
from echosearch.search import Query
from store_helpers import search
from echosearch.index import Store
from store_helpers import contents, unit

store = Store(Path(sys.argv[1]))
print("ready", flush=True)

def look(view):
    hits = search(view, Query(unit(1), "cosine"), 9)
    everything = [(key, value[0], value[1].hex()) for key, value in contents(view).items()]
    return json.dumps([view.generation, [(hit.video_id, hit.score, hit.best_frame) for hit in hits], everything])

with store.snapshot() as view:
    print(look(view), flush=True)
    sys.stdin.readline()
    print(look(view), flush=True)
with store.snapshot() as view:
    print(look(view), flush=True)
"""


def scattered(path: Path) -> Store:
    """Six videos in three segments, two of them deleted."""
    store = empty_index(path)
    for number in range(3):
        add(store, *(new_video(f"{number}-{n}.avi", unit(1, number, n)) for n in range(2)))
    with store.writer() as writer:
        writer.delete([1, 4])
    return store


def compact_and_clear(path: Path) -> None:
    """Compact, and let another writer remove what that replaced: there is no time of grace here."""
    with closing(Store(path)) as store:
        with store.writer() as writer:
            compact(writer)
            writer.finish()
        with store.writer():
            pass


def test_a_reader_in_another_process_keeps_its_commit_through_a_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    with closing(scattered(tmp_path / "index")) as store:
        folders = {path.name for path in (store.path / "segments").iterdir()}
    with running_python(READS_ONE_VIEW, tmp_path / "index") as reader:
        assert reader.stdout is not None
        old = json.loads(reader.stdout.readline())
        compact_and_clear(tmp_path / "index")
        gone = folders - {path.name for path in (tmp_path / "index" / "segments").iterdir()}
        assert len(gone) == 2
        rest, err = reader.communicate("\n", timeout=60)
        assert err == ""
    again, new = map(json.loads, rest.splitlines())
    assert again == old
    assert new[0] > old[0]
    assert new[1:] == old[1:]
    assert [video_id for video_id, *_ in new[2]] == [2, 3, 5, 6]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Something that happens once, after a reader has read the catalog and before it opens a segment."""

    def arrange(act: Callable[[], None]) -> None:
        def disturbed(folder: Path, name: str) -> Any:
            monkeypatch.setattr("echosearch.index.snapshot.open_segment", open_segment)
            act()
            return open_segment(folder, name)

        monkeypatch.setattr("echosearch.index.snapshot.open_segment", disturbed)

    return arrange


def test_a_reader_that_misses_a_segment_reloads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Callable[[], None]], None], run: Run
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    index = tmp_path / "index"
    scattered(index).close()
    _, expected, _ = run("search", "red", "--index", index, "--json")
    shutil.copytree(index, tmp_path / "copy")
    meanwhile(lambda: compact_and_clear(index))
    code, out, err = run("search", "red", "--index", index, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["hits"] == json.loads(expected)["hits"]
    assert json.loads(out)["generation"] > json.loads(expected)["generation"]

    index = tmp_path / "copy"  # a view of the library: within it all is of one commit, the newer one
    meanwhile(lambda: compact_and_clear(index))
    with closing(Store(index)) as store, store.snapshot() as snapshot:
        assert (
            snapshot.rows.ids.tolist()
            == [2, 3, 5, 6]
            == [record.video_id for record in snapshot.catalog.videos.records()]
        )
        assert snapshot.generation > json.loads(expected)["generation"]


@pytest.mark.parametrize("moves_on", [False, True])
def test_a_reader_reloads_no_more_than_once_and_never_for_a_segment_that_is_lost(
    tmp_path: Path, meanwhile: Callable[[Callable[[], None]], None], run: Run, moves_on: bool
) -> None:
    store = scattered(tmp_path / "index")

    def lose() -> None:
        for folder in (store.path / "segments").iterdir():
            shutil.rmtree(folder)
        if moves_on:
            with sqlite3.connect(store.path / "catalog.sqlite") as connection:
                connection.execute("UPDATE state SET generation = generation + 1")
            connection.close()

    meanwhile(lose)
    code, out, err = run("search", "red", "--index", store.path)
    assert (code, out) == (3, "")
    assert re.fullmatch(rf"error: segment {store.path}/segments/[0-9a-f]{{16}} cannot be read: .*No such file.*\n", err)
    store.close()


# Ctrl-C.

COMMAND = """
import os, sys, time
from pathlib import Path
from echosearch.index.catalog.videos import Videos
import echosearch.ingest.decoding as decoding

marks, slow = Path(os.environ["MARKS"]), os.environ["SLOW"]
prepare, add_videos, close = decoding._prepare, Videos.add, decoding.Decoders.close

def hanging(path, sampling, spec):
    if path.name == "9-hangs.avi":
        (marks / "hanging").touch()
        time.sleep(1000)
    return prepare(path, sampling, spec)

def slowly(what, seconds):
    def act(*arguments):
        (marks / "slow").touch()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            time.sleep(0.01)
        return what(*arguments)
    return act

decoding._prepare = hanging  # here and, where this file is imported, in the decoding processes
if slow.startswith("commit"):
    Videos.add = slowly(add_videos, float(slow.split()[1]))
if slow.startswith("end"):
    decoding.Decoders.close = slowly(close, float(slow.split()[1]))

if __name__ == "__main__":
    from echosearch.cli import main
    main()
"""


class Ingesting:
    """`echosearch ingest` in a process group of its own, of which a decoder hangs or a step is slow."""

    def __init__(self, folder: Path, slow: str = "nothing") -> None:
        self.marks = folder / "marks"
        self.marks.mkdir(parents=True)
        self.index = folder / "index"
        (folder / "command.py").write_text(COMMAND)
        words = ["ingest", str(folder / "videos"), "--index", str(self.index), "--model", "toy", "--sampling", "all"]
        words += ["--workers", "2"]
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "command.py"), *words],
            env=os.environ | {"PYTHONPATH": str(ROOT), "MARKS": str(self.marks), "SLOW": slow},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Ingesting:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [*self.alive(), self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def alive(self) -> dict[int, str]:
        """Processes of its session that live, with their command lines."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):  # it has ended meanwhile
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self.process.pid and state != "Z":
                        found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        return found

    def wait_for(self, mark: str) -> None:
        ends = time.monotonic() + 60
        while not (self.marks / mark).exists():
            assert self.process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.01)

    def ctrl_c(self) -> None:
        """As a terminal does: the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> float:
        """Wait for the end: exit code 130, one line, no process left. How long it took, in seconds."""
        started = time.monotonic()
        _, err = self.process.communicate(timeout=60)
        seconds = time.monotonic() - started
        assert self.process.returncode == 130, err
        assert err.split() in (["interrupted"], ["interrupted", "interrupted"]), err
        while self.alive() and time.monotonic() < started + seconds + 2:  # they are being ended
            time.sleep(0.01)
        assert self.alive() == {}
        return seconds


@pytest.fixture
def five_and_one_that_hangs(tmp_path: Path) -> Path:
    """Five videos of 32 frames, which the toy embeds one by one, and a sixth over which a decoder hangs."""
    for number, colour in enumerate(COLOURS):
        name = "9-hangs.avi" if number == 5 else f"{number}.avi"
        write_video(tmp_path / "videos" / name, plain_frames(32, colour))
    return tmp_path


def assert_whole_and_continues(folder: Path, run: Run, committed: int) -> None:
    """What was committed is found, nothing is damaged, and the next ingest brings the rest."""
    index = folder / "index"
    assert set(problems_and_code(index, run)[1]) <= {
        "there is no FAISS index; every vector is scanned. The next ingest writes it."
    }
    code, out, _ = run("search", "red", "--index", index, "--json")
    assert (code, len(json.loads(out)["hits"])) == (0, committed)
    code, out, _ = run("ingest", folder / "videos", "--index", index, "--json")
    report = json.loads(out)
    assert (code, report["unchanged"], report["added"]) == (0, committed, 6 - committed)
    assert problems_and_code(index, run) == (0, [])


def test_one_interrupt_commits_the_running_batch(five_and_one_that_hangs: Path, run: Run) -> None:
    with Ingesting(five_and_one_that_hangs) as command:
        command.wait_for("hanging")
        time.sleep(0.3)  # until what was decoded is encoded
        code, _, err = run("delete", 1, "--index", command.index)
        assert (code, bool(re.fullmatch(locked_sentence(command.index, command.process.pid, ".* ingest .*"), err))) == (
            3,
            True,
        ), err
        command.ctrl_c()
        assert command.end() < 2
    assert_whole_and_continues(five_and_one_that_hangs, run, 5)


def test_an_interrupt_during_a_commit_lets_it_be_done(five_and_one_that_hangs: Path, run: Run) -> None:
    (five_and_one_that_hangs / "videos" / "9-hangs.avi").rename(five_and_one_that_hangs / "videos" / "5.avi")
    with Ingesting(five_and_one_that_hangs, slow="commit 0.5") as command:
        command.wait_for("slow")
        command.ctrl_c()
        assert command.end() < 3
    assert_whole_and_continues(five_and_one_that_hangs, run, 6)


@pytest.mark.parametrize("slow", ["commit 100", "end 100"])
def test_a_second_interrupt_ends_a_commit_or_an_end_that_takes_long(
    five_and_one_that_hangs: Path, run: Run, slow: str
) -> None:
    with Ingesting(five_and_one_that_hangs, slow) as command:
        command.wait_for("hanging")
        time.sleep(0.3)
        command.ctrl_c()
        command.wait_for("slow")
        time.sleep(0.2)
        assert command.process.poll() is None
        assert sum("spawn_main" in line for line in command.alive().values()) == 2
        command.ctrl_c()
        assert command.end() < 1
    assert_whole_and_continues(five_and_one_that_hangs, run, 0 if slow == "commit 100" else 5)


@pytest.mark.parametrize("milliseconds", [[5], [20], [40], [80], [120], [10] * 20])
def test_more_interrupts_at_any_moment_of_the_end_do_no_harm(
    five_and_one_that_hangs: Path, run: Run, milliseconds: list[int]
) -> None:
    with Ingesting(five_and_one_that_hangs) as command:
        command.wait_for("hanging")
        time.sleep(0.3)
        command.ctrl_c()
        for pause in milliseconds:
            time.sleep(pause / 1000)
            command.ctrl_c()
        assert command.end() < 1.5
    with closing(open_index(command.index)) as index:
        committed = index.info().videos
    assert committed in (0, 5)
    assert_whole_and_continues(five_and_one_that_hangs, run, committed)
