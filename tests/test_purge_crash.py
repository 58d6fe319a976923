"""A purge may die at any moment, or find the disk full: nobody else loses anything, and doing it again finishes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from store_helpers import mounted
from test_crash import _either, _survives, in_process, index

from echosearch import open_index
from echosearch.api.purging import purge_videos
from echosearch.cohort.cohort import Definition
from echosearch.errors import BackendError, UnknownVideo
from echosearch.ingest import compact_index

__all__ = ["in_process", "index"]


def _purge_again(path: Path) -> None:
    """What a user does after a purge that died: the same, and where nobody is there any more, tidy up."""
    with suppress(UnknownVideo):
        purge_videos(path, [], study="S2")
        return
    compact_index(path)


@pytest.mark.slow
def test_a_purge_that_dies(index: Path) -> None:
    open_index(index).cohorts.create("all", Definition(where=("study IS NOT NULL",), level="study"))

    def finish(path: Path) -> None:
        _purge_again(path)
        assert [b"2.avi" in file.read_bytes() for file in path.rglob("*") if file.is_file()].count(True) == 0
        assert len(open_index(path).cohorts.get("all").members) == 2

    assert _survives(index, lambda path: purge_videos(path, [], study="S2"), finish, _either) > 20


@pytest.mark.slow
def test_a_purge_on_a_full_disk_loses_nothing_and_finishes_when_there_is_room(index: Path, tmp_path: Path) -> None:
    import shutil

    with mounted(tmp_path / "disk") as disk:
        failed = 0
        for free in range(8_000, 400_000, 56_000):
            place = disk / "index"
            shutil.copytree(index, place)
            filler = disk / "filler"
            with filler.open("wb") as file:
                while shutil.disk_usage(disk).free > free:
                    file.write(b"x" * 4096)
                    file.flush()
            try:
                purge_videos(place, [], study="S2")
            except BackendError:
                failed += 1
            filler.unlink()
            _purge_again(place)
            assert len(list(open_index(place).videos())) == 5
            assert not any(b"2.avi" in file.read_bytes() for file in place.rglob("*") if file.is_file())
            shutil.rmtree(place)
        assert failed > 1
