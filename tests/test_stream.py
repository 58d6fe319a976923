"""A stream of videos gives what each video gives alone, in order, in full batches, without waiting for the end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from echosearch.encoders import Encoder, encode_stream
from echosearch.errors import EncoderFailed
from echosearch.types import EncoderCard, FrameSampling, Numerics, PreprocessSpec, Recipe, Space

Pixels = npt.NDArray[np.uint8]

CARD = EncoderCard(
    name="stand-in",
    weights="none",
    dim=3,
    recipe=Recipe(
        Space("tensors", "architecture", "tokenizer", "cleaning"),
        PreprocessSpec(1, "squash", "opencv", "area", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        FrameSampling(),
    ),
    numerics=Numerics("fp32", "cpu", "none", "none", "none"),
)
BROKEN = 255
"""A frame of this grey level makes the stand-in give NaN; 254 makes it give zeros."""


class StandIn:
    """A row is the three channels of the one pixel; every batch is written down."""

    card = CARD

    def __init__(self) -> None:
        self.batches: list[Pixels] = []

    def encode_pixels(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        self.batches.append(pixels.copy())
        rows = pixels[:, :, 0, 0].astype(np.float32)
        rows[pixels[:, 0, 0, 0] == BROKEN] = np.nan
        rows[pixels[:, 0, 0, 0] == BROKEN - 1] = 0
        return rows

    def encode_text(self, phrases: object) -> tuple[npt.NDArray[np.float32], list[str]]:
        raise NotImplementedError


def video(number: int, length: int) -> Pixels:
    """Frames that occur in no other video: (video number, frame number, 7)."""
    return np.array([[number, frame + 1, 7] for frame in range(length)], np.uint8).reshape(length, 3, 1, 1)


def unit(pixels: Pixels) -> npt.NDArray[np.float64]:
    """The stand-in's unit rows, worked out independently."""
    rows = pixels[:, :, 0, 0].astype(np.float64)
    return rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))


@given(
    lengths=st.lists(st.one_of(st.none(), st.integers(1, 13)), max_size=12),
    batch_frames=st.integers(1, 9),
)
def test_every_video_gets_its_own_rows_in_order_from_full_batches(lengths: list[int | None], batch_frames: int) -> None:
    videos = [(f"video {n}", None if length is None else video(n, length)) for n, length in enumerate(lengths)]
    backend = StandIn()
    given_back = list(encode_stream(Encoder(backend, batch_frames), videos))

    assert [key for key, _ in given_back] == [key for key, _ in videos]
    for (_, rows), (_, pixels) in zip(given_back, videos, strict=True):
        if pixels is None:
            assert rows is None
        else:
            assert isinstance(rows, np.ndarray)
            np.testing.assert_array_equal(rows, Encoder(StandIn(), batch_frames).encode_pixels(pixels))
            np.testing.assert_allclose(rows, unit(pixels), atol=1e-6)

    all_frames = [pixels for _, pixels in videos if pixels is not None]
    sizes = [len(batch) for batch in backend.batches]
    assert all(size == batch_frames for size in sizes[:-1])
    assert all(0 < size <= batch_frames for size in sizes)
    if all_frames:
        np.testing.assert_array_equal(np.concatenate(backend.batches), np.concatenate(all_frames))
    else:
        assert sizes == []


@given(lengths=st.lists(st.integers(1, 13), min_size=1, max_size=30), batch_frames=st.integers(1, 9))
def test_little_is_held_back(lengths: list[int], batch_frames: int) -> None:
    """Frames pulled and not yet given back: at most the unfinished batch, and the video that it ends in."""
    pulled = 0

    def source() -> Iterator[tuple[int, Pixels]]:
        nonlocal pulled
        for number, length in enumerate(lengths):
            held = sum(lengths[:pulled]) - sum(lengths[:given_back])
            assert held <= batch_frames - 1 + max(lengths) - 1
            pulled += 1
            yield number, video(number, length)

    given_back = 0
    for number, _ in encode_stream(Encoder(StandIn(), batch_frames), source()):
        assert number == given_back
        given_back += 1
    assert given_back == len(lengths)


def test_batches_mix_videos_and_split_them() -> None:
    backend = StandIn()
    list(encode_stream(Encoder(backend, 4), [("a", video(1, 3)), ("b", video(2, 6)), ("c", video(3, 1))]))
    assert [batch[:, 0, 0, 0].tolist() for batch in backend.batches] == [[1, 1, 1, 2], [2, 2, 2, 2], [2, 3]]
    assert [batch[:, 1, 0, 0].tolist() for batch in backend.batches] == [[1, 2, 3, 1], [2, 3, 4, 5], [6, 1]]


def test_the_first_video_comes_as_soon_as_its_batch_is_full() -> None:
    pulled: list[int] = []

    def endless() -> Iterator[tuple[int, Pixels]]:
        number = 0
        while True:
            pulled.append(number)
            yield number, video(number % 100, 2)
            number += 1

    stream = encode_stream(Encoder(StandIn(), 5), endless())
    assert pulled == []
    assert next(stream)[0] == 0
    assert pulled == [0, 1, 2]  # two, four, six frames: the first batch of five
    assert next(stream)[0] == 1
    assert pulled == [0, 1, 2]  # the same batch held the second video whole
    assert next(stream)[0] == 2
    assert pulled == [0, 1, 2, 3, 4]  # the next batch is full at ten frames


def test_a_video_without_pixels_waits_for_those_before_it_and_no_longer() -> None:
    pulled: list[str] = []

    def source() -> Iterator[tuple[str, Pixels | None]]:
        for key, pixels in (("x", None), ("a", video(1, 2)), ("y", None), ("b", video(2, 2)), ("z", None)):
            pulled.append(key)
            yield key, pixels

    stream = encode_stream(Encoder(StandIn(), 4), source())
    assert next(stream) == ("x", None)
    assert pulled == ["x"]
    assert [key for key, _ in stream] == ["a", "y", "b", "z"]


@pytest.mark.parametrize(("grey", "sentence"), [(BROKEN, "not finite"), (BROKEN - 1, "an embedding of length zero")])
def test_a_video_whose_embeddings_have_no_direction_fails_alone(grey: int, sentence: str) -> None:
    broken = video(2, 3)
    broken[1] = grey
    videos = [("a", video(1, 3)), ("broken", broken), ("c", video(3, 3)), ("d", video(4, 3))]
    backend = StandIn()
    outcomes = dict(encode_stream(Encoder(backend, 8), videos))
    assert [len(batch) for batch in backend.batches] == [8, 4]  # all four share the first batch
    assert list(outcomes) == ["a", "broken", "c", "d"]
    error = outcomes.pop("broken")
    assert isinstance(error, EncoderFailed)
    assert sentence in str(error)
    for number, key in ((1, "a"), (3, "c"), (4, "d")):
        rows = outcomes[key]
        assert isinstance(rows, np.ndarray)
        np.testing.assert_allclose(rows, unit(video(number, 3)), atol=1e-6)


def test_keys_are_handed_through_as_they_are_even_when_equal() -> None:
    key = object()
    outcomes = list(encode_stream(Encoder(StandIn(), 2), [(key, video(1, 1)), (key, video(2, 1))]))
    assert [handed is key for handed, _ in outcomes] == [True, True]
    np.testing.assert_allclose(
        np.concatenate([rows for _, rows in outcomes if isinstance(rows, np.ndarray)]),
        np.concatenate([unit(video(1, 1)), unit(video(2, 1))]),
        atol=1e-6,
    )


def test_a_model_that_fails_outright_stops_the_stream_with_its_own_error() -> None:
    class Full(StandIn):
        def encode_pixels(self, pixels: Pixels) -> npt.NDArray[np.float32]:
            raise EncoderFailed(f"the GPU has no memory for a batch of {len(pixels)}")

    with pytest.raises(EncoderFailed, match="the GPU has no memory for a batch of 2"):
        list(encode_stream(Encoder(Full(), 2), [("a", video(1, 5))]))


def test_nothing_in_nothing_out() -> None:
    backend = StandIn()
    assert list(encode_stream(Encoder(backend, 2), [])) == []
    assert backend.batches == []
