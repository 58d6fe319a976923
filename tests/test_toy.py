"""The toy encoder gives exactly the vectors that its docstring lets one work out by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import pytest
from conftest import plain_frames

from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BadOption, BadQuery
from echosearch.types import FrameSampling, ModelRequest
from echosearch.video import prepare

# 0-based axes: 0-2 mean red, green, blue; 3 top - bottom; 4 left - right; 5 dark; 6-31 the letters a-z.
RED, GREEN, BLUE, TOP, LEFT, DARK, A = 0, 1, 2, 3, 4, 5, 6


@pytest.fixture(scope="module")
def toy() -> Encoder:
    return load_encoder(ModelRequest("toy"))


def vector(**axes: float) -> npt.NDArray[np.float64]:
    """32 numbers, zero but for the axes named: red, green, blue, top, left, dark, or a letter a-z."""
    names = {"red": RED, "green": GREEN, "blue": BLUE, "top": TOP, "left": LEFT, "dark": DARK}
    row = np.zeros(32)
    for name, value in axes.items():
        row[names[name] if name in names else A + ord(name) - ord("a")] = value
    return row


def picture() -> npt.NDArray[np.uint8]:
    """One black picture as the encoder takes it."""
    return np.zeros((1, 3, 16, 16), np.uint8)


@pytest.mark.parametrize(
    ("colour", "expected", "squared_length"),
    [
        ((255, 0, 0), vector(red=1, dark=0.1), 1.01),
        ((0, 255, 0), vector(green=1, dark=0.1), 1.01),
        ((0, 0, 255), vector(blue=1, dark=0.1), 1.01),
        ((255, 255, 255), vector(red=1, green=1, blue=1, dark=0.1), 3.01),
        ((51, 102, 204), vector(red=0.2, green=0.4, blue=0.8, dark=0.1), 0.85),
        ((0, 0, 0), vector(dark=0.1), 0.01),
    ],
)
def test_a_uniform_picture_is_its_colour_and_a_little_dark(
    toy: Encoder, colour: tuple[int, int, int], expected: npt.NDArray[np.float64], squared_length: float
) -> None:
    pixels = picture() + np.array(colour, np.uint8)[None, :, None, None]
    np.testing.assert_allclose(toy.backend.encode_pixels(pixels)[0], expected, atol=1e-7)
    np.testing.assert_allclose(toy.encode_pixels(pixels)[0], expected / math.sqrt(squared_length), atol=1e-7)


def test_half_bright_pictures_point_to_the_bright_half(toy: Encoder) -> None:
    halves = np.zeros((5, 3, 16, 16), np.uint8)
    halves[0, :, :8] = 255  # top
    halves[1, :, 8:] = 255  # bottom
    halves[2, :, :, :8] = 255  # left
    halves[3, 1, :, 8:] = 255  # right, green only: its grey level is a third
    halves[4, :, :8, :8] = 255  # the top left quarter
    grey = {"red": 0.5, "green": 0.5, "blue": 0.5, "dark": 0.1}
    quarter = {"red": 0.25, "green": 0.25, "blue": 0.25, "dark": 0.1}
    expected = np.stack(
        [
            vector(**grey, top=1),
            vector(**grey, top=-1),
            vector(**grey, left=1),
            vector(green=0.5, left=-1 / 3, dark=0.1),
            vector(**quarter, top=0.5, left=0.5),
        ]
    )
    np.testing.assert_allclose(toy.backend.encode_pixels(halves), expected, atol=1e-7)


def test_a_decoded_frame_becomes_its_colour_whatever_its_shape(toy: Encoder) -> None:
    frames = plain_frames(2, (0, 0, 255))[:, :48]  # 48 rows, 64 columns
    rows = toy.encode_pixels(prepare(frames, toy.card.recipe.preprocess))
    np.testing.assert_allclose(rows, [vector(blue=1, dark=0.1) / math.sqrt(1.01)] * 2, atol=1e-7)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("red", vector(red=1)),
        ("GREEN", vector(green=1)),
        ("Blue,", vector(blue=1)),
        ("top", vector(top=1)),
        ("bottom", vector(top=-1)),
        ("left", vector(left=1)),
        ("right", vector(left=-1)),
        ("(dark)", vector(dark=1)),
        ("a", vector(a=1)),
        ("za", vector(a=1, z=1)),
        ("lv", vector(l=1, v=1)),
        ("aab", vector(a=2, b=1)),
        ("reds", vector(r=1, e=1, d=1, s=1)),
        ("red red left", vector(red=2, left=1)),
        ("red bottom ab", vector(red=1, top=-1, a=1, b=1)),
        ("top bottom left", vector(left=1)),
        ("left green right", vector(green=1)),
        ("EF 55%", vector(e=1, f=1)),
    ],
)
def test_a_phrase_is_the_direction_of_the_sum_of_its_words(
    toy: Encoder, phrase: str, expected: npt.NDArray[np.float64]
) -> None:
    rows, cuts = toy.backend.encode_text([phrase])
    np.testing.assert_array_equal(rows[0], expected)
    assert cuts == [""]
    (text,) = toy.encode_text([phrase])
    np.testing.assert_allclose(text.vector, expected / math.sqrt((expected**2).sum()), atol=1e-7)
    assert text.cut == ""


def test_a_colour_word_finds_its_colour(toy: Encoder) -> None:
    colours = np.stack([(picture()[0] + np.array(c, np.uint8)[:, None, None]) for c in np.eye(3, dtype=np.uint8) * 255])
    words = np.stack([text.vector for text in toy.encode_text(["red", "green", "blue"])])
    near = 1 / math.sqrt(1.01)  # 0.995
    np.testing.assert_allclose(toy.encode_pixels(colours) @ words.T, np.eye(3) * near, atol=1e-6)


def test_words_beyond_the_75th_are_cut_and_named(toy: Encoder) -> None:
    (exactly,) = toy.encode_text(["red " * 74 + "left"])
    np.testing.assert_allclose(exactly.vector, vector(red=74, left=1) / math.sqrt(74**2 + 1), atol=1e-7)
    assert exactly.cut == ""
    (longer,) = toy.encode_text(["red " * 75 + "Left, Blue."])
    np.testing.assert_array_equal(longer.vector, vector(red=1))
    assert longer.cut == "Left, Blue."


@pytest.mark.parametrize("phrase", ["55 %", "...", "top bottom", "left right top 5 bottom -"])
def test_a_phrase_of_which_nothing_is_left_is_refused_with_the_phrase(toy: Encoder, phrase: str) -> None:
    sentence = re.escape(f"nothing is left of the phrase '{phrase}' for the toy encoder")
    with pytest.raises(BadQuery, match=sentence):
        toy.encode_text([phrase])


def test_an_empty_phrase_is_refused(toy: Encoder) -> None:
    with pytest.raises(BadQuery, match="the phrase is empty; give some words of a report"):
        toy.encode_text(["red", " \t"])


def test_the_card_says_what_toy_is() -> None:
    card = load_encoder(ModelRequest("toy", sampling=FrameSampling(count=3)), decoder="by hand").card
    assert (card.name, card.weights, card.dim, card.logit_scale) == ("toy", "none", 32, 1.0)
    assert card.recipe.sampling == FrameSampling(count=3)
    assert load_encoder(ModelRequest("toy")).card.recipe.sampling == FrameSampling(0, 40, 2)
    assert card.recipe.preprocess.mean == (0.0, 0.0, 0.0)
    assert card.recipe.preprocess.std == (1.0, 1.0, 1.0)
    assert (card.numerics.precision, card.numerics.torch, card.numerics.decoder) == ("fp32", "none", "by hand")
    assert card.notice == "toy is not a model: its vectors are mean colours, without any medical meaning."


def test_toy_takes_no_weights() -> None:
    with pytest.raises(BadOption, match="--weights goes with a preset that has weights, not with toy"):
        load_encoder(ModelRequest("toy", weights="local-dir:/nowhere"))
