"""Checking every byte, repairing, compacting and merging: nothing live is lost, nothing dead comes back."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video

from echosearch import open_index
from echosearch.errors import OutOfReach
from echosearch.index.check import check_index as check, repair_index as repair
from echosearch.ingest import IngestOptions, compact_index, delete_videos, ingest, undelete_videos
from echosearch.types import ModelRequest

Run = Callable[..., tuple[int, str, str]]
TOY = IngestOptions(ModelRequest("toy"), workers=1)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six videos in three segments of two."""
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 2)
    for number in range(6):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(1, (number * 40, 120, 30)))
    ingest(tmp_path / "index", [tmp_path / "videos"], TOY)
    assert len(_segments(tmp_path / "index")) == 3
    return tmp_path / "index"


def _segments(index: Path) -> list[Path]:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM segments ORDER BY added_generation")]
    connection.close()
    return [index / "segments" / name for name in names]


def _flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _vectors(index: Path) -> dict[int, list[float]]:
    opened = open_index(index)
    return {video.video_id: opened.video_embedding(video.video_id).tolist() for video in opened.videos()}


def test_a_whole_index_has_no_problems(index: Path, run: Run) -> None:
    report = check(index)
    assert (report.problems, report.segments) == ((), 3)
    code, out, _ = run("check", "--index", index)
    assert (code, "3 segments, 0 problems" in out) == (0, True)


@pytest.mark.parametrize("name", ["pooled.npy", "norms.npy", "frames.npy", "offsets.npy", "frame_numbers.npy"])
def test_one_flipped_bit_is_found_and_costs_one_segment(index: Path, tmp_path: Path, run: Run, name: str) -> None:
    before = _vectors(index)
    _flip(_segments(index)[1] / name)
    [problem] = check(index).problems
    assert problem.endswith(f"{name} has other bytes than were written")
    code, out, _ = run("check", "--index", index)
    assert (code, "1 problems" in out) == (3, True)
    report = repair(index)
    assert report.videos_lost == 2
    assert check(index).problems == ()
    assert _vectors(index) == {id_: vector for id_, vector in before.items() if id_ not in (3, 4)}
    again = ingest(index, [tmp_path / "videos"], TOY)
    assert (again.added, again.unchanged, again.deleted_earlier) == (2, 4, 0)
    assert list(_vectors(index).values()) == [before[id_] for id_ in (1, 2, 5, 6, 3, 4)]


def test_a_missing_segment_and_other_ids_are_found(index: Path) -> None:
    first, second, _ = _segments(index)
    shutil.rmtree(first)
    ids = np.load(second / "ids.npy")
    np.save(second / "ids.npy", ids + 1)
    report = check(index)
    assert [first.name in sentence for sentence in report.out_of_reach] == [True]
    assert [sentence.split(" ", 1) for sentence in report.problems] == [
        [str(second / "ids.npy"), "does not hold the ids that it was written with; restore it from a copy"]
    ]
    with pytest.raises(
        OutOfReach, match=f"^segment {first} cannot be read: .*No such file.*; if its disk is not mount"
    ):
        open_index(index)
    report = repair(index)
    assert report.videos_lost == 2
    assert report.moved_aside == (str(index / "segments" / "aside" / second.name),)
    assert len(report.out_of_reach) == 1
    report = repair(index, missing=True)
    assert (report.videos_lost, report.moved_aside, report.out_of_reach) == (2, (), ())
    assert sorted(_vectors(index)) == [5, 6]
    assert check(index).problems == check(index).out_of_reach == ()


def test_a_row_missing_from_the_catalog_is_found(index: Path) -> None:
    with sqlite3.connect(index / "catalog.sqlite") as connection:
        connection.execute("DELETE FROM videos WHERE id = 3")
    connection.close()
    assert any("do not hold the same ids" in problem for problem in check(index).problems)


def test_faiss_with_other_vectors_or_damage_is_found_and_built_anew(index: Path, run: Run) -> None:
    hits = open_index(index).search("red").hits
    [file] = (index / "ann").glob("*/index.faiss")
    _flip(file, at=-20)
    assert any("index.faiss has other bytes than were written" in problem for problem in check(index).problems)
    assert open_index(index).search("red").hits == hits  # every vector is scanned instead
    told = json.loads(run("check", "--repair", "--index", index, "--json")[1])
    assert (told["videos_lost"], told["repaired"]) == (0, ["the FAISS index was rebuilt"])
    assert check(index).problems == ()
    [file] = (index / "ann").glob("*/index.faiss")
    description = json.loads((file.parent / "ann.json").read_text())
    _flip(file, at=-20)
    description["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()  # as if written wrong
    (file.parent / "ann.json").write_text(json.dumps(description))
    [problem] = check(index).problems
    assert "the FAISS index" in problem
    repair(index)
    [file] = (index / "ann").glob("*/index.faiss")
    file.write_bytes(b"nonsense")
    assert any("cannot be used" in problem for problem in check(index).problems)
    repair(index)
    assert check(index).problems == ()
    assert open_index(index).search("red").hits == hits


def test_compact_drops_dead_rows_and_keeps_ids_and_vectors(index: Path, tmp_path: Path, run: Run) -> None:
    before = _vectors(index)
    reader = open_index(index)
    assert len(reader.search("red").hits) == 6
    delete_videos(index, [3, 4, 5])
    old = _segments(index)
    code, out, _ = run("compact", "--index", index)
    assert code == 0, out
    assert "3 segments before, 2 now; the vectors of 3 deleted videos dropped" in out
    assert _vectors(index) == {id_: before[id_] for id_ in (1, 2, 6)}
    assert check(index).problems == ()
    assert [hit.video_id for hit in reader.search("red").hits] == [6, 2, 1]
    assert all(folder.is_dir() for folder in old)  # for readers of the commit before
    back = undelete_videos(index, [3])
    assert (back.undeleted, back.to_ingest) == ((), (3,))  # its vectors are gone
    again = ingest(index, [tmp_path / "videos"], TOY)
    assert (again.added, again.deleted_earlier) == (1, 2)
    assert _vectors(index)[7] == before[3]


def test_replaced_segments_go_after_the_grace_time(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _segments(index)
    delete_videos(index, [1, 2])
    compact_index(index)
    assert old[0].is_dir()
    compact_index(index)
    assert old[0].is_dir()
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 0.0)
    compact_index(index)
    assert not old[0].exists()
    assert sorted(folder.name for folder in (index / "segments").iterdir()) == sorted(
        folder.name for folder in _segments(index)
    )
    assert check(index).problems == ()


def test_everything_deleted_and_compacted_leaves_an_empty_index(index: Path) -> None:
    delete_videos(index, list(_vectors(index)))
    assert compact_index(index).segments == 0
    assert open_index(index).search("red").hits == ()
    assert check(index).problems == ()


def test_small_segments_are_merged_at_the_end_of_an_ingest(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _vectors(index)
    frames = {id_: open_index(index).frame_embeddings(id_) for id_ in before}
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 4)
    write_video(tmp_path / "videos" / "7.avi", plain_frames(1, (7, 7, 200)))
    ingest(index, [tmp_path / "videos"], TOY)
    assert len(_segments(index)) == 1
    after = _vectors(index)
    assert {id_: after[id_] for id_ in before} == before
    assert all(np.array_equal(open_index(index).frame_embeddings(id_), rows) for id_, rows in frames.items())
    assert check(index).problems == ()


def test_merging_keeps_to_the_largest_size(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _vectors(index)
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 2)
    monkeypatch.setattr("echosearch.index.merging.MERGED_ROWS", 4)
    compact_index(index)
    assert sorted(len(np.load(folder / "ids.npy")) for folder in _segments(index)) == [2, 4]
    assert _vectors(index) == before


@pytest.mark.parametrize("frames", ["float16", "none"])
def test_rewriting_keeps_frames_as_they_are(tmp_path: Path, frames: Any) -> None:
    for number in range(3):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(3, (number * 40, 120, 30)))
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), frames=frames, workers=1))
    index = open_index(tmp_path / "index")
    before = _vectors(tmp_path / "index")
    numbers = index.frame_numbers(2).tolist()
    kept = index.frame_embeddings(2) if frames == "float16" else None
    delete_videos(tmp_path / "index", [1])
    compact_index(tmp_path / "index")
    assert _vectors(tmp_path / "index") == {id_: before[id_] for id_ in (2, 3)}
    index = open_index(tmp_path / "index")
    assert index.frame_numbers(2).tolist() == numbers == [0, 2]
    if kept is not None:
        assert np.array_equal(index.frame_embeddings(2), kept)
