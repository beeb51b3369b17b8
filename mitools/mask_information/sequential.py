"""Prediction point by point: each from the mask and from the noise of the points before it.

The noise of different points is independent given the inputs. So

    I(m; z_1 … z_n) = Σ_i I(m; z_i | z_1 … z_{i-1}),

and whatever predicts z_i may have seen the noise of all earlier points as well as the mask. What is
returned here goes to `decoded_classes` or `decoded_values` as `sequential`: row i of a prediction
depends on rows before i of the noise, and on nothing later.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtr
from scipy.stats import norm

from mitools._typing import BoolArray, FloatArray, IntArray

_AMPLITUDES = (0.3, 1.0, 3.0, 10.0)
"""Variance that a kernel explains, over the variance that it leaves."""
_SHARES = (0.0, 0.5, 1.0)
"""How much of the noise a given mean is taken to predict."""


def regressed_classes(
    kernel: FloatArray, means: list[FloatArray], targets: IntArray, log_prior: FloatArray
) -> list[FloatArray]:
    """Predict the excess of each class over its law by Gaussian processes.

    Parameters
    ----------
    kernel : float array, shape (n, n)
        Similarity of points, positive semidefinite, with a mean diagonal of 1.
    means : list of float arrays, shape (n, c)
        What may predict the noise by itself, in unit root mean square; not from the noise.
    targets, log_prior
        As in `decoded_classes`.

    Returns
    -------
    list of float arrays, shape (n, c)
        Scores, for each of a few amplitudes of the kernel and shares of each mean.
    """
    law = np.exp(log_prior)
    excess = np.eye(law.shape[1])[targets] - law
    size = math.sqrt(float(np.mean(law * (1.0 - law))))
    if size == 0.0:  # labels without noise
        return []
    return [
        mean / variance[:, None]
        for mean, variance in _regressed(kernel, means, excess / size, rest=False)
    ]


def regressed_values(
    kernel: FloatArray, means: list[FloatArray], noise: FloatArray
) -> list[tuple[FloatArray, FloatArray]]:
    """Predict noise of unit variance, shape (n, t), as `regressed_classes` does labels.

    Returns
    -------
    list of (mean, variance)
        Of a normal law for each z_i, shapes (n, t) and (n, 1).
    """
    laws = _regressed(kernel, means, noise, rest=True)
    return [(mean, variance[:, None]) for mean, variance in laws]


def _regressed(
    kernel: FloatArray, means: list[FloatArray], noise: FloatArray, rest: bool
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield mean and variance of each row of noise given the rows before it.

    The noise is share · mean + a Gaussian process. With `rest` its variance is what the share
    leaves of 1, elsewhere the unit is the noise that the kernel does not explain.
    """
    for amplitude in _AMPLITUDES:
        covariance = amplitude * kernel + np.eye(len(kernel))
        if rest:
            covariance /= 1.0 + amplitude
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        variance = np.diag(factor) ** 2
        earlier = np.tril(factor, -1)
        for index, mean in enumerate(means or [np.zeros_like(noise)]):
            for share in _SHARES:
                if (share == 0.0 and index) or (rest and share == 1.0):
                    continue
                left = noise - share * mean
                fresh = solve_triangular(factor, left, lower=True, check_finite=False)
                shrunk = 1.0 - share**2 if rest else 1.0
                yield share * mean + earlier @ fresh, shrunk * variance


def threshold_scores(
    sums: Callable[[slice, FloatArray], FloatArray],
    response: Callable[[slice, FloatArray], FloatArray],
    law: FloatArray,
    targets: IntArray,
    kept: Sequence[BoolArray],
    *,
    blocks: int,
    draws: int,
    seed: int,
) -> FloatArray:
    """Predict labels from which weights passed a threshold that a sum over labels decides.

    A weight is kept if ``|Σ_i e_i(y_i)|`` is among the largest, as in SNIP. Given the labels of
    earlier blocks, that sum is taken as normal: the known part, plus what the law of the other
    labels lets one expect. The derivative of the log-probability of each weight's fate then says
    which label fits the next points better.

    Parameters
    ----------
    sums : callable
        ``sums(rows, weights)`` returns ``Σ_i Σ_y weights[i, y] e_i(y)``, shape (p,), over points
        rows, for weights of shape (rows, c).
    response : callable
        ``response(rows, slope)`` returns ``Σ_j slope_j e_ij(y)``, shape (rows, c), up to a constant
        for each point.
    law : float array, shape (n, c)
        Probability of each label.
    targets : int array, shape (n,)
        The labels.
    kept : sequence of bool arrays, p in all
        The mask, in the groups within which weights compete.
    blocks : int
        Labels are predicted from those of earlier blocks.
    draws : int
        Sets of labels drawn from their law to measure how much the sums vary.
    seed : int
        Of those.

    Returns
    -------
    float array, shape (n, c)
        Scores for `decoded_classes`, of about unit root mean square at the end.
    """
    n, classes = law.shape
    everything = slice(0, n)
    expected = sums(everything, law)
    rng = np.random.default_rng(seed)
    drawn = [sums(everything, np.eye(classes)[_drawn(law, rng)]) - expected for _ in range(draws)]
    variance = np.mean(np.square(drawn), axis=0) + np.finfo(float).tiny
    ends = np.cumsum([len(group) for group in kept])
    groups = [slice(end - len(group), end) for group, end in zip(kept, ends, strict=True)]
    levels = [
        _level(expected[part], variance[part], int(group.sum()))
        for part, group in zip(groups, kept, strict=True)
    ]
    level = np.repeat(levels, [len(group) for group in kept])
    fate = np.concatenate(kept)
    total, scores = expected, np.zeros((n, classes))
    edges = np.linspace(0, n, min(blocks, n) + 1).astype(int)
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        left = np.sqrt(variance * max(1.0 - start / n, 0.01))
        part = response(rows, _slope(total, left, level, fate))
        part = part - part.mean(axis=1, keepdims=True)
        size = float(np.sqrt(np.mean(part**2)))
        if size > 0.0:
            scores[rows] = part / size * math.sqrt(max(start / n, 0.02))
        surprise = np.eye(classes)[targets[rows]] - law[rows]
        total = total + sums(rows, surprise)
    return scores


def _drawn(law: FloatArray, rng: np.random.Generator) -> IntArray:
    """Draw one label for each row of probabilities."""
    passed = rng.random((len(law), 1)) > np.cumsum(law, axis=1)
    return np.minimum(passed.sum(axis=1), law.shape[1] - 1)


def _level(total: FloatArray, variance: FloatArray, kept: int) -> float:
    """Return the threshold that `kept` of normal sums are expected to pass, by bisection."""
    deviation = np.sqrt(variance)
    low, high = 0.0, float(np.abs(total).max() + 10.0 * deviation.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        passing = ndtr((total - middle) / deviation) + ndtr((-middle - total) / deviation)
        low, high = (middle, high) if passing.sum() > kept else (low, middle)
    return 0.5 * (low + high)


def _slope(
    total: FloatArray, deviation: FloatArray, level: FloatArray, kept: BoolArray
) -> FloatArray:
    """Derivative of log P(fate of each weight) with respect to its sum."""
    # Beyond 30 deviations nothing changes any more, and squares would overflow.
    above, below = (np.clip((s * total - level) / deviation, -30, 30) for s in (1.0, -1.0))
    passing = np.clip(ndtr(above) + ndtr(below), 1e-9, 1.0 - 1e-9)
    rise = (norm.pdf(above) - norm.pdf(below)) / deviation
    return np.where(kept, rise / passing, -rise / (1.0 - passing))
