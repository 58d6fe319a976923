"""Where things lie and the defaults that several layers share. Reads the environment only when asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from echosearch.errors import BadOption

FORMAT_VERSION: Final = 5
"""Version of the index folder's layout: 2 has imported vectors, 3 zero-shot sweeps, 4 cohorts, 5 purging."""

DEFAULT_INDEX: Final = Path("indexes/default")
INDEX_VARIABLE: Final = "ECHOSEARCH_INDEX"
TASKS_VARIABLE: Final = "ECHOSEARCH_TASKS"

COMMIT_VIDEOS: Final = 256
COMMIT_SECONDS: Final = 20.0

SMALL_SEGMENT: Final = 4096
"""Segments with fewer rows are merged, once there are MERGE_FROM of them."""

MERGE_FROM: Final = 8
REWRITE_ROWS: Final = 8192
"""Rows that are held in memory at once while segments are rewritten."""

GRACE_SECONDS: Final = 3600.0
"""How long the folder of a replaced segment stays, for readers that have an older commit open."""


def index_path(given: Path | str | None = None) -> Path:
    """The absolute path of the index to use: the one given, else ECHOSEARCH_INDEX, else indexes/default."""
    if given is not None and not str(given):
        raise BadOption("--index is empty; give a folder, or leave it out for the default")
    chosen = given or os.environ.get(INDEX_VARIABLE) or DEFAULT_INDEX
    return Path(chosen).expanduser().absolute()


def tasks_path() -> Path:
    """The user's folder of tasks, there or not: ECHOSEARCH_TASKS, else echosearch/tasks where settings are kept."""
    if chosen := os.environ.get(TASKS_VARIABLE):
        return Path(chosen).expanduser().absolute()
    settings = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not settings.is_absolute():  # the XDG specification has relative ones ignored
        settings = Path.home() / ".config"
    return settings / "echosearch" / "tasks"


def default_workers() -> int:
    """Number of decoding processes: one for every two processors, at least one; the encoder wants the rest."""
    return max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else 1
