"""From frames to pixels: crops, zoom, padding and bicubic weights worked out by hand, no model and no file."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from echosearch.errors import UnsupportedVideo
from echosearch.types import PreparedVideo, PreprocessSpec, VideoFacts
from echosearch.video import prepare

Picture = npt.NDArray[np.uint8]


def spec(size: int, fit: str, resizer: str = "opencv", interpolation: str = "nearest", **more: Any) -> PreprocessSpec:
    """A spec whose resize picks pixels, so that the result shows which were kept."""
    values: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **more}
    return PreprocessSpec(size, fit=fit, resizer=resizer, interpolation=interpolation, **values)  # type: ignore[arg-type]


def numbered(height: int, width: int) -> Picture:
    """A picture whose every pixel holds its own row and column: (row % 256, column % 256, 16 * (row // 256) + ...)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, 16 * (rows // 256) + columns // 256], axis=-1).astype(np.uint8)


def rows_and_columns(pixels: Picture) -> tuple[list[int], list[int]]:
    """Which rows and which columns of a numbered picture are in pixels (3, S, S), in order."""
    rows = pixels[0].astype(int) + 256 * (pixels[2].astype(int) // 16)
    columns = pixels[1].astype(int) + 256 * (pixels[2].astype(int) % 16)
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    return rows[:, 0].tolist(), columns[0].tolist()


def distinct(numbers: list[int]) -> tuple[int, int, int]:
    """First, last and how many different numbers."""
    return numbers[0], numbers[-1], len(set(numbers))


PUBLISHED_CROPS = [
    # height, width, first and last row, first and last column that are left
    (112, 112, (11, 100), (11, 100)),  # 11 off each edge
    (112, 113, (11, 100), (11, 101)),  # half a pixel a side rounds to 0: the published crop fails here, none is dropped
    (113, 112, (11, 101), (11, 100)),
    (112, 114, (11, 100), (12, 101)),  # 1 a side, then 11
    (112, 115, (11, 100), (13, 101)),  # 1.5 rounds to 2: one column too few, 111; then int(11.1)
    (115, 112, (13, 101), (11, 100)),
    (112, 116, (11, 100), (13, 102)),
    (112, 117, (11, 100), (13, 103)),  # 2.5 rounds to 2: one column too many, 113; then int(11.3)
    (117, 112, (13, 103), (11, 100)),
    (112, 119, (11, 100), (15, 103)),  # 3.5 rounds to 4: 111 columns
    (200, 112, (55, 144), (11, 100)),  # portrait: 44 rows a side
    (112, 200, (11, 100), (55, 144)),
    (480, 640, (48, 431), (128, 511)),  # 80 columns a side, then 48
    (600, 800, (60, 539), (160, 639)),
    (708, 1016, (70, 637), (224, 791)),  # int(70.8) is 70
    (10, 10, (1, 8), (1, 8)),
    (9, 9, (0, 8), (0, 8)),  # int(0.9) is 0: nothing dropped, where the published slice leaves nothing
    (9, 10, (0, 8), (1, 8)),
    (8, 20, (0, 7), (6, 13)),
    (20, 8, (6, 13), (0, 7)),
    (1, 1, (0, 0), (0, 0)),
    (1, 2, (0, 0), (0, 1)),
    (1, 5, (0, 0), (2, 2)),
    (1, 4, (0, 0), (1, 2)),  # 1.5 rounds to 2, which would leave nothing: one column a side
    (4, 1, (1, 2), (0, 0)),
]


@pytest.mark.parametrize(("height", "width", "rows", "columns"), PUBLISHED_CROPS)
def test_the_published_crop_and_zoom_leave(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    pixels = prepare([numbered(height, width)], spec(640, "crop-resize", zoom=0.1))[0]
    shown_rows, shown_columns = rows_and_columns(pixels)
    assert distinct(shown_rows) == (*rows, rows[1] - rows[0] + 1)
    assert distinct(shown_columns) == (*columns, columns[1] - columns[0] + 1)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (112, 112, (0, 111), (0, 111)),
        (112, 113, (0, 111), (0, 112)),
        (112, 115, (0, 111), (2, 112)),
        (112, 117, (0, 111), (2, 114)),
        (200, 112, (44, 155), (0, 111)),
    ],
)
def test_without_zoom_the_centre_crop_leaves(
    height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    pixels = prepare([numbered(height, width)], spec(640, "crop-resize"))[0]
    shown_rows, shown_columns = rows_and_columns(pixels)
    assert distinct(shown_rows) == (*rows, rows[1] - rows[0] + 1)
    assert distinct(shown_columns) == (*columns, columns[1] - columns[0] + 1)


@given(st.integers(1, 130), st.integers(1, 130), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_crop_of_any_picture_keeps_a_nearly_square_middle(height: int, width: int, zoom: float) -> None:
    pixels = prepare([numbered(height, width)], spec(256, "crop-resize", zoom=zoom))[0]
    shown_rows, shown_columns = rows_and_columns(pixels)
    assert shown_rows[0] == height - 1 - shown_rows[-1]  # as much off one edge as off the other
    assert shown_columns[0] == width - 1 - shown_columns[-1]
    assert abs(len(set(shown_rows)) - len(set(shown_columns))) <= 2


def test_a_picture_that_has_the_size_is_not_resampled() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (280, 280, 3), dtype=np.uint8)
    wanted = picture[28:252, 28:252].transpose(2, 0, 1)
    for interpolation in ("bicubic", "bilinear", "area"):
        pixels = prepare([picture], spec(224, "crop-resize", interpolation=interpolation, zoom=0.1))
        np.testing.assert_array_equal(pixels[0], wanted)


# Bicubic resize, a = -0.75, by its formula


def weight(distance: float, a: float) -> float:
    """Keys' cubic convolution kernel."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * (x**3 - 5 * x**2 + 8 * x - 4)
    return 0.0


def bicubic_pixel(picture: Picture, row: int, column: int, size: int, a: float) -> npt.NDArray[np.float64]:
    """One pixel of a resize to size x size: half-pixel centres, 4 x 4 neighbours, the edge repeated outside."""
    height, width = picture.shape[:2]
    y, x = (row + 0.5) * height / size - 0.5, (column + 0.5) * width / size - 0.5
    total = np.zeros(3)
    for i in range(math.floor(y) - 1, math.floor(y) + 3):
        for j in range(math.floor(x) - 1, math.floor(x) + 3):
            neighbour = picture[min(max(i, 0), height - 1), min(max(j, 0), width - 1)].astype(float)
            total += weight(y - i, a) * weight(x - j, a) * neighbour
    return np.clip(total, 0, 255)


SOME_PIXELS = [(0, 0), (0, 223), (223, 0), (223, 223), (1, 2), (5, 100), (111, 112), (150, 37), (222, 64), (90, 201)]


@pytest.mark.parametrize(("height", "width"), [(112, 112), (140, 140), (600, 800), (112, 117), (12, 12)])
def test_bicubic_pixels_equal_the_formula_with_a_three_quarters(height: int, width: int) -> None:
    picture = np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = {112: slice(11, 101), 140: slice(14, 126), 600: slice(60, 540), 12: slice(1, 11)}[height]
    columns = {112: slice(11, 101), 140: slice(14, 126), 800: slice(160, 640), 117: slice(13, 104), 12: slice(1, 11)}
    cropped = picture[side, columns[width]]
    pixels = prepare([picture], spec(224, "crop-resize", interpolation="bicubic", zoom=0.1))[0]

    def differences(a: float) -> list[float]:
        return [
            float(np.abs(pixels[:, row, column] - bicubic_pixel(cropped, row, column, 224, a)).max())
            for row, column in SOME_PIXELS
        ]

    assert max(differences(-0.75)) <= 1
    assert max(differences(-0.5)) > 1  # so these pixels tell the kernels apart


def test_a_bicubic_pixel_in_plain_numbers() -> None:
    # Two columns, 0 and 200, widened to four: the second lies at x = 0.25, a quarter on from the first.
    # Weights at distances 1.25, 0.25, 0.75, 1.75 with a = -0.75: -0.10546875, 0.87890625, 0.26171875, -0.03515625.
    # The edge is repeated, so the second column has the last two: 200 * (0.26171875 - 0.03515625) = 45.3125.
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[:, 1] = 200
    pixels = prepare([picture], spec(4, "squash", interpolation="bicubic"))[0]
    assert pixels[0, 0].tolist() == [0, 45, 155, 221]  # at x = -0.25: below 0; at 1.25: 200 + 21.09


def test_area_is_the_mean_of_the_pixels_under_it() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = [[[10, 0, 0], [20, 0, 0]], [[30, 0, 0], [40, 0, 0]]]
    picture[2:, 2:, 2] = 200
    pixels = prepare([picture], spec(2, "squash", interpolation="area"))[0]
    assert pixels[0].tolist() == [[25, 0], [0, 0]]
    assert pixels[2].tolist() == [[0, 0], [0, 200]]


# The other fits


@pytest.mark.parametrize(
    ("height", "width", "size", "rows", "columns"),
    [
        (2, 4, 2, [0, 1], [1, 2]),
        (2, 5, 2, [0, 1], [2, 3]),  # 1.5 rounds to 2
        (2, 7, 2, [0, 1], [2, 3]),  # 2.5 rounds to 2
        (7, 2, 2, [2, 3], [0, 1]),
        # 20 x 31 becomes 10 x int(15.5); 2.5 rounds to 2; column i of 15 shows column floor((i + 1/2) * 31 / 15).
        (20, 31, 10, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19], [5, 7, 9, 11, 13, 15, 17, 19, 21, 23]),
    ],
)
def test_resize_crop_keeps_the_middle(height: int, width: int, size: int, rows: list[int], columns: list[int]) -> None:
    pixels = prepare([numbered(height, width)], spec(size, "resize-crop", "pillow"))[0]
    assert rows_and_columns(pixels) == (rows, columns)


@pytest.mark.parametrize(
    ("height", "width", "size", "top", "left", "new_height", "new_width"),
    [
        (4, 2, 4, 0, 1, 4, 2),
        (2, 4, 4, 1, 0, 2, 4),
        (5, 2, 5, 0, 1, 5, 2),  # three columns of padding: one left, two right
        (2, 5, 5, 1, 0, 2, 5),
        (10, 3, 5, 0, 1, 5, 2),  # 3 / 2 rounds to 2
        (10, 5, 5, 0, 1, 5, 2),  # 2.5 rounds to 2
        (10, 7, 5, 0, 0, 5, 4),  # 3.5 rounds to 4; one column of padding, right
        (3, 3, 6, 0, 0, 6, 6),
    ],
)
def test_resize_pad_puts_the_whole_picture_in_the_middle(
    height: int, width: int, size: int, top: int, left: int, new_height: int, new_width: int
) -> None:
    picture = np.full((height, width, 3), (200, 100, 50), np.uint8)
    expected = np.full((size, size, 3), 7, np.uint8)
    expected[top : top + new_height, left : left + new_width] = (200, 100, 50)
    pixels = prepare([picture], spec(size, "resize-pad", "pillow", fill=7))[0]
    np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1))


def test_resize_pad_refuses_a_picture_that_would_vanish() -> None:
    with pytest.raises(UnsupportedVideo, match="a picture of 1x1000 pixels has no side left at size 5"):
        prepare([numbered(1000, 1)], spec(5, "resize-pad", "pillow"))


def test_squash_takes_the_whole_picture_with_the_library_that_is_meant() -> None:
    # OpenCV's nearest takes the pixel at i * 4 / 2, Pillow's the one at (i + 1/2) * 4 / 2.
    assert rows_and_columns(prepare([numbered(2, 4)], spec(2, "squash", "opencv"))[0]) == ([0, 1], [0, 2])
    assert rows_and_columns(prepare([numbered(2, 4)], spec(2, "squash", "pillow"))[0]) == ([0, 1], [1, 3])


@pytest.mark.parametrize("fit", ["crop-resize", "resize-crop", "resize-pad", "squash"])
@pytest.mark.parametrize(("order", "expected"), [("rgb", [220, 20, 30]), ("bgr", [30, 20, 220])])
def test_channel_order(fit: str, order: str, expected: list[int]) -> None:
    frame = np.full((6, 6, 3), (220, 20, 30), np.uint8)
    pixels = prepare([frame], spec(4, fit, interpolation="bicubic", channel_order=order))
    assert pixels.shape == (1, 3, 4, 4)
    assert pixels.mean(axis=(2, 3)).tolist() == [expected]


def test_frames_stay_in_their_order_and_as_they_were() -> None:
    frames = [np.full((5, 5, 3), level, np.uint8) for level in (3, 1, 2)]
    pixels = prepare(iter(frames), spec(2, "squash"))
    assert pixels[:, 0, 0, 0].tolist() == [3, 1, 2]
    assert [int(frame[0, 0, 0]) for frame in frames] == [3, 1, 2]
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_no_frames_are_no_pixels() -> None:
    assert prepare([], spec(16, "squash")).tolist() == []
    assert prepare([], spec(16, "squash")).shape == (0, 3, 16, 16)


# The values that check themselves


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 0}, "size is at least 1 pixel, not 0"),
        ({"zoom": 0.5}, "zoom is the part dropped from each edge, 0 to below 0.5, not 0.5"),
        ({"zoom": -0.1}, "zoom is the part dropped from each edge, 0 to below 0.5, not -0.1"),
        ({"fit": "squash", "zoom": 0.1}, "zoom goes with fit 'crop-resize' only, not with 'squash'"),
        ({"resizer": "pillow", "interpolation": "area"}, "Pillow has no 'area' interpolation"),
        ({"std": (1.0, 0.0, 1.0)}, r"std is positive, not \(1.0, 0.0, 1.0\)"),
        ({"fill": 256}, "fill is a grey level, 0 to 255, not 256"),
        ({"fill": -1}, "fill is a grey level, 0 to 255, not -1"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        replace(spec(224, "crop-resize"), **change)


@pytest.mark.parametrize(
    ("pixels", "numbers", "sentence"),
    [
        (np.zeros((1, 3, 4, 4), np.float32), [0], r"pixels are \(1, 3, S, S\) uint8, not \(1, 3, 4, 4\) float32"),
        (np.zeros((2, 3, 4, 4), np.uint8), [0], r"pixels are \(1, 3, S, S\) uint8, not \(2, 3, 4, 4\) uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), [0], r"pixels are \(1, 3, S, S\) uint8, not \(1, 4, 4, 3\) uint8"),
        (np.zeros((0, 3, 4, 4), np.uint8), [], "a prepared video has at least one frame, and int32 frame numbers"),
    ],
)
def test_a_prepared_video_checks_its_parts(pixels: npt.NDArray[Any], numbers: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        PreparedVideo(VideoFacts("still", 1, 4, 4, None), "0" * 64, np.array(numbers, np.int32), pixels)


def test_frame_numbers_of_a_prepared_video_are_int32() -> None:
    with pytest.raises(ValueError, match="int32 frame numbers"):
        PreparedVideo(VideoFacts("still", 1, 4, 4, None), "", np.zeros(1, np.int64), np.zeros((1, 3, 4, 4), np.uint8))
