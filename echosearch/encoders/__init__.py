"""From pixels and phrases to unit vectors. Knows models; knows no file of a video and no index.

Importing this package imports no torch: a backend does so when it is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
