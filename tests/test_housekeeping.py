"""Deleting, undeleting, moving, pruning, annotating, and the layouts of public data sets."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video

from echosearch import Index, open_index
from echosearch.errors import (
    BadManifest,
    BadOption,
    InputError,
    RecipeMismatch,
    SpaceMismatch,
    UnknownEncoder,
    UnknownVideo,
)
from echosearch.index import Store
from echosearch.ingest import (
    IngestOptions,
    annotate,
    delete_videos,
    ingest,
    move_roots,
    read_metadata,
    recognise,
    undelete_videos,
)
from echosearch.types import FrameSampling, IngestReport, ModelRequest

Run = Callable[..., tuple[int, str, str]]


def _ingest(index: Path, *sources: Path, manifest: Path | None = None, **options: Any) -> IngestReport:
    tables = [read_metadata(manifest)] if manifest else []
    return ingest(index, list(sources), IngestOptions(ModelRequest("toy"), workers=1, **options), tables)


def _names(index: Index | Path) -> dict[str, int]:
    index = open_index(index) if isinstance(index, Path) else index
    return {Path(video.path).stem: video.video_id for video in index.videos()}


@pytest.fixture
def index(colours: Path, tmp_path: Path) -> Path:
    """blue 1, green 2, red 3; red and green are patient P1, studies S1 and S2."""
    (tmp_path / "m.csv").write_text("path,study,patient,EF\nred,S1,P1,55\ngreen,S2,P1,40\n")
    _ingest(tmp_path / "index", colours, manifest=tmp_path / "m.csv")
    return tmp_path / "index"


def test_a_deleted_video_is_gone_at_once_and_stays_gone(index: Path, colours: Path) -> None:
    reader = open_index(index)
    assert reader.search("red", k=1).hits[0].video_id == 3
    assert delete_videos(index, [3]).deleted == (3,)
    assert 3 not in {hit.video_id for hit in reader.search("red").hits}
    assert _names(reader) == {"blue": 1, "green": 2}
    with pytest.raises(UnknownVideo, match="there is no video 3"):
        reader.video_embedding(3)
    report = _ingest(index, colours)
    assert (report.added, report.deleted_earlier, report.unchanged) == (0, 1, 2)
    (colours / "red.avi").rename(colours / "renamed.avi")  # the same bytes under another name
    report = _ingest(index, colours)
    assert (report.added, report.deleted_earlier) == (0, 1)
    assert _names(index) == {"blue": 1, "green": 2}


def test_deleting_by_path_study_and_patient(index: Path, colours: Path) -> None:
    assert delete_videos(index, [colours / "blue.avi"]).deleted == (1,)
    assert delete_videos(index, [], study="S2").deleted == (2,)
    assert delete_videos(index, [], patient="P1").deleted == (3,)
    assert _names(index) == {}


def test_nothing_is_deleted_when_one_of_them_is_not_there(index: Path, colours: Path) -> None:
    for videos, more, sentence in (
        ([3, 99], {}, "there is no video 99 in this index; nothing was deleted"),
        ([3, colours / "none.avi"], {}, "is not in this index; nothing was deleted"),
        ([3], {"study": "S9"}, "no video of study 'S9'"),
        ([3], {"patient": "P9"}, "no video of patient 'P9'"),
    ):
        with pytest.raises(UnknownVideo, match=sentence):
            delete_videos(index, videos, **more)
    assert len(_names(index)) == 3
    with pytest.raises(UnknownVideo, match="3 was not deleted from this index"):
        undelete_videos(index, [3])


def test_undelete_brings_the_same_ids_back(index: Path, colours: Path) -> None:
    before = open_index(index).search("red").hits
    delete_videos(index, [], patient="P1")
    back = undelete_videos(index, [], patient="P1")
    assert (back.undeleted, back.to_ingest) == ((2, 3), ())
    assert open_index(index).search("red").hits == before
    delete_videos(index, [colours / "red.avi"])
    assert undelete_videos(index, [colours / "red.avi"]).undeleted == (3,)
    delete_videos(index, [3])
    report = _ingest(index, colours, undelete=True)
    assert (report.added, report.returned, report.frames_encoded, report.deleted_earlier) == (0, 1, 0, 0)
    assert _names(index) == {"blue": 1, "green": 2, "red": 3}  # the same bytes are the same video
    assert open_index(index).video(3).patient == "P1"
    report = _ingest(index, colours)
    assert (report.unchanged, report.deleted_earlier) == (3, 0)


def test_a_moved_file_keeps_its_id_while_its_old_root_is_there(index: Path, colours: Path, tmp_path: Path) -> None:
    (colours / "deeper").mkdir()
    (colours / "red.avi").rename(colours / "deeper" / "crimson.avi")
    report = _ingest(index, colours)
    assert (report.added, report.moved, report.frames_encoded) == (0, 1, 0)
    assert _names(index) == {"blue": 1, "green": 2, "crimson": 3}
    assert open_index(index).video(3).study == "S1"
    assert _ingest(index, colours).unchanged == 3
    colours.rename(tmp_path / "elsewhere")  # the old root is gone: perhaps a disk that is not there today
    report = _ingest(index, tmp_path / "elsewhere")
    assert (report.added, report.moved, report.copies) == (3, 0, 3)


def test_roots_says_where_the_videos_lie_now(index: Path, colours: Path, tmp_path: Path) -> None:
    colours.rename(tmp_path / "elsewhere")
    assert move_roots(index, tmp_path / "colours", tmp_path / "elsewhere") == 1
    assert open_index(index).video(1).path == str(tmp_path / "elsewhere" / "blue.avi")
    assert _ingest(index, tmp_path / "elsewhere").unchanged == 3
    with pytest.raises(InputError, match="no folder of the index lies at or below"):
        move_roots(index, tmp_path / "colours", tmp_path / "x")
    assert move_roots(index, tmp_path, Path("/data")) == 1  # a folder above
    assert open_index(index).video(1).path == "/data/elsewhere/blue.avi"


def test_prune_deletes_what_has_vanished_and_asks_when_it_is_much(tmp_path: Path) -> None:
    folder, index = tmp_path / "videos", tmp_path / "index"
    for number in range(20):
        write_video(folder / f"{number:02}.avi", plain_frames(1, (number * 10, 100, 50)))
    _ingest(index, folder)
    (folder / "03.avi").unlink()
    assert _ingest(index, folder).pruned == 0
    assert len(_names(index)) == 20
    assert _ingest(index, folder, prune=True).pruned == 1
    for number in (4, 5):
        (folder / f"{number:02}.avi").rename(tmp_path / f"{number:02}.avi")
    with pytest.raises(BadOption, match=r"2 of 19 videos below .* are gone; .*--prune --yes"):
        _ingest(index, folder, prune=True)
    assert len(_names(index)) == 19
    assert _ingest(index, folder, prune=True, yes=True).pruned == 2
    (tmp_path / "04.avi").rename(folder / "04.avi")
    report = _ingest(index, folder)  # pruned is not deleted on purpose: it comes back
    assert (report.added, report.returned, report.deleted_earlier) == (0, 1, 0)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="does not exist"):
        _ingest(index, folder, prune=True, yes=True)
    assert len(_names(index)) == 18


def test_a_file_moved_and_its_old_path_pruned_in_one_run(index: Path, colours: Path) -> None:
    (colours / "red.avi").rename(colours / "crimson.avi")
    report = _ingest(index, colours, prune=True, yes=True)
    assert (report.moved, report.pruned) == (1, 0)
    assert _names(index) == {"blue": 1, "green": 2, "crimson": 3}


def test_annotate_changes_what_the_file_has_columns_for(index: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("path,patient,view,EF,site\nred,P1,A4C,,north\ngreen,P2,,40,\nblue,,,,south\nnone,P9,,,\n")
    report = annotate(index, read_metadata(file))
    assert (report.updated, report.unchanged) == (3, 0)
    assert report.changes == {"view": 1, "site": 2, "patient": 1}
    assert report.emptied == {"EF": 1}
    assert report.warnings == ("1 rows of new.csv match no file, or several: line 5 'none'",)
    videos = {Path(video.path).stem: video for video in open_index(index).videos()}
    assert (videos["red"].study, videos["red"].view, videos["red"].attributes) == (
        "S1",
        "A4C",
        {"EF": None, "site": "north"},
    )
    assert (videos["green"].patient, videos["green"].attributes) == ("P2", {"EF": 40, "site": None})
    assert videos["blue"].attributes == {"EF": None, "site": "south"}
    again = annotate(index, read_metadata(file))
    assert (again.updated, again.unchanged, again.generation) == (0, 3, report.generation)
    file.write_text("path,EF\nred,none measured\n")
    with pytest.raises(BadManifest, match="attribute 'EF' holds numbers"):
        annotate(index, read_metadata(file))


def test_a_number_goes_into_a_column_of_text_as_it_is_written(index: Path, colours: Path, tmp_path: Path) -> None:
    """Version 1.10 is not 1.1."""
    file = tmp_path / "m.csv"
    file.write_text("path,version\nred,1.9b\n")
    annotate(index, read_metadata(file))
    file.write_text("path,version\nred,1.10\ngreen,+5\nblue,n/a\n")
    assert annotate(index, read_metadata(file)).changes == {"version": 2}

    def versions() -> dict[str, Any]:
        return {Path(video.path).stem: video.attributes["version"] for video in open_index(index).videos()}

    assert versions() == {"red": "1.10", "green": "+5", "blue": None}
    assert annotate(index, read_metadata(file)).updated == 0
    file.write_text("path,version\nred,2.0\ngreen,3.50\nblue,7\n")
    assert _ingest(index, colours, manifest=file).updated == 3
    assert versions() == {"red": "2.0", "green": "3.50", "blue": "7"}


def test_a_changed_manifest_at_ingest_updates_without_embedding(index: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,study,patient,EF\nred,S1,P1,56.5\ngreen,S3,P1,40\n")
    report = _ingest(index, colours, manifest=tmp_path / "m.csv")
    assert (report.added, report.updated, report.frames_encoded) == (0, 2, 0)
    videos = {Path(video.path).stem: video for video in open_index(index).videos()}
    assert (videos["red"].attributes["EF"], videos["green"].study) == (56.5, "S3")


def test_echonet_dynamic_is_recognised(tmp_path: Path) -> None:
    folder = tmp_path / "EchoNet-Dynamic"
    for name in ("0XA", "0XB"):
        write_video(
            folder / "Videos" / f"{name}.avi", plain_frames(2, (100, 20, 20) if name == "0XA" else (20, 100, 20))
        )
    (folder / "FileList.csv").write_text(
        "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"
        "0XA,55.1,40.2,90,112,112,50,2,TRAIN\n0XB.avi,31,60,88.5,112,112,50,2,TEST\n"
    )
    report = _ingest(tmp_path / "index", folder)
    assert any(warning.startswith("recognised as EchoNet: ") for warning in report.warnings)
    first, second = open_index(tmp_path / "index").videos()
    assert (first.view, first.attributes["EF"], first.attributes["Split"]) == ("A4C", 55.1, "TRAIN")
    assert (second.view, second.attributes["EF"], second.attributes["NumberOfFrames"]) == ("A4C", 31.0, 2)


def test_echonet_pediatric_takes_the_view_from_the_half(tmp_path: Path) -> None:
    for half, ef in (("A4C", 60), ("PSAX", 61)):
        write_video(tmp_path / "ped" / half / "Videos" / "CR1.avi", plain_frames(1, (ef, 20, 20)))
        (tmp_path / "ped" / half / "FileList.csv").write_text(
            f"FileName,EF,Sex,Age,Weight,Height,Split\nCR1.avi,{ef},F,3,14,90,0\n"
        )
    _ingest(tmp_path / "index", tmp_path / "ped")
    told = {video.view: video.attributes["EF"] for video in open_index(tmp_path / "index").videos()}
    assert told == {"A4C": 60, "PSAX": 61}
    layout = recognise(tmp_path / "ped" / "PSAX")
    assert layout is not None
    assert layout.tables[0].rows[0].metadata.view == "PSAX"


def test_echonet_lvh_has_one_row_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "lvh"
    write_video(folder / "Batch1" / "0XA.avi", plain_frames(1, (10, 20, 20)))
    write_video(folder / "Batch2" / "0XB.avi", plain_frames(1, (100, 20, 20)))
    (folder / "MeasurementsList.csv").write_text(
        "HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split\n"
        "0XA,IVSd,1.1,3,1,2,3,4,90,50,1024,768,train\n"
        "0XA,LVIDd,4.0,3,1,2,3,4,90,50,1024,768,train\n"
        "0XA,LVIDd,5.0,40,1,2,3,4,90,50,1024,768,train\n"
        "0XB,LVIDd,4.25,3,1,2,3,4,80,50,1024,768,test\n"
    )
    _ingest(tmp_path / "index", folder)
    first, second = open_index(tmp_path / "index").videos()
    assert first.view == "PLAX"
    assert first.attributes == {
        "Frames": 90, "FPS": 50, "Width": 1024, "Height": 768, "split": "train", "IVSd": 1.1, "LVIDd": 4.5,
    }  # fmt: skip
    assert (second.attributes["IVSd"], second.attributes["LVIDd"], second.attributes["split"]) == (None, 4.25, "test")


def test_a_mimic_list_names_videos_that_were_converted(tmp_path: Path) -> None:
    folder = tmp_path / "mimic"
    write_video(
        folder / "files/p10/p1001/s9/9_0001.mp4", plain_frames(1, (10, 20, 20)), codec="mpeg4", pix_fmt="yuv420p"
    )
    (folder / "echo-record-list.csv").write_text(
        "subject_id,study_id,acquisition_datetime,dicom_filepath\n"
        "1001,9,2150-01-02 10:11:12,files/p10/p1001/s9/9_0001.dcm\n"
    )
    _ingest(tmp_path / "index", folder)
    [video] = open_index(tmp_path / "index").videos()
    assert (video.patient, video.study, video.acquired_at) == ("1001", "9", "2150-01-02T10:11:12")


def test_the_commands(index: Path, colours: Path, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("delete", 3, "--index", index)
    assert (code, "1 deleted; generation 3" in out) == (0, True)
    code, out, _ = run("ingest", colours, "--index", index)
    assert "2 unchanged, 0 failed, 1 deleted earlier (echosearch undelete, or --undelete)" in out
    told = json.loads(run("undelete", 3, "--index", index, "--json")[1])
    assert (told["undeleted"], told["to_ingest"]) == ([3], [])
    code, _, err = run("delete", "--index", index)
    assert (code, "name the videos: ids or files, --study or --patient" in err) == (2, True)
    (tmp_path / "a.csv").write_text("file,who,EF\nred,P7,60\n")
    code, out, _ = run("annotate", tmp_path / "a.csv", "--map", "who=patient", "--index", index)
    assert code == 0
    assert "1 videos changed, 0 unchanged" in out
    assert "  patient: set in 1" in out
    told = json.loads(run("annotate", tmp_path / "a.csv", "--map", "who=patient", "--index", index, "--json")[1])
    assert (told["updated"], told["unchanged"]) == (0, 1)
    colours.rename(tmp_path / "moved")
    code, out, _ = run("roots", colours, tmp_path / "moved", "--index", index)
    assert (code, "1 folders of the index are now below" in out) == (0, True)
    code, _, err = run("roots", colours, tmp_path, "--index", index)
    assert (code, "no folder of the index lies at or below" in err) == (2, True)


def test_a_changed_file_keeps_what_is_known_of_it(index: Path, colours: Path, tmp_path: Path) -> None:
    write_video(colours / "red.avi", plain_frames(2, (200, 10, 10)))
    assert _ingest(index, colours).replaced == 1
    [video] = [video for video in open_index(index).videos() if video.path.endswith("red.avi")]
    assert (video.video_id, video.study, video.patient, video.attributes) == (4, "S1", "P1", {"EF": 55})
    with pytest.raises(
        UnknownVideo, match="video 3 no longer exists: its file changed or was embedded again, and is video 4 now"
    ):
        open_index(index).video(3)
    (tmp_path / "m.csv").write_text("path,EF\nred,60\n")
    write_video(colours / "red.avi", plain_frames(3, (210, 10, 10)))
    _ingest(index, colours, manifest=tmp_path / "m.csv")
    video = open_index(index).video(5)
    assert (video.study, video.attributes) == ("S1", {"EF": 60})


def test_a_manifest_reaches_touched_and_moved_files_at_once(index: Path, colours: Path, tmp_path: Path) -> None:
    os.utime(colours / "red.avi", (1, 1))
    (colours / "green.avi").rename(colours / "moss.avi")
    (tmp_path / "m.csv").write_text("path,view\nred,A4C\nmoss,PLAX\nblue,A2C\n")
    assert _ingest(index, colours, manifest=tmp_path / "m.csv").updated == 3
    assert {Path(video.path).stem: video.view for video in open_index(index).videos()} == {
        "red": "A4C",
        "moss": "PLAX",
        "blue": "A2C",
    }
    report = _ingest(index, colours, manifest=tmp_path / "m.csv")
    assert (report.updated, report.generation) == (0, open_index(index).info().generation)


def test_an_empty_column_has_no_type_yet(index: Path, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,age\nred,\nblue,NA\n")
    report = _ingest(index, colours, manifest=tmp_path / "m.csv")
    assert report.updated == 0
    assert "age" not in open_index(index).info().attributes
    (tmp_path / "m.csv").write_text("path,age\nred,71.5\nblue,NA\n")
    _ingest(index, colours, manifest=tmp_path / "m.csv")
    assert open_index(index).video(3).attributes["age"] == 71.5
    again = _ingest(index, colours, manifest=tmp_path / "m.csv")
    assert (again.updated, again.generation) == (0, open_index(index).info().generation)


def test_the_generation_stays_where_nothing_is_to_do(index: Path, colours: Path, tmp_path: Path) -> None:
    before = open_index(index).info().generation
    for _ in range(2):
        assert _ingest(index, colours, manifest=tmp_path / "m.csv").generation == before


def test_an_empty_mount_point_is_no_root(colours: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.copytree(colours, disk)
    _ingest(tmp_path / "index", disk)
    disk.rename(tmp_path / "unplugged")
    disk.mkdir()
    report = _ingest(tmp_path / "index", colours)  # copies of what lies on the disk
    assert (report.moved, report.added) == (0, 3)
    shutil.rmtree(disk)
    (tmp_path / "unplugged").rename(disk)
    assert _ingest(tmp_path / "index", disk).unchanged == 3


def test_failures_that_are_true_no_more_leave_the_list(index: Path, colours: Path) -> None:
    good = (colours / "red.avi").read_bytes()
    status = (colours / "red.avi").stat()
    (colours / "red.avi").write_bytes(b"damaged")
    (colours / "new.avi").write_bytes(b"damaged")
    assert len(_ingest(index, colours).failures) == 2
    (colours / "red.avi").write_bytes(good)
    os.utime(colours / "red.avi", ns=(status.st_mtime_ns, status.st_mtime_ns))
    (colours / "new.avi").unlink()
    report = _ingest(index, colours)
    assert (report.unchanged, report.failures) == (3, ())
    assert open_index(index).failures() == []


def test_another_model_is_refused_even_when_nothing_is_to_do(index: Path, colours: Path, tiny_model: Path) -> None:
    for request, error, sentence in (
        (ModelRequest(f"local-dir:{tiny_model}"), SpaceMismatch, "is not the one that this index was made with"),
        (ModelRequest("toy", sampling=FrameSampling()), RecipeMismatch, "sampling"),
        (ModelRequest("nonsense"), UnknownEncoder, "there is no model 'nonsense'"),
    ):
        with pytest.raises(error, match=sentence):
            ingest(index, [colours], IngestOptions(request, workers=1))


def test_a_second_writer_waits_as_long_as_it_is_told(index: Path, colours: Path, run: Run) -> None:
    with Store(index).writer():
        code, _, err = run("delete", 3, "--index", index)
        assert code == 3
        assert re.search(
            rf"is being written to by process {os.getpid()} on .* since .*; try again later, or --wait", err
        )
        started = time.monotonic()
        assert run("compact", "--index", index, "--wait", 0.5)[0] == 3
        assert time.monotonic() - started >= 0.5
    assert run("delete", 3, "--index", index)[0] == 0


def test_a_failure_leaves_the_list_with_the_ingest_that_finds_the_file_good(index: Path, colours: Path) -> None:
    good = (colours / "red.avi").read_bytes()
    (colours / "red.avi").write_bytes(b"damaged")
    assert len(_ingest(index, colours).failures) == 1
    (colours / "red.avi").write_bytes(good)  # with another time
    assert _ingest(index, colours).unchanged == 3
    assert open_index(index).failures() == []
