"""What is known of each video, in SQLite; the catalog decides what exists. Knows no vector and no file format."""

from echosearch.catalog.catalog import AttributeColumn, Catalog, Snapshot, Transaction
from echosearch.catalog.conditions import FIELDS, Matches, Measures
from echosearch.catalog.migrations import refuse_newer
from echosearch.catalog.records import (
    AttributeType,
    AttributeValue,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    SegmentRow,
    SweepKey,
    SweepRow,
    VideoMetadata,
)

__all__ = [
    "FIELDS",
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
    "SegmentRow",
    "Snapshot",
    "SweepKey",
    "SweepRow",
    "Transaction",
    "VideoMetadata",
    "refuse_newer",
]
