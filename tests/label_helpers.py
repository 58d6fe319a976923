"""Scores beside labels, and lists of labels, as tests of calibrations, probes and evaluations need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echosearch.learning.labels import LabelFile, read_labels
from echosearch.learning.sample import Sample
from echosearch.types.people import clusters


def sample_of(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    patients: Sequence[Any] | npt.NDArray[Any] | None = None,
    studies: Sequence[str | None] | None = None,
    first_id: int = 1,
) -> Sample:
    """A sample as it comes from an index; without `patients`, each video is of another one."""
    numbers = np.asarray(scores, np.float64)
    ids = np.arange(first_id, first_id + len(numbers))
    names = [f"P{number}" for number in ids] if patients is None else list(patients)
    told = tuple(None if name is None else str(name) for name in names)
    studies = tuple(studies or [None] * len(ids))
    return Sample(
        ids=ids,
        scores=numbers,
        labels=np.asarray(labels, np.float64),
        studies=studies,
        patients=told,
        contents=tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in ids),
        clusters=clusters(told, studies, ids.tolist()).codes,
        warnings=(),
    )


def labels_of(folder: Path, labels: Mapping[Any, object], key: str = "video", name: str = "labels.csv") -> LabelFile:
    """A list of labels as it is read from a CSV of two columns."""
    path = folder / name
    path.write_text(f"{key},label\n" + "".join(f"{video},{label}\n" for video, label in labels.items()))
    return read_labels(path)
