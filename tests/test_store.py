"""One index on disk: it changes whole or not at all, and what cannot be right is refused with the way out."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_helpers import (
    MEDIA,
    NUMERICS,
    Vector,
    add,
    contents,
    make_read_only,
    make_store,
    mounted,
    new_video,
    oracle,
    python,
    running_python,
    search,
    stored,
    toy_card,
    toy_probe,
    unit,
)

from echosearch.config import FORMAT_VERSION
from echosearch.errors import (
    BackendError,
    BadManifest,
    CatalogSegmentsDisagree,
    DamagedIndex,
    IndexLocked,
    IndexNotFound,
    IndexStateError,
    NewerFormat,
    OutOfReach,
    UnknownVideo,
)
from echosearch.index import Batch, IndexDescription, Snapshot, Store
from echosearch.index.catalog import Catalog, FailedFile, KnownFile
from echosearch.index.vectors import FlatFaiss, Weighting
from echosearch.search import Query
from echosearch.types import Failure, FrameSampling, ModelRequest

Contents = dict[int, Any]


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power; that segments are synced is shown in test_segments.py."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(make_store(tmp_path / "index")) as created:
        yield created


def look(path: Path) -> tuple[int, Contents]:
    """What somebody who opens the index now sees: generation and all videos with their vectors."""
    with closing(Store(path)) as opened, opened.snapshot() as snapshot:
        assert len(snapshot.rows) == snapshot.catalog.counts.live()
        return snapshot.generation, contents(snapshot)


def found(snapshot: Snapshot, query: Vector, k: int = 10, weighting: Weighting = "cosine") -> list[tuple[int, float]]:
    [ranking] = snapshot.index.nearest(query[None], k, weighting)
    return list(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = path / "manifest.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def by_hand(path: Path, *statements: str) -> None:
    """Change the catalog behind the index's back."""
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.executescript(statement)


# Create, open, reopen.


def test_a_new_index_is_empty_and_whole(tmp_path: Path) -> None:
    store = make_store(tmp_path / "a" / "b" / "index")
    assert look(store.path) == (0, {})
    assert sorted(file.name for file in store.path.iterdir() if not file.name.startswith("catalog.sqlite-")) == [
        "ann",
        "cache",
        "catalog.sqlite",
        "manifest.json",
        "segments",
    ]
    assert [file.name for file in store.path.parent.iterdir()] == ["index"]
    with store.snapshot() as snapshot:
        assert found(snapshot, unit(1)) == []
        assert snapshot.problems == ()


def test_the_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card, probe = toy_card(), toy_probe()
    store = Store.create(tmp_path / "index", card, probe, "float16")
    manifest = Store(store.path).description
    assert manifest.recipe == card.recipe
    assert manifest.recipe.id == card.recipe.id
    assert manifest.probe.frames.tobytes() == probe.frames.tobytes()
    assert manifest.probe.phrases.tobytes() == probe.phrases.tobytes()
    assert (manifest.probe.frames.dtype, manifest.probe.frames.shape) == (np.float32, (2, 32))
    told = (manifest.model, manifest.weights, manifest.dim, manifest.frames_dtype, manifest.precision)
    assert told == ("toy", "none", 32, "float16", "fp32")
    assert (manifest.notice, manifest.logit_scale) == (card.notice, 1.0)
    assert manifest.created_at == store.description.created_at

    values = json.loads((store.path / "manifest.json").read_text())
    assert values["format_version"] == FORMAT_VERSION
    assert (values["recipe_id"], values["space_id"]) == (card.recipe.id, card.recipe.space.id)


@pytest.mark.parametrize(
    ("weights", "request_weights"),
    [("none", None), ("toy", None), ("hf-hub:org/name", "hf-hub:org/name"), ("local-dir:/w", "local-dir:/w")],
)
def test_the_manifest_asks_for_the_model_with_which_it_was_made(weights: str, request_weights: str | None) -> None:
    from dataclasses import replace

    sampling = FrameSampling(0, 40, 2)
    card = replace(toy_card(), weights=weights, recipe=replace(toy_card().recipe, sampling=sampling))
    manifest = IndexDescription.of(card, toy_probe(), "float32")
    way = card.recipe.preprocess  # the index's own, whatever the weights are recognised as by now
    assert manifest.request() == ModelRequest("toy", request_weights, sampling=sampling, preprocess=way)
    elsewhere = ModelRequest("local-dir:/else", sampling=sampling, preprocess=way)
    assert manifest.request("local-dir:/else") == elsewhere


def test_an_empty_folder_may_become_an_index(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    make_store(tmp_path / "index")
    assert look(tmp_path / "index") == (0, {})


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.tex").write_text("mine")
    sentence = f"^{tmp_path / 'index'} exists already and is not an index; give another --index$"
    with pytest.raises(IndexStateError, match=sentence):
        make_store(tmp_path / "index")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IndexStateError, match="exists already and is not an index; give another --index"):
        make_store(tmp_path / "file")
    assert {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")} == {
        "index",
        "index/thesis.tex",
        "file",
    }


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> Catalog:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Catalog, "create", full)
    with pytest.raises(BackendError, match=f"^cannot write to the index {tmp_path / 'i'}: No space left on device$"):
        make_store(tmp_path / "i")
    assert list(tmp_path.iterdir()) == []


def test_what_was_committed_is_there_when_the_index_is_opened_again(store: Store) -> None:
    frames = np.stack([unit(1), unit(0, 1)])
    ids = add(
        store,
        new_video("a.avi", stored(unit(1, 1), 0.7, frames, [3, 9]), study="S"),
        new_video("b.avi", unit(0, 0, 1)),
    )
    assert ids == [1, 2]
    one = np.zeros(32, np.float32)
    one[2] = 1
    assert look(store.path) == (
        1,
        {
            1: (
                "/media/echo/a.avi",
                unit(1, 1).tobytes(),
                float(np.float32(0.7)),
                frames.tobytes(),
                np.array([3, 9], np.int32).tobytes(),
            ),
            2: ("/media/echo/b.avi", one.tobytes(), 1.0, one.tobytes(), np.zeros(1, np.int32).tobytes()),
        },
    )
    with Store(store.path).snapshot() as snapshot:
        assert found(snapshot, unit(0, 1), 2) == [(1, float(unit(1, 1)[1])), (2, 0.0)]


def test_one_commit_brings_videos_failures_and_touched_files(store: Store) -> None:
    add(store, new_video("a.avi", unit(1)))
    with store.snapshot() as snapshot:
        known = snapshot.catalog.files.known([MEDIA / "a.avi"])[MEDIA / "a.avi"]
    failure = Failure("/media/echo/c.avi", "unreadable-video", "no")
    later = KnownFile(known.video_id, 7, 8, known.content_sha256)
    with store.writer() as writer:
        batch = Batch([new_video("b.avi", unit(0, 1))], [FailedFile(MEDIA, failure, 1, 2)], [later])
        assert writer.commit(batch, NUMERICS) == 2
    with store.snapshot() as snapshot:
        assert snapshot.generation == 2
        assert [record.video_id for record in snapshot.catalog.videos.records()] == [1, 2]
        assert snapshot.catalog.failures.all() == [failure]
        assert snapshot.catalog.files.known([MEDIA / "a.avi"]) == {MEDIA / "a.avi": later}


def test_a_commit_without_videos_writes_no_segment(store: Store) -> None:
    with store.writer() as writer:
        failure = Failure("/media/echo/c.avi", "unreadable-video", "no")
        writer.commit(Batch(failed=[FailedFile(MEDIA, failure, None, None)]), NUMERICS)
    assert list((store.path / "segments").iterdir()) == []
    with store.snapshot() as snapshot:
        assert snapshot.catalog.failures.all() == [failure]


def test_a_replaced_video_is_not_found_again_and_an_id_keeps_its_vector(store: Store) -> None:
    add(store, new_video("a.avi", unit(1)), new_video("b.avi", unit(0, 1)), finish=True)
    add(store, new_video("a.avi", unit(0, 0, 1), content="new bytes", replaces=1))
    for finished in (False, True):
        if finished:
            with store.writer() as writer:
                writer.finish()
        with Store(store.path).snapshot() as snapshot:
            assert found(snapshot, unit(1)) == [(2, 0.0), (3, 0.0)]
            assert snapshot.rows.ids.tolist() == [2, 3]
            assert snapshot.stored(3).vector.tolist() == unit(0, 0, 1).tolist()
            with pytest.raises(UnknownVideo, match=r"^there is no video 1 in this index$"):
                snapshot.stored(1)


def test_an_attribute_that_cannot_be_kept_stops_the_writer_before_anything_is_written(store: Store) -> None:
    with store.writer() as writer:
        writer.declare_attributes({"ef": "real"})
        with pytest.raises(BadManifest, match="attribute 'ef' holds numbers"):
            writer.declare_attributes({"ef": "text"})
        writer.commit(Batch([new_video("a.avi", unit(1), attributes={"ef": 55.5})]), NUMERICS)
    with store.snapshot() as snapshot:
        assert [record.attributes for record in snapshot.catalog.videos.records()] == [{"ef": 55.5}]


@pytest.mark.parametrize("frames_dtype", ["float16", "none"])
def test_frames_are_kept_as_the_manifest_says(tmp_path: Path, frames_dtype: Any) -> None:
    store = make_store(tmp_path / "index", frames_dtype)
    frames = np.stack([unit(1, 3), unit(2, 1)])
    add(store, new_video("a.avi", stored(unit(1, 1), 0.9, frames)))
    with store.snapshot() as snapshot:
        kept = snapshot.stored(1).frame_embeddings
    if frames_dtype == "none":
        assert kept is None
    else:
        assert kept is not None
        assert kept.dtype == np.float16
        assert kept.tolist() == frames.astype(np.float16).tolist()


# What is not opened, and what to do about it.


def test_no_index_names_those_that_are_near(tmp_path: Path) -> None:
    make_store(tmp_path / "adults")
    make_store(tmp_path / "children")
    shutil.copytree(tmp_path / "adults", tmp_path / ".partial-adults-1234")  # of a creation that was killed
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "manifest.json").write_text("{}")  # as of a cohort
    sentence = (
        f"there is no index at {tmp_path / 'kids'}; there are {tmp_path / 'adults'}, {tmp_path / 'children'}. "
        "Make one with: echosearch ingest VIDEOS --model MODEL"
    )
    with pytest.raises(IndexNotFound, match=f"^{re.escape(sentence)}$"):
        Store(tmp_path / "kids")


@pytest.mark.parametrize("place", ["nowhere/index", "index"])
def test_no_index_and_none_near_says_how_to_make_one(tmp_path: Path, place: str) -> None:
    sentence = f"there is no index at {tmp_path / place}. Make one with: echosearch ingest VIDEOS --model MODEL"
    with pytest.raises(IndexNotFound, match=f"^{re.escape(sentence)}$"):
        Store(tmp_path / place)
    assert not Store.exists(tmp_path / place)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused(store: Store) -> None:
    edit_manifest(store.path, lambda values: values.update(format_version=FORMAT_VERSION + 1, recipe="in another way"))
    sentence = (
        f"^{store.path} has format {FORMAT_VERSION + 1}, and this echosearch reads up to {FORMAT_VERSION}; update"
    )
    with pytest.raises(NewerFormat, match=sentence):
        Store(store.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["recipe"]["preprocess"].update(zoom=0.2),
        lambda values: values["recipe"]["sampling"].update(stride=5),
        lambda values: values["recipe"]["space"].update(tensors_sha256="another model"),
        lambda values: values.update(recipe_id="0" * 64),
    ],
)
def test_a_manifest_whose_recipe_was_changed_is_refused(store: Store, change: Callable[[Any], Any]) -> None:
    edit_manifest(store.path, change)
    sentence = r"manifest\.json was changed: its recipe no longer matches its hash$"
    with pytest.raises(DamagedIndex, match=sentence):
        Store(store.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("format_version"),
        lambda values: values.update(format_version="new"),
        lambda values: values.pop("recipe"),
        lambda values: values.pop("recipe_id"),
        lambda values: values.pop("dim"),
        lambda values: values["recipe"]["preprocess"].update(zoom=0.7),
        lambda values: values["recipe"]["preprocess"].update(colour="yes"),
        lambda values: values["probe"]["frames"].update(shape=[3, 32]),
        lambda values: values["probe"]["frames"].update(float32="%%%"),
        lambda values: values["probe"].pop("phrases"),
    ],
)
def test_a_manifest_that_lacks_something_is_named(store: Store, change: Callable[[Any], Any]) -> None:
    edit_manifest(store.path, change)
    with pytest.raises(
        DamagedIndex, match=f"^{store.path / 'manifest.json'} cannot be read: .*; restore it from a copy"
    ):
        Store(store.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0\0", '"manifest"'])
def test_a_manifest_that_is_none_is_named(store: Store, text: str) -> None:
    (store.path / "manifest.json").write_text(text)
    with pytest.raises(
        DamagedIndex, match=f"^{store.path / 'manifest.json'} cannot be read: .*; restore it from a copy"
    ):
        Store(store.path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"format_version": 1}'])
def test_a_damaged_manifest_is_told_in_plain_words(store: Store, text: str) -> None:
    (store.path / "manifest.json").write_text(text)
    file = store.path / "manifest.json"
    with pytest.raises(
        DamagedIndex, match=f"^{file} cannot be read: it is not what was written; restore it from a copy of the index$"
    ):
        Store(store.path)


def test_a_manifest_that_cannot_be_opened_says_why(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(
        DamagedIndex, match=r"manifest\.json cannot be read: Permission denied; restore it from a copy of the index$"
    ):
        Store(store.path)


def test_a_manifest_with_another_dim_says_so(filled: Store) -> None:
    edit_manifest(filled.path, lambda values: values.update(dim=31))
    with pytest.raises(
        DamagedIndex, match="was changed: it says that vectors have 31 numbers, but its fingerprint has 32; "
    ):
        Store(filled.path)


def test_a_segment_with_vectors_of_another_length_says_so(filled: Store) -> None:
    folder = segment_folders(filled)[1, 2, 3]
    values = json.loads((folder / "segment.json").read_text())
    (folder / "segment.json").write_text(json.dumps(values | {"dim": 31}))
    refused(
        filled,
        CatalogSegmentsDisagree,
        f"^segment {folder.name} of {filled.path} has vectors of 31 numbers, and manifest.json says 32; restore both",
    )


def test_a_missing_catalog_is_named(store: Store) -> None:
    (store.path / "catalog.sqlite").unlink()
    with pytest.raises(DamagedIndex, match=r"catalog\.sqlite is missing; restore the index from a copy$"):
        Store(store.path)


@pytest.fixture
def filled(store: Store) -> Store:
    """An index with the ids 1, 2, 3 in one segment and 4, 5 in another."""
    add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in (1, 2, 3)))
    add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in (4, 5)), finish=True)
    return store


def segment_folders(store: Store) -> dict[tuple[int, ...], Path]:
    return {tuple(np.load(path / "ids.npy")): path for path in (store.path / "segments").iterdir()}


def refused(store: Store, error: type[IndexStateError], sentence: str) -> None:
    """Whoever opens the index now is told this, reader and writer; nothing is changed by that."""
    with pytest.raises(error, match=sentence):
        look(store.path)
    with pytest.raises(error, match=sentence), Store(store.path).writer() as writer:  # noqa: SIM117
        with writer.snapshot():
            pass


def test_a_segment_that_is_gone_is_named(filled: Store) -> None:
    folder = segment_folders(filled)[4, 5]
    shutil.rmtree(folder)
    refused(filled, DamagedIndex, f"^segment {folder} cannot be read: .*No such file or directory")


def test_a_segment_with_other_ids_is_refused(filled: Store) -> None:
    folder = segment_folders(filled)[4, 5]
    np.save(folder / "ids.npy", np.array([4, 6]))
    refused(filled, CatalogSegmentsDisagree, r"ids\.npy does not hold the ids that it was written with; restore it")


def test_a_segment_of_another_index_is_refused(filled: Store, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other")
    add(other, *(new_video(f"{i}.avi", unit(1, i)) for i in range(5)))
    ours, [theirs] = segment_folders(filled)[4, 5], segment_folders(other).values()
    shutil.rmtree(ours)
    theirs.rename(ours)
    refused(
        filled,
        CatalogSegmentsDisagree,
        rf"^segment {ours.name} of {filled.path} and its catalog do not hold the same videos \(5 and 2\); "
        "restore both from one copy of the index$",
    )


@pytest.mark.parametrize(
    ("statement", "numbers"),
    [
        ("DELETE FROM videos WHERE id = 2", "3 and 2"),
        ("UPDATE videos SET id = 7 WHERE id = 2", "3 and 3"),
        ("DELETE FROM videos WHERE id IN (1, 2); UPDATE videos SET id = 6 WHERE id = 3", "3 and 1"),
        ("UPDATE videos SET segment = (SELECT segment FROM videos WHERE id = 4) WHERE id = 2", "3 and 2"),
        ("UPDATE segments SET ids_sha256 = 'x' WHERE count = 3", "3 and 3"),
        ("UPDATE segments SET count = 4 WHERE count = 3", "3 and 3"),
    ],
)
def test_a_catalog_changed_by_hand_is_refused(filled: Store, statement: str, numbers: str) -> None:
    by_hand(filled.path, statement)
    name = segment_folders(filled)[1, 2, 3].name
    refused(
        filled,
        CatalogSegmentsDisagree,
        rf"^segment {name} of {filled.path} and its catalog do not hold the same videos \({numbers}\); "
        "restore both from one copy of the index$",
    )


def test_a_catalog_older_than_the_segments_is_an_older_index(filled: Store, tmp_path: Path) -> None:
    """A restored copy of the catalog names fewer segments: what it names is whole, so it is opened."""
    before = look(filled.path)
    with closing(sqlite3.connect(filled.path / "catalog.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(filled.path / "catalog.sqlite", tmp_path / "copy")
    add(filled, new_video("later.avi", unit(1)), finish=True)
    for file in filled.path.glob("catalog.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "copy", filled.path / "catalog.sqlite")
    assert look(filled.path) == before
    with Store(filled.path).snapshot() as snapshot:  # FAISS is newer now, and knows a dead row
        assert found(snapshot, unit(1), 1) == [(1, float(unit(1, 1)[0]))]


# One writer.

HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from store_helpers import NUMERICS, new_video, unit
from echosearch.index import Batch, Store

with Store(Path(sys.argv[1])).writer() as writer:
    writer.commit(Batch([new_video("theirs.avi", unit(0, 1))]), NUMERICS)
    print("holding", flush=True)
    sys.stdin.readline()
"""


def test_a_second_writer_is_told_who_writes_and_since_when(store: Store) -> None:
    with running_python(HOLDS_THE_LOCK, store.path) as process:
        sentence = (
            rf"^{store.path} is being written to by process {process.pid} on {re.escape(socket.gethostname())} "
            r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \(-c .*\); try again later"
        )
        with pytest.raises(IndexLocked, match=sentence), store.writer():
            pass
        assert len(look(store.path)[1]) == 1  # and readers are not held up
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert not (store.path / "writer.json").exists()
    assert add(store, new_video("ours.avi", unit(1))) == [2]


def test_the_lock_of_a_killed_writer_is_free(store: Store) -> None:
    with running_python(HOLDS_THE_LOCK, store.path) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert (store.path / "writer.json").exists()
    assert add(store, new_video("ours.avi", unit(1))) == [2]
    assert [path for path, *_ in look(store.path)[1].values()] == ["/media/echo/theirs.avi", "/media/echo/ours.avi"]


def test_two_writers_in_one_process_are_kept_apart_as_well(store: Store) -> None:
    with (
        store.writer(),
        pytest.raises(IndexLocked, match=f"is being written to by process {os.getpid()} on"),
        Store(store.path).writer(),
    ):
        pass
    with store.writer():
        pass


def test_the_lock_is_free_after_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"), store.writer():
        _ = 1 / 0
    assert add(store, new_video("a.avi", unit(1))) == [1]


def test_a_holder_that_cannot_be_read_is_another_process(store: Store) -> None:
    with store.writer():
        (store.path / "writer.json").write_text("{")
        with (
            pytest.raises(IndexLocked, match="is being written to by another process; try again later"),
            store.writer(),
        ):
            pass


# A writer that dies.

DIES = """
import os, sys
from pathlib import Path
from store_helpers import NUMERICS, new_video, unit
import echosearch.index.writer, echosearch.index.vectors.flat, echosearch.index.vectors.segment
from echosearch.index.catalog import Catalog
from echosearch.index.catalog.videos import Videos
from echosearch.index import Batch, Store

def die(*arguments, **options):
    os._exit(9)

def dies_after(function):
    def wrapped(*arguments, **options):
        function(*arguments, **options)
        die()
    return wrapped

path, step = Path(sys.argv[1]), sys.argv[2]
with Store(path).writer() as writer:
    if step == "before the ids are reserved":
        Catalog.reserve_ids = die
    elif step == "before the segment is written":
        echosearch.index.writer.write_segment = die
    elif step == "while the segment is written":
        calls = []
        save = echosearch.index.vectors.segment._write_array
        def dies_at_third(*arguments):
            calls.append(1)
            return die() if len(calls) == 3 else save(*arguments)
        echosearch.index.vectors.segment._write_array = dies_at_third
    elif step == "before the segment gets its name":
        Path.rename = die
    elif step == "between segment and transaction":
        Catalog.writing = die
    elif step == "within the transaction":
        Videos.add = dies_after(Videos.add)
    elif step == "while FAISS is written":
        echosearch.index.vectors.flat.fsync_path = die
    elif step == "before FAISS gets its name":
        Path.rename = lambda path, target, rename=Path.rename: die() if "ann" in path.parts else rename(path, target)
    elif step == "before the older FAISS goes":
        echosearch.index.writer.shutil.rmtree = lambda path, **options: die() if path.name == "1" else None
    writer.commit(Batch([new_video("new.avi", unit(1, 2)), new_video("a.avi", unit(0, 2, 1), content="x", replaces=1)]),
                  NUMERICS)
    writer.finish()
"""
BEFORE_COMMIT = [
    "before the ids are reserved",
    "before the segment is written",
    "while the segment is written",
    "before the segment gets its name",
    "between segment and transaction",
    "within the transaction",
]
AFTER_COMMIT = ["while FAISS is written", "before FAISS gets its name", "before the older FAISS goes"]


def dies_at(store: Store, step: str) -> None:
    told = python(DIES, store.path, step)
    assert told.returncode == 9, told.stderr


@pytest.fixture
def before(store: Store) -> tuple[int, Contents]:
    """The index with a.avi and b.avi, FAISS included."""
    add(store, new_video("a.avi", unit(1)), new_video("b.avi", unit(1, 1)), finish=True)
    return look(store.path)


@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_a_writer_that_dies_before_its_commit_changes_nothing(
    store: Store, before: tuple[int, Contents], step: str
) -> None:
    with store.snapshot() as snapshot:
        answers = found(snapshot, unit(1, 2))
    [segment] = segment_folders(store).values()
    dies_at(store, step)
    assert look(store.path) == before
    with Store(store.path).snapshot() as snapshot:
        assert found(snapshot, unit(1, 2)) == answers
        assert snapshot.problems == ()
    left = {path.name for path in (store.path / "segments").iterdir()} - {segment.name}
    assert bool(left) == (step not in ("before the ids are reserved", "before the segment is written"))

    with store.writer() as writer:
        writer.finish()
    assert [path.name for path in (store.path / "segments").iterdir()] == [segment.name]
    assert look(store.path) == before
    [new_id] = add(store, new_video("new.avi", unit(1, 2)))
    assert new_id == (3 if step == "before the ids are reserved" else 5)  # reserved ids are never given again


@pytest.mark.parametrize("step", AFTER_COMMIT)
def test_a_writer_that_dies_after_its_commit_has_committed(
    store: Store, before: tuple[int, Contents], step: str
) -> None:
    dies_at(store, step)
    generation, videos = look(store.path)
    assert generation == 2
    assert list(videos) == [2, 3, 4]
    assert videos[2] == before[1][2]
    right = [(3, 1.0), (2, float(oracle({2: (unit(1, 1), 1.0)}, unit(1, 2), 1)[0][1])), (4, 0.8)]
    with Store(store.path).snapshot() as snapshot:
        assert isinstance(snapshot.index._finder, FlatFaiss)
        assert snapshot.index.num_uncovered == (0 if step == "before the older FAISS goes" else 2)
        answers = found(snapshot, unit(1, 2))
        assert [video_id for video_id, _ in answers] == [3, 2, 4]
        assert [score for _, score in answers] == pytest.approx([score for _, score in right], abs=1e-6)
        assert snapshot.problems == ()
    with store.writer() as writer:
        writer.finish()
        assert [path.name for path in (store.path / "ann").iterdir()] == ["2"]
    with Store(store.path).snapshot() as snapshot:
        assert found(snapshot, unit(1, 2)) == answers
    assert look(store.path) == (generation, videos)


def test_what_a_dead_writer_has_left_is_never_seen_and_is_removed(store: Store, before: tuple[int, Contents]) -> None:
    [segment] = (store.path / "segments").iterdir()
    shutil.copytree(segment, store.path / "segments" / "0123456789abcdef")
    shutil.copytree(segment, store.path / "segments" / ".partial-0123456789abcdef")
    shutil.copytree(store.path / "ann" / "1", store.path / "ann" / ".partial-9")
    assert look(store.path) == before
    with Store(store.path).snapshot() as snapshot:
        assert snapshot.rows.ids.tolist() == [1, 2]
        assert [video_id for video_id, _ in found(snapshot, unit(1))] == [1, 2]
        assert snapshot.problems == ()
    with store.writer():
        assert [path.name for path in (store.path / "segments").iterdir()] == [segment.name]
        assert [path.name for path in (store.path / "ann").iterdir()] == ["1"]
    assert look(store.path) == before


# FAISS is derived.


def test_without_faiss_the_answers_are_the_same(filled: Store) -> None:
    with filled.snapshot() as snapshot:
        answers = [found(snapshot, unit(1, i), k) for i in range(4) for k in (1, 3, 9)]
    shutil.rmtree(filled.path / "ann")
    with Store(filled.path).snapshot() as snapshot:
        assert [found(snapshot, unit(1, i), k) for i in range(4) for k in (1, 3, 9)] == answers
    with filled.writer() as writer:
        writer.finish()
    assert [path.name for path in (filled.path / "ann").iterdir()] == ["2"]


def test_faiss_is_written_anew_when_it_lacks_rows_and_only_then(store: Store) -> None:
    def written() -> dict[str, int]:
        return {path.name: (path / "index.faiss").stat().st_mtime_ns for path in (store.path / "ann").iterdir()}

    def finish() -> dict[str, int]:
        with store.writer() as writer:
            writer.finish()
        return written()

    assert finish() == {}  # nothing to hold
    add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in range(20)))
    assert written() == {}
    first = finish()
    assert list(first) == ["1"]
    assert finish() == first  # nothing has changed
    add(store, new_video("one more.avi", unit(1)))
    second = finish()
    assert list(second) == ["2"]
    with store.writer() as writer:
        writer.declare_attributes({"ef": "real"})
    assert finish() == second  # a new generation, and the same vectors


def test_faiss_with_many_dead_rows_is_written_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in range(20)), finish=True)
    for number in range(1, 4):
        by_hand(
            store.path,
            f"UPDATE videos SET deleted_at = 'today' WHERE id = {number}",
            "UPDATE state SET generation = generation + 1",
        )
        with store.writer() as writer:
            writer.finish()
        with store.snapshot() as snapshot:
            assert [video_id for video_id, _ in found(snapshot, unit(1), 1)] == [number + 1]
        [folder] = (store.path / "ann").iterdir()
        held = json.loads((folder / "ann.json").read_text())["count"]
        assert held == {1: 20, 2: 18, 3: 18}[number]  # 2 of 18 living is more than a tenth, 1 of 19 is not


# Readers.


def test_a_view_stays_at_its_commit_and_the_next_one_sees_the_new(store: Store) -> None:
    add(store, new_video("a.avi", unit(1)), finish=True)
    with closing(Store(store.path)) as reader:
        with reader.snapshot() as snapshot:
            assert found(snapshot, unit(0, 1)) == [(1, 0.0)]
            add(store, new_video("b.avi", unit(0, 1)), finish=True)
            add(store, new_video("a.avi", unit(0, 1, 1), content="new", replaces=1), finish=True)
            assert snapshot.generation == 1
            assert found(snapshot, unit(0, 1)) == [(1, 0.0)]
            assert [record.video_id for record in snapshot.catalog.videos.records()] == [1]
            assert snapshot.stored(1).vector.tolist() == unit(1).tolist()
            with pytest.raises(UnknownVideo, match="there is no video 2"):
                snapshot.stored(2)
        with reader.snapshot() as snapshot:
            assert snapshot.generation == 3
            assert found(snapshot, unit(0, 1)) == [(2, 1.0), (3, float(unit(0, 1, 1)[1]))]
            assert [record.video_id for record in snapshot.catalog.videos.records()] == [2, 3]


def test_a_view_opened_before_the_index_is_used_stays_at_its_commit_too(store: Store) -> None:
    """FAISS is read late, and may be newer than the view by then."""
    add(store, new_video("a.avi", unit(1)), finish=True)
    with Store(store.path).snapshot() as snapshot:
        add(store, new_video("b.avi", unit(0, 1)), new_video("c.avi", unit(1)), finish=True)
        assert found(snapshot, unit(1)) == [(1, 1.0)]
        assert snapshot.problems == ()


def test_segments_stay_open_from_one_commit_to_the_next(store: Store) -> None:
    add(store, new_video("a.avi", unit(1)))
    with closing(Store(store.path)) as reader:
        with reader.snapshot() as snapshot:
            first = snapshot.rows.place(1)
        add(store, new_video("b.avi", unit(0, 1)))
        with reader.snapshot() as snapshot:
            second = snapshot.rows.place(1)
    assert first is not None
    assert second is not None
    assert second[0] is first[0]


class InterruptedStore(Store):
    """A store of which another thread asks for a view just before this one gets its own."""

    meanwhile: Callable[[], None] | None = None

    @property
    def description(self) -> IndexDescription:
        if self.meanwhile is not None:
            now, self.meanwhile = self.meanwhile, None
            now()
        return self._manifest

    @description.setter
    def description(self, manifest: IndexDescription) -> None:
        self._manifest = manifest


def test_threads_that_share_a_store_do_not_take_each_others_vectors(store: Store) -> None:
    add(store, new_video("a.avi", unit(1)))
    with closing(InterruptedStore(store.path)) as shared:

        def later() -> None:
            add(store, new_video("b.avi", unit(0, 1)))
            with shared.snapshot() as theirs:
                assert theirs.rows.ids.tolist() == [1, 2]

        with shared.snapshot() as snapshot:
            assert snapshot.rows.ids.tolist() == [1]
        shared.meanwhile = later
        with shared.snapshot() as ours:
            assert ours.generation == 1
            assert ours.rows.ids.tolist() == [1]
            assert found(ours, unit(0, 1)) == [(1, 0.0)]
        assert shared.meanwhile is None


# Where nothing may be written.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "4m") as folder:
        yield folder


def answers_at(path: Path) -> list[tuple[int, float]]:
    with closing(Store(path)) as opened, opened.snapshot() as snapshot:
        hits = search(snapshot, Query(unit(1), "cosine"), 2)
        assert snapshot.problems == ()
        return [(hit.video_id, hit.score) for hit in hits]


RIGHT = [(1, 1.0), (2, float(unit(1, 1)[0]))]

DIES_WITH_A_LOG = """
import os, sys
from pathlib import Path
from store_helpers import NUMERICS, new_video, unit
from echosearch.index import Batch, Store

with Store(Path(sys.argv[1])).writer() as writer, Store(Path(sys.argv[1])).snapshot():
    writer.commit(Batch([new_video("b.avi", unit(1, 1))]), NUMERICS)  # stays in the log: somebody reads what was before
    os._exit(9)
"""


@pytest.mark.parametrize("beside", ["nothing", "an empty log", "a full log"])
def test_an_index_on_a_read_only_file_system_can_be_searched(small_disk: Path, beside: str) -> None:
    with closing(make_store(small_disk / "index")) as store:
        add(store, new_video("a.avi", unit(1)), finish=True)
        if beside == "a full log":
            assert python(DIES_WITH_A_LOG, store.path).returncode == 9
        else:
            add(store, new_video("b.avi", unit(1, 1)), finish=True)
    logs = {path.name: path for path in store.path.glob("catalog.sqlite-*")}
    if beside == "nothing":
        for path in logs.values():
            path.unlink()
    else:
        assert sorted(logs) == ["catalog.sqlite-shm", "catalog.sqlite-wal"]
        assert (logs["catalog.sqlite-wal"].stat().st_size > 0) == (beside == "a full log")
    make_read_only(small_disk)
    assert answers_at(store.path) == RIGHT
    assert look(store.path)[0] == 2
    sentence = f"^cannot write to the index {store.path}: Read-only file system$"
    with pytest.raises(BackendError, match=sentence), Store(store.path).writer():
        pass
    with pytest.raises(BackendError, match=f"^cannot write to the index {small_disk / 'new'}: Read-only file system$"):
        make_store(small_disk / "new")


AS_NOBODY = """
import os, sys
from pathlib import Path
import faiss, mmap, numpy.ma  # before the right to read them is gone
from store_helpers import unit
from echosearch.errors import EchoSearchError
from echosearch.search import Query
from store_helpers import search
from echosearch.index import Store

if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
path = Path(sys.argv[1])
store = Store(path)

def look(view):
    hits = search(view, Query(unit(1), "cosine"), 9)
    return view.generation, view.catalog.counts.live(), [hit.video_id for hit in hits]

with store.snapshot() as view:
    print(look(view), view.problems, flush=True)
try:
    with store.writer():
        pass
except EchoSearchError as error:
    print(type(error).__name__, error, flush=True)
for line in sys.stdin:
    try:
        with store.snapshot() as view:
            if line == "hold\\n":
                view.generation
                print("held", flush=True)
                sys.stdin.readline()
            told = look(view)
        print(told, flush=True)
    except EchoSearchError as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user may enter and only this one may write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def ask(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def without_write_permission(path: Path) -> None:
    """Nobody may write to this copy, unless it is root."""
    for file in (path, *path.rglob("*")):
        file.chmod(0o555 if file.is_dir() else 0o444)


@pytest.mark.parametrize("beside", ["nothing", "an empty log"])
def test_a_copy_without_write_permission_can_be_searched(open_to_all: Path, tmp_path: Path, beside: str) -> None:
    with closing(make_store(tmp_path / "index")) as store:
        add(store, new_video("a.avi", unit(1)), new_video("b.avi", unit(1, 1)), finish=True)
    copy = open_to_all / "copy"
    shutil.copytree(store.path, copy)
    if beside == "nothing":
        for path in copy.glob("catalog.sqlite-*"):
            path.unlink()
    without_write_permission(copy)
    try:
        told = python(AS_NOBODY, copy, input="")
        assert told.stdout.splitlines() == [
            "(1, 2, [1, 2]) ()",
            f"BackendError cannot write to the index {copy}: Permission denied",
        ], told.stderr
    finally:
        copy.chmod(0o755)


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users: one who writes, one who may only read")
def test_a_reader_who_may_not_write_never_mixes_two_commits_of_one_who_may(open_to_all: Path) -> None:
    with closing(make_store(open_to_all / "index")) as store:
        add(store, new_video("a.avi", unit(1)), finish=True)
        for path in store.path.glob("catalog.sqlite-*"):
            path.unlink()
        with running_python(AS_NOBODY, store.path) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline().startswith("BackendError cannot write")
            add(store, new_video("b.avi", unit(1, 1)))
            assert ask(reader, "") == "(2, 2, [1, 2])"
            with store.snapshot(), store.writer() as writer:  # somebody reads, so the commit stays in SQLite's log
                writer.commit(Batch([new_video("c.avi", unit(1, 2))]), NUMERICS)
                assert (store.path / "catalog.sqlite-wal").stat().st_size > 0
                assert ask(reader, "") == "(3, 3, [1, 2, 3])"
            by_hand(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
            assert not (store.path / "catalog.sqlite-wal").exists()
            assert ask(reader, "hold") == "held"
            add(store, new_video("d.avi", unit(1, 3)))
            changed = f"BackendError the catalog {store.path / 'catalog.sqlite'} was changed while it was being read"
            assert ask(reader, "go on") == f"{changed}; try again"
            assert ask(reader, "") == "(4, 4, [1, 2, 3, 4])"


# A full disk.


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk up but for so many bytes; the file that does it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)) == 65536:
                pass
        except OSError:  # now it is full
            pass
    os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


@pytest.mark.parametrize(
    ("leave", "sentence"),
    [
        (0, r"^cannot write to the index .*/index: No space left on device$"),
        (16 << 10, r"^the catalog .*/index/catalog\.sqlite failed: (disk I/O error; the|database or) disk .* full"),
        (48 << 10, r"^(the catalog .*|cannot write .*): (database or disk is full;|No space left on device$)"),
    ],
)
def test_a_full_disk_is_a_sentence_and_loses_nothing(small_disk: Path, leave: int, sentence: str) -> None:
    with closing(make_store(small_disk / "index")) as store:
        add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in range(20)), finish=True)
        before = look(store.path)
        ballast = fill(small_disk, leave)
        with pytest.raises(BackendError, match=sentence):
            add(store, *(new_video(f"more {i}.avi", unit(1, i)) for i in range(20)))
        ballast.unlink()
        assert look(store.path) == before
        add(store, new_video("one more.avi", unit(1)), finish=True)
        assert len(look(store.path)[1]) == 21
        assert len(list((store.path / "segments").iterdir())) == 2


def test_a_disk_too_full_for_faiss_keeps_what_was_committed(small_disk: Path) -> None:
    with closing(make_store(small_disk / "index")) as store:
        add(store, *(new_video(f"{i}.avi", unit(1, i)) for i in range(200)))
        before = look(store.path)
        ballast = fill(small_disk, 20 << 10)
        finishing = pytest.raises(BackendError, match=r"^cannot write the FAISS index .*No space left on device")
        with store.writer() as writer, finishing:
            writer.finish()
        ballast.unlink()
        assert look(store.path) == before
        with store.writer() as writer:
            writer.finish()
        assert [path.name for path in (store.path / "ann").iterdir()] == ["1"]
        with Store(store.path).snapshot() as snapshot:
            assert [video_id for video_id, _ in found(snapshot, unit(1), 2)] == [1, 2]
            assert snapshot.problems == ()


def test_a_segment_that_cannot_be_written_is_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def quota(*arguments: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr("echosearch.index.writer.write_segment", quota)
    with pytest.raises(BackendError, match=f"^cannot write to the index {store.path}: Disk quota exceeded$"):
        add(store, new_video("a.avi", unit(1)))
    assert look(store.path) == (0, {})


def test_a_missing_segments_folder_is_a_sentence(store: Store) -> None:
    (store.path / "segments").rmdir()
    sentence = (
        f"^{store.path}/segments cannot be read: No such file or directory; if its disk is not mounted, mount it;"
    )
    with pytest.raises(OutOfReach, match=sentence), store.writer():
        pass
    assert not (store.path / "segments").exists()


# Histories.

VECTORS = st.sampled_from([unit(1), unit(0, 1), unit(1, 1), unit(3, 4), unit(-1, 2), np.nextafter(unit(1, 1), 0)])
NORMS = st.sampled_from([1.0, 0.5, 1 / 3])
BATCHES = st.lists(st.tuples(VECTORS, NORMS, st.sampled_from([1, 2, 40])), min_size=1, max_size=3)


class IndexMachine(RuleBasedStateMachine):
    """Whatever is added, replaced, lost and reopened: search answers as the oracle does over what ought to be there."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # SQLite syncs every commit: slow on a disk
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.rows: dict[int, tuple[Vector, float]] = {}
        self.paths: dict[int, str] = {}
        self.ever: set[int] = set()
        self.generation = 0

    @initialize(frames_dtype=st.sampled_from(["float32", "none"]))
    def create(self, frames_dtype: Any) -> None:
        self.store = make_store(Path(self.folder.name, "index"), frames_dtype)

    @rule(batch=BATCHES)
    def add(self, batch: list[tuple[Vector, float, int]]) -> None:
        repeated = [(vector, norm) for vector, norm, count in batch for _ in range(count)]
        names = [f"{self.generation}-{number}.avi" for number in range(len(repeated))]
        self._committed(names, repeated, None)

    @precondition(lambda self: self.rows)
    @rule(vector=VECTORS, norm=NORMS, which=st.integers(0))
    def replace(self, vector: Vector, norm: float, which: int) -> None:
        old = sorted(self.rows)[which % len(self.rows)]
        name = self.paths.pop(old)
        del self.rows[old]
        self._committed([name], [(vector, norm)], old)

    def _committed(self, names: list[str], rows: list[tuple[Vector, float]], replaces: int | None) -> None:
        new = [
            new_video(name, stored(vector, norm), content=f"{name} {self.generation}", replaces=replaces)
            for name, (vector, norm) in zip(names, rows, strict=True)
        ]
        ids = add(self.store, *new)
        assert not self.ever & set(ids)
        self.ever |= set(ids)
        with self.store.snapshot() as snapshot:
            assert snapshot.generation - self.generation in (1, 2, 3)  # segments may have been merged
            self.generation = snapshot.generation
        for video_id, name, (vector, norm) in zip(ids, names, rows, strict=True):
            self.rows[video_id] = vector, float(np.float32(norm))
            self.paths[video_id] = name

    @rule()
    def finish(self) -> None:
        with self.store.writer() as writer:
            writer.finish()
        with self.store.snapshot() as snapshot:
            assert snapshot.generation - self.generation in (0, 1)  # small segments may have been merged
            self.generation = snapshot.generation

    @rule()
    def lose_faiss(self) -> None:
        shutil.rmtree(self.store.path / "ann", ignore_errors=True)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.store.path)

    @rule(query=VECTORS, k=st.integers(1, 60), weighting=st.sampled_from(["cosine", "mean"]))
    def ask(self, query: Vector, k: int, weighting: Weighting) -> None:
        right = [(video_id, float(score)) for video_id, score in oracle(self.rows, query, k, weighting)]
        with self.store.snapshot() as snapshot:
            assert found(snapshot, query, k, weighting) == right

    @invariant()
    def nothing_is_lost_and_nothing_comes_back(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.store.snapshot() as snapshot:
            assert snapshot.generation == self.generation
            assert snapshot.rows.ids.tolist() == sorted(self.rows)
            assert {record.video_id: record.path for record in snapshot.catalog.videos.records()} == {
                video_id: str(MEDIA / name) for video_id, name in self.paths.items()
            }

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        self.folder.cleanup()


class TestHistories(IndexMachine.TestCase):
    settings = settings(max_examples=12, stateful_step_count=15, deadline=None)


def test_faiss_index_of_the_store_is_used(filled: Store) -> None:
    """Not only right answers: they come from FAISS, and not from a scan."""
    with filled.snapshot() as snapshot:
        index = snapshot.index
        assert isinstance(index._finder, FlatFaiss)
        assert (index.num_uncovered, index.num_dead) == (0, 0)


@pytest.mark.parametrize("text", ["[1]", "{}", '{"cohort_format": 1, "name": "x"}'])
def test_a_manifest_of_something_else_is_no_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IndexNotFound, match=r"is not an index: its manifest\.json belongs to something else"):
        Store(tmp_path)
