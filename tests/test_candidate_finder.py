"""The contract of every engine behind the nearest: what it offers, holds, keeps on disk and admits of damage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from store_helpers import NUMERICS, Vector, random_units, stored, unit

from echosearch.errors import DamagedIndex
from echosearch.index.vectors import (
    CandidateFinder,
    ExactFinder,
    FlatFaiss,
    LiveRows,
    Ranking,
    SegmentRows,
    VectorIndex,
    open_segment,
    write_segment,
)

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Engine = type[CandidateFinder]


@pytest.fixture(params=[FlatFaiss, ExactFinder])
def engine(request: pytest.FixtureRequest) -> Engine:
    kind: Engine = request.param
    return kind


def rows_of(folder: Path, ids: Iterable[int], vectors: Iterable[Vector], deleted: Iterable[int] = ()) -> LiveRows:
    """These rows in a segment on disk, without the deleted ones."""
    numbers, videos = np.array(list(ids), np.int64), [stored(vector) for vector in vectors]
    folder.mkdir(exist_ok=True)
    info = write_segment(folder, SegmentRows(numbers, videos), "none", NUMERICS)
    return LiveRows([open_segment(folder, info.name)], np.array(sorted(deleted), np.int64), len(videos[0].vector))


def plain(ids: Ids, vectors: Floats, query: Floats, k: int, allowed: Iterable[int] | None = None) -> list[int]:
    """The k ids with the largest products, by numpy alone."""
    wanted = set(ids.tolist()) if allowed is None else set(allowed)
    products = vectors.astype(np.float64) @ query.astype(np.float64)
    return [int(ids[row]) for row in np.argsort(-products, kind="stable") if ids[row] in wanted][:k]


def test_the_nearest_as_worked_out_by_hand(engine: Engine, tmp_path: Path) -> None:
    finder = engine.build(rows_of(tmp_path, [3, 5, 7, 12], [unit(3, 4), unit(-1), unit(1), unit(0, 1)]))
    [along, across] = finder.nearest(np.stack([unit(1), unit(0, -1)]), 4)
    assert along.ids.tolist() == [7, 3, 12, 5]
    assert along.scores.tolist() == pytest.approx([1, 0.6, 0, -1], abs=1e-6)
    assert across.ids.tolist()[2:] == [3, 12]
    assert across.scores.tolist() == pytest.approx([0, 0, -0.8, -1], abs=1e-6)
    assert (along.ids.dtype, along.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_it_offers_what_plain_numpy_finds(engine: Engine, tmp_path: Path, k: int, every: int) -> None:
    ids, vectors = np.arange(2, 602, 2), random_units(300, 32, 5)
    finder = engine.build(rows_of(tmp_path, ids, vectors))
    allowed = ids[::every]
    queries = random_units(4, 32, 6)
    for query, found in zip(queries, finder.nearest(queries, k, None if every == 1 else allowed), strict=True):
        assert found.ids.tolist() == plain(ids, vectors, query, k, allowed)
        right = vectors[found.ids // 2 - 1].astype(np.float64) @ query.astype(np.float64)
        assert np.abs(found.scores - right).max() < 1e-6


def test_where_there_are_fewer_all_are_given_and_no_others(engine: Engine, tmp_path: Path) -> None:
    finder = engine.build(rows_of(tmp_path, [3, 5, 7], [unit(3, 4), unit(-1), unit(1)]))
    [every] = finder.nearest(unit(1)[None], 10)
    assert every.ids.tolist() == [7, 3, 5]
    [some] = finder.nearest(unit(1)[None], 10, np.array([1, 3, 5, 99], np.int64))
    assert some.ids.tolist() == [3, 5]
    [none] = finder.nearest(unit(1)[None], 10, np.empty(0, np.int64))
    assert none.ids.tolist() == []


def test_it_finds_what_is_added_and_not_what_is_removed(engine: Engine, tmp_path: Path) -> None:
    finder = engine.build(rows_of(tmp_path, [3, 5, 7], [unit(3, 4), unit(-1), unit(1)]))
    assert sorted(finder.coverage.tolist()) == [3, 5, 7]
    finder.add(np.array([8, 20], np.int64), np.stack([unit(4, 3), unit(0, 1)]))
    finder.remove(np.array([3, 7], np.int64))
    assert sorted(finder.coverage.tolist()) == [5, 8, 20]
    [found] = finder.nearest(unit(1)[None], 5)
    assert found.ids.tolist() == [8, 20, 5]
    assert found.scores.tolist() == pytest.approx([0.8, 0, -1], abs=1e-6)


def test_an_engine_of_no_rows_gives_nothing_and_takes_some(engine: Engine) -> None:
    finder = engine.build(LiveRows([], np.empty(0, np.int64), 32))
    [found] = finder.nearest(unit(1)[None], 3)
    assert (found.ids.tolist(), finder.coverage.tolist()) == ([], [])
    finder.add(np.array([4], np.int64), unit(1)[None])
    [found] = finder.nearest(unit(1)[None], 3)
    assert (found.ids.tolist(), finder.coverage.tolist()) == ([4], [4])


def test_what_was_saved_answers_alike(engine: Engine, tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "segments", range(1, 101), random_units(100, 32, 7))
    finder = engine.build(rows)
    finder.save(tmp_path / "ann" / "4")
    assert [path.name for path in (tmp_path / "ann").iterdir()] == ["4"]
    loaded = engine.load(tmp_path / "ann" / "4", 32)
    assert loaded.coverage.tolist() == finder.coverage.tolist()
    for again, before in zip(
        loaded.nearest(random_units(3, 32, 8), 9), finder.nearest(random_units(3, 32, 8), 9), strict=True
    ):
        assert again.ids.tolist() == before.ids.tolist()
        assert again.scores.tolist() == before.scores.tolist()
    assert loaded.damage(rows) == []


def test_what_is_not_there_or_of_other_dimensions_is_damaged(engine: Engine, tmp_path: Path) -> None:
    engine.build(rows_of(tmp_path / "segments", [1, 2], [unit(1), unit(0, 1)])).save(tmp_path / "ann" / "4")
    with pytest.raises(DamagedIndex, match=f"index in {tmp_path}/ann/5 cannot be used: .*No such file"):
        engine.load(tmp_path / "ann" / "5", 32)
    with pytest.raises(DamagedIndex, match=f"index in {tmp_path}/ann/4 cannot be used: "):
        engine.load(tmp_path / "ann" / "4", 16)


def test_other_vectors_than_the_segments_have_are_counted(engine: Engine, tmp_path: Path) -> None:
    vectors = [unit(1), unit(0, 1), unit(0, 0, 1), unit(1, 1)]
    right = rows_of(tmp_path / "right", [1, 2, 3, 4], vectors)
    assert engine.build(right).damage(right) == []
    others = rows_of(tmp_path / "others", [1, 2, 3, 9], [unit(1), unit(2, 1), unit(0, 0, -1), unit(1)])
    [sentence] = engine.build(others).damage(right)  # 9 is not live
    assert sentence.endswith("holds other vectors than the segments for 2 videos")


def test_an_engine_that_is_brought_up_is_as_one_that_is_built(engine: Engine, tmp_path: Path) -> None:
    vectors = random_units(40, 32, 9)
    finder = engine.build(rows_of(tmp_path / "before", range(1, 31), vectors[:30]))
    today = rows_of(tmp_path / "today", range(6, 41), vectors[5:], deleted=[8, 33])
    index = VectorIndex(today, finder)
    assert (index.num_uncovered, index.num_dead) == (9, 6)  # 31 to 40 without 33; 1 to 5, and 8
    index.brought_up(engine).save(tmp_path / "up")
    VectorIndex(today).brought_up(engine).save(tmp_path / "anew")
    names = sorted(path.name for path in (tmp_path / "up").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "anew").iterdir())
    for name in names:
        assert (tmp_path / "up" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()


class Forgetful(ExactFinder):
    """Offers only every other of the rows that it says it holds."""

    def nearest(self, queries: Floats, k: int, allowed: Ids | None = None) -> list[Ranking]:
        return [Ranking(one.ids[::2], one.scores[::2]) for one in super().nearest(queries, k, allowed)]


@pytest.mark.parametrize("among", [None, np.arange(1, 301, 2)])
def test_the_answer_is_right_whatever_an_engine_leaves_out(tmp_path: Path, among: Ids | None) -> None:
    ids, vectors, query = np.arange(1, 301), random_units(300, 32, 10), random_units(1, 32, 11)
    rows = rows_of(tmp_path, ids, vectors)
    [found] = VectorIndex(rows, Forgetful.build(rows)).nearest(query, 20, "cosine", among)
    assert found.ids.tolist() == plain(ids, vectors, query[0], 20, among)
