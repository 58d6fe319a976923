"""What a decoding process does with one file. Free of torch, so that a worker starts fast and stays small."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from echosearch.errors import InaccessibleVideo, UnsupportedVideo
from echosearch.types import FrameSampling, PreparedVideo, PreprocessSpec, VideoFacts
from echosearch.video.files import content_sha256, named_refusals
from echosearch.video.prepare import prepare, sides
from echosearch.video.read import open_media


def prepare_video(path: Path, sampling: FrameSampling, spec: PreprocessSpec) -> PreparedVideo:
    """Read and prepare the sampled frames of one file. UnreadableVideo or UnsupportedVideo say why not."""
    with named_refusals():
        return _prepare_video(path, sampling, spec)


def _prepare_video(path: Path, sampling: FrameSampling, spec: PreprocessSpec) -> PreparedVideo:
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
