"""What is done to an index now and then: compacting, letting go of damaged segments, another model in its place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.errors import DamagedIndex, IndexStateError, OutOfReach
from echosearch.files import PARTIAL
from echosearch.index.catalog import Size
from echosearch.index.description import IndexDescription, named_disk_errors
from echosearch.index.leftovers import ASIDE
from echosearch.index.merging import grouped, rest_of
from echosearch.index.snapshot import whole_segment
from echosearch.index.writer import Part, Writer, add_part


def compact(writer: Writer) -> dict[str, Any]:
    """Rewrite segments that hold deleted rows, without these, and merge small ones. Counts of segments and rows.

    Damaged segments stay as they are; `notes` say which.
    """
    with writer.snapshot() as snapshot:
        before = len(snapshot.segments)
        dead = np.array(snapshot.catalog.segments.dead_ids(), np.int64)
    drop_vectors(writer, dead)
    writer.merge()
    writer.tidy()
    writer.catalog_file.shrink()
    with writer.snapshot() as snapshot:
        dropped, after = len(dead) - len(snapshot.catalog.segments.dead_ids()), len(snapshot.segments)
    counts = {"segments_before": before, "segments": after, "rows_dropped": dropped}
    return {**counts, "notes": writer.notes}


def drop_vectors(writer: Writer, ids: npt.NDArray[np.int64]) -> None:
    """Write the segments that hold any of these deleted videos (n,) ascending anew, without them."""
    for group in grouped(_holding(writer, ids)):
        writer.rewrite(group, ids)


def refuse_damaged(writer: Writer, ids: Iterable[int]) -> None:
    """DamagedIndex where segments that hold any of these videos cannot be written anew without them."""
    for size in _holding(writer, np.array(sorted(set(ids)), np.int64)):
        with writer.catalog_only() as catalog:
            try:
                whole_segment(writer.path, size.name, catalog)
            except OutOfReach:
                raise
            except IndexStateError as error:
                raise DamagedIndex(
                    f"nothing was changed: these videos lie in a damaged segment, which cannot be written anew "
                    f"without them ({error}); drop it first: echosearch check --repair"
                ) from error


def _holding(writer: Writer, ids: npt.NDArray[np.int64]) -> list[Size]:
    with writer.snapshot() as snapshot:
        segments, sizes = snapshot.segments, snapshot.catalog.segments.sizes()
    return [size for size in sizes if np.isin(segments[size.name].ids, ids, assume_unique=True).any()]


def erase_replaced(writer: Writer) -> int:
    """Erase all folders of segments that the catalog does not name, now; readers of an older commit lose them."""
    with writer.catalog_only() as catalog:
        active = {size.name for size in catalog.segments.sizes()}
        retired = list(catalog.segments.retired())
    pattern = re.compile(rf"[0-9a-f]{{16}}|{ASIDE}|{re.escape(PARTIAL)}.*")
    folders = [folder for folder in (writer.path / "segments").iterdir() if folder.name not in active]
    aside = writer.path / "segments" / ASIDE
    if aside.is_symlink() and aside.is_dir():  # it may hold other things as well
        folders = [*aside.iterdir(), *folders]
    erased = [folder for folder in folders if pattern.fullmatch(folder.name)]
    with named_disk_errors(writer.path):
        for folder in erased:
            shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
        with writer.transaction() as transaction:
            transaction.segments.forget_retired(retired)
    return len(erased)


def switch(
    writer: Writer,
    description: IndexDescription,
    parts: Sequence[Part],
    gone: Sequence[int],
    relearn: Callable[[str], str],
) -> int:
    """Put videos embedded again in the place of the old ones, with what the index is bound to now, in one commit.

    `parts` were placed; videos `gone`, ascending, are deleted with their vectors, whether replaced or not; no
    segment of theirs may be damaged. `relearn` rewrites what was learnt (JSON); gives how many texts it changed.
    """
    ids = np.array(gone, np.int64)
    others = [rest_of(writer.whole(group), ids, writer.write) for group in grouped(_holding(writer, ids))]
    with writer.transaction() as transaction:
        for part in parts:
            add_part(transaction, *part)
        for other in others:
            other.take_over(transaction)
        transaction.deleted.add(gone, on_purpose=False)
        changed = transaction.fitted.rewrite(relearn)
        transaction.describe(json.dumps(description.to_dict()))
    writer.adopt(description)
    return changed


def let_go(writer: Writer, names: Sequence[str]) -> int:
    """Delete the videos of segments that cannot be used, to be ingested again. Gives the number of videos lost.

    Their folders are moved to `segments/aside`, at once or, where they cannot be reached, when they can.
    """
    with writer.transaction() as transaction:
        gone = [video_id for name in names for video_id in transaction.segments.ids_in(name)]
        lost = transaction.segments.retire(names, is_kept=True)
        transaction.sweeps.forget_scores(gone)
    writer.tidy()
    return lost
