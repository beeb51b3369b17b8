"""Tasks on which the method of choice was tuned: none of them is in the catalogue.

They differ from *Beyond Normal* in laws, dimensions, strengths and maps, so that what is reported
there was not tuned there.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from scipy.special import digamma, gammaln
from scipy.stats import norm
from scipy.stats import t as student

from estimators_bench.tasks.kinds import SampleTask, Truth
from mitools._typing import FloatArray

Law: TypeAlias = Callable[[int, Generator], tuple[FloatArray, ...]]
Map: TypeAlias = Callable[[FloatArray], FloatArray]

_FAMILY = "tuning"


def _pairs(rho: float, pairs: int, d: int, nu: float, n: int, rng: Generator):
    """Draw x and y (n, d): so many pairs of coordinates correlated; Student's if nu is finite."""
    x = rng.standard_normal((n, d))
    y = rng.standard_normal((n, d))
    y[:, :pairs] = rho * x[:, :pairs] + math.sqrt(1.0 - rho**2) * y[:, :pairs]
    if math.isfinite(nu):
        scale = np.sqrt(nu / rng.chisquare(nu, (n, 1)))
        x, y = x * scale, y * scale
    return x, y


def _factor(loading: float, a: int, b: int, n: int, rng: Generator):
    """Draw x (n, a), y (n, b): one common factor in all columns, which are of unit variance."""
    both = math.sqrt(1.0 - loading**2) * rng.standard_normal((n, a + b))
    both += loading * rng.standard_normal((n, 1))
    return both[:, :a], both[:, a:]


def _spectrum(d: int, n: int, rng: Generator):
    """Draw x and y (n, d) with canonical correlations .9, .9 * .8, ..., both mixed linearly."""
    rho = 0.9 * 0.8 ** np.arange(d)
    x, noise = rng.standard_normal((2, n, d))
    y = rho * x + np.sqrt(1.0 - rho**2) * noise
    fixed = np.random.default_rng(d)  # the same mixing in every draw
    return tuple(v @ (np.eye(d) + 0.5 * fixed.standard_normal((d, d))) for v in (x, y))


def gaussian_nats(rho: float, pairs: int = 1) -> float:
    """I(X; Y) of so many independent pairs with one correlation."""
    return -pairs / 2 * math.log1p(-(rho**2))


def student_nats(nu: float, a: int, b: int) -> float:
    """What Student's t in a and b dimensions adds to the Gaussian of the same dispersion."""
    return _entropy(nu, a) + _entropy(nu, b) - _entropy(nu, a + b)


def _entropy(nu: float, k: int) -> float:
    """H of a k-dimensional t of identity dispersion."""
    half = (nu + k) / 2
    spread = half * (digamma(half) - digamma(nu / 2))
    return float(gammaln(nu / 2) - gammaln(half) + k / 2 * math.log(nu * math.pi) + spread)


def _from_density(density: Callable[[FloatArray, FloatArray], FloatArray], reach: float) -> Truth:
    """Return I(X; Y) of a smooth density on (-reach, reach)^2, by the trapezoid rule."""
    grid = np.linspace(-reach, reach, 1201)
    joint = density(grid[:, None], grid[None])
    joint = joint / joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0.0
    return Truth(float((joint[some] * np.log(joint[some] / product[some])).sum()), "quadrature")


# ---- laws of one x and one y


def _additive(half_width: float, n: int, rng: Generator):
    x = rng.random((n, 1))
    return x, x + rng.uniform(-half_width, half_width, (n, 1))


def _additive_nats(half_width: float) -> float:
    if half_width > 0.5:
        return 1.0 / (4.0 * half_width)
    return half_width - math.log(2.0 * half_width)


def _clayton(theta: float, n: int, rng: Generator):
    u, w = rng.random((2, n, 1))
    v = (u**-theta * (w ** (-theta / (1.0 + theta)) - 1.0) + 1.0) ** (-1.0 / theta)
    return u, np.log(v)


def _clayton_nats(theta: float) -> float:
    """E log c, in closed form."""
    # log c = log(1 + theta) - (1 + theta) (log u + log v) - (2 + 1/theta) log s, where E log u = -1
    # and s = u^-theta + v^-theta - 1 = 1 + (two exponentials) / (a gamma of shape 1/theta).
    log_s = float(digamma(2.0 + 1.0 / theta) - digamma(1.0 / theta))
    return math.log1p(theta) + 2.0 * (1.0 + theta) - (2.0 + 1.0 / theta) * log_s


def _mixture_density(x: FloatArray, y: FloatArray) -> FloatArray:
    places = ((-2, 0), (0, 2), (2, 0), (0, -2))
    each = [norm.pdf(x, a, 0.6) * norm.pdf(y, b, 0.6) for a, b in places]
    return np.sum(each, axis=0)


def _mixture(n: int, rng: Generator):
    places = np.array([(-2, 0), (0, 2), (2, 0), (0, -2)], float)[rng.integers(0, 4, n)]
    both = places + 0.6 * rng.standard_normal((n, 2))
    return both[:, :1], both[:, 1:]


def _fan_density(x: FloatArray, y: FloatArray) -> FloatArray:
    return norm.pdf(x) * norm.pdf(y, 0.0, np.exp(x / 2))


def _fan(n: int, rng: Generator):
    """Draw y whose spread, not its middle, depends on x."""
    x = rng.standard_normal((n, 1))
    return x, np.exp(x / 2) * rng.standard_normal((n, 1))


def _wave_density(x: FloatArray, y: FloatArray) -> FloatArray:
    return norm.pdf(x) * norm.pdf(y, np.sin(3.0 * x), 0.4)


def _wave(n: int, rng: Generator):
    x = rng.standard_normal((n, 1))
    return x, np.sin(3.0 * x) + 0.4 * rng.standard_normal((n, 1))


def _among(law: Law, d: int, n: int, rng: Generator):
    """Draw from a law and append columns of noise until each variable has d."""
    return tuple(np.hstack((v, rng.standard_normal((n, d - v.shape[1])))) for v in law(n, rng))


# ---- bijections of one variable


def twirl(x: FloatArray, i: int, j: int, speed: float, period: float) -> FloatArray:
    """Turn coordinates i, j by an angle that swings with the norm of x."""
    radius = np.sqrt((x**2).mean(axis=1))
    angle = speed * np.sin(radius * 2.0 * math.pi / period)
    turned = x.copy()
    turned[:, i] = np.cos(angle) * x[:, i] - np.sin(angle) * x[:, j]
    turned[:, j] = np.sin(angle) * x[:, i] + np.cos(angle) * x[:, j]
    return turned


def vortex(x: FloatArray, speed: float) -> FloatArray:
    """Turn pairs of neighbouring coordinates by angles proportional to the norm of each pair."""
    turned = x.copy()
    for i in range(0, x.shape[1] - 1, 2):
        turned[:, [i, i + 1]] = twirl_pair(x[:, i], x[:, i + 1], speed)
    return turned


def twirl_pair(a: FloatArray, b: FloatArray, speed: float) -> FloatArray:
    """Turn points of a plane by an angle proportional to their radius."""
    angle = speed * np.hypot(a, b)
    turned = np.cos(angle) * a - np.sin(angle) * b, np.sin(angle) * a + np.cos(angle) * b
    return np.column_stack(turned)


def shear(x: FloatArray, size: float) -> FloatArray:
    """Move every coordinate but the first by a wave in the one before it."""
    moved = x.copy()
    moved[:, 1:] += size * np.sin(2.0 * x[:, :-1])
    return moved


def bend(x: FloatArray, size: float) -> FloatArray:
    """Move and stretch the first coordinates by functions of the others, then mix all linearly."""
    half = x.shape[1] // 2
    first, rest = x[:, :half], x[:, half : 2 * half]
    bent = x.copy()
    bent[:, :half] = first * np.exp(0.5 * np.tanh(rest)) + size * (rest**2 - 1.0)
    fixed = np.random.default_rng(x.shape[1])
    return bent @ np.linalg.qr(fixed.standard_normal((x.shape[1],) * 2))[0]


def _curve(x: FloatArray) -> FloatArray:
    """Lay a line out as a curve in three dimensions."""
    return np.hstack((np.sin(2.0 * x), np.cos(2.0 * x), 0.3 * x))


def _mapped(law: Law, f: Map, g: Map, n: int, rng: Generator):
    x, y = law(n, rng)
    return np.ascontiguousarray(f(x)), np.ascontiguousarray(g(y))


def _same(x: FloatArray) -> FloatArray:
    return x


def _task(name: str, truth: Truth | float, law: Law, f: Map = _same, g: Map = _same) -> SampleTask:
    if not isinstance(truth, Truth):
        truth = Truth(truth)
    sampler = partial(_mapped, law, f, g)
    dims = tuple(v.shape[1] for v in sampler(2, np.random.default_rng(0)))
    return SampleTask(f"tuning-{name}", _FAMILY, truth, sampler, dims)


def _gaussian(name: str, rho: float, pairs: int, d: int, f: Map = _same, g: Map = _same):
    law = partial(_pairs, rho, pairs, d, math.inf)
    return _task(f"{name}-{d}", gaussian_nats(rho, pairs), law, f, g)


def _student(name: str, nu: float, rho: float, d: int, f: Map = _same, g: Map = _same):
    nats = gaussian_nats(rho) + student_nats(nu, d, d)
    return _task(f"{name}-{d}-nu-{nu}", nats, partial(_pairs, rho, 1, d, nu), f, g)


def _factor_nats(loading: float, a: int, b: int) -> float:
    def log_det(k: int) -> float:
        return math.log1p((k - 1) * loading**2) + (k - 1) * math.log1p(-(loading**2))

    return (log_det(a) + log_det(b) - log_det(a + b)) / 2


def _logistic(x: FloatArray) -> FloatArray:
    return 1.0 / (1.0 + np.exp(-3.0 * x))


def _quintic(x: FloatArray) -> FloatArray:
    return x + 0.2 * x**5


def _independent(a: int, b: int, nu: float, n: int, rng: Generator):
    """Draw two multivariate Student variables that share nothing."""
    return tuple(
        rng.standard_normal((n, k)) * np.sqrt(nu / rng.chisquare(nu, (n, 1))) for k in (a, b)
    )


def _t_margins(nu: float, x: FloatArray) -> FloatArray:
    return student.ppf(norm.cdf(x), nu)


_MIXTURE = _from_density(_mixture_density, 6.5)
_FAN = _from_density(_fan_density, 12.0)
_WAVE = _from_density(_wave_density, 5.0)

TASKS: tuple[SampleTask, ...] = (
    # one column each
    _gaussian("exponentials", 0.5, 1, 1, np.exp, np.exp),
    _gaussian("weak", -0.3, 1, 1),
    _gaussian("very-strong", 0.999, 1, 1, _quintic),
    _task("independent-1", 0.0, partial(_independent, 1, 1, 1.5)),
    _task("additive-.25", _additive_nats(0.25), partial(_additive, 0.25)),
    _task("additive-2", _additive_nats(2.0), partial(_additive, 2.0)),
    _task("clayton", _clayton_nats(2.0), partial(_clayton, 2.0)),
    _task("mixture", _MIXTURE, _mixture),
    _task("fan", _FAN, _fan),
    _task("wave", _WAVE, _wave),
    _student("student", 1.5, 0.0, 1),
    _student("student-correlated", 4, 0.6, 1, _quintic),
    _task("curve", gaussian_nats(0.85), partial(_pairs, 0.85, 1, 1, math.inf), _curve),
    # a Gaussian copula, more columns
    _gaussian("pairs", 0.6, 2, 4, _logistic, _quintic),
    _task("factor-8", _factor_nats(0.6, 8, 8), partial(_factor, 0.6, 8, 8)),
    _task("factor-2-7", _factor_nats(0.8, 2, 7), partial(_factor, 0.8, 2, 7), _quintic),
    _task(
        "spectrum-16",
        -0.5 * float(np.log1p(-((0.9 * 0.8 ** np.arange(16)) ** 2)).sum()),
        partial(_spectrum, 16),
    ),
    _gaussian("pairs", 0.7, 4, 16, partial(_t_margins, 2.0), _logistic),
    _gaussian("pairs", 0.5, 3, 30),
    _task("independent-4", 0.0, partial(_independent, 4, 4, 2.0)),
    _task("independent-16", 0.0, partial(_independent, 16, 16, 3.0)),
    # Student's t, more columns
    _student("student", 1.5, 0.0, 4),
    _student("student-correlated", 4, 0.6, 4, np.arcsinh, np.arcsinh),
    _student("student-correlated", 7, 0.5, 8),
    _student("student", 4, 0.0, 16, _quintic),
    # maps that mix columns
    _gaussian("vortex", 0.8, 1, 2, partial(vortex, speed=1.0), partial(vortex, speed=-0.7)),
    _gaussian("vortex", 0.7, 3, 4, partial(vortex, speed=0.8), partial(vortex, speed=0.6)),
    _gaussian("vortex", 0.75, 2, 8, partial(vortex, speed=0.6)),
    _gaussian(
        "twirl",
        0.75,
        2,
        4,
        partial(twirl, i=0, j=2, speed=1.5, period=3.0),
        partial(twirl, i=0, j=1, speed=-1.0, period=2.0),
    ),
    _gaussian("twirl", 0.8, 2, 16, partial(twirl, i=0, j=5, speed=2.0, period=1.5), _logistic),
    _gaussian("twirl", 0.8, 1, 30, partial(twirl, i=0, j=1, speed=2.0, period=1.0), _same),
    _gaussian("shear", 0.75, 2, 2, partial(shear, size=1.0), partial(shear, size=-0.8)),
    _gaussian("shear", 0.7, 3, 8, partial(shear, size=0.7)),
    _gaussian("bend", 0.75, 2, 4, partial(bend, size=0.5), partial(bend, size=0.4)),
    _gaussian("bend", 0.7, 3, 8, partial(bend, size=0.3), partial(bend, size=0.3)),
    _student("student-vortex", 4, 0.6, 4, partial(vortex, speed=0.5), np.arcsinh),
    # other laws among noise
    _task("mixture-3", _MIXTURE, partial(_among, _mixture, 3)),
    _task("fan-4", _FAN, partial(_among, _fan, 4)),
    _task("wave-6", _WAVE, partial(_among, _wave, 6), partial(bend, size=0.0)),
)
