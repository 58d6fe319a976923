"""What a ruler on a single frame would read: the ceiling for methods that look at stills. Knows no noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from echosearch.phantom.heart import Array
from echosearch.phantom.render import Motion, check_frame_numbers
from echosearch.phantom.study import Video
from echosearch.phantom.views import Scene, draw_scene

CUES: Final = (
    "lv_area", "lv_length", "lv_width", "lv_sphericity", "lv_apex_width", "wall_thickness", "wall_to_cavity", "la_area",
    "la_width", "rv_area", "rv_width", "ra_area", "leaflet_opening", "tenting", "effusion", "smoke",
)  # fmt: skip
"""Columns of `frame_cues`; lengths in parts of the sector's depth, areas in parts of its square."""


def frame_cues(video: Video, frame_numbers: Sequence[int] | None = None) -> Array:
    """(T, len(CUES)) float64: the geometry as drawn in each frame; NaN where the view does not show it."""
    numbers = list(range(video.num_frames)) if frame_numbers is None else [int(number) for number in frame_numbers]
    check_frame_numbers(video, numbers)
    motion = Motion(video)
    rows = [_row(video, draw_scene(video, *motion.at(number))) for number in numbers]
    return np.array(rows, np.float64).reshape(len(rows), len(CUES))


def _row(video: Video, scene: Scene) -> list[float]:
    depth = video.look.depth_cm
    told = {name: value / depth for name, value in scene.measures.items()}
    told |= {f"{name}_area": _area(points) / depth**2 for name, points in scene.outlines.items()}
    told["smoke"] = video.company.smoke
    told["wall_to_cavity"] = told["wall_thickness"] / told["lv_width"]
    if "lv_length" in told:
        told["lv_sphericity"] = told["lv_width"] / told["lv_length"]
        lv = scene.outlines["lv"]
        apex = len(lv) // 2
        told["lv_apex_width"] = float(np.linalg.norm(lv[apex - 8] - lv[apex + 8])) / depth
    return [told.get(name, np.nan) for name in CUES]


def _area(points: Array) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
