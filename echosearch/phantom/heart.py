"""The heart behind the pictures, in centimetres: sizes, how the left ventricle contracts, the clock of a beat.

Knows no view, no scanner and no pixels. Grades become sizes here: a grade picks a range, the patient's own quantile a
value in it, so that a finding can be toggled and nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.phantom.truth import Truth

Array = npt.NDArray[np.float64]

SEPTAL, LATERAL, INFERIOR, ANTERIOR = range(4)
LEVELS: Final[Array] = np.linspace(0, 1, 25) ** 1.5
"""Where the left ventricle is sliced, apex (0) to mitral ring (1); closer at the apex, where it is round."""

_ATRIUM: Final = ((0.92, 1.05), (1.15, 1.22), (1.34, 1.42), (1.55, 1.75))
_RIGHT_VENTRICLE: Final = ((0.92, 1.05), (1.18, 1.26), (1.4, 1.5), (1.65, 1.85))
_LEFT_VENTRICLE: Final = ((0.93, 1.04), (1.14, 1.2), (1.3, 1.36), (1.56, 1.68))
_WALL: Final = ((0.9, 1.06), (1.28, 1.38), (1.62, 1.75), (2.05, 2.3))
_EFFUSION_CM: Final = ((0.0, 0.0), (0.4, 0.55), (1.0, 1.2), (1.8, 2.2))

_PHASES: Final = (0, 0.05, 0.15, 0.25, 0.33, 0.38, 0.42, 0.5, 0.58, 0.65, 0.85, 0.92, 1)
_CONTRACTION: Final = (0, 0.06, 0.42, 0.8, 0.97, 1, 0.97, 0.6, 0.3, 0.22, 0.18, 0.06, 0)
END_SYSTOLE: Final = 0.38
"""Phase of a beat, 0 to 1 from end-diastole, at which the left ventricle is smallest."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What stays with a patient. Scales are about 1, quantiles 0 to 1."""

    body_scale: float
    lv_quantile: float
    la_quantile: float
    rv_quantile: float
    ra_quantile: float
    wall_quantile: float
    effusion_quantile: float
    asymmetry: float
    two_chamber_ratio: float
    tilt_degrees: float
    aorta_degrees: float
    rv_apex: float
    papillary_degrees: float
    wall_level: float


@dataclass(frozen=True, slots=True)
class Company:
    """What keeps an ejection fraction company in a still: each is loosely tied to it, and noisy."""

    sphericity: float
    """LV width to length, relative to the usual one."""
    apex_roundness: float
    """Exponent of the apical contour: 2 is an ellipse."""
    leaflet_opening: float
    """Part of the mitral ring that the leaflets clear, 0 to 1."""
    tenting_cm: float
    """How far the closed leaflets are held towards the apex."""
    thickening: float
    """Part that the wall gains in systole."""
    ring_motion: float
    """Part of its length that the ventricle loses in systole, for each 100 % of ejection fraction."""
    smoke: float
    """Echoes of slow blood, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Heart:
    """One heart on one day, solved so that its discs have the wanted ejection fraction.

    `radii_ed_cm` (4, levels): from the long axis to the septal, lateral, inferior and anterior endocardium at
    end-diastole; `motion` (4, levels) is the part of the common shortening that each takes.
    """

    length_ed_cm: float
    length_es_cm: float
    radii_ed_cm: Array
    motion: Array
    shortening: float
    wall_ed_cm: float
    thickening: float
    la_scale: float
    ra_scale: float
    rv_scale: float
    effusion_cm: float
    body_scale: float

    def length_cm(self, contraction: float) -> float:
        """Apex to mitral ring; `contraction` is 0 at end-diastole and 1 at end-systole."""
        return self.length_ed_cm + contraction * (self.length_es_cm - self.length_ed_cm)

    def radii_cm(self, contraction: float) -> Array:
        """(4, levels): septal, lateral, inferior, anterior."""
        return self.radii_ed_cm * (1 - self.shortening * contraction * self.motion)

    def walls_cm(self, contraction: float) -> Array:
        """(4, levels): how thick the walls are; a wall that does not move does not thicken."""
        return self.wall_ed_cm * (1 + self.thickening * contraction * self.motion)

    def volume_ml(self, contraction: float) -> float:
        """Biplane method of discs over the drawn contours."""
        return disc_volume_ml(self.length_cm(contraction), self.radii_cm(contraction))


def disc_volume_ml(length_cm: float, radii_cm: Array) -> float:
    """Elliptic discs between `LEVELS`; radii (4, levels) in cm. Public for the tests' own contours."""
    widths, depths = radii_cm[SEPTAL] + radii_cm[LATERAL], radii_cm[INFERIOR] + radii_cm[ANTERIOR]
    return float(np.pi / 4 * length_cm * np.trapezoid(widths * depths, LEVELS))


def contraction_at(phase: float) -> float:
    """0 at end-diastole, 1 at `END_SYSTOLE`; `phase` is the part of the beat that is over."""
    return float(np.interp(phase, _PHASES, _CONTRACTION))


def mitral_opening_at(phase: float) -> float:
    """0 closed, 1 wide open: early filling, rest, the atrium's kick."""
    phases = (0, 0.4, 0.46, 0.52, 0.62, 0.72, 0.84, 0.9, 0.97, 1)
    return float(np.interp(phase, phases, (0, 0, 0.7, 1, 0.6, 0.45, 0.5, 0.85, 0.15, 0)))


def aortic_opening_at(phase: float) -> float:
    """0 closed, 1 wide open."""
    return float(np.interp(phase, (0, 0.04, 0.1, 0.28, 0.37, 1), (0, 0, 1, 0.9, 0, 0)))


@lru_cache(maxsize=4096)
def solve_heart(truth: Truth, anatomy: Anatomy, company: Company) -> Heart:
    """Sizes from grades, and the shortening that gives `truth.ef_percent`; its volumes are not looked at."""
    scale = anatomy.body_scale
    dilation = _within(_LEFT_VENTRICLE[truth.lv_dilation], anatomy.lv_quantile)
    crowding = 1 - 0.04 * truth.lv_hypertrophy
    radius = 2.35 * scale * dilation * crowding * company.sphericity**0.5
    length_ed = 8.5 * scale * (1 + 0.35 * (dilation - 1)) * company.sphericity**-0.5
    profile = _profile(company.apex_roundness)
    sides = np.array(
        [1 - anatomy.asymmetry, 1 + anatomy.asymmetry, anatomy.two_chamber_ratio, anatomy.two_chamber_ratio]
    )
    radii_ed = radius * sides[:, None] * profile
    motion = _motion(truth.wall_motion)
    length_es = length_ed * (1 - company.ring_motion * truth.ef_percent / 100)
    return Heart(
        length_ed_cm=length_ed,
        length_es_cm=length_es,
        radii_ed_cm=radii_ed,
        motion=motion,
        shortening=_shortening(radii_ed, motion, length_ed, length_es, truth.ef_percent),
        wall_ed_cm=0.85 * scale * _within(_WALL[truth.lv_hypertrophy], anatomy.wall_quantile),
        thickening=company.thickening,
        la_scale=_within(_ATRIUM[truth.la_dilation], anatomy.la_quantile),
        ra_scale=_within(_ATRIUM[truth.ra_dilation], anatomy.ra_quantile),
        rv_scale=_within(_RIGHT_VENTRICLE[truth.rv_dilation], anatomy.rv_quantile),
        effusion_cm=_within(_EFFUSION_CM[truth.effusion], anatomy.effusion_quantile),
        body_scale=scale,
    )


def _within(bounds: tuple[float, float], quantile: float) -> float:
    return bounds[0] + quantile * (bounds[1] - bounds[0])


def _profile(roundness: float) -> Array:
    """Radius at each level relative to the widest: a superellipse above, a slight taper to the ring below."""
    widest = 0.6
    above = np.clip((widest - LEVELS) / widest, 0, 1)
    below = np.clip((LEVELS - widest) / (1 - widest), 0, 1)
    return np.asarray((1 - above**roundness) ** (1 / roundness) * (1 - 0.2 * below**2))


def _motion(region: str | None) -> Array:
    motion = np.ones((4, len(LEVELS)))
    if region == "apical":
        motion *= np.clip((LEVELS - 0.3) / 0.2, 0.05, 1)
    elif region is not None:
        wall = {"septal": SEPTAL, "lateral": LATERAL, "inferior": INFERIOR, "anterior": ANTERIOR}[region]
        motion[wall] = np.clip((0.3 - LEVELS) / 0.2, 0.05, 1)
    return motion


def _shortening(radii: Array, motion: Array, length_ed: float, length_es: float, ef_percent: float) -> float:
    """The root of a quadratic: each disc is (width - x * width') * (depth - x * depth')."""
    width, depth = radii[SEPTAL] + radii[LATERAL], radii[INFERIOR] + radii[ANTERIOR]
    moved = radii * motion
    width_lost, depth_lost = moved[SEPTAL] + moved[LATERAL], moved[INFERIOR] + moved[ANTERIOR]
    full = float(np.trapezoid(width * depth, LEVELS))
    first = float(np.trapezoid(width * depth_lost + depth * width_lost, LEVELS))
    second = float(np.trapezoid(width_lost * depth_lost, LEVELS))
    rest = full - full * length_ed / length_es * (1 - ef_percent / 100)
    return float((first - np.sqrt(first**2 - 4 * second * rest)) / (2 * second))
