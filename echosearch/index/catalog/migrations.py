"""What each format of the catalog changed, as SQL. Knows nothing of who may run it, or of copies made before."""

from __future__ import annotations

import sqlite3
from typing import Final

from echosearch.config import FORMAT_VERSION
from echosearch.index.catalog.base import catalog_format

_STEPS: Final[dict[int, tuple[str, ...]]] = {
    2: (
        "ALTER TABLE videos ADD COLUMN unverified TEXT",
        "CREATE INDEX video_unverified ON videos (id) WHERE unverified IS NOT NULL",
    ),
    3: (
        "CREATE TABLE sweeps (id INTEGER NOT NULL, task TEXT NOT NULL, content_id TEXT NOT NULL, form TEXT NOT NULL, "
        "formula_version INTEGER NOT NULL, recipe TEXT NOT NULL, precision TEXT NOT NULL, columns TEXT NOT NULL, "
        "definition TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (id), "
        "UNIQUE (content_id, form, formula_version, recipe, precision))",
        'CREATE TABLE scores (sweep_id INTEGER NOT NULL, "column" INTEGER NOT NULL, video_id INTEGER NOT NULL, '
        'value FLOAT NOT NULL, PRIMARY KEY (sweep_id, "column", video_id), '
        "FOREIGN KEY(sweep_id) REFERENCES sweeps (id)) WITHOUT ROWID",
        "CREATE TABLE fitted (kind TEXT NOT NULL, name TEXT NOT NULL, recipe TEXT NOT NULL, content TEXT NOT NULL, "
        "created_at TEXT NOT NULL, PRIMARY KEY (kind, name))",
    ),
    4: (
        "CREATE TABLE cohorts (name TEXT NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL, "
        "PRIMARY KEY (name))",
        "CREATE TABLE audits (cohort TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, "
        "PRIMARY KEY (cohort, number), FOREIGN KEY(cohort) REFERENCES cohorts (name))",
    ),
    5: (
        "CREATE INDEX video_segment ON videos (segment)",
        "ALTER TABLE state ADD COLUMN purge_key TEXT",
        "CREATE TABLE purged (keyed_hash TEXT NOT NULL, PRIMARY KEY (keyed_hash))",
    ),
    6: ("ALTER TABLE videos ADD COLUMN view_predicted TEXT", "ALTER TABLE state ADD COLUMN description TEXT"),
}
"""For each format, how it comes from the one before. A step that was published is never edited."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a catalog to today's format, in one transaction. sqlite3.Error when it is not what its format says."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(catalog_format(connection) + 1, FORMAT_VERSION + 1):
            for statement in _STEPS[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise
