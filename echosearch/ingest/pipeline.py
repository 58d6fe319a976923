"""The way of a folder into an index, step by step: find, plan, read and prepare, encode, pool, add."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from echosearch.config import default_workers
from echosearch.encoders import Encoder, TextCache, how_to_choose, load_encoder
from echosearch.errors import (
    BadOption,
    InputError,
    RecipeMismatch,
    UnknownEncoder,
    UnreadableVideo,
    UnsupportedVideo,
)
from echosearch.files import is_gone, is_our_own
from echosearch.index import (
    AttributeType,
    FramesDtype,
    MetadataChange,
    Store,
    VideoMetadata,
    Writer,
    check_model,
    probe,
)
from echosearch.ingest.adding import Adding, MediaFile, Told
from echosearch.ingest.decoding import Decoders, decoders
from echosearch.ingest.layouts import recognise
from echosearch.ingest.metadata import MetadataTable
from echosearch.tasks import VIEW_TASK, Model, builtin_task, predict_views, tells_views
from echosearch.types import (
    Device,
    Failure,
    IngestProgress,
    IngestReport,
    ModelRequest,
    Precision,
    PreparedVideo,
    ProgressListener,
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
    files, notes = _find(sources)
    told, warnings = _match(tables, files, sources, _attributes(index_path))
    warnings += notes
    with ExitStack() as stack:
        memory_bytes = int(options.worker_memory_gib * 2**30)
        decoding: Decoders[MediaFile] = stack.enter_context(
            decoders(options.workers, options.timeout_seconds, memory_bytes)
        )
        store, encoder = _open_or_create(index_path, options, load)
        warnings[:0] = store.description.notes
        writer = stack.enter_context(store.writer(options.wait_seconds))
        gone = _vanished(writer, files, sources, options) if options.prune else []
        for table in {id(table): table for table, _ in told.values()}.values():
            writer.declare_attributes(table.types)
        plan = _plan(writer, files, options, listener)
        if plan.todo or encoder or _names_another_model(store, options):
            encoder = encoder or load(_request(store, options), decoder_name())
            warnings += check_model(store.description, encoder)
        if plan.todo:
            decoding.wait_until_ready()
        if plan.own:
            names = ", ".join(path.name for path in plan.own[:5])
            warnings.append(f"passed over {len(plan.own)} pictures that echosearch wrote: {names}")
        ready = time.monotonic()
        if changes := _changes(writer, plan.unchanged, told):
            with writer.transaction() as transaction:
                transaction.videos.change_metadata(changes)
            told_now = [value for change in changes for value in (change.fields | change.attributes).values()]
            if emptied := told_now.count(None):
                warnings.append(
                    f"{emptied} values that were known are emptied, as their cells in the manifest are empty"
                )
        run = Adding(writer, told, len(plan.todo), listener, options.undelete, options.rehash)
        if encoder is not None:
            run.add_all(prepared(decoding, plan.todo, encoder), encoder)
            tell_views(writer, encoder)
        for root in sorted(run.missing_roots):
            warnings.append(
                f"copies of videos below {root} were found, which is not there: if it was moved, these are the same "
                f"videos twice; purge the copies (delete --purge), then say where it lies: echosearch roots {root} NEW"
            )
        with writer.snapshot() as snapshot:  # what has moved is not gone
            pruned = [id_ for id_, (_, path) in snapshot.catalog.files.places(gone).items() if is_gone(path)]
        outdated = _outdated_failures(writer, sources)
        if pruned or outdated:
            with writer.transaction() as transaction:
                transaction.deleted.add(pruned, on_purpose=False)
                transaction.failures.forget(outdated)
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
        updated=len(changes) + run.updated,
        pruned=len(pruned),
        failed_earlier=plan.failed_earlier,
        deleted_earlier=plan.deleted_earlier + run.deleted_earlier,
        copies=run.copies,
        failures=tuple(run.failures),
        warnings=tuple(warnings),
        frames_encoded=run.frames_encoded,
        seconds_starting=ready - started,
        seconds_working=time.monotonic() - ready,
    )


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
            files.setdefault(path, media_file(root, path))
    notes = _notes_on_what_was_passed_over(passed_over, unlisted)
    if not files:
        raise InputError("; ".join([f"no videos in {', '.join(map(str, sources))}", *notes]))
    return list(files.values()), notes


def media_file(root: Path, path: Path) -> MediaFile:
    """A file as it lies there now, below a root."""
    try:
        status = path.stat()
    except OSError:  # a broken link, or gone by now: the decoder will name it
        return MediaFile(root, path, 0, 0)
    return MediaFile(root, path, status.st_size, status.st_mtime_ns)


def _notes_on_what_was_passed_over(passed_over: Counter[str], unlisted: Mapping[Path, str]) -> list[str]:
    notes = []
    if passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common(5))
        notes.append(f"passed over {passed_over.total()} files that are no videos or stills read here: {kinds}")
    if unlisted:
        some = ", ".join(f"{folder} ({reason})" for folder, reason in list(unlisted.items())[:5])
        more = ", ..." if len(unlisted) > 5 else ""
        notes.append(f"passed over {len(unlisted)} folders that cannot be listed: {some}{more}")
    return notes


def _match(
    tables: Sequence[MetadataTable],
    files: Sequence[MediaFile],
    sources: Sequence[Path],
    known: Mapping[str, AttributeType],
) -> tuple[Told, list[str]]:
    """What the manifests, or the lists of data sets that are recognised, say of which file; and warnings."""
    warnings: list[str] = []
    layouts = [] if tables else [layout for source in sources if (layout := recognise(media_path(source))) is not None]
    told: dict[Path, tuple[MetadataTable, VideoMetadata]] = {}
    roots = sorted({file.root for file in files})
    paths = [file.path for file in files]
    for table in [table.among(known) for table in tables]:
        found, more = table.match(paths, roots)
        if not found:
            raise table.fits_nothing(paths)
        warnings += more
        told |= {path: (table, metadata) for path, metadata in found.items()}
    for layout in layouts:
        warnings.append(f"recognised as {layout.name}: {', '.join(str(table.file) for table in layout.tables)}")
        for table in [table.among(known) for table in layout.tables]:
            # Each says something of what lies beside it, and of nothing else.
            found, more = table.match([path for path in paths if table.file.parent in path.parents], roots)
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
    """Files to do, live videos whose files are as they were, and what is left alone; `own` are pictures made here."""

    todo: list[MediaFile]
    unchanged: dict[int, Path]
    failed_earlier: int
    deleted_earlier: int
    own: list[Path]


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
    todo, unchanged, failed_earlier, deleted_earlier, own = [], {}, 0, 0, []
    for done, file in enumerate(files):
        before = known.get(file.path)
        now = (file.size_bytes, file.mtime_ns)
        if before is not None and (before.size_bytes, before.mtime_ns) == now:
            if options.rehash and listener is not None:
                listener(IngestProgress(done, len(files), 0, 0))
            if not options.rehash or _has_bytes(file.path, before.content_sha256):
                unchanged[before.video_id] = file.path
                continue
        if failed.get(file.path) == now:
            failed_earlier += 1
        elif before is None and now in deleted.get(file.path, {}).values():
            deleted_earlier += 1
        elif before is None and is_our_own(file.path):
            own.append(file.path)
        else:
            todo.append(replace(file, known=before, is_deleted=before is None and file.path in deleted))
    return _Plan(todo, unchanged, failed_earlier, deleted_earlier, own)


def _has_bytes(path: Path, digest: str) -> bool:
    try:
        return content_sha256(path) == digest
    except OSError:
        return False  # the decoder will name it


def _changes(writer: Writer, unchanged: Mapping[int, Path], told: Told) -> list[MetadataChange]:
    """What the manifests say otherwise than the catalog of videos that are not embedded again."""
    with writer.snapshot() as snapshot:
        records = list(
            snapshot.catalog.videos.records([video_id for video_id, path in unchanged.items() if path in told])
        )
    changes = []
    for record in records:
        table, metadata = told[Path(record.path)]
        changes.append(table.change(record, metadata))
    return [change for change in changes if change is not None]


def _outdated_failures(writer: Writer, sources: Sequence[Path]) -> list[Path]:
    """Failures below the sources that are true no more: of files that are as they were when embedded, or gone."""
    folders = {media_path(source) for source in sources}
    with writer.snapshot() as snapshot:
        paths = [Path(failure.path) for failure in snapshot.catalog.failures.all()]
        paths = [path for path in paths if folders & {path, *path.parents}]
        known = snapshot.catalog.files.known(paths)

    def is_outdated(path: Path) -> bool:
        if path in known:
            now = media_file(path.parent, path)
            return (known[path].size_bytes, known[path].mtime_ns) == (now.size_bytes, now.mtime_ns)
        return is_gone(path) and not os.path.lexists(path)

    return [path for path in paths if is_outdated(path)]


def _vanished(writer: Writer, files: Sequence[MediaFile], sources: Sequence[Path], options: IngestOptions) -> list[int]:
    """Live videos below the sources whose files are gone. BadOption when that is more than a tenth, unless said yes."""
    there = {file.path for file in files}
    folders = [media_path(source) for source in sources]
    with writer.snapshot() as snapshot:
        places = snapshot.catalog.files.places()
    below = {
        video_id: path
        for video_id, (_, path) in places.items()
        if any(folder == path or folder in path.parents for folder in folders)
    }
    gone = [video_id for video_id, path in below.items() if path not in there and is_gone(path)]
    if len(gone) > len(below) / 10 and not options.yes:
        raise BadOption(
            f"{len(gone)} of {len(below)} videos below {', '.join(map(str, folders))} are gone; "
            "if that is right, and no disk is missing, say so: --prune --yes"
        )
    return gone


def prepared(
    decoding: Decoders[MediaFile], todo: Sequence[MediaFile], encoder: Encoder
) -> Iterator[tuple[MediaFile, PreparedVideo | Failure]]:
    """Each file prepared for the encoder, or why not, in order."""
    recipe = encoder.card.recipe
    # Enough to fill the next batch while this one is being encoded, with short videos too.
    ahead = 2 * decoding.workers + encoder.batch_frames // 8
    return decoding.prepared([(file, file.path) for file in todo], recipe.sampling, recipe.preprocess, ahead)
