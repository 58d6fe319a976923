"""The nouns of the project as frozen values that check themselves. Knows numpy and nothing of files or models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
