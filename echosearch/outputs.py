"""What is written for the user: there whole or not at all, and over nothing that is not ours to replace."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from echosearch.errors import BackendError, BadOption
from echosearch.files import absolute, identity, is_our_own, plain, refuse_inside_index, whole_file, whole_folder


@dataclass(frozen=True, slots=True)
class Output:
    """A file to be written for the user; checked when made, so that long work is not done in vain, and when written.

    `what` is its name in sentences ("the report"), `suffix` how its name ends. Links are followed: the real file
    counts. None lies in an index. Of what is there, what `is_our_own` is replaced, and any other file with `force`
    (None where there is no such option); but none of `sources`: files, and folders with all below them. BadOption
    says what may not be, BackendError what the disk does not let.
    """

    path: Path
    what: str
    suffix: str
    sources: tuple[Path, ...] = ()
    force: bool | None = False

    def __post_init__(self) -> None:
        if self.path.suffix.lower() != self.suffix:
            raise BadOption(f"the name of {self.what} ends in {self.suffix}, not {self.path.name!r}")
        object.__setattr__(self, "path", absolute(self.path))
        with _named_errors(self):
            tempfile.TemporaryFile(dir=self._target().parent).close()  # has the disk's own word, and no name

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A file to write into, which takes its place when the block ends, and is removed when it fails."""
        with _named_errors(self), whole_file(self._target(), look_again=self._target) as file:
            yield file

    def _target(self) -> Path:
        """The real file, which is new or may be replaced."""
        refuse_inside_index(self.path)
        target = Path(os.path.realpath(self.path))
        named = f"{self.path} (a link to {target})" if self.path.is_symlink() else str(self.path)
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            if self.path.is_symlink():
                raise BadOption(f"{named} exists already, and leads nowhere; give another name") from None
            return target
        if not stat.S_ISREG(mode) or target.suffix.lower() != self.suffix:
            raise BadOption(f"{named} is not a regular {self.suffix} file, as {self.what} must be; give another name")
        if is_our_own(target):
            return target
        places = {identity(place) for place in (target, *target.parents)} - {None}
        for source in self.sources:
            if identity(source) in places:
                why = f"lies in the source folder {source}" if source.is_dir() else "is itself a source"
                raise BadOption(f"{named} {why}, and sources are never replaced; give another name")
        if not self.force:
            way_out = "" if self.force is None else ", or --force to replace it"
            raise BadOption(f"{named} exists already; give another name{way_out}")
        return target


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder to be written for the user, new or empty and in no index; checked when made. Errors as of `Output`."""

    path: Path
    what: str

    def __post_init__(self) -> None:
        path = plain(absolute(self.path))
        object.__setattr__(self, "path", path)
        refuse_inside_index(path)
        with _named_errors(self):
            if path.is_symlink() or (path.exists() and not path.is_dir()):
                raise BadOption(f"{path} is not a folder; name one that is new or empty")
            if path.is_dir() and any(path.iterdir()):
                raise BadOption(f"{path} is not empty; name a new folder, so that nothing there is mixed or lost")
            if not path.parent.is_dir():
                raise BadOption(f"{path.parent} does not exist; make it first, or name another folder")
            tempfile.TemporaryFile(dir=path.parent).close()

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder to write into, which takes its place when the block ends, and is removed when it fails."""
        with _named_errors(self), whole_folder(self.path) as partial:
            yield partial


@contextmanager
def _named_errors(output: Output | OutputFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"cannot write {output.what} {output.path}: {error.strerror or error}") from error
