"""Vectors on disk and the search for the nearest. Knows ids and numbers; nothing of videos, catalogs or models."""

from echosearch.index.vectors.exact import ExactIndex
from echosearch.index.vectors.faiss_index import FaissFile, FaissIndex
from echosearch.index.vectors.rows import LiveRows, Ranking, VectorIndex, Weighting
from echosearch.index.vectors.segment import (
    NO_FRAMES,
    PARTIAL_PREFIX,
    FramesDtype,
    MergedRows,
    Segment,
    SegmentInfo,
    SegmentRows,
    StoredVideo,
    close_maps,
    fsync_path,
    open_segment,
    out_of_reach,
    write_segment,
)

__all__ = [
    "NO_FRAMES",
    "PARTIAL_PREFIX",
    "ExactIndex",
    "FaissFile",
    "FaissIndex",
    "FramesDtype",
    "LiveRows",
    "MergedRows",
    "Ranking",
    "Segment",
    "SegmentInfo",
    "SegmentRows",
    "StoredVideo",
    "VectorIndex",
    "Weighting",
    "close_maps",
    "fsync_path",
    "open_segment",
    "out_of_reach",
    "write_segment",
]
