"""What lies in `segments/` beside the segments of an index, and what of it may be erased.

A folder is erased only when it is certain that nobody will miss it: what was not completed, what was replaced longer
ago than the grace time, and what a writer left that died: videos that were never committed, or copies, bit for bit, of
vectors that the index has. Any other may be all that is left of its videos: the catalog may be an older copy, or
another's.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from echosearch.config import GRACE_SECONDS
from echosearch.errors import CatalogSegmentsDisagree, IndexStateError
from echosearch.files import PARTIAL, erase_folder
from echosearch.index.catalog import CatalogReader
from echosearch.index.snapshot import ann_folders, newest_ann
from echosearch.index.vectors import Segment, open_segment, out_of_reach

ASIDE: Final = "aside"
"""The folder within `segments/` of what a repair let go of."""

_ROWS_AT_ONCE: Final = 4096

_NAME: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Folders to erase and to move aside, and names of segments that may be forgotten.

    `notes` are sentences about what lies there, `newer` about folders of a newer catalog.
    """

    to_erase: list[Path] = field(default_factory=list)
    to_move_aside: list[Path] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)


def leftovers(path: Path, snapshot: CatalogReader) -> Leftovers:
    """What lies beside the segments of an index. OutOfReach when the folder of its segments cannot be read."""
    folder = path / "segments"
    active = {name for name, _, _ in snapshot.segments.sizes()}
    retired = snapshot.segments.retired()
    found = Leftovers(over=[name for name, at in retired.items() if time.time() - at >= GRACE_SECONDS])
    try:
        there = {other.name for other in folder.iterdir()}
    except OSError as error:
        raise out_of_reach(
            str(folder),
            error,
            "if its disk is not mounted, mount it; if it is lost for good, make an empty folder in its place, and "
            "then: echosearch check --repair --missing",
        ) from error
    for name in sorted(there - active - {ASIDE}):
        if name.startswith(PARTIAL) or time.time() - retired.get(name, math.inf) >= GRACE_SECONDS:
            found.to_erase.append(folder / name)
        elif retired.get(name) == math.inf:
            found.to_move_aside.append(folder / name)
            found.notes.append(f"{folder / name} was dropped; the next writer moves it aside")
        elif name not in retired:
            _place(folder / name, snapshot, found)
    if ASIDE in there:
        found.notes.extend(_aside(folder / ASIDE))
    return found


def clear(path: Path, found: Leftovers) -> list[str]:
    """Erase and move aside what was found, and FAISS but for the newest; gives the names of segments to forget.

    The lock is the caller's. CatalogSegmentsDisagree, and nothing is erased, where the catalog is an older one.
    """
    if found.newer:
        raise CatalogSegmentsDisagree("; ".join(found.newer))
    aside = path / "segments" / ASIDE
    for folder in found.to_move_aside:
        with suppress(OSError):  # it stays known, and the next writer tries again
            aside.mkdir(exist_ok=True)
            folder.rename(aside / folder.name)
    newest = newest_ann(path)
    for folder in [*found.to_erase, *(other for other in ann_folders(path) if other != newest)]:
        erase_folder(folder)
    return found.over + [folder.name for folder in found.to_move_aside if not folder.exists()]


def _aside(folder: Path) -> list[str]:
    """What is told of the folder of what a repair let go of; without it everything else goes on."""
    try:
        return [f"{other} was dropped by a repair; it may be removed" for other in sorted(folder.iterdir())]
    except OSError as error:
        reason = f"{folder} cannot be listed ({error.strerror})"
        return [f"{reason}; it must be a folder, for what a repair drops: fix it, or move it elsewhere"]


def _place(folder: Path, snapshot: CatalogReader, found: Leftovers) -> None:
    """Say of something that the catalog does not know what is to become of it."""
    if not _NAME.fullmatch(folder.name):
        found.notes.append(f"{folder} does not belong to the index; it is left alone")
        return
    try:
        segment = open_segment(folder.parent, folder.name)
        if (last := int(segment.ids[-1])) >= (following := snapshot.next_video_id()):
            found.newer.append(
                f"{folder} holds videos up to id {last}, and the next that the catalog gives is {following}: the "
                "catalog is older than the segments, or another's; restore both from one copy of the index, or move "
                "such folders elsewhere to go on without them"
            )
            return
        nobody_misses_it = _is_of_a_writer_that_died(segment, snapshot)
    except IndexStateError as error:
        reason = getattr(error.__cause__, "strerror", None) or "it is not what was written"
        found.notes.append(f"the index has no segment {folder}, and it cannot be read ({reason}); it is left alone")
        return
    if nobody_misses_it:
        found.to_erase.append(folder)
        found.notes.append(f"{folder} was left by a writer that died, and is of no use; the next writer erases it")
    else:
        found.notes.append(
            f"the index has no segment {folder}, which holds vectors that the index does not have; it is left alone"
        )


def _is_of_a_writer_that_died(segment: Segment, snapshot: CatalogReader) -> bool:
    """Whether none of its videos was ever committed, or all lie, bit for bit, in segments that the index has."""
    places = snapshot.segments.of(segment.ids.tolist())
    rows: dict[str | None, list[int]] = defaultdict(list)
    for row, video_id in enumerate(segment.ids.tolist()):
        rows[places.get(video_id)].append(row)
    return not places or all(name is not None and _has(segment, name, some) for name, some in rows.items())


def _has(segment: Segment, name: str, rows: list[int]) -> bool:
    """Whether an active segment has the videos of some rows of this one, bit for bit."""
    try:
        other = open_segment(segment.path.parent, name)
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = np.array(rows[first : first + _ROWS_AT_ONCE])
            there = np.minimum(np.searchsorted(other.ids, segment.ids[some]), len(other.ids) - 1)
            for ours, theirs in (
                (segment.ids, other.ids),
                (segment.norms, other.norms),
                (segment.pooled, other.pooled),
            ):
                if ours[some].tobytes() != theirs[there].tobytes():
                    return False
    except IndexStateError:
        return False
    return True
