"""echosearch: semantic search for echocardiogram videos. Importing this does nothing: no torch, no I/O, no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Index", "__version__", "open_index"]

if TYPE_CHECKING:
    from echosearch.api import Index, open_index


def __getattr__(name: str) -> Any:
    if name in ("Index", "open_index"):
        from echosearch import api

        return getattr(api, name)
    raise AttributeError(f"module 'echosearch' has no attribute {name!r}")
