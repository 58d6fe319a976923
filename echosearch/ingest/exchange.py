"""Vectors out of an index, and vectors made elsewhere into one. Embeds nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from echosearch.admission import check_probe, probe
from echosearch.catalog import FailedFile, KnownFile, NewVideo, VideoMetadata
from echosearch.config import COMMIT_SECONDS, COMMIT_VIDEOS, SMALL_SEGMENT, default_workers
from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BadEmbeddings, BadOption, RecipeMismatch, SpaceMismatch
from echosearch.ingest.decoding import decoders
from echosearch.ingest.embeddings_file import EmbeddingsFile, OutVideo, write_embeddings
from echosearch.store import Batch, Manifest, Store, View, Writer
from echosearch.types import (
    EncoderCard,
    Failure,
    FrameSampling,
    IngestProgress,
    ModelRequest,
    Numerics,
    PreparedVideo,
    ProgressListener,
    Recipe,
    VideoFacts,
    VideoRecord,
)
from echosearch.vectors import StoredVideo
from echosearch.video import decoder_name, media_path

Load = Callable[[ModelRequest, str], Encoder]

_SHORTEST_ID: Final = 8
"""So many characters of a recipe's hash name it."""

_FIRST_FRAME: Final = FrameSampling(0, 1, 1)
_UNKNOWN: Final = Numerics("unknown", "unknown", "unknown", "unknown", "made elsewhere")
_SAME: Final = 0.99999
"""Cosine from which two vectors of one video are the same but for rounding."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written."""

    index: str
    generation: int
    file: str
    videos: int
    frames: int
    unverified: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import: `recipe` is a recipe's id (8 characters at least) or a model, relative paths begin at `root`."""

    recipe: str | None = None
    root: Path | None = None
    workers: int = field(default_factory=default_workers)
    timeout_seconds: float = 300.0
    worker_memory_gib: float = 4.0
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, by number of videos.

    `verified`: known already, and known now to be made as the index's own; `other_vectors`: known with other
    vectors, which stay; `unverified`: those of the index that no probe has shown to be right.
    """

    index: str
    generation: int
    added: int
    unchanged: int
    verified: int
    other_vectors: int
    deleted_earlier: int
    unverified: int
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {
            "failures": [failure.to_dict() for failure in self.failures],
            "warnings": list(self.warnings),
        }


def export_embeddings(index_path: Path, out: Path) -> ExportReport:
    """Write all live videos of an index with their vectors and what is known of them, by ascending id.

    BadOption when the file is there already or is no `.npz`.
    """
    if out.suffix != ".npz":
        raise BadOption(f"embeddings go into a file that ends in .npz, not {out.name}")
    if out.exists():
        raise BadOption(f"{out} is there already; give another name, or remove it first")
    store = Store(index_path)
    with store.view() as view:
        places = view.catalog.places()
        files = view.catalog.known_files([path for _, path in places.values()])
        videos = [_out_video(view, record, *places[record.video_id], files) for record in view.catalog.videos()]
        types = {column.name: column.type for column in view.catalog.attribute_columns()}
        about = store.manifest.to_dict() | {"attributes": types, "generation": view.generation}
        dtype = store.manifest.frames_dtype
        write_embeddings(out, about, store.manifest.probe, videos, view.stored, dtype)
        return ExportReport(
            str(index_path),
            view.generation,
            str(out),
            len(videos),
            sum(video.num_frames for video in videos),
            view.catalog.count_unverified(),
        )


def _out_video(view: View, record: VideoRecord, root: Path, path: Path, files: Mapping[Path, KnownFile]) -> OutVideo:
    more = {
        "root": str(root),
        "mtime_ns": files[path].mtime_ns,
        "numerics": asdict(view.numerics(record.video_id)),
    }
    return OutVideo(record.video_id, record.path, record.num_embedded_frames, record.to_dict() | more)


def import_embeddings(
    index_path: Path,
    source: Path,
    options: ImportOptions | None = None,
    listener: ProgressListener | None = None,
    load: Load = load_encoder,
) -> ImportReport:
    """Add videos whose vectors were made elsewhere; an index that is not there is made.

    What a file of our own says of its videos is taken over; of others the files are opened, so that a later ingest
    knows them. Vectors count as unverified until probe vectors in a file agree with the index's. RecipeMismatch or
    NumericsMismatch when they were made in another way.
    """
    options = options or ImportOptions()
    file = EmbeddingsFile(source)
    paths = _paths(file, options)
    for _ in file.videos():
        pass  # all of it is checked before anything is changed
    store = _open_or_create(index_path, file, options, load)
    unverified, warnings = _verdict(store.manifest, file, options)
    if store.manifest.notice:
        warnings.insert(0, store.manifest.notice)
    with store.writer(options.wait_seconds) as writer:
        writer.declare_attributes((file.about or {}).get("attributes", {}))
        run = _Import(writer, unverified, listener)
        if file.records is not None:
            known: list[_Known | None] = [
                _of_record(path, record) for path, record in zip(paths, file.records, strict=True)
            ]
        else:
            known = run.open_files(paths, store.manifest, options)
        run.add_all(zip(paths, known, file.videos(), strict=True), len(paths))
        writer.finish()
        with writer.view() as view:
            left, generation = view.catalog.count_unverified(), view.generation
    return ImportReport(
        index=str(index_path),
        generation=generation,
        added=run.added,
        unchanged=run.unchanged,
        verified=run.verified,
        other_vectors=run.other_vectors,
        deleted_earlier=run.deleted_earlier,
        unverified=left,
        failures=tuple(run.failures),
        warnings=tuple(warnings),
    )


def _paths(file: EmbeddingsFile, options: ImportOptions) -> list[Path]:
    """The absolute path of each video of a file. BadOption when relative ones have nothing to begin at."""
    relative = [path for path in file.paths if not Path(path).is_absolute()]
    if relative and options.root is None:
        raise BadOption(
            f"{file.path} names files by relative paths, such as {relative[0]}; say below what: --root FOLDER"
        )
    root = options.root or Path("/")
    return [media_path(root / path) for path in file.paths]


def _open_or_create(index_path: Path, file: EmbeddingsFile, options: ImportOptions, load: Load) -> Store:
    """The index; a new one is bound to the model that the file, or else --recipe, names."""
    if Store.exists(index_path):
        store = Store(index_path)
        kept, has = store.manifest.frames_dtype, file.frames_dtype
        if kept != "none" and has == "none":
            raise RecipeMismatch(
                f"this index keeps frame embeddings ({kept}), and {file.path} has none; "
                "export them too, or import into another index"
            )
        return store
    if file.about is not None:
        card, probe_vectors = _card_of(file), file.probe
        assert probe_vectors is not None  # a file of our own has them, and _card_of has read it as one
    elif options.recipe is None:
        raise _no_recipe(file)
    else:
        encoder = load(ModelRequest(options.recipe), decoder_name())
        card, probe_vectors = encoder.card, probe(encoder)
    _check_dim(card.dim, file)
    return Store.create(index_path, card, probe_vectors, file.frames_dtype)


def _card_of(file: EmbeddingsFile) -> EncoderCard:
    """What a file of our own says of the model that made it."""
    about = file.about or {}
    try:
        return EncoderCard(
            about["model"],
            about["weights"],
            about["dim"],
            Recipe.from_dict(about["recipe"]),
            replace(_UNKNOWN, precision=about["precision"]),
            about["logit_scale"],
            about["notice"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadEmbeddings(f"{file.path}: `about` cannot be read: {error!r}") from error


def _verdict(manifest: Manifest, file: EmbeddingsFile, options: ImportOptions) -> tuple[str | None, list[str]]:
    """None where probe vectors show that the file's vectors are made as the index's; else where they came from."""
    _check_dim(manifest.dim, file)
    numerics = replace(_UNKNOWN, precision=manifest.precision)  # no excuse of half precision for who says nothing
    if file.about is not None:
        card = _card_of(file)
        numerics = card.numerics
        if card.recipe.id != manifest.recipe.id:
            error = RecipeMismatch if card.recipe.space.id == manifest.recipe.space.id else SpaceMismatch
            told = "; ".join(card.recipe.differences(manifest.recipe))
            raise error(
                f"the vectors of {file.path} were made in another way than those of this index: {told} (the index)"
            )
    elif options.recipe is None:
        raise _no_recipe(file)
    if options.recipe is not None and not _names(options.recipe, manifest):
        raise RecipeMismatch(
            f"--recipe {options.recipe} is not that of this index: {manifest.recipe.id} ({manifest.model}); "
            "vectors made in another way belong into another index"
        )
    if file.probe is None:
        origin = f"imported from {file.path.name}, recipe as declared ({options.recipe})"
        return origin, ["nothing shows that these vectors were made with the index's recipe: marked unverified"]
    return None, check_probe(manifest, file.probe, numerics)


def _names(recipe: str, manifest: Manifest) -> bool:
    is_id = len(recipe) >= _SHORTEST_ID and manifest.recipe.id.startswith(recipe.lower())
    return is_id or recipe == manifest.model


def _no_recipe(file: EmbeddingsFile) -> BadOption:
    return BadOption(
        f"{file.path} does not say how its vectors were made; say so with --recipe: the model, or the recipe's id "
        "as `echosearch info` shows it"
    )


def _check_dim(dim: int, file: EmbeddingsFile) -> None:
    if file.dim != dim:
        raise SpaceMismatch(f"the vectors of {file.path} have {file.dim} dimensions, and this index's model {dim}")


_Known = tuple[NewVideo, Numerics]
"""A video to add but for its vectors, and how these were made."""


def _of_record(path: Path, record: dict[str, Any]) -> _Known:
    """What an index of ours knew of a video. BadEmbeddings when something is missing."""
    try:
        facts = VideoFacts(*(record[name] for name in ("kind", "num_frames", "height", "width", "fps")))
        metadata = VideoMetadata(*(record[name] for name in ("study", "patient", "view", "acquired_at", "attributes")))
        video = NewVideo(
            video_id=0,
            root=Path(record["root"]),
            path=path,
            facts=facts,
            num_embedded_frames=0,
            content_sha256=record["content_sha256"],
            size_bytes=record["size_bytes"],
            mtime_ns=record["mtime_ns"],
            metadata=metadata,
            unverified=record["unverified"],
        )
        return video, Numerics(**record["numerics"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadEmbeddings(f"the record of {path} cannot be read: {error!r}") from error


def _of_file(path: Path, root: Path, prepared: PreparedVideo) -> _Known:
    """What the file itself says of a video."""
    status = path.stat()
    video = NewVideo(
        video_id=0,
        root=root,
        path=path,
        facts=prepared.facts,
        num_embedded_frames=0,
        content_sha256=prepared.content_sha256,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        metadata=VideoMetadata(),
    )
    return video, _UNKNOWN


class _Import:
    """What an import has done so far, and the batch that the next commit will bring."""

    def __init__(self, writer: Writer, unverified: str | None, listener: ProgressListener | None) -> None:
        self.added = self.unchanged = self.verified = self.other_vectors = self.deleted_earlier = 0
        self.failures: list[Failure] = []
        self._writer = writer
        self._unverified = unverified
        self._listener = listener
        self._new: dict[Numerics, list[tuple[NewVideo, StoredVideo]]] = {}
        self._to_verify: list[int] = []

    def open_files(self, paths: Sequence[Path], manifest: Manifest, options: ImportOptions) -> list[_Known | None]:
        """Open the files that the index does not know; None for those that it does, and for failures."""
        with self._writer.view() as view:
            there = view.catalog.known_files(paths).keys() | view.catalog.buried_paths(paths)
        todo = [path for path in paths if path not in there]
        root = media_path(options.root or Path(os.path.commonpath([path.parent for path in paths])))
        found: dict[Path, _Known] = {}
        memory_bytes = int(options.worker_memory_gib * 2**30)
        with decoders(options.workers, options.timeout_seconds, memory_bytes) as decoding:
            tasks = [(path, path) for path in todo]
            ahead = 2 * options.workers
            for path, outcome in decoding.prepared(tasks, _FIRST_FRAME, manifest.recipe.preprocess, ahead):
                if isinstance(outcome, Failure):
                    self.failures.append(outcome)
                else:
                    found[path] = _of_file(path, root, outcome)
                self._tell(len(found) + len(self.failures), len(todo))
        failed = [FailedFile(root, failure, None, None) for failure in self.failures]
        if failed:
            self._writer.commit(Batch(failed=failed), _UNKNOWN)
        return [found.get(path) for path in paths]

    def add_all(self, videos: Iterable[tuple[Path, _Known | None, StoredVideo]], total: int) -> None:
        """Add what is new, compare what is known, and commit now and then."""
        rows = iter(videos)
        done = 0
        started = time.monotonic()
        while chunk := list(islice(rows, COMMIT_VIDEOS)):
            self._take(chunk)
            done += len(chunk)
            waiting = sum(map(len, self._new.values()))
            if waiting >= SMALL_SEGMENT or time.monotonic() - started > COMMIT_SECONDS:
                self._commit()
                started = time.monotonic()
            self._tell(done, total)
        self._commit()
        self._tell(total, total)
        self.verified = self._writer.verify(self._to_verify)

    def _take(self, chunk: Sequence[tuple[Path, _Known | None, StoredVideo]]) -> None:
        paths = [path for path, _, _ in chunk]
        with self._writer.view() as view:
            there = view.catalog.known_files(paths)
            buried = view.catalog.buried_paths(paths)
            for path, known, stored in chunk:
                origin = self._unverified or (known[0].unverified if known else None)
                if path in there:
                    self._compare(view, there[path].video_id, stored, origin)
                elif path in buried or (known and view.catalog.is_buried(known[0].content_sha256)):
                    self.deleted_earlier += 1
                elif known is not None:  # else it could not be opened, which its failure tells
                    video, numerics = known
                    video = replace(video, num_embedded_frames=len(stored.frame_numbers), unverified=origin)
                    self._new.setdefault(numerics, []).append((video, stored))

    def _compare(self, view: View, video_id: int, stored: StoredVideo, origin: str | None) -> None:
        """A video that is there keeps its vector; an equal one from a source that is trusted speaks for it."""
        kept = view.stored(video_id)
        if float(kept.vector.astype(np.float64) @ stored.vector) < _SAME:
            self.other_vectors += 1
        elif origin is None and not view.catalog.verified([video_id]):
            self._to_verify.append(video_id)
        else:
            self.unchanged += 1

    def _commit(self) -> None:
        groups, self._new = self._new, {}
        for numerics, new in groups.items():
            self._writer.commit(Batch(new), numerics)
            self.added += len(new)

    def _tell(self, done: int, total: int) -> None:
        if self._listener is not None:
            self._listener(IngestProgress(done, total, len(self.failures), self.added))
