"""The way of a folder into an index, step by step: find, plan, read and prepare, encode, pool, add."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from echosearch.admission import check_model, probe
from echosearch.catalog import FailedFile, KnownFile, MetadataChange, NewVideo, VideoMetadata
from echosearch.config import COMMIT_SECONDS, COMMIT_VIDEOS, default_workers
from echosearch.encoders import Encoder, encode_stream, how_to_choose, load_encoder
from echosearch.errors import (
    BadOption,
    EncoderFailed,
    InputError,
    RecipeMismatch,
    UnknownEncoder,
    UnreadableVideo,
    UnsupportedVideo,
)
from echosearch.ingest.decoding import Decoders, decoders
from echosearch.ingest.layouts import recognise
from echosearch.ingest.metadata import MetadataTable
from echosearch.store import Batch, Store, View, Writer
from echosearch.types import (
    Device,
    EncodedVideo,
    Failure,
    IngestProgress,
    IngestReport,
    ModelRequest,
    Numerics,
    Precision,
    PreparedVideo,
    ProgressListener,
    VideoRecord,
    pool,
)
from echosearch.vectors import FramesDtype, StoredVideo
from echosearch.video import decoder_name, find_media, media_path

Load = Callable[[ModelRequest, str], Encoder]


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest; None for `model` or `frames` means the index's own, `device` and `precision` are then used."""

    model: ModelRequest | None = None
    frames: FramesDtype | None = None
    workers: int = field(default_factory=default_workers)
    timeout_seconds: float = 300.0
    worker_memory_gib: float = 4.0
    device: Device = "auto"
    precision: Precision = "fp32"
    retry_failed: bool = False
    undelete: bool = False
    prune: bool = False
    yes: bool = False
    wait_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadOption(f"--workers is at least 1, not {self.workers}")
        if not 0 < self.timeout_seconds <= 1e6:
            raise BadOption(f"--timeout is more than 0 seconds, and at most 1e6, not {self.timeout_seconds:g}")
        if not 2 <= self.worker_memory_gib <= 1e6:
            raise BadOption(f"--worker-memory is at least 2 GiB, and at most 1e6, not {self.worker_memory_gib:g}")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file to ingest, below the folder that was named (or its own); `known` is what its path was before."""

    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    known: KnownFile | None = None


def ingest(
    index_path: Path,
    sources: Sequence[Path],
    options: IngestOptions | None = None,
    tables: Sequence[MetadataTable] = (),
    listener: ProgressListener | None = None,
    load: Load = load_encoder,
) -> IngestReport:
    """Embed all videos of files and folders that the index does not have yet, and add them.

    Files that cannot be read are failures in the report and in the catalog; everything else is an error. `tables` say
    what is known of the files; without any, the lists of public data sets are recognised.
    `load` makes an encoder of a ModelRequest, so that tests and benchmarks can bring their own.
    """
    options = options or IngestOptions()
    started = time.monotonic()
    files, passed_over = _find(sources)
    told, warnings = _match(tables, files, sources)
    if passed_over:
        warnings.append(_passed_over_sentence(passed_over))
    with ExitStack() as stack:
        memory_bytes = int(options.worker_memory_gib * 2**30)
        decoding: Decoders[MediaFile] = stack.enter_context(
            decoders(options.workers, options.timeout_seconds, memory_bytes)
        )
        store, encoder = _open_or_create(index_path, options, load)
        if store.manifest.notice:
            warnings.insert(0, store.manifest.notice)
        writer = stack.enter_context(store.writer(options.wait_seconds))
        gone = _vanished(writer, files, sources, options) if options.prune else []
        for table in {id(table): table for table, _ in told.values()}.values():
            writer.declare_attributes(table.types)
        plan = _plan(writer, files, options)
        if plan.todo or _names_another_model(store, options):
            encoder = encoder or load(_request(store, options), decoder_name())
            warnings += check_model(store.manifest, encoder)
        if plan.todo:
            decoding.wait_until_ready()
        ready = time.monotonic()
        if options.undelete:
            writer.unbury_files([file.path for file in plan.todo])
        updated = writer.change_metadata(_changes(writer, plan.unchanged, told))
        writer.forget_failures(_outdated_failures(writer, plan, sources))
        run = _Run(writer, told, len(plan.todo), listener, options)
        if encoder is not None:
            run.add_all(_prepared(decoding, plan.todo, encoder), encoder)
        updated += run.updated
        pruned = writer.prune(gone)
        writer.finish()
        with writer.view() as view:
            generation = view.generation
    return IngestReport(
        index=str(index_path),
        generation=generation,
        added=run.added,
        replaced=run.replaced,
        unchanged=len(plan.unchanged) + run.touched,
        moved=run.moved,
        updated=updated,
        pruned=pruned,
        failed_earlier=plan.failed_earlier,
        deleted_earlier=plan.buried + run.buried,
        copies=run.copies,
        failures=tuple(run.failures),
        warnings=tuple(warnings),
        frames_encoded=run.frames_encoded,
        seconds_starting=ready - started,
        seconds_working=time.monotonic() - ready,
    )


def _find(sources: Sequence[Path]) -> tuple[list[MediaFile], Counter[str]]:
    """All media files below the sources, each once, in order; and how many others, by suffix."""
    if not sources:
        raise InputError("give at least one video file or folder")
    found: dict[Path, MediaFile] = {}
    passed_over: Counter[str] = Counter()
    for source in sources:
        paths, others = find_media(source)
        passed_over += others
        root = media_path(source)
        root = root.parent if root.is_file() else root
        for path in paths:
            found.setdefault(path, _media_file(root, path))
    if not found:
        raise InputError(
            f"no videos in {', '.join(map(str, sources))}"
            + (f"; {_passed_over_sentence(passed_over)}" if passed_over else "")
        )
    return list(found.values()), passed_over


def _media_file(root: Path, path: Path) -> MediaFile:
    try:
        status = path.stat()
    except OSError:  # a broken link, or gone by now: the decoder will name it
        return MediaFile(root, path, 0, 0)
    return MediaFile(root, path, status.st_size, status.st_mtime_ns)


def _passed_over_sentence(passed_over: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
    return f"passed over {passed_over.total()} files that are no videos or stills read here: {kinds}"


Told = Mapping[Path, tuple[MetadataTable, VideoMetadata]]


def _match(
    tables: Sequence[MetadataTable], files: Sequence[MediaFile], sources: Sequence[Path]
) -> tuple[Told, list[str]]:
    """What the manifests, or the lists of data sets that are recognised, say of which file; and warnings."""
    warnings: list[str] = []
    if not tables:
        layouts = [layout for source in sources if (layout := recognise(media_path(source))) is not None]
        warnings += [f"recognised as {layout.name}: {layout.tables[0].file}" for layout in layouts]
        tables = [table for layout in layouts for table in layout.tables]
    told: dict[Path, tuple[MetadataTable, VideoMetadata]] = {}
    paths = [file.path for file in files]
    for table in tables:
        found, more = table.match(paths, sorted({file.root for file in files}))
        warnings += more
        told |= {path: (table, metadata) for path, metadata in found.items()}
    return told, warnings


def _open_or_create(index_path: Path, options: IngestOptions, load: Load) -> tuple[Store, Encoder | None]:
    """The index, and the encoder where one had to be loaded to make a new index."""
    if Store.exists(index_path):
        store = Store(index_path)
        kept = store.manifest.frames_dtype
        if options.frames is not None and options.frames != kept:
            raise RecipeMismatch(f"this index keeps its frames as {kept}, not {options.frames}; leave --frames out")
        return store, None
    if options.model is None:
        raise UnknownEncoder(f"a new index needs a model; name one with --model:\n{how_to_choose()}")
    encoder = load(options.model, decoder_name())
    return Store.create(index_path, encoder.card, probe(encoder), options.frames or "float32"), encoder


def _request(store: Store, options: IngestOptions) -> ModelRequest:
    """The model to use with an index that exists: the one asked for, else the manifest's."""
    if options.model is None:
        return replace(store.manifest.request(), device=options.device, precision=options.precision)
    return replace(options.model, sampling=options.model.sampling or store.manifest.recipe.sampling)


_CODES_OF_BYTES: Final = (UnreadableVideo.code(), UnsupportedVideo.code())
"""Failures that come again while the bytes are the same; the others may be the machine's, and are tried again."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Files to do, live videos whose files are as they were, and how many files are left alone, and why."""

    todo: list[MediaFile]
    unchanged: dict[int, Path]
    failed_earlier: int
    buried: int


def _names_another_model(store: Store, options: IngestOptions) -> bool:
    """Whether the model asked for may not be the index's, so that it has to be loaded to know."""
    asked, manifest = options.model, store.manifest
    if asked is None:
        return False
    other_sampling = asked.sampling is not None and asked.sampling != manifest.recipe.sampling
    return asked.name != manifest.model or asked.weights not in (None, manifest.weights) or other_sampling


def _plan(writer: Writer, files: Sequence[MediaFile], options: IngestOptions) -> _Plan:
    """What is new or looks changed; deleted and failed files stay as they are unless the options say otherwise."""
    paths = [file.path for file in files]
    with writer.view() as view:
        known = view.catalog.known_files(paths)
        failed = {} if options.retry_failed else view.catalog.failed_files(paths, _CODES_OF_BYTES)
        buried = set() if options.undelete else view.catalog.buried_paths(paths) - known.keys()
    todo, unchanged, failed_earlier = [], {}, 0
    for file in files:
        before = known.get(file.path)
        now = (file.size_bytes, file.mtime_ns)
        if before is not None and (before.size_bytes, before.mtime_ns) == now:
            unchanged[before.video_id] = file.path
        elif failed.get(file.path) == now:
            failed_earlier += 1
        elif file.path not in buried:
            todo.append(replace(file, known=before))
    return _Plan(todo, unchanged, failed_earlier, len(buried))


def _changes(writer: Writer, unchanged: Mapping[int, Path], told: Told) -> list[MetadataChange]:
    """What the manifests say otherwise than the catalog of videos that are not embedded again."""
    with writer.view() as view:
        records = list(view.catalog.videos([video_id for video_id, path in unchanged.items() if path in told]))
    changes = []
    for record in records:
        table, metadata = told[Path(record.path)]
        changes.append(table.change(record, metadata))
    return [change for change in changes if change is not None]


def _outdated_failures(writer: Writer, plan: _Plan, sources: Sequence[Path]) -> list[Path]:
    """Failures that are true no more: of files that are as they were when embedded, or that are gone."""
    good = set(plan.unchanged.values())
    folders = {media_path(source) for source in sources}
    with writer.view() as view:
        paths = [Path(failure.path) for failure in view.catalog.failures()]
    return [path for path in paths if path in good or (not os.path.lexists(path) and folders & {path, *path.parents})]


def _vanished(writer: Writer, files: Sequence[MediaFile], sources: Sequence[Path], options: IngestOptions) -> list[int]:
    """Live videos below the sources whose files are gone. BadOption when that is more than a tenth, unless said yes."""
    there = {file.path for file in files}
    folders = [media_path(source) for source in sources]
    with writer.view() as view:
        places = view.catalog.places()
    below = {
        video_id: path
        for video_id, (_, path) in places.items()
        if any(folder == path or folder in path.parents for folder in folders)
    }
    gone = [video_id for video_id, path in below.items() if path not in there and not path.exists()]
    if len(gone) > len(below) / 10 and not options.yes:
        raise BadOption(
            f"{len(gone)} of {len(below)} videos below {', '.join(map(str, folders))} are gone; "
            "if that is right, and no disk is missing, say so: --prune --yes"
        )
    return gone


@dataclass(frozen=True, slots=True)
class _Work:
    """A file on its way: prepared, or not, and what is to become of it when it is not encoded.

    `is_buried`: its bytes were deleted on purpose; `moved_from`: the video whose file it was under another path;
    `copy`: the vectors of a committed file with the same bytes.
    """

    file: MediaFile
    outcome: PreparedVideo | Failure
    is_buried: bool = False
    moved_from: KnownFile | None = None
    copy: StoredVideo | None = None


def _prepared(decoding: Decoders[MediaFile], todo: Sequence[MediaFile], encoder: Encoder) -> Iterator[_Work]:
    recipe = encoder.card.recipe
    # Enough to fill the next batch while this one is being encoded, with short videos too.
    ahead = 2 * decoding.workers + encoder.batch_frames // 8
    tasks = [(file, file.path) for file in todo]
    for file, outcome in decoding.prepared(tasks, recipe.sampling, recipe.preprocess, ahead):
        yield _Work(file, outcome)


class _Run:
    """What an ingest has done so far, and the batch that the next commit will bring."""

    def __init__(
        self,
        writer: Writer,
        told: Told,
        total: int,
        listener: ProgressListener | None,
        options: IngestOptions,
    ) -> None:
        self.added = self.replaced = self.copies = self.touched = self.moved = self.updated = self.buried = 0
        self.frames_encoded = 0
        self.failures: list[Failure] = []
        self._writer = writer
        self._told = told
        self._total = total
        self._done = 0
        self._listener = listener
        self._undelete = options.undelete
        self._seen: set[str] = set()  # content that this run has encoded or is encoding
        self._moved_ids: set[int] = set()
        self._roots_there: dict[Path, bool] = {}
        self._committed = 0
        self._start_batch()

    def add_all(self, prepared: Iterator[_Work], encoder: Encoder) -> None:
        """Encode and add what the decoders bring; commit now and then, and what there is when interrupted."""
        numerics = encoder.card.numerics
        self._tell()
        try:
            for work, embeddings in encode_stream(encoder, self._to_encode(prepared)):
                self._take(work, embeddings)
                if len(self._new) >= COMMIT_VIDEOS or time.monotonic() - self._batch_started >= COMMIT_SECONDS:
                    self._commit(numerics)
                self._tell()
        except (KeyboardInterrupt, EncoderFailed):
            self._commit(numerics)  # what is complete stays
            raise
        self._commit(numerics)

    def _to_encode(self, prepared: Iterator[_Work]) -> Iterator[tuple[_Work, Any]]:
        """Pixels of what must be encoded; None beside failures, bytes that are known, and copies."""
        for work in prepared:
            if isinstance(work.outcome, Failure):
                yield work, None
                continue
            pixels, digest = work.outcome.pixels, work.outcome.content_sha256
            slim = replace(work.outcome, pixels=np.empty((len(work.outcome.frame_numbers), 3, 0, 0), np.uint8))
            decided = self._decide(replace(work, outcome=slim), digest)
            stays = decided.is_buried or decided.moved_from or _is_as_known(decided.file, digest)
            known = stays or decided.copy or digest in self._seen
            if not stays:
                self._seen.add(digest)
            yield decided, None if known else pixels

    def _decide(self, work: _Work, digest: str) -> _Work:
        """Look up, once for each file, what the catalog knows of its bytes."""
        with self._writer.view() as view:
            if not self._undelete and view.catalog.is_buried(digest):
                return replace(work, is_buried=True)
            ids = view.catalog.ids_where(content_sha256=digest)
            if work.file.known is None and (old := self._moved_from(view, work.file, digest, ids)) is not None:
                self._moved_ids.add(old.video_id)
                return replace(work, moved_from=old)
            ids = view.catalog.verified(ids)
            return replace(work, copy=view.stored(min(ids))) if ids else work

    def _take(self, work: _Work, embeddings: Any) -> None:
        file, outcome = work.file, work.outcome
        self._done += 1
        if isinstance(outcome, Failure):
            self._fail(file, outcome)
        elif file.known is not None and _is_as_known(file, outcome.content_sha256):
            self._touched.append(_as_now(file.known, file))
            self._tell_metadata(file.known.video_id, file.path)
        elif work.is_buried:
            self.buried += 1
        elif work.moved_from is not None:
            self._moved.append((_as_now(work.moved_from, file), file.root, file.path))
            self._tell_metadata(work.moved_from.video_id, file.path)
        else:
            self._add(work, outcome, embeddings)

    def _add(self, work: _Work, prepared: PreparedVideo, embeddings: Any) -> None:
        file = work.file
        try:
            stored = self._stored(work, prepared, embeddings)
        except EncoderFailed as error:
            self._fail(file, Failure(str(file.path), error.code(), str(error)))
            return
        self._fresh[prepared.content_sha256] = stored
        video = NewVideo(
            video_id=0,
            root=file.root,
            path=file.path,
            facts=prepared.facts,
            num_embedded_frames=len(stored.frame_numbers),
            content_sha256=prepared.content_sha256,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            metadata=self._metadata(file),
            replaces=file.known.video_id if file.known else None,
        )
        self._new.append((video, stored))

    def _metadata(self, file: MediaFile) -> VideoMetadata:
        """What a manifest says of a file, on top of what was known of it before its bytes changed."""
        table, metadata = self._told.get(file.path, (None, VideoMetadata()))
        if file.known is None:
            return metadata
        [record] = self._records([file.known.video_id])
        change = table.change(record, metadata) if table is not None else None
        fields = {name: getattr(record, name) for name in ("study", "patient", "view", "acquired_at")}
        if change is None:
            return VideoMetadata(**fields, attributes=record.attributes)
        return VideoMetadata(**fields | change.fields, attributes=record.attributes | change.attributes)

    def _tell_metadata(self, video_id: int, path: Path) -> None:
        """Note what a manifest says otherwise of a video that is not embedded again."""
        if path in self._told:
            table, metadata = self._told[path]
            [record] = self._records([video_id])
            if (change := table.change(record, metadata)) is not None:
                self._changed.append(change)

    def _records(self, ids: Sequence[int]) -> list[VideoRecord]:
        with self._writer.view() as view:
            return list(view.catalog.videos(ids))

    def _stored(self, work: _Work, prepared: PreparedVideo, embeddings: Any) -> StoredVideo:
        """The vectors of a video: pooled from its frames, or those of a file with the same bytes."""
        if isinstance(embeddings, EncoderFailed):
            raise embeddings
        if embeddings is not None:
            self.frames_encoded += len(embeddings)
            try:
                pooled = pool(embeddings)
            except ValueError as error:
                raise EncoderFailed(str(error)) from error
            return StoredVideo.of(EncodedVideo(embeddings, prepared.frame_numbers, pooled))
        digest = prepared.content_sha256
        copy = work.copy or self._fresh.get(digest) or self._committed_copy(digest)
        if copy is None:
            raise EncoderFailed("a file with the same bytes could not be encoded")
        self.copies += 1
        return copy

    def _committed_copy(self, digest: str) -> StoredVideo | None:
        with self._writer.view() as view:
            ids = view.catalog.verified(view.catalog.ids_where(content_sha256=digest))
            return view.stored(min(ids)) if ids else None

    def _moved_from(self, view: View, file: MediaFile, digest: str, ids: set[int]) -> KnownFile | None:
        """The video that a new path's bytes belong to, where its old path is empty below a root that is there."""
        for video_id, (root, path) in sorted(view.catalog.places(ids - self._moved_ids).items() if ids else ()):
            if not path.exists() and (root in file.path.parents or self._is_there(root)):
                return KnownFile(video_id, 0, 0, digest)
        return None

    def _is_there(self, root: Path) -> bool:
        """Whether a root still holds a video that it is known for; an empty folder may be a disk that is missing."""
        if root not in self._roots_there:
            with self._writer.view() as view:
                known = (path for other, path in view.catalog.places().values() if other == root)
                self._roots_there[root] = any(path.exists() for path in known)
        return self._roots_there[root]

    def _fail(self, file: MediaFile, failure: Failure) -> None:
        self._failed.append(FailedFile(file.root, failure, file.size_bytes, file.mtime_ns))
        self.failures.append(failure)

    def _commit(self, numerics: Numerics) -> None:
        batch = Batch(self._new, self._failed, self._touched, self._moved, self._changed)
        if not (batch.new or batch.failed or batch.touched or batch.moved):
            self._start_batch()
            return
        before = self._generation()
        self._start_batch()  # whoever is told of an interrupt from here on has nothing more to commit
        try:
            self._writer.commit(batch, numerics)
        except KeyboardInterrupt:
            if self._generation() == before:  # it was taken back: once more, what is complete stays
                self._writer.commit(batch, numerics)
            raise
        self.added += sum(video.replaces is None for video, _ in batch.new)
        self.replaced += sum(video.replaces is not None for video, _ in batch.new)
        self.touched += len(batch.touched)
        self.moved += len(batch.moved)
        self.updated += len(batch.changed)
        self._committed += len(batch.new) + len(batch.touched) + len(batch.moved)
        self._tell()

    def _generation(self) -> int:
        with self._writer.view() as view:
            return view.generation

    def _start_batch(self) -> None:
        self._new: list[tuple[NewVideo, StoredVideo]] = []
        self._failed: list[FailedFile] = []
        self._touched: list[KnownFile] = []
        self._moved: list[tuple[KnownFile, Path, Path]] = []
        self._changed: list[MetadataChange] = []
        self._fresh: dict[str, StoredVideo] = {}  # by content, for copies within the batch
        self._batch_started = time.monotonic()

    def _tell(self) -> None:
        if self._listener is not None:
            told = IngestProgress(self._done, self._total, len(self.failures), self._committed + self.buried)
            self._listener(told)


def _is_as_known(file: MediaFile, digest: str) -> bool:
    """Whether a file has another time, but the bytes that it had."""
    return file.known is not None and file.known.content_sha256 == digest


def _as_now(known: KnownFile, file: MediaFile) -> KnownFile:
    return replace(known, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns)
