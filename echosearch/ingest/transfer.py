"""Vectors out of an index, and vectors made elsewhere into one. Embeds nothing."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from echosearch.config import COMMIT_VIDEOS, IMPORT_VIDEOS, default_workers
from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BadEmbeddings, BadOption, RecipeMismatch, SpaceMismatch
from echosearch.index import (
    IndexDescription,
    NewVideo,
    Snapshot,
    Store,
    StoredVideo,
    VideoMetadata,
    Writer,
    check_fingerprint,
    probe,
)
from echosearch.ingest.batch import Batches
from echosearch.ingest.decide import Arrival, Decision, at_first_sight, decide
from echosearch.ingest.decoding import Decoders, decoders
from echosearch.ingest.embeddings_file import EmbeddingsFile, write_embeddings
from echosearch.types import (
    Answer,
    EncoderCard,
    Failure,
    FrameSampling,
    MediaKind,
    ModelRequest,
    Numerics,
    PreparedVideo,
    ProgressListener,
    Recipe,
    VideoFacts,
)
from echosearch.video import decoder_name, media_path

Load = Callable[[ModelRequest, str], Encoder]

_SHORTEST_ID: Final = 8
"""So many characters of a recipe's hash name it."""

_FIRST_FRAME: Final = FrameSampling(0, 1, 1)
_UNKNOWN: Final = Numerics("unknown", "unknown", "unknown", "unknown", "made elsewhere")
_SAME, _SAME_NORM = 0.99999, 2e-4
"""Cosine, and difference of pooled norms, up to which vectors of one video are the same but for rounding."""


@dataclass(frozen=True, slots=True)
class ExportReport(Answer):
    """What was written."""

    index: str
    generation: int
    file: str
    videos: int
    frames: int
    unverified: int


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
class ImportReport(Answer):
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


def export_embeddings(index_path: Path, out: Path, force: bool = False) -> ExportReport:
    """Write all live videos of an index with their vectors and what is known of them, by ascending id.

    BadOption when the file is no `.npz`, or is there already, unless `force`; one of a source folder is never replaced.
    """
    store = Store(index_path)
    output = store.output(out, "the embeddings", ".npz", force)
    with store.snapshot() as snapshot:
        places = snapshot.catalog.files.places()
        files = snapshot.catalog.files.known([path for _, path in places.values()])
        videos = [
            record.to_dict()
            | {"root": str(places[record.video_id][0]), "mtime_ns": files[places[record.video_id][1]].mtime_ns}
            | {"numerics": asdict(snapshot.numerics(record.video_id))}
            for record in snapshot.catalog.videos.records()
        ]
        types = {column.name: column.type for column in snapshot.catalog.attributes.columns()}
        about = store.description.to_dict() | {"attributes": types, "generation": snapshot.generation}
        dtype = store.description.frames_dtype
        write_embeddings(output, about, store.description.probe, videos, snapshot.stored, dtype)
        return ExportReport(
            str(index_path),
            snapshot.generation,
            str(output.path),
            len(videos),
            sum(video["num_embedded_frames"] for video in videos),
            snapshot.catalog.counts.unverified(),
        )


def import_embeddings(
    index_path: Path,
    source: Path,
    options: ImportOptions | None = None,
    listener: ProgressListener | None = None,
    load: Load = load_encoder,
) -> ImportReport:
    """Add videos whose vectors were made elsewhere; an index that is not there is made.

    What a file of our own says of its videos is taken over; of others the files are opened, so that a later ingest
    knows them. Vectors count as unverified until the fingerprint in a file agrees with the index's. RecipeMismatch or
    NumericsMismatch when they were made in another way.
    """
    options = options or ImportOptions()
    file = EmbeddingsFile(source)
    paths = _paths(file, options)
    for _ in file.videos():
        pass  # all of it is checked before anything is changed
    description = _description(index_path, file, options, load)
    unverified, warnings = _verdict(description, file, options)
    if not Store.exists(index_path):
        Store.create_as(index_path, description)
        description = _description(index_path, file, options, load)  # another process may have made it meanwhile
        unverified, warnings = _verdict(description, file, options)
    store = Store(index_path)
    with ExitStack() as stack:
        writer = stack.enter_context(store.writer(options.wait_seconds))
        if file.records is not None:
            told = {path: _of_record(path, record) for path, record in zip(paths, file.records, strict=True)}
            _check_kinds(writer, file, {video.facts.kind for video, _ in told.values()})
            run = _Import(writer, len(paths), unverified, listener, lambda some: {path: told[path] for path in some})
            run.claims = {path: video.unverified for path, (video, _) in told.items()}
        else:
            memory_bytes = int(options.worker_memory_gib * 2**30)
            decoding = stack.enter_context(decoders(options.workers, options.timeout_seconds, memory_bytes))
            root = options.root or Path(os.path.commonpath([path.parent for path in paths]))
            describe = partial(_open_files, decoding, media_path(root), description)
            run = _Import(writer, len(paths), unverified, listener, describe)
        writer.declare_attributes(file.attributes)
        run.add_all(zip(paths, file.videos(), strict=True))
        writer.finish()
        warnings += writer.notes
        with writer.snapshot() as snapshot:
            left, generation = snapshot.catalog.counts.unverified(), snapshot.generation
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
        warnings=(*description.notes, *warnings),
    )


def _paths(file: EmbeddingsFile, options: ImportOptions) -> list[Path]:
    """The absolute path of each video of a file. BadOption when relative ones have nothing to begin at."""
    relative = [path for path in file.paths if not Path(path).is_absolute()]
    if relative and options.root is None:
        raise BadOption(
            f"{file.path} names files by relative paths, such as {relative[0]}; say below what: --root FOLDER"
        )
    paths = [media_path((options.root or Path("/")) / path) for path in file.paths]
    [(path, times)] = Counter(paths).most_common(1)
    if times > 1:
        raise BadEmbeddings(f"{file.path}: {times} of its paths lead to {path}")
    return paths


def _description(index_path: Path, file: EmbeddingsFile, options: ImportOptions, load: Load) -> IndexDescription:
    """That of the index; for a new one, bound to the model that the file, or else --recipe, names."""
    if Store.exists(index_path):
        description = Store(index_path).description
        kept, has = description.frames_dtype, file.frames_dtype
        if (kept, has) in (("float32", "none"), ("float16", "none"), ("float32", "float16")):
            raise RecipeMismatch(
                f"this index keeps frame embeddings as {kept}, and {file.path} has "
                f"{'none' if has == 'none' else has}; export them so, or import into another index"
            )
        return description
    if file.about is not None:
        if file.probe is None:
            raise BadEmbeddings(f"{file.path} has no fingerprint, so no index can be made from it")
        return IndexDescription.of(_card_of(file), file.probe, file.frames_dtype)
    if options.recipe is None:
        raise _no_recipe(file)
    if re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_ID},64}}", options.recipe):
        raise BadOption(f"there is no index at {index_path} yet; for a new one --recipe names a model")
    encoder = load(ModelRequest(options.recipe), decoder_name())
    return IndexDescription.of(encoder.card, probe(encoder), file.frames_dtype)


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


def _verdict(
    description: IndexDescription, file: EmbeddingsFile, options: ImportOptions
) -> tuple[str | None, list[str]]:
    """None if the fingerprint shows that the file's vectors are made as the index's; else where they came from."""
    if file.dim != description.dim:
        raise SpaceMismatch(
            f"the vectors of {file.path} have {file.dim} dimensions, and this index's model {description.dim}"
        )
    numerics = replace(_UNKNOWN, precision=description.precision)  # no excuse of half precision for who says nothing
    if file.about is not None:
        card = _card_of(file)
        numerics = card.numerics
        if card.recipe.id != description.recipe.id:
            error = RecipeMismatch if card.recipe.space.id == description.recipe.space.id else SpaceMismatch
            told = "; ".join(card.recipe.differences(description.recipe))
            raise error(
                f"the vectors of {file.path} were made differently from those of this index: {told} (the index)"
            )
    elif options.recipe is None:
        raise _no_recipe(file)
    if options.recipe is not None and not _names(options.recipe, description):
        raise RecipeMismatch(
            f"--recipe {options.recipe} is not that of this index: {description.recipe.id} ({description.model}); "
            "vectors made differently belong in another index"
        )
    warnings = [] if file.probe is None else check_fingerprint(description, file.probe, numerics)
    if file.probe is None or not file.has_frame_numbers:
        missing = "no fingerprint" if file.probe is None else "no frame numbers"
        origin = f"imported from {file.path.name}, recipe as declared ({options.recipe})"
        sentence = "nothing shows that these vectors were made with the index's recipe"
        return origin, [*warnings, f"{sentence} ({missing} in the file): marked unverified"]
    return None, warnings


def _check_kinds(writer: Writer, file: EmbeddingsFile, kinds: set[MediaKind]) -> None:
    """RecipeMismatch where videos of some kind are embedded as by another version of echosearch than those here."""
    ours = writer.description.recipe
    theirs = ours if file.about is None else _card_of(file).recipe
    writer.brings_up = not theirs.outdated
    with writer.snapshot() as snapshot:
        held = [kind for kind in kinds if theirs.outdated or snapshot.catalog.videos.embedded([kind])]
    if any(theirs.versions[kind] != ours.versions[kind] for kind in held):
        told = (
            f"{file.path} was made by another version of echosearch: {'; '.join(theirs.differences(ours))} (the index)"
        )
        raise RecipeMismatch(f"{told}; bring the older index up to date (echosearch reembed), then export again")


def _names(recipe: str, description: IndexDescription) -> bool:
    is_id = len(recipe) >= _SHORTEST_ID and description.recipe.id.startswith(recipe.lower())
    return is_id or recipe in (description.model, description.weights)


def _no_recipe(file: EmbeddingsFile) -> BadOption:
    return BadOption(
        f"{file.path} does not say how its vectors were made; give --recipe: the model, or the recipe's id "
        "as `echosearch info` shows it"
    )


_Known = tuple[NewVideo, Numerics]
"""A video to add but for its vectors, and how these were made."""


def _of_record(path: Path, record: dict[str, Any]) -> _Known:
    """What an index of ours knew of a video. BadEmbeddings when something is missing."""
    try:
        facts = VideoFacts(*(record[name] for name in ("kind", "num_frames", "height", "width", "fps")))
        metadata = VideoMetadata(*(record[name] for name in ("study", "patient", "view", "acquired_at", "attributes")))
        video = NewVideo(
            video_id=0,
            root=_root(Path(record["root"]), path),
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


def _open_files(
    decoding: Decoders[Path], root: Path, description: IndexDescription, paths: Sequence[Path]
) -> dict[Path, _Known | Failure]:
    """What the files themselves say of videos."""
    tasks = [(path, path) for path in paths]
    outcomes = decoding.prepared(tasks, _FIRST_FRAME, description.recipe.preprocess, 2 * decoding.workers)
    return {
        path: outcome if isinstance(outcome, Failure) else _of_file(path, root, outcome) for path, outcome in outcomes
    }


def _of_file(path: Path, root: Path, prepared: PreparedVideo) -> _Known:
    status = path.stat()
    video = NewVideo(
        video_id=0,
        root=_root(root, path),
        path=path,
        facts=prepared.facts,
        num_embedded_frames=0,
        content_sha256=prepared.content_sha256,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        metadata=VideoMetadata(),
    )
    return video, _UNKNOWN


def _root(wanted: Path, path: Path) -> Path:
    """The folder that a video counts as found below: the one wanted, where its path leads through that."""
    root = media_path(wanted)
    return root if root in path.parents else path.parent


class _Import(Batches):
    """What an import has done so far, and the batch that the next commit will bring.

    `describe` says what is known of new videos; `claims` where vectors came from which the file calls unverified.
    """

    def __init__(
        self,
        writer: Writer,
        total: int,
        unverified: str | None,
        listener: ProgressListener | None,
        describe: Callable[[Sequence[Path]], Mapping[Path, _Known | Failure]],
    ) -> None:
        super().__init__(writer, total, listener)
        self.unchanged = self.other_vectors = 0
        self.claims: dict[Path, str | None] = {}
        self._unverified = unverified
        self._describe = describe

    def add_all(self, videos: Iterable[tuple[Path, StoredVideo]]) -> None:
        """Add what is new, compare what is known; commit now and then, and what there is when interrupted."""
        rows = iter(videos)
        with self.committed():
            while chunk := dict(islice(rows, COMMIT_VIDEOS)):
                self._take(chunk)
                self.done += len(chunk)
                self.commit_if_due(IMPORT_VIDEOS)

    def _take(self, chunk: Mapping[Path, StoredVideo]) -> None:
        with self.writer.snapshot() as snapshot:
            there = snapshot.catalog.files.known(list(chunk))
            deleted = snapshot.catalog.deleted.at(list(chunk))
            new = []
            for path, stored in chunk.items():
                known = there.get(path)
                stamp = None if known is None else (known.size_bytes, known.mtime_ns)
                sight = at_first_sight(None, stamp, deleted=deleted.get(path, {}).values())
                if known is not None and sight == "unchanged":
                    self._compare(snapshot, known.video_id, stored, self._unverified or self.claims.get(path))
                elif sight == "deleted earlier":
                    self.deleted_earlier += 1
                else:
                    new.append(path)
            described = self._describe(new)
            for path in new:
                outcome = described[path]
                if isinstance(outcome, Failure):
                    self.fail(path.parent, outcome)
                elif _decided(snapshot, outcome[0]).fate == "deleted":
                    self.deleted_earlier += 1
                else:
                    self._add(outcome, chunk[path])

    def _add(self, known: _Known, stored: StoredVideo) -> None:
        video, numerics = known
        sampling = self.writer.description.recipe.sampling
        numbers, wanted = stored.frame_numbers.tolist(), list(sampling.frame_numbers(video.facts.num_frames))
        if numbers and numbers != wanted:
            message = f"its frames are {_shown(numbers)}, and the recipe takes {_shown(wanted)} ({sampling})"
            self.fail(video.root, Failure(str(video.path), RecipeMismatch.code(), message))
            return
        video = replace(video, num_embedded_frames=len(numbers), unverified=self._unverified or video.unverified)
        self.new.setdefault(numerics, []).append((video, stored))

    def _compare(self, snapshot: Snapshot, video_id: int, stored: StoredVideo, origin: str | None) -> None:
        """A video that is there keeps its vectors; equal ones from a source that is trusted speak for them."""
        if not _agree(snapshot.stored(video_id), stored):
            self.other_vectors += 1
        elif origin is None and not snapshot.catalog.videos.verified([video_id]):
            self.rest.verified.append(video_id)
        else:
            self.unchanged += 1


def _decided(snapshot: Snapshot, video: NewVideo) -> Decision:
    """What becomes of a video at a path that is new: it is added with its own vectors, or stays deleted.

    An import looks at no file, so live videos lie where they did, and what was pruned does not come back as it was.
    """
    digest = video.content_sha256
    same = [each for each in snapshot.catalog.files.with_content(digest) if each.is_live or each.on_purpose]
    arrival = Arrival(video.path, digest, None, same, is_purged=snapshot.catalog.deleted.is_purged(digest))
    return decide(arrival, False, lambda _: True, set())


def _agree(kept: StoredVideo, other: StoredVideo) -> bool:
    """Whether two machines made the same of a video, but for rounding: direction, length, and every frame."""
    if float(kept.vector.astype(np.float64) @ other.vector) < _SAME:
        return False
    if abs(kept.pooled_norm - other.pooled_norm) > _SAME_NORM:
        return False
    if len(other.frame_numbers) and kept.frame_numbers.tolist() != other.frame_numbers.tolist():
        return False
    if kept.frame_embeddings is None or other.frame_embeddings is None:
        return True
    cosines = (kept.frame_embeddings.astype(np.float64) * other.frame_embeddings.astype(np.float64)).sum(axis=1)
    return bool(cosines.min() >= _SAME)


def _shown(numbers: Sequence[int]) -> str:
    return f"[{', '.join(map(str, numbers[:4]))}{', ...' if len(numbers) > 4 else ''}]"
