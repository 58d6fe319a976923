"""Is ingest as fast as the encoder allows? Ratios measured in one run, start-up apart.

    python scripts/bench_ingest.py [--videos DIR] [--model local-dir:.cache/echo-clip-twin] [--repeats 3]

1. Decode and prepare, CPU seconds a video on one thread: the published way (OpenCV decodes every frame, each is
   cropped, resized and turned into a normalised tensor through PIL) against ours.
2. Videos a second with the model: the published way (the above, then the sampled frames encoded), `ingest`, and the
   encoder alone on tensors that are ready. Ingest and encoder alternate; medians.
3. Overlap: a stand-in encoder that sleeps as long as decoding takes, so that only waiting can make the sum longer.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from echosearch.encoders import Encoder, load_encoder
from echosearch.encoders.toy import ToyBackend
from echosearch.ingest import IngestOptions, ingest
from echosearch.types import EncoderCard, IngestReport, ModelRequest, PreprocessSpec
from echosearch.video import decoder_name, find_media, prepare_video

ROOT = Path(__file__).resolve().parent.parent
SIZE = 224


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=ROOT.parent / "shared" / "clips")
    parser.add_argument("--model", default=f"local-dir:{ROOT / '.cache' / 'echo-clip-twin'}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-model", action="store_true", help="only parts 1 and 3")
    arguments = parser.parse_args()
    paths, _ = find_media(arguments.videos)

    encoder = load_encoder(ModelRequest(arguments.model), decoder_name())
    measure_decoding(paths, encoder)
    if not arguments.skip_model:
        measure_ingest(paths, encoder, arguments.model, arguments.repeats)
    measure_overlap(paths, encoder.card, arguments.repeats)


def measure_decoding(paths: list[Path], encoder: Encoder) -> None:
    """Part 1."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    published, ours = [], []
    for _ in range(3):
        published.append(_cpu_seconds(lambda: [published_tensors(path, encoder.card) for path in paths]))
        ours.append(_cpu_seconds(lambda: [_prepare(path, encoder.card) for path in paths]))
    torch.set_num_threads(torch.get_num_interop_threads())
    per_video = [statistics.median(seconds) / len(paths) for seconds in (published, ours)]
    print(f"decode + prepare, CPU s/video: published {per_video[0]:.3f}, ours {per_video[1]:.3f}")
    print(f"  ours / published: {per_video[1] / per_video[0]:.2f}   (bar: at most 0.50)", flush=True)


def measure_ingest(paths: list[Path], encoder: Encoder, model: str, repeats: int) -> None:
    """Part 2."""
    import torch

    torch.set_num_threads(2)
    backend: Any = encoder.backend
    pixels = np.concatenate([_prepare(path, encoder.card) for path in paths])
    batches = [pixels[first : first + encoder.batch_frames] for first in range(0, len(pixels), encoder.batch_frames)]
    tensors = [backend.tensor(batch) for batch in batches]
    alone, whole = [], []
    for repeat in range(repeats):
        started = time.perf_counter()
        for tensor in tensors:
            backend.encode_tensor(tensor)
        alone.append(len(paths) / (time.perf_counter() - started))
        report = _ingest_once(paths, IngestOptions(ModelRequest(model)), lambda request, decoder: encoder)
        whole.append(len(paths) / report.seconds_working)
        print(
            f"run {repeat + 1}: encoder alone {alone[-1]:.4f} videos/s, ingest {whole[-1]:.4f} videos/s, "
            f"ratio {whole[-1] / alone[-1]:.3f}; ingest's start-up {report.seconds_starting:.1f} s",
            flush=True,
        )
    started = time.perf_counter()
    for path in paths:
        backend.encode_tensor(published_tensors(path, encoder.card))
    published = len(paths) / (time.perf_counter() - started)
    ratios = [ours / theirs for ours, theirs in zip(whole, alone, strict=True)]
    print(
        f"videos/s: published way {published:.4f}, ingest {statistics.median(whole):.4f}, "
        f"encoder alone {statistics.median(alone):.4f}"
    )
    print(f"  ingest / encoder alone: {statistics.median(ratios):.3f} (median)   (bar: at least 0.95)", flush=True)


def measure_overlap(paths: list[Path], card: EncoderCard, repeats: int) -> None:
    """Part 3."""
    spec, sampling = card.recipe.preprocess, card.recipe.sampling
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for number in range(6):
            for path in paths:
                copy = Path(folder, f"{number}-{path.name}")
                shutil.copy(path, copy)
                with copy.open("ab") as file:
                    file.write(b"\0" * (number + 1))  # other bytes, or it would be a copy and not encoded
                copies.append(copy)
        for workers in (1, 2):
            ratios = []
            for _ in range(repeats):
                started = time.perf_counter()
                frames = sum(len(prepare_video(path, sampling, spec).pixels) for path in copies)
                decoding = time.perf_counter() - started
                stand_in = Encoder(SleepingBackend(spec, decoding / frames, card), batch_frames=32)
                options = IngestOptions(ModelRequest("toy"), workers=workers)
                report = _ingest_once(copies, options, lambda request, decoder, encoder=stand_in: encoder)
                ratios.append(report.seconds_working / max(decoding / workers, decoding))
            print(
                f"overlap, {workers} workers, {len(copies)} videos, encoding as long as decoding: "
                f"wall / max(decoding / workers, encoding) {statistics.median(ratios):.2f} (bar: at most 1.20)",
                flush=True,
            )


class SleepingBackend(ToyBackend):
    """The toy encoder with the real pixel size, taking a given time for each frame."""

    def __init__(self, spec: PreprocessSpec, seconds_a_frame: float, card: EncoderCard) -> None:
        from dataclasses import replace

        super().__init__(card.recipe.sampling, decoder_name())
        self.card = replace(self.card, recipe=replace(self.card.recipe, preprocess=spec))
        self._seconds_a_frame = seconds_a_frame

    def encode_pixels(self, pixels: Any) -> Any:
        """Embed after the time that a real encoder would take."""
        time.sleep(self._seconds_a_frame * len(pixels))
        return super().encode_pixels(np.ascontiguousarray(pixels[:, :, ::14, ::14]))


def published_tensors(path: Path, card: EncoderCard) -> Any:
    """Every frame decoded by OpenCV, cropped, resized, and made a tensor through PIL; then the sampled ones."""
    import torch
    from torchvision.transforms import functional

    spec = card.recipe.preprocess
    video = cv2.VideoCapture(str(path))
    tensors = []
    while True:
        there, frame = video.read()
        if not there:
            break
        height, width = frame.shape[:2]
        columns, rows = max(0, round((width - height) / 2)), max(0, round((height - width) / 2))
        frame = frame[rows : height - rows, columns : width - columns]
        height, width = frame.shape[:2]
        rows, columns = round(int(height * 0.1)), round(int(width * 0.1))
        frame = cv2.resize(
            frame[rows : height - rows, columns : width - columns], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
        )
        tensor = functional.to_tensor(Image.fromarray(frame))
        tensors.append(functional.normalize(tensor, list(spec.mean), list(spec.std)))
    video.release()
    return torch.stack(tensors)[card.recipe.sampling.frame_numbers(len(tensors))]


def _prepare(path: Path, card: EncoderCard) -> Any:
    return prepare_video(path, card.recipe.sampling, card.recipe.preprocess).pixels


def _ingest_once(paths: list[Path], options: IngestOptions, load: Any) -> IngestReport:
    with tempfile.TemporaryDirectory() as folder:
        report = ingest(Path(folder, "index"), paths, options, load=load)
    assert report.added == len(paths), report
    return report


def _cpu_seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
