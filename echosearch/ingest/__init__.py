"""From files to committed videos: read, prepare, encode, pool, add. Knows all steps and does none of them itself."""

from echosearch.ingest.admission import check_model, check_phrases
from echosearch.ingest.metadata import FIELDS, MetadataTable, read_metadata
from echosearch.ingest.pipeline import IngestOptions, ingest

__all__ = [
    "FIELDS",
    "IngestOptions",
    "MetadataTable",
    "check_model",
    "check_phrases",
    "ingest",
    "read_metadata",
]
