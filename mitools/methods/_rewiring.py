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
    model: LogRatio,
    partners: IntArray,
    along: FloatArray,
    groups: IntArray,
    sweeps: int,
    rng: Generator,
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
    groups : int array, shape (n,)
        Partners stay in their group, as the model holds within groups only.
    sweeps : int
        Exchanges offered to each sample.
    rng : Generator

    References
    ----------
    .. [1] Berrett et al., J. Royal Statistical Society B 82, 175 (2020), algorithm 1.
    """
    n = len(partners)
    partners = partners.copy()
    places = np.arange(n, dtype=np.float64)
    now = model.pairs(np.arange(n), partners)
    total = 0.0
    for _ in range(sweeps):
        places[np.argsort(along @ rng.standard_normal(along.shape[1]))] = np.arange(n)
        reach = n ** rng.random()  # from next neighbours to anybody
        order = np.argsort(places + reach * rng.random(n) + 3.0 * n * groups)
        one, other = order[: n - n % 2 : 2], order[1::2]
        same = groups[one] == groups[other]
        one, other = one[same], other[same]
        fresh_one = model.pairs(one, partners[other])
        fresh_other = model.pairs(other, partners[one])
        odds = fresh_one + fresh_other - now[one] - now[other]
        taken = np.log(rng.random(len(one))) < odds
        one, other = one[taken], other[taken]
        partners[one], partners[other] = partners[other], partners[one]
        now[one], now[other] = fresh_one[taken], fresh_other[taken]
        total += float(now.mean())
    return partners, total / max(sweeps, 1)


def mean_normaliser(
    model: LogRatio, groups: IntArray, rng: Generator, rows: int = 500
) -> tuple[float, float]:
    """Return what the ratio has to lose, on average, to have the samples' own margins.

    That is the mean of log E exp ratio(x_i, Y) and of log E exp ratio(X, y_j); and beside it the
    part of it that corrects for the number of rivals.
    """
    total = doubt = 0.0
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        few = min(len(members) // 2, max(rows * len(members) // len(groups), 50))
        one, others = members[:few], members[few : few + 10_000]
        for ratios in (model.matrix(one, others), model.matrix(others, one).T):
            top = ratios.max(axis=1)
            weights = np.exp(ratios - top[:, None])
            mean = weights.mean(axis=1)
            # The logarithm of a mean of m is too small by half its relative variance.
            short = ((weights**2).mean(axis=1) / mean**2 - 1.0) / (2 * len(others))
            total += float((np.log(mean) + top + short).mean()) * len(members) / 2
            doubt += float(short.mean()) * len(members) / 2
    return total / len(groups), doubt / len(groups)
