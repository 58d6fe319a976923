from .catalog.base import refuse_newer as refuse_newer
from .catalog.catalog import CatalogReader as CatalogReader
from .catalog.conditions import FIELDS as FIELDS, VIEW as VIEW
from .catalog.files import FailedFile as FailedFile, KnownFile as KnownFile, SameBytes as SameBytes
from .catalog.kept import Fitted as Fitted, FittedKind as FittedKind
from .catalog.purge import PURGED as PURGED, Person as Person, Rewriters as Rewriters
from .catalog.sweeps import SweepKey as SweepKey
from .catalog.videos import (
    AttributeColumn as AttributeColumn,
    AttributeType as AttributeType,
    AttributeValue as AttributeValue,
    MetadataChange as MetadataChange,
    NewVideo as NewVideo,
    VideoMetadata as VideoMetadata,
)
from .check import (
    CheckReport as CheckReport,
    check_index as check_index,
    compare_sources as compare_sources,
    repair_index as repair_index,
)
from .description import (
    IndexDescription as IndexDescription,
    check_fingerprint as check_fingerprint,
    check_model as check_model,
    check_phrases as check_phrases,
    probe as probe,
)
from .purge import OUT_OF_REACH as OUT_OF_REACH, Purged as Purged, purge as purge
from .snapshot import Snapshot as Snapshot
from .store import Store as Store
from .upkeep import compact as compact, refuse_damaged as refuse_damaged, switch as switch
from .vectors.nearest import LiveRows as LiveRows, Weighting as Weighting
from .vectors.segment import (
    NO_FRAMES as NO_FRAMES,
    FramesDtype as FramesDtype,
    Segment as Segment,
    StoredVideo as StoredVideo,
)
from .writer import Batch as Batch, Part as Part, Writer as Writer
