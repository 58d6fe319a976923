"""Hits as one picture: the best-matching frame of each, with rank and score. Reads videos, knows no index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from echosearch.cohort import Audit, Cohort
from echosearch.errors import EchoSearchError
from echosearch.files import GENERATOR
from echosearch.outputs import Output
from echosearch.types import Hit, VideoRecord
from echosearch.video import open_media

_TILE: Final = (320, 240)
_CAPTION: Final = 44
_GAP: Final = 8
_COLUMNS: Final = 5
_BACKGROUND: Final = (24, 24, 28)
_TEXT: Final = (235, 235, 235)
_FAINT: Final = (150, 150, 158)


def write_contact_sheet(output: Output, title: str, hits: Sequence[Hit], notes: Sequence[str] = ()) -> list[str]:
    """Write a PNG with a tile for each hit; gives a warning for each video whose frame could not be read."""
    columns = min(_COLUMNS, max(1, len(hits)))
    rows = -(-len(hits) // columns)
    header = 30 + 18 * len(notes)
    width = max(_GAP + columns * (_TILE[0] + _GAP), 2 * (_TILE[0] + _GAP))
    sheet = Image.new("RGB", (width, header + rows * (_TILE[1] + _CAPTION + _GAP) + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    draw.text((_GAP, 6), _fit(draw, title, font, width - 2 * _GAP), _TEXT, font)
    for line, note in enumerate(notes):
        draw.text((_GAP, 28 + 18 * line), _fit(draw, note, small, width - 2 * _GAP), _FAINT, small)
    warnings = []
    for position, hit in enumerate(hits):
        left = _GAP + position % columns * (_TILE[0] + _GAP)
        top = header + position // columns * (_TILE[1] + _CAPTION + _GAP)
        try:
            sheet.paste(_tile(hit), (left, top))
        except EchoSearchError as error:
            warnings.append(f"no picture of {hit.path}: {error}")
            draw.rectangle((left, top, left + _TILE[0] - 1, top + _TILE[1] - 1), outline=_FAINT)
            draw.text((left + 12, top + 110), _fit(draw, f"no picture: {error}", small, 296), _FAINT, small)
        draw.text((left, top + _TILE[1] + 3), f"{hit.rank}.  {hit.score:.4f}   video {hit.video_id}", _TEXT, font)
        where = "" if hit.best_frame is None else f"  frame {hit.best_frame}"
        name = _fit(draw, _printable(Path(hit.path).name), small, _TILE[0] - 90)
        draw.text((left, top + _TILE[1] + 23), name + where, _FAINT, small)
    marked = PngInfo()
    marked.add_text("Software", GENERATOR)
    with output.writing() as file:
        sheet.save(file, "PNG", pnginfo=marked)
    return warnings


def tiles(cohort: Cohort, audit: Audit, records: Mapping[int, VideoRecord]) -> list[Hit]:
    """The first video of each unit of an audit with its middle frame; `records` by the ids of the cohort."""
    members = {member.unit: member for member in cohort.members}
    found = []
    for row, unit in enumerate(audit.units, start=1):
        member = members[unit]
        record = next((records[video_id] for video_id in member.video_ids if video_id in records), None)
        if record is not None:
            found.append(
                Hit(
                    rank=row,
                    score=member.score if member.score is not None else member.margin or 0.0,
                    percentile=0.0,
                    video_id=record.video_id,
                    path=record.path,
                    study=record.study,
                    patient=record.patient,
                    view=record.view,
                    best_frame=record.num_frames // 2,
                    best_time_seconds=None,
                    view_predicted=record.view_predicted,
                )
            )
    return found


def _tile(hit: Hit) -> Image.Image:
    """The hit's best frame (its first where none is known), fitted into a tile on black."""
    frame = next(iter(open_media(Path(hit.path)).frames([hit.best_frame or 0])))
    picture = Image.fromarray(frame)
    picture.thumbnail(_TILE)
    tile = Image.new("RGB", _TILE)
    tile.paste(picture, ((_TILE[0] - picture.width) // 2, (_TILE[1] - picture.height) // 2))
    return tile


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return shown.encode("ascii", "backslashreplace").decode()


def _fit(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels."""
    text = _printable(text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."
