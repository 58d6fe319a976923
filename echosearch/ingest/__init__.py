"""From files to committed videos: read, prepare, encode, pool, add. Knows all steps and does none of them itself."""

from echosearch.ingest.annotate import annotate as annotate
from echosearch.ingest.exchange import (
    ImportOptions as ImportOptions,
    export_embeddings as export_embeddings,
    import_embeddings as import_embeddings,
)
from echosearch.ingest.housekeeping import (
    compact_index as compact_index,
    delete_videos as delete_videos,
    move_roots as move_roots,
    undelete_videos as undelete_videos,
)
from echosearch.ingest.layouts import recognise as recognise
from echosearch.ingest.metadata import read_metadata as read_metadata
from echosearch.ingest.pipeline import IngestOptions as IngestOptions, ingest as ingest
from echosearch.ingest.reembedding import reembed as reembed
