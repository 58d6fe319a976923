"""What a Python user opens and asks: `open_index` and `Index`, whose zero-shot side is `Index.zeroshot`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
