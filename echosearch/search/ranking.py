"""From a question, and what the model makes of its terms, to an answer: a vector, then hits. Knows no model.

What reads files or selects units is imported when it is needed: phrases alone do without.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadQuery, shown
from echosearch.index import Snapshot, Weighting
from echosearch.search.question import Example, Phrase, Question
from echosearch.search.result import Filtering, SearchResult, Step
from echosearch.types import EncodedText, Hit, ScoreKind, VideoRecord

if TYPE_CHECKING:
    from echosearch.search.examples import Embedded
    from echosearch.search.selection import Ranked
    from echosearch.search.vocabulary import Vocabulary

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


@dataclass(frozen=True, slots=True, eq=False)
class Vectored:
    """A question as one unit vector (D,), the videos that its wanted examples are, and what is to be said."""

    vector: Floats
    examples: list[VideoRecord]
    notes: list[str]


def answer(
    snapshot: Snapshot,
    question: Question,
    encoded: Sequence[EncodedText | Embedded | None],
    vocabulary: Vocabulary | None,
    index: str,
    notes: Sequence[str],
) -> SearchResult:
    """The answer to a question: its terms become a vector, what belongs to examples is left out, the nearest are hits.

    `vocabulary` is needed where there is a filter or units are asked for; `notes` go before others.
    """
    found = embed(snapshot, question, encoded)
    query = Query(found.vector, question.score_kind)
    left_out, warnings = _left_out(snapshot, question, found.examples)
    if question.is_of_units:
        assert vocabulary is not None
        hits, filtering, steps, more = _units(snapshot, question, query, vocabulary, left_out)
    else:
        hits, filtering, more = _videos(snapshot, question, query, vocabulary, left_out)
        steps = None
    return SearchResult(
        query=question.asked(filtering, steps),
        index=index,
        generation=snapshot.generation,
        model=snapshot.description.model,
        recipe=snapshot.description.recipe.id,
        score_kind=question.score_kind,
        warnings=(*notes, *snapshot.problems, *found.notes, *warnings, *more),
        hits=hits,
    )


def embed(snapshot: Snapshot, question: Question, encoded: Sequence[EncodedText | Embedded | None]) -> Vectored:
    """A question as one unit vector, from what the model makes of its terms, in their order."""
    vectors, examples, notes = [], [], []
    for place, (term, its) in enumerate(zip(question.terms, encoded, strict=True)):
        if isinstance(its, EncodedText):
            vectors.append(its.vector)
            if its.cut and isinstance(term, Phrase):
                notes.append(f"the model holds only the beginning of {shown(term.text)}; cut: {shown(its.cut)}")
            continue
        from echosearch.search.examples import find

        assert isinstance(term, Example)
        example = find(snapshot, term, its)
        vectors.append(example.vector)
        notes += example.notes
        if example.record is not None and place < len(question.wanted):
            examples.append(example.record)
    return Vectored(combine(question, np.stack(vectors)), examples, notes)


def _left_out(snapshot: Snapshot, question: Question, examples: Sequence[VideoRecord]) -> tuple[set[int], list[str]]:
    if not question.exclude:
        return set(), []
    from echosearch.search.examples import belonging

    return belonging(snapshot, examples, question.exclude)


def _videos(
    snapshot: Snapshot, question: Question, query: Query, vocabulary: Vocabulary | None, left_out: Set[int]
) -> tuple[tuple[Hit, ...], Filtering | None, list[str]]:
    """Hits among single videos, what the filter left, and what is to be said."""
    left_out = question.video_ids | left_out
    if question.where and vocabulary is not None:
        from echosearch.search.criteria import matching

        found = matching(snapshot, vocabulary, question.where)
        notes = [*found.notes, f"{found.sentence}; percentiles are among those"]
        return nearest(snapshot, question, query, left_out, found.ids), found.summary(question.where), notes
    notes = _if_empty(snapshot)
    if not notes and question.k is not None and question.k > len(snapshot.rows):
        notes.append(f"k is {question.k}, and the index holds {len(snapshot.rows)} videos")
    return nearest(snapshot, question, query, left_out), None, notes


def _if_empty(snapshot: Snapshot) -> list[str]:
    return [] if len(snapshot.rows) else ["the index is empty; add videos with: echosearch ingest VIDEOS"]


def _units(
    snapshot: Snapshot, question: Question, query: Query, vocabulary: Vocabulary, left_out: Set[int]
) -> tuple[tuple[Hit, ...], Filtering | None, tuple[Step, ...], list[str]]:
    """Hits among studies, patients or one video of each, as a cohort has them, each step, and what is to be said."""
    from echosearch.search.criteria import read_criteria
    from echosearch.search.selection import Units, select

    criteria, notes = read_criteria(snapshot, vocabulary, question.where)
    units = Units.best(question.level, question.per)
    found = select(snapshot, units, criteria, ranked(snapshot, question, query, left_out))
    ids = np.array([video_id for video_id in found.best if video_id is not None], np.int64)
    scores = np.array([score for score in found.scores if score is not None], np.float32)
    hits = _hits(snapshot, question, query, ids, scores, len(scores), scores)
    steps = [step for step in found.steps[1:] if step.no or step.unknown]
    left = [f"{step.name}: {step.kept} left; no: {step.no}, unknown: {step.unknown}" for step in steps]
    return hits, None, found.steps, [*_if_empty(snapshot), *notes, *found.notes, *left]


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


def ranked(
    snapshot: Snapshot, question: Question, query: Query, left_out: Set[int] = frozenset(), top: int | None = None
) -> Ranked:
    """Ranked as a question asks for, by exact scores."""
    from echosearch.search.selection import Ranked

    rows = snapshot.rows
    return Ranked(
        lambda ids: rows.scores(rows.positions(ids), query.vector, query.weighting),
        question.ranking,
        question.video_ids,
        left_out,
        top,
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
