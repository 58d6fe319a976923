"""What each view shows of a heart at one moment: outlines in centimetres, in the order in which they are painted.

Points are (x, depth) from the probe, x to the picture's right. Knows no pixels, and no noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from echosearch.phantom.heart import (
    ANTERIOR,
    INFERIOR,
    LATERAL,
    LEVELS,
    SEPTAL,
    Array,
    Heart,
    aortic_opening_at,
    contraction_at,
    mitral_opening_at,
)
from echosearch.phantom.study import Video

BLOOD: Final = 3.0
FLUID: Final = 1.0
PERICARDIUM: Final = 225.0
LEAFLET: Final = 175.0
DEVICE: Final = 255.0
LIVER: Final = 105.0

_MIDDLE_LEVEL: Final = int(np.searchsorted(LEVELS, 0.55))
_BASE: Final = len(LEVELS) - 1


@dataclass(slots=True)
class Scene:
    """`layers` are painted one over the other: a polygon (N, 2) in cm and its echo, 0 to 255.

    `outlines` are the cavities by name (`lv`, `la`, `rv`, `ra`), `measures` what a ruler would say, in cm.
    """

    layers: list[tuple[Array, float]] = field(default_factory=list)
    outlines: dict[str, Array] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)

    def paint(self, points: Array, level: float) -> None:
        """Put a polygon on top."""
        self.layers.append((points, level))

    def cavity(self, name: str, points: Array, level: float) -> None:
        """Put a chamber on top and remember it."""
        self.outlines[name] = points
        self.paint(points, level)


def draw_scene(video: Video, phase: float, shift_cm: tuple[float, float] = (0.0, 0.0)) -> Scene:
    """The view of `video` at `phase` of a beat (0 end-diastole, to 1), moved by breath and hand."""
    moment = _Moment(video, phase)
    scene = Scene()
    _DRAW[video.view](scene, moment)
    move = np.add(video.look.shift_cm, shift_cm)
    scene.layers = [(points + move, level) for points, level in scene.layers]
    scene.outlines = {name: points + move for name, points in scene.outlines.items()}
    return scene


class _Moment:
    """A heart at a moment, and what the painters ask of it."""

    def __init__(self, video: Video, phase: float) -> None:
        self.video = video
        self.heart: Heart = video.heart
        self.truth, self.anatomy, self.company = video.truth, video.anatomy, video.company
        self.contraction = contraction_at(phase)
        self.mitral = mitral_opening_at(phase)
        self.aortic = aortic_opening_at(phase)
        self.scale = self.heart.body_scale
        self.length = self.heart.length_cm(self.contraction)
        self.radii = self.heart.radii_cm(self.contraction)
        self.walls = self.heart.walls_cm(self.contraction)
        self.muscle = self.anatomy.wall_level
        self.blood = BLOOD + 26 * self.company.smoke**2
        self.tilt = np.deg2rad(video.look.tilt_degrees)


class _Frame:
    """Places points given along the ventricle (`u`, apex to base) and across it (`v`)."""

    def __init__(self, apex: tuple[float, float], along: tuple[float, float], across: tuple[float, float]) -> None:
        self._apex, self._axes = np.array(apex), np.array([along, across])

    def __call__(self, u: Array, v: Array) -> Array:
        return np.asarray(np.stack([u, v], 1) @ self._axes + self._apex)


def _apical_four(scene: Scene, moment: _Moment) -> None:
    tilt = moment.tilt + 0.08
    frame = _Frame((0.8, 2.3 * moment.scale), (np.sin(tilt), np.cos(tilt)), (np.cos(tilt), -np.sin(tilt)))
    _four_chambers(scene, moment, frame)


def _subcostal(scene: Scene, moment: _Moment) -> None:
    slope = moment.tilt + np.deg2rad(20)
    frame = _Frame((5.6, 8.6), (-np.cos(slope), np.sin(slope)), (np.sin(slope), np.cos(slope)))
    x = np.linspace(-14, 14, 30)
    lower = 6.4 - 0.1 * x + 0.35 * np.sin(0.5 * x) - moment.heart.effusion_cm
    scene.paint(np.concatenate([np.stack([x, lower], 1), [[14, 0.3], [-14, 0.3]]]), LIVER)
    scene.paint(np.concatenate([np.stack([x, lower], 1), np.stack([x, lower + 0.22], 1)[::-1]]), 170)
    for centre, size in (((-2.6, 3.6), (0.55, 0.28)), ((1.9, 2.9), (0.35, 0.22))):
        scene.paint(_ellipse(centre, size), 30)
    _four_chambers(scene, moment, frame)


def _four_chambers(scene: Scene, moment: _Moment, frame: _Frame) -> None:
    heart, scale, length = moment.heart, moment.scale, moment.length
    left, right = moment.radii[SEPTAL], moment.radii[LATERAL]
    wall_left, wall_right = moment.walls[SEPTAL], moment.walls[LATERAL]
    lv = _bullet(frame, length, left, right)
    lv_outer = _bullet(frame, length, left + wall_left, right + wall_right, 0.75 * heart.wall_ed_cm)

    apex = moment.anatomy.rv_apex - 0.05 * moment.truth.rv_dilation
    q = np.linspace(0, 1, 16)
    u = length * (apex + (0.99 - apex) * q)
    septum = -np.interp(u / length, LEVELS, left + wall_left)
    width = 2.9 * scale * heart.rv_scale * (1 - 0.2 * moment.contraction) * np.sin(np.pi / 2 * q**0.75) ** 0.8
    rv = np.concatenate([frame(u, septum), frame(u, septum - width)[::-1]])
    rv_wall = 0.38 * scale
    rv_outer = np.concatenate([frame(u, septum + 0.3), frame(u - 0.25, septum - width - rv_wall * (0.4 + q))[::-1]])

    between = -float(left[_BASE]) - 0.2
    half_la, half_ra = 1.75 * scale * heart.la_scale, 1.75 * scale * heart.ra_scale
    swelling = 1 + 0.08 * moment.contraction
    roof_la = heart.length_ed_cm + 3.9 * scale * heart.la_scale**0.9
    roof_ra = heart.length_ed_cm + 3.7 * scale * heart.ra_scale**0.9
    la = _atrium(frame, length, roof_la, between + 0.15 + half_la, half_la * swelling)
    ra = _atrium(frame, length + 0.1, roof_ra, between - 0.15 - half_ra, half_ra * swelling)
    la_outer = _atrium(frame, length - 0.3, roof_la + 0.3, between + 0.15 + half_la, half_la * swelling + 0.3)
    ra_outer = _atrium(frame, length - 0.3, roof_ra + 0.3, between - 0.15 - half_ra, half_ra * swelling + 0.3)

    _pericardium(scene, moment, (lv_outer, rv_outer))
    for outer in (la_outer, ra_outer):
        scene.paint(outer, 0.95 * moment.muscle)
    scene.paint(rv_outer, moment.muscle)
    scene.paint(lv_outer, moment.muscle)
    for name, points in (("la", la), ("ra", ra), ("rv", rv), ("lv", lv)):
        scene.cavity(name, points, moment.blood if name == "lv" else BLOOD + 2)

    tricuspid = (between - 0.1, float(septum[-1] - width[-1]))
    _leaflets(scene, moment, frame, (-float(left[_BASE]), float(right[_BASE])), 0.45)
    _tricuspid(scene, moment, frame, tricuspid)
    if moment.truth.pacemaker_lead:
        _lead(
            scene, moment, frame, (roof_ra, between - 0.15 - 1.4 * half_ra), tricuspid, (float(u[3]), float(septum[3]))
        )
    if moment.truth.stent_valve and moment.video.view == "A4C":
        _stent(
            scene,
            frame(np.array([length - 0.7, length + 1.1]), np.array([between + 0.55, between + 0.35])),
            1.5 * scale,
        )
    scene.measures |= {
        "lv_length": length,
        "lv_width": float((left + right).max()),
        "wall_thickness": float((wall_left + wall_right)[_MIDDLE_LEVEL] / 2),
        "la_width": 2 * half_la * swelling,
        "rv_width": float(width.max()),
        "effusion": heart.effusion_cm,
    }


def _apical_two(scene: Scene, moment: _Moment) -> None:
    heart, scale, length = moment.heart, moment.scale, moment.length
    tilt = moment.tilt + 0.05
    frame = _Frame((-0.2, 2.1 * scale), (np.sin(tilt), np.cos(tilt)), (np.cos(tilt), -np.sin(tilt)))
    left, right = moment.radii[INFERIOR], moment.radii[ANTERIOR]
    wall_left, wall_right = moment.walls[INFERIOR], moment.walls[ANTERIOR]
    outer = _bullet(frame, length, left + wall_left, right + wall_right, 0.75 * heart.wall_ed_cm)
    half = 1.9 * scale * heart.la_scale * (1 + 0.08 * moment.contraction)
    roof = heart.length_ed_cm + 3.8 * scale * heart.la_scale**0.9
    _pericardium(scene, moment, (outer,))
    scene.paint(_atrium(frame, length - 0.3, roof + 0.3, 0, half + 0.3), 0.95 * moment.muscle)
    scene.paint(outer, moment.muscle)
    scene.cavity("la", _atrium(frame, length, roof, 0, half), BLOOD + 2)
    scene.cavity("lv", _bullet(frame, length, left, right), moment.blood)
    _leaflets(scene, moment, frame, (-float(left[_BASE]), float(right[_BASE])), 0.55)
    scene.measures |= {
        "lv_length": length,
        "lv_width": float((left + right).max()),
        "wall_thickness": float((wall_left + wall_right)[_MIDDLE_LEVEL] / 2),
        "la_width": 2 * half,
        "effusion": heart.effusion_cm,
    }


def _parasternal_long(scene: Scene, moment: _Moment) -> None:
    heart, scale, length = moment.heart, moment.scale, moment.length
    slope = moment.tilt + np.deg2rad(8)
    along, across = (np.cos(slope), -np.sin(slope)), (np.sin(slope), np.cos(slope))
    upper = (moment.radii[SEPTAL] + moment.radii[ANTERIOR]) / 2 * (1 + 0.25 * LEVELS**3)
    lower = (moment.radii[LATERAL] + moment.radii[INFERIOR]) / 2 * (1 + 0.25 * LEVELS**3)
    wall_upper = (moment.walls[SEPTAL] + moment.walls[ANTERIOR]) / 2
    wall_lower = (moment.walls[LATERAL] + moment.walls[INFERIOR]) / 2
    rv_depth = 1.9 * scale * heart.rv_scale
    depth = 2.3 + rv_depth + heart.wall_ed_cm + float(heart.radii_ed_cm.max()) + 0.6 * heart.effusion_cm
    middle = np.array([-2.5, depth]) - (0.6 * heart.length_ed_cm) * np.array(along)
    frame = _Frame((float(middle[0]), float(middle[1])), along, across)
    outer = _bullet(frame, length, upper + wall_upper, lower + wall_lower, heart.wall_ed_cm)

    q = np.linspace(0, 1, 18)
    u = length * 0.3 + (0.7 * length + 2.6) * q
    roof = -np.interp(u / length, LEVELS, upper + wall_upper) - 0.1 * np.clip(u - length, 0, None)
    thick = rv_depth * (1 - 0.15 * moment.contraction) * np.clip(np.sin(np.pi * (0.1 + 0.9 * q)), 0, 1) ** 0.5
    rv = np.concatenate([frame(u, roof), frame(u, roof - thick)[::-1]])
    rv_outer = np.concatenate([frame(u, roof + 0.3), frame(u, roof - thick - 0.4 * scale)[::-1]])

    top, bottom = -float(upper[_BASE]), float(lower[_BASE])
    root = 1.35 * scale
    rise = np.deg2rad(moment.anatomy.aorta_degrees)
    start = (length - 0.4, top + root)
    aorta = _tube(frame, start, rise, 5.2 * scale, root)
    aorta_outer = _tube(frame, start, rise, 5.2 * scale, root + 0.28)
    below = top + 2 * root + 0.3
    half = 1.75 * scale * heart.la_scale * (1 + 0.06 * moment.contraction)
    back = heart.length_ed_cm + 4.3 * scale * heart.la_scale**0.7
    la = _atrium(frame, length, back, below + half, half)

    _pericardium(scene, moment, (outer, rv_outer))
    scene.paint(
        _ellipse(
            frame(np.array([length + 0.6]), np.array([bottom + 1.9 + max(0.0, 2 * half + below - bottom - 0.8)]))[0],
            (1.35, 1.2),
        ),
        150,
    )
    scene.paint(
        _ellipse(
            frame(np.array([length + 0.6]), np.array([bottom + 1.9 + max(0.0, 2 * half + below - bottom - 0.8)]))[0],
            (1.1, 0.95),
        ),
        BLOOD,
    )
    scene.paint(_atrium(frame, length - 0.25, back + 0.3, below + half, half + 0.3), 1.1 * moment.muscle)
    scene.paint(rv_outer, moment.muscle)
    scene.paint(outer, moment.muscle)
    scene.paint(aorta_outer, 1.25 * moment.muscle)
    scene.cavity("rv", rv, BLOOD + 3)
    scene.cavity("la", la, BLOOD + 2)
    scene.paint(aorta, BLOOD)
    scene.cavity("lv", _bullet(frame, length, upper, lower), moment.blood)
    scene.paint(_tube(frame, (length - 0.6, top + root), rise, 1.2, root - 0.05), BLOOD)
    ring = (below - 0.25, max(bottom, below + 1.9))
    inflow = np.array([length - 0.7, length - 0.7, length + 1.5, length + 1.5])
    scene.paint(frame(inflow, np.array([ring[0] + 0.2, ring[1] - 0.1, ring[1] - 0.1, ring[0] + 0.5])), BLOOD + 2)
    _leaflets(scene, moment, frame, ring, 0.6)
    _aortic_valve(scene, moment, frame, (length + 0.7, top + root - 0.7 * np.sin(rise)), root)
    if moment.truth.stent_valve:
        ends = frame(np.array([length - 0.2, length + 1.9]), np.array([start[1], start[1] - 2 * np.sin(rise)]))
        _stent(scene, ends, 1.7 * root)
    scene.measures |= {
        "lv_length": length,
        "lv_width": float((upper + lower).max()),
        "wall_thickness": float((wall_upper + wall_lower)[_MIDDLE_LEVEL] / 2),
        "la_width": 2 * half,
        "rv_width": float(thick.max()),
        "effusion": heart.effusion_cm,
    }


def _parasternal_short(scene: Scene, moment: _Moment) -> None:
    heart, scale = moment.heart, moment.scale
    ed = heart.radii_ed_cm[:, _MIDDLE_LEVEL]
    centre = np.array([0.7, 2.4 + 0.5 * heart.rv_scale + heart.wall_ed_cm + float(ed.max()) + 0.6 * heart.effusion_cm])
    radii, walls = moment.radii[:, _MIDDLE_LEVEL], moment.walls[:, _MIDDLE_LEVEL]
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    inner, wall = _around(angles, radii), _around(angles, walls)
    turn = moment.tilt

    def ring(reach: Array, at: Array = angles) -> Array:
        return np.asarray(centre + reach[:, None] * np.stack([np.cos(at + turn), np.sin(at + turn)], 1))

    outer = ring(inner + wall)
    span = np.linspace(np.deg2rad(140), np.deg2rad(268), 22)
    edge = _around(span, radii) + _around(span, walls)
    q = np.linspace(0, 1, len(span))
    thick = 2.5 * scale * heart.rv_scale * (1 - 0.2 * moment.contraction) * np.sin(np.pi * q) ** 0.7
    rv = np.concatenate([ring(edge, span), ring(edge + thick, span)[::-1]])
    rv_outer = np.concatenate([ring(edge - 0.3, span), ring(edge + thick + 0.4 * scale, span)[::-1]])
    _pericardium(scene, moment, (outer, rv_outer))
    scene.paint(rv_outer, moment.muscle)
    scene.paint(outer, moment.muscle)
    scene.cavity("rv", rv, BLOOD + 3)
    scene.cavity("lv", ring(inner), moment.blood)
    for degrees in (38 + moment.anatomy.papillary_degrees, 142 + moment.anatomy.papillary_degrees):
        at = np.deg2rad(degrees) + turn
        reach = float(_around(np.array([at - turn]), radii)[0])
        size = 0.5 * scale * (heart.wall_ed_cm / 0.85) ** 0.3
        where = centre + (reach - 0.7 * size) * np.array([np.cos(at), np.sin(at)])
        scene.paint(_ellipse(where, (size, size)), 1.05 * moment.muscle)
    scene.measures |= {
        "lv_width": float(radii[SEPTAL] + radii[LATERAL]),
        "wall_thickness": float(walls.mean()),
        "rv_width": float(thick.max()),
        "effusion": heart.effusion_cm,
    }


_DRAW: Final[dict[str, Callable[[Scene, _Moment], None]]] = {
    "A4C": _apical_four,
    "A2C": _apical_two,
    "PLAX": _parasternal_long,
    "PSAX": _parasternal_short,
    "SUBCOSTAL": _subcostal,
}


def _pericardium(scene: Scene, moment: _Moment, outers: tuple[Array, ...]) -> None:
    """A bright line around the heart; between them fluid, where there is an effusion."""
    gap = moment.heart.effusion_cm
    for outer in outers:
        scene.paint(_grow(outer, gap + 0.2), PERICARDIUM if gap else 1.2 * moment.muscle)
    if gap:
        for outer in outers:
            scene.paint(_grow(outer, gap), FLUID)


def _leaflets(scene: Scene, moment: _Moment, frame: _Frame, ring: tuple[float, float], first_part: float) -> None:
    """Two leaflets that hang from a ring at the base; a clip holds their tips together."""
    length, (low, high) = moment.length, ring
    meet = low + first_part * (high - low)
    open_part = moment.mitral * moment.company.leaflet_opening
    tenting = moment.company.tenting_cm * moment.scale
    clip = moment.truth.mitral_clip
    parted = 0.0 if clip else min(1.5 * open_part * moment.scale, 0.42 * (high - low))
    tip_u = length - tenting - (0.5 if clip else 1.2 * open_part)
    for hinge, side in ((low, -1), (high, 1)):
        tip_v = meet + side * max(parted, 0.04)
        bow = 0.55 * open_part if clip else 0.0
        control = (length - 0.75 * tenting - 0.5 * open_part - bow, (hinge + tip_v) / 2 + side * bow)
        curve = _bezier((length, hinge), control, (tip_u, tip_v))
        scene.paint(_ribbon(frame(curve[:, 0], curve[:, 1]), 0.17), LEAFLET)
    if clip:
        ends = frame(np.array([tip_u - 0.75, tip_u + 0.75]), np.array([meet, meet]))
        scene.paint(_ribbon(ends, 0.7), DEVICE)  # metal blooms: it looks larger than it is
    scene.measures |= {"leaflet_opening": 2 * parted, "tenting": tenting}


def _tricuspid(scene: Scene, moment: _Moment, frame: _Frame, ring: tuple[float, float]) -> None:
    length, (inner, outer) = moment.length, ring
    meet = (inner + outer) / 2
    for hinge in (inner, outer):
        tip = (length - 0.35 - 0.9 * moment.mitral, meet + 0.42 * moment.mitral * (hinge - meet))
        curve = _bezier((length - 0.05, hinge), (length - 0.3 - 0.3 * moment.mitral, (hinge + tip[1]) / 2), tip)
        scene.paint(_ribbon(frame(curve[:, 0], curve[:, 1]), 0.13), 0.9 * LEAFLET)


def _aortic_valve(scene: Scene, moment: _Moment, frame: _Frame, centre: tuple[float, float], root: float) -> None:
    """Closed: a line in the middle of the root; open: two lines along its walls."""
    if moment.truth.stent_valve:
        return
    for side in (-1, 1):
        tip = (centre[0] + 0.8, centre[1] + side * (0.06 + 0.75 * root * moment.aortic))
        curve = _bezier((centre[0] - 0.1, centre[1] + side * root), (centre[0], centre[1] + side * 0.5 * root), tip)
        scene.paint(_ribbon(frame(curve[:, 0], curve[:, 1]), 0.13), 0.9 * LEAFLET)


def _lead(
    scene: Scene,
    moment: _Moment,
    frame: _Frame,
    entry: tuple[float, float],
    ring: tuple[float, float],
    tip: tuple[float, float],
) -> None:
    """From the atrium's roof through the valve to the apex, with the faint echo of itself behind it."""
    through = (moment.length, (ring[0] + ring[1]) / 2)
    first = _bezier(entry, (through[0] + 1.6, through[1] - 0.5), through)
    second = _bezier(through, (through[0] - 2.2, through[1] + 0.1), (tip[0], tip[1] - 0.3))
    curve = np.concatenate([first, second[1:]])
    line = frame(curve[:, 0], curve[:, 1])
    away = line / np.linalg.norm(line, axis=1, keepdims=True)
    scene.paint(_ribbon(line + 0.45 * away, 0.22), 75)
    scene.paint(_ribbon(line, 0.24), DEVICE)


def _stent(scene: Scene, ends: Array, gap: float) -> None:
    """Two struts beside the line between `ends`, and cells of the mesh across."""
    along = ends[1] - ends[0]
    side = np.array([-along[1], along[0]]) / np.linalg.norm(along) * gap / 2
    for part in (0.15, 0.85):
        across = ends[0] + part * along
        scene.paint(_ribbon(np.stack([across - side, across + side]), 0.12), 150)
    for sign in (-1, 1):
        scene.paint(_ribbon(ends + sign * side, 0.32), DEVICE)


def _bullet(frame: _Frame, length: float, left: Array, right: Array, cap: float = 0.0) -> Array:
    """Left side from base to apex, right side back; with `cap` it begins that far before the apex."""
    u = LEVELS * (length + cap) - cap
    if cap:
        left, right = (np.interp(np.maximum(u, 0) / length, LEVELS, side) * (LEVELS > 0) for side in (left, right))
        rounding = np.sqrt(np.clip(1 - (1 - np.clip((u + cap) / (3 * cap), 0, 1)) ** 2, 0, 1))
        left, right = left * rounding, right * rounding
    return np.concatenate([frame(u, -left)[::-1], frame(u, right)[1:]])


def _atrium(frame: _Frame, base: float, roof: float, middle: float, half_width: float) -> Array:
    """A superellipse, flatter at the valve than at the roof."""
    cosine, sine = _CIRCLE
    u = (base + roof) / 2 - (roof - base) / 2 * np.sign(cosine) * np.abs(cosine) ** np.where(cosine > 0, 0.6, 0.85)
    return frame(u, middle + half_width * np.sign(sine) * np.abs(sine) ** 0.8)


def _tube(frame: _Frame, start: tuple[float, float], rise: float, length: float, half_width: float) -> Array:
    """A straight vessel that leaves the long axis by the angle `rise`, slightly wider at its root."""
    steps = np.linspace(0, length, 12)
    half = half_width * (1 + 0.12 * np.exp(-(((steps - 1.6) / 0.8) ** 2)))
    u, v = start[0] + steps * np.cos(rise), start[1] - steps * np.sin(rise)
    return np.concatenate([frame(u, v - half), frame(u, v + half)[::-1]])


@lru_cache(maxsize=1)
def _unit_circle() -> tuple[Array, Array]:
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.cos(angles), np.sin(angles)


_CIRCLE: Final = _unit_circle()


def _ellipse(centre: tuple[float, float] | Array, size: tuple[float, float]) -> Array:
    return np.asarray(np.stack(_CIRCLE, 1) * size + np.asarray(centre))


def _around(angles: Array, values: Array) -> Array:
    """Four walls around the short axis, smoothly joined; angle 0 is the picture's right, a quarter turn is down."""
    cosine, sine = np.cos(angles), np.sin(angles)
    across = np.where(cosine > 0, values[LATERAL], values[SEPTAL])
    down = np.where(sine > 0, values[INFERIOR], values[ANTERIOR])
    return np.asarray(across * cosine**2 + down * sine**2)


def _bezier(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float]) -> Array:
    t = np.linspace(0, 1, 8)[:, None]
    return np.asarray((1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t**2 * np.array(end))


def _normals(line: Array) -> Array:
    """Unit vectors to the left of an open line."""
    along = np.gradient(line, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    return np.asarray(normal / np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-9)[:, None])


def _ribbon(line: Array, width: float) -> Array:
    """A line as a polygon that is `width` cm wide."""
    off = _normals(line) * (width / 2)
    return np.concatenate([line + off, (line - off)[::-1]])


def _grow(polygon: Array, by: float) -> Array:
    """A polygon pushed outwards; good for the smooth shapes here."""
    along = np.roll(polygon, -1, 0) - np.roll(polygon, 1, 0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    normal /= np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-9)[:, None]
    x, y = polygon[:, 0], polygon[:, 1]
    turning = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    return np.asarray(polygon + normal * (by if turning > 0 else -by))
