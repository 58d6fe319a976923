"""The arithmetic of tasks against the step-by-step oracle, on values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import zeroshot_oracle as oracle
from hypothesis import given, settings, strategies as st
from store_helpers import random_units

from echosearch.tasks.modes.contrastive import softmax
from echosearch.tasks.modes.regression import regression
from echosearch.tasks.sweep import mean_prompts, mean_similarities


def one_video(similarities: np.ndarray) -> np.ndarray:
    return np.array([0, len(similarities)])


def test_a_regression_worked_out_by_hand() -> None:
    # Ten prompts with the values 0, 10 ... 90; a fifth is two ranks. Frame 1 likes 70, then 20; frame 2 likes 30, 70.
    similarities = np.zeros((2, 10), np.float32)
    similarities[0, [7, 2]] = 0.9, 0.8
    similarities[1, [3, 7]] = 0.9, 0.8
    value, spread = regression(similarities, np.arange(0, 100, 10), one_video(similarities))
    # Means by rank: (70 + 30) / 2 = 50 and (20 + 70) / 2 = 45; the lower median of two is the smaller.
    assert value.tolist() == [45.0]
    # Alone: the lower median of 70 and 20 is 20, of 30 and 70 it is 30; they lie 5 from their mean.
    assert spread.tolist() == [5.0]


def test_ties_go_by_the_order_of_the_prompts() -> None:
    similarities = np.zeros((1, 10), np.float32)
    similarities[0, 4] = -0.0  # is 0
    value, _ = regression(similarities, np.array([5, 3, 9, 1, 1, 1, 1, 1, 1, 1]), one_video(similarities))
    assert value.tolist() == [3.0]  # the first two prompts: 5 and 3


def test_a_fifth_of_the_ranks_is_what_the_published_code_keeps() -> None:
    assert all(prompts // 5 == int(0.2 * prompts) for prompts in range(5, 20_001))


@given(
    st.integers(1, 6),
    st.integers(5, 30),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["continuous", "ties", "tiny", "huge"]),
)
@settings(max_examples=150, deadline=None)
def test_regressions_are_identical_given_the_same_similarities(frames: int, prompts: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, frames)
    drawn = rng.standard_normal((int(lengths.sum()), prompts))
    scaled = {"continuous": drawn, "ties": np.round(drawn), "tiny": drawn * 1e-42, "huge": drawn * 1e30}[kind]
    similarities = scaled.astype(np.float32)
    values = rng.integers(-50, 101, prompts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    found, spread = regression(similarities, values, offsets)
    for number, (first, last) in enumerate(itertools.pairwise(offsets)):
        mine = similarities[first:last]
        assert found[number] == oracle.regression_of(mine, values.tolist())
        assert math.isclose(spread[number], oracle.spread_of(mine, values.tolist()), abs_tol=1e-6)


def test_many_frames_are_ranked_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echosearch.tasks.modes.regression._BLOCK", 64)
    similarities = np.random.default_rng(3).standard_normal((50, 20)).astype(np.float32)
    values = np.arange(20)
    found, _ = regression(similarities, values, np.arange(0, 51, 5))
    assert found.tolist() == [oracle.regression_of(similarities[n : n + 5], range(20)) for n in range(0, 50, 5)]


def test_of_many_prompts_the_nearest_fifth_is_kept() -> None:
    similarities = np.random.default_rng(5).standard_normal((40, 3000)).astype(np.float32)
    found, _ = regression(similarities, np.arange(3000), np.arange(0, 41, 4))
    assert found.tolist() == [oracle.regression_of(similarities[n : n + 4], range(3000)) for n in range(0, 40, 4)]


def test_mean_similarities_are_the_published_binary_score() -> None:
    frames, prompts = random_units(7, 64, 1), random_units(3, 64, 2)
    mean = frames.astype(np.float64).mean(axis=0)
    norm = np.linalg.norm(mean)
    vectors, norms = (mean / norm).astype(np.float32)[None], np.array([norm], np.float32)
    [[found]] = mean_similarities(vectors, norms, mean_prompts([("a", "b", "c")], lambda phrases: prompts))
    assert abs(found - oracle.binary(frames, prompts)) < 1e-6
    # Without the norm, or with a renormalised mean prompt, it is another number: thresholds would break silently.
    assert abs(found / norm - oracle.binary(frames, prompts)) > 1e-3


def test_a_softmax_worked_out_by_hand() -> None:
    found = softmax(np.array([[0.1, 0.2]]), 10.0)  # e^1 and e^2
    assert np.allclose(found, [[1 / (1 + math.e), math.e / (1 + math.e)]], atol=1e-15)
    assert np.array_equal(softmax(np.array([[5.0, -5.0]]), 1e4), [[1.0, 0.0]])  # no overflow
