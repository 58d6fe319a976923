from . import load as load
from .encoder import (
    FINGERPRINT_PHRASES as FINGERPRINT_PHRASES,
    Encoder as Encoder,
    TextCache as TextCache,
    cache_key as cache_key,
    encode_stream as encode_stream,
    fingerprint_clip as fingerprint_clip,
)
from .load import (
    PresetStatus as PresetStatus,
    describe_presets as describe_presets,
    how_to_choose as how_to_choose,
    load_encoder as load_encoder,
)
from .presets import Preset as Preset, Standing as Standing, list_presets as list_presets
