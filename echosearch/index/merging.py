"""Which segments are to become one, and how: their rows, but for those to be dropped, are written into a new one.

Segments whose numbers of rows are similar are merged once there are MERGE_FROM of them, so that each row is rewritten
once for each power of 8 on its way to the largest size, and some 30 segments hold a million rows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.config import MERGE_FROM, MERGED_ROWS
from echosearch.errors import IndexStateError, OutOfReach
from echosearch.index.catalog import CatalogReader, Size, Transaction
from echosearch.index.snapshot import whole_segment
from echosearch.index.vectors import Array, Segment, SegmentInfo
from echosearch.types import Numerics

_WRITTEN_ROWS: Final = 4096
"""Rows that are read and written at once."""


def to_merge(segments: Sequence[Size], least: int = MERGE_FROM) -> list[list[Size]]:
    """Groups of at least so many segments, each to become one; none when there are no more than are to be."""
    tiers: dict[tuple[str, int], list[Size]] = defaultdict(list)
    for segment in segments:
        if segment.rows < MERGED_ROWS:
            tiers[segment.numerics, (segment.rows.bit_length() - 1) // 3].append(segment)  # the logarithm to base 8
    full = [members for members in tiers.values() if len(members) >= least]
    return [group for members in full for group in grouped(members) if len(group) > 1]


def grouped(segments: Sequence[Size]) -> list[list[Size]]:
    """The segments in groups that can become one: made with the same numerics, and together no larger than allowed."""
    groups: list[list[Size]] = []
    for segment in sorted(segments, key=lambda segment: segment.numerics):
        rows = sum(member.rows for member in groups[-1]) if groups else 0
        if not groups or rows + segment.rows > MERGED_ROWS or groups[-1][0].numerics != segment.numerics:
            groups.append([])
        groups[-1].append(segment)
    return groups


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of segments without some rows: a new segment, if any, the names of the old, and the ids dropped."""

    info: SegmentInfo | None
    names: list[str]
    gone: list[int]

    def take_over(self, transaction: Transaction) -> None:
        """Put the new segment in the place of the old ones."""
        if info := self.info:
            transaction.segments.add(info.name, info.count, info.ids_sha256, json.dumps(info.numerics))
        transaction.segments.move_rows(self.names, None if info is None else info.name, self.gone)
        transaction.segments.retire(self.names)
        transaction.sweeps.forget_scores(self.gone)


def rest_of(
    segments: Sequence[Segment],
    dropped: npt.NDArray[np.int64],
    write: Callable[[MergedRows, Numerics], SegmentInfo],
) -> Rest:
    """Write the rows of segments but those of some ids (n,) ascending into a new segment, if any are left."""
    kept = [~np.isin(segment.ids, dropped, assume_unique=True) for segment in segments]
    gone = [int(id_) for segment, some in zip(segments, kept, strict=True) for id_ in segment.ids[~some]]
    info = None
    if any(some.any() for some in kept):
        info = write(MergedRows(segments, kept), Numerics(**segments[0].info.numerics))
    return Rest(info, [segment.path.name for segment in segments], gone)


def whole_ones(path: Path, group: Sequence[Size], catalog: CatalogReader) -> tuple[list[Segment], dict[str, str]]:
    """Those segments of an index every byte of which is as it was written, and by name why others are left alone."""
    segments, left_alone = [], {}
    for size in group:
        try:
            segments.append(whole_segment(path, size.name, catalog))
        except IndexStateError as error:
            is_damaged = not isinstance(error, OutOfReach)
            sentence = f"segment {size.name} is damaged, and was left alone; drop it with: echosearch check --repair"
            left_alone[size.name] = sentence if is_damaged else str(error)
    return segments, left_alone


class MergedRows:
    """Rows of several segments, by ascending id, copied from their files a few thousand at a time."""

    def __init__(self, segments: Sequence[Segment], kept: Sequence[npt.NDArray[np.bool_]]) -> None:
        """`kept` says of each row (n,) of each segment whether it is wanted."""
        rows = [np.flatnonzero(wanted) for wanted in kept]
        every_id = np.concatenate([segment.ids[some] for segment, some in zip(segments, rows, strict=True)])
        order = np.argsort(every_id)
        self.ids: npt.NDArray[np.int64] = every_id[order]
        lengths = [np.diff(segment.offsets)[some] for segment, some in zip(segments, rows, strict=True)]
        self.lengths: npt.NDArray[np.int64] = np.concatenate(lengths)[order]
        owners, places = np.repeat(np.arange(len(rows)), list(map(len, rows)))[order], np.concatenate(rows)[order]
        follows = (np.diff(owners) == 0) & (np.diff(places) == 1)
        starts = np.flatnonzero(np.concatenate([[True], ~follows]))
        ends = np.append(starts[1:], len(order))
        self._runs = [
            (segments[owners[start]], int(places[start]), int(places[start] + end - start))
            for start, end in zip(starts, ends, strict=True)
        ]

    def chunks(self, array: Array) -> Iterator[npt.NDArray[Any]]:
        """All of an array, a few thousand rows at a time."""
        for segment, first, end in self._runs:
            if array in ("frames", "frame_numbers"):
                first, end = int(segment.offsets[first]), int(segment.offsets[end])
            for begin in range(first, end, _WRITTEN_ROWS):
                yield segment.array(array)[begin : min(begin + _WRITTEN_ROWS, end)]
