"""How each table lets go of a person, so that no byte is left. Knows tables; of JSON texts only what they hold.

Every table is in `TABLES`: what is kept and cannot be purged does not exist.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, text, update

from echosearch.catalog.shared import chunks, keyed_hash
from echosearch.catalog.tables import (
    attribute_columns,
    audits,
    cohorts,
    failures,
    fitted,
    purged,
    roots,
    state,
    sweeps,
    tombstones,
    videos,
)

PURGED: Final = "(purged)"
"""What stands in kept texts where they named a person."""

_TELLING: Final = re.compile(r"(?=.*[\d /]).{3,}", re.DOTALL)
"""Texts that name somebody wherever they stand; others, such as a plain word, do so as a whole text or in quotes."""

_LONG_NUMBER: Final = 10_000
"""Whole numbers from here on may be names of a person, smaller ones are measurements."""


@dataclass(frozen=True)
class Person:
    """Whom to purge: ids of videos, their paths, the study of each content hash, and texts that name nobody else.

    `copies` are live videos with the same bytes, which were not named and stay.
    """

    ids: frozenset[int]
    paths: frozenset[Path]
    study_of: Mapping[str, str]
    names: frozenset[str]
    copies: tuple[int, ...] = ()

    def is_named(self, words: str) -> bool:
        """Whether a text names the person."""
        return words in self.names or bool(self._pattern.search(words))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        telling = sorted(filter(_TELLING.fullmatch, self.names), key=len, reverse=True)
        anywhere, quoted = ("|".join(map(re.escape, names)) or "(?!)" for names in (telling, self.names))
        return re.compile(rf"(?<![^\W_])(?:{anywhere})(?![^\W_])|(['\"])(?:{quoted})\1")

    def studies(self, hashes: Iterable[str]) -> set[str]:
        """The studies to which content hashes, or the beginnings of some, belong."""
        return {study for told in hashes for digest, study in self.study_of.items() if digest.startswith(told)}


def scrubbed(value: Any, person: Person) -> Any:
    """JSON values without a person: texts that name it are `PURGED`, lists of `contents` lose its content hashes.

    Beside such a list `purged` counts the studies that went.
    """
    if isinstance(value, str):
        return PURGED if person.is_named(value) else value
    if isinstance(value, list | tuple):
        return [scrubbed(each, person) for each in value]
    if not isinstance(value, dict):
        return value
    told: dict[str, Any] = {}
    for name, each in value.items():
        key, now = scrubbed(name, person), scrubbed(each, person)
        told[key] = told[key] + now if key in told and isinstance(now, int) else now
    if isinstance(hashes := value.get("contents"), list | tuple):
        gone = {each for each in hashes if person.studies([each])}
        told["contents"] = [each for each in hashes if each not in gone]
        told["purged"] = value.get("purged", 0) + len(person.studies(gone))
    return told


@dataclass(frozen=True, slots=True)
class Rewriters:
    """How kept JSON texts let go of a person; None instead of a text: it is not to be kept at all.

    `cohort` also gives the units that it lost, which `audit` gets.
    """

    cohort: Callable[[str, Person], tuple[str, Sequence[str]]]
    audit: Callable[[str, Sequence[str], Person], str | None]
    fitted: Callable[[str, Person], str | None]
    definition: Callable[[str, Person], str]


def find_person(
    connection: Connection, ids: Iterable[int], paths: Iterable[Path], study: str | None, patient: str | None
) -> Person:
    """All that the catalog has of some videos, of a study or of a patient, deleted videos included.

    With them go videos of the patient's studies of which no patient is known, and deleted videos with the same bytes,
    or with the same path and no other patient.
    """
    found: dict[int, Any] = {}
    every = select(videos, roots.c.path.label("root")).join(roots, roots.c.id == videos.c.root_id)

    def take(condition: Any) -> None:
        found.update((row.id, row) for row in connection.execute(every.where(condition)))

    for chunk in chunks(sorted(ids)):
        take(videos.c.id.in_(chunk))
    for path in paths:
        above = {row.path: row.id for row in connection.execute(select(roots)) if Path(row.path) in path.parents}
        for root, root_id in above.items():
            take((videos.c.root_id == root_id) & (videos.c.relative_path == str(path.relative_to(root))))
    if study is not None:
        take(videos.c.study == study)
    if patient is not None:
        take(videos.c.patient == patient)
        for each in {row.study for row in found.values()} - {None}:
            take((videos.c.study == each) & videos.c.patient.is_(None))
    for row in list(found.values()):
        same_place = (videos.c.root_id == row.root_id) & (videos.c.relative_path == row.relative_path)
        nobody_else = videos.c.patient.is_(None) | (videos.c.patient == row.patient)
        same_bytes = videos.c.content_sha256 == row.content_sha256
        take(videos.c.deleted_at.is_not(None) & (same_bytes | (same_place & nobody_else)))
    copies: set[int] = set()
    for row in found.values():
        same = select(videos.c.id).where(videos.c.content_sha256 == row.content_sha256, videos.c.deleted_at.is_(None))
        copies |= set(connection.execute(same).scalars()) - found.keys()
    return Person(
        frozenset(found),
        frozenset(Path(row.root, row.relative_path) for row in found.values()),
        {row.content_sha256: row.study or f"video {row.id}" for row in found.values()},
        frozenset(_names(connection, list(found.values()))),
        tuple(sorted(copies)),
    )


def _names(connection: Connection, rows: Sequence[Any]) -> set[str]:
    """Texts by which these videos are known, and no other."""
    ids = {row.id for row in rows}
    names = {text for row in rows for text in (str(Path(row.root, row.relative_path)), row.relative_path)}
    names |= {row.content_sha256 for row in rows}
    for column in (videos.c.patient, videos.c.study):
        names |= _only_of(connection, f'SELECT "{column.name}", id FROM videos', ids)
    for number in connection.execute(select(attribute_columns.c.number)).scalars():
        names |= _only_of(connection, f"SELECT a{number}, video_id FROM attributes", ids)
    others = {PurePath(path).name for path, id_ in connection.execute(select(videos.c.relative_path, videos.c.id))
              if id_ not in ids}  # fmt: skip
    files = {PurePath(row.relative_path) for row in rows}
    return names | {part for file in files if file.name not in others for part in (file.name, file.stem)}


def _only_of(connection: Connection, query: str, ids: set[int]) -> set[str]:
    """Texts, and long whole numbers, that a column (value, id) has for these ids only."""
    mine: set[Any] = set()
    others: set[Any] = set()
    for value, id_ in connection.execute(text(query)):
        (mine if id_ in ids else others).add(value)
    return {
        str(value)
        for value in mine - others
        if (isinstance(value, str) and value.strip()) or (isinstance(value, int) and abs(value) >= _LONG_NUMBER)
    }


def _videos(connection: Connection, person: Person, _: Rewriters) -> int:
    for chunk in chunks(sorted(person.ids)):
        connection.execute(update(videos).where(videos.c.replaced_by.in_(chunk)).values(replaced_by=None))
        connection.execute(delete(videos).where(videos.c.id.in_(chunk)))
    return len(person.ids)


def _rows_of(table: str) -> Callable[[Connection, Person, Rewriters], int]:
    """How a table with rows of videos lets go of them."""

    def purge(connection: Connection, person: Person, _: Rewriters) -> int:
        gone = 0
        for chunk in chunks(sorted(person.ids)):
            gone += connection.execute(text(f"DELETE FROM {table} WHERE video_id IN ({str(chunk)[1:-1]})")).rowcount
        return gone

    return purge


def _hashes(connection: Connection, person: Person, _: Rewriters) -> int:
    """Keyed hashes of paths and bytes keep a later ingest from bringing the person back silently."""
    key = connection.execute(select(state.c.purge_key)).scalar_one()
    if key is None:
        key = secrets.token_hex(32)
        connection.execute(update(state).values(purge_key=key))
    things: list[Path | str] = [*person.paths, *person.study_of]
    hashes = {keyed_hash(key, thing) for thing in things}
    for value in hashes - set(connection.execute(select(purged.c.keyed_hash)).scalars()):
        connection.execute(insert(purged).values(keyed_hash=value))
    return 0


def _failures(connection: Connection, person: Person, _: Rewriters) -> int:
    """Failures of its paths, and of others whose path or message names the person."""
    gone = 0
    rows = connection.execute(select(failures, roots.c.path.label("root")).join(roots)).all()
    for row in rows:
        path = Path(row.root, row.relative_path)
        if path in person.paths or person.is_named(str(path)) or person.is_named(row.message):
            here = (failures.c.root_id == row.root_id) & (failures.c.relative_path == row.relative_path)
            gone += connection.execute(delete(failures).where(here)).rowcount
    return gone


def _roots(connection: Connection, person: Person, _: Rewriters) -> int:
    """Folders that hold nothing any more: their names may tell whose they were."""
    held = [select(table.c.root_id) for table in (videos, tombstones, failures)]
    return connection.execute(delete(roots).where(*(roots.c.id.not_in(each) for each in held))).rowcount


def _cohorts(connection: Connection, person: Person, rewriters: Rewriters) -> int:
    """Members go, and with them what was judged of them."""
    gone = 0
    for row in connection.execute(select(cohorts)).all():
        content, units = rewriters.cohort(row.content, person)
        gone += len(units)
        connection.execute(update(cohorts).where(cohorts.c.name == row.name).values(content=content))
        for audit in connection.execute(select(audits).where(audits.c.cohort == row.name)).all():
            here = (audits.c.cohort == row.name) & (audits.c.number == audit.number)
            told = rewriters.audit(audit.content, units, person)
            connection.execute(
                delete(audits).where(here) if told is None else update(audits).where(here).values(content=told)
            )
    return gone


def _fitted(connection: Connection, person: Person, rewriters: Rewriters) -> int:
    changed = 0
    for row in connection.execute(select(fitted)).all():
        here = (fitted.c.kind == row.kind) & (fitted.c.name == row.name)
        content = rewriters.fitted(row.content, person)
        changed += content != row.content
        connection.execute(
            delete(fitted).where(here) if content is None else update(fitted).where(here).values(content=content)
        )
    return changed


def _sweeps(connection: Connection, person: Person, rewriters: Rewriters) -> int:
    for row in connection.execute(select(sweeps)).all():
        told = rewriters.definition(row.definition, person)
        connection.execute(update(sweeps).where(sweeps.c.id == row.id).values(definition=told))
    return 0


def _nothing(_: Connection, __: Person, ___: Rewriters) -> int:
    """Of nobody: counters, random names of folders, names and types of columns."""
    return 0


TABLES: Final[dict[str, Callable[[Connection, Person, Rewriters], int]]] = {
    "purged": _hashes,
    "cohorts": _cohorts,
    "audits": _nothing,  # with the cohorts
    "fitted": _fitted,
    "sweeps": _sweeps,
    "scores": _rows_of("scores"),
    "attributes": _rows_of("attributes"),
    "tombstones": _rows_of("tombstones"),
    "failures": _failures,
    "videos": _videos,
    "roots": _roots,
    "segments": _nothing,
    "retired": _nothing,
    "attribute_columns": _nothing,
    "state": _nothing,
}
"""How each table is purged, in this order."""


def purge(connection: Connection, person: Person, rewriters: Rewriters) -> dict[str, int]:
    """Purge a person from every table, in one transaction; what went from where, by table."""
    return {table: how(connection, person, rewriters) for table, how in TABLES.items()}
