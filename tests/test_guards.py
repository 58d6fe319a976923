"""Values that no other test looked at: what one changed line would have made wrong without a word."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from conftest import plain_frames, write_video
from store_helpers import NUMERICS, add, make_store, new_video, stored, unit
from test_cohorts import archive_of
from test_probe import TRAINING

from echosearch.api.purging import purge_videos
from echosearch.cohort.cohort import Member
from echosearch.cohort.export import _people, split_patients
from echosearch.cohort.making import _summary
from echosearch.config import FORMAT_VERSION
from echosearch.errors import BadEmbeddings, BadManifest
from echosearch.files import is_gone, open_regular
from echosearch.index import Store
from echosearch.index.catalog import Catalog, Size
from echosearch.index.catalog.catalog import _connect
from echosearch.index.description import write_json
from echosearch.index.merging import grouped, to_merge
from echosearch.index.upkeep import erase_replaced
from echosearch.index.vectors import FlatFaiss
from echosearch.index.vectors.segment import SegmentRows, open_segment, write_segment
from echosearch.ingest import ImportOptions, import_embeddings, read_metadata
from echosearch.learning.probe import Probe, _figure
from echosearch.learning.statistics import regression_statistics, reliability
from echosearch.types import VideoRecord


def test_a_writer_of_the_catalog_loses_nothing_to_a_power_cut_and_keeps_its_references(tmp_path: Path) -> None:
    Catalog.create(tmp_path / "c.sqlite").close()
    with closing(_connect(tmp_path / "c.sqlite", "rw")) as connection:
        told = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")}
        assert told == {"synchronous": 2, "foreign_keys": 1}  # 2 is FULL
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            connection.execute("INSERT INTO audits VALUES ('nobody', 1, '')")


def test_a_writer_holds_the_catalog_from_its_first_moment(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "c.sqlite")
    with closing(sqlite3.connect(tmp_path / "c.sqlite", timeout=0, isolation_level=None)) as other:
        with catalog.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
    catalog.close()


def test_what_was_added_since_a_commit_is_what_later_commits_added(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    generations, ids = [], []
    for number in range(3):
        ids += add(store, new_video(f"v{number}.avi", unit(number + 1, 1)))
        with store.snapshot() as snapshot:
            generations.append(snapshot.generation)
    with store.snapshot() as snapshot:
        told = [snapshot.catalog.videos.added_since(generation) for generation in generations]
    assert told == [set(ids[1:]), set(ids[2:]), set()]


def test_segments_of_other_numerics_are_not_merged() -> None:
    mixed = [Size(f"s{number}", 1, "cpu" if number % 2 else "cuda") for number in range(14)]
    assert to_merge(mixed) == []  # seven of each, and eight of a kind are needed
    assert [{segment.numerics for segment in group} for group in grouped(mixed)] == [{"cpu"}, {"cuda"}]


def test_standard_deviations_are_those_of_a_sample() -> None:
    """Errors 1, 2 and 4: mean 7/3, variance over n - 1 = 7/3."""
    figures = regression_statistics(np.array([1.0, 2, 4]), np.zeros(3))
    low, high = (figures[name](np.ones(3, np.int64)) for name in ("lower_limit", "upper_limit"))
    assert ((low + high) / 2, (high - low) / (2 * 1.96)) == pytest.approx((7 / 3, (7 / 3) ** 0.5))
    told = _summary([("a", 1.0), ("b", 2.0), ("c", 4.0)], False, False)
    assert (told.mean, told.sd) == pytest.approx((7 / 3, (7 / 3) ** 0.5))


def test_a_study_is_as_similar_as_its_most_similar_video(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "index")
    made = archive.made("age > 1", level="study", near=("like the first",), top=3)
    of_first = next(member for member in made.members if member.study == "S1")  # v1 is the phrase, v2 at a right angle
    assert len(of_first.video_ids) == 2
    assert of_first.score == pytest.approx(1)


@pytest.fixture
def write_two(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.avi", plain_frames(2, (9, 99, 9)))


def _foreign(path: Path, norms: list[float]) -> Path:
    """Two videos' unit vectors with the lengths that their means had."""
    vectors = np.eye(32, dtype=np.float32)[:2]
    np.savez(path, paths=np.array(["a.avi", "b.avi"]), v=vectors, norms=np.array(norms, np.float32))
    return path


@pytest.mark.usefixtures("write_two")
def test_an_import_keeps_the_lengths_of_the_means(tmp_path: Path) -> None:
    import_embeddings(
        tmp_path / "index",
        _foreign(tmp_path / "f.npz", [0.75, 0.5]),
        ImportOptions(recipe="toy", root=tmp_path, workers=1),
    )
    with Store(tmp_path / "index").snapshot() as snapshot:
        assert [snapshot.stored(video.video_id).pooled_norm for video in snapshot.catalog.videos.records()] == [
            0.75,
            0.5,
        ]


@pytest.mark.usefixtures("write_two")
@pytest.mark.parametrize("norm", [0.0, -0.5, 1.01, float("nan")])
def test_an_import_refuses_what_is_no_length_of_a_mean(tmp_path: Path, norm: float) -> None:
    with pytest.raises(BadEmbeddings, match=r"norms of video 1 is .*, not the length of a mean"):
        import_embeddings(
            tmp_path / "index",
            _foreign(tmp_path / "f.npz", [0.75, norm]),
            ImportOptions(recipe="toy", root=tmp_path, workers=1),
        )


def _videos(*rows: tuple[str, str | None, float]) -> list[tuple[Any, ...]]:
    """A video in a study of its own, all of one patient: name of the study, date, ejection fraction."""
    return [(f"v{n}", study, "P", "A4C", date, ef, 0.5, 60) for n, (study, date, ef) in enumerate(rows, start=1)]


@pytest.mark.parametrize(("pick", "study"), [("latest", "S2"), ("first", "S3")])
def test_a_study_without_a_date_is_picked_last(tmp_path: Path, pick: Any, study: str) -> None:
    videos = _videos(("S1", None, 30.0), ("S2", "2020-01-01T00:00:00", 30.0), ("S3", "2019-01-01T00:00:00", 30.0))
    made = archive_of(tmp_path / "index", videos).made("age > 1", level="patient", pick=pick)
    assert made.members[0].study == study


def test_of_equally_similar_studies_the_first_by_name_is_kept(tmp_path: Path) -> None:
    """All but the first are at a right angle to the phrase; study 2 comes before 10."""
    videos = _videos(("7", None, 30.0), ("10", None, 30.0), ("9", None, 30.0), ("2", None, 30.0))
    made = archive_of(tmp_path / "index", videos).made("age > 1", level="study", near=("like the first",), top=2)
    assert [member.study for member in made.members] == ["7", "2"]


def test_margins_are_in_standard_deviations_of_the_score(tmp_path: Path) -> None:
    """Ejection fractions 20, 30, 40 have a standard deviation of 10: 20 and 30 lie 1.5 and 0.5 below 35."""
    videos = _videos(("S1", None, 20.0), ("S2", None, 30.0), ("S3", None, 40.0))
    made = archive_of(tmp_path / "index", videos).made("task.ejection_fraction.value < 35", level="study")
    assert {member.study: member.margin for member in made.members} == {
        "S1": pytest.approx(1.5),
        "S2": pytest.approx(0.5),
    }


@pytest.mark.parametrize(("kind", "error"), [("pipe", "pipe or device"), ("folder", "directory")])
def test_what_is_read_whole_is_a_file_and_nothing_stays_open(tmp_path: Path, kind: str, error: str) -> None:
    path = tmp_path / "x"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    with pytest.raises(OSError, match=error):
        open_regular(path)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_a_path_that_cannot_be_looked_at_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert not is_gone(tmp_path / "loop")
    assert not is_gone(tmp_path)
    assert is_gone(tmp_path / "none")
    assert is_gone(Path(__file__) / "below a file")


def test_a_check_finds_rows_that_are_not_of_unit_length(tmp_path: Path) -> None:
    rows = SegmentRows(np.array([1, 2]), [stored(unit(1)), replace(stored(unit(1)), vector=2 * unit(1))])
    info = write_segment(tmp_path, rows, "float32", NUMERICS)
    [problem] = open_segment(tmp_path, info.name).damage()
    assert "pooled.npy holds rows that are not of unit length" in problem


def test_the_tables_of_the_catalog_are_those_of_its_format(tmp_path: Path) -> None:
    Catalog.create(tmp_path / "c.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
        found = [" ".join(sql.split()) for (sql,) in rows]
    kept = Path(__file__).parent / f"catalog-{FORMAT_VERSION}.sql"
    _, *wanted = kept.read_text("utf-8").removesuffix(";\n").split("\n\n")
    assert found == [statement.removesuffix(";") for statement in wanted]


def test_a_faiss_file_is_synced_before_the_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)
        done.append(f"{path} {(tmp_path / 'ann').exists()}")
        fsync(descriptor)

    store = make_store(tmp_path / "index")
    add(store, *(new_video(f"v{number}.avi", unit(number + 1, 1)) for number in range(3)))
    with store.snapshot() as snapshot:
        index = FlatFaiss.build(snapshot.rows)
        monkeypatch.setattr(os, "fsync", recorded)
        index.save(tmp_path / "ann")
    partial = ".partial-ann"
    files = [f"{partial}/index.faiss False", f"{partial}/ann.json False", f"{partial} False"]
    assert done == [*files, ". True"]


def test_names_of_segments_are_sixteen_hexadecimal_digits(tmp_path: Path) -> None:
    rows = SegmentRows(np.array([1]), [stored(unit(1))])
    assert re.fullmatch("[0-9a-f]{16}", write_segment(tmp_path, rows, "float32", NUMERICS).name)


def test_a_purge_takes_sweeps_that_are_called_like_the_person_and_counts_what_went(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    videos = [new_video(f"{name}/a.avi", unit(n + 1, 1), patient=name) for n, name in enumerate(("PAT-0001", "B", "C"))]
    add(store, *videos)
    path = tmp_path / "index" / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, task in enumerate(("probe:PAT-0001", "pacer", "PAT-0001"), start=1):
            told = (number, task, f"c{number}", "exact", 1, "r", "fp32", "[]", "{}", "2026-01-01")
            connection.execute(f"INSERT INTO sweeps VALUES ({', '.join('?' * len(told))})", told)
            connection.executemany("INSERT INTO scores VALUES (?, 0, ?, 0.5)", [(number, id_) for id_ in (1, 2, 3)])
        roots = connection.execute("SELECT count(*) FROM roots").fetchone()[0]
    receipt = purge_videos(tmp_path / "index", [], patient="PAT-0001")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT task FROM sweeps").fetchall() == [("pacer",)]
        kept = connection.execute("SELECT sweep_id, video_id FROM scores ORDER BY 2").fetchall()
        assert kept == [(2, 2), (2, 3)]
        assert connection.execute("SELECT count(*) FROM roots").fetchone()[0] == roots
    told = receipt.removed.tables
    went = {table: count for table, count in told.items() if count}
    assert went == {"scores": 1, "tombstones": 1, "videos": 1}  # of the sweep that stays one score is the person's


def test_a_manifest_is_synced_whole_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, bool]] = []

    def recorded(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, (tmp_path / "manifest.json").exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    write_json(tmp_path / "manifest.json", {"told": list(range(10_000))})
    assert synced == [((tmp_path / "manifest.json").stat().st_size, False)]


def test_of_a_link_that_is_no_folder_nothing_is_erased(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    add(store, new_video("a.avi", unit(1)))
    aside = tmp_path / "index" / "segments" / "aside"
    aside.symlink_to(tmp_path / "nowhere")
    with store.writer() as writer:
        assert erase_replaced(writer) == 1
    assert not aside.is_symlink()


@pytest.mark.parametrize("bins", [1, 10])
def test_bins_of_a_reliability_hold_equal_counts(bins: int) -> None:
    chances = np.arange(100) / 100
    rows = reliability(chances, chances >= 0.5, bins)
    assert [row.count for row in rows] == [100 // bins] * bins
    assert rows[0].low == 0
    assert rows[0].high == pytest.approx(100 / bins / 100 - 0.01)


def test_the_splits_of_a_seed_stay_what_they_are() -> None:
    """An export reproduces: another generator or rounding would deal the patients anew."""
    found = split_patients([f"P{number}" for number in range(16)], 7)
    assert {name: split for name, split in found.items() if split != "TRAIN"} == {
        **{"P0": "VAL", "P2": "VAL", "P7": "TEST", "P11": "TEST"}
    }


def test_lines_are_counted_as_an_editor_does_below_a_line_that_names_the_separator(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sep=;\npath;EF\na;55\nb\n")
    with pytest.raises(BadManifest, match=r"line 4: 1 cells, but the header has 2"):
        read_metadata(tmp_path / "m.csv")


def test_the_id_of_a_probe_without_motion_is_what_it_was_before_there_was_motion() -> None:
    probe = Probe("ef", "ridge", "recipe", (0.5, 0.25), 1.0, TRAINING)
    told = b'{"kind": "ridge", "weights": [0.5, 0.25], "offset": 1.0}'
    assert probe.id == hashlib.sha256(told).hexdigest()


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_chance_of_a_probe_s_figure(kind: Any) -> None:
    labels = np.array([0.0, 1, 0, 1, 1])
    guesses = np.array([0.1, 0.9, 0.2, 0.3, 0.8])
    told = _figure(guesses, labels, np.arange(5), kind)
    # Of a ranking one half; of values the mean error of who always says the mean, 0.6: (2 * 0.6 + 3 * 0.4) / 5.
    assert told["chance"] == pytest.approx(0.5 if kind == "logistic" else 0.48)
    assert told["value"] == pytest.approx(1.0 if kind == "logistic" else 0.26)


def test_equal_numbers_of_studies_do_not_make_one_person_of_two() -> None:
    """Both were of a study `1` when the cohort was made; today's studies are keyed by their patient."""
    rows = []
    for number, patient in enumerate("AB", start=1):
        video = SimpleNamespace(video_id=number, patient=patient, study=f"{patient}/1")
        rows.append((Member("1", None, "1", None, (number,), {}), cast(VideoRecord, video)))
    assert _people(rows, {1: 0, 2: 1}) == ["p A", "p B"]
