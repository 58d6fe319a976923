"""The facade that a Python user opens: an index to ask. Calls down; what it gives are frozen values.

    index = echosearch.open_index("indexes/default")
    for hit in index.search("SEVERE LV DILATION", k=5).hits: ...

What reads videos and loads models is imported when first needed: a phrase asked before needs neither.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from echosearch.config import index_path
from echosearch.encoders import TextCache, cache_key, load_encoder
from echosearch.errors import BadOption, BadQuery, InputError, RecipeMismatch, UnknownVideo, shown
from echosearch.files import Output
from echosearch.index import IndexDescription, Snapshot, Store
from echosearch.search import Query, combine, ids_to_leave_out, search
from echosearch.types import (
    Device,
    EncodedText,
    Exclude,
    Failure,
    Precision,
    ScoreKind,
    SearchResult,
    VideoRecord,
    finite,
    pool,
    tally,
    whole,
)

if TYPE_CHECKING:
    from echosearch.api.answers import IndexInfo
    from echosearch.api.cohorts import Cohorts, Filtered
    from echosearch.api.zeroshot import ZeroShot
    from echosearch.encoders import Encoder


def open_index(
    path: Path | str | None = None,
    model: str | None = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    all_views: bool = False,
) -> Index:
    """Open an index to ask: the one at `path`, else ECHOSEARCH_INDEX, else indexes/default.

    `model` says where else the weights of the index's model lie (`local-dir:PATH`, `hf-hub:ORG/NAME`); it is
    loaded only when a question needs it. With `all_views` videos whose view is not known count in filters and sweeps
    of tasks that are seen in some views. IndexStateError says why an index cannot be used.
    """
    return Index(index_path(path), model, device, precision, all_views)


class Index:
    """An open index. Every answer belongs to one whole generation; later commits are seen at the next question."""

    def __init__(
        self,
        path: Path,
        model: str | None = None,
        device: Device = "auto",
        precision: Precision = "fp32",
        all_views: bool = False,
    ) -> None:
        self._store = Store(path)
        description = self._store.description
        self._request = replace(description.request(model), device=device, precision=precision)
        self._encoder: Encoder | None = None
        self._all_views = all_views
        with self._store.snapshot():
            pass  # refuse now what cannot be used

    @property
    def path(self) -> Path:
        """The index folder."""
        return self._store.path

    @property
    def description(self) -> IndexDescription:
        """What the index is bound to."""
        return self._store.description

    def search(
        self,
        *phrases: str,
        without: Sequence[str] = (),
        k: int = 10,
        min_score: float | None = None,
        score: Literal["cosine", "mean"] = "cosine",
        where: Sequence[str] = (),
    ) -> SearchResult:
        """Videos nearest to report phrases, and far from those in `without`; best first, ties by id.

        `where` are conditions that hits have to meet (BadFilter says what is wrong with one); percentiles are
        then among the videos that meet them. Several phrases are averaged. `score` mean is the inner product with the
        mean frame embedding as it is (EchoCLIP-R's published form) instead of the cosine; it goes with wanted phrases
        only.
        """
        if score not in ("cosine", "mean"):
            raise BadOption(f"score is 'cosine' or 'mean', not {score!r}")
        if not phrases:
            raise BadQuery("nothing is asked; give a phrase of a report, such as 'SEVERE LV DILATION'")
        _check_numbers(k, min_score)
        _refuse_one_string("without", without)
        if without and score == "mean":
            raise BadQuery("score 'mean' is a published form for wanted phrases only; leave --not or the score out")
        _refuse_one_string("where", where)
        texts = self._embed([*phrases, *without])
        rows = np.stack([text.vector for text in texts])
        vector = combine(rows[: len(phrases)], rows[len(phrases) :])
        kind: ScoreKind = "contrast" if without else score
        warnings = [
            f"the model holds only the beginning of {shown(phrase)}; cut: {shown(text.cut)}"
            for phrase, text in zip([*phrases, *without], texts, strict=True)
            if text.cut
        ]
        query = {"phrases": list(phrases), "not": list(without), "k": int(k), "min_score": min_score}
        with self._store.snapshot() as snapshot:
            return self._result(snapshot, query, Query(vector, kind), k, min_score, set(), warnings, where)

    def similar(
        self,
        example: int | Path | str,
        k: int = 10,
        exclude: Sequence[Exclude] = (),
        min_score: float | None = None,
        where: Sequence[str] = (),
    ) -> SearchResult:
        """Videos nearest to an example: a video id (which is left out of the hits) or a file.

        A file need not be in the index; unless it is, it is embedded now. `where` are conditions that hits
        have to meet. `exclude` leaves out videos of the example's study or patient, or with its bytes.
        """
        _check_numbers(k, min_score)
        _refuse_one_string("exclude", exclude)
        _refuse_one_string("where", where)
        for what in exclude:
            if what not in ("study", "patient", "content"):
                raise BadOption(f"exclude is 'study', 'patient' or 'content', not {what!r}")
        path = Path(example) if isinstance(example, str | Path) else None
        embedded = None if path is None else self._embed_unknown(path, exclude)
        with self._store.snapshot() as snapshot:
            record: VideoRecord | None = None
            left_out: set[int] = set()
            if embedded is not None:
                vector = embedded
            elif path is not None:
                record = _known_record(snapshot, path)
                if record is None:
                    raise UnknownVideo(f"{path} was taken out of the index just now; ask again")
                vector = snapshot.stored(record.video_id).vector
            else:
                video_id = operator.index(cast("int", example))
                record = _record(snapshot, video_id)
                vector = snapshot.stored(video_id).vector
                left_out.add(video_id)
            more, warnings = ids_to_leave_out(snapshot, record, exclude) if record and exclude else (set(), [])
            query = {
                "example": str(path) if path is not None else operator.index(cast("int", example)),
                "exclude": list(exclude),
                "k": int(k),
                "min_score": min_score,
            }
            hidden = left_out | more
            return self._result(snapshot, query, Query(vector, "cosine"), k, min_score, hidden, warnings, where)

    @cached_property
    def zeroshot(self) -> ZeroShot:
        """Zero-shot tasks over this index: sweeps, calibrations, probes, evaluations."""
        from echosearch.api.zeroshot import ZeroShot

        return ZeroShot(self._store, self._request.precision, self._embed, self._notes, self._all_views)

    @cached_property
    def cohorts(self) -> Cohorts:
        """Filters and cohorts of this index: selections that are kept, compared, exported and audited."""
        from echosearch.api.cohorts import Cohorts

        return Cohorts(self._store, self.zeroshot, self._query_of, self._notes)

    def videos(
        self, study: str | None = None, patient: str | None = None, where: Sequence[str] = ()
    ) -> Iterator[VideoRecord]:
        """All videos, or those of a study or patient, or of which all conditions are true, by ascending id."""
        with self._store.snapshot() as snapshot:
            wanted: set[int] | None = None
            if study is not None or patient is not None:
                wanted = snapshot.catalog.videos.ids_where(study=study, patient=patient)
            if where:
                matching = set(self.cohorts.matching(snapshot, where).ids.tolist())
                wanted = matching if wanted is None else wanted & matching
            yield from snapshot.catalog.videos.records(wanted)

    def matching(self, where: Sequence[str]) -> Filtered:
        """The videos of which all conditions are true, with the numbers of the others. BadFilter says what is wrong."""
        _refuse_one_string("where", where)
        with self._store.snapshot() as snapshot:
            return self.cohorts.matching(snapshot, where)

    def videos_of(self, video_ids: Iterable[int]) -> Iterator[VideoRecord]:
        """Those of some ids that are live videos, by ascending id."""
        with self._store.snapshot() as snapshot:
            yield from snapshot.catalog.videos.records(video_ids)

    def video(self, video_id: int) -> VideoRecord:
        """One video. UnknownVideo when there is none."""
        with self._store.snapshot() as snapshot:
            return _record(snapshot, video_id)

    def failures(self) -> list[Failure]:
        """Files that could not be ingested, by path."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.failures.all()

    def video_embedding(self, video_id: int) -> npt.NDArray[np.float32]:
        """(D,) float32 of unit length."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(_possible(video_id)).vector

    def pooled_norm(self, video_id: int) -> float:
        """The length of the mean of the frame embeddings before it was renormalised."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(_possible(video_id)).pooled_norm

    def frame_embeddings(self, video_id: int) -> npt.NDArray[np.float32]:
        """(T, D) float32 of unit length, as precise as the index keeps them. BadQuery where it keeps none."""
        with self._store.snapshot() as snapshot:
            frames = snapshot.stored(_possible(video_id)).frame_embeddings
        if frames is None:
            raise BadQuery("this index keeps no frame embeddings (--frames none)")
        return frames.astype(np.float32)

    def frame_numbers(self, video_id: int) -> npt.NDArray[np.int32]:
        """(T,) 0-based frames of the file that were embedded."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(_possible(video_id)).frame_numbers

    def info(self) -> IndexInfo:
        """What the index is and holds."""
        from echosearch.api.answers import IndexInfo

        description = self.description
        with self._store.snapshot() as snapshot:
            catalog = snapshot.catalog
            return IndexInfo(
                index=str(self.path),
                generation=snapshot.generation,
                model=description.model,
                weights=description.weights,
                notice=description.notice,
                notes=tuple(description.notes),
                dim=description.dim,
                frames_dtype=description.frames_dtype,
                precision=description.precision,
                numerics=tuple(map(json.loads, sorted({numerics for *_, numerics in catalog.segments.sizes()}))),
                created_at=description.created_at,
                space=description.recipe.space.id,
                recipe=description.recipe.id,
                sampling=str(description.recipe.sampling),
                preparation=description.recipe.in_words,
                recipe_parts=description.recipe.to_dict(),
                **catalog.counts.totals(),
                views=tally(catalog.counts.views()),
                unverified=catalog.counts.unverified(),
                failures=len(catalog.failures.all()),
                attributes={column.name: column.type for column in catalog.attributes.columns()},
                roots=tuple(map(str, catalog.roots.all())),
                disk_bytes=_bytes_below(self.path),
            )

    def output(
        self, path: Path, what: str, suffix: str, force: bool | None = False, inputs: Sequence[Path] = ()
    ) -> Output:
        """A file to write for the user, checked: no file of the index, of its source folders or of `inputs`."""
        return self._store.output(path, what, suffix, force, inputs)

    def close(self) -> None:
        """Let go of the index's files."""
        self._store.close()

    def _result(
        self,
        snapshot: Snapshot,
        query: dict[str, Any],
        vector: Query,
        k: int,
        min_score: float | None,
        left_out: set[int],
        warnings: list[str],
        where: Sequence[str],
    ) -> SearchResult:
        found = self.cohorts.matching(snapshot, where) if where else None
        hits = search(snapshot, vector, k, min_score, left_out, None if found is None else found.ids)
        if found is not None:
            query |= {"filter": found.summary(where)}
            warnings += [*found.notes, f"{found.sentence}; percentiles are among those"]
        if not len(snapshot.rows):
            warnings.append("the index is empty; add videos with: echosearch ingest VIDEOS")
        elif found is None and k > len(snapshot.rows):
            warnings.append(f"k is {k}, and the index holds {len(snapshot.rows)} videos")
        return SearchResult(
            query=query,
            index=str(self.path),
            generation=snapshot.generation,
            model=self.description.model,
            recipe=self.description.recipe.id,
            score_kind=vector.score_kind,
            warnings=(*self._notes(snapshot), *snapshot.problems, *warnings),
            hits=hits,
        )

    def _notes(self, snapshot: Snapshot) -> list[str]:
        """What is to be said of every answer of this index."""
        notes = [*self.description.notes, *snapshot.outdated.values()]
        if unverified := snapshot.catalog.counts.unverified():
            notes.append(f"{unverified} videos have imported vectors that no probe has verified (`echosearch list`)")
        if {self._request.precision, self.description.precision} != {"fp32"}:
            notes.append(f"half precision: {self._request.precision} here, {self.description.precision} in the index")
        return notes

    def _query_of(self, phrases: Sequence[str]) -> npt.NDArray[np.float32]:
        """One unit query (D,) for phrases."""
        rows = np.stack([text.vector for text in self._embed(phrases)])
        return combine(rows, rows[:0])

    def _embed(self, phrases: Sequence[str]) -> list[EncodedText]:
        """Text embeddings: from the cache where it has all of them, else by the model."""
        for phrase in phrases:
            if not isinstance(phrase, str):
                raise BadQuery(f"a phrase is text, not {type(phrase).__name__}; give phrases one by one")
            if not phrase.strip():
                raise BadQuery("a phrase is empty; give some words of a report, such as 'SEVERE LV DILATION'")
            if not _is_utf8(phrase):
                raise BadQuery(
                    f"the phrase {shown(phrase)} is not UTF-8 text; see the terminal's encoding (LANG, LC_ALL)"
                )
        cache = TextCache(self._store.cache_path, self.description.dim)
        space, precision = self.description.recipe.space.id, self._request.precision
        known = [cache.get(cache_key(space, precision, phrase)) for phrase in phrases]
        found = [text for text in known if text is not None]
        if len(found) == len(phrases):
            return found
        encoder = self._loaded()
        from echosearch.index import check_phrases

        check_phrases(self.description, encoder)
        return encoder.encode_text(phrases, cache)

    def _embed_unknown(self, path: Path, exclude: Sequence[str]) -> npt.NDArray[np.float32] | None:
        """The embedding (D,) of a file that the index does not have, or None when it has its bytes."""
        from echosearch.video import media_path, prepare_video

        path = media_path(path)
        if not path.is_file():
            raise UnknownVideo(f"{path} is not a file; give a video file, or the id of a video of this index")
        with self._store.snapshot() as snapshot:
            if _known_record(snapshot, path) is not None:
                return None
        if {"study", "patient"} & set(exclude):
            raise BadQuery(f"{path} is not in this index, so its study and patient are not known; leave --exclude out")
        encoder = self._loaded()
        from echosearch.index import check_model

        check_model(self.description, encoder)
        recipe = self.description.recipe
        try:
            prepared = prepare_video(path, recipe.sampling, recipe.preprocess)
        except InputError as error:
            raise type(error)(f"{path}: {error}") from error
        with self._store.snapshot() as snapshot:
            if sentence := snapshot.outdated.get(prepared.facts.kind):
                raise RecipeMismatch(sentence)
        return pool(encoder.encode_pixels(prepared.pixels)).vector

    def _loaded(self) -> Encoder:
        """The index's model, loaded when first needed; whoever uses it checks that it is the right one."""
        if self._encoder is None:
            from echosearch.video import decoder_name

            self._encoder = load_encoder(self._request, decoder_name())
        return self._encoder


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder, while a writer may be making and removing some."""
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(inner, name).stat().st_size
    return total


def _known_record(snapshot: Snapshot, path: Path) -> VideoRecord | None:
    """What the index knows of a file's bytes: at this very path, else wherever it has them."""
    from echosearch.video import content_sha256, media_path

    path = media_path(path)
    known = snapshot.catalog.files.known([path]).get(path)
    digest = content_sha256(path)
    if known is not None and known.content_sha256 == digest:
        return _record(snapshot, known.video_id)
    ids = snapshot.catalog.videos.ids_where(content_sha256=digest)
    return _record(snapshot, min(ids)) if ids else None


def _check_numbers(k: int, min_score: float | None) -> None:
    whole("k", k, 1, error=BadQuery)
    if min_score is not None:
        finite("the least score", min_score)


def _refuse_one_string(name: str, values: object) -> None:
    if isinstance(values, str):
        raise BadOption(f"{name} is a list of strings, not one string: [{values!r}]")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(snapshot: Snapshot, video_id: int) -> VideoRecord:
    for record in snapshot.catalog.videos.records([_possible(video_id)]):
        return record
    if (later := snapshot.catalog.videos.replaced_by(video_id)) is not None:
        raise UnknownVideo(
            f"video {video_id} is no more: its file changed or was embedded anew, and is video {later} now"
        )
    raise UnknownVideo(f"there is no video {video_id} in this index; `echosearch list` shows what there is")


def _possible(video_id: int) -> int:
    """An id as a catalog can hold it. UnknownVideo for what none can."""
    try:
        return whole("the id of a video", video_id, 1)
    except BadOption as error:
        raise UnknownVideo(f"there is no such video in this index: {error}") from None
