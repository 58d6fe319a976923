"""The nouns of the project as frozen values that check themselves. Knows numpy and nothing of files or models."""

from echosearch.types.embeddings import EncodedText, EncodedVideo, VideoEmbedding, pool
from echosearch.types.media import (
    FrameSampling,
    Interpolation,
    MediaKind,
    PreparedVideo,
    PreprocessSpec,
    VideoFacts,
)
from echosearch.types.models import (
    PIPELINE_VERSIONS,
    Device,
    EncoderCard,
    ModelRequest,
    Numerics,
    Precision,
    ProbeVectors,
    Recipe,
    Space,
)
from echosearch.types.numbers import LARGEST, finite, whole
from echosearch.types.protocols import EmbeddingCache, EncoderBackend, ProgressListener
from echosearch.types.results import (
    Exclude,
    Failure,
    Hit,
    IngestProgress,
    IngestReport,
    ScoreKind,
    SearchResult,
    VideoRecord,
)

__all__ = [
    "LARGEST",
    "PIPELINE_VERSIONS",
    "Device",
    "EmbeddingCache",
    "EncodedText",
    "EncodedVideo",
    "EncoderBackend",
    "EncoderCard",
    "Exclude",
    "Failure",
    "FrameSampling",
    "Hit",
    "IngestProgress",
    "IngestReport",
    "Interpolation",
    "MediaKind",
    "ModelRequest",
    "Numerics",
    "Precision",
    "PreparedVideo",
    "PreprocessSpec",
    "ProbeVectors",
    "ProgressListener",
    "Recipe",
    "ScoreKind",
    "SearchResult",
    "Space",
    "VideoEmbedding",
    "VideoFacts",
    "VideoRecord",
    "finite",
    "pool",
    "whole",
]
