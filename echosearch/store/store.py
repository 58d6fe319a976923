"""One index on disk: manifest, catalog, segments and FAISS, which change together or not at all.

A reader opens a `View` of one generation; a writer holds the one lock and commits batches. Knows no model and
no video file.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from echosearch.catalog import Catalog, refuse_newer
from echosearch.config import FORMAT_VERSION
from echosearch.errors import IndexStateError
from echosearch.files import Output, refuse_inside_index
from echosearch.store.lock import lock, named_disk_errors
from echosearch.store.manifest import MANIFEST, PARTIAL, Manifest, read_manifest, write_json
from echosearch.store.view import CATALOG, Views
from echosearch.store.writer import Writer
from echosearch.types import EncoderCard, ProbeVectors
from echosearch.vectors import FramesDtype, fsync_path


class Store(Views):
    """An index folder, open for reading; `writer` opens it for writing as well."""

    def __init__(self, path: Path) -> None:
        """Open the index in a folder. IndexStateError says why it cannot be used."""
        super().__init__(path, read_manifest(path), Catalog(path / CATALOG))

    @classmethod
    def create(cls, path: Path, card: EncoderCard, probe: ProbeVectors, frames_dtype: FramesDtype = "float32") -> Store:
        """A new, empty index in a folder that does not exist or is empty; it appears whole."""
        return cls.create_as(path, Manifest.of(card, probe, frames_dtype))

    @classmethod
    def create_as(cls, path: Path, manifest: Manifest) -> Store:
        """`create`, with a manifest that is there already; where another process made one first, that one is opened.

        Its manifest is then that process' own: whoever adds to it has to check that it is the same.
        """
        refuse_inside_index(path)
        if path.exists() and not cls.exists(path) and (not path.is_dir() or any(path.iterdir())):
            raise IndexStateError(f"{path} is there already and is no index; give another --index")
        partial = path.with_name(f"{PARTIAL}{path.name}-{secrets.token_hex(4)}")
        with named_disk_errors(path):
            try:
                partial.mkdir(parents=True)
                for name in ("segments", "ann", "cache"):
                    (partial / name).mkdir()
                Catalog.create(partial / CATALOG).close()
                write_json(partial / MANIFEST, manifest.to_dict())
                fsync_path(partial)
                partial.rename(path)
                fsync_path(path.parent)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not cls.exists(path):
                    raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return cls(path)

    @staticmethod
    def exists(path: Path) -> bool:
        """Whether there is an index in this folder."""
        return (path / MANIFEST).is_file()

    @property
    def cache_path(self) -> Path:
        """A folder whose contents may be deleted at any time."""
        return self.path / "cache"

    def output(
        self, path: Path, what: str, suffix: str, force: bool | None = False, inputs: Sequence[Path] = ()
    ) -> Output:
        """A file to write for the user, checked: not over `inputs`, nor what is in a source folder or linked there."""
        with self.catalog_only() as catalog:
            videos = [video for _, video in catalog.places().values()] if force else []
            stills = [video for video in videos if video.suffix.lower() == suffix]  # only they could be meant
            return Output(Path(path), what, suffix, (*catalog.roots(), *inputs, *stills), force)

    @contextmanager
    def writer(self, wait_seconds: float = 0.0) -> Iterator[Writer]:
        """The right to change the index; IndexLocked says who has it, after waiting for it so long."""
        with lock(self.path, wait_seconds):
            _migrate(self.path)
            writer = Writer(self.path, self.manifest)
            try:
                yield writer
            finally:
                writer.close()


def _migrate(path: Path) -> None:
    """Bring an index of an older format to today's, after a copy of what changes; the lock is ours.

    The manifest comes last, and every step may be done twice: a crash in between leaves an index to migrate.
    """
    values = json.loads((path / MANIFEST).read_text("utf-8"))
    refuse_newer(path, values["format_version"])  # a newer program may have migrated it while we waited
    if values["format_version"] == FORMAT_VERSION:
        return
    with Catalog(path / CATALOG).reading() as snapshot:
        copy = path / f"before-format-{FORMAT_VERSION}-generation-{snapshot.generation}"
    with named_disk_errors(path):
        if not copy.exists():
            partial = copy.with_name(f"{PARTIAL}{copy.name}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            Catalog.copy(path / CATALOG, partial / CATALOG)
            shutil.copy(path / MANIFEST, partial)
            for file in (CATALOG, MANIFEST, "."):
                fsync_path(partial / file)
            partial.rename(copy)
            fsync_path(path)
        Catalog.migrate(path / CATALOG)
        write_json(path / MANIFEST, values | {"format_version": FORMAT_VERSION})
        fsync_path(path)
