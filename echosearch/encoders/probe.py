"""The fixed clip and phrases by which a machine shows that it makes the same vectors. Knows no model."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

PROBE_PHRASES: Final = (
    "THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE 55% ",
    "ECHO DENSITY IN RIGHT VENTRICLE SUGGESTIVE OF CATHETER, PACER LEAD, OR ICD LEAD. ",
    "red left",
)


def probe_clip() -> npt.NDArray[np.uint8]:
    """Two RGB frames (2, 240, 320, 3) uint8 of smooth coloured ramps, from integer arithmetic alone."""
    t, y, x = np.mgrid[0:2, 0:240, 0:320]
    red = np.abs((2 * x + 60 * t) % 510 - 255)
    green = np.abs((3 * y + 90 * t) % 510 - 255)
    blue = np.abs((x + 2 * y + 120 * t) % 510 - 255)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)
