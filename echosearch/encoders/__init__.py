"""From pixels and phrases to unit vectors. Knows models; knows no file of a video and no index.

Importing this package imports no torch: a backend does so when it is loaded.
"""

from echosearch.encoders import load as load
from echosearch.encoders.encoder import (
    FINGERPRINT_PHRASES as FINGERPRINT_PHRASES,
    Encoder as Encoder,
    cache_key as cache_key,
    fingerprint_clip as fingerprint_clip,
)
from echosearch.encoders.load import (
    describe_presets as describe_presets,
    how_to_choose as how_to_choose,
    load_encoder as load_encoder,
)
from echosearch.encoders.presets import Preset as Preset, list_presets as list_presets
from echosearch.encoders.recognise import Standing as Standing
from echosearch.encoders.stream import encode_stream as encode_stream
from echosearch.encoders.text_cache import TextCache as TextCache
