"""The catalog: ids are never given twice, a path has one live video, a commit is seen whole or not at all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from store_helpers import MEDIA, new_video, unit

from echosearch.errors import BackendError, BadManifest, DamagedIndex
from echosearch.index.catalog import AttributeType, Catalog, FailedFile, KnownFile, NewVideo
from echosearch.index.catalog.base import PathText
from echosearch.types import Failure, VideoRecord


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog.create(tmp_path / "catalog.sqlite")) as created:
        yield created


@pytest.fixture
def by_hand(tmp_path: Path, catalog: Catalog) -> Iterator[sqlite3.Connection]:
    """The same file through Python's own sqlite3."""
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)) as connection:
        yield connection


def video(name: str, **more: Any) -> NewVideo:
    return new_video(name, unit(1), **more)[0]


def commit(catalog: Catalog, *new: NewVideo) -> list[int]:
    """Add videos in a segment of their own; their ids."""
    ids = catalog.reserve_ids(len(new))
    with catalog.writing() as transaction:
        segment = f"segment-{ids[0]}"
        transaction.segments.add(segment, len(new), f"digest-{ids[0]}", "{}")
        transaction.videos.add(segment, [replace(one, video_id=id_) for one, id_ in zip(new, ids, strict=True)])
        transaction.failures.forget([one.path for one in new])
    return list(ids)


def records(catalog: Catalog, ids: Sequence[int] | None = None) -> dict[int, VideoRecord]:
    with catalog.reading() as snapshot:
        return {record.video_id: record for record in snapshot.videos.records(ids)}


def generation(catalog: Catalog) -> int:
    with catalog.reading() as snapshot:
        return snapshot.generation


# Paths.


PIECES = st.sampled_from([b"%", b"4", b"1", b"F", b"\xff", b"\xc3", b"\xa9", b"\n", b" "])
NAMES = st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=9).map(b"".join))
"""Any bytes, and those that look like the catalog's own writing."""


@given(NAMES)
def test_a_name_of_any_bytes_is_kept_as_readable_text(name: bytes) -> None:
    path = os.fsdecode(name)
    kept = PathText().process_bind_param(path, None)
    assert kept is not None
    kept.encode("utf-8")
    assert PathText().process_result_value(kept, None) == path


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_names_are_never_kept_as_one(names: list[bytes]) -> None:
    first, second = (PathText().process_bind_param(os.fsdecode(name), None) for name in names)
    assert first != second


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"plain name.avi", "plain name.avi"),
        (b"50% of 100%41.avi", "50%25 of 100%2541.avi"),
        (b"line\nbreak\t\xc3\xa9.avi", "line\nbreak\t\u00e9.avi"),
        (b"latin-\xe9\xff.avi", "latin-%E9%FF.avi"),
    ],
)
def test_names_as_the_database_holds_them(
    catalog: Catalog, by_hand: sqlite3.Connection, name: bytes, kept: str
) -> None:
    [video_id] = commit(catalog, video(os.fsdecode(name)))
    assert by_hand.execute("SELECT relative_path FROM videos").fetchall() == [(kept,)]
    path = MEDIA / os.fsdecode(name)
    assert records(catalog)[video_id].path == str(path)
    with catalog.reading() as snapshot:
        assert snapshot.files.known([path])[path].video_id == video_id


# Ids.


def test_ids_are_never_given_again(catalog: Catalog, tmp_path: Path) -> None:
    assert list(catalog.reserve_ids(3)) == [1, 2, 3]
    with closing(Catalog(tmp_path / "catalog.sqlite", writable=True)) as reopened:
        assert list(reopened.reserve_ids(2)) == [4, 5]
        with pytest.raises(BackendError, match="UNIQUE constraint failed"):
            commit(reopened, video("a.avi"), video("a.avi"))  # 6 and 7 are lost
        assert commit(reopened, video("a.avi")) == [8]
    assert list(catalog.reserve_ids(1)) == [9]
    assert list(records(catalog)) == [8]


def test_a_deleted_id_is_not_given_again(catalog: Catalog) -> None:
    [first] = commit(catalog, video("a.avi"))
    [second] = commit(catalog, video("a.avi", content="new bytes", replaces=first))
    assert (first, second) == (1, 2)
    assert list(catalog.reserve_ids(1)) == [3]


# Videos.


def test_a_video_comes_back_as_it_was_given(catalog: Catalog) -> None:
    given_video = video("study 1/clip.avi", study="S1", patient="P1", fps=19.5, content="bytes")
    [video_id] = commit(catalog, replace(given_video, metadata=replace(given_video.metadata, view="A4C")))
    [record] = records(catalog).values()
    assert record == VideoRecord(
        video_id=video_id,
        path="/media/echo/study 1/clip.avi",
        study="S1",
        patient="P1",
        view="A4C",
        acquired_at=None,
        kind="video",
        num_frames=40,
        num_embedded_frames=1,
        height=112,
        width=113,
        fps=19.5,
        size_bytes=1000,
        content_sha256=given_video.content_sha256,
        added_at=record.added_at,
        attributes={},
    )
    assert record.added_at.endswith("+00:00")


def test_videos_come_by_ascending_id_and_only_those_asked_for(catalog: Catalog) -> None:
    commit(catalog, *(video(f"{number}.avi") for number in range(900)))
    assert list(records(catalog)) == list(range(1, 901))
    some = [880, 3, 3, 450, 5000, *range(500, 870)]
    assert list(records(catalog, some)) == [3, 450, *range(500, 870), 880]
    assert records(catalog, []) == {}


def test_a_path_has_one_live_video(catalog: Catalog) -> None:
    commit(catalog, video("a.avi"))
    with pytest.raises(BackendError, match=r"UNIQUE constraint failed: videos\.root_id, videos\.relative_path"):
        commit(catalog, video("a.avi", content="other bytes"))
    assert generation(catalog) == 1
    assert list(records(catalog)) == [1]


def test_the_same_name_below_two_roots_is_two_videos(catalog: Catalog) -> None:
    commit(catalog, video("a.avi"), video("a.avi", root=Path("/elsewhere")))
    assert [record.path for record in records(catalog).values()] == ["/media/echo/a.avi", "/elsewhere/a.avi"]


def test_a_replaced_video_is_deleted_and_names_its_successor(catalog: Catalog, by_hand: sqlite3.Connection) -> None:
    commit(catalog, video("a.avi"), video("b.avi"))
    commit(catalog, video("a.avi", content="new bytes", replaces=1))
    rows = by_hand.execute("SELECT id, deleted_at IS NOT NULL, replaced_by FROM videos ORDER BY id").fetchall()
    assert rows == [(1, 1, 3), (2, 0, None), (3, 0, None)]
    assert list(records(catalog)) == [2, 3]
    assert list(records(catalog, [1])) == []
    with catalog.reading() as snapshot:
        assert snapshot.segments.dead_ids() == [1]
        assert snapshot.counts.live() == 2
        assert snapshot.files.known([MEDIA / "a.avi"])[MEDIA / "a.avi"].video_id == 3


def test_touching_changes_time_and_size_and_nothing_else(catalog: Catalog) -> None:
    [video_id] = commit(catalog, video("a.avi"))
    [before] = records(catalog).values()
    path = MEDIA / "a.avi"
    with catalog.reading() as snapshot:
        known = snapshot.files.known([path])[path]
    assert known == KnownFile(video_id, 1000, 1_700_000_000_000_000_001, before.content_sha256)
    later = replace(known, size_bytes=1001, mtime_ns=1_800_000_000_000_000_003)
    with catalog.writing() as transaction:
        transaction.files.touch(later)
    with catalog.reading() as snapshot:
        assert snapshot.files.known([path]) == {path: later}
    assert records(catalog) == {video_id: replace(before, size_bytes=1001)}


def test_ids_by_study_patient_and_content(catalog: Catalog) -> None:
    commit(
        catalog,
        video("1.avi", study="S1", patient="P1", content="x"),
        video("2.avi", study="S1", patient="P2", content="y"),
        video("3.avi", study="S2", patient="P1", content="x"),
        video("4.avi", patient="P1"),
    )
    digest = records(catalog)[1].content_sha256
    with catalog.reading() as snapshot:
        assert snapshot.videos.ids_where(study="S1") == {1, 2}
        assert snapshot.videos.ids_where(patient="P1") == {1, 3, 4}
        assert snapshot.videos.ids_where(study="S1", patient="P1") == {1}
        assert snapshot.videos.ids_where(content_sha256=digest) == {1, 3}
        assert snapshot.videos.ids_where(study="s1") == set()
        assert (snapshot.counts.without("study"), snapshot.counts.without("patient")) == (1, 0)
    commit(catalog, video("1.avi", replaces=1, content="changed"))
    with catalog.reading() as snapshot:
        assert snapshot.videos.ids_where(study="S1") == {2}
        assert snapshot.videos.ids_where(content_sha256=digest) == {3}
        assert snapshot.counts.without("study") == 2


def test_columns_of_the_living_are_arrays(catalog: Catalog) -> None:
    names = ("video_id", "patient", "view", "fps", "num_embedded_frames")
    with catalog.reading() as snapshot:
        assert [(len(column), column.dtype) for column in snapshot.videos.columns(*names)] == [
            (0, np.dtype(kind)) for kind in (np.int64, object, object, np.float64, np.int64)
        ]
    commit(catalog, video("1.avi", patient="P1"), video("2.avi", patient="P2"), video("3.avi", fps=None))
    with catalog.writing() as transaction:
        transaction.videos.predict_views({1: "A4C"})
        transaction.deleted.add([2], on_purpose=True)
    with catalog.reading() as snapshot:
        ids, patients, views, fps, frames = snapshot.videos.columns(*names)
    assert (ids.dtype, ids.tolist()) == (np.int64, [1, 3])
    assert (patients.tolist(), views.tolist()) == (["P1", None], ["A4C", None])
    assert (fps.dtype, fps.tolist()[0], np.isnan(fps[1])) == (np.float64, 20.0, True)
    assert frames.dtype == np.int64
    assert frames.tolist() == [1, 1]


def test_totals_count_the_living(catalog: Catalog) -> None:
    nothing = {"videos": 0, "studies": 0, "patients": 0, "embedded_frames": 0, "media_bytes": 0, "deleted": 0}
    with catalog.reading() as snapshot:
        assert snapshot.counts.totals() == nothing
    commit(
        catalog,
        replace(video("1.avi", study="S1", patient="P1"), num_embedded_frames=20, size_bytes=5_000_000_000),
        replace(video("2.avi", study="S1", patient="P1"), num_embedded_frames=3),
        replace(video("3.avi", study="S2", patient="P1"), num_embedded_frames=7),
        video("4.avi"),
    )
    commit(catalog, replace(video("3.avi", replaces=3, content="new"), num_embedded_frames=9))
    with catalog.reading() as snapshot:
        assert snapshot.counts.totals() == {
            "videos": 4,
            "studies": 1,
            "patients": 1,
            "embedded_frames": 20 + 3 + 1 + 9,
            "media_bytes": 5_000_000_000 + 3 * 1000,
            "deleted": 1,
        }


def test_segments_tell_number_and_sum_of_the_ids_placed_in_them(catalog: Catalog) -> None:
    commit(catalog, video("1.avi"), video("2.avi"))
    commit(catalog, video("3.avi"), video("4.avi"), video("1.avi", content="new", replaces=1))
    with catalog.reading() as snapshot:
        rows = [(row.name, row.count, row.ids_sha256, row.videos, row.ids_sum) for row in snapshot.segments.active()]
    assert rows == [("segment-1", 2, "digest-1", 2, 3), ("segment-3", 3, "digest-3", 3, 12)]  # the deleted count


# Roots.


def test_known_files_are_found_below_nested_roots(catalog: Catalog) -> None:
    outer, inner = Path("/data"), Path("/data/site a/2019")
    commit(catalog, video("x.avi", root=inner))
    commit(
        catalog, video("y.avi", root=outer), video("site a/z.avi", root=outer), video("site a/2019/x2.avi", root=outer)
    )
    with catalog.reading() as snapshot:
        assert sorted(snapshot.roots.all()) == [outer, inner]
        paths = [inner / "x.avi", outer / "y.avi", outer / "site a/z.avi", inner / "x2.avi"]
        others = [outer / "x.avi", inner / "y.avi", Path("/data/site a"), Path("/database/y.avi"), Path("/y.avi")]
        found = snapshot.files.known([*paths, *others])
        assert {path: known.video_id for path, known in found.items()} == dict(zip(paths, [1, 2, 3, 4], strict=True))
    assert {record.video_id: record.path for record in records(catalog).values()} == {
        1: "/data/site a/2019/x.avi",
        2: "/data/y.avi",
        3: "/data/site a/z.avi",
        4: "/data/site a/2019/x2.avi",
    }


def test_a_path_is_one_video_whichever_root_it_is_named_under(catalog: Catalog) -> None:
    commit(catalog, video("a.avi", root=Path("/data/site")))
    with pytest.raises(BackendError, match="UNIQUE constraint failed"):
        commit(catalog, video("site/a.avi", root=Path("/data"), content="other"))
    commit(catalog, video("b.avi", root=Path("/data")))
    with pytest.raises(BackendError, match="UNIQUE constraint failed"):
        commit(catalog, video("site/a.avi", root=Path("/data"), content="other"))
    assert [record.path for record in records(catalog).values()] == ["/data/site/a.avi", "/data/b.avi"]


def test_more_files_than_go_into_one_statement_are_known(catalog: Catalog) -> None:
    names = [f"{number}.avi" for number in range(1001)]
    commit(catalog, *(video(name) for name in names))
    with catalog.reading() as snapshot:
        found = snapshot.files.known([MEDIA / name for name in [*names, "none.avi"]])
    assert {path.name: known.video_id for path, known in found.items()} == {
        name: number for number, name in enumerate(names, start=1)
    }


# Failures.


def failed(name: str, message: str, code: str = "unreadable-video") -> FailedFile:
    return FailedFile(MEDIA, Failure(str(MEDIA / name), code, message), 5, 6)


def fail(catalog: Catalog, *files: FailedFile) -> None:
    with catalog.writing() as transaction:
        for file in files:
            transaction.failures.record(file)


def failures(catalog: Catalog) -> list[Failure]:
    with catalog.reading() as snapshot:
        return snapshot.failures.all()


ODD_NAME = os.fsdecode(b"100% latin-\xe9\n.avi")


def test_a_failure_replaces_the_one_before_it(catalog: Catalog) -> None:
    fail(catalog, failed("b.avi", "first"), failed("a.avi", "other"))
    fail(catalog, failed("b.avi", "second", "unsupported-video"))
    assert failures(catalog) == [
        Failure("/media/echo/a.avi", "unreadable-video", "other"),
        Failure("/media/echo/b.avi", "unsupported-video", "second"),
    ]


def test_a_failure_of_a_file_with_an_odd_name_is_told_with_its_name(catalog: Catalog) -> None:
    message = f"{MEDIA / ODD_NAME} is 50% zeros"
    fail(catalog, failed(ODD_NAME, message))
    fail(catalog, failed(ODD_NAME, message))
    assert failures(catalog) == [Failure(str(MEDIA / ODD_NAME), "unreadable-video", message)]
    commit(catalog, video(ODD_NAME))
    assert failures(catalog) == []


def test_a_failure_is_forgotten_when_the_file_comes_in(catalog: Catalog) -> None:
    names = [f"{number}.avi" for number in range(500)]
    fail(catalog, *(failed(name, "no") for name in names), failed("still.avi", "no"))
    assert len(failures(catalog)) == 501
    commit(catalog, *(video(name) for name in names))
    assert [failure.path for failure in failures(catalog)] == ["/media/echo/still.avi"]


def test_a_failure_of_a_file_that_is_a_video_leaves_the_video(catalog: Catalog) -> None:
    commit(catalog, video("a.avi"))
    fail(catalog, failed("a.avi", "its new bytes cannot be read"))
    assert list(records(catalog)) == [1]
    assert [failure.message for failure in failures(catalog)] == ["its new bytes cannot be read"]


# Attributes.


def declare(catalog: Catalog, **types: AttributeType) -> None:
    with catalog.writing() as transaction:
        transaction.attributes.declare(types)


def types(catalog: Catalog) -> dict[str, str]:
    with catalog.reading() as snapshot:
        return {column.name: column.type for column in snapshot.attributes.columns()}


def exactly(values: dict[str, Any]) -> dict[str, tuple[type, Any]]:
    """Values with their types: 1 and 1.0 differ."""
    return {name: (type(value), value) for name, value in values.items()}


def attributes(catalog: Catalog) -> list[dict[str, tuple[type, Any]]]:
    return [exactly(record.attributes) for record in records(catalog).values()]


def test_attribute_values_come_back_with_their_types(catalog: Catalog) -> None:
    declare(catalog, **{"EF %": "real", "Frames": "integer", 'a "b"; --': "text"})
    values: dict[str, Any] = {"EF %": 0.1 + 0.2, "Frames": 2**53 + 1, 'a "b"; --': "007"}
    nothing = dict.fromkeys(values)
    commit(catalog, video("1.avi", attributes=values), video("2.avi"), video("3.avi", attributes={"EF %": 55.0}))
    assert attributes(catalog) == [exactly(values), exactly(nothing), exactly(nothing | {"EF %": 55.0})]
    assert types(catalog) == {"EF %": "real", "Frames": "integer", 'a "b"; --': "text"}


def test_a_later_column_is_none_for_earlier_videos(catalog: Catalog) -> None:
    declare(catalog, first="integer")
    commit(catalog, video("1.avi", attributes={"first": 1}))
    declare(catalog, second="text", first="integer")
    commit(catalog, video("2.avi", attributes={"second": "x", "first": 2}))
    assert [record.attributes for record in records(catalog).values()] == [
        {"first": 1, "second": None},
        {"first": 2, "second": "x"},
    ]


def test_whole_numbers_become_real_where_fractions_come(catalog: Catalog) -> None:
    declare(catalog, ef="integer", n="integer")
    commit(catalog, video("1.avi", attributes={"ef": 55, "n": 1}), video("2.avi", attributes={"ef": None, "n": 2}))
    declare(catalog, ef="real")
    commit(catalog, video("3.avi", attributes={"ef": 55.5}))
    declare(catalog, ef="integer")
    commit(catalog, video("4.avi", attributes={"ef": 60}))
    assert types(catalog) == {"ef": "real", "n": "integer"}
    assert attributes(catalog) == [
        exactly({"ef": 55.0, "n": 1}),
        exactly({"ef": None, "n": 2}),
        exactly({"ef": 55.5, "n": None}),
        exactly({"ef": 60.0, "n": None}),
    ]


@pytest.mark.parametrize("numbers", ["integer", "real"])
def test_text_among_numbers_is_refused_and_changes_nothing(catalog: Catalog, numbers: AttributeType) -> None:
    declare(catalog, ef=numbers)
    sentence = (
        rf"attribute 'ef' holds numbers \({numbers}\) in this index, and text in the manifest; "
        "leave cells without a number empty, or rename the column"
    )
    with pytest.raises(BadManifest, match=f"^{sentence}$"):
        declare(catalog, new="text", ef="text")
    assert types(catalog) == {"ef": numbers}
    assert generation(catalog) == 1
    declare(catalog, new="text")
    assert types(catalog) == {"ef": numbers, "new": "text"}


def test_numbers_among_text_become_text(catalog: Catalog) -> None:
    declare(catalog, site="text")
    commit(catalog, video("1.avi", attributes={"site": "A"}))
    declare(catalog, site="integer")
    commit(catalog, video("2.avi", attributes={"site": 12}))
    assert types(catalog) == {"site": "text"}
    assert attributes(catalog) == [exactly({"site": "A"}), exactly({"site": "12"})]


def test_there_is_a_most_of_attributes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.index.catalog.videos._MOST_ATTRIBUTES", 3)
    declare(catalog, a="integer", b="integer", c="integer")
    declare(catalog, c="real")
    with pytest.raises(BadManifest, match=r"^an index keeps at most 3 attributes$"):
        declare(catalog, d="integer")
    assert types(catalog) == {"a": "integer", "b": "integer", "c": "real"}


def test_the_most_attributes_fit_into_the_database(catalog: Catalog) -> None:
    values = {f"column {number}": number for number in range(1500)}
    declare(catalog, **dict.fromkeys(values, "integer"))
    commit(catalog, video("1.avi", attributes=values))
    assert records(catalog)[1].attributes == values


# Commits.


def test_each_commit_raises_the_generation_by_one_and_a_failed_one_does_not(catalog: Catalog) -> None:
    assert generation(catalog) == 0
    commit(catalog, video("a.avi"))
    assert generation(catalog) == 1

    def fail_midway() -> None:
        with catalog.writing() as transaction:
            assert transaction.generation == 2
            transaction.failures.record(failed("b.avi", "no"))
            assert len(transaction.failures.all()) == 1
            raise KeyboardInterrupt("the user has had enough")

    with pytest.raises(KeyboardInterrupt, match="the user has had enough"):
        fail_midway()
    assert generation(catalog) == 1
    assert failures(catalog) == []
    catalog.reserve_ids(5)
    assert generation(catalog) == 1
    fail(catalog, failed("b.avi", "no"))
    assert generation(catalog) == 2


def test_an_error_is_told_even_when_sqlite_has_rolled_back_by_itself(catalog: Catalog) -> None:
    def fail_midway() -> None:
        with catalog.writing() as transaction:
            transaction.segments.add("s", 1, "digest", "{}")
            roll_back = "INSERT OR ROLLBACK INTO roots (path) VALUES ('/x'), ('/x')"
            transaction._connection.exec_driver_sql(roll_back)

    with pytest.raises(BackendError, match=r"catalog\.sqlite failed: UNIQUE constraint failed: roots\.path"):
        fail_midway()
    with catalog.reading() as snapshot:
        assert (snapshot.generation, snapshot.segments.active(), snapshot.roots.all()) == (0, [], [])


def test_a_snapshot_stays_at_its_commit(catalog: Catalog, tmp_path: Path) -> None:
    commit(catalog, video("a.avi"))
    with closing(Catalog(tmp_path / "catalog.sqlite")) as reader:
        with reader.reading() as before:
            commit(catalog, video("b.avi"))
            declare(catalog, ef="real")
            fail(catalog, failed("c.avi", "no"))
            assert before.generation == 1
            assert [record.video_id for record in before.videos.records()] == [1]
            assert before.failures.all() == []
            assert before.attributes.columns() == []
            assert before.counts.live() == 1
        with reader.reading() as after:
            assert after.generation == 4
            assert [record.video_id for record in after.videos.records()] == [1, 2]
            assert len(after.failures.all()) == len(after.attributes.columns()) == 1


def test_a_snapshot_is_taken_when_it_is_opened_not_when_it_is_first_asked(catalog: Catalog, tmp_path: Path) -> None:
    with closing(Catalog(tmp_path / "catalog.sqlite")) as reader, reader.reading() as before:
        commit(catalog, video("a.avi"))
        assert before.counts.live() == 0


def test_a_reader_does_not_wait_for_a_writer(catalog: Catalog, by_hand: sqlite3.Connection, tmp_path: Path) -> None:
    commit(catalog, video("a.avi"))
    by_hand.execute("BEGIN IMMEDIATE")
    by_hand.execute("UPDATE videos SET study = 'not yet'")
    with closing(Catalog(tmp_path / "catalog.sqlite")) as reader:
        started = time.monotonic()
        assert [record.study for record in records(reader).values()] == [None]
        assert time.monotonic() - started < 5
        by_hand.execute("COMMIT")
        assert [record.study for record in records(reader).values()] == ["not yet"]


def test_a_writer_does_not_wait_for_a_reader(catalog: Catalog, tmp_path: Path) -> None:
    with closing(Catalog(tmp_path / "catalog.sqlite")) as reader, reader.reading():
        started = time.monotonic()
        commit(catalog, video("a.avi"))
        assert time.monotonic() - started < 5


def test_a_reader_cannot_write(catalog: Catalog, tmp_path: Path) -> None:
    with (
        closing(Catalog(tmp_path / "catalog.sqlite")) as reader,
        pytest.raises(BackendError, match="attempt to write a readonly database"),
    ):
        reader.reserve_ids(1)


# Damage.


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (lambda whole: b"", "no such table: (state|videos)"),
        (lambda whole: b"this is no database" * 300, "file is not a database"),
        (lambda whole: whole[: len(whole) // 2], "database disk image is malformed"),
        (lambda whole: whole[:4096] + bytes(4096) + whole[8192:], "database disk image is malformed"),
    ],
)
@pytest.mark.parametrize("writable", [False, True])
def test_a_damaged_database_is_named(
    catalog: Catalog, tmp_path: Path, damaged: Any, reason: str, writable: bool
) -> None:
    catalog.close()
    file = tmp_path / "catalog.sqlite"
    file.write_bytes(damaged(file.read_bytes()))
    sentence = rf"^the catalog {file} cannot be read \({reason}\); restore it from a copy$"
    with closing(Catalog(file, writable)) as opened, pytest.raises(DamagedIndex, match=sentence), opened.reading():
        pass


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process holds open."""
    held = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.append(str(descriptor.readlink()))
    return [file for file in held if file.startswith(str(folder))]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which files are open")
def test_no_connection_stays_open(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    with closing(Catalog(file)) as reader, reader.reading():
        assert str(file) in open_files(tmp_path)
        commit(catalog, video("a.avi"))
    with pytest.raises(BackendError, match="UNIQUE") as refused:
        commit(catalog, video("a.avi"))
    assert open_files(tmp_path) == []
    file.write_bytes(b"this is no database" * 300)
    with closing(Catalog(file, writable=True)) as damaged, pytest.raises(DamagedIndex, match="not a database") as torn:
        damaged.reserve_ids(1)
    assert open_files(tmp_path) == []
    assert refused.tb is not None
    assert torn.tb is not None  # what failed is still in hand, so nothing was closed by the garbage collector


def test_a_catalog_of_an_odd_path_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "what? 100%41 #1 &mode=memory\n" / "catalog.sqlite"
    path.parent.mkdir()
    with closing(Catalog.create(path)) as created:
        commit(created, video("a.avi"))
        assert sorted(file.name for file in tmp_path.iterdir()) == [path.parent.name]
    with closing(Catalog(path)) as opened:
        assert list(records(opened)) == [1]


def test_a_missing_catalog_is_named(tmp_path: Path) -> None:
    sentence = f"^the catalog {tmp_path / 'catalog.sqlite'} is missing; restore the index from a copy$"
    with pytest.raises(DamagedIndex, match=sentence):
        Catalog(tmp_path / "catalog.sqlite")
    assert list(tmp_path.iterdir()) == []
