"""Purging a person from an index: videos, vectors, scores, and what was learnt, selected or judged of them.

Every table and every entry of the folder has its own way, see `catalog.purge` and `store.purge`; here they meet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from echosearch.cohort import purged_audit, purged_cohort
from echosearch.errors import BadOption, UnknownVideo
from echosearch.index import OUT_OF_REACH, CatalogReader, Person, Purged, Rewriters, Store, purge
from echosearch.types import Answer
from echosearch.video import media_path

Learned = Literal["keep", "delete"]


@dataclass(frozen=True, slots=True)
class PurgedVideo:
    """A video that would be purged, and whose it is."""

    video_id: int
    path: str
    study: str | None
    patient: str | None


@dataclass(frozen=True, slots=True)
class PurgeOf(Answer):
    """Whom a purge is of: its videos, those with the same bytes that are kept, and what is out of its reach."""

    index: str
    dry_run: bool
    video_ids: tuple[int, ...]
    kept_copies: tuple[int, ...]
    out_of_reach: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PurgePlan(PurgeOf):
    """What a dry run says."""

    videos: tuple[PurgedVideo, ...]


@dataclass(frozen=True, slots=True)
class PurgeReceipt(PurgeOf):
    """What was purged, and the generation of the index since."""

    generation: int
    removed: Purged


def plan_purge(
    index_path: Path, videos: Sequence[int | Path], study: str | None = None, patient: str | None = None
) -> PurgePlan:
    """Whom a purge would be of; nothing is changed. UnknownVideo when one of them is not there."""
    with Store(index_path).catalog_only() as snapshot:
        person = _person(snapshot, videos, study, patient)
        records = list(snapshot.videos.records(person.ids, deleted=True))
    return PurgePlan(
        **_of(index_path, person),
        dry_run=True,
        videos=tuple(PurgedVideo(each.video_id, each.path, each.study, each.patient) for each in records),
    )


def purge_videos(
    index_path: Path,
    videos: Sequence[int | Path],
    study: str | None = None,
    patient: str | None = None,
    learned: Learned = "keep",
    wait_seconds: float = 0.0,
) -> PurgeReceipt:
    """Remove videos, live or deleted, so that no byte of them is left in the index; gives a receipt.

    What was learnt from their labels stays without their ids (`learned` keep), or goes. It acts at once: readers of an
    earlier commit lose its files. UnknownVideo when one of them is not there.
    """
    if learned not in ("keep", "delete"):
        raise BadOption(f"what was learnt is 'keep' or 'delete', not {learned!r}")
    store = Store(index_path)
    with store.catalog_only() as snapshot:
        _person(snapshot, videos, study, patient)
    with store.writer(wait_seconds) as writer:
        with writer.catalog_only() as snapshot:
            person = _person(snapshot, videos, study, patient)
        rewriters = Rewriters(purged_cohort, purged_audit, _fitted if learned == "keep" else _no_fitted)
        removed = purge(writer, person, rewriters)
        with writer.snapshot() as snapshot:
            return PurgeReceipt(
                **_of(index_path, person), dry_run=False, generation=snapshot.generation, removed=removed
            )


def _of(index_path: Path, person: Person) -> dict[str, Any]:
    return {
        "index": str(index_path),
        "video_ids": tuple(sorted(person.ids)),
        "kept_copies": tuple(person.copies),
        "out_of_reach": tuple(OUT_OF_REACH),
    }


def _split(videos: Sequence[int | Path]) -> tuple[list[int], list[Path]]:
    return [each for each in videos if isinstance(each, int)], [
        media_path(each) for each in videos if not isinstance(each, int)
    ]


def _person(snapshot: CatalogReader, videos: Sequence[int | Path], study: str | None, patient: str | None) -> Person:
    """Whom to purge. UnknownVideo when one of what was named is not there, and never was."""
    if not (videos or study is not None or patient is not None):
        raise BadOption("say whom to purge: ids or files, a study or a patient")
    ids, paths = _split(videos)
    there = {record.video_id for record in snapshot.videos.records(ids, deleted=True)}
    missing = [f"video {each}" for each in sorted(set(ids) - there)]
    missing += [f"video {each}" for each in paths if not snapshot.purging.person([], [each], None, None).ids]
    whose = snapshot.deleted.whose(study, patient)
    if (study is not None or patient is not None) and not snapshot.purging.person([], [], study, patient).ids:
        missing.append(f"video of {whose}")
    if missing:
        raise UnknownVideo(
            f"there is and was no {missing[0]} in this index; nothing was purged (after a purge that was interrupted: "
            "echosearch compact)"
        )
    return snapshot.purging.person(ids, paths, study, patient)


def _fitted(content: str, person: Person) -> str:
    """A calibration or probe without the ids of the person's videos, which it counts."""
    return json.dumps(person.without_learned(json.loads(content)))


def _no_fitted(content: str, person: Person) -> str | None:
    """Nothing, where any of the person's videos was learnt from."""
    return None if person.is_in(content) else _fitted(content, person)
