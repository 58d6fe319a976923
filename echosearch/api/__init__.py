"""What a Python user opens and asks: `open_index`, `Index`, and its zero-shot side, `Index.zeroshot`."""

from echosearch.api.index import Index, open_index
from echosearch.api.zeroshot import ZeroShot

__all__ = ["Index", "ZeroShot", "open_index"]
