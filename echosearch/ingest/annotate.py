"""New metadata for videos that an index has: nothing is embedded again, and what changed is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from echosearch.index import Store
from echosearch.ingest.metadata import MetadataTable, news
from echosearch.types import Answer


@dataclass(frozen=True, slots=True)
class AnnotateReport(Answer):
    """How many videos got other metadata, how often each field or attribute changed, and what fitted no video."""

    index: str
    generation: int
    updated: int
    unchanged: int
    changes: dict[str, int]
    emptied: dict[str, int]
    warnings: tuple[str, ...]


def annotate(index_path: Path, table: MetadataTable, wait_seconds: float = 0.0) -> AnnotateReport:
    """Set what a manifest says of the videos of an index, in one commit.

    Only columns that the manifest has are touched; an empty cell of such a column empties the value.
    """
    store = Store(index_path)
    with store.writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            table = table.among({column.name: column.type for column in snapshot.catalog.attributes.columns()})
            places = snapshot.catalog.files.places()
            told, warnings = table.match(
                [path for _, path in places.values()], sorted({root for root, _ in places.values()})
            )
            if not told and places:
                raise table.fits_nothing([path for _, path in places.values()])
            records = list(snapshot.catalog.videos.records([id_ for id_, (_, path) in places.items() if path in told]))
        said = {path: (table, metadata) for path, metadata in told.items()}
        changes = news(said, [(Path(record.path), record) for record in records])
        changed: Counter[str] = Counter()
        emptied: Counter[str] = Counter()
        for change in changes:
            for name, value in (change.fields | change.attributes).items():
                (emptied if value is None else changed)[name] += 1
        if changes:
            writer.declare_attributes(table.types)
            with writer.transaction() as transaction:
                transaction.videos.change_metadata(changes)
        with writer.snapshot() as snapshot:
            generation = snapshot.generation
    return AnnotateReport(
        str(index_path),
        generation,
        len(changes),
        len(records) - len(changes),
        dict(changed),
        dict(emptied),
        tuple(warnings),
    )
