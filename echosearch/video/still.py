"""Stills by Pillow: upright, 8 bits, in the mode that the file holds. Knows no preprocessing and no model."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from echosearch.errors import UnreadableVideo, UnsupportedVideo

_PILLOW_RAISES: Final = (SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)
"""What damaged pictures come to in Pillow, where it does not look at what it reads."""

_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes of 8 bits or fewer that have one meaning as RGB."""

_BITS_PER_SAMPLE: Final = 258
_PHOTOMETRIC: Final = 262
_ORIENTATION: Final = 274
"""Tags of TIFF 6.0; EXIF has the last as well."""


def read_still(path: Path) -> Image.Image:
    """The picture of a file, turned as its EXIF says, in its own mode. UnreadableVideo or UnsupportedVideo say why not.

    Of a camera's JPEG with further pictures (MPO) it is the first; 16 bits become 8 by round(v / 257).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # By the open file: Pillow maps grey TIFFs that it opens by name, and scrambles those to be turned.
            with path.open("rb") as file, Image.open(file) as image:
                return _upright(image, path)
    except UnidentifiedImageError as error:
        raise UnreadableVideo("it is not a picture in a supported format, whatever its name says") from error
    except (OSError, *_PILLOW_RAISES) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, not Pillow's
        raise UnreadableVideo("the picture is damaged or cut off") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise UnsupportedVideo(f"the still is too large: it has more than {limit} pixels") from error


def _upright(image: Image.Image, path: Path) -> Image.Image:
    pages = getattr(image, "n_frames", 1)
    if pages != 1 and image.format != "MPO":
        raise UnsupportedVideo(f"a still with {pages} pages; give one picture per file")
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS_PER_SAMPLE, (8,))) if tags else 16 if ";16" in str(getattr(image, "tile", "")) else 8
    if bits not in (1, 2, 4, 8, 16) or (image.mode not in _MODES and not image.mode.startswith("I;16")):
        raise UnsupportedVideo(
            f"a still with {image.mode} pixels of {bits} bits; convert it to 8 bits with the window you want"
        )
    image.load()  # a TIFF is upright after it, and then says so
    if bits == 16:
        image = _eight_bits(image, path, is_white_zero=tags.get(_PHOTOMETRIC) == 0)
    image = ImageOps.exif_transpose(image)
    image.info.pop("transparency", None)  # RGB has none, and Pillow would warn
    return image


def _eight_bits(image: Image.Image, path: Path, *, is_white_zero: bool) -> Image.Image:
    """round(v / 257). Colours by OpenCV, because Pillow keeps their high bytes only; by these the two must agree."""
    samples: npt.NDArray[Any]
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        samples = 65535 - grey if is_white_zero else grey
    else:
        found: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        samples = np.zeros((1, 1, 3), np.uint8) if found is None or found.ndim != 3 else found
        samples = samples[..., [2, 1, 0, 3][: min(len(image.getbands()), samples.shape[2])]]
        if samples.dtype != np.uint16 or not np.array_equal(samples >> 8, np.asarray(image)):
            raise UnsupportedVideo("a 16-bit still that Pillow and OpenCV read differently; convert it to 8 bits")
    eight = Image.fromarray(((samples.astype(np.uint32) + 128) // 257).astype(np.uint8))
    eight.getexif()[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    return eight
