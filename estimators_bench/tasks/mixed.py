"""Variables with atoms, counts, roundings and labels: truth by formula or one quadrature."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.integrate import quad
from scipy.special import entr, gammaln, ndtr, ndtri, xlogy

from estimators_bench.tasks.finite import binary_entropy, law
from estimators_bench.tasks.kinds import SampleTask, Truth
from estimators_bench.tasks.labels import (
    LABELLED,
    columns,
    mixed_task,
    normal_density,
    staircase,
    staircase_nats,
)
from mitools._typing import FloatArray


def _atoms(n: int, rng: Generator) -> tuple[FloatArray, FloatArray]:
    """Return pairs of which half are normal, correlated .9, and half two bits, equal in .9."""
    x, noise = rng.standard_normal((2, n))
    y = 0.9 * x + math.sqrt(0.19) * noise
    coin = 2.0 * rng.integers(2, size=n) - 1.0
    other = np.where(rng.random(n) < 0.1, -coin, coin)
    smooth = rng.random(n) < 0.5
    return np.where(smooth, x, coin), np.where(smooth, y, other)


# Either variable shows which half a pair is from; the rest is the mean over the halves.
_ATOMS_NATS = math.log(2) - 0.25 * math.log(1 - 0.9**2) + 0.5 * (math.log(2) - binary_entropy(0.1))


def _atom_pairs(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    return columns(*_atoms(n, rng))


def _atoms_and_steps(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    (x, y), (step, height) = _atoms(n, rng), staircase(5, n, rng)
    return columns(np.column_stack((x, step)), np.column_stack((y, height)))


def _inflated(zeros: float, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    rate = rng.exponential(size=n)
    return columns(rate, np.where(rng.random(n) < zeros, 0, rng.poisson(rate)))


def inflated_nats(zeros: float) -> float:
    """H(Y) - H(Y | X) for X ~ Exp(1) and Y = 0 with probability `zeros`, else Poisson(X).

    Gao et al. give (1 - zeros) (2 log 2 - Euler's gamma - sum_k log(k) / 2^k), which is this at
    zeros = 0 only: a zero does not show whether it is one of the extra ones.
    """
    k = np.arange(400)
    counts = (1.0 - zeros) * 0.5 ** (k + 1.0)
    counts[0] += zeros

    def spread(rate: float) -> float:
        p = (1.0 - zeros) * np.exp(xlogy(k, rate) - rate - gammaln(k + 1))
        p[0] += zeros
        return float(entr(p).sum()) * math.exp(-rate)

    halves = (quad(spread, a, b, epsabs=1e-11, limit=200)[0] for a, b in ((0, 2), (2, 60)))
    return float(entr(counts).sum()) - math.fsum(halves)


def _correlated(r: float, n: int, rng: Generator) -> tuple[FloatArray, FloatArray]:
    x, noise = rng.standard_normal((2, n))
    return x, r * x + math.sqrt(1.0 - r**2) * noise


_QUARTILES = ndtri([0.25, 0.5, 0.75])


def _quantised(r: float, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    x, y = _correlated(r, n, rng)
    return columns(x, np.searchsorted(_QUARTILES, y))


def _mean_over_normal(function: Callable[[float], float]) -> float:
    """E[function(X)] for X ~ N(0, 1)."""

    def integrand(x: float) -> float:
        return function(x) * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    return quad(integrand, -12.0, 12.0, points=[0.0], limit=200, epsabs=1e-11)[0]


def _quantised_nats(r: float) -> float:
    """Return log 4 - E[H(quartile | X)]."""
    ends = np.concatenate(([-np.inf], _QUARTILES, [np.inf]))
    scale = math.sqrt(1.0 - r**2)

    def spread(x: float) -> float:
        return float(entr(np.diff(ndtr((ends - r * x) / scale))).sum())

    return math.log(4) - _mean_over_normal(spread)


def _rounded(r: float, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    return columns(*(np.rint(2.0 * each) for each in _correlated(r, n, rng)))


def _rounded_nats(r: float, cells: int = 18) -> float:
    """Return the information of both coordinates rounded to halves, from the cells' masses."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    middle = np.arange(-cells, cells + 1) / 2.0
    x = middle[:, None] + nodes / 4.0  # within each cell
    mass = weights / 4.0 * normal_density(x, np.zeros(1), np.ones(1))
    ends = np.append(middle - 0.25, middle[-1] + 0.25)
    below = ndtr((ends - r * x[..., None]) / math.sqrt(1.0 - r**2))
    table = np.einsum("in,inj->ij", mass, np.diff(below, axis=-1))
    return law(table.shape, lambda a, b: table[a, b]).information([0], [1])


def _rectified(r: float, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    x, y = _correlated(r, n, rng)
    return columns(x, np.maximum(y, 0.0))


def _rectified_nats(r: float) -> float:
    """Return half the normal pair's information, for Y > 0, and what a zero tells."""

    def zero(x: float) -> float:
        p = float(ndtr(-r * x / math.sqrt(1.0 - r**2)))
        return float(xlogy(p, 2.0 * p))

    return -0.25 * math.log(1.0 - r**2) + _mean_over_normal(zero)


_ATOMIC = (
    mixed_task(
        "gao-atoms",
        Truth(_ATOMS_NATS),
        _atom_pairs,
        ("mixed", "mixed"),
        "Half a correlated normal pair, half a pair of coins on its axes "
        "(Gao et al. 2017, experiment I).",
    ),
    mixed_task(
        "gao-atoms-and-steps",
        Truth(_ATOMS_NATS + staircase_nats(5)),
        _atoms_and_steps,
        ("mixed", "mixed"),
        "Experiments I and II side by side (Gao et al. 2017, experiment III).",
        dims=(2, 2),
    ),
    mixed_task(
        "inflated-counts",
        Truth(inflated_nats(0.15), "quadrature"),
        partial(_inflated, 0.15),
        ("continuous", "discrete"),
        "A Poisson count of an exponential rate, lost to 0 in 15% of cases "
        "(Gao et al. 2017, experiment IV, whose formula holds without losses only).",
    ),
    mixed_task(
        "quartiles",
        Truth(_quantised_nats(0.8), "quadrature"),
        partial(_quantised, 0.8),
        ("continuous", "discrete"),
        "One of a normal pair, correlated .8, and the quartile of the other.",
    ),
    mixed_task(
        "rounded-normal",
        Truth(_rounded_nats(0.8), "quadrature"),
        partial(_rounded, 0.8),
        ("discrete", "discrete"),
        "A normal pair, correlated .8, both rounded to half a standard deviation.",
    ),
    mixed_task(
        "rectified-normal",
        Truth(_rectified_nats(0.8), "quadrature"),
        partial(_rectified, 0.8),
        ("continuous", "mixed"),
        "One of a normal pair, correlated .8, and the other cut off below 0, as a unit does.",
    ),
)


def _staircase_and_coins(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    return (*staircase(5, n, rng), *columns(rng.binomial(3, 0.5, size=n)))


def _atoms_and_coins(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    return (*_atom_pairs(n, rng), *columns(rng.binomial(3, 0.2, size=n)))


def _thinned_counts(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    rate = rng.exponential(10.0, size=n)
    count = rng.poisson(rate)
    return columns(rate, rng.binomial(count, 0.5), count)


def _switched(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    x, noise = rng.standard_normal((2, n))
    z = rng.integers(3, size=n)
    return columns(x, (z - 1.0) * x + 0.5 * noise, z)


def _given_rectified(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    hidden, a, b = rng.standard_normal((3, n))
    z = np.maximum(hidden, 0.0)
    x = z + a
    return columns(x, x + z + b, z)


_GIVEN_TASKS = (
    mixed_task(
        "steps-given-coins",
        Truth(staircase_nats(5)),
        _staircase_and_coins,
        ("discrete", "continuous", "discrete"),
        "Gao et al.'s experiment II given three coins that have no part in it "
        "(after Mesner and Shalizi 2021).",
    ),
    mixed_task(
        "atoms-given-coins",
        Truth(_ATOMS_NATS),
        _atoms_and_coins,
        ("mixed", "mixed", "discrete"),
        "Gao et al.'s experiment I given three coins that have no part in it "
        "(after Mesner and Shalizi 2021).",
    ),
    mixed_task(
        "thinned-given-count",
        Truth(0.0),
        _thinned_counts,
        ("continuous", "discrete", "discrete"),
        "A rate and the half of its count that was noticed, given the count: nothing "
        "(after Mesner and Shalizi 2021).",
    ),
    mixed_task(
        "given-switch",
        Truth(math.log(5) / 3),
        _switched,
        ("continuous", "continuous", "discrete"),
        "A noisy channel that a switch leaves on, off or reversed: uncorrelated unless one "
        "knows the switch.",
    ),
    mixed_task(
        "given-rectified",
        Truth(math.log(2) / 2),
        _given_rectified,
        ("continuous", "continuous", "mixed"),
        "A noisy copy of a noisy copy of a rectified normal variable, given that variable.",
    ),
)

TASKS: tuple[SampleTask, ...] = LABELLED + _ATOMIC + _GIVEN_TASKS
