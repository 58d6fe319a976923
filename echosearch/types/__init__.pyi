from .embeddings import (
    UNIT_TOLERANCE as UNIT_TOLERANCE,
    EncodedText as EncodedText,
    EncodedVideo as EncodedVideo,
    VideoEmbedding as VideoEmbedding,
    pool as pool,
)
from .media import (
    FrameSampling as FrameSampling,
    MediaKind as MediaKind,
    PreparedVideo as PreparedVideo,
    PreprocessSpec as PreprocessSpec,
    VideoFacts as VideoFacts,
)
from .models import (
    PIPELINE_VERSIONS as PIPELINE_VERSIONS,
    Device as Device,
    EmbeddingCache as EmbeddingCache,
    EncoderBackend as EncoderBackend,
    EncoderCard as EncoderCard,
    Fingerprint as Fingerprint,
    ModelRequest as ModelRequest,
    Numerics as Numerics,
    Precision as Precision,
    Recipe as Recipe,
    Space as Space,
)
from .numbers import LARGEST as LARGEST, finite as finite, whole as whole
from .people import (
    Belonging as Belonging,
    Clusters as Clusters,
    as_they_come as as_they_come,
    joined as joined,
    people as people,
    study_keys as study_keys,
    with_study_keys as with_study_keys,
)
from .results import (
    BESIDE as BESIDE,
    Answer as Answer,
    Exclude as Exclude,
    Failure as Failure,
    Hit as Hit,
    IngestProgress as IngestProgress,
    IngestReport as IngestReport,
    ProgressListener as ProgressListener,
    ScoreKind as ScoreKind,
    VideoRecord as VideoRecord,
    plain as plain,
)
from .views import (
    NO as NO,
    UNKNOWN as UNKNOWN,
    YES as YES,
    Shown as Shown,
    alike as alike,
    counted as counted,
    in_words as in_words,
    seen_view as seen_view,
    shows as shows,
    tally as tally,
    view_name as view_name,
)
