"""A picture of five phantoms a view beside frames of real videos, to be looked at.

    python scripts/phantom_sheet.py sheet.png [--clips ../shared/clips] [--seed 9]

Real videos are not part of the project: without a folder of them the sheet shows phantoms alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from echosearch.phantom import VIEWS, Video, draw_studies, render
from echosearch.types import FrameSampling
from echosearch.video import open_media

TILE: Final = 200
EACH: Final = 5
SAMPLING: Final = FrameSampling.parse("0:40:2")
Picture = npt.NDArray[np.uint8]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path, default=Path("../shared/clips"))
    parser.add_argument("--seed", type=int, default=9)
    arguments = parser.parse_args()
    rows = [row(f"phantom {view}", phantoms(view, arguments.seed)) for view in VIEWS]
    real = sorted(file for file in arguments.clips.glob("*") if file.suffix in (".avi", ".mp4"))
    for first in range(0, len(real), EACH):
        rows.append(row("real", [tile(middle_frame(file)) for file in real[first : first + EACH]]))
    cv2.imwrite(str(arguments.out), np.vstack(rows)[..., ::-1])
    print(f"wrote {arguments.out}: {len(VIEWS)} rows of phantoms, {len(real)} real videos")


def phantoms(view: str, seed: int) -> list[Picture]:
    """The first videos of a view, each at another moment of its beat."""
    videos: list[Video] = [video for study in draw_studies(40, seed) for video in study.videos if video.view == view]
    return [tile(render(video, [4 * n])[0]) for n, video in enumerate(videos[:EACH])]


def middle_frame(file: Path) -> Picture:
    """A frame (H, W, 3) of a real video, as ingest decodes it."""
    media = open_media(file)
    numbers = SAMPLING.frame_numbers(media.num_frames)
    return np.asarray(next(iter(media.frames([numbers[len(numbers) // 2]]))))


def tile(picture: Picture) -> Picture:
    """The whole picture in a square."""
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    square = np.zeros((TILE, TILE, 3), np.uint8)
    top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def row(title: str, tiles: Sequence[Picture]) -> Picture:
    """Tiles side by side under a line of text."""
    empty = np.zeros((TILE, TILE, 3), np.uint8)
    pictures = np.hstack([*tiles, *[empty] * (EACH - len(tiles))])
    head = np.full((24, pictures.shape[1], 3), 40, np.uint8)
    cv2.putText(head, title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([head, pictures])


if __name__ == "__main__":
    main()
