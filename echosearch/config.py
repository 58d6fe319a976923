"""Where things lie and the defaults that several layers share. Reads the environment only when asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from echosearch import files
from echosearch.errors import BadOption

FORMAT_VERSION: Final = 6
"""Version of the index folder's layout: 2 has imported vectors, 3 zero-shot sweeps, 4 cohorts, 5 purging, 6 a pipeline
version for each kind of file, and predicted views."""

DEFAULT_INDEX: Final = Path("indexes/default")
INDEX_VARIABLE: Final = "ECHOSEARCH_INDEX"
TASKS_VARIABLE: Final = "ECHOSEARCH_TASKS"

COMMIT_VIDEOS: Final = 256
COMMIT_SECONDS: Final = 20.0

IMPORT_VIDEOS: Final = 4096
"""Videos that an import commits at once."""

MERGE_FROM: Final = 8
"""So many segments of similar size become one; sizes are similar up to this factor."""

MERGED_ROWS: Final = 131_072
"""Rows of the largest segments that merging makes; those are left alone then."""

GRACE_SECONDS: Final = 3600.0
"""How long the folder of a replaced segment stays, for readers that have an older commit open."""


def index_path(given: Path | str | None = None) -> Path:
    """The absolute path of the index to use: the one given, else ECHOSEARCH_INDEX, else indexes/default.

    BadOption for a path that the files of an index cannot keep.
    """
    if given is not None and not str(given):
        raise BadOption("--index is empty; give a folder, or leave it out for the default")
    chosen = given or os.environ.get(INDEX_VARIABLE) or DEFAULT_INDEX
    path = files.absolute(Path(chosen))
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise BadOption(f"the path of an index is UTF-8 text, and {str(path)!r} is not; give another --index") from None
    return path


def tasks_path() -> Path | None:
    """The user's folder of tasks, there or not: ECHOSEARCH_TASKS, else echosearch/tasks where settings are kept.

    None for a user who has no home folder, as in many containers.
    """
    if chosen := os.environ.get(TASKS_VARIABLE):
        return files.absolute(Path(chosen))
    settings = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not settings.is_absolute():  # the XDG specification has relative ones ignored
        try:
            settings = Path.home() / ".config"
        except RuntimeError:
            return None
    return settings / "echosearch" / "tasks"


def default_workers() -> int:
    """Number of decoding processes: one for every two processors, at least one; the encoder wants the rest."""
    return max(1, len(os.sched_getaffinity(0)) // 2) if hasattr(os, "sched_getaffinity") else 1
