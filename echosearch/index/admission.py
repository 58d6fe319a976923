"""May this model, on this machine, work with this index? Space, recipe and probe vectors decide."""

from __future__ import annotations

import numpy as np

from echosearch.encoders import PROBE_PHRASES, Encoder, probe_clip
from echosearch.errors import NumericsMismatch, RecipeMismatch, SpaceMismatch
from echosearch.index import Manifest
from echosearch.types import EncoderCard, Numerics, ProbeVectors
from echosearch.video import prepare


def probe(encoder: Encoder) -> ProbeVectors:
    """What the encoder makes of the probe clip and phrases on this machine."""
    return encoder.probe(prepare(probe_clip(), encoder.card.recipe.preprocess))


def check_model(manifest: Manifest, encoder: Encoder) -> list[str]:
    """Refuse to add to an index with another recipe, or from a machine that gives other vectors.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    _check_space(manifest, encoder.card)
    if encoder.card.recipe.id != manifest.recipe.id:
        differences = "; ".join(encoder.card.recipe.differences(manifest.recipe))
        raise RecipeMismatch(
            f"videos would be prepared in another way than those of this index: {differences} (the index). "
            "Use the index's own way, or make another index"
        )
    return check_probe(manifest, probe(encoder), encoder.card.numerics)


def check_probe(manifest: Manifest, vectors: ProbeVectors, numerics: Numerics) -> list[str]:
    """Refuse vectors of a machine whose probe vectors are others than the index's.

    Gives a sentence to show where the agreement is only that of half precision.
    """
    return _check_cosine(manifest, numerics, min(vectors.cosines(manifest.probe)))


def check_phrases(manifest: Manifest, encoder: Encoder) -> None:
    """Refuse to ask with another model than the index's, or from a machine that gives other vectors."""
    _check_space(manifest, encoder.card)
    mine = np.stack([text.vector for text in encoder.encode_text(PROBE_PHRASES)])
    _, cosine = ProbeVectors(manifest.probe.frames, mine).cosines(manifest.probe)
    _check_cosine(manifest, encoder.card.numerics, cosine)


def _check_space(manifest: Manifest, card: EncoderCard) -> None:
    if card.recipe.space.id != manifest.recipe.space.id:
        raise SpaceMismatch(
            f"the model at {card.weights} is not the one that this index was made with ({manifest.model}, "
            f"{manifest.weights}): its weights, architecture or text handling differ, so no score would mean "
            "anything. Give the right weights with --model, or make another index"
        )


def _check_cosine(manifest: Manifest, numerics: Numerics, cosine: float) -> list[str]:
    half = {numerics.precision, manifest.precision} != {"fp32"}
    needed = 0.999 if half else 0.9999
    if not cosine >= needed:
        raise NumericsMismatch(
            f"this machine reproduces the index's probe vectors only at cosine {cosine:.6f}, and {needed} is needed "
            f"(precision {numerics.precision} here, {manifest.precision} in the index; "
            f"torch {numerics.torch})"
        )
    if half:
        return [
            f"half precision: the index's probe vectors come back at cosine {cosine:.6f} here "
            f"({numerics.precision}; the index: {manifest.precision})"
        ]
    return []
