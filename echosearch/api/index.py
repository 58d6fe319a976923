"""The facade that a Python user opens: an index to ask. Calls down; what it gives are frozen values.

    index = echosearch.open_index("indexes/default")
    for hit in index.search("SEVERE LV DILATION", k=5).hits: ...

What reads videos and loads models is imported when first needed: a phrase asked before needs neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from echosearch.api.model import QueryModel
from echosearch.config import index_path
from echosearch.errors import BadQuery
from echosearch.index import IndexDescription, Snapshot, Store
from echosearch.outputs import Output
from echosearch.search import (
    Example,
    Level,
    Per,
    Phrase,
    Question,
    SearchResult,
    Terms,
    answer,
    conditions,
    embed,
    examples as as_examples,
    listed,
    phrases as as_phrases,
)
from echosearch.types import (
    Device,
    Exclude,
    Failure,
    Precision,
    VideoRecord,
    tally,
)

if TYPE_CHECKING:
    from echosearch.api.answers import IndexInfo
    from echosearch.api.cohorts import Cohorts
    from echosearch.api.zeroshot import ZeroShot
    from echosearch.search import Filtered, Vocabulary


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
        request = replace(description.request(model), device=device, precision=precision)
        self._model = QueryModel(self._store, request)
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
        if isinstance(question, str):
            question = Question.parse(question)
        if not isinstance(question, Question):
            raise BadQuery(f"a question is a Question or its text form, not {type(question).__name__}")
        return self._ask(question)

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
        asked = Question(
            wanted=(*as_phrases("phrases", phrases), *as_examples("like", like)),
            unwanted=(*as_phrases("without", without), *as_examples("unlike", unlike)),
            where=tuple(conditions(where)),
            exclude=tuple(listed("exclude", exclude)),
            level=level,
            per=per,
            k=k,
            offset=offset,
            min_score=min_score,
            score=score,
        )
        return self._ask(asked)

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
        return self.search(
            like=examples, without=without, unlike=unlike, k=k, exclude=exclude, min_score=min_score, where=where,
            level=level, per=per, offset=offset,
        )  # fmt: skip

    def _ask(self, question: Question) -> SearchResult:
        embedded = self._model.terms(question)
        with self._store.snapshot() as snapshot:
            vocabulary = self._vocabulary(snapshot) if question.where or question.is_of_units else None
            return answer(snapshot, question, embedded, vocabulary, str(self.path), self._notes(snapshot))

    @cached_property
    def zeroshot(self) -> ZeroShot:
        """Zero-shot tasks over this index: sweeps, calibrations, probes, evaluations."""
        from echosearch.api.zeroshot import ZeroShot

        return ZeroShot(self._store, self._model.request.precision, self._model.texts, self._notes, self._all_views)

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
        if {self._model.request.precision, self.description.precision} != {"fp32"}:
            notes.append(
                f"half precision: {self._model.request.precision} here, {self.description.precision} in the index"
            )
        return notes

    def _vector_of(self, snapshot: Snapshot, question: Question) -> tuple[npt.NDArray[np.float32], list[str]]:
        """One unit vector (D,) for a question, within a snapshot that is open, and what is to be said of it."""
        found = embed(snapshot, question, self._model.terms(question))
        return found.vector, found.notes


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder, while a writer may be making and removing some."""
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(inner, name).stat().st_size
    return total
