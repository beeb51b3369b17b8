"""Bayesian entropy of a discrete variable, with a prior that is nearly flat in the entropy."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaln, digamma, gammaln, polygamma

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_count
from mitools.methods import _counts

_MOST_CELLS = 1e150


@dataclass(frozen=True)
class NSB:
    """Nemenman, Shafee and Bialek's estimator [1]_: the posterior mean of the entropy.

    Over K cells the prior is a mixture of symmetric Dirichlet laws of concentration b, weighted so
    that their mean entropy xi(b) = psi(Kb + 1) - psi(b + 1) is uniform on (0, log K)::

        H = integral E[H | c, b] P(c | b) xi'(b) db / integral P(c | b) xi'(b) db

    The integral is by the trapezoidal rule in log b, on a grid refined around its peak.

    Parameters
    ----------
    symbols : int or None
        Values each column can take, K for a single column; None for those it does take.

    References
    ----------
    .. [1] Advances in Neural Information Processing Systems 14 (2002), eq. 10-12.
    """

    sense: ClassVar[Sense] = "point"
    symbolic: ClassVar[frozenset[str]] = _counts.EVERYTHING
    symbols: int | None = None

    def __post_init__(self) -> None:
        if self.symbols is not None:
            checked_count("symbols", self.symbols)

    def entropy_of_counts(self, counts: IntArray, cells: float) -> float:
        """H in nats, from the counts of the symbols seen and the number that could be."""
        if cells == 1:
            return 0.0
        if cells > _MOST_CELLS:
            raise ValueError(
                f"NSB takes at most {_MOST_CELLS:g} values of all columns together; their numbers "
                f"multiply to {cells:g}. Use fewer columns, or ChaoShen()."
            )
        sizes, often = np.unique(counts, return_counts=True)
        grid = _peak(sizes, often, cells)
        weight = _log_weight(grid, sizes, often, cells)
        weight = np.exp(weight - weight.max())
        mean = _mean_entropy(np.exp(grid), sizes, often, cells)
        return float(weight @ mean / weight.sum())

    entropy = _counts.entropy
    mutual_information = _counts.mutual_information
    conditional_mutual_information = _counts.conditional_mutual_information
    multi_information = _counts.multi_information


def _peak(sizes: IntArray, often: IntArray, cells: float, points: int = 1001) -> FloatArray:
    """Return a grid in log b that holds all of the weight but about exp(-45), and little else."""
    low, high = -60.0, 60.0
    while True:
        grid = np.linspace(low, high, points)
        weight = _log_weight(grid, sizes, often, cells)
        inside = np.flatnonzero(weight > weight.max() - 45.0)
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, points - 1)
        if last - first > points // 3:
            return grid
        low, high = float(grid[first]), float(grid[last])


def _log_weight(grid: FloatArray, sizes: IntArray, often: IntArray, cells: float) -> FloatArray:
    """Return log P(c | b) + log xi'(b) + log b, up to a constant, at b = exp(grid)."""
    b = np.exp(grid)
    n = float(sizes @ often)
    weight = _log_rising(b, sizes[:, None]).T @ often - _log_rising(cells * b, n)
    slope = cells * polygamma(1, cells * b + 1.0) - polygamma(1, b + 1.0)
    # Where b is large the two terms cancel; their difference has this expansion.
    far = ((1.0 - 1.0 / cells) / 2 - (1.0 - 1.0 / cells**2) / (6 * b)) / b**2
    return weight + np.log(np.where(b > 1e4, far, slope)) + grid


def _log_rising(start: FloatArray, steps: IntArray | float) -> FloatArray:
    """Return log Gamma(start + steps) / Gamma(start), without cancellation at large start."""
    return gammaln(steps) - betaln(start, steps)


def _mean_entropy(b: FloatArray, sizes: IntArray, often: IntArray, cells: float) -> FloatArray:
    """Return E[H | c, b] for each b: the mean entropy under the Dirichlet posterior."""
    n = float(sizes @ often)
    total = n + cells * b
    shape = sizes[:, None] + b
    seen = often @ (shape * digamma(shape + 1.0))
    unseen = (cells - often.sum()) * b * digamma(b + 1.0)
    return digamma(total + 1.0) - (seen + unseen) / total
