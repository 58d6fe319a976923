"""Calibrations, probes and evaluations of an index: what is kept, used again, refused, and what is told beside it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_helpers import labels_of
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from store_helpers import Vector, add, make_store, new_video, stored, toy_card, toy_probe, unit

from echosearch.api.zeroshot import ZeroShot
from echosearch.encoders.toy import DIM
from echosearch.errors import BadLabels, BadOption, BadQuery, CalibrationMismatch, UnknownTask
from echosearch.index import Store
from echosearch.index.catalog import FittedKind, MetadataChange
from echosearch.index.vectors import FramesDtype
from echosearch.learning import kept
from echosearch.learning.calibration import Calibration, LeftOut
from echosearch.learning.calling import too_short
from echosearch.learning.evaluation import Threshold
from echosearch.learning.labels import LabelFile
from echosearch.learning.probe import Features, Probe
from echosearch.learning.thresholds import ThresholdRule
from echosearch.pictures.plots import _thresholds
from echosearch.search.measures import measure
from echosearch.search.vocabulary import Source
from echosearch.tasks.sweep import columns_of
from echosearch.tasks.task import PublishedFigure, Task, TaskClass, ValueRange
from echosearch.types import EncodedText, FrameSampling

sweep_module = importlib.import_module("echosearch.tasks.sweep")  # the package gives the function of this name

MAX_F1 = ThresholdRule("max-f1")
PACER = Task("pacer", "binary", prompts=("yes",), views=("A4C",))
EITHER = Task("either", "contrastive", classes=(TaskClass("there", ("yes",)), TaskClass("absent", ("no",))))
EF = Task("ef", "regression", prompts=("ef <#>",), range=ValueRange(0, 20))
WORDS = {"yes": unit(1), "no": unit(0, 1)}


def embed(phrases: Sequence[str]) -> list[EncodedText]:
    return [EncodedText(WORDS.get(phrase, unit(0, 0, 1 + len(phrase), 3))) for phrase in phrases]


def zeroshot_of(store: Store, precision: str = "fp32") -> ZeroShot:
    return ZeroShot(store, precision, embed, lambda _: [])


@dataclass(frozen=True)
class Archive:
    """60 patients with two videos each in one study; every third has the finding. Videos v0.avi to v119.avi."""

    zeroshot: ZeroShot
    ids: list[int]
    vectors: Vector
    truth: dict[str, int]
    folder: Path

    @property
    def store(self) -> Store:
        return self.zeroshot.store

    def labels(self, share: slice = slice(None), **other: object) -> LabelFile:
        """Labels of some videos, by file name; `other` NAME=label are added."""
        some = dict(list(self.truth.items())[share]) | {f"{name}.avi": label for name, label in other.items()}
        return labels_of(self.folder, {f"/media/echo/{name}": label for name, label in some.items()})

    def kept(self, kind: FittedKind) -> list[str]:
        with self.store.snapshot() as snapshot:
            return [item.name for item in snapshot.catalog.fitted.all(kind)]

    def nothing_is_stored(self) -> bool:
        with self.store.snapshot() as snapshot:
            return not (self.kept("calibration") or self.kept("probe") or snapshot.catalog.sweeps.all())


def rows_of(count: int, seed: int) -> tuple[Vector, list[int]]:
    random = np.random.default_rng(seed)
    has = [int(number // 2 % 3 == 0) for number in range(count)]
    rows = random.normal(size=(count, DIM)) / 8
    rows[:, 0] += 0.3 + 0.4 * np.array(has)
    rows[:, 1] += 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), has


def make_archive(path: Path, card: Any = None, seed: int = 0, views: bool = False, count: int = 120) -> Archive:
    store = make_store(path) if card is None else Store.create(path, card, toy_probe(), "float32")
    vectors, has = rows_of(count, seed)
    new = [
        new_video(
            f"v{number}.avi", vector, patient=f"P{number // 2}", study=f"S{number // 2}",
            view="PLAX" if views and number % 2 else "A4C", content=f"{seed}/{number}",
        )
        for number, vector in enumerate(vectors)
    ]  # fmt: skip
    truth = {f"v{number}.avi": label for number, label in enumerate(has)}
    return Archive(zeroshot_of(store), add(store, *new), vectors, truth, path.parent)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path / "index")


# Calibrations.


def test_swept_results_carry_score_probability_yes_or_no_and_prevalence(archive: Archive) -> None:
    mine, warnings = archive.zeroshot.calibrate(PACER, archive.labels(slice(80)), MAX_F1)
    few = "labels of 14 patients with the finding and 26 without: from 20 and 80 on a prevalence is given"
    assert warnings == ("40 videos have no label in labels.csv", f"{few}; threshold and p of so few may be far off")
    assert (mine.name, mine.task, mine.labels, mine.label_column) == ("pacer", "pacer", "labels.csv", "label")
    assert (mine.videos, mine.positives, mine.patients, mine.folds) == (80, 28, 40, 5)
    [result] = archive.zeroshot.sweep(PACER)
    called = result.called
    assert called is not None
    assert called.calibration == mine
    assert called.scores == pytest.approx(archive.vectors[:, 0])  # the similarity with `yes`
    assert called.probability == pytest.approx(1 / (1 + np.exp(-(mine.slope * called.scores + mine.offset))))
    assert called.positive.tolist() == (called.scores >= mine.threshold).tolist()
    truth = np.array(list(archive.truth.values()))
    assert np.mean(called.positive == truth) > 0.85
    assert called.prevalence is not None
    assert (called.prevalence.value, called.prevalence.reason) == (None, few)
    told = result.summary().called
    assert (told.videos, told.positive, told.rule) == (120, called.positive.sum(), "max-f1")
    assert "sensitivity and specificity are here what they were" in told.assumption
    part = result.without(result.ids[:100])
    assert part.called is not None
    assert part.called.probability.tolist() == called.probability[100:].tolist()


def test_of_weighed_classes_the_log_odds_are_judged(archive: Archive) -> None:
    mine, _ = archive.zeroshot.calibrate(EITHER, archive.labels(), MAX_F1)
    assert mine.classes == ("there",)
    [result] = archive.zeroshot.sweep(EITHER)
    assert result.called is not None
    # The toy's logit scale is 1, so the log odds are the difference of the similarities.
    assert result.called.scores == pytest.approx(archive.vectors[:, 0] - archive.vectors[:, 1], abs=1e-6)
    other, _ = archive.zeroshot.calibrate(EITHER, archive.labels(), ThresholdRule("youden"), ["there"], "second")
    [again] = archive.zeroshot.sweep(EITHER)
    assert again.called is not None
    assert again.called.calibration == other  # the newest
    [named] = archive.zeroshot.sweep(EITHER, calibration="either")
    assert named.called is not None
    assert named.called.calibration == mine
    flipped = archive.labels(slice(0), **{f"v{n}": 1 - label for n, label in enumerate(archive.truth.values())})
    absent, _ = archive.zeroshot.calibrate(EITHER, flipped, MAX_F1, ["absent"])
    assert (absent.name, absent.classes) == ("either-absent", ("absent",))


def test_a_calibration_is_replaced_only_if_asked_and_can_be_deleted(archive: Archive) -> None:
    first, _ = archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    sentence = r"^there is a calibration pacer of pacer already; give another name \(--name\), or --replace$"
    with pytest.raises(BadOption, match=sentence):
        archive.zeroshot.calibrate(PACER, archive.labels(), ThresholdRule("youden"))
    with pytest.raises(BadOption, match=sentence):
        archive.zeroshot.calibrate(EITHER, archive.labels(), MAX_F1, name="pacer")
    assert archive.zeroshot.calibrations() == [first]
    second, _ = archive.zeroshot.calibrate(PACER, archive.labels(), ThresholdRule("youden"), replace=True)
    assert archive.zeroshot.calibrations() == [second]
    archive.zeroshot.forget("calibration", "pacer")
    assert archive.zeroshot.calibrations() == []
    assert archive.zeroshot.sweep(PACER)[0].called is None
    with pytest.raises(BadOption, match=r"^there is no calibration 'pacer' in this index$"):
        archive.zeroshot.forget("calibration", "pacer")


def test_a_calibration_is_not_used_for_other_wording_nor_another_precision(archive: Archive) -> None:
    archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    reworded = replace(PACER, prompts=("no",))
    assert archive.zeroshot.sweep(reworded)[0].called is None
    with pytest.raises(CalibrationMismatch, match=r"^calibration pacer was made for another wording of the task"):
        archive.zeroshot.sweep(reworded, calibration="pacer")
    with pytest.raises(CalibrationMismatch, match=r"^calibration pacer was made for another wording of the task"):
        archive.zeroshot.sweep(EITHER, calibration="pacer")
    with pytest.raises(CalibrationMismatch, match=r"another precision of the text \(fp32; here: bf16\)"):
        zeroshot_of(archive.store, "bf16").sweep(PACER, calibration="pacer")
    with pytest.raises(BadOption, match=r"^there is no calibration 'x' in this index; there are pacer$"):
        archive.zeroshot.sweep(PACER, calibration="x")
    [first, second] = archive.zeroshot.sweep(PACER, EITHER, calibration="pacer")
    assert (first.called is None, second.called is None) == (False, True)


def test_a_calibration_goes_to_an_index_of_the_same_recipe_only(archive: Archive, tmp_path: Path) -> None:
    mine, _ = archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    probe, _ = archive.zeroshot.train_probe("mine", archive.labels())
    exported = Calibration.from_json(mine.to_json())
    card = toy_card()
    card = replace(card, recipe=replace(card.recipe, pipeline_version=99))
    elsewhere = make_archive(tmp_path / "other", card).zeroshot
    with pytest.raises(CalibrationMismatch, match=r"^calibration pacer was made with .* by another recipe \(.*\) than"):
        elsewhere.add_calibration(exported)
    assert elsewhere.calibrations() == []
    with pytest.raises(
        CalibrationMismatch,
        match=r"^probe:mine was trained by another recipe, or on videos embedded again since; train it again",
    ):
        elsewhere.sweep(probe)
    same = make_archive(tmp_path / "same", seed=1).zeroshot
    with pytest.raises(UnknownTask, match=r"^no task is called 'pacer'"):
        same.add_calibration(exported)


def test_a_calibration_of_a_known_task_is_taken_over(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echosearch.api.zeroshot.find_task", lambda name: {"pacer": PACER, "either": EITHER}[name])
    mine, _ = archive.zeroshot.calibrate("pacer", archive.labels(), MAX_F1)
    other = make_archive(tmp_path / "other", seed=1).zeroshot
    other.add_calibration(Calibration.from_json(mine.to_json()))
    assert other.calibrations() == [mine]
    [result] = other.sweep("pacer")
    assert result.called is not None
    with pytest.raises(CalibrationMismatch, match=r"another wording of the task"):
        other.add_calibration(replace(mine, task="either", name="changed"))
    with pytest.raises(BadOption, match=r"^there is a calibration pacer of pacer already"):
        other.add_calibration(mine)
    half = replace(mine, precision="bf16", name="half", created_at="9999")
    other.add_calibration(half)  # for sweeps in that precision; those of today are called by the other
    assert other.calibrations() == [mine, half]
    [result] = other.sweep("pacer")
    assert result.called is not None
    assert result.called.calibration == mine


BAD_LABELS = [
    ({f"/media/echo/v{n}.avi": 0 for n in range(120)}, r"label 1, and 0 are there$", r"all 120 videos .* the label 0"),
    ({f"/media/echo/v{n}.avi": n % 2 for n in range(2)}, r"of 2 patients or more with the label 1, and 1 are", None),
    ({"/elsewhere/x.avi": 1}, r"^no row of .* fits a video of the index: the file has for example", r"fits a video"),
    ({f"/media/echo/v{n}.avi": n for n in range(120)}, r"^a calibration needs labels 0 and 1, not 2", r"not 2; say"),
]


@pytest.mark.parametrize(("labels", "sentence", "judged"), BAD_LABELS)
def test_nothing_is_stored_where_labels_are_bad(
    archive: Archive, labels: dict[str, int], sentence: str, judged: str | None
) -> None:
    told = labels_of(archive.folder, labels)
    with pytest.raises(BadLabels, match=sentence):
        archive.zeroshot.calibrate(PACER, told, MAX_F1)
    if judged is not None:
        with pytest.raises(BadLabels, match=judged):
            archive.zeroshot.evaluate(PACER, told)
        with pytest.raises((BadLabels, BadOption)):
            archive.zeroshot.train_probe("mine", told, "logistic")
    assert archive.nothing_is_stored()


def test_nothing_is_stored_where_a_study_contradicts_itself_or_a_label_is_no_number(archive: Archive) -> None:
    path = archive.folder / "bad.csv"
    for text, sentence in (
        ("video,label\nv1.avi,1\nv1.avi,0\n", r"lines 2 and 3 give v1\.avi different labels, 1 and 0"),
        ("video,label\nv1.avi,nan\n", r"line 2: 'nan' is no label"),
    ):
        path.write_text(text)
        with pytest.raises(BadLabels, match=sentence):
            archive.zeroshot.calibrate(PACER, labels_of_file(path), MAX_F1)
    assert archive.nothing_is_stored()


def labels_of_file(path: Path) -> LabelFile:
    from echosearch.learning.labels import read_labels

    return read_labels(path)


def test_what_gives_a_value_is_not_calibrated(archive: Archive) -> None:
    with pytest.raises(BadQuery, match=r"^ef gives a value, not a yes or no; .* echosearch evaluate$"):
        archive.zeroshot.calibrate(EF, archive.labels(), MAX_F1)
    archive.zeroshot.train_probe("size", archive.labels(), "ridge")
    with pytest.raises(BadQuery, match=r"^probe:size gives a value"):
        archive.zeroshot.calibrate("probe:size", archive.labels(), MAX_F1)
    assert archive.kept("calibration") == []


def test_videos_of_other_views_are_not_learnt_from_nor_counted(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "index", views=True)
    mine, warnings = archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    assert (mine.videos, mine.patients) == (60, 60)
    assert "60 labelled videos have a view that does not show pacer and are left out" in warnings
    [result] = archive.zeroshot.sweep(PACER)
    assert result.called is not None
    assert result.called.seen.tolist() == [True] * 60
    assert result.ids.tolist() == archive.ids[::2]
    assert result.called.summary().videos == 60
    assert result.called.summary().positive == result.called.positive.sum()
    assert "pacer is seen in A4C; 60 videos have another view and are left out (--all-views)" in result.warnings


def test_a_prevalence_is_of_the_videos_that_can_show_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of 120 videos shows it, of a third that is unknown, and a third does not: only the first is asked."""
    archive = make_archive(tmp_path / "index")
    archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    views = {video_id: ("A4C", None, "PLAX")[number % 3] for number, video_id in enumerate(archive.ids)}
    with archive.store.writer() as writer, writer.transaction() as transaction:
        transaction.videos.change_metadata(
            [MetadataChange(video_id, {"view": view}, {}) for video_id, view in views.items()]
        )
    asked: list[list[float]] = []
    monkeypatch.setattr(
        Calibration, "prevalence_among", lambda _, scores, clusters: asked.append([*scores.tolist(), len(clusters)])
    )
    for all_views, wanted in ((False, ("A4C",)), (True, ("A4C", None))):
        archive = replace(archive, zeroshot=replace(archive.zeroshot, all_views=all_views))
        [result] = archive.zeroshot.sweep(PACER)
        there = [number for number, view in enumerate(views.values()) if view in wanted]
        assert asked.pop() == pytest.approx([*archive.vectors[there, 0].tolist(), len(there)])
        assert result.called is not None
        assert result.called.summary().videos == len(there)
        assert len(result.ids) == (120 if all_views else 80)


def test_a_calibration_without_skill_gives_no_prevalence_and_says_so(archive: Archive) -> None:
    """Rather than failing every sweep of the task from then on."""
    mine, _ = archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    labels = (1,) * 80 + (0,) * 80
    blind = replace(mine, left_out=LeftOut(tuple(range(160)), labels, tuple(1 - each for each in labels)))
    kept.keep(archive.zeroshot.store, blind, 0, True)
    [result] = archive.zeroshot.sweep(PACER)
    assert result.called is not None
    assert result.called.prevalence is None
    assert result.summary().called.prevalence is None
    assert any(warning.startswith("calibration pacer: with a sensitivity of 0 and") for warning in result.warnings)


# Probes.


def test_a_probes_scores_are_the_pipelines(archive: Archive) -> None:
    labels = archive.labels(slice(80))
    truth = np.array(list(archive.truth.values()))[:80]
    probe, warnings = archive.zeroshot.train_probe("mine", labels)
    told = probe.training
    assert (probe.kind, told.videos, told.positives, told.patients, told.split) == ("logistic", 80, 28, 40, None)
    assert warnings == ("40 videos have no label in labels.csv",)
    [result] = archive.zeroshot.sweep("probe:mine")
    assert (result.kind, result.scored_now, result.task.id) == ("probability", 120, probe.id)
    known, all_rows = archive.vectors[:80].astype(np.float64), archive.vectors.astype(np.float64)
    spread = 1.0 if told.scaled else float(known.std()) ** 2
    model = make_pipeline(
        StandardScaler(with_std=told.scaled), LogisticRegression(C=1 / (told.penalty * spread), max_iter=5000)
    ).fit(known, truth)
    assert result.columns["value"] == pytest.approx(model.predict_proba(all_rows)[:, 1], abs=5e-3)
    values = labels_of(archive.folder, {f"v{n}.avi": 10 * row[0] + row[1] for n, row in enumerate(all_rows[:80])})
    ridge, _ = archive.zeroshot.train_probe("size", values)
    [result] = archive.zeroshot.sweep("probe:size")
    assert (ridge.kind, result.kind, ridge.training.positives) == ("ridge", "value", None)
    spread = 1.0 if ridge.training.scaled else float(known.std()) ** 2
    alpha = ridge.training.penalty * spread
    model = make_pipeline(StandardScaler(with_std=ridge.training.scaled), Ridge(alpha=alpha))
    model.fit(known, 10 * known[:, 0] + known[:, 1])
    assert result.columns["value"] == pytest.approx(model.predict(all_rows), abs=1e-5)


def test_a_second_sweep_of_a_probe_is_free_and_a_retrained_one_has_new_scores(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.zeroshot.train_probe("mine", archive.labels(slice(80)))
    [first] = archive.zeroshot.sweep("probe:mine")
    with monkeypatch.context() as patched:
        patched.setattr(sweep_module, "score", lambda *_: pytest.fail("nothing is to be scored"))
        [again] = archive.zeroshot.sweep("probe:mine")
    assert (first.scored_now, again.scored_now) == (120, 0)
    assert again.columns["value"].tolist() == first.columns["value"].tolist()
    with pytest.raises(BadOption, match=r"^there is a probe mine already; give another name, or --replace$"):
        archive.zeroshot.train_probe("mine", archive.labels())
    archive.zeroshot.train_probe("mine", archive.labels(), replace=True)
    [new] = archive.zeroshot.sweep("probe:mine")
    assert new.scored_now == 120
    assert new.columns["value"].tolist() != first.columns["value"].tolist()
    assert archive.kept("probe") == ["mine"]


def moving(path: Path, dtype: FramesDtype = "float32") -> tuple[Archive, list[Vector]]:
    """80 videos whose mean frames say nothing; in every third one dimension varies over the frames."""
    random, store = np.random.default_rng(2), make_store(path, dtype)
    frames, new = [], []
    for number in range(80):
        rows = random.normal(size=(int(random.integers(2, 9)), DIM)).astype(np.float32) / 8
        rows[:, 3] += np.float32(1.5) * (np.arange(len(rows)) % 2 - 0.5) * (number // 2 % 3 == 0)
        frames.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        mean = frames[-1].mean(axis=0)
        norm = np.linalg.norm(mean)
        vector = stored(mean / norm, float(norm), frames[-1])
        new.append(new_video(f"v{number}.avi", vector, patient=f"P{number // 2}"))
    truth = {f"v{number}.avi": int(number // 2 % 3 == 0) for number in range(80)}
    means = np.stack([rows.mean(axis=0) for rows in frames])
    return Archive(zeroshot_of(store), add(store, *new), means, truth, path.parent), frames


def test_a_probe_of_motion_sees_what_the_mean_frame_hides(tmp_path: Path) -> None:
    archive, frames = moving(tmp_path / "index")
    still, _ = archive.zeroshot.train_probe("still", archive.labels())
    assert still.training.value < 0.75
    probe, _ = archive.zeroshot.train_probe("moving", archive.labels(), motion=True)
    assert (probe.motion, len(probe.weights), probe.dim) == (True, 2 * DIM, DIM)
    assert probe.training.value > 0.95
    [result] = archive.zeroshot.sweep("probe:moving")
    units = archive.vectors / np.linalg.norm(archive.vectors, axis=1, keepdims=True)
    rows = np.hstack([units, [np.std(each, axis=0) for each in frames]])
    linear = rows @ np.array(probe.weights) + probe.offset
    assert result.columns["value"] == pytest.approx(1 / (1 + np.exp(-linear)), abs=1e-4)
    # It goes to an index of other videos as any, and knows what moves there.
    exported = Probe.from_json(json.dumps(probe.to_dict()))
    assert exported == probe
    assert exported.id != replace(probe, motion=False).id
    archive.zeroshot.forget("probe", "moving")
    archive.zeroshot.add_probe(exported)
    assert archive.zeroshot.sweep("probe:moving")[0].scored_now == 0


def test_what_shows_less_motion_than_was_learnt_from_is_told_and_left_out(tmp_path: Path) -> None:
    archive, _ = moving(tmp_path / "index")  # 2 to 8 of 40 frames, in 2 s
    random = np.random.default_rng(9)
    units = random.normal(size=(4, 3, DIM)).astype(np.float32)
    units /= np.linalg.norm(units, axis=2, keepdims=True)

    def cine(name: str, frames: Vector, fps: float | None) -> tuple[Any, Any]:
        return new_video(name, stored(frames[0], 1.0, frames), fps=fps, patient=name)

    still, quick, slow, untimed = add(
        archive.store,
        cine("still.avi", units[0][:1], None),
        cine("quick.avi", units[1], 200.0),  # 40 frames in 0.2 s
        cine("slow.avi", units[2], 20.0),
        cine("untimed.avi", units[3], None),
    )
    told = archive.labels(still=1, quick=0, slow=0, untimed=0)
    probe, warnings = archive.zeroshot.train_probe("moving", archive.labels(), motion=True)
    assert (probe.training.shortest_frames, probe.training.shortest_seconds) == (2, 2.0)
    [result] = archive.zeroshot.sweep("probe:moving")
    caution = (
        "2 videos show less than 2 frames or 2.00 s, the least that probe:moving learnt motion from, so their scores "
        "are not to be trusted; filters take them as unknown"
    )
    assert caution in result.warnings
    with archive.store.snapshot() as snapshot:
        assert too_short(snapshot, probe).tolist() == [still, quick]
        assert too_short(snapshot, PACER).tolist() == []
        measured = measure(snapshot, source_of(probe), archive.zeroshot.key(probe))
    assert measured is not None
    assert sorted({still, quick, slow, untimed} & set(measured.ids.tolist())) == [slow, untimed]
    assert not measured.unscored.size
    # A still is not learnt from; neither is judged.
    again, warnings = archive.zeroshot.train_probe("moving", told, motion=True, replace=True)
    assert warnings == ("1 labelled videos show one frame and no motion, and are left out",)
    assert (again.training.videos, again.training.shortest_seconds) == (83, 0.2)
    archive.zeroshot.train_probe("moving", archive.labels(slice(60)), motion=True, replace=True)
    rest = archive.labels(slice(60, None), still=1, quick=0, slow=0, untimed=0)
    judged = archive.zeroshot.evaluate("probe:moving", rest, repeats=20)
    assert judged.levels[0].units == 22
    left_out = "2 labelled videos are shorter than any that probe:moving learnt motion from, and are left out"
    assert left_out in judged.warnings


def source_of(probe: Probe) -> Source:
    return Source(("probe", probe.label, "value"), probe, "value", "value", None, "mean")


def test_columns_are_of_live_videos_only(archive: Archive) -> None:
    with archive.store.snapshot() as snapshot:
        found = columns_of(snapshot, Features(False, DIM), np.array(archive.ids[3:5]))
        assert found.tolist() == archive.vectors[3:5].astype(np.float64).tolist()
        for ids in ([], [archive.ids[1], archive.ids[0]], [archive.ids[0], 10**6]):
            with pytest.raises(ValueError, match=r"^ids are ascending, live, and one or more$"):
                columns_of(snapshot, Features(False, DIM), np.array(ids, np.int64))


def test_a_probe_of_motion_needs_frames(tmp_path: Path) -> None:
    archive, _ = moving(tmp_path / "index", "none")
    with pytest.raises(
        BadQuery, match=r"^a probe of motion needs frame embeddings, and this index keeps none .* motion"
    ):
        archive.zeroshot.train_probe("moving", archive.labels(), motion=True)
    assert archive.nothing_is_stored()
    archive.zeroshot.train_probe("still", archive.labels())
    with_frames, _ = moving(tmp_path / "other")
    probe, _ = with_frames.zeroshot.train_probe("moving", with_frames.labels(), motion=True)
    archive.zeroshot.add_probe(probe)
    with pytest.raises(BadQuery, match=r"^probe:moving needs frame embeddings, and this index keeps none"):
        archive.zeroshot.sweep("probe:moving")


def test_a_probe_scores_another_index_of_the_same_recipe_alike(archive: Archive, tmp_path: Path) -> None:
    mine, _ = archive.zeroshot.train_probe("mine", archive.labels(slice(80)))
    exported = Probe.from_json(json.dumps(mine.to_dict()))
    assert exported == mine
    same = make_archive(tmp_path / "same", seed=1)
    same.zeroshot.add_probe(exported)
    [result] = same.zeroshot.sweep("probe:mine")
    linear = same.vectors.astype(np.float64) @ np.array(mine.weights) + mine.offset
    assert result.columns["value"] == pytest.approx(1 / (1 + np.exp(-linear)), abs=1e-6)
    with pytest.raises(BadOption, match=r"^there is a probe mine already; give another name, or --replace$"):
        same.zeroshot.add_probe(exported)
    same.zeroshot.add_probe(replace(exported, offset=1.5), replace=True)
    assert [probe.offset for probe in same.zeroshot.probes()] == [1.5]
    with pytest.raises(CalibrationMismatch, match=rf"^probe:short is for 1 dimensions, and the .* have {DIM}$"):
        same.zeroshot.add_probe(replace(exported, label="short", weights=(1.0,)))
    with pytest.raises(BadOption, match=r"^a probe's name is lower-case letters, digits and _, not 'A/b'$"):
        same.zeroshot.add_probe(replace(exported, label="A/b"))
    card = toy_card()
    other = make_archive(tmp_path / "other", replace(card, recipe=replace(card.recipe, pipeline_version=99))).zeroshot
    with pytest.raises(CalibrationMismatch, match=r"^probe:mine was trained by another recipe \(.*\) than this"):
        other.add_probe(exported)
    assert other.probes() == []
    # Its calibration goes along, and its own videos are known there too.
    archive.zeroshot.forget("probe", "mine")
    archive.zeroshot.add_probe(exported)
    with pytest.raises(BadLabels, match=r"^probe:mine was trained on 80 of these videos"):
        archive.zeroshot.calibrate("probe:mine", archive.labels(), MAX_F1)


def test_a_probe_is_calibrated_and_judged_like_a_task(archive: Archive) -> None:
    archive.zeroshot.train_probe("mine", archive.labels(slice(60)))
    with pytest.raises(BadLabels, match=r"^probe:mine was trained on 20 of these videos, .* would keep that flattery$"):
        archive.zeroshot.calibrate("probe:mine", archive.labels(slice(40, None)), MAX_F1)
    mine, _ = archive.zeroshot.calibrate("probe:mine", archive.labels(slice(60, None)), MAX_F1)
    assert (mine.name, mine.task, mine.videos) == ("probe-mine", "probe:mine", 60)
    assert archive.zeroshot.sweep("probe:mine")[0].called is not None
    judged = archive.zeroshot.evaluate("probe:mine", archive.labels(slice(60, None)), repeats=20)
    assert judged.threshold is not None
    assert judged.threshold.origin == "calibration probe-mine (max-f1, mean of 400 resamples, labels.csv; score)"
    assert not any("was trained on" in warning for warning in judged.warnings)
    archive.zeroshot.train_probe("mine", archive.labels(slice(50)), replace=True)
    assert archive.zeroshot.sweep("probe:mine")[0].called is None  # another probe, other scores


def test_other_videos_of_the_patients_that_taught_are_no_others(archive: Archive) -> None:
    zeroshot = archive.zeroshot
    first = archive.labels(slice(0, None, 2))
    zeroshot.calibrate(PACER, first, MAX_F1)  # one of the two videos of each patient
    second = labels_of(
        archive.folder, {f"/media/echo/{name}": archive.truth[name] for name in list(archive.truth)[1::2]}, name="b.csv"
    )
    judged = zeroshot.evaluate(PACER, second, repeats=20)
    taught = "0 of these videos were used to make calibration pacer, and 60 others are of patients whose videos were"
    assert any(told.startswith(f"{taught}, so neither its threshold nor") for told in judged.warnings)
    assert (judged.calibration, judged.levels[0].figures["f1"].reason) == (None, taught)
    zeroshot.train_probe("mine", first)
    learnt = "probe:mine was trained on 0 of these videos, and on videos of the same patients as 60 others, so"
    assert any(told.startswith(learnt) for told in zeroshot.evaluate("probe:mine", second, repeats=20).warnings)
    with pytest.raises(BadLabels, match=r"^probe:mine was trained on 0 .* would keep that flattery$"):
        zeroshot.calibrate("probe:mine", second, MAX_F1)


def test_a_probe_learns_from_some_views(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "index", views=True)
    probe, warnings = archive.zeroshot.train_probe("mine", archive.labels(), views=["a4c"])
    assert (probe.training.videos, probe.views) == (60, ("a4c",))
    assert warnings == ("60 labelled videos are not of the view a4c and are left out",)
    with pytest.raises(BadLabels, match=r"^none of the 120 labelled videos has the view SUBCOSTAL$"):
        archive.zeroshot.train_probe("other", archive.labels(), views=["SUBCOSTAL"])


def test_too_few_labels_make_no_probe(archive: Archive) -> None:
    with pytest.raises(BadLabels, match=r"^a probe needs labelled videos of 5 patients or more in each class; 0 has 2"):
        archive.zeroshot.train_probe("mine", archive.labels(slice(6)))
    with pytest.raises(UnknownTask, match=r"^there is no probe 'mine' in this index; there are none\. Make one: "):
        archive.zeroshot.sweep("probe:mine")
    assert archive.nothing_is_stored()


def test_a_deleted_probe_is_unknown(archive: Archive) -> None:
    probe, _ = archive.zeroshot.train_probe("mine", archive.labels())
    assert archive.zeroshot.probes() == [probe]
    assert isinstance(archive.zeroshot.find("probe:mine"), Probe)
    archive.zeroshot.forget("probe", "mine")
    with pytest.raises(UnknownTask, match=r"^there is no probe 'mine'"):
        archive.zeroshot.find("probe:mine")


def test_an_unknown_task_offers_the_nearest(archive: Archive) -> None:
    with pytest.raises(UnknownTask, match=r"^no task is called 'pacemakr'.*did you mean pacemaker"):
        archive.zeroshot.calibrate("pacemakr", archive.labels(), MAX_F1)


# Evaluations.


def test_an_evaluation_uses_the_calibration_and_says_what_it_saw(archive: Archive) -> None:
    mine, _ = archive.zeroshot.calibrate(PACER, archive.labels(slice(80)), MAX_F1)
    judged = archive.zeroshot.evaluate(PACER, archive.labels(slice(60, None)), repeats=20)
    origin = "calibration pacer (max-f1, mean of 400 resamples, labels.csv; score)"
    assert judged.threshold == Threshold(mine.threshold, origin, learnt=True)
    assert any(told.startswith("20 of these videos were used to make calibration pacer, ") for told in judged.warnings)
    assert judged.calibration is None
    assert [level.units for level in judged.levels] == [60, 30, 30]
    assert judged.levels[0].figures["sensitivity"].value is judged.calibration_error is None
    fresh = archive.zeroshot.evaluate(PACER, archive.labels(slice(80, None)), repeats=20)
    assert not any("were used to make" in warning for warning in fresh.warnings)
    given = archive.zeroshot.evaluate(PACER, archive.labels(), threshold=Threshold(0.5, "given"), repeats=20)
    assert given.threshold == Threshold(0.5, "given")
    truth = np.array(list(archive.truth.values()))
    called = archive.vectors[:, 0] >= 0.5
    assert given.levels[0].figures["sensitivity"].value == pytest.approx(called[truth == 1].mean())


def test_a_calibration_that_does_not_fit_judges_nothing(archive: Archive) -> None:
    archive.zeroshot.calibrate(PACER, archive.labels(), MAX_F1)
    with pytest.raises(CalibrationMismatch, match=r"^calibration pacer was made for another wording of the task"):
        archive.zeroshot.evaluate(EITHER, archive.labels(), calibration="pacer", repeats=20)
    with pytest.raises(BadOption, match=r"^there is no calibration 'x' in this index; there are pacer$"):
        archive.zeroshot.evaluate(PACER, archive.labels(), calibration="x", repeats=20)
    archive.zeroshot.calibrate(EITHER, archive.labels(), MAX_F1)
    with pytest.raises(CalibrationMismatch, match=r"^calibration either is for there, and absent is asked for$"):
        archive.zeroshot.evaluate(EITHER, archive.labels(), ["absent"], calibration="either", repeats=20)
    with pytest.raises(BadOption, match=r"^ef gives a value and is judged by its errors, so no threshold goes with it"):
        archive.zeroshot.evaluate(EF, archive.labels(), calibration="pacer")


def test_a_measurement_is_judged_by_its_errors(archive: Archive) -> None:
    labels = {f"v{number}.avi": 3 + number % 5 for number in range(0, 40, 2)}
    judged = archive.zeroshot.evaluate(EF, labels_of(archive.folder, labels), repeats=20)
    [values] = [result.columns["value"] for result in archive.zeroshot.sweep(EF)]
    errors = values[0:40:2] - list(labels.values())
    assert judged.levels[0].figures["mae"].value == pytest.approx(np.abs(errors).mean())
    assert judged.levels[0].figures["bias"].value == pytest.approx(errors.mean())
    assert (judged.threshold, judged.calibration_error, judged.levels[0].positives) == (None, None, None)


def test_an_evaluation_of_labels_by_patient(archive: Archive) -> None:
    told = labels_of(archive.folder, {f"P{n}": int(n % 3 == 0) for n in range(50)}, key="patient")
    judged = archive.zeroshot.evaluate(PACER, told, repeats=20)
    assert [level.units for level in judged.levels] == [100, 50, 50]
    assert judged.warnings == ("20 videos have no label in labels.csv",)


# What may be mistaken.


def test_a_threshold_on_classes_is_given_as_the_weight_that_a_sweep_shows(archive: Archive) -> None:
    [swept] = archive.zeroshot.sweep(EITHER)
    weight = float(np.median(swept.columns["there"]))
    judged = archive.zeroshot.evaluate(EITHER, archive.labels(), threshold=Threshold(weight, "given"), repeats=20)
    truth, called = np.array(list(archive.truth.values())), swept.columns["there"] >= weight
    assert judged.levels[0].figures["sensitivity"].value == pytest.approx(called[truth == 1].mean())
    assert judged.threshold is not None
    assert judged.threshold.origin == f"given: weight {weight:g}, as log odds"
    mine, _ = archive.zeroshot.calibrate(EITHER, archive.labels(), MAX_F1)
    assert mine.scale == "log odds of the weight"


def test_a_published_threshold_is_applied_only_if_asked_and_says_whose_it_is(archive: Archive) -> None:
    figure = PublishedFigure("threshold of best F1", 0.5, "someone", "toy")
    known = Task("known", "binary", prompts=("yes",), published=(figure,))
    assert archive.zeroshot.sweep(known)[0].applied is None
    [asked, other] = archive.zeroshot.sweep(known, PACER, published_threshold=True)
    assert asked.rows()["yes_published"].tolist() == (archive.vectors[:, 0] >= 0.5).tolist()
    assert any("belongs to its authors' videos and patients" in warning for warning in asked.warnings)
    assert asked.summary().to_dict()["published"] == [
        {"name": "threshold of best F1", "value": 0.5, "source": "someone", "model": "toy",
         "of": "for toy, on other patients", "applied": True}
    ]  # fmt: skip
    assert other.applied is None
    classes = Task("either", "contrastive", classes=EITHER.classes, published=(figure,))
    with pytest.raises(BadOption, match=r"^no threshold was published for either$"):
        archive.zeroshot.sweep(classes, published_threshold=True)


@pytest.mark.parametrize(
    ("model", "sampling", "sentence"),
    [
        (
            "echo-clip",
            "0:40:2",
            "the threshold of known was published for echo-clip, and toy is not that; learn one from",
        ),
        ("toy", "even:4", r"published for toy, and toy is not made that way \(frames even:4, not 0:40:2\); learn one"),
        (None, "0:40:2", "was published for a model that is not said, and toy is not that; learn one"),
    ],
)
def test_a_published_threshold_belongs_to_one_model_made_in_one_way(
    tmp_path: Path, model: str | None, sampling: str, sentence: str
) -> None:
    recipe = replace(toy_card().recipe, sampling=FrameSampling.parse(sampling))
    archive = make_archive(tmp_path / "index", replace(toy_card(), recipe=recipe))
    figure = PublishedFigure("threshold of best F1", 0.5, "someone", model)
    known = Task("known", "binary", prompts=("yes",), published=(figure,))
    with pytest.raises(BadOption, match=sentence):
        archive.zeroshot.sweep(known, published_threshold=True)
    [swept] = archive.zeroshot.sweep(known)
    of = f"for {model or 'a model that is not said'}, not for this model"
    [shown] = swept.summary().published
    assert (shown.of, shown.applied) == (of, False)
    assert list(_thresholds(swept)) == []  # nor is it drawn


def test_a_published_threshold_of_the_index_s_model_is_drawn(archive: Archive) -> None:
    figure = PublishedFigure("threshold of best F1", 0.5, "someone", "toy")
    known = Task("known", "binary", prompts=("yes",), published=(figure,))
    assert _thresholds(archive.zeroshot.sweep(known)[0]) == {"published threshold, not applied": 0.5}
    [asked] = archive.zeroshot.sweep(known, published_threshold=True)
    assert _thresholds(asked) == {"published threshold, applied": 0.5}


def test_copies_of_a_file_are_one_patient_where_the_patient_is_not_known(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    vectors, _ = rows_of(60, 3)
    names = [f"{number}-{copy}.avi" for number in range(60) for copy in range(3)]
    add(store, *(new_video(name, vectors[int(name.split("-")[0])], content=name.split("-")[0]) for name in names))
    labels = labels_of(tmp_path, {f"/media/echo/{name}": int(name.split("-")[0]) % 2 for name in names})
    probe, warnings = zeroshot_of(store).train_probe("luck", labels)
    assert probe.training.patients == 60
    assert probe.training.value < 0.75  # labels by chance: nothing to learn, and no copy gives it away
    assert any("the patient is not known" in warning for warning in warnings)


def test_videos_of_no_known_study_are_counted_at_that_level(tmp_path: Path) -> None:
    store = make_store(tmp_path / "index")
    vectors, has = rows_of(40, 4)
    studies = [f"S{number}" if number < 12 else None for number in range(40)]
    add(store, *(new_video(f"{n}.avi", vectors[n], study=studies[n], patient=f"P{n}") for n in range(40)))
    labels = labels_of(tmp_path, {f"/media/echo/{n}.avi": has[n] for n in range(40)})
    judged = zeroshot_of(store).evaluate(PACER, labels, repeats=20)
    assert {level.level: (level.units, level.left_out) for level in judged.levels} == {
        "video": (40, 0), "study": (12, 28), "patient": (40, 0)
    }  # fmt: skip


def test_an_evaluation_needs_no_right_to_write(archive: Archive) -> None:
    with archive.store.writer():
        judged = archive.zeroshot.evaluate(PACER, archive.labels(), repeats=20)
    [told] = [warning for warning in judged.warnings if "not kept" in warning]
    assert told.startswith("the scores were not kept: ")
    assert "is being written to by" in told
    assert judged.levels[0].units == 120
    with archive.store.snapshot() as snapshot:
        assert snapshot.catalog.sweeps.all() == []
