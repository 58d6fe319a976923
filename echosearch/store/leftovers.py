"""What lies in `segments/` beside the segments of an index, and what of it may be erased. Changes nothing.

A folder is erased only when it is certain that nobody will miss it: what was not completed, what was replaced longer
ago than the grace time, and what a writer that died had not committed. The last holds only ids that the catalog has
given, and the segments that the catalog names are all there; otherwise the catalog may be an older copy or another's.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from echosearch.catalog import Snapshot
from echosearch.errors import IndexStateError, OutOfReach
from echosearch.vectors import PARTIAL_PREFIX, open_segment

ASIDE: Final = "aside"
"""The folder within `segments/` of what a repair let go of."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Folders to erase and to move aside; sentences about those that stay, and about those of a newer catalog."""

    to_erase: list[Path] = field(default_factory=list)
    to_move_aside: list[Path] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)


def leftovers(path: Path, snapshot: Snapshot, grace_seconds: float) -> Leftovers:
    """What lies beside the segments of an index. OutOfReach when the folder of its segments cannot be read."""
    folder = path / "segments"
    active = {name for name, _, _ in snapshot.segment_sizes()}
    retired = snapshot.retired_segments()
    found = Leftovers()
    try:
        there = {other.name for other in folder.iterdir()}
        aside = sorted((folder / ASIDE).iterdir()) if ASIDE in there else []
    except OSError as error:
        raise OutOfReach(
            f"{folder} cannot be read: {error.strerror}; if its disk is not mounted, mount it; if it is lost for good, "
            "make an empty folder in its place, and then: echosearch check --repair --missing"
        ) from error
    for name in sorted(there - active - {ASIDE}):
        if name.startswith(PARTIAL_PREFIX) or time.time() - retired.get(name, math.inf) >= grace_seconds:
            found.to_erase.append(folder / name)
        elif retired.get(name) == math.inf:
            found.to_move_aside.append(folder / name)
            found.kept.append(f"{folder / name} was let go of; the next writer moves it aside")
        elif name not in retired:
            _place(folder / name, snapshot.next_video_id(), active <= there, found)
    found.kept.extend(f"{other} was let go of by a repair; it may be removed" for other in aside)
    return found


def _place(folder: Path, next_video_id: int, all_there: bool, found: Leftovers) -> None:
    """Say of a folder that the catalog does not know what is to become of it."""
    try:
        last = int(open_segment(folder.parent, folder.name).ids[-1])
    except IndexStateError as error:
        found.kept.append(f"the index has no segment {folder}, and it cannot be read; it is left alone ({error})")
        return
    if last >= next_video_id:
        found.newer.append(
            f"{folder} holds videos up to id {last}, and the next that the catalog gives is {next_video_id}: the "
            "catalog is older than the segments, or another's; restore both from one copy of the index, or move such "
            "folders elsewhere to go on without them"
        )
    elif all_there and re.fullmatch("[0-9a-f]{16}", folder.name):
        found.to_erase.append(folder)
    else:
        found.kept.append(f"the index has no segment {folder}; it is left alone")
