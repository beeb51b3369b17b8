"""Intervals of what a report states: of a share, and of a mean over tasks and seeds."""

import math
from collections.abc import Sequence

import numpy as np

from mitools._typing import FloatArray

_NORMAL = 1.959963984540054  # of 95%


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return the 95% score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    (0, 1) where nothing was counted.
    """
    if of == 0:
        return 0.0, 1.0
    share, squared = hits / of, _NORMAL**2 / of
    middle = (share + squared / 2) / (1 + squared)
    half = _NORMAL * math.sqrt(share * (1 - share) / of + squared / of / 4) / (1 + squared)
    # Exactly where the formula has them, rounding apart.
    low, high = 0.0 if hits == 0 else middle - half, 1.0 if hits == of else middle + half
    return low, high


def interquartile_mean(values: FloatArray) -> FloatArray:
    """Return the mean of the middle half along the last axis, each end cut by a quarter.

    Where a quarter is no whole number, the values at the cuts count in part.
    """
    ordered = np.sort(values, axis=-1)
    n = ordered.shape[-1]
    edges = np.arange(n + 1).clip(n / 4, 3 * n / 4)
    return ordered @ np.diff(edges) / (n / 2)


def bootstrap(
    by_task: Sequence[FloatArray], draws: int = 1_000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the interquartile mean over tasks and seeds, and its 95% percentile interval.

    Stratified as in rliable [1]_, but over tasks too: tasks are drawn with replacement, then seeds
    within each drawn task. Every task has the same weight, however many of its seeds there are.

    Parameters
    ----------
    by_task : sequence of float arrays, each non-empty
        The scores of each task, one a seed.
    draws : int
        Resamples.
    seed : int
        Of the resampling.

    References
    ----------
    .. [1] Agarwal et al., NeurIPS 2021, arXiv 2108.13264.
    """
    rng = np.random.default_rng(seed)
    counts = np.array([len(scores) for scores in by_task])
    scores = np.full((len(by_task), counts.max()), np.nan)
    for row, found in zip(scores, by_task, strict=True):
        row[:] = np.resize(found, len(row))  # repeated where there are fewer
    whole = float(interquartile_mean(scores.ravel()))
    tasks = rng.integers(len(scores), size=(draws, len(scores), 1))
    seeds = rng.random((draws, *scores.shape)) * counts[tasks]
    drawn = scores[tasks, seeds.astype(np.int64)]
    low, high = np.quantile(interquartile_mean(drawn.reshape(draws, -1)), [0.025, 0.975])
    return whole, float(low), float(high)
