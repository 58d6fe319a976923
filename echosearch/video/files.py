"""Which files are media, and what their bytes hash to. Opens nothing with a decoder."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Final

from echosearch.errors import InputError

VIDEO_SUFFIXES: Final = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm"})
STILL_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MEDIA_SUFFIXES: Final = VIDEO_SUFFIXES | STILL_SUFFIXES


def find_media(source: Path) -> tuple[list[Path], Counter[str]]:
    """All media files under a folder, or the file itself, as sorted absolute paths.

    Also returns how many other files were passed over, by suffix. Hidden files and folders are left out;
    links to folders are not followed. InputError when `source` does not exist or a folder cannot be listed.
    """
    source = media_path(source)
    if not source.exists():
        raise InputError(f"{source} does not exist; give a video file or a folder of them")
    if source.is_file():
        return [source], Counter()

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list the folder {error.filename}: {error.strerror}") from error

    found: list[Path] = []
    passed_over: Counter[str] = Counter()
    for folder, subfolders, names in os.walk(source, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            if path.suffix.lower() in MEDIA_SUFFIXES:
                found.append(path)
            else:
                passed_over[path.suffix.lower() or "(none)"] += 1
    return sorted(found), passed_over


def media_path(path: Path) -> Path:
    """The one absolute form of a path: its folder resolved, so that two ways there name one video.

    A file that is a link keeps its own name; a folder that is one is resolved.
    """
    path = path.expanduser().absolute()
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def content_sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
