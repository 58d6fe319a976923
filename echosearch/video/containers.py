"""What a container's own header says that decord does not hand on. Decodes nothing; what is damaged says nothing."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_MASTERS: Final = {bytes.fromhex("18538067"), bytes.fromhex("1F43B675"), b"\xa0"}  # Segment, Cluster, BlockGroup
_BLOCKS: Final = {b"\xa1", b"\xa3"}  # Block, SimpleBlock


def edit_list_end(path: Path) -> float:
    """Seconds at which the one video track of an MP4 or MOV ends by its edit list; infinity where none says so.

    ISO 14496-12, 8.6.6: empty edits, which delay the start, and one edit at its normal rate.
    """
    with path.open("rb") as file:
        moov = next((body for kind, body in _top_boxes(file) if kind == b"moov"), b"")
    try:
        return _edit_list_end(moov)
    except (struct.error, IndexError):
        return float("inf")


def _edit_list_end(moov: bytes) -> float:
    boxes = list(_boxes(moov))
    tracks = [body for kind, body in boxes if kind == b"trak" and _inside(body, b"mdia", b"hdlr")[8:12] == b"vide"]
    if len(tracks) != 1 or any(kind == b"mvex" for kind, _ in boxes):  # fragments may come after the edit
        return float("inf")
    listed, movie = _inside(tracks[0], b"edts", b"elst"), _inside(moov, b"mvhd")
    if not listed:
        return float("inf")
    (units_per_second,) = struct.unpack_from(">I", movie, 20 if movie[0] else 12)
    (count,) = struct.unpack_from(">I", listed, 4)
    entry = struct.Struct(">Qqi" if listed[0] else ">Iii")  # duration in the movie's units, start (-1: empty), rate
    edits = [entry.unpack_from(listed, 8 + entry.size * n) for n in range(min(count, 3))]
    if [rate for _, start, rate in edits if start >= 0] != [0x10000] or edits[-1][0] == 0 or units_per_second == 0:
        return float("inf")
    return float(sum(duration for duration, _, _ in edits) / units_per_second)


def _top_boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the file's boxes; of its media data the beginning."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 16 <= end:
        file.seek(at)
        size, kind, long_size = struct.unpack(">I4sQ", file.read(16))
        header, size = (16, long_size) if size == 1 else (8, size or end - at)
        if size < header or at + size > end:
            return
        file.seek(at + header)
        yield kind, file.read(size - header if kind == b"moov" else 0)
        at += size


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _inside(data: bytes, *kinds: bytes) -> bytes:
    """Content of the first box of each kind within the one before; nothing where there is none."""
    for wanted in kinds:
        data = next((body for kind, body in _boxes(data) if kind == wanted), b"")
    return data


def matroska_blocks(path: Path) -> Counter[int]:
    """Stored frames by track of a Matroska or WebM file (RFC 9559); none where its elements do not end with it."""
    blocks: Counter[int] = Counter()
    end, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at < end:
            file.seek(at)
            head = file.read(16).ljust(16, b"\0")
            of_id, of_size = 9 - head[0].bit_length(), 9 - head[9 - head[0].bit_length()].bit_length()
            kind, body = head[:of_id], of_id + of_size
            size = int.from_bytes(head[of_id:body], "big") & ((1 << 7 * of_size) - 1)
            at += body
            if kind not in _MASTERS:  # into those one goes, which may be of unknown size
                at += size
            if kind in _BLOCKS:
                blocks[head[body] if body < len(head) else 0] += 1
    return blocks if at == end else Counter()
