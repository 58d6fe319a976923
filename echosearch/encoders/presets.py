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

    `views` are those that it is made for (none given: not said), `knows_modes` whether it tells B-mode from Doppler.
    """

    name: str
    weights: str
    about: str
    domain: str
    sampling: FrameSampling
    preprocess: dict[str, Any] = field(default_factory=dict)
    notice: str | None = None
    views: tuple[str, ...] = ()
    knows_modes: bool = True


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
                }
            )
    return dict(sorted(presets.items()))
