"""open_clip models by folder, preset and name: open_clip's own numbers, or a sentence that says why not."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ROOT, TINY_CONFIG, write_tiny_model

from echosearch.encoders import Encoder, describe_presets, how_to_choose, list_presets, load_encoder
from echosearch.errors import (
    BadOption,
    DeviceUnavailable,
    EncoderFailed,
    MissingExtra,
    ModelUnavailable,
    UnknownEncoder,
)
from echosearch.types import FrameSampling, ModelRequest, Precision

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
PHRASES = ["SEVERE LV DILATION", "mild mitral regurgitation", "LV EJECTION FRACTION IS 55%. "]


def load(folder: Path, **options: Any) -> Encoder:
    return load_encoder(ModelRequest(f"local-dir:{folder}", **options))


def random_pixels(count: int, size: int = 32) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def texts(encoder: Encoder, phrases: list[str]) -> npt.NDArray[np.float32]:
    return np.stack([text.vector for text in encoder.encode_text(phrases)])


def tensors_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def copy_with(folder: Path, into: Path, config: dict[str, Any] | None = None, **changed: Any) -> Path:
    """The same model in another folder, with another config or with some tensors changed."""
    from safetensors.torch import save_file

    into.mkdir()
    save_file(tensors_of(folder) | changed, into / "open_clip_model.safetensors")
    (into / "open_clip_config.json").write_text(json.dumps(config or TINY_CONFIG))
    return into


def tiny_config(**parts: dict[str, Any]) -> dict[str, Any]:
    """The tiny config with values of `model_cfg`, `vision_cfg`, `text_cfg` or `preprocess_cfg` changed."""
    config: dict[str, Any] = deepcopy(TINY_CONFIG)
    for part, values in parts.items():
        (config["model_cfg"] if part in ("vision_cfg", "text_cfg") else config)[part].update(values)
    return config


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Encoder:
    return load(tiny_model)


# --- the numbers


def direct(folder: Path, pixels: npt.NDArray[np.uint8], phrases: list[str]) -> tuple[Any, Any]:
    """What open_clip itself gives, normalised by itself: frames and phrases."""
    import open_clip
    import torch

    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (OPENAI_MEAN, OPENAI_STD))
    with torch.no_grad():
        frames = model.encode_image((torch.from_numpy(pixels) / 255 - mean) / std, normalize=True)
        return frames.numpy(), model.encode_text(tokenizer(phrases), normalize=True).numpy()


def test_embeddings_are_open_clip_s_own(tiny_model: Path, tiny: Encoder) -> None:
    pixels = random_pixels(5)
    frames, phrases = direct(tiny_model, pixels, PHRASES)
    np.testing.assert_allclose(tiny.encode_pixels(pixels), frames, atol=1e-6)
    np.testing.assert_allclose(texts(tiny, PHRASES), phrases, atol=1e-6)
    assert np.abs(frames[0] - frames[1]).max() > 1e-3  # different pictures, different rows
    assert np.abs(phrases[0] - phrases[1]).max() > 1e-3


def test_a_batch_size_changes_nothing(tiny: Encoder) -> None:
    pixels = random_pixels(7)
    np.testing.assert_allclose(
        Encoder(tiny.backend, batch_frames=3).encode_pixels(pixels), tiny.encode_pixels(pixels), atol=1e-6
    )


def test_the_model_s_own_mean_and_std_are_used(tiny_model: Path, tmp_path: Path) -> None:
    config = tiny_config(preprocess_cfg={"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.1]})
    encoder = load(copy_with(tiny_model, tmp_path / "other", config))
    pixels = np.empty((1, 3, 32, 32), np.uint8)
    pixels[0] = np.array([255, 102, 51], np.uint8)[:, None, None]
    seen: list[Any] = []
    model = encoder.backend._model  # type: ignore[attr-defined]
    handle = model.visual.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    encoder.encode_pixels(pixels)
    handle.remove()
    # (1 - 0.5) / 0.25, (0.4 - 0.4) / 0.2, (0.2 - 0.3) / 0.1
    np.testing.assert_allclose(seen[0][0, :, 0, 0].numpy(), [2, 0, -1], atol=1e-6)
    np.testing.assert_allclose(seen[0][0].std(dim=(1, 2)).numpy(), 0, atol=1e-7)


def test_the_card_says_what_the_model_is(tiny_model: Path, tiny: Encoder) -> None:
    import torch

    card = tiny.card
    assert (card.name, card.weights) == (f"local-dir:{tiny_model}", f"local-dir:{tiny_model}")
    assert (card.dim, card.notice) == (16, None)
    assert card.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)  # CLIP starts at ln(1 / 0.07)
    spec = card.recipe.preprocess
    assert (spec.size, spec.fit, spec.resizer, spec.interpolation) == (32, "resize-crop", "pillow", "bicubic")
    assert (spec.mean, spec.std) == (OPENAI_MEAN, OPENAI_STD)
    assert (spec.channel_order, spec.zoom, spec.fill) == ("rgb", 0, 0)
    assert card.recipe.sampling == FrameSampling(0, 40, 2)
    assert (card.numerics.precision, card.numerics.device, card.numerics.torch) == ("fp32", "cpu", torch.__version__)
    assert load_encoder(ModelRequest(f"local-dir:{tiny_model}"), "decord 0.6").card.numerics.decoder == "decord 0.6"
    assert load(tiny_model, sampling=FrameSampling(count=8)).card.recipe.sampling == FrameSampling(count=8)


def test_the_logit_scale_is_the_exponential_of_the_tensor(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    changed = copy_with(tiny_model, tmp_path / "scaled", logit_scale=torch.tensor(math.log(50)))
    assert load(changed).card.logit_scale == pytest.approx(50, rel=1e-6)
    half = load(changed, precision="bf16")
    assert half.card.logit_scale == pytest.approx(50, rel=1e-6)  # read before the tensors were rounded


@pytest.mark.parametrize(
    ("values", "fit", "interpolation", "fill"),
    [
        ({"resize_mode": "squash"}, "squash", "bicubic", 0),
        ({"resize_mode": "longest", "fill_color": 114}, "resize-pad", "bicubic", 114),
        ({"resize_mode": "shortest", "interpolation": "bilinear"}, "resize-crop", "bilinear", 0),
        ({"interpolation": "random"}, "resize-crop", "bicubic", 0),  # random while training only
        ({}, "resize-crop", "bicubic", 0),
    ],
)
def test_the_preparation_is_the_config_s(
    tiny_model: Path, tmp_path: Path, values: dict[str, Any], fit: str, interpolation: str, fill: int
) -> None:
    spec = load(copy_with(tiny_model, tmp_path / "m", tiny_config(preprocess_cfg=values))).card.recipe.preprocess
    assert (spec.fit, spec.interpolation, spec.fill, spec.resizer) == (fit, interpolation, fill, "pillow")


# --- precision and device


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_the_cpu_and_says_so(tiny_model: Path, tiny: Encoder, precision: Precision) -> None:
    half = load(tiny_model, precision=precision, device="cpu")
    computed: list[str] = []
    model = half.backend._model  # type: ignore[attr-defined]
    for part in (model.visual, model.transformer):
        part.register_forward_hook(lambda _, __, given: computed.append(str(given.dtype)))
    pixels = random_pixels(5)
    for mine, exact in (
        (half.encode_pixels(pixels), tiny.encode_pixels(pixels)),
        (texts(half, PHRASES), texts(tiny, PHRASES)),
    ):
        cosines = (mine.astype(np.float64) * exact).sum(axis=1)
        assert cosines.min() > 0.999
    assert computed == ["torch.bfloat16" if precision == "bf16" else "torch.float16"] * 2
    assert half.card.numerics.precision == precision
    assert half.card.recipe.id == tiny.card.recipe.id  # numerics are no part of identity


def test_cuda_without_a_gpu_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnavailable, match="torch sees no CUDA device here; use --device cpu, or install a CUDA"):
        load(tiny_model, device="cuda")
    assert load(tiny_model, device="auto").card.numerics.device == "cpu"


@pytest.mark.parametrize("ask", ["image", "text"])
def test_a_full_gpu_is_the_encoder_s_failure(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
    import torch

    encoder = load(tiny_model)
    ask_encoder: dict[str, Callable[[], object]] = {
        "image": lambda: encoder.encode_pixels(random_pixels(3)),
        "text": lambda: encoder.encode_text(PHRASES),
    }

    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = encoder.backend._model  # type: ignore[attr-defined]
    monkeypatch.setattr(model, f"encode_{ask}", full)
    with pytest.raises(EncoderFailed, match="the GPU has no memory for a batch of 3"):
        ask_encoder[ask]()


# --- identity


def test_the_same_tensors_are_the_same_space_in_any_folder_and_file(
    tiny_model: Path, tiny: Encoder, tmp_path: Path
) -> None:
    import torch

    second = copy_with(tiny_model, tmp_path / "second")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(tiny_model / "open_clip_config.json", pickled)
    backwards = dict(reversed(tensors_of(tiny_model).items()))
    torch.save(backwards, pickled / "open_clip_pytorch_model.bin")
    trained = tmp_path / "trained"  # as a training run saves it: nested, names with "module."
    trained.mkdir()
    shutil.copy(tiny_model / "open_clip_config.json", trained)
    named = {f"module.{name}": tensor for name, tensor in tensors_of(tiny_model).items()}
    torch.save({"epoch": 3, "state_dict": named}, trained / "open_clip_pytorch_model.bin")

    for folder in (second, pickled, trained):
        encoder = load(folder)
        assert encoder.card.recipe.space == tiny.card.recipe.space
        assert encoder.card.recipe.id == tiny.card.recipe.id
        np.testing.assert_array_equal(texts(encoder, PHRASES), texts(tiny, PHRASES))


def test_the_digest_is_of_sorted_names_shapes_types_and_bytes(tiny_model: Path, tiny: Encoder) -> None:
    """Worked out from the file, without torch; were it to change, every index there is would refuse its model."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, values in sorted(load_file(tiny_model / "open_clip_model.safetensors").items()):
        assert values.dtype == np.float32
        digest.update(f"{name}\0{values.shape}\0torch.float32\0".encode() + values.tobytes())
    assert tiny.card.recipe.space.tensors_sha256 == digest.hexdigest()


def test_one_changed_number_is_another_space(tiny_model: Path, tiny: Encoder, tmp_path: Path) -> None:
    bias = tensors_of(tiny_model)["ln_final.bias"].clone()
    bias[0] += 1e-6
    other = load(copy_with(tiny_model, tmp_path / "other", **{"ln_final.bias": bias}))
    assert other.card.recipe.space.tensors_sha256 != tiny.card.recipe.space.tensors_sha256
    assert other.card.recipe.space.architecture == tiny.card.recipe.space.architecture
    assert other.card.recipe.space.id != tiny.card.recipe.space.id


def test_the_same_tensors_in_another_architecture_are_another_space(
    tiny_model: Path, tiny: Encoder, tmp_path: Path
) -> None:
    # Four heads of 4 instead of two of 8: the same shapes, other embeddings.
    other = load(copy_with(tiny_model, tmp_path / "heads", tiny_config(text_cfg={"heads": 4})))
    assert other.card.recipe.space.tensors_sha256 == tiny.card.recipe.space.tensors_sha256
    assert other.card.recipe.space.id != tiny.card.recipe.space.id
    assert np.abs(texts(other, PHRASES) - texts(tiny, PHRASES)).max() > 1e-5


def test_another_text_cleaning_is_another_space(tiny_model: Path, tiny: Encoder, tmp_path: Path) -> None:
    config = tiny_config(text_cfg={"tokenizer_kwargs": {"clean": "canonicalize"}})
    other = load(copy_with(tiny_model, tmp_path / "cleaned", config))
    assert tiny.card.recipe.space.text_cleaning == "clean_lower"
    assert other.card.recipe.space.text_cleaning == "clean_canonicalize"
    assert other.card.recipe.space.id != tiny.card.recipe.space.id


def test_another_preparation_is_the_same_space_but_another_recipe(
    tiny_model: Path, tiny: Encoder, tmp_path: Path
) -> None:
    other = load(copy_with(tiny_model, tmp_path / "m", tiny_config(preprocess_cfg={"resize_mode": "squash"})))
    assert other.card.recipe.space == tiny.card.recipe.space
    assert other.card.recipe.differences(tiny.card.recipe) == ["preprocess.fit squash here, resize-crop there"]


# --- weights that cannot be had


class Evil:
    """Unpickling this writes a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("how", ["torch.save", "bare pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tiny_model: Path, tmp_path: Path, how: str) -> None:
    import torch

    folder, witness = tmp_path / "evil", tmp_path / "the code ran"
    folder.mkdir()
    shutil.copy(tiny_model / "open_clip_config.json", folder)
    content = {"state_dict": tensors_of(tiny_model), "extra": Evil(witness)}
    if how == "torch.save":
        torch.save(content, folder / "open_clip_pytorch_model.bin")
    else:
        (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps({"extra": Evil(witness)}))
    with pytest.raises(
        ModelUnavailable, match=rf"open_clip cannot load local-dir:{folder}: its pickle is damaged, or "
    ):
        load(folder)
    assert not witness.exists()
    with contextlib.suppress(RuntimeError):  # torch runs the bare pickle, and then finds that it is none of its own
        torch.load(folder / "open_clip_pytorch_model.bin", weights_only=False)
    assert witness.exists(), "the file is harmless, so this test showed nothing"


def test_safetensors_are_preferred_and_a_pickle_beside_them_is_not_opened(
    tiny_model: Path, tiny: Encoder, tmp_path: Path
) -> None:
    folder = copy_with(tiny_model, tmp_path / "both")
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "the code ran")))
    assert load(folder).card.recipe.space == tiny.card.recipe.space
    assert not (tmp_path / "the code ran").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    sentence = f"there is no folder {tmp_path}/none; local-dir: takes a folder with open_clip_config.json"
    with pytest.raises(ModelUnavailable, match=re.escape(sentence)):
        load(tmp_path / "none")


def test_a_folder_without_a_config(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "open_clip_model.safetensors", tmp_path)
    with pytest.raises(ModelUnavailable, match=re.escape(f"{tmp_path} has no open_clip_config.json")):
        load(tmp_path)


def test_a_folder_without_weights_is_never_a_random_model(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "open_clip_config.json", tmp_path)
    sentence = f"{tmp_path} has no weights; open_clip_model.safetensors is expected there"
    with pytest.raises(ModelUnavailable, match=re.escape(sentence)):
        load(tmp_path)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("{not json", "open_clip_config.json cannot be read as JSON: Expecting property name"),
        ("", "open_clip_config.json cannot be read as JSON: Expecting value"),
        ("[1, 2]", "open_clip_config.json is not a JSON object"),
        ("{}", "open_clip_config.json has no 'model_cfg'"),
        ('{"model_cfg": "ViT-B-32"}', "open_clip_config.json has no 'model_cfg'"),
        ('{"model_cfg": {"embed_dim": 16}}', "open_clip cannot load .*'text_cfg'"),
        (json.dumps(tiny_config(vision_cfg={"colour": "red"})), "open_clip cannot load .*unexpected keyword.*'colour'"),
        (json.dumps(tiny_config(vision_cfg={"image_size": [32, 64]})), r"not square \(\[32, 64\]\) are not supported"),
        (
            json.dumps(tiny_config(preprocess_cfg={"resize_mode": "fold"})),
            "resize_mode is one of shortest, .*, not 'fold'",
        ),
        (
            json.dumps(tiny_config(preprocess_cfg={"interpolation": "x"})),
            "interpolation is one of bicubic, .*, not 'x'",
        ),
    ],
)
def test_a_config_that_cannot_be_used(tiny_model: Path, tmp_path: Path, config: str, sentence: str) -> None:
    shutil.copy(tiny_model / "open_clip_model.safetensors", tmp_path)
    (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(ModelUnavailable, match=sentence):
        load(tmp_path)


def test_weights_of_another_architecture_say_what_does_not_fit(tiny_model: Path, tmp_path: Path) -> None:
    config = tiny_config()
    config["model_cfg"]["embed_dim"] = 24
    folder = copy_with(tiny_model, tmp_path / "wide", config)
    with pytest.raises(ModelUnavailable, match=rf"open_clip cannot load local-dir:{folder}: .*size mismatch"):
        load(folder)


def test_weights_with_a_tensor_missing_are_not_filled_with_random_numbers(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = copy_with(tiny_model, tmp_path / "less")
    fewer = {name: tensor for name, tensor in tensors_of(tiny_model).items() if name != "ln_final.weight"}
    save_file(fewer, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelUnavailable, match=r'open_clip cannot load .*Missing key.*"ln_final\.weight"'):
        load(folder)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
@pytest.mark.parametrize("content", ["empty", "text", "truncated"])
def test_weights_that_are_damaged(tiny_model: Path, tmp_path: Path, name: str, content: str) -> None:
    import torch

    shutil.copy(tiny_model / "open_clip_config.json", tmp_path)
    whole = tmp_path / "whole"
    torch.save(tensors_of(tiny_model), whole)
    source = whole if name.endswith(".bin") else tiny_model / name
    data = {"empty": b"", "text": b"<html>log in first</html>", "truncated": source.read_bytes()[:100_000]}[content]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelUnavailable, match=rf"open_clip cannot load local-dir:{tmp_path}: \w"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "the file of weights is empty"),
        ({"state_dict": {}}, "the file of weights is empty"),
        ([1, 2], "'list' object has no attribute 'items'"),
        (3, "'int' object has no attribute 'items'"),
    ],
)
def test_a_pickle_that_holds_no_tensors(tiny_model: Path, tmp_path: Path, content: object, reason: str) -> None:
    import torch

    shutil.copy(tiny_model / "open_clip_config.json", tmp_path)
    torch.save(content, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match=rf"open_clip cannot load local-dir:{tmp_path}: {reason}"):
        load(tmp_path)


def test_a_tokenizer_that_needs_transformers_names_the_extra(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_with(tiny_model, tmp_path / "m", tiny_config(text_cfg={"hf_tokenizer_name": "org/tokenizer"}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    sentence = f"local-dir:{folder} brings a tokenizer that needs the package transformers: pip install "
    with pytest.raises(MissingExtra, match=re.escape(sentence + "'echosearch[transformers]'")):
        load(folder)


# --- names


def test_an_unknown_preset_offers_the_near_one_and_lists_all() -> None:
    with pytest.raises(UnknownEncoder, match="there is no model 'echo-clp'; did you mean echo-clip") as refused:
        load_encoder(ModelRequest("echo-clp"))
    assert how_to_choose() in str(refused.value)
    with pytest.raises(
        UnknownEncoder,
        match=r"there is no model 'zzzz'; none has a name like it\nmodels that can be named:\n  echo-clip  ",
    ):
        load_encoder(ModelRequest("zzzz"))


def test_an_unknown_scheme_is_no_model() -> None:
    with pytest.raises(UnknownEncoder, match="'http://x' is neither hf-hub:ORG/NAME nor local-dir:PATH"):
        load_encoder(ModelRequest("http://x"))
    with pytest.raises(UnknownEncoder, match="'/models/mine' is neither hf-hub:ORG/NAME nor local-dir:PATH"):
        load_encoder(ModelRequest("echo-clip", weights="/models/mine"))


def test_weights_go_with_a_preset_only(tiny_model: Path) -> None:
    address = f"local-dir:{tiny_model}"
    for name in ("open_clip:ViT-B-32/openai", address, "hf-hub:org/name"):
        with pytest.raises(BadOption, match=f"--weights goes with a preset that has weights, not with {name}"):
            load_encoder(ModelRequest(name, weights=address))


def test_an_unknown_architecture_offers_near_ones() -> None:
    with pytest.raises(UnknownEncoder, match=r"open_clip has no architecture 'ViT-B-33'; did you mean .*ViT-B-32"):
        load_encoder(ModelRequest("open_clip:ViT-B-33/openai"))
    with pytest.raises(UnknownEncoder, match=r"open_clip has no architecture 'zzzz'; there are .* and [0-9]+ more$"):
        load_encoder(ModelRequest("open_clip:zzzz/openai"))


def test_an_architecture_without_a_tag_lists_the_tags() -> None:
    sentence = r"open_clip:ViT-B-32 needs weights: open_clip:ViT-B-32/TAG with one of .*laion2b_s34b_b79k"
    with pytest.raises(UnknownEncoder, match=sentence):
        load_encoder(ModelRequest("open_clip:ViT-B-32"))
    sentence = "open_clip:convnext_tiny needs weights: .* with one of -, or with the path of a checkpoint file"
    with pytest.raises(UnknownEncoder, match=sentence):
        load_encoder(ModelRequest("open_clip:convnext_tiny"))


def test_an_unknown_tag_offers_near_ones() -> None:
    with pytest.raises(
        UnknownEncoder,
        match=r"open_clip:ViT-B-32 has no weights 'laion2b_s34b_b97k'; did you mean laion2b_s34b_b79k",
    ):
        load_encoder(ModelRequest("open_clip:ViT-B-32/laion2b_s34b_b97k"))


def test_an_architecture_with_a_checkpoint_file_is_the_same_model_as_its_folder(
    tiny_model: Path, tiny: Encoder
) -> None:
    name = f"open_clip:tiny-{tiny_model.name}/{tiny_model}/open_clip_model.safetensors"  # known since it was written
    encoder = load_encoder(ModelRequest(name))
    assert encoder.card.recipe == tiny.card.recipe
    assert (encoder.card.name, encoder.card.weights) == (name, name)
    np.testing.assert_array_equal(texts(encoder, PHRASES), texts(tiny, PHRASES))


@pytest.mark.usefixtures("any_architecture")
def test_a_relative_address_is_kept_as_an_absolute_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_model.parent)
    here = f"local-dir:{tiny_model}"
    plain = load_encoder(ModelRequest(f"local-dir:{tiny_model.name}")).card
    assert (plain.name, plain.weights) == (here, here)
    preset = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:./{tiny_model.name}")).card
    assert (preset.name, preset.weights) == ("echo-clip", here)
    file = f"{tiny_model.name}/open_clip_model.safetensors"
    named = load_encoder(ModelRequest(f"open_clip:tiny-{tiny_model.name}/{file}")).card
    assert named.weights == f"open_clip:tiny-{tiny_model.name}/{tiny_model}/open_clip_model.safetensors"


def test_loading_says_nothing_of_its_own(
    tiny_model: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    load(tiny_model)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.root.manager.disable == 0  # and the user's own logging works as before


# --- a text tower that is not its tokenizer's


@pytest.mark.parametrize("size", [1000, 49407, 50000])
def test_a_text_tower_of_another_vocabulary_is_refused_at_load(tmp_path: Path, size: int) -> None:
    folder = write_tiny_model(tmp_path / f"of{size}", config=tiny_config(text_cfg={"vocab_size": size}))
    sentence = (
        rf"^local-dir:{folder}: its text tower has {size} tokens and a context of 77, and its tokenizer, "
        r"SimpleTokenizer, 49408 and 77: these weights want another tokenizer$"
    )
    with pytest.raises(ModelUnavailable, match=sentence):
        load(folder)


def test_a_text_tower_of_another_context_is_refused_or_gets_one_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    folder = write_tiny_model(tmp_path / "short", config=tiny_config(text_cfg={"context_length": 20}))
    assert load(folder).encode_text(["mild " * 30])[0].cut != ""
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: open_clip.SimpleTokenizer(context_length=77))
    with pytest.raises(ModelUnavailable, match=r"text tower has 49408 tokens and a context of 20, .* 49408 and 77"):
        load(folder)


# --- presets and the side-car


@pytest.mark.usefixtures("any_architecture")
def test_a_preset_s_weights_may_lie_in_a_folder(tiny_model: Path, tiny: Encoder) -> None:
    card = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:{tiny_model}")).card
    assert (card.name, card.weights, card.notice) == ("echo-clip", f"local-dir:{tiny_model}", None)
    assert card.recipe.space == tiny.card.recipe.space
    spec = card.recipe.preprocess
    assert (spec.fit, spec.resizer, spec.interpolation) == ("crop-resize", "opencv", "bicubic")
    assert (spec.zoom, spec.channel_order, spec.size) == (0.1, "bgr", 32)
    assert (spec.mean, spec.std) == (OPENAI_MEAN, OPENAI_STD)
    assert card.recipe.sampling == FrameSampling(0, 40, 2)


@pytest.mark.usefixtures("any_architecture")
def test_a_side_car_names_the_preset_and_a_notice(tiny_model: Path, tmp_path: Path) -> None:
    folder = copy_with(tiny_model, tmp_path / "twin")
    (folder / "echosearch.json").write_text(json.dumps({"preset": "whyxrayclip", "notice": "The weights are random."}))
    beside = load(folder).card
    assert beside.notice == "The weights are random."
    assert beside.recipe.sampling == FrameSampling()
    assert beside.recipe.preprocess.fit == "resize-crop"
    assert (beside.name, beside.weights) == ("whyxrayclip", f"local-dir:{folder}")
    assert beside.recognised == "whyxrayclip by its echosearch.json"

    (folder / "echosearch.json").write_text(json.dumps({"preset": "echo-clip"}))
    echo = load(folder).card
    by_name = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:{tiny_model}")).card
    assert echo.notice is None
    assert echo.recipe == by_name.recipe
    assert load(folder, sampling=FrameSampling(count=3)).card.recipe.sampling == FrameSampling(count=3)


@pytest.mark.usefixtures("any_architecture")
def test_a_notice_in_the_folder_is_shown_for_the_preset_too(tiny_model: Path, tmp_path: Path) -> None:
    folder = copy_with(tiny_model, tmp_path / "twin")
    (folder / "echosearch.json").write_text(json.dumps({"preset": "echo-clip", "notice": "The weights are random."}))
    card = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:{folder}")).card
    assert card.notice == "The weights are random."


@pytest.mark.parametrize(
    ("side_car", "error", "sentence"),
    [
        ('{"preset": "echo-clop"}', UnknownEncoder, r"there is no model 'echo-clop'; did you mean echo-clip"),
        ("{", ModelUnavailable, "echosearch.json cannot be read as JSON"),
        ("[]", ModelUnavailable, "echosearch.json is not a JSON object"),
    ],
)
def test_a_side_car_that_cannot_be_used(
    tiny_model: Path, tmp_path: Path, side_car: str, error: type[Exception], sentence: str
) -> None:
    folder = copy_with(tiny_model, tmp_path / "twin")
    (folder / "echosearch.json").write_text(side_car)
    with pytest.raises(error, match=sentence):
        load(folder)


def test_every_preset_loads_and_shows_what_it_is_for() -> None:
    presets = list_presets()
    folder = ROOT / "echosearch" / "encoders" / "known_models"
    files = sorted(folder.glob("*.json"), key=lambda file: file.stem)
    assert [json.loads(file.read_text())["name"] for file in files] == [file.stem for file in files] == sorted(presets)
    assert list(presets) == sorted(presets)
    for described in describe_presets():
        preset = presets[described.name]
        assert described.about == preset.about != ""
        assert described.domain == preset.domain != ""
        assert described.weights == preset.weights
        assert re.fullmatch(r"none|any|hf-hub:[\w-]+/[\w-]+|package:\w+", preset.weights)
        assert FrameSampling.parse(described.sampling) == preset.sampling
        statuses = {
            "none": ("needs no weights",),
            "any": ("named with --weights",),
            "package": ("in the package",),
            "hf-hub": ("in the local cache", "to be downloaded when first used"),
        }
        missing = f"not supported yet: {preset.missing}"
        assert described.status in (statuses[preset.weights.partition(":")[0]] if not preset.missing else [missing])
        line = f"  {preset.name:12} {preset.about} [{preset.weights}]"
        assert (line in how_to_choose().splitlines()) is not bool(preset.missing)
    assert [name for name, preset in presets.items() if preset.missing] == ["echo-clip-r"]
    assert presets["echo-clip"].preprocess == {
        "fit": "crop-resize",
        "resizer": "opencv",
        "interpolation": "bicubic",
        "zoom": 0.1,
        "channel_order": "bgr",
    }
    assert presets["whyxrayclip"].preprocess == {}
    assert presets["echo-mini"].preprocess == {}


# --- the context


@cache
def tokenizer() -> Any:
    import open_clip

    return open_clip.SimpleTokenizer()


def bpe_tokens(phrase: str) -> int:
    """How many tokens a phrase has without a context, by open_clip's tokenizer."""
    return len(tokenizer().encode(phrase))


@pytest.mark.parametrize("extra", ["", " ", "."])
def test_a_phrase_of_75_tokens_fits_and_one_of_76_does_not(tiny: Encoder, extra: str) -> None:
    fits = " ".join(["valve"] * 74 + ["mild"]) + extra if extra != "." else " ".join(["valve"] * 74) + "."
    assert bpe_tokens(fits) == 75  # 77 with the start and the end
    assert tiny.encode_text([fits])[0].cut == ""
    longer = "severe " + fits
    assert bpe_tokens(longer) == 76
    assert tiny.encode_text([longer])[0].cut == {"": "mild", " ": "mild", ".": "valve."}[extra]


def test_the_words_that_do_not_fit_are_named(tiny: Encoder) -> None:
    long = (
        "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 55%. "
        "ECHO DENSITY IN RIGHT VENTRICLE SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. "
    ) * 4
    words = long.split()
    # Independently of the product: the longest run of words whose own tokens number at most 75.
    held = max(count for count in range(len(words) + 1) if bpe_tokens(" ".join(words[:count])) <= 75)
    assert 0 < held < len(words)
    (text,) = tiny.encode_text([long])
    assert text.cut == " ".join(words[held:])


def test_a_phrase_of_one_endless_word_is_cut_whole(tiny: Encoder) -> None:
    word = "xqzj" * 60
    assert bpe_tokens(word) > 75
    assert tiny.encode_text([word])[0].cut == word
    assert tiny.encode_text([f"mild {word} severe"])[0].cut == f"{word} severe"


def test_what_was_cut_has_no_influence(tiny: Encoder) -> None:
    base = " ".join(["valve"] * 75)
    rows = texts(tiny, [base + " mild", base + " severe stenosis"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_smaller_context_is_the_model_s_own(tmp_path: Path) -> None:
    encoder = load(write_tiny_model(tmp_path / "short", config=tiny_config(text_cfg={"context_length": 16})))
    fits = " ".join(["valve"] * 14)
    assert encoder.encode_text([fits])[0].cut == ""
    assert encoder.encode_text([fits + " mild"])[0].cut == "mild"


# --- what is not imported


@pytest.mark.parametrize(
    "code",
    [
        "import echosearch.encoders",
        "from echosearch.encoders import load_encoder; from echosearch.types import ModelRequest; "
        "load_encoder(ModelRequest('toy')).encode_text(['red'])",
        "from echosearch.encoders import how_to_choose; how_to_choose()",
        "import echosearch.index.description",
    ],
)
def test_nothing_imports_torch_before_a_model_that_needs_it_is_loaded(code: str) -> None:
    show = "import sys; print(sorted({'torch', 'torchvision', 'open_clip', 'huggingface_hub'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {show}"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


# --- the real architecture


@pytest.mark.slow
def test_the_full_size_twin_is_open_clip_s_own_model(twin: Path) -> None:
    encoder = load(twin)
    assert encoder.card.dim == 512
    assert encoder.card.recipe.preprocess.size == 224
    assert (encoder.card.recipe.preprocess.fit, encoder.card.recipe.preprocess.zoom) == ("crop-resize", 0.1)
    assert encoder.card.notice is not None
    assert "The weights are random" in encoder.card.notice
    pixels = random_pixels(2, 224)
    frames, phrases = direct(twin, pixels, PHRASES)
    np.testing.assert_allclose(texts(encoder, PHRASES), phrases, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_pixels(pixels), frames, atol=1e-6)
    half = load(twin, precision="bf16")
    assert (half.encode_pixels(pixels).astype(np.float64) * frames).sum(axis=1).min() > 0.999
    assert (texts(half, PHRASES).astype(np.float64) * phrases).sum(axis=1).min() > 0.999
