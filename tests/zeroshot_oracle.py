"""The published zero-shot formulas for one video, step by step in plain Python: what sweeps must agree with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def binary(frames: Array, prompts: Array) -> float:
    """Mean over frames and prompts of the similarity."""
    similarities = [
        sum(float(a) * float(b) for a, b in zip(frame, prompt, strict=True)) for frame in frames for prompt in prompts
    ]
    return math.fsum(similarities) / len(similarities)


def regression_of(similarities: Array, values: Sequence[int]) -> float:
    """EchoCLIP's regression from the similarities (T, P) of one video."""
    ranked = []
    for frame in similarities:
        order = sorted(range(len(values)), key=lambda prompt: (-float(frame[prompt]), prompt))
        ranked.append([values[prompt] for prompt in order])
    means = [sum(column) / len(ranked) for column in zip(*ranked, strict=True)]
    kept = sorted(means[: int(0.2 * len(values))])
    return kept[(len(kept) - 1) // 2]


def spread_of(similarities: Array, values: Sequence[int]) -> float:
    """Standard deviation over frames of what the rule gives for each frame alone."""
    alone = [regression_of(similarities[n : n + 1], values) for n in range(len(similarities))]
    middle = sum(alone) / len(alone)
    return math.sqrt(sum((value - middle) ** 2 for value in alone) / len(alone))


def weights_of(frames: Array, groups: Sequence[Array], logit_scale: float) -> list[float]:
    """Contrastive: softmax over classes of the scaled mean similarity."""
    logits = [logit_scale * binary(frames, prompts) for prompts in groups]
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def similarities(frames: Array, prompts: Array) -> Array:
    """(T, P) in float64."""
    return np.asarray(frames, np.float64) @ np.asarray(prompts, np.float64).T


def narrowest_gap(similarities: Array, kept: int) -> float:
    """The smallest difference between similarities of neighbouring ranks in any frame, of the first `kept` and one."""
    ranked = -np.sort(-np.asarray(similarities, np.float64), axis=1)[:, : kept + 1]
    return float((ranked[:, :-1] - ranked[:, 1:]).min())
