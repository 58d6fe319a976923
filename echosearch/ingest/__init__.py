"""From files to committed videos: read, prepare, encode, pool, add. Knows all steps and does none of them itself."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
