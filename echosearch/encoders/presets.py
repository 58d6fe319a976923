"""Known models as data, one small JSON file each in `known_models/`, and which of them some weights are.

That is told by what weights are, not by how they were named. Knows no model code, no torch and no folder of weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

from echosearch.errors import ModelUnavailable, UnknownEncoder
from echosearch.types import FrameSampling, Recipe

OPEN_CLIP: Final = "open_clip"
"""The preset of a model that is none of the others: prepared as its config and open_clip say."""
_BESIDE: Final = {"template_vocab.txt": "echo-clip-r"}
"""Files that lie beside the weights of one preset only."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A known model. `preprocess` overrides parts of the model's own transform, so it may be empty.

    `views` are those that it is made for (none given: not said), `kinds` whether for cines (video) or stills.
    `measured` says how well it does a built-in task, and by what: of the view task it is swept at ingest.
    Its weights are known by `architecture`, which is parts of their model config, and where they were seen by
    `tensors_sha256` (of fp32 tensors, see `Space`). `missing` says why it cannot be used yet.
    """

    name: str
    weights: str
    about: str
    domain: str
    sampling: FrameSampling
    preprocess: dict[str, Any] = field(default_factory=dict)
    notice: str | None = None
    views: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("video",)
    measured: dict[str, Any] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    tensors_sha256: tuple[str, ...] = ()
    missing: str | None = None


@cache
def list_presets() -> dict[str, Preset]:
    """All presets by name, in alphabetical order."""
    presets = {}
    for file in resources.files(__package__).joinpath("known_models").iterdir():
        if file.name.endswith(".json"):
            values = json.loads(file.read_text("utf-8"))
            presets[values["name"]] = Preset(
                **values
                | {
                    "sampling": FrameSampling.parse(values["sampling"]),
                    "views": tuple(values.get("views", ())),
                    "kinds": tuple(values.get("kinds", ("video",))),
                    "tensors_sha256": tuple(values.get("tensors_sha256", ())),
                }
            )
    return dict(sorted(presets.items()))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of weights; `named` is the preset that the folder's `echosearch.json` names, `files` its files."""

    address: str
    config: Mapping[str, Any]
    tensors_sha256: str = ""
    named: str | None = None
    files: frozenset[str] = frozenset()


def recognise(evidence: Evidence, asked: str | None = None) -> tuple[Preset, str]:
    """The preset that weights are, and by what they are known; `asked` is the one that the user named, if any.

    UnknownEncoder where two are claimed, where it may be one or not, or where it cannot be used yet;
    ModelUnavailable where the weights are not those of the preset that is claimed.
    """
    presets, claims, where = list_presets(), _claims(evidence), evidence.address
    for name, why in claims.items():
        usable(name, f"{where} is {name} by {why}; ")
    if asked is not None:
        claims = {OPEN_CLIP: "its name"} if asked == OPEN_CLIP else claims | {asked: "its name"}
    if len(claims) > 1:
        told = ", and ".join(f"{name} by {why}" for name, why in claims.items())
        raise UnknownEncoder(f"{where} is {told}: name the right model, or fix the files beside the weights")
    other = f"prepared as open_clip does it, --model {OPEN_CLIP} --weights {where}"
    for name, why in claims.items():
        if differences := _differences(presets[name], evidence):
            told = "; ".join(differences)
            raise ModelUnavailable(f"{where} is {name} by {why}, but {told}. It may be another model: {other}")
        return presets[name], why
    if may_be := [preset for preset in _candidates(evidence) if preset.preprocess or preset.missing]:
        first = may_be[0].name
        names = " or ".join(f"{each.name}{' (not supported yet)' if each.missing else ''}" for each in may_be)
        raise UnknownEncoder(
            f"is {where} {names}, or another model? It has their architecture, and they need their own "
            f"preparation. Say which: --model {first} --weights {where}, or, {other}; or in an echosearch.json beside "
            f'the weights: {{"preset": "{first}"}}'
        )
    return presets[OPEN_CLIP], "being none of the others"


def usable(name: str, why: str = "") -> Preset:
    """A preset by its name. UnknownEncoder where it cannot be used yet."""
    if (preset := list_presets()[name]).missing:
        raise UnknownEncoder(f"{why}{name} is not supported yet: {preset.missing}")
    return preset


def by_address(address: str) -> Preset | None:
    """The preset whose repository an address is, or a copy of that in the hub's own cache."""
    if cached := re.search(r"[/\\]models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]", address):
        address = f"hf-hub:{cached[1]}/{cached[2]}"
    return next((each for each in list_presets().values() if each.weights.casefold() == address.casefold()), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """With which preset an index was made, what in it is not as published, and what is to be said of that."""

    preset: Preset | None = None
    differences: tuple[str, ...] = ()
    note: str | None = None

    @classmethod
    def of(cls, model: str, weights: str, recipe: Recipe) -> Standing:
        """That of an index, by its model's name and address and by its recipe."""
        presets, config, has = list_presets(), recipe.space.architecture, asdict(recipe.preprocess)
        evidence = Evidence(weights, json.loads(config if config[:1] == "{" else "{}"), recipe.space.tensors_sha256)
        known = [presets[name] for name in ([model] if model in presets else _claims(evidence))]
        for preset in known or [each for each in _candidates(evidence) if each.preprocess]:
            wrong = _differences(preset, evidence)
            wrong += [f"{key} {has[key]}, not {value}" for key, value in preset.preprocess.items() if has[key] != value]
            # Nobody's preparation is a preset's own by chance: somebody had said that it is that one.
            sure, note = bool(known) or not wrong, None
            is_one = f"this index's model {'is' if known else 'may be'} {preset.name}, and"
            if preset.missing:
                note = f"{is_one} {preset.missing}: its scores for phrases mean nothing"
            elif wrong:
                note = (
                    f"{is_one} was not prepared as published ({'; '.join(wrong)}), so its scores differ; that "
                    f"stays. For published scores make another index: echosearch ingest VIDEOS --index NEW --model "
                    f"{preset.name}"
                )
            other = [] if recipe.sampling == preset.sampling else [f"frames {recipe.sampling}, not {preset.sampling}"]
            return cls(preset if sure else None, (*wrong, *other), note)
        return cls()

    @property
    def published(self) -> str | None:
        """The preset whose published figures were made in this very way, if any."""
        return self.preset.name if self.preset and not self.differences else None


def _claims(evidence: Evidence) -> dict[str, str]:
    """All presets that something says the weights are, and what says it."""
    address = by_address(evidence.address)
    return (
        {_BESIDE[name]: f"the {name} beside it" for name in evidence.files & _BESIDE.keys()}
        | ({evidence.named: "its echosearch.json"} if evidence.named else {})
        | ({address.name: "its address"} if address else {})
        | {n: "its tensors" for n, each in list_presets().items() if evidence.tensors_sha256 in each.tensors_sha256}
    )


def _candidates(evidence: Evidence) -> list[Preset]:
    """Presets that weights may be for all that is known; a tag that open_clip knows is none of them."""
    if re.fullmatch(r"open_clip:[^/]+/[^/\\]+", evidence.address):
        return []
    return [each for each in list_presets().values() if each.architecture and not _differences(each, evidence)]


def _differences(preset: Preset, evidence: Evidence) -> list[str]:
    """What of the weights is not as the preset has it, in words; what a config leaves out is as usual, so the same."""
    told = dict(evidence.config)
    for part in ("vision_cfg", "text_cfg"):
        told |= {f"{part}.{key}": value for key, value in (told.get(part) or {}).items()}
    tower = str(told.get("vision_cfg.timm_model_name") or "").rpartition("/")[2].partition(".")[0]
    told["vision_cfg.timm_model_name"] = tower or None
    if isinstance(size := told.get("vision_cfg.image_size"), list | tuple):
        told["vision_cfg.image_size"] = size[0]
    told = preset.architecture | told
    wrong = [f"{key} {told[key]}, not {value}" for key, value in preset.architecture.items() if told[key] != value]
    is_seen = not preset.tensors_sha256 or evidence.tensors_sha256 in preset.tensors_sha256
    return wrong if is_seen else [*wrong, "other tensors"]
