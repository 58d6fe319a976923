"""Small things that reading, writing and purging share."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

AT_ONCE: Final = 400
"""Parameters in one statement; SQLite's oldest limit is 999."""

Item = TypeVar("Item")


def keyed_hash(key: str, thing: Path | str) -> str:
    """What is left of a purged path or content hash: HMAC-SHA256, hexadecimal."""
    return hmac.digest(bytes.fromhex(key), os.fsencode(thing), "sha256").hex()


def root_of(path: Path, known: Mapping[Path, int]) -> Path | None:
    """The longest known root that holds a path."""
    return next((parent for parent in path.parents if parent in known), None)


def chunks(items: Sequence[Item], size: int = AT_ONCE) -> Iterator[Sequence[Item]]:
    """The items, at most so many at once."""
    for first in range(0, len(items), size):
        yield items[first : first + size]
