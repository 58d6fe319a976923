"""How each table lets go of a person, so that no byte is left. Knows tables; of JSON texts only what they hold.

Every table is in `TABLES`: what is kept and cannot be purged does not exist.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, insert, select, text, update

from echosearch.errors import BadOption
from echosearch.index.catalog.base import Subject, chunks, roots, state
from echosearch.index.catalog.files import failures, keyed_hash, purged, tombstones
from echosearch.index.catalog.kept import audits, cohorts, fitted
from echosearch.index.catalog.sweeps import sweeps
from echosearch.index.catalog.videos import attribute_columns, videos

PURGED: Final = "(purged)"
"""What stands in kept texts where they named a person."""

_TELLING: Final = re.compile(r"(?=.*[\d_ .-]).{4,}", re.DOTALL)
"""Parts of paths and attributes that name somebody wherever they stand, unless they are short numbers."""

_SHORT_NUMBER: Final = re.compile(r"[\d.]{1,4}|[\d]{5}")

_LONG_NUMBER: Final = 10_000
"""Numbers from here on may be names of a person, smaller ones are measurements."""

_DIGEST: Final = 16
"""So many characters of a content hash stand in what was learnt."""


@dataclass(frozen=True)
class Person:
    """Whom to purge: ids of videos, their paths, the study of each content hash, and texts that name nobody else.

    `names` count wherever they stand in a text; `words`, which may mean something else, as a whole text or in quotes.
    `copies` are other videos with the same bytes, which were not meant and stay.
    """

    ids: frozenset[int]
    paths: frozenset[Path]
    study_of: Mapping[str, str]
    names: frozenset[str]
    words: frozenset[str] = frozenset()
    copies: tuple[int, ...] = ()

    def is_named(self, text: str) -> bool:
        """Whether a text names the person."""
        return text in self.names or text in self.words or bool(self._pattern.search(text))

    def struck(self, text: str) -> str:
        """The text, or `PURGED` where it names the person."""
        return PURGED if self.is_named(text) else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        def any_of(names: Iterable[str]) -> str:
            spelt = {form for name in names for form in (name, name.replace("'", "''"))}
            return "|".join(map(re.escape, sorted(spelt, key=len, reverse=True))) or "(?!)"

        quoted = any_of(self.names | self.words)
        return re.compile(rf"(?<![^\W_])(?:{any_of(self.names)})(?![^\W_])|(['\"])(?:{quoted})\1")

    @cached_property
    def _study_of_digest(self) -> dict[str, str]:
        return {digest[:_DIGEST]: study for digest, study in self.study_of.items()}

    def is_in(self, content: str) -> bool:
        """Whether a JSON text has a content hash of the person's, or its beginning."""
        return any(digest in content for digest in self._study_of_digest)

    def without_learned(self, told: Any) -> Any:
        """JSON of what was learnt from labels: without the person's content hashes, whose studies `purged` counts."""
        if isinstance(told, list):
            return [self.without_learned(each) for each in told]
        if not isinstance(told, dict):
            return told
        now = {name: self.without_learned(each) for name, each in told.items()}
        if "labels_sha256" in told:
            gone = {each for each in told.get("contents", []) if each in self._study_of_digest}
            now["labels"] = self.struck(told["labels"])
            now["contents"] = [each for each in told.get("contents", []) if each not in gone]
            now["purged"] = told.get("purged", 0) + len({self._study_of_digest[each] for each in gone})
        return now


@dataclass(frozen=True, slots=True)
class Rewriters:
    """How kept JSON texts let go of a person; None instead of a text: it is not to be kept at all.

    `cohort` also gives the units that it lost, which `audit` gets.
    """

    cohort: Callable[[str, Person], tuple[str, Sequence[str]]]
    audit: Callable[[str, Sequence[str], Person], str | None]
    fitted: Callable[[str, Person], str | None]


def _names(connection: Connection, rows: Sequence[Any]) -> tuple[set[str], set[str]]:
    """Texts by which these videos are known, and no other: those that name them anywhere, and mere words."""
    ids = {row.id for row in rows}
    own = {text for row in rows for text in (str(Path(row.root, row.relative_path)), row.relative_path)}
    for column in (videos.c.patient, videos.c.study):
        own |= _only_of(connection, f'SELECT "{column.name}", id FROM videos', ids)
    parts: set[str] = set()
    others: set[str] = set()
    for path, id_ in connection.execute(select(videos.c.relative_path, videos.c.id)):
        (parts if id_ in ids else others).update((*PurePath(path).parts, PurePath(path).stem))
    told = parts - others
    for number in connection.execute(select(attribute_columns.c.number)).scalars():
        told |= _only_of(connection, f"SELECT a{number}, video_id FROM attributes", ids)
    names = {text for text in own if len(text) > 3} | {text for text in told if _TELLING.fullmatch(text)}
    names = {text for text in names if not _SHORT_NUMBER.fullmatch(text)} | {row.content_sha256 for row in rows}
    return names, (own | told) - names


def _only_of(connection: Connection, query: str, ids: set[int]) -> set[str]:
    """Texts, and large numbers, that a column (value, id) has for these ids only."""
    mine: set[Any] = set()
    others: set[Any] = set()
    for value, id_ in connection.execute(text(query)):
        (mine if id_ in ids else others).add(value)
    return {
        str(value)
        for value in mine - others
        if (isinstance(value, str) and value.strip()) or (isinstance(value, int | float) and abs(value) >= _LONG_NUMBER)
    }


def _videos(connection: Connection, person: Person, _: Rewriters) -> int:
    for chunk in chunks(sorted(person.ids)):
        connection.execute(update(videos).where(videos.c.replaced_by.in_(chunk)).values(replaced_by=None))
        connection.execute(delete(videos).where(videos.c.id.in_(chunk)))
    return len(person.ids)


def _rows_of(table: str, connection: Connection, person: Person, _: Rewriters) -> int:
    """How a table with rows of videos lets go of them."""
    gone = 0
    for chunk in chunks(sorted(person.ids)):
        gone += connection.execute(text(f"DELETE FROM {table} WHERE video_id IN ({str(chunk)[1:-1]})")).rowcount
    return gone


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
        changed += person.is_in(row.content)
        connection.execute(
            delete(fitted).where(here) if content is None else update(fitted).where(here).values(content=content)
        )
    return changed


def _sweeps(connection: Connection, person: Person, _: Rewriters) -> int:
    """Sweeps of what is called like the person go whole; they can be swept again."""
    for row in connection.execute(select(sweeps)).all():
        here = sweeps.c.id == row.id
        if person.is_named(row.task) or person.is_named(row.task.removeprefix("probe:")):
            connection.execute(text("DELETE FROM scores WHERE sweep_id = :id"), {"id": row.id})
            connection.execute(delete(sweeps).where(here))
        else:
            told = json.dumps(person.without_learned(json.loads(row.definition)), sort_keys=True)
            connection.execute(update(sweeps).where(here).values(definition=told))
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
    "scores": partial(_rows_of, "scores"),
    "attributes": partial(_rows_of, "attributes"),
    "tombstones": partial(_rows_of, "tombstones"),
    "failures": _failures,
    "videos": _videos,
    "roots": _roots,
    "segments": _nothing,
    "retired": _nothing,
    "attribute_columns": _nothing,
    "state": _nothing,
}
"""How each table is purged, in this order."""


class Purging(Subject):
    """Who is to be purged, and the purge of all tables."""

    def person(self, ids: Iterable[int], paths: Iterable[Path], study: str | None, patient: str | None) -> Person:
        """All that is known of some videos, of a study, of a patient (or that study of this one), deleted ones too.

        With them go videos of the patient's studies of which no patient is known, and deleted videos with the same
        bytes, or with the same path and no other patient.
        """
        found: dict[int, Any] = {}
        every = select(videos, roots.c.path.label("root")).join(roots, roots.c.id == videos.c.root_id)

        def take(condition: Any) -> None:
            found.update((row.id, row) for row in self._connection.execute(every.where(condition)))

        for chunk in chunks(sorted(ids)):
            take(videos.c.id.in_(chunk))
        for path in paths:
            above = {
                row.path: row.id for row in self._connection.execute(select(roots)) if Path(row.path) in path.parents
            }
            for root, root_id in above.items():
                here = (videos.c.root_id == root_id) & (videos.c.relative_path == str(path.relative_to(root)))
                live = here & videos.c.deleted_at.is_(None)
                take(live if self._connection.execute(select(videos.c.id).where(live)).first() else here)
        asked = {"study": study, "patient": patient}
        if told := [videos.c[name] == value for name, value in asked.items() if value is not None]:
            take(and_(*told))
        if patient is not None:
            for each in {row.study for row in found.values()} - {None}:
                take((videos.c.study == each) & videos.c.patient.is_(None))
        for row in list(found.values()):
            nobody_else = videos.c.patient.is_(None) | (videos.c.patient == row.patient)
            same_place = (videos.c.root_id == row.root_id) & (videos.c.relative_path == row.relative_path)
            same_bytes = videos.c.content_sha256 == row.content_sha256
            take(videos.c.deleted_at.is_not(None) & nobody_else & (same_bytes | same_place))
        copies: dict[int, str] = {}
        for digest in {row.content_sha256 for row in found.values()}:
            same = select(videos.c.id).where(videos.c.content_sha256 == digest)
            copies |= {id_: digest for id_ in self._connection.execute(same).scalars() if id_ not in found}
        rows, shared = list(found.values()), set(copies.values())  # what copies have is not the person's alone
        names, words = _names(self._connection, rows)
        return Person(
            frozenset(found),
            frozenset(Path(row.root, row.relative_path) for row in rows),
            {row.content_sha256: row.study or f"video {row.id}" for row in rows if row.content_sha256 not in shared},
            frozenset(names),
            frozenset(words),
            tuple(sorted(copies)),
        )

    def purge(self, person: Person, rewriters: Rewriters) -> dict[str, int]:
        """Purge a person from every table; what went from where, by table.

        BadOption where a cohort, calibration or probe is called like the person: its name is the user's to change.
        """
        named = [(f"cohort {row.name}", row.name) for row in self._connection.execute(select(cohorts.c.name))]
        named += [
            (f"{row.kind} {row.name}", row.name)
            for row in self._connection.execute(select(fitted.c.kind, fitted.c.name))
        ]
        for what, name in named:
            if person.is_named(name):
                raise BadOption(
                    f"the {what} has the same name as what you purge; delete it first, and make it again if you need it"
                )
        return {table: how(self._connection, person, rewriters) for table, how in TABLES.items()}
