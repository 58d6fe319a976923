"""Videos that lie elsewhere than they did: are they still there, and what is known of new bytes in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from echosearch.files import is_gone
from echosearch.index import MetadataChange, SameBytes, VideoMetadata, Writer
from echosearch.ingest.batch import New
from echosearch.ingest.metadata import FIELDS, Told
from echosearch.types import Numerics, VideoRecord
from echosearch.video import content_sha256


class Places:
    """What the disk says of the paths of live videos; roots that are `missing` are noted. With `rehash` all is read."""

    def __init__(self, writer: Writer, rehash: bool, missing: set[Path]) -> None:
        self._writer = writer
        self._rehash = rehash
        self._missing = missing
        self._is_there: dict[Path, bool] = {}

    def holds(self, video: SameBytes, file: Path, digest: str) -> bool:
        """Whether a live video's own path still has the bytes of a file elsewhere.

        What cannot be looked at today counts as there.
        """
        if is_gone(video.path):
            if video.root in file.parents or self._has_videos(video.root):
                return False
            self._missing.add(video.root)
            return True
        try:
            status = video.path.stat()
            if (status.st_size, status.st_mtime_ns) == (video.size_bytes, video.mtime_ns) and not self._rehash:
                return True
            return content_sha256(video.path) == digest
        except OSError:
            return True

    def _has_videos(self, root: Path) -> bool:
        """Whether a root still holds a video that it is known for; an empty folder may be a disk that is missing."""
        if root not in self._is_there:
            with self._writer.snapshot() as snapshot:
                known = [path for other, path in snapshot.catalog.files.places().values() if other == root]
            self._is_there[root] = not all(map(is_gone, known))
        return self._is_there[root]


def disinherit(
    new: Mapping[Numerics, New],
    told: Told,
    old: SameBytes,
    records: Callable[[Sequence[int]], list[VideoRecord]],
) -> list[MetadataChange]:
    """A video lies elsewhere than it was: new bytes at its old path do not replace it, and are not known as it.

    Mends those that wait to be committed, in place; gives what is to change of those that an earlier commit had.
    """
    [was] = records([old.video_id])
    for videos in new.values():
        for place, (video, stored) in enumerate(videos):
            if video.replaces == old.video_id:
                fields, attributes = _otherwise(video.metadata, was, _said(told, video.path))
                metadata = replace(video.metadata, **fields, attributes=video.metadata.attributes | attributes)
                videos[place] = (replace(video, replaces=None, metadata=metadata), stored)
                return []
    heirs = records([old.replaced_by] if old.replaced_by else [])
    return [
        MetadataChange(heir.video_id, *_otherwise(heir, was, _said(told, old.path)))
        for heir in heirs
        if Path(heir.path) == old.path
    ]


def _said(told: Told, path: Path) -> VideoMetadata:
    return told[path][1] if path in told else VideoMetadata()


def _otherwise(
    heir: VideoMetadata | VideoRecord, was: VideoRecord, told: VideoMetadata
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """What a video has in common with another, and a manifest does not say of it, emptied: fields and attributes."""
    fields: dict[str, str | None] = {
        name: None for name in FIELDS[1:] if getattr(heir, name) == getattr(was, name) != getattr(told, name)
    }
    attributes = {
        name: None
        for name, value in heir.attributes.items()
        if value == was.attributes.get(name) != told.attributes.get(name)
    }
    return fields, attributes
