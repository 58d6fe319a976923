"""From a query embedding to hits: leave out, find the nearest, fetch their rows. Knows no model and no printing."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery
from echosearch.index import Ranking, Snapshot, Weighting
from echosearch.types import Exclude, Hit, ScoreKind, VideoRecord, joined, people, study_keys, whole


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A unit vector (D,) to look for, and what its scores are to be called."""

    vector: npt.NDArray[np.float32]
    score_kind: ScoreKind

    @property
    def weighting(self) -> Weighting:
        """The arithmetic behind the score."""
        return "mean" if self.score_kind == "mean" else "cosine"


def combine(phrases: npt.NDArray[np.float32], negatives: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One unit query (D,) of unit phrases (P, D) and unwanted ones (N, D): mean minus mean, renormalised.

    BadQuery when they cancel out.
    """
    mean = phrases.astype(np.float64).mean(axis=0)
    if len(negatives):
        mean = mean - negatives.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    if not length > 1e-6:
        raise BadQuery("the phrases cancel each other out; nothing is left to search for")
    query: npt.NDArray[np.float32] = (mean / length).astype(np.float32)
    return query


def search(
    snapshot: Snapshot,
    query: Query,
    k: int,
    min_score: float | None = None,
    left_out: Set[int] = frozenset(),
    among: npt.NDArray[np.int64] | None = None,
) -> tuple[Hit, ...]:
    """The k best videos for a query, best first, ties by id; those `left_out` do not count as hits.

    Ranks count hits; percentiles are over all live videos, or over the live ones of `among` where these ids (m,)
    ascending are given, and in both cases over those left out too. BadQuery when k is less than 1.
    """
    whole("k", k, 1, error=BadQuery)
    [ranking] = snapshot.index.nearest(query.vector[None], k + len(left_out), query.weighting, among)
    percentiles = _percentiles(ranking, len(snapshot.rows.allowed(among)))
    wanted = [
        position
        for position, (video_id, score) in enumerate(zip(ranking.ids, ranking.scores, strict=True))
        if int(video_id) not in left_out and (min_score is None or float(score) >= min_score)
    ][:k]
    records = {record.video_id: record for record in snapshot.catalog.videos.records(ranking.ids[wanted].tolist())}
    return tuple(
        _hit(
            snapshot,
            query,
            rank,
            float(ranking.scores[position]),
            float(percentiles[position]),
            records[int(ranking.ids[position])],
        )
        for rank, position in enumerate(wanted, start=1)
    )


def _percentiles(ranking: Ranking, num_videos: int) -> npt.NDArray[np.float64]:
    """For each score the share of the videos searched, in percent, that score no higher.

    The ranking begins with the best of them, so those that score higher are the ones before it.
    """
    higher = np.searchsorted(-ranking.scores, -ranking.scores, side="left")
    return 100.0 * (num_videos - higher) / max(num_videos, 1)


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


def ids_to_leave_out(
    snapshot: Snapshot, example: VideoRecord, exclude: Sequence[Exclude]
) -> tuple[set[int], list[str]]:
    """Ids of the example's study, person or content (see `types.people`), and warnings where that is not known.

    BadQuery when the example itself has no study or patient to go by.
    """
    left_out: set[int] = set()
    warnings = []
    for what in exclude:
        if what == "content":
            left_out |= snapshot.catalog.videos.ids_where(content_sha256=example.content_sha256)
            continue
        value = example.study if what == "study" else example.patient
        if value is None:
            raise BadQuery(
                f"video {example.video_id} has no {what} in the catalog, so --exclude {what} cannot be decided; "
                "ingest with --manifest to give videos their study and patient"
            )
        every = list(snapshot.catalog.videos.belongings())
        ids = np.array([each.video_id for each in every], np.int64)
        if what == "patient":
            whose = people(every, ids).codes
        else:
            whose = joined([study_keys([each.patient for each in every], [each.study for each in every])])
        left_out |= set(ids[whose == whose[ids == example.video_id]].tolist())
        if unknown := snapshot.catalog.counts.without(what):
            warnings.append(
                f"{unknown} videos have no {what} in the catalog; hits among them may be of the same {what}"
            )
    return left_out, warnings
