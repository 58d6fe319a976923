"""Numbers that change need a way to change: videos are embedded again, under new ids, in one commit, or not at all.

An index of an earlier version is made by a reader of stills that swaps red and blue, with a manifest that says 1.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video

import echosearch
from echosearch.api.purging import purge_videos
from echosearch.api.reembedding import reembed_index
from echosearch.cohort.cohort import Definition
from echosearch.encoders import load_encoder
from echosearch.errors import BadOption, CalibrationMismatch, DamagedIndex, IndexLocked, RecipeMismatch, UnknownVideo
from echosearch.index import Store
from echosearch.index.check import check_index as check
from echosearch.ingest import (
    ImportOptions,
    IngestOptions,
    annotate,
    compact_index,
    delete_videos,
    export_embeddings,
    import_embeddings,
    ingest,
    read_metadata,
    reembed,
    undelete_videos,
)
from echosearch.learning.labels import read_labels
from echosearch.learning.thresholds import ThresholdRule
from echosearch.types import Failure, FrameSampling, ModelRequest
from echosearch.video import prepare_video

RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)


class _InProcess:
    """Decodes in this process, which is quick; `swaps` reads stills as the earlier version of these tests did."""

    workers = 1

    def __init__(self, swaps: bool) -> None:
        self.swaps = swaps

    def wait_until_ready(self) -> None:
        return None

    def prepared(self, tasks: Any, sampling: Any, spec: Any, ahead: int) -> Iterator[Any]:
        from echosearch.errors import EchoSearchError

        for task, path in tasks:
            try:
                made = prepare_video(path, sampling, spec)
                if self.swaps and made.facts.kind == "still":
                    made = replace(made, pixels=np.ascontiguousarray(made.pixels[:, ::-1]))
                yield task, made
            except EchoSearchError as error:
                yield task, Failure(str(path), error.code(), str(error))


def decode_here(monkeypatch: pytest.MonkeyPatch, swaps: bool = False) -> None:
    @contextmanager
    def decoders(*_: Any) -> Iterator[_InProcess]:
        yield _InProcess(swaps)

    for module in ("pipeline", "reembedding"):
        monkeypatch.setattr(f"echosearch.ingest.{module}.decoders", decoders)


def write_still(path: Path, colour: tuple[int, int, int]) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path)
    return path


def of_version_1(path: Path) -> None:
    """The manifest as an index has it that was made before stills were mended."""
    file = path / "manifest.json"
    values = json.loads(file.read_text())
    values["recipe"]["still_version"] = 1
    file.write_text(json.dumps(values))
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE state SET description = NULL")


def add(path: Path, **options: Any) -> Any:
    return ingest(path, [path.parent / "media"], IngestOptions(ModelRequest("toy"), workers=1, **options))


def make(path: Path, monkeypatch: pytest.MonkeyPatch, cines: int = 3, stills: int = 3) -> Path:
    """Cines 0.avi ... and stills 0.png ..., of studies S0 ... and patients P0 ..., by the earlier version."""
    decode_here(monkeypatch, swaps=True)
    media = path.parent / "media"
    for number in range(cines):
        write_video(media / f"{number}.avi", plain_frames(2, (20, 60 * number, 220)))
    for number in range(stills):
        write_still(media / f"s{number}.png", (220, 60 * number, 20))
    names = [f"{n}.avi" for n in range(cines)] + [f"s{n}.png" for n in range(stills)]
    rows = [f"{name},S{row},P{row},A4C,{row}" for row, name in enumerate(names)]
    (path.parent / "m.csv").write_text("\n".join(["path,study,patient,view,EF", *rows]))
    options = IngestOptions(ModelRequest("toy"), workers=1)
    ingest(path, [media], options, [read_metadata(path.parent / "m.csv")])
    of_version_1(path)
    decode_here(monkeypatch)
    return path


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three cines and three stills, by the earlier version."""
    return make(tmp_path / "index", monkeypatch)


def versions(path: Path) -> tuple[int, int]:
    """What the index and its manifest.json say: the same."""
    with closing(Store(path)) as store:
        recipe = store.description.recipe
    told = json.loads((path / "manifest.json").read_text())["recipe"]
    assert recipe.to_dict() == json.loads(json.dumps(told)) | {
        "preprocess": recipe.to_dict()["preprocess"], "still_version": told.get("still_version", 1)
    }  # fmt: skip
    return recipe.pipeline_version, recipe.still_version


def contents(path: Path) -> dict[str, tuple[int, list[float], str | None, Any]]:
    """file -> id, first three numbers of the vector, study, EF."""
    with closing(Store(path)) as store, store.snapshot() as snapshot:
        return {
            Path(record.path).name: (
                record.video_id,
                [round(float(x), 4) for x in snapshot.stored(record.video_id).vector[:3]],
                record.study,
                record.attributes["EF"],
            )
            for record in snapshot.catalog.videos.records()
        }


def direction(red: float, green: float, blue: float) -> list[float]:
    """What the toy makes of one colour: (r, g, b, 0, 0, 0.1), of unit length."""
    row = np.array([red / 255, green / 255, blue / 255, 0, 0, 0.1])
    return [round(float(x), 4) for x in (row / np.linalg.norm(row))[:3]]


# --- what an index of an earlier version does


def test_who_has_the_index_open_learns_how_its_stills_are_made_now(mixed: Path, run: Any) -> None:
    with closing(Store(mixed)) as store:
        assert store.description.recipe.still_version == 1
        assert run("reembed", "--index", mixed)[0] == 0
        with store.snapshot():
            pass
        assert store.description.recipe.still_version == 2


def test_an_index_without_stills_is_brought_up_by_its_next_writer_in_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "index", monkeypatch, stills=0)
    recipe = Store(path).description.recipe.id
    assert versions(path) == (1, 1)
    assert echosearch.open_index(path).search("red").warnings[1:] == ("k is 10, and the index holds 3 videos",)
    with Store(path).snapshot() as snapshot:
        generation = snapshot.generation
    with Store(path).writer():
        pass
    assert versions(path) == (1, 1)  # nothing was written
    delete_videos(path, [1])
    with Store(path).snapshot() as snapshot:
        assert snapshot.generation == generation + 1
    assert versions(path) == (1, 2)
    assert Store(path).description.recipe.id == recipe
    write_still(tmp_path / "media" / "new.png", RED)
    report = add(path)
    assert (report.added, report.failures) == (1, ())
    assert contents(path)["new.png"][1] == direction(*RED)


def test_stills_go_straight_into_an_index_without_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "index", monkeypatch, stills=0)
    write_still(tmp_path / "media" / "new.png", RED)
    assert add(path).added == 1
    assert versions(path) == (1, 2)


def test_stills_are_refused_beside_older_ones_and_cines_are_not(mixed: Path) -> None:
    write_still(mixed.parent / "media" / "new.png", RED)
    write_still(mixed.parent / "media" / "s0.png", BLUE)  # changed
    write_video(mixed.parent / "media" / "new.avi", plain_frames(2, RED))
    before = contents(mixed)
    report = add(mixed)
    assert report.added == 1
    assert [(Path(failure.path).name, failure.code) for failure in report.failures] == [
        ("new.png", "recipe-mismatch"),
        ("s0.png", "recipe-mismatch"),
    ]
    assert report.failures[0].message == (
        note := "3 stills were embedded by another version of echosearch and cannot be compared with the others; "
        "update them with: echosearch reembed"
    )
    assert note in report.warnings
    index = echosearch.open_index(mixed)
    assert note in index.search("red").warnings
    [swept] = index.zeroshot.sweep("pacemaker")
    assert note in swept.warnings
    with pytest.raises(RecipeMismatch, match=r"echosearch reembed$"):
        index.similar(mixed.parent / "media" / "new.png")
    now = contents(mixed)
    assert now.pop("new.avi")[1] == direction(*RED)
    assert now == before
    # A file that has changed is embedded as it is now, and what was refused comes with the next ingest.
    report = reembed(mixed)
    assert (report.videos, sorted(report.ids)) == (3, [5, 6])
    assert contents(mixed)["s0.png"][1:] == (direction(*BLUE), "S3", 3)
    report = add(mixed)
    assert (report.added, report.unchanged, report.failures) == (1, 7, ())


def test_a_copy_of_an_older_still_and_one_that_moved_stay_as_the_others(mixed: Path) -> None:
    media = mixed.parent / "media"
    (media / "copy.png").write_bytes((media / "s0.png").read_bytes())
    (media / "s1.png").rename(media / "moved.png")
    report = add(mixed)
    assert (report.added, report.moved, report.failures) == (1, 1, ())
    assert contents(mixed)["copy.png"][1] == direction(20, 0, 220)


# --- reembed


def test_stills_get_new_ids_and_vectors_in_one_commit_and_cines_stay(mixed: Path) -> None:
    before = contents(mixed)
    with Store(mixed).snapshot() as snapshot:
        generation = snapshot.generation
    report = reembed(mixed)
    now = contents(mixed)
    for number in range(3):
        assert now[f"{number}.avi"] == before[f"{number}.avi"]
        old, new = before[f"s{number}.png"], now[f"s{number}.png"]
        assert (old[1], new[1]) == (direction(20, 60 * number, 220), direction(220, 60 * number, 20))
        assert new[0] == report.ids[old[0]] > 6
        assert new[2:] == old[2:]
    assert (report.videos, report.left_out, report.learnt) == (3, (), 0)
    with Store(mixed).snapshot() as snapshot:
        assert snapshot.generation == generation + 1
        assert {old: snapshot.catalog.videos.replaced_by(old) for old in report.ids} == report.ids
        assert snapshot.index.num_uncovered == 0
    a, b = np.array(direction(220, 60, 20)), np.array(direction(20, 60, 220))
    assert sorted(report.cosines) == ["still"]
    expected = float(a @ b + (0.1 * a[0] / (220 / 255)) ** 2)
    assert report.cosines["still"][1] == pytest.approx(expected, abs=2e-4)
    assert versions(mixed) == (1, 2)
    assert check(mixed).problems == ()
    with pytest.raises(
        UnknownVideo, match="video 4 no longer exists: its file changed or was embedded again, and is video 7 now"
    ):
        echosearch.open_index(mixed).video(4)
    assert add(mixed).unchanged == 6


def test_an_index_of_only_stills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "index", monkeypatch, cines=0)
    assert reembed(path).ids == {1: 4, 2: 5, 3: 6}
    assert contents(path)["s0.png"][1] == direction(220, 0, 20)
    assert check(path).problems == ()


def test_nothing_to_do_is_said_and_needs_no_model(mixed: Path, run: Any) -> None:
    assert reembed(mixed).videos == 3
    before = contents(mixed)

    def no_model(*_: Any) -> Any:
        raise AssertionError

    assert reembed(mixed, load=no_model).videos == 0
    code, out, _ = run("reembed", "--index", mixed)
    assert (code, out.splitlines()[1]) == (0, "nothing to do: all videos are embedded as this version embeds them")
    assert reembed(mixed, IngestOptions(ModelRequest("toy"))).videos == 0  # the same model, the same way
    assert contents(mixed) == before


def test_a_dry_run_names_what_is_missing_and_changes_nothing(mixed: Path, run: Any) -> None:
    (mixed.parent / "media" / "s1.png").unlink()
    before, generation = contents(mixed), json.loads((mixed / "manifest.json").read_text())
    code, out, _ = run("reembed", "--dry-run", "--index", mixed)
    assert code == 1
    assert out.splitlines()[1:] == [
        "3 videos would be embedded again",
        f"left out: {mixed.parent / 'media' / 's1.png'}: the file is gone",
    ]
    assert (contents(mixed), json.loads((mixed / "manifest.json").read_text())) == (before, generation)


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_what_cannot_be_embedded_anew_is_named_and_stops_it_or_is_left_out(mixed: Path, how: str) -> None:
    file = mixed.parent / "media" / "s1.png"
    whole = file.read_bytes()
    if how == "gone":
        file.unlink()
        sentence = f"1 files are gone \\({file}\\); nothing was changed; "
    else:
        file.write_bytes(b"no picture")
        sentence = rf"^{file}: it is not a picture .*; nothing was changed; "
    before = contents(mixed)
    with pytest.raises(BadOption, match=sentence):
        reembed(mixed)
    assert contents(mixed) == before
    assert versions(mixed) == (1, 1)
    with Store(mixed).writer():
        pass
    assert len(list((mixed / "segments").iterdir())) == 1  # the next writer has tidied up
    report = reembed(mixed, leave_out=True)
    assert [failure.path for failure in report.left_out] == [str(file)]
    now = contents(mixed)
    assert now.keys() == before.keys() - {"s1.png"}
    # It is back with all that was known of it, and embedded as the others, once its file is.
    file.write_bytes(whole)
    assert add(mixed).added == 1
    assert contents(mixed)["s1.png"][1:] == (direction(220, 60, 20), *before["s1.png"][2:])


def test_deleted_stills_do_not_come_back_with_old_vectors(mixed: Path) -> None:
    ids = {name: row[0] for name, row in contents(mixed).items()}
    delete_videos(mixed, [ids["s0.png"], ids["0.avi"]])
    reembed(mixed)
    with Store(mixed).snapshot() as snapshot:
        assert snapshot.catalog.videos.embedded(["still"]) == [7, 8]
    told = undelete_videos(mixed, [ids["s0.png"], ids["0.avi"]])
    assert (told.undeleted, told.to_ingest) == ((ids["0.avi"],), (ids["s0.png"],))
    with pytest.raises(UnknownVideo, match="was not deleted"):
        undelete_videos(mixed, [ids["s1.png"]])  # replaced
    assert add(mixed).added == 1
    assert contents(mixed)["s0.png"][1:] == (direction(220, 0, 20), "S3", 3)


def test_a_purge_takes_the_ids_of_before_as_well(mixed: Path) -> None:
    reembed(mixed)
    receipt = purge_videos(mixed, [], patient="P3")
    assert receipt.video_ids == (4, 7)
    with closing(sqlite3.connect(mixed / "catalog.sqlite")) as connection:
        left = connection.execute("SELECT id, replaced_by FROM videos WHERE patient = 'P3' OR id IN (4, 7)").fetchall()
    assert left == []
    assert check(mixed).problems == ()
    assert sorted(contents(mixed)) == ["0.avi", "1.avi", "2.avi", "s1.png", "s2.png"]


def test_what_left_the_segments_is_compacted_away_with_nothing_else(mixed: Path) -> None:
    reembed(mixed)
    now = contents(mixed)
    report = compact_index(mixed)
    assert report.rows_dropped == 0  # the old rows went with the switch
    assert contents(mixed) == now
    assert check(mixed).problems == ()


@pytest.mark.parametrize("frames", ["float16", "none"])
def test_frames_are_kept_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: Any) -> None:
    decode_here(monkeypatch, swaps=True)
    write_still(tmp_path / "media" / "0.png", RED)
    write_video(tmp_path / "media" / "0.avi", plain_frames(2, GREEN))
    add(tmp_path / "index", frames=frames)
    of_version_1(tmp_path / "index")
    decode_here(monkeypatch)
    reembed(tmp_path / "index")
    with Store(tmp_path / "index").snapshot() as snapshot:
        assert {segment.info.frames_dtype for segment in snapshot.segments.values()} == {frames}
        assert snapshot.stored(3).vector[0] > snapshot.stored(3).vector[2]
    assert check(tmp_path / "index").problems == ()


def test_a_still_that_moved_is_the_same_video_and_can_be_embedded_anew(mixed: Path) -> None:
    media = mixed.parent / "media"
    (media / "s0.png").rename(media / "elsewhere.png")
    add(mixed)
    assert reembed(mixed).ids == {4: 7, 5: 8, 6: 9}
    assert contents(mixed)["elsewhere.png"] == (7, direction(220, 0, 20), "S3", 3)


def test_two_stills_with_the_same_bytes_are_both_embedded_anew(mixed: Path) -> None:
    media = mixed.parent / "media"
    (media / "t.png").write_bytes((media / "s0.png").read_bytes())
    assert add(mixed).copies == 1
    assert reembed(mixed).ids == {4: 8, 5: 9, 6: 10, 7: 11}
    now = contents(mixed)
    assert now["s0.png"][1] == now["t.png"][1] == direction(220, 0, 20)


def test_an_interrupt_leaves_the_index_as_it_was(mixed: Path) -> None:
    before = contents(mixed)

    def interrupt(progress: Any) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reembed(mixed, listener=interrupt)
    assert (contents(mixed), versions(mixed)) == (before, (1, 1))
    assert len(reembed(mixed).ids) == 3  # new ids again: those that were reserved are never given twice
    assert contents(mixed)["s0.png"][0] == 9
    with Store(mixed).snapshot() as snapshot:
        named = snapshot.segments.keys() | snapshot.catalog.segments.retired().keys()
    assert {folder.name for folder in (mixed / "segments").iterdir()} == named


def test_an_index_with_deleted_stills_only_is_not_brought_up_in_passing(mixed: Path) -> None:
    delete_videos(mixed, [4, 5, 6])
    assert versions(mixed) == (1, 1)
    assert reembed(mixed).videos == 0
    assert versions(mixed) == (1, 2)
    assert undelete_videos(mixed, [4]).to_ingest == (4,)


def test_a_damaged_segment_is_named_before_anything_is_embedded(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("echosearch.ingest.reembedding.add_all", nothing)
    [segment] = (mixed / "segments").iterdir()
    norms = np.load(segment / "norms.npy")
    np.save(segment / "norms.npy", norms / 2)
    with pytest.raises(DamagedIndex, match="nothing was changed: these videos lie in a damaged segment"):
        reembed(mixed)
    assert versions(mixed) == (1, 1)


def test_a_reader_follows_across_the_switch(mixed: Path) -> None:
    index = echosearch.open_index(mixed)
    with index.zeroshot.store.snapshot() as old:  # an answer that is still being made
        reembed(mixed)
        assert old.stored(4).vector[2] > old.stored(4).vector[0]
    hits = index.search("red", k=6)
    assert sorted(hit.video_id for hit in hits.hits) == [1, 2, 3, 7, 8, 9]
    assert len(hits.warnings) == 1  # what the toy says of itself
    assert index.description.recipe.still_version == 2
    assert index.similar(write_still(mixed.parent / "media" / "new.png", RED)).hits[0].video_id == 7


def test_it_waits_for_nobody_and_is_told_who_writes(mixed: Path) -> None:
    with Store(mixed).writer(), pytest.raises(IndexLocked):
        reembed(mixed)


def test_all_scores_that_are_kept_are_compared(mixed: Path, run: Any) -> None:
    (mixed.parent / "red.yaml").write_text("name: red\nmode: binary\nprompts: [red]\n")
    task = mixed.parent / "red.yaml"
    [before] = echosearch.open_index(mixed).zeroshot.sweep(str(task))
    echosearch.open_index(mixed).zeroshot.sweep("pacemaker")
    told = reembed_index(mixed, IngestOptions())
    [now] = echosearch.open_index(mixed).zeroshot.sweep(str(task))
    assert now.scored_now == 0
    assert (before.ids.tolist(), now.ids.tolist()) == ([1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 8, 9])
    changes = abs(now.columns["value"][3:] - before.columns["value"][3:])
    assert told.moved["red value"] == {
        "videos": 3,
        "mean_change": pytest.approx(changes.mean()),
        "max_change": pytest.approx(changes.max()),
        "rank_correlation": pytest.approx(1.0),  # the more green, the less red, before and after
    }
    assert told.moved["pacemaker value"] == {
        "videos": 3, "mean_change": 0, "max_change": 0
    }  # fmt: skip
    assert sorted(told.moved) == ["pacemaker value", "red value", "still embeddings"]
    json.dumps(told.to_dict(), allow_nan=False)


def test_scores_of_videos_whose_view_does_not_show_it_are_compared_with_their_own(mixed: Path) -> None:
    (mixed.parent / "views.csv").write_text("path,view\n0.avi,PLAX\ns0.png,PLAX\ns1.png,A4C\ns2.png,PSAX\n")
    annotate(mixed, read_metadata(mixed.parent / "views.csv"))
    task = mixed.parent / "red.yaml"
    task.write_text("name: red\nmode: binary\nprompts: [red]\nviews: [A4C]\n")
    [before] = echosearch.open_index(mixed, all_views=True).zeroshot.sweep(str(task))
    told = reembed_index(mixed, IngestOptions()).moved["red value"]
    [now] = echosearch.open_index(mixed).zeroshot.sweep(str(task))
    assert now.ids.tolist() == [2, 3, 8]  # 0.avi and two stills have another view
    [now] = echosearch.open_index(mixed, all_views=True).zeroshot.sweep(str(task))
    changes = abs(now.columns["value"][3:] - before.columns["value"][3:])
    assert (told["videos"], told["mean_change"]) == (3, pytest.approx(changes.mean()))
    assert (told["max_change"], told["rank_correlation"]) == (pytest.approx(changes.max()), pytest.approx(1.0))


def _labels(path: Path, names: list[str]) -> Any:
    rows = [f"{name},{row % 2}" for row, name in enumerate(names)]
    (path.parent / "labels.csv").write_text("\n".join(["path,label", *rows]))
    return read_labels(path.parent / "labels.csv")


def _learn(path: Path, name: str, names: list[str]) -> None:
    zeroshot = echosearch.open_index(path).zeroshot
    labels = _labels(path, names)
    (path.parent / "green.yaml").write_text("name: green\nmode: binary\nprompts: [green]\n")
    zeroshot.calibrate(str(path.parent / "green.yaml"), labels, ThresholdRule.parse("youden"), name=name)
    zeroshot.train_probe(name, labels)


def test_what_was_learnt_on_videos_that_were_embedded_anew_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index"
    decode_here(monkeypatch, swaps=True)
    for row in range(12):
        write_video(tmp_path / "media" / f"{row}.avi", plain_frames(2, (20 + row, 200 * (row % 2), 220)))
        write_still(tmp_path / "media" / f"s{row}.png", (20 + row, 200 * (row % 2), 220))
    add(path)
    _learn(path, "cines", [f"{row}.avi" for row in range(12)])
    _learn(path, "stills", [f"s{row}.png" for row in range(12)])
    cohorts = echosearch.open_index(path).cohorts
    where = ('calibration."stills".yes AND view IS NULL', 'calibration."cines".yes')
    monkeypatch.setenv("ECHOSEARCH_TASKS", str(tmp_path))
    for name, condition in zip(("by-stills", "by-cines"), where, strict=True):
        cohorts.create(name, Definition(where=(condition,), level="video"))
    of_version_1(path)
    decode_here(monkeypatch)
    report = reembed(path)
    assert report.learnt == 3  # a calibration, a probe, and the calibration in a cohort
    zeroshot = echosearch.open_index(path).zeroshot
    zeroshot.sweep("green", calibration="cines")
    zeroshot.sweep("probe:cines")
    sentence = r"for another recipe \(or its videos embedded again\) .* calibrate green again$"
    with pytest.raises(CalibrationMismatch, match=sentence):
        zeroshot.sweep("green", calibration="stills")
    with pytest.raises(CalibrationMismatch, match="or on videos embedded again since; train it again"):
        zeroshot.sweep("probe:stills")
    assert echosearch.open_index(path).cohorts.rerun("by-cines").now.members
    with pytest.raises(echosearch.errors.BadFilter, match="the cohort's calibration stills is for scores by another"):
        echosearch.open_index(path).cohorts.rerun("by-stills")
    _learn_again = echosearch.open_index(path).zeroshot.calibrate(
        "green", _labels(path, [f"s{row}.png" for row in range(12)]), ThresholdRule.parse("youden"), name="stills",
        replace=True,
    )  # fmt: skip
    echosearch.open_index(path).zeroshot.sweep("green", calibration="stills")


def test_a_cohort_follows_its_videos(mixed: Path, run: Any) -> None:
    index = echosearch.open_index(mixed)
    for level in ("video", "study"):
        index.cohorts.create(f"some-{level}", Definition(where=("EF >= 2",), level=level))
    index.cohorts.create("like", Definition(like=4, top=2, level="video"))
    members = [member.unit for member in index.cohorts.get("some-video").members]
    assert members == ["3", "4", "5", "6"]
    reembed(mixed)
    for name in ("some-video", "some-study"):
        again = echosearch.open_index(mixed).cohorts.rerun(name)
        assert (len(again.stayed), again.came, again.went) == (4, {}, {})
        assert "3 videos of the cohort were embedded again since, and have other ids and scores now" in again.now.notes
    again = echosearch.open_index(mixed).cohorts.rerun("like")
    assert again.now.definition.like == (7,)
    assert [member.unit for member in index.cohorts.get("some-video").members] == members  # history stays
    told = echosearch.open_index(mixed).cohorts.export("some-video", mixed.parent / "out")
    assert (told.videos, told.gone) == (4, 0)
    of_version_1(mixed)
    reembed(mixed)  # once more: two steps to follow
    again = echosearch.open_index(mixed).cohorts.rerun("some-video")
    assert (len(again.stayed), again.came, again.went) == (4, {}, {})
    code, out, _ = run("cohort", "show", "some-video", "--index", mixed)
    assert code == 0
    assert "note: 3 videos of the cohort were embedded again since" in out


# --- another model


class _Other:
    """The toy in another space: its red is what the toy calls green; of 40 dimensions, unless told otherwise."""

    def __init__(self, card: Any, toy: Any) -> None:
        self.card, self._toy = card, toy

    def _turned(self, rows: Any) -> Any:
        return np.pad(rows[:, [1, 0, *range(2, 32)]], ((0, 0), (0, self.card.dim - 32)))

    def encode_pixels(self, pixels: Any) -> Any:
        return self._turned(self._toy.encode_pixels(pixels))

    def encode_text(self, phrases: Any) -> Any:
        rows, cuts = self._toy.encode_text(phrases)
        return self._turned(rows), cuts


def _other(request: ModelRequest, decoder: str) -> Any:
    from echosearch.encoders import Encoder

    toy = load_encoder(ModelRequest("toy"), decoder)
    recipe = replace(toy.card.recipe, space=replace(toy.card.recipe.space, tensors_sha256="other"))
    return Encoder(
        _Other(replace(toy.card, name="other", weights="local-dir:/other", dim=40, recipe=recipe), toy.backend)
    )


def test_a_model_is_exchanged(mixed: Path) -> None:
    before = contents(mixed)
    old = echosearch.open_index(mixed)
    old.zeroshot.sweep("pacemaker")
    with pytest.raises(BadOption, match=r"space\.tensors_sha256 other here, toy-1 there; .* repeat with --yes$"):
        reembed(mixed, IngestOptions(ModelRequest("other")), load=_other)
    assert contents(mixed) == before
    report = reembed(mixed, IngestOptions(ModelRequest("other"), yes=True), load=_other)
    assert (report.is_other_recipe, report.videos, report.cosines) == (True, 6, {})
    manifest = Store(mixed).description
    assert (manifest.model, manifest.dim, manifest.recipe.still_version) == ("other", 40, 2)
    assert check(mixed).problems == ()
    now = contents(mixed)
    red, green, blue = direction(220, 60, 20)
    assert now["s1.png"][1] == [green, red, blue]
    assert [row[2:] for row in now.values()] == [row[2:] for row in before.values()]
    with pytest.raises(RecipeMismatch, match="were embedded again, with another model or in another way, since it was"):
        old.search("red")
    with pytest.raises(RecipeMismatch, match=r"open it again$"):
        old.zeroshot.sweep("pacemaker")
    compact_index(mixed)
    assert contents(mixed) == now


def test_the_same_weights_with_other_frames_are_another_recipe(mixed: Path) -> None:
    options = IngestOptions(ModelRequest("toy", sampling=FrameSampling(count=1)), yes=True)
    report = reembed(mixed, options)
    assert (report.is_other_recipe, report.videos, sorted(report.cosines)) == (True, 6, ["still", "video"])
    with Store(mixed).snapshot() as snapshot:
        assert {record.num_embedded_frames for record in snapshot.catalog.videos.records()} == {1}


def test_scores_by_another_model_compare_by_their_order_only(mixed: Path) -> None:
    (mixed.parent / "green.yaml").write_text("name: green\nmode: binary\nprompts: [green]\n")
    echosearch.open_index(mixed).zeroshot.sweep(str(mixed.parent / "green.yaml"))
    options = IngestOptions(ModelRequest("toy", sampling=FrameSampling(count=1)), yes=True)
    moved = reembed_index(mixed, options).moved
    told = moved["green value"]
    assert sorted(moved) == ["green value", "still embeddings", "video embeddings"]
    assert (sorted(told), told["videos"]) == (["rank_correlation", "videos"], 6)
    assert 0.9 < told["rank_correlation"] <= 1


def test_a_model_that_is_no_more_the_index_s_own_is_no_exchange(mixed: Path) -> None:
    """Without --model nothing but what was mended may change: weights that were swapped are refused."""
    before = contents(mixed)
    with pytest.raises(echosearch.errors.SpaceMismatch):
        reembed(mixed, load=_other)
    assert contents(mixed) == before


# --- the catalog decides, manifest.json follows


def test_a_manifest_that_was_not_written_any_more_is_written_by_the_next_writer(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (mixed / "manifest.json").read_text()
    reembed(mixed, IngestOptions(ModelRequest("other"), yes=True), load=_other)
    new = (mixed / "manifest.json").read_text()
    (mixed / "manifest.json").write_text(old)  # as if it had died after the commit
    assert Store(mixed).description.dim == 40
    assert len(contents(mixed)) == 6
    assert check(mixed).problems == ()
    with Store(mixed).writer():
        pass
    assert json.loads((mixed / "manifest.json").read_text()) == json.loads(new)


def test_a_description_that_cannot_be_read_is_named(mixed: Path) -> None:
    reembed(mixed)
    with closing(sqlite3.connect(mixed / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE state SET description = '{'")
    with pytest.raises(echosearch.errors.DamagedIndex, match=r"catalog\.sqlite cannot be read: it is not what was"):
        Store(mixed)


# --- vectors out and in


def test_embeddings_go_where_stills_are_embedded_alike(mixed: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    export_embeddings(mixed, old)
    fresh, past = tmp_path / "fresh", tmp_path / "past"
    import_embeddings(past, old, ImportOptions())  # a new index is of the file's version
    assert contents(past) == contents(mixed)
    assert versions(past) == (1, 1)
    assert any(
        "3 stills were embedded by another version" in note
        for note in echosearch.open_index(past).search("red").warnings
    )
    reembed(mixed)
    export_embeddings(mixed, new)
    for source, target in ((old, mixed), (new, past)):
        with pytest.raises(
            RecipeMismatch, match=r"still_version \d here, \d there \(the index\); bring the older index up to date"
        ):
            import_embeddings(target, source)
    assert import_embeddings(fresh, new).added == 6
    reembed(past)
    assert import_embeddings(past, new).unchanged == 6


def test_an_export_of_cines_goes_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    path = make(tmp_path / "a" / "index", monkeypatch, stills=0)
    export_embeddings(path, tmp_path / "old.npz")
    delete_videos(path, [1])
    assert versions(path) == (1, 2)
    assert import_embeddings(path, tmp_path / "old.npz").unchanged == 2
    (tmp_path / "b").mkdir()
    other = make(tmp_path / "b" / "index", monkeypatch)
    assert import_embeddings(other, tmp_path / "old.npz").added == 3
