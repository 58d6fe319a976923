"""What the tests share: media made on the spot by PyAV, a tiny model, the twin, the real clips where they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

settings.register_profile("tests", deadline=None)  # how long a machine takes says nothing of a fault
settings.load_profile("tests")

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared" / "clips"
sys.path.insert(0, str(ROOT / "scripts"))

Frames = npt.NDArray[np.uint8]

TINY_CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"resize_mode": "shortest"},
}
"""A CLIP that loads in a moment and runs the real open_clip code."""


def write_video(path: Path, frames: Frames, fps: float = 30, codec: str = "mjpeg", pix_fmt: str = "yuvj444p") -> Path:
    """Write RGB frames (T, H, W, 3) with PyAV, which unlike OpenCV keeps odd sizes."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def smooth_frames(count: int, height: int, width: int, seed: int = 0) -> Frames:
    """Frames that compress well and differ from each other, in colour."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in coarse])


def plain_frames(count: int, colour: tuple[int, int, int], size: int = 64) -> Frames:
    """Frames of one colour."""
    return np.tile(np.array(colour, np.uint8), (count, size, size, 1))


def write_tiny_model(folder: Path, seed: int = 0, config: dict[str, object] | None = None) -> Path:
    """A folder for `local-dir:` with the tiny model (safetensors), random weights."""
    from echosearch.encoders.torchvision_import import import_torchvision

    import_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = config or TINY_CONFIG
    name = f"tiny-{folder.name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(config["model_cfg"]))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(seed)
    model = open_clip.create_model(name, pretrained=None)
    (folder / f"{name}.json").unlink()
    tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a folder."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def know_presets_by(monkeypatch: pytest.MonkeyPatch, **architecture: object) -> None:
    """Presets are known by this architecture from now on, so that the tiny model can stand for them."""
    from echosearch.encoders import list_presets

    for name in ("echo-clip", "echo-clip-r", "whyxrayclip"):
        preset = replace(list_presets()[name], architecture=architecture)
        monkeypatch.setitem(list_presets(), name, preset)


@pytest.fixture
def any_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every preset may have any architecture, and none is known by it."""
    know_presets_by(monkeypatch)


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets have the architecture of the tiny model."""
    know_presets_by(monkeypatch, **{"embed_dim": 16, "vision_cfg.image_size": 32, "text_cfg.vocab_size": 49408})


@pytest.fixture(scope="session")
def twin() -> Path:
    """The full-size random twin of EchoCLIP, made once and kept in .cache (600 MB)."""
    from make_twin import make_twin

    folder = ROOT / ".cache" / "echo-clip-twin"
    if not (folder / "echosearch.json").is_file():
        make_twin(folder)
    return folder


@pytest.fixture(scope="session")
def clips() -> list[Path]:
    """The ten real videos beside the project."""
    found = sorted(CLIPS.glob("*.mp4"))
    if not found:
        pytest.skip(f"the real videos are not here ({CLIPS}); they are not part of the project")
    return found


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A folder with red.avi, green.avi, blue.avi: four frames each, 64x64, 19 fps."""
    for name, colour in (("red", (220, 20, 20)), ("green", (20, 220, 20)), ("blue", (20, 20, 220))):
        write_video(tmp_path / "colours" / f"{name}.avi", plain_frames(4, colour), fps=19)
    return tmp_path / "colours"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Run a command of the command line in this process: exit code, standard output, standard error."""
    import contextlib
    import io

    from echosearch.cli import main

    monkeypatch.delenv("ECHOSEARCH_INDEX", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as left,
        ):
            main([str(argument) for argument in arguments])
        return int(left.value.code or 0), out.getvalue(), err.getvalue()

    return call
