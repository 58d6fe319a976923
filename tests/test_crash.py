"""A command may die at any moment: what was committed stays, what was not leaves no trace, and doing it again works.

Each command runs in a forked process that dies at its n-th call that touches the disk or the catalog (open, write,
fsync, rename, mkdir, remove, BEGIN, COMMIT, FAISS write), for every n until it gets to its end.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from PIL import Image

from echosearch import open_index
from echosearch.cohort.cohort import Definition
from echosearch.index import Store
from echosearch.index.catalog import CatalogReader
from echosearch.index.check import check_index as check, repair_index as repair
from echosearch.index.vectors import segment
from echosearch.ingest import (
    IngestOptions,
    annotate,
    compact_index,
    delete_videos,
    export_embeddings,
    import_embeddings,
    ingest,
    read_metadata,
    reembed,
    undelete_videos,
)
from echosearch.types import Failure, FrameSampling, ModelRequest
from echosearch.video import prepare_video

Command = Callable[[Path], object]
State = dict[str, tuple[bytes, str | None]]

DIED = 137


class _InProcess:
    """Decodes in this process: what dies here is the writer, not a worker."""

    workers = 1

    def wait_until_ready(self) -> None:
        return None

    def prepared(self, tasks: Any, sampling: Any, spec: Any, ahead: int) -> Iterator[Any]:
        from echosearch.errors import EchoSearchError

        for task, path in tasks:
            try:
                yield task, prepare_video(path, sampling, spec)
            except EchoSearchError as error:
                yield task, Failure(str(path), error.code(), str(error))


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def decoders(*arguments: Any) -> Iterator[_InProcess]:
        yield _InProcess()

    for module in ("pipeline", "reembedding"):
        monkeypatch.setattr(f"echosearch.ingest.{module}.decoders", decoders)
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 2)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Six videos in three segments, with a manifest."""
    for number in range(6):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(1, (number * 40, 120, 30)))
    (tmp_path / "m.csv").write_text("path,study\n0,S0\n1,S1\n2,S2\n")
    _ingest(tmp_path / "index", tables=[read_metadata(tmp_path / "m.csv")])
    return tmp_path / "index"


def _ingest(index: Path, tables: Any = (), **options: Any) -> None:
    ingest(index, [index.parent / "videos"], IngestOptions(ModelRequest("toy"), workers=1, **options), tables)


def _state(index: Path) -> State:
    """path -> vector and study, of everything that can be found; refuses what is at odds."""
    with Store(index).snapshot() as snapshot:
        records = list(snapshot.catalog.videos.records())
        assert [record.video_id for record in records] == snapshot.rows.ids.tolist()
        assert len({record.path for record in records}) == len(records)
        everything = np.arange(len(snapshot.rows))
        for record, vector in zip(records, snapshot.rows.gather(everything)[0], strict=True):
            [ranking] = snapshot.index.nearest(vector[None], 1)
            assert ranking.scores[0] == pytest.approx(1, abs=1e-6), record
        return {record.path: (snapshot.stored(record.video_id).vector.tobytes(), record.study) for record in records}


def _forked(work: Callable[[], object]) -> int:
    """Do something in a forked process; its exit code (99: an exception, which is printed)."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            import faiss

            faiss.omp_set_num_threads(1)  # the threads of the parent are not there
            work()
            code = 0
        except BaseException:  # noqa: BLE001  the edge of a process
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _die_at(nth: int, command: Callable[[], object]) -> None:
    """Run a command that ends this process at its n-th call to the disk or the catalog."""
    calls = 0

    def dying(function: Callable[..., Any], half: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth:
                if half:  # a write that got half way
                    arguments[0].write_bytes(b"\x93NUMPY")
                os._exit(DIED)
            return function(*arguments, **more)

        return call

    import faiss
    from sqlalchemy import Connection

    plain_sql = Connection.exec_driver_sql
    dying_sql = dying(plain_sql)

    def sql(self: Any, statement: str, *more: Any, **named: Any) -> Any:
        counted = statement.startswith(("BEGIN IMMEDIATE", "COMMIT"))
        return (dying_sql if counted else plain_sql)(self, statement, *more, **named)

    Connection.exec_driver_sql = sql  # type: ignore[method-assign]
    segment._write_array = dying(segment._write_array, half=True)
    faiss.write_index = dying(faiss.write_index)
    io.open = builtins.open = dying(io.open)  # type: ignore[assignment]
    for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    command()


def _survives(
    index: Path,
    command: Command,
    again: Command | None = None,
    whole: Callable[[State, State, State], bool] | None = None,
) -> int:
    """Let a command die everywhere; gives the number of places. `again` finishes the work (default: the command)."""
    template, done = index.with_name("template"), index.with_name("done")
    index.rename(template)
    shutil.copytree(template, index)
    before = _state(index) if whole is not None else {}
    command(index)
    after = _state(index)
    index.rename(done)

    def verify() -> None:
        if whole is not None:
            seen = _state(index)
            assert whole(before, seen, after), (sorted(before), sorted(seen), sorted(after))
        (again or command)(index)
        assert _state(index) == after
        assert check(index).problems == ()
        with Store(index).catalog_only() as snapshot:
            assert isinstance(snapshot, CatalogReader)
            named = {row.name for row in snapshot.segments.active()} | snapshot.segments.retired().keys()
        assert {folder.name for folder in (index / "segments").iterdir()} <= named | {"aside"}
        assert not list(index.rglob(".partial-*"))

    for nth in range(1, 1000):
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(template, index)
        code = _forked(lambda nth=nth: _die_at(nth, lambda: command(index)))
        assert code in (0, DIED), f"call {nth} ended with {code}"
        assert _forked(verify) == 0, f"after dying at call {nth}"
        if code == 0:
            return nth
    raise AssertionError("the command never ends")


def _either(before: State, seen: State, after: State) -> bool:
    return seen in (before, after)


def _nothing_lost(before: State, seen: State, after: State) -> bool:
    """Every path is as it was before or as it will be, and those that both have are there."""
    return before.keys() & after.keys() <= seen.keys() and all(
        seen[path] in (before.get(path), after.get(path)) for path in seen
    )


@pytest.mark.slow
def test_ingest(index: Path) -> None:
    videos = index.parent / "videos"
    for number in range(6, 9):
        write_video(videos / f"{number}.avi", plain_frames(1, (10, number * 20, 130)))
    write_video(videos / "0.avi", plain_frames(1, (250, 250, 30)))  # changed
    (videos / "1.avi").rename(videos / "moved.avi")
    (videos / "bad.avi").write_text("no video")
    assert _survives(index, _ingest, whole=lambda before, seen, after: len(seen) >= 6) > 60


@pytest.mark.slow
def test_delete(index: Path) -> None:
    def delete_again(path: Path) -> None:
        with Store(path).snapshot() as snapshot:
            left = set(snapshot.rows.ids.tolist()) & {2, 3}
        if left:
            delete_videos(path, sorted(left))

    assert _survives(index, lambda path: delete_videos(path, [2, 3]), delete_again, _either) > 3


@pytest.mark.slow
def test_undelete(index: Path) -> None:
    delete_videos(index, [2, 3])

    def undelete_again(path: Path) -> None:
        with Store(path).snapshot() as snapshot:
            buried = snapshot.catalog.deleted.ids()
        if buried:
            undelete_videos(path, sorted(buried))

    assert _survives(index, lambda path: undelete_videos(path, [2, 3]), undelete_again, _either) > 3


@pytest.mark.slow
def test_annotate(index: Path) -> None:
    (index.parent / "new.csv").write_text("path,study,EF\n0,S9,55\n4,S4,\n")
    table = read_metadata(index.parent / "new.csv")
    assert _survives(index, lambda path: annotate(path, table), None, _either) > 3


@pytest.mark.slow
def test_compact(index: Path) -> None:
    delete_videos(index, [2, 3, 6])
    assert _survives(index, compact_index, None, _either) > 30


@pytest.mark.slow
def test_merge(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 2)
    monkeypatch.setattr("echosearch.index.merging.MERGED_ROWS", 4)
    assert _survives(index, _ingest, None, _either) > 20


@pytest.mark.slow
def test_ingest_that_merges_as_it_goes(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches, each of which is merged with what is there, and what that replaces is erased at once."""
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 2)
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    for number in range(6, 11):
        write_video(index.parent / "videos" / f"{number}.avi", plain_frames(1, (10, number * 20, 130)))
    assert _survives(index, _ingest, whole=lambda before, seen, after: before.items() <= seen.items()) > 100


@pytest.mark.slow
def test_prune(index: Path) -> None:
    for number in (0, 5):
        (index.parent / "videos" / f"{number}.avi").unlink()
    assert _survives(index, lambda path: _ingest(path, prune=True, yes=True), None, _either) > 3


@pytest.mark.slow
def test_import_embeddings(index: Path) -> None:
    """Three videos are new to the index, six are there."""
    other = index.with_name("other")
    for number in range(6, 9):
        write_video(index.parent / "videos" / f"{number}.avi", plain_frames(1, (10, number * 20, 130)))
    _ingest(other)
    export_embeddings(other, index.parent / "out.npz")
    assert _survives(index, lambda path: import_embeddings(path, index.parent / "out.npz"), None, _either) > 20


def _model(path: Path) -> tuple[int, int, int]:
    """What an index says that it is bound to; its vectors are of that length."""
    with Store(path).snapshot() as snapshot:
        recipe = snapshot.description.recipe
        return recipe.still_version, snapshot.description.dim, recipe.sampling.count or 0


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [None, FrameSampling(count=1)], ids=["stills", "another recipe"])
def test_reembed(index: Path, sampling: FrameSampling | None) -> None:
    """The old index is whole until the new one is, manifest and vectors alike; two of its stills lie beside cines."""
    for number in range(3):
        Image.new("RGB", (64, 64), (90 * number, 20, 130)).save(index.parent / "videos" / f"{number}.png")
    _ingest(index)
    delete_videos(index, [9])
    (index.parent / "videos" / "2.png").unlink()
    file = index / "manifest.json"
    values = json.loads(file.read_text())
    values["recipe"]["still_version"] = 1
    file.write_text(json.dumps(values))
    model = None if sampling is None else ModelRequest("toy", sampling=sampling)

    def command(path: Path) -> None:
        reembed(path, IngestOptions(model, workers=1, yes=True))

    versions = {False: (1, 32, 0), True: (2, 32, 0 if sampling is None else 1)}

    def whole(before: State, seen: State, after: State) -> bool:
        return seen in (before, after)

    def again(path: Path) -> None:
        with Store(path).snapshot() as snapshot:
            is_new = min(snapshot.catalog.videos.embedded(["still"])) > 9
        assert _model(path) == versions[is_new]
        command(path)
        assert _model(path) == versions[True]
        described = json.loads((path / "manifest.json").read_text())["recipe"]
        assert (described["still_version"], described["sampling"]["count"] or 0) == versions[True][::2]

    assert _survives(index, command, again, whole) > 20


@pytest.mark.slow
def test_bringing_up(index: Path) -> None:
    """An index without stills is brought up in the commit of another change, or not at all."""
    file = index / "manifest.json"
    values = json.loads(file.read_text())
    values["recipe"]["still_version"] = 1
    file.write_text(json.dumps(values))

    def again(path: Path) -> None:
        with Store(path).snapshot() as snapshot:
            left = set(snapshot.rows.ids.tolist()) & {2, 3}
        assert _model(path)[0] == (1 if left else 2)
        if left:
            delete_videos(path, sorted(left))
        assert _model(path)[0] == 2
        with Store(path).writer():
            pass
        assert json.loads((path / "manifest.json").read_text())["recipe"]["still_version"] == 2

    assert _survives(index, lambda path: delete_videos(path, [2, 3]), again, _either) > 5


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_repair(index: Path, missing: bool) -> None:
    """What was damaged lies where it was, or aside, and is never erased."""
    with Store(index).catalog_only() as snapshot:
        damaged = snapshot.segments.active()[1].name
    (index / "segments" / damaged / "pooled.npy").write_bytes(b"damaged")
    if missing:
        (index / "segments" / damaged / "ids.npy").unlink()

    def again(path: Path) -> None:
        for _ in range(2):
            repair(path, missing=missing)
        assert (path / "segments" / "aside" / damaged / "pooled.npy").read_bytes() == b"damaged"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
        assert _survives(index, lambda path: repair(path, missing=missing), again) > 10


def _create_cohort(path: Path) -> None:
    open_index(path).cohorts.create("some", Definition(where=("study IN ('S0', 'S2')",), level="video"))


@pytest.mark.slow
def test_cohort(index: Path) -> None:
    def create_again(path: Path) -> None:
        if not open_index(path).cohorts.all():
            _create_cohort(path)
        assert len(open_index(path).cohorts.get("some").members) == 2

    assert _survives(index, _create_cohort, create_again) > 1


@pytest.mark.slow
def test_sample(index: Path) -> None:
    """An audit that is kept has its whole sheet."""
    _create_cohort(index)
    sheet = index.parent / "sheet.csv"

    def sample(path: Path) -> None:
        sheet.unlink(missing_ok=True)
        open_index(path).cohorts.sample("some", 2, "random", sheet)

    def sample_again(path: Path) -> None:
        if not open_index(path).cohorts.audits("some"):
            sample(path)
        [audit] = open_index(path).cohorts.audits("some")
        lines = sheet.read_text("utf-8-sig").splitlines()
        assert [line.split(",")[:2] for line in lines[1:]] == [[audit.stamp, unit] for unit in audit.units]

    assert _survives(index, sample, sample_again) > 3


@pytest.mark.slow
def test_judge(index: Path) -> None:
    _create_cohort(index)
    cohorts, sheet = open_index(index).cohorts, index.parent / "sheet.csv"
    audit = cohorts.sample("some", 2, "random", sheet)
    sheet.write_text("audit,unit,verdict\n" + "".join(f"{audit.stamp},{unit},yes\n" for unit in audit.units))

    def judge(path: Path) -> None:
        [before] = open_index(path).cohorts.audits("some")
        assert len(before.judgements) in (0, 2)
        assert len(open_index(path).cohorts.judge("some", sheet).judgements) == 2

    assert _survives(index, judge) > 1
