"""The arithmetic of zero-shot tasks, as published, over many videos at once. Knows numbers only.

Similarities are inner products of unit vectors, in float32. With frame embeddings e_f, prompts t_p, the video
embedding v and the length `norm` that the mean of the frames had: the mean over frames and prompts of e_f . t_p
is norm * (v . mean_p t_p), so one product with the video embeddings gives it exactly.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

FORMULA_VERSION: Final = 1
"""Raised by hand when a change here changes a score."""

_BLOCK: Final = 1 << 18
"""Similarities that are ranked at once: what a processor's cache holds."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def mean_prompt(prompts: Floats) -> Floats:
    """(D,) mean of unit prompts (P, D), not renormalised: published scores depend on its length."""
    mean: Floats = prompts.astype(np.float64).mean(axis=0).astype(np.float32)
    return mean


def mean_similarities(vectors: Floats, norms: Floats, mean_prompts: Floats) -> Doubles:
    """(n, C): mean over frames and prompts of the similarity, for video embeddings (n, D) and mean prompts (C, D).

    EchoCLIP's published binary score (echonet/echo_CLIP).
    """
    products: Doubles = (vectors @ mean_prompts.T).astype(np.float64)
    products *= norms[:, None]
    return products


def softmax(similarities: Doubles, logit_scale: float) -> Doubles:
    """(n, C): weights of classes of mean similarities (n, C), with the model's logit scale."""
    from scipy.special import softmax as of_logits

    weights: Doubles = of_logits(logit_scale * similarities, axis=1)
    return weights


def regression(
    similarities: Floats, values: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """(n,) values and (n,) their spread over frames, of frame similarities (F, P) to prompts with `values` (P,).

    Frames of video i are rows offsets[i] to offsets[i + 1]. EchoCLIP's published regression (echonet/echo_CLIP):
    in each frame prompts are ranked by similarity (ties by prompt order) and become their values; these are averaged
    over frames rank by rank; of the first fifth of the ranks the lower median counts. The spread is the standard
    deviation over frames of what the rule gives for each frame alone.
    """
    kept = len(values) // 5
    ranked = _best_values(similarities, values, kept)
    middle = (kept - 1) // 2
    counts = np.diff(offsets)
    sums = np.add.reduceat(ranked, offsets[:-1], axis=0, dtype=np.int64)
    means = sums / counts[:, None]
    found = np.partition(means, middle, axis=1)[:, middle]
    alone = np.partition(ranked, middle, axis=1)[:, middle].astype(np.float64)
    first, second = (np.add.reduceat(power, offsets[:-1]) / counts for power in (alone, alone**2))
    spread = np.sqrt(np.maximum(second - first**2, 0))
    return found, spread


def _best_values(similarities: Floats, values: npt.NDArray[np.int64], kept: int) -> npt.NDArray[np.int32]:
    """(F, kept): the values of the prompts that are nearest to each frame, nearest first, ties by prompt order.

    Similarity and position become one integer, so that a plain sort of numbers gives the order of a stable one.
    """
    count, prompts = similarities.shape
    table: npt.NDArray[np.int32] = values.astype(np.int32)
    best = np.empty((count, kept), np.int32)
    rows = max(1, _BLOCK // prompts)
    keys = np.empty((min(rows, count), prompts, 2), np.int32)  # as little-endian int64: similarity high, position low
    for first in range(0, count, rows):
        block = similarities[first : first + rows]
        here = keys[: len(block)]
        here[..., 0] = np.arange(prompts)
        here[..., 1] = _descending(block)
        whole = here.view("<i8")[..., 0]
        if kept < prompts:
            whole.partition(kept - 1, axis=1)
        nearest = np.sort(whole[:, :kept], axis=1)
        np.take(table, nearest.view("<i4")[:, ::2], out=best[first : first + rows])
    return best


def _descending(similarities: Floats) -> npt.NDArray[np.int32]:
    """Integers that ascend as the floats descend, equal where these are equal."""
    bits = (similarities + np.float32(0)).view(np.int32)  # -0 is 0
    flipped = bits >> 31
    flipped &= 0x7FFFFFFF
    flipped ^= bits
    np.invert(flipped, out=flipped)
    return flipped
