"""What is known of each video, in SQLite; the catalog decides what exists. Knows no vector and no file format."""

from echosearch.catalog.catalog import Catalog
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
    "SameBytes",
    "SegmentRow",
    "Snapshot",
    "SweepKey",
    "SweepRow",
    "Transaction",
    "VideoMetadata",
    "refuse_newer",
]
