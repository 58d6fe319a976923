"""Identity and embeddings as values: ids, JSON round trips, differences in words, pooling, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from echosearch.errors import BadOption
from echosearch.types import (
    EncodedText,
    EncodedVideo,
    EncoderCard,
    Fingerprint,
    FrameSampling,
    ModelRequest,
    Numerics,
    PreparedVideo,
    PreprocessSpec,
    Recipe,
    Space,
    VideoEmbedding,
    VideoFacts,
    pool,
)

SPACE = Space("0" * 64, '{"embed_dim": 512}', "SimpleTokenizer", "clean_lower")
SPEC = PreprocessSpec(
    224, "crop-resize", "opencv", "bicubic", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
RECIPE = Recipe(SPACE, SPEC, FrameSampling(0, 40, 2))

OTHER_SPACE = {
    "tensors_sha256": "1" * 64,
    "architecture": '{"embed_dim": 513}',
    "tokenizer": "HFTokenizer",
    "text_cleaning": "none",
}
OTHER_SPEC = {
    "size": 225,
    "fit": "squash",
    "resizer": "pillow",
    "interpolation": "area",
    "mean": (0.48145466, 0.4578275, 0.40821074),
    "std": (0.26862954, 0.26130257, 0.27577711),
    "channel_order": "bgr",
    "zoom": 0.1,
    "fill": 1,
}
OTHER_SAMPLING = {"start": 1, "stop": None, "stride": 1, "count": 20}
OTHER_RECIPE = {
    "space": replace(SPACE, tokenizer="other"),
    "preprocess": replace(SPEC, size=112),
    "sampling": FrameSampling(),
    "pooling": "mean",
    "pipeline_version": 2,
}

VARIANTS = [
    *(pytest.param(replace(RECIPE, space=replace(SPACE, **{k: v})), id=f"space.{k}") for k, v in OTHER_SPACE.items()),
    *(
        pytest.param(replace(RECIPE, preprocess=replace(SPEC, **{k: v})), id=f"preprocess.{k}")
        for k, v in OTHER_SPEC.items()
    ),
    *(
        pytest.param(replace(RECIPE, sampling=replace(RECIPE.sampling, **{k: v})), id=f"sampling.{k}")
        for k, v in OTHER_SAMPLING.items()
    ),
    *(pytest.param(replace(RECIPE, **{k: v}), id=k) for k, v in OTHER_RECIPE.items()),
]


def unit(*numbers: float) -> npt.NDArray[np.float32]:
    row = np.array(numbers, np.float64)
    return (row / np.linalg.norm(row)).astype(np.float32)


# --- ids


@pytest.mark.parametrize(
    ("kind", "others"),
    [(Space, OTHER_SPACE), (PreprocessSpec, OTHER_SPEC), (FrameSampling, OTHER_SAMPLING), (Recipe, OTHER_RECIPE)],
)
def test_this_page_varies_every_field(kind: Any, others: dict[str, Any]) -> None:
    outside_the_id = {"still_version"} if kind is Recipe else set()
    assert {field.name for field in fields(kind)} == set(others) | outside_the_id


@pytest.mark.parametrize("other", VARIANTS)
def test_every_field_is_part_of_the_recipe_s_id(other: Recipe) -> None:
    assert other.id != RECIPE.id
    assert (other.space.id != RECIPE.space.id) == (other.space != RECIPE.space)


def test_no_two_variants_share_an_id() -> None:
    recipes = [RECIPE, *(variant.values[0] for variant in VARIANTS)]
    assert len({recipe.id for recipe in recipes}) == len(recipes)


@pytest.mark.parametrize("recipe", [RECIPE, *VARIANTS])
def test_a_recipe_survives_json_with_its_id(recipe: Recipe) -> None:
    back = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert back == recipe
    assert (back.id, back.space.id) == (recipe.id, recipe.space.id)
    assert isinstance(back.preprocess.mean, tuple)


def test_an_id_is_the_sha256_of_the_canonical_json_and_so_stays_the_same_from_version_to_version() -> None:
    space = (
        '{"architecture":"{\\"embed_dim\\": 512}","tensors_sha256":"' + "0" * 64 + '",'
        '"text_cleaning":"clean_lower","tokenizer":"SimpleTokenizer"}'
    )
    recipe = (
        '{"pipeline_version":1,"pooling":"renormalised mean of unit frame embeddings",'
        '"preprocess":{"channel_order":"rgb","fill":0,"fit":"crop-resize","interpolation":"bicubic",'
        '"mean":[0.48145466,0.4578275,0.40821073],"resizer":"opencv","size":224,'
        '"std":[0.26862954,0.26130258,0.27577711],"zoom":0.0},'
        '"sampling":{"count":null,"start":0,"stop":40,"stride":2},"space":' + space + "}"
    )
    assert SPACE.id == hashlib.sha256(space.encode()).hexdigest()
    assert replace(RECIPE, pipeline_version=1).id == hashlib.sha256(recipe.encode()).hexdigest()


def test_the_still_s_version_is_kept_and_differs_but_leaves_the_id_as_it_was() -> None:
    older = replace(RECIPE, still_version=1)
    assert older != RECIPE
    assert older.id == RECIPE.id
    assert older.differences(RECIPE) == ["still_version 1 here, 2 there"]
    assert Recipe.from_dict(json.loads(json.dumps(older.to_dict()))) == older
    before_format_6 = {name: part for name, part in RECIPE.to_dict().items() if name != "still_version"}
    assert Recipe.from_dict(before_format_6) == older
    assert (older.outdated, RECIPE.outdated) == (("still",), ())
    assert older.brought_up("still") == RECIPE
    assert replace(RECIPE, pipeline_version=7).outdated == ("video",)


def test_from_dict_refuses_what_is_no_recipe() -> None:
    whole = RECIPE.to_dict()
    with pytest.raises(KeyError, match="pooling"):
        Recipe.from_dict({key: value for key, value in whole.items() if key != "pooling"})
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Recipe.from_dict(whole | {"space": whole["space"] | {"colour": "red"}})
    with pytest.raises(ValueError, match="size is at least 1 pixel, not 0"):
        Recipe.from_dict(whole | {"preprocess": whole["preprocess"] | {"size": 0}})


# --- differences


def test_differences_name_each_field_with_both_values() -> None:
    other = replace(RECIPE, preprocess=replace(SPEC, zoom=0.1, channel_order="bgr"), sampling=FrameSampling(0, 40, 1))
    assert other.differences(RECIPE) == [
        "preprocess.channel_order bgr here, rgb there",
        "preprocess.zoom 0.1 here, 0.0 there",
        "sampling.stride 1 here, 2 there",
    ]
    assert RECIPE.differences(other)[1] == "preprocess.zoom 0.0 here, 0.1 there"
    assert RECIPE.differences(replace(RECIPE)) == []


def test_long_values_are_shortened_in_differences() -> None:
    other = replace(RECIPE, space=replace(SPACE, tensors_sha256="f" * 64))
    assert RECIPE.differences(other) == [
        "space.tensors_sha256 000000000000...(64 characters) here, ffffffffffff...(64 characters) there"
    ]


@pytest.mark.parametrize("other", VARIANTS)
def test_there_are_differences_exactly_where_the_ids_differ(other: Recipe) -> None:
    assert len(RECIPE.differences(other)) >= 1
    assert len(RECIPE.differences(other)) == len(other.differences(RECIPE))


# --- probe vectors


def test_probe_vectors_survive_json_bit_for_bit() -> None:
    rng = np.random.default_rng(3)
    frames, phrases = (np.stack([unit(*rng.normal(size=7)) for _ in range(count)]) for count in (2, 3))
    back = Fingerprint.from_dict(json.loads(json.dumps(Fingerprint(frames, phrases).to_dict())))
    assert back.frames.dtype == back.phrases.dtype == np.float32
    assert back.frames.tobytes() == frames.tobytes()
    assert back.phrases.tobytes() == phrases.tobytes()
    assert (back.frames.shape, back.phrases.shape) == ((2, 7), (3, 7))


def test_the_lowest_cosine_decides_and_frames_and_phrases_are_told_apart() -> None:
    mine = Fingerprint(np.stack([unit(1, 0), unit(0, 1)]), np.stack([unit(1, 0), unit(1, 0), unit(1, 0)]))
    theirs = Fingerprint(np.stack([unit(1, 0), unit(3, 4)]), np.stack([unit(1, 0), unit(4, 3), unit(12, 5)]))
    assert mine.cosines(theirs) == pytest.approx((0.8, 0.8))
    assert mine.cosines(mine) == pytest.approx((1, 1))
    turned = Fingerprint(mine.frames, -mine.phrases)
    assert mine.cosines(turned) == pytest.approx((1, -1))


def test_probe_vectors_of_another_shape_do_not_agree_at_all() -> None:
    mine = Fingerprint(np.stack([unit(1, 0), unit(0, 1)]), unit(1, 0)[None])
    wider = Fingerprint(np.stack([unit(1, 0, 0), unit(0, 1, 0)]), unit(1, 0, 0)[None])
    fewer = Fingerprint(unit(1, 0)[None], unit(1, 0)[None])
    assert mine.cosines(wider) == (-1, -1)
    assert mine.cosines(fewer) == (-1, 1)


def test_probe_vectors_are_of_unit_length() -> None:
    good, long = unit(1, 0)[None], np.array([[1.1, 0]], np.float32)
    with pytest.raises(ValueError, match=r"probe frame embeddings have rows that are not of unit length: 1\.1"):
        Fingerprint(long, good)
    with pytest.raises(ValueError, match=r"probe phrase embeddings have rows that are not of unit length: 1\.1"):
        Fingerprint(good, long)


# --- pooling


def test_pool_is_the_renormalised_mean_and_keeps_the_length_it_had() -> None:
    two = pool(np.array([[1, 0], [0, 1]], np.float32))  # mean (1/2, 1/2)
    np.testing.assert_allclose(two.vector, [0.70710678, 0.70710678], atol=1e-7)
    assert two.pooled_norm == pytest.approx(0.70710678, abs=1e-7)

    three = pool(np.array([[1, 0], [1, 0], [0, 1]], np.float32))  # mean (2/3, 1/3), length sqrt(5)/3
    np.testing.assert_allclose(three.vector, [0.89442719, 0.4472136], atol=1e-7)
    assert three.pooled_norm == pytest.approx(0.74535599, abs=1e-7)

    leaning = pool(np.array([[0.6, 0.8, 0], [0.6, -0.8, 0]], np.float32))  # mean (0.6, 0, 0)
    np.testing.assert_allclose(leaning.vector, [1, 0, 0], atol=1e-7)
    assert leaning.pooled_norm == pytest.approx(0.6, abs=1e-7)

    one = pool(np.array([[0, 0.6, -0.8]], np.float32))
    np.testing.assert_allclose(one.vector, [0, 0.6, -0.8], atol=1e-7)
    assert one.pooled_norm == pytest.approx(1, abs=1e-7)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 200))
def test_pool_agrees_with_plain_numpy_whatever_the_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 8))
    rows[:, 0] += 3
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    total = [sum(float(row[axis]) for row in rows) / count for axis in range(8)]
    length = sum(value * value for value in total) ** 0.5
    for frames in (rows, rows[rng.permutation(count)]):
        pooled = pool(frames)
        np.testing.assert_allclose(pooled.vector, np.array(total) / length, atol=2e-7)
        assert pooled.pooled_norm == pytest.approx(length, abs=2e-7)


def test_opposed_frames_have_no_mean_direction() -> None:
    with pytest.raises(ValueError, match=r"the mean of the frame embeddings has length 0\.0, so no direction"):
        pool(np.array([[1, 0], [-1, 0]], np.float32))
    with pytest.raises(ValueError, match="the mean of the frame embeddings has length nan, so no direction"):
        pool(np.array([[np.nan, 0]], np.float32))


# --- what the values refuse


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 0}, "size is at least 1 pixel, not 0"),
        ({"zoom": 0.5}, r"zoom is the part dropped from each edge, 0 to below 0\.5, not 0\.5"),
        ({"zoom": -0.1}, r"zoom is the part dropped from each edge, 0 to below 0\.5, not -0\.1"),
        ({"zoom": float("nan")}, "zoom is the part dropped from each edge, .* not nan"),
        ({"zoom": 0.1, "fit": "squash"}, "zoom goes with fit 'crop-resize' only, not with 'squash'"),
        ({"resizer": "pillow", "interpolation": "area"}, "Pillow has no 'area' interpolation"),
        ({"std": (0.2, 0.0, 0.2)}, r"std is positive, not \(0\.2, 0\.0, 0\.2\)"),
        ({"fill": 256}, "fill is a grey level, 0 to 255, not 256"),
        ({"fill": -1}, "fill is a grey level, 0 to 255, not -1"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"start": -1}, "a sampling starts at 0 or later with a stride of 1 or more, not"),
        ({"stride": 0}, "a sampling starts at 0 or later with a stride of 1 or more, not"),
        ({"start": 4, "stop": 4}, "a sampling stops after it starts, not"),
        ({"count": 0}, "a sampling takes at least one frame, not"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FrameSampling(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("video", 0, 10, 10, 30.0), "a video has at least one frame of at least one pixel, not"),
        (("video", 1, 0, 10, 30.0), "a video has at least one frame of at least one pixel, not"),
        (("video", 1, 10, 0, 30.0), "a video has at least one frame of at least one pixel, not"),
        (("video", 1, 10, 10, 0.0), r"fps is a positive number or None, not 0\.0"),
        (("video", 1, 10, 10, float("nan")), "fps is a positive number or None, not nan"),
        (("video", 1, 10, 10, 100_000.0), r"fps is a positive number or None, not 100000\.0"),
    ],
)
def test_facts_that_cannot_be_are_refused(values: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VideoFacts(*values)


@pytest.mark.parametrize(
    ("numbers", "pixels", "sentence"),
    [
        ([0, 2], np.zeros((3, 3, 4, 4), np.uint8), r"pixels are \(2, 3, S, S\) uint8, not \(3, 3, 4, 4\) uint8"),
        ([0, 2], np.zeros((2, 3, 4, 4), np.float32), r"pixels are \(2, 3, S, S\) uint8, not \(2, 3, 4, 4\) float32"),
        ([0, 2], np.zeros((2, 4, 4, 3), np.uint8), r"pixels are \(2, 3, S, S\) uint8, not \(2, 4, 4, 3\) uint8"),
        ([], np.zeros((0, 3, 4, 4), np.uint8), "a prepared video has at least one frame, and int32 frame numbers"),
    ],
)
def test_a_prepared_video_whose_parts_do_not_fit_is_refused(
    numbers: list[int], pixels: npt.NDArray[np.uint8], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        PreparedVideo(VideoFacts("video", 5, 4, 4, None), "0" * 64, np.array(numbers, np.int32), pixels)


def test_frame_numbers_of_a_prepared_video_are_int32() -> None:
    with pytest.raises(ValueError, match="a prepared video has at least one frame, and int32 frame numbers"):
        PreparedVideo(VideoFacts("video", 5, 4, 4, None), "0" * 64, np.array([0]), np.zeros((1, 3, 4, 4), np.uint8))


@pytest.mark.parametrize(
    ("vector", "norm", "sentence"),
    [
        (np.array([1.001, 0], np.float32), 0.5, "a video embedding have rows that are not of unit length"),
        (np.array([np.nan, 0], np.float32), 0.5, "a video embedding have rows that are not of unit length"),
        (np.array([1, 0], np.float64), 0.5, r"a video embedding are \(N, D\) float32, not \(1, 2\) float64"),
        (np.array([1, 0], np.float32), 0.0, r"pooled_norm is above 0 and at most 1, not 0\.0"),
        (np.array([1, 0], np.float32), 1.01, r"pooled_norm is above 0 and at most 1, not 1\.01"),
        (np.array([1, 0], np.float32), float("nan"), "pooled_norm is above 0 and at most 1, not nan"),
    ],
)
def test_a_video_embedding_is_a_unit_vector_with_a_length_it_had(
    vector: npt.NDArray[Any], norm: float, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        VideoEmbedding(vector, norm)


def test_frames_and_texts_are_of_unit_length_too() -> None:
    pooled = VideoEmbedding(unit(1, 0), 1.0)
    with pytest.raises(ValueError, match=r"frame embeddings have rows that are not of unit length: 1\.0\.\.1\.5"):
        EncodedVideo(np.array([[1, 0], [0, 1.5]], np.float32), np.array([0, 2], np.int32), pooled)
    with pytest.raises(ValueError, match="one frame number for each frame embedding"):
        EncodedVideo(np.array([[1, 0], [0, 1]], np.float32), np.array([0], np.int32), pooled)
    with pytest.raises(ValueError, match="a text embedding have rows that are not of unit length"):
        EncodedText(np.array([0.5, 0.5], np.float32))


def test_a_request_names_a_device_and_a_precision_that_there_are() -> None:
    with pytest.raises(BadOption, match="device is auto, cpu or cuda, not 'gpu'"):
        ModelRequest("toy", device="gpu")  # type: ignore[arg-type]
    with pytest.raises(BadOption, match="precision is fp32, bf16 or fp16, not 'int8'"):
        ModelRequest("toy", precision="int8")  # type: ignore[arg-type]


def test_an_encoder_has_a_dimension() -> None:
    with pytest.raises(ValueError, match="dim is at least 1, not 0"):
        EncoderCard("name", "weights", 0, RECIPE, Numerics("fp32", "cpu", "2", "decord", "Python"))
