"""May this model, on this machine, work with this index? Space, recipe and probe vectors decide."""

from __future__ import annotations

import numpy as np

from echosearch.encoders import FINGERPRINT_PHRASES, Encoder, fingerprint_clip
from echosearch.errors import NumericsMismatch, RecipeMismatch, SpaceMismatch
from echosearch.index.description import IndexDescription
from echosearch.types import EncoderCard, Fingerprint, Numerics
from echosearch.video import prepare


def probe(encoder: Encoder) -> Fingerprint:
    """What the encoder makes of the probe clip and phrases on this machine."""
    return encoder.probe(prepare(fingerprint_clip(), encoder.card.recipe.preprocess))


def check_model(description: IndexDescription, encoder: Encoder) -> list[str]:
    """Refuse to add to an index with another recipe, or from a machine that gives other vectors.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    _check_space(description, encoder.card)
    if encoder.card.recipe.id != description.recipe.id:
        differences = "; ".join(encoder.card.recipe.differences(description.recipe))
        raise RecipeMismatch(
            f"videos would be prepared in another way than those of this index: {differences} (the index). "
            "Use the index's own way, or make another index"
        )
    return check_fingerprint(description, probe(encoder), encoder.card.numerics)


def check_fingerprint(description: IndexDescription, vectors: Fingerprint, numerics: Numerics) -> list[str]:
    """Refuse vectors of a machine whose probe vectors are others than the index's.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    return _check_cosine(description, numerics, min(vectors.cosines(description.probe)))


def check_phrases(description: IndexDescription, encoder: Encoder) -> None:
    """Refuse to ask with another model than the index's, or from a machine that gives other vectors."""
    _check_space(description, encoder.card)
    mine = np.stack([text.vector for text in encoder.encode_text(FINGERPRINT_PHRASES)])
    _, cosine = Fingerprint(description.probe.frames, mine).cosines(description.probe)
    _check_cosine(description, encoder.card.numerics, cosine)


def _check_space(description: IndexDescription, card: EncoderCard) -> None:
    if card.recipe.space.id != description.recipe.space.id:
        raise SpaceMismatch(
            f"the model at {card.weights} is not the one that this index was made with ({description.model}, "
            f"{description.weights}): its weights, architecture or text handling differ, so no score would mean "
            "anything. Give the right weights with --model, or make another index"
        )


def _check_cosine(description: IndexDescription, numerics: Numerics, cosine: float) -> list[str]:
    half = {numerics.precision, description.precision} != {"fp32"}
    needed = 0.999 if half else 0.9999
    if not cosine >= needed:
        raise NumericsMismatch(
            f"this machine reproduces the index's probe vectors only at cosine {cosine:.6f}, and {needed} is needed "
            f"(precision {numerics.precision} here, {description.precision} in the index; "
            f"torch {numerics.torch})"
        )
    if half:
        return [
            f"half precision: the index's probe vectors come back at cosine {cosine:.6f} here "
            f"({numerics.precision}; the index: {description.precision})"
        ]
    return []
