"""Folds over whole patients for labels of two classes. Knows arrays only."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels

MOST_FOLDS: Final = 5
_DRAWS: Final = 20

Ids = npt.NDArray[np.int64]


def stratified_folds(labels: npt.NDArray[np.bool_], clusters: Ids, seed: int = 0) -> list[tuple[Ids, Ids]]:
    """Rows to learn from and rows left out; a patient is never in both, and both classes are always learnt from.

    Five folds, or as many as there are patients with the rarer label. With few of them a draw can put all of a class
    into one fold; then another is drawn. BadLabels where there is none.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(clusters[labels])), len(np.unique(clusters[~labels])))
    for count in range(min(MOST_FOLDS, fewest), 1, -1):
        for draw in range(seed, seed + _DRAWS):
            splitter = StratifiedGroupKFold(count, shuffle=True, random_state=draw)
            folds = [(rest, part) for rest, part in splitter.split(labels, labels, clusters) if len(part)]
            if all(0 < labels[rest].sum() < len(rest) for rest, _ in folds):
                return folds
    raise BadLabels("too few patients have one of the labels to learn from some and judge by others")
