"""Patients, their studies and videos, drawn by chance from one seed. Knows nothing of pixels or files.

Study k depends on the seed and k alone, so a larger archive begins with the smaller one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np

from echosearch.errors import BadOption
from echosearch.phantom.heart import Anatomy, Company, Heart, solve_heart
from echosearch.phantom.truth import REGIONS, VIEWS, Truth

MAX_STUDIES: Final = 100_000
MAX_SEED: Final = 2**31 - 1

_SMALL: Final = (112, 112)
_MIDDLE: Final = ((300, 400), (336, 448), (360, 480), (400, 400), (420, 420), (480, 480), (432, 500))
_LARGE: Final = (600, 800)
_SEEN_FRAMES: Final = 39
"""The default sampling takes frames 0, 2, ... 38."""

_PATIENT, _DAY, _CINE = 11, 12, 13
"""What a random stream is for, as part of its seed."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the scanner was set, and how it marks its pictures. Levels and scales are about 1 unless named."""

    half_angle_degrees: float
    depth_cm: float
    sector_depth: float
    """Depth of the sector as part of the picture's height."""
    sector_top: float
    """Where its tip lies, as part of the picture's height."""
    gain: float
    contrast: float
    speckle: float
    noise: float
    haze: float
    background: float
    dropout: float
    specular: float
    tilt_degrees: float
    shift_cm: tuple[float, float]
    tint: tuple[float, float, float]
    marks: int
    """0 none, 1 dots on the sector's edge, 2 a scale at the right, 3 a scale with a grey bar and words."""
    breathing_cm: float
    tremor_cm: float


@dataclass(frozen=True, slots=True)
class Video:
    """All that is needed to render one video. `seed` feeds its beats, motion and noise."""

    video_id: str
    study: str
    patient: str
    view: str
    truth: Truth
    height: int
    width: int
    fps: float
    num_frames: int
    heart_rate_bpm: float
    seed: tuple[int, ...]
    suffix: str
    anatomy: Anatomy
    company: Company
    look: Look

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise ValueError(f"a view is one of {', '.join(VIEWS)}, not {self.view!r}")
        if min(self.height, self.width) < 16 or self.num_frames < 1 or self.fps <= 0 or self.heart_rate_bpm <= 0:
            raise ValueError(f"a video has frames of 16 pixels or more, a frame rate and a heart rate, not {self}")

    @property
    def heart(self) -> Heart:
        """The heart that the truth, the anatomy and the company make."""
        return solve_heart(self.truth, self.anatomy, self.company)

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.video_id}{self.suffix}"

    def with_findings(self, **changes: Any) -> Video:
        """The same video of the same patient with other fields of `Truth`; the volumes follow."""
        return replace(self, truth=_with_volumes(self.truth, self.anatomy, self.company, changes))


@dataclass(frozen=True, slots=True)
class Study:
    """One exam: several videos of one heart on one day."""

    study_id: str
    patient_id: str
    acquired_at: date
    truth: Truth
    videos: tuple[Video, ...]


def draw_studies(count: int, seed: int) -> tuple[Study, ...]:
    """The first `count` studies of the archive with this seed; nothing is rendered. BadOption outside the ranges."""
    if not 1 <= count <= MAX_STUDIES:
        raise BadOption(f"an archive has 1 to {MAX_STUDIES} studies, not {count}")
    if not 0 <= seed <= MAX_SEED:
        raise BadOption(f"a seed is 0 to {MAX_SEED}, not {seed}")
    days = _days(seed)
    return tuple(_study(seed, number, next(days)) for number in range(count))


@dataclass(frozen=True, slots=True)
class _Day:
    patient: str
    acquired_at: date
    truth: Truth
    anatomy: Anatomy
    company: Company
    machine: tuple[float, ...]


def _days(seed: int) -> Iterator[_Day]:
    """Patient after patient, exam after exam."""
    number = 0
    while True:
        rng = np.random.default_rng([seed, _PATIENT, number])
        anatomy, machine = _anatomy(rng), tuple(rng.random(8))
        ef = _ef_percent(rng)
        noise = rng.standard_normal(14)
        luck = rng.random(8)
        acquired_at = date(2015, 1, 1) + timedelta(days=int(rng.integers(0, 3000)))
        for again in range(1 + int(rng.choice(3, p=(0.75, 0.17, 0.08)))):
            later = np.random.default_rng([seed, _DAY, number, again])
            if again:
                acquired_at += timedelta(days=int(later.integers(60, 700)))
                ef = float(np.clip(ef + later.normal(0, 9), 11, 74))
                noise = 0.92 * noise + 0.39 * later.standard_normal(14)
                luck = np.maximum(luck - (later.random(8) < 0.12) * 0.12, 0)
            yield _day(f"P{seed}-{number:05d}", acquired_at, anatomy, machine, ef, noise, luck)
        number += 1


def _anatomy(rng: np.random.Generator) -> Anatomy:
    names = ("lv_quantile", "la_quantile", "rv_quantile", "ra_quantile", "wall_quantile", "effusion_quantile")
    quantiles = {name: float(rng.random()) for name in names}
    return Anatomy(
        **quantiles,
        body_scale=float(np.clip(rng.normal(1, 0.07), 0.85, 1.15)),
        asymmetry=float(rng.uniform(-0.06, 0.1)),
        two_chamber_ratio=float(rng.uniform(0.93, 1.06)),
        tilt_degrees=float(rng.normal(0, 5)),
        aorta_degrees=float(rng.uniform(4, 18)),
        rv_apex=float(rng.uniform(0.2, 0.38)),
        papillary_degrees=float(rng.normal(0, 9)),
        wall_level=float(rng.uniform(105, 155)),
    )


def _ef_percent(rng: np.random.Generator) -> float:
    low, high = ((10, 40), (36, 56), (52, 75))[rng.choice(3, p=(0.38, 0.22, 0.40))]
    return float(rng.uniform(low, high))


def _day(
    patient: str,
    acquired_at: date,
    anatomy: Anatomy,
    machine: tuple[float, ...],
    ef: float,
    noise: np.ndarray[Any, np.dtype[np.float64]],
    luck: np.ndarray[Any, np.dtype[np.float64]],
) -> _Day:
    standing = (ef - 43) / 19

    def tied(which: int, weight: float) -> float:
        """Of unit spread, and correlated with the ejection fraction by about `weight`."""
        return float(weight * standing + np.sqrt(1 - weight**2) * noise[which])

    company = Company(
        sphericity=float(np.exp(-0.1 * np.clip(tied(0, 0.45), -2.5, 2.5))),
        apex_roundness=float(np.clip(2.3 - 0.35 * tied(1, 0.49), 1.5, 3.3)),
        leaflet_opening=float(np.clip(0.62 + 0.18 * tied(2, 0.68), 0.2, 1.0)),
        tenting_cm=float(np.clip(0.75 - 0.3 * tied(3, 0.68), 0.1, 1.6)),
        thickening=float(np.clip(0.32 + 0.14 * tied(4, 0.66), 0.04, 0.75)),
        ring_motion=float(np.clip(0.28 + 0.05 * noise[5], 0.18, 0.38)),
        smoke=float(np.clip(0.35 - 0.3 * tied(6, 0.66), 0, 1)),
    )
    findings = {
        "ef_percent": ef,
        "lv_dilation": _grade(-tied(7, 0.62), (0.46, 0.69, 0.87)),
        "la_dilation": _grade(-tied(8, 0.35), (0.46, 0.69, 0.87)),
        "rv_dilation": _grade(-tied(9, 0.25), (0.55, 0.75, 0.88)),
        "ra_dilation": _grade(-0.25 * tied(9, 0.25) + 0.97 * noise[10], (0.55, 0.75, 0.88)),
        "lv_hypertrophy": _grade(float(noise[11]), (0.62, 0.82, 0.92)),
        "effusion": _grade(float(noise[12]), (0.72, 0.88, 0.945)),
        "pacemaker_lead": bool(luck[0] < 0.2),
        "stent_valve": bool(luck[1] < 0.12),
        "mitral_clip": bool(luck[2] < 0.1),
        "wall_motion": REGIONS[int(luck[4] * 5) % 5] if luck[3] < 0.35 and 20 <= ef <= 55 else None,
    }
    truth = _with_volumes(Truth(50.0, 100.0, 50.0), anatomy, company, findings)
    return _Day(patient, acquired_at, truth, anatomy, company, machine)


def _grade(latent: float, steps: tuple[float, float, float]) -> int:
    """0 to 3: how many of the normal distribution's quantiles `steps` the latent value passes."""
    from statistics import NormalDist

    return sum(latent > NormalDist().inv_cdf(step) for step in steps)


def _with_volumes(truth: Truth, anatomy: Anatomy, company: Company, changes: dict[str, Any]) -> Truth:
    """The truth with the volumes of the discs that its findings draw."""
    ef = float(changes.get("ef_percent", truth.ef_percent))
    drafted = replace(truth, **changes, edv_ml=100.0, esv_ml=100.0 - ef)
    edv = solve_heart(drafted, anatomy, company).volume_ml(0)
    return replace(drafted, edv_ml=edv, esv_ml=edv * (1 - ef / 100))


def _study(seed: int, number: int, day: _Day) -> Study:
    study_id = f"S{seed}-{number:06d}"
    rng = np.random.default_rng([seed, _CINE, number])
    views = ["A4C"] if rng.random() < 0.95 else []
    views += [
        view
        for view, chance in (("A2C", 0.6), ("PLAX", 0.7), ("PSAX", 0.55), ("SUBCOSTAL", 0.4))
        if rng.random() < chance
    ]
    if not views or rng.random() < 0.3:
        views.append(str(rng.choice(views or VIEWS)))
    heart_rate = float(np.clip(rng.normal(74 - 0.12 * (day.truth.ef_percent - 45), 11), 48, 120))
    videos = tuple(
        _video(f"{study_id}-{which}", study_id, view, day, heart_rate, (seed, _CINE, number, which))
        for which, view in enumerate(views)
    )
    return Study(study_id, day.patient, day.acquired_at, day.truth, videos)


def _video(video_id: str, study: str, view: str, day: _Day, heart_rate: float, seed: tuple[int, ...]) -> Video:
    rng = np.random.default_rng([*seed, 0])
    kind = rng.choice(3, p=(0.4, 0.4, 0.2))
    height, width = (_SMALL, _MIDDLE[rng.integers(len(_MIDDLE))], _LARGE)[kind]
    heart_rate = float(np.clip(heart_rate + rng.normal(0, 2), 45, 125))
    fps = float(rng.choice((20, 25, 30, 33, 40, 50, 60), p=(0.1, 0.15, 0.35, 0.15, 0.1, 0.1, 0.05)))
    num_frames = int(rng.integers(40, 101)) if rng.random() < 0.93 else int(rng.integers(26, 40))
    if rng.random() < 0.97:  # the frames that are looked at hold a whole beat
        seen = min(_SEEN_FRAMES, num_frames - 1)
        fps = min(fps, float(np.floor(0.93 * (seen - 1) * heart_rate / 60)))
    return Video(
        video_id, study, day.patient, view, day.truth, height, width, fps, num_frames, heart_rate, seed,
        ".avi" if rng.random() < 0.5 else ".mp4", day.anatomy, day.company, _look(view, day, kind == 0, rng),
    )  # fmt: skip


def _look(view: str, day: _Day, small: bool, rng: np.random.Generator) -> Look:
    machine = day.machine
    heart = solve_heart(day.truth, day.anatomy, day.company)
    extent = {
        "A4C": 2.5 + heart.length_ed_cm + 4.2 * max(heart.la_scale, heart.ra_scale),
        "A2C": 2.3 + heart.length_ed_cm + 4.2 * heart.la_scale,
        "PLAX": 4.6 + 2 * heart.radii_ed_cm.max() + 2 * heart.wall_ed_cm + heart.effusion_cm + 0.8 * heart.rv_scale,
        "PSAX": 4.6 + 2 * heart.radii_ed_cm.max() + 2 * heart.wall_ed_cm + heart.effusion_cm,
        "SUBCOSTAL": 14.5 + 1.8 * (heart.la_scale - 1) + 0.7 * (heart.radii_ed_cm.max() - 2.3),
    }[view]
    colour = (0, 0, 0, 0.1, 0.2, -0.12)[int(machine[0] * 6)] * (0.7 + 0.6 * machine[1])  # blue or sepia
    return Look(
        half_angle_degrees=float(38 + 9 * machine[2] + rng.normal(0, 1.5)),
        depth_cm=float(extent * rng.uniform(1.04, 1.24)),
        sector_depth=float(rng.uniform(0.88, 0.97)),
        sector_top=float(rng.uniform(0.005, 0.035)),
        gain=float(np.clip(rng.normal(1.02, 0.16), 0.65, 1.45)),
        contrast=float(0.85 + 0.45 * machine[3]),
        speckle=float(0.22 + 0.16 * machine[4] + rng.normal(0, 0.02)),
        noise=float(rng.uniform(3, 12)),
        haze=float(rng.uniform(20, 95)),
        background=float(18 + 45 * machine[5] + rng.uniform(0, 15)),
        dropout=float(rng.uniform(0.1, 0.75)),
        specular=float(0.9 + 0.9 * machine[6]),
        tilt_degrees=float(day.anatomy.tilt_degrees + rng.normal(0, 3)),
        shift_cm=(float(rng.normal(0, 0.35)), float(rng.normal(0.1, 0.2))),
        tint=(1 - max(colour, 0), 1 - 0.5 * abs(colour), 1 + min(colour, 0)),
        marks=0 if small and machine[7] < 0.7 else int(machine[7] * 4),
        breathing_cm=float(rng.uniform(0, 0.3)),
        tremor_cm=float(rng.uniform(0, 0.05)),
    )
