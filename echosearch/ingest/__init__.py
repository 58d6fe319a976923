"""From files to committed videos: read, prepare, encode, pool, add. Knows all steps and does none of them itself."""

from echosearch.ingest.admission import check_model, check_phrases
from echosearch.ingest.annotate import AnnotateReport, annotate
from echosearch.ingest.housekeeping import delete_videos, move_roots
from echosearch.ingest.layouts import recognise
from echosearch.ingest.metadata import FIELDS, MetadataTable, read_metadata
from echosearch.ingest.pipeline import IngestOptions, ingest

__all__ = [
    "FIELDS",
    "AnnotateReport",
    "IngestOptions",
    "MetadataTable",
    "annotate",
    "check_model",
    "check_phrases",
    "delete_videos",
    "ingest",
    "move_roots",
    "read_metadata",
    "recognise",
]
