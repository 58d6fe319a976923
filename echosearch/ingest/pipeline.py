"""The way of a folder into an index, step by step: find, plan, decode, prepare, encode, pool, commit."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.config import COMMIT_VIDEOS, default_workers
from echosearch.encoders import Encoder, TextCache, encode_stream, how_to_choose, load_encoder
from echosearch.errors import (
    BadOption,
    EncoderFailed,
    InputError,
    RecipeMismatch,
    UnknownEncoder,
    UnreadableVideo,
    UnsupportedVideo,
)
from echosearch.files import is_our_own
from echosearch.index import (
    AttributeType,
    FramesDtype,
    Store,
    StoredVideo,
    VideoMetadata,
    Writer,
    check_model,
    probe,
)
from echosearch.ingest.adding import Adding, MediaFile, Work
from echosearch.ingest.decide import Sight, at_first_sight
from echosearch.ingest.decoding import Decoders, decoders
from echosearch.ingest.layouts import recognise
from echosearch.ingest.metadata import MetadataTable, Told, news
from echosearch.ingest.pruning import let_go, vanished
from echosearch.tasks import VIEW_TASK, Model, builtin_task, predict_views, tells_views
from echosearch.types import (
    Device,
    EncodedVideo,
    Failure,
    IngestProgress,
    IngestReport,
    ModelRequest,
    Precision,
    ProgressListener,
    pool,
    whole,
)
from echosearch.video import content_sha256, decoder_name, find_media, media_path

Load = Callable[[ModelRequest, str], Encoder]

_MAX_WORKERS: Final = 1024


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
    rehash: bool = False
    prune: bool = False
    yes: bool = False
    wait_seconds: float = 0.0

    def __post_init__(self) -> None:
        whole("--workers", self.workers, 1, _MAX_WORKERS)
        if not 0 < self.timeout_seconds <= 1e6:
            raise BadOption(f"--timeout is more than 0 seconds, and at most 1e6, not {self.timeout_seconds:g}")
        if not 2 <= self.worker_memory_gib <= 1e6:
            raise BadOption(f"--worker-memory is at least 2 GiB, and at most 1e6, not {self.worker_memory_gib:g}")


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
    told, warnings = _match(tables, files, sources, _attributes(index_path))
    warnings += passed_over
    with ExitStack() as stack:
        memory_bytes = int(options.worker_memory_gib * 2**30)
        decoding = stack.enter_context(decoders(options.workers, options.timeout_seconds, memory_bytes))
        store, encoder = _open_or_create(index_path, options, load)
        warnings[:0] = store.description.notes
        writer = stack.enter_context(store.writer(options.wait_seconds))
        gone = vanished(writer, [file.path for file in files], sources, options.yes) if options.prune else []
        for table in {id(table): table for table, _ in told.values()}.values():
            writer.declare_attributes(table.types)
        plan = _plan(writer, files, options, listener)
        if plan.todo or encoder or _names_another_model(store, options):
            encoder = encoder or load(_request(store, options), decoder_name())
            warnings += check_model(store.description, encoder)
        if plan.todo:
            decoding.wait_until_ready()
        warnings += plan.notes
        ready = time.monotonic()
        updated = _update(writer, plan.unchanged, told, warnings)
        run = Adding(writer, told, len(plan.todo), listener, options.undelete, options.rehash)
        if encoder is not None:
            add_all(plan.todo, decoding, encoder, run)
            tell_views(writer, encoder)
        warnings += map(_root_is_missing, sorted(run.missing_roots))
        with writer.snapshot() as snapshot:
            failed = snapshot.catalog.failures.all()
        pruned = let_go(writer, gone, failed, sources) if gone or failed else 0
        writer.finish()
        warnings += writer.notes
        with writer.snapshot() as snapshot:
            generation = snapshot.generation
            warnings += snapshot.outdated.values()
    recognised = f" ({encoder.card.recognised})" if encoder is not None and encoder.card.recognised else ""
    return IngestReport(
        index=str(index_path),
        generation=generation,
        model=f"{store.description.model}{recognised}: {store.description.recipe.in_words}",
        added=run.added,
        replaced=run.replaced,
        unchanged=len(plan.unchanged) + run.touched,
        moved=run.moved,
        returned=run.returned,
        updated=updated + run.updated,
        pruned=pruned,
        failed_earlier=plan.failed_earlier,
        deleted_earlier=plan.deleted_earlier + run.deleted_earlier,
        copies=run.copies,
        failures=tuple(run.failures),
        warnings=tuple(warnings),
        frames_encoded=run.frames_encoded,
        seconds_starting=ready - started,
        seconds_working=time.monotonic() - ready,
    )


def add_all(files: Sequence[MediaFile], decoding: Decoders[MediaFile], encoder: Encoder, run: Adding) -> None:
    """The way of each file into an index, in their order; what is complete is committed, whatever ends it."""
    recipe, numerics = encoder.card.recipe, encoder.card.numerics
    # Enough to fill the next batch while this one is being encoded, with short videos too.
    ahead = 2 * decoding.workers + encoder.batch_frames // 8
    with run.committed():
        paths = [(file, file.path) for file in files]
        decoded = decoding.prepared(paths, recipe.sampling, recipe.preprocess, ahead)  # and cropped, in other processes
        decided = (run.decided(file, outcome) for file, outcome in decoded)
        for work, frames in encode_stream(encoder, decided):  # frames of several videos at once
            run.take(work, _pooled(work, frames), numerics)
            run.commit_if_due(COMMIT_VIDEOS)


def _pooled(work: Work, frames: npt.NDArray[np.float32] | EncoderFailed | None) -> StoredVideo | EncoderFailed | None:
    """A video's vectors of those of its frames; None for what was not encoded."""
    if frames is None or isinstance(frames, EncoderFailed) or isinstance(work.outcome, Failure):
        return None if isinstance(frames, np.ndarray) else frames
    try:
        pooled = pool(frames)
    except ValueError as error:
        return EncoderFailed(str(error))
    return StoredVideo.of(EncodedVideo(frames, work.outcome.frame_numbers, pooled))


def tell_views(writer: Writer, encoder: Encoder) -> None:
    """Keep the views that the index's model tells, where it is measured to."""
    cache = TextCache(writer.path / "cache", writer.description.dim)

    def embed(phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([text.vector for text in encoder.encode_text(phrases, cache)])

    description = writer.description
    if tells_views(description):
        model = Model(description.recipe.id, encoder.card.numerics.precision, description.logit_scale)
        predict_views(writer, builtin_task(VIEW_TASK).scorer("exact", model, embed))


def _find(sources: Sequence[Path]) -> tuple[list[MediaFile], list[str]]:
    """All media files below the sources, each once, in order; and notes of what was passed over."""
    if not sources:
        raise InputError("give at least one video file or folder")
    files: dict[Path, MediaFile] = {}
    passed_over: Counter[str] = Counter()
    unlisted: dict[Path, str] = {}
    for source in sources:
        found = find_media(source)
        passed_over += found.passed_over
        unlisted |= found.unlisted
        root = media_path(source)
        root = root.parent if root.is_file() else root
        for path in found.media:
            files.setdefault(path, MediaFile.at(root, path))
    notes = _notes_on_what_was_passed_over(passed_over, unlisted)
    if not files:
        raise InputError("; ".join([f"no videos in {', '.join(map(str, sources))}", *notes]))
    return list(files.values()), notes


def _notes_on_what_was_passed_over(passed_over: Counter[str], unlisted: Mapping[Path, str]) -> list[str]:
    notes = []
    if passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
        notes.append(f"skipped {passed_over.total()} files that are not supported videos or stills: {kinds}")
    if unlisted:
        some = ", ".join(f"{folder} ({reason})" for folder, reason in list(unlisted.items())[:5])
        more = ", ..." if len(unlisted) > 5 else ""
        notes.append(f"skipped {len(unlisted)} folders that cannot be listed: {some}{more}")
    return notes


def _match(
    tables: Sequence[MetadataTable],
    files: Sequence[MediaFile],
    sources: Sequence[Path],
    known: Mapping[str, AttributeType],
) -> tuple[Told, list[str]]:
    """What the manifests, or the lists of data sets that are recognised, say of which file; and warnings."""
    warnings: list[str] = []
    paths, roots = [file.path for file in files], sorted({file.root for file in files})
    lists = [(table, paths) for table in tables]
    for layout in filter(None, map(recognise, map(media_path, [] if tables else sources))):
        warnings.append(f"recognised as {layout.name}: {', '.join(str(table.file) for table in layout.tables)}")
        # Each says something of what lies beside it, and of nothing else.
        lists += [(table, [path for path in paths if table.file.parent in path.parents]) for table in layout.tables]
    told: dict[Path, tuple[MetadataTable, VideoMetadata]] = {}
    for listed, beside in lists:
        table = listed.among(known)
        found, more = table.match(beside, roots)
        if tables and not found:
            raise table.fits_nothing(paths)
        warnings += more
        told |= {path: (table, metadata) for path, metadata in found.items()}
    return told, warnings


def _attributes(index_path: Path) -> dict[str, AttributeType]:
    """The attributes that the index has; none where it is yet to be made."""
    if not Store.exists(index_path):
        return {}
    with Store(index_path).catalog_only() as snapshot:
        return {column.name: column.type for column in snapshot.attributes.columns()}


def _open_or_create(index_path: Path, options: IngestOptions, load: Load) -> tuple[Store, Encoder | None]:
    """The index, and the encoder where one had to be loaded to make a new index."""
    encoder: Encoder | None = None
    if Store.exists(index_path):
        store = Store(index_path)
    else:
        if options.model is None:
            raise UnknownEncoder(f"a new index needs a model; name one with --model:\n{how_to_choose()}")
        encoder = load(options.model, decoder_name())
        store = Store.create(index_path, encoder.card, probe(encoder), options.frames or "float32")
    kept = store.description.frames_dtype
    if options.frames not in (None, kept):
        raise RecipeMismatch(f"this index keeps its frames as {kept}, not {options.frames}; leave --frames out")
    return store, encoder


def _request(store: Store, options: IngestOptions) -> ModelRequest:
    """The model to use with an index that exists: its own, or the one asked for, prepared as here if an address."""
    own, asked = store.description.request(), options.model
    if asked is None:
        return replace(own, device=options.device, precision=options.precision)
    preprocess = own.preprocess if ":" in asked.name else None
    return replace(asked, sampling=asked.sampling or own.sampling, preprocess=preprocess)


_CODES_OF_BYTES: Final = (UnreadableVideo.code(), UnsupportedVideo.code())
"""Failures that come again while the bytes are the same; the others may be the machine's, and are tried again."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Files to do, live videos whose files are as they were, and how many are left alone."""

    todo: list[MediaFile]
    unchanged: dict[int, Path]
    failed_earlier: int
    deleted_earlier: int
    notes: list[str]


def _names_another_model(store: Store, options: IngestOptions) -> bool:
    """Whether the model asked for may not be the index's, so that it has to be loaded to know."""
    asked, manifest = options.model, store.description
    if asked is None:
        return False
    other_sampling = asked.sampling is not None and asked.sampling != manifest.recipe.sampling
    return asked.name != manifest.model or asked.weights not in (None, manifest.weights) or other_sampling


def _plan(
    writer: Writer, files: Sequence[MediaFile], options: IngestOptions, listener: ProgressListener | None
) -> _Plan:
    """What is new or looks changed; deleted and failed files stay as they are unless the options say otherwise.

    A file with the size and time that it had counts as unchanged; with `rehash` its bytes are read as well.
    """
    paths = [file.path for file in files]
    with writer.snapshot() as snapshot:
        known = snapshot.catalog.files.known(paths)
        failed = {} if options.retry_failed or options.rehash else snapshot.catalog.failures.at(paths, _CODES_OF_BYTES)
        deleted = {} if options.undelete else snapshot.catalog.deleted.at(paths)
    unchanged: dict[int, Path] = {}
    others: defaultdict[Sight, list[MediaFile]] = defaultdict(list)
    for done, file in enumerate(files):
        path, before = file.path, known.get(file.path)
        stamp = None if before is None else (before.size_bytes, before.mtime_ns)
        now, gone = (file.size_bytes, file.mtime_ns), deleted.get(path, {})
        sight = at_first_sight(now, stamp, failed.get(path), gone.values(), partial(is_our_own, path))
        if before is not None and sight == "unchanged":
            if options.rehash and listener is not None:
                listener(IngestProgress(done, len(files), 0, 0))
            if not options.rehash or _has_bytes(path, before.content_sha256):
                unchanged[before.video_id] = path
                continue
            sight = "to do"
        others[sight].append(replace(file, known=before, is_deleted=before is None and path in deleted))
    notes = []
    if own := others["our own"]:
        names = ", ".join(file.path.name for file in own[:5])
        notes.append(f"skipped {len(own)} pictures that echosearch wrote: {names}")
    return _Plan(others["to do"], unchanged, len(others["failed earlier"]), len(others["deleted earlier"]), notes)


def _has_bytes(path: Path, digest: str) -> bool:
    try:
        return content_sha256(path) == digest
    except OSError:
        return False  # the decoder will name it


def _update(writer: Writer, unchanged: Mapping[int, Path], told: Told, warnings: list[str]) -> int:
    """Set what manifests say otherwise than the catalog of videos that are not embedded again; gives their number."""
    with writer.snapshot() as snapshot:
        records = list(
            snapshot.catalog.videos.records([video_id for video_id, path in unchanged.items() if path in told])
        )
    if changes := news(told, [(Path(record.path), record) for record in records]):
        with writer.transaction() as transaction:
            transaction.videos.change_metadata(changes)
        told_now = [value for change in changes for value in (change.fields | change.attributes).values()]
        if emptied := told_now.count(None):
            warnings.append(f"{emptied} known values were cleared, because their cells in the manifest are empty")
    return len(changes)


def _root_is_missing(root: Path) -> str:
    return (
        f"found copies of videos of {root}, a folder that is gone. If it was moved, the index has these videos twice: "
        f"purge the copies (delete --purge), then say where it is now: echosearch roots {root} NEW"
    )
