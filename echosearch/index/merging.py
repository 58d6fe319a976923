"""Which segments are to become one. Knows names and numbers of rows; nothing of files, catalogs or vectors.

Segments whose numbers of rows are similar are merged once there are MERGE_FROM of them, so that each row is rewritten
once for each power of 8 on its way to the largest size, and some 30 segments hold a million rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from echosearch.config import MERGE_FROM, MERGED_ROWS


@dataclass(frozen=True, slots=True)
class Size:
    """A segment: its name, number of rows, and with what its vectors were made."""

    name: str
    rows: int
    numerics: str


def to_merge(segments: Sequence[Size]) -> list[list[Size]]:
    """Groups of segments, each to become one; none when there are no more than are to be."""
    tiers: dict[tuple[str, int], list[Size]] = defaultdict(list)
    for segment in segments:
        if segment.rows < MERGED_ROWS:
            tiers[segment.numerics, (segment.rows.bit_length() - 1) // 3].append(segment)  # the logarithm to base 8
    full = [members for members in tiers.values() if len(members) >= MERGE_FROM]
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
