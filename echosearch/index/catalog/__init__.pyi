from .catalog import Catalog as Catalog
from .conditions import FIELDS as FIELDS, VIEW as VIEW, Matches as Matches, Measures as Measures
from .migrations import refuse_newer as refuse_newer
from .purge import PURGED as PURGED, TABLES as TABLES, Person as Person, Rewriters as Rewriters
from .reader import AttributeColumn as AttributeColumn, CatalogReader as CatalogReader
from .records import (
    AttributeType as AttributeType,
    AttributeValue as AttributeValue,
    FailedFile as FailedFile,
    Fitted as Fitted,
    FittedKind as FittedKind,
    KnownFile as KnownFile,
    MetadataChange as MetadataChange,
    NewVideo as NewVideo,
    SameBytes as SameBytes,
    SegmentRow as SegmentRow,
    SweepKey as SweepKey,
    SweepRow as SweepRow,
    VideoMetadata as VideoMetadata,
)
from .transaction import Transaction as Transaction
