"""Numbers of live videos, for display."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import func, select

from echosearch.index.catalog.base import Subject
from echosearch.index.catalog.segments import Segments
from echosearch.index.catalog.videos import SEEN_VIEW, videos
from echosearch.types import study_keys


class Counts(Subject):
    """How many live videos there are of each sort."""

    def _count(self, *where: Any) -> int:
        """Number of live videos."""
        query = select(func.count()).select_from(videos).where(videos.c.deleted_at.is_(None), *where)
        return int(self._connection.execute(query).scalar_one())

    def live(self) -> int:
        """All live videos."""
        return self._count()

    def totals(self) -> dict[str, int]:
        """Numbers of videos, studies, patients, bytes of media, and deleted ids, for display."""
        live = videos.c.deleted_at.is_(None)
        row = self._connection.execute(
            select(
                func.count(),
                func.count(videos.c.patient.distinct()),
                func.coalesce(func.sum(videos.c.num_embedded_frames), 0),
                func.coalesce(func.sum(videos.c.size_bytes), 0),
            ).where(live)
        ).one()
        pairs = self._connection.execute(select(videos.c.patient, videos.c.study).where(live).distinct()).all()
        studies = study_keys([patient for patient, _ in pairs], [study for _, study in pairs])
        names = ("videos", "patients", "embedded_frames", "media_bytes")
        told = dict(zip(names, map(int, row), strict=True))
        return told | {"studies": len({*studies} - {None}), "deleted": len(Segments(self._session).dead_ids())}

    def without(self, what: Literal["study", "patient"]) -> int:
        """Number of live videos of which the study, or the patient, is not known."""
        return self._count(videos.c[what].is_(None))

    def views(self) -> dict[str | None, int]:
        """Number of live videos of each view, known or predicted, as it is written; None: neither."""
        query = select(SEEN_VIEW, func.count()).where(videos.c.deleted_at.is_(None)).group_by(SEEN_VIEW)
        return {view: int(count) for view, count in self._connection.execute(query)}

    def predicted(self) -> int:
        """Number of live videos whose view is predicted only."""
        return self._count(SEEN_VIEW.is_distinct_from(videos.c.view))

    def unverified(self) -> int:
        """Number of live videos whose vectors came from elsewhere, with no probe that shows that they are right."""
        return self._count(videos.c.unverified.is_not(None))
