"""Indexes of every past format, as the program of that time wrote them: read as they are, and migrated by a writer."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from store_helpers import make_store

import echosearch
import echosearch.files
from echosearch.config import FORMAT_VERSION
from echosearch.errors import BackendError, DamagedIndex, NewerFormat
from echosearch.index import Store, migrating
from echosearch.index.catalog import Catalog
from echosearch.index.check import check_index as check
from echosearch.ingest import delete_videos, undelete_videos
from echosearch.search import Phrase, Question

PAST = sorted((ROOT / "tests" / "formats").glob("format-*.zip"))

Files = dict[str, bytes]


@pytest.fixture(params=PAST, ids=lambda path: path.stem)
def past(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """An index of a past format, and what the program of that time said of it."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path / request.param.stem, json.loads((tmp_path / "expected.json").read_text())


def answers(path: Path) -> dict[str, Any]:
    """The same questions to today's program."""
    index = echosearch.open_index(path)
    try:
        listed = [video.to_dict() for video in index.videos()]
        red = index.search("red").to_dict()
        return {"list": listed, "red": red, "failures": [failure.to_dict() for failure in index.failures()]}
    finally:
        index.close()


def expected(told: dict[str, Any], path: Path, generation: int = 0) -> dict[str, Any]:
    """What was said then, of an index that lies elsewhere now and may have had commits since."""
    then = told["red"]
    hits = [{"view_predicted": None} | hit for hit in then["hits"]]  # told since format 6
    return {
        # The one since format 2, the other since format 6.
        "list": [{"unverified": None, "view_predicted": None} | video for video in told["list"]],
        "red": then
        | {"index": str(path), "generation": then["generation"] + generation, "hits": hits}
        | {"query": Question((Phrase("red"),)).asked().to_dict()},  # which says more than it did then
        "failures": told["failures"],
    }


def contents(path: Path) -> Files:
    """Every byte of a folder, but for what SQLite and the lock leave beside the catalog."""
    passing = ("-wal", "-shm", "writer.lock", "writer.json")
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and not file.name.endswith(passing)
    }


def user_version(path: Path) -> int:
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_there_is_an_index_of_every_past_format() -> None:
    assert [path.stem for path in PAST] == [f"format-{number}" for number in range(1, FORMAT_VERSION)]


def test_a_reader_answers_as_then_and_changes_nothing(past: tuple[Path, dict[str, Any]]) -> None:
    path, told = past
    before = contents(path)
    assert answers(path) == expected(told, path)
    assert check(path).problems == ()
    assert contents(path) == before


def test_a_read_only_index_of_a_past_format_can_be_searched(past: tuple[Path, dict[str, Any]]) -> None:
    path, told = past
    for folder in (path, *path.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o555)
    try:
        assert answers(path) == expected(told, path)
    finally:
        for folder in (path, *path.rglob("*")):
            if folder.is_dir():
                folder.chmod(0o755)


def test_a_writer_migrates_after_a_copy(past: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, told = past
    old = tmp_path / "old"
    shutil.copytree(path, old)
    with Store(path).writer():
        pass
    assert answers(path) == expected(told, path)
    assert json.loads((path / "manifest.json").read_text())["format_version"] == FORMAT_VERSION
    assert user_version(path) == FORMAT_VERSION
    assert check(path).problems == ()
    # The copy is the old index but for the segments, which a migration does not touch.
    copy = path / f"before-format-{FORMAT_VERSION}-generation-{told['red']['generation']}"
    assert sorted(file.name for file in copy.iterdir()) == ["catalog.sqlite", "manifest.json"]
    for name in ("catalog.sqlite", "manifest.json"):
        shutil.copy(copy / name, path / name)
    assert json.loads((path / "manifest.json").read_text()) == json.loads((old / "manifest.json").read_text())
    assert user_version(path) == user_version(old)
    assert answers(path) == expected(told, path)


def test_a_migrated_catalog_has_the_tables_of_a_new_one(past: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, _ = past
    Catalog.migrate(path / "catalog.sqlite")
    Catalog.create(tmp_path / "new.sqlite").close()

    def schema(file: Path) -> dict[str, list[Any]]:
        with closing(sqlite3.connect(file)) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found = {
                table: [row[1:] for row in connection.execute(f"PRAGMA table_info({table})")]
                for table in tables
                if table != "attributes"  # grows with the manifests
            }
            indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
            return found | {"indexes": connection.execute(indexes).fetchall()}

    assert schema(path / "catalog.sqlite") == schema(tmp_path / "new.sqlite")


def test_work_goes_on_after_a_migration(past: tuple[Path, dict[str, Any]]) -> None:
    path, told = past
    [first, *rest] = [video["video_id"] for video in told["list"]]
    delete_videos(path, [first])
    index = echosearch.open_index(path)
    assert [video.video_id for video in index.videos()] == rest
    index.close()
    undelete_videos(path, [first])
    assert answers(path) == expected(told, path, generation=2)
    assert [folder.name for folder in path.glob("before-format-*")] == [  # once, not with every writer
        f"before-format-{FORMAT_VERSION}-generation-{told['red']['generation']}"
    ]


STEPS: list[tuple[Any, str, int]] = [
    (Catalog, "copy", 1),
    (Catalog, "migrate", 1),
    (migrating, "write_json", 1),
    (migrating, "fsync_path", 3),
    (echosearch.files, "fsync_path", 2),
    (Path, "rename", 1),
]
"""What a migration does to the disk, and how often."""


@pytest.fixture(
    params=[(owner, name, n) for owner, name, calls in STEPS for n in range(2 * calls)], ids=lambda p: f"{p[1]}-{p[2]}"
)
def dying(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Makes the n-th call of one step end the process (here: raise), before it (even n) or after it; says if it did."""
    owner, name, n = request.param
    real = getattr(owner, name)
    calls = 0
    died = False

    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls, died
        calls += 1
        if calls == n // 2 + 1 and n % 2 == 0:
            died = True
            raise KeyboardInterrupt
        result = real(*args, **kwargs)
        if calls == n // 2 + 1:
            died = True
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, staticmethod(step) if owner is Catalog else step)

    def undo() -> bool:
        monkeypatch.setattr(owner, name, staticmethod(real) if owner is Catalog else real)
        return died

    return undo


def test_a_migration_that_dies_is_done_by_the_next_writer(
    past: tuple[Path, dict[str, Any]], dying: Callable[[], bool]
) -> None:
    path, told = past
    with suppress(KeyboardInterrupt), Store(path).writer():
        pass
    assert dying()
    assert answers(path) == expected(told, path)
    with Store(path).writer():
        pass
    assert answers(path) == expected(told, path)
    assert json.loads((path / "manifest.json").read_text())["format_version"] == FORMAT_VERSION
    assert check(path).problems == ()


def test_what_a_newer_echosearch_migrated_is_left_alone(tmp_path: Path) -> None:
    """Also where it died before the manifest said so, or while this one waited for the lock."""
    path = tmp_path / "index"
    store = make_store(path)
    sentence = f"has format {FORMAT_VERSION + 1}, and this echosearch reads up to {FORMAT_VERSION}; update echosearch$"
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version={FORMAT_VERSION + 1}")
    for attempt in (lambda: Store(path).snapshot().__enter__(), lambda: Store(path).writer().__enter__()):
        with pytest.raises(NewerFormat, match=sentence):
            attempt()
    manifest = path / "manifest.json"
    values = json.loads(manifest.read_text()) | {"format_version": FORMAT_VERSION + 1}
    manifest.write_text(json.dumps(values))
    with pytest.raises(NewerFormat, match=sentence):
        store.writer().__enter__()  # opened before
    assert json.loads(manifest.read_text()) == values
    assert user_version(path) == FORMAT_VERSION + 1


def test_a_full_disk_during_a_migration_leaves_the_index_as_it_was(
    past: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = past
    before = contents(path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Catalog, "copy", staticmethod(full))
    sentence = f"^cannot write to the index {path}: No space left on device$"
    with pytest.raises(BackendError, match=sentence), Store(path).writer():
        pass
    assert answers(path) == expected(told, path)
    assert {name for name in contents(path) if not name.startswith(".partial-")} == before.keys()


def test_a_catalog_that_is_not_what_its_format_says_is_named(past: tuple[Path, dict[str, Any]]) -> None:
    path, _ = past
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        connection.execute("ALTER TABLE state RENAME TO condition")
    with pytest.raises(
        DamagedIndex, match=r"cannot be read \(no such table: (main\.)?state\); restore it from a copy$"
    ):
        Store(path).writer().__enter__()
