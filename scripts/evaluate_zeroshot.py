"""Tasks, calibration and evaluation of echo-mini on phantoms that it was never trained on: figures beside their bars.

    python scripts/evaluate_zeroshot.py [--work DIR]

Findings are calibrated on 400 labelled videos of 400 patients (seed 311) and judged on 900 to 2,059 that can show them
(seed 312), through the same calls that users have; then what keeping frames as float16 does to ejection fractions,
beside the bytes it saves.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from phantom_index import phantom_index, truth_of

import echosearch
from echosearch.api import Index
from echosearch.encoders import load_encoder
from echosearch.phantom import Study, Video
from echosearch.zeroshot.labels import read_labels
from echosearch.zeroshot.scores import regression
from echosearch.zeroshot.statistics import ThresholdRule, choose_threshold, confusion
from echosearch.zeroshot.task_files import find_task

LABELLED_SEED, LABELLED_STUDIES = 311, 560
JUDGED_SEED, JUDGED_STUDIES = 312, 600
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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        labelled_studies = phantom_index(work / "labelled", LABELLED_STUDIES, LABELLED_SEED)
        judged_studies = phantom_index(work / "judged", JUDGED_STUDIES, JUDGED_SEED)
        labelled, judged = echosearch.open_index(work / "labelled"), echosearch.open_index(work / "judged")
        findings(labelled, labelled_studies, judged, judged_studies, work)
        ejection_fraction(judged, judged_studies, work)
        half(judged)


def findings(
    labelled: Index, labelled_studies: Sequence[Study], judged: Index, judged_studies: Sequence[Study], work: Path
) -> None:
    """Each finding: AUROC, calibration error, F1 at the frozen threshold against the best, prevalence."""
    print(
        "| task | judged | AUROC (bar 0.95) | calibration error (0.05) | F1, best F1 (within 0.03) | "
        "prevalence, truth |"
    )
    print("|---|---|---|---|---|---|")
    for name, (of, is_there, classes) in FINDINGS.items():
        task = labelled.zeroshot.find(name)
        few = write_labels(work / "few.csv", one_each(labelled_studies, task.views), of, is_there)
        many = write_labels(work / "many.csv", usable(judged_studies, task.views), of, is_there)
        made, _ = labelled.zeroshot.calibrate(name, read_labels(few), ThresholdRule.parse("max-f1"), classes)
        judged.zeroshot.add_calibration(made)
        result = judged.zeroshot.evaluate(name, read_labels(many), classes, repeats=200)
        videos = result.levels[0]
        best = choose_threshold(videos.scores, videos.labels, ThresholdRule.parse("max-f1"))
        best_f1 = confusion(videos.scores >= best, videos.labels).f1
        [swept] = judged.zeroshot.sweep(name, calibration=made.name)
        assert swept.called is not None
        assert swept.called.prevalence is not None
        told = swept.called.prevalence
        share = float(np.mean(videos.labels))
        covers = told.interval.low is not None and told.interval.low <= share <= told.interval.high  # type: ignore[operator]
        print(
            f"| {name} {' + '.join(classes)} | {videos.units} videos, {videos.positives} positive | "
            f"{videos.figures['auroc'].value:.3f} | {result.calibration_error:.3f} | "
            f"{videos.figures['f1'].value:.3f}, {best_f1:.3f} | {told.value:.3f} ({told.interval.low:.3f} to "
            f"{told.interval.high:.3f}), {share:.3f}: {'covers' if covers else 'MISSES'} |",
            flush=True,
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
    encoder = load_encoder(judged.manifest.request())
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


def one_each(studies: Sequence[Study], views: Sequence[str]) -> list[Video]:
    """The first 400 that can be used, of as many patients: two of one heart tell less than two of two."""
    first: dict[str, Video] = {}
    for video in usable(studies, views):
        first.setdefault(video.patient, video)
    return list(first.values())[:LABELLED]


def write_labels(path: Path, videos: Sequence[Video], of: str, value: Callable[[Any], Any]) -> Path:
    """A CSV of labels for some videos."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "label"))
        writer.writerows((video.name, float(value(getattr(video.truth, of)))) for video in videos)
    return path


if __name__ == "__main__":
    main()
