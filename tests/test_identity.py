"""Bytes say which video a file is: what moved, was swapped, came back or changed keeps, or loses, what is known."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import plain_frames, write_video

from echosearch import open_index
from echosearch.api.purging import purge_videos
from echosearch.encoders import load_encoder
from echosearch.errors import BadOption
from echosearch.index import Store
from echosearch.index.check import repair_index as repair
from echosearch.ingest import (
    IngestOptions,
    compact_index,
    delete_videos,
    ingest,
    move_roots,
    read_metadata,
    undelete_videos,
)
from echosearch.types import IngestReport, ModelRequest, pool
from echosearch.video import prepare_video

Run = Callable[..., tuple[int, str, str]]
COLOURS = {"a": (220, 20, 20), "b": (20, 220, 20), "c": (20, 20, 220)}


def _ingest(index: Path, *sources: Path, manifest: Path | None = None, **options: Any) -> IngestReport:
    tables = [read_metadata(manifest)] if manifest else []
    return ingest(index, list(sources), IngestOptions(ModelRequest("toy"), workers=1, **options), tables)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """a.avi, b.avi, c.avi (videos 1, 2, 3) of patients PA, PB, PC, with an attribute; the manifest is gone after."""
    folder = tmp_path / "archive"
    for name, colour in COLOURS.items():
        write_video(folder / f"{name}.avi", plain_frames(2, colour))
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,study,patient,view,EF\na,SA,PA,A4C,11\nb,SB,PB,PLAX,22\nc,SC,PC,A2C,33\n")
    _ingest(tmp_path / "index", folder, manifest=manifest)
    manifest.unlink()
    return folder


@pytest.fixture
def index(archive: Path) -> Path:
    return archive.parent / "index"


def known(index: Path) -> dict[str, tuple[int, str | None, Any]]:
    """Id, patient and EF of each video, by its file's name; its vector is what the model makes of its file."""
    opened, encoder = open_index(index), load_encoder(ModelRequest("toy"))
    recipe = encoder.card.recipe
    found = {}
    for video in opened.videos():
        found[Path(video.path).stem] = (video.video_id, video.patient, video.attributes["EF"])
        if Path(video.path).is_file():
            pixels = prepare_video(Path(video.path), recipe.sampling, recipe.preprocess).pixels
            vector = pool(encoder.encode_pixels(pixels)).vector
            assert opened.video_embedding(video.video_id) @ vector == pytest.approx(1, abs=1e-6)
    opened.close()
    return found


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_suffix(".tmp"))
    other.rename(one)
    one.with_suffix(".tmp").rename(other)


# Files that change places.


def test_two_files_that_swap_names_keep_their_patients(index: Path, archive: Path) -> None:
    swap(archive / "a.avi", archive / "b.avi")
    report = _ingest(index, archive)
    assert (report.moved, report.added, report.replaced, report.unchanged, report.frames_encoded) == (2, 0, 0, 1, 0)
    assert known(index) == {"a": (2, "PB", 22), "b": (1, "PA", 11), "c": (3, "PC", 33)}
    assert _ingest(index, archive).unchanged == 3


@pytest.mark.parametrize("commit_videos", [1, 256])
def test_three_files_in_a_ring_keep_their_patients(
    index: Path, archive: Path, commit_videos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.ingest.pipeline.COMMIT_VIDEOS", commit_videos)
    monkeypatch.setattr("echosearch.ingest.batch.COMMIT_SECONDS", 0.0 if commit_videos == 1 else 20.0)
    swap(archive / "a.avi", archive / "b.avi")
    swap(archive / "b.avi", archive / "c.avi")  # a has b, b has c, c has a
    report = _ingest(index, archive)
    assert (report.moved + report.returned, report.added, report.replaced) == (3, 0, 0)
    assert known(index) == {"a": (2, "PB", 22), "b": (3, "PC", 33), "c": (1, "PA", 11)}


def test_a_file_that_takes_the_name_of_another_takes_its_place(index: Path, archive: Path) -> None:
    (archive / "b.avi").rename(archive / "a.avi")
    report = _ingest(index, archive)
    assert (report.moved, report.replaced) == (1, 0)
    assert known(index)["a"] == (2, "PB", 22)
    assert "b" not in known(index)


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("c", "Z")])  # before and after the old name, as files are sorted
def test_new_bytes_under_an_old_name_are_another_video_when_the_old_ones_lie_elsewhere(
    index: Path, archive: Path, old: str, new: str
) -> None:
    before = known(index)[old]
    (archive / f"{old}.avi").rename(archive / f"{new}.avi")
    write_video(archive / f"{old}.avi", plain_frames(2, (200, 200, 10)))
    report = _ingest(index, archive)
    assert (report.moved + report.returned, report.added + report.replaced) == (1, 1)
    assert known(index)[new] == before
    assert known(index)[old] == (4, None, None)  # nobody said whose these bytes are


def test_new_bytes_that_are_nowhere_else_stay_the_patients_own(index: Path, archive: Path) -> None:
    write_video(archive / "a.avi", plain_frames(2, (200, 200, 10)))
    assert _ingest(index, archive).replaced == 1
    assert known(index)["a"] == (4, "PA", 11)


def test_a_file_overwritten_with_a_copy_of_another_is_that_ones(index: Path, archive: Path) -> None:
    shutil.copy(archive / "b.avi", archive / "a.avi")
    report = _ingest(index, archive)
    assert (report.replaced, report.copies, report.moved) == (1, 1, 0)
    assert known(index) == {"a": (4, "PB", 22), "b": (2, "PB", 22), "c": (3, "PC", 33)}


def test_bytes_that_come_back_to_their_name_are_the_same_video(index: Path, archive: Path) -> None:
    first = (archive / "a.avi").read_bytes()
    write_video(archive / "a.avi", plain_frames(2, (200, 200, 10)))
    _ingest(index, archive)
    (archive / "a.avi").write_bytes(first)
    report = _ingest(index, archive)
    assert (report.returned, report.frames_encoded) == (1, 0)
    assert known(index)["a"] == (1, "PA", 11)


# Size and time say nothing for sure.


def _with_times_of(path: Path, data: bytes) -> None:
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_rehash_sees_other_bytes_of_the_same_size_and_time(index: Path, archive: Path, tmp_path: Path) -> None:
    data = bytearray((archive / "a.avi").read_bytes())
    place = data.rindex(b"\xff\xd9") - 40
    data[place] ^= 1  # one bit of a picture
    _with_times_of(archive / "a.avi", bytes(data))
    assert _ingest(index, archive).unchanged == 3
    report = _ingest(index, archive, rehash=True)
    assert (report.unchanged, report.replaced) == (2, 1)
    assert _ingest(index, archive, rehash=True).unchanged == 3


def test_rehash_sees_names_swapped_with_the_same_size_and_time(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "stills"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.bmp")
        os.utime(folder / f"{name}.bmp", (1_000_000_000, 1_000_000_000))
    (tmp_path / "m.csv").write_text("path,patient,EF\na,PA,11\nb,PB,22\nc,PC,33\n")
    _ingest(tmp_path / "index", folder, manifest=tmp_path / "m.csv")
    swap(folder / "a.bmp", folder / "b.bmp")
    assert _ingest(tmp_path / "index", folder).unchanged == 3
    report = _ingest(tmp_path / "index", folder, rehash=True)
    assert (report.moved, report.unchanged, report.frames_encoded) == (2, 1, 0)
    assert known(tmp_path / "index") == {"a": (2, "PB", 22), "b": (1, "PA", 11), "c": (3, "PC", 33)}


def test_check_compares_the_files_with_what_was_embedded(index: Path, archive: Path, run: Run) -> None:
    code, out, _ = run("check", "--sources", "--index", index)
    assert (code, "0 problems, 0 files that are not what was embedded" in out) == (0, True)
    data = bytearray((archive / "a.avi").read_bytes())
    data[-20] ^= 1
    _with_times_of(archive / "a.avi", bytes(data))
    (archive / "b.avi").unlink()
    code, out, _ = run("check", "--sources", "--index", index)
    assert code == 3
    assert f"source: {archive / 'a.avi'} has other bytes than video 1 was made of" in out
    assert f"source: {archive / 'b.avi'} (video 2) cannot be read: " in out
    assert "0 problems, 2 files that are not what was embedded" in out
    assert len(json.loads(run("check", "--sources", "--index", index, "--json")[1])["sources"]) == 2
    assert run("check", "--index", index)[0] == 0


# What was deleted comes back whole.


def test_undeleted_videos_are_whole(index: Path, archive: Path) -> None:
    before = known(index)
    delete_videos(index, [], patient="PA")
    assert undelete_videos(index, [], patient="PA").undeleted == (1,)
    assert known(index) == before
    delete_videos(index, [1])
    assert _ingest(index, archive, undelete=True).returned == 1
    assert known(index) == before


def test_only_what_is_named_is_undeleted(index: Path, archive: Path) -> None:
    delete_videos(index, [1, 2])
    undelete_videos(index, [archive / "b.avi"])
    report = _ingest(index, archive)
    assert (report.deleted_earlier, report.unchanged) == (1, 2)
    assert set(known(index)) == {"b", "c"}


@pytest.mark.parametrize("way", ["undelete", "ingest --undelete"])
def test_what_was_compacted_away_comes_back_with_all_that_was_known(index: Path, archive: Path, way: str) -> None:
    delete_videos(index, [1])
    compact_index(index)
    if way == "undelete":
        told = undelete_videos(index, [1])
        assert (told.undeleted, told.to_ingest, told.path_taken) == ((), (1,), ())
    report = _ingest(index, archive, undelete=way != "undelete")
    assert (report.added, report.frames_encoded) == (1, 1)
    assert known(index)["a"] == (4, "PA", 11)
    assert _ingest(index, archive).deleted_earlier == 0


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_pruned_and_is_found_elsewhere_is_whole(index: Path, archive: Path, compacted: bool) -> None:
    (archive / "a.avi").rename(archive.parent / "a.avi")
    assert _ingest(index, archive, prune=True, yes=True).pruned == 1
    if compacted:
        compact_index(index)
    (archive.parent / "a.avi").rename(archive / "other name.avi")
    _ingest(index, archive)
    assert known(index)["other name"] == (4 if compacted else 1, "PA", 11)


def test_where_the_path_is_taken_nothing_is_lost(index: Path, archive: Path) -> None:
    delete_videos(index, [1])
    write_video(archive / "a.avi", plain_frames(2, (200, 200, 10)))
    report = _ingest(index, archive)
    assert (report.added, report.deleted_earlier) == (0, 1)  # other bytes at a path that was deleted: still left alone
    _ingest(index, archive, undelete=True)
    assert known(index)["a"] == (4, None, None)
    told = undelete_videos(index, [1])
    assert (told.undeleted, told.to_ingest, told.path_taken) == ((), (), (1,))
    (archive / "a.avi").rename(archive / "new.avi")
    assert _ingest(index, archive).moved == 1
    assert undelete_videos(index, [1]).undeleted == (1,)
    assert (known(index)["new"], known(index)["a"]) == ((4, None, None), (1, "PA", 11))


def test_what_a_repair_let_go_of_comes_back_with_what_was_known(index: Path, archive: Path) -> None:
    before = known(index)
    with Store(index).catalog_only() as snapshot:
        [(name, _, _)] = snapshot.segments.sizes()
    (index / "segments" / name / "pooled.npy").write_bytes(b"damaged")
    assert repair(index).videos_lost == 3
    report = _ingest(index, archive)
    assert (report.added, report.deleted_earlier) == (3, 0)
    assert known(index) == {name: (video_id + 3, *rest) for name, (video_id, *rest) in before.items()}


def test_delete_says_how_many_which_and_the_way_back(index: Path, archive: Path, run: Run) -> None:
    code, out, _ = run("delete", "--patient", "PA", "--dry-run", "--index", index)
    assert (code, f"1 would be deleted:\n  1  {archive / 'a.avi'}\n" in out) == (0, True)
    assert len(known(index)) == 3
    code, out, _ = run("delete", "1", archive / "b.avi", "--index", index)
    assert code == 0
    assert f"2 deleted; generation 3\n  1  {archive / 'a.avi'}\n  2  {archive / 'b.avi'}\n" in out
    back = out.split("to restore them: echosearch ")[1].split()
    assert run(*back)[:2] == (0, f"index {index}\n2 restored; generation 4\n")
    assert len(known(index)) == 3


def test_a_copy_of_bytes_at_a_new_path_is_known_as_nobody(index: Path, archive: Path) -> None:
    shutil.copy(archive / "a.avi", archive / "x.avi")
    report = _ingest(index, archive)
    assert (report.added, report.copies) == (1, 1)
    assert known(index)["x"] == (4, None, None)
    assert known(index)["a"] == (1, "PA", 11)


# Bytes that two patients share.


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """PA/x.avi and PB/x.avi with the same bytes (videos 1 and 2), and PC/z.avi (3)."""
    folder = tmp_path / "twins"
    for patient, name, colour in (("PA", "x", "a"), ("PB", "x", "a"), ("PC", "z", "b")):
        write_video(folder / patient / f"{name}.avi", plain_frames(2, COLOURS[colour]))
    (tmp_path / "t.csv").write_text("path,patient,EF\nPA/x.avi,PA,11\nPB/x.avi,PB,22\nPC/z.avi,PC,33\n")
    _ingest(tmp_path / "index", folder, manifest=tmp_path / "t.csv")
    return tmp_path / "index", folder


def patients(index: Path) -> dict[str, str | None]:
    opened = open_index(index)
    found = {f"{Path(each.path).parent.name}/{Path(each.path).stem}": each.patient for each in opened.videos()}
    opened.close()
    return found


WHOLE = {"PA/x": "PA", "PB/x": "PB", "PC/z": "PC"}


@pytest.mark.parametrize("way", ["ingest", "compacted", "pruned", "repaired", "one folder"])
def test_twins_that_come_back_are_each_of_its_own_path(twins: tuple[Path, Path], way: str) -> None:
    index, folder = twins
    if way == "pruned":
        folder.rename(folder.with_name("away"))
        (folder / "PC").mkdir(parents=True)
        shutil.copy(folder.with_name("away") / "PC" / "z.avi", folder / "PC")
        _ingest(index, folder, prune=True, yes=True)
        shutil.rmtree(folder)
        folder.with_name("away").rename(folder)
        _ingest(index, folder)
    elif way == "repaired":
        with Store(index).catalog_only() as snapshot:
            [(name, _, _)] = snapshot.segments.sizes()
        (index / "segments" / name / "pooled.npy").write_bytes(b"damaged")
        repair(index)
        _ingest(index, folder)
    else:
        delete_videos(index, [1, 2])
        if way == "compacted":
            compact_index(index)
            undelete_videos(index, [1, 2])
        _ingest(index, folder / "PA" if way == "one folder" else folder, undelete=way != "compacted")
    if way == "one folder":
        assert patients(index) == {"PA/x": "PA", "PC/z": "PC"}
        assert _ingest(index, folder).deleted_earlier == 1  # the other stays deleted
    else:
        assert patients(index) == WHOLE


def test_twins_whose_folders_are_renamed_are_known_as_nobody(twins: tuple[Path, Path]) -> None:
    index, folder = twins
    (folder / "PA").rename(folder / "ZZ")
    (folder / "PB").rename(folder / "YY")
    _ingest(index, folder, prune=True, yes=True)
    assert patients(index) == {"ZZ/x": None, "YY/x": None, "PC/z": "PC"}


def test_a_twin_that_is_renamed_within_its_folder_stays_itself(twins: tuple[Path, Path]) -> None:
    index, folder = twins
    (folder / "PB" / "x.avi").rename(folder / "PB" / "y.avi")
    assert _ingest(index, folder).moved == 1
    assert patients(index) == {"PA/x": "PA", "PB/y": "PB", "PC/z": "PC"}


def test_a_file_overwritten_by_bytes_of_two_patients_is_known_as_nobody(twins: tuple[Path, Path]) -> None:
    index, folder = twins
    shutil.copy(folder / "PA" / "x.avi", folder / "PC" / "z.avi")
    _ingest(index, folder)
    assert patients(index) == WHOLE | {"PC/z": None}


@pytest.mark.parametrize("purged", [False, True])
def test_a_deleted_copy_takes_nothing_from_the_one_that_lives(twins: tuple[Path, Path], purged: bool) -> None:
    index, folder = twins
    if purged:
        assert purge_videos(index, [], patient="PB").kept_copies == (1,)
    else:
        delete_videos(index, [2])
    (folder / "PA" / "x.avi").rename(folder / "PA" / "renamed.avi")
    report = _ingest(index, folder, prune=True, yes=True)
    assert (report.moved, report.pruned, report.deleted_earlier) == (1, 0, 1)
    assert patients(index) == {"PA/renamed": "PA", "PC/z": "PC"}


# Names that were deleted.


def test_a_live_file_that_takes_the_name_of_a_deleted_one_is_found_there(index: Path, archive: Path) -> None:
    delete_videos(index, [1])
    (archive / "b.avi").rename(archive / "a.avi")
    assert _ingest(index, archive, prune=True, yes=True).moved == 1
    assert known(index) == {"a": (2, "PB", 22), "c": (3, "PC", 33)}


def test_a_live_and_a_deleted_file_that_swap_names(index: Path, archive: Path) -> None:
    delete_videos(index, [2])
    swap(archive / "a.avi", archive / "b.avi")
    report = _ingest(index, archive)
    assert (report.moved, report.deleted_earlier) == (1, 1)
    assert known(index) == {"b": (1, "PA", 11), "c": (3, "PC", 33)}


def test_a_live_file_overwritten_by_deleted_bytes_is_gone(index: Path, archive: Path) -> None:
    delete_videos(index, [2])
    (archive / "b.avi").rename(archive / "a.avi")
    assert _ingest(index, archive).deleted_earlier == 1
    assert set(known(index)) == {"c"}


# What comes to light in a later run.


@pytest.mark.parametrize("manifest", [False, True])
def test_new_bytes_lose_what_was_anothers_when_the_old_ones_turn_up_later(
    index: Path, archive: Path, tmp_path: Path, manifest: bool
) -> None:
    (archive / "a.avi").rename(tmp_path / "a.avi")
    write_video(archive / "a.avi", plain_frames(2, (200, 200, 10)))
    table = tmp_path / "again.csv"
    table.write_text("path,study,EF\na,SNEW,44\n")
    _ingest(index, archive, manifest=table if manifest else None)
    assert known(index)["a"] == (4, "PA", 44 if manifest else 11)
    (tmp_path / "a.avi").rename(archive / "z.avi")
    assert _ingest(index, archive).returned == 1
    assert known(index)["z"] == (1, "PA", 11)
    assert known(index)["a"] == (4, None, 44 if manifest else None)
    assert open_index(index).video(4).study == ("SNEW" if manifest else None)


# Folders that moved.


def test_roots_that_would_make_one_path_mean_two_videos_are_refused(index: Path, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_video(other / "sub" / "x.avi", plain_frames(2, (1, 200, 200)))
    _ingest(index, other)
    before = {video.video_id: video.path for video in open_index(index).videos()}
    for old, new, sentence in (
        (archive, other, f"{other} is a folder of this index already, and two folders cannot become one"),
        (archive, other / "sub", f"{other / 'sub'} would lie within {other}, and both are folders of this index"),
        (other, archive.parent / "archive", f"{archive} is a folder of this index already"),
    ):
        with pytest.raises(BadOption, match=sentence):
            move_roots(index, old, new)
    assert {video.video_id: video.path for video in open_index(index).videos()} == before
    assert move_roots(index, archive, other / "elsewhere") == 1  # within, but no video is there yet
    assert open_index(index).video(1).path == str(other / "elsewhere" / "a.avi")
    assert move_roots(index, tmp_path, tmp_path / "other") == 2  # all of them, into one of their own
    assert open_index(index).video(4).path == str(other / "other" / "sub" / "x.avi")
