"""An index of phantoms made in minutes: frames are rendered and embedded, and no video file is written.

    python scripts/phantom_index.py OUT --studies 700 --seed 312 [--frames float32]

What an ingest of `echosearch phantom make` would see but for the codec: each frame goes through a JPEG instead. The
metadata are those of the archive's manifest. For evaluations; run again on an index that is whole, nothing is done.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from echosearch.encoders import load_encoder
from echosearch.index import Batch, Store
from echosearch.index.catalog import NewVideo, VideoMetadata
from echosearch.index.description import probe
from echosearch.index.vectors import FramesDtype, StoredVideo
from echosearch.phantom import Study, Video, draw_studies, render
from echosearch.types import EncodedVideo, FrameSampling, ModelRequest, PreprocessSpec, VideoFacts, pool
from echosearch.video import prepare

SAMPLING: Final = FrameSampling.parse("0:40:2")
QUALITY: Final = 85
AT_ONCE: Final = 64


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--studies", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--frames", choices=["float32", "float16"], default="float32")
    arguments = parser.parse_args()
    studies = phantom_index(arguments.out, arguments.studies, arguments.seed, frames_dtype=arguments.frames)
    print(f"{sum(len(study.videos) for study in studies)} videos in {arguments.out}")


def phantom_index(
    path: Path,
    count: int,
    seed: int,
    request: ModelRequest | None = None,
    frames_dtype: FramesDtype = "float32",
    workers: int = 2,
) -> tuple[Study, ...]:
    """An index of `count` studies of a seed; gives their truth. One not whole or of another recipe is made anew."""
    studies = draw_studies(count, seed)
    videos = [video for study in studies for video in study.videos]
    encoder = load_encoder(request or ModelRequest("echo-mini"), "phantoms rendered, no decoder")
    if path.exists():
        with Store(path).snapshot() as snapshot:
            is_of_it = snapshot.description.recipe.id == encoder.card.recipe.id  # weights may have been trained anew
            if len(snapshot.rows) == len(videos) and is_of_it:
                return studies
        shutil.rmtree(path)
    store = Store.create(path, encoder.card, probe(encoder), frames_dtype)
    dates = {study.study_id: study.acquired_at.isoformat() for study in studies}
    tasks = [(video, encoder.card.recipe.preprocess) for video in videos]
    with multiprocessing.get_context("spawn").Pool(workers) as pool_of_workers, store.writer() as writer:
        waiting: list[tuple[NewVideo, StoredVideo]] = []
        for number, pixels in enumerate(pool_of_workers.imap(_pixels, tasks, chunksize=4)):
            video = videos[number]
            rows = encoder.encode_pixels(pixels)
            numbers = np.array(SAMPLING.frame_numbers(video.num_frames), np.int32)
            waiting.append((_new(video, dates[video.study]), StoredVideo.of(EncodedVideo(rows, numbers, pool(rows)))))
            if len(waiting) == AT_ONCE or number + 1 == len(videos):
                types = {name: _type(value) for name, value in waiting[0][0].metadata.attributes.items()}
                writer.declare_attributes(types)
                writer.commit(Batch(waiting), encoder.card.numerics)
                waiting = []
                print(f"\r{number + 1}/{len(videos)} videos", end="", flush=True)
        writer.finish()
    print()
    store.close()
    return studies


def _pixels(task: tuple[Video, PreprocessSpec]) -> npt.NDArray[np.uint8]:
    video, spec = task
    cv2.setNumThreads(1)
    frames = render(video, SAMPLING.frame_numbers(video.num_frames))
    coded = [cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1], 1) for frame in frames]
    return prepare(coded, spec)


def _new(video: Video, acquired_at: str) -> NewVideo:
    truth: dict[str, Any] = asdict(video.truth)
    attributes = {
        name: int(value) if isinstance(value, bool) else "normal" if value is None else value
        for name, value in truth.items()
    }
    folder = Path("/phantoms")
    return NewVideo(
        video_id=0,
        root=folder,
        path=folder / video.name,
        facts=VideoFacts("video", video.num_frames, video.height, video.width, video.fps),
        num_embedded_frames=len(SAMPLING.frame_numbers(video.num_frames)),
        content_sha256=hashlib.sha256(video.video_id.encode()).hexdigest(),
        size_bytes=1,
        mtime_ns=1,
        metadata=VideoMetadata(video.study, video.patient, video.view, acquired_at, attributes),
    )


def _type(value: object) -> Any:
    return "text" if isinstance(value, str) else "integer" if isinstance(value, int) else "real"


def truth_of(studies: Sequence[Study]) -> dict[str, Video]:
    """File name -> video."""
    return {video.name: video for study in studies for video in study.videos}


if __name__ == "__main__":
    main()
