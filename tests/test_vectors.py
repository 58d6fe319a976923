"""The nearest vectors: numpy, FAISS, and FAISS that lacks rows or holds dead ones all answer as a plain oracle does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from store_helpers import NUMERICS, Vector, add, make_store, new_video, oracle, random_units, search, stored, unit

from echosearch.errors import BackendError, DamagedIndex
from echosearch.index import Store
from echosearch.index.vectors import (
    ExactFinder,
    FaissFile,
    FlatFaiss,
    LiveRows,
    Segment,
    SegmentRows,
    VectorIndex,
    Weighting,
    open_segment,
    write_segment,
)
from echosearch.search import Query

Rows = dict[int, tuple[Vector, float]]
"""id -> (vector, pooled_norm)"""
Make = Callable[[Path, Sequence[Segment], Iterable[int], int], VectorIndex]
IndexOver = Callable[..., VectorIndex]

WEIGHTINGS: tuple[Weighting, ...] = ("cosine", "mean")


def segment_of(folder: Path, rows: Rows) -> Segment:
    """These rows as a segment on disk, opened."""
    ids = sorted(rows)
    videos = [stored(rows[id_][0], rows[id_][1]) for id_ in ids]
    info = write_segment(folder, SegmentRows(np.array(ids, np.int64), videos), "none", NUMERICS)
    return open_segment(folder, info.name)


def live(segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> LiveRows:
    return LiveRows(segments, np.array(sorted(deleted), np.int64), dim)


def exact(folder: Path, segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> VectorIndex:
    rows = live(segments, deleted, dim)
    return VectorIndex(rows, ExactFinder.build(rows))


def scan(folder: Path, segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> VectorIndex:
    return VectorIndex(live(segments, deleted, dim))


def faiss_in_memory(folder: Path, segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> VectorIndex:
    rows = live(segments, deleted, dim)
    return VectorIndex(rows, FlatFaiss.build(rows))


def faiss_from_disk(folder: Path, segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> VectorIndex:
    rows = live(segments, deleted, dim)
    FlatFaiss.build(rows).save(folder / "ann" / "1")
    return VectorIndex(rows, FlatFaiss.load(folder / "ann" / "1", dim))


def faiss_of_some_and_dead(folder: Path, segments: Sequence[Segment], deleted: Iterable[int], dim: int) -> VectorIndex:
    """FAISS was written when only the first half of the segments was there and nothing was deleted."""
    before = live(segments[: (len(segments) + 1) // 2], (), dim)
    FlatFaiss.build(before).save(folder / "ann" / "1")
    return VectorIndex(live(segments, deleted, dim), FlatFaiss.load(folder / "ann" / "1", dim))


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power; that segments are synced is shown in test_segments.py."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=[exact, scan, faiss_in_memory, faiss_from_disk, faiss_of_some_and_dead])
def index_over(request: pytest.FixtureRequest, tmp_path: Path) -> IndexOver:
    """Makes an index of one kind over some rows, which lie in three segments whose ids alternate."""
    make: Make = request.param

    def over(rows: Rows, deleted: Iterable[int] = (), dim: int = 32) -> VectorIndex:
        (tmp_path / "segments").mkdir()
        ids = sorted(rows)
        parts = [{id_: rows[id_] for id_ in ids[first::3]} for first in range(3)]
        segments = [segment_of(tmp_path / "segments", part) for part in parts if part]
        return make(tmp_path, segments, set(deleted), dim)

    return over


def numbered(vectors: Iterable[Vector], norms: Iterable[float] | None = None, first: int = 1) -> Rows:
    """Vectors with ids from `first` on, and norms 1 unless given."""
    vectors = list(vectors)
    norms = [1.0] * len(vectors) if norms is None else norms
    pairs = zip(vectors, norms, strict=True)
    return {id_: (vector, float(np.float32(norm))) for id_, (vector, norm) in enumerate(pairs, first)}


def answer(
    index: VectorIndex, query: Vector, k: int, weighting: Weighting = "cosine", among: Iterable[int] | None = None
) -> list[tuple[int, float]]:
    [ranking] = index.nearest(query[None], k, weighting, None if among is None else ascending(among))
    assert ranking.ids.dtype == np.int64
    assert ranking.scores.dtype == np.float32
    return list(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))


def ascending(ids: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.array(sorted(ids), np.int64)


def only(rows: Rows, among: Iterable[int]) -> Rows:
    """The rows whose ids are among some, for the oracle."""
    return {id_: rows[id_] for id_ in among if id_ in rows}


def expected(rows: Rows, query: Vector, k: int, weighting: Weighting = "cosine") -> list[tuple[int, float]]:
    return [(id_, float(score)) for id_, score in oracle(rows, query, k, weighting)]


# The contract of every index.


def test_a_handful_of_rows_as_worked_out_by_hand(index_over: IndexOver) -> None:
    rows = {7: (unit(1), 0.5), 3: (unit(3, 4), 1.0), 12: (unit(0, 1), 1.0), 5: (unit(-1), 0.25)}
    index = index_over(rows)
    three_fifths = float(np.float32(0.6))
    assert answer(index, unit(1), 4) == [(7, 1.0), (3, three_fifths), (12, 0.0), (5, -1.0)]
    assert answer(index, unit(1), 4, "mean") == [(3, three_fifths), (7, 0.5), (12, 0.0), (5, -0.25)]
    assert answer(index, unit(0, 1), 2) == [(12, 1.0), (3, float(np.float32(0.8)))]


@pytest.mark.parametrize("k", [1, 10, 299, 300, 1000])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_random_rows_give_the_oracles_ids_and_values(index_over: IndexOver, k: int, weighting: Weighting) -> None:
    norms = np.random.default_rng(5).uniform(0.05, 1, 300)
    rows = numbered(random_units(300, 32, 3), norms, first=100)
    index = index_over(rows)
    for query in random_units(5, 32, 4):
        assert answer(index, query, k, weighting) == expected(rows, query, k, weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_more_rows_than_are_scored_at_once(index_over: IndexOver, weighting: Weighting) -> None:
    norms = np.random.default_rng(6).uniform(0.05, 1, 8500)
    rows = numbered(random_units(8500, 4, 7), norms)
    index = index_over(rows, dim=4)
    [query] = random_units(1, 4, 8)
    assert answer(index, query, 60, weighting) == expected(rows, query, 60, weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("k", [1, 5, 120, 200])
def test_copies_come_by_ascending_id_however_many_they_are(index_over: IndexOver, k: int, weighting: Weighting) -> None:
    better, same, worse = unit(5, 1), unit(1, 1), unit(1, 5)
    rows = numbered([worse] * 20 + [same] * 150 + [better] * 3 + [same] * 20)
    index = index_over(rows)
    best = [171, 172, 173, *range(21, 171), *range(174, 194), *range(1, 21)]
    assert [id_ for id_, _ in answer(index, unit(1), k, weighting)] == best[:k]
    assert answer(index, unit(1), k, weighting) == expected(rows, unit(1), k, weighting)


def test_rows_of_equal_score_and_different_direction_come_by_ascending_id(index_over: IndexOver) -> None:
    # All have the cosine 0.6 with the first axis, to the last bit.
    rows = numbered([unit(3, *([0.0] * axis), sign * 4) for axis in range(15) for sign in (1, -1)] * 3)
    index = index_over(rows)
    assert answer(index, unit(1), 50) == [(id_, float(np.float32(0.6))) for id_ in range(1, 51)]


def test_the_mean_score_ranks_short_means_first_where_all_scores_are_negative(index_over: IndexOver) -> None:
    # The shorter the mean, the nearer to zero its score: the order is the reverse of that of the cosines.
    rows = numbered([unit(-1, 1 / i) for i in range(1, 101)], [1 / i**2 for i in range(1, 101)])
    index = index_over(rows)
    assert [id_ for id_, _ in answer(index, unit(1), 3)] == [1, 2, 3]
    assert [id_ for id_, _ in answer(index, unit(1), 3, "mean")] == [100, 99, 98]
    assert answer(index, unit(1), 3, "mean") == expected(rows, unit(1), 3, "mean")


def test_a_batch_of_queries_gives_what_each_gives_alone(index_over: IndexOver) -> None:
    rows = numbered(random_units(200, 32, 9), np.random.default_rng(9).uniform(0.1, 1, 200))
    index = index_over(rows)
    queries = random_units(25, 32, 10)
    for weighting in WEIGHTINGS:
        together = index.nearest(queries, 12, weighting)
        assert len(together) == 25
        for query, ranking in zip(queries, together, strict=True):
            pairs = list(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))
            assert pairs == answer(index, query, 12, weighting)


def test_deleted_rows_are_not_found_and_hide_nothing(index_over: IndexOver) -> None:
    # The 90 best are deleted: more than the margin, so whoever only drops them finds too little.
    rows = numbered([unit(1, 0.001 * i) for i in range(130)])
    deleted = set(range(1, 91))
    index = index_over(rows, deleted)
    kept = {id_: row for id_, row in rows.items() if id_ not in deleted}
    assert [id_ for id_, _ in answer(index, unit(1), 200)] == list(range(91, 131))
    for k in (1, 10, 200):
        for weighting in WEIGHTINGS:
            assert answer(index, unit(1), k, weighting) == expected(kept, unit(1), k, weighting)


def test_nothing_is_found_where_nothing_is(index_over: IndexOver) -> None:
    assert answer(index_over({}), unit(1), 5) == []


def test_nothing_is_found_where_all_is_deleted(index_over: IndexOver) -> None:
    index = index_over(numbered([unit(1), unit(1, 1)]), deleted={1, 2})
    assert answer(index, unit(1), 5) == []
    assert answer(index, unit(1), 5, "mean") == []


def test_no_hits_asked_for_are_no_hits(index_over: IndexOver) -> None:
    assert answer(index_over(numbered([unit(1)])), unit(1), 0) == []


def nearly_tied() -> tuple[Rows, Vector]:
    """Ten best rows and many that FAISS and BLAS think better, as their scores differ by less than those err."""
    [query] = random_units(1, 64, 20)
    exact_query = query.astype(np.float64)
    noise = np.random.default_rng(21).standard_normal((20_000, 64)) * 1e-8
    [across] = random_units(1, 64, 22).astype(np.float64)
    across -= (across @ exact_query) * exact_query
    pool = across / np.linalg.norm(across) + noise
    pool = (pool / np.linalg.norm(pool, axis=1, keepdims=True)).astype(np.float32)
    right = (pool.astype(np.float64) * exact_query).sum(axis=1)
    flat = faiss.IndexFlatIP(64)
    flat.add(pool)
    near, order = flat.search(query[None], len(pool))
    of_faiss = np.empty(len(pool), np.float32)
    of_faiss[order[0]] = near[0]
    of_blas = pool @ query
    middle = np.median(right)
    winners = np.flatnonzero((right > middle) & (of_faiss < middle) & (of_blas < middle))[:10]
    others = np.flatnonzero((right < middle) & (of_faiss > middle) & (of_blas > middle))[:290]
    assert len(winners) == 10
    assert len(others) > 100  # more than the margin of candidates
    assert right[winners].max() - right[others].min() < 1e-7
    mixed = np.random.default_rng(23).permutation(np.concatenate([winners, others]))
    return numbered(pool[mixed]), query


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_scores_closer_than_float32_products_err_come_in_their_exact_order(
    index_over: IndexOver, weighting: Weighting
) -> None:
    rows, query = nearly_tied()
    index = index_over(rows, dim=64)
    assert answer(index, query, 10, weighting) == expected(rows, query, 10, weighting)


# The contract where only some rows may be hits.


def test_only_rows_among_the_given_ids_are_found_as_worked_out_by_hand(index_over: IndexOver) -> None:
    rows = {7: (unit(1), 0.5), 3: (unit(3, 4), 1.0), 12: (unit(0, 1), 1.0), 5: (unit(-1), 0.25)}
    index = index_over(rows, deleted={12})
    three_fifths = float(np.float32(0.6))
    assert answer(index, unit(1), 4, among=[3, 5]) == [(3, three_fifths), (5, -1.0)]
    assert answer(index, unit(1), 4, "mean", among=[3, 5, 7]) == [(3, three_fifths), (7, 0.5), (5, -0.25)]
    assert answer(index, unit(1), 1, among=[0, 4, 5, 7, 12, 99]) == [(7, 1.0)]  # 12 is deleted; 0, 4 and 99 never were
    assert answer(index, unit(1), 4, among=[12, 99]) == []
    assert answer(index, unit(1), 4, among=[]) == []
    assert answer(index, unit(1), 0, among=[7]) == []
    assert answer(index, unit(1), 4) == [(7, 1.0), (3, three_fifths), (5, -1.0)]  # nothing of it lasts


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("one_in", [1, 2, 10, 100, 1000])
def test_random_rows_among_a_share_of_all_give_the_oracles_ids_and_values(
    index_over: IndexOver, one_in: int, weighting: Weighting
) -> None:
    rng = np.random.default_rng(30)
    rows = numbered(random_units(1000, 8, 31), rng.uniform(0.05, 1, 1000), first=100)
    deleted = set(rng.choice(list(rows), 50, replace=False).tolist())
    index = index_over(rows, deleted, dim=8)
    among = [*rng.choice(list(rows), 1000 // one_in, replace=False).tolist(), 5, 2000, 10**6]
    right = only({id_: row for id_, row in rows.items() if id_ not in deleted}, among)
    for k in (1, 10, 2000):
        for query in random_units(2, 8, 32):
            assert answer(index, query, k, weighting, among) == expected(right, query, k, weighting)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_better_rows_that_may_not_be_hits_hide_nothing(index_over: IndexOver, weighting: Weighting) -> None:
    # The 400 best may not be hits, which is more than the candidates of any first try; 7 others may.
    rows = numbered([unit(1, 0.001 * i) for i in range(460)])
    index = index_over(rows, deleted={441})
    among = [401, 402, 430, 439, 441, 450, 459, 460]
    assert [id_ for id_, _ in answer(index, unit(1), 7, weighting, among)] == [401, 402, 430, 439, 450, 459, 460]
    for k in (1, 3, 7, 300):
        right = expected(only(rows, set(among) - {441}), unit(1), k, weighting)
        assert answer(index, unit(1), k, weighting, among) == right


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("k", [1, 5, 70, 200])
def test_copies_that_may_be_hits_come_by_ascending_id_however_many_they_are(
    index_over: IndexOver, k: int, weighting: Weighting
) -> None:
    better, same, worse = unit(5, 1), unit(1, 1), unit(1, 5)
    index = index_over(numbered([worse] * 20 + [same] * 150 + [better] * 3 + [same] * 20))
    best = [172, *range(22, 171, 2), *range(174, 194, 2), *range(2, 21, 2)]
    even = range(0, 200, 2)
    assert [id_ for id_, _ in answer(index, unit(1), k, weighting, even)] == best[:k]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_scores_closer_than_float32_products_err_come_in_their_exact_order_among_some(
    index_over: IndexOver, weighting: Weighting
) -> None:
    rows, query = nearly_tied()
    index = index_over(rows, dim=64)
    best = [id_ for id_, _ in expected(rows, query, 10)]
    among = set(rows) - set(best[::2])
    right = expected(only(rows, among), query, 5, weighting)
    assert [id_ for id_, _ in right] == best[1::2]
    assert answer(index, query, 5, weighting, among) == right


def test_a_batch_of_queries_among_some_gives_what_each_gives_alone(index_over: IndexOver) -> None:
    index = index_over(numbered(random_units(200, 32, 33), np.random.default_rng(33).uniform(0.1, 1, 200)))
    queries = random_units(9, 32, 34)
    among = range(3, 190, 7)
    for weighting in WEIGHTINGS:
        for query, ranking in zip(queries, index.nearest(queries, 12, weighting, ascending(among)), strict=True):
            pairs = list(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))
            assert pairs == answer(index, query, 12, weighting, among)


def test_searches_among_different_rows_at_once_do_not_meet(index_over: IndexOver) -> None:
    rows = numbered(random_units(600, 32, 35))
    index = index_over(rows)
    [query] = random_units(1, 32, 36)
    shares = [None, range(1, 600, 2), range(2, 600, 3), range(300, 600), [7], range(1, 50)] * 20
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda among: answer(index, query, 10, among=among), shares))
    assert found == [expected(rows if among is None else only(rows, among), query, 10) for among in shares]


@pytest.mark.parametrize(
    "among",
    [
        np.array([1, 3, 3], np.int64),
        np.array([3, 1], np.int64),
        np.array([True, False]),
        np.array([1.0, 2.0]),
        np.array([[1, 2]], np.int64),
        np.array([], np.float64),
    ],
)
def test_ids_that_do_not_ascend_or_are_no_ids_are_refused(index_over: IndexOver, among: npt.NDArray[Any]) -> None:
    index = index_over(numbered([unit(1), unit(0, 1), unit(1, 1)]))
    sentence = r"^the ids to search among are an int64 array \(m,\) of ascending ids, each once$"
    with pytest.raises(ValueError, match=sentence):
        index.nearest(unit(1)[None], 2, "cosine", among)


def test_faiss_offers_few_of_many_rows_that_may_be_hits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = live([segment_of(tmp_path, numbered(random_units(3000, 8, 37)))], (), 8)
    index = VectorIndex(every, FlatFaiss.build(every))
    gathered: list[int] = []
    gather = LiveRows.gather

    def counting(rows: LiveRows, positions: npt.NDArray[np.int64]) -> Any:
        gathered.append(len(positions))
        return gather(rows, positions)

    monkeypatch.setattr(LiveRows, "gather", counting)
    assert len(answer(index, unit(1, dim=8), 10, among=range(1, 3000, 2))) == 10
    assert sum(gathered) < 100  # of 1500


# What is behind it: live rows.


def test_live_rows_are_found_by_id_across_segments(tmp_path: Path) -> None:
    first = segment_of(tmp_path, {2: (unit(1), 0.5), 9: (unit(0, 1), 0.25)})
    second = segment_of(tmp_path, {4: (unit(0, 0, 1), 0.125), 5: (unit(3, 4), 1.0), 20: (unit(-1), 0.75)})
    rows = live([first, second], {5}, 32)
    assert len(rows) == 4
    assert rows.ids.tolist() == [2, 4, 9, 20]
    assert rows.positions(np.array([20, 5, 2, 7, 99, -1, 9])).tolist() == [3, 0, 2]
    assert rows.allowed(None).tolist() == [0, 1, 2, 3]
    assert rows.allowed(np.array([-1, 2, 5, 7, 9, 20, 10**15])).tolist() == [0, 2, 3]
    assert rows.place(9) == (first, 1)
    assert rows.place(20) == (second, 2)
    assert rows.place(4) == (second, 0)
    assert rows.place(5) is None
    assert rows.place(21) is None
    vectors, norms = rows.gather(np.array([3, 0, 1]))
    assert vectors.tolist() == [unit(-1).tolist(), unit(1).tolist(), unit(0, 0, 1).tolist()]
    assert norms.tolist() == [0.75, 0.5, 0.125]


# Histories.

_SOME = [unit(*numbers, dim=3) for numbers in [(1,), (0, 1), (1, 1), (3, 4), (2, -1), (-1, 0, 2), (1, 1, 1), (-2, 1)]]
_CLOSE = [np.nextafter(vector, np.float32(0)) for vector in _SOME[2:5]]
VECTORS = st.sampled_from([*_SOME, *_CLOSE])
NORMS = st.sampled_from([1.0, 0.5, 0.75, 1 / 3])
AMONG = st.one_of(
    st.none(),
    st.frozensets(st.integers(1, 20)),
    st.integers(1, 7).map(lambda step: frozenset(range(0, 3000, step))),
    st.integers(1, 150).map(lambda first: frozenset(range(first, 3000))),
)
COPIES = st.tuples(VECTORS, NORMS, st.sampled_from([1, 1, 2, 40]))

STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(COPIES, min_size=1, max_size=4)),
    st.tuples(st.just("delete"), st.floats(0, 1)),
    st.tuples(st.just("write FAISS"), st.none()),
    st.tuples(st.just("search"), st.tuples(VECTORS, st.integers(1, 60), st.sampled_from(WEIGHTINGS), AMONG)),
)


class Shelf:
    """Segments and FAISS in a folder, and what ought to be found there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.rows: Rows = {}
        self.deleted: set[int] = set()
        self.next_id = 1
        (folder / "segments").mkdir()

    def reopened(self) -> LiveRows:
        return live([open_segment(self.folder / "segments", name) for name in self.names], self.deleted, 3)

    def add(self, copies: Sequence[tuple[Vector, float, int]]) -> None:
        repeated = [(vector, norm) for vector, norm, count in copies for _ in range(count)]
        new = numbered([vector for vector, _ in repeated], [norm for _, norm in repeated], self.next_id)
        self.names.append(segment_of(self.folder / "segments", new).info.name)
        self.next_id += len(new)
        self.rows |= new

    def delete(self, where: float) -> None:
        if self.rows:
            video_id = sorted(self.rows)[int(where * (len(self.rows) - 1))]
            self.deleted.add(video_id)
            del self.rows[video_id]

    def write_faiss(self) -> None:
        shutil.rmtree(self.folder / "ann", ignore_errors=True)
        FlatFaiss.build(self.reopened()).save(self.folder / "ann" / "1")

    def check(self, query: Vector, k: int, weighting: Weighting, among: frozenset[int] | None) -> None:
        rows = self.reopened()
        right = expected(self.rows if among is None else only(self.rows, among), query, k, weighting)
        assert answer(VectorIndex(rows, ExactFinder.build(rows)), query, k, weighting, among) == right
        assert answer(VectorIndex(rows), query, k, weighting, among) == right
        if (self.folder / "ann").exists():
            finder = FlatFaiss.load(self.folder / "ann" / "1", 3)
            assert answer(VectorIndex(rows, finder), query, k, weighting, among) == right


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, max_size=12), VECTORS, AMONG)
def test_any_history_of_adding_deleting_and_reopening_is_answered_as_the_oracle_does(
    steps: list[tuple[str, Any]], last_query: Vector, among: frozenset[int] | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        for step, detail in steps:
            if step == "add":
                shelf.add(detail)
            elif step == "delete":
                shelf.delete(detail)
            elif step == "write FAISS":
                shelf.write_faiss()
            else:
                shelf.check(*detail)
        for weighting in WEIGHTINGS:
            shelf.check(last_query, 5, weighting, None)
            shelf.check(last_query, 5, weighting, among)


# FAISS on disk.


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, LiveRows]:
    """A folder with FAISS over the ids 3, 5, 8 and the rows that it covers."""
    rows = {3: (unit(1), 1.0), 5: (unit(1, 1), 1.0), 8: (unit(0, 1), 1.0)}
    (tmp_path / "segments").mkdir()
    opened = live([segment_of(tmp_path / "segments", rows)], (), 32)
    FlatFaiss.build(opened).save(tmp_path / "ann" / "17")
    return tmp_path / "ann" / "17", opened


def test_faiss_is_saved_whole_and_says_what_it_is(saved: tuple[Path, LiveRows]) -> None:
    folder, rows = saved
    assert sorted(file.name for file in folder.parent.iterdir()) == ["17"]
    assert sorted(file.name for file in folder.iterdir()) == ["ann.json", "index.faiss"]
    told = json.loads((folder / "ann.json").read_text())
    assert told["type"] == "IndexIDMap2,Flat inner product"
    assert (told["count"], told["dim"]) == (3, 32)
    assert told["size_bytes"] == (folder / "index.faiss").stat().st_size
    assert told["sha256"] == hashlib.sha256((folder / "index.faiss").read_bytes()).hexdigest()
    held = faiss.read_index(str(folder / "index.faiss"))
    assert faiss.vector_to_array(held.id_map).tolist() == [3, 5, 8]
    assert np.array_equal(held.reconstruct(5), unit(1, 1))
    loaded = VectorIndex(rows, FlatFaiss.load(folder, 32))
    assert (loaded.num_uncovered, loaded.num_dead) == (0, 0)
    assert [id_ for id_, _ in answer(loaded, unit(0, 1), 3)] == [8, 5, 3]


def test_faiss_knows_what_it_lacks_and_what_is_dead_in_it(saved: tuple[Path, LiveRows], tmp_path: Path) -> None:
    folder, _ = saved
    today = live(
        [segment_of(tmp_path, {3: (unit(1), 1.0), 4: (unit(1), 1.0), 8: (unit(0, 1), 1.0), 9: (unit(2, 1), 1.0)})],
        {8},
        32,
    )
    loaded = VectorIndex(today, FlatFaiss.load(folder, 32))
    assert (loaded.num_uncovered, loaded.num_dead) == (2, 2)  # 4 and 9; 5 and 8
    assert (VectorIndex(today).num_uncovered, VectorIndex(today).num_dead) == (3, 0)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 7)


def truncated_and_described(file: Path) -> None:
    truncated(file)
    describe(file)


def garbage(file: Path) -> None:
    file.write_bytes(b"no FAISS" * (file.stat().st_size // 8) + b"x" * (file.stat().st_size % 8))


def garbage_described(file: Path) -> None:
    garbage(file)
    describe(file)


def with_one_bit_flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)


def gone(file: Path) -> None:
    file.unlink()


def without_its_description(file: Path) -> None:
    file.with_name("ann.json").unlink()


def described_in_garbage(file: Path) -> None:
    file.with_name("ann.json").write_text("{")


def described_by_half(file: Path) -> None:
    file.with_name("ann.json").write_text('{"type": "IndexIDMap2,Flat inner product"}')


def of_another_count(file: Path) -> None:
    tell(file, count=4)


def of_other_ids(file: Path) -> None:
    replace_index(file, 32, [3, 5, 5])


def of_another_dim(file: Path) -> None:
    replace_index(file, 16, [3, 5, 8])
    tell(file, dim=16)


def of_another_metric(file: Path) -> None:
    index = faiss.IndexIDMap2(faiss.IndexFlatL2(32))
    index.add_with_ids(random_units(3, 32, 1), np.array([3, 5, 8]))
    faiss.write_index(index, str(file))
    describe(file)


def without_ids(file: Path) -> None:
    index = faiss.IndexFlatIP(32)
    index.add(random_units(3, 32, 1))
    faiss.write_index(index, str(file))
    describe(file)


def replace_index(file: Path, dim: int, ids: list[int]) -> None:
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    index.add_with_ids(random_units(len(ids), dim, 1), np.array(ids))
    faiss.write_index(index, str(file))
    describe(file)


def describe(file: Path) -> None:
    """Make ann.json tell size and hash of the file as it is now."""
    tell(file, size_bytes=file.stat().st_size, sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def tell(file: Path, **changed: int | str) -> None:
    """Change what ann.json says."""
    description = file.with_name("ann.json")
    description.write_text(json.dumps(json.loads(description.read_text()) | changed))


DAMAGES = [
    (truncated, "index.faiss has another size than ann.json says"),
    (truncated_and_described, "cannot be used: Error in"),
    (garbage, "index.faiss has other bytes than were written"),
    (with_one_bit_flipped, "index.faiss has other bytes than were written"),
    (garbage_described, "cannot be used: Error in .*Index type"),
    (gone, r"cannot be used: \[Errno 2\] No such file"),
    (without_its_description, r"cannot be used: \[Errno 2\] No such file.*ann.json"),
    (described_in_garbage, "cannot be used: Expecting property name"),
    (described_by_half, "cannot be used: .*missing . required positional arguments"),
    (of_another_count, "index.faiss is not the index that ann.json describes"),
    (of_other_ids, "index.faiss is not the index that ann.json describes"),
    (of_another_metric, "index.faiss is not the index that ann.json describes"),
    (without_ids, "cannot be used: .*id_map"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES)
def test_a_damaged_faiss_file_is_refused(
    saved: tuple[Path, LiveRows], damage: Callable[[Path], None], sentence: str
) -> None:
    folder, rows = saved
    damage(folder / "index.faiss")
    with pytest.raises(DamagedIndex, match=f"(?s)^the FAISS index in {folder} cannot be used: ") as caught:
        FlatFaiss.load(folder, rows.dim)
    assert caught.match(f"(?s){sentence}")


def test_faiss_of_other_dimensions_is_refused(saved: tuple[Path, LiveRows]) -> None:
    folder, rows = saved
    of_another_dim(folder / "index.faiss")
    with pytest.raises(DamagedIndex, match=r"index.faiss has 16 dimensions, the index has 32"):
        FlatFaiss.load(folder, rows.dim)


def test_a_faiss_header_that_asks_for_too_much_memory_is_refused(
    saved: tuple[Path, LiveRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = saved

    def read_index(path: str) -> Any:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(faiss, "read_index", read_index)
    with pytest.raises(DamagedIndex, match="cannot be used: std::bad_alloc"):
        FlatFaiss.load(folder, rows.dim)


def test_faiss_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_index(index: Any, path: str) -> None:
        raise RuntimeError("write error: 4014 != 5120 (No space left on device)")

    monkeypatch.setattr(faiss, "write_index", write_index)
    index = FlatFaiss.build(live([segment_of(tmp_path, numbered([unit(1)]))], (), 32))
    with pytest.raises(BackendError, match=r"^cannot write the FAISS index .*No space left on device"):
        index.save(tmp_path / "ann" / "1")
    assert not (tmp_path / "ann" / "1").exists()


def search_all(store: Store) -> tuple[list[tuple[int, float]], tuple[str, ...]]:
    with store.snapshot() as snapshot:
        hits = search(snapshot, Query(unit(2, 1), "cosine"), 10)
        return [(hit.video_id, hit.score) for hit in hits], snapshot.problems


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGES] + [of_another_dim])
def test_an_index_with_a_damaged_faiss_file_answers_right_with_a_warning_until_it_is_written_anew(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store = make_store(tmp_path / "index")
    vectors = [unit(1), unit(1, 1), unit(0, 1)]
    add(store, *(new_video(f"{i}.avi", vector) for i, vector in enumerate(vectors)), finish=True)
    right = expected(numbered(vectors), unit(2, 1), 10)
    assert search_all(Store(store.path)) == (right, ())

    damage(store.path / "ann" / "1" / "index.faiss")
    found, problems = search_all(Store(store.path))
    assert found == right
    [problem] = problems
    assert problem.startswith(f"the FAISS index in {store.path / 'ann' / '1'} cannot be used: ")
    assert problem.endswith("; every vector is scanned instead. The next ingest rewrites it.")

    with store.writer() as writer:
        writer.finish()
    assert search_all(Store(store.path)) == (right, ())
    assert FaissFile(**json.loads((store.path / "ann" / "1" / "ann.json").read_text())).count == 3


def test_a_faiss_file_replaced_while_it_was_read_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "index")
    add(store, new_video("a.avi", unit(1)), finish=True)
    load = FlatFaiss.load
    calls: list[Path] = []

    def load_at_second_try(folder: Path, dim: int) -> FlatFaiss:
        calls.append(folder)
        if len(calls) == 1:
            raise DamagedIndex("a writer was faster")
        return load(folder, dim)

    monkeypatch.setattr(FlatFaiss, "load", load_at_second_try)
    assert search_all(store) == ([(1, float(oracle({1: (unit(1), 1.0)}, unit(2, 1), 1)[0][1]))], ())
    assert len(calls) == 2
