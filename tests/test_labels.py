"""Labels are read as they are, joined to videos by id, file, study or patient, and refused with a sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.keys import Row
from echosearch.learning.labels import LabelFile, Labelled, join, read_labels
from echosearch.types import VideoRecord


def _csv(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def _video(video_id: int, path: str | Path, study: str | None = None, patient: str | None = None) -> VideoRecord:
    return VideoRecord(
        video_id, str(path), study, patient, None, None, "video", 10, 10, 20, 20, 30.0, 1000, "0" * 64, "2026-01-01"
    )


def _told(labels: LabelFile) -> list[tuple[int, str, float]]:
    return [(row.line, row.key, row.value) for row in labels.rows]


def _joined(labelled: Labelled) -> dict[int, float]:
    return dict(zip(labelled.video_ids.tolist(), labelled.labels.tolist(), strict=True))


def test_a_list_of_two_columns_needs_no_option(tmp_path: Path) -> None:
    path = _csv(tmp_path, "video,pacemaker\na.avi,1\nb.avi,0\n\nc.avi,\nb.avi,0\n")
    labels = read_labels(path)
    assert (labels.kind, labels.key_column, labels.column) == ("video", "video", "pacemaker")
    assert _told(labels) == [(2, "a.avi", 1), (3, "b.avi", 0), (6, "b.avi", 0)]
    assert (labels.empty, labels.repeated) == (1, 1)
    assert labels.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_byte_order_mark_and_quotes(tmp_path: Path, delimiter: str) -> None:
    text = delimiter.join(("\ufeffPath", "label")) + "\n" + delimiter.join(('"x,;\t.avi"', "-1.5e1"))
    assert _told(read_labels(_csv(tmp_path, text))) == [(2, "x,;\t.avi", -15)]


ECHONET = (
    "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"
    "0X1A,55.5,40,90,112,112,50,120,TRAIN\n"
    "0X2B,30,80,114,112,112,50,120,TEST\n"
    "0X3C.avi,62,30,79,112,112,50,120,VAL\n"
)


def test_echonets_list_as_it_is(tmp_path: Path) -> None:
    labels = read_labels(_csv(tmp_path, ECHONET, "FileList.csv"), label_column="EF")
    assert _told(labels) == [(2, "0X1A", 55.5), (3, "0X2B", 30), (4, "0X3C.avi", 62)]
    videos = [_video(7, tmp_path / "Videos/0X3C.avi"), _video(4, tmp_path / "Videos/0X1A.avi")]
    labelled = join(labels, videos)
    assert _joined(labelled) == {4: 55.5, 7: 62}
    assert labelled.warnings == ("1 rows of FileList.csv match no file, or several: line 3 '0X2B'",)


def test_a_split_is_kept_in_whatever_case(tmp_path: Path) -> None:
    path = _csv(tmp_path, ECHONET)
    assert _told(read_labels(path, label_column="ef", split="test")) == [(3, "0X2B", 30)]
    with pytest.raises(BadOption, match=r"--split holdout: labels\.csv has TEST, TRAIN, VAL"):
        read_labels(path, label_column="EF", split="holdout")


def test_echonets_halves_have_the_same_names_each_beside_its_list(tmp_path: Path) -> None:
    path = _csv(tmp_path / "PSAX", "FileName,EF\nx.avi,40\n", "FileList.csv")
    videos = [_video(1, tmp_path / "A4C/Videos/x.avi"), _video(2, tmp_path / "PSAX/Videos/x.avi")]
    assert _joined(join(read_labels(path), videos)) == {2: 40}


def test_a_measurement_of_echonet_lvhs_list(tmp_path: Path) -> None:
    path = _csv(
        tmp_path,
        "HashedFileName,Calc,CalcValue,Frame,Width,split\n"
        "0XA,IVSd,1.1,3,1024,train\n"
        "0XA,LVIDd,4.0,3,1024,train\n"
        "0XA,LVIDd,5.0,40,1024,train\n"
        "0XB,LVIDd,4.25,3,1024,test\n",
    )
    labels = read_labels(path, label_column="LVIDd")
    assert _told(labels) == [(3, "0XA", 4.5), (5, "0XB", 4.25)]  # (4.0 + 5.0) / 2
    assert labels.column == "LVIDd"
    assert _told(read_labels(path, label_column="LVIDd", split="TEST")) == [(5, "0XB", 4.25)]
    assert read_labels(path, label_column="Width").repeated == 2
    with pytest.raises(BadLabels, match=r"lines 2 and 3 give 0XA different labels, 1\.1 and 4"):
        read_labels(path, label_column="CalcValue")


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1", 1), ("0", 0), ("True", 1), ("no", 0), ("YES", 1), ("false", 0), (".5", 0.5), ("+3.", 3), ("1E-2", 0.01)],
)
def test_numbers_and_words_for_yes_and_no(tmp_path: Path, cell: str, value: float) -> None:
    assert read_labels(_csv(tmp_path, f"study,x\nS,{cell}\n")).rows[0].value == value


def test_words_become_yes_and_no(tmp_path: Path) -> None:
    path = _csv(tmp_path, "study,AS\nS1,none\nS2,Severe\nS3,mild\nS4,moderate\nS5,\n")
    labels = read_labels(path, positive="moderate, severe")
    assert [row.value for row in labels.rows] == [0, 1, 0, 1]
    assert (labels.positive, labels.empty) == (("moderate", "severe"), 1)
    with pytest.raises(BadOption, match="no row has AS 'critical'; there are Severe, mild, moderate, none"):
        read_labels(path, positive="severe,critical")


def test_a_class_may_be_missing_from_one_split(tmp_path: Path) -> None:
    path = _csv(tmp_path, "study,AS,split\nS1,none,test\nS2,severe,train\n")
    assert [row.value for row in read_labels(path, positive="severe", split="test").rows] == [0]


@pytest.mark.parametrize(
    ("header", "key", "kind", "column"),
    [
        ("patient,study,path,video_id", None, "video_id", "video_id"),
        ("patient,study,path", None, "video", "path"),
        ("path,Video", None, "video", "Video"),
        ("subject_id,study_id,dicom_filepath", None, "video", "dicom_filepath"),
        ("subject_id,study_id", None, "study", "study_id"),
        ("subject_id", None, "patient", "subject_id"),
        ("patient,study,path", "study", "study", "study"),
        ("subject_id,study_id,path", "patient", "patient", "subject_id"),
        ("subject_id,study_id,path", "STUDY_ID", "study", "study_id"),
        ("dicom,study", "dicom=video", "video", "dicom"),
        ("video_id,study", "video_id=video", "video", "video_id"),
    ],
)
def test_what_the_rows_are_about(tmp_path: Path, header: str, key: str | None, kind: str, column: str) -> None:
    path = _csv(tmp_path, f"{header},y\n" + "1," * (header.count(",") + 1) + "0\n")
    labels = read_labels(path, key, "y")
    assert (labels.kind, labels.key_column) == (kind, column)


@pytest.mark.parametrize(
    ("text", "options", "error", "sentence"),
    [
        ("", {}, BadLabels, r"labels\.csv is empty; labels are a CSV"),
        ("a,b\n1,2\n", {}, BadLabels, r"no column that says what a row is about.*--key COLUMN=KIND"),
        ("a,b\n1,2\n", {"key": "c"}, BadOption, r"--key c: labels\.csv has no such column; it has a, b"),
        ("a,b\n1,2\n", {"key": "a"}, BadOption, "--key a: say what the column 'a' names: --key a=KIND"),
        ("a,b\n1,2\n", {"key": "a=person"}, BadOption, "say what the column 'a' names"),
        ("video,a,b\n1,2,3\n", {}, BadOption, "several columns that could be the label: a, b; say which"),
        ("video,split\n1,2\n", {}, BadOption, "has no column of labels; say which: --label-column"),
        ("video,a\n1,2\n", {"label_column": "c"}, BadOption, "--label-column c: .* no such column; it has a"),
        ("video,a\n1,2\n", {"split": "test"}, BadOption, "has no column called split"),
        ("video,a,a\n1,2,3\n", {}, BadLabels, "no column name may come twice: a"),
        ("video,a\n1,2,3\n", {}, BadLabels, "line 2: 3 cells, but the header has 2"),
        ("video,a\n,2\n", {}, BadLabels, "line 2: the video is empty"),
        ("video_id,a\nx.avi,2\n", {}, BadLabels, "line 2: 'x.avi' is no id of a video.*--key video_id=video"),
        ("video,a\nx,1\ny,nan\n", {}, BadLabels, "line 3: 'nan' is no label; leave the cell empty"),
        ("video,a\nx,1\ny,NA\n", {"positive": "1"}, BadLabels, "line 3: 'NA' is no label; leave the cell empty"),
        ("video,a\nx,-inf\n", {}, BadLabels, "line 2: '-inf' is no label, which is a number"),
        ("video,a\nx,1e999\n", {}, BadLabels, "line 2: the label inf is no finite number"),
        ("video,a\nx,severe\n", {}, BadLabels, "line 2: 'severe' is no label.*say which count as 1: --positive"),
        ("video,a\nx,\n", {}, BadLabels, "has no label: all 1 cells of 'a' are empty"),
        ("study,a\nS,1\nT,1\nS,0\n", {}, BadLabels, "lines 2 and 4 give S different labels, 1 and 0"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, text: str, options: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        read_labels(_csv(tmp_path, text), **options)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"video,b\n\xff\xfe\x00,1\n")
    for name, reason in (("m.csv", "byte 8 is not UTF-8"), ("none.csv", "No such file or directory$")):
        with pytest.raises(BadLabels, match=f"the labels .*{name} cannot be read: {reason}"):
            read_labels(tmp_path / name)


def test_a_studys_label_goes_to_all_of_its_videos(tmp_path: Path) -> None:
    labels = read_labels(_csv(tmp_path, "study,y\nS1,1\nS2,0\nS9,0\n"))
    videos = [
        _video(5, "/m/e.avi", "S2", "P2"),
        _video(1, "/m/a.avi", "S1", "P1"),
        _video(2, "/m/b.avi", "S1", None),
        _video(3, "/m/c.avi", None, "P1"),
    ]
    labelled = join(labels, videos)
    assert _joined(labelled) == {1: 1, 2: 1, 5: 0}
    assert (labelled.studies, labelled.patients) == (("S1", "S1", "S2"), ("P1", None, "P2"))
    assert labelled.warnings == (
        "1 rows of labels.csv match no video: line 4 'S9'",
        "1 videos have no label in labels.csv",
    )


def test_patients_and_ids_join_too(tmp_path: Path) -> None:
    videos = [_video(1, "/m/a.avi", None, "007"), _video(12, "/m/b.avi", None, "7"), _video(2, "/m/c.avi")]
    assert _joined(join(read_labels(_csv(tmp_path, "patient,y\n7,1\n007,0\n")), videos)) == {1: 0, 12: 1}
    assert _joined(join(read_labels(_csv(tmp_path, "video_id,y\n12,1\n2,0\n3,0\n")), videos)) == {2: 0, 12: 1}


def test_a_name_that_two_videos_have_fits_neither(tmp_path: Path) -> None:
    labels = read_labels(_csv(tmp_path, "video,y\nx.avi,1\nb/y.avi,0\n"))
    videos = [_video(1, "/m/a/x.avi"), _video(2, "/m/b/x.avi"), _video(3, "/m/a/y.avi"), _video(4, "/m/b/y.avi")]
    labelled = join(labels, videos)
    assert _joined(labelled) == {4: 0}
    assert labelled.warnings[0] == "1 rows of labels.csv match no file, or several: line 2 'x.avi'"


def test_two_names_of_one_video_must_agree(tmp_path: Path) -> None:
    videos = [_video(1, tmp_path / "x.avi")]
    assert _joined(join(read_labels(_csv(tmp_path, "video,y\nx.avi,1\nx,1\n")), videos)) == {1: 1}
    with pytest.raises(BadLabels, match=r"lines 2 and 3 give .*x\.avi different labels, 1 and 0"):
        join(read_labels(_csv(tmp_path, "video,y\nx.avi,1\nx,0\n")), videos)


def test_labels_that_fit_nothing_are_refused_with_an_example_of_both(tmp_path: Path) -> None:
    videos = [_video(1, "/m/a.avi", None, "P1")]
    sentence = r"the file has for example 'q\.avi' \(column video, taken as video\), the index for example '/m/a\.avi'"
    with pytest.raises(BadLabels, match=sentence):
        join(read_labels(_csv(tmp_path, "video,y\nq.avi,1\n")), videos)
    with pytest.raises(BadLabels, match=r"for example 'S1' \(column study, taken as study\), the index no study"):
        join(read_labels(_csv(tmp_path, "study,y\nS1,1\n")), videos)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    labels = read_labels(_csv(tmp_path, "video_id,y\n1,1\n1,1\n2,\n"))
    assert join(labels, [_video(1, "/m/a.avi")]).warnings == (
        "1 rows of labels.csv have no y and are left out",
        "1 rows of labels.csv repeat an earlier one",
    )


def test_values_check_themselves(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="video ids ascend, each once"):
        Labelled(np.array([2, 1]), np.zeros(2), (None, None), (None, None), ())
    with pytest.raises(ValueError, match="one label, study and patient for each video"):
        Labelled(np.array([1, 2]), np.zeros(1), (None, None), (None, None), ())
    with pytest.raises(ValueError, match="labels are finite"):
        Labelled(np.array([1]), np.array([np.nan]), (None,), (None,), ())
    with pytest.raises(BadLabels, match="line 2: the label nan is no finite number"):
        LabelFile(tmp_path / "x", "", "video", "video", "y", (Row(2, "a", float("nan")),), 0)
