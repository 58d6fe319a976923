"""What is known of each video, in SQLite; the catalog decides what exists. Knows no vector and no file format."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
