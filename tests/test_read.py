"""Reading: the right frames in true RGB, only those asked for, and every file that cannot be read refused by name."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import struct
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import plain_frames, smooth_frames, write_video
from PIL import Image

from echosearch.errors import EchoSearchError, InaccessibleVideo, UnreadableVideo, UnsupportedVideo
from echosearch.ingest.decoding import decoders
from echosearch.types import Failure, FrameSampling, PreprocessSpec, VideoFacts
from echosearch.video import open_media, prepare_video

Frames = npt.NDArray[np.uint8]

ALL = FrameSampling()
TINY = PreprocessSpec(4, "squash", "opencv", "area", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def read(path: Path, frame_numbers: list[int] | None = None) -> Frames:
    """Frames of a file as the product reads them; all when none are named."""
    media = open_media(path)
    return np.stack(list(media.frames(range(media.num_frames) if frame_numbers is None else frame_numbers)))


def read_by_pyav(path: Path) -> Frames:
    """Every frame of a video, by another library."""
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_stream(
    path: Path, frames: Frames, codec: str, options: dict[str, str], first_time: int = 0, pix_fmt: str = "yuv420p"
) -> Path:
    """Write a video with options of its codec; frames with a time below zero are stored, but not shown (MP4)."""
    import av

    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = first_time + number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def greatest_difference(mine: Frames, other: Frames) -> int:
    assert mine.shape == other.shape
    return int(np.abs(mine.astype(int) - other.astype(int)).max())


# Which frames


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("SDX000055", [0, 7, 8, 31, 57]),  # colour Doppler, 19 fps, 58 frames
        ("SDX000051", [0, 2, 72, 73, 74, 75, 91]),  # a key frame at 74
        ("SDX000000", [95]),
    ],
)
def test_frames_of_a_real_video_are_those_that_another_decoder_numbers_so(
    clips: list[Path], name: str, numbers: list[int]
) -> None:
    path = next(path for path in clips if path.stem == name)
    expected = read_by_pyav(path)
    assert open_media(path).num_frames == len(expected)
    assert greatest_difference(read(path, numbers), expected[numbers]) <= 2
    for number in numbers:  # and no neighbour would pass for them
        assert greatest_difference(expected[number - 1 if number else 1], expected[number]) > 5


STREAMS = {
    "intra only": ("a.avi", "mjpeg", {}, "yuvj420p"),
    "closed groups": ("a.mp4", "libx264", {"bf": "3", "g": "12"}, "yuv420p"),
    "closed groups, no B frames, AVI": ("a.avi", "libx264", {"bf": "0", "g": "12"}, "yuv420p"),
    "H.264 with B frames in AVI: no times": ("a.avi", "libx264", {"bf": "3", "g": "12"}, "yuv420p"),
    "MPEG-4 with B frames": ("a.mp4", "mpeg4", {"bf": "2", "g": "12"}, "yuv420p"),
    "MPEG-4 with B frames in AVI: no times": ("a.avi", "mpeg4", {"bf": "2", "g": "12"}, "yuv420p"),
    "MPEG-2 with B frames in MKV": ("a.mkv", "mpeg2video", {"bf": "2", "g": "12"}, "yuv420p"),
    "HEVC, open groups": ("a.mov", "libx265", {"x265-params": "keyint=10:open-gop=1:log-level=none"}, "yuv420p"),
    "VP8 in WebM": ("a.webm", "libvpx", {"g": "12"}, "yuv420p"),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_any_frames_of_any_stream_are_those_that_another_decoder_numbers_so(tmp_path: Path, stream: str) -> None:
    # decord's own seeking gives other frames for half of these.
    name, codec, options, pix_fmt = STREAMS[stream]
    path = write_stream(tmp_path / name, smooth_frames(50, 64, 64), codec, options, pix_fmt=pix_fmt)
    check_numbering(path, 50)


@pytest.mark.parametrize("stream", ["intra only", "closed groups", "MPEG-4 with B frames", "HEVC, open groups"])
def test_frames_stored_before_the_start_of_a_cut_mp4_are_not_counted(tmp_path: Path, stream: str) -> None:
    # As `ffmpeg -ss 1 -c copy` leaves them. decord counts them, and repeats the last frame that many times.
    _, codec, options, pix_fmt = STREAMS[stream]
    path = write_stream(tmp_path / "a.mp4", smooth_frames(50, 64, 64), codec, options, -10, pix_fmt)
    check_numbering(path, 40)


def check_numbering(path: Path, num_frames: int) -> None:
    expected = read_by_pyav(path)
    assert len(expected) == num_frames
    assert open_media(path).num_frames == num_frames
    rng = np.random.default_rng(0)
    sizes = [size for size in (1, 2, 3, 9, 20) if size <= num_frames]
    choices = [sorted(rng.choice(num_frames, size, replace=False).tolist()) for size in sizes]
    for numbers in [list(range(0, num_frames, 2)), list(range(num_frames)), [num_frames - 1], *choices]:
        assert greatest_difference(read(path, numbers), expected[numbers]) <= 2


def edit(path: Path, edits: list[tuple[int, int]], *, version: int = 0, movie_units: int = 1000) -> Path:
    """Give an MP4 of 30 frames a second these edits: (frames shown, first frame, or -1 for an empty edit)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    media = int.from_bytes(data[data.index(b"mdhd") + 16 : data.index(b"mdhd") + 20], "big")
    movie = data.index(b"mvhd") + 16
    data[movie : movie + 4] = movie_units.to_bytes(4, "big")
    layout = ">Qqi" if version else ">Iii"
    entries = b"".join(
        struct.pack(layout, round(frames * movie_units / 30), first if first < 0 else first * media // 30, 0x10000)
        for frames, first in edits
    )
    box = b"elst" + bytes([version, 0, 0, 0]) + struct.pack(">I", len(edits)) + entries
    box = (len(box) + 4).to_bytes(4, "big") + box
    for kind in (b"edts", b"trak", b"moov"):  # the index lies after the frames: their places stay
        start = data.rindex(kind, 0, at) - 4
        length = int.from_bytes(data[start : start + 4], "big") + len(box) - size
        data[start : start + 4] = length.to_bytes(4, "big")
    data[at : at + size] = box
    path.write_bytes(data)
    return path


EDITS = {
    "end": ([(7, 0)], 7),
    "end in the last group": ([(38, 0)], 38),
    "start": ([(36, 14)], 36),
    "both": ([(10, 5)], 10),
    "both, across key frames": ([(17, 14)], 17),
    "empty, then all": ([(6, -1), (50, 0)], 50),
    "empty, then the middle": ([(6, -1), (17, 14)], 17),
    "longer than the samples": ([(90, 0)], 50),
}


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("movie_units", [600, 1000, 90_000])
@pytest.mark.parametrize("edits", EDITS)
def test_an_edit_list_is_followed_as_another_decoder_does(
    tmp_path: Path, edits: str, movie_units: int, version: int
) -> None:
    # As QuickTime and phones trim. What was cut from the end made the whole video "damaged".
    path = write_stream(tmp_path / "a.mp4", smooth_frames(50, 64, 64), "libx264", {"bf": "0", "g": "12"})
    listed, shown = EDITS[edits]
    edit(path, listed, version=version, movie_units=movie_units)
    # 17 frames are 566.7 milliseconds, rounded 567: the 18th begins before the edit ends.
    ends_between = edits in {"end in the last group", "both, across key frames", "empty, then the middle"}
    is_rounded_up = movie_units == 1000 and ends_between
    check_numbering(path, shown + is_rounded_up)


@pytest.mark.parametrize("stream", ["closed groups", "MPEG-4 with B frames", "HEVC, open groups", "intra only"])
def test_any_stream_trimmed_at_its_end_is_read(tmp_path: Path, stream: str) -> None:
    _, codec, options, pix_fmt = STREAMS[stream]
    path = write_stream(tmp_path / "a.mp4", smooth_frames(50, 64, 64), codec, options, pix_fmt=pix_fmt)
    data = bytearray(path.read_bytes())
    at, movie = data.index(b"elst") + 12, data.index(b"mvhd") + 16
    units = int.from_bytes(data[movie : movie + 4], "big")
    data[at : at + 4] = (17 * units // 30).to_bytes(4, "big")
    path.write_bytes(data)
    expected = read_by_pyav(path)
    check_numbering(path, len(expected))
    assert abs(len(expected) - 17) <= 1


@pytest.mark.parametrize("edits", [[(0, 0)], [(50, -1)]], ids=["of no length", "nothing but empty"])
def test_an_edit_list_that_shows_nothing_is_refused(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    path = write_stream(tmp_path / "a.mp4", smooth_frames(50, 64, 64), "libx264", {"bf": "0", "g": "12"})
    with pytest.raises(UnreadableVideo):
        read(edit(path, edits))


def test_an_edit_list_of_two_pieces(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "a.mp4", smooth_frames(50, 64, 64), "libx264", {"bf": "0", "g": "12"})
    check_numbering(edit(path, [(10, 0), (10, 30)]), 20)


def test_a_video_that_cannot_be_numbered_is_refused_rather_than_read_wrongly(tmp_path: Path) -> None:
    # Five frames that all have time 0: decord loses the first two and repeats the last.
    path = write_video(tmp_path / "zero.mp4", smooth_frames(5, 64, 64))
    patch_mp4_frame_duration(path, 0)
    with pytest.raises(UnreadableVideo, match=r"^frames are damaged or missing, and decord would repeat a neighbour$"):
        read(path)


def patch_mp4_frame_duration(path: Path, duration: int) -> None:
    """Set the duration of every frame of an MP4 (its one stts entry)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 16
    data[at : at + 4] = duration.to_bytes(4, "big")
    path.write_bytes(data)


# Only what was asked for


class Spy:
    """What is asked of decord, call by call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import decord

        self.batches: list[list[int]] = []
        self.seeks: list[int] = []
        get_batch, seek = decord.VideoReader.get_batch, decord.VideoReader.seek

        def spied_get_batch(reader: object, indices: list[int]) -> object:
            self.batches.append(list(indices))
            return get_batch(reader, indices)

        def spied_seek(reader: object, position: int) -> None:
            self.seeks.append(position)
            seek(reader, position)

        def forbidden(*_: object) -> None:
            raise AssertionError("not this way")

        monkeypatch.setattr(decord.VideoReader, "get_batch", spied_get_batch)
        monkeypatch.setattr(decord.VideoReader, "seek", spied_seek)
        for name in ("__getitem__", "next", "seek_accurate", "skip_frames"):
            monkeypatch.setattr(decord.VideoReader, name, forbidden)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def test_frames_are_taken_in_chunks_when_they_are_needed(tmp_path: Path, spy: Spy) -> None:
    media = open_media(write_video(tmp_path / "a.avi", smooth_frames(90, 32, 32)))
    frames = media.frames(list(range(0, 80, 2)))
    assert spy.batches == []
    first = next(frames)
    assert spy.batches == [list(range(0, 64, 2))]
    assert spy.seeks == []
    assert len([first, *frames]) == 40
    assert spy.batches[1:] == [list(range(64, 80, 2))]


def test_decord_is_stopped_as_soon_as_it_has_handed_over_the_last_frame(tmp_path: Path, spy: Spy) -> None:
    # Else it decodes on to the end of the file in a thread of its own.
    media = open_media(write_video(tmp_path / "a.avi", smooth_frames(20, 32, 32)))
    next(media.frames([1, 3, 5]))
    assert spy.seeks == [0]


@pytest.mark.parametrize("stream", STREAMS)
def test_frames_can_be_asked_for_again(tmp_path: Path, stream: str) -> None:
    name, codec, options, pix_fmt = STREAMS[stream]
    path = write_stream(tmp_path / name, smooth_frames(30, 64, 64), codec, options, pix_fmt=pix_fmt)
    expected = read_by_pyav(path)
    media = open_media(path)
    for numbers in ([0, 13, 25], [7, 8, 21], [29], [2]):
        assert greatest_difference(np.stack(list(media.frames(numbers))), expected[numbers]) <= 2


def test_in_one_group_of_frames_nothing_but_the_asked_is_converted(tmp_path: Path, spy: Spy) -> None:
    path = write_stream(tmp_path / "a.mp4", smooth_frames(30, 64, 64), "libx264", {"g": "99", "sc_threshold": "0"})
    list(open_media(path).frames([3, 9, 21]))
    assert spy.batches == [[3, 9, 21]]


def test_across_groups_one_frame_more_for_each_is_converted_and_none_after_the_last(tmp_path: Path, spy: Spy) -> None:
    options = {"g": "10", "bf": "0", "sc_threshold": "0"}  # key frames 0, 10, 20
    path = write_stream(tmp_path / "a.mp4", smooth_frames(30, 64, 64), "libx264", options)
    assert len(list(open_media(path).frames([3, 10, 14]))) == 3
    assert spy.batches == [[3, 9, 10, 14]]


def test_without_times_every_frame_is_taken_up_to_the_last_and_none_after_it(tmp_path: Path, spy: Spy) -> None:
    path = write_stream(tmp_path / "a.avi", smooth_frames(30, 64, 64), "mpeg4", {"bf": "2", "g": "12"})
    assert len(list(open_media(path).frames([3, 9]))) == 2
    assert spy.batches == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]


def test_preparing_a_video_asks_for_the_sampled_frames_only(clips: list[Path], spy: Spy) -> None:
    prepare_video(clips[0], FrameSampling.parse("0:40:2"), TINY)
    assert spy.batches == [list(range(0, 40, 2))]


def test_damage_among_the_frames_asked_for_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", smooth_frames(60, 64, 64))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo, match=r"^a part of the video is damaged and cannot be decoded$"):
        read(path)


# Colours and sizes


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "mjpeg", "yuvj444p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mov", "png", "rgb24"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("A.AVI", "mjpeg", "yuvj420p"),
    ],
)
def test_colours_are_rgb(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = np.concatenate([plain_frames(1, colour) for colour in ((220, 20, 20), (20, 220, 20), (20, 20, 220))])
    found = read(write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt))
    assert found.dtype == np.uint8
    assert greatest_difference(found, frames) <= 6


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.avi", "rawvideo", "gray"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mp4", "libx264", "gray"),
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
    ],
)
def test_grey_videos_are_grey(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = np.repeat(smooth_frames(2, 64, 64)[..., :1], 3, axis=-1)
    path = write_video(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt)
    found = read(path)
    assert int(np.ptp(found.astype(int), axis=-1).max()) <= 2  # chroma rounds a little in MJPG
    assert greatest_difference(found, read_by_pyav(path)) <= 2
    assert float(np.abs(found.astype(float) - frames).mean()) < 12  # H.264 holds grey in the narrower TV range


@pytest.mark.parametrize(
    ("height", "width"),
    [(112, 113), (112, 115), (112, 117), (113, 112), (200, 112), (112, 200), (9, 112), (112, 9), (5, 7), (480, 640)],
)
def test_any_size_is_read_pixel_by_pixel(tmp_path: Path, height: int, width: int) -> None:
    path = write_video(tmp_path / "a.avi", smooth_frames(3, height, width))
    expected = read_by_pyav(path)
    assert expected.shape == (3, height, width, 3)
    assert greatest_difference(read(path), expected) <= 2


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.avi", "mjpeg", "yuvj444p"), ("a.mp4", "libx264", "yuv420p"), ("a.mov", "png", "rgb24")],
)
def test_a_video_of_one_frame(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    path = write_video(tmp_path / name, smooth_frames(1, 112, 112), codec=codec, pix_fmt=pix_fmt)
    assert open_media(path).num_frames == 1
    assert greatest_difference(read(path), read_by_pyav(path)) <= 2


RED = Image.new("RGB", (7, 5), (220, 20, 30))
STILLS = {
    "rgb.png": (RED, (220, 20, 30)),
    "rgb.bmp": (RED, (220, 20, 30)),
    "rgb.tif": (RED, (220, 20, 30)),
    "rgb.TIFF": (RED, (220, 20, 30)),
    "rgb.jpg": (RED, (220, 20, 30)),
    "rgba.png": (Image.new("RGBA", (7, 5), (220, 20, 30, 90)), (220, 20, 30)),
    "palette.png": (RED.convert("P", palette=Image.Palette.ADAPTIVE), (220, 20, 30)),
    "grey.png": (Image.new("L", (7, 5), 77), (77, 77, 77)),
    "grey.jpeg": (Image.new("L", (7, 5), 77), (77, 77, 77)),
    "grey-alpha.png": (Image.new("LA", (7, 5), (77, 10)), (77, 77, 77)),
    "bits.png": (Image.new("1", (7, 5), 1), (255, 255, 255)),
}


@pytest.mark.parametrize("name", STILLS)
def test_a_still_is_one_rgb_frame(tmp_path: Path, name: str) -> None:
    picture, colour = STILLS[name]
    picture.save(tmp_path / name, quality=95)
    media = open_media(tmp_path / name)
    assert (media.kind, media.num_frames, media.fps) == ("still", 1, None)
    (frame,) = media.frames([0])
    assert frame.dtype == np.uint8
    assert greatest_difference(frame, np.full((5, 7, 3), colour, np.uint8)) <= (4 if "jp" in name else 0)


def test_the_pixels_of_a_still_stay_where_they_were(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), pixels[None])


# Frame rates


@pytest.mark.parametrize(("fps", "expected"), [(19, 19.0), (29.97, 29.97), (0.5, 0.5), (240, 240.0)])
def test_the_frame_rate_is_the_files(tmp_path: Path, fps: float, expected: float) -> None:
    path = write_video(tmp_path / "a.mp4", smooth_frames(3, 32, 32), fps=fps)
    assert open_media(path).fps == pytest.approx(expected, rel=1e-6)


def test_the_frame_rate_of_a_real_video_at_19_fps(clips: list[Path]) -> None:
    facts = prepare_video(clips[-1], FrameSampling.parse("0:1"), TINY).facts
    assert facts == VideoFacts("video", 58, 600, 800, 19.0)


def test_a_frame_rate_that_the_file_does_not_know_is_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", smooth_frames(1, 32, 32))
    patch_mp4_frame_duration(path, 0)
    prepared = prepare_video(path, ALL, TINY)
    assert prepared.facts == VideoFacts("video", 1, 32, 32, None)
    assert greatest_difference(read(path), read_by_pyav(path)) <= 2


def test_a_frame_rate_that_no_camera_has_is_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", smooth_frames(3, 32, 32), fps=2000)
    assert prepare_video(path, ALL, TINY).facts == VideoFacts("video", 3, 32, 32, None)


@pytest.mark.parametrize("told", [0.0, -25.0, float("nan"), float("inf")])
def test_a_frame_rate_that_is_none_at_all_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: float) -> None:
    import decord

    monkeypatch.setattr(decord.VideoReader, "get_avg_fps", lambda _: told)
    assert open_media(write_video(tmp_path / "a.avi", smooth_frames(2, 32, 32))).fps is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("video", 0, 4, 4, 30.0), "a video has at least one frame of at least one pixel, not .*num_frames=0"),
        (("video", 1, 0, 4, 30.0), "a video has at least one frame of at least one pixel, not .*height=0"),
        (("video", 1, 4, 0, 30.0), "a video has at least one frame of at least one pixel, not .*width=0"),
        (("video", 1, 4, 4, 0.0), "fps is a positive number or None, not 0.0"),
        (("video", 1, 4, 4, float("nan")), "fps is a positive number or None, not nan"),
    ],
)
def test_facts_that_cannot_be_are_refused(values: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        VideoFacts(*values)  # type: ignore[arg-type]


# Names


@pytest.mark.parametrize("name", [b"with spaces", b"two\nlines", "herz-übersicht".encode(), b"not \xff\xfe utf-8"])
@pytest.mark.parametrize("suffix", [b".avi", b".mp4", b".png"])
def test_any_file_name_is_read(tmp_path: Path, name: bytes, suffix: bytes) -> None:
    if sys.platform == "darwin" and b"\xff" in name:
        pytest.skip("macOS has no such names")
    plain = tmp_path / f"plain{suffix.decode()}"
    if suffix == b".png":
        Image.fromarray(smooth_frames(1, 64, 64)[0]).save(plain)
    else:
        write_video(plain, smooth_frames(20, 64, 64), codec="mjpeg")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + suffix))
    odd.write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(read(odd), read(plain))


# Refused by name


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_text(path: Path) -> None:
    path.write_text("this is no video\n" * 100)


def make_truncated_video(path: Path) -> None:
    write_video(path, smooth_frames(20, 64, 64), codec="libx264", pix_fmt="yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_truncated_still(path: Path) -> None:
    Image.fromarray(smooth_frames(1, 64, 64)[0]).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_audio(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate, frame.pts = 44100, 0
        frame.planes[0].update(bytes(4096))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make_narrow(path: Path) -> None:
    write_video(path, smooth_frames(2, 8, 8))


def make_32_bit(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(path)


def make_float(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(path)


def make_pages(path: Path) -> None:
    pages = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (1, 2, 3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    ("name", "make", "error", "sentence"),
    [
        ("a.avi", make_empty, UnreadableVideo, "the file is empty"),
        ("a.png", make_empty, UnreadableVideo, "the file is empty"),
        (
            "a.avi",
            make_text,
            UnreadableVideo,
            "it cannot be decoded: the file is damaged or of a kind that the decoder does not know$",
        ),
        (
            "a.png",
            make_text,
            UnreadableVideo,
            "it is not a picture in a supported format, whatever its name says$",
        ),
        ("a.mp4", make_truncated_video, UnreadableVideo, "it cannot be decoded: the file is damaged or of a kind that"),
        ("a.png", make_truncated_still, UnreadableVideo, "the picture is damaged or cut off$"),
        ("a.mp4", make_audio, UnreadableVideo, "the file holds no video, or its beginning is damaged$"),
        ("a.avi", make_narrow, UnsupportedVideo, "decord cannot hand over frames of this width"),
        ("a.txt", make_text, UnsupportedVideo, r"files of type .txt are not supported; these are: .avi .bmp .* .webm"),
        (
            "a",
            make_text,
            UnsupportedVideo,
            r"files of type \(no suffix\) are not supported; these are: .avi .bmp .* .webm",
        ),
        ("a.dcm", make_text, UnsupportedVideo, "files of type .dcm are not supported"),
        ("a.tif", make_float, UnsupportedVideo, "a still with F pixels of 32 bits; convert it to 8 bits"),
        ("b.tif", make_32_bit, UnsupportedVideo, "a still with I pixels of 32 bits; convert it to 8 bits"),
        ("a.tif", make_pages, UnsupportedVideo, "a still with 3 pages; give one picture per file"),
        ("a.png", make_pages, UnsupportedVideo, "a still with 3 pages; give one picture per file"),
        ("a.mp4", Path.mkdir, InaccessibleVideo, "this is not a file"),
        ("a.avi", lambda path: None, InaccessibleVideo, "the file does not exist"),
        ("a.png", lambda path: path.symlink_to("nowhere.png"), InaccessibleVideo, "the file does not exist"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, name: str, make: object, error: type[EchoSearchError], sentence: str
) -> None:
    make(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(EchoSearchError, match=f"^{sentence}") as raised:
        prepare_video(tmp_path / name, ALL, TINY)
    assert raised.type is error


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 20, 200])):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def blanked(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(min(2000, len(data) - at)) + data[at + 2000 :]


def with_another_beginning(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(4):
        changed[rng.randrange(200)] = rng.randrange(256)
    return bytes(changed)


PLAIN_WORDS = {
    "it cannot be decoded: the file is damaged or of a kind that the decoder does not know",
    "frames are damaged or missing, and decord would repeat a neighbour",
    "a part of the video is damaged and cannot be decoded",
    "the file ends too early, or a part of it is damaged",
    "the file holds no video, or its beginning is damaged",
    "the file does not say how many frames it has; its beginning or end is damaged",
    "it is not a picture in a supported format, whatever its name says",
    "the picture is damaged or cut off",
}


KINDS = ("mjpeg.avi", "libx264.mp4", "libx264.mkv", "mpeg4.avi", ".png", ".jpg", ".bmp", ".tif")


@pytest.mark.slow
def test_damage_of_any_kind_is_told_in_plain_words(tmp_path: Path) -> None:
    """No words of decord's or Pillow's: source lines, names of variables and settings, paths."""
    rng = random.Random(1)
    damaged = []
    for kind in KINDS:
        codec, _, suffix = kind.partition(".")
        path = tmp_path / f"whole.{suffix}"
        if codec:
            pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            write_video(path, smooth_frames(20, 64, 64), codec=codec, pix_fmt=pix_fmt)
        else:
            Image.fromarray(smooth_frames(1, 64, 64)[0]).save(path)
        for number in range(40):
            damage = (flipped, cut, blanked, with_another_beginning)[number % 4]
            damaged.append(tmp_path / f"{codec}-{damage.__name__}-{number}.{suffix}")
            damaged[-1].write_bytes(damage(path.read_bytes(), rng))
    with decoders(2, 60, 4 * 2**30) as decoding:
        outcomes = [outcome for _, outcome in decoding.prepared([(p, p) for p in damaged], ALL, TINY, 20)]
    said = Counter((failure.code, failure.message) for failure in outcomes if isinstance(failure, Failure))
    assert {sentence for code, sentence in said if code == "unreadable-video"} <= PLAIN_WORDS
    assert {code for code, _ in said} <= {"unreadable-video", "unsupported-video", "decoder-died"}
    plain = "the still is too large: it has more than|a still with|decord cannot hand over|the decoding process died"
    assert all(re.match(plain, sentence) for code, sentence in said if code != "unreadable-video")
    assert said.total() > 100
    assert len(said) >= 6


class ReaderThat:
    """A decord reader of which nothing is asked that it does not refuse in its own words."""

    says = ""

    def __init__(self, *_: object, **__: object) -> None:
        import decord

        raise decord.DECORDError(self.says)


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (
            "[12:01:02] /src/video/ffmpeg/threaded_decoder.cc:292: Check failed: avcodec_send_packet(dec_ctx_.get(), "
            "pkt.get()) >= 0 (-1094995529 vs. 0) Thread worker: Error sending packet.",
            "a part of the video is damaged and cannot be decoded",
        ),
        (
            "[12:01:02] /src/video/video_reader.cc:651: Failed after 3 retries. Use export DECORD_REWIND_RETRY_MAX=32",
            "the file ends too early, or a part of it is damaged",
        ),
        (
            "something new",
            "it cannot be decoded: the file is damaged or of a kind that the decoder does not know",
        ),
    ],
)
def test_what_decord_says_is_told_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, sentence: str
) -> None:
    import decord

    path = write_video(tmp_path / "a.avi", smooth_frames(1, 32, 32))
    monkeypatch.setattr(ReaderThat, "says", says)
    monkeypatch.setattr(decord, "VideoReader", ReaderThat)
    with pytest.raises(UnreadableVideo, match=f"^{sentence}$") as raised:
        open_media(path)
    assert says in str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, "no permission to read the file"),
        (errno.EPERM, "no permission to read the file"),
        (errno.ENOENT, "the file does not exist"),
        (errno.ENOTDIR, "the file does not exist"),
        (errno.EIO, "the file cannot be read: Input/output error"),
        (errno.ESTALE, "the file cannot be read: Stale file handle"),
        (errno.ELOOP, "the file cannot be read: Too many levels of symbolic links"),
    ],
)
@pytest.mark.parametrize("where", ["open", "stat"])
def test_what_the_system_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int, sentence: str
) -> None:
    path = write_video(tmp_path / "a.avi", smooth_frames(1, 32, 32))

    def refuse(self: Path, *_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, where, refuse)
    with pytest.raises(InaccessibleVideo, match=f"^{sentence}$"):
        prepare_video(path, ALL, TINY)


def test_a_file_that_cannot_be_read_to_its_end_is_no_fault_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.avi", smooth_frames(1, 32, 32))

    def refuse(_: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("echosearch.video.pixels.content_sha256", refuse)
    with pytest.raises(InaccessibleVideo, match=r"^the file cannot be read: Input/output error$"):
        prepare_video(path, ALL, TINY)


@pytest.mark.parametrize("limit", [30, 10])  # of 64 pixels: Pillow warns above the limit, raises above twice that
def test_a_still_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", {30: 40, 10: 10}[limit])
    with pytest.raises(UnsupportedVideo, match=r"^the still is too large: it has more than [14]0 pixels$"):
        open_media(tmp_path / "a.png")


# Read and prepared


def test_a_prepared_video_says_what_it_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", smooth_frames(9, 112, 115), fps=19)
    prepared = prepare_video(path, FrameSampling.parse("1:8:3"), TINY)
    assert prepared.facts == VideoFacts("video", 9, 112, 115, 19.0)
    assert prepared.frame_numbers.tolist() == [1, 4, 7]
    assert prepared.frame_numbers.dtype == np.int32
    assert prepared.content_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert prepared.pixels.shape == (3, 3, 4, 4)
    blocks = read_by_pyav(path)[[1, 4, 7]].astype(float)
    np.testing.assert_allclose(prepared.pixels.mean(axis=(2, 3)), blocks.mean(axis=(1, 2)), atol=1)


def test_a_prepared_still_says_what_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (7, 5), (220, 20, 30)).save(tmp_path / "a.png")
    prepared = prepare_video(tmp_path / "a.png", FrameSampling.parse("0:40:2"), TINY)
    assert prepared.facts == VideoFacts("still", 1, 5, 7, None)
    assert prepared.frame_numbers.tolist() == [0]
    assert prepared.content_sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert prepared.pixels.mean(axis=(0, 2, 3)).tolist() == [220, 20, 30]


def test_a_sampling_that_starts_after_the_last_frame_is_refused(colours: Path) -> None:
    with pytest.raises(UnsupportedVideo, match=r"^it has 4 frames, and the sampling \(4:20:2\) starts after them$"):
        prepare_video(colours / "red.avi", FrameSampling.parse("4:20:2"), TINY)
    assert prepare_video(colours / "red.avi", FrameSampling.parse("3:20:2"), TINY).frame_numbers.tolist() == [3]


def test_preparing_a_video_does_not_import_torch(colours: Path) -> None:
    code = """
import sys
from pathlib import Path
from echosearch.types import FrameSampling, PreprocessSpec
from echosearch.video import prepare_video
spec = PreprocessSpec(4, "squash", "opencv", "area", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
prepared = prepare_video(Path(sys.argv[1]), FrameSampling(), spec)
heavy = {"torch", "torchvision", "open_clip", "faiss", "sqlalchemy"} & set(sys.modules)
print(prepared.pixels[0, :, 0, 0].tolist(), sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(colours / "red.avi")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[220, 20, 20] []\n"


def test_frames_at_uneven_times_have_no_rate(tmp_path: Path) -> None:
    """A second worked out from the mean rate would be wrong by seconds; so there is none."""
    import av

    for name, step in (
        ("even.mkv", lambda n: 40 * n),
        ("uneven.mkv", lambda n: 40 * n if n < 20 else 800 + 200 * (n - 20)),
    ):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            for n, frame in enumerate(smooth_frames(40, 64, 64)):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = step(n), Fraction(1, 1000)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    assert open_media(tmp_path / "even.mkv").fps == pytest.approx(25, rel=0.05)
    assert open_media(tmp_path / "uneven.mkv").fps is None


def test_a_damaged_edit_list_says_nothing(tmp_path: Path) -> None:
    from echosearch.video.read import edit_list_end

    path = write_stream(tmp_path / "a.mp4", smooth_frames(5, 64, 64), "libx264", {"bf": "0"})
    whole = edit(path, [(3, 0)]).read_bytes()
    assert edit_list_end(path) == pytest.approx(0.1)
    rng = random.Random(0)
    at = whole.index(b"moov")
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(at, len(whole))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.randrange(at, len(whole))] if rng.random() < 0.3 else damaged)
        assert edit_list_end(path) >= 0


# Without a duration


def write_live(path: Path, codec: str, num_frames: int = 40, *, with_sound: bool = False) -> Path:
    """A recording as it is streamed: nothing is known of its end."""
    import av

    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("libopus", rate=48000) if with_sound else None
        for pixels in smooth_frames(num_frames, 64, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if sound is not None:
                frame = av.AudioFrame(format="s16", layout="stereo", samples=1920)
                frame.sample_rate = 48000
                frame.planes[0].update(bytes(7680))
                container.mux(sound.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            container.mux(sound.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "with_sound"),
    [
        ("a.webm", "libvpx", False),
        ("a.webm", "libvpx", True),
        ("a.webm", "libvpx-vp9", False),
        ("a.mkv", "libx264", False),
        ("a.mkv", "mpeg4", False),
    ],
)
def test_a_live_recording_without_a_duration_is_read(tmp_path: Path, name: str, codec: str, with_sound: bool) -> None:
    path = write_live(tmp_path / name, codec, with_sound=with_sound)
    check_numbering(path, 40)
    if sys.platform != "darwin":
        odd = path.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/not \xff utf-8" + path.suffix.encode())))
        assert open_media(odd).num_frames == 40
        path = odd
    assert open_media(path).fps == pytest.approx(25)
    assert prepare_video(path, FrameSampling.parse("0:40:2"), TINY).frame_numbers.tolist() == list(range(0, 40, 2))


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libx264"])
def test_a_live_recording_that_is_cut_off_or_damaged_stays_refused(tmp_path: Path, codec: str) -> None:
    path = write_live(tmp_path / "a.mkv", codec)
    data = path.read_bytes()
    for end in (len(data) - 1, len(data) // 2, len(data) // 3):
        path.write_bytes(data[:end])
        with pytest.raises(UnreadableVideo, match="the file does not say how many frames it has"):
            open_media(path)
    path.write_bytes(data[: len(data) // 2] + bytes(500) + data[len(data) // 2 + 500 :])
    with pytest.raises(UnreadableVideo):
        open_media(path)
