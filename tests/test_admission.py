"""Which model may add to an index or ask it: the same space, the same recipe, a machine that makes the same vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from echosearch.encoders import FINGERPRINT_PHRASES, Encoder, fingerprint_clip, load_encoder
from echosearch.errors import NumericsMismatch, RecipeMismatch, SpaceMismatch
from echosearch.index import IndexDescription
from echosearch.index.description import check_model, check_phrases, probe
from echosearch.types import (
    EncoderCard,
    Fingerprint,
    FrameSampling,
    ModelRequest,
    Numerics,
    PreprocessSpec,
    Recipe,
    Space,
)
from echosearch.video import prepare

SIZE = 4
CARD = EncoderCard(
    name="stand-in",
    weights="local-dir:/models/stand-in",
    dim=3,
    recipe=Recipe(
        Space("tensors", "architecture", "tokenizer", "cleaning"),
        PreprocessSpec(SIZE, "squash", "opencv", "area", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        FrameSampling(0, 40, 2),
    ),
    numerics=Numerics("fp32", "cpu", "2.13.0", "decord", "Python"),
)


class StandIn:
    """Frames are (1, 0, 0) and phrases (0, 1, 0), each turned by an angle in degrees towards (0, 0, 1)."""

    def __init__(self, card: EncoderCard = CARD, frames_turned: float = 0, phrases_turned: float = 0) -> None:
        self.card = card
        self.frames_turned, self.phrases_turned = math.radians(frames_turned), math.radians(phrases_turned)
        self.pixels_seen: list[npt.NDArray[np.uint8]] = []
        self.phrases_seen: list[str] = []

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.pixels_seen.append(pixels)
        rows = np.tile([math.cos(self.frames_turned), 0, math.sin(self.frames_turned)], (len(pixels), 1))
        rows[:-1] = [1, 0, 0]  # only the last one is turned: the lowest cosine has to decide
        return rows.astype(np.float32)

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        self.phrases_seen += phrases
        rows = np.tile([0, math.cos(self.phrases_turned), math.sin(self.phrases_turned)], (len(phrases), 1))
        rows[1:] = [0, 1, 0]
        return rows.astype(np.float32), ["" for _ in phrases]


def manifest(card: EncoderCard = CARD) -> IndexDescription:
    """The manifest of an index that this stand-in made, on a machine that turns nothing."""
    return IndexDescription.of(card, probe(Encoder(StandIn(card))), "float32")


def with_precision(precision: str) -> EncoderCard:
    return replace(CARD, numerics=replace(CARD.numerics, precision=precision))


def degrees(cosine: float) -> float:
    return math.degrees(math.acos(cosine))


def test_the_probe_is_the_clip_prepared_as_the_model_wants_it_and_the_phrases() -> None:
    backend = StandIn()
    vectors = probe(Encoder(backend))
    assert vectors.frames.tolist() == [[1, 0, 0]] * 2
    assert vectors.phrases.tolist() == [[0, 1, 0]] * 3
    np.testing.assert_array_equal(backend.pixels_seen[0], prepare(fingerprint_clip(), CARD.recipe.preprocess))
    assert backend.phrases_seen == list(FINGERPRINT_PHRASES)


def test_the_model_that_made_the_index_is_admitted_without_a_word() -> None:
    assert check_model(manifest(), Encoder(StandIn())) == []
    check_phrases(manifest(), Encoder(StandIn()))


def test_a_shipped_encoder_is_admitted_to_the_index_that_it_made() -> None:
    toy = load_encoder(ModelRequest("toy"))
    assert check_model(IndexDescription.of(toy.card, probe(toy), "none"), load_encoder(ModelRequest("toy"))) == []


@pytest.mark.parametrize(
    "part", [{"tensors_sha256": "other"}, {"architecture": "other"}, {"tokenizer": "other"}, {"text_cleaning": "other"}]
)
def test_another_space_may_neither_add_nor_ask(part: dict[str, str]) -> None:
    space = replace(CARD.recipe.space, **part)
    other = StandIn(replace(CARD, weights="hf-hub:org/other", recipe=replace(CARD.recipe, space=space)))
    sentence = re.escape(
        "the model at hf-hub:org/other is not the one that this index was made with (stand-in, "
        "local-dir:/models/stand-in): its weights, architecture or text handling differ, so no score would mean "
        "anything. Give the right weights with --model, or make another index"
    )
    for check in (check_model, check_phrases):
        with pytest.raises(SpaceMismatch, match=sentence):
            check(manifest(), Encoder(other))
    assert other.phrases_seen == []  # refused before anything is computed


@pytest.mark.parametrize(
    ("recipe", "difference"),
    [
        (
            replace(CARD.recipe, preprocess=replace(CARD.recipe.preprocess, channel_order="bgr")),
            "preprocess.channel_order bgr here, rgb there",
        ),
        (replace(CARD.recipe, sampling=FrameSampling(0, 40, 1)), "sampling.stride 1 here, 2 there"),
        (replace(CARD.recipe, pipeline_version=99), f"pipeline_version 99 here, {CARD.recipe.pipeline_version} there"),
        (
            replace(CARD.recipe, preprocess=replace(CARD.recipe.preprocess, fill=3), sampling=FrameSampling(0, 40, 4)),
            "preprocess.fill 3 here, 0 there; sampling.stride 4 here, 2 there",
        ),
    ],
)
def test_another_recipe_may_ask_but_not_add(recipe: Recipe, difference: str) -> None:
    other = Encoder(StandIn(replace(CARD, recipe=recipe)))
    sentence = re.escape(
        f"videos would be prepared differently from those of this index: {difference} (the index). "
        "Use the index's own settings, or make another index"
    )
    with pytest.raises(RecipeMismatch, match=sentence):
        check_model(manifest(), other)
    check_phrases(manifest(), other)


@pytest.mark.parametrize("turned", ["frames_turned", "phrases_turned"])
def test_a_machine_may_add_at_cosine_0_9999_and_not_below(turned: str) -> None:
    almost = StandIn(**{turned: degrees(0.99991)})
    assert check_model(manifest(), Encoder(almost)) == []
    off = StandIn(**{turned: degrees(0.99985)})
    sentence = re.escape(
        "this machine reproduces the index's fingerprint only at cosine 0.999850, and 0.9999 is needed "
        "(precision fp32 here, fp32 in the index; torch 2.13.0)"
    )
    with pytest.raises(NumericsMismatch, match=sentence):
        check_model(manifest(), Encoder(off))


def test_to_ask_only_the_phrases_have_to_agree() -> None:
    check_phrases(manifest(), Encoder(StandIn(frames_turned=90)))
    check_phrases(manifest(), Encoder(StandIn(phrases_turned=degrees(0.99991))))
    backend = StandIn(phrases_turned=degrees(0.99985))
    with pytest.raises(NumericsMismatch, match=r"only at cosine 0\.999850, and 0\.9999 is needed"):
        check_phrases(manifest(), Encoder(backend))
    assert backend.pixels_seen == []


@pytest.mark.parametrize(("here", "there"), [("bf16", "fp32"), ("fp16", "fp32"), ("fp32", "bf16"), ("bf16", "bf16")])
def test_half_precision_on_either_side_needs_0_999_and_is_shown(here: str, there: str) -> None:
    made = manifest(with_precision(there))
    close = Encoder(StandIn(with_precision(here), phrases_turned=degrees(0.9992)))
    assert check_model(made, close) == [
        f"half precision: the index's fingerprint comes back at cosine 0.999200 here ({here}; the index: {there})"
    ]
    check_phrases(made, close)
    off = Encoder(StandIn(with_precision(here), phrases_turned=degrees(0.9985)))
    sentence = re.escape(f"0.998500, and 0.999 is needed (precision {here} here, {there} in the index; torch 2.13.0)")
    for check in (check_model, check_phrases):
        with pytest.raises(NumericsMismatch, match=sentence):
            check(made, off)


def test_probe_vectors_of_another_number_of_phrases_are_refused() -> None:
    whole = manifest()
    fewer = replace(whole, probe=Fingerprint(whole.probe.frames, whole.probe.phrases[:2]))
    for check in (check_model, check_phrases):
        with pytest.raises(NumericsMismatch, match=r"only at cosine -1\.000000, and 0\.9999 is needed"):
            check(fewer, Encoder(StandIn()))
