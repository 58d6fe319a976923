"""From a model's name to a ready encoder. No default and no silent fall-back: what was asked for, or an error."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Final

from echosearch import files
from echosearch.encoders.encoder import Encoder
from echosearch.encoders.presets import Preset, list_presets
from echosearch.encoders.toy import ToyBackend
from echosearch.encoders.weights import ModelFolder, hub_folder, is_cached, local_folder
from echosearch.errors import BadOption, UnknownEncoder
from echosearch.types import ModelRequest

_IN_THE_PACKAGE: Final = ("echo_mini",)
"""Folders with weights that are installed with echosearch."""


def how_to_choose() -> str:
    """The models that can be named, and how to get each."""
    lines = [f"  {preset.name:12} {preset.about} [{preset.weights}]" for preset in list_presets().values()]
    return "\n".join(
        [
            *lines,
            "  open_clip:ARCH/TAG, hf-hub:ORG/NAME, local-dir:PATH   any open_clip model",
            "Weights of a preset that lie in a folder: --model PRESET --weights local-dir:PATH",
        ]
    )


def describe_presets() -> list[dict[str, str]]:
    """Name, purpose, domain, weights and whether those are here, of every preset."""
    return [
        {
            "name": preset.name,
            "about": preset.about,
            "domain": preset.domain,
            "weights": preset.weights,
            "status": _status(preset.weights),
            "sampling": str(preset.sampling),
        }
        for preset in list_presets().values()
    ]


def _status(weights: str) -> str:
    scheme, _, repository = weights.partition(":")
    if scheme == "package":
        return "in the package"
    if scheme != "hf-hub":
        return "needs no weights"
    return "in the local cache" if is_cached(repository) else "to be downloaded when first used"


def _absolute(address: str | None) -> str | None:
    """An address whose path does not depend on where one stands: it is kept in the index's manifest."""
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
    scheme, _, rest = request.name.partition(":")
    if not rest:
        preset = _preset(request.name)
        if preset.name == "toy":
            _refuse_weights(request)
            return Encoder(ToyBackend(request.sampling, decoder))
        weights = request.weights or preset.weights
        return _load_folder(request, _folder(weights), weights, decoder, preset)
    _refuse_weights(request)
    if scheme == "open_clip":
        from echosearch.encoders.openclip import load_named

        return load_named(request, rest, decoder)
    folder = _folder(request.name)
    side_preset = folder.side_car.get("preset")
    return _load_folder(
        request, folder, request.name, decoder, _preset(side_preset) if side_preset is not None else None
    )


def _load_folder(
    request: ModelRequest, folder: ModelFolder, weights: str, decoder: str, preset: Preset | None
) -> Encoder:
    from echosearch.encoders.openclip import load_folder

    return load_folder(request, folder, weights, decoder, preset)


def _folder(address: str) -> ModelFolder:
    scheme, _, rest = address.partition(":")
    if scheme == "local-dir" and rest:
        return local_folder(Path(rest))
    if scheme == "hf-hub" and rest:
        return hub_folder(rest)
    if scheme == "package" and rest in _IN_THE_PACKAGE:
        return local_folder(Path(__file__).parent / rest)
    raise UnknownEncoder(f"{address!r} is neither hf-hub:ORG/NAME nor local-dir:PATH")


def _preset(name: str) -> Preset:
    presets = list_presets()
    if name in presets:
        return presets[name]
    if name == "echo-clip-r":
        raise UnknownEncoder("echo-clip-r is not supported yet: its template tokenizer is still to come")
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownEncoder(f"there is no model {name!r}{hint}\nmodels that can be named:\n{how_to_choose()}")


def _refuse_weights(request: ModelRequest) -> None:
    if request.weights is not None:
        raise BadOption(f"--weights goes with a preset that has weights, not with {request.name}")
