"""From a question to hits: filters over names, units, ranking. Knows no model and no printing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
