"""A folder of phantom videos with its tables: all of it, or nothing. Knows files, not how a frame is made."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2

from echosearch.errors import BackendError, BadOption, MissingExtra
from echosearch.outputs import OutputFolder
from echosearch.phantom.render import render_each
from echosearch.phantom.report import report
from echosearch.phantom.study import Study, Video, draw_studies
from echosearch.phantom.truth import Truth
from echosearch.tables import write_csv
from echosearch.types import Answer

ArchiveProgress = Callable[[int, int], None]
"""Called with the videos done and all that there will be."""

_TRUTH_FIELDS: Final = tuple(field.name for field in fields(Truth))
_H264: Final = {"preset": "ultrafast", "crf": "20", "threads": "1"}
_MJPEG_QUANTIZER: Final = 4
_MAX_WORKERS: Final = 256


@dataclass(frozen=True, slots=True)
class Archive(Answer):
    """What was written."""

    folder: Path
    patients: int
    studies: int
    videos: int
    media_bytes: int


def make_archive(
    folder: Path, studies: int, seed: int, *, workers: int | None = None, progress: ArchiveProgress | None = None
) -> Archive:
    """Render and write an archive: `videos/`, `manifest.csv`, `FileList.csv` (A4C, EchoNet's columns), `reports.csv`.

    `workers` processes (None: one a processor). The folder appears when it is whole; on an error or Ctrl-C nothing
    stays. BadOption for a folder that is not empty or cannot be, a count or seed outside its range; BackendError
    when the disk is full or cannot be written; MissingExtra without PyAV.
    """
    workers = _processors() if workers is None else workers
    if not 1 <= workers <= _MAX_WORKERS:
        raise BadOption(f"workers are 1 to {_MAX_WORKERS} processes, not {workers}")
    output = OutputFolder(Path(folder), "the archive")
    drawn = draw_studies(studies, seed)
    _import_av()
    videos = [video for study in drawn for video in study.videos]
    with output.writing() as unfinished:
        (unfinished / "videos").mkdir()
        media_bytes = 0
        for done, written in enumerate(_write_videos(videos, unfinished / "videos", workers), 1):
            media_bytes += written
            if progress is not None:
                progress(done, len(videos))
        _write_tables(drawn, unfinished)
    return Archive(output.path, len({study.patient_id for study in drawn}), len(drawn), len(videos), media_bytes)


def _processors() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return min(count, _MAX_WORKERS)


def _write_videos(videos: Sequence[Video], folder: Path, workers: int) -> Iterator[int]:
    """Bytes of each video, as they are written."""
    if workers == 1:
        for video in videos:
            yield _write_video(video, folder)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(videos)), context, initializer=_start_worker)
    try:
        for future in as_completed(_submitted(pool, videos, folder)):
            yield future.result()
    except BrokenProcessPool as error:
        raise BackendError(
            "a process that renders phantoms was ended from outside, perhaps for want of memory; try fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, videos: Iterable[Video], folder: Path) -> list[Future[int]]:
    return [pool.submit(_write_video, video, folder) for video in videos]


def _start_worker() -> None:
    """Ctrl-C is the parent's affair; OpenCV's threads would compete with the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _write_video(video: Video, folder: Path) -> int:
    """Encode in memory, so that a full disk is the file system's own error and not an encoder's."""
    data = encode(video)
    (folder / video.name).write_bytes(data)
    return len(data)


def encode(video: Video) -> bytes:
    """The video as a file: H.264 in MP4, or MJPEG in AVI, by its suffix. MissingExtra without PyAV."""
    av = _import_av()
    file = io.BytesIO()
    is_mp4 = video.suffix == ".mp4"
    with av.open(file, "w", format="mp4" if is_mp4 else "avi") as container:
        rate = Fraction(video.fps).limit_denominator(1000)
        stream = container.add_stream("libx264" if is_mp4 else "mjpeg", rate=rate, options=_H264 if is_mp4 else {})
        stream.width, stream.height = video.width, video.height
        stream.pix_fmt = "yuv420p" if is_mp4 else "yuvj420p"
        if not is_mp4:
            stream.codec_context.qmin = stream.codec_context.qmax = _MJPEG_QUANTIZER
        for picture in render_each(video):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("phantom videos are encoded by PyAV: pip install 'echosearch[phantom]'") from error
    return av


def _write_tables(studies: Sequence[Study], folder: Path) -> None:
    videos = [(study, video) for study in studies for video in study.videos]
    _write_csv(
        folder / "manifest.csv",
        ("path", "study", "patient", "view", "acquired_at", *_TRUTH_FIELDS, "heart_rate_bpm"),
        (
            (f"videos/{video.name}", video.study, video.patient, video.view, study.acquired_at.isoformat(),
             *(_cell(getattr(video.truth, name)) for name in _TRUTH_FIELDS), round(video.heart_rate_bpm))
            for study, video in videos
        ),
    )  # fmt: skip
    _write_csv(
        folder / "FileList.csv",
        ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"),
        (_echonet_row(video) for _, video in videos if video.view == "A4C"),
    )
    _write_csv(
        folder / "reports.csv",
        ("study", "patient", "report"),
        ((study.study_id, study.patient_id, report(study).text) for study in studies),
    )


def _echonet_row(video: Video) -> tuple[object, ...]:
    volumes = (video.truth.ef_percent, video.truth.esv_ml, video.truth.edv_ml)
    media = (video.height, video.width, f"{video.fps:g}", video.num_frames)
    return (video.video_id, *(_cell(value) for value in volumes), *media, _split(video.patient))


def _cell(value: object) -> object:
    """Devices as 0 and 1; a wall motion that is not abnormal is called normal, since 'none' means 'not known'."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return round(value, 3)
    return "normal" if value is None else value


def _split(patient: str) -> str:
    """One split for all videos of a patient: 6 of 8 train, 1 val, 1 test."""
    return ("TRAIN", "TRAIN", "TRAIN", "VAL", "TRAIN", "TRAIN", "TRAIN", "TEST")[int(patient.rpartition("-")[2]) % 8]


def _write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as lines:
        write_csv(lines, header, (dict(zip(header, row, strict=True)) for row in rows))
