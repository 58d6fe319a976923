"""Vectors on disk and the search for the nearest. Knows ids and numbers; nothing of videos, catalogs or models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
