"""Is an index whole? Every hash, and the ids of catalog, segments and FAISS. Repairs what can be repaired."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echosearch.errors import IndexStateError
from echosearch.store import Store
from echosearch.vectors import open_segment


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is wrong, in sentences; after a repair, what was done about it, and how many videos lost their vectors."""

    index: str
    generation: int
    segments: int
    problems: tuple[str, ...]
    repaired: tuple[str, ...] = ()
    videos_lost: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def check(index_path: Path) -> CheckReport:
    """Read everything and say what is wrong; changes nothing. IndexStateError when not even that can be done."""
    store = Store(index_path)
    with store.catalog_only() as snapshot:
        damaged = _damaged_segments(index_path, snapshot)
        problems = [*snapshot.problems(), *(line for lines in damaged.values() for line in lines)]
        generation, segments = snapshot.generation, len(snapshot.segments())
    if not damaged:
        problems += _faiss_problems(store)
    return CheckReport(str(index_path), generation, segments, tuple(problems))


def repair(index_path: Path, wait_seconds: float = 0.0) -> CheckReport:
    """Let damaged segments and FAISS files go and build what can be built; the videos lost can be ingested again."""
    before = check(index_path)
    store = Store(index_path)
    repaired: list[str] = []
    lost = 0
    with store.writer(wait_seconds) as writer:
        with store.catalog_only() as snapshot:
            damaged = _damaged_segments(index_path, snapshot)
        if damaged:
            lost = writer.drop_segments(sorted(damaged))
            repaired.append(f"{len(damaged)} damaged segments let go, with {lost} videos: ingest their folders again")
        if damaged or _faiss_problems(store):
            writer.drop_faiss()
            writer.finish()
            repaired.append("the FAISS index was built anew")
        with writer.view() as view:
            generation = view.generation
    return CheckReport(str(index_path), generation, before.segments, before.problems, tuple(repaired), lost)


def _damaged_segments(index_path: Path, snapshot: Any) -> dict[str, list[str]]:
    """Segments that are not what the catalog and they themselves say, and why."""
    damaged: dict[str, list[str]] = {}
    for row in snapshot.segments():
        try:
            segment = open_segment(index_path / "segments", row.name)
            found = segment.damage()
        except IndexStateError as error:
            damaged[row.name] = [str(error)]
            continue
        if segment.ids.tolist() != snapshot.ids_in(row.name):
            found.append(f"segment {row.name} and the catalog do not hold the same ids")
        if found:
            damaged[row.name] = found
    return damaged


def _faiss_problems(store: Store) -> list[str]:
    with store.view() as view:
        damage = view.index.damage()
        return [*view.problems, *damage]
