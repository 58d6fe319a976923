"""From files to committed videos: read, prepare, encode, pool, add. Knows all steps and does none of them itself."""

from echosearch.ingest.annotate import AnnotateReport, annotate
from echosearch.ingest.exchange import (
    ExportReport,
    ImportOptions,
    ImportReport,
    export_embeddings,
    import_embeddings,
)
from echosearch.ingest.housekeeping import compact_index, delete_videos, move_roots, undelete_videos
from echosearch.ingest.layouts import recognise
from echosearch.ingest.metadata import FIELDS, MetadataTable, read_metadata
from echosearch.ingest.pipeline import IngestOptions, ingest
from echosearch.ingest.reembedding import reembed

__all__ = [
    "FIELDS",
    "AnnotateReport",
    "ExportReport",
    "ImportOptions",
    "ImportReport",
    "IngestOptions",
    "MetadataTable",
    "annotate",
    "compact_index",
    "delete_videos",
    "export_embeddings",
    "import_embeddings",
    "ingest",
    "move_roots",
    "read_metadata",
    "recognise",
    "reembed",
    "undelete_videos",
]
