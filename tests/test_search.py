"""From a query vector to hits: scores, percentiles, best frames and exclusions worked out by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_helpers import Vector, add, make_store, new_video, stored, unit

from echosearch.errors import BadQuery
from echosearch.index import Snapshot, Store
from echosearch.search import Phrase, Query, Question, belonging, combine as combined, nearest
from echosearch.types import Hit, VideoRecord

NO_NEGATIVES = np.empty((0, 32), np.float32)


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(make_store(tmp_path / "index")) as created:
        yield created


@contextmanager
def index_of(folder: Path, *videos: Any, frames: Any = "float32") -> Iterator[Snapshot]:
    """An index of these videos, ids from 1 on."""
    with closing(make_store(folder / "index", frames)) as store:
        add(store, *videos, finish=True)
        with store.snapshot() as snapshot:
            yield snapshot


def asked(snapshot: Snapshot, vector: Vector, k: int = 10, **more: Any) -> tuple[Hit, ...]:
    """The hits of a question; what it is made of does not matter here, and its vector does."""
    query = Query(vector, more.pop("kind", "cosine"))
    question = Question((Phrase("any"),), k=k, min_score=more.pop("min_score", None), offset=more.pop("offset", 0))
    return nearest(snapshot, question, query, **more)


def combine(phrases: Vector, negatives: Vector) -> Vector:
    """The query of so many phrases, all of the same weight."""
    wanted, unwanted = ([Phrase(f"phrase {n}") for n in range(len(each))] for each in (phrases, negatives))
    return combined(Question(tuple(wanted), tuple(unwanted)), np.concatenate([phrases, negatives]))


# The query.


def test_one_phrase_is_its_own_query() -> None:
    assert combine(unit(3, 4)[None], NO_NEGATIVES).tolist() == unit(3, 4).tolist()


def test_two_phrases_are_the_direction_of_their_mean() -> None:
    # (1, 0) and (0.6, 0.8): the mean is (0.8, 0.4), of length 0.894427.
    query = combine(np.stack([unit(1), unit(3, 4)]), NO_NEGATIVES)
    assert query.dtype == np.float32
    assert query[:3].tolist() == pytest.approx([0.8944272, 0.4472136, 0], abs=1e-7)


def test_a_negative_phrase_is_taken_away_from_the_mean_of_the_others() -> None:
    # (1, 0, 0) and (0, 1, 0) without (0, 0, 1): (0.5, 0.5, -1), of length sqrt(1.5).
    query = combine(np.stack([unit(1), unit(0, 1)]), unit(0, 0, 1)[None])
    assert query[:3].tolist() == pytest.approx([0.4082483, 0.4082483, -0.8164966], abs=1e-7)


def test_several_negatives_count_as_their_mean() -> None:
    # (1, 0, 0) without (0, 1, 0) and (0, 0, 1): (1, -0.5, -0.5), of length sqrt(1.5).
    query = combine(unit(1)[None], np.stack([unit(0, 1), unit(0, 0, 1)]))
    assert query[:3].tolist() == pytest.approx([0.8164966, -0.4082483, -0.4082483], abs=1e-7)
    assert float(np.linalg.norm(query.astype(np.float64))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("phrases", "negatives"),
    [
        (unit(3, 4)[None], unit(3, 4)[None]),
        (np.stack([unit(1), unit(-1)]), NO_NEGATIVES),
        (np.stack([unit(1), unit(0, 1)]), np.stack([unit(0, 1), unit(1)])),
    ],
)
def test_phrases_that_cancel_out_are_no_query(phrases: Vector, negatives: Vector) -> None:
    with pytest.raises(BadQuery, match=r"^the phrases cancel each other out; nothing is left to search for$"):
        combine(phrases, negatives)


@pytest.mark.parametrize(("kind", "weighting"), [("cosine", "cosine"), ("contrast", "cosine"), ("mean", "mean")])
def test_the_score_kind_says_what_is_computed(kind: Any, weighting: str) -> None:
    assert Query(unit(1), kind).weighting == weighting


# Hits.


def test_a_hit_tells_all_that_is_known_of_its_video(tmp_path: Path) -> None:
    frames = np.stack([unit(0, 1), unit(1, 1), unit(1)])
    clip = new_video("S1/clip.avi", stored(unit(3, 4), 0.75, frames, [0, 7, 14]), study="S1", patient="P1", fps=28)
    with index_of(tmp_path, clip) as view:
        assert asked(view, unit(1)) == (
            Hit(
                rank=1,
                score=float(np.float32(0.6)),
                percentile=100.0,
                video_id=1,
                path="/media/echo/S1/clip.avi",
                study="S1",
                patient="P1",
                view=None,
                best_frame=14,
                best_time_seconds=0.5,
            ),
        )


def test_hits_come_best_first_with_ties_by_id(tmp_path: Path) -> None:
    vectors = [unit(0, 1), unit(3, 4), unit(1), unit(3, 0, 4), unit(-1), unit(3, 0, 0, -4)]
    with index_of(tmp_path, *(new_video(f"{i}.avi", vector) for i, vector in enumerate(vectors))) as view:
        hits = asked(view, unit(1))
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
        assert [hit.video_id for hit in hits] == [3, 2, 4, 6, 1, 5]
        assert [hit.score for hit in hits] == [1.0, *[float(np.float32(0.6))] * 3, 0.0, -1.0]
        assert asked(view, unit(1), 4) == hits[:4]
        assert asked(view, unit(1), 1) == hits[:1]
        assert asked(view, unit(1), 1000) == hits


def test_the_mean_score_is_the_cosine_times_the_pooled_norm(tmp_path: Path) -> None:
    videos = [new_video("a.avi", stored(unit(1), 0.25)), new_video("b.avi", stored(unit(3, 4), 0.5))]
    with index_of(tmp_path, *videos) as view:
        told = [(hit.video_id, hit.score) for hit in asked(view, unit(1), kind="mean")]
        assert told == [(2, float(np.float32(np.float64(np.float32(0.6)) * 0.5))), (1, 0.25)]
        assert [hit.video_id for hit in asked(view, unit(1), kind="contrast")] == [1, 2]


def test_an_empty_index_has_no_hits(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store, store.snapshot() as snapshot:
        assert asked(snapshot, unit(1)) == ()


@pytest.mark.parametrize("k", [0, -3])
def test_fewer_than_one_hit_cannot_be_asked_for(store: Store, k: int) -> None:
    with store.snapshot() as snapshot, pytest.raises(BadQuery, match=f"^k is at least 1, not {k}$"):
        asked(snapshot, unit(1), k)


# Percentiles.


def scored(*tenths: int) -> list[Any]:
    """Videos whose cosine with the first axis is so many tenths."""
    vectors = [unit(tenth, math.sqrt(100 - tenth**2)) for tenth in tenths]
    return [new_video(f"{i}.avi", vector) for i, vector in enumerate(vectors)]


def percentiles(hits: tuple[Hit, ...]) -> dict[int, float]:
    return {hit.video_id: hit.percentile for hit in hits}


def test_the_percentile_is_the_share_of_all_videos_that_score_no_higher(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(1, 9, 5, 3, 7)) as view:
        everything = {2: 100.0, 5: 80.0, 3: 60.0, 4: 40.0, 1: 20.0}
        assert percentiles(asked(view, unit(1))) == everything
        assert percentiles(asked(view, unit(1), 2)) == {2: 100.0, 5: 80.0}  # of all, whatever k is


def test_videos_of_one_score_share_the_percentile(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(5, 9, 5, 1, 5, 9, 1, 5)) as view:
        assert percentiles(asked(view, unit(1))) == {
            2: 100.0,
            6: 100.0,
            1: 75.0,
            3: 75.0,
            5: 75.0,
            8: 75.0,
            4: 25.0,
            7: 25.0,
        }
        assert percentiles(asked(view, unit(1), 3)) == {2: 100.0, 6: 100.0, 1: 75.0}


def test_the_percentile_counts_those_left_out_and_not_the_deleted(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store:
        add(store, *scored(9, 7, 5, 3), finish=True)
        add(store, new_video("0.avi", unit(0, 1), content="new bytes", replaces=1))  # 1, the best, is now 5, with 0
        with store.snapshot() as snapshot:
            assert percentiles(asked(snapshot, unit(1), left_out={2, 3})) == {4: 50.0, 5: 25.0}
            assert percentiles(asked(snapshot, unit(1), 1, left_out={2, 3})) == {4: 50.0}
            assert percentiles(asked(snapshot, unit(1), min_score=0.4)) == {2: 100.0, 3: 75.0}


# Leaving out.


def test_those_left_out_make_room_for_others(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(9, 8, 7, 6, 5, 4)) as view:
        hits = asked(view, unit(1), 2, left_out={1, 3, 99})
        assert [(hit.rank, hit.video_id) for hit in hits] == [(1, 2), (2, 4)]
        assert asked(view, unit(1), left_out={1, 2, 3, 4, 5, 6}) == ()


def test_min_score_keeps_scores_that_equal_it(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(9, 8, 7, 6)) as view:
        hits = asked(view, unit(1))
        assert [hit.video_id for hit in asked(view, unit(1), min_score=hits[1].score)] == [1, 2]
        assert [hit.video_id for hit in asked(view, unit(1), min_score=hits[1].score + 1e-6)] == [1]
        assert [hit.video_id for hit in asked(view, unit(1), 3, min_score=0.65)] == [1, 2, 3]
        assert asked(view, unit(1), min_score=0.95) == ()


# Among some.


def test_only_videos_among_the_given_ids_are_hits(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(9, 8, 7, 6, 5, 4)) as view:
        hits = asked(view, unit(1), 2, among=np.array([2, 4, 5, 99]))
        assert [(hit.rank, hit.video_id) for hit in hits] == [(1, 2), (2, 4)]
        assert [hit.score for hit in hits] == [hit.score for hit in asked(view, unit(1)) if hit.video_id in (2, 4)]
        assert [hit.video_id for hit in asked(view, unit(1), among=np.array([2, 4, 5, 99]))] == [2, 4, 5]
        assert [hit.video_id for hit in asked(view, unit(1), min_score=0.6, among=np.array([3, 5]))] == [3]
        assert [hit.video_id for hit in asked(view, unit(1), kind="mean", among=np.array([3, 5]))] == [3, 5]
        assert asked(view, unit(1), among=np.array([99])) == ()
        assert asked(view, unit(1), among=np.array([], np.int64)) == ()


def test_the_percentile_among_some_is_the_share_of_these_that_are_live(tmp_path: Path) -> None:
    with closing(make_store(tmp_path / "index")) as store:
        add(store, *scored(9, 7, 5, 5, 3, 1), finish=True)
        add(store, new_video("1.avi", unit(0, 1), content="new bytes", replaces=2))  # 2 is now 7, with 0
        with store.snapshot() as snapshot:
            among = np.array([2, 3, 4, 5, 7, 99])  # 4 of them live: 0.5, 0.5, 0.3 and 0
            assert percentiles(asked(snapshot, unit(1), among=among)) == {3: 100.0, 4: 100.0, 5: 50.0, 7: 25.0}
            assert percentiles(asked(snapshot, unit(1), 3, among=among)) == {3: 100.0, 4: 100.0, 5: 50.0}
            assert percentiles(asked(snapshot, unit(1), among=snapshot.rows.ids)) == percentiles(
                asked(snapshot, unit(1))
            )


def test_those_left_out_among_some_make_room_and_count_in_the_percentile(tmp_path: Path) -> None:
    with index_of(tmp_path, *scored(9, 8, 7, 6, 5, 4)) as view:
        among = np.array([2, 3, 5, 6])
        hits = asked(view, unit(1), 2, left_out={1, 2, 5}, among=among)  # 1 would be none anyway
        assert [(hit.rank, hit.video_id, hit.percentile) for hit in hits] == [(1, 3, 75.0), (2, 6, 25.0)]
        assert asked(view, unit(1), left_out={2, 3, 5, 6}, among=among) == ()


# Best frames.


def frames_at(*angles_degrees: float) -> Vector:
    return np.stack([unit(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in angles_degrees])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_best_frame_is_the_frame_of_the_file_nearest_to_the_query(tmp_path: Path, dtype: Any) -> None:
    frames = frames_at(0, 30, 60, 90, 120)
    video = new_video("a.avi", stored(unit(1, 1), 0.9, frames, [4, 6, 8, 10, 12]), fps=20)
    with index_of(tmp_path, video, frames=dtype) as view:
        for angle, frame, seconds in [
            (0, 4, 0.2),
            (-50, 4, 0.2),
            (40, 6, 0.3),
            (62, 8, 0.4),
            (80, 10, 0.5),
            (170, 12, 0.6),
        ]:
            [query] = frames_at(angle)
            [hit] = asked(view, query)
            assert (hit.best_frame, hit.best_time_seconds) == (frame, pytest.approx(seconds, abs=1e-12))


def test_the_first_of_equal_frames_is_the_best(tmp_path: Path) -> None:
    video = new_video("a.avi", stored(unit(1, 1), 0.9, frames_at(90, 0, 0, 90), [3, 5, 7, 9]))
    with index_of(tmp_path, video) as view:
        assert [hit.best_frame for hit in asked(view, unit(1))] == [5]
        assert [hit.best_frame for hit in asked(view, unit(0, 1))] == [3]


def test_each_hit_has_the_best_frame_of_its_own_video(tmp_path: Path) -> None:
    videos = [
        new_video("a.avi", stored(unit(1), 1.0, frames_at(10), [100])),
        new_video("b.avi", stored(unit(1, 1), 1.0, frames_at(80, 5, 40), [0, 2, 4])),
        new_video("c.avi", stored(unit(0, 1), 1.0, frames_at(20, 30), [11, 13])),
    ]
    with index_of(tmp_path, *videos) as view:
        assert [(hit.video_id, hit.best_frame) for hit in asked(view, unit(1))] == [(1, 100), (2, 2), (3, 11)]


def test_without_a_frame_rate_there_is_no_time(tmp_path: Path) -> None:
    with index_of(tmp_path, new_video("a.avi", stored(unit(1), 1.0, frames_at(0), [12]), fps=None)) as view:
        [hit] = asked(view, unit(1))
        assert (hit.best_frame, hit.best_time_seconds) == (12, None)


def test_the_first_frame_is_at_zero_seconds(tmp_path: Path) -> None:
    with index_of(tmp_path, new_video("a.avi", unit(1))) as view:
        [hit] = asked(view, unit(1))
        assert (hit.best_frame, hit.best_time_seconds) == (0, 0.0)


def test_without_frames_there_is_no_best_one(tmp_path: Path) -> None:
    with index_of(tmp_path, new_video("a.avi", unit(3, 4)), frames="none") as view:
        [hit] = asked(view, unit(1))
        assert (hit.score, hit.best_frame, hit.best_time_seconds) == (float(np.float32(0.6)), None, None)


# Like this one, but not of the same study, patient or content.


@pytest.fixture
def related(tmp_path: Path) -> Iterator[Snapshot]:
    videos = [
        new_video("1.avi", unit(1), study="S1", patient="P1", content="x"),
        new_video("2.avi", unit(1), study="S1", patient="P1", content="y"),
        new_video("3.avi", unit(1), study="S2", patient="P1", content="x"),
        new_video("4.avi", unit(1), study="S3", patient="P2", content="x"),
        new_video("5.avi", unit(1), study=None, patient="P3", content="z"),
        new_video("6.avi", unit(1), study=None, patient=None, content="w"),
    ]
    with index_of(tmp_path, *videos) as view:
        yield view


def record(snapshot: Snapshot, video_id: int) -> VideoRecord:
    [found] = snapshot.catalog.videos.records([video_id])
    return found


NO_STUDY = "2 videos have no study in the catalog; hits among them may be of the same study"
NO_PATIENT = "1 videos have no patient in the catalog; hits among them may be of the same patient"


@pytest.mark.parametrize(
    ("exclude", "ids", "warnings"),
    [
        ([], set(), []),
        (["content"], {1, 3, 4}, []),
        (["study"], {1, 2}, [NO_STUDY]),
        (["patient"], {1, 2, 3, 4}, [NO_PATIENT]),  # 4 has the bytes of 1, so it is of the same person
        (["patient", "content", "study"], {1, 2, 3, 4}, [NO_PATIENT, NO_STUDY]),
    ],
)
def test_what_belongs_to_the_example_is_left_out(
    related: Snapshot, exclude: list[Any], ids: set[int], warnings: list[str]
) -> None:
    assert belonging(related, [record(related, 1)], exclude) == (ids, warnings)


@pytest.mark.parametrize(("video_id", "what"), [(5, "study"), (6, "study"), (6, "patient")])
def test_an_example_of_unknown_study_or_patient_cannot_be_excluded_by_it(
    related: Snapshot, video_id: int, what: Any
) -> None:
    sentence = (
        f"^video {video_id} has no {what} in the catalog, so --exclude {what} cannot be decided; "
        "ingest with --manifest to give videos their study and patient$"
    )
    with pytest.raises(BadQuery, match=sentence):
        belonging(related, [record(related, video_id)], ["content", what])


def test_nothing_is_warned_of_where_every_video_has_its_study(tmp_path: Path) -> None:
    with index_of(tmp_path, new_video("1.avi", unit(1), study="S"), new_video("2.avi", unit(1), study="T")) as view:
        assert belonging(view, [record(view, 2)], ["study"]) == ({2}, [])
