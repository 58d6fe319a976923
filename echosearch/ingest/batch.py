"""What a run has yet to commit, and what it has committed: videos with their vectors, failures, news of known ones.

Knows no model, and not where vectors come from: ingest, re-embedding and import all commit through here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from echosearch.config import COMMIT_SECONDS
from echosearch.errors import EncoderFailed
from echosearch.index import Batch, FailedFile, NewVideo, StoredVideo, Writer
from echosearch.types import Failure, IngestProgress, Numerics, ProgressListener, VideoRecord

New = list[tuple[NewVideo, StoredVideo]]


class Batches:
    """The batch that the next commit will bring, and by number of videos what the commits before it brought."""

    def __init__(self, writer: Writer, total: int, listener: ProgressListener | None) -> None:
        self.added = self.replaced = self.touched = self.moved = self.returned = self.updated = self.verified = 0
        self.done = self.deleted_earlier = 0
        self.failures: list[Failure] = []
        self.writer = writer
        self._total = total
        self._listener = listener
        self._committed = 0
        self.begin()

    def begin(self) -> None:
        """Have nothing to commit."""
        self.new: dict[Numerics, New] = {}
        self.rest = Batch()
        self.num_back = 0  # of those moved, which were deleted
        self.fresh: dict[str, StoredVideo] = {}  # by content, for copies within the batch
        self._begun = time.monotonic()

    def fail(self, root: Path, failure: Failure, size_bytes: int | None = None, mtime_ns: int | None = None) -> None:
        """Keep why a file cannot be had, with size and time if it was looked at."""
        self.rest.failed.append(FailedFile(root, failure, size_bytes, mtime_ns))
        self.failures.append(failure)

    @contextmanager
    def committed(self) -> Iterator[None]:
        """Commit what is complete when the block ends, and when it is interrupted or the model fails."""
        self.tell()
        try:
            yield
        except (KeyboardInterrupt, EncoderFailed):
            self.commit()
            raise
        self.commit()

    def commit_if_due(self, at_once: int) -> None:
        """Commit when so many new videos wait, or when some have waited long enough."""
        if sum(map(len, self.new.values())) >= at_once or time.monotonic() - self._begun >= COMMIT_SECONDS:
            self.commit()
        self.tell()

    def commit(self) -> None:
        """Commit what there is. Videos whose vectors were made in different ways go into commits of their own."""
        new, rest, num_back = self.new, self.rest, self.num_back
        self.begin()  # whoever is told of an interrupt from here on has nothing more to commit
        is_news = rest.failed or rest.touched or rest.moved or rest.gone or rest.verified
        for numerics, videos in (new or ({_NOBODY: []} if is_news else {})).items():
            self.write(replace(rest, new=videos), numerics)
            self.added += sum(video.replaces is None for video, _ in videos)
            self.replaced += sum(video.replaces is not None for video, _ in videos)
            self.touched += len(rest.touched)
            self.moved += len(rest.moved) - num_back
            self.returned += num_back
            self.updated += len(rest.changed)
            self.verified += len(rest.verified)
            self._committed += len(videos) + len(rest.touched) + len(rest.moved)
            rest, num_back = Batch(), 0
            self.tell()

    def write(self, batch: Batch, numerics: Numerics) -> None:
        """One commit; when an interrupt takes it back, it is done once more."""
        before = self._generation()
        try:
            self.writer.commit(batch, numerics)
        except KeyboardInterrupt:
            if self._generation() == before:
                self.writer.commit(batch, numerics)
            raise

    def records(self, ids: Sequence[int]) -> list[VideoRecord]:
        """What the catalog knows of videos, deleted ones too."""
        with self.writer.snapshot() as snapshot:
            return list(snapshot.catalog.videos.records(ids, deleted=True))

    def tell(self) -> None:
        """Say how far it is."""
        if self._listener is not None:
            committed = self._committed + self.deleted_earlier
            self._listener(IngestProgress(self.done, self._total, len(self.failures), committed))

    def _generation(self) -> int:
        with self.writer.snapshot() as snapshot:
            return snapshot.generation


_NOBODY = Numerics("none", "none", "none", "none", "none")
"""Of a commit without new videos."""
