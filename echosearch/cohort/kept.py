"""Cohorts and their audits as an index keeps them by name. Selects nothing itself, and knows no printing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from echosearch.cohort.audit import Audit, Strategy, draw
from echosearch.cohort.cohort import Cohort
from echosearch.cohort.compare import followed
from echosearch.cohort.export import ExportedCohort, Format, export
from echosearch.cohort.making import now
from echosearch.cohort.sheet import read_judgements, write_sheet
from echosearch.errors import BackendError, BadOption, UnknownCohort, nearest
from echosearch.index import Snapshot, Store
from echosearch.types import VideoRecord, people, with_study_keys

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_free(snapshot: Snapshot, name: str) -> None:
    """BadOption where a cohort cannot have this name, or another one has it."""
    if not _NAME.fullmatch(name):
        raise BadOption(f"a cohort's name is letters, digits and _ . -, such as low-ef-2020, not {name!r}")
    if name in snapshot.catalog.cohorts.all():
        raise BadOption(f"there is a cohort {name} already; give another name, or delete it: cohort delete {name}")


def keep(store: Store, cohort: Cohort, wait_seconds: float) -> None:
    """Keep a cohort under its name. BadOption as `check_free`: another process may have made one meanwhile."""
    with store.snapshot() as snapshot:
        check_free(snapshot, cohort.name)
    with store.writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            check_free(snapshot, cohort.name)
        with writer.transaction() as transaction:
            transaction.cohorts.add(cohort.name, cohort.to_json())


def every(snapshot: Snapshot) -> list[Cohort]:
    """All cohorts of one moment of an index, oldest first."""
    return [Cohort.from_json(content) for content in snapshot.catalog.cohorts.all().values()]


def named(snapshot: Snapshot, name: str) -> Cohort:
    """One cohort. UnknownCohort offers the nearest names."""
    if (content := snapshot.catalog.cohorts.content(name)) is not None:
        return Cohort.from_json(content)
    known = list(snapshot.catalog.cohorts.all())
    there = nearest(name, known) if known else "there are none. Make one: echosearch cohort create NAME --where ..."
    raise UnknownCohort(f"there is no cohort {name!r} in this index; {there}")


def records_of(snapshot: Snapshot, cohort: Cohort) -> dict[int, VideoRecord]:
    """The videos of a cohort, as far as they are still in the index, by the ids that they had in the cohort."""
    ids = {video_id for member in cohort.members for video_id in member.video_ids}
    later = snapshot.catalog.videos.embedded_anew()
    today = {video_id: later.get(video_id, video_id) for video_id in ids}
    found = {record.video_id: record for record in snapshot.catalog.videos.records(today.values())}
    return {then: found[id_] for then, id_ in today.items() if id_ in found}


def write_out(
    snapshot: Snapshot,
    cohort: Cohort,
    folder: Path,
    form: Format,
    views: Sequence[str],
    label: str | None,
    is_named: bool,
) -> ExportedCohort:
    """Export a cohort with its videos as the index knows them now; see `export`."""
    if label is not None and label not in {each.name for each in snapshot.catalog.attributes.columns()}:
        raise BadOption(f"there is no attribute {label!r} in this index; `echosearch info` shows what there is")
    keyed, _ = with_study_keys(snapshot.catalog.videos.records())
    cohort, _ = followed(cohort, snapshot.catalog.videos.embedded_anew())
    codes = people(keyed, np.array([record.video_id for record in keyed], np.int64)).codes.tolist()
    records = {record.video_id: record for record in keyed}
    return export(cohort, records, dict(zip(records, codes, strict=True)), folder, form, views, label, is_named)


# Audits.


def audits_of(snapshot: Snapshot, name: str) -> list[Audit]:
    """All audits of a cohort, oldest first. UnknownCohort where there is none of that name."""
    named(snapshot, name)
    return [Audit.from_json(content) for content in snapshot.catalog.cohorts.audits(name)]


def new_audit(
    store: Store, name: str, count: int, strategy: Strategy, sheet: Path, seed: int | None, wait_seconds: float
) -> Audit:
    """Draw members to be judged, write the sheet, and keep the audit. `seed` is by default the cohort's.

    Both or neither: the number is taken, the sheet written and the audit kept under one lock.
    """
    with store.snapshot() as snapshot:
        cohort = named(snapshot, name)
    with store.writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            number = len(audits_of(snapshot, name)) + 1
        chosen = cohort.definition.seed + number - 1 if seed is None else seed
        audit = Audit(
            number=number,
            cohort=name,
            strategy=strategy,
            seed=chosen,
            units=draw(cohort, count, strategy, chosen),
            population=len(cohort.members),
            created_at=now(),
        )
        write_sheet(store.output(sheet, "the sheet", ".csv", None), cohort, audit)
        try:
            with writer.transaction() as transaction:
                transaction.cohorts.put_audit(name, number, audit.to_json())
        except BackendError:
            sheet.unlink(missing_ok=True)
            raise
    return audit


def judge(store: Store, name: str, sheet: Path, number: int | None, wait_seconds: float) -> Audit:
    """Read a judged sheet back and keep what it says; units that it leaves empty keep their earlier judgement."""
    with store.writer(wait_seconds) as writer:
        with writer.snapshot() as snapshot:
            audits = {audit.number: audit for audit in audits_of(snapshot, name)}
        if not audits:
            raise BadOption(f"cohort {name} has no audit; draw one: echosearch cohort sample {name} --sheet FILE")
        audit = audits.get(max(audits) if number is None else number)
        if audit is None:
            raise BadOption(f"there is no audit {number}; there are {', '.join(map(str, audits))}")
        judged = replace(audit, judgements=audit.judgements | read_judgements(sheet, audit), judged_at=now())
        with writer.transaction() as transaction:
            transaction.cohorts.put_audit(name, judged.number, judged.to_json())
    return judged
