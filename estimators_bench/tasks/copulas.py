"""Dependence that is no Gaussian's: copulas and a law of heavy tails that share one scale.

Nelsen, An Introduction to Copulas, 2nd ed., Springer (2006), defines the copulas.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import exp1, gammaln, psi

from estimators_bench.tasks.distributions import Pair
from estimators_bench.tasks.kinds import Truth
from mitools._typing import FloatArray


@dataclass(frozen=True)
class Lomax:
    """Exponentials over one shared gamma(alpha): positive, with tails of power alpha.

    The density of k coordinates is Gamma(alpha + k) / Gamma(alpha) * s^-(alpha + k) with s one
    plus their sum, and E log s = psi(alpha + k) - psi(alpha), so each entropy has a closed form.
    For one coordinate on each side, a = 1 / theta, this is the Clayton copula:
    I = log(1 + theta) - theta / (1 + theta).
    """

    dim_x: int
    dim_y: int
    alpha: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        x, y = self._entropy(self.dim_x), self._entropy(self.dim_y)
        return Truth(x + y - self._entropy(self.dim_x + self.dim_y))

    def _entropy(self, k: int) -> float:
        a = self.alpha
        return float(gammaln(a) - gammaln(a + k) + (a + k) * (psi(a + k) - psi(a)))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        z = rng.standard_exponential((n, self.dim_x + self.dim_y))
        z /= rng.standard_gamma(self.alpha, (n, 1))
        return z[:, : self.dim_x], z[:, self.dim_x :]


@dataclass(frozen=True)
class Gumbel:
    """The Gumbel copula: uniform margins whose large values come together; theta > 1.

    With x = -log u, y = -log v and w = (x^theta + y^theta)^(1/theta), the law of (x, y) is
    exp(-w) (xy)^(theta-1) w^(1-2 theta) (w + theta - 1). The share (x / w)^theta is uniform and
    independent of w, which is gamma(2) with probability 1 / theta and else gamma(1); hence, with
    Euler's gamma and b = theta - 1,
    I = gamma - 1 + log b + (1 + exp(b) E1(b)) / theta.
    """

    theta: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        b = self.theta - 1
        tail = (1 + math.exp(b) * float(exp1(b))) / self.theta
        return Truth(np.euler_gamma - 1 + math.log(b) + tail)

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        share = rng.uniform(size=(n, 1))
        w = rng.standard_gamma(np.where(rng.uniform(size=(n, 1)) < 1 / self.theta, 2.0, 1.0))
        power = 1 / self.theta
        return np.exp(-w * share**power), np.exp(-w * (1 - share) ** power)


@dataclass(frozen=True)
class Frank:
    """The Frank copula: uniform margins, dependence alike in both tails and weak there."""

    theta: float

    @property
    def information(self) -> Truth:
        """I(X; Y), the integral of c log c over the unit square by Gauss and Legendre."""
        nodes, weights = np.polynomial.legendre.leggauss(100)
        u, w = (nodes + 1) / 2, weights / 2
        density = self._density(u[:, None], u)
        return Truth(float(w @ (density * np.log(density)) @ w), "quadrature")

    def _density(self, u: FloatArray, v: FloatArray) -> FloatArray:
        t, whole = self.theta, -math.expm1(-self.theta)
        below = whole - np.expm1(-t * u) * np.expm1(-t * v)
        return t * whole * np.exp(-t * (u + v)) / below**2

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        u, t = rng.uniform(size=(n, 1)), rng.uniform(size=(n, 1))
        odds = t / (t + (1 - t) * np.exp(-self.theta * u))
        return u, -np.log1p(odds * math.expm1(-self.theta)) / self.theta


@dataclass(frozen=True)
class FarlieGumbelMorgenstern:
    """The copula of density 1 + theta (1 - 2u)(1 - 2v), |theta| <= 1: weak dependence.

    Expanding (1 + t) log(1 + t), I = sum over k >= 1 of
    theta^(2k) / (2k (2k - 1) (2k + 1)^2), at most .0600.
    """

    theta: float

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        even = 2.0 * np.arange(1, 20_001)
        terms = self.theta**even / (even * (even - 1) * (even + 1) ** 2)
        return Truth(float(np.sum(terms)))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        u, t = rng.uniform(size=(n, 1)), rng.uniform(size=(n, 1))
        tilt = 1 + self.theta * (1 - 2 * u)
        return u, 2 * t / (tilt + np.sqrt(tilt**2 - 4 * (tilt - 1) * t))
