"""What is true of a phantom: its findings, and the views that show them. Knows no shapes and no words of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

VIEWS: Final = ("A4C", "A2C", "PLAX", "PSAX", "SUBCOSTAL")
REGIONS: Final = ("anterior", "inferior", "septal", "lateral", "apical")
"""Where a wall may hardly move."""

SEVERITIES: Final = ("none", "mild", "moderate", "severe")
EFFUSION_SIZES: Final = ("none", "small", "moderate", "large")
GRADED: Final = ("lv_dilation", "la_dilation", "rv_dilation", "ra_dilation", "lv_hypertrophy", "effusion")
DEVICES: Final = ("pacemaker_lead", "stent_valve", "mitral_clip")

_ALL: Final = frozenset(VIEWS)

VISIBLE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "ef_percent": _ALL,
        "lv_dilation": _ALL,
        "la_dilation": _ALL - {"PSAX"},
        "rv_dilation": _ALL - {"A2C"},
        "ra_dilation": frozenset({"A4C", "SUBCOSTAL"}),
        "lv_hypertrophy": _ALL,
        "effusion": _ALL,
        "pacemaker_lead": frozenset({"A4C", "SUBCOSTAL"}),
        "stent_valve": frozenset({"A4C", "PLAX"}),  # the A4C of such a patient is tilted to show the outflow tract
        "mitral_clip": _ALL - {"PSAX"},  # PSAX is drawn at the papillary muscles, below the leaflets
        "wall_motion": _ALL,  # the other walls make up for it in every view
    }
)
"""Field of `Truth` -> views in which the finding is drawn; in the others it changes nothing."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What one heart has on one day.

    `ef_percent` 10 to 75, and exactly `100 * (edv_ml - esv_ml) / edv_ml`. Grades 0 to 3: none, mild, moderate,
    severe; of the effusion none, small, moderate, large. `wall_motion` is the region that hardly moves, or None.
    """

    ef_percent: float
    edv_ml: float
    esv_ml: float
    lv_dilation: int = 0
    la_dilation: int = 0
    rv_dilation: int = 0
    ra_dilation: int = 0
    lv_hypertrophy: int = 0
    effusion: int = 0
    pacemaker_lead: bool = False
    stent_valve: bool = False
    mitral_clip: bool = False
    wall_motion: str | None = None

    def __post_init__(self) -> None:
        if not 10 <= self.ef_percent <= 75:
            raise ValueError(f"the ejection fraction is 10 to 75 %, not {self.ef_percent}")
        if not 0 < self.esv_ml < self.edv_ml:
            raise ValueError(f"volumes are 0 < ESV < EDV, not {self.esv_ml} and {self.edv_ml}")
        if abs(100 * (self.edv_ml - self.esv_ml) / self.edv_ml - self.ef_percent) > 1e-6:
            raise ValueError(f"{self.edv_ml} and {self.esv_ml} ml are no ejection fraction of {self.ef_percent} %")
        for name in GRADED:
            if getattr(self, name) not in (0, 1, 2, 3):
                raise ValueError(f"{name} is a grade from 0 to 3, not {getattr(self, name)!r}")
        if self.wall_motion not in (None, *REGIONS):
            raise ValueError(f"wall_motion is one of {', '.join(REGIONS)} or None, not {self.wall_motion!r}")
