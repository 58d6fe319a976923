"""For a model that is no preset, `prepare` and the encoder's scaling equal open_clip's own validation transform."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import write_tiny_model
from PIL import Image

from echosearch.encoders import Encoder, load_encoder
from echosearch.encoders.torchvision_import import import_torchvision
from echosearch.errors import ModelUnavailable, UnsupportedVideo
from echosearch.types import ModelRequest, PreprocessSpec
from echosearch.video import prepare

Picture = npt.NDArray[np.uint8]

PREPROCESSING: dict[str, dict[str, Any]] = {
    "ViT-B-32": {},
    "bilinear": {"interpolation": "bilinear"},
    "squash": {"resize_mode": "squash"},
    "squash bilinear": {
        "resize_mode": "squash",
        "interpolation": "bilinear",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.6, 0.7],
    },
    "longest": {"resize_mode": "longest"},
    "longest, grey padding": {"resize_mode": "longest", "fill_color": 114},
    "random, which means bicubic here": {"interpolation": "random"},
}
SIZES = {  # height, width
    "landscape": (480, 640),
    "portrait": (299, 200),  # 334.88 rows, which are cut to 334
    "odd": (113, 112),
    "odd landscape": (231, 457),
    "wide": (40, 391),
    "as large as the model's": (224, 224),
    "one side as large as the model's": (224, 301),
    "one side as large as the model's, portrait": (225, 224),
    "larger on both sides by one": (225, 226),
    "EchoNet": (112, 112),
    "tiny": (3, 5),
    "one pixel": (1, 1),
}


@dataclass(frozen=True)
class Model:
    """One model folder, as the product and as open_clip load it."""

    encoder: Encoder
    open_clip_model: Any
    open_clip_transform: Any


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Models by the name of their preprocessing; each is made once."""
    import_torchvision()
    import open_clip

    loaded: dict[str, Model] = {}

    def model_of(name: str) -> Model:
        if name not in loaded:
            config = {"model_cfg": small_vit_b_32(), "preprocess_cfg": PREPROCESSING[name]}
            folder = write_tiny_model(tmp_path_factory.mktemp("model"), config=config)
            model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
            request = ModelRequest(f"local-dir:{folder}", device="cpu")
            loaded[name] = Model(load_encoder(request), model.eval(), transform)
        return loaded[name]

    return model_of


def small_vit_b_32() -> dict[str, Any]:
    """ViT-B-32's own config, with one thin layer in place of twelve."""
    import_torchvision()
    import open_clip

    config = copy.deepcopy(open_clip.get_model_config("ViT-B-32"))
    assert config["vision_cfg"] == {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
    config["embed_dim"] = 16
    config["vision_cfg"] |= {"layers": 1, "width": 64}
    config["text_cfg"] |= {"layers": 1, "width": 16, "heads": 2}
    return config


def noise(height: int, width: int) -> Picture:
    """A picture in which every shift, filter and channel shows."""
    return np.random.default_rng(1000 * height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preprocessing", PREPROCESSING)
def test_pixels_equal_those_of_open_clips_transform(
    load: Callable[[str], Model], preprocessing: str, size: str
) -> None:
    model = load(preprocessing)
    picture = noise(*SIZES[size])
    steps = [type(step).__name__ for step in model.open_clip_transform.transforms]
    assert steps[-2:] == ["MaybeToTensor", "Normalize"]
    own = Image.fromarray(picture)
    for step in model.open_clip_transform.transforms[:-2]:
        own = step(own)
    pixels = prepare([picture], model.encoder.card.recipe.preprocess)[0]
    np.testing.assert_array_equal(pixels, np.asarray(own).transpose(2, 0, 1))


@pytest.mark.parametrize("preprocessing", PREPROCESSING)
def test_embeddings_equal_those_of_open_clips_transform_and_model(
    load: Callable[[str], Model], preprocessing: str
) -> None:
    import torch

    model = load(preprocessing)
    pictures = [noise(*size) for size in SIZES.values()]
    with torch.inference_mode():
        batch = torch.stack([model.open_clip_transform(Image.fromarray(picture)) for picture in pictures])
        expected = model.open_clip_model.encode_image(batch, normalize=True).numpy()
    found = model.encoder.encode_pixels(prepare(pictures, model.encoder.card.recipe.preprocess))
    assert expected.shape == (len(SIZES), 16)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    # and the pictures are far enough apart for that to mean something
    assert np.abs(expected[:, None] - expected[None]).max(axis=-1)[~np.eye(len(SIZES), dtype=bool)].min() > 1e-4


def test_the_preparations_differ_from_each_other(load: Callable[[str], Model]) -> None:
    pictures = [noise(480, 640)]
    names = [name for name in PREPROCESSING if not name.startswith("random")]
    prepared = [prepare(pictures, load(name).encoder.card.recipe.preprocess) for name in names]
    for i, mine in enumerate(prepared):
        for other in prepared[:i]:
            assert np.abs(mine.astype(int) - other).max() > 10


def test_the_whole_vit_b_32_is_prepared_as_the_small_one_here(load: Callable[[str], Model]) -> None:
    import open_clip
    import torch

    with torch.device("meta"):  # shapes only: no time and no memory for 150 million weights
        whole = open_clip.create_model("ViT-B-32", pretrained=None, device="meta")
    config = open_clip.get_model_preprocess_cfg(whole)
    assert config == open_clip.get_model_preprocess_cfg(load("ViT-B-32").open_clip_model)
    assert load("ViT-B-32").encoder.card.recipe.preprocess == PreprocessSpec(
        size=224,
        fit="resize-crop",
        resizer="pillow",
        interpolation="bicubic",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )
    assert config["size"] == (224, 224)
    assert (config["resize_mode"], config["interpolation"]) == ("shortest", "bicubic")
    assert (tuple(config["mean"]), tuple(config["std"])) == (
        open_clip.OPENAI_DATASET_MEAN,
        open_clip.OPENAI_DATASET_STD,
    )


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k", "datacomp_xl_s13b_b90k"])
def test_pretrained_vit_b_32s_ask_for_nothing_else(load: Callable[[str], Model], tag: str) -> None:
    import open_clip

    wanted = open_clip.get_pretrained_cfg("ViT-B-32", tag)
    spec = load("ViT-B-32").encoder.card.recipe.preprocess
    assert wanted["mean"] == spec.mean
    assert wanted["std"] == spec.std
    assert wanted["interpolation"] == spec.interpolation
    assert wanted["resize_mode"] == "shortest"


def test_the_squash_config_is_read_with_its_own_numbers(load: Callable[[str], Model]) -> None:
    assert load("squash bilinear").encoder.card.recipe.preprocess == PreprocessSpec(
        224, "squash", "pillow", "bilinear", mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7)
    )


def test_the_padding_config_is_read_with_its_colour(load: Callable[[str], Model]) -> None:
    spec = load("longest, grey padding").encoder.card.recipe.preprocess
    assert (spec.fit, spec.fill) == ("resize-pad", 114)
    pixels = prepare([noise(10, 20)], spec)[0]  # 112 rows of picture between 56 rows of padding
    assert (pixels[:, :56] == 114).all()
    assert (pixels[:, 168:] == 114).all()
    assert not (pixels[:, 56] == 114).all()
    assert not (pixels[:, 167] == 114).all()


def test_a_picture_that_open_clip_cannot_pad_is_refused(load: Callable[[str], Model]) -> None:
    picture = noise(1, 1000)
    with pytest.raises(ValueError, match="height and width must be > 0"):
        load("longest").open_clip_transform(Image.fromarray(picture))
    with pytest.raises(UnsupportedVideo, match="a picture of 1000x1 pixels has no side left at size 224"):
        prepare([picture], load("longest").encoder.card.recipe.preprocess)


def test_a_model_with_oblong_pictures_is_refused(tmp_path: Path) -> None:
    config = small_vit_b_32()
    config["vision_cfg"]["image_size"] = [224, 192]
    folder = write_tiny_model(tmp_path / "oblong", config={"model_cfg": config, "preprocess_cfg": {}})
    with pytest.raises(
        ModelUnavailable, match=r"^models with pictures that are not square \([(\[]224, 192[)\]]\) are not supported$"
    ):
        load_encoder(ModelRequest(f"local-dir:{folder}", device="cpu"))
