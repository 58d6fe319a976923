"""Examples of a question: their vectors, the videos that they are, and what belongs to them. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, UnknownVideo
from echosearch.index import Snapshot, StoredVideo
from echosearch.search.question import Example
from echosearch.types import Exclude, VideoRecord, clusters, joined, study_keys
from echosearch.video import content_sha256, media_path


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A file that is not in the index, embedded now: its vectors, frames a second where known, and number of frames."""

    vectors: StoredVideo
    fps: float | None
    num_frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What an example is: its unit vector (D,), its video where the index has it, and what is to be said of it."""

    vector: npt.NDArray[np.float32]
    record: VideoRecord | None
    notes: tuple[str, ...] = ()


def find(snapshot: Snapshot, example: Example, embedded: Embedded | None) -> Found:
    """The vector of an example: of a video of the index, of a file with its bytes, or of one `embedded` now.

    UnknownVideo where there is no such video; BadQuery where a moment cannot be told.
    """
    if embedded is None:
        record = _record(snapshot, example.video)
        embedded = Embedded(snapshot.stored(record.video_id), record.fps, record.num_frames)
    else:
        record = None
    if example.second is None:
        return Found(embedded.vectors.vector, record)
    vector, note = _moment(example, example.second, embedded)
    return Found(vector, record, (note,))


def _moment(example: Example, second: float, video: Embedded) -> tuple[npt.NDArray[np.float32], str]:
    """The embedding (D,) of the frame nearest to a moment, the earlier of two, and which one that is."""
    frames, what = video.vectors.frame_embeddings, f"{example.video}"
    what = what if isinstance(example.video, Path) else f"video {what}"
    if frames is None:
        raise BadQuery(f"{what} has no moments: this index keeps no frame embeddings (--frames none)")
    if video.num_frames == 1:
        raise BadQuery(f"{what} is one picture, and has no moments")
    if video.fps is None:
        raise BadQuery(f"{what} has no moments: its file does not say how many frames it has a second")
    if second > video.num_frames / video.fps:
        raise BadQuery(f"{what} lasts {video.num_frames / video.fps:.3f} s and has no moment at {second:g} s")
    times = video.vectors.frame_numbers / video.fps
    place = int(np.argmin(np.abs(times - second)))
    if abs(times[place] - second) > np.diff(times).max(initial=0.0) + 1 / video.fps:
        raise BadQuery(
            f"{what} has no embedded frame near {second:g} s: those that were embedded lie between {times[0]:.2f} and "
            f"{times[-1]:.2f} s"
        )
    vector = frames[place].astype(np.float64)
    frame = int(video.vectors.frame_numbers[place])
    note = f"{what} at {second:g} s: by its embedded frame {frame}, at {times[place]:.2f} s"
    return (vector / np.linalg.norm(vector)).astype(np.float32), note


def _record(snapshot: Snapshot, video: int | Path) -> VideoRecord:
    if not isinstance(video, Path):
        return snapshot.record(video)
    record = known_file(snapshot, video)
    if record is None:
        raise UnknownVideo(f"{video} was deleted from the index just now; try again")
    return record


def known_file(snapshot: Snapshot, path: Path) -> VideoRecord | None:
    """What the index knows of a file's bytes: at this very path, else wherever it has them."""
    path = media_path(path)
    known = snapshot.catalog.files.known([path]).get(path)
    digest = content_sha256(path)
    if known is not None and known.content_sha256 == digest:
        return snapshot.record(known.video_id)
    ids = snapshot.catalog.videos.ids_where(content_sha256=digest)
    return snapshot.record(min(ids)) if ids else None


def belonging(
    snapshot: Snapshot, examples: Sequence[VideoRecord], exclude: Sequence[Exclude]
) -> tuple[set[int], list[str]]:
    """Ids of the examples' studies, people or content (see `types.people`), and warnings where that is not known.

    BadQuery when an example has no study or patient to go by.
    """
    left_out: set[int] = set()
    warnings = []
    for what in exclude:
        for example in examples:
            left_out |= _belonging(snapshot, example, what)
        if what != "content" and (unknown := snapshot.catalog.counts.without(what)):
            warnings.append(
                f"{unknown} videos have no {what} in the catalog; hits among them may be of the same {what}"
            )
    return left_out, warnings


def _belonging(snapshot: Snapshot, example: VideoRecord, what: Exclude) -> set[int]:
    if what == "content":
        return snapshot.catalog.videos.ids_where(content_sha256=example.content_sha256)
    value = example.study if what == "study" else example.patient
    if value is None:
        raise BadQuery(
            f"video {example.video_id} has no {what} in the catalog, so --exclude {what} cannot be decided; "
            "ingest with --manifest to give videos their study and patient"
        )
    ids, *told = snapshot.catalog.videos.columns("video_id", "patient", "study", "content_sha256")
    patients, studies, contents = (column.tolist() for column in told)
    whose = (
        clusters(patients, studies, contents).codes if what == "patient" else joined([study_keys(patients, studies)])
    )
    return set(ids[whose == whose[ids == example.video_id]].tolist())
