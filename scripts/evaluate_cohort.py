"""A cohort of echo-mini on phantoms that it was never trained on, against truth: precision and recall of patients.

    python scripts/evaluate_cohort.py [--work DIR] [--archives N]

Each archive has about 2,000 videos of 440 patients (seeds 401, 402, ...). Findings are calibrated on 400 labelled
videos, one of each of 400 patients (seed 311), and a probe of motion learns the ejection fraction from as many. The
cohort: patients with an apical four-chamber video in a study of 2015 to 2020 with an ejection fraction below 35 and a
pacemaker lead, without a stent valve; one index study of each. No truth is in the filter. The ejection fraction is
the published value or the probe's, compared with 35 or with the number below which 90 % of the labelled videos are
truly below 35, each by a probe that learnt from the other half of them. Whether a study has a lead is said by the mean
of its videos or, as built in, by the highest.
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
from echosearch.cohort.cohort import Definition
from echosearch.learning.labels import read_labels
from echosearch.learning.probe import Probe
from echosearch.learning.thresholds import ThresholdRule, choose_threshold
from echosearch.phantom import Study, Video

FIRST_SEED: Final = 401
STUDIES: Final = 570
Asked = tuple[str, tuple[tuple[str, str], ...]]

VIEWS: Final = ("A4C", "A2C")
WHERE: Final = (
    "view = 'A4C' AND {low} AND task.pacemaker.yes",
    "acquired_at BETWEEN '2015-01-01' AND '2020-12-31' AND NOT task.stent_valve.yes",
)


AGGREGATES: Final = (("pacemaker", "mean"),)
"""Lead of a study: the highest of several (the built-in rule) passes a threshold learnt on single videos too easily."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="keep the indexes in this folder, and use what is there")
    parser.add_argument("--archives", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        labelled_studies = phantom_index(work / "labelled", LABELLED_STUDIES, LABELLED_SEED)
        labelled = echosearch.open_index(work / "labelled")
        probe, cut = ejection_fraction_probe(labelled, labelled_studies, work)
        lows: tuple[Asked, ...] = (
            ("task.ejection_fraction.value < 35", AGGREGATES),
            ("probe.ef.value < 35", AGGREGATES),
            (f"probe.ef.value < {cut:.2f}", AGGREGATES),
            (f"probe.ef.value < {cut:.2f}", ()),
        )
        print(
            "| archive | ejection fraction, lead of a study | videos | patients | truly in | found | "
            "precision (0.85) | recall (0.75) |"
        )
        print("|---|---|---|---|---|---|---|---|")
        together: dict[Asked, Sequence[int]] = {low: [0, 0, 0, 0, 0] for low in lows}
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.archives):
            studies = phantom_index(work / f"archive-{seed}", STUDIES, seed)
            counts = (sum(len(study.videos) for study in studies), len({study.patient_id for study in studies}))
            index = calibrated(work, labelled_studies, probe, work / f"archive-{seed}")
            for low in lows:
                told = (*counts, *judged(index, studies, low))
                together[low] = [one + other for one, other in zip(together[low], told, strict=True)]
                show(str(seed), low, told)
        for low, told in together.items():
            show("together", low, told)


def judged(index: Index, studies: Sequence[Study], asked: Asked) -> tuple[int, int, int]:
    """How many patients are truly in, how many were found, and how many of these rightly."""
    low, aggregates = asked
    where = tuple(text.format(low=low) for text in WHERE)
    index.cohorts.sweep_missing(where)
    made = index.cohorts.preview(Definition(where=where, level="patient", aggregates=aggregates))
    found = {member.patient for member in made.members}
    truly = {study.patient_id for study in studies if is_in(study)}
    return len(truly), len(found), len(found & truly)


def calibrated(work: Path, labelled_studies: Sequence[Study], probe: Probe, path: Path) -> Index:
    """An archive with the calibrations and the probe that were learnt on the labelled one."""
    labelled, index = echosearch.open_index(work / "labelled"), echosearch.open_index(path)
    for task in ("pacemaker", "stent_valve"):
        of, is_there, classes = FINDINGS[task]
        views = labelled.zeroshot.find(task).views
        labels = write_labels(work / "few.csv", one_each(labelled_studies, views), of, is_there)
        rule = ThresholdRule.parse("max-f1")
        learnt, _ = labelled.zeroshot.calibrate(task, read_labels(labels), rule, classes, replace=True)
        index.zeroshot.add_calibration(learnt, replace=True)
    index.zeroshot.add_probe(probe, replace=True)
    return index


def ejection_fraction_probe(labelled: Index, studies: Sequence[Study], work: Path) -> tuple[Probe, float]:
    """A probe of motion, and the value below which 90 % of videos left out are truly below 35, as high as can be."""
    videos = one_each(studies, VIEWS)
    id_of = {Path(record.path).name: record.video_id for record in labelled.videos()}

    def learnt(name: str, some: Sequence[Video]) -> Probe:
        labels = read_labels(write_labels(work / "few.csv", some, "ef_percent", float))
        probe, _ = labelled.zeroshot.train_probe(name, labels, "ridge", VIEWS, replace=True, motion=True)
        return probe

    values, truly = [], []
    for half, others in ((videos[::2], videos[1::2]), (videos[1::2], videos[::2])):
        [swept] = labelled.zeroshot.sweep(learnt("half", others))
        value_of = dict(zip(swept.ids.tolist(), swept.columns["value"].tolist(), strict=True))
        values += [value_of[id_of[video.name]] for video in half]
        truly += [video.truth.ef_percent < 35 for video in half]
    cut = -choose_threshold(-np.array(values), truly, ThresholdRule.parse("precision:0.9"))
    probe = learnt("ef", videos)
    told = probe.training
    print(f"probe of motion: {told.figure} {told.value:.2f} on patients left out of {told.patients}\n")
    return probe, cut


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


def show(archive: str, asked: Asked, told: Sequence[int]) -> None:
    """One line of the table."""
    videos, patients, truly, found, right = told
    low = f"{asked[0]}, {'mean' if asked[1] else 'max (built in)'}"
    shares = f"{right / max(found, 1):.3f} | {right / max(truly, 1):.3f}"
    print(f"| {archive} | {low} | {videos} | {patients} | {truly} | {found} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
