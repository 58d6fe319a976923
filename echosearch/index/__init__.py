"""One index on disk: manifest, catalog, segments and FAISS, which change together or not at all."""

from echosearch.index.admission import (
    check_fingerprint as check_fingerprint,
    check_model as check_model,
    check_phrases as check_phrases,
    probe as probe,
)
from echosearch.index.catalog.conditions import FIELDS as FIELDS, VIEW as VIEW, Matches as Matches
from echosearch.index.catalog.migrations import refuse_newer as refuse_newer
from echosearch.index.catalog.purge import PURGED as PURGED, Person as Person, Rewriters as Rewriters
from echosearch.index.catalog.reader import AttributeColumn as AttributeColumn, CatalogReader as CatalogReader
from echosearch.index.catalog.records import (
    AttributeType as AttributeType,
    AttributeValue as AttributeValue,
    FailedFile as FailedFile,
    Fitted as Fitted,
    FittedKind as FittedKind,
    KnownFile as KnownFile,
    MetadataChange as MetadataChange,
    NewVideo as NewVideo,
    SameBytes as SameBytes,
    SweepKey as SweepKey,
    VideoMetadata as VideoMetadata,
)
from echosearch.index.check import (
    check_index as check_index,
    compare_sources as compare_sources,
    repair_index as repair_index,
)
from echosearch.index.description import IndexDescription as IndexDescription
from echosearch.index.purge import OUT_OF_REACH as OUT_OF_REACH, purge as purge
from echosearch.index.snapshot import Snapshot as Snapshot
from echosearch.index.store import Store as Store
from echosearch.index.vectors.rows import LiveRows as LiveRows, Ranking as Ranking, Weighting as Weighting
from echosearch.index.vectors.segment import (
    NO_FRAMES as NO_FRAMES,
    FramesDtype as FramesDtype,
    Segment as Segment,
    StoredVideo as StoredVideo,
)
from echosearch.index.writer import Batch as Batch, Part as Part, Writer as Writer
