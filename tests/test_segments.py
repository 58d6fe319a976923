"""Segments: what is written comes back to the last bit, is on disk before it is named, and is refused when changed."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from store_helpers import NUMERICS, random_units, unit

from echosearch.errors import CatalogSegmentsDisagree, DamagedIndex
from echosearch.index.vectors import (
    FramesDtype,
    Segment,
    SegmentInfo,
    SegmentRows,
    StoredVideo,
    open_segment,
    write_segment,
)

IDS = [4, 5, 9000000000]
NUMBERS = [[0], [0, 3, 6, 9], [11, 2]]
FRAMES = [random_units(len(numbers), 24, seed) for seed, numbers in enumerate(NUMBERS)]
NORMS = [1.0, 0.1, 1 / 3]
VIDEOS = [
    StoredVideo(vector, float(np.float32(norm)), np.array(numbers, np.int32), frames)
    for vector, norm, numbers, frames in zip(random_units(3, 24, 7), NORMS, NUMBERS, FRAMES, strict=True)
]
FILES = ["frame_numbers.npy", "frames.npy", "ids.npy", "norms.npy", "offsets.npy", "pooled.npy"]


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is slow on a busy disk; the one test that is about it records it instead."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def write(folder: Path, frames_dtype: FramesDtype = "float32") -> SegmentInfo:
    return write_segment(folder, SegmentRows(np.array(IDS, np.int64), VIDEOS), frames_dtype, NUMERICS)


def reopened(folder: Path, frames_dtype: FramesDtype = "float32") -> Segment:
    return open_segment(folder, write(folder, frames_dtype).name)


def test_float32_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    segment = reopened(tmp_path)
    assert segment.ids.dtype == np.int64
    assert segment.ids.tolist() == IDS
    assert segment.pooled.tobytes() == b"".join(video.vector.tobytes() for video in VIDEOS)
    assert segment.norms.tobytes() == struct.pack("<3f", *NORMS)
    for row, video in enumerate(VIDEOS):
        kept = segment.stored(row)
        assert kept.vector.dtype == np.float32
        assert kept.vector.tobytes() == video.vector.tobytes()
        assert kept.pooled_norm == struct.unpack("<f", struct.pack("<f", NORMS[row]))[0]
        assert kept.frame_numbers.dtype == np.int32
        assert kept.frame_numbers.tolist() == NUMBERS[row]
        assert kept.frame_embeddings is not None
        assert kept.frame_embeddings.dtype == np.float32
        assert kept.frame_embeddings.tobytes() == FRAMES[row].tobytes()


def test_float16_frames_are_the_nearest_half_floats_and_all_else_stays_float32(tmp_path: Path) -> None:
    segment = reopened(tmp_path, "float16")
    for row, video in enumerate(VIDEOS):
        kept = segment.stored(row)
        assert kept.frame_embeddings is not None
        assert kept.frame_embeddings.dtype == np.float16
        # struct rounds to nearest, ties to even, by code of its own
        assert kept.frame_embeddings.tobytes() == struct.pack(f"<{FRAMES[row].size}e", *FRAMES[row].ravel().tolist())
        assert np.abs(kept.frame_embeddings - FRAMES[row]).max() <= 2**-12  # half a step below 1
        assert kept.vector.tobytes() == video.vector.tobytes()
        assert kept.frame_numbers.tolist() == NUMBERS[row]


def test_half_floats_written_again_do_not_change(tmp_path: Path) -> None:
    first = reopened(tmp_path, "float16")
    again = SegmentRows(first.ids, [first.stored(row) for row in range(3)])
    second = open_segment(tmp_path, write_segment(tmp_path, again, "float16", NUMERICS).name)
    for name in FILES:
        assert (second.path / name).read_bytes() == (first.path / name).read_bytes()


def test_none_keeps_the_frame_numbers_and_no_frames(tmp_path: Path) -> None:
    segment = reopened(tmp_path, "none")
    assert sorted(segment.info.files) == [name for name in FILES if name != "frames.npy"]
    for row in range(3):
        assert segment.stored(row).frame_embeddings is None
        assert segment.stored(row).frame_numbers.tolist() == NUMBERS[row]
        assert segment.stored(row).vector.tobytes() == VIDEOS[row].vector.tobytes()


def test_the_files_are_those_of_the_design_page(tmp_path: Path) -> None:
    segment = reopened(tmp_path)
    assert sorted(file.name for file in segment.path.iterdir()) == sorted([*FILES, "segment.json"])
    arrays = {name: np.load(segment.path / name) for name in FILES}
    assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
        "ids.npy": ("<i8", (3,)),
        "pooled.npy": ("<f4", (3, 24)),
        "norms.npy": ("<f4", (3,)),
        "offsets.npy": ("<i8", (4,)),
        "frames.npy": ("<f4", (7, 24)),
        "frame_numbers.npy": ("<i4", (7,)),
    }
    assert arrays["offsets.npy"].tolist() == [0, 1, 5, 7]
    assert arrays["frame_numbers.npy"].tolist() == [0, 0, 3, 6, 9, 11, 2]


def test_segment_json_tells_sizes_and_digests(tmp_path: Path) -> None:
    info = write(tmp_path)
    folder = tmp_path / info.name
    told = json.loads((folder / "segment.json").read_text())
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    assert told["files"] == {name: [(folder / name).stat().st_size, digests[name]] for name in FILES}
    assert told["ids_sha256"] == hashlib.sha256(struct.pack("<3q", *IDS)).hexdigest()
    assert (told["name"], told["count"], told["num_frames"], told["dim"]) == (info.name, 3, 7, 24)
    assert told["frames_dtype"] == "float32"
    assert told["numerics"] == {
        "precision": "fp32",
        "device": "cpu",
        "torch": "none",
        "decoder": "none",
        "runtime": "none",
    }
    assert open_segment(tmp_path, info.name).info == info


def test_each_segment_has_a_name_of_its_own_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    names = {write(tmp_path).name for _ in range(3)}
    assert len(names) == 3
    assert {file.name for file in tmp_path.iterdir()} == names


def test_everything_is_synced_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sizes: dict[str, int] = {}
    fsync, rename = os.fsync, Path.rename

    def recorded_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(f"sync {path.relative_to(tmp_path)}")
        sizes[path.name] = os.fstat(descriptor).st_size
        fsync(descriptor)

    def recorded_rename(path: Path, target: Path) -> Path:
        done.append(f"rename {path.relative_to(tmp_path)} {target.relative_to(tmp_path)}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    name = write(tmp_path).name
    partial = f".partial-{name}"
    assert sorted(done[:7]) == sorted(f"sync {partial}/{file}" for file in [*FILES, "segment.json"])
    assert done[7:] == [f"sync {partial}", f"rename {partial} {name}", "sync ."]
    for file in [*FILES, "segment.json"]:
        assert sizes[file] == (tmp_path / name / file).stat().st_size, "something was still in a buffer"


# What was changed is refused.


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_refused(tmp_path: Path, name: str) -> None:
    info = write(tmp_path)
    size = info.files[name][0]
    file = tmp_path / info.name / name
    os.truncate(file, size - 4)
    sentence = f"{file} has {size - 4} bytes where its segment was written with {size}; restore the folder from a copy"
    with pytest.raises(CatalogSegmentsDisagree, match=f"^{sentence}$"):
        open_segment(tmp_path, info.name)
    os.truncate(file, size + 1)
    with pytest.raises(
        CatalogSegmentsDisagree, match=f"has {size + 1} bytes where its segment was written with {size}"
    ):
        open_segment(tmp_path, info.name)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", '{"files": {}}', "\0"])
def test_a_segment_json_that_is_none_is_told_in_plain_words(tmp_path: Path, text: str) -> None:
    info = write(tmp_path)
    (tmp_path / info.name / "segment.json").write_text(text)
    with pytest.raises(
        DamagedIndex,
        match=f"^segment {tmp_path / info.name} cannot be read: its segment.json is not what was written; "
        "restore it from a copy, or drop its videos with: echosearch check --repair$",
    ):
        open_segment(tmp_path, info.name)


@pytest.mark.parametrize("name", [*FILES, "segment.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    info = write(tmp_path)
    (tmp_path / info.name / name).unlink()
    with pytest.raises(DamagedIndex, match=f"^segment {tmp_path / info.name} cannot be read: .*{name}"):
        open_segment(tmp_path, info.name)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedIndex, match=f"^segment {tmp_path / 'abc'} cannot be read: .*No such file"):
        open_segment(tmp_path, "abc")


def test_changed_ids_are_refused(tmp_path: Path) -> None:
    info = write(tmp_path)
    file = tmp_path / info.name / "ids.npy"
    np.save(file, np.array([4, 6, 9000000000], np.int64))
    with pytest.raises(CatalogSegmentsDisagree, match=f"^{file} does not hold the ids that it was written with"):
        open_segment(tmp_path, info.name)


def test_a_file_with_a_damaged_header_is_named_when_it_is_used(tmp_path: Path) -> None:
    info = write(tmp_path)
    file = tmp_path / info.name / "pooled.npy"
    with file.open("r+b") as opened:
        opened.write(b"\0" * 20)
    segment = open_segment(tmp_path, info.name)
    with pytest.raises(DamagedIndex, match=f"^{file} cannot be read: "):
        _ = segment.pooled


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"count"', '"number"'),
        lambda text: text.replace('"files"', '"file"'),
        lambda text: json.dumps(json.loads(text) | {"files": {"ids.npy": 3}}),
        lambda text: json.dumps(json.loads(text) | {"files": ["ids.npy"]}),
    ],
)
def test_a_damaged_segment_json_is_named(tmp_path: Path, change: Callable[[str], str]) -> None:
    info = write(tmp_path)
    file = tmp_path / info.name / "segment.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(DamagedIndex, match=f"^segment {tmp_path / info.name} cannot be read: "):
        open_segment(tmp_path, info.name)


# What cannot go into a segment.


@pytest.mark.parametrize("ids", [[5, 4, 6], [4, 4, 5], [3, 5, 5]])
def test_ids_that_do_not_ascend_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^the ids of a segment are ascending$"):
        SegmentRows(np.array(ids, np.int64), VIDEOS)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_one_id_goes_with_one_video(count: int) -> None:
    with pytest.raises(ValueError, match=r"^a segment has one id for each video, and at least one$"):
        SegmentRows(np.arange(count), VIDEOS)


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a segment has one id for each video, and at least one$"):
        SegmentRows(np.arange(0), [])


@pytest.mark.parametrize("counts", [(None, 1), (1, None), (2, 1), (1, 1), (1, 3), (2, 2)])
def test_frames_are_kept_for_every_frame_number_or_none(tmp_path: Path, counts: tuple[int | None, int | None]) -> None:
    # Frame numbers are 1 and 2; with (2, 1) only the sum is right, and frames would go to the wrong video.
    videos = [
        StoredVideo(unit(1), 1.0, np.arange(numbers, dtype=np.int32), count and random_units(count, 32, 0))
        for numbers, count in zip((1, 2), counts, strict=True)
    ]
    rows = SegmentRows(np.array([1, 2]), videos)
    sentence = r"^a segment that keeps frames needs a frame embedding for every frame number$"
    with pytest.raises(ValueError, match=sentence):
        write_segment(tmp_path, rows, "float32", NUMERICS)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_open_arrays_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """CPython 3.11 mixes up syntax trees of two threads where a collection lets another run; headers are parsed."""
    np.save(tmp_path / "offsets.npy", np.arange(13))
    segment = Segment.__new__(Segment)
    object.__setattr__(segment, "path", tmp_path)
    found: list[object] = []

    def run() -> None:
        for _ in range(500):
            try:
                segment.load("offsets", mapped=False)
            except SystemError as error:
                found.append(error)

    def give_way(*_: object) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(5)
    try:
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(give_way)
        gc.set_threshold(*before)
    assert not found
