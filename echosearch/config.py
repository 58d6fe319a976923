"""Where things lie and the defaults that several layers share. Reads the environment only when asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

FORMAT_VERSION: Final = 1
"""Version of the index folder's layout."""

DEFAULT_INDEX: Final = Path("indexes/default")
INDEX_VARIABLE: Final = "ECHOSEARCH_INDEX"

COMMIT_VIDEOS: Final = 256
COMMIT_SECONDS: Final = 20.0


def index_path(given: Path | str | None = None) -> Path:
    """The absolute path of the index to use: the one given, else ECHOSEARCH_INDEX, else indexes/default."""
    chosen = given or os.environ.get(INDEX_VARIABLE) or DEFAULT_INDEX
    return Path(chosen).expanduser().absolute()


def default_workers() -> int:
    """Number of decoding processes: one for every two processors, at least one; the encoder wants the rest."""
    return max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else 1
