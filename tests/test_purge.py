"""A person leaves an index for good: no byte is left in any store, and what stays says that something went."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from label_helpers import labels_of
from store_helpers import MEDIA, NUMERICS, add, make_store, new_video, stored
from test_zeroshot_api import MAX_F1, PACER, embed, rows_of, zeroshot_of

from echosearch import open_index
from echosearch.api.cohorts import Cohorts
from echosearch.api.purging import purge_videos
from echosearch.cohort.cohort import Definition
from echosearch.errors import BackendError, BadOption, UnknownVideo
from echosearch.index import Batch
from echosearch.index.catalog import TABLES, FailedFile
from echosearch.index.catalog.base import metadata
from echosearch.index.catalog.purge import Person
from echosearch.index.check import check_index as check
from echosearch.index.purge import ENTRIES
from echosearch.ingest import IngestOptions, compact_index, delete_videos, ingest, read_metadata, undelete_videos
from echosearch.learning.labels import LabelFile, read_labels
from echosearch.search import Phrase, Question
from echosearch.types import EncodedText, Failure, ModelRequest

Run = Callable[..., tuple[int, str, str]]
PATIENT, STUDY, MRN = "PAT0017-ZZ", "STUDY0017-ZZ", "MRN-99887766"


def vector_of(_: Any, question: Question) -> tuple[Any, list[str]]:
    return embed([term.text for term in question.terms if isinstance(term, Phrase)])[0].vector, []


class Lived:
    """An index that all kinds of things were done with: 60 patients of two videos; video 35 and 36 are the person's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "index"
        self.store = make_store(self.path)
        vectors, has = rows_of(120, 0)
        frames = np.random.default_rng(7).normal(size=(120, 3, vectors.shape[1]))
        self.frames = (frames / np.linalg.norm(frames, axis=2, keepdims=True)).astype(np.float32)
        self.vectors = vectors
        with self.store.writer() as writer:
            writer.declare_attributes({"mrn": "text", "number": "integer", "ef": "real"})
        new = []
        for n, vector in enumerate(vectors):
            person = f"{n // 2:04}-ZZ"
            new.append(
                new_video(
                    f"PAT{person}/clip{n:04}.avi",
                    stored(vector, 0.9, self.frames[n]),
                    patient=f"PAT{person}",
                    study=f"STUDY{person}",
                    view="A4C",
                    content=f"content {n}",
                    attributes={"mrn": MRN if n == 34 else f"other {n}", "number": 77_665_544 + n, "ef": 30.0 + n % 40},
                )
            )
        for first in range(0, 120, 40):
            add(self.store, *new[first : first + 40], finish=True)
        self.digest = new[34][0].content_sha256
        with self.store.writer() as writer:
            path = str(MEDIA / PATIENT / "broken.avi")
            writer.commit(
                Batch(failed=[FailedFile(MEDIA, Failure(path, "unreadable-video", "damaged"), 1, 1)]), NUMERICS
            )
        self.zeroshot = zeroshot_of(self.store)
        self.zeroshot.sweep(PACER)
        labels = {f"PAT{n // 2:04}-ZZ/clip{n:04}.avi": label for n, label in enumerate(has)}
        self.labels: LabelFile = read_labels(labels_of(folder, labels, "path", f"labels-{PATIENT}.csv").file)
        self.zeroshot.calibrate(PACER, self.labels, MAX_F1)
        self.zeroshot.train_probe("probe", self.labels)
        self.zeroshot.sweep("probe:probe")
        self.cohorts = Cohorts(self.store, self.zeroshot, vector_of, lambda _: [])
        self.cohorts.create("low", Definition(where=("ef < 66",), level="study"), about=f"as asked for {PATIENT}")
        self.cohorts.create("one", Definition(where=(f"patient != '{PATIENT}'",), level="study"))
        self.cohorts.create("probe", Definition(where=("probe.probe.value > 0.5",), level="patient"))
        audit = self.cohorts.sample("low", 60, "random", folder / "sheet.csv")
        rows = "".join(f"{audit.stamp},{unit},yes,seen with {unit}\n" for unit in audit.units)
        (folder / "judged.csv").write_text("audit,unit,verdict,note\n" + rows)
        self.cohorts.judge("low", folder / "judged.csv")
        cache = open_index(self.path)
        from echosearch.encoders import TextCache

        TextCache(cache._store.cache_path, len(vectors[0])).put(
            "ab" * 32, EncodedText(vectors[0], f"cut: the history of {PATIENT}")
        )
        shutil.copytree(self.path, folder / "copy")
        (self.path / "before-format-5-generation-1").mkdir()
        shutil.copy(folder / "copy" / "catalog.sqlite", self.path / "before-format-5-generation-1")
        (self.path / "segments" / "aside").mkdir()
        [first, *_] = sorted(p for p in (self.path / "segments").iterdir() if p.name != "aside")
        shutil.copytree(first, self.path / "segments" / "aside" / first.name)

    def traces(self) -> dict[str, bytes]:
        """What would betray the person, wherever it lay."""
        return {
            "patient": PATIENT.encode(),
            "study": STUDY.encode(),
            "file name": b"clip0034",
            "attribute": MRN.encode(),
            "content": self.digest[:16].encode(),
            "vector": self.vectors[34].tobytes(),
            "frame": self.frames[34][1].tobytes(),
        }

    def found(self) -> dict[str, set[str]]:
        """In which entries of the folder each trace lies."""
        seen: dict[str, set[str]] = {name: set() for name in self.traces()}
        for file in self.path.rglob("*"):
            data = file.read_bytes() if file.is_file() else b""
            for name, trace in self.traces().items():
                if trace in data or trace.decode("latin-1") in file.name:
                    seen[name].add(file.relative_to(self.path).parts[0])
        return seen


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    return Lived(tmp_path)


def test_every_table_and_every_entry_of_an_index_says_how_it_is_purged(lived: Lived) -> None:
    assert set(TABLES) == {*metadata.tables, "attributes"}
    entries = {path.name for path in lived.path.iterdir()}
    assert {"segments", "ann", "cache", "catalog.sqlite", "manifest.json", "writer.lock"} <= entries
    assert [name for name in entries if not any(fnmatch(name, pattern) for pattern in ENTRIES)] == []


def test_no_byte_of_a_person_is_left(lived: Lived, run: Run) -> None:
    before = lived.found()
    assert before["patient"] == {"catalog.sqlite", "before-format-5-generation-1", "cache"}
    assert before["vector"] == {"segments", "ann"}
    assert before["frame"] == {"segments"}
    assert all(before.values())
    others = [video.to_dict() for video in open_index(lived.path).videos() if video.patient != PATIENT]
    code, out, _ = run("delete", "--patient", PATIENT, "--purge", "--yes", "--index", lived.path)
    assert (code, "2 videos purged: 35, 36" in out) == (0, True)
    assert "out of reach: the files of the archive themselves" in out
    assert lived.found() == {name: set() for name in before}
    index = open_index(lived.path)
    assert [video.to_dict() for video in index.videos()] == others
    assert check(lived.path).problems == ()
    for n in (0, 33, 36, 119):  # all others are found as before
        [hit] = index.similar(n + 1, k=1, exclude=["patient"]).hits[:1]
        best = max((float(lived.vectors[n] @ lived.vectors[m]), m) for m in range(120) if m // 2 not in (17, n // 2))
        assert (hit.video_id, hit.score) == (best[1] + 1, pytest.approx(best[0], abs=1e-6))


def test_what_is_purged_stays_purged_when_it_is_ingested_or_compacted(tmp_path: Path) -> None:
    folder, index = tmp_path / "v", tmp_path / "index"
    for name, colour in (("one", (200, 10, 10)), ("two", (10, 200, 10)), ("three", (10, 10, 200))):
        write_video(folder / f"{name}.avi", plain_frames(2, colour))
    (tmp_path / "m.csv").write_text("path,patient\none,PA\ntwo,PB\nthree,PA\n")

    def again(**options: Any) -> Any:
        return ingest(index, [folder], IngestOptions(ModelRequest("toy"), workers=1, **options))

    ingest(index, [folder], IngestOptions(ModelRequest("toy"), workers=1), [read_metadata(tmp_path / "m.csv")])
    purge_videos(index, [], patient="PA")
    assert again().deleted_earlier == 2
    (folder / "one.avi").rename(folder / "renamed.avi")  # the bytes are known by a keyed hash
    write_video(folder / "three.avi", plain_frames(3, (9, 9, 209)))  # and so is the path
    assert again().deleted_earlier == 2
    assert [video.patient for video in open_index(index).videos()] == ["PB"]
    with pytest.raises(
        UnknownVideo, match="no video of patient 'PA' was deleted from this index; nothing was undeleted"
    ):
        undelete_videos(index, [], patient="PA")
    with pytest.raises(UnknownVideo, match="there is and was no video of patient 'PA' in this index"):
        purge_videos(index, [], patient="PA")
    assert again(undelete=True).added == 2  # said so: they are new videos, and nothing is known of them
    assert {(video.video_id, video.patient) for video in open_index(index).videos()} == {
        (3, "PB"),
        (4, None),
        (5, None),
    }
    assert again().unchanged == 3


def test_what_was_learnt_selected_and_judged_says_that_something_went(lived: Lived, run: Run) -> None:
    [before] = lived.zeroshot.calibrations()
    scores = lived.zeroshot.sweep(PACER)[0]
    purge_videos(lived.path, [], patient=PATIENT)
    [calibration] = lived.zeroshot.calibrations()
    assert (len(before.contents), len(calibration.contents), calibration.purged) == (120, 118, 1)
    assert (calibration.threshold, calibration.slope) == (before.threshold, before.slope)
    [probe] = lived.zeroshot.probes()
    assert (len(probe.training.contents), probe.training.purged) == (118, 1)
    for command in (("calibrations", "show", "pacer"), ("probe", "show", "probe")):
        assert "1 training studies purged" in run(*command, "--index", lived.path)[1]
    now = lived.zeroshot.sweep(PACER)[0]
    assert now.ids.tolist() == [each for each in scores.ids.tolist() if each not in (35, 36)]
    low = lived.cohorts.get("low")
    assert (low.purged, low.about) == (1, "(purged)")
    assert STUDY not in {member.unit for member in low.members}
    assert low.notes[-1] == "1 members purged: their data was removed from the index, so this cohort cannot be rerun"
    [audit] = lived.cohorts.audits("low")
    assert (len(audit.units), len(audit.judgements)) == (len(low.members), len(low.members))
    assert lived.cohorts.get("one").definition.where == ("(purged)",)  # it named the patient
    for name in ("low", "one"):
        with pytest.raises(BadOption, match=f"cohort {name} cannot be rerun: data of . members was purged"):
            lived.cohorts.rerun(name)
    assert "1 members purged" in run("cohort", "show", "low", "--index", lived.path)[1]


def test_what_was_learnt_can_go_as_well(lived: Lived) -> None:
    purge_videos(lived.path, [], patient=PATIENT, learned="delete")
    assert (lived.zeroshot.calibrations(), lived.zeroshot.probes()) == ([], [])


def test_a_purge_is_asked_for_twice_and_a_dry_run_changes_nothing(lived: Lived, run: Run) -> None:
    before = lived.found()
    code, _, err = run("delete", 35, "--purge", "--index", lived.path)
    assert code == 2
    assert (
        "1 videos would be purged for good, and nothing brings them back:\n  35  /media/echo/PAT0017-ZZ/clip0034.avi"
        in err
    )
    assert "patient PAT0017-ZZ\nIf this is intended, repeat with --purge --yes" in err
    for option in (["--yes"], ["--learned", "delete"]):
        assert "--yes and --learned go with --purge" in run("delete", 35, *option, "--index", lived.path)[2]
    code, out, _ = run("delete", "--study", STUDY, "--purge", "--dry-run", "--index", lived.path)
    assert (code, "2 videos would be purged:\n  35  /media/echo/PAT0017-ZZ/clip0034.avi" in out) == (0, True)
    assert lived.found() == before
    for wanted, more, sentence in (
        ([35, 999], {}, "no video 999"),
        ([Path("/media/echo/none.avi")], {}, "no video /media/echo/none.avi"),
        ([], {"patient": "nobody"}, "no video of patient 'nobody'"),
        ([], {"study": "nothing"}, "no video of study 'nothing'"),
    ):
        with pytest.raises(UnknownVideo, match=sentence):
            purge_videos(lived.path, wanted, **more)
    assert lived.found() == before


def test_who_was_deleted_and_compacted_before_can_be_purged(lived: Lived) -> None:
    delete_videos(lived.path, [], patient=PATIENT)
    compact_index(lived.path)
    assert lived.found()["patient"]
    assert purge_videos(lived.path, [], patient=PATIENT).video_ids == (35, 36)
    assert lived.found() == {name: set() for name in lived.traces()}


def test_earlier_bytes_and_unnamed_videos_of_the_persons_studies_go_too(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    rows, _ = rows_of(5, 1)
    add(store, new_video("a.avi", rows[0], content="first", patient="PA", study="SA"))
    add(store, new_video("a.avi", rows[1], content="second", patient="PA", study="SA", replaces=1))
    add(store, new_video("b.avi", rows[2], study="SA"), new_video("c.avi", rows[3], study="SB", patient="PB"))
    add(store, new_video("copy.avi", rows[1], content="second", patient="PB"))
    receipt = purge_videos(tmp_path / "index", [], patient="PA")
    assert (receipt.video_ids, receipt.kept_copies) == ((1, 2, 3), (5,))
    assert [video.video_id for video in open_index(tmp_path / "index").videos()] == [4, 5]


def test_a_reader_of_an_earlier_commit_goes_on_or_says_why(lived: Lived) -> None:
    reader = open_index(lived.path)
    assert {hit.video_id for hit in reader.similar(1, k=119).hits} >= {35, 36}
    with reader._store.snapshot() as snapshot:
        purge = pytest.raises(BackendError, match=r"everything is purged from .* except the catalog's log")
        with pytest.MonkeyPatch.context() as patch, purge:
            patch.setattr("echosearch.index.catalog.catalog._BUSY_SECONDS", 0.2)
            purge_videos(lived.path, [], patient=PATIENT)
        assert 35 in snapshot.rows.ids  # its own moment, whose bytes are open
    assert 35 not in {hit.video_id for hit in reader.similar(1, k=117).hits}
    compact_index(lived.path)
    assert lived.found() == {name: set() for name in lived.traces()}


def test_texts_are_struck_where_they_name_the_person_and_nowhere_else() -> None:
    person = Person(
        frozenset({1}), frozenset(), {}, frozenset({"P-17", "O'Brien 12"}), frozenset({"7", "north", "100"})
    )
    for text in ("seen with P-17, twice", "(P-17)", "patient != 'O''Brien 12'", "of O'Brien 12", "site = 'north'", "7"):
        assert person.struck(text) == "(purged)"
    for text in ("P-170 is another", "ef < 7", "to the north", "ef < 100", "first 100", "SEVERE LV DILATION"):
        assert person.struck(text) == text


def test_what_was_learnt_loses_hashes_and_counts_studies_whatever_else_it_says() -> None:
    person = Person(frozenset({1}), frozenset(), {"ab" * 32: "S1", "cd" * 32: "S1"}, frozenset({"study", "2026"}))
    told = {
        "created_at": "2026-01-01", "task": "study", "contents": ["not", "of this"],
        "training": {"labels": "study.csv", "labels_sha256": "0", "contents": ["ab" * 8, "cd" * 8, "ef" * 8]},
    }  # fmt: skip
    assert person.without_learned(told) == told | {
        "training": {"labels": "(purged)", "labels_sha256": "0", "contents": ["ef" * 8], "purged": 1}
    }
    assert person.is_in(json.dumps(told))
    assert not person.is_in(json.dumps(person.without_learned(told)))


@pytest.mark.parametrize(
    "patient", ["study", "value", "members", "contents", "2026", "100", "probe", "SMITHJOHN", "O'Brien 12"]
)
def test_a_person_may_be_called_anything(tmp_path: Path, patient: str) -> None:
    """Words of the files' own keys, years, short numbers: what others own stays as it was, and can be read."""
    store = make_store(tmp_path / "index")
    rows, has = rows_of(24, 1)
    with store.writer() as writer:
        writer.declare_attributes({"remark": "text", "ef": "real", "mrn": "real"})
    name = f"{patient} folder/{patient}.avi"
    for n, row in enumerate(rows):
        whose = (
            {"patient": patient, "study": f"S {patient}"} if n == 5 else {"patient": f"Q{n:03}", "study": f"T{n:03}"}
        )
        values: dict[str, Any] = {"remark": patient if n == 5 else "plain", "ef": float(n), "mrn": 9988776.5 + n}
        path = name if n == 5 else f"clip{n:03}.avi"
        add(store, new_video(path, row, content=f"c{n}", attributes=values, **whose))
    zeroshot = zeroshot_of(store)
    zeroshot.sweep(PACER)
    labels = {f"/media/echo/{name if n == 5 else f'clip{n:03}.avi'}": has[n] for n in range(24)}
    zeroshot.calibrate(PACER, read_labels(labels_of(tmp_path, labels).file), MAX_F1)
    cohorts = Cohorts(store, zeroshot, vector_of, lambda _: [])
    cohorts.create("others", Definition(where=("ef >= 12",), level="video"), about="first 100, SEVERE LV DILATION")
    cohorts.create("two", Definition(where=("ef IN (5, 6)",), level="video"))
    quoted = patient.replace("'", "''")
    cohorts.create("named", Definition(where=(f"patient != '{quoted}'",), level="video"), about=f"without {patient}")
    before = zeroshot.calibrations()[0]
    purge_videos(tmp_path / "index", [], patient=patient)
    [after] = zeroshot.calibrations()
    assert (after.name, after.task, after.created_at, after.purged) == (before.name, before.task, before.created_at, 1)
    others = cohorts.get("others")
    assert (others.purged, len(others.members), len(others.table_one)) == (0, 12, 4)
    assert cohorts.rerun("others").now.members
    two = cohorts.get("two")
    assert (two.purged, two.table_one, two.distributions) == (1, (), ())  # they would tell of the one that went
    assert cohorts.get("named").definition.where == ("(purged)",)
    data = b"".join(file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file())
    for trace in (f"{patient} folder", f"S {patient}", f"patient != '{quoted}'", "9988781.5"):
        assert trace.encode() not in data
    if patient in ("SMITHJOHN", "O'Brien 12"):  # the others are words of the files themselves
        assert patient.encode() not in data


def test_what_is_called_like_the_person_has_to_go_first(lived: Lived) -> None:
    before = lived.found()
    lived.cohorts.create(f"of-{PATIENT}", Definition(where=("ef < 66",), level="study"))
    with pytest.raises(
        BadOption, match=f"the cohort of-{PATIENT} has the same name as what you purge; delete it first"
    ):
        purge_videos(lived.path, [], patient=PATIENT)
    assert {name: places | {"catalog.sqlite"} for name, places in lived.found().items() if places} == {
        name: places | {"catalog.sqlite"} for name, places in before.items()
    }  # nothing was erased
    lived.cohorts.delete(f"of-{PATIENT}")
    purge_videos(lived.path, [], patient=PATIENT)
    assert lived.found() == {name: set() for name in before}


def test_nobody_else_is_purged(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    rows, _ = rows_of(6, 1)
    add(store, new_video("a.avi", rows[0], content="first", patient="PX"))  # an earlier file of that name, of another
    add(store, new_video("a.avi", rows[1], content="second", patient="PA", replaces=1))
    add(store, new_video("b.avi", rows[2], content="shared", patient="PB"))
    with store.writer() as writer, writer.transaction() as transaction:
        transaction.deleted.add([3], on_purpose=False)
    add(store, new_video("c.avi", rows[2], content="shared", patient="PA"))
    receipt = purge_videos(tmp_path / "index", [MEDIA / "a.avi", 4])
    assert (receipt.video_ids, receipt.kept_copies) == ((2, 4), (3,))
    for more, sentence in (({"patient": "TYPO"}, "patient 'TYPO'"), ({"study": "TYPO"}, "study 'TYPO'")):
        with pytest.raises(UnknownVideo, match=f"there is and was no video of {sentence} in this index"):
            purge_videos(tmp_path / "index", [1], **more)
