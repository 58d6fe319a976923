"""The facade: what a Python user asks and gets, in values, on the toy encoder whose vectors are worked out by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import plain_frames, write_tiny_model, write_video
from store_helpers import make_store

import echosearch
from echosearch.encoders import Encoder
from echosearch.errors import (
    BadOption,
    BadQuery,
    IndexNotFound,
    ModelUnavailable,
    RecipeMismatch,
    SpaceMismatch,
    UnknownVideo,
)
from echosearch.ingest import IngestOptions, ingest, read_metadata
from echosearch.types import ModelRequest


@pytest.fixture
def index(colours: Path, tmp_path: Path) -> echosearch.Index:
    """red (id 3, S1, P1), green (2, S2, P1), blue (1, no study), and a copy of red (4, S1, P1)."""
    shutil.copy(colours / "red.avi", colours / "red copy.avi")
    (tmp_path / "m.csv").write_text("path,study,patient\nred,S1,P1\nred copy,S1,P1\ngreen,S2,P1\n")
    options = IngestOptions(ModelRequest("toy"), workers=1)
    ingest(tmp_path / "index", [colours], options, [read_metadata(tmp_path / "m.csv")])
    return echosearch.open_index(tmp_path / "index")


def _names(result: echosearch.types.SearchResult) -> list[str]:  # type: ignore[name-defined]
    return [Path(hit.path).stem for hit in result.hits]


def test_a_phrase_scores_as_worked_out_by_hand(index: echosearch.Index) -> None:
    result = index.search("red")
    assert _names(result)[:2] == ["red copy", "red"]  # equal scores, so by id
    for hit in result.hits:
        # The query RED is the first axis, so the score is the first component of the unit video embedding.
        assert hit.score == pytest.approx(float(index.video_embedding(hit.video_id)[0]), abs=1e-7)
    # By the formula of the toy encoder, for a plain (220, 20, 20): MJPG moves colours by a few grey levels.
    by_hand = 220 / 255 / np.linalg.norm([220 / 255, 20 / 255, 20 / 255, 0, 0, 0.1])
    assert result.hits[0].score == pytest.approx(by_hand, abs=5e-3)
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4]
    assert [hit.percentile for hit in result.hits[:2]] == [100.0, 100.0]  # equal scores: none is higher
    assert [hit.percentile for hit in result.hits[2:]] == [50.0, 25.0]


def test_best_frame_and_second(tmp_path: Path) -> None:
    frames = plain_frames(12, (20, 20, 220))
    frames[6] = (220, 20, 20)
    frames[7] = (255, 0, 0)  # not sampled: the toy takes every second frame
    write_video(tmp_path / "videos" / "flash.avi", frames, fps=19)
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    [hit] = echosearch.open_index(tmp_path / "index").search("red").hits
    assert (hit.best_frame, hit.best_time_seconds) == (6, pytest.approx(6 / 19))


def test_odd_arguments_are_refused_by_name(index: echosearch.Index) -> None:
    with pytest.raises(BadOption, match=r"without is a list of strings, not one string: \['blue'\]"):
        index.search("red", without="blue")
    with pytest.raises(BadOption, match="exclude is a list of strings, not one string"):
        index.similar(1, exclude="content")  # type: ignore[arg-type]
    with pytest.raises(BadQuery, match="a phrase is text, not list"):
        index.search(["red", "blue"])  # type: ignore[arg-type]
    with pytest.raises(BadQuery, match="is not UTF-8 text"):
        index.search("red \udcff")
    with pytest.raises(UnknownVideo, match="the id of a video is at most 9223372036854775807"):
        index.similar(2**63)
    with pytest.raises(BadOption, match="precision is fp32, bf16 or fp16, not 'fp64'"):
        echosearch.open_index(index.path, precision="fp64")  # type: ignore[arg-type]
    assert index.similar(np.int64(3), k=np.int64(1)).to_dict()["query"] == {
        "text": "video 3 k 1",
        "wanted": [{"phrase": None, "video": 3, "file": None, "second": None, "weight": 1.0}],
        "unwanted": [],
        "where": [],
        "exclude": [],
        "level": "video",
        "per": None,
        "k": 1,
        "offset": 0,
        "min_score": None,
        "score": "cosine",
        "filter": None,
        "steps": None,
    }


def test_half_precision_is_told_with_every_result(index: echosearch.Index) -> None:
    half = echosearch.open_index(index.path, precision="bf16")
    for _ in range(2):
        assert "half precision: bf16 here, fp32 in the index" in half.search("red").warnings


def test_several_phrases_and_negatives(index: echosearch.Index) -> None:
    half = np.sqrt(0.5)
    result = index.search("red", "blue")
    assert result.score_kind == "cosine"
    for hit in result.hits:
        vector = index.video_embedding(hit.video_id)
        assert hit.score == pytest.approx(float(half * (vector[0] + vector[2])), abs=1e-6)
    contrast = index.search("red", without=["blue"])
    assert contrast.score_kind == "contrast"
    assert _names(contrast)[-1] == "blue"
    for hit in contrast.hits:
        vector = index.video_embedding(hit.video_id)
        assert hit.score == pytest.approx(float(half * (vector[0] - vector[2])), abs=1e-6)
    with pytest.raises(BadQuery, match="cancel each other out"):
        index.search("red", without=["red"])
    with pytest.raises(BadQuery, match="'mean' is a published form for wanted phrases only"):
        index.search("red", without=["blue"], score="mean")


def test_score_mean_is_the_inner_product_with_the_plain_mean(tmp_path: Path) -> None:
    frames = np.concatenate([plain_frames(2, (220, 20, 20)), plain_frames(2, (20, 20, 220))])
    write_video(tmp_path / "videos" / "mixed.avi", frames)
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    index = echosearch.open_index(tmp_path / "index")
    [hit] = index.search("red", score="mean").hits
    assert index.pooled_norm(1) < 0.8
    assert hit.score == pytest.approx(float(index.frame_embeddings(1)[:, 0].mean()), abs=1e-6)
    assert index.search("red", score="mean").score_kind == "mean"


def test_similar_by_id_leaves_out_the_example_and_what_is_asked(index: echosearch.Index) -> None:
    ids = {Path(video.path).stem: video.video_id for video in index.videos()}
    assert _names(index.similar(ids["red"]))[0] == "red copy"
    assert "red" not in _names(index.similar(ids["red"]))
    assert set(_names(index.similar(ids["red"], exclude=["content"]))) == {"green", "blue"}
    assert set(_names(index.similar(ids["red"], exclude=["study"]))) == {"green", "blue"}
    patient = index.similar(ids["red"], exclude=["patient"])
    assert _names(patient) == ["blue"]
    assert any("1 videos have no patient in the catalog" in warning for warning in patient.warnings)
    with pytest.raises(BadQuery, match="has no study in the catalog, so --exclude study cannot be decided"):
        index.similar(ids["blue"], exclude=["study"])
    with pytest.raises(UnknownVideo, match="there is no video 99 in this index"):
        index.similar(99)
    with pytest.raises(BadOption, match="exclude is 'study', 'patient' or 'content', not 'all'"):
        index.similar(1, exclude=["all"])  # type: ignore[list-item]


def test_similar_by_file_in_the_index_or_not(index: echosearch.Index, colours: Path, tmp_path: Path) -> None:
    known = index.similar(colours / "red.avi")
    assert [hit.score for hit in known.hits[:2]] == pytest.approx([1, 1], abs=1e-6)
    assert _names(index.similar(colours / "red.avi", exclude=["patient"])) == ["blue"]
    moved = shutil.copy(colours / "red.avi", tmp_path / "elsewhere.avi")  # the same bytes, so the same record
    assert _names(index.similar(moved, exclude=["study"])) == _names(
        index.similar(colours / "red.avi", exclude=["study"])
    )
    new = write_video(tmp_path / "new.avi", plain_frames(3, (30, 200, 30)))
    assert _names(index.similar(new))[0] == "green"
    with pytest.raises(BadQuery, match="is not in this index, so its study and patient are not known"):
        index.similar(new, exclude=["patient"])
    with pytest.raises(UnknownVideo, match="is not a file"):
        index.similar(tmp_path / "none.avi")


def test_edges_are_answered(index: echosearch.Index, tmp_path: Path) -> None:
    result = index.search("red", k=50)
    assert len(result.hits) == 4
    assert "k is 50, and the index holds 4 videos" in result.warnings
    assert index.search("red", min_score=0.9).hits[-1].score >= 0.9
    assert index.search("red", min_score=1.5).hits == ()
    for empty in ("", "  \n"):
        with pytest.raises(BadQuery, match="a phrase is empty"):
            index.search(empty)
    with pytest.raises(BadQuery, match="nothing is asked"):
        index.search()
    with pytest.raises(BadQuery, match="k is at least 1, not 0"):
        index.search("red", k=0)
    with pytest.raises(BadOption, match="score is 'cosine' or 'mean', not 'dot'"):
        index.search("red", score="dot")  # type: ignore[arg-type]
    with pytest.raises(IndexNotFound, match="there is no index at"):
        echosearch.open_index(tmp_path / "nowhere")
    long = index.search(" ".join(["red"] * 75 + ["blue", "green"]))
    assert any("holds only the beginning" in warning and "'blue green'" in warning for warning in long.warnings)
    assert _names(long)[0] == "red copy"


def test_an_empty_index_answers_with_no_hits(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "bad.avi").touch()
    ingest(tmp_path / "index", [tmp_path / "videos"], IngestOptions(ModelRequest("toy"), workers=1))
    result = echosearch.open_index(tmp_path / "index").search("red")
    assert result.hits == ()
    assert any("the index is empty" in warning for warning in result.warnings)


def test_every_result_says_how_it_came_about(index: echosearch.Index) -> None:
    told = index.search("red", k=1).to_dict()
    assert set(told) == {
        "query", "index", "generation", "model", "recipe", "score_kind", "warnings", "hits",
    }  # fmt: skip
    assert set(told["hits"][0]) == {
        "rank", "score", "percentile", "video_id", "path", "study", "patient", "view", "best_frame",
        "best_time_seconds", "view_predicted",
    }  # fmt: skip
    assert told["query"]["text"] == "'red' k 1"
    assert (told["index"], told["generation"], told["model"]) == (str(index.path), 1, "toy")
    assert told["recipe"] == index.description.recipe.id
    assert told["warnings"] == ["toy is not a model: its vectors are mean colours, without any medical meaning."]


def test_a_phrase_asked_before_needs_no_model(index: echosearch.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    first = index.search("red", "two words")

    def no_model(request: ModelRequest, decoder: str) -> Encoder:
        raise AssertionError("a phrase asked before needs no model")

    monkeypatch.setattr("echosearch.api.model.load_encoder", no_model)
    again = echosearch.open_index(index.path)
    assert again.search("red", "two words") == first
    with pytest.raises(AssertionError, match="needs no model"):
        again.search("Red")  # another text, although this encoder would not mind


def test_an_open_index_sees_later_commits(index: echosearch.Index, colours: Path) -> None:
    before = index.search("green", k=1)
    write_video(colours / "a greener one.avi", plain_frames(2, (0, 255, 0)))
    ingest(index.path, [colours], IngestOptions(workers=1))
    after = index.search("green", k=1)
    assert (before.generation, after.generation) == (1, 2)
    assert _names(after) == ["a greener one"]


@pytest.mark.slow
def test_the_wrong_weights_are_refused_and_the_right_ones_elsewhere_found(
    colours: Path, tiny_model: Path, tmp_path: Path
) -> None:
    here = shutil.copytree(tiny_model, tmp_path / "here")
    request = ModelRequest(f"local-dir:{here}")
    ingest(tmp_path / "index", [colours], IngestOptions(request, workers=1))
    first = echosearch.open_index(tmp_path / "index").search("LV DILATION")
    shutil.rmtree(here)
    with pytest.raises(ModelUnavailable, match="there is no folder"):
        echosearch.open_index(tmp_path / "index").search("RV DILATION")
    assert echosearch.open_index(tmp_path / "index").search("LV DILATION").hits == first.hits  # from the cache
    moved = echosearch.open_index(tmp_path / "index", model=f"local-dir:{tiny_model}")
    assert len(moved.search("RV DILATION").hits) == 3
    elsewhere = shutil.copytree(tiny_model, tmp_path / "elsewhere")
    config = json.loads((elsewhere / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]  # the same tensors, prepared in another way
    (elsewhere / "open_clip_config.json").write_text(json.dumps(config))
    new = write_video(tmp_path / "new.avi", plain_frames(2, (9, 99, 200)))
    assert len(moved.similar(new).hits) == 3
    with pytest.raises(RecipeMismatch, match=r"preprocess\.mean"):
        echosearch.open_index(tmp_path / "index", model=f"local-dir:{elsewhere}").similar(new)
    other = write_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(SpaceMismatch, match="is not the one that this index was made with"):
        echosearch.open_index(tmp_path / "index", model=f"local-dir:{other}").search("LA DILATION")
    with pytest.raises(SpaceMismatch, match="is not the one that this index was made with"):
        ingest(tmp_path / "index", [write_video(tmp_path / "n.avi", plain_frames(1, (1, 2, 3)))],
               IngestOptions(ModelRequest(f"local-dir:{other}"), workers=1))  # fmt: skip


def test_importing_does_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import echosearch; "
        "print(sorted(name for name in set(sys.modules) - before if name.split('.')[0] "
        "in ('torch', 'numpy', 'faiss', 'sqlalchemy', 'cv2', 'decord', 'open_clip', 'click')))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_info_does_not_mind_a_writer_at_work(tmp_path: Path) -> None:
    """Files that come and go while their sizes are summed."""
    path = tmp_path / "index"
    make_store(path).close()
    index = echosearch.open_index(path)
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            folder = path / "segments" / ".partial-x"
            folder.mkdir()
            for n in range(20):
                (folder / f"{n}.npy").write_bytes(b"x")
            shutil.rmtree(folder)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(150):
            assert index.info().disk_bytes > 0
    finally:
        ended.set()
        writer.join()
        index.close()
