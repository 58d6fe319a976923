"""The filter language: conditions over fields, manifest attributes and swept tasks. Knows no catalog."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
