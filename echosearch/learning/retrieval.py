"""Reports and videos that look for each other: pairs, ranks, and published figures beside. Knows no index and no model.

The rank of a pair's own video for its text is its place, from 1, among the videos of all N pairs, and likewise the
other way round. Equal scores share the middle of their places, so that a system that tells nothing apart has the
rank (N + 1) / 2, and a tie for the first place is no hit at 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from echosearch.errors import BadLabels, BadOption
from echosearch.learning.intervals import Estimate, estimates, share
from echosearch.learning.keys import KeyedFile, Row, find_key, keyed_cells, named_column
from echosearch.learning.statistics import Statistic, Weights
from echosearch.tables import Table, read_table
from echosearch.types import BESIDE, YES, Answer, VideoRecord, people, shows, with_study_keys

Score = Literal["mean", "cosine"]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

TEXT_COLUMNS: Final = ("report", "text", "impression", "findings")
"""A list of reports has one of these, in whatever case, or is told which column is the text."""

CUTS: Final = (1, 5, 10)
"""R@k is the share of pairs that find each other among the first k."""

_SAME: Final = 2e-7
"""Scores this near each other are equal: vectors of float32 cannot tell them apart, and their rounding must not."""
_SCORES_AT_ONCE: Final = 1 << 22
_UNIT: Final = 1e-3
"""How far the length of an embedding may be from 1."""


class ReportFile(KeyedFile[str]):
    """The reports of a CSV."""

    noun = "report"


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """N texts, each with its own video: ids (N,) int64, each once, and the patients as clusters (N,) int64."""

    texts: tuple[str, ...]
    video_ids: Ids
    clusters: Ids
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedRetrieval:
    """Figures that the authors of a model printed, of so many pairs of their own patients."""

    model: str
    pairs: int
    mean_rank: float
    r_at_10: float
    source: str

    @property
    def mean_rank_share(self) -> float:
        """The mean rank as a share of the pairs: 0.5 is chance."""
        return self.mean_rank / self.pairs


_SOURCE: Final = "Nature Medicine 2024, arXiv 2308.15670"
PUBLISHED: Final = (
    PublishedRetrieval("EchoCLIP", 21_484, 571, 0.160, _SOURCE),
    PublishedRetrieval("EchoCLIP-R", 21_484, 206, 0.343, _SOURCE),
)
"""Mean cross-modal retrieval rank, and R@10 from text to video."""


@dataclass(frozen=True, slots=True)
class PublishedFigures(Answer):
    """What others published, with the mean rank as a share of their pairs."""

    figures: PublishedRetrieval = field(metadata=BESIDE)
    mean_rank_share: float


@dataclass(frozen=True, slots=True)
class RetrievalFigures(Answer):
    """The figures of a `Retrieval`, those of each direction by name."""

    pairs: int
    patients: int
    score: Score
    text_to_video: dict[str, Estimate]
    video_to_text: dict[str, Estimate]
    mean_rank: Estimate
    mean_rank_share: Estimate
    published: tuple[PublishedFigures, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One way round: ranks (N,) from 1, and `r_at_1`, `r_at_5`, `r_at_10`, `median_rank`, `mean_rank` by name."""

    ranks: Doubles
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """How well texts and videos of N pairs find each other; intervals are over patients, with the N candidates fixed.

    `mean_rank` is the mean cross-modal retrieval rank, that of both directions; `mean_rank_share` is that over N.
    """

    pairs: int
    patients: int
    score: Score
    text_to_video: Direction
    video_to_text: Direction
    mean_rank: Estimate
    mean_rank_share: Estimate
    warnings: tuple[str, ...]

    @property
    def published(self) -> tuple[PublishedRetrieval, ...]:
        """What stands beside it, and cannot be compared unless N is the same: a rank grows with N, an R@k falls."""
        return PUBLISHED

    def answer(self) -> RetrievalFigures:
        """The figures alone."""
        return RetrievalFigures(
            pairs=self.pairs,
            patients=self.patients,
            score=self.score,
            text_to_video=self.text_to_video.figures,
            video_to_text=self.video_to_text.figures,
            mean_rank=self.mean_rank,
            mean_rank_share=self.mean_rank_share,
            published=tuple(PublishedFigures(each, each.mean_rank_share) for each in self.published),
        )

    def table(self) -> list[tuple[str, ...]]:
        """Rows for people: figure, value, interval, counts, and what was published for EchoCLIP and for EchoCLIP-R."""
        return [
            *_rows("text to video", self.text_to_video, {"r_at_10": [f"{each.r_at_10:.3f}" for each in PUBLISHED]}),
            *_rows("video to text", self.video_to_text, {}),
            ("mean cross-modal rank", *self.mean_rank.in_words(), *(f"{each.mean_rank:g}" for each in PUBLISHED)),
            (
                "mean cross-modal rank / pairs",
                *self.mean_rank_share.in_words(),
                *(f"{each.mean_rank_share:.3f}" for each in PUBLISHED),
            ),
        ]


def read_reports(path: Path, key: str | None = None, text_column: str | None = None) -> ReportFile:
    """Read a CSV with a header line (comma, semicolon or tab) and a report a row, such as `phantom make` writes.

    `key` is what rows are about, as in `find_key`. The text is the only one of TEXT_COLUMNS unless another column is
    named. Rows without a text are left out and counted. BadLabels says which line cannot be read, BadOption which
    option does not fit the file.
    """
    table = read_table(path, "reports", "study,report")
    kind, key_column = find_key(table, key)
    column = _text_column(table, key_column, text_column)
    cells = keyed_cells(table, kind, key_column, column)
    rows = tuple(Row(line, key, text) for line, key, text in cells if text)
    return ReportFile(table.file, table.sha256, kind, key_column, column, rows, len(cells) - len(rows))


def _text_column(table: Table, key_column: str, told: str | None) -> str:
    left = [name for name in table.header if name and name != key_column]
    if told is not None:
        return named_column(table, key_column, told, "--text-column", left)
    usual = [name for name in left if name.casefold() in TEXT_COLUMNS]
    if len(usual) != 1:
        what = f"several columns of text: {', '.join(usual)}" if usual else f"no column {', '.join(TEXT_COLUMNS)}"
        raise BadOption(f"{table.file.name} has {what}; say which is the report: --text-column COLUMN")
    return usual[0]


def pair(reports: ReportFile, videos: Iterable[VideoRecord], views: Sequence[str] = ()) -> Pairs:
    """One pair a report, in the order of the file: its text, and of its videos that with the lowest id.

    With `views` only videos of these count. BadLabels where no report has a video, or two different ones have the
    same.
    """
    records, notes = with_study_keys(sorted(videos, key=lambda record: record.video_id))
    find = reports.finder(records)
    report_of: dict[int, Row[str]] = {}
    without, hidden = [], 0
    for row in reports.rows:
        found = find(row.key)
        shown = shows(views, [record.seen_view for record in found])
        seen = [record for record, told in zip(found, shown, strict=True) if told == YES]
        if not seen:
            without.append(row)
            hidden += bool(found)
            continue
        video = seen[0]
        reports.check_same(report_of.setdefault(video.video_id, row), row, video.path)
    if not report_of and hidden:
        raise BadLabels(f"no report of {reports.file} has a video with the view {', '.join(views)}")
    if not report_of:
        raise reports.nothing_fits(records)
    texts = tuple(row.value for row in report_of.values())
    chosen = np.array(list(report_of), np.int64)
    together = people(records, chosen)
    warnings = notes + _warnings(reports, without, len(reports.rows) - len(without) - len(texts), views)
    if tied := sum(count for count in Counter(texts).values() if count > 1):
        warnings.append(f"{tied} reports share their text with another one, and can at best tie with it")
    if unknown := together.by_study + together.by_video:
        warnings.append(f"of {unknown} reports' videos the patient is not known, so intervals may be too narrow")
    return Pairs(texts, chosen, together.codes, tuple(warnings))


def _warnings(reports: ReportFile, without: Sequence[Row[str]], repeated: int, views: Sequence[str]) -> list[str]:
    file = reports.file.name
    warnings = []
    if without:
        some = ", ".join(f"line {row.line} {row.key!r}" for row in without[:3])
        which = f" with the view {', '.join(views)}" if views else ""
        warnings.append(f"{len(without)} reports of {file} have no video{which}: {some}")
    return warnings + reports.notes(repeated)


def retrieval(
    text_vectors: npt.NDArray[np.float32],
    video_vectors: npt.NDArray[np.float32],
    norms: npt.NDArray[np.float32],
    score: Score,
    clusters: Ids,
    repeats: int = 1000,
    seed: int = 0,
    warnings: Sequence[str] = (),
) -> Retrieval:
    """How well N texts and their videos find each other; row i of `text_vectors` (N, D) belongs to row i of the videos.

    Text and video embeddings (N, D) are of unit length, `norms` (N,) are the videos' pooled norms. `score` cosine ranks
    by the video embedding, mean by the mean frame, as EchoCLIP-R's example does; the two differ from text to video
    only. `clusters` (N,) are patients. BadLabels for fewer than two pairs, ValueError for wrong shapes or lengths.
    """
    texts, videos = _unit("text embeddings", text_vectors), _unit("video embeddings", video_vectors)
    count = len(texts)
    if not texts.shape == videos.shape or not (count,) == norms.shape == clusters.shape:
        raise ValueError("one text embedding, video embedding, norm and cluster for each pair")
    if count < 2:
        raise BadLabels("retrieval is judged by two reports or more that have a video each, and 1 is there")
    to_video, to_text = ranks(texts, videos * norms[:, None].astype(np.float64) if score == "mean" else videos)
    both = (to_video + to_text) / 2
    told = estimates(
        {"mean_rank": partial(_mean, both), "mean_rank_share": partial(_mean, both / count)}, clusters, repeats, seed
    )
    return Retrieval(
        pairs=count,
        patients=len(np.unique(clusters)),
        score=score,
        text_to_video=_direction(to_video, clusters, repeats, seed),
        video_to_text=_direction(to_text, clusters, repeats, seed),
        **told,
        warnings=(*warnings, *_not_comparable(count)),
    )


def ranks(texts: Doubles, videos: Doubles) -> tuple[Doubles, Doubles]:
    """Places of each row's own partner: of its video for each text, of its text for each video, both (N,), from 1.

    By the inner product of texts (N, D) and videos (N, D); equal scores share the middle of their places. Scores are
    held for a block of texts at a time.
    """
    count = len(texts)
    own = np.einsum("nd,nd->n", texts, videos)
    to_video, to_text = np.empty(count), np.full(count, 0.5)
    rows = max(1, _SCORES_AT_ONCE // count)
    for start in range(0, count, rows):
        block = slice(start, start + rows)
        scores = texts[block] @ videos.T
        to_video[block] = 0.5 + _ahead(scores - own[block, None], axis=1)
        to_text += _ahead(scores - own, axis=0)
    return to_video, to_text


def _ahead(gaps: Doubles, axis: int) -> Doubles:
    """How many gaps are above 0, those that are 0 counting half."""
    counts: Doubles = (gaps > _SAME).sum(axis) / 2 + (gaps >= -_SAME).sum(axis) / 2
    return counts


def _unit(what: str, vectors: npt.NDArray[np.float32]) -> Doubles:
    wide = np.asarray(vectors, np.float64)
    if wide.ndim != 2 or not np.all(np.abs(np.linalg.norm(wide, axis=1) - 1) < _UNIT):  # NaN fails this as well
        raise ValueError(f"{what} are rows of unit length")
    return wide


def _direction(ranks: Doubles, clusters: Ids, repeats: int, seed: int) -> Direction:
    found = {f"r_at_{cut}": share(ranks <= cut, np.ones(len(ranks)), clusters) for cut in CUTS}
    middle = partial(_median, ranks, np.argsort(ranks, kind="stable"))
    rest: dict[str, Statistic] = {"median_rank": middle, "mean_rank": partial(_mean, ranks)}
    return Direction(ranks, found | estimates(rest, clusters, repeats, seed))


def _mean(values: Doubles, weights: Weights) -> float:
    return float(weights @ values / weights.sum())


def _median(values: Doubles, order: Ids, weights: Weights) -> float:
    """The middle of values that count as often as their weights say; of an even number the mean of the middle two."""
    so_far = np.cumsum(weights[order])
    total = int(so_far[-1])
    low, high = np.searchsorted(so_far, ((total + 1) // 2, total // 2 + 1))
    return float(values[order[low]] + values[order[high]]) / 2


def _not_comparable(count: int) -> list[str]:
    others = sorted({each.pairs for each in PUBLISHED} - {count})
    return [
        f"published figures are of {other} pairs of other patients: among {count} a rank is smaller and an R@k larger "
        "by that alone; the rank as a share of the pairs is the nearest to comparable"
        if count < other
        else f"published figures are of {other} pairs of other patients, and not comparable with figures of {count}"
        for other in others
    ]


_NAMES: Final = {f"r_at_{cut}": f"R@{cut}" for cut in CUTS} | {"median_rank": "median rank", "mean_rank": "mean rank"}


def _rows(way: str, direction: Direction, published: dict[str, Sequence[str]]) -> Iterable[tuple[str, ...]]:
    for name, figure in direction.figures.items():
        yield f"{way} {_NAMES[name]}", *figure.in_words(), *published.get(name, ("", ""))
