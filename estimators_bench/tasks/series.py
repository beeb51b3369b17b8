"""Time series: transfer entropy exactly as asked, with its histories, and dependent samples."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import xlogy

from estimators_bench.tasks.finite import Law, binary_entropy, law
from estimators_bench.tasks.kinds import Kind, SampleTask, Truth
from estimators_bench.tasks.labels import columns, label_information, normal_density
from mitools._typing import FloatArray, IntArray

_BOTH: tuple[Kind, Kind] = ("continuous", "continuous")
_BITS: tuple[Kind, Kind] = ("discrete", "discrete")


@dataclass(frozen=True, eq=False)
class Autoregression:
    """The stationary Gaussian process z(t) = sum_i A_i z(t - i) + e(t).

    Parameters
    ----------
    coefficients : (p, m, m) float
        A_1 ... A_p, stable.
    noise : (m, m) float
        Covariance of e, positive definite.
    """

    coefficients: FloatArray
    noise: FloatArray

    def _step(self) -> FloatArray:
        """Return the matrix that takes z(t - 1), ..., z(t - p) one step on."""
        p, m, _ = self.coefficients.shape
        step = np.eye(p * m, k=-m)
        step[:m] = np.concatenate(tuple(self.coefficients), axis=1)
        return step

    def _state_covariance(self) -> FloatArray:
        """Return the covariance of z(t), ..., z(t - p + 1) together."""
        m = len(self.noise)
        step = self._step()
        shocks = np.zeros_like(step)
        shocks[:m, :m] = self.noise
        return solve_discrete_lyapunov(step, shocks)

    def covariance(self, steps: int) -> FloatArray:
        """Return the covariance of z(t), ..., z(t - steps + 1), (steps m, steps m)."""
        m = len(self.noise)
        step, state = self._step(), self._state_covariance()
        lagged = [(np.linalg.matrix_power(step, i) @ state)[:m, :m] for i in range(steps)]
        blocks = [
            [lagged[j - i] if j >= i else lagged[i - j].T for j in range(steps)]
            for i in range(steps)
        ]
        return np.block(blocks)

    def transfer(
        self,
        source: tuple[int, ...],
        target: tuple[int, ...],
        *,
        history: int,
        source_history: int | None = None,
        lag: int = 1,
    ) -> float:
        """I(target now; source's past | target's past) in nats, of just these steps.

        With S the covariance and Y, X, P for now and the pasts of source and target::

            2 I = log det S(Y, P) - log det S(P) - log det S(Y, P, X) + log det S(P, X)
        """
        m, other = len(self.noise), source_history or history
        whole = self.covariance(max(history, lag + other - 1) + 1)
        now = list(target)
        own = [i * m + j for i in range(1, history + 1) for j in target]
        past = [i * m + j for i in range(lag, lag + other) for j in source]

        def log_det(*groups: list[int]) -> float:
            chosen = [column for group in groups for column in group]
            return float(np.linalg.slogdet(whole[np.ix_(chosen, chosen)])[1])

        return 0.5 * (
            log_det(now, own) - log_det(own) - log_det(now, own, past) + log_det(own, past)
        )

    def draw(self, n: int, rng: Generator) -> FloatArray:
        """Return n successive steps of the process, stationary from the first, (n, m)."""
        p, m, _ = self.coefficients.shape
        start = np.linalg.cholesky(self._state_covariance()) @ rng.standard_normal(p * m)
        path = rng.standard_normal((p + n, m)) @ np.linalg.cholesky(self.noise).T
        path[:p] = start.reshape(p, m)[::-1]
        for t in range(p, p + n):
            for i, matrix in enumerate(self.coefficients, start=1):
                path[t] += matrix @ path[t - i]
        return path[p:]


def _split(
    process: Autoregression,
    source: tuple[int, ...],
    target: tuple[int, ...],
    n: int,
    rng: Generator,
) -> tuple[FloatArray, ...]:
    path = process.draw(n, rng)
    return path[:, source], path[:, target]


def _normal_task(
    name: str,
    process: Autoregression,
    source: tuple[int, ...],
    target: tuple[int, ...],
    about: str,
    **options: int,
) -> SampleTask:
    truth = Truth(process.transfer(source, target, **options))
    sampler = partial(_split, process, source, target)
    dims = (len(source), len(target))
    return _transfer_task(name, truth, sampler, _BOTH, about, options, dims=dims)


def _transfer_task(
    name: str,
    truth: Truth,
    sampler: Callable[[int, Generator], tuple[FloatArray, ...]],
    kinds: tuple[Kind, Kind],
    about: str,
    options: Mapping[str, int] | None = None,
    *,
    dims: tuple[int, int] = (1, 1),
) -> SampleTask:
    options = dict(options or {"history": 1})
    question = "transfer_entropy"
    return SampleTask(name, "time series", truth, sampler, dims, kinds, question, options, about)


_ONE_WAY = Autoregression(np.array([[[0.5, 0.0], [0.8, 0.5]]]), np.eye(2))
_FEEDBACK = Autoregression(
    np.array([[[0.5, 0.3], [0.4, 0.3]], [[-0.3, 0.0], [0.3, 0.2]]]),
    np.array([[1.0, 0.3], [0.3, 1.0]]),
)
_DELAYED = Autoregression(
    np.array([np.diag([0.0, 0.6]), np.zeros((2, 2)), [[0.0, 0.0], [0.8, 0.0]]]), np.eye(2)
)
_TWO_SOURCES = Autoregression(
    np.array([[[0.6, 0.2, 0.0], [-0.2, 0.6, 0.0], [0.5, -0.5, 0.4]]]), np.eye(3)
)

_NORMAL = (
    _normal_task(
        "var-forward", _ONE_WAY, (0,), (1,), "A linear process that drives another.", history=1
    ),
    _normal_task(
        "var-backward", _ONE_WAY, (1,), (0,), "The same, asked the wrong way: nothing.", history=1
    ),
    _normal_task(
        "var-feedback",
        _FEEDBACK,
        (0,),
        (1,),
        "Two linear processes of second order that drive each other, with their whole histories.",
        history=2,
    ),
    _normal_task(
        "var-feedback-short",
        _FEEDBACK,
        (0,),
        (1,),
        "The same, asked with one step of history: another question, with another answer.",
        history=1,
    ),
    _normal_task(
        "var-delayed",
        _DELAYED,
        (0,),
        (1,),
        "White noise that arrives three steps late.",
        history=1,
        lag=3,
    ),
    _normal_task(
        "var-two-sources",
        _TWO_SOURCES,
        (0, 1),
        (2,),
        "A pair of processes, turning into each other, whose difference drives a third.",
        history=1,
    ),
)

# Symbols -----------------------------------------------------------------------------------------


def chain(driver: FloatArray, follower: FloatArray) -> Law:
    """Return the stationary law of (x, y, next x, next y), pairs of bits.

    Parameters
    ----------
    driver, follower : (2, 2) float
        Probability that the next x, the next y is 1, from x and y now; independent given these.
    """
    x, y = np.divmod(np.arange(4), 2)
    to_x, to_y = driver[x, y], follower[x, y]
    step = np.stack(
        [(to_x if a else 1 - to_x) * (to_y if b else 1 - to_y) for a in (0, 1) for b in (0, 1)]
    )
    equations = np.vstack((step - np.eye(4), np.ones(4)))
    stationary = np.linalg.lstsq(equations, np.array([0.0, 0.0, 0.0, 0.0, 1.0]), rcond=None)[0]
    return law((2,) * 4, lambda x, y, a, b: stationary[2 * x + y] * step[2 * a + b, 2 * x + y])


def _bits(
    driver: FloatArray, follower: FloatArray, backward: bool, n: int, rng: Generator
) -> tuple[FloatArray, ...]:
    """Return the two series of bits, source first."""
    x, y = (int(bit) for bit in chain(driver, follower).draw(1, rng)[0, :2])
    path = np.empty((n, 2))
    for t, (u, v) in enumerate(rng.random((n, 2)).tolist()):
        path[t] = x, y
        x, y = int(u < driver[x, y]), int(v < follower[x, y])
    return (path[:, 1:], path[:, :1]) if backward else (path[:, :1], path[:, 1:])


_STICKY = np.array([[0.2, 0.2], [0.8, 0.8]])  # x next, mostly x
_COIN = np.full((2, 2), 0.5)
_COPYING = np.array([[0.1, 0.1], [0.9, 0.9]])  # y next, mostly x
_LISTENING = np.array([[0.1, 0.6], [0.5, 0.9]])  # y next, from both
_ANSWERING = np.array([[0.2, 0.5], [0.6, 0.8]])  # x next, from both

_SYMBOLS = (
    _transfer_task(
        "bits-copied",
        Truth(math.log(2) - binary_entropy(0.1)),
        partial(_bits, _COIN, _COPYING, False),
        _BITS,
        "Fair bits and, a step later, what a binary symmetric channel made of them.",
    ),
    _transfer_task(
        "bits-backward",
        Truth(0.0),
        partial(_bits, _STICKY, _LISTENING, True),
        _BITS,
        "A sticky bit that another listens to, asked the wrong way: nothing.",
    ),
    _transfer_task(
        "bits-feedback",
        Truth(chain(_ANSWERING, _LISTENING).information([3], [0], [1]), "enumeration"),
        partial(_bits, _ANSWERING, _LISTENING, False),
        _BITS,
        "Two bits that listen to each other and to themselves.",
    ),
)

# Maps --------------------------------------------------------------------------------------------


def _logistic(n: int, rng: Generator) -> tuple[FloatArray, IntArray]:
    """Return an orbit of y -> 4 y (1 - y) from its invariant law, and whether y > 1/2.

    y = sin(pi u)^2 turns the map into u -> 2 u mod 1, which shifts the binary digits of u, so an
    orbit is a row of fair bits read from each place on. y > 1/2 where the first two digits
    differ: fair bits again, which fix y from that place on and know nothing of earlier ones.
    """
    digits = rng.integers(2, size=n + 52)
    u = sum(digits[i : i + n] * 0.5 ** (i + 1) for i in range(53))
    return np.sin(np.pi * u) ** 2, digits[:n] ^ digits[1 : n + 1]


def _driven_map(push: FloatArray, rng: Generator, spread: float) -> FloatArray:
    """Return x(t + 1) = 3.8 w (1 - w) + push(t) + noise, with w = x(t) mod 1."""
    noise = spread * rng.standard_normal(len(push))
    series = np.empty(len(push))
    x = float(rng.random())
    for t, kick in enumerate((push + noise).tolist()):
        series[t] = x
        w = x % 1.0
        x = 3.8 * w * (1.0 - w) + kick
    return series


def _square_driven(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    source = rng.standard_normal(n)
    return columns(source, _driven_map(0.5 * source**2, rng, 0.3))


def _symbol_driven(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    source, above = _logistic(n, rng)
    return columns(source, _driven_map(np.where(above, 0.6, 0.0), rng, 0.2))


def _symbol_flipped(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    """Return the orbit and a bit that flips when the orbit was above 1/2, mostly."""
    source, above = _logistic(n, rng)
    flip = above ^ (rng.random(n) < 0.1)
    first = rng.integers(2)
    return columns(source, (first + np.concatenate(([0], np.cumsum(flip[:-1])))) % 2)


def squares_nats(gain: float, spread: float, points: int = 500) -> float:
    """I(Y; gain Y^2 + noise) for standard normal Y: h(sum) - h(noise), by sums over grids."""
    y, width = np.linspace(-9.0, 9.0, points, retstep=True)
    s, step = np.linspace(-8.0 * spread, 30.0, 3 * points, retstep=True)
    weights = width * normal_density(y, np.zeros(1), np.ones(1))
    p = normal_density(s[:, None], gain * y**2, np.array([spread])) @ weights
    return float(-xlogy(p, p).sum() * step) - 0.5 * math.log(2 * math.pi * math.e * spread**2)


_MAPS = (
    _transfer_task(
        "map-and-squares",
        Truth(squares_nats(0.5, 0.3), "quadrature"),
        _square_driven,
        _BOTH,
        "A noisy logistic map pushed by the squares of white noise: uncorrelated with it.",
    ),
    _transfer_task(
        "map-drives-map",
        label_information(
            (0.5, 0.5),
            lambda s: normal_density(s, np.array([0.0, 0.6]), np.full(2, 0.2)),
            -2.0,
            2.6,
        ),
        _symbol_driven,
        _BOTH,
        "A chaotic logistic map that pushes a noisy one whenever it is above 1/2.",
    ),
    _transfer_task(
        "map-drives-bits",
        Truth(math.log(2) - binary_entropy(0.1)),
        _symbol_flipped,
        ("continuous", "discrete"),
        "A chaotic logistic map that mostly flips a bit whenever it is above 1/2.",
    ),
)

# Dependent samples -------------------------------------------------------------------------------


def _slow_pair(memory: float, other: float, r: float) -> Autoregression:
    """Return two processes with memories, whose shocks are correlated r."""
    return Autoregression(np.diag([memory, other])[None], np.array([[1.0, r], [r, 1.0]]))


def _slow_task(name: str, memory: float, other: float, r: float, about: str) -> SampleTask:
    # Correlation of the stationary pair, by summing its shocks.
    rho = r * math.sqrt((1 - memory**2) * (1 - other**2)) / (1 - memory * other)
    sampler = partial(_split, _slow_pair(memory, other, r), (0,), (1,))
    return SampleTask(
        name, "time series", Truth(-0.5 * math.log1p(-(rho**2))), sampler, about=about
    )


_SLOW = (
    _slow_task("slow-pair", 0.9, 0.8, 0.7, "Two autocorrelated series, dependent at each instant."),
    _slow_task(
        "slow-strangers", 0.9, 0.9, 0.0, "Two autocorrelated series that have nothing in common."
    ),
)

TASKS: tuple[SampleTask, ...] = _NORMAL + _SYMBOLS + _MAPS + _SLOW
