"""Who is one person, and which videos are one study: asked by folds, splits, intervals and units. Knows ids only.

Videos are of one person where they share a patient, a study or their bytes, directly or through others. What three or
more patients share joins nobody: a study id that is counted anew for each patient, a placeholder, a test picture. A
study of two patients is taken for a mistake in one of them, and joins them. Where at least half of all (patient, study)
pairs have an id that repeats (three patients, or two and a number below 1000), the numbering is each patient's own, and
all studies are keyed by their patient.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.types.results import VideoRecord

Ids = npt.NDArray[np.int64]
_MANY: Final = 3
_SHORT: Final = re.compile(r"0*[0-9]{1,3}")


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which rows belong together: `codes` (n,) int64 from 0 to `count` - 1, numbered as they come.

    `by_study` and `by_video` are how many rows are of nobody whose patient is known, with and without a study.
    """

    codes: Ids
    count: int
    by_study: int
    by_video: int


def clusters(
    patients: Sequence[str | None],
    studies: Sequence[str | None],
    contents: Sequence[Hashable],
    rows: Ids | None = None,
) -> Clusters:
    """Rows by person, as the module says; with `rows` (m,) these only, decided over all."""
    if not len(patients) == len(studies) == len(contents):
        raise ValueError("one patient, study and id for each row")
    copied = Counter(contents)
    files = [content if copied[content] > 1 else None for content in contents]
    apart = {file for file, count in _owners(patients, files).items() if count >= _MANY}
    files = [
        f"{patient}/{file}" if patient is not None and file in apart else file
        for patient, file in zip(patients, files, strict=True)
    ]
    codes = joined([patients, study_keys(patients, studies), files])
    known = np.isin(codes, codes[[patient is not None for patient in patients]])
    chosen = np.arange(len(codes)) if rows is None else rows
    codes, nobodys = codes[chosen], [studies[row] for row in chosen[~known[chosen]].tolist()]
    by_video = nobodys.count(None)
    return Clusters(as_they_come(codes), len(np.unique(codes)), len(nobodys) - by_video, by_video)


def people(every: Iterable[VideoRecord], ids: Ids) -> Clusters:
    """The clusters of some videos `ids` (n,), decided over all of an index."""
    told = [(one.video_id, one.patient, one.study, one.content_sha256) for one in every]
    known, patients, studies, contents = zip(*told, strict=True) if told else ((), (), (), ())
    row_of = {video_id: row for row, video_id in enumerate(known)}
    return clusters(patients, studies, contents, np.array([row_of[video_id] for video_id in ids.tolist()], np.int64))


def joined(columns: Sequence[Sequence[Hashable]]) -> Ids:
    """Rows that share a value in one of some columns (n,), directly or through others: a code for each, (n,).

    None is shared by nobody. Codes are numbered as they come, from 0.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = count = len(columns[0])
    ends = [np.empty((2, 0), np.int64)]
    for column in columns:
        number_of: dict[Hashable, int] = {None: -1}
        told = np.fromiter((number_of.setdefault(value, size + len(number_of)) for value in column), np.int64, count)
        rows = np.flatnonzero(told >= 0)
        ends.append(np.stack([rows, told[rows]]))
        size += len(number_of) + 1
    rows, values = np.concatenate(ends, axis=1)
    edges = coo_array((np.ones(len(rows)), (rows, values)), (size, size))
    return as_they_come(connected_components(edges, directed=False)[1][:count])


def as_they_come(codes: Ids) -> Ids:
    """Codes (n,) anew: numbered from 0 as they first come up."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places].astype(np.int64)


def study_keys(patients: Sequence[str | None], studies: Sequence[str | None]) -> tuple[str | None, ...]:
    """The study of each row: as it is called, or with its patient before it (`P1/2`) where the id repeats."""
    owners = _owners(patients, studies)
    apart = {study for study, count in owners.items() if count >= _MANY}
    numbered = apart | {study for study, count in owners.items() if count > 1 and _SHORT.fullmatch(str(study))}
    if 2 * sum(owners[study] for study in numbered) >= owners.total():
        apart = set(owners)
    return tuple(
        f"{patient}/{study}" if patient is not None and study in apart else study
        for patient, study in zip(patients, studies, strict=True)
    )


def _owners(patients: Sequence[str | None], names: Sequence[Hashable]) -> Counter[Hashable]:
    """How many patients have each study, or each file."""
    pairs = {pair for pair in zip(patients, names, strict=True) if None not in pair}
    return Counter(name for _, name in pairs)


def with_study_keys(records: Iterable[VideoRecord]) -> tuple[list[VideoRecord], list[str]]:
    """Videos with their study as it is keyed, and what is to be said where that is not its id."""
    every = list(records)
    keys = study_keys([record.patient for record in every], [record.study for record in every])
    changed = {record.study for record, key in zip(every, keys, strict=True) if record.study != key}
    if not changed:
        return every, []
    note = f"{len(changed)} study ids are given anew for each patient, so studies are told apart as PATIENT/STUDY"
    return [replace(record, study=key) for record, key in zip(every, keys, strict=True)], [note]
