"""The facade that a Python user opens: an index to ask. Calls down; what it gives are frozen values.

    index = echosearch.open_index("indexes/default")
    for hit in index.search("SEVERE LV DILATION", k=5).hits: ...

What reads videos and loads models is imported when first needed: a phrase asked before needs neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from echosearch.config import index_path
from echosearch.encoders import TextCache, cache_key, load_encoder
from echosearch.errors import BadQuery, InputError, RecipeMismatch, UnknownVideo, shown
from echosearch.index import IndexDescription, Snapshot, Store
from echosearch.outputs import Output
from echosearch.search import (
    Example,
    Level,
    Per,
    Phrase,
    Query,
    Question,
    SearchResult,
    Terms,
    combine,
    listed,
    nearest,
    terms,
)
from echosearch.types import (
    Device,
    EncodedText,
    EncodedVideo,
    Exclude,
    Failure,
    Hit,
    Precision,
    VideoRecord,
    pool,
    tally,
)

if TYPE_CHECKING:
    from echosearch.api.answers import IndexInfo
    from echosearch.api.cohorts import Cohorts
    from echosearch.api.zeroshot import ZeroShot
    from echosearch.encoders import Encoder
    from echosearch.search import Embedded, Filtered, Filtering, Found, Step, Vocabulary


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

    def ask(self, question: Question | str) -> SearchResult:
        """The hits of a question, or of its text form: best first, ties by id. See `Question` for what it can say.

        Percentiles are among the videos (or studies, patients) that meet the filter, else among all. BadQuery,
        BadFilter and BadOption say what is wrong.
        """
        asked = Question.parse(question) if isinstance(question, str) else question
        return self._ask(asked)

    def search(
        self,
        *phrases: str | Phrase,
        without: Terms = (),
        k: int = 10,
        min_score: float | None = None,
        score: Literal["cosine", "mean"] = "cosine",
        where: Sequence[str] = (),
        like: Terms = (),
        unlike: Terms = (),
        exclude: Sequence[Exclude] = (),
        level: Level = "video",
        per: Per | None = None,
        offset: int = 0,
    ) -> SearchResult:
        """Videos nearest to report phrases, and far from those in `without`.

        Several phrases are averaged. Videos that are `like` count as wanted phrases do, and `unlike` ones as unwanted
        ones. `score` mean is the inner product with the mean frame embedding as it is (EchoCLIP-R's published form)
        instead of the cosine; it goes with wanted phrases only. The rest is as in `Question`.
        """
        wanted = (*terms("phrases", phrases), *terms("like", like))
        unwanted = (*terms("without", without), *terms("unlike", unlike))
        conditions, left_out = tuple(listed("where", where)), tuple(listed("exclude", exclude))
        return self._ask(Question(wanted, unwanted, conditions, left_out, level, per, k, offset, min_score, score))

    def similar(
        self,
        *examples: int | Path | str | Example,
        k: int = 10,
        exclude: Sequence[Exclude] = (),
        min_score: float | None = None,
        where: Sequence[str] = (),
        without: Terms = (),
        unlike: Terms = (),
        level: Level = "video",
        per: Per | None = None,
        offset: int = 0,
    ) -> SearchResult:
        """Videos nearest to examples: videos by id (which are left out of the hits), files, or moments of them.

        A file need not be in the index; unless it is, it is embedded now. `exclude` leaves out videos of an example's
        study or patient, or with its bytes. The rest is as in `Question`.
        """
        wanted = [Path(example) if isinstance(example, str) else example for example in examples]
        return self.search(
            like=wanted, without=without, unlike=unlike, k=k, exclude=exclude, min_score=min_score, where=where,
            level=level, per=per, offset=offset,
        )  # fmt: skip

    def _ask(self, question: Question) -> SearchResult:
        embedded = self._embed_terms(question)
        with self._store.snapshot() as snapshot:
            vector, found, notes = self._vector(snapshot, question, embedded)
            query = Query(vector, question.score_kind)
            records = [
                each.record for each in found[: len(question.wanted)] if each is not None and each.record is not None
            ]
            others, warnings = self._belonging(snapshot, records, question)
            if question.level == "video" and question.per is None:
                hits, counts, more = self._nearest(snapshot, question, query, others)
            else:
                hits, counts, more = self._units(snapshot, question, query, others)
            return SearchResult(
                query=question.asked(*counts),
                index=str(self.path),
                generation=snapshot.generation,
                model=self.description.model,
                recipe=self.description.recipe.id,
                score_kind=question.score_kind,
                warnings=(*self._notes(snapshot), *snapshot.problems, *notes, *warnings, *more),
                hits=hits,
            )

    @cached_property
    def zeroshot(self) -> ZeroShot:
        """Zero-shot tasks over this index: sweeps, calibrations, probes, evaluations."""
        from echosearch.api.zeroshot import ZeroShot

        return ZeroShot(self._store, self._request.precision, self._embed, self._notes, self._all_views)

    @cached_property
    def cohorts(self) -> Cohorts:
        """Filters and cohorts of this index: selections that are kept, compared, exported and audited."""
        from echosearch.api.cohorts import Cohorts

        return Cohorts(self._store, self.zeroshot, self._vector_of, self._notes)

    def videos(
        self, study: str | None = None, patient: str | None = None, where: Sequence[str] = ()
    ) -> Iterator[VideoRecord]:
        """All videos, or those of a study or patient, or of which all conditions are true, by ascending id."""
        with self._store.snapshot() as snapshot:
            wanted: set[int] | None = None
            if study is not None or patient is not None:
                wanted = snapshot.catalog.videos.ids_where(study=study, patient=patient)
            if where:
                found = set(self._matching(snapshot, where).ids.tolist())
                wanted = found if wanted is None else wanted & found
            yield from snapshot.catalog.videos.records(wanted)

    def matching(self, where: Sequence[str]) -> Filtered:
        """The videos of which all conditions are true, with the numbers of the others. BadFilter says what is wrong."""
        listed("where", where)
        with self._store.snapshot() as snapshot:
            return self._matching(snapshot, where)

    def videos_of(self, video_ids: Iterable[int]) -> Iterator[VideoRecord]:
        """Those of some ids that are live videos, by ascending id."""
        with self._store.snapshot() as snapshot:
            yield from snapshot.catalog.videos.records(video_ids)

    def video(self, video_id: int) -> VideoRecord:
        """One video. UnknownVideo when there is none."""
        with self._store.snapshot() as snapshot:
            return snapshot.record(video_id)

    def failures(self) -> list[Failure]:
        """Files that could not be ingested, by path."""
        with self._store.snapshot() as snapshot:
            return snapshot.catalog.failures.all()

    def video_embedding(self, video_id: int) -> npt.NDArray[np.float32]:
        """(D,) float32 of unit length."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(video_id).vector

    def pooled_norm(self, video_id: int) -> float:
        """The length of the mean of the frame embeddings before it was renormalised."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(video_id).pooled_norm

    def frame_embeddings(self, video_id: int) -> npt.NDArray[np.float32]:
        """(T, D) float32 of unit length, as precise as the index keeps them. BadQuery where it keeps none."""
        with self._store.snapshot() as snapshot:
            frames = snapshot.stored(video_id).frame_embeddings
        if frames is None:
            raise BadQuery("this index keeps no frame embeddings (--frames none)")
        return frames.astype(np.float32)

    def frame_numbers(self, video_id: int) -> npt.NDArray[np.int32]:
        """(T,) 0-based frames of the file that were embedded."""
        with self._store.snapshot() as snapshot:
            return snapshot.stored(video_id).frame_numbers

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

    def _nearest(
        self, snapshot: Snapshot, question: Question, query: Query, others: Set[int]
    ) -> tuple[tuple[Hit, ...], tuple[Filtering | None, Sequence[Step] | None], list[str]]:
        """Hits among single videos, what the filter left, and what is to be said."""
        found = self._matching(snapshot, question.where) if question.where else None
        among = None if found is None else found.ids
        hits = nearest(snapshot, question, query, question.video_ids | others, among)
        if found is not None:
            notes = [*found.notes, f"{found.sentence}; percentiles are among those"]
            return hits, (found.summary(question.where), None), notes
        if not len(snapshot.rows):
            return hits, (None, None), ["the index is empty; add videos with: echosearch ingest VIDEOS"]
        too_many = question.k is not None and question.k > len(snapshot.rows)
        return (
            hits,
            (None, None),
            [f"k is {question.k}, and the index holds {len(snapshot.rows)} videos"] if too_many else [],
        )

    def _units(
        self, snapshot: Snapshot, question: Question, query: Query, others: Set[int]
    ) -> tuple[tuple[Hit, ...], tuple[Filtering | None, Sequence[Step] | None], list[str]]:
        """Hits among studies, patients or one video of each, what the steps left, and what is to be said."""
        from echosearch.search import Units, best_of_units, ranked, read_criteria, select

        criteria, notes = read_criteria(snapshot, self._vocabulary(snapshot), question.where)
        units = Units.best(question.level, question.per)
        found = select(snapshot, units, criteria, ranked(snapshot, question, query, others))
        ids = [video_id for video_id in found.best if video_id is not None]
        hits = best_of_units(snapshot, question, query, ids, [score for score in found.scores if score is not None])
        steps = [step for step in found.steps[1:] if step.no or step.unknown]
        left = [f"{step.name}: {step.kept} left; no: {step.no}, unknown: {step.unknown}" for step in steps]
        return hits, (None, found.steps), [*notes, *found.notes, *left]

    def _vocabulary(self, snapshot: Snapshot) -> Vocabulary:
        """What can be named in filters at one moment of this index."""
        from echosearch.search import Vocabulary

        return Vocabulary.of(snapshot, self.zeroshot.key, self._all_views)

    def _matching(self, snapshot: Snapshot, where: Sequence[str]) -> Filtered:
        from echosearch.search import matching

        return matching(snapshot, self._vocabulary(snapshot), where)

    def _notes(self, snapshot: Snapshot) -> list[str]:
        """What is to be said of every answer of this index."""
        notes = [*self.description.notes, *snapshot.outdated.values()]
        if unverified := snapshot.catalog.counts.unverified():
            notes.append(f"{unverified} videos have imported vectors that no probe has verified (`echosearch list`)")
        if {self._request.precision, self.description.precision} != {"fp32"}:
            notes.append(f"half precision: {self._request.precision} here, {self.description.precision} in the index")
        return notes

    def _vector_of(self, snapshot: Snapshot, question: Question) -> tuple[npt.NDArray[np.float32], list[str]]:
        """One unit vector (D,) for a question, within a snapshot that is open, and what is to be said of it."""
        vector, _, notes = self._vector(snapshot, question, self._embed_terms(question))
        return vector, notes

    def _belonging(
        self, snapshot: Snapshot, records: Sequence[VideoRecord], question: Question
    ) -> tuple[set[int], list[str]]:
        if not question.exclude:
            return set(), []
        from echosearch.search import belonging

        return belonging(snapshot, records, question.exclude)

    def _embed_terms(self, question: Question) -> list[EncodedText | Embedded | None]:
        """Of each term what the model makes of it; None for an example that the index has."""
        texts = iter(self._embed([term.text for term in question.terms if isinstance(term, Phrase)]))
        return [
            next(texts) if isinstance(term, Phrase) else self._embed_unknown(term, question.exclude)
            for term in question.terms
        ]

    def _vector(
        self, snapshot: Snapshot, question: Question, embedded: Sequence[EncodedText | Embedded | None]
    ) -> tuple[npt.NDArray[np.float32], list[Found | None], list[str]]:
        """One unit vector (D,) for a question, what its examples are (None for phrases), and what is to be said."""
        found: list[Found | None] = []
        vectors, notes = [], []
        for term, its in zip(question.terms, embedded, strict=True):
            if isinstance(term, Phrase):
                assert isinstance(its, EncodedText)
                found.append(None)
                vectors.append(its.vector)
                if its.cut:
                    notes.append(f"the model holds only the beginning of {shown(term.text)}; cut: {shown(its.cut)}")
            else:
                assert not isinstance(its, EncodedText)
                from echosearch.search import find  # here, as it reads files, and phrases alone do without

                example = find(snapshot, term, its)
                found.append(example)
                vectors.append(example.vector)
                notes += example.notes
        return combine(question, np.stack(vectors)), found, notes

    def _embed(self, phrases: Sequence[str]) -> list[EncodedText]:
        """Text embeddings: from the cache where it has all of them, else by the model."""
        for phrase in phrases:
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

    def _embed_unknown(self, example: Example, exclude: Sequence[str]) -> Embedded | None:
        """A file that the index does not have, embedded now; None for what it has."""
        if not isinstance(example.video, Path):
            return None
        from echosearch.index import StoredVideo, check_model
        from echosearch.search import Embedded, known_file
        from echosearch.video import media_path, prepare_video

        path = media_path(example.video)
        if not path.is_file():
            raise UnknownVideo(f"{path} is not a file; give a video file, or the id of a video of this index")
        with self._store.snapshot() as snapshot:
            if known_file(snapshot, path) is not None:
                return None
        if {"study", "patient"} & set(exclude):
            raise BadQuery(f"{path} is not in this index, so its study and patient are not known; leave --exclude out")
        encoder = self._loaded()
        check_model(self.description, encoder)
        recipe = self.description.recipe
        try:
            prepared = prepare_video(path, recipe.sampling, recipe.preprocess)
        except InputError as error:
            raise type(error)(f"{path}: {error}") from error
        with self._store.snapshot() as snapshot:
            if sentence := snapshot.outdated.get(prepared.facts.kind):
                raise RecipeMismatch(sentence)
        frames = encoder.encode_pixels(prepared.pixels)
        video = StoredVideo.of(EncodedVideo(frames, prepared.frame_numbers, pool(frames)))
        return Embedded(video, prepared.facts.fps, prepared.facts.num_frames)

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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
