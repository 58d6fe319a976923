"""What a Python user opens and asks: `open_index` and `Index`, whose zero-shot side is `Index.zeroshot`."""

from echosearch.api.index import Index, open_index

__all__ = ["Index", "open_index"]
