"""How an index of an older format comes to today's, after a copy of what changes. The catalog's own steps are SQL."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from echosearch.config import FORMAT_VERSION
from echosearch.files import fsync_path, whole_folder
from echosearch.index.catalog import Catalog
from echosearch.index.description import MANIFEST, named_disk_errors, write_json
from echosearch.index.snapshot import CATALOG


def migrate_index(path: Path) -> None:
    """Bring an index of an older format to today's, after a copy of what changes; the lock is ours.

    The description comes last, and every step may be done twice: a crash in between leaves an index to migrate.
    """
    with Catalog(path / CATALOG).reading() as snapshot:
        copy = path / f"before-format-{FORMAT_VERSION}-generation-{snapshot.generation}"
    with named_disk_errors(path):
        if not copy.exists():
            with whole_folder(copy, copy.name) as partial:
                Catalog.copy(path / CATALOG, partial / CATALOG)
                shutil.copy(path / MANIFEST, partial)
                for file in (CATALOG, MANIFEST):
                    fsync_path(partial / file)
        Catalog.migrate(path / CATALOG)
        values = json.loads((path / MANIFEST).read_text("utf-8"))
        write_json(path / MANIFEST, values | {"format_version": FORMAT_VERSION})
        fsync_path(path)
