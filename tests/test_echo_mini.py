"""Does the whole way give right answers? Judged on phantoms, whose truth is known, with the model in the package.

Each test says which break of the way it is there for; `scripts/LOG.md` tells which fell when it was broken.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zeroshot_oracle as oracle
from conftest import ROOT
from PIL import Image

import echosearch
from echosearch.api import Index
from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import ModelUnavailable
from echosearch.ingest import IngestOptions, ingest, read_metadata
from echosearch.phantom import VIEWS, VISIBLE, Video, draw_studies, make_archive
from echosearch.tasks.task_files import find_task
from echosearch.types import ModelRequest, pool
from echosearch.video import open_media, prepare

pytestmark = pytest.mark.slow

STUDIES, SEED = 30, 11

NOTICE = "echo-mini knows synthetic phantoms only; it is not for patients."

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms, as the command writes it."""
    folder = tmp_path_factory.mktemp("phantoms") / "archive"
    make_archive(folder, STUDIES, SEED)
    return folder


@pytest.fixture(scope="module")
def index(archive: Path) -> Iterator[Index]:
    """The archive, ingested with echo-mini."""
    path = archive.parent / "index"
    tables = [read_metadata(archive / "manifest.csv")]
    report = ingest(path, [archive / "videos"], IngestOptions(model=ModelRequest("echo-mini"), workers=2), tables)
    assert report.failures == ()
    opened = echosearch.open_index(path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """echo-mini itself."""
    return load_encoder(ModelRequest("echo-mini"))


@pytest.fixture(scope="module")
def videos(index: Index) -> dict[int, Video]:
    """What is true of each video of the index."""
    drawn = {video.name: video for study in draw_studies(STUDIES, SEED) for video in study.videos}
    return {record.video_id: drawn[Path(record.path).name] for record in index.videos()}


def text(encoder: Encoder, *phrases: str) -> Array:
    return np.stack([text.vector for text in encoder.encode_text(phrases)]).astype(np.float64)


def named(index: Index, encoder: Encoder, videos: dict[int, Video], labels: dict[str, str]) -> dict[int, str]:
    """For each video the label whose phrase is nearest."""
    phrases = text(encoder, *labels.values())
    return {video_id: list(labels)[int(np.argmax(phrases @ index.video_embedding(video_id)))] for video_id in videos}


VIEW_PHRASES = {
    "A4C": "apical four chamber view",
    "A2C": "apical two chamber view",
    "PLAX": "parasternal long axis view",
    "PSAX": "parasternal short axis view",
    "SUBCOSTAL": "subcostal view",
}


def test_views_are_told_apart(index: Index, encoder: Encoder, videos: dict[int, Video]) -> None:
    """Falls when frames are prepared otherwise than in training, or the text does not reach the model."""
    told = named(index, encoder, videos, VIEW_PHRASES)
    assert set(VIEW_PHRASES) == set(VIEWS)
    right = [told[video_id] == video.view for video_id, video in videos.items()]
    assert np.mean(right) >= 0.95


def test_colours_reach_the_model_in_its_own_order(index: Index, encoder: Encoder, videos: dict[int, Video]) -> None:
    """Falls when red and blue change places: Pillow prepares the same frames for the same model, beside our own way."""
    spec = encoder.card.recipe.preprocess
    assert (spec.fit, spec.resizer, spec.interpolation, spec.channel_order) == (
        "resize-crop", "pillow", "bicubic", "rgb"
    )  # fmt: skip
    tinted = [n for n, video in videos.items() if len(set(video.look.tint)) > 1 and video.height == video.width]
    assert len(tinted) >= 5
    right, turned = [], []
    for video_id in tinted[:8]:
        numbers = index.frame_numbers(video_id).tolist()
        frames = [Image.fromarray(frame) for frame in open_media(Path(index.video(video_id).path)).frames(numbers)]
        small = [np.asarray(frame.resize((spec.size, spec.size), Image.Resampling.BICUBIC)) for frame in frames]
        pixels = np.ascontiguousarray(np.stack(small).transpose(0, 3, 1, 2))
        mine = index.video_embedding(video_id)
        right.append(float(pool(encoder.encode_pixels(pixels)).vector @ mine))
        turned.append(float(pool(encoder.encode_pixels(np.ascontiguousarray(pixels[:, ::-1]))).vector @ mine))
    assert min(right) > 0.9999
    assert max(turned) < 0.9999


@pytest.mark.parametrize(
    ("phrase", "field", "value"),
    [
        ("pacer wire in the RV", "pacemaker_lead", True),
        ("TAVR prosthesis in place", "stent_valve", True),
        ("Mitral clip in place", "mitral_clip", True),
        ("LARGE PERICARDIAL EFFUSION.", "effusion", 3),
        ("SEVERE LV DILATION", "lv_dilation", 3),
    ],
)
def test_the_first_hits_show_what_was_asked_for(
    index: Index, videos: dict[int, Video], phrase: str, field: str, value: Any
) -> None:
    """Falls when the text is cut, garbled or not lower-cased, or the embeddings belong to other videos."""
    right = {n for n, video in videos.items() if video.view in VISIBLE[field] and getattr(video.truth, field) == value}
    assert len(right) >= 4, "too few to ask for"
    hits = index.search(phrase, k=min(5, len(right))).hits
    assert np.mean([hit.video_id in right for hit in hits]) >= 0.75


def test_ejection_fractions_go_with_the_truth(index: Index, videos: dict[int, Video]) -> None:
    """Falls when pixels are not scaled as in training."""
    [swept] = index.zeroshot.sweep("ejection_fraction")
    apical = {n: video for n, video in videos.items() if video.view in ("A4C", "A2C")}
    told = [value for n, value in zip(swept.ids.tolist(), swept.columns["value"], strict=True) if n in apical]
    truth = [video.truth.ef_percent for video in apical.values()]
    assert np.corrcoef(told, truth)[0, 1] >= 0.7
    assert abs(np.mean(told) - np.mean(truth)) <= 5


def test_sweeps_are_the_published_formulas_on_these_embeddings(index: Index, encoder: Encoder) -> None:
    pacemaker, ef = find_task("pacemaker"), find_task("ejection_fraction")
    swept = index.zeroshot.sweep(pacemaker, ef)
    phrases = [text(encoder, *task.groups[0]) for task in (pacemaker, ef)]
    values = [dict(zip(each.ids.tolist(), each.columns["value"].tolist(), strict=True)) for each in swept]
    differing = 0
    for video_id, value in values[0].items():
        frames = index.frame_embeddings(video_id)
        assert abs(value - (frames.astype(np.float64) @ phrases[0].T).mean()) < 1e-6
    for video_id, value in values[1].items():  # fewer views show it
        similarities = oracle.similarities(index.frame_embeddings(video_id), phrases[1])
        if abs(value - oracle.regression_of(similarities, ef.values)) > 1e-9:
            # Sums of D products are rounded to float32, so neighbours may change ranks in a frame.
            differing += 1
            assert oracle.narrowest_gap(similarities, 40) < 4 * index.description.dim**0.5 * 2**-24
    assert len(values[1]) >= 20
    assert differing <= len(values[1]) / 20


def test_a_video_played_backwards_is_the_same_video(index: Index, encoder: Encoder, videos: dict[int, Video]) -> None:
    """Falls when a video is not the mean of all its frames."""
    spec = encoder.card.recipe.preprocess
    for video_id, video in list(videos.items())[:12]:
        forwards = index.frame_embeddings(video_id)
        numbers = index.frame_numbers(video_id).tolist()
        frames = [np.asarray(frame) for frame in open_media(Path(index.video(video_id).path)).frames(numbers)]
        backwards = encoder.encode_pixels(prepare(frames[::-1], spec))
        assert video.num_frames >= len(numbers)
        assert float(pool(backwards).vector @ index.video_embedding(video_id)) > 0.99999
        assert float(forwards[0] @ forwards[-1]) < 0.9999  # its ends are not the same picture


def test_every_result_says_what_the_model_knows(
    index: Index, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    assert NOTICE in index.search("pacer wire").warnings
    assert NOTICE in index.similar(1).warnings
    for command in (["search", "pacer wire"], ["similar", "1"], ["info"]):
        code, out, _ = run(*command, "--index", str(index.path))
        assert (code, NOTICE in out) == (0, True), command
    code, out, _ = run("models")
    assert "echo-mini    a small CLIP trained on synthetic phantoms" in out
    assert "weights: package:echo_mini (in the package)" in out


def test_the_index_names_the_package_and_no_path(index: Index, archive: Path, tmp_path: Path) -> None:
    """So that an index made on one machine opens on another."""
    assert (index.description.model, index.description.weights) == ("echo-mini", "package:echo_mini")
    again = ingest(index.path, [archive / "videos"], IngestOptions(workers=1))
    assert again.unchanged == len(list(index.videos()))


def test_a_copy_of_the_folder_is_the_same_model(encoder: Encoder, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(ROOT / "echosearch" / "encoders" / "echo_mini", tmp_path / "copy")
    copied = load_encoder(ModelRequest(f"local-dir:{tmp_path / 'copy'}"))
    assert copied.card.recipe == encoder.card.recipe
    assert copied.card.notice == NOTICE


def test_the_package_holds_no_other_weights() -> None:
    from echosearch.errors import UnknownEncoder

    with pytest.raises(UnknownEncoder, match=r"'package:\.\./secrets' is neither hf-hub:ORG/NAME nor local-dir:PATH"):
        load_encoder(ModelRequest("echo-mini", "package:../secrets"))
    with pytest.raises(ModelUnavailable, match="there is no folder"):
        load_encoder(ModelRequest("echo-mini", "local-dir:/nowhere"))


def test_the_manifest_of_an_archive_tells_the_truth(archive: Path, index: Index, videos: dict[int, Video]) -> None:
    """What the demo prints beside each hit."""
    with (archive / "manifest.csv").open(newline="") as file:
        rows = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    for video_id, video in videos.items():
        attributes = index.video(video_id).attributes
        assert float(rows[video.name]["ef_percent"]) == pytest.approx(video.truth.ef_percent, abs=0.01)
        assert attributes["ef_percent"] == pytest.approx(video.truth.ef_percent, abs=0.01)
        assert attributes["lv_dilation"] == video.truth.lv_dilation


def test_the_weights_are_small() -> None:
    folder = ROOT / "echosearch" / "encoders" / "echo_mini"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16_000_000
    card = (folder / "MODEL_CARD.md").read_text()
    assert "not for patients" in card
