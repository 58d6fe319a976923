"""From pixels and phrases to unit vectors. Knows models; knows no file of a video and no index.

Importing this package imports no torch: a backend does so when it is loaded.
"""

from echosearch.encoders.encoder import PROBE_PHRASES, Encoder, cache_key, probe_clip
from echosearch.encoders.load import describe_presets, how_to_choose, load_encoder
from echosearch.encoders.presets import Preset, list_presets
from echosearch.encoders.recognise import Standing
from echosearch.encoders.stream import encode_stream

__all__ = [
    "PROBE_PHRASES",
    "Encoder",
    "Preset",
    "Standing",
    "cache_key",
    "describe_presets",
    "encode_stream",
    "how_to_choose",
    "list_presets",
    "load_encoder",
    "probe_clip",
]
