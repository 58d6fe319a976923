"""Ingest adds what is new, replaces what changed, encodes copies once, names what fails, and loses nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, smooth_frames, write_video

from echosearch import open_index
from echosearch.encoders import Encoder, load_encoder
from echosearch.encoders.toy import ToyBackend
from echosearch.errors import BadManifest, BadOption, EncoderFailed, InputError, RecipeMismatch, UnknownEncoder
from echosearch.ingest import IngestOptions, annotate, ingest, read_metadata
from echosearch.types import FrameSampling, IngestProgress, IngestReport, ModelRequest, pool
from echosearch.video import prepare_video

TOY = IngestOptions(ModelRequest("toy"), workers=1)


def _ingest(index: Path, *sources: Path, **more: Any) -> IngestReport:
    return ingest(index, list(sources), more.pop("options", TOY), **more)


def test_what_is_stored_is_what_the_steps_give_by_hand(colours: Path, tmp_path: Path) -> None:
    report = _ingest(tmp_path / "index", colours)
    assert (report.added, report.unchanged, report.generation) == (3, 0, 1)
    index = open_index(tmp_path / "index")
    encoder = load_encoder(ModelRequest("toy"))
    recipe = encoder.card.recipe
    assert [(video.video_id, Path(video.path).name) for video in index.videos()] == [
        (1, "blue.avi"),
        (2, "green.avi"),
        (3, "red.avi"),
    ]
    for video in index.videos():
        prepared = prepare_video(Path(video.path), recipe.sampling, recipe.preprocess)
        frames = encoder.encode_pixels(prepared.pixels)
        pooled = pool(frames)
        assert np.array_equal(index.frame_embeddings(video.video_id), frames)
        assert np.array_equal(index.frame_numbers(video.video_id), [0, 2])
        assert np.array_equal(index.video_embedding(video.video_id), pooled.vector)
        assert index.pooled_norm(video.video_id) == pooled.pooled_norm
        assert (video.fps, video.num_frames, video.num_embedded_frames, video.kind) == (19.0, 4, 2, "video")
        assert (video.height, video.width, video.size_bytes) == (64, 64, Path(video.path).stat().st_size)


def test_run_again_only_what_is_new_is_done(colours: Path, tmp_path: Path) -> None:
    _ingest(tmp_path / "index", colours)
    write_video(colours / "grey.avi", plain_frames(2, (90, 90, 90)))
    report = _ingest(tmp_path / "index", colours, options=IngestOptions(workers=1))  # the model is known by now
    assert (report.added, report.unchanged, report.frames_encoded) == (1, 3, 1)
    assert [video.video_id for video in open_index(tmp_path / "index").videos()] == [1, 2, 3, 4]

    def no_model(request: ModelRequest, decoder: str) -> Encoder:
        raise AssertionError("nothing to do needs no model")

    report = _ingest(tmp_path / "index", colours, load=no_model)
    assert (report.added, report.unchanged, report.generation) == (0, 4, 2)


def test_a_changed_file_is_a_new_id_and_a_touched_one_is_not(colours: Path, tmp_path: Path) -> None:
    _ingest(tmp_path / "index", colours)
    write_video(colours / "red.avi", plain_frames(4, (200, 200, 20)))
    os.utime(colours / "blue.avi", (1, 1))
    report = _ingest(tmp_path / "index", colours)
    assert (report.added, report.replaced, report.unchanged) == (0, 1, 2)
    index = open_index(tmp_path / "index")
    assert {Path(video.path).name: video.video_id for video in index.videos()} == {
        "blue.avi": 1,
        "green.avi": 2,
        "red.avi": 4,
    }
    assert 3 not in {hit.video_id for hit in index.search("red").hits}
    assert _ingest(tmp_path / "index", colours).unchanged == 3  # the new time was noted


def test_copies_are_videos_of_their_own_with_one_embedding(colours: Path, tmp_path: Path) -> None:
    shutil.copy(colours / "red.avi", colours / "red copy.avi")
    report = _ingest(tmp_path / "index", colours)
    assert (report.added, report.copies, report.frames_encoded) == (4, 1, 6)
    shutil.copy(colours / "red.avi", colours / "later.avi")  # of one that is committed already
    report = _ingest(tmp_path / "index", colours)
    assert (report.added, report.copies, report.frames_encoded) == (1, 1, 0)
    index = open_index(tmp_path / "index")
    hits = index.search("red").hits
    assert [Path(hit.path).name for hit in hits[:3]] == ["red copy.avi", "red.avi", "later.avi"]  # by id
    assert len({hit.score for hit in hits[:3]}) == 1
    assert np.array_equal(index.frame_embeddings(hits[0].video_id), index.frame_embeddings(hits[2].video_id))


@pytest.mark.parametrize("frames", ["float16", "none"])
def test_copies_where_frames_are_kept_in_half_or_not_at_all(colours: Path, tmp_path: Path, frames: Any) -> None:
    _ingest(tmp_path / "index", colours, options=IngestOptions(ModelRequest("toy"), frames=frames, workers=1))
    shutil.copy(colours / "red.avi", colours / "later.avi")
    assert _ingest(tmp_path / "index", colours).copies == 1
    index = open_index(tmp_path / "index")
    first, second = (hit.video_id for hit in index.search("red").hits[:2])
    assert np.array_equal(index.video_embedding(first), index.video_embedding(second))
    if frames == "float16":
        assert np.array_equal(index.frame_embeddings(first), index.frame_embeddings(second))
    with pytest.raises(RecipeMismatch, match=f"keeps its frames as {frames}, not float32; leave --frames out"):
        _ingest(tmp_path / "index", colours, options=IngestOptions(frames="float32", workers=1))


def test_a_file_that_cannot_be_read_is_named_and_the_others_go_on(colours: Path, tmp_path: Path) -> None:
    (colours / "empty.avi").touch()
    (colours / "text.mp4").write_text("no video")
    (colours / "link.avi").symlink_to(colours / "gone.avi")
    (colours / "notes.txt").touch()
    report = _ingest(tmp_path / "index", colours)
    assert report.added == 3
    assert [(Path(failure.path).name, failure.code) for failure in report.failures] == [
        ("empty.avi", "unreadable-video"),
        ("link.avi", "inaccessible-video"),
        ("text.mp4", "unreadable-video"),
    ]
    assert "skipped 1 files that are not supported videos or stills: 1 .txt" in report.warnings
    assert list(open_index(tmp_path / "index").failures()) == list(report.failures)
    write_video(colours / "empty.avi", plain_frames(1, (1, 2, 3)))
    report = _ingest(tmp_path / "index", colours)
    # The link may lead somewhere tomorrow, so it is tried again; the bytes of the other are no better today.
    assert (report.added, len(report.failures), report.failed_earlier) == (1, 1, 1)
    report = _ingest(tmp_path / "index", colours, options=IngestOptions(workers=1, retry_failed=True))
    assert (len(report.failures), report.failed_earlier) == (2, 0)
    names = [Path(failure.path).name for failure in open_index(tmp_path / "index").failures()]
    assert names == ["link.avi", "text.mp4"]


class _Strange(ToyBackend):
    """The toy encoder that gives nonsense for red pictures, or fails altogether."""

    def __init__(self, nonsense: float | None) -> None:
        super().__init__(None, "test")
        self._nonsense = nonsense

    def encode_pixels(self, pixels: Any) -> Any:
        rows = super().encode_pixels(pixels)
        red = rows[:, 0] > 0.5
        red &= pixels.std(axis=(1, 2, 3)) > 30  # not the probe clip's
        if self._nonsense is None and red.any():
            raise EncoderFailed("the GPU has no memory for a batch of 2")
        rows[red & (rows[:, 1] < 0.3)] = self._nonsense
        return rows


def _loading(backend: ToyBackend) -> Any:
    return lambda request, decoder: Encoder(backend, batch_frames=2)


@pytest.mark.parametrize(("nonsense", "sentence"), [(np.nan, "not finite"), (0.0, "length zero")])
def test_embeddings_without_direction_are_failures_never_rows(
    colours: Path, tmp_path: Path, nonsense: float, sentence: str
) -> None:
    shutil.copy(colours / "red.avi", colours / "red copy.avi")
    report = _ingest(tmp_path / "index", colours, load=_loading(_Strange(nonsense)))
    assert report.added == 2
    assert [(Path(failure.path).name, failure.code) for failure in report.failures] == [
        ("red copy.avi", "encoder-failed"),
        ("red.avi", "encoder-failed"),
    ]
    assert sentence in report.failures[0].message
    assert "same bytes could not be encoded" in report.failures[1].message


def test_when_the_model_fails_what_was_complete_stays(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderFailed, match="no memory"):
        _ingest(tmp_path / "index", colours, load=_loading(_Strange(None)))
    names = [Path(video.path).stem for video in open_index(tmp_path / "index").videos()]
    assert names == ["blue", "green"]


def test_an_interrupt_commits_what_is_complete(colours: Path, tmp_path: Path) -> None:
    def interrupt(progress: IngestProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _ingest(tmp_path / "index", colours, listener=interrupt, load=_loading(ToyBackend(None, "test")))
    assert len(list(open_index(tmp_path / "index").videos())) == 2
    report = _ingest(tmp_path / "index", colours, load=_loading(ToyBackend(None, "test")))
    assert (report.added, report.unchanged) == (1, 2)


def test_progress_counts_to_the_end(colours: Path, tmp_path: Path) -> None:
    (colours / "text.mp4").write_text("no video")
    told: list[IngestProgress] = []
    _ingest(tmp_path / "index", colours, listener=told.append)
    assert told[0] == IngestProgress(0, 4, 0, 0)
    assert told[-1] == IngestProgress(4, 4, 1, 3)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)


def test_commits_come_after_so_many_videos(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", 2)
    assert _ingest(tmp_path / "index", colours).generation == 2
    monkeypatch.setattr("echosearch.ingest.batch.COMMIT_SECONDS", 0.0)
    assert _ingest(tmp_path / "other", colours).generation == 3


def test_two_ways_to_a_folder_are_one_video(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ingest(tmp_path / "index", colours)
    (tmp_path / "link").symlink_to(colours)
    monkeypatch.chdir(colours)
    for source in (colours / ".." / "colours", tmp_path / "link", Path("red.avi"), colours / "red.avi"):
        assert _ingest(tmp_path / "index", source).added == 0
    assert _ingest(tmp_path / "index", colours.parent).added == 0  # a folder above: the same files
    assert len(list(open_index(tmp_path / "index").videos())) == 3


def test_names_of_any_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    names = [b"two words.avi", b"line\nbreak.avi", b"\xff\xfe.avi", b"100%.avi", "ü.avi".encode()]
    for number, name in enumerate(names):
        plain = write_video(tmp_path / "plain.avi", plain_frames(1, (number * 40, 200, 10)))
        folder.mkdir(exist_ok=True)
        plain.rename(folder / os.fsdecode(name))
    report = _ingest(tmp_path / "index", folder)
    assert (report.added, report.failures) == (5, ())
    index = open_index(tmp_path / "index")
    assert sorted(os.fsencode(Path(video.path).name) for video in index.videos()) == sorted(names)
    assert _ingest(tmp_path / "index", folder).unchanged == 5
    assert index.similar(folder / os.fsdecode(names[2]), k=1).hits[0].score == pytest.approx(1, abs=1e-6)


def test_a_manifest_gives_study_patient_and_attributes(colours: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,study,patient,view,EF,site\nred,S1,P1,A4C,33,north\ngreen,S2,P1,,60.5,\n")
    report = _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    assert "1 files have no row in m.csv" in report.warnings
    videos = {Path(video.path).stem: video for video in open_index(tmp_path / "index").videos()}
    assert (videos["red"].study, videos["red"].patient, videos["red"].view) == ("S1", "P1", "A4C")
    assert videos["red"].attributes == {"EF": 33.0, "site": "north"}
    assert videos["green"].attributes == {"EF": 60.5, "site": None}
    assert videos["blue"].attributes == {"EF": None, "site": None}
    assert (videos["blue"].study, videos["blue"].patient) == (None, None)

    write_video(colours / "grey.avi", plain_frames(1, (90, 90, 90)))
    manifest.write_text("path,EF\ngrey,unknown\n")
    with pytest.raises(BadManifest, match="attribute 'EF' holds numbers"):
        _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    assert len(list(open_index(tmp_path / "index").videos())) == 3


def test_a_manifest_that_fits_nothing_is_refused_before_the_work(colours: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,EF\nelsewhere/one.avi,55\n")
    with pytest.raises(BadManifest, match=r"no row of .*m\.csv matches a file: .* 'elsewhere/one\.avi'"):
        _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    assert not (tmp_path / "index").exists()
    _ingest(tmp_path / "index", colours)
    with pytest.raises(BadManifest, match="matches a file"):
        annotate(tmp_path / "index", read_metadata(manifest))


def test_cells_that_are_emptied_are_counted(colours: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,study,EF,age\nred,S1,33,60\ngreen,S2,40,\n")
    _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    manifest.write_text("path,study,EF,age\nred,,,60\ngreen,S2,,\n")
    report = _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    assert "3 known values were cleared, because their cells in the manifest are empty" in report.warnings
    told = {Path(video.path).stem: (video.study, video.attributes) for video in open_index(tmp_path / "index").videos()}
    assert told["red"] == (None, {"EF": None, "age": 60})
    assert told["green"] == ("S2", {"EF": None, "age": None})


def test_each_half_of_echonet_pediatric_has_its_own_list(tmp_path: Path) -> None:
    for view in ("A4C", "PSAX"):
        (tmp_path / "p" / view / "Videos").mkdir(parents=True)
        write_video(
            tmp_path / "p" / view / "Videos/one.avi", plain_frames(2, (90, 90, 90) if view == "A4C" else (9, 9, 9))
        )
        (tmp_path / "p" / view / "FileList.csv").write_text(f"FileName,EF\none.avi,{60 if view == 'A4C' else 40}\n")
    for sources in ([tmp_path / "p"], [tmp_path / "p/A4C", tmp_path / "p/PSAX"]):
        index = tmp_path / f"index{len(sources)}"
        report = ingest(index, sources, IngestOptions(ModelRequest("toy"), workers=1))
        assert not [warning for warning in report.warnings if "have no row" in warning or "match no file" in warning]
        told = {(video.view, video.attributes["EF"]) for video in open_index(index).videos()}
        assert told == {("A4C", 60), ("PSAX", 40)}


def test_whole_numbers_that_fractions_would_round_stay(colours: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,n\nred,9007199254740993\n")
    _ingest(tmp_path / "index", colours, tables=[read_metadata(manifest)])
    manifest.write_text("path,n\nred,0.5\n")
    with pytest.raises(BadManifest, match="whole numbers of 2\\^53 and above"):
        annotate(tmp_path / "index", read_metadata(manifest))
    assert {video.attributes["n"] for video in open_index(tmp_path / "index").videos()} == {9007199254740993, None}


def test_another_recipe_is_refused_with_the_difference(colours: Path, tmp_path: Path) -> None:
    _ingest(tmp_path / "index", colours)
    write_video(colours / "grey.avi", plain_frames(2, (90, 90, 90)))
    every = IngestOptions(ModelRequest("toy", sampling=FrameSampling()), workers=1)
    with pytest.raises(RecipeMismatch, match=r"sampling\.stop None here, 40 there; sampling\.stride 1 here, 2 there"):
        _ingest(tmp_path / "index", colours, options=every)
    assert len(list(open_index(tmp_path / "index").videos())) == 3


def test_what_cannot_be_meant_is_refused_before_anything_is_written(colours: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    with pytest.raises(UnknownEncoder, match=r"(?s)needs a model; name one with --model.*echo-clip.*toy.*local-dir:"):
        _ingest(index, colours, options=IngestOptions(workers=1))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no videos in"):
        _ingest(index, tmp_path / "none")
    with pytest.raises(InputError, match="does not exist; give a video file or a folder"):
        _ingest(index, tmp_path / "nowhere")
    with pytest.raises(InputError, match="give at least one video"):
        _ingest(index)
    with pytest.raises(BadOption, match="--workers is at least 1, not 0"):
        IngestOptions(workers=0)
    with pytest.raises(BadOption, match="--timeout is more than 0 seconds, and at most 1e6, not 0"):
        IngestOptions(timeout_seconds=0)
    assert not index.exists()


def _video_that(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> Path:
    """A folder of good videos with one, `middle.avi`, whose decoding does something bad in the worker process."""
    code = f"""
import os, signal, time
import echosearch.video.read as read
plain = read.open_media
def strange(path):
    if path.name == "middle.avi":
        {what}
    return plain(path)
import echosearch.video.pixels as pixels
pixels.open_media = strange
"""
    site = tmp_path / "site"
    site.mkdir()
    (site / "strange.py").write_text(code)
    monkeypatch.syspath_prepend(str(site))  # spawned processes get this path as well
    monkeypatch.setattr("echosearch.ingest.decoding._serve", _serve_strangely)
    shutil.copy(colours / "red.avi", colours / "middle.avi")
    with (colours / "middle.avi").open("ab") as file:
        file.write(b"\0")
    return colours


def _serve_strangely(*arguments: Any) -> None:
    import importlib

    from echosearch.ingest.decoding import _serve

    importlib.import_module("strange")
    _serve(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "decoder-died", r"the decoding process died \(signal SIGSEGV\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "decoder-died", r"the decoding process died \(signal SIGKILL\)"),
        ("import ctypes; ctypes.string_at(0)", "decoder-died", "SIGSEGV"),
        ("bytearray(10 * 2**30)", "out-of-memory", "more memory than a worker may use"),
        ("import numpy; numpy.arange(10**12).sort()", "out-of-memory", "more memory than a worker may use"),
        ("sum(range(10**12))", "timeout", "took longer than 2 s"),
        ("os._exit(3)", "decoder-died", r"the decoding process died \(exit code 3\)"),
        ("time.sleep(600)", "timeout", "took longer than 2 s"),
        ("raise MemoryError", "out-of-memory", "needs more memory than a worker may use"),
        ("1 / 0", "internal-error", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_decoder_that_dies_or_hangs_costs_one_video(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, code: str, sentence: str
) -> None:
    folder = _video_that(colours, tmp_path, monkeypatch, what)
    options = IngestOptions(ModelRequest("toy"), workers=1, timeout_seconds=2)
    report = _ingest(tmp_path / "index", folder, options=options)
    [failure] = report.failures
    assert (Path(failure.path).name, failure.code) == ("middle.avi", code)
    assert re.search(sentence, failure.message)
    assert [Path(video.path).stem for video in open_index(tmp_path / "index").videos()] == ["blue", "green", "red"]


@pytest.mark.slow
def test_workers_import_no_torch_and_end_with_the_ingest(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "x.avi", smooth_frames(2, 48, 64))
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
from echosearch.ingest import IngestOptions, ingest
from echosearch.ingest.decoding import decoders
from echosearch.types import ModelRequest

if __name__ == "__main__":
    ingest(Path({str(tmp_path / "index")!r}), [Path({str(tmp_path / "videos")!r})], IngestOptions(ModelRequest("toy")))
    with decoders(2, 10, 4 * 2**30) as pool:
        pool.wait_until_ready()
        pids = [process._process.pid for process in pool._processes]
        maps = "".join(Path(f"/proc/{{pid}}/maps").read_text() for pid in pids)
    alive = [pid for pid in pids if Path(f"/proc/{{pid}}").exists()]
    print("libtorch" in maps, "libdecord" in maps or "cv2" in maps, bool(alive))
"""
    )
    import subprocess

    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "True", "False"]


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_130_and_keeps_the_batch(tmp_path: Path) -> None:
    import subprocess

    whole = write_video(tmp_path / "whole.avi", smooth_frames(40, 240, 320)).read_bytes()
    (tmp_path / "videos").mkdir()
    for number in range(300):  # many seconds of work: the interrupt comes in the midst of it on any machine
        (tmp_path / "videos" / f"{number:03}.avi").write_bytes(whole + number.to_bytes(8, "little"))

    command = [
        sys.executable,
        "-m",
        "echosearch",
        "ingest",
        str(tmp_path / "videos"),
        "--index",
        str(tmp_path / "index"),
    ]
    process = subprocess.Popen(
        [*command, "--model", "toy", "--workers", "1"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(300):
        if (tmp_path / "index" / "writer.json").exists():
            break
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    before = len(list(open_index(tmp_path / "index").videos()))
    report = _ingest(tmp_path / "index", tmp_path / "videos")
    assert report.unchanged == before < 300
    assert report.added + report.unchanged == 300


def test_pictures_of_our_own_are_no_media(colours: Path, tmp_path: Path, run: Any) -> None:
    index = tmp_path / "index"
    assert run("ingest", colours, "--model", "toy", "--index", index)[0] == 0
    assert run("search", "RED", "--contact-sheet", colours / "hits.png", "--index", index)[0] == 0
    from PIL import Image

    Image.new("RGB", (20, 20), (9, 9, 9)).save(colours / "still.png")
    code, out, _ = run("ingest", colours, "--index", index)
    assert code == 0
    assert "note: skipped 1 pictures that echosearch wrote: hits.png" in out
    assert "1 added, 0 replaced, 3 unchanged, 0 failed" in out
    assert run("ingest", colours, "--index", index)[1].count("skipped 1 pictures") == 1
