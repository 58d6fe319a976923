"""What is known of each video, in SQLite; the catalog decides what exists. Knows no vector and no file format."""

from echosearch.catalog.catalog import Catalog
from echosearch.catalog.conditions import FIELDS, VIEW, Matches, Measures
from echosearch.catalog.migrations import refuse_newer
from echosearch.catalog.purge import PURGED, TABLES, Person, Rewriters
from echosearch.catalog.records import (
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
from echosearch.catalog.snapshot import AttributeColumn, Snapshot
from echosearch.catalog.transaction import Transaction

__all__ = [
    "FIELDS",
    "PURGED",
    "TABLES",
    "VIEW",
    "AttributeColumn",
    "AttributeType",
    "AttributeValue",
    "Catalog",
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
    "Snapshot",
    "SweepKey",
    "SweepRow",
    "Transaction",
    "VideoMetadata",
    "refuse_newer",
]
