"""A file to pixels, exactly as one `PreprocessSpec` says. The only place with crop and resize arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from echosearch.errors import InaccessibleVideo, UnsupportedVideo
from echosearch.types import FrameSampling, PreparedVideo, PreprocessSpec, VideoFacts
from echosearch.video.files import content_sha256, named_refusals
from echosearch.video.read import open_media

Picture = npt.NDArray[np.uint8]
AnyPicture = Picture | Image.Image
"""RGB pixels (H, W, 3), or a still in its own mode, which is resized in it as open_clip does."""

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


@named_refusals()
def prepare_video(path: Path, sampling: FrameSampling, spec: PreprocessSpec) -> PreparedVideo:
    """Read and prepare the sampled frames of one file. UnreadableVideo or UnsupportedVideo say why not."""
    before = path.stat()
    media = open_media(path)
    frame_numbers = sampling.frame_numbers(media.num_frames)
    if not frame_numbers:
        raise UnsupportedVideo(f"it has {media.num_frames} frames, and the sampling ({sampling}) starts after them")
    frames = media.pictures(frame_numbers)
    first = next(frames)
    facts = VideoFacts(media.kind, media.num_frames, *sides(first), media.fps)
    pixels = prepare(chain([first], frames), spec)
    digest = content_sha256(path)
    now = path.stat()
    if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise InaccessibleVideo("the file was changed while it was being read; ingest it again")
    return PreparedVideo(facts, digest, np.asarray(frame_numbers, np.int32), pixels)


def prepare(frames: Iterable[AnyPicture], spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
    """RGB frames (H, W, 3) uint8, or stills in their own mode, as pixels (T, 3, S, S) uint8 in the spec's order.

    A still becomes RGB where the spec's authors do it: before `crop-resize` and OpenCV, after open_clip's other fits.
    """
    pixels = [_prepare_frame(frame, spec) for frame in frames]
    return np.stack(pixels) if pixels else np.empty((0, 3, spec.size, spec.size), np.uint8)


def _prepare_frame(frame: AnyPicture, spec: PreprocessSpec) -> Picture:
    picture = _rgb(_FITS[spec.fit](frame if spec.resizer == "pillow" else _rgb(frame), spec))
    if spec.channel_order == "bgr":
        picture = picture[:, :, ::-1]
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def _rgb(picture: AnyPicture) -> Picture:
    return np.asarray(picture.convert("RGB")) if isinstance(picture, Image.Image) else picture


def _crop_resize(frame: AnyPicture, spec: PreprocessSpec) -> AnyPicture:
    """Centre crop, zoom, resize: EchoCLIP's published arithmetic (echonet/echo_CLIP, arXiv 2308.15670).

    The centre crop may leave one row or column too many; the resize squeezes it, as published. Where the
    published crop would leave nothing (a difference of one pixel, a side under 10 pixels), nothing is dropped.
    """
    height, width = sides(frame)
    columns, rows = max(0, round((width - height) / 2)), max(0, round((height - width) / 2))
    square = _drop_edges(_rgb(frame), rows, columns)
    height, width = square.shape[:2]
    zoomed = _drop_edges(square, round(int(height * spec.zoom)), round(int(width * spec.zoom)))
    return _resize(zoomed, spec.size, spec.size, spec)


def _drop_edges(picture: Picture, rows: int, columns: int) -> Picture:
    height, width = picture.shape[:2]
    rows, columns = min(rows, (height - 1) // 2), min(columns, (width - 1) // 2)  # a 4x1 picture keeps its middle
    return picture[rows : height - rows, columns : width - columns]


def _squash(frame: AnyPicture, spec: PreprocessSpec) -> AnyPicture:
    return _resize(frame, spec.size, spec.size, spec)


def _resize_crop(frame: AnyPicture, spec: PreprocessSpec) -> AnyPicture:
    """open_clip's `shortest`: torchvision's Resize truncates the longer side, its CenterCrop rounds the offset."""
    height, width = sides(frame)
    size = spec.size
    if width <= height:
        resized = _resize(frame, int(size * height / width), size, spec)
    else:
        resized = _resize(frame, size, int(size * width / height), spec)
    height, width = sides(resized)
    top, left = round((height - size) / 2), round((width - size) / 2)
    if isinstance(resized, Image.Image):
        return resized.crop((left, top, left + size, top + size))
    return resized[top : top + size, left : left + size]


def _resize_pad(frame: AnyPicture, spec: PreprocessSpec) -> AnyPicture:
    """open_clip's `longest`: both sides are rounded, and the padding's odd pixel goes right and below.

    In a still's own mode every channel is filled, alpha too, and a palette with its colour of that number.
    """
    height, width = sides(frame)
    size = spec.size
    ratio = max(height / size, width / size)
    new_height, new_width = round(height / ratio), round(width / ratio)
    if min(new_height, new_width) < 1:
        raise UnsupportedVideo(f"a picture of {width}x{height} pixels has no side left at size {size}")
    resized = _resize(frame, new_height, new_width, spec)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    if isinstance(resized, Image.Image):
        bands = len(resized.getbands())
        border = (left, top, size - new_width - left, size - new_height - top)
        padded_still: Image.Image = ImageOps.expand(resized, border, spec.fill if bands == 1 else (spec.fill,) * bands)
        return padded_still
    padded = np.full((size, size, 3), spec.fill, np.uint8)
    padded[top : top + new_height, left : left + new_width] = resized
    return padded


def sides(picture: AnyPicture) -> tuple[int, int]:
    """Height and width."""
    return (picture.height, picture.width) if isinstance(picture, Image.Image) else picture.shape[:2]


def _resize(picture: AnyPicture, height: int, width: int, spec: PreprocessSpec) -> AnyPicture:
    if sides(picture) == (height, width):
        return picture
    if isinstance(picture, Image.Image):
        return picture.resize((width, height), _PILLOW[spec.interpolation])
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
