"""From a question's vector to hits: the nearest videos, or units with their best ones. Knows no model, no printing."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery
from echosearch.index import Snapshot, Weighting
from echosearch.search.question import Question
from echosearch.types import Hit, ScoreKind, VideoRecord

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A unit vector (D,) to look for, and what its scores are to be called."""

    vector: Floats
    score_kind: ScoreKind

    @property
    def weighting(self) -> Weighting:
        """The arithmetic behind the score."""
        return "mean" if self.score_kind == "mean" else "cosine"


def combine(question: Question, vectors: Floats) -> Floats:
    """One unit query (D,) of the unit vectors (n, D) of a question's terms: weighted mean minus mean, renormalised.

    An example that is alone is taken as it is. BadQuery when the terms cancel out.
    """
    if len(vectors) == 1 and question.examples:
        alone: Floats = vectors[0]
        return alone
    wanted, rows = len(question.wanted), vectors.astype(np.float64)
    weights = np.array([term.weight for term in question.terms])
    mean = np.average(rows[:wanted], axis=0, weights=weights[:wanted])
    if question.unwanted:
        mean = mean - np.average(rows[wanted:], axis=0, weights=weights[wanted:])
    length = np.linalg.norm(mean)
    if not length > 1e-6:
        what = "phrases" if not question.examples else "terms of the question"
        raise BadQuery(f"the {what} cancel each other out; nothing is left to search for")
    query: Floats = (mean / length).astype(np.float32)
    return query


def nearest(
    snapshot: Snapshot,
    question: Question,
    query: Query,
    left_out: Set[int] = frozenset(),
    among: npt.NDArray[np.int64] | None = None,
) -> tuple[Hit, ...]:
    """The best videos for a query, best first, ties by id; those `left_out` do not count as hits.

    Ranks count hits; percentiles are over all live videos, or over the live ones of `among` where these ids (m,)
    ascending are given, and in both cases over those left out too.
    """
    searched = len(snapshot.rows.allowed(among))
    wanted = searched if question.k is None else question.offset + question.k + len(left_out)
    [ranking] = snapshot.index.nearest(query.vector[None], wanted, query.weighting, among)
    places = [place for place, video_id in enumerate(ranking.ids.tolist()) if video_id not in left_out]
    return _hits(snapshot, question, query, ranking.ids[places], ranking.scores[places], searched, ranking.scores)


def best_of_units(
    snapshot: Snapshot, question: Question, query: Query, video_ids: Sequence[int], scores: Sequence[float]
) -> tuple[Hit, ...]:
    """Hits of units in the order of their rank, by ids and scores of their best videos; percentiles are of units."""
    every = np.array(scores, np.float32)
    return _hits(snapshot, question, query, np.array(video_ids, np.int64), every, len(every), every)


def _hits(
    snapshot: Snapshot,
    question: Question,
    query: Query,
    ids: npt.NDArray[np.int64],
    scores: Floats,
    searched: int,
    among: Floats,
) -> tuple[Hit, ...]:
    """The page of hits that a question asks for, of ranked ids; `among` are the highest scores of all `searched`."""
    if question.min_score is not None:
        scores = scores[scores.astype(np.float64) >= question.min_score]
    page = slice(question.offset, None if question.k is None else question.offset + question.k)
    ids, scores = ids[: len(scores)][page], scores[page]
    records = {record.video_id: record for record in snapshot.catalog.videos.records(ids.tolist())}
    percentiles = _percentiles(scores, among, searched)
    return tuple(
        _hit(snapshot, query, rank, float(score), float(percentile), records[video_id])
        for rank, (video_id, score, percentile) in enumerate(
            zip(ids.tolist(), scores, percentiles, strict=True), start=question.offset + 1
        )
    )


def _percentiles(scores: Floats, among: Floats, searched: int) -> npt.NDArray[np.float64]:
    """For each score the share of what was searched, in percent, that scores no higher.

    `among` begins with the best of all, so those that score higher are the ones before it.
    """
    higher = np.searchsorted(-among, -scores, side="left")
    return 100.0 * (searched - higher) / max(searched, 1)


def _hit(snapshot: Snapshot, query: Query, rank: int, score: float, percentile: float, record: VideoRecord) -> Hit:
    best_frame = _best_frame(snapshot, query, record.video_id)
    seconds = None if best_frame is None or record.fps is None else best_frame / record.fps
    return Hit(
        rank=rank,
        score=score,
        percentile=percentile,
        video_id=record.video_id,
        path=record.path,
        study=record.study,
        patient=record.patient,
        view=record.view,
        best_frame=best_frame,
        best_time_seconds=seconds,
        view_predicted=record.view_predicted,
    )


def _best_frame(snapshot: Snapshot, query: Query, video_id: int) -> int | None:
    """The 0-based frame of the file that is nearest to the query; the first of equals; None without frames."""
    stored = snapshot.stored(video_id)
    if stored.frame_embeddings is None:
        return None
    scores = (stored.frame_embeddings.astype(np.float64) * query.vector).sum(axis=1)
    return int(stored.frame_numbers[int(np.argmax(scores))])
