"""From pixels and phrases to unit vectors. Knows models; knows no file of a video and no index.

Importing this package imports no torch: a backend does so when it is loaded.
"""

from echosearch.encoders.encoder import Encoder, cache_key
from echosearch.encoders.load import describe_presets, how_to_choose, load_encoder
from echosearch.encoders.presets import Preset, list_presets
from echosearch.encoders.probe import PROBE_PHRASES, probe_clip
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
