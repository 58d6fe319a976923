"""Predictions are what CardioBench's evaluators join and read: columns, names, and numbers as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from echosearch.errors import BackendError, BadOption
from echosearch.learning.predictions import VIEWS, write_predictions
from echosearch.learning.probe import Probe, Training
from echosearch.outputs import Output
from echosearch.tasks.task import Task, TaskClass, ValueRange
from echosearch.tasks.task_files import find_task
from echosearch.types import VideoRecord

EF = Task("ef", "regression", prompts=("EF <#>",), range=ValueRange(0, 100, unit="%"), views=("A4C", "A2C"))
VIEW = Task("view", "contrastive", classes=tuple(TaskClass(name, (f"{name} view",)) for name in VIEWS))


def _video(video_id: int, path: str, patient: str | None = None, view: str | None = None) -> VideoRecord:
    return VideoRecord(
        video_id, path, None, patient, view, None, "video", 10, 10, 20, 20, 30.0, 1000, "0" * 64, "2026-01-01"
    )


def _records(*videos: VideoRecord) -> dict[int, VideoRecord]:
    return {video.video_id: video for video in videos}


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _ids(*ids: int) -> npt.NDArray[np.int64]:
    return np.array(ids, np.int64)


UNKNOWN = "of {} videos it is not known whether their view shows ef; they are written"


def _to(path: Path) -> Output:
    return Output(path, "the predictions", ".csv", force=True)


def test_ejection_fractions_by_file_in_the_order_of_ids(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    values = np.array([1 / 3, 55.0, 1e-7])
    records = _records(_video(1, "/m/0X1A.avi"), _video(2, "/m/x/0X2B.mp4"), _video(10, "/m/0X3C.avi"))
    assert write_predictions(_to(out), EF, _ids(10, 1, 2), {"value": values, "spread": values}, records) == (
        UNKNOWN.format(3),
    )
    assert out.read_bytes() == b"FileName,EF_pred\n0X1A,55.0\n0X2B,1e-07\n0X3C,0.3333333333333333\n"
    assert float(_read(out)[3][1]) == 1 / 3
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("path", "with_suffix", "name"),
    [
        ("/m/0X1A.avi", True, "0X1A.avi"),
        ("/m/CR32-CR3d-000045.AVI", False, "CR32-CR3d-000045"),
        ("/m/1.2.840.10008.1", False, "1.2.840.10008.1"),
        ("/m/1.2.840.dcm", False, "1.2.840"),
        ("/m/a,b.avi", False, "a,b"),
        ("/m/=cmd.avi", False, "'=cmd"),
        ("/m/+1.avi", False, "+1"),
        ("/m/-1.avi", False, "-1"),
        ("/m/@x.avi", False, "'@x"),
    ],
)
def test_how_a_file_is_named(tmp_path: Path, path: str, with_suffix: bool, name: str) -> None:
    write_predictions(
        _to(tmp_path / "o.csv"), EF, _ids(1), {"value": np.array([-3.5])}, _records(_video(1, path)),
        "HashedFileName", with_suffix,
    )  # fmt: skip
    assert _read(tmp_path / "o.csv") == [["HashedFileName", "EF_pred"], [name, "-3.5"]]


def test_bytes_of_a_name_that_is_no_text_stay(tmp_path: Path) -> None:
    records = _records(_video(1, "/m/\udcff.avi"))
    write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1), {"value": np.array([1.0])}, records)
    assert (tmp_path / "o.csv").read_bytes() == b"FileName,EF_pred\n\xff,1.0\n"


def test_a_name_that_comes_twice_is_said(tmp_path: Path) -> None:
    records = _records(_video(1, "/a/x.avi"), _video(2, "/b/x.avi"), _video(3, "/c/x.avi"), _video(4, "/c/y.avi"))
    told = write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1, 2, 3, 4), {"value": np.arange(4.0)}, records)
    assert told == (
        UNKNOWN.format(4),
        "2 videos have the file name of an earlier one; CardioBench reads the first of each only",
    )
    assert len(_read(tmp_path / "o.csv")) == 5


def test_videos_of_views_that_do_not_show_it_are_left_out(tmp_path: Path) -> None:
    records = _records(_video(1, "/x.avi", None, "a4c"), _video(2, "/y.avi", None, "PLAX"), _video(3, "/z.avi"))
    told = write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1, 2, 3), {"value": np.arange(3.0)}, records)
    assert told == (UNKNOWN.format(1), "1 videos have a view that does not show ef and are left out")
    assert [row[0] for row in _read(tmp_path / "o.csv")] == ["FileName", "x", "z"]


def test_a_patient_has_the_mean_of_the_videos(tmp_path: Path) -> None:
    records = _records(
        _video(1, "/a.avi", "patient0002"),
        _video(2, "/b.avi", "patient0001"),
        _video(3, "/c.avi", None),
        _video(4, "/d.avi", "patient0002"),
        _video(5, "/e.avi", "patient0002", "PLAX"),
    )
    values = np.array([40.0, 61.5, 99.0, 50.0, 99.0])
    told = write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1, 2, 3, 4, 5), {"value": values}, records, "patient_id")
    assert _read(tmp_path / "o.csv") == [["patient_id", "EF_pred"], ["patient0001", "61.5"], ["patient0002", "45.0"]]
    assert told == (
        UNKNOWN.format(4),
        "1 videos have a view that does not show ef and are left out",
        "of 1 videos the patient is not known; they are left out",
    )


def _weights(*rows: tuple[float, ...], names: tuple[str, ...] = VIEWS) -> dict[str, npt.NDArray[np.float64]]:
    return dict(zip(names, np.array(rows, np.float64).T, strict=True))


def test_views_have_their_probabilities_and_the_highest(tmp_path: Path) -> None:
    records = _records(_video(1, "/a.avi"), _video(2, "/b.avi"))
    columns = _weights((0.5, 0.125, 0.125, 0.125, 0.125), (0.1, 0.1, 0.2, 0.2, 0.4))
    assert write_predictions(_to(tmp_path / "o.csv"), VIEW, _ids(1, 2), columns, records) == ()
    assert _read(tmp_path / "o.csv") == [
        ["FileName", "view_pred", "prob_A2C", "prob_A3C", "prob_A4C", "prob_PSAX", "prob_PLAX"],
        ["a", "A2C", "0.5", "0.125", "0.125", "0.125", "0.125"],
        ["b", "PLAX", "0.1", "0.1", "0.2", "0.2", "0.4"],
    ]


def test_a_patients_view_is_that_of_the_mean_probabilities(tmp_path: Path) -> None:
    records = _records(_video(1, "/a.avi", "P"), _video(2, "/b.avi", "P"))
    columns = _weights((0.5, 0.0, 0.25, 0.25, 0.0), (0.0, 0.0, 0.5, 0.25, 0.25))
    write_predictions(_to(tmp_path / "o.csv"), VIEW, _ids(1, 2), columns, records, "patient_id")
    assert _read(tmp_path / "o.csv")[1:] == [["P", "A4C", "0.25", "0.0", "0.375", "0.25", "0.125"]]


def test_the_view_task_in_the_package_fills_what_it_does_not_know(tmp_path: Path) -> None:
    task = find_task("view")
    assert isinstance(task, Task)
    columns = _weights((0.1, 0.2, 0.1, 0.1, 0.5), names=task.columns)
    told = write_predictions(_to(tmp_path / "o.csv"), task, _ids(1), columns, _records(_video(1, "/a.avi")))
    header, row = _read(tmp_path / "o.csv")
    assert header == ["FileName", "view_pred", *(f"prob_{view}" for view in VIEWS), "prob_SUBCOSTAL"]
    assert dict(zip(header, row, strict=True)) == {
        "FileName": "a", "view_pred": "SUBCOSTAL", "prob_A2C": "0.2", "prob_A3C": "0.0", "prob_A4C": "0.1",
        "prob_PSAX": "0.1", "prob_PLAX": "0.1", "prob_SUBCOSTAL": "0.5",
    }  # fmt: skip
    assert told == ("view does not know A3C: written with probability 0",)


def _probe(kind: str) -> Probe:
    training = Training("l.csv", "", "EF", 10, None, 10, 5, False, 1.0, "r2", 0.5, 0.0)
    return Probe("ef", kind, "r", (1.0,), 0.0, training)  # type: ignore[arg-type]


def test_a_probe_for_a_measurement_is_one_too(tmp_path: Path) -> None:
    records = _records(_video(1, "/a.avi"))
    write_predictions(_to(tmp_path / "o.csv"), _probe("ridge"), _ids(1), {"value": np.array([50.0])}, records)
    assert _read(tmp_path / "o.csv")[1] == ["a", "50.0"]


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (find_task("pacemaker"), "an ejection fraction .* or views .* such as A4C.*and pacemaker is neither"),
        (find_task("image_mode"), "image_mode is neither"),
        (find_task("lv_dilation"), "lv_dilation is neither"),
        (_probe("logistic"), "probe:ef is neither"),
        (find_task("pa_pressure"), "pa_pressure is in mmHg, so it is no ejection fraction"),
    ],
)
def test_other_tasks_are_refused(tmp_path: Path, task: Task | Probe, sentence: str) -> None:
    columns = {name: np.zeros(1) for name in task.columns}
    with pytest.raises(BadOption, match=sentence):
        write_predictions(_to(tmp_path / "o.csv"), task, _ids(1), columns, _records(_video(1, "/a.avi")))
    assert not list(tmp_path.iterdir())


def test_what_gives_no_row_is_refused(tmp_path: Path) -> None:
    records = _records(_video(1, "/a.avi"), _video(2, "/b.avi", "P", "PLAX"))
    columns = {"value": np.zeros(2)}
    with pytest.raises(BadOption, match="no video with a score of ef can be named by patient_id"):
        write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1, 2), columns, records, "patient_id")
    with pytest.raises(BadOption, match="predictions are by FileName, HashedFileName, patient_id, not by 'name'"):
        write_predictions(_to(tmp_path / "o.csv"), EF, _ids(1, 2), columns, records, "name")  # type: ignore[arg-type]


def test_a_disk_that_cannot_be_written_is_said_and_nothing_changes(tmp_path: Path, full: Path) -> None:
    records = _records(_video(1, "/a.avi"))
    values = {"value": np.zeros(1)}
    for path in (tmp_path / "none" / "o.csv", full / "o.csv"):
        with pytest.raises(BackendError, match=r"cannot write the predictions .*o\.csv: "):
            write_predictions(_to(path), EF, _ids(1), values, records)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file where a folder is needed: it cannot hold anything."""
    (tmp_path / "full").write_text("")
    return tmp_path / "full"


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "o.csv"
    out.write_text("before")

    def no_room(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(BackendError, match=r"cannot write the predictions .*: No space left on device"):
        write_predictions(_to(out), EF, _ids(1), {"value": np.zeros(1)}, _records(_video(1, "/a.avi")))
    assert (out.read_text(), list(tmp_path.iterdir())) == ("before", [out])
