"""What is known of each video, in SQLite; the catalog decides what exists. Knows no vector and no file format."""

from echosearch.index.catalog.catalog import Catalog
from echosearch.index.catalog.conditions import FIELDS, VIEW, Matches, Measures
from echosearch.index.catalog.migrations import refuse_newer
from echosearch.index.catalog.purge import PURGED, TABLES, Person, Rewriters
from echosearch.index.catalog.reader import AttributeColumn, CatalogReader
from echosearch.index.catalog.records import (
    AttributeType,
    AttributeValue,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    SameBytes,
    SegmentRow,
    SweepKey,
    SweepRow,
    VideoMetadata,
)
from echosearch.index.catalog.transaction import Transaction

__all__ = [
    "FIELDS",
    "PURGED",
    "TABLES",
    "VIEW",
    "AttributeColumn",
    "AttributeType",
    "AttributeValue",
    "Catalog",
    "CatalogReader",
    "FailedFile",
    "Fitted",
    "FittedKind",
    "KnownFile",
    "Matches",
    "Measures",
    "MetadataChange",
    "NewVideo",
    "Person",
    "Rewriters",
    "SameBytes",
    "SegmentRow",
    "SweepKey",
    "SweepRow",
    "Transaction",
    "VideoMetadata",
    "refuse_newer",
]
