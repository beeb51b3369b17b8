"""Nonlinear dependence: noise around a curve, noise of random scale, directions."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from scipy.special import ive, k0

from estimators_bench.tasks.distributions import Pair
from estimators_bench.tasks.kinds import Truth
from mitools._typing import FloatArray

_NOISE_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of a standard normal


class Curve(Protocol):
    """A smooth function on (-1, 1) with values in [-1, 1]."""

    def __call__(self, t: FloatArray) -> FloatArray:
        """Return its values."""
        ...


@dataclass(frozen=True)
class Sine:
    """sin(2 pi waves t)."""

    waves: float

    def __call__(self, t: FloatArray) -> FloatArray:
        """Return its values."""
        return np.sin(2 * math.pi * self.waves * t)


@dataclass(frozen=True)
class Square:
    """t^2."""

    def __call__(self, t: FloatArray) -> FloatArray:
        """Return its values."""
        return t**2


@dataclass(frozen=True)
class NoisyCurve:
    """X uniform on (-1, 1), Y = curve(X) + noise * a standard normal.

    I = h(Y) - h(noise), the density of Y being the mean of the noise's over the curve. That mean
    is taken by Gauss and Legendre's rule, h(Y) by the trapezoidal one.
    """

    curve: Curve
    noise: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        nodes, weights = np.polynomial.legendre.leggauss(400)
        y, step = np.linspace(-1 - 9 * self.noise, 1 + 9 * self.noise, 801, retstep=True)
        z = (y[:, None] - self.curve(nodes)) / self.noise
        density = np.exp(-(z**2) / 2) @ weights / (2 * self.noise * math.sqrt(2 * math.pi))
        density = np.maximum(density, np.finfo(float).tiny)
        entropy = -float(step) * float(np.sum(density * np.log(density)))
        return Truth(entropy - _NOISE_ENTROPY - math.log(self.noise), "quadrature")

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        x = rng.uniform(-1, 1, (n, 1))
        return x, self.curve(x) + self.noise * rng.standard_normal((n, 1))


@dataclass(frozen=True)
class RandomScale:
    """X standard normal, Y = X times another: uncorrelated, X only sets how wide Y spreads.

    Y has density K0(|y|) / pi, and given X the entropy of the normal plus log|X|, whose mean is
    -(gamma + log 2) / 2. The entropy of Y is integrated over s = log|y|.
    """

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        s, step = np.linspace(-40.0, 5.0, 20_001, retstep=True)
        density = np.maximum(k0(np.exp(s)) / math.pi, np.finfo(float).tiny)
        entropy = -2 * float(step) * float(np.sum(np.exp(s) * density * np.log(density)))
        given_x = _NOISE_ENTROPY - (np.euler_gamma + math.log(2)) / 2
        return Truth(entropy - given_x, "quadrature")

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        x = rng.standard_normal((n, 1))
        return x, x * rng.standard_normal((n, 1))


@dataclass(frozen=True)
class VonMises:
    """Angles: X uniform on (0, 2 pi), Y around X by von Mises' law of concentration kappa.

    I = kappa A - log I0(kappa) with A = I1(kappa) / I0(kappa). Mardia, Jupp, Directional
    Statistics, Wiley (2000), section 3.5.4.
    """

    kappa: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        flat, k = float(ive(0, self.kappa)), self.kappa
        return Truth(k * float(ive(1, k)) / flat - math.log(flat) - k)

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1), in [0, 2 pi)."""
        x = rng.uniform(0, 2 * math.pi, (n, 1))
        return x, np.mod(x + rng.vonmises(0, self.kappa, (n, 1)), 2 * math.pi)


@dataclass(frozen=True)
class VonMisesFisher:
    """Points of the unit sphere: X uniform, Y around X with concentration kappa.

    I = kappa coth(kappa) - 1 - log(sinh(kappa) / kappa). Mardia, Jupp, section 9.3.2; the cosine
    w of the angle between them has density proportional to exp(kappa w) on (-1, 1).
    """

    kappa: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        k = self.kappa
        log_sinh = k + math.log(-math.expm1(-2 * k) / 2)
        return Truth(k / math.tanh(k) - 1 - log_sinh + math.log(k))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 3) and y (n, 3), of length 1."""
        x = _unit(rng.standard_normal((n, 3)))
        u = rng.uniform(size=(n, 1))
        w = 1 + np.log(u + (1 - u) * math.exp(-2 * self.kappa)) / self.kappa
        aside = rng.standard_normal((n, 3))
        aside -= np.sum(aside * x, axis=1, keepdims=True) * x
        return x, w * x + np.sqrt(np.maximum(0, 1 - w**2)) * _unit(aside)


def _unit(a: FloatArray) -> FloatArray:
    return a / np.linalg.norm(a, axis=1, keepdims=True)
