"""Who is one person, and which videos are one study: the rule, and that all who ask it answer alike."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_helpers import labels_of
from store_helpers import add, make_store, new_video, unit

from echosearch.api.cohorts import Cohorts
from echosearch.api.zeroshot import ZeroShot
from echosearch.cohort.cohort import Definition
from echosearch.errors import BadLabels
from echosearch.index import Store
from echosearch.index.catalog import MetadataChange, VideoMetadata
from echosearch.learning.labels import read_labels
from echosearch.learning.retrieval import pair, read_reports
from echosearch.learning.thresholds import ThresholdRule
from echosearch.search import belonging
from echosearch.types import EncodedText, VideoRecord
from echosearch.types.people import clusters, joined, people, study_keys

#        name   study  patient  bytes
Row = tuple[str, str | None, str | None, str]

TANGLED: tuple[Row, ...] = (
    ("v0", "S1", "P1", "a"),
    ("v1", "S1", "P2", "b"),  # two patients in one study: one person
    ("v2", "S2", "P2", "c"),  # and through the patient her other study
    ("v3", "S2", None, "d"),  # and a video of it without a patient
    ("v4", None, None, "d"),  # and a copy of that video
    ("v5", "S3", "P3", "e"),
    ("v6", "S4", None, "f"),
    ("v7", None, None, "g"),
)
"""Four persons: v0 to v4, v5, v6 (of whom a study is known) and v7 (of whom nothing is)."""


def codes(rows: Sequence[Row]) -> list[int]:
    return clusters([row[2] for row in rows], [row[1] for row in rows], [row[3] for row in rows]).codes.tolist()


def test_one_person_is_joined_by_patient_study_and_bytes_directly_or_through_others() -> None:
    told = clusters([row[2] for row in TANGLED], [row[1] for row in TANGLED], [row[3] for row in TANGLED])
    assert told.codes.tolist() == [0, 0, 0, 0, 0, 1, 2, 3]
    assert (told.count, told.by_study, told.by_video) == (4, 1, 1)
    assert codes(tuple(reversed(TANGLED))) == [0, 1, 2, 3, 3, 3, 3, 3]


def test_joining_is_transitive_and_empty_where_nothing_is() -> None:
    assert joined([["a", "c", None, None, "c"], [None, "d", "b", None, "b"]]).tolist() == [0, 1, 1, 2, 1]
    assert joined([["a"], ["a"]]).tolist() == [0]  # equal values of two columns are not one
    assert joined([["a", "b"], ["b", "a"]]).tolist() == [0, 1]
    assert joined([[], []]).tolist() == []


def numbered(patients: int, studies: int) -> list[tuple[str, str]]:
    return [(f"P{patient}", str(study + 1)) for patient in range(patients) for study in range(studies)]


@pytest.mark.parametrize(
    ("pairs", "keyed", "persons"),
    [
        # Numbered within patients: the ids say nothing without the patient.
        (numbered(8, 3), 24, 8),
        ([(patient, f"visit {study}") for patient, study in numbered(3, 1)], 3, 3),
        (numbered(2, 2), 4, 2),  # of two patients only numbers tell it
        # Not all patients have as many: the highest numbers are of two patients or one, and are keyed with the rest.
        ([*numbered(5, 1), *((f"P{patient}", study) for patient in (0, 1) for study in "23"), ("P0", "4")], 10, 5),
        # Unique ids with one mistake: no key, and the two are one person.
        ([*((f"P{n}", f"S{n}") for n in range(20)), ("P20", "S3")], 0, 20),
        ([*((f"P{n}", str(n)) for n in range(20)), ("P20", "3")], 0, 20),
        ([("P1", "S1"), ("P2", "S1")], 0, 1),
        # A placeholder is no study, and the mistake beside it is one all the same.
        ([*((f"P{n}", f"S{n}") for n in range(20)), *((f"Q{n}", "NONE") for n in range(9)), ("R", "S3")], 9, 29),
    ],
)  # fmt: skip
def test_a_numbering_within_patients_is_told_from_a_study_of_two_by_mistake(
    pairs: list[tuple[str, str]], keyed: int, persons: int
) -> None:
    patients, studies = [patient for patient, _ in pairs], [study for _, study in pairs]
    keys = study_keys(patients, studies)
    told = {f"{patient}/{study}" for patient, study in pairs} & set(keys)
    assert len(told) == sum(key != study for key, study in zip(keys, studies, strict=True)) == keyed
    assert clusters(patients, studies, range(len(pairs))).count == persons


def test_a_study_without_a_patient_is_one_where_ids_repeat() -> None:
    told = clusters(["P1", "P2", "P3", None, None], ["1", "1", "1", "1", None], range(5))
    assert (told.codes.tolist(), told.by_study, told.by_video) == ([0, 1, 2, 3, 4], 1, 1)


def test_bytes_of_three_patients_are_a_test_picture_and_join_nobody() -> None:
    rows = [("", f"S{n}", f"P{n}", "bars") for n in range(3)]
    assert codes(rows) == [0, 1, 2]
    assert codes([*rows[:2], ("", None, None, "bars")]) == [0, 0, 0]
    assert codes([*rows, ("", None, None, "bars"), ("", None, None, "bars")]) == [0, 1, 2, 3, 3]


# All who ask answer alike.


@dataclass(frozen=True)
class Asked:
    """An index that is asked without a model."""

    store: Store
    zeroshot: ZeroShot
    cohorts: Cohorts

    def videos(self) -> list[VideoRecord]:
        with self.store.snapshot() as snapshot:
            return list(snapshot.catalog.videos.records())


def embed(phrases: Sequence[str]) -> list[EncodedText]:
    return [EncodedText(unit(1, len(phrase))) for phrase in phrases]


def index_of(path: Path, rows: Sequence[Row]) -> Asked:
    store = make_store(path)
    new = []
    for number, (name, study, patient, content) in enumerate(rows):
        video, stored = new_video(f"{name}.avi", unit(*np.eye(8)[number % 2]), content=content)
        new.append((replace(video, metadata=VideoMetadata(study, patient, "A4C", None, {})), stored))
    add(store, *new)
    zeroshot = ZeroShot(store, "fp32", embed, lambda _: [])
    return Asked(store, zeroshot, Cohorts(store, zeroshot, lambda *_: (unit(1), []), lambda _: []))


def split_of(index: Asked, folder: Path) -> dict[str, str]:
    index.cohorts.create("all", Definition(("num_frames > 0",), "video", seed=3))
    index.cohorts.export("all", folder, "echonet")
    with (folder / "FileList.csv").open() as file:
        return {row["FileName"]: row["Split"] for row in csv.DictReader(file)}


def test_folds_splits_clusters_pairs_and_units_take_the_same_for_one_person(tmp_path: Path) -> None:
    # 12 times the tangled four, so that there are enough to calibrate and to split.
    rows = [
        (f"{name}-{n}", study and f"{study}-{n}", patient and f"{patient}-{n}", f"{content}-{n}")
        for n in range(12)
        for name, study, patient, content in TANGLED
    ]
    index = index_of(tmp_path / "index", rows)
    person = dict(zip([row[0] for row in rows], codes(rows), strict=True))
    assert len(set(person.values())) == 48
    names = {video.video_id: Path(video.path).stem for video in index.videos()}
    # Folds and training.
    labels = labels_of(tmp_path, {f"{name}.avi": number % 2 for number, name in enumerate(names.values())})
    probe, _ = index.zeroshot.train_probe("one", labels)
    assert probe.training.patients == 48
    made, _ = index.zeroshot.calibrate(probe_task := "pacemaker", labels, ThresholdRule("max-f1"))
    assert made.patients == 48
    # Clusters of an evaluation, at each level.
    told = index.zeroshot.evaluate(probe_task, labels, repeats=10)
    assert [(level.level, level.units, level.patients) for level in told.levels] == [
        ("video", 96, 48),
        ("study", 48, 36),  # S1 and S2 are of one person, S3 and S4 of one each
        ("patient", 36, 24),  # P1 and P2 are one, P3 another
    ]
    # Splits.
    splits = split_of(index, tmp_path / "export")
    sides = {code: {splits[name] for name in splits if person[name] == code} for code in person.values()}
    assert all(len(each) == 1 for each in sides.values())
    assert len(set(splits.values())) == 3
    # One per patient: of P1 and P2 one only.
    assert len(index.cohorts.preview(Definition(("num_frames > 0",), one_per="patient")).members) == 24
    assert len(index.cohorts.preview(Definition(("num_frames > 0",), "video", one_per="patient")).members) == 24
    # Pairs of reports.
    text = "".join(f"S{study}-{n},text {study} {n}\n" for n in range(12) for study in (1, 2, 3, 4))
    (tmp_path / "reports.csv").write_text(f"study,report\n{text}")
    pairs = pair(read_reports(tmp_path / "reports.csv"), list(index.videos()))
    assert (len(pairs.texts), len(set(pairs.clusters.tolist()))) == (48, 36)


def test_studies_numbered_within_patients_are_studies_of_each(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    rows = [(f"p{p}s{s}v{v}", str(s), f"P{p}", f"{p}{s}{v}") for p in range(8) for s in (1, 2, 3) for v in (0, 1)]
    index = index_of(tmp_path / "index", rows)
    every = list(index.videos())
    assert people(every, np.array([video.video_id for video in every])).count == 8
    assert {video.study for video in every} == {"1", "2", "3"}  # what the user wrote stays
    note = "3 study ids are given anew for each patient, so studies are told apart as PATIENT/STUDY"
    made = index.cohorts.create("all", Definition(("num_frames > 0",)))
    assert (len(made.members), made.members[0].unit, made.members[0].study) == (24, "P0/1", "P0/1")
    assert made.steps[0].studies == 24
    assert note in made.notes
    assert len(index.cohorts.preview(Definition(("num_frames > 0",), "patient")).members) == 8
    assert set(map(len, splits_by_patient(split_of_named(index, "all", tmp_path / "export")).values())) == {1}
    # Labels by study name it in the same way, and a bare number names none.
    labels = {f"P{p}/{s}": int(p % 2 == 0) for p in range(8) for s in (1, 2, 3)}
    told = index.zeroshot.evaluate("pacemaker", labels_of(tmp_path, labels, key="study"), repeats=10)
    assert [(level.level, level.units, level.patients) for level in told.levels] == [
        ("video", 48, 8),
        ("study", 24, 8),
        ("patient", 8, 8),
    ]
    assert note in told.warnings
    with pytest.raises(BadLabels, match=r"has for example '1' .* the index for example 'P0/1'"):
        index.zeroshot.evaluate("pacemaker", read_labels(bare(tmp_path)), repeats=10)
    with index.store.snapshot() as snapshot:
        assert snapshot.catalog.counts.totals()["studies"] == 24
    code, out, _ = run("cohort", "show", "all", "--index", str(tmp_path / "index"))
    assert (code, note in out) == (0, True)


@pytest.mark.parametrize("way", [(), ("--purge", "--yes"), ("--purge", "--dry-run"), ("--dry-run",)])
def test_a_study_that_several_patients_have_is_not_deleted_unless_it_is_said_whose(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]], way: tuple[str, ...]
) -> None:
    rows = [(f"p{p}s{s}", str(s), f"P{p}", f"{p}{s}") for p in range(4) for s in (1, 2)]
    index, where = index_of(tmp_path / "index", rows), ("--index", tmp_path / "index")
    code, _, err = run("delete", "--study", "1", *way, *where)
    assert (code, "4 patients have a study '1'; say which one with --patient (see list --study)" in err) == (2, True)
    assert len(list(index.videos())) == 8
    code, _, err = run("delete", "--study", "3", "--patient", "P2", *way, *where)
    assert (code, "no video of study '3' of patient 'P2' in this index" in err) == (2, True)
    code, _, err = run("delete", "--study", "1", "--patient", "P2", *way, *where)
    left = {(video.patient, video.study) for video in index.videos()}
    told = {(patient, study) for _, study, patient, _ in rows}
    assert (code, told - left) == (0, set() if "--dry-run" in way else {("P2", "1")}), err
    if not way:
        assert run("delete", "--patient", "P3", *where)[0] == 0
        code, _, err = run("undelete", "--study", "1", *where)
        assert (code, "4 patients have a study '1'; say which one" in err) == (2, True)
        assert run("undelete", "--study", "1", "--patient", "P3", *where)[0] == 0
        assert {(v.patient, v.study) for v in index.videos()} == told - {("P2", "1"), ("P3", "2")}


def test_an_example_leaves_out_its_person_and_its_own_study(tmp_path: Path) -> None:
    tangled = index_of(tmp_path / "tangled", TANGLED)
    every = tangled.videos()
    with tangled.store.snapshot() as snapshot:
        told, _ = belonging(snapshot, [every[0]], ["patient"])
    assert told == {video.video_id for video in every[:5]}
    rows = [(f"p{p}s{s}", str(s), f"P{p}", f"{p}{s}") for p in range(3) for s in (1, 2)]
    numbered_ = index_of(tmp_path / "numbered", rows)
    every = numbered_.videos()
    with numbered_.store.snapshot() as snapshot:
        assert belonging(snapshot, [every[0]], ["study"])[0] == {every[0].video_id}
        assert belonging(snapshot, [every[0]], ["patient"])[0] == {every[0].video_id, every[1].video_id}


def bare(folder: Path) -> Path:
    path = folder / "bare.csv"
    path.write_text("study,label\n1,1\n2,0\n3,0\n")
    return path


def split_of_named(index: Asked, name: str, folder: Path) -> dict[str, str]:
    index.cohorts.export(name, folder, "echonet")
    with (folder / "FileList.csv").open() as file:
        return {row["FileName"]: row["Split"] for row in csv.DictReader(file)}


def splits_by_patient(splits: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, split in splits.items():
        found.setdefault(name[:2], set()).add(split)
    return found


def test_a_cohort_of_before_is_split_by_person_then_and_now(tmp_path: Path) -> None:
    rows: list[Any] = [(f"p{p}v{v}", f"S{p}", f"P{p}", f"{p}{v}") for p in range(16) for v in (0, 1)]
    index = index_of(tmp_path / "index", rows)
    index.cohorts.create("all", Definition(("num_frames > 0",), "video"))
    moved = [video.video_id for video in index.videos()][1]  # the second video of P0 turns out to be of P9
    with index.store.writer() as writer, writer.transaction() as transaction:
        transaction.videos.change_metadata([MetadataChange(moved, {"study": "S9", "patient": "P9"}, {})])
    splits = split_of_named(index, "all", tmp_path / "export")
    assert {splits[name] for name in ("p0v0", "p0v1", "p9v0", "p9v1")} == {splits["p0v0"]}
