"""One index on disk: manifest, catalog, segments and FAISS, which change together or not at all."""

from echosearch.store.leftovers import leftovers
from echosearch.store.manifest import Manifest
from echosearch.store.store import Store
from echosearch.store.view import View, whole_segment
from echosearch.store.writer import Batch, Part, Writer

__all__ = ["Batch", "Manifest", "Part", "Store", "View", "Writer", "leftovers", "whole_segment"]
