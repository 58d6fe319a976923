from .annotate import AnnotateReport as AnnotateReport, annotate as annotate
from .housekeeping import (
    Compaction as Compaction,
    Deletion as Deletion,
    NamedVideo as NamedVideo,
    Undeletion as Undeletion,
    compact_index as compact_index,
    delete_videos as delete_videos,
    move_roots as move_roots,
    undelete_videos as undelete_videos,
)
from .layouts import recognise as recognise
from .metadata import read_metadata as read_metadata
from .pipeline import IngestOptions as IngestOptions, ingest as ingest
from .reembedding import reembed as reembed
from .transfer import (
    ExportReport as ExportReport,
    ImportOptions as ImportOptions,
    ImportReport as ImportReport,
    export_embeddings as export_embeddings,
    import_embeddings as import_embeddings,
)
