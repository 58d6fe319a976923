"""What the model of an index makes of phrases and of files that the index does not have. Knows no hit.

A phrase asked before comes from the cache, and needs no model; what loads one is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echosearch.encoders import TextCache, cache_key, load_encoder
from echosearch.errors import BadQuery, InputError, RecipeMismatch, UnknownVideo, shown
from echosearch.index import Store
from echosearch.search import Example, Phrase, Question
from echosearch.types import EncodedText, EncodedVideo, ModelRequest, pool

if TYPE_CHECKING:
    from echosearch.encoders import Encoder
    from echosearch.search import Embedded


class QueryModel:
    """The model of an index, loaded when first needed, and checked whenever it is asked."""

    def __init__(self, store: Store, request: ModelRequest) -> None:
        self._store = store
        self.request = request
        self._encoder: Encoder | None = None

    def terms(self, question: Question) -> list[EncodedText | Embedded | None]:
        """Of each term of a question what the model makes of it; None for an example that the index has."""
        texts = iter(self.texts([term.text for term in question.terms if isinstance(term, Phrase)]))
        return [
            next(texts)
            if isinstance(term, Phrase)
            else self.file(term, question.exclude if place < len(question.wanted) else ())
            for place, term in enumerate(question.terms)
        ]

    def texts(self, phrases: Sequence[str]) -> list[EncodedText]:
        """Text embeddings: from the cache where it has all of them, else by the model."""
        for phrase in phrases:
            if not _is_utf8(phrase):
                raise BadQuery(
                    f"the phrase {shown(phrase)} is not UTF-8 text; see the terminal's encoding (LANG, LC_ALL)"
                )
        cache = TextCache(self._store.cache_path, self._store.description.dim)
        space, precision = self._store.description.recipe.space.id, self.request.precision
        known = [cache.get(cache_key(space, precision, phrase)) for phrase in phrases]
        found = [text for text in known if text is not None]
        if len(found) == len(phrases):
            return found
        encoder = self._loaded()
        from echosearch.index import check_phrases

        check_phrases(self._store.description, encoder)
        return encoder.encode_text(phrases, cache)

    def file(self, example: Example, exclude: Sequence[str]) -> Embedded | None:
        """A file that the index does not have, embedded now; None for what it has."""
        if not isinstance(example.video, Path):
            return None
        from echosearch.index import StoredVideo, check_model
        from echosearch.search import Embedded, known_file
        from echosearch.video import media_path, prepare_video

        path = media_path(example.video)
        if not path.is_file():
            hint = "; a moment is written 17@1.2s" if "@" in path.name else ""
            raise UnknownVideo(f"{path} is not a file; give a video file, or the id of a video of this index{hint}")
        with self._store.snapshot() as snapshot:
            if known_file(snapshot, path) is not None:
                return None
        if {"study", "patient"} & set(exclude):
            raise BadQuery(f"{path} is not in this index, so its study and patient are not known; leave --exclude out")
        encoder = self._loaded()
        check_model(self._store.description, encoder)
        recipe = self._store.description.recipe
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

            self._encoder = load_encoder(self.request, decoder_name())
        return self._encoder


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
