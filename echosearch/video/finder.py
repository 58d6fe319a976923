"""Which of some files a list means by what it says of one. Knows paths only, and opens nothing."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Final

from echosearch.video.files import MEDIA_SUFFIXES

_SUFFIXES_TO_LEAVE_OUT: Final = MEDIA_SUFFIXES | {".dcm"}
"""A list may name files by what they were before they were converted."""


class FileFinder:
    """Finds each of `files` (absolute paths) by its path or name.

    A path is absolute, or relative to one of the folders `bases`, or the end of exactly one file's path; the
    suffix may be left out, and, where nothing has a name as it stands, so may its case and how its accents are coded.
    An absolute path of another machine, Windows' too, is found by its longest end of a folder
    and a name or more that exactly one file has; `cut` says which end that was.
    """

    def __init__(self, files: Iterable[Path], bases: Iterable[Path]) -> None:
        self._bases = [base.absolute() for base in bases]
        self.cut: dict[str, str] = {}
        self._files = set(files)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for file in self._files:
            self._by_name[_folded(file.name)].append(file)
            self._by_name[_folded(file.stem)].append(file)

    def find(self, told: str) -> Path | None:
        """The one file that is meant, or None where none is, or several could be."""
        path = Path(told)
        if (found := self._exactly(path) or self._by_name_or_end(path)) is not None:
            return found
        windows = PureWindowsPath(told)
        if "\\" in told and not windows.anchor:
            other = Path(*windows.parts)
            return self._exactly(other) or self._by_name_or_end(other)
        is_windows = "\\" in told or windows.drive.endswith(":")
        parts = windows.parts[1:] if is_windows else path.parts[1:] if path.is_absolute() else ()
        for first in range(len(parts) - 1):
            end = Path(*parts[first:])
            if (found := self._by_name_or_end(end)) is not None:
                self.cut[told] = str(end)
                return found
        return None

    def _exactly(self, path: Path) -> Path | None:
        places = (Path(os.path.normpath(base / path)) for base in self._bases)
        return next((place for place in places if place in self._files), None)

    def _by_name_or_end(self, path: Path) -> Path | None:
        if path.suffix.lower() in _SUFFIXES_TO_LEAVE_OUT:
            return self._by_end(path) or self._by_end(path.with_suffix(""))
        return self._by_end(path)

    def _by_end(self, path: Path) -> Path | None:
        """The one file whose path ends so, with or without its suffix."""
        folders = (path.parts[1:] if path.is_absolute() else path.parts)[:-1]
        alike = self._by_name.get(_folded(path.name), ())
        for key in (str, _folded):
            wanted = [*map(key, folders)]
            candidates = {
                file
                for file in alike
                if key(path.name) in (key(file.name), key(file.stem))
                and [*map(key, file.parent.parts)][len(file.parent.parts) - len(wanted) :] == wanted
            }
            if candidates:
                return candidates.pop() if len(candidates) == 1 else None
        return None


def _folded(name: str) -> str:
    """A name as Windows and macOS compare it."""
    return unicodedata.normalize("NFC", name).casefold()
