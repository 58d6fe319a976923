"""What an ingest does with files that come prepared: decide, encode, pool, and commit now and then.

Knows no folder and no process; `pipeline` finds the files and has them prepared.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from echosearch.config import COMMIT_SECONDS, COMMIT_VIDEOS
from echosearch.encoders import Encoder, encode_stream
from echosearch.errors import EncoderFailed, RecipeMismatch
from echosearch.files import is_gone
from echosearch.index import (
    Batch,
    FailedFile,
    KnownFile,
    MetadataChange,
    NewVideo,
    SameBytes,
    StoredVideo,
    VideoMetadata,
    Writer,
)
from echosearch.ingest.decide import Arrival, Decision, decide
from echosearch.ingest.metadata import MetadataTable
from echosearch.types import (
    EncodedVideo,
    Failure,
    IngestProgress,
    Numerics,
    PreparedVideo,
    ProgressListener,
    VideoRecord,
    pool,
)
from echosearch.video import content_sha256

_FIELDS = ("study", "patient", "view", "acquired_at")

Told = Mapping[Path, tuple[MetadataTable, VideoMetadata]]


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


@dataclass(frozen=True, slots=True)
class Work:
    """A file on its way: prepared, or not; what is to become of it; `copy` are the vectors of a file with its bytes."""

    file: MediaFile
    outcome: PreparedVideo | Failure
    decision: Decision | None = None
    copy: StoredVideo | None = None


class Adding:
    """What an ingest has done so far, and the batch that the next commit will bring.

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
        self.added = self.replaced = self.copies = self.touched = self.moved = self.returned = 0
        self.updated = self.deleted_earlier = self.frames_encoded = 0
        self.failures: list[Failure] = []
        self._writer = writer
        self._told = told
        self._total = total
        self._done = 0
        self._listener = listener
        self._undelete = undelete
        self._rehash = rehash
        self._seen: set[str] = set()  # content that this run has encoded or is encoding
        self._taken: set[int] = set()  # videos that this run has found elsewhere than they were
        self._left: set[int] = set()  # videos whose paths have had other bytes since this run began
        self.missing_roots: set[Path] = set()  # folders that are not there, of whose videos copies were found
        self._roots_there: dict[Path, bool] = {}
        self._committed = 0
        with writer.snapshot() as snapshot:
            self._first_new_id = snapshot.catalog.next_video_id()
        self._start_batch()

    def add_all(self, prepared: Iterable[tuple[MediaFile, PreparedVideo | Failure]], encoder: Encoder) -> None:
        """Encode and add what the decoders bring; commit now and then, and what there is when interrupted."""
        numerics = encoder.card.numerics
        self._tell()
        try:
            for work, embeddings in encode_stream(encoder, self._to_encode(prepared)):
                self._take(work, embeddings)
                if len(self._new) >= COMMIT_VIDEOS or time.monotonic() - self._batch_started >= COMMIT_SECONDS:
                    self._commit(numerics)
                self._tell()
        except (KeyboardInterrupt, EncoderFailed):
            self._commit(numerics)  # what is complete stays
            raise
        self._commit(numerics)

    def _to_encode(self, prepared: Iterable[tuple[MediaFile, PreparedVideo | Failure]]) -> Iterator[tuple[Work, Any]]:
        """Pixels of what must be encoded; None beside failures, bytes that are known, and copies."""
        for file, outcome in prepared:
            if isinstance(outcome, Failure):
                yield Work(file, outcome), None
                continue
            pixels, digest = outcome.pixels, outcome.content_sha256
            slim = replace(outcome, pixels=np.empty((len(outcome.frame_numbers), 3, 0, 0), np.uint8))
            work = self._decided(Work(file, slim), digest)
            if work.decision is None:
                yield work, None
                continue
            stays = work.decision.fate != "added"
            known = stays or work.copy or digest in self._seen
            if not stays:
                self._seen.add(digest)
            yield work, None if known else pixels

    def _decided(self, work: Work, digest: str) -> Work:
        """What becomes of a file, from one look at what the catalog knows of its bytes."""
        file = work.file
        if file.known is not None and file.known.video_id in self._taken:
            file = replace(file, known=None)  # that video was found elsewhere, so this path is another's
        with self._writer.snapshot() as snapshot:
            # As they were when this run began, so that nothing depends on where a batch ends.
            same = [
                replace(video, is_live=video.is_live or video.video_id in self._left)
                for video in snapshot.catalog.files.with_content(digest)
                if video.video_id < self._first_new_id
            ]

            def holds(video: SameBytes) -> bool:
                return self._holds(video, file, digest)

            is_purged = snapshot.catalog.deleted.is_purged(digest)
            arrival = Arrival(file.path, digest, file.known, same, file.is_deleted, is_purged)
            decision = decide(arrival, self._undelete, holds, self._taken)
            copy = decision.video if decision.fate == "added" else None
            stored = snapshot.stored(copy.video_id) if copy and snapshot.rows.place(copy.video_id) else None
            kind = None if isinstance(work.outcome, Failure) else work.outcome.facts.kind
            if decision.fate == "added" and stored is None and kind and (sentence := snapshot.outdated.get(kind)):
                return Work(file, Failure(str(file.path), RecipeMismatch.code(), sentence))
        if decision.video is not None and copy is None:
            self._taken.add(decision.video.video_id)
        if file.known is not None and decision.fate != "touched":
            self._left.add(file.known.video_id)
        return Work(file, work.outcome, decision, stored)

    def _holds(self, video: SameBytes, file: MediaFile, digest: str) -> bool:
        """Whether a live video's own path still has its bytes; what cannot be looked at today counts as there."""
        if is_gone(video.path):
            if video.root in file.path.parents or self._is_there(video.root):
                return False
            self.missing_roots.add(video.root)
            return True
        try:
            status = video.path.stat()
            if (status.st_size, status.st_mtime_ns) == (video.size_bytes, video.mtime_ns) and not self._rehash:
                return True
            return content_sha256(video.path) == digest
        except OSError:
            return True

    def _is_there(self, root: Path) -> bool:
        """Whether a root still holds a video that it is known for; an empty folder may be a disk that is missing."""
        if root not in self._roots_there:
            with self._writer.snapshot() as snapshot:
                known = [path for other, path in snapshot.catalog.files.places().values() if other == root]
            self._roots_there[root] = not all(map(is_gone, known))
        return self._roots_there[root]

    def _take(self, work: Work, embeddings: Any) -> None:
        file, outcome, decision = work.file, work.outcome, work.decision
        self._done += 1
        if isinstance(outcome, Failure):
            self._fail(file, outcome)
            return
        assert decision is not None
        if decision.fate == "added":
            self._add(work, outcome, embeddings)
        elif decision.fate == "deleted":
            self.deleted_earlier += 1
            if file.known is not None:  # its bytes are not there any more; if they turn up elsewhere, it is back
                self._gone.append(file.known.video_id)
        elif decision.video is not None:
            known = KnownFile(decision.video.video_id, file.size_bytes, file.mtime_ns, outcome.content_sha256)
            self._moved.append((known, file.root, file.path))
            self._returned += decision.fate == "returned"
            self._disinherit(decision.video)
            self._tell_metadata(known.video_id, file.path)
        elif file.known is not None:
            self._touched.append(replace(file.known, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns))
            self._tell_metadata(file.known.video_id, file.path)

    def _add(self, work: Work, prepared: PreparedVideo, embeddings: Any) -> None:
        file = work.file
        try:
            stored = self._stored(work, prepared, embeddings)
        except EncoderFailed as error:
            self._fail(file, Failure(str(file.path), error.code(), str(error)))
            return
        self._fresh[prepared.content_sha256] = stored
        known_as = work.decision.known_as if work.decision else None
        video = NewVideo(
            video_id=0,
            root=file.root,
            path=file.path,
            facts=prepared.facts,
            num_embedded_frames=len(stored.frame_numbers),
            content_sha256=prepared.content_sha256,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            metadata=self._metadata(file.path, known_as),
            replaces=file.known.video_id if file.known else None,
        )
        self._new.append((video, stored))

    def _metadata(self, path: Path, known_as: int | None) -> VideoMetadata:
        """What a manifest says of a file, on top of what is known of a video."""
        table, metadata = self._told.get(path, (None, VideoMetadata()))
        if known_as is None:
            return metadata
        [record] = self._records([known_as])
        change = table.change(record, metadata) if table is not None else None
        fields = {name: getattr(record, name) for name in _FIELDS}
        if change is None:
            return VideoMetadata(**fields, attributes=record.attributes)
        return VideoMetadata(**fields | change.fields, attributes=record.attributes | change.attributes)

    def _disinherit(self, old: SameBytes) -> None:
        """A video lies elsewhere than it was: new bytes at its old path do not replace it, and are not known as it."""
        [was] = self._records([old.video_id])
        for place, (video, stored) in enumerate(self._new):
            if video.replaces == old.video_id:
                kept = self._told[video.path][1] if video.path in self._told else VideoMetadata()
                fields, attributes = _otherwise(video.metadata, was, kept)
                metadata = replace(video.metadata, **fields, attributes=video.metadata.attributes | attributes)
                self._new[place] = (replace(video, replaces=None, metadata=metadata), stored)
                return
        for heir in self._records([old.replaced_by] if old.replaced_by else []):  # an earlier commit had them
            path = Path(heir.path)
            if path == old.path:
                kept = self._told[path][1] if path in self._told else VideoMetadata()
                self._changed.append(MetadataChange(heir.video_id, *_otherwise(heir, was, kept)))

    def _tell_metadata(self, video_id: int, path: Path) -> None:
        """Note what a manifest says otherwise of a video that is not embedded again."""
        if path in self._told:
            table, metadata = self._told[path]
            [record] = self._records([video_id])
            if (change := table.change(record, metadata)) is not None:
                self._changed.append(change)

    def _records(self, ids: Sequence[int]) -> list[VideoRecord]:
        with self._writer.snapshot() as snapshot:
            return list(snapshot.catalog.videos.records(ids, deleted=True))

    def _stored(self, work: Work, prepared: PreparedVideo, embeddings: Any) -> StoredVideo:
        """The vectors of a video: pooled from its frames, or those of a file with the same bytes."""
        if isinstance(embeddings, EncoderFailed):
            raise embeddings
        if embeddings is not None:
            self.frames_encoded += len(embeddings)
            try:
                pooled = pool(embeddings)
            except ValueError as error:
                raise EncoderFailed(str(error)) from error
            return StoredVideo.of(EncodedVideo(embeddings, prepared.frame_numbers, pooled))
        digest = prepared.content_sha256
        copy = work.copy or self._fresh.get(digest) or self._committed_copy(digest)
        if copy is None:
            raise EncoderFailed("a file with the same bytes could not be encoded")
        self.copies += 1
        return copy

    def _committed_copy(self, digest: str) -> StoredVideo | None:
        with self._writer.snapshot() as snapshot:
            ids = snapshot.catalog.videos.verified(snapshot.catalog.videos.ids_where(content_sha256=digest))
            return snapshot.stored(min(ids)) if ids else None

    def _fail(self, file: MediaFile, failure: Failure) -> None:
        self._failed.append(FailedFile(file.root, failure, file.size_bytes, file.mtime_ns))
        self.failures.append(failure)

    def _commit(self, numerics: Numerics) -> None:
        batch = Batch(self._new, self._failed, self._touched, self._moved, self._changed, self._gone)
        if not (batch.new or batch.failed or batch.touched or batch.moved or batch.gone):
            self._start_batch()
            return
        before, returned = self._generation(), self._returned
        self._start_batch()  # whoever is told of an interrupt from here on has nothing more to commit
        try:
            self._writer.commit(batch, numerics)
        except KeyboardInterrupt:
            if self._generation() == before:  # it was taken back: once more, what is complete stays
                self._writer.commit(batch, numerics)
            raise
        self.added += sum(video.replaces is None for video, _ in batch.new)
        self.replaced += sum(video.replaces is not None for video, _ in batch.new)
        self.touched += len(batch.touched)
        self.moved += len(batch.moved) - returned
        self.returned += returned
        self.updated += len(batch.changed)
        self._committed += len(batch.new) + len(batch.touched) + len(batch.moved)
        self._tell()

    def _generation(self) -> int:
        with self._writer.snapshot() as snapshot:
            return snapshot.generation

    def _start_batch(self) -> None:
        self._new: list[tuple[NewVideo, StoredVideo]] = []
        self._failed: list[FailedFile] = []
        self._touched: list[KnownFile] = []
        self._moved: list[tuple[KnownFile, Path, Path]] = []
        self._changed: list[MetadataChange] = []
        self._gone: list[int] = []
        self._returned = 0  # of those in `_moved`, which were deleted
        self._fresh: dict[str, StoredVideo] = {}  # by content, for copies within the batch
        self._batch_started = time.monotonic()

    def _tell(self) -> None:
        if self._listener is not None:
            told = IngestProgress(self._done, self._total, len(self.failures), self._committed + self.deleted_earlier)
            self._listener(told)


def _otherwise(
    heir: VideoMetadata | VideoRecord, was: VideoRecord, told: VideoMetadata
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """What a video has in common with another, and a manifest does not say of it, emptied: fields and attributes."""
    fields: dict[str, str | None] = {
        name: None for name in _FIELDS if getattr(heir, name) == getattr(was, name) != getattr(told, name)
    }
    attributes = {
        name: None
        for name, value in heir.attributes.items()
        if value == was.attributes.get(name) != told.attributes.get(name)
    }
    return fields, attributes
