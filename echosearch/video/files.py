"""Which files are media, and what their bytes hash to. Opens nothing with a decoder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echosearch.errors import InaccessibleVideo, InputError
from echosearch.files import absolute, open_regular

VIDEO_SUFFIXES: Final = frozenset({".avi", ".mp4", ".mov", ".mkv", ".webm"})
STILL_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MEDIA_SUFFIXES: Final = VIDEO_SUFFIXES | STILL_SUFFIXES


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
