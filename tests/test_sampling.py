"""Which frames a `FrameSampling` takes: values worked out by hand, and invariants over all samplings."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies as st

from echosearch.types import FrameSampling

PUBLISHED = FrameSampling.parse("0:40:2")
EVEN_NUMBERS_BELOW_40 = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38]


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (96, EVEN_NUMBERS_BELOW_40),
        (58, EVEN_NUMBERS_BELOW_40),
        (41, EVEN_NUMBERS_BELOW_40),
        (40, EVEN_NUMBERS_BELOW_40),
        (39, EVEN_NUMBERS_BELOW_40),
        (38, EVEN_NUMBERS_BELOW_40[:-1]),
        (3, [0, 2]),
        (2, [0]),
        (1, [0]),
    ],
)
def test_the_published_sampling_takes_every_second_of_the_first_40_frames(num_frames: int, expected: list[int]) -> None:
    assert PUBLISHED.frame_numbers(num_frames) == expected


@pytest.mark.parametrize(
    ("text", "num_frames", "expected"),
    [
        ("all", 5, [0, 1, 2, 3, 4]),
        ("all", 1, [0]),
        ("5:", 8, [5, 6, 7]),
        (":3", 8, [0, 1, 2]),
        ("::3", 8, [0, 3, 6]),
        ("1:8:3", 100, [1, 4, 7]),
        ("1:7:3", 100, [1, 4]),
        ("1:8:3", 7, [1, 4]),
        ("9:20", 10, [9]),
        ("9:20", 9, []),
        # The middle of each of N equal parts: of 0-9 in four parts of 2.5 frames, 1.25, 3.75, 6.25 and 8.75.
        ("even:4", 10, [1, 3, 6, 8]),
        ("even:3", 9, [1, 4, 7]),
        ("even:2", 96, [24, 72]),
        ("even:1", 96, [48]),
        ("even:1", 3, [1]),
        ("even:1", 2, [1]),
        ("even:1", 1, [0]),
        ("even:4", 5, [0, 1, 3, 4]),
        ("even:5", 5, [0, 1, 2, 3, 4]),
        ("even:16", 3, [0, 1, 2]),
    ],
)
def test_frames_of_a_sampling_given_as_text(text: str, num_frames: int, expected: list[int]) -> None:
    assert FrameSampling.parse(text).frame_numbers(num_frames) == expected


def test_a_count_spreads_over_the_range_not_over_the_video() -> None:
    sampling = FrameSampling(start=2, stop=12, stride=3, count=2)  # of frames 2, 5, 8, 11: one of each half
    assert sampling.frame_numbers(100) == [5, 11]
    assert sampling.frame_numbers(6) == [2, 5]


@pytest.mark.parametrize(
    ("text", "sampling"),
    [
        ("all", FrameSampling()),
        ("::", FrameSampling()),
        (":", FrameSampling()),
        ("0:40:2", FrameSampling(0, 40, 2)),
        ("7:", FrameSampling(7)),
        (":7", FrameSampling(0, 7)),
        ("::7", FrameSampling(stride=7)),
        ("3:9:", FrameSampling(3, 9)),
        ("even:20", FrameSampling(count=20)),
    ],
)
def test_text_is_read_as(text: str, sampling: FrameSampling) -> None:
    assert FrameSampling.parse(text) == sampling


@pytest.mark.parametrize(
    ("sampling", "text"),
    [
        (FrameSampling(), "all"),
        (FrameSampling(0, 40, 2), "0:40:2"),
        (FrameSampling(3), "3::1"),
        (FrameSampling(count=20), "even:20"),
        (FrameSampling(2, 12, 3, 2), "2:12:3, 2 of them evenly spread"),
    ],
)
def test_a_sampling_says_what_it_takes(sampling: FrameSampling, text: str) -> None:
    assert str(sampling) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a frame sampling is 'all', 'even:N' or 'START:STOP:STRIDE', not ''"),
        ("every", "a frame sampling is 'all', 'even:N' or 'START:STOP:STRIDE', not 'every'"),
        ("even:", "a frame sampling is .* not 'even:'"),
        ("even:-3", "a frame sampling is .* not 'even:-3'"),
        ("even:2.5", "a frame sampling is .* not 'even:2.5'"),
        ("40", "a frame sampling is .* not '40'"),
        ("-1:5", "a frame sampling is .* not '-1:5'"),
        ("0:40:2:1", "a frame sampling is .* not '0:40:2:1'"),
        ("0:40:2 ", "a frame sampling is .* not '0:40:2 '"),
        ("all\n", r"a frame sampling is .* not 'all\\n'"),
        ("even:0", "a sampling takes at least one frame, not even:0"),
        ("5:5", "a sampling stops after it starts, not 5:5:1"),
        (":0", "a sampling stops after it starts, not 0:0:1"),
        ("0:40:0", "a sampling starts at 0 or later with a stride of 1 or more, not 0:40:0"),
    ],
)
def test_text_that_is_no_sampling_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        FrameSampling.parse(text)


def test_a_sampling_does_not_start_before_the_video() -> None:
    with pytest.raises(ValueError, match="starts at 0 or later with a stride of 1 or more, not -1::1"):
        FrameSampling(start=-1)


NUM_FRAMES = st.integers(1, 2000)
RANGES = st.builds(
    lambda start, length, stride, count: FrameSampling(
        start, None if length is None else start + length, stride, count
    ),
    st.integers(0, 300),
    st.none() | st.integers(1, 500),
    st.integers(1, 40),
    st.none() | st.integers(1, 60),
)


@given(RANGES, NUM_FRAMES)
def test_frames_ascend_without_repeats_inside_the_video_and_on_the_stride(
    sampling: FrameSampling, num_frames: int
) -> None:
    numbers = sampling.frame_numbers(num_frames)
    stop = num_frames if sampling.stop is None else min(num_frames, sampling.stop)
    assert numbers == sorted(set(numbers))
    assert all(sampling.start <= number < stop for number in numbers)
    assert all((number - sampling.start) % sampling.stride == 0 for number in numbers)
    candidates = -(-max(0, stop - sampling.start) // sampling.stride)
    assert len(numbers) == (candidates if sampling.count is None else min(candidates, sampling.count))


@given(st.integers(1, 200), NUM_FRAMES)
def test_an_even_spread_takes_one_frame_of_each_part_at_even_distances(count: int, num_frames: int) -> None:
    numbers = FrameSampling(count=count).frame_numbers(num_frames)
    parts = min(count, num_frames)
    assert len(numbers) == parts
    # Frame i holds the middle of part i, (i + 1/2) * num_frames / parts; in whole numbers:
    for i, number in enumerate(numbers):
        assert 2 * parts * number <= (2 * i + 1) * num_frames < 2 * parts * (number + 1)
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert abs(numbers[0] - (num_frames - 1 - numbers[-1])) <= 1  # as far from the start as from the end


@given(
    st.one_of(RANGES.filter(lambda sampling: sampling.count is None), st.builds(FrameSampling, count=st.integers(1)))
)
def test_what_a_sampling_says_is_read_back_as_the_same(sampling: FrameSampling) -> None:
    assert FrameSampling.parse(str(sampling)) == sampling
