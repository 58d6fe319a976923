"""Killed at random moments and resumed, and read without pause while it is written: the answers are whole."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_frames, write_video
from store_helpers import add, make_store, new_video, random_units

from echosearch import open_index
from echosearch.index.check import check_index as check
from echosearch.index.upkeep import compact
from echosearch.ingest import IngestOptions, ingest
from echosearch.types import ModelRequest

INGEST = """
import sys
from pathlib import Path
import echosearch.ingest.pipeline as pipeline
from echosearch.ingest import IngestOptions, ingest
from echosearch.types import ModelRequest

if __name__ == "__main__":
    pipeline.COMMIT_VIDEOS = 3
    ingest(Path(sys.argv[1]), [Path(sys.argv[2])], IngestOptions(ModelRequest("toy"), workers=1))
"""

READ = """
import json, sys
from pathlib import Path
import numpy as np
from echosearch.search import Phrase, Query, Question, nearest
from echosearch.index import Store

store, stop = Store(Path(sys.argv[1])), Path(sys.argv[2])
question, query = Question((Phrase("any"),), k=1000), Query(np.eye(1, 32, dtype=np.float32)[0], "cosine")
while not stop.exists():
    with store.snapshot() as view:
        hits = nearest(view, question, query)
        records = [record.video_id for record in view.catalog.videos.records()]
        print(json.dumps([view.generation, sorted(hit.video_id for hit in hits), records]), flush=True)
"""


@pytest.mark.slow
def test_25_kills_of_an_ingest_change_no_answer(tmp_path: Path) -> None:
    videos, index = tmp_path / "videos", tmp_path / "index"
    for number in range(60):
        write_video(videos / f"{number:02}.avi", smooth_frames(30, 120, 160, seed=number))
    ingest(tmp_path / "whole", [videos], IngestOptions(ModelRequest("toy"), workers=1))
    (tmp_path / "driver.py").write_text(INGEST)
    command = [sys.executable, str(tmp_path / "driver.py"), str(index), str(videos)]
    moments = random.Random(0)
    kills = 0
    for attempt in range(200):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kills < 25:
            time.sleep(moments.uniform(0.3, 2.2))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
            if (index / "manifest.json").exists() and len(list(open_index(index).videos())) == 60:
                (index / "manifest.json").unlink()  # done too early: start again from nothing
                index.rename(tmp_path / f"done-{attempt}")
        elif process.wait() == 0:
            break
    assert kills == 25
    assert check(index).problems == ()
    whole, resumed = open_index(tmp_path / "whole"), open_index(index)
    assert len(list(resumed.videos())) == 60
    for phrase in ("red", "blue left", "dark top"):
        expected = {hit.path: (hit.score, hit.best_frame) for hit in whole.search(phrase, k=60).hits}
        found = {hit.path: (hit.score, hit.best_frame) for hit in resumed.search(phrase, k=60).hits}
        assert found.keys() == expected.keys()
        for path, (score, frame) in expected.items():
            assert found[path] == (pytest.approx(score, abs=1e-5), frame)


@pytest.mark.slow
def test_every_answer_belongs_to_one_whole_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.index.writer.MERGE_FROM", 3)
    monkeypatch.setattr("echosearch.index.leftovers.GRACE_SECONDS", 5.0)
    store = make_store(tmp_path / "index")
    add(store, new_video("first", random_units(1, 32, 0)[0]))
    (tmp_path / "reader.py").write_text(READ)
    stop = tmp_path / "stop"
    readers = []
    for number in range(2):
        output = (tmp_path / f"answers-{number}").open("w")
        command = [sys.executable, str(tmp_path / "reader.py"), str(tmp_path / "index"), str(stop)]
        readers.append((subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True), output))
    right: dict[int, list[int]] = {}

    def note() -> None:
        with store.snapshot() as snapshot:
            right[snapshot.generation] = snapshot.rows.ids.tolist()

    note()
    random_numbers = random.Random(0)
    try:
        time.sleep(2)
        for commit in range(50):
            rows = random_units(3, 32, commit + 1)
            add(store, *(new_video(f"{commit}-{n}", row) for n, row in enumerate(rows)))
            note()
            if commit % 2:
                with store.writer() as writer:
                    writer.delete(random_numbers.sample(right[max(right)], 2))
                note()
            if commit % 10 == 9:
                with store.writer() as writer:
                    compact(writer)  # several commits, none of which changes what is found
                note()
            time.sleep(0.05)
    finally:
        stop.touch()
        for process, output in readers:
            _, err = process.communicate(timeout=30)
            output.close()
    for number, (process, _) in enumerate(readers):
        assert process.returncode == 0, err
        answers = [json.loads(line) for line in (tmp_path / f"answers-{number}").read_text().splitlines()]
        generations = {generation for generation, _, _ in answers}
        assert len(generations) > 20
        for generation, hits, records in answers:
            # Between two notes one commit changes answers; before and after it others tidy, merge and compact.
            before = max(noted for noted in right if noted <= generation)
            after = min(noted for noted in right if noted >= generation)
            assert hits == records, generation
            assert hits in (right[before], right[after]), generation
    with store.writer() as writer:
        writer.finish()
    assert check(tmp_path / "index").problems == ()


@pytest.mark.slow
def test_200_damaged_files_among_good_ones_are_named_and_the_good_ones_are_in(tmp_path: Path) -> None:
    videos, index = tmp_path / "videos", tmp_path / "index"
    good = [
        write_video(videos / f"good-{n}.avi", smooth_frames(12, 96, 128, seed=n)).read_bytes() for n in range(5)
    ] + [
        write_video(
            videos / f"good-{n}.mp4", smooth_frames(12, 96, 128, seed=n), codec="mpeg4", pix_fmt="yuv420p"
        ).read_bytes()
        for n in range(5, 10)
    ]
    numbers = np.random.default_rng(0)
    certain = set()
    for number in range(200):
        data, suffix = bytearray(good[number % 10]), ".avi" if number % 10 < 5 else ".mp4"
        kind = ("cut", "flipped", "empty", "text", "header")[number // 10 % 5]
        if kind == "cut":
            del data[int(len(data) * numbers.uniform(0.001, 0.05)) :]
        elif kind == "flipped":
            for at in numbers.integers(0, len(data), len(data) // 20):
                data[at] ^= 1 << int(numbers.integers(8))
        elif kind == "empty":
            data.clear()
        elif kind == "text":
            data = bytearray(b"patient,study\n" * 100)
        else:
            data[8:200] = b"\xff" * 192
        path = videos / f"bad-{number:03}-{kind}{suffix}"
        path.write_bytes(data)
        if kind in ("empty", "text", "header", "cut"):
            certain.add(str(path))
    report = ingest(index, [videos], IngestOptions(ModelRequest("toy"), workers=2, timeout_seconds=20))
    named = {failure.path for failure in report.failures}
    live = {video.path for video in open_index(index).videos()}
    assert certain <= named
    assert {path for path in live if "good" in path} == {str(path) for path in videos.glob("good-*")}
    # A flipped bit may leave a picture that decodes: such a file is either in or named, never lost.
    assert named | live == {str(path) for path in videos.iterdir()}
    assert not named & live
    assert {failure.code for failure in report.failures} <= {
        "unreadable-video", "unsupported-video", "decoder-died", "timeout", "out-of-memory", "encoder-failed",
    }  # fmt: skip
