from .exact import ExactFinder as ExactFinder
from .flat import FaissFile as FaissFile, FlatFaiss as FlatFaiss
from .nearest import (
    CandidateFinder as CandidateFinder,
    LiveRows as LiveRows,
    Ranking as Ranking,
    VectorIndex as VectorIndex,
    Weighting as Weighting,
)
from .segment import (
    NO_FRAMES as NO_FRAMES,
    Array as Array,
    FramesDtype as FramesDtype,
    RowsToWrite as RowsToWrite,
    Segment as Segment,
    SegmentInfo as SegmentInfo,
    SegmentRows as SegmentRows,
    StoredVideo as StoredVideo,
    close_maps as close_maps,
    open_segment as open_segment,
    out_of_reach as out_of_reach,
    write_segment as write_segment,
)
