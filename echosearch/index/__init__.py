"""One index on disk: description, catalog, segments and FAISS, which change together or not at all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
