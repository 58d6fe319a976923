"""The way of a folder into an index, step by step: find, plan, read and prepare, encode, pool, add."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from echosearch.catalog import FailedFile, KnownFile, NewVideo, VideoMetadata
from echosearch.config import COMMIT_SECONDS, COMMIT_VIDEOS, default_workers
from echosearch.encoders import Encoder, encode_stream, how_to_choose, load_encoder
from echosearch.errors import BadOption, EncoderFailed, InputError, RecipeMismatch, UnknownEncoder
from echosearch.ingest.admission import check_model, probe
from echosearch.ingest.decoding import Decoders, decoders
from echosearch.ingest.metadata import MetadataTable
from echosearch.store import Batch, Store, Writer
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

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadOption(f"--workers is at least 1, not {self.workers}")
        if self.timeout_seconds <= 0:
            raise BadOption(f"--timeout is more than 0 seconds, not {self.timeout_seconds:g}")
        if self.worker_memory_gib < 2:
            raise BadOption(f"--worker-memory is at least 2 GiB, not {self.worker_memory_gib:g}")


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
    table: MetadataTable | None = None,
    listener: ProgressListener | None = None,
    load: Load = load_encoder,
) -> IngestReport:
    """Embed all videos of files and folders that the index does not have yet, and add them.

    Files that cannot be read are failures in the report and in the catalog; everything else is an error.
    `load` makes an encoder of a ModelRequest, so that tests and benchmarks can bring their own.
    """
    options = options or IngestOptions()
    started = time.monotonic()
    files, passed_over = _find(sources)
    metadata, warnings = _match(table, files)
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
        writer = stack.enter_context(store.writer())
        if table is not None:
            writer.declare_attributes(table.types)
        todo, unchanged = _plan(writer, files)
        if todo:
            encoder = encoder or load(_request(store, options), decoder_name())
            warnings += check_model(store.manifest, encoder)
            decoding.wait_until_ready()
        ready = time.monotonic()
        run = _Run(writer, metadata, len(todo), listener)
        if encoder is not None:
            run.add_all(_prepared(decoding, todo, encoder), encoder)
        writer.finish()
        with writer.view() as view:
            generation = view.generation
    return IngestReport(
        index=str(index_path),
        generation=generation,
        added=run.added,
        replaced=run.replaced,
        unchanged=unchanged + run.touched,
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


def _match(table: MetadataTable | None, files: Sequence[MediaFile]) -> tuple[Mapping[Path, VideoMetadata], list[str]]:
    if table is None:
        return {}, []
    return table.match([file.path for file in files], sorted({file.root for file in files}))


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


def _plan(writer: Writer, files: Sequence[MediaFile]) -> tuple[list[MediaFile], int]:
    """Files that are new or look changed, and how many are as they were."""
    with writer.view() as view:
        known = view.catalog.known_files([file.path for file in files])
    todo = []
    for file in files:
        before = known.get(file.path)
        if before is None or (before.size_bytes, before.mtime_ns) != (file.size_bytes, file.mtime_ns):
            todo.append(replace(file, known=before))
    return todo, len(files) - len(todo)


Prepared = tuple[MediaFile, PreparedVideo | Failure]


def _prepared(decoding: Decoders[MediaFile], todo: Sequence[MediaFile], encoder: Encoder) -> Iterator[Prepared]:
    recipe = encoder.card.recipe
    # Enough to fill the next batch while this one is being encoded, with short videos too.
    ahead = 2 * decoding.workers + encoder.batch_frames // 8
    return decoding.prepared([(file, file.path) for file in todo], recipe.sampling, recipe.preprocess, ahead)


class _Run:
    """What an ingest has done so far, and the batch that the next commit will bring."""

    def __init__(
        self,
        writer: Writer,
        metadata: Mapping[Path, VideoMetadata],
        total: int,
        listener: ProgressListener | None,
    ) -> None:
        self.added = self.replaced = self.copies = self.touched = self.frames_encoded = 0
        self.failures: list[Failure] = []
        self._writer = writer
        self._metadata = metadata
        self._total = total
        self._done = 0
        self._committed = 0
        self._listener = listener
        self._seen: set[str] = set()  # content that this run has encoded or is encoding
        self._start_batch()

    def add_all(self, prepared: Iterator[Prepared], encoder: Encoder) -> None:
        """Encode and add what the decoders bring; commit now and then, and what there is when interrupted."""
        numerics = encoder.card.numerics
        self._tell()
        try:
            for (file, outcome), embeddings in encode_stream(encoder, self._to_encode(prepared)):
                self._take(file, outcome, embeddings)
                if len(self._new) >= COMMIT_VIDEOS or time.monotonic() - self._batch_started >= COMMIT_SECONDS:
                    self._commit(numerics)
                self._tell()
        except (KeyboardInterrupt, EncoderFailed):
            self._commit(numerics)  # what is complete stays
            raise
        self._commit(numerics)

    def _take(self, file: MediaFile, outcome: PreparedVideo | Failure, embeddings: Any) -> None:
        if isinstance(outcome, Failure):
            self._fail(file, outcome)
        elif file.known is not None and file.known.content_sha256 == outcome.content_sha256:
            self._touched.append(replace(file.known, size_bytes=file.size_bytes, mtime_ns=file.mtime_ns))
        else:
            self._add(file, outcome, embeddings)
        self._done += 1

    def _fail(self, file: MediaFile, failure: Failure) -> None:
        self._failed.append(FailedFile(file.root, failure, file.size_bytes, file.mtime_ns))
        self.failures.append(failure)

    def _commit(self, numerics: Numerics) -> None:
        batch = Batch(self._new, self._failed, self._touched)
        self._start_batch()  # first: an interrupt during the commit must not lead to a second one
        if not (batch.new or batch.failed or batch.touched):
            return
        self._writer.commit(batch, numerics)
        self.added += sum(video.replaces is None for video, _ in batch.new)
        self.replaced += sum(video.replaces is not None for video, _ in batch.new)
        self.touched += len(batch.touched)
        self._committed += len(batch.new) + len(batch.touched)
        self._tell()

    def _start_batch(self) -> None:
        self._new: list[tuple[NewVideo, StoredVideo]] = []
        self._failed: list[FailedFile] = []
        self._touched: list[KnownFile] = []
        self._fresh: dict[str, StoredVideo] = {}  # by content, for copies within the batch
        self._batch_started = time.monotonic()

    def _to_encode(self, prepared: Iterator[Prepared]) -> Iterator[tuple[Prepared, Any]]:
        """Pixels of what must be encoded; None beside failures, unchanged bytes and copies."""
        for file, outcome in prepared:
            if isinstance(outcome, Failure):
                yield (file, outcome), None
                continue
            digest = outcome.content_sha256
            needed = digest not in self._seen and self._committed_copy(digest) is None
            self._seen.add(digest)
            slim = replace(outcome, pixels=np.empty((len(outcome.frame_numbers), 3, 0, 0), np.uint8))
            yield (file, slim), outcome.pixels if needed else None

    def _add(self, file: MediaFile, prepared: PreparedVideo, embeddings: Any) -> None:
        try:
            stored = self._stored(prepared, embeddings)
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
            metadata=self._metadata.get(file.path, VideoMetadata()),
            replaces=file.known.video_id if file.known else None,
        )
        self._new.append((video, stored))

    def _stored(self, prepared: PreparedVideo, embeddings: Any) -> StoredVideo:
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
        self.copies += 1
        copy = self._fresh.get(prepared.content_sha256) or self._committed_copy(prepared.content_sha256)
        if copy is None:
            raise EncoderFailed("a file with the same bytes could not be encoded")
        return copy

    def _committed_copy(self, digest: str) -> StoredVideo | None:
        with self._writer.view() as view:
            video_id = view.catalog.ids_with_content([digest]).get(digest)
            return None if video_id is None else view.stored(video_id)

    def _tell(self) -> None:
        if self._listener is not None:
            self._listener(IngestProgress(self._done, self._total, len(self.failures), self._committed))
