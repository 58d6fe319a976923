"""Purging a person from an index: videos, vectors, scores, and what was learnt, selected or judged of them.

Every table and every entry of the folder has its own way, see `catalog.purge` and `store.purge`; here they meet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from echosearch.catalog import Person, Rewriters, scrubbed
from echosearch.cohort.purge import purged_audit, purged_cohort
from echosearch.errors import BadOption, UnknownVideo
from echosearch.store import Store
from echosearch.store.purge import OUT_OF_REACH, purge
from echosearch.video import media_path

Learned = Literal["keep", "delete"]


def purge_videos(
    index_path: Path,
    videos: Sequence[int | Path],
    study: str | None = None,
    patient: str | None = None,
    learned: Learned = "keep",
    wait_seconds: float = 0.0,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Remove videos, live or deleted, so that no byte of them is left in the index; gives a receipt.

    What was learnt from their labels stays without their ids (`learned` keep), or goes. It acts at once: readers of an
    earlier commit lose its files. A dry run only says which. UnknownVideo when one of them is not there.
    """
    if learned not in ("keep", "delete"):
        raise BadOption(f"what was learnt is 'keep' or 'delete', not {learned!r}")
    if not (videos or study is not None or patient is not None):
        raise BadOption("say whom to purge: ids or files, a study or a patient")
    store = Store(index_path)
    with store.catalog_only() as snapshot:
        person = snapshot.person(*_split(videos), study, patient)
    _refuse_unknown(person, videos, study, patient)
    receipt: dict[str, Any] = {
        "index": str(index_path),
        "dry_run": dry_run,
        "video_ids": sorted(person.ids),
        "kept_copies": list(person.copies),
        "out_of_reach": list(OUT_OF_REACH),
    }
    if dry_run:
        return receipt
    with store.writer(wait_seconds) as writer:
        with writer.catalog_only() as snapshot:
            person = snapshot.person(*_split(videos), study, patient)
        rewriters = Rewriters(purged_cohort, purged_audit, _fitted if learned == "keep" else _no_fitted, _definition)
        removed = purge(writer, person, rewriters)
        with writer.view() as view:
            return receipt | {"generation": view.generation, "video_ids": sorted(person.ids), "removed": removed}


def _split(videos: Sequence[int | Path]) -> tuple[list[int], list[Path]]:
    return [each for each in videos if isinstance(each, int)], [
        media_path(each) for each in videos if not isinstance(each, int)
    ]


def _refuse_unknown(person: Person, videos: Sequence[int | Path], study: str | None, patient: str | None) -> None:
    for each in videos:
        known = each in person.ids if isinstance(each, int) else media_path(each) in person.paths
        if known:
            continue
        raise UnknownVideo(f"there is and was no video {each} in this index; nothing was purged")
    if not person.ids:
        what = f"study {study!r}" if study is not None else f"patient {patient!r}"
        raise UnknownVideo(f"there is and was no video of {what} in this index; nothing was purged")


def _fitted(content: str, person: Person) -> str:
    """A calibration or probe without the ids of the person's videos, which it counts."""
    told = json.loads(content)
    now = scrubbed(told, person)
    return content if now == told else json.dumps(now)


def _no_fitted(content: str, person: Person) -> str | None:
    return content if _fitted(content, person) == content else None


def _definition(content: str, person: Person) -> str:
    return json.dumps(scrubbed(json.loads(content), person), sort_keys=True)
