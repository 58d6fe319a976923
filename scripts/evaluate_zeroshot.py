"""Tasks, calibration and evaluation of echo-mini on phantoms that it was never trained on: figures beside their bars.

    python scripts/evaluate_zeroshot.py [--work DIR] [--draws N]

Findings are calibrated on 400 labelled videos of 400 patients and judged on 2,500 to 5,900 others that can show them
(seed 312), through the same calls that users have. Which 400 is chance, and a threshold depends on it: so they are
drawn again and again from an archive of about 1,300 patients (seed 311). Then what keeping frames as float16 does to
ejection fractions, beside the bytes it saves.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from phantom_index import phantom_index, truth_of
from sklearn.metrics import f1_score

import echosearch
from echosearch.api import Index
from echosearch.encoders import load_encoder
from echosearch.learning.labels import read_labels
from echosearch.learning.statistics import expected_calibration_error
from echosearch.learning.thresholds import ThresholdRule, choose_threshold
from echosearch.phantom import Study, Video
from echosearch.tasks.modes.regression import regression
from echosearch.tasks.task_files import find_task

LABELLED_SEED, LABELLED_STUDIES = 311, 1680
JUDGED_SEED, JUDGED_STUDIES = 312, 1680
LABELLED: Final = 400

FINDINGS: Final[dict[str, tuple[str, Callable[[Any], bool], tuple[str, ...]]]] = {
    "pacemaker": ("pacemaker_lead", bool, ()),
    "stent_valve": ("stent_valve", bool, ()),
    "mitral_clip": ("mitral_clip", bool, ()),
    "pericardial_effusion": ("effusion", lambda grade: grade >= 2, ("moderate", "large")),
    "lv_dilation": ("lv_dilation", lambda grade: grade == 3, ("severe",)),
    "la_dilation": ("la_dilation", lambda grade: grade == 3, ("severe",)),
    "lv_hypertrophy": ("lv_hypertrophy", lambda grade: grade >= 2, ("moderate", "severe")),
}
"""Task -> field of the truth, what counts as there, the classes that say so."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="keep the indexes in this folder, and use what is there")
    parser.add_argument("--draws", type=int, default=40, help="how often 400 videos to be labelled are drawn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        labelled_studies = phantom_index(work / "labelled", LABELLED_STUDIES, LABELLED_SEED)
        judged_studies = phantom_index(work / "judged", JUDGED_STUDIES, JUDGED_SEED)
        labelled, judged = echosearch.open_index(work / "labelled"), echosearch.open_index(work / "judged")
        findings(labelled, labelled_studies, judged, judged_studies, work, arguments.draws)
        ejection_fraction(judged, judged_studies, work)
        half(judged)


def findings(
    labelled: Index,
    labelled_studies: Sequence[Study],
    judged: Index,
    judged_studies: Sequence[Study],
    work: Path,
    draws: int,
) -> None:
    """Each finding: AUROC; over draws of labels calibration error, F1 at the frozen threshold, prevalence."""
    print(
        "| task | judged, positive | AUROC (bar 0.95) | calibration error (0.05), worst | F1, best F1 (within 0.03) | "
        "draws within 0.03 | prevalence, truth | draws whose interval holds it |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (of, is_there, classes) in FINDINGS.items():
        views = labelled.zeroshot.find(name).views
        many = read_labels(write_labels(work / "many.csv", usable(judged_studies, views), of, is_there))
        told = []
        for draw in range(draws):
            few = write_labels(work / "few.csv", one_each(labelled_studies, views, draw), of, is_there)
            rule = ThresholdRule.parse("max-f1")
            made, _ = labelled.zeroshot.calibrate(name, read_labels(few), rule, classes, replace=True)
            judged.zeroshot.add_calibration(made, replace=True)
            told.append(one_draw(judged, judged_studies, name, made.name, is_there, of))
        result = judged.zeroshot.evaluate(name, many, classes, repeats=200)  # by the last draw
        videos = result.levels[0]
        assert videos.figures["f1"].value == told[-1].f1
        best = choose_threshold(videos.scores, videos.labels, ThresholdRule.parse("max-f1"))
        best_f1 = float(f1_score(videos.labels, videos.scores >= best))
        errors, f1s = [each.calibration_error for each in told], [each.f1 for each in told]
        print(
            f"| {name} {' + '.join(classes)} | {videos.units}, {videos.positives} | "
            f"{videos.figures['auroc'].value:.3f} | {np.mean(errors):.3f}, {max(errors):.3f} | "
            f"{np.mean(f1s):.3f}, {best_f1:.3f} | {np.mean([f1 >= best_f1 - 0.03 for f1 in f1s]):.0%} | "
            f"{np.mean([each.prevalence for each in told]):.3f}, {np.mean(videos.labels):.3f} | "
            f"{np.mean([each.covers for each in told]):.0%} |",
            flush=True,
        )


@dataclass(frozen=True)
class Draw:
    """How a calibration by one draw of labels did on the judged videos."""

    calibration_error: float
    f1: float
    prevalence: float
    covers: bool


def one_draw(
    judged: Index,
    studies: Sequence[Study],
    task: str,
    calibration: str,
    is_there: Callable[[Any], bool],
    of: str,
) -> Draw:
    """What a sweep says by a calibration, against the truth."""
    [swept] = judged.zeroshot.sweep(task, calibration=calibration)
    called = swept.called
    assert called is not None
    assert called.prevalence is not None
    videos, names = truth_of(studies), {record.video_id: Path(record.path).name for record in judged.videos()}
    truth = np.array([bool(is_there(getattr(videos[names[video_id]].truth, of))) for video_id in swept.ids.tolist()])
    truth, share = truth[called.seen], float(truth[called.seen].mean())
    low, high = called.prevalence.interval.low, called.prevalence.interval.high
    return Draw(
        calibration_error=expected_calibration_error(called.probability[called.seen], truth, 10),
        f1=float(f1_score(truth, called.positive[called.seen])),
        prevalence=called.prevalence.value or 0.0,
        covers=low is not None and high is not None and low <= share <= high,
    )


def ejection_fraction(judged: Index, studies: Sequence[Study], work: Path) -> None:
    """The published form at each level."""
    labels = write_labels(work / "ef.csv", usable(studies, ("A4C", "A2C")), "ef_percent", float)
    result = judged.zeroshot.evaluate("ejection_fraction", read_labels(labels), repeats=200)
    for level in result.levels:
        told = {name: figure.value for name, figure in level.figures.items()}
        print(
            f"ejection fraction, {level.units} at level {level.level}: MAE {told['mae']:.2f}, R2 {told['r2']:.3f}, "
            f"bias {told['bias']:+.2f}, limits of agreement {told['lower_limit']:.1f} to {told['upper_limit']:.1f}"
        )


def half(judged: Index) -> None:
    """Frames kept as float16: how ejection fractions change."""
    [swept] = judged.zeroshot.sweep("ejection_fraction")
    task = find_task("ejection_fraction")
    encoder = load_encoder(judged.description.request())
    prompts = np.stack([text.vector for text in encoder.encode_text(task.groups[0])])
    values, before, after, stored = np.array(task.values), swept.columns["value"], [], 0
    for video_id in swept.ids.tolist():
        frames = judged.frame_embeddings(video_id)
        rounded = frames.astype(np.float16).astype(np.float32)
        value, _ = regression(rounded @ prompts.T, values, np.array([0, len(frames)]))
        after.append(float(value[0]))
        stored += frames.nbytes
    change = np.abs(np.array(after) - before)
    crossed = {limit: float(np.mean((before < limit) != (np.array(after) < limit))) for limit in (35, 50)}
    print(
        f"frames as float16, {len(change)} videos: EF changes by {change.mean():.3f} on average, "
        f"{np.percentile(change, 99):.2f} at the 99th percentile, {change.max():.2f} at most; "
        f"{100 * crossed[35]:.2f} % cross 35 and {100 * crossed[50]:.2f} % cross 50; "
        f"frames take {stored / 2**21:.1f} MiB instead of {stored / 2**20:.1f}"
    )


def usable(studies: Sequence[Study], views: Sequence[str]) -> list[Video]:
    """The videos of some views, in the order of the studies."""
    return [video for video in truth_of(studies).values() if not views or video.view in views]


def one_each(studies: Sequence[Study], views: Sequence[str], draw: int = 0) -> list[Video]:
    """400 that can be used, drawn by chance of as many patients: two of one heart tell less than two of two.

    By chance also which view: the first of each study is nearly always the same, and thresholds differ by view.
    """
    random = np.random.default_rng([LABELLED_SEED, draw])
    of: dict[str, list[Video]] = {}
    for video in usable(studies, views):
        of.setdefault(video.patient, []).append(video)
    patients = random.permutation(sorted(of))[:LABELLED]
    return [of[patient][random.integers(len(of[patient]))] for patient in patients.tolist()]


def write_labels(path: Path, videos: Sequence[Video], of: str, value: Callable[[Any], Any]) -> Path:
    """A CSV of labels for some videos."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "label"))
        writer.writerows((video.name, float(value(getattr(video.truth, of)))) for video in videos)
    return path


if __name__ == "__main__":
    main()
