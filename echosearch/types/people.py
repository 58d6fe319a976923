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
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from echosearch.types.results import VideoRecord

Ids = npt.NDArray[np.int64]

_MANY: Final = 3
_SHORT: Final = re.compile(r"0*[0-9]{1,3}")


class Belonging(NamedTuple):
    """Whose a video is, and what it shows: of a `VideoRecord` what the rules here and those of views ask."""

    video_id: int
    study: str | None
    patient: str | None
    view: str | None
    content_sha256: str


class _Row(Protocol):
    @property
    def video_id(self) -> int: ...
    @property
    def study(self) -> str | None: ...
    @property
    def patient(self) -> str | None: ...
    @property
    def content_sha256(self) -> str: ...


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which rows belong together: `codes` (n,) int64 from 0 on, numbered as they come.

    `held` (n,) says by what: 0 their person has a known patient, 1 by a study only, 2 by neither.
    """

    codes: Ids
    held: npt.NDArray[np.int8]

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return int(self.codes.max(initial=-1)) + 1

    @property
    def by_study(self) -> int:
        """How many rows have a study, and nobody whose patient is known."""
        return int((self.held == 1).sum())

    @property
    def by_video(self) -> int:
        """How many rows have neither."""
        return int((self.held == 2).sum())


def clusters(patients: Sequence[str | None], studies: Sequence[str | None], contents: Sequence[Hashable]) -> Clusters:
    """Rows (n,) by person, as the module says."""
    if not len(patients) == len(studies) == len(contents):
        raise ValueError("one patient, study and id for each row")
    apart = {content for content, count in _owners(patients, contents).items() if count >= _MANY}
    named = zip(patients, study_keys(patients, studies), contents, strict=True)
    keys = [
        [("bytes", content, patient if content in apart else None), ("study", study, None), ("patient", patient, None)]
        for patient, study, content in named
    ]
    codes = joined([[key for key in own if key[1] is not None] for own in keys])
    known = np.isin(codes, codes[[patient is not None for patient in patients]])
    held = np.where(known, 0, [1 if study is not None else 2 for study in studies])
    return Clusters(codes, held.astype(np.int8))


def people(rows: Iterable[_Row], ids: Ids) -> Clusters:
    """The clusters of some videos `ids` (n,), decided over all `rows` of the index."""
    every = list(rows)
    told = clusters([row.patient for row in every], [row.study for row in every], [row.content_sha256 for row in every])
    place = {row.video_id: number for number, row in enumerate(every)}
    wanted = [place[video_id] for video_id in ids.tolist()]
    return Clusters(_as_they_come(told.codes[wanted]), told.held[wanted])


def joined(keys: Sequence[Sequence[Hashable]]) -> Ids:
    """Which rows (n,) share a key, directly or through others: a code for each from 0, numbered as they come."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number_of: dict[Hashable, int] = {}
    columns = [number_of.setdefault(key, len(number_of)) for own in keys for key in own]
    rows = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
    size = len(keys) + len(number_of)
    edges = coo_array((np.ones(len(rows)), (rows, np.array(columns, np.int64) + len(keys))), (size, size))
    return _as_they_come(connected_components(edges, directed=False)[1][: len(keys)])


def _as_they_come(codes: Ids) -> Ids:
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
