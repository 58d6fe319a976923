"""Synthetic echocardiograms whose truth is known: studies drawn from a seed, videos, reports, whole archives.

Phantoms for tests, demonstrations and training; they look like echo videos and are nobody's heart.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
