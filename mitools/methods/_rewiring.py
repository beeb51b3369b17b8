"""Surrogate samples: the same x and the same y, joined anew as a log density ratio says."""

from typing import Protocol

import numpy as np
from numpy.random import Generator

from mitools._typing import FloatArray, IntArray


class LogRatio(Protocol):
    """A model of log p(x, y) / p(x) p(y) at the samples, up to functions of x and of y alone."""

    def pairs(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the ratio of x_i and y_j, shape (m,), for m of either."""
        ...

    def matrix(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the ratio of every x_i and every y_j, shape (len(i), len(j))."""
        ...


def rewired(
    model: LogRatio, partners: IntArray, along: FloatArray, sweeps: int, rng: Generator
) -> tuple[IntArray, float]:
    """Return partners drawn from the model, and the mean ratio of partners over the sweeps.

    Partners pi are a permutation of the samples with probability proportional to the product over
    i of exp ratio(i, pi_i), so that every x and every y occurs once. Pairs of samples exchange
    partners with the probability that leaves this law as it is [1]_.

    Parameters
    ----------
    model : LogRatio
    partners : int array, shape (n,)
        Where to start, unchanged.
    along : float array, shape (n, d)
        Coordinates of x that the model goes by. Exchanges between near ones are accepted more.
    sweeps : int
        Exchanges offered to each sample.
    rng : Generator

    References
    ----------
    .. [1] Berrett et al., J. Royal Statistical Society B 82, 175 (2020), algorithm 1.
    """
    n, half = len(partners), len(partners) // 2
    partners = partners.copy()
    places = np.arange(n, dtype=np.float64)
    now = model.pairs(np.arange(n), partners)
    total = 0.0
    for _ in range(sweeps):
        places[np.argsort(along @ rng.standard_normal(along.shape[1]))] = np.arange(n)
        reach = n ** rng.random()  # from next neighbours to anybody
        order = np.argsort(places + reach * rng.random(n))
        one, other = order[: 2 * half : 2], order[1 : 2 * half : 2]
        fresh_one = model.pairs(one, partners[other])
        fresh_other = model.pairs(other, partners[one])
        odds = fresh_one + fresh_other - now[one] - now[other]
        taken = np.log(rng.random(half)) < odds
        one, other = one[taken], other[taken]
        partners[one], partners[other] = partners[other], partners[one]
        now[one], now[other] = fresh_one[taken], fresh_other[taken]
        total += float(now.mean())
    return partners, total / max(sweeps, 1)
