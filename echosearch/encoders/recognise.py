"""Which preset are these weights? Told by what they are, not by how they were named. Knows no file and no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from echosearch.encoders.presets import Preset, list_presets
from echosearch.errors import ModelUnavailable, UnknownEncoder
from echosearch.types import Recipe

OPEN_CLIP: Final = "open_clip"
"""The preset of a model that is none of the others: prepared as its config and open_clip say."""
_BESIDE: Final = {"template_vocab.txt": "echo-clip-r"}
"""Files that lie beside the weights of one preset only."""
_DEFAULTS: Final = {
    "vision_cfg.image_size": 224, "vision_cfg.layers": 12, "vision_cfg.width": 768, "vision_cfg.patch_size": 16,
    "text_cfg.context_length": 77, "text_cfg.vocab_size": 49408,
}  # fmt: skip
"""What open_clip takes where a config says nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of weights: address, model config, digest of the tensors, and what lies beside them.

    `named` is the preset that the folder's `echosearch.json` names, `files` the names of its files.
    """

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
        refuse_missing(presets[name], f"{where} is {name} by {why}; ")
    if asked is not None:
        claims = {OPEN_CLIP: "its name"} if asked == OPEN_CLIP else claims | {asked: "its name"}
    if len(claims) > 1:
        told = ", and ".join(f"{name} by {why}" for name, why in claims.items())
        raise UnknownEncoder(f"{where} is {told}: name the right model, or mend what lies beside the weights")
    other = f"prepared as open_clip does it, --model {OPEN_CLIP} --weights {where}"
    for name, why in claims.items():
        if differences := _differences(presets[name], evidence):
            told = "; ".join(differences)
            raise ModelUnavailable(f"{where} is {name} by {why}, but {told}. It may be another model: {other}")
        return presets[name], why
    if may_be := [preset for preset in _candidates(evidence) if preset.preprocess or preset.missing]:
        names, first = " or ".join(preset.name for preset in may_be), may_be[0].name
        raise UnknownEncoder(
            f"is {where} {names}, or another model? It has their architecture, and they are prepared in another way "
            f"than others. Say which: --model {first} --weights {where}, or, {other}; or in an echosearch.json beside "
            f'the weights: {{"preset": "{first}"}}'
        )
    return presets[OPEN_CLIP], "being none of the others"


def refuse_missing(preset: Preset | None, why: str = "") -> None:
    """UnknownEncoder where a preset cannot be used yet."""
    if preset is not None and preset.missing:
        raise UnknownEncoder(f"{why}{preset.name} is not supported yet: {preset.missing}")


def by_address(address: str) -> Preset | None:
    """The preset whose repository an address is, or a copy of that in the hub's own cache."""
    if cached := re.search(r"[/\\]models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]", address):
        address = f"hf-hub:{cached[1]}/{cached[2]}"
    return next((each for each in list_presets().values() if each.weights.casefold() == address.casefold()), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an index stands to the presets: which one made it, or may have made it, and what in it is not as published.

    `prepared` are differences of model and preparation, `sampled` is that of the frames.
    """

    preset: Preset | None = None
    may_be: Preset | None = None
    prepared: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, weights: str, recipe: Recipe) -> Standing:
        """That of an index, by its model's name and address and by its recipe."""
        presets, config = list_presets(), recipe.space.architecture
        evidence = Evidence(weights, json.loads(config if config[:1] == "{" else "{}"), recipe.space.tensors_sha256)
        known = [presets[name] for name in ([model] if model in presets else _claims(evidence))]
        for preset in known or [each for each in _candidates(evidence) if each.preprocess]:
            has = asdict(recipe.preprocess)
            others = [f"{key} {has[key]}, not {value}" for key, value in preset.preprocess.items() if has[key] != value]
            prepared = (*_differences(preset, evidence), *others)
            if not known and prepared:
                return cls(None, preset, prepared)
            # Nobody's preparation is a preset's own by chance: somebody had said that it is that one.
            told = f"frames {recipe.sampling}, not {preset.sampling}"
            return cls(preset, None, prepared, () if recipe.sampling == preset.sampling else (told,))
        return cls()

    @property
    def published(self) -> str | None:
        """The preset whose published figures were made in this very way, if any."""
        return self.preset.name if self.preset and not (self.prepared or self.sampled) else None

    @property
    def note(self) -> str | None:
        """What is to be said of an index that is not as its weights' authors would have made it, if anything."""
        preset = self.preset or self.may_be
        if preset is None or not (self.prepared or preset.missing):
            return None
        is_one = f"this index's model {'is' if self.preset else 'may be'} {preset.name}"
        if preset.missing:
            return f"{is_one}, and {preset.missing}: what it makes of phrases means nothing"
        return (
            f"{is_one}, and was not prepared as published ({'; '.join(self.prepared)}), so its scores are others; it "
            f"stays so. For the published way make another: echosearch ingest VIDEOS --index NEW --model {preset.name}"
        )


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
    """What of the weights is not as the preset has it, in words."""
    told: dict[str, Any] = dict(_DEFAULTS)
    for part, values in {**evidence.config, "": evidence.config}.items():
        told |= (
            {f"{part}.{key}".lstrip("."): value for key, value in values.items()} if isinstance(values, dict) else {}
        )
    told["vision_cfg.timm_model_name"] = (told.get("vision_cfg.timm_model_name") or "").partition(".")[0] or None
    wrong = [f"{key} {told.get(key)}, not {is_}" for key, is_ in preset.architecture.items() if told.get(key) != is_]
    if preset.tensors_sha256 and evidence.tensors_sha256 not in preset.tensors_sha256:
        wrong.append("other tensors")
    return wrong
