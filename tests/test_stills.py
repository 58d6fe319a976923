"""Stills: turned as EXIF says, 16 bits to 8 alike, and resized in their own mode where open_clip does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from echosearch.encoders.torchvision_import import import_torchvision
from echosearch.errors import UnsupportedVideo
from echosearch.types import FrameSampling, PreprocessSpec
from echosearch.video import open_media, prepare_video

ORIENTATION = 274


def frame_of(path: Path) -> npt.NDArray[np.uint8]:
    (frame,) = open_media(path).frames([0])
    return frame


def noise(*shape: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    return np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


# Turns: by hand, after the EXIF standard's table (the row and column that the stored first row and column show)

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif", "webp.png"])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_still_is_turned_as_its_exif_says_in_every_format(tmp_path: Path, name: str, turn: int, bands: int) -> None:
    # Pillow scrambles uncompressed grey TIFFs that it opens by name; WebP comes under another format's name.
    stored = noise(7, 9, bands) if bands == 3 else noise(7, 9)
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[ORIENTATION] = turn
    more: dict[str, Any] = {"format": "WEBP", "lossless": True} if name == "webp.png" else {}
    if name == "lzw.tif":
        more = {"compression": "tiff_lzw"}
    picture.save(tmp_path / name, exif=exif, **more)
    if name == "a.jpg":
        stored = cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[:, :, ::-1]
    expected = np.broadcast_to(TURNS[turn](stored.reshape(7, 9, -1)), (*TURNS[turn](stored).shape[:2], 3))
    np.testing.assert_allclose(frame_of(tmp_path / name), expected, atol=2 if name == "a.jpg" else 0)


def test_of_a_cameras_jpeg_with_further_pictures_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(noise(16, 24, 3)), Image.new("RGB", (24, 16), "red")
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    with Image.open(path) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    np.testing.assert_allclose(frame_of(path), cv2.imread(str(path))[:, :, ::-1], atol=2)


# 16 bits


def rounded(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    return np.array([round(int(v) / 257) for v in values.ravel()], np.uint8).reshape(values.shape)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_16_bits_become_8_by_rounding_in_grey_and_colour_alike(tmp_path: Path, suffix: str, bands: int) -> None:
    values = noise(20, 30, bands, dtype=np.uint16)
    values[0, :5] = np.array([0, 128, 129, 65406, 65535])[:, None]
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.squeeze(values))
    found = frame_of(tmp_path / f"a.{suffix}")
    assert found[0, :5, 0].tolist() == [0, 0, 1, 254, 255]  # by hand: 128 / 257 = 0.498, 129 / 257 = 0.502
    colours = values[:, :, 2::-1] if bands > 1 else values.repeat(3, axis=2)
    np.testing.assert_array_equal(found, rounded(colours))


def test_16_bit_grey_with_alpha_is_read(tmp_path: Path) -> None:
    import av

    values = noise(16, 16, 2, dtype=np.uint16)
    with av.open(str(tmp_path / "a.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "ya16be"
        frame = av.VideoFrame(16, 16, "ya16be")
        frame.planes[0].update(values.astype(">u2").tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.testing.assert_array_equal(frame_of(tmp_path / "a.png"), rounded(values[:, :, :1]).repeat(3, axis=2))


@pytest.mark.parametrize("turn", [3, 6])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_16_bit_still_is_turned_too(tmp_path: Path, turn: int, compression: str | None) -> None:
    values = noise(7, 9, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={ORIENTATION: turn}, compression=compression)
    Image.fromarray(values).save(tmp_path / "a.png", exif=_exif(turn))
    for name in ("a.tif", "a.png"):
        np.testing.assert_array_equal(frame_of(tmp_path / name)[:, :, 0], TURNS[turn](rounded(values)))


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return exif


def test_16_bits_whose_zero_is_white_are_read_so(tmp_path: Path) -> None:
    values = noise(7, 9, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = data.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little")) + 8
    data[at] = 0  # PhotometricInterpretation: WhiteIsZero
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(frame_of(tmp_path / "a.tif")[:, :, 0], rounded(65535 - values))


def test_a_16_bit_still_that_two_decoders_read_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), noise(7, 9, 3, dtype=np.uint16))
    for other in (None, noise(7, 9, 3, dtype=np.uint16) // 2, noise(7, 9), noise(7, 9, 3)):
        monkeypatch.setattr(cv2, "imdecode", lambda *_, other=other: other)
        with pytest.raises(UnsupportedVideo, match=r"^a 16-bit still that Pillow and OpenCV read differently;"):
            open_media(tmp_path / "a.png")


# Their own mode


def stills() -> dict[str, Image.Image]:
    colour = Image.fromarray(noise(231, 457, 3))
    palette = colour.quantize(17)
    clear = palette.copy()
    clear.info["transparency"] = bytes(range(0, 170, 10))
    return {
        "bits.png": Image.fromarray(noise(231, 457)).convert("1"),
        "grey.png": Image.fromarray(noise(231, 457)),
        "grey-alpha.png": Image.fromarray(noise(231, 457, 2), "LA"),
        "palette.png": palette,
        "clear-palette.png": clear,
        "palette.bmp": palette,
        "rgb.png": colour,
        "rgba.png": Image.fromarray(noise(231, 457, 4), "RGBA"),
        "rgba.tif": Image.fromarray(noise(231, 457, 4), "RGBA"),
        "cmyk.tif": colour.convert("CMYK"),
        "cmyk.jpg": colour.convert("CMYK"),
    }


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("name", stills())
@pytest.mark.parametrize(
    ("resize_mode", "fit"), [("shortest", "resize-crop"), ("longest", "resize-pad"), ("squash", "squash")]
)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # in Pillow, under open_clip
def test_stills_of_every_mode_are_prepared_as_by_open_clips_transform(
    tmp_path: Path, resize_mode: str, fit: Any, interpolation: Any, name: str, turn: int
) -> None:
    import_torchvision()
    from open_clip.transform import image_transform

    picture = stills()[name]
    more: dict[str, Any] = {} if name.endswith("bmp") else {"exif": _exif(turn)}
    if "transparency" in picture.info:
        more["transparency"] = picture.info["transparency"]
    picture.save(tmp_path / name, **more)
    transform = image_transform(64, False, resize_mode=resize_mode, interpolation=interpolation, fill_color=5)
    with (tmp_path / name).open("rb") as file, Image.open(file) as own:  # by name, Pillow scrambles turned RGBA TIFFs
        assert own.mode == picture.mode
        expected = ImageOps.exif_transpose(own)
    for step in transform.transforms[:-2]:
        expected = step(expected)
    spec = PreprocessSpec(64, fit, "pillow", interpolation, mean=(0.0,) * 3, std=(1.0,) * 3, fill=5)
    prepared = prepare_video(tmp_path / name, FrameSampling(), spec)
    np.testing.assert_array_equal(prepared.pixels[0], np.asarray(expected).transpose(2, 0, 1))
    facts = prepared.facts
    assert (facts.height, facts.width) == ((457, 231) if turn == 6 and more else (231, 457))


@pytest.mark.parametrize("name", stills())
def test_for_echoclip_a_still_becomes_rgb_first(tmp_path: Path, name: str) -> None:
    picture = stills()[name]
    picture.save(tmp_path / name)
    Image.fromarray(frame_of(tmp_path / name)).save(tmp_path / "rgb.png")
    spec = PreprocessSpec(64, "crop-resize", "opencv", "bicubic", mean=(0.0,) * 3, std=(1.0,) * 3, zoom=0.1)
    found, expected = (prepare_video(tmp_path / n, FrameSampling(), spec).pixels for n in (name, "rgb.png"))
    np.testing.assert_array_equal(found, expected)
