"""What is kept by name: what was learnt from labels (calibrations, probes), and cohorts with their audits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Column, ForeignKey, Integer, Table, Text, delete, insert, select, update

from echosearch.index.catalog.base import Subject, metadata

FittedKind = Literal["calibration", "probe"]

fitted = Table(
    "fitted",
    metadata,
    Column("kind", Text, primary_key=True),  # calibration, probe
    Column("name", Text, primary_key=True),
    Column("recipe", Text, nullable=False),
    Column("content", Text, nullable=False),  # JSON
    Column("created_at", Text, nullable=False),
)

cohorts = Table(
    "cohorts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: the whole selection, members included
    Column("created_at", Text, nullable=False),
)

audits = Table(
    "audits",
    metadata,
    Column("cohort", Text, ForeignKey("cohorts.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: what was sampled, and how it was judged
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learnt from labels and is kept by name: a calibration or a probe; `content` is JSON."""

    kind: FittedKind
    name: str
    recipe: str
    content: str
    created_at: str = ""


class Learned(Subject):
    """Calibrations and probes."""

    def all(self, kind: FittedKind) -> list[Fitted]:
        """All calibrations, or all probes, by name."""
        rows = self._connection.execute(select(fitted).where(fitted.c.kind == kind).order_by(fitted.c.name))
        return [Fitted(kind, row.name, row.recipe, row.content, row.created_at) for row in rows]

    def put(self, item: Fitted) -> None:
        """Keep a calibration or probe, in place of one of the same name."""
        self.drop(item.kind, item.name)
        self._write(
            insert(fitted).values(
                kind=item.kind,
                name=item.name,
                recipe=item.recipe,
                content=item.content,
                created_at=item.created_at or self._now,
            )
        )

    def drop(self, kind: FittedKind, name: str) -> int:
        """Forget a calibration or probe; gives how many there were."""
        return self._write(delete(fitted).where(fitted.c.kind == kind, fitted.c.name == name)).rowcount

    def rewrite(self, rewrite: Callable[[str], str]) -> int:
        """Change what was learnt from labels, where it is kept and where cohorts hold it; how many texts changed."""
        changed = 0
        for table in (fitted, cohorts):
            for content in self._connection.execute(select(table.c.content)).scalars().all():
                if (now := rewrite(content)) != content:
                    here = update(table).where(table.c.content == content)
                    changed += self._write(here.values(content=now)).rowcount
        return changed


class Cohorts(Subject):
    """Cohorts and their audits."""

    def all(self) -> dict[str, str]:
        """The content of each cohort by its name, oldest first."""
        rows = self._connection.execute(select(cohorts).order_by(cohorts.c.created_at, cohorts.c.name))
        return {row.name: row.content for row in rows}

    def content(self, name: str) -> str | None:
        """The content of one cohort, or None."""
        return self._connection.execute(select(cohorts.c.content).where(cohorts.c.name == name)).scalar_one_or_none()

    def audits(self, cohort: str) -> list[str]:
        """The content of each audit of a cohort, in the order of their numbers."""
        query = select(audits.c.content).where(audits.c.cohort == cohort).order_by(audits.c.number)
        return list(self._connection.execute(query).scalars())

    def add(self, name: str, content: str) -> None:
        """Keep a cohort under a name that is free."""
        self._write(insert(cohorts).values(name=name, content=content, created_at=self._now))

    def drop(self, name: str) -> int:
        """Forget a cohort with its audits; gives how many there were."""
        self._write(delete(audits).where(audits.c.cohort == name))
        return self._write(delete(cohorts).where(cohorts.c.name == name)).rowcount

    def put_audit(self, cohort: str, number: int, content: str) -> None:
        """Keep an audit, in place of the one of the same number."""
        self._write(delete(audits).where(audits.c.cohort == cohort, audits.c.number == number))
        self._write(insert(audits).values(cohort=cohort, number=number, content=content))
