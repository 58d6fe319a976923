"""Scores of every video of an index, in one pass over what is stored. Knows no task and embeds no phrase.

Scores are kept in the catalog and are true for ever, as an id's vectors never change: only what is missing is scored.
What makes them is a `Scorer`, which each mode and each probe has; that of most modes stands here.

Similarities are inner products of unit vectors, in float32. With frame embeddings e_f, prompts t_p, the video
embedding v and the length `norm` that the mean of the frames had: the mean over frames and prompts of e_f . t_p
is norm * (v . mean_p t_p), so one product with the video embeddings gives it exactly.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from echosearch.errors import BadQuery
from echosearch.index import NO_FRAMES, IndexDescription, LiveRows, Segment, Snapshot, Store, SweepKey, Writer
from echosearch.types import IngestProgress, ProgressListener

_VIDEOS: Final = 8192
"""Video embeddings that are scored at once."""
_NUMBERS: Final = 1 << 21
"""Numbers of frame embeddings, or of their similarities, that one thread holds at once."""
_MOST_THREADS: Final = 8
_COMMIT_VIDEOS: Final = 1 << 18
_COMMIT_SECONDS: Final = 20.0

FORMULA_VERSION: Final = 1
"""Raised by hand when a change here or in `modes` changes a score."""

VIEW_TASK: Final = "view"
SURE: Final = 0.9
"""Weight of a class from which on a video is said to be of it: a doubtful one is not flagged."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Part = tuple[SweepKey, Ids, list[Doubles]]
Embed = Callable[[Sequence[str]], Floats]
"""Phrases to unit text embeddings (P, D) float32."""


class Vectors(Protocol):
    """Some videos as an index keeps them; frames are read only if they are asked for."""

    @property
    def pooled(self) -> Floats:
        """(n, D) video embeddings."""
        ...

    @property
    def norms(self) -> Floats:
        """(n,) length of each mean before it was renormalised."""
        ...

    @property
    def frames(self) -> Floats:
        """(F, D) frame embeddings, video after video."""
        ...

    @property
    def offsets(self) -> Ids:
        """(n + 1,) where each video's frames begin, and the end."""
        ...


class Scorer(Protocol):
    """Makes scores of vectors."""

    @property
    def key(self) -> SweepKey:
        """Under what its scores are kept."""
        ...

    @property
    def numbers_per_frame(self) -> int:
        """How many numbers it makes of each frame, 0 if it needs none."""
        ...

    def columns(self, videos: Vectors) -> list[Doubles]:
        """Its columns (n,) for some videos."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MeanSimilarity:
    """Mean over frames and prompts of the similarity, one for each row of `mean_prompts` (C, D)."""

    key: SweepKey
    mean_prompts: Floats

    @property
    def numbers_per_frame(self) -> int:
        """See `Scorer`."""
        return 0

    def columns(self, videos: Vectors) -> list[Doubles]:
        """See `Scorer`."""
        return list(mean_similarities(videos.pooled, videos.norms, self.mean_prompts).T)


def mean_prompts(groups: Sequence[Sequence[str]], embed: Embed) -> Floats:
    """(C, D) mean of the unit prompts of each group, not renormalised: published scores depend on its length."""
    return np.stack([embed(group).astype(np.float64).mean(axis=0).astype(np.float32) for group in groups])


def mean_similarities(vectors: Floats, norms: Floats, mean_prompts: Floats) -> Doubles:
    """(n, C): mean over frames and prompts of the similarity, for video embeddings (n, D) and mean prompts (C, D).

    EchoCLIP's published binary score (echonet/echo_CLIP).
    """
    products: Doubles = (vectors @ mean_prompts.T).astype(np.float64)
    products *= norms[:, None]
    return products


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """The scores of one task for all live videos: ids (n,) ascending, and each column (n,) by its name."""

    key: SweepKey
    ids: Ids
    columns: dict[str, Doubles]
    scored_now: int

    def kept(self, left: npt.NDArray[np.bool_]) -> Swept:
        """The same for some of the videos (n,)."""
        columns = {name: values[left] for name, values in self.columns.items()}
        return replace(self, ids=self.ids[left], columns=columns)


def sweep(
    store: Store,
    scorers: Sequence[Scorer],
    wait_seconds: float = 0.0,
    progress: ProgressListener | None = None,
    among: Ids | None = None,
) -> list[Swept]:
    """Score what is missing (`among` some ids), keep it, and give all; where nothing is missing, nothing is written."""
    with store.snapshot() as snapshot:
        _check(snapshot, scorers)
        missing = [_missing(snapshot, scorer.key, among) for scorer in scorers]
    if any(len(ids) for ids in missing):
        with store.writer(wait_seconds) as writer:
            missing = sweep_under(writer, scorers, progress, among)
    with store.snapshot() as snapshot:
        return [_swept(snapshot, scorer.key, len(ids)) for scorer, ids in zip(scorers, missing, strict=True)]


def sweep_under(
    writer: Writer, scorers: Sequence[Scorer], progress: ProgressListener | None = None, among: Ids | None = None
) -> list[Ids]:
    """Score and keep what is missing under a lock that is held already; gives the ids that each scorer lacked."""
    with writer.snapshot() as snapshot:
        missing = [_missing(snapshot, scorer.key, among) for scorer in scorers]
        _keep(writer, score(snapshot.rows, scorers, missing, progress))
    return missing


def sweep_without_keeping(
    store: Store,
    scorers: Sequence[Scorer],
    progress: ProgressListener | None = None,
    among: Ids | None = None,
) -> list[Swept]:
    """Score every live video (`among` some ids) and keep nothing: for an index that may not be written to."""
    with store.snapshot() as snapshot:
        _check(snapshot, scorers)
        every = _only(snapshot.rows.ids, among)
        found = [part for parts in score(snapshot.rows, scorers, [every] * len(scorers), progress) for part in parts]
    return [_gathered(scorer.key, [part for part in found if part[0] is scorer.key]) for scorer in scorers]


def tells_views(description: IndexDescription) -> bool:
    """Whether the index's model is measured to tell views."""
    preset = description.standing.preset
    return preset is not None and VIEW_TASK in preset.measured


def predict_views(writer: Writer, scorer: Scorer) -> None:
    """Sweep the view task where videos have no score of it yet, and keep the views of which it is sure."""
    sweep_under(writer, [scorer])
    with writer.snapshot() as snapshot:
        found = sure(_swept(snapshot, scorer.key, 0))
        ids, views = snapshot.catalog.videos.columns("video_id", "view_predicted")
    before = dict(zip(ids.tolist(), views.tolist(), strict=True))
    if changed := {video_id: name for video_id, name in found.items() if before[video_id] != name}:
        with writer.transaction() as transaction:
            transaction.videos.predict_views(changed)


def sure(kept: Swept) -> dict[int, str | None]:
    """The class of each video of which one has nearly all of the weight; None where no class has."""
    names, weights = list(kept.columns), np.array(list(kept.columns.values()))  # (C, n)
    best = zip(weights.max(axis=0) >= SURE, weights.argmax(axis=0), strict=True)
    found = [names[place] if is_sure else None for is_sure, place in best]
    return dict(zip(kept.ids.tolist(), found, strict=True))


def columns_of(snapshot: Snapshot, scorer: Scorer, ids: Ids) -> Doubles:
    """The columns (n, C) that a scorer makes of live videos with ids (n,) ascending; nothing is kept.

    ValueError unless the ids are ascending and live, one or more.
    """
    _check(snapshot, [scorer])
    if not len(ids) or not np.all(np.diff(ids) > 0) or not np.all(_among(ids, snapshot.rows.ids)):
        raise ValueError("ids are ascending, live, and one or more")
    found = [(part, columns) for parts in score(snapshot.rows, [scorer], [ids]) for _, part, columns in parts]
    order = np.argsort(np.concatenate([part for part, _ in found]))
    return np.concatenate([np.stack(columns, axis=1) for _, columns in found])[order]


def stored(snapshot: Snapshot, key: SweepKey) -> Swept | None:
    """What is kept of a task for the live videos, or None where it was never swept."""
    return None if snapshot.catalog.sweeps.id_of(key) is None else _swept(snapshot, key, 0)


def _check(snapshot: Snapshot, scorers: Sequence[Scorer]) -> None:
    by_frame = [scorer.key.task for scorer in scorers if scorer.numbers_per_frame]
    if by_frame and snapshot.description.frames_dtype == NO_FRAMES:
        raise BadQuery(
            f"{', '.join(by_frame)} needs frame embeddings, and this index keeps none (--frames none); "
            "use the approximate form (a probe: one without motion), or ingest into another index"
        )


def _missing(snapshot: Snapshot, key: SweepKey, among: Ids | None) -> Ids:
    """Live ids that have no score yet, ascending."""
    wanted = _only(snapshot.rows.ids, among)
    sweep_id = snapshot.catalog.sweeps.id_of(key)
    if sweep_id is None:
        return wanted
    scored, _ = snapshot.catalog.sweeps.scores(sweep_id, 0)
    return wanted[~_among(wanted, scored)]


def _only(ids: Ids, among: Ids | None) -> Ids:
    return ids if among is None else ids[_among(ids, among)]


def _swept(snapshot: Snapshot, key: SweepKey, scored_now: int) -> Swept:
    sweep_id = snapshot.catalog.sweeps.id_of(key)
    ids = np.empty(0, np.int64)
    columns: dict[str, Doubles] = {name: np.empty(0) for name in key.columns}
    if sweep_id is not None:
        for number, name in enumerate(key.columns):
            scored, values = snapshot.catalog.sweeps.scores(sweep_id, number)
            live = _among(scored, snapshot.rows.ids)
            ids, columns[name] = scored[live], values[live]
    return Swept(key, ids, columns, scored_now)


def _gathered(key: SweepKey, parts: Sequence[Part]) -> Swept:
    ids = np.concatenate([np.empty(0, np.int64), *(ids for _, ids, _ in parts)])
    order = np.argsort(ids)
    columns = {
        name: np.concatenate([np.empty(0), *(columns[number] for _, _, columns in parts)])[order]
        for number, name in enumerate(key.columns)
    }
    return Swept(key, ids[order], columns, len(ids))


def _commit(writer: Writer, parts: Sequence[Part]) -> None:
    with writer.transaction() as transaction:
        for part in parts:
            transaction.sweeps.add(*part)


def _keep(writer: Writer, batches: Iterator[list[Part]]) -> None:
    """Commit now and then, and what is scored when the work ends or is interrupted."""
    waiting: list[Part] = []
    committed = time.monotonic()
    try:
        for parts in batches:
            waiting += parts
            count = sum(len(ids) for _, ids, _ in waiting)
            if count >= _COMMIT_VIDEOS or time.monotonic() - committed >= _COMMIT_SECONDS:
                _commit(writer, waiting)
                waiting, committed = [], time.monotonic()
    finally:
        if waiting:
            _commit(writer, waiting)


def _among(ids: Ids, known: Ids, everything: Ids | None = None) -> npt.NDArray[np.bool_]:
    """Which of `ids` (n,) are among the ascending `known`: a look-up, where numpy's own would sort them all again.

    Both are some of `everything`, where that is given; so nothing is looked up where `known` is all of it.
    """
    if everything is not None and len(known) == len(everything):
        return np.ones(len(ids), bool)
    if not len(known):
        return np.zeros(len(ids), bool)
    return np.asarray(known[np.minimum(np.searchsorted(known, ids), len(known) - 1)] == ids)


# The pass over the segments.


def score(
    rows: LiveRows, scorers: Sequence[Scorer], missing: Sequence[Ids], progress: ProgressListener | None = None
) -> Iterator[list[Part]]:
    """Scores of the `missing` ids of each scorer, a stretch of a segment at a time: memory is bounded."""
    total, done = max(map(len, missing), default=0), 0
    if total < len(rows):
        total = len(np.unique(np.concatenate(missing)))
    report = progress or (lambda _: None)
    report(IngestProgress(done=0, total=total, failed=0, committed=0))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_threads()) as pool:
        for stretch, columns in _in_order(pool, _stretches(rows, scorers, missing), scorers):
            masks = [_among(stretch.ids, ids, rows.ids) for ids in missing]
            yield [
                (scorer.key, stretch.ids[mask], [column[mask] for column in mine])
                for scorer, mask, mine in zip(scorers, masks, columns, strict=True)
                if mask.any()
            ]
            done += len(stretch.ids)
            report(IngestProgress(done=done, total=total, failed=0, committed=done))


def _threads() -> int:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, _MOST_THREADS)


def _in_order(
    pool: ThreadPoolExecutor, stretches: Iterator[_Stretch], scorers: Sequence[Scorer]
) -> Iterator[tuple[_Stretch, list[list[Doubles]]]]:
    """The columns of each scorer for each stretch, in order, with only a few under way, so that they do not pile up."""

    def begin(stretch: _Stretch) -> tuple[_Stretch, Future[list[list[Doubles]]]]:
        return stretch, pool.submit(stretch.scored, scorers)

    running = deque(begin(stretch) for stretch in islice(stretches, _threads() + 1))
    while running:
        stretch, future = running.popleft()
        columns = future.result()
        running.extend(begin(following) for following in islice(stretches, 1))
        yield stretch, columns


def _stretches(rows: LiveRows, scorers: Sequence[Scorer], missing: Sequence[Ids]) -> Iterator[_Stretch]:
    """The rows to score in runs that fit into memory; with frames, of bounded numbers of similarities."""
    numbers = max((scorer.numbers_per_frame for scorer in scorers), default=0)
    for segment, live in rows.by_segment():
        ids = segment.ids[live]
        wanted = live[np.logical_or.reduce([_among(ids, some, rows.ids) for some in missing])]
        if numbers:
            frames = np.cumsum(np.diff(segment.offsets)[wanted])
            most = max(1, _NUMBERS // max(numbers, segment.info.dim))
            runs = np.split(wanted, np.flatnonzero(np.diff(frames // most)) + 1)
        else:
            runs = [wanted[first : first + _VIDEOS] for first in range(0, len(wanted), _VIDEOS)]
        yield from (_Stretch(segment, run) for run in runs if len(run))


class _Stretch:
    """Some rows of a segment, read when asked for; without a copy where they follow each other."""

    def __init__(self, segment: Segment, rows: Ids) -> None:
        self._segment = segment
        self._rows = rows
        self.ids: Ids = segment.ids[rows]
        self._first, self._end = int(rows[0]), int(rows[-1]) + 1
        self._whole = self._end - self._first == len(rows)

    def scored(self, scorers: Sequence[Scorer]) -> list[list[Doubles]]:
        """The columns of each scorer; what was read for them is let go."""
        columns = [scorer.columns(self) for scorer in scorers]
        self.__dict__.pop("frames", None)
        return columns

    @property
    def pooled(self) -> Floats:
        return self._of(self._segment.pooled)

    @property
    def norms(self) -> Floats:
        return self._of(self._segment.norms)

    @cached_property
    def frames(self) -> Floats:
        frames, offsets = self._segment.frames, self._segment.offsets
        if self._whole:
            return np.asarray(frames[offsets[self._first] : offsets[self._end]], np.float32)
        parts = [frames[offsets[row] : offsets[row + 1]] for row in self._rows]
        return np.concatenate(parts, dtype=np.float32)

    @property
    def offsets(self) -> Ids:
        lengths = np.diff(self._segment.offsets)[self._rows]
        return np.concatenate([[0], np.cumsum(lengths)])

    def _of(self, values: npt.NDArray[np.float32]) -> Floats:
        return np.asarray(values[self._first : self._end] if self._whole else values[self._rows])
