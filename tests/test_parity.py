"""Preset echo-clip equals the published way, by an implementation of its own here: pixels, then embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import smooth_frames, write_video

from echosearch.encoders import list_presets, load_encoder
from echosearch.encoders.torchvision_import import import_torchvision
from echosearch.types import FrameSampling, ModelRequest, PreprocessSpec
from echosearch.video import prepare_video

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]

# The published model's (OpenAI's), for channels in the order in which it gets them.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PUBLISHED_FRAMES = range(0, 40, 2)
SAMPLING = FrameSampling.parse("0:40:2")
BAR = 0.99999


def preset_spec() -> PreprocessSpec:
    """As `load_encoder` makes it for EchoCLIP."""
    return PreprocessSpec(224, mean=MEAN, std=STD, **list_presets()["echo-clip"].preprocess)


MUTANTS: dict[str, Callable[[PreprocessSpec], PreprocessSpec]] = {
    "wrong channel order": lambda spec: replace(spec, channel_order="rgb"),
    "no zoom": lambda spec: replace(spec, zoom=0.0),
    "squash instead of crop": lambda spec: replace(spec, fit="squash", zoom=0.0),
    "area instead of bicubic": lambda spec: replace(spec, interpolation="area"),
    "bilinear instead of bicubic": lambda spec: replace(spec, interpolation="bilinear"),
    "Pillow's bicubic": lambda spec: replace(spec, resizer="pillow"),
}


# The published way, with nothing of the product: OpenCV decodes, slices crop, torch resizes


def published_pixels(path: Path, frame_numbers: range) -> Pixels:
    """Frames as the published example hands them to the model: (T, 3, 224, 224), channels in BGR."""
    import torch

    cropped = np.stack([published_crop(frame) for frame in decoded_bgr(path, frame_numbers)])
    batch = torch.from_numpy(cropped).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(
        batch, size=(224, 224), mode="bicubic", align_corners=False, antialias=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8).numpy()


def decoded_bgr(path: Path, frame_numbers: range) -> Iterator[Pixels]:
    import cv2

    video = cv2.VideoCapture(str(path))
    for number in range(frame_numbers.stop):
        there, frame = video.read()
        if not there:
            break
        if number in frame_numbers:
            yield frame
    video.release()


def published_crop(frame: Pixels) -> Pixels:
    height, width = frame.shape[:2]
    if width > height and (p := int(round((width - height) / 2))):  # noqa: RUF046  as published
        frame = frame[:, p:-p]
    elif height > width and (p := int(round((height - width) / 2))):  # noqa: RUF046
        frame = frame[p:-p]
    height, width = frame.shape[:2]
    rows, columns = round(int(height * 0.1)), round(int(width * 0.1))
    return frame[rows:-rows, columns:-columns]


def check_pixels(path: Path, spec: PreprocessSpec) -> tuple[int, float]:
    """Assert that the product's pixels are the published ones; greatest and mean difference in grey levels."""
    prepared = prepare_video(path, SAMPLING, spec)
    published = published_pixels(path, PUBLISHED_FRAMES)
    assert prepared.frame_numbers.tolist() == list(PUBLISHED_FRAMES)[: len(published)]
    difference = np.abs(prepared.pixels.astype(int) - published.astype(int))
    greatest, mean = int(difference.max()), float(difference.mean())
    assert greatest <= 1, f"pixels differ by {greatest} grey levels"
    assert mean < 1e-3, f"pixels differ by {mean} grey levels on average"
    return greatest, mean


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Colourful MJPG AVIs, named by width x height."""
    folder = tmp_path_factory.mktemp("generated")
    videos = {}
    for seed, (width, height) in enumerate(GENERATED_SIZES):
        frames = smooth_frames(41, height, width, seed)
        videos[f"{width}x{height}"] = write_video(folder / f"{width}x{height}.avi", frames)
    return videos


GENERATED_SIZES = [(112, 112), (114, 112), (115, 112), (117, 112), (112, 115), (112, 200), (200, 112), (640, 480)]


@pytest.mark.parametrize("number", range(10))
def test_pixels_of_a_real_video_are_the_published_ones(clips: list[Path], number: int) -> None:
    greatest, mean = check_pixels(clips[number], preset_spec())
    print(f"{clips[number].stem}: greatest {greatest}, mean {mean:.2e}")


@pytest.mark.parametrize("size", [f"{width}x{height}" for width, height in GENERATED_SIZES])
def test_pixels_of_a_generated_video_are_the_published_ones(generated: dict[str, Path], size: str) -> None:
    greatest, mean = check_pixels(generated[size], preset_spec())
    print(f"{size}: greatest {greatest}, mean {mean:.2e}")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_pixels_prepared_in_another_way_are_told_apart(generated: dict[str, Path], mutant: str) -> None:
    with pytest.raises(AssertionError, match=r"pixels differ by \d+ grey levels"):
        check_pixels(generated["640x480"], MUTANTS[mutant](preset_spec()))


# Embeddings, with the full-size twin

EMBEDDED_FRAMES = range(0, 40, 20)
COLOUR_DOPPLER = "SDX000055"


@pytest.fixture(scope="module")
def videos(clips: list[Path], generated: dict[str, Path]) -> dict[str, Path]:
    real = {path.stem: path for path in clips if path.stem in ("SDX000007", COLOUR_DOPPLER)}
    return {**real, "112x112": generated["112x112"], "115x112": generated["115x112"]}


@pytest.fixture(scope="module")
def embed(twin: Path) -> Callable[[PreprocessSpec, Path], Rows]:
    """Embed the frames of a file by the product, prepared by any spec."""
    encoder = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:{twin}", device="cpu"))
    assert encoder.card.recipe.preprocess == preset_spec()
    sampling = FrameSampling.parse("0:40:20")
    return lambda spec, path: encoder.encode_pixels(prepare_video(path, sampling, spec).pixels)


@pytest.fixture(scope="module")
def published(twin: Path, videos: dict[str, Path]) -> dict[str, Rows]:
    """Unit frame embeddings of the published pixels, by open_clip and torch alone."""
    import_torchvision()
    import open_clip
    import torch
    from safetensors.torch import load_file

    name = json.loads((twin / "open_clip_config.json").read_text())["model_cfg"]["vision_cfg"]["timm_model_name"]
    assert name == "convnext_base"
    model = open_clip.create_model("convnext_base", pretrained=None)
    model.load_state_dict(load_file(twin / "open_clip_model.safetensors"))
    model.eval()
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    rows = {}
    for title, path in videos.items():
        pixels = torch.from_numpy(published_pixels(path, EMBEDDED_FRAMES)).float() / 255
        with torch.inference_mode():
            found = model.encode_image((pixels - mean) / std).double().numpy()
        rows[title] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return rows


def check_embeddings(
    spec: PreprocessSpec,
    videos: dict[str, Path],
    embed: Callable[[PreprocessSpec, Path], Rows],
    published: dict[str, Rows],
) -> None:
    """Assert that every frame's embedding has a cosine of 0.99999 or more with the published one."""
    lowest = {}
    for title, path in videos.items():
        mine = embed(spec, path).astype(np.float64)
        assert mine.shape == published[title].shape == (2, 512)
        lowest[title] = float((mine * published[title]).sum(axis=1).min())
    told = ", ".join(f"{title} 1 - {1 - cosine:.2e}" for title, cosine in lowest.items())
    print(f"lowest cosine: {told}")
    assert min(lowest.values()) >= BAR, f"lowest cosine: {told}"


@pytest.mark.slow
def test_embeddings_of_frames_are_the_published_ones(
    videos: dict[str, Path], embed: Callable[[PreprocessSpec, Path], Rows], published: dict[str, Rows]
) -> None:
    check_embeddings(preset_spec(), videos, embed, published)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", list(MUTANTS)[:4])
def test_embeddings_of_frames_prepared_in_another_way_are_told_apart(
    mutant: str, videos: dict[str, Path], embed: Callable[[PreprocessSpec, Path], Rows], published: dict[str, Rows]
) -> None:
    for title, path in videos.items():
        with pytest.raises(AssertionError, match=rf"^lowest cosine: {title} 1 - "):
            check_embeddings(MUTANTS[mutant](preset_spec()), {title: path}, embed, published)
