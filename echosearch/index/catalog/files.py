"""Which file is which video, which could not be ingested, and which was deleted on purpose, by path and by bytes."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from echosearch.errors import BadOption
from echosearch.index.catalog.base import PathText, Roots, Subject, chunks, metadata, roots, state
from echosearch.index.catalog.videos import videos
from echosearch.types import Failure

Thing = TypeVar("Thing", Path, str)

failures = Table(
    "failures",
    metadata,
    Column("root_id", Integer, ForeignKey("roots.id"), nullable=False),
    Column("relative_path", PathText, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", PathText, nullable=False),
    Column("size_bytes", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("failed_at", Text, nullable=False),
    UniqueConstraint("root_id", "relative_path"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("video_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("root_id", Integer, ForeignKey("roots.id"), nullable=False),
    Column("relative_path", PathText, nullable=False),
    Column("content_sha256", Text, nullable=False),
    Index("tombstone_path", "root_id", "relative_path"),
    Index("tombstone_content", "content_sha256"),
)

purged = Table(
    "purged",
    metadata,
    Column("keyed_hash", Text, primary_key=True),  # of bytes or of a place that are not to come back silently
)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A live video as a later ingest sees it."""

    video_id: int
    size_bytes: int
    mtime_ns: int
    content_sha256: str


@dataclass(frozen=True, slots=True)
class SameBytes:
    """A video, deleted ones included, that was made of certain bytes, and where these lay.

    `person` is its study and patient, `on_purpose` says that it was deleted so, `replaced_by` which video has its path.
    """

    video_id: int
    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    is_live: bool
    has_vectors: bool
    is_verified: bool
    person: tuple[str | None, str | None] = (None, None)
    on_purpose: bool = False
    replaced_by: int | None = None


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that could not be ingested; size and time are None where even those could not be had."""

    root: Path
    failure: Failure
    size_bytes: int | None
    mtime_ns: int | None


class Files(Subject):
    """Where the files of videos lie."""

    def known(self, paths: Sequence[Path]) -> dict[Path, KnownFile]:
        """Those of `paths` that are live videos."""
        names = ("id", "size_bytes", "mtime_ns", "content_sha256")
        rows = Roots(self._session).rows_at(videos, paths, names, videos.c.deleted_at.is_(None))
        return {path: KnownFile(*row) for path, row in rows}

    def with_content(self, content_sha256: str) -> list[SameBytes]:
        """All videos that were made of these bytes, deleted ones included, by ascending id."""
        rows = self._connection.execute(
            select(videos, roots.c.path, tombstones.c.video_id.label("tombstone"))
            .join(roots, roots.c.id == videos.c.root_id)
            .outerjoin(tombstones, tombstones.c.video_id == videos.c.id)
            .where(videos.c.content_sha256 == content_sha256)
            .order_by(videos.c.id)
        )
        return [
            SameBytes(
                row.id,
                Path(row.path),
                Path(row.path, row.relative_path),
                row.size_bytes,
                row.mtime_ns,
                row.deleted_at is None,
                row.segment is not None,
                row.unverified is None,
                (row.study, row.patient),
                row.tombstone is not None,
                row.replaced_by,
            )
            for row in rows
        ]

    def places(self, ids: Iterable[int] | None = None) -> dict[int, tuple[Path, Path]]:
        """Root and path of live videos: of all, or of those of `ids`."""
        query = (
            select(videos.c.id, roots.c.path, videos.c.relative_path)
            .join(roots, roots.c.id == videos.c.root_id)
            .where(videos.c.deleted_at.is_(None))
        )
        queries = [query] if ids is None else [query.where(videos.c.id.in_(chunk)) for chunk in chunks(sorted(ids))]
        return {
            video_id: (Path(root), Path(root, path))
            for each in queries
            for video_id, root, path in self._connection.execute(each)
        }

    def paths(self) -> Iterator[Path]:
        """Paths of all videos, deleted ones included, and of all files that could not be ingested."""
        for table in (videos, failures):
            query = select(roots.c.path, table.c.relative_path).join(table, roots.c.id == table.c.root_id)
            for root, path in self._connection.execute(query):
                yield Path(root, path)

    def touch(self, file: KnownFile) -> None:
        """Note that a file has another time, but the bytes that it had."""
        self._write(
            update(videos)
            .where(videos.c.id == file.video_id)
            .values(size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
        )

    def move(self, file: KnownFile, root: Path, path: Path) -> None:
        """Note that a video's bytes lie here now, whether it was live or deleted; whoever was here is deleted."""
        root_id, relative = Roots(self._session).place(root, path)
        Failures(self._session).clear([(root_id, relative)])
        if (other := _live_at(self._connection, root_id, relative)) not in (None, file.video_id):
            gone = {"deleted_at": self._now, "replaced_by": file.video_id}
            self._write(update(videos).where(videos.c.id == other).values(gone))
        Deleted(self._session).lift([file.video_id])
        self._write(
            update(videos)
            .where(videos.c.id == file.video_id)
            .values(
                root_id=root_id,
                relative_path=relative,
                size_bytes=file.size_bytes,
                mtime_ns=file.mtime_ns,
                deleted_at=None,
                replaced_by=None,
            )
        )

    def rename_root(self, old: Path, new: Path) -> int:
        """Say that everything below one folder lies below another now; gives the number of roots that changed.

        BadOption where two videos would then lie at one path, or be looked for below the wrong root.
        """
        before = {row.id: Path(row.path) for row in self._connection.execute(select(roots))}
        changed = {
            root_id: new / path.relative_to(old)
            for root_id, path in before.items()
            if path == old or old in path.parents
        }
        after = before | changed
        at = {path: root_id for root_id, path in after.items()}
        if twice := [path for root_id, path in after.items() if at[path] != root_id]:
            raise BadOption(f"{twice[0]} is a folder of this index already, and two folders cannot become one")
        for inner, inner_id in at.items():
            for outer in at.keys() & set(inner.parents):
                if {inner_id, at[outer]} & changed.keys() and self._holds(at[outer], inner.relative_to(outer)):
                    raise BadOption(
                        f"{inner} would lie within {outer}, and both are folders of this index with videos there, so "
                        "that one path could mean two videos; ingest or move one of them elsewhere first"
                    )
        for values in ({root_id: f"//{root_id}" for root_id in changed}, changed):  # so that no two meet on the way
            for root_id, path_now in values.items():
                self._write(update(roots).where(roots.c.id == root_id).values(path=str(path_now)))
        return len(changed)

    def _holds(self, root_id: int, folder: Path) -> bool:
        """Whether a root has videos, live or deleted, below a folder within it."""
        paths = self._connection.execute(select(videos.c.relative_path).where(videos.c.root_id == root_id)).scalars()
        return any(folder in Path(path).parents for path in paths)


class Failures(Subject):
    """Files that could not be ingested, and why."""

    def all(self) -> list[Failure]:
        """Files that could not be ingested, by path."""
        rows = self._connection.execute(
            select(roots.c.path, failures.c.relative_path, failures.c.code, failures.c.message)
            .join(roots, roots.c.id == failures.c.root_id)
            .order_by(roots.c.path, failures.c.relative_path)
        )
        return [Failure(str(Path(root, path)), code, message) for root, path, code, message in rows]

    def at(self, paths: Sequence[Path], codes: Sequence[str]) -> dict[Path, tuple[int | None, int | None]]:
        """Size and time that those of `paths` had which could not be ingested, for one of these reasons."""
        rows = Roots(self._session).rows_at(failures, paths, ("size_bytes", "mtime_ns"), failures.c.code.in_(codes))
        return {path: (size_bytes, mtime_ns) for path, (size_bytes, mtime_ns) in rows}

    def record(self, failed: FailedFile) -> None:
        """Note why a file could not be ingested, in place of what was noted of it before."""
        root_id, relative = Roots(self._session).place(failed.root, Path(failed.failure.path))
        self.clear([(root_id, relative)])
        self._write(
            insert(failures).values(
                root_id=root_id,
                relative_path=relative,
                code=failed.failure.code,
                message=failed.failure.message,
                size_bytes=failed.size_bytes,
                mtime_ns=failed.mtime_ns,
                failed_at=self._now,
            )
        )

    def forget(self, paths: Sequence[Path]) -> None:
        """Take failures of these files off the list."""
        for root_id, _, members in list(Roots(self._session).members(paths)):
            self.clear([(root_id, member) for member in members])

    def clear(self, keys: Sequence[tuple[int, str]]) -> None:
        """`forget`, by root and relative path."""
        for chunk in chunks(keys, 200):
            self._write(delete(failures).where(tuple_(failures.c.root_id, failures.c.relative_path).in_(chunk)))


class Deleted(Subject):
    """Videos that were deleted on purpose, which a later ingest does not bring back silently."""

    def ids(self, *, study: str | None = None, patient: str | None = None) -> set[int]:
        """Ids of the videos deleted on purpose and not purged: all, or those of a study or patient."""
        wanted = {"study": study, "patient": patient}
        where = [videos.c[name] == value for name, value in wanted.items() if value is not None]
        query = select(tombstones.c.video_id).join(videos, videos.c.id == tombstones.c.video_id).where(*where)
        return set(self._connection.execute(query).scalars())

    def at(self, paths: Sequence[Path]) -> dict[Path, dict[int, tuple[int, int]]]:
        """Those of `paths` that were deleted on purpose: size and time that each id had; of purged ones nothing."""
        found: dict[Path, dict[int, tuple[int, int]]] = {path: {} for path in self._purged(paths)}
        for path, (video_id,) in Roots(self._session).rows_at(tombstones, paths, ("video_id",)):
            had = select(videos.c.size_bytes, videos.c.mtime_ns).where(videos.c.id == video_id)
            found.setdefault(path, {})[video_id] = tuple(self._connection.execute(had).one())
        return found

    def is_purged(self, content_sha256: str) -> bool:
        """Whether a video with these bytes was purged."""
        return bool(self._purged([content_sha256]))

    def whose(self, study: str | None, patient: str | None) -> str:
        """Whose videos are meant, in words. BadOption where several patients have such a study and none is named."""
        query = select(func.count(videos.c.patient.distinct())).where(videos.c.study == study)  # deleted ones as well
        if study is not None and patient is None and (count := self._connection.execute(query).scalar_one()) > 1:
            raise BadOption(f"{count} patients have a study {study!r}; say which one with --patient (see list --study)")
        asked = {"study": study, "patient": patient}
        return " of ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)

    def add(self, ids: Iterable[int], on_purpose: bool) -> None:
        """Delete live videos; if on purpose, a tombstone keeps a later ingest from bringing them back silently."""
        for chunk in chunks(sorted(ids)):
            live = videos.c.id.in_(chunk) & videos.c.deleted_at.is_(None)
            if on_purpose:
                told = select(videos.c.id, videos.c.root_id, videos.c.relative_path, videos.c.content_sha256).where(
                    live
                )
                self._write(
                    insert(tombstones).from_select(["video_id", "root_id", "relative_path", "content_sha256"], told)
                )
            self._write(update(videos).where(live).values(deleted_at=self._now))

    def restore(self, ids: Iterable[int]) -> tuple[list[int], list[int], list[int]]:
        """Take tombstones away, by id: those live again, those without vectors, and those whose path is taken.

        What has no vectors comes back when its file is ingested; where another video has the path, nothing is done.
        """
        found: tuple[list[int], list[int], list[int]] = ([], [], [])
        for video_id in sorted(ids):
            row = self._connection.execute(select(videos).where(videos.c.id == video_id)).one()
            if _live_at(self._connection, row.root_id, row.relative_path) is not None:
                found[2].append(video_id)
                continue
            self.lift([video_id])
            if row.segment is not None:
                self._write(update(videos).where(videos.c.id == video_id).values(deleted_at=None))
            found[row.segment is None].append(video_id)
        return found

    def lift(self, ids: Sequence[int]) -> None:
        """These videos do not count as deleted on purpose any more."""
        for chunk in chunks(ids):
            self._write(delete(tombstones).where(tombstones.c.video_id.in_(chunk)))

    def _purged(self, things: Sequence[Thing]) -> set[Thing]:
        """Those of some paths or content hashes that were purged; only keyed hashes of them are left."""
        key = self._connection.execute(select(state.c.purge_key)).scalar_one()
        if key is None:
            return set()
        hashed = {keyed_hash(key, thing): thing for thing in things}
        found = set()
        for chunk in chunks(list(hashed)):
            query = select(purged.c.keyed_hash).where(purged.c.keyed_hash.in_(chunk))
            found |= {hashed[value] for value in self._connection.execute(query).scalars()}
        return found


def _live_at(connection: Connection, root_id: int, relative: str) -> int | None:
    """The live video at a place, or None."""
    here = (videos.c.root_id == root_id) & (videos.c.relative_path == relative) & videos.c.deleted_at.is_(None)
    return connection.execute(select(videos.c.id).where(here)).scalar_one_or_none()


def keyed_hash(key: str, thing: Path | str) -> str:
    """What is left of a purged path or content hash: HMAC-SHA256, hexadecimal."""
    return hmac.digest(bytes.fromhex(key), os.fsencode(thing), "sha256").hex()
