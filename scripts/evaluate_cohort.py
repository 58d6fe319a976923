"""A cohort of echo-mini on phantoms that it was never trained on, against truth: precision and recall of patients.

    python scripts/evaluate_cohort.py [--work DIR] [--archives N]

Each archive has about 2,000 videos of 440 patients (seeds 401, 402, ...). Findings are calibrated on 400 labelled ones,
one of each of 400 patients (seed 311). The published value of the ejection fraction is compared with 35, and with the
number below which 85 % of the labelled videos are truly below 35. The cohort: patients with an apical four-chamber
video in a study of 2015 to 2020 with an ejection fraction below 35 and a pacemaker lead, without a stent valve; one
index study of each. No truth is in the filter.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from evaluate_zeroshot import FINDINGS, LABELLED_SEED, LABELLED_STUDIES, one_each, write_labels
from phantom_index import phantom_index

import echosearch
from echosearch.api import Index
from echosearch.cohort.cohort import Cohort, Definition
from echosearch.phantom import Study
from echosearch.zeroshot.labels import read_labels
from echosearch.zeroshot.statistics import ThresholdRule, choose_threshold

FIRST_SEED: Final = 401
STUDIES: Final = 570
WHERE: Final = (
    "view = 'A4C' AND task.ejection_fraction.value < {cut:.2f} AND task.pacemaker.yes",
    "acquired_at BETWEEN '2015-01-01' AND '2020-12-31' AND NOT task.stent_valve.yes",
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="keep the indexes in this folder, and use what is there")
    parser.add_argument("--archives", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        labelled_studies = phantom_index(work / "labelled", LABELLED_STUDIES, LABELLED_SEED)
        labelled = echosearch.open_index(work / "labelled")
        cuts = (35.0, ejection_fraction_cut(labelled, labelled_studies))
        print("| archive | value below | videos | patients | truly in | found | precision (0.85) | recall (0.75) |")
        print("|---|---|---|---|---|---|---|---|")
        together = {cut: [0, 0, 0, 0, 0] for cut in cuts}
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.archives):
            studies = phantom_index(work / f"archive-{seed}", STUDIES, seed)
            counts = (sum(len(study.videos) for study in studies), len({study.patient_id for study in studies}))
            for cut in cuts:
                told = (*counts, *judged(work, labelled_studies, work / f"archive-{seed}", studies, cut))
                together[cut] = [one + other for one, other in zip(together[cut], told, strict=True)]
                show(str(seed), cut, told)
        for cut, told in together.items():
            show("together", cut, told)


def judged(
    work: Path, labelled_studies: Sequence[Study], path: Path, studies: Sequence[Study], cut: float
) -> tuple[int, int, int]:
    """How many patients are truly in, how many were found, and how many of these rightly."""
    made = cohort(work, labelled_studies, path, cut)
    found = {member.patient for member in made.members}
    truly = {study.patient_id for study in studies if is_in(study)}
    return len(truly), len(found), len(found & truly)


def cohort(work: Path, labelled_studies: Sequence[Study], path: Path, cut: float) -> Cohort:
    """The cohort, by calibrations that were learnt on the labelled archive."""
    labelled, index = echosearch.open_index(work / "labelled"), echosearch.open_index(path)
    for task in ("pacemaker", "stent_valve"):
        of, is_there, classes = FINDINGS[task]
        views = labelled.zeroshot.find(task).views
        labels = write_labels(work / "few.csv", one_each(labelled_studies, views), of, is_there)
        rule = ThresholdRule.parse("max-f1")
        learnt, _ = labelled.zeroshot.calibrate(task, read_labels(labels), rule, classes, replace=True)
        index.zeroshot.add_calibration(learnt, replace=True)
    where = tuple(text.format(cut=cut) for text in WHERE)
    index.cohorts.sweep_missing(where)
    return index.cohorts.preview(Definition(where=where, level="patient"))


def ejection_fraction_cut(labelled: Index, studies: Sequence[Study]) -> float:
    """The value below which 85 % of the labelled videos are truly below 35, as high as it can be."""
    [swept] = labelled.zeroshot.sweep("ejection_fraction")
    value_of = dict(zip(swept.ids.tolist(), swept.columns["value"].tolist(), strict=True))
    id_of = {Path(record.path).name: record.video_id for record in labelled.videos()}
    videos = one_each(studies, ("A4C", "A2C"))
    values = np.array([value_of[id_of[video.name]] for video in videos])
    truly = np.array([video.truth.ef_percent < 35 for video in videos])
    return -choose_threshold(-values, truly, ThresholdRule.parse("precision:0.85"))


def is_in(study: Study) -> bool:
    """Whether a study is truly what is looked for."""
    truth = study.truth
    return (
        any(video.view == "A4C" for video in study.videos)
        and "2015-01-01" <= study.acquired_at.isoformat() <= "2020-12-31"
        and truth.ef_percent < 35
        and truth.pacemaker_lead
        and not truth.stent_valve
    )


def show(archive: str, cut: float, told: Sequence[int]) -> None:
    """One line of the table."""
    videos, patients, truly, found, right = told
    shares = f"{right / max(found, 1):.3f} | {right / max(truly, 1):.3f}"
    print(f"| {archive} | {cut:.2f} | {videos} | {patients} | {truly} | {found} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
