"""Vectors out of an index and in: nothing changes on the way, and what nobody has shown to be right says so."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from store_helpers import random_units

import echosearch
from echosearch.encoders import load_encoder
from echosearch.errors import (
    BackendError,
    BadEmbeddings,
    BadOption,
    NewerFormat,
    NumericsMismatch,
    RecipeMismatch,
    SpaceMismatch,
)
from echosearch.index import Store
from echosearch.index.check import check_index as check
from echosearch.index.upkeep import compact
from echosearch.ingest import ImportOptions, IngestOptions, delete_videos, export_embeddings, import_embeddings, ingest
from echosearch.ingest.embeddings_file import EmbeddingsFile
from echosearch.ingest.metadata import read_metadata
from echosearch.types import FrameSampling, IngestProgress, ModelRequest
from echosearch.video import decoder_name

TOY = IngestOptions(model=ModelRequest("toy"), workers=1)
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "grey": (120, 120, 120)}

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of one colour each, of different lengths, with a manifest."""
    folder = tmp_path_factory.mktemp("media")
    for n, (name, colour) in enumerate(COLOURS.items()):
        write_video(folder / f"{name}.avi", plain_frames(3 + 2 * n, colour, 32), fps=20)
    (folder / "meta.csv").write_text("path,study,patient,EF,site\nred.avi,S1,P1,35.5,A\ngreen.avi,S1,P1,,B\n")
    return folder


@pytest.fixture(scope="module")
def made(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of these, which no test changes."""
    path = tmp_path_factory.mktemp("made") / "index"
    ingest(path, [media], TOY, [read_metadata(media / "meta.csv")])
    return path


@pytest.fixture(scope="module")
def exported(made: Path) -> Arrays:
    """All arrays of its export."""
    export_embeddings(made, made.parent / "out.npz")
    with np.load(made.parent / "out.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def write(tmp_path: Path, exported: Arrays) -> Callable[..., Path]:
    """Writes some of the export's arrays, and others, as a program of one's own would."""

    def write(*names: str, **other: Any) -> Path:
        path = tmp_path / "mine.npz"
        np.savez(path, **{name: exported[name] for name in names} | other)
        return path

    return write


def contents(path: Path) -> dict[str, Any]:
    """All that an index knows and keeps of each video, by path; ids and times of adding apart."""
    index = echosearch.open_index(path)
    try:
        told = {}
        for video in index.videos():
            vectors = (
                index.video_embedding(video.video_id).tobytes(),
                index.pooled_norm(video.video_id),
                index.frame_embeddings(video.video_id).tobytes(),
                index.frame_numbers(video.video_id).tolist(),
            )
            told[video.path] = (replace(video, video_id=0, added_at=""), vectors)
        return told
    finally:
        index.close()


def warnings(path: Path) -> tuple[str, ...]:
    index = echosearch.open_index(path)
    try:
        return index.search("red").warnings
    finally:
        index.close()


UNVERIFIED = "4 videos have imported vectors that no probe has verified (`echosearch list`)"


# Out.


def test_the_file_holds_what_the_index_holds(made: Path, exported: Arrays) -> None:
    index = echosearch.open_index(made)
    records = list(index.videos())
    assert exported["ids"].tolist() == [record.video_id for record in records] == [1, 2, 3, 4]
    assert exported["paths"].tolist() == [record.path for record in records]
    assert exported["offsets"].tolist() == [0, 4, 7, 12, 14]  # every second of 7, 5, 9, 3
    for row, record in enumerate(records):
        frames = slice(*exported["offsets"][row : row + 2])
        assert exported["v"][row].tobytes() == index.video_embedding(record.video_id).tobytes()
        assert float(exported["norms"][row]) == index.pooled_norm(record.video_id)
        assert exported["frames"][frames].tobytes() == index.frame_embeddings(record.video_id).tobytes()
        assert exported["frame_numbers"][frames].tolist() == index.frame_numbers(record.video_id).tolist()
    index.close()


def test_exported_twice_the_bytes_are_equal(made: Path, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        export_embeddings(made, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_deleted_videos_stay_behind(media: Path, tmp_path: Path) -> None:
    ingest(tmp_path / "index", [media], TOY)
    delete_videos(tmp_path / "index", [2])
    report = export_embeddings(tmp_path / "index", tmp_path / "out.npz")
    assert (report.videos, report.unverified) == (3, 0)
    with np.load(tmp_path / "out.npz") as file:
        assert file["ids"].tolist() == [1, 3, 4]


def test_nothing_is_overwritten_and_the_name_must_fit(made: Path, tmp_path: Path) -> None:
    (tmp_path / "there.npz").write_text("precious")
    with pytest.raises(BadOption, match=r"there\.npz exists already; give another name, or --force to replace it$"):
        export_embeddings(made, tmp_path / "there.npz")
    with pytest.raises(BadOption, match=r"^the name of the embeddings ends in \.npz, not 'out\.csv'$"):
        export_embeddings(made, tmp_path / "out.csv")
    with pytest.raises(BackendError, match=r"^cannot write .*nowhere/out\.npz: No such file or directory$"):
        export_embeddings(made, tmp_path / "nowhere" / "out.npz")
    assert (tmp_path / "there.npz").read_text() == "precious"
    assert [file.name for file in tmp_path.iterdir()] == ["there.npz"]


# In again: our own file.


def test_an_export_makes_the_same_index_without_the_videos(made: Path, write: Callable[..., Path], exported: Arrays,
                                                           tmp_path: Path) -> None:  # fmt: skip
    report = import_embeddings(tmp_path / "new", write(*exported))
    assert (report.added, report.unverified, report.failures) == (4, 0, ())
    assert contents(tmp_path / "new") == contents(made)
    mine, theirs = Store(tmp_path / "new").description, Store(made).description
    assert (mine.recipe, mine.model, mine.dim, mine.logit_scale) == (
        theirs.recipe, theirs.model, theirs.dim, theirs.logit_scale,
    )  # fmt: skip
    assert check(tmp_path / "new").problems == ()


@pytest.mark.parametrize("frames", ["float16", "none"])
def test_indexes_that_keep_less_of_the_frames_come_back_too(media: Path, tmp_path: Path, frames: Any) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    ingest(old, [media], replace(TOY, frames=frames))
    export_embeddings(old, tmp_path / "out.npz")
    report = import_embeddings(new, tmp_path / "out.npz")
    assert (report.added, report.unverified) == (4, 0)
    assert Store(new).description.frames_dtype == frames
    mine, theirs = echosearch.open_index(new), echosearch.open_index(old)
    for video in theirs.videos():
        assert mine.video_embedding(video.video_id).tobytes() == theirs.video_embedding(video.video_id).tobytes()
        assert mine.pooled_norm(video.video_id) == theirs.pooled_norm(video.video_id)
        assert mine.frame_numbers(video.video_id).tolist() == theirs.frame_numbers(video.video_id).tolist()
        if frames == "float16":
            kept = mine.frame_embeddings(video.video_id)
            assert kept.tobytes() == theirs.frame_embeddings(video.video_id).tobytes()
    mine.close()
    theirs.close()


def test_an_import_again_changes_nothing(write: Callable[..., Path], exported: Arrays, tmp_path: Path) -> None:
    import_embeddings(tmp_path / "new", write(*exported))
    before = contents(tmp_path / "new")
    report = import_embeddings(tmp_path / "new", write(*exported))
    assert (report.added, report.unchanged, report.generation) == (0, 4, 2)
    assert contents(tmp_path / "new") == before


def test_an_ingest_after_an_import_embeds_nothing(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    import_embeddings(tmp_path / "new", write(*exported))
    report = ingest(tmp_path / "new", [media], IngestOptions(workers=1))
    assert (report.added, report.unchanged, report.frames_encoded) == (0, 4, 0)


def test_what_was_deleted_does_not_come_back(write: Callable[..., Path], exported: Arrays, tmp_path: Path) -> None:
    import_embeddings(tmp_path / "new", write(*exported))
    delete_videos(tmp_path / "new", [3])
    report = import_embeddings(tmp_path / "new", write(*exported))
    assert (report.added, report.unchanged, report.deleted_earlier) == (0, 3, 1)


def test_a_video_that_is_there_keeps_its_vectors(write: Callable[..., Path], exported: Arrays, tmp_path: Path) -> None:
    import_embeddings(tmp_path / "new", write(*exported))
    before = contents(tmp_path / "new")
    others = random_units(4, exported["v"].shape[1], 5)
    mine = write("paths", v=others, norms=np.full(4, 0.5))
    with pytest.raises(RecipeMismatch, match=r"this index keeps frame embeddings as float32, and .* has none"):
        import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy"))
    frames = np.repeat(others, np.diff(exported["offsets"]), axis=0)
    mine = write("paths", "offsets", "frame_numbers", frames=frames)
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy"))
    assert (report.added, report.other_vectors, report.unchanged) == (0, 4, 0)
    assert contents(tmp_path / "new") == before


def test_an_export_of_another_recipe_is_refused(media: Path, made: Path, tmp_path: Path) -> None:
    request = ModelRequest("toy", sampling=FrameSampling(0, 4, 1))
    ingest(tmp_path / "other", [media], IngestOptions(model=request, workers=1))
    export_embeddings(made, tmp_path / "out.npz")
    before = contents(tmp_path / "other")
    sentence = (
        r"from those of this index: sampling\.stop 40 here, 4 there; sampling\.stride 2 here, 1 there \(the index\)$"
    )
    with pytest.raises(RecipeMismatch, match=sentence):
        import_embeddings(tmp_path / "other", tmp_path / "out.npz")
    assert contents(tmp_path / "other") == before


def test_probe_vectors_that_disagree_refuse_the_file(write: Callable[..., Path], exported: Arrays, made: Path,
                                                     tmp_path: Path) -> None:  # fmt: skip
    import_embeddings(tmp_path / "new", write(*exported))
    turned = exported | {"probe_frames": random_units(*exported["probe_frames"].shape, 3)}
    with pytest.raises(NumericsMismatch, match="reproduces the index's fingerprint only at cosine"):
        import_embeddings(tmp_path / "new", write(**turned))


# In: vectors made elsewhere.


def relative(exported: Arrays) -> list[str]:
    return [Path(path).name for path in exported["paths"]]


def test_foreign_vectors_are_searchable_and_say_that_nobody_verified_them(
    media: Path, made: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    mine = write("frames", "offsets", "frame_numbers", paths=relative(exported))
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", root=media, workers=1))
    assert (report.added, report.unverified, report.failures) == (4, 4, ())
    assert report.warnings[-1] == (
        "nothing shows that these vectors were made with the index's recipe (no fingerprint in the file): "
        "marked unverified"
    )
    assert UNVERIFIED in warnings(tmp_path / "new")
    found, wanted = contents(tmp_path / "new"), contents(made)
    assert found.keys() == wanted.keys()
    for path, (record, vectors) in found.items():
        assert record.unverified == "imported from mine.npz, recipe as declared (toy)"
        assert vectors == wanted[path][1]  # pooled here from the frames as ingest does
        fields = {"unverified": None, "study": None, "patient": None, "attributes": {}}
        assert replace(record, **fields) == replace(wanted[path][0], **fields)


def test_vectors_without_frames_make_an_index_without_frames(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    mine = write("v", "norms", paths=relative(exported))
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", root=media, workers=1))
    assert report.added == 4
    index = echosearch.open_index(tmp_path / "new")
    result = index.search("red", score="mean")
    [best, *_] = result.hits
    assert Path(best.path).name == "red.avi"
    assert best.best_frame is None
    assert best.score == pytest.approx(  # the norm is not lost
        float(exported["norms"][3]) * index.search("red").hits[0].score, abs=1e-6
    )
    assert index.frame_numbers(1).tolist() == []
    index.close()


def test_a_probe_that_agrees_verifies_and_one_that_does_not_refuses(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    names = ("frames", "offsets", "frame_numbers", "paths")
    options = ImportOptions(recipe="toy", workers=1)
    import_embeddings(tmp_path / "new", write(*names), options)
    wrong = {
        "probe_frames": random_units(*exported["probe_frames"].shape, 3),
        "probe_phrases": exported["probe_phrases"],
    }
    with pytest.raises(NumericsMismatch, match=r"and 0\.9999 is needed"):
        import_embeddings(tmp_path / "new", write(*names, **wrong), options)
    assert UNVERIFIED in warnings(tmp_path / "new")
    report = import_embeddings(tmp_path / "new", write(*names, "probe_frames", "probe_phrases"), options)
    assert (report.added, report.verified, report.unchanged, report.unverified) == (0, 4, 0, 0)
    assert UNVERIFIED not in warnings(tmp_path / "new")


def test_the_mark_survives_an_export_and_a_compaction(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    names = ("frames", "offsets", "frame_numbers", "paths")
    import_embeddings(tmp_path / "new", write(*names), ImportOptions(recipe="toy", workers=1))
    with Store(tmp_path / "new").writer() as writer:
        compact(writer)
    assert export_embeddings(tmp_path / "new", tmp_path / "out.npz").unverified == 4
    report = import_embeddings(tmp_path / "newer", tmp_path / "out.npz")
    assert (report.added, report.unverified) == (4, 4)
    assert UNVERIFIED in warnings(tmp_path / "newer")
    # And an unverified copy does not verify what is unverified already.
    assert import_embeddings(tmp_path / "new", tmp_path / "out.npz").verified == 0


def test_an_ingest_does_not_copy_unverified_vectors(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    """The same bytes at another path: embedded again, for the vectors at hand may be wrong."""
    turned = np.repeat(random_units(4, exported["v"].shape[1], 5), np.diff(exported["offsets"]), axis=0)
    mine = write("offsets", "frame_numbers", "paths", frames=turned)
    import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", workers=1))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "copy.avi").write_bytes((media / "red.avi").read_bytes())
    report = ingest(tmp_path / "new", [tmp_path / "more"], IngestOptions(workers=1))
    assert (report.added, report.copies, report.frames_encoded) == (1, 0, 2)
    index = echosearch.open_index(tmp_path / "new")
    assert index.video_embedding(5).tobytes() == exported["v"][3].tobytes()
    assert index.video(5).unverified is None
    index.close()


def test_a_touched_file_and_a_copy_of_its_unverified_bytes(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    """The one stays as it is, so the other has to be embedded for itself."""
    (tmp_path / "more").mkdir()
    first, second = tmp_path / "more" / "a.avi", tmp_path / "more" / "b.avi"
    first.write_bytes((media / "red.avi").read_bytes())
    rows = slice(int(exported["offsets"][3]), int(exported["offsets"][4]))
    mine = write(paths=[str(first)], frames=exported["frames"][rows], offsets=[0, 2], frame_numbers=[0, 2])
    import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", workers=1))
    os.utime(first, (1, 1))
    second.write_bytes(first.read_bytes())
    report = ingest(tmp_path / "new", [tmp_path / "more"], IngestOptions(workers=1))
    assert (report.added, report.unchanged, report.failures) == (1, 1, ())


def test_files_that_cannot_be_opened_are_named_and_not_imported(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    (tmp_path / "grey.avi").write_text("no video")
    (tmp_path / "red.avi").write_bytes((media / "red.avi").read_bytes())
    mine = write("v", "norms", paths=relative(exported))
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", root=tmp_path, workers=1))
    assert report.added == 1
    assert {(Path(failure.path).name, failure.code) for failure in report.failures} == {
        ("blue.avi", "inaccessible-video"),
        ("green.avi", "inaccessible-video"),
        ("grey.avi", "unreadable-video"),
    }
    index = echosearch.open_index(tmp_path / "new")
    assert index.failures() == sorted(report.failures, key=lambda failure: failure.path)
    assert index.video_embedding(1).tobytes() == exported["v"][3].tobytes()  # red is the last row
    index.close()


def test_the_recipe_must_be_said_and_be_the_index_s(
    made: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    mine = write("frames", "offsets", "frame_numbers", "paths")
    told = r"mine\.npz does not say how its vectors were made; give --recipe"
    for index in (tmp_path / "new", made):
        with pytest.raises(BadOption, match=told):
            import_embeddings(index, mine)
    assert not (tmp_path / "new").exists()
    with pytest.raises(RecipeMismatch, match=r"^--recipe echo-clip is not that of this index: [0-9a-f]{64} \(toy\)"):
        import_embeddings(made, mine, ImportOptions(recipe="echo-clip"))
    recipe = Store(made).description.recipe.id
    with pytest.raises(RecipeMismatch, match="is not that of this index"):
        import_embeddings(made, mine, ImportOptions(recipe=recipe[:7]))
    assert import_embeddings(made, mine, ImportOptions(recipe=recipe[:8])).unchanged == 4
    with pytest.raises(BadOption, match=r"relative paths, such as blue\.avi; say below what: --root FOLDER$"):
        import_embeddings(made, write("frames", "offsets", "frame_numbers", paths=relative(exported)),
                          ImportOptions(recipe="toy"))  # fmt: skip


def test_another_dimension_is_refused(made: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    mine = write(paths=["/a.avi"], frames=random_units(2, 7, 1), offsets=[0, 2], frame_numbers=[0, 1])
    sentence = r"mine\.npz have 7 dimensions, and this index's model 32$"
    for index in (made, tmp_path / "new"):
        with pytest.raises(SpaceMismatch, match=sentence):
            import_embeddings(index, mine, ImportOptions(recipe="toy"))
    assert not (tmp_path / "new").exists()


def test_other_norms_or_frames_are_other_vectors_and_verify_nothing(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    """The same direction alone does not make a video's vectors right: published scores need the norms."""
    numbers = {"recipe": "toy", "root": media, "workers": 1}
    told = {"paths": relative(exported), "v": exported["v"]}
    trusted = ("norms", "offsets", "frame_numbers", "probe_frames", "probe_phrases")
    import_embeddings(tmp_path / "new", write(**told, norms=np.full(4, 0.5, np.float32)), ImportOptions(**numbers))
    report = import_embeddings(tmp_path / "new", write(*trusted, **told), ImportOptions(**numbers))
    assert (report.verified, report.other_vectors, report.unverified) == (0, 4, 4)


def test_vectors_of_unknown_frames_stay_unverified(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    mine = write("v", "norms", "probe_frames", "probe_phrases", paths=relative(exported))
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", root=media, workers=1))
    assert (report.added, report.unverified) == (4, 4)
    assert report.warnings[-1].endswith("(no frame numbers in the file): marked unverified")


def test_frames_that_the_recipe_does_not_take_are_refused(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    """A probe shows the model and its preparation, not which frames of a video were embedded."""
    others = exported["frame_numbers"].copy()
    others[:4] += 1  # the first video
    mine = write("frames", "offsets", "probe_frames", "probe_phrases", paths=relative(exported), frame_numbers=others)
    report = import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", root=media, workers=1))
    [failure] = report.failures
    assert report.added == 3
    assert (Path(failure.path).name, failure.code) == ("blue.avi", "recipe-mismatch")
    assert failure.message == "its frames are [1, 3, 5, 7], and the recipe takes [0, 2, 4, 6] (0:40:2)"


def test_rounded_frames_do_not_go_among_exact_ones(made: Path, write: Callable[..., Path], exported: Arrays) -> None:
    rounded = exported["frames"].astype(np.float16)
    mine = write("paths", "offsets", "frame_numbers", frames=rounded)
    with pytest.raises(RecipeMismatch, match=r"keeps frame embeddings as float32, and .* has float16; export them so"):
        import_embeddings(made, mine, ImportOptions(recipe="toy"))


def test_records_belong_to_their_rows(write: Callable[..., Path], exported: Arrays, tmp_path: Path) -> None:
    """Rows that were reordered without their records would give one patient's study to another."""
    turned = {name: exported[name][::-1] for name in ("paths", "v", "norms", "ids")}
    others = {name: values for name, values in exported.items() if name not in ("frames", "offsets", "frame_numbers")}
    with pytest.raises(BadEmbeddings, match=r"the record beside .*red\.avi is not that video's; reorder all arrays"):
        import_embeddings(tmp_path / "new", write(**others | turned))


def test_attributes_of_unknown_kinds_and_newer_files_are_refused(
    made: Path, write: Callable[..., Path], exported: Arrays
) -> None:
    before = contents(made)
    about = json.loads(exported["about"].tobytes())
    for change, error, sentence in (
        (
            {"attributes": {"EF": "date"}},
            BadEmbeddings,
            r"attributes of kinds that are not known here: \{'EF': 'date'\}",
        ),
        ({"format_version": 99}, NewerFormat, r"has format 99, and this echosearch reads up to 6; update echosearch$"),
    ):
        changed = np.frombuffer(json.dumps(about | change).encode(), np.uint8)
        with pytest.raises(error, match=sentence):
            import_embeddings(made, write(**exported | {"about": changed}))
    assert contents(made) == before


def test_nothing_is_made_when_the_import_is_refused(
    write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    with pytest.raises(RecipeMismatch, match="is not that of this index"):
        import_embeddings(tmp_path / "new", write(*exported), ImportOptions(recipe="echo-clip"))
    without = [name for name in exported if not name.startswith("probe")]
    with pytest.raises(BadEmbeddings, match=r"has no fingerprint, so no index can be made from it$"):
        import_embeddings(tmp_path / "new", write(*without))
    mine = write("frames", "offsets", "frame_numbers", "paths")
    with pytest.raises(BadOption, match=r"^there is no index at .*new yet; for a new one --recipe names a model$"):
        import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="0123456789ab"))
    assert not (tmp_path / "new").exists()


def test_folders_that_are_links(media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path) -> None:
    """The same file by two ways is one video; a root that is a link is the folder that it leads to."""
    (tmp_path / "link").symlink_to(media)
    names = [str(tmp_path / "link" / name) for name in relative(exported)]
    mine = write("frames", "offsets", "frame_numbers", paths=[*names[:3], str(media / relative(exported)[0])])
    with pytest.raises(BadEmbeddings, match=r"2 of its paths lead to .*blue\.avi$"):
        import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", workers=1))
    records = [json.loads(line) for line in exported["records"].tobytes().splitlines()]
    for record, name in zip(records, names, strict=True):
        record |= {"path": name, "root": str(tmp_path / "link")}
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    moved = {"paths": np.array(names), "records": np.frombuffer(lines, np.uint8)}
    assert import_embeddings(tmp_path / "new", write(**exported | moved)).added == 4
    index = echosearch.open_index(tmp_path / "new")
    assert [video.path for video in index.videos()] == exported["paths"].tolist()
    assert index.info().roots == (str(media),)
    index.close()


def test_an_interrupt_keeps_what_is_complete(
    media: Path, write: Callable[..., Path], exported: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.ingest.transfer.COMMIT_VIDEOS", 1)
    mine = write("frames", "offsets", "frame_numbers", paths=relative(exported))

    def interrupt(progress: IngestProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    options = ImportOptions(recipe="toy", root=media, workers=1)
    with pytest.raises(KeyboardInterrupt):
        import_embeddings(tmp_path / "new", mine, options, interrupt)
    report = import_embeddings(tmp_path / "new", mine, options)
    assert (report.unchanged, report.added) == (2, 2)


# Files that cannot be used.


def scaled(exported: Arrays) -> Arrays:
    frames = exported["frames"].copy()
    frames[6] *= 2  # the last frame of the second video
    return {"frames": frames}


BAD: list[tuple[str, Callable[[Arrays], Arrays], str]] = [
    ("a frame of length 2", scaled, r"frames of video 1 has length 2, not 1; divide by the length"),
    ("a frame that is not a number", lambda e: {"frames": e["frames"] * np.nan}, r"frames of video 0 has length nan"),
    ("other norms", lambda e: {"norms": e["norms"] * np.float32(0.9)}, r"norms of video 0 is 0\.\d+, and the mean"),
    ("norms over 1", lambda e: {"norms": e["norms"] + np.float32(0.0015)}, r"norms of video 0 is 1\.0015, and"),
    ("v turned", lambda e: {"v": e["v"][::-1]}, r"v of video 0 is not the direction of the mean of its frames"),
    ("v scaled", lambda e: {"v": e["v"] * np.float32(1.01)}, r"v of video 0 has length 1\.01, not 1"),
    ("a path twice", lambda e: {"paths": np.array([*e["paths"][:3], e["paths"][0]])}, r"is listed 2 times in `paths`"),
    ("paths of numbers", lambda e: {"paths": np.arange(4)}, r"it needs `paths`, a text for each video"),
    ("a path too few", lambda e: {"paths": e["paths"][:3]}, r"`offsets` are 4 ascending numbers from 0"),
    ("offsets that fall", lambda e: {"offsets": e["offsets"][::-1]}, r"`offsets` are 5 ascending numbers from 0"),
    ("offsets that fall once", lambda e: {"offsets": e["offsets"][[0, 2, 1, 3, 4]]}, r"are 5 ascending numbers from 0"),
    ("frames too few", lambda e: {"frames": e["frames"][:-1]}, r"\(13, 32\), and `offsets` say 14 rows"),
    ("frame numbers too few", lambda e: {"frame_numbers": e["frame_numbers"][1:]}, r"`frame_numbers` has shape \(13"),
    ("frame numbers below 0", lambda e: {"frame_numbers": e["frame_numbers"] - 1}, r"`frame_numbers` are 0-based"),
    ("frames of float64", lambda e: {"frames": e["frames"].astype(float)}, r"or float16, not \(14, 32\) float64"),
    ("frames by column", lambda e: {"frames": np.asfortranarray(e["frames"])}, r"an array lies column by column"),
    ("objects", lambda e: {"v": np.array([None] * 4)}, r"no \.npz that can be read: Object arrays cannot be loaded"),
    ("v of text", lambda e: {"v": np.array(["a"] * 4)}, r"`v` is <U1; numbers are needed there"),
    ("v of 33 dimensions", lambda e: {"v": np.pad(e["v"], ((0, 0), (0, 1)))}, r"`v` has 33 dimensions and `frames` 32"),
    ("one frame number below 0", lambda e: {"frame_numbers": e["frame_numbers"] - (np.arange(14) == 0)}, "are 0-based"),
    ("v in one row", lambda e: {"v": e["v"].ravel()}, r"`v` has shape \(128,\), and \(4, -?1?\d*\) is needed"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_file_that_is_wrong_is_refused_and_makes_nothing(
    change: Callable[[Arrays], Arrays], sentence: str, write: Callable[..., Path], exported: Arrays, tmp_path: Path
) -> None:
    names = {name: exported[name] for name in ("paths", "v", "norms", "frames", "offsets", "frame_numbers")}
    mine = write(**names | change(exported))
    with pytest.raises(BadEmbeddings, match=sentence):
        import_embeddings(tmp_path / "new", mine, ImportOptions(recipe="toy", workers=1))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("paths", "v"), "it needs `v` and `norms`, or `frames`: without the norms published scores are lost$"),
        (("paths", "frames"), "`offsets` and `frame_numbers` go together, and with `frames`$"),
        (("paths", "v", "norms", "offsets"), "`offsets` and `frame_numbers` go together"),
        (("v", "norms"), "it needs `paths`, a text for each video$"),
    ],
)
def test_a_file_that_lacks_something_is_refused(
    names: tuple[str, ...], sentence: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BadEmbeddings, match=sentence):
        import_embeddings(tmp_path / "new", write(*names), ImportOptions(recipe="toy"))


def test_what_is_no_npz_is_named(tmp_path: Path, write: Callable[..., Path], exported: Arrays) -> None:
    with pytest.raises(BadEmbeddings, match=r"none\.npz does not exist$"):
        import_embeddings(tmp_path / "new", tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(BadEmbeddings, match=r"no \.npz that can be read: File is not a zip file"):
        import_embeddings(tmp_path / "new", tmp_path / "text.npz")
    whole = write(*exported).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadEmbeddings, match=r"no \.npz that can be read"):
        import_embeddings(tmp_path / "new", tmp_path / "cut.npz")
    flipped = bytearray(whole)
    with zipfile.ZipFile(tmp_path / "mine.npz") as archive:
        where = archive.getinfo("frames.npy").header_offset + 400
    flipped[where] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(BadEmbeddings, match=r"no \.npz that can be read: Bad CRC-32|has length"):
        import_embeddings(tmp_path / "new", tmp_path / "flipped.npz", ImportOptions(recipe="toy"))
    assert not (tmp_path / "new").exists()


# The commands.


def test_the_commands_say_what_they_did(run: Callable[..., tuple[int, str, str]], made: Path, tmp_path: Path,
                                        media: Path, write: Callable[..., Path]) -> None:  # fmt: skip
    code, out, _ = run("export-embeddings", str(tmp_path / "out.npz"), "--index", str(made))
    assert (code, out.splitlines()[-1]) == (0, f"4 videos with 14 frames written to {tmp_path / 'out.npz'}")
    code, out, _ = run("import-embeddings", str(tmp_path / "out.npz"), "--index", str(tmp_path / "new"))
    assert (code, out.splitlines()[-1]) == (
        0, "4 added, 0 unchanged, 0 failed; generation 2; 0 unverified in the index"
    )  # fmt: skip
    mine = write("v", "norms", paths=["nowhere.avi", "red.avi", "x.avi", "y.avi"])
    code, out, _ = run(
        "import-embeddings", str(mine), "--recipe", "toy", "--root", str(media), "--index", str(tmp_path / "mine")
    )
    assert code == 1
    assert "1 added, 0 unchanged, 3 failed; generation 1; 1 unverified in the index" in out
    assert f"failed: {media / 'nowhere.avi'}: inaccessible-video: the file does not exist" in out
    code, _, err = run("import-embeddings", str(mine), "--index", str(tmp_path / "mine"))
    assert (code, err.startswith("error: ")) == (2, True)
    code, out, _ = run("info", "--index", str(tmp_path / "mine"))
    assert "unverified   1" in out


def test_the_toy_encoder_s_own_probe_is_what_an_export_carries(exported: Arrays) -> None:
    """What the help text tells a foreign program to embed gives the probe vectors of the manifest."""
    from echosearch.encoders import FINGERPRINT_PHRASES, fingerprint_clip
    from echosearch.video import prepare

    encoder = load_encoder(ModelRequest("toy"), decoder_name())
    frames = encoder.encode_pixels(prepare(fingerprint_clip(), encoder.card.recipe.preprocess))
    phrases = np.stack([text.vector for text in encoder.encode_text(FINGERPRINT_PHRASES)])
    np.testing.assert_allclose(exported["probe_frames"], frames, atol=1e-6)
    np.testing.assert_allclose(exported["probe_phrases"], phrases, atol=1e-6)


@pytest.mark.parametrize("kept", ["float16", "float32"])
def test_unit_vectors_that_were_rounded_to_half_precision_are_taken(
    write: Callable[..., Path], exported: Arrays, kept: str
) -> None:
    """Such a vector of 512 numbers has a length of about 0.9998; it gets back its own."""
    halved = (exported["v"].astype(np.float64) * 0.9998).astype(kept)
    file = write("paths", "norms", v=halved)
    for video, vector in zip(EmbeddingsFile(file).videos(), exported["v"], strict=True):
        assert np.linalg.norm(video.vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)
        assert float(video.vector @ vector) == pytest.approx(1, abs=1e-6)
