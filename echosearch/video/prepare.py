"""Frames to pixels, exactly as one `PreprocessSpec` says. The only place with crop and resize arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from echosearch.errors import UnsupportedVideo
from echosearch.types import PreprocessSpec

Picture = npt.NDArray[np.uint8]

# OpenCV's threads would compete with the other workers and with the encoder.
cv2.setNumThreads(1)

_OPENCV = {
    "bicubic": cv2.INTER_CUBIC,
    "bilinear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "area": cv2.INTER_AREA,
}
_PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


def prepare(frames: Iterable[Picture], spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
    """RGB frames (H, W, 3) uint8 as pixels (T, 3, S, S) uint8 in the spec's channel order."""
    pixels = [_prepare_frame(frame, spec) for frame in frames]
    return np.stack(pixels) if pixels else np.empty((0, 3, spec.size, spec.size), np.uint8)


def _prepare_frame(frame: Picture, spec: PreprocessSpec) -> Picture:
    picture = _FITS[spec.fit](frame, spec)
    if spec.channel_order == "bgr":
        picture = picture[:, :, ::-1]
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def _crop_resize(frame: Picture, spec: PreprocessSpec) -> Picture:
    """Centre crop, zoom, resize: EchoCLIP's published arithmetic (echonet/echo_CLIP, arXiv 2308.15670).

    The centre crop may leave one row or column too many; the resize squeezes it, as published. Where the
    published crop would leave nothing (a difference of one pixel, a side under 10 pixels), nothing is dropped.
    """
    height, width = frame.shape[:2]
    columns, rows = max(0, round((width - height) / 2)), max(0, round((height - width) / 2))
    square = _drop_edges(frame, rows, columns)
    height, width = square.shape[:2]
    zoomed = _drop_edges(square, round(int(height * spec.zoom)), round(int(width * spec.zoom)))
    return _resize(zoomed, spec.size, spec.size, spec)


def _drop_edges(picture: Picture, rows: int, columns: int) -> Picture:
    height, width = picture.shape[:2]
    rows, columns = min(rows, (height - 1) // 2), min(columns, (width - 1) // 2)  # a 4x1 picture keeps its middle
    return picture[rows : height - rows, columns : width - columns]


def _squash(frame: Picture, spec: PreprocessSpec) -> Picture:
    return _resize(frame, spec.size, spec.size, spec)


def _resize_crop(frame: Picture, spec: PreprocessSpec) -> Picture:
    """open_clip's `shortest`: torchvision's Resize truncates the longer side, its CenterCrop rounds the offset."""
    height, width = frame.shape[:2]
    size = spec.size
    if width <= height:
        resized = _resize(frame, int(size * height / width), size, spec)
    else:
        resized = _resize(frame, size, int(size * width / height), spec)
    top = round((resized.shape[0] - size) / 2)
    left = round((resized.shape[1] - size) / 2)
    return resized[top : top + size, left : left + size]


def _resize_pad(frame: Picture, spec: PreprocessSpec) -> Picture:
    """open_clip's `longest`: both sides are rounded, and the padding's odd pixel goes right and below."""
    height, width = frame.shape[:2]
    size = spec.size
    ratio = max(height / size, width / size)
    new_height, new_width = round(height / ratio), round(width / ratio)
    if min(new_height, new_width) < 1:
        raise UnsupportedVideo(f"a picture of {width}x{height} pixels has no side left at size {size}")
    resized = _resize(frame, new_height, new_width, spec)
    padded = np.full((size, size, 3), spec.fill, np.uint8)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    padded[top : top + new_height, left : left + new_width] = resized
    return padded


def _resize(picture: Picture, height: int, width: int, spec: PreprocessSpec) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture
    if spec.resizer == "pillow":
        image = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(image.resize((width, height), _PILLOW[spec.interpolation]))
    resized = cv2.resize(picture, (width, height), interpolation=_OPENCV[spec.interpolation])
    return np.asarray(resized, np.uint8)


_FITS = {
    "crop-resize": _crop_resize,
    "resize-crop": _resize_crop,
    "resize-pad": _resize_pad,
    "squash": _squash,
}
