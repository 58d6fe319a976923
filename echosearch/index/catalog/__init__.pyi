from .base import refuse_newer as refuse_newer
from .catalog import Catalog as Catalog, CatalogReader as CatalogReader, Transaction as Transaction
from .conditions import FIELDS as FIELDS, VIEW as VIEW, Matches as Matches, Measures as Measures
from .files import FailedFile as FailedFile, KnownFile as KnownFile, SameBytes as SameBytes
from .kept import Fitted as Fitted, FittedKind as FittedKind
from .purge import PURGED as PURGED, TABLES as TABLES, Person as Person, Rewriters as Rewriters
from .segments import SegmentRow as SegmentRow, Size as Size
from .sweeps import SweepKey as SweepKey, SweepRow as SweepRow
from .videos import (
    AttributeColumn as AttributeColumn,
    AttributeType as AttributeType,
    AttributeValue as AttributeValue,
    MetadataChange as MetadataChange,
    NewVideo as NewVideo,
    VideoMetadata as VideoMetadata,
)
