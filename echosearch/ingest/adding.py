"""What becomes of each file that comes decoded: looked up, decided, and taken into the next commit.

Knows no folder and no process; `pipeline` finds the files and has them decoded and encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from echosearch.errors import EncoderFailed, RecipeMismatch
from echosearch.index import KnownFile, MetadataChange, NewVideo, StoredVideo, VideoMetadata, Writer
from echosearch.ingest.batch import Batches
from echosearch.ingest.decide import Arrival, Decision, decide
from echosearch.ingest.metadata import Told, as_known, news
from echosearch.ingest.moves import Places, disinherit
from echosearch.types import Failure, Numerics, PreparedVideo, ProgressListener


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file to ingest, below the folder that was named (or its own); `known` is what its path was before.

    `is_deleted`: its path was deleted on purpose, and has another size or time since.
    """

    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    known: KnownFile | None = None
    is_deleted: bool = False

    @classmethod
    def at(cls, root: Path, path: Path) -> MediaFile:
        """A file as it lies there now, below a root."""
        try:
            status = path.stat()
        except OSError:  # a broken link, or gone by now: the decoder will name it
            return cls(root, path, 0, 0)
        return cls(root, path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Work:
    """A file on its way: decoded (its pixels are let go of), or why not; what is to become of it.

    `copy` are the vectors of a file with its bytes, if there is one.
    """

    file: MediaFile
    outcome: PreparedVideo | Failure
    decision: Decision = Decision("added")  # noqa: RUF009  frozen
    copy: StoredVideo | None = None


class Adding(Batches):
    """A run that adds files: what it has found out about them so far.

    `undelete` lets bytes back in that were deleted on purpose; `rehash` trusts no size and time.
    """

    def __init__(
        self,
        writer: Writer,
        told: Told,
        total: int,
        listener: ProgressListener | None,
        undelete: bool = False,
        rehash: bool = False,
    ) -> None:
        super().__init__(writer, total, listener)
        self.copies = self.frames_encoded = 0
        self.missing_roots: set[Path] = set()  # folders that are not there, of whose videos copies were found
        self._told = told
        self._undelete = undelete
        self._rehash = rehash
        self._seen: set[str] = set()  # content that this run has encoded or is encoding
        self._taken: set[int] = set()  # videos that this run has found elsewhere than they were
        self._left: set[int] = set()  # videos whose paths have had other bytes since this run began
        with writer.snapshot() as snapshot:
            self._first_new_id = snapshot.catalog.next_video_id()

    def decided(self, file: MediaFile, outcome: PreparedVideo | Failure) -> tuple[Work, npt.NDArray[np.uint8] | None]:
        """What is to become of a file, and its pixels; None beside failures, bytes that are known, and copies."""
        if isinstance(outcome, Failure):
            return Work(file, outcome), None
        slim = replace(outcome, pixels=np.empty((len(outcome.frame_numbers), 3, 0, 0), np.uint8))
        work = self.look_up(file, slim)
        if isinstance(work.outcome, Failure) or work.decision.fate != "added":
            return work, None
        is_known = work.copy is not None or outcome.content_sha256 in self._seen
        self._seen.add(outcome.content_sha256)
        return work, None if is_known else outcome.pixels

    def look_up(self, file: MediaFile, prepared: PreparedVideo) -> Work:
        """What becomes of a file, from one look at what the catalog knows of its bytes."""
        digest = prepared.content_sha256
        if file.known is not None and file.known.video_id in self._taken:
            file = replace(file, known=None)  # that video was found elsewhere, so this path is another's
        with self.writer.snapshot() as snapshot:
            # As they were when this run began, so that nothing depends on where a batch ends.
            same = [
                replace(video, is_live=video.is_live or video.video_id in self._left)
                for video in snapshot.catalog.files.with_content(digest)
                if video.video_id < self._first_new_id
            ]
            is_purged = snapshot.catalog.deleted.is_purged(digest)
            arrival = Arrival(file.path, digest, file.known, same, file.is_deleted, is_purged)
            decision = decide(
                arrival, self._undelete, lambda video: self._places.holds(video, file.path, digest), self._taken
            )
            copy = decision.video if decision.fate == "added" else None
            stored = snapshot.stored(copy.video_id) if copy and snapshot.rows.place(copy.video_id) else None
            is_made = decision.fate == "added" and stored is None
            if is_made and (sentence := snapshot.outdated.get(prepared.facts.kind)):
                return Work(file, Failure(str(file.path), RecipeMismatch.code(), sentence))
        if decision.video is not None and copy is None:
            self._taken.add(decision.video.video_id)
        if file.known is not None and decision.fate != "touched":
            self._left.add(file.known.video_id)
        return Work(file, prepared, decision, stored)

    @cached_property
    def _places(self) -> Places:
        return Places(self.writer, self._rehash, self.missing_roots)

    def take(self, work: Work, vectors: StoredVideo | EncoderFailed | None, numerics: Numerics) -> None:
        """Have the next commit do what was decided of a file; `vectors` of what was encoded."""
        file, outcome, decision = work.file, work.outcome, work.decision
        self.done += 1
        if isinstance(outcome, Failure):
            self.fail(file.root, outcome, file.size_bytes, file.mtime_ns)
        elif decision.fate == "added":
            self._add(work, outcome, vectors, numerics)
        elif decision.fate == "deleted":
            self.deleted_earlier += 1
            if file.known is not None:  # its bytes are not there any more; if they turn up elsewhere, it is back
                self.rest.gone.append(file.known.video_id)
        elif (old := decision.video) is not None:
            known = KnownFile(old.video_id, file.size_bytes, file.mtime_ns, outcome.content_sha256)
            self.rest.moved.append((known, file.root, file.path))
            self.num_back += decision.fate == "returned"
            self.rest.changed.extend(disinherit(self.new, self._told, old, self.records))
            self.rest.changed.extend(self._said(known.video_id, file.path))
        elif file.known is not None:
            self.rest.touched.append(replace(file.known, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns))
            self.rest.changed.extend(self._said(file.known.video_id, file.path))

    def _add(
        self, work: Work, prepared: PreparedVideo, vectors: StoredVideo | EncoderFailed | None, numerics: Numerics
    ) -> None:
        file, digest = work.file, prepared.content_sha256
        if vectors is None:
            vectors = self._copied(work.copy, digest)
        elif isinstance(vectors, StoredVideo):
            self.frames_encoded += len(vectors.frame_numbers)
        if isinstance(vectors, EncoderFailed):
            self.fail(file.root, Failure(str(file.path), vectors.code(), str(vectors)), file.size_bytes, file.mtime_ns)
            return
        self.fresh[digest] = vectors
        table, metadata = self._told.get(file.path, (None, VideoMetadata()))
        if work.decision.known_as is not None:
            [record] = self.records([work.decision.known_as])
            metadata = as_known(record, None if table is None else table.change(record, metadata))
        video = NewVideo(
            video_id=0,
            root=file.root,
            path=file.path,
            facts=prepared.facts,
            num_embedded_frames=len(vectors.frame_numbers),
            content_sha256=digest,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            metadata=metadata,
            replaces=file.known.video_id if file.known else None,
        )
        self.new.setdefault(numerics, []).append((video, vectors))

    def _said(self, video_id: int, path: Path) -> list[MetadataChange]:
        """What a manifest says otherwise of a video that is not embedded again."""
        return news(self._told, [(path, record) for record in self.records([video_id])]) if path in self._told else []

    def _copied(self, copy: StoredVideo | None, digest: str) -> StoredVideo | EncoderFailed:
        """The vectors of a file with the same bytes."""
        copy = copy or self.fresh.get(digest)
        if copy is None:
            with self.writer.snapshot() as snapshot:
                ids = snapshot.catalog.videos.verified(snapshot.catalog.videos.ids_where(content_sha256=digest))
                if not ids:
                    return EncoderFailed("a file with the same bytes could not be encoded")
                copy = snapshot.stored(min(ids))
        self.copies += 1
        return copy
