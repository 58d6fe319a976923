"""What every encoder shares: rows of unit length, the sentences when there are none, batches, the text cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from echosearch.encoders import FINGERPRINT_PHRASES, Encoder, cache_key, fingerprint_clip
from echosearch.errors import BadQuery, EncoderFailed
from echosearch.types import (
    EncodedText,
    EncoderCard,
    FrameSampling,
    Numerics,
    PreprocessSpec,
    Recipe,
    Space,
)

SIZE, DIM = 2, 6
CARD = EncoderCard(
    name="stand-in",
    weights="none",
    dim=DIM,
    recipe=Recipe(
        Space("tensors", "architecture", "tokenizer", "cleaning"),
        PreprocessSpec(SIZE, "squash", "opencv", "area", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        FrameSampling(),
    ),
    numerics=Numerics("fp32", "cpu", "none", "none", "none"),
)
WEIGHTS = np.random.default_rng(5).normal(size=(3 * SIZE * SIZE, DIM)).astype(np.float32)


class StandIn:
    """A backend that writes down what it is asked; a phrase's row starts with its length."""

    def __init__(self, card: EncoderCard = CARD) -> None:
        self.card = card
        self.batches: list[int] = []
        self.asked: list[list[str]] = []
        self.text_row: list[float] | None = None

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(pixels))
        return pixels.reshape(len(pixels), -1).astype(np.float32) @ WEIGHTS

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        self.asked.append(list(phrases))
        rows = [self.text_row or [len(phrase), 1, 0, 0, 0, 0] for phrase in phrases]
        return np.array(rows, np.float32), [phrase.partition(" | ")[2] for phrase in phrases]


class Memory:
    """An `EmbeddingCache` that forgets nothing."""

    def __init__(self) -> None:
        self.kept: dict[str, EncodedText] = {}

    def get(self, key: str) -> EncodedText | None:
        return self.kept.get(key)

    def put(self, key: str, text: EncodedText) -> None:
        assert key not in self.kept, "put twice"
        self.kept[key] = text


def random_pixels(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def expected_text(phrase: str) -> npt.NDArray[np.float64]:
    """The stand-in's unit row of a phrase, by hand."""
    return np.array([len(phrase), 1, 0, 0, 0, 0]) / np.sqrt(len(phrase) ** 2 + 1)


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (11, [3, 3, 3, 2])])
def test_pixels_become_unit_rows_in_their_order_in_batches_of_the_size_asked_for(
    count: int, batches: list[int]
) -> None:
    backend, pixels = StandIn(), random_pixels(count)
    rows = Encoder(backend, batch_frames=3).encode_pixels(pixels)
    raw = pixels.reshape(count, -1).astype(np.float64) @ WEIGHTS.astype(np.float64)
    oracle = raw / np.sqrt((raw * raw).sum(axis=1, keepdims=True))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, oracle, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=1e-7)
    assert backend.batches == batches


@pytest.mark.parametrize("scale", [1e-10, 1e30])
def test_the_length_of_what_the_model_gives_does_not_matter(scale: float) -> None:
    backend = StandIn()
    backend.text_row = [3 * scale, 0, 4 * scale, 0, 0, 0]
    (text,) = Encoder(backend).encode_text(["A"])
    np.testing.assert_allclose(text.vector, [0.6, 0, 0.8, 0, 0, 0], atol=1e-7)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([1, 2, np.nan, 0, 0, 0], r"the model gave an embedding that is not finite \(NaN or infinity\)"),
        ([1, 2, np.inf, 0, 0, 0], r"the model gave an embedding that is not finite \(NaN or infinity\)"),
        ([1, -np.inf, 0, 0, 0, 0], r"the model gave an embedding that is not finite \(NaN or infinity\)"),
        ([0, 0, 0, 0, 0, 0], "the model gave an embedding of length zero"),
    ],
)
def test_a_row_without_a_direction_is_the_model_s_failure(row: list[float], sentence: str) -> None:
    class Broken(StandIn):
        def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            rows = super().encode_pixels(pixels)
            rows[-1] = row
            return rows

    with pytest.raises(EncoderFailed, match=sentence):
        Encoder(Broken()).encode_pixels(random_pixels(3))
    backend, cache = StandIn(), Memory()
    backend.text_row = row
    with pytest.raises(EncoderFailed, match=sentence):
        Encoder(backend).encode_text(["A"], cache)
    assert cache.kept == {}


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((1, 3, 4, 4), np.uint8), r"not \(1, 3, 4, 4\) uint8"),
        (np.zeros((1, SIZE, SIZE, 3), np.uint8), r"not \(1, 2, 2, 3\) uint8"),
        (np.zeros((3, SIZE, SIZE), np.uint8), r"not \(3, 2, 2\) uint8"),
        (np.zeros((1, 3, SIZE, SIZE), np.float32), r"not \(1, 3, 2, 2\) float32"),
    ],
)
def test_pixels_that_were_not_prepared_for_this_model_are_refused(pixels: npt.NDArray[np.uint8], found: str) -> None:
    with pytest.raises(ValueError, match=rf"pixels are \(T, 3, 2, 2\) uint8, {found}"):
        Encoder(StandIn()).encode_pixels(pixels)


def test_phrases_come_back_in_their_order_and_copies_are_encoded_once() -> None:
    backend = StandIn()
    texts = Encoder(backend).encode_text(["MILD MR", "A", "MILD MR", "SEVERE TR", "A"])
    for text, phrase in zip(texts, ["MILD MR", "A", "MILD MR", "SEVERE TR", "A"], strict=True):
        np.testing.assert_allclose(text.vector, expected_text(phrase), atol=1e-7)
    assert backend.asked == [["MILD MR", "A", "SEVERE TR"]]


def test_a_phrase_asked_before_never_reaches_the_model_again() -> None:
    cache, first = Memory(), StandIn()
    before = Encoder(first).encode_text(["MILD MR", "LONG | AND CUT"], cache)
    assert first.asked == [["MILD MR", "LONG | AND CUT"]]
    second = StandIn()
    after = Encoder(second).encode_text(["LONG | AND CUT", "MILD MR"], cache)
    assert second.asked == []
    assert [text.cut for text in after] == ["AND CUT", ""]
    for known, again in zip(before, reversed(after), strict=True):
        assert known.vector.tobytes() == again.vector.tobytes()


def test_known_and_new_phrases_mix_in_the_order_asked() -> None:
    cache, backend = Memory(), StandIn()
    encoder = Encoder(backend)
    encoder.encode_text(["BBB"], cache)
    texts = encoder.encode_text(["A", "BBB", "CCCCC", "A"], cache)
    assert backend.asked == [["BBB"], ["A", "CCCCC"]]
    for text, phrase in zip(texts, ["A", "BBB", "CCCCC", "A"], strict=True):
        np.testing.assert_allclose(text.vector, expected_text(phrase), atol=1e-7)
    assert len(cache.kept) == 3


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            replace(CARD, recipe=replace(CARD.recipe, space=replace(CARD.recipe.space, tensors_sha256="other"))),
            id="other space",
        ),
        pytest.param(replace(CARD, numerics=replace(CARD.numerics, precision="bf16")), id="other precision"),
    ],
)
def test_another_space_or_precision_knows_nothing_of_this_one_s_phrases(other: EncoderCard) -> None:
    cache, backend = Memory(), StandIn(other)
    Encoder(StandIn()).encode_text(["MILD MR"], cache)
    Encoder(backend).encode_text(["MILD MR"], cache)
    assert backend.asked == [["MILD MR"]]
    assert len(cache.kept) == 2


def test_what_does_not_change_the_vector_does_not_change_the_key() -> None:
    cache, backend = (
        Memory(),
        StandIn(
            replace(
                CARD,
                name="by another name",
                recipe=replace(CARD.recipe, sampling=FrameSampling(count=1)),
                numerics=replace(CARD.numerics, decoder="another"),
            )
        ),
    )
    Encoder(StandIn()).encode_text(["MILD MR"], cache)
    Encoder(backend).encode_text(["MILD MR"], cache)
    assert backend.asked == []


def test_a_key_holds_the_exact_phrase() -> None:
    keys = [
        cache_key(space, precision, phrase)
        for space in ("s", "t")
        for precision in ("fp32", "bf16")
        for phrase in ("A", "a", "A ", " A", "A B", "A  B")
    ]
    assert len(set(keys)) == 24
    assert cache_key("s", "fp32", "A") == cache_key("s", "fp32", "A")
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize("empty", ["", "  ", "\n\t"])
def test_an_empty_phrase_is_refused_before_anything_is_encoded(empty: str) -> None:
    backend, cache = StandIn(), Memory()
    with pytest.raises(BadQuery, match="the phrase is empty; give some words of a report"):
        Encoder(backend).encode_text(["MILD MR", empty], cache)
    assert backend.asked == []
    assert cache.kept == {}


def test_no_phrases_ask_nothing() -> None:
    backend = StandIn()
    assert Encoder(backend).encode_text([]) == []
    assert backend.asked == []


def test_the_fingerprint_is_the_fingerprint_clip_and_the_probe_phrases_embedded() -> None:
    backend, pixels = StandIn(), random_pixels(2)
    probe = Encoder(backend).probe(pixels)
    np.testing.assert_array_equal(probe.frames, Encoder(StandIn()).encode_pixels(pixels))
    np.testing.assert_allclose(probe.phrases, [expected_text(phrase) for phrase in FINGERPRINT_PHRASES], atol=1e-7)
    assert backend.asked == [list(FINGERPRINT_PHRASES)]


def test_the_fingerprint_clip_is_the_same_everywhere() -> None:
    clip = fingerprint_clip()
    assert (clip.shape, clip.dtype) == ((2, 240, 320, 3), np.uint8)
    # |2x + 60t - 255|, |3y + 90t - 255|, |x + 2y + 120t - 255|, the sums modulo 510, by hand.
    assert clip[0, 0, 0].tolist() == [255, 255, 255]
    assert clip[0, 10, 20].tolist() == [215, 225, 215]
    assert clip[1, 10, 20].tolist() == [155, 135, 95]
    assert clip[1, 200, 300].tolist() == [105, 75, 55]
