"""What one commit of the catalog consists of. Knows no vector."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select, text, tuple_, update

from echosearch.errors import BadManifest, BadOption
from echosearch.index.catalog.purge import Person, Rewriters, purge
from echosearch.index.catalog.reader import SWEEP_IDENTITY, AttributeColumn, CatalogReader
from echosearch.index.catalog.records import (
    AttributeType,
    AttributeValue,
    FailedFile,
    Fitted,
    FittedKind,
    KnownFile,
    MetadataChange,
    NewVideo,
    SweepKey,
)
from echosearch.index.catalog.shared import AT_ONCE, chunks, root_of
from echosearch.index.catalog.tables import (
    ATTRIBUTE_TYPES,
    attribute_columns,
    attributes_table,
    audits,
    cohorts,
    failures,
    fitted,
    retired,
    roots,
    segments,
    state,
    sweeps,
    tombstones,
    videos,
)

_MOST_ATTRIBUTES: Final = 1500
"""SQLite allows 2,000 columns."""


class Transaction(CatalogReader):
    """One commit in the making; nothing of it is seen by anyone before it ends."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.generation += 1
        """The generation that this commit will be."""
        self._now = datetime.now(UTC).isoformat(timespec="seconds")

    def add_segment(self, name: str, count: int, ids_sha256: str, numerics: str) -> None:
        """Make a segment active."""
        self._connection.execute(
            insert(segments).values(
                name=name,
                count=count,
                ids_sha256=ids_sha256,
                numerics=numerics,
                added_generation=self.generation,
            )
        )

    def add_videos(self, segment: str, new: Sequence[NewVideo]) -> None:
        """Add the videos of a segment; what they replace is deleted, and their earlier failures are forgotten."""
        placed = [(video, *self._place(video.root, video.path)) for video in new]
        self._clear_failures([(root_id, relative) for _, root_id, relative in placed])
        for video in new:
            if video.replaces is not None:
                self._connection.execute(
                    update(videos)
                    .where(videos.c.id == video.replaces)
                    .values(deleted_at=self._now, replaced_by=video.video_id)
                )
        self._connection.execute(
            insert(videos),
            [
                {
                    "id": video.video_id,
                    "segment": segment,
                    "root_id": root_id,
                    "relative_path": relative,
                    "content_sha256": video.content_sha256,
                    "size_bytes": video.size_bytes,
                    "mtime_ns": video.mtime_ns,
                    "kind": video.facts.kind,
                    "num_frames": video.facts.num_frames,
                    "num_embedded_frames": video.num_embedded_frames,
                    "height": video.facts.height,
                    "width": video.facts.width,
                    "fps": video.facts.fps,
                    "study": video.metadata.study,
                    "patient": video.metadata.patient,
                    "view": video.metadata.view,
                    "acquired_at": video.metadata.acquired_at,
                    "added_generation": self.generation,
                    "added_at": self._now,
                    "unverified": video.unverified,
                }
                for video, root_id, relative in placed
            ],
        )
        self._set_attributes({video.video_id: video.metadata.attributes for video in new})

    def delete(self, ids: Iterable[int], on_purpose: bool) -> None:
        """Delete live videos; if on purpose, a tombstone keeps a later ingest from bringing them back silently."""
        for chunk in chunks(sorted(ids)):
            live = videos.c.id.in_(chunk) & videos.c.deleted_at.is_(None)
            if on_purpose:
                told = select(videos.c.id, videos.c.root_id, videos.c.relative_path, videos.c.content_sha256).where(
                    live
                )
                self._connection.execute(
                    insert(tombstones).from_select(["video_id", "root_id", "relative_path", "content_sha256"], told)
                )
            self._connection.execute(update(videos).where(live).values(deleted_at=self._now))

    def restore(self, ids: Iterable[int]) -> tuple[list[int], list[int], list[int]]:
        """Take tombstones away, by id: those live again, those without vectors, and those whose path is taken.

        What has no vectors comes back when its file is ingested; where another video has the path, nothing is done.
        """
        found: tuple[list[int], list[int], list[int]] = ([], [], [])
        for video_id in sorted(ids):
            row = self._connection.execute(select(videos).where(videos.c.id == video_id)).one()
            if self._live_at(row.root_id, row.relative_path) is not None:
                found[2].append(video_id)
                continue
            self._lift([video_id])
            if row.segment is not None:
                self._connection.execute(update(videos).where(videos.c.id == video_id).values(deleted_at=None))
            found[row.segment is None].append(video_id)
        return found

    def move(self, file: KnownFile, root: Path, path: Path) -> None:
        """Note that a video's bytes lie here now, whether it was live or deleted; whoever was here is deleted."""
        root_id, relative = self._place(root, path)
        self._clear_failures([(root_id, relative)])
        if (other := self._live_at(root_id, relative)) not in (None, file.video_id):
            gone = update(videos).where(videos.c.id == other)
            self._connection.execute(gone.values(deleted_at=self._now, replaced_by=file.video_id))
        self._lift([file.video_id])
        self._connection.execute(
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

    def _live_at(self, root_id: int, relative: str) -> int | None:
        """The live video at a place, or None."""
        here = (videos.c.root_id == root_id) & (videos.c.relative_path == relative) & videos.c.deleted_at.is_(None)
        return self._connection.execute(select(videos.c.id).where(here)).scalar_one_or_none()

    def _lift(self, ids: Sequence[int]) -> None:
        """These videos do not count as deleted on purpose any more."""
        for chunk in chunks(ids):
            self._connection.execute(delete(tombstones).where(tombstones.c.video_id.in_(chunk)))

    def change_metadata(self, changes: Sequence[MetadataChange]) -> None:
        """Set fields and attributes of videos; attributes have to be declared."""
        columns = {column.name: column for column in self.attribute_columns()}
        wide = attributes_table([(column.number, column.type) for column in columns.values()])
        for change in changes:
            if change.fields:
                self._connection.execute(update(videos).where(videos.c.id == change.video_id).values(**change.fields))
            if change.attributes:
                values = {
                    f"a{columns[name].number}": _as(columns[name], value) for name, value in change.attributes.items()
                }
                changed = self._connection.execute(
                    update(wide).where(wide.c.video_id == change.video_id).values(values)
                )
                if changed.rowcount == 0:
                    self._connection.execute(insert(wide).values(video_id=change.video_id, **values))

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
                self._connection.execute(update(roots).where(roots.c.id == root_id).values(path=str(path_now)))
        return len(changed)

    def _holds(self, root_id: int, folder: Path) -> bool:
        """Whether a root has videos, live or deleted, below a folder within it."""
        paths = self._connection.execute(select(videos.c.relative_path).where(videos.c.root_id == root_id)).scalars()
        return any(folder in Path(path).parents for path in paths)

    def move_rows(self, names: Sequence[str], into: str | None, dropped: Sequence[int]) -> None:
        """Say that the vectors of these segments lie in another one now; those of the ids `dropped` are gone."""
        for chunk in chunks(dropped):
            self._connection.execute(update(videos).where(videos.c.id.in_(chunk)).values(segment=None))
        for some in chunks(names):
            self._connection.execute(update(videos).where(videos.c.segment.in_(some)).values(segment=into))

    def retire_segments(self, names: Sequence[str], is_kept: bool = False) -> int:
        """Let go of segments; videos that still lie in one have no vectors any more and are deleted. Their number.

        With `is_kept` the grace time of their folders never ends.
        """
        retired_at = math.inf if is_kept else time.time()
        lost = 0
        for name in names:
            here = videos.c.segment == name
            live = here & videos.c.deleted_at.is_(None)
            lost += self._connection.execute(update(videos).where(live).values(deleted_at=self._now)).rowcount
            self._connection.execute(update(videos).where(here).values(segment=None))
            self._connection.execute(delete(segments).where(segments.c.name == name))
            self._connection.execute(insert(retired).values(name=name, retired_at=retired_at))
        return lost

    def forget_retired(self, names: Sequence[str]) -> None:
        """Say that the folders of these retired segments are gone."""
        for chunk in chunks(names):
            self._connection.execute(delete(retired).where(retired.c.name.in_(chunk)))

    def verify(self, ids: Sequence[int]) -> None:
        """Note that the vectors of these videos were made as the index's own are."""
        for chunk in chunks(ids):
            self._connection.execute(update(videos).where(videos.c.id.in_(chunk)).values(unverified=None))

    def predict_views(self, views: Mapping[int, str | None]) -> None:
        """Keep which view a model finds in live videos, by id."""
        changes = [(view, video_id) for video_id, view in views.items()]
        self._driver.executemany("UPDATE videos SET view_predicted = ? WHERE id = ?", changes)

    def purge(self, person: Person, rewriters: Rewriters) -> dict[str, int]:
        """Purge a person from every table; what went from where, by table."""
        return purge(self._connection, person, rewriters)

    def begin_sweep(self, key: SweepKey) -> int:
        """The sweep that holds such scores, made now if need be."""
        known = self.sweep_id(key)
        if known is not None:
            return known
        values = {name: getattr(key, name) for name in (*SWEEP_IDENTITY, "task", "definition")}
        added = insert(sweeps).values(**values, columns=json.dumps(key.columns), created_at=self._now)
        made: int = self._connection.execute(added.returning(sweeps.c.id)).scalar_one()
        return made

    def add_scores(self, sweep_id: int, ids: npt.NDArray[np.int64], columns: Sequence[npt.NDArray[np.float64]]) -> None:
        """Keep the scores of videos (n,) ascending, each column (n,); a score that is there is replaced."""
        for number, values in enumerate(columns):
            rows = zip(repeat(sweep_id), repeat(number), ids.tolist(), values.tolist(), strict=False)
            self._driver.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def forget_scores(self, ids: Sequence[int]) -> None:
        """Drop the scores of videos whose vectors are gone."""
        for sweep_id, names in self._connection.execute(select(sweeps.c.id, sweeps.c.columns)).all():
            for column in range(len(json.loads(names))):
                rows = ((sweep_id, column, video_id) for video_id in ids)
                self._driver.executemany(
                    'DELETE FROM scores WHERE sweep_id = ? AND "column" = ? AND video_id = ?', rows
                )

    def describe(self, description: str) -> None:
        """Say what the index is bound to from this commit on (JSON)."""
        self._connection.execute(update(state).values(description=description))

    def rewrite_learned(self, rewrite: Callable[[str], str]) -> int:
        """Change what was learnt from labels, where it is kept and where cohorts hold it; how many texts changed."""
        changed = 0
        for table in (fitted, cohorts):
            for content in self._connection.execute(select(table.c.content)).scalars().all():
                if (now := rewrite(content)) != content:
                    here = update(table).where(table.c.content == content)
                    changed += self._connection.execute(here.values(content=now)).rowcount
        return changed

    def put_fitted(self, item: Fitted) -> None:
        """Keep a calibration or probe, in place of one of the same name."""
        self.drop_fitted(item.kind, item.name)
        self._connection.execute(
            insert(fitted).values(
                kind=item.kind,
                name=item.name,
                recipe=item.recipe,
                content=item.content,
                created_at=item.created_at or self._now,
            )
        )

    def drop_fitted(self, kind: FittedKind, name: str) -> int:
        """Forget a calibration or probe; gives how many there were."""
        return self._connection.execute(delete(fitted).where(fitted.c.kind == kind, fitted.c.name == name)).rowcount

    def add_cohort(self, name: str, content: str) -> None:
        """Keep a cohort under a name that is free."""
        self._connection.execute(insert(cohorts).values(name=name, content=content, created_at=self._now))

    def drop_cohort(self, name: str) -> int:
        """Forget a cohort with its audits; gives how many there were."""
        self._connection.execute(delete(audits).where(audits.c.cohort == name))
        return self._connection.execute(delete(cohorts).where(cohorts.c.name == name)).rowcount

    def put_audit(self, cohort: str, number: int, content: str) -> None:
        """Keep an audit, in place of the one of the same number."""
        self._connection.execute(delete(audits).where(audits.c.cohort == cohort, audits.c.number == number))
        self._connection.execute(insert(audits).values(cohort=cohort, number=number, content=content))

    def touch(self, file: KnownFile) -> None:
        """Note that a file has another time, but the bytes that it had."""
        self._connection.execute(
            update(videos)
            .where(videos.c.id == file.video_id)
            .values(size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
        )

    def record_failure(self, failed: FailedFile) -> None:
        """Note why a file could not be ingested, in place of what was noted of it before."""
        root_id, relative = self._place(failed.root, Path(failed.failure.path))
        self._clear_failures([(root_id, relative)])
        self._connection.execute(
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

    def forget_failures(self, paths: Sequence[Path]) -> None:
        """Take failures of these files off the list."""
        for root_id, _, members in list(self._by_root(paths)):
            self._clear_failures([(root_id, member) for member in members])

    def _clear_failures(self, keys: Sequence[tuple[int, str]]) -> None:
        for chunk in chunks(keys, AT_ONCE // 2):
            self._connection.execute(
                delete(failures).where(tuple_(failures.c.root_id, failures.c.relative_path).in_(chunk))
            )

    def _place(self, root: Path, path: Path) -> tuple[int, str]:
        """Root and relative path of a file: below a root that is known already, else below `root`."""
        known = {Path(row.path): int(row.id) for row in self._connection.execute(select(roots.c.id, roots.c.path))}
        found = root_of(path, known)
        if found is None:
            found = root
            added = insert(roots).values(path=str(root)).returning(roots.c.id)
            known[root] = self._connection.execute(added).scalar_one()
        return known[found], str(path.relative_to(found))

    def declare_attributes(self, types: Mapping[str, AttributeType]) -> None:
        """Make sure that there is a column for each attribute; whole numbers become real where fractions come.

        BadManifest when text would go among numbers.
        """
        known = {column.name: column for column in self.attribute_columns()}
        if strange := set(types.values()) - ATTRIBUTE_TYPES.keys():
            raise BadManifest(
                f"attributes are {', '.join(ATTRIBUTE_TYPES)}, not {', '.join(sorted(map(str, strange)))}"
            )
        if len(known.keys() | types.keys()) > _MOST_ATTRIBUTES:
            raise BadManifest(f"an index keeps at most {_MOST_ATTRIBUTES} attributes")
        number = len(known)
        for name, wanted in types.items():
            if name not in known:
                number += 1
                self._connection.execute(insert(attribute_columns).values(number=number, name=name, type=wanted))
                # No declared type: SQLite then keeps each value as it is.
                self._connection.execute(text(f"ALTER TABLE attributes ADD COLUMN a{number}"))
            elif (known[name].type, wanted) == ("integer", "real"):
                self._connection.execute(
                    update(attribute_columns).where(attribute_columns.c.name == name).values(type="real")
                )
                column = f"a{known[name].number}"
                beyond = text(f"SELECT 1 FROM attributes WHERE abs({column}) >= {2**53} LIMIT 1")
                if self._connection.execute(beyond).first():
                    raise BadManifest(
                        f"attribute {name!r} holds whole numbers of 2^53 and above in this index, which fractions "
                        "would round; rename the column"
                    )
                self._connection.execute(text(f"UPDATE attributes SET {column} = CAST({column} AS REAL)"))
            elif wanted == "text" and known[name].type != "text":
                raise BadManifest(
                    f"attribute {name!r} holds numbers ({known[name].type}) in this index, and text in the "
                    "manifest; leave cells without a number empty, or rename the column"
                )

    def _set_attributes(self, values: Mapping[int, Mapping[str, AttributeValue]]) -> None:
        columns = self.attribute_columns()
        wide = attributes_table([(column.number, column.type) for column in columns])
        rows = [
            {"video_id": video_id}
            | {f"a{column.number}": _as(column, attributes.get(column.name)) for column in columns}
            for video_id, attributes in values.items()
            if attributes
        ]
        if rows:
            self._connection.execute(insert(wide), rows)


def _as(column: AttributeColumn, value: AttributeValue) -> AttributeValue:
    """A value in the type of its column, which may have come from another manifest."""
    if value is None or column.type == "integer":
        return value
    return str(value) if column.type == "text" else float(value)
