"""Known models as data: one small JSON file each in `known_models/`. Knows no model code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from echosearch.types import FrameSampling


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
