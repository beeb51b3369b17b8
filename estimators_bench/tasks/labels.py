"""Labels beside measurements: Ross's and Gao's examples, and classes of vectors."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.integrate import quad
from scipy.special import gammaln, xlogy

from estimators_bench.tasks.kinds import Kind, Question, SampleTask, Truth
from mitools._typing import FloatArray, IntArray


def mixed_task(
    name: str,
    truth: Truth,
    sampler: Callable[[int, Generator], tuple[FloatArray, ...]],
    kinds: tuple[Kind, ...],
    about: str,
    *,
    dims: tuple[int, ...] | None = None,
) -> SampleTask:
    """Return the question of two variables, or of two given a third."""
    asked: Question = "mutual_information" if len(kinds) == 2 else "conditional_mutual_information"
    dims = dims or (1,) * len(kinds)
    return SampleTask(name, "mixed", truth, sampler, dims, kinds, asked, about=about)


def columns(*variables: FloatArray | IntArray) -> tuple[FloatArray, ...]:
    """Return variables as float columns."""
    return tuple(np.asarray(each, np.float64).reshape(len(each), -1) for each in variables)


def normal_density(x: FloatArray | float, mean: FloatArray, spread: FloatArray) -> FloatArray:
    """Return the density at x of each normal law."""
    return np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))


def label_information(
    shares: Sequence[float],
    densities: Callable[[float], FloatArray],
    low: float,
    high: float,
    breaks: Sequence[float] = (),
) -> Truth:
    """I(label; x) in nats for a scalar x, by quadrature over x.

    Parameters
    ----------
    shares : sequence of float
        Probability of each label.
    densities : callable
        ``densities(x)``, the density of x under each label.
    low, high : float
        All but a negligible share of x lies between.
    breaks : sequence of float
        Where a density jumps.
    """
    weights = np.asarray(shares, np.float64)

    def integrand(x: float) -> float:
        p = np.asarray(densities(x))
        mean = float(weights @ p)
        return float(weights @ xlogy(p, p)) - float(xlogy(mean, mean))

    points = list(breaks) or None
    nats = quad(integrand, low, high, points=points, limit=200, epsabs=1e-11, epsrel=1e-11)[0]
    return Truth(nats, "quadrature")


def _labels(shares: Sequence[float], n: int, rng: Generator) -> IntArray:
    return rng.choice(len(shares), size=n, p=shares)


_SHARES = (0.5, 0.3, 0.2)
_STARTS = np.array([0.0, 1.0, 2.5])
_MEANS, _SPREADS = np.array([-1.0, 0.0, 2.0]), np.array([1.0, 0.25, 2.0])


def _shifted_uniforms(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    label = _labels(_SHARES, n, rng)
    return columns(label, _STARTS[label] + 2.0 * rng.random(n))


def _shifted_normals(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    label = _labels(_SHARES, n, rng)
    return columns(_MEANS[label] + _SPREADS[label] * rng.standard_normal(n), label)


def staircase(m: int, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    """Return X uniform on 0 ... m - 1 and Y uniform on [X, X + 2]."""
    step = rng.integers(m, size=n)
    return columns(step, step + 2.0 * rng.random(n))


def staircase_nats(m: int) -> float:
    """Return log m - (m - 1) log(2) / m: two labels remain, but at both ends one."""
    return math.log(m) - (m - 1) * math.log(2) / m


def _corners(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    """Return points around the four corners of a square, and which corner."""
    signs = rng.integers(2, size=(n, 2))
    return columns(2.0 * signs - 1.0 + rng.standard_normal((n, 2)), signs @ [2, 1])


def _shells(d: int, ratio: float, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    """Return points around the origin, wider under one of two labels."""
    label = rng.integers(2, size=n)
    return columns(label, np.where(label, ratio, 1.0)[:, None] * rng.standard_normal((n, d)))


def _shells_truth(d: int, ratio: float) -> Truth:
    """I(label; |x|), which is all there is: x is round given its length."""

    def density(r: float) -> FloatArray:
        u = r / np.array([1.0, ratio])
        log_chi = xlogy(d - 1, u) - u**2 / 2 - (d / 2 - 1) * math.log(2) - gammaln(d / 2)
        return np.exp(log_chi) / np.array([1.0, ratio])

    return label_information((0.5, 0.5), density, 0.0, 12.0 * ratio)


_CENTRES = np.array([-2.0, 0.0, 2.0])


def _diagonal(d: int, n: int, rng: Generator) -> tuple[FloatArray, ...]:
    """Return points of three classes whose means lie on the diagonal of d dimensions."""
    label = _labels(_SHARES, n, rng)
    along = np.full(d, 1.0 / math.sqrt(d))
    return columns(_CENTRES[label][:, None] * along + rng.standard_normal((n, d)), label)


_ONES = np.ones(3)
_TWO_MEANS = label_information(
    (0.5, 0.5), lambda x: normal_density(x, np.array([-1.0, 1.0]), np.ones(2)), -12.0, 12.0
)

LABELLED = (
    mixed_task(
        "ross-uniforms",
        label_information(
            _SHARES,
            lambda x: np.where((x >= _STARTS) & (x < _STARTS + 2.0), 0.5, 0.0),
            0.0,
            4.5,
            breaks=(1.0, 2.0, 2.5, 3.0),
        ),
        _shifted_uniforms,
        ("discrete", "continuous"),
        "Three labels, each with a box of its own to draw from, overlapping (after Ross 2014).",
    ),
    mixed_task(
        "ross-normals",
        label_information(
            _SHARES, lambda x: normal_density(x, _MEANS, _SPREADS), -20.0, 24.0, breaks=(0.0,)
        ),
        _shifted_normals,
        ("continuous", "discrete"),
        "Three labels, each with a normal law, one of them narrow (after Ross 2014).",
    ),
    mixed_task(
        "gao-uniform-5",
        Truth(staircase_nats(5)),
        partial(staircase, 5),
        ("discrete", "continuous"),
        "X uniform on 0 ... 4 and Y uniform on [X, X + 2] (Gao et al. 2017, experiment II).",
    ),
    mixed_task(
        "classes-2d",
        Truth(2 * _TWO_MEANS.nats, "quadrature"),
        _corners,
        ("continuous", "discrete"),
        "Four classes around the corners of a square.",
        dims=(2, 1),
    ),
    mixed_task(
        "classes-5d",
        _shells_truth(5, 2.0),
        partial(_shells, 5, 2.0),
        ("discrete", "continuous"),
        "Two classes around one point in five dimensions, one twice as wide: all means agree.",
        dims=(1, 5),
    ),
    mixed_task(
        "classes-10d",
        label_information(_SHARES, lambda x: normal_density(x, _CENTRES, _ONES), -14.0, 14.0),
        partial(_diagonal, 10),
        ("continuous", "discrete"),
        "Three classes in ten dimensions, apart along the diagonal alone.",
        dims=(10, 1),
    ),
)
