"""A reader's moment of an index: catalog and vectors of one generation, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from echosearch.errors import (
    CatalogSegmentsDisagree,
    DamagedIndex,
    RecipeMismatch,
    UnknownVideo,
)
from echosearch.index.catalog import Catalog, CatalogReader
from echosearch.index.description import IndexDescription, description_from
from echosearch.index.vectors import (
    CandidateFinder,
    FlatFaiss,
    LiveRows,
    Segment,
    StoredVideo,
    VectorIndex,
    close_maps,
    open_segment,
)
from echosearch.types import MediaKind, Numerics, VideoRecord, whole

CATALOG: Final = "catalog.sqlite"
ENGINE: Final[type[CandidateFinder]] = FlatFaiss
"""What offers candidates for the nearest."""

_KINDS: Final[dict[MediaKind, str]] = {"video": "cines", "still": "stills"}


class Snapshots:
    """Snapshots of an index folder; what does not change between two commits stays open."""

    def __init__(self, path: Path, description: IndexDescription, catalog: Catalog) -> None:
        self.path = path
        self.catalog_file = catalog
        """The file behind it, opened for reading or for writing."""
        self._loaded: _Loaded | None = None
        with catalog.reading() as reader:
            self.description = _described(path, reader) or description

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One moment of the index: whatever is asked within sees the same commit."""
        with ExitStack() as stack:
            catalog = stack.enter_context(self.catalog_file.reading())
            try:
                loaded = self._load(catalog)
            except (DamagedIndex, CatalogSegmentsDisagree):
                missed = catalog.generation
                stack.close()
                catalog = stack.enter_context(self.catalog_file.reading())
                if catalog.generation == missed:
                    raise
                loaded = self._load(catalog)  # what an older commit names may be gone by now: once more
            # Not of self._loaded: another thread may be at another commit.
            yield Snapshot(self.description, catalog, loaded)

    def _load(self, catalog: CatalogReader) -> _Loaded:
        loaded = self._loaded
        if loaded is None or loaded.generation != catalog.generation:
            close_maps()  # also those of segments that are no more
            description = _described(self.path, catalog) or self.description
            if description.recipe.id != self.description.recipe.id:
                raise RecipeMismatch(
                    f"the videos of {self.path} were embedded again, with another model or in another way, since "
                    "it was opened; open it again"
                )
            self.description = description
            loaded = self._loaded = _Loaded.open(self.path, self.description, catalog, loaded)
        return loaded

    @contextmanager
    def catalog_only(self) -> Iterator[CatalogReader]:
        """What the catalog says, whether or not the segments agree: to find out what is damaged."""
        with self.catalog_file.reading() as catalog:
            yield catalog

    def close(self) -> None:
        """Let go of the catalog."""
        self.catalog_file.close()


class _Loaded:
    """The vectors of one generation, checked against the catalog; the finder is read when first used."""

    def __init__(self, path: Path, generation: int, segments: dict[str, Segment], rows: LiveRows) -> None:
        self._path = path
        self.generation = generation
        self.segments = segments
        self.rows = rows
        self.problems: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, description: IndexDescription, catalog: CatalogReader, before: _Loaded | None) -> _Loaded:
        """Open what the catalog names; segments that `before` has stay open. IndexStateError when at odds."""
        segments: dict[str, Segment] = {}
        for row in catalog.segments.active():
            segment = before.segments.get(row.name) if before else None
            segment = segment or open_segment(path / "segments", row.name)
            if segment.info.dim != description.dim:
                raise CatalogSegmentsDisagree(
                    f"segment {row.name} of {path} has vectors of {segment.info.dim} numbers, and manifest.json says "
                    f"{description.dim}; restore both from one copy of the index"
                )
            told = (segment.info.count, segment.info.ids_sha256, int(segment.ids.sum()))
            if told != (row.count, row.ids_sha256, row.ids_sum) or row.count != row.videos:
                raise CatalogSegmentsDisagree(
                    f"segment {row.name} of {path} and its catalog do not hold the same videos "
                    f"({segment.info.count} and {row.videos}); restore both from one copy of the index"
                )
            segments[row.name] = segment
        deleted = np.array(catalog.segments.dead_ids(), np.int64)
        return cls(path, catalog.generation, segments, LiveRows(list(segments.values()), deleted, description.dim))

    @cached_property
    def index(self) -> VectorIndex:
        """The search over the live rows; without a finder's files, or with damaged ones, every row is scanned."""
        problems: tuple[str, ...] = ()
        for _ in range(2):  # a writer may replace the file while it is being read
            newest = newest_ann(self._path)
            if newest is None:
                if len(self.rows):
                    problems = ("there is no FAISS index; every vector is scanned. The next ingest writes it.",)
                break
            try:
                return VectorIndex(self.rows, ENGINE.load(newest, self.rows.dim))
            except DamagedIndex as error:
                problems = (f"{error}; every vector is scanned instead. The next ingest rewrites it.",)
        self.problems = problems
        return VectorIndex(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """One generation of an index: what the catalog says, and the vectors that it speaks of."""

    description: IndexDescription
    catalog: CatalogReader
    _loaded: _Loaded

    @property
    def generation(self) -> int:
        """The number of the commit that is seen."""
        return self.catalog.generation

    @property
    def segments(self) -> dict[str, Segment]:
        """All segments, by name."""
        return self._loaded.segments

    @property
    def rows(self) -> LiveRows:
        """All live vectors."""
        return self._loaded.rows

    @property
    def index(self) -> VectorIndex:
        """The search for the nearest."""
        return self._loaded.index

    @property
    def outdated(self) -> dict[MediaKind, str]:
        """A sentence for each kind of video that is here, deleted or not, and is embedded in another way now."""
        counts = {kind: len(self.catalog.videos.embedded([kind])) for kind in self.description.recipe.outdated}
        sentence = (
            "were embedded by another version of echosearch and cannot be compared with the others; update them with:"
        )
        return {
            kind: f"{count} {_KINDS[kind]} {sentence} echosearch reembed" for kind, count in counts.items() if count
        }

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with derived files, once they were used; the answers are right all the same."""
        return self._loaded.problems

    def numerics(self, video_id: int) -> Numerics:
        """With what a live video's vectors were made. UnknownVideo when there is none."""
        segment, _ = self._place(video_id)
        return Numerics(**segment.info.numerics)

    def stored(self, video_id: int) -> StoredVideo:
        """The vectors of a live video. UnknownVideo when there is none."""
        segment, row = self._place(_possible(video_id))
        return segment.stored(row)

    def record(self, video_id: int) -> VideoRecord:
        """What the catalog knows of a live video. UnknownVideo says the id that its file has now, if any."""
        for record in self.catalog.videos.records([_possible(video_id)]):
            return record
        if (later := self.catalog.videos.replaced_by(video_id)) is not None:
            raise UnknownVideo(
                f"video {video_id} no longer exists: its file changed or was embedded again, and is video {later} now"
            )
        raise UnknownVideo(f"there is no video {video_id} in this index; `echosearch list` shows what there is")

    def _place(self, video_id: int) -> tuple[Segment, int]:
        place = self.rows.place(video_id)
        if place is None:
            raise UnknownVideo(f"there is no video {video_id} in this index")
        return place


def _possible(video_id: int) -> int:
    """An id as a catalog can hold it. UnknownVideo for what none can."""
    return whole("the id of a video", video_id, 1, error=UnknownVideo)


def whole_segment(path: Path, name: str, snapshot: CatalogReader) -> Segment:
    """A segment of an index, every byte of which was read. DamagedIndex or CatalogSegmentsDisagree says what is wrong.

    OutOfReach when it cannot be read today.
    """
    segment = open_segment(path / "segments", name)
    if found := segment.damage():
        raise DamagedIndex("; ".join(found))
    if segment.ids.tolist() != snapshot.segments.ids_in(name):
        raise CatalogSegmentsDisagree(f"segment {name} and the catalog do not hold the same ids")
    return segment


def _described(path: Path, catalog: CatalogReader) -> IndexDescription | None:
    """The description in the catalog; a `manifest.json` that differs was not written any more."""
    return None if catalog.description is None else description_from(path / CATALOG, catalog.description)


def newest_ann(path: Path) -> Path | None:
    """The folder of the latest FAISS index of an index, or None."""
    folders = [folder for folder in ann_folders(path) if folder.name.isdecimal()]
    return max(folders, key=lambda folder: int(folder.name), default=None)


def ann_folders(path: Path) -> list[Path]:
    """All that lies where the FAISS indexes of an index are; nothing where that is out of reach: it is derived."""
    try:
        return list((path / "ann").iterdir())
    except OSError:
        return []
