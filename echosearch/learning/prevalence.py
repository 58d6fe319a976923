"""How common a finding is among videos that a threshold has called. Knows arrays; no task, no index, no file."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from echosearch.errors import BadQuery
from echosearch.learning.intervals import FEWEST, NONE, Codes, Estimate, Interval, few_labels, kish, rows_of
from echosearch.learning.statistics import Bools

_Z: Final = 1.959964


def rogan_gladen(apparent: float, sensitivity: float, specificity: float) -> float:
    """True prevalence from the share that a test calls positive, cut to 0..1 (Rogan & Gladen 1978).

    BadQuery where the test does no better than chance.
    """
    gain = sensitivity + specificity - 1
    if not gain > 0:  # NaN fails this as well
        raise BadQuery(
            f"with a sensitivity of {sensitivity:.3g} and a specificity of {specificity:.3g} the threshold does no "
            "better than chance, so no prevalence follows from it; calibrate with more labels or other prompts"
        )
    return min(1.0, max(0.0, (apparent + specificity - 1) / gain))


def prevalence(outcomes: tuple[Codes, Bools, Bools], predicted: Bools, clusters: Codes) -> Estimate:
    """How many of some videos (n,) have a finding, from how many a threshold calls so and how it did on others.

    `outcomes` are the clusters by patient, labels and calls (n,) of labelled videos that it was not chosen on.
    Interval by Lang & Reiczigel (2014), at Kish's effective numbers of patients: it has a width also where all are
    called right. No figure where labels or patients are too few; BadQuery as `rogan_gladen`.
    """
    known, labels, called = outcomes
    counts = (int(predicted.sum()), len(predicted), len(np.unique(clusters)))
    if few := few_labels(known, labels):
        return Estimate(None, NONE, *counts, few)
    sensitivity, specificity = float(called[labels].mean()), float(1 - called[~labels].mean())
    value = rogan_gladen(float(predicted.mean()), sensitivity, specificity)
    if counts[2] < FEWEST:
        return Estimate(None, NONE, *counts, f"no prevalence below {FEWEST} patients")
    tested, have, have_not = (kish(rows_of(codes)) for codes in (clusters, known[labels], known[~labels]))
    found = (sensitivity * have + 1) / (have + 2)
    rejected = (specificity * have_not + 1) / (have_not + 2)
    apparent = (predicted.mean() * tested + _Z**2 / 2) / (tested + _Z**2)
    gain = found + rejected - 1
    middle = float(apparent + rejected - 1) / gain
    doubt = (found * (1 - found) / (have + 2), rejected * (1 - rejected) / (have_not + 2))
    shift = 2 * _Z**2 * (middle * doubt[0] - (1 - middle) * doubt[1])
    variance = apparent * (1 - apparent) / (tested + _Z**2) + middle**2 * doubt[0] + (1 - middle) ** 2 * doubt[1]
    half = _Z * math.sqrt(variance) / gain
    low, high = (min(1.0, max(0.0, middle + shift + side)) for side in (-half, half))
    return Estimate(value, Interval(min(low, value), max(high, value)), *counts)
