"""From a file to pixels: reading, frame by frame, and preparing. Knows no model, no index, no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
