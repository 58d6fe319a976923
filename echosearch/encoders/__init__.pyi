from . import load as load
from .encoder import (
    FINGERPRINT_PHRASES as FINGERPRINT_PHRASES,
    Encoder as Encoder,
    cache_key as cache_key,
    fingerprint_clip as fingerprint_clip,
)
from .load import describe_presets as describe_presets, how_to_choose as how_to_choose, load_encoder as load_encoder
from .presets import Preset as Preset, list_presets as list_presets
from .recognise import Standing as Standing
from .stream import encode_stream as encode_stream
from .text_cache import TextCache as TextCache
