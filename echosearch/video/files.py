"""Which files are media, which of them a list means, and what their bytes hash to. Opens nothing with a decoder."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Final

from echosearch.errors import InaccessibleVideo, InputError
from echosearch.files import absolute, open_regular

VIDEO_SUFFIXES: Final = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm"})
STILL_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MEDIA_SUFFIXES: Final = VIDEO_SUFFIXES | STILL_SUFFIXES
_SUFFIXES_TO_LEAVE_OUT: Final = MEDIA_SUFFIXES | {".dcm"}
"""A list may name files by what they were before they were converted."""


@dataclass(frozen=True, slots=True)
class Found:
    """Media files as sorted absolute paths, what else there was, by suffix, and folders that could not be listed."""

    media: list[Path]
    passed_over: Counter[str]
    unlisted: dict[Path, str]


def find_media(source: Path) -> Found:
    """All media files under a folder, or the file itself.

    Hidden files and folders are left out; links to folders are not followed; a folder that cannot be listed is
    passed over. InputError when `source` does not exist or cannot be looked into.
    """
    source = media_path(source)
    try:
        is_folder = stat.S_ISDIR(source.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{source} does not exist; give a video file or a folder of them") from None
    except PermissionError as error:
        raise InputError(f"no permission to read {source}") from error
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from error
    if not is_folder:
        return Found([source], Counter(), {})
    found = Found([], Counter(), {})

    def pass_over(error: OSError) -> None:
        found.unlisted[Path(error.filename)] = error.strerror or str(error)

    for folder, subfolders, names in os.walk(source, onerror=pass_over):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            if path.suffix.lower() in MEDIA_SUFFIXES:
                found.media.append(path)
            else:
                found.passed_over[path.suffix.lower() or "(none)"] += 1
    if source in found.unlisted:
        raise InputError(f"cannot list the folder {source}: {found.unlisted[source]}")
    found.media.sort()
    return found


def media_path(path: Path) -> Path:
    """The one absolute form of a path: its folder resolved, so that two ways there name one video.

    A file that is a link keeps its own name; a folder that is one is resolved. Folders that are a loop stay as named.
    """
    path = absolute(path)
    if os.path.isdir(path):  # noqa: PTH112  Path's own raises for what cannot be looked at, and for loops
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


@contextmanager
def named_refusals() -> Iterator[None]:
    """What the system refuses, as InaccessibleVideo."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InaccessibleVideo("the file does not exist") from error
    except PermissionError as error:
        raise InaccessibleVideo("no permission to read the file") from error
    except OSError as error:
        if error.errno is None:
            raise  # a decoder's own
        raise InaccessibleVideo(f"the file cannot be read: {error.strerror or error}") from error


def content_sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, hexadecimal. OSError where it cannot be read, or is a pipe or device."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
