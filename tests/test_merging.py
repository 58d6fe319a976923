"""A long ingest: its segments are merged as it goes, whatever their number only few files are open, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from store_helpers import (
    NUMERICS,
    add,
    contents,
    make_store,
    new_video,
    oracle,
    python,
    random_units,
    stored,
    unit,
)

from echosearch.config import MERGED_ROWS
from echosearch.index import Batch, Store, Writer
from echosearch.index.catalog import Size
from echosearch.index.check import check_index as check
from echosearch.index.merging import MergedRows, grouped, to_merge
from echosearch.index.upkeep import compact
from echosearch.index.vectors import SegmentRows, StoredVideo, close_maps, open_segment, write_segment


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Which segments are merged.


def sizes(writer: Writer) -> list[Size]:
    with writer.catalog_only() as catalog:
        return catalog.segments.sizes()


def _committed(rows_of_commits: list[int]) -> tuple[list[Size], int]:
    """The segments after such commits with merging after each, and how many rows were rewritten for that."""
    segments: list[Size] = []
    rewritten = 0
    for number, rows in enumerate(rows_of_commits):
        segments.append(Size(str(number), rows, "same"))
        while groups := to_merge(segments):
            for group in groups:
                assert len(group) > 1
                merged = Size(group[0].name, sum(size.rows for size in group), "same")
                segments = [size for size in segments if size not in group] + [merged]
                rewritten += merged.rows
    assert sum(size.rows for size in segments) == sum(rows_of_commits)
    return segments, rewritten


def test_a_million_rows_committed_256_at_a_time_are_in_30_segments() -> None:
    segments, rewritten = _committed([256] * 3906)
    assert len(segments) <= 30
    assert max(size.rows for size in segments) == MERGED_ROWS == 131_072
    assert rewritten <= 3 * 256 * 3906  # once for each power of 8 between 256 and 131,072


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300) | st.integers(1, 90_000), max_size=300))
def test_whatever_the_commits_there_are_few_segments_and_little_is_rewritten(rows: list[int]) -> None:
    segments, rewritten = _committed(rows)
    largest = [size for size in segments if size.rows > MERGED_ROWS // 8]
    assert len(segments) - len(largest) <= 7 * 5  # up to seven of each of the five sizes below
    assert len(largest) <= 8 + 2 * sum(rows) // MERGED_ROWS
    assert rewritten <= 8 * sum(rows)
    assert all(size.rows <= MERGED_ROWS for size in segments)


def test_segments_made_otherwise_or_large_enough_are_left_alone() -> None:
    made = [Size(f"{numerics}{n}", 256, numerics) for n in range(7) for numerics in ("cpu", "cuda")]
    assert to_merge(made) == []
    [group] = to_merge([*made, Size("last", 300, "cuda")])
    assert [size.name for size in group] == [f"cuda{n}" for n in range(7)] + ["last"]
    assert to_merge([Size(str(n), MERGED_ROWS, "cpu") for n in range(20)]) == []
    assert to_merge([Size(str(n), 70_000, "cpu") for n in range(20)]) == []  # no two of them make one


def test_700_segments_are_merged_at_once() -> None:
    groups = to_merge([Size(str(n), 256, "cpu") for n in range(700)])
    assert [sum(size.rows for size in group) for group in groups] == [131_072, 48_128]
    assert [[size.rows for size in group] for group in grouped([Size("a", 100_000, "x"), Size("b", 40_000, "x")])] == [
        [100_000],
        [40_000],
    ]


# What is written.


def _videos(frames_dtype: str, lengths: list[int], seed: int) -> list[StoredVideo]:
    rows = random_units(len(lengths) + sum(lengths), 24, seed)
    videos, at = [], len(lengths)
    for row, length in enumerate(lengths):
        frames = None if frames_dtype == "none" else rows[at : at + length].astype(frames_dtype)
        at += length
        videos.append(StoredVideo(rows[row], 0.25 + row / 64, np.arange(length, dtype=np.int32) * 3, frames))
    return videos


@pytest.mark.parametrize("at_once", [1, 2, 4096])
@pytest.mark.parametrize("frames", ["float32", "float16", "none"])
def test_merged_rows_are_byte_for_byte_what_the_videos_would_be(
    tmp_path: Path, frames: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.merging._WRITTEN_ROWS", at_once)
    ids = [[1, 2, 3, 9, 10], [4, 5, 6, 7, 20], [8, 11, 12, 13, 14]]  # interleaved
    lengths = [[1, 5, 2, 3, 1], [0, 0, 4, 2, 7], [1, 1, 1, 6, 2]]
    dropped = [2, 9, 7, 14]
    segments, kept, videos = [], [], {}
    for seed, (some, many) in enumerate(zip(ids, lengths, strict=True)):
        made = _videos(frames, many, seed)
        rows = SegmentRows(np.array(some, np.int64), made)
        segments.append(open_segment(tmp_path, write_segment(tmp_path, rows, frames, NUMERICS).name))
        kept.append(~np.isin(some, dropped))
        videos |= dict(zip(some, made, strict=True))
    merged = open_segment(tmp_path, write_segment(tmp_path, MergedRows(segments, kept), frames, NUMERICS).name)
    left = sorted(set(videos) - set(dropped))
    plain = SegmentRows(np.array(left, np.int64), [videos[id_] for id_ in left])
    right = open_segment(tmp_path, write_segment(tmp_path, plain, frames, NUMERICS).name)
    assert merged.info == replace(right.info, name=merged.info.name)
    assert merged.damage() == []
    for row, id_ in enumerate(left):
        assert merged.stored(row).vector.tobytes() == videos[id_].vector.tobytes()
        assert merged.stored(row).frame_numbers.tolist() == videos[id_].frame_numbers.tolist()
    arrays = {file: np.load(merged.path / file) for file in merged.info.files}
    for file, values in arrays.items():  # as numpy itself writes them
        np.save(tmp_path / "plain.npy", values)
        assert (tmp_path / "plain.npy").read_bytes() == (merged.path / file).read_bytes()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_few_descriptors_are_open_however_many_segments_are_read(tmp_path: Path) -> None:
    close_maps()
    before = _descriptors()
    names = [
        write_segment(tmp_path, SegmentRows(np.array([n + 1]), _videos("float32", [3], n)), "float32", NUMERICS).name
        for n in range(120)
    ]
    segments = [open_segment(tmp_path, name) for name in names]
    held = segments[0].pooled
    right = held.tobytes()
    most = 0
    for _ in range(2):
        for n, segment in enumerate(segments):
            kept = segment.stored(0)
            assert kept.frame_embeddings is not None
            assert kept.frame_embeddings.tobytes() == _videos("float32", [3], n)[0].frame_embeddings.tobytes()  # type: ignore[union-attr]
            most = max(most, _descriptors())
    assert 40 <= most - before <= 50
    assert held.tobytes() == right  # what a caller holds stays valid
    close_maps()
    assert _descriptors() - before <= 1
    assert segments[7].stored(0).pooled_norm == 0.25


# An ingest that goes on and on.


def test_segments_are_merged_as_batches_are_committed_and_replaced_folders_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    rows = random_units(150, 32, 0)
    with closing(make_store(tmp_path / "index")) as store, store.writer() as writer:
        for number, row in enumerate(rows):
            writer.commit(Batch([new_video(f"{number}.avi", row)]), NUMERICS)
            folders = list((store.path / "segments").iterdir())
            assert len(folders) <= 7 * 3
            with writer.snapshot() as snapshot:
                assert len(snapshot.segments) == len(folders)
                assert len(snapshot.rows) == number + 1
        with writer.snapshot() as snapshot:
            assert sorted(len(segment.ids) for segment in snapshot.segments.values()) == [1] * 6 + [8, 8, 64, 64]
            assert [snapshot.stored(id_).vector.tobytes() for id_ in range(1, 151)] == [row.tobytes() for row in rows]


def test_replaced_folders_stay_for_readers_until_the_grace_time_is_over(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store, store.writer() as writer:
        for number in range(7):
            writer.commit(Batch([new_video(f"{number}.avi", unit(1, number))]), NUMERICS)
        with store.snapshot() as old:
            before = contents(old)
            writer.commit(Batch([new_video("last.avi", unit(1))]), NUMERICS)
            close_maps()
            assert contents(old) == before
        assert len(list((store.path / "segments").iterdir())) == 9


def test_what_merging_keeps_of_deleted_videos_brings_them_back(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store, store.writer() as writer:
        for number in range(7):
            writer.commit(Batch([new_video(f"{number}.avi", unit(1, number))]), NUMERICS)
        writer.delete([2, 5])
        writer.commit(Batch([new_video("last.avi", unit(1))]), NUMERICS)
        with writer.snapshot() as snapshot:
            assert [segment.ids.tolist() for segment in snapshot.segments.values()] == [[1, 2, 3, 4, 5, 6, 7, 8]]
            assert snapshot.rows.ids.tolist() == [1, 3, 4, 6, 7, 8]
        with writer.transaction() as transaction:
            assert transaction.deleted.restore([2])[0] == [2]
        with writer.snapshot() as snapshot:
            assert snapshot.stored(2).vector.tolist() == unit(1, 1).tolist()
        assert compact(writer)["rows_dropped"] == 1
        with writer.snapshot() as snapshot:
            assert [segment.ids.tolist() for segment in snapshot.segments.values()] == [[1, 2, 3, 4, 6, 7, 8]]


def test_a_merge_leaves_segments_alone_that_the_catalog_tells_otherwise(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    with store.writer() as writer:
        for number in range(7):
            writer.commit(Batch([new_video(f"{number}.avi", unit(1, number))]), NUMERICS)
        [first, *_] = sizes(writer)
        shutil.copytree(store.path / "segments" / first.name, tmp_path / "copy")
        other = write_segment(tmp_path, SegmentRows(np.array([99]), [stored(unit(1))]), "float32", NUMERICS)
        shutil.rmtree(store.path / "segments" / first.name)
        (tmp_path / other.name).rename(store.path / "segments" / first.name)
        writer.commit(Batch([new_video("last.avi", unit(1))]), NUMERICS)
        assert writer.notes == (
            f"segment {first.name} is damaged, and was left alone; drop it with: echosearch check --repair",
        )
        assert len(sizes(writer)) == 8
        shutil.rmtree(store.path / "segments" / first.name)
        (tmp_path / "copy").rename(store.path / "segments" / first.name)
    with store.writer() as writer:
        writer.merge()
        assert (writer.notes, len(sizes(writer))) == ((), 1)
        with writer.snapshot() as snapshot:
            assert snapshot.rows.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


LIMITED = """
import json, os, resource, sys
from pathlib import Path
import numpy as np
import echosearch.index.merging
import echosearch.index.writer
from echosearch.index.check import check_index as check, repair_index as repair
from echosearch.search import Query
from store_helpers import search
from echosearch.index import Batch, Store
from echosearch.index.upkeep import compact
from store_helpers import NUMERICS, make_store, new_video, random_units

os.fsync = lambda descriptor: None
path, commits = Path(sys.argv[1]), int(sys.argv[2])
rows = random_units(commits, 32, 0)
told = {}

peak = 0

def count(event="open", _=None):
    # whenever a file, a memory map or a database is about to be opened
    global peak
    if event in ("open", "mmap.__new__", "sqlite3.connect"):
        peak = max(peak, len(os.listdir("/proc/self/fd")) + 1)

sys.addaudithook(count)

def descriptors():
    # the most that were open at any time since this was last asked
    global peak
    count()
    most, peak = peak, 0
    return most

def commit(writer, number):
    writer.commit(Batch([new_video(f"{number}", rows[number])]), NUMERICS)

def read(name):
    most = 0
    with Store(path).snapshot() as view:
        for id_ in view.rows.ids.tolist():
            kept = view.stored(id_)
            assert kept.vector.tobytes() == rows[id_ - 1].tobytes() == kept.frame_embeddings.tobytes()
            most = max(most, descriptors())
        hits = [[hit.video_id, hit.score] for query in random_units(20, 32, 1) for hit in
                search(view, Query(query, "cosine"), 10)]
        told[name] = [len(view.segments), max(most, descriptors()), hits]
"""

LONG = (
    LIMITED
    + """
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
most = 0
with make_store(path).writer() as writer:
    for number in range(commits):
        commit(writer, number)
        if number % 10 == 0:
            with writer.snapshot() as view:  # as an ingest does, to see what it knows of a file
                view.stored(number + 1)
        most = max(most, descriptors())
    writer.finish()
told["writing"] = max(most, descriptors())
read("written")
with Store(path).writer() as writer:
    writer.delete(range(10, commits, 10))
    compact(writer)
    writer.finish()
    told["compacting"] = descriptors()
read("compacted")
damaged = sorted((path / "segments").glob("*/pooled.npy"), key=lambda file: file.stat().st_mtime)[-1]
told["check"] = [check(path).problems, descriptors()]
damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
report = repair(path, yes=True)
told["repair"] = [report.repaired, check(path).problems, descriptors()]
print(json.dumps(told))
"""
)

MENDS = (
    LIMITED
    + """
import shutil

echosearch.index.writer.MERGE_FROM = 10**9  # as it was before segments were merged in tiers
with make_store(path).writer() as writer:
    for number in range(commits - 1):
        commit(writer, number)
echosearch.index.writer.MERGE_FROM = 8
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
read("before")
told["check"] = [check(path).problems, descriptors()]
template = path
for act in ("commit", "compact", "finish"):
    path = template.with_name(act)
    shutil.copytree(template, path)
    with Store(path).writer() as writer:
        if act == "commit":
            commit(writer, commits - 1)
        else:
            compact(writer) if act == "compact" else writer.finish()
        told[f"writing {act}"] = descriptors()
    read(act)
print(json.dumps(told))
"""
)


def _hits(ids: list[int], commits: int) -> list[list[Any]]:
    """The 10 best of these ids for each of 20 queries, by the oracle."""
    rows = random_units(commits, 32, 0)
    there = {id_: (rows[id_ - 1], 1.0) for id_ in ids}
    return [[id_, float(score)] for query in random_units(20, 32, 1) for id_, score in oracle(there, query, 10)]


@pytest.mark.slow
def test_2000_commits_under_256_descriptors(tmp_path: Path) -> None:
    done = python(LONG, tmp_path / "index", 2000)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    segments, most, hits = told["written"]
    assert segments <= 7 * 4
    assert max(told["writing"], most, told["compacting"], told["check"][1], told["repair"][2]) < 100
    assert hits == _hits(list(range(1, 2001)), 2000)
    segments, most, hits = told["compacted"]
    assert (segments <= 7 * 4, most < 100) == (True, True)
    assert hits == _hits([id_ for id_ in range(1, 2001) if id_ % 10], 2000)
    assert told["check"][0] == []
    [let_go, built] = told["repair"][0]
    assert (let_go.startswith("1 segments dropped"), built) == (True, "the FAISS index was rebuilt")
    assert told["repair"][1] == []
    assert check(tmp_path / "index").kept[0].endswith("was dropped by a repair; it may be removed")


@pytest.mark.slow
def test_an_index_of_700_segments_opens_and_mends_itself_at_the_next_write(tmp_path: Path) -> None:
    done = python(MENDS, tmp_path / "index", 701)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    segments, most, hits = told["before"]
    assert (segments, most < 100, told["check"][1] < 100) == (700, True, True)
    assert hits == _hits(list(range(1, 701)), 701)
    for act in ("commit", "compact", "finish"):
        segments, most, hits = told[act]
        assert (segments, most < 100, told[f"writing {act}"] < 100) == (1, True, True), act
        assert hits == _hits(list(range(1, 702 if act == "commit" else 701)), 701)


@pytest.mark.slow
def test_a_reader_follows_a_long_ingest_with_few_descriptors(tmp_path: Path) -> None:
    """A server: one store is asked after every few commits, while segments come and go."""
    close_maps()
    rows = random_units(400, 32, 0)
    most = 0
    with closing(make_store(tmp_path / "index")) as store, closing(Store(tmp_path / "index")) as reader:
        before = _descriptors()
        with store.writer() as writer:
            for number, row in enumerate(rows):
                writer.commit(Batch([new_video(f"{number}", row)]), NUMERICS)
                if number % 5 == 0:
                    with reader.snapshot() as snapshot:
                        for id_ in snapshot.rows.ids.tolist()[:: 1 + number // 20]:
                            assert snapshot.stored(id_).vector.tobytes() == rows[id_ - 1].tobytes()
                    most = max(most, _descriptors() - before)
    assert most < 60
    add(reader, new_video("more", unit(1)))
