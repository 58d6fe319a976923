"""From a model's name to a ready encoder. No default and no silent fall-back: what was asked for, or an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from echosearch import files
from echosearch.encoders.encoder import Encoder
from echosearch.encoders.presets import OPEN_CLIP, Evidence, Preset, by_address, list_presets, usable
from echosearch.encoders.toy import ToyBackend
from echosearch.errors import BadOption, ModelUnavailable, UnknownEncoder, nearest
from echosearch.types import Answer, ModelRequest

CONFIG_NAME: Final = "open_clip_config.json"
WEIGHT_NAMES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SIDE_CAR_NAME: Final = "echosearch.json"
_IN_THE_PACKAGE: Final = ("echo_mini",)
"""Folders with weights that are installed with echosearch."""


def how_to_choose() -> str:
    """The models that can be named, and how to get each."""
    usable = [preset for preset in list_presets().values() if not preset.missing]
    lines = [f"  {preset.name:12} {preset.about} [{preset.weights}]" for preset in usable]
    return "\n".join(
        [
            *lines,
            "  open_clip:ARCH/TAG, hf-hub:ORG/NAME, local-dir:PATH   any open_clip model; presets are recognised",
            "Weights of a preset that lie in a folder: --model PRESET --weights local-dir:PATH",
        ]
    )


@dataclass(frozen=True, slots=True)
class PresetStatus(Answer):
    """A model that can be named, what it is for, where its weights are from, and in words whether they are here."""

    name: str
    about: str
    domain: str
    weights: str
    sampling: str
    status: str


def describe_presets() -> list[PresetStatus]:
    """Every preset, and whether its weights are here."""
    return [
        PresetStatus(
            name=preset.name,
            about=preset.about,
            domain=preset.domain,
            weights=preset.weights,
            sampling=str(preset.sampling),
            status=f"not supported yet: {preset.missing}" if preset.missing else _status(preset.weights),
        )
        for preset in list_presets().values()
    ]


def _status(weights: str) -> str:
    scheme, _, repository = weights.partition(":")
    if scheme == "package":
        return "in the package"
    if scheme != "hf-hub":
        return "needs no weights" if scheme == "none" else "named with --weights"
    from echosearch.encoders.hub import is_cached

    return "in the local cache" if is_cached(repository) else "to be downloaded when first used"


def _absolute(address: str | None) -> str | None:
    """An address whose path does not depend on where one stands: it is kept in the index's description."""
    scheme, _, rest = (address or "").partition(":")
    if scheme == "local-dir" and rest:
        return f"local-dir:{files.absolute(Path(rest))}"
    if scheme == "open_clip":
        architecture, _, tag = rest.partition("/")
        if Path(tag).is_file():
            return f"open_clip:{architecture}/{Path(tag).absolute()}"
    return address


def load_encoder(request: ModelRequest, decoder: str = "none") -> Encoder:
    """Load a model; `decoder` names what reads the videos, for provenance.

    UnknownEncoder, ModelUnavailable, MissingExtra or DeviceUnavailable say what is in the way.
    """
    request = replace(request, name=_absolute(request.name) or request.name, weights=_absolute(request.weights))
    asked = None if request.name.partition(":")[2] else _preset(request.name)
    if request.weights is not None and (asked is None or asked.name == "toy"):
        raise BadOption(f"--weights goes with a preset that has weights, not with {request.name}")
    if asked is not None and asked.name == "toy":
        return Encoder(ToyBackend(request.sampling, decoder))
    weights = request.weights or (request.name if asked is None else asked.weights)
    if weights == list_presets()[OPEN_CLIP].weights:
        raise BadOption(
            f"--model {OPEN_CLIP} goes with --weights: local-dir:PATH, hf-hub:ORG/NAME or open_clip:ARCH/TAG"
        )
    if (known := by_address(weights)) is not None:
        usable(known.name, f"{weights}: ")  # before anything is downloaded
    if request.preprocess is not None:
        asked = list_presets()[OPEN_CLIP]  # the preparation is told, so there is nothing to recognise
    scheme, _, rest = weights.partition(":")
    if scheme == "open_clip" and rest:
        from echosearch.encoders.openclip import load_named

        return load_named(request, rest, weights, decoder, asked)
    folder = _folder(weights)
    if (said := folder.side_car.get("preset")) is not None and _preset(said).weights == "none":
        raise UnknownEncoder(f"{weights} has weights, and {said}, which its echosearch.json names, has none")
    from echosearch.encoders.openclip import load_model

    files_ = frozenset(file.name for file in folder.path.iterdir())
    evidence = Evidence(weights, folder.config["model_cfg"], named=folder.side_car.get("preset"), files=files_)
    address, notice = f"local-dir:{folder.path}", folder.side_car.get("notice")
    return load_model(request, address, None, evidence, decoder, asked, notice)


def _folder(address: str) -> ModelFolder:
    scheme, _, rest = address.partition(":")
    if scheme == "local-dir" and rest:
        return local_folder(Path(rest))
    if scheme == "hf-hub" and rest:
        from echosearch.encoders.hub import hub_folder

        return hub_folder(rest)
    if scheme == "package" and rest in _IN_THE_PACKAGE:
        return local_folder(Path(__file__).parent / rest)
    raise UnknownEncoder(f"{address!r} is neither hf-hub:ORG/NAME nor local-dir:PATH")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with `open_clip_config.json` and weights; `side_car` is what its `echosearch.json` says, if any.

    The side-car may name a `preset`, whose preparation is then used, and a `notice` to show with every result.
    """

    path: Path
    config: dict[str, Any]
    side_car: dict[str, str]


def local_folder(path: Path) -> ModelFolder:
    """A model folder on this machine. ModelUnavailable says which part is missing or broken."""
    path = files.absolute(path)
    if not path.is_dir():
        raise ModelUnavailable(
            f"there is no folder {path}; local-dir: takes a folder with {CONFIG_NAME}. "
            "If a model lies elsewhere now, say where: --model local-dir:PATH"
        )
    if not (path / CONFIG_NAME).is_file():
        raise ModelUnavailable(f"{path} has no {CONFIG_NAME}")
    weights = [*path.glob("*.safetensors"), *path.glob("*.bin"), *path.glob("*.pth")]
    if not weights:
        raise ModelUnavailable(f"{path} has no weights; {WEIGHT_NAMES[0]} is expected there")
    config = read_json(path / CONFIG_NAME)
    if not isinstance(config.get("model_cfg"), dict):
        raise ModelUnavailable(f"{path / CONFIG_NAME} has no 'model_cfg'")
    side_car = read_json(path / SIDE_CAR_NAME) if (path / SIDE_CAR_NAME).is_file() else {}
    return ModelFolder(path, config, {key: str(value) for key, value in side_car.items()})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. ModelUnavailable where it is none."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelUnavailable(f"{path} is not a JSON object")
    return values


def _preset(name: str) -> Preset:
    if name in list_presets():
        return usable(name)
    near = nearest(name, list_presets(), "none has a name like it")
    raise UnknownEncoder(f"there is no model {name!r}; {near}\nmodels that can be named:\n{how_to_choose()}")
