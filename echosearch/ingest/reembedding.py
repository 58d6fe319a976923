"""Embedding videos anew: of kinds that another version of echosearch embedded, or all of them by another model.

What is written on the way is of no index until one commit puts it in the place of the old. Whoever dies before that
leaves the index as it was; the next writer erases what was written, and the work begins from the start.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from echosearch.encoders import Encoder, load_encoder
from echosearch.errors import BadOption
from echosearch.files import is_gone
from echosearch.index import Batch, IndexDescription, Part, Store, Writer, check_model, probe, refuse_damaged, switch
from echosearch.ingest.adding import Adding, MediaFile, Work
from echosearch.ingest.decide import Decision
from echosearch.ingest.decoding import decoders
from echosearch.ingest.pipeline import IngestOptions, Load, add_all, tell_views
from echosearch.types import PIPELINE_VERSIONS, Failure, Numerics, PreparedVideo, ProgressListener
from echosearch.video import decoder_name

_WAY_OUT: Final = "nothing was changed; fix that, or leave such videos out with --leave-out-missing"
_DIGEST: Final = re.compile('"([0-9a-f]{16})"')
"""The beginning of a content hash, in what was learnt."""


@dataclass(frozen=True, slots=True)
class Reembedded:
    """How many `videos` were embedded again, and which files were `left_out`.

    Of files that have not changed: `ids` old -> new, and `cosines` by kind where the space is the same. `learnt` texts
    of what was learnt do not apply any more.
    """

    index: str
    videos: int = 0
    is_other_recipe: bool = False
    left_out: tuple[Failure, ...] = ()
    ids: dict[int, int] = field(default_factory=dict)
    learnt: int = 0
    cosines: dict[str, list[float]] = field(default_factory=dict)


def reembed(
    index_path: Path,
    options: IngestOptions | None = None,
    leave_out: bool = False,
    dry_run: bool = False,
    listener: ProgressListener | None = None,
    load: Load = load_encoder,
) -> Reembedded:
    """Embed all videos anew that this program, or the model that `options` name, embeds in another way.

    BadOption, with nothing changed, where a file is gone or cannot be embedded, unless such videos are to be left out:
    deleted, to come back with all that is known of them when their files are ingested.
    """
    options = options or IngestOptions()
    store = Store(index_path)
    with ExitStack() as stack:
        opened = stack.enter_context(nullcontext(store) if dry_run else store.writer(options.wait_seconds))
        before, kinds = opened.description, opened.description.recipe.outdated
        if options.model is None and not kinds:
            return Reembedded(str(index_path))
        own = replace(before.request(), device=options.device, precision=options.precision)
        encoder = load(options.model or own, decoder_name())
        description = _bound_to(before, encoder, options)
        is_other = description.recipe.id != before.recipe.id
        with opened.snapshot() as snapshot:
            gone = snapshot.catalog.videos.embedded(PIPELINE_VERSIONS if is_other else kinds)
            places = snapshot.catalog.files.places(gone)
            known = snapshot.catalog.files.known([path for _, path in places.values()])
            changed = {each.content_sha256[:16] for each in snapshot.catalog.videos.records(gone, deleted=True)}
        files = [replace(MediaFile.at(root, path), known=known[path]) for root, path in places.values()]
        missing = [Failure(str(file.path), "missing", "the file is gone") for file in files if is_gone(file.path)]
        if not isinstance(opened, Writer) or not (kinds or is_other):
            return Reembedded(str(index_path), len(files), is_other, tuple(missing))
        if missing and not leave_out:
            raise BadOption(
                f"{len(missing)} files are gone ({missing[0].path}{', ...' * (len(missing) > 1)}); {_WAY_OUT}"
            )
        refuse_damaged(opened, gone)
        memory_bytes = int(options.worker_memory_gib * 2**30)
        decoding = stack.enter_context(decoders(options.workers, options.timeout_seconds, memory_bytes))
        run = _Anew(opened, files, listener, leave_out)
        add_all(files, decoding, encoder, run)

        def superseded(text: str) -> str:
            recipe = f'"recipe": "{before.recipe.id}'
            is_of_them = not (is_other or changed.isdisjoint(_DIGEST.findall(text)))
            return text.replace(recipe, recipe.replace(': "', ': "superseded: ')) if is_of_them else text

        learnt = switch(opened, description, run.parts, gone, superseded)
        tell_views(opened, encoder)
        opened.finish()
    new = {video.replaces: video.video_id for _, placed in run.parts for video in placed}
    return Reembedded(
        index=str(index_path),
        videos=len(new),
        is_other_recipe=is_other,
        left_out=tuple(run.failures),
        ids={old: new[old] for old in run.same & new.keys()},
        learnt=learnt,
        cosines=run.cosines if description.recipe.space == before.recipe.space else {},
    )


def _bound_to(before: IndexDescription, encoder: Encoder, options: IngestOptions) -> IndexDescription:
    """What the index is bound to afterwards. BadOption where that is another recipe, and nobody agreed to it."""
    description = replace(before, recipe=before.recipe.brought_up(*before.recipe.outdated))
    if options.model is None or encoder.card.recipe.id == description.recipe.id:
        check_model(description, encoder)
        return description
    if not options.yes:
        raise BadOption(
            f"all videos would be embedded differently: {'; '.join(encoder.card.recipe.differences(before.recipe))} "
            "(the index); scores from before and after cannot be compared, and calibrations and probes no longer "
            "apply. If this is intended, repeat with --yes"
        )
    return replace(IndexDescription.of(encoder.card, probe(encoder), before.frames_dtype), created_at=before.created_at)


class _Anew(Adding):
    """Embeds every file, and keeps what it makes in segments of no index yet (`parts`)."""

    def __init__(self, writer: Writer, files: Sequence[MediaFile], listener: ProgressListener | None, leaves_out: bool):
        super().__init__(writer, {}, len(files), listener)
        self.parts: list[Part] = []
        self.same: set[int] = set()  # those whose files have the bytes that they had
        self.cosines: defaultdict[str, list[float]] = defaultdict(list)
        self._leaves_out = leaves_out

    def look_up(self, file: MediaFile, prepared: PreparedVideo) -> Work:
        """Whatever the index knows of its bytes, it is a new video, known as the one before."""
        self._seen.clear()  # copies are embedded as well: the index has vectors of before for their bytes
        assert file.known is not None
        if file.known.content_sha256 == prepared.content_sha256:
            self.same.add(file.known.video_id)
        return Work(file, prepared, Decision("added", None, file.known.video_id))

    def fail(self, root: Path, failure: Failure, size_bytes: int | None = None, mtime_ns: int | None = None) -> None:
        """BadOption, unless such videos are left out."""
        if not self._leaves_out:
            raise BadOption(f"{failure.path}: {failure.message}; {_WAY_OUT}")
        self.failures.append(failure)

    def write(self, batch: Batch, numerics: Numerics) -> None:
        """A part that one commit will bring at the end, with all others."""
        with self.writer.snapshot() as snapshot:
            for video, stored in batch.new:
                old = snapshot.stored(video.replaces or 0).vector
                if video.replaces in self.same and len(old) == len(stored.vector):
                    self.cosines[video.facts.kind].append(float(old @ stored.vector))
        self.parts.append(self.writer.place(batch.new, numerics))
