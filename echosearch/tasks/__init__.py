"""Zero-shot tasks over a whole index: task files, scores, sweeps. Knows no label and no command line."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
