"""The numpy index: every row scored exactly. Slow and plain; the others must agree with it on ids and values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from echosearch.index.vectors.rows import LiveRows, Ranking, Weighting


class ExactIndex:
    """See the module."""

    def __init__(self, rows: LiveRows) -> None:
        self._rows = rows

    def nearest(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        weighting: Weighting = "cosine",
        among: npt.NDArray[np.int64] | None = None,
    ) -> list[Ranking]:
        """For each unit query of (Q, D) the k best live rows, or all when there are fewer; see VectorIndex."""
        allowed = self._rows.allowed(among)
        ids = self._rows.ids[allowed]
        return [Ranking.of(ids, self._rows.scores(allowed, query, weighting), k) for query in queries]
