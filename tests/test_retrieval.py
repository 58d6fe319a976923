"""Reports are paired with one video each, and ranks agree with SciPy's over the whole matrix."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import rankdata
from store_helpers import random_units

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.retrieval import PUBLISHED, Retrieval, pair, ranks, read_reports, retrieval
from echosearch.phantom import make_archive
from echosearch.types import VideoRecord

module = importlib.import_module("echosearch.learning.retrieval")  # the package gives the function of this name

Doubles = npt.NDArray[np.float64]


def _csv(folder: Path, text: str, name: str = "reports.csv") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def _video(
    video_id: int, path: str | Path, study: str | None = None, patient: str | None = None, view: str | None = None
) -> VideoRecord:
    return VideoRecord(
        video_id, str(path), study, patient, view, None, "video", 10, 10, 20, 20, 30.0, 1000, f"{video_id:064x}", "2026"
    )


# Reading.


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_reports_have_commas_quotes_and_lines(tmp_path: Path, delimiter: str) -> None:
    text = (
        delimiter.join(("\ufeffStudy_ID", "x", "Impression")) + "\n" + delimiter.join(("S1", "", '"A ""B"", C;\nD "'))
    )
    reports = read_reports(_csv(tmp_path, text + "\n" + delimiter.join(("S2", "1", "")) + "\n"))
    assert (reports.kind, reports.key_column, reports.column) == ("study", "Study_ID", "Impression")
    assert [(row.line, row.key, row.value) for row in reports.rows] == [(3, "S1", 'A "B", C;\nD')]
    assert reports.empty == 1


@pytest.mark.slow
def test_what_phantom_make_writes_is_read_as_it_is(tmp_path: Path) -> None:
    make_archive(tmp_path / "archive", studies=2, seed=7, workers=1)
    reports = read_reports(tmp_path / "archive" / "reports.csv")
    assert (reports.kind, reports.column, len(reports.rows), reports.empty) == ("study", "report", 2, 0)
    assert all("ejection fraction" in row.value.lower() for row in reports.rows)


def test_key_and_text_can_be_named(tmp_path: Path) -> None:
    path = _csv(tmp_path, "who,report,findings,Conclusion\nP1,a,b,c\n")
    reports = read_reports(path, "who=patient", "conclusion")
    assert (reports.kind, reports.rows[0].key, reports.rows[0].value) == ("patient", "P1", "c")


@pytest.mark.parametrize(
    ("text", "options", "error", "sentence"),
    [
        ("", {}, BadLabels, r"reports\.csv is empty; reports are a CSV with a header line, such as study,report"),
        ("a,report\n1,x\n", {}, BadLabels, "no column that says what a row is about"),
        ("study,note\n1,x\n", {}, BadOption, "has no column report, text, impression, findings; say which"),
        ("study,text,Report\n1,x,y\n", {}, BadOption, "several columns of text: text, Report; say which"),
        ("study,text\n1,x\n", {"text_column": "q"}, BadOption, "--text-column q: .* no such column; it has text"),
        ("study,text\n1,x\n", {"text_column": "study"}, BadOption, "--text-column study: .* no such column"),
        ("study,text\n1,x\n,y\n", {}, BadLabels, "line 3: the study is empty"),
        ("video_id,text\nx.avi,y\n", {}, BadLabels, "line 2: 'x.avi' is no id of a video"),
        ("study,text\n1,\n2,\n", {}, BadLabels, "has no report: all 2 cells of 'text' are empty"),
        ("study,text\n1,x\n2,x\n1,y\n", {}, BadLabels, "lines 2 and 4 give 1 different reports"),
        ("study,text\n1,x,y\n", {}, BadLabels, "line 2: 3 cells, but the header has 2"),
        ('study,text\n1,"x\n', {}, BadLabels, "the reports .* cannot be read: unexpected end of data"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, text: str, options: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        read_reports(_csv(tmp_path, text), **options)


# Pairing.

VIDEOS = [
    _video(9, "/m/i.avi", "S2", "P2", "a4c"),
    _video(4, "/m/d.avi", "S1", "P1", "PLAX"),
    _video(6, "/m/f.avi", "S1", "P1", "A4C"),
    _video(7, "/m/g.avi", "S1", "P1", "A4C"),
    _video(8, "/m/h.avi", "S2", "P2", None),
    _video(3, "/m/c.avi", "S3", "P1", None),
]


def test_a_report_gets_the_first_video_of_its_study(tmp_path: Path) -> None:
    reports = read_reports(_csv(tmp_path, "study,text\nS3,c\nS9,lost\nS1,a\nS2,b\nS4,\nS1,a\n"))
    pairs = pair(reports, VIDEOS)
    assert (pairs.texts, pairs.video_ids.tolist()) == (("c", "a", "b"), [3, 4, 8])
    assert pairs.clusters.tolist() == [0, 0, 1]  # S3 and S1 are studies of one patient
    assert pairs.warnings == (
        "1 reports of reports.csv have no video: line 3 'S9'",
        "1 rows of reports.csv have no text and are left out",
        "1 rows of reports.csv repeat an earlier one",
    )


def test_views_restrict_what_counts(tmp_path: Path) -> None:
    reports = read_reports(_csv(tmp_path, "study,text\nS1,a\nS2,b\nS3,c\n"))
    pairs = pair(reports, VIDEOS, ["A4C"])
    assert pairs.video_ids.tolist() == [6, 9]
    assert pairs.warnings == ("1 reports of reports.csv have no video with the view A4C: line 4 'S3'",)
    assert pair(reports, VIDEOS, ["plax", "A4C"]).video_ids.tolist() == [4, 9]
    with pytest.raises(BadLabels, match=r"no report of .*reports\.csv has a video with the view PSAX"):
        pair(reports, VIDEOS, ["PSAX"])


def test_patients_files_and_ids_are_paired_too(tmp_path: Path) -> None:
    assert pair(read_reports(_csv(tmp_path, "patient,text\nP2,b\nP1,a\n")), VIDEOS).video_ids.tolist() == [8, 3]
    assert pair(read_reports(_csv(tmp_path, "file,text\ng,a\nm/c.avi,b\n")), VIDEOS).video_ids.tolist() == [7, 3]
    assert pair(read_reports(_csv(tmp_path, "video_id,text\n9,a\n6,b\n")), VIDEOS).video_ids.tolist() == [9, 6]


def test_one_video_has_one_report(tmp_path: Path) -> None:
    pairs = pair(read_reports(_csv(tmp_path, "file,text\ng.avi,a\ng,a\n")), VIDEOS)
    assert (pairs.video_ids.tolist(), pairs.warnings) == ([7], ("1 rows of reports.csv repeat an earlier one",))
    with pytest.raises(BadLabels, match=r"lines 2 and 3 give /m/g\.avi different reports"):
        pair(read_reports(_csv(tmp_path, "file,text\ng.avi,a\ng,b\n")), VIDEOS)


def test_same_texts_and_unknown_patients_are_said(tmp_path: Path) -> None:
    videos = [_video(1, "/a.avi", "S1"), _video(2, "/b.avi", "S2", "P"), _video(3, "/c.avi", "S3")]
    pairs = pair(read_reports(_csv(tmp_path, "study,text\nS1,normal\nS2,normal\nS3,other\n")), videos)
    assert pairs.clusters.tolist() == [0, 1, 2]
    assert pairs.warnings == (
        "2 reports share their text with another one, and can at best tie with it",
        "of 2 reports' videos the patient is not known, so intervals may be too narrow",
    )


def test_reports_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    sentence = r"for example 'X' \(column study, taken as study\), the index for example 'S3'"
    with pytest.raises(BadLabels, match=sentence):
        pair(read_reports(_csv(tmp_path, "study,text\nX,a\n")), VIDEOS)


# Ranks.


def test_ranks_by_hand() -> None:
    # Scores, a text a row:   1    0.6  0
    #                         1    0.6  0     (the same text)
    #                         0    0.8  1
    texts = np.array([[1, 0], [1, 0], [0, 1]], np.float64)
    videos = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float64)
    to_video, to_text = ranks(texts, videos)
    assert to_video.tolist() == [1, 2, 1]
    assert to_text.tolist() == [1.5, 2.5, 1]  # the two same texts tie for the first video; for the second 0.8 is ahead


def test_where_nothing_is_told_apart_all_ranks_are_the_middle() -> None:
    same = np.tile([[0.6, 0.8]], (7, 1))
    to_video, to_text = ranks(same, same)
    assert to_video.tolist() == to_text.tolist() == [4] * 7


def _oracle(scores: Doubles) -> tuple[Doubles, Doubles]:
    """By SciPy, over the whole matrix of rounded scores (N, N)."""
    scores = scores.round(7)
    return (
        np.diagonal(rankdata(-scores, method="average", axis=1)),
        np.diagonal(rankdata(-scores, method="average", axis=0)),
    )


@pytest.mark.parametrize("at_once", [1, 37 * 5, 37 * 10, 1 << 22])
def test_ranks_are_scipys_whatever_the_block(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "_SCORES_AT_ONCE", at_once)  # blocks of 1, 5, 10 and all of 37 texts
    texts, videos = random_units(37, 16, 1).astype(np.float64), random_units(37, 16, 2).astype(np.float64)
    texts[[3, 20, 36]] = texts[5]
    videos[[0, 7, 35]] = videos[36]
    for ours, theirs in zip(ranks(texts, videos), _oracle(texts @ videos.T), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=60)
@given(count=st.integers(2, 40), kinds=st.integers(1, 12), seed=st.integers(0, 10_000), at_once=st.integers(1, 400))
def test_ties_of_any_size_share_the_middle(count: int, kinds: int, seed: int, at_once: int) -> None:
    random = np.random.default_rng(seed)
    texts = random_units(kinds, 8, seed).astype(np.float64)[random.integers(kinds, size=count)]
    videos = random_units(kinds, 8, seed + 1).astype(np.float64)[random.integers(kinds, size=count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SCORES_AT_ONCE", at_once)
        found = ranks(texts, videos)
    for ours, theirs in zip(found, _oracle(texts @ videos.T), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    order = random.permutation(count)
    for shuffled, as_it_was in zip(ranks(texts[order], videos[order]), found, strict=True):
        np.testing.assert_array_equal(shuffled, as_it_was[order])


def test_no_matrix_of_all_scores_is_held() -> None:
    import tracemalloc

    units = random_units(5000, 8, 3).astype(np.float64)
    tracemalloc.start()
    to_video, _ = ranks(units, units)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (to_video == 1).all()
    assert peak < 100e6  # of 200 MB for 5000 x 5000


# Figures.


def _retrieval(texts: Doubles, videos: Doubles, norms: Doubles, score: str = "mean", **options: object) -> Retrieval:
    return retrieval(
        texts.astype(np.float32),
        videos.astype(np.float32),
        norms.astype(np.float32),
        score,  # type: ignore[arg-type]
        np.arange(len(texts)),
        repeats=20,
        **options,  # type: ignore[arg-type]
    )


def _values(found: Retrieval, way: str) -> dict[str, float | None]:
    return {name: figure.value for name, figure in getattr(found, way).figures.items()}


def test_figures_by_hand() -> None:
    """Text i lies where video i + shift lies, on a circle of 12, so ranks follow from the distance on the circle."""
    angles = np.arange(12) * 2 * np.pi / 12
    videos = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shifts = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 0, 0])
    turned = angles + shifts * 2 * np.pi / 12
    found = _retrieval(np.stack([np.cos(turned), np.sin(turned)], axis=1), videos, np.ones(12))
    # At the distance d on the circle 2d - 1 videos are nearer and 2 are equally near: rank 2d + 0.5; 1 at 0, 12 at 6.
    assert found.text_to_video.ranks.tolist() == [1, 1, 1, 2.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12, 1, 1]
    assert _values(found, "text_to_video") == {
        "r_at_1": pytest.approx(5 / 12),
        "r_at_5": pytest.approx(8 / 12),
        "r_at_10": pytest.approx(10 / 12),
        "median_rank": 2.5,
        "mean_rank": pytest.approx(52 / 12),
    }
    to_text = found.video_to_text.figures["mean_rank"].value
    assert to_text is not None
    assert found.mean_rank.value == pytest.approx((52 / 12 + to_text) / 2)
    assert found.mean_rank_share.value == pytest.approx((52 / 12 + to_text) / 2 / 12)
    assert (found.pairs, found.patients) == (12, 12)


def test_the_mean_frame_ranks_by_pooled_norm_from_text_to_video_only() -> None:
    texts, videos = random_units(50, 8, 4).astype(np.float64), random_units(50, 8, 5).astype(np.float64)
    norms = np.random.default_rng(6).uniform(0.3, 1, 50)
    mean, cosine = _retrieval(texts, videos, norms, "mean"), _retrieval(texts, videos, norms, "cosine")
    scores = texts @ videos.T
    np.testing.assert_array_equal(mean.text_to_video.ranks, _oracle(scores * norms)[0])
    np.testing.assert_array_equal(cosine.text_to_video.ranks, _oracle(scores)[0])
    np.testing.assert_array_equal(mean.video_to_text.ranks, cosine.video_to_text.ranks)
    assert (mean.text_to_video.ranks != cosine.text_to_video.ranks).any()


def test_intervals_are_over_patients() -> None:
    units = random_units(40, 8, 7)
    noisy = units + 0.7 * random_units(40, 8, 8)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    norms = np.ones(40, np.float32)
    each = retrieval(noisy, units, norms, "cosine", np.arange(40), repeats=300, seed=1)
    tens = retrieval(noisy, units, norms, "cosine", np.arange(40) // 10, repeats=300, seed=1)
    one = retrieval(noisy, units, norms, "cosine", np.zeros(40, np.int64), repeats=300, seed=1)
    for found, patients in ((each, 40), (tens, 4), (one, 1)):
        assert found.patients == patients
        assert found.text_to_video.ranks.tolist() == each.text_to_video.ranks.tolist()
    assert tens.mean_rank.value is tens.text_to_video.figures["r_at_1"].value is None
    low, high = each.mean_rank.interval.low, each.mean_rank.interval.high
    assert low is not None
    assert high is not None
    assert each.mean_rank.value is not None
    assert low < each.mean_rank.value < high
    again = retrieval(noisy, units, norms, "cosine", np.arange(40), repeats=300, seed=1)
    assert again.mean_rank == each.mean_rank
    assert one.mean_rank.interval.low is None
    assert one.table()[-1][1:4] == ("none", "cannot be told", "1 patients: not given below 10 patients")


@given(values=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_the_weighted_median_is_that_of_repeated_values(values: list[int], seed: int) -> None:
    ranks = np.array(values, np.float64)
    weights = np.random.default_rng(seed).integers(0, 4, len(values))
    weights[0] += 1
    median = module._median(ranks, np.argsort(ranks, kind="stable"), weights)
    assert median == np.median(np.repeat(ranks, weights))


def test_published_figures_stand_beside_and_are_marked() -> None:
    units = random_units(12, 8, 9).astype(np.float64)
    found = _retrieval(units, units, np.ones(12), warnings=("before",))
    assert found.warnings == (
        "before",
        "published figures are of 21484 pairs of other patients: among 12 a rank is smaller and an R@k larger by that "
        "alone; the rank as a share of the pairs is the nearest to comparable",
    )
    told = json.loads(json.dumps(found.answer().to_dict()))
    assert [(each["model"], each["pairs"], each["mean_rank"], each["r_at_10"]) for each in told["published"]] == [
        ("EchoCLIP", 21484, 571, 0.16),
        ("EchoCLIP-R", 21484, 206, 0.343),
    ]
    assert PUBLISHED[0].mean_rank_share == pytest.approx(571 / 21484)
    assert told["text_to_video"]["r_at_1"]["value"] == told["video_to_text"]["r_at_10"]["value"] == 1
    assert (told["pairs"], told["score"], told["mean_rank"]["value"], told["mean_rank_share"]["value"]) == (
        12, "mean", 1, 1 / 12,
    )  # fmt: skip
    rows = {name: rest for name, *rest in found.table()}
    low = f"{0.025 ** (1 / 12):.3f} to 1.000"  # Clopper-Pearson: 12 of 12 patients are no certainty
    assert rows["text to video R@10"] == ["1.000", low, "12 of 12, 12 patients", "0.160", "0.343"]
    assert rows["video to text R@10"] == ["1.000", low, "12 of 12, 12 patients", "", ""]
    assert rows["mean cross-modal rank"][3:] == ["571", "206"]
    same = "12 patients: no interval: resamples give none or all the same"
    assert rows["mean cross-modal rank / pairs"] == ["0.083", "cannot be told", same, "0.027", "0.010"]
    assert len(rows) == 12


def test_what_cannot_be_judged_is_refused() -> None:
    units = random_units(3, 8, 10).astype(np.float64)
    with pytest.raises(BadLabels, match="two reports or more that have a video each, and 1 is there"):
        _retrieval(units[:1], units[:1], np.ones(1))
    with pytest.raises(ValueError, match="one text embedding, video embedding, norm and cluster for each pair"):
        _retrieval(units, units[:2], np.ones(3))
    with pytest.raises(ValueError, match="one text embedding, video embedding, norm"):
        _retrieval(units, units, np.ones(2))
    with pytest.raises(ValueError, match="text embeddings are rows of unit length"):
        _retrieval(units * 2, units, np.ones(3))
    with pytest.raises(ValueError, match="video embeddings are rows of unit length"):
        _retrieval(units, np.full_like(units, np.nan), np.ones(3))
