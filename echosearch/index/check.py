"""Is an index whole? Every hash, and the ids of catalog, segments and FAISS. Repairs what can be repaired.

A segment is damaged when its files can be read and are not what was written. When they are missing or cannot be read
today it is out of reach, which is no damage: a repair leaves it as it is, unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from echosearch.errors import IndexStateError, InputError, OutOfReach, ReadRefused
from echosearch.index.catalog import CatalogReader
from echosearch.index.leftovers import ASIDE, leftovers
from echosearch.index.snapshot import whole_segment
from echosearch.index.store import Store
from echosearch.index.upkeep import let_go
from echosearch.types import Answer, IngestProgress, ProgressListener
from echosearch.video import content_sha256

_MOST_UNASKED: Final = 10
"""Videos that a repair lets go of without being told twice."""


@dataclass(frozen=True, slots=True)
class CheckReport(Answer):
    """What is wrong, in sentences; after a repair, what was done about it, and how many videos lost their vectors.

    `out_of_reach`: segments that cannot be read today; `kept`: what else lies in `segments/`, and what becomes of it;
    `left`: problems that a repair left, None where there was none; `moved_aside`: where the folders lie that the
    repair let go of; `not_done`: why nothing was changed, or None;
    `sources`: files that are not what was embedded, None where nobody looked.
    """

    index: str
    generation: int
    segments: int
    problems: tuple[str, ...]
    out_of_reach: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    left: tuple[str, ...] | None = None
    moved_aside: tuple[str, ...] = ()
    videos_lost: int = 0
    not_done: str | None = None
    sources: tuple[str, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        wrong = self.problems if self.left is None else self.left
        return not (wrong or self.out_of_reach or self.not_done or self.sources)


def check_index(index_path: Path) -> CheckReport:
    """Read everything and say what is wrong; changes nothing. IndexStateError when not even that can be done."""
    store = Store(index_path)
    with store.catalog_only() as snapshot:
        damaged, lost, refused = _examined(index_path, snapshot)
        away = [*lost.values(), *refused.values()]
        beside = leftovers(index_path, snapshot)
        problems = [*snapshot.problems(), *damaged.values(), *beside.newer]
        generation, segments = snapshot.generation, len(snapshot.segments.sizes())
    if not damaged and not away:
        problems += _faiss_problems(store)
    return CheckReport(str(index_path), generation, segments, tuple(problems), tuple(away), tuple(beside.notes))


def compare_sources(index_path: Path, progress: ProgressListener | None = None) -> tuple[str, ...]:
    """Read the files of all live videos; a sentence for each that is not there, or not what was embedded."""
    with Store(index_path).snapshot() as snapshot:
        records = list(snapshot.catalog.videos.records())
    found = []
    for done, record in enumerate(records, start=1):
        try:
            if content_sha256(Path(record.path)) != record.content_sha256:
                found.append(f"{record.path} has other bytes than video {record.video_id} was made of")
        except (OSError, InputError) as error:
            reason = getattr(error, "strerror", None) or error
            found.append(f"{record.path} (video {record.video_id}) cannot be read: {reason}")
        if progress is not None:
            progress(IngestProgress(done, len(records), len(found), done - len(found)))
    return tuple(found)


def repair_index(index_path: Path, wait_seconds: float = 0.0, missing: bool = False, yes: bool = False) -> CheckReport:
    """Let damaged segments go, with `missing` lost ones as well, and build FAISS anew where it is needed.

    Lost is what is not there or lies on a disk that fails; what this process may not or cannot read is never let go.
    The videos lost can be ingested again. More than a few are let go of only with `yes`; else nothing is changed.
    """
    report = check_index(index_path)
    store = Store(index_path)
    with store.writer(wait_seconds) as writer:
        with store.catalog_only() as snapshot:
            damaged, lost, refused = _examined(index_path, snapshot)
            doomed = sorted(damaged | lost if missing else damaged)
            away = refused if missing else lost | refused
            if not yes and (refusal := _too_many(snapshot, doomed)):
                return replace(report, not_done=refusal)
        if doomed:
            count = let_go(writer, doomed)
            sentence = f"{len(doomed)} segments dropped, with {count} videos: ingest their folders again"
            aside = [str(path) for name in doomed if (path := index_path / "segments" / ASIDE / name).is_dir()]
            report = replace(report, repaired=(sentence,), moved_aside=tuple(aside), videos_lost=count)
        report = replace(report, out_of_reach=tuple(away.values()))
        if away:
            return report
        if doomed or _faiss_problems(store):
            writer.finish(anew=True)
            report = replace(report, repaired=(*report.repaired, "the FAISS index was rebuilt"))
        with store.catalog_only() as snapshot:
            beside, left = leftovers(index_path, snapshot), snapshot.problems()
        return replace(
            report,
            generation=snapshot.generation,
            kept=tuple(beside.notes),
            left=(*left, *beside.newer, *_faiss_problems(Store(index_path))),  # the other has the old FAISS at hand
        )


def _examined(index_path: Path, snapshot: CatalogReader) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Segments that are damaged, those that may be lost, and those that this process cannot read; and why."""
    damaged, lost, refused = {}, {}, {}
    for name, _, _ in snapshot.segments.sizes():
        try:
            whole_segment(index_path, name, snapshot)
        except ReadRefused as error:
            refused[name] = str(error)
        except OutOfReach as error:
            lost[name] = str(error)
        except IndexStateError as error:
            damaged[name] = str(error)
    return damaged, lost, refused


def _too_many(snapshot: CatalogReader, names: list[str]) -> str | None:
    """The sentence that lists what would be let go of, where it is more than a few videos."""
    lost = snapshot.files.places(video_id for name in names for video_id in snapshot.segments.ids_in(name))
    if len(lost) <= _MOST_UNASKED:
        return None
    first = ", ".join(str(path) for _, path in islice(lost.values(), 3))
    return (
        f"nothing was changed: this would drop {len(lost)} videos ({first}, ...) in {len(names)} segments "
        f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). If this is intended, and no disk is missing, "
        "repeat with --yes"
    )


def _faiss_problems(store: Store) -> list[str]:
    with store.snapshot() as snapshot:
        damage = snapshot.index.damage()
        return [*snapshot.problems, *damage]
