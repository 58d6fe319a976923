"""How often 95 % intervals hold the truth, and how wide they are: shares and AUROC, by simulated patients.

    python scripts/simulate_coverage.py OUT.csv            # 10,000 simulations a cell, about six minutes on two cores
    python scripts/simulate_coverage.py OUT.csv --quick    # 300 a cell

A cell is a kind, a number of patients (of AUROC: in each class), how much a patient's videos have in common (ICC) and
a true value. Patients have 1 to 8 videos, equally often. Of a share a video's truth is drawn from its patient's own
chance, beta with that ICC; of AUROC a score is a normal deviate of the patient and one of the video, shifted for the
positives. Each cell has its own seed and is appended to OUT.csv when done; cells that are there already are not done
again. `reference` is the mean width of the method that the intervals are measured by: Clopper & Pearson at Kish's
effective number (of a share), and DeLong's by patient on the logit scale with the normal quantile (of AUROC).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import expit, logit, ndtri

from echosearch.learning import intervals
from echosearch.learning.intervals import Interval, auroc, clopper_pearson, kish

PATIENTS = (10, 20, 50, 100, 200)
ICCS = (0.0, 0.3, 1.0)
TRUTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
FAR = 9.0
"""Between classes that never overlap, for an AUROC of 1."""

Cell = tuple[str, int, float, float]
CELLS: list[Cell] = list(product(("share", "auroc"), PATIENTS, ICCS, TRUTHS))
COLUMNS = ("kind", "patients", "icc", "truth", "simulations", "coverage", "upper", "width", "reference")


def run(cell: Cell, simulations: int) -> dict[str, object]:
    """One row of the table."""
    kind, patients, icc, truth = cell
    random = np.random.default_rng([int(kind == "auroc"), patients, int(10 * icc), int(1000 * truth)])
    draw = _share if kind == "share" else _auroc
    held, widths, references = 0, 0.0, 0.0
    for _ in range(simulations):
        interval, reference = draw(random, patients, icc, truth)
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= truth <= interval.high
        widths += interval.high - interval.low
        references += reference
    coverage = held / simulations
    upper = coverage + 3.0902 * math.sqrt(coverage * (1 - coverage) / simulations)
    numbers = (simulations, coverage, upper, widths / simulations, references / simulations)
    return dict(zip(COLUMNS, (*cell, *numbers), strict=True))


def _share(random: np.random.Generator, patients: int, icc: float, truth: float) -> tuple[Interval, float]:
    videos = random.integers(1, 9, patients)
    if icc == 0 or truth == 1:
        hits = random.binomial(videos, truth)
    elif icc == 1:
        hits = videos * (random.random(patients) < truth)
    else:
        scale = (1 - icc) / icc
        hits = random.binomial(videos, random.beta(truth * scale, (1 - truth) * scale, patients))
    found = clopper_pearson(hits.sum() / videos.sum(), kish(videos))  # what `share` gives, from counts
    assert found.low is not None
    assert found.high is not None
    return found, found.high - found.low


def _auroc(random: np.random.Generator, patients: int, icc: float, truth: float) -> tuple[Interval, float]:
    codes = np.repeat(np.arange(2 * patients), random.integers(1, 9, 2 * patients))
    positive = codes < patients
    apart = math.sqrt(2) * ndtri(truth) if truth < 1 else FAR * 10
    scores = apart * positive + math.sqrt(icc) * random.normal(size=2 * patients)[codes]
    scores = scores + math.sqrt(1 - icc) * random.normal(size=len(codes))
    told = auroc(scores, positive, codes)
    assert told.value is not None
    if told.value == 1:
        assert told.interval.low is not None
        return told.interval, 1 - told.interval.low
    return told.interval, _logit_delong(scores, positive, codes)


def _logit_delong(scores: np.ndarray, positive: np.ndarray, codes: np.ndarray) -> float:
    """Width of DeLong's interval by patient, on the logit scale, with the normal quantile; no patient in both."""
    above, below = intervals._placements(scores, positive)
    value = above.mean()
    variance = 0.0
    for placed, rows in ((above, codes[positive]), (below, codes[~positive])):
        sums = np.bincount(np.unique(rows, return_inverse=True)[1], placed - value)
        variance += len(sums) / (len(sums) - 1) * (sums @ sums) / len(rows) ** 2
    half = 1.959964 * math.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) + half) - expit(logit(value) - half))


def bars(rows: list[dict[str, object]]) -> list[str]:
    """What no cell may be: so seldom right that chance does not explain it, or wider than 1.1 times its reference."""
    return [
        f"{row['kind']} {row['patients']} patients, ICC {row['icc']}, truth {row['truth']}: coverage "
        f"{row['coverage']:.4f} (at most {row['upper']:.4f}), width {row['width']:.4f} of {row['reference']:.4f}"
        for row in rows
        if float(str(row["upper"])) < 0.93 or float(str(row["width"])) > 1.1 * float(str(row["reference"]))
    ]


def main() -> int:
    """Fill the table, print its worst cells; 1 where a cell misses its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="300 simulations a cell")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    simulations = 300 if options.quick else 10_000
    rows = _known(options.out)
    done = {(row["kind"], row["patients"], row["icc"], row["truth"]) for row in rows}
    with options.out.open("a", newline="", encoding="utf-8") as file, ProcessPoolExecutor(options.processes) as pool:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for future in as_completed([pool.submit(run, cell, simulations) for cell in CELLS if cell not in done]):
            rows.append(future.result())
            writer.writerow(rows[-1])
            file.flush()
    for kind, patients in product(("share", "auroc"), PATIENTS):
        mine = [row for row in rows if (row["kind"], row["patients"]) == (kind, patients)]
        worst = min(mine, key=lambda row: float(str(row["coverage"])))
        ratio = max(float(str(row["width"])) / max(float(str(row["reference"])), 1e-9) for row in mine)
        print(
            f"{kind:5} {patients:3} patients: worst {worst['coverage']:.4f} at ICC {worst['icc']}, "
            f"{worst['truth']}; widest {ratio:.3f} of the reference"
        )
    missed = bars(rows)
    print("\n".join(missed) or "no cell misses its bar")
    return 1 if missed else 0


def _known(path: Path) -> list[dict[str, object]]:
    """The cells that an earlier run has finished."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: text if name == "kind" else (int if name in ("patients", "simulations") else float)(text)
             for name, text in row.items()}
            for row in csv.DictReader(file)
        ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
