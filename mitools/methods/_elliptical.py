"""Elliptical copulas fitted to ranks: Gaussian and Student's t, and their log density ratios."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.special import digamma, gammaln
from scipy.stats import norm, rankdata
from scipy.stats import t as student

from mitools._typing import FloatArray, IntArray
from mitools.methods.gaussian import Gaussian

_STEPS = 5  # of the expectation-maximisation that finds a dispersion
_HEAVIEST = 0.8  # degrees of freedom
_RIVALS = 500
_GAIN = 2.0  # standard errors by which Student's t must do better than the Gaussian


def ranked(rows: FloatArray) -> FloatArray:
    """Return the ranks of each column, without columns that follow linearly from the others."""
    ranks = rankdata(rows, axis=0)
    scores = _scores(ranks, math.inf)
    found: Any = qr(scores, mode="r", pivoting=True)
    size, order = np.abs(np.diag(found[0])), found[1]
    kept = np.sort(order[: len(size)][size > 1e-7 * math.sqrt(len(rows))])
    return ranks[:, kept]


def _scores(ranks: FloatArray, nu: float) -> FloatArray:
    """Return quantiles of Student's t, normal for infinite nu, at rank / (n + 1)."""
    n = len(ranks)
    grid = np.arange(2, 2 * n + 1) / (2.0 * (n + 1))  # mean ranks are whole or half
    table = norm.ppf(grid) if math.isinf(nu) else student.ppf(grid, nu)
    return table[np.rint(2.0 * ranks).astype(np.int64) - 2]


def normal(ranks: FloatArray) -> FloatArray:
    """Return the normal scores of ranks."""
    return np.ascontiguousarray(_scores(ranks, math.inf))


@dataclass(frozen=True, eq=False)
class Elliptical:
    """An elliptical copula in canonical coordinates, which are correlated in pairs only.

    Parameters
    ----------
    left, right : float arrays, shapes (n, p), (n, q)
        Coordinates of x and of y, of unit dispersion.
    rho : float array, shape (min(p, q),)
        Canonical correlations, shrunk to their information's unbiased estimate.
    nu : float
        Degrees of freedom; infinite for the Gaussian.
    """

    left: FloatArray
    right: FloatArray
    rho: FloatArray
    nu: float

    @property
    def name(self) -> str:
        """What it is called."""
        return "Gaussian copula" if math.isinf(self.nu) else f"t copula, nu={self.nu:.3g}"

    @property
    def nats(self) -> float:
        """I(X; Y) of the copula."""
        p, q = self.left.shape[1], self.right.shape[1]
        if self.rho[0] == 1.0:
            return math.inf
        gaussian = -float(np.log1p(-(self.rho**2)).sum()) / 2
        if math.isinf(self.nu):
            return gaussian
        return gaussian + _entropy(self.nu, p) + _entropy(self.nu, q) - _entropy(self.nu, p + q)

    def pairs(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the log density ratio of x_i and y_j, shape (m,), for m of either."""
        inner = np.einsum("mk,mk->m", self._heads[0][i], self._heads[1][j])
        return self._ratio(inner, i, j)

    def matrix(self, i: IntArray, j: IntArray) -> FloatArray:
        """Return the log density ratio of every x_i and every y_j, shape (len(i), len(j))."""
        inner = self._heads[0][i] @ self._heads[1][j].T
        return self._ratio(inner, i[:, None], j[None])

    def _ratio(self, inner: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
        (own_x, whole_x), (own_y, whole_y) = self._squares
        log_det = float(np.log1p(-(self.rho**2)).sum())
        if math.isinf(self.nu):
            return inner - (log_det + (whole_x - own_x)[i] + (whole_y - own_y)[j]) / 2
        nu, p, q = self.nu, self.left.shape[1], self.right.shape[1]
        level = gammaln([(nu + p + q) / 2, nu / 2]).sum()
        level -= gammaln([(nu + p) / 2, (nu + q) / 2]).sum() + log_det / 2
        alone_x, alone_y = (
            ((nu + p) / 2 * np.log1p(own_x / nu))[i],
            ((nu + q) / 2 * np.log1p(own_y / nu))[j],
        )
        together = np.maximum(whole_x[i] + whole_y[j] - 2.0 * inner, 0.0)
        return level - (nu + p + q) / 2 * np.log1p(together / nu) + alone_x + alone_y

    @cached_property
    def _heads(self) -> tuple[FloatArray, FloatArray]:
        k = len(self.rho)
        return self.left[:, :k] * (self.rho / (1.0 - self.rho**2)), self.right[:, :k].copy()

    @cached_property
    def _squares(self) -> tuple[tuple[FloatArray, FloatArray], ...]:
        """Return squared lengths of x alone, and what x adds to that of both; the same of y."""
        k, more = len(self.rho), self.rho**2 / (1.0 - self.rho**2)
        own = [(v**2).sum(axis=1) for v in (self.left, self.right)]
        added = [(v[:, :k] ** 2) @ more for v in (self.left, self.right)]
        return tuple((o, o + a) for o, a in zip(own, added, strict=True))


def _entropy(nu: float, d: int) -> float:
    """H of Student's t of identity dispersion in d dimensions."""
    half = (nu + d) / 2
    spread = half * (digamma(half) - digamma(nu / 2))
    return float(gammaln(nu / 2) - gammaln(half) + d / 2 * math.log(nu * math.pi) + spread)


def fitted(x: FloatArray, y: FloatArray, nu: float = math.inf) -> Elliptical:
    """Return the elliptical copula of ranks x (n, p) and y (n, q) with these degrees of freedom."""
    n, p, q = len(x), x.shape[1], y.shape[1]
    left, right = _scores(x, nu), _scores(y, nu)
    dispersion = _dispersion(np.hstack((left, right)), nu)
    by_x, by_y = _whitening(dispersion[:p, :p]), _whitening(dispersion[p:, p:])
    turn_x, rho, turn_y = np.linalg.svd(by_x.T @ dispersion[:p, p:] @ by_y)
    rho = np.ones(1) if rho[0] > 1.0 - 1e-12 else _shrunk(rho, n, p, q)
    return Elliptical(left @ by_x @ turn_x, right @ by_y @ turn_y.T, rho, nu)


def _dispersion(scores: FloatArray, nu: float) -> FloatArray:
    """Return the correlation matrix that Student's t assigns to its quantiles."""
    d = scores.shape[1]
    found = np.corrcoef(scores if math.isinf(nu) else np.arcsinh(scores), rowvar=False)
    found = found.reshape(d, d)
    if math.isinf(nu):
        return found
    for _ in range(_STEPS):
        squares = (scores * np.linalg.solve(found, scores.T).T).sum(axis=1)
        weights = (nu + d) / (nu + squares)
        found = (scores * weights[:, None]).T @ scores
        units = np.sqrt(np.diag(found))
        found /= units[:, None] * units
    return found


def _whitening(dispersion: FloatArray) -> FloatArray:
    sizes, directions = np.linalg.eigh(dispersion)
    return directions / np.sqrt(np.maximum(sizes, 1e-12 * sizes[-1]))


def _shrunk(rho: FloatArray, n: int, p: int, q: int) -> FloatArray:
    """Return smaller correlations, whose information has the bias of the sample's removed."""
    one, two, both = (Gaussian()._bias(n, d) for d in (p, q, p + q))
    excess = (one + two - both) / 2
    aim = max(-float(np.log1p(-(rho**2)).sum()) / 2 - excess, 0.0)
    low, high = 0.0, 1.0
    for _ in range(50):  # bisection, of what is taken off all of them
        middle = (low + high) / 2
        left = np.maximum(0.0, (rho**2 - middle) / (1.0 - middle))
        low, high = (middle, high) if -np.log1p(-left).sum() / 2 > aim else (low, middle)
    return np.sqrt(np.maximum(0.0, (rho**2 - high) / (1.0 - high)))


def chosen(x: FloatArray, y: FloatArray, order: IntArray) -> Elliptical:
    """Return the elliptical copula whose ratio best tells partners from others.

    The score is that of `agreement`, not the likelihood: heavy tails that x and y have each on its
    own must not count as dependence.
    """
    blocks = np.array_split(order, max(1, len(order) // _RIVALS))
    tried: dict[float, tuple[Elliptical, NDArray[np.floating]]] = {}

    gaussian = fitted(x, y)
    if math.isinf(gaussian.nats):
        return gaussian

    def score(inverse: float) -> float:
        if inverse not in tried:
            found = fitted(x, y, 1.0 / inverse if inverse else math.inf)
            terms = [agreement(found.matrix(block, block)) for block in blocks]
            tried[inverse] = (found, np.concatenate(terms))
        return float(tried[inverse][1].mean())

    grid = [0.0, 0.05, 0.12, 0.25, 0.45, 0.7, 1.0, 1.0 / _HEAVIEST]
    best = 0
    while best + 1 < len(grid) and score(grid[best + 1]) > score(grid[best]):
        best += 1
    low, middle, high = (grid[min(max(best + i, 0), len(grid) - 1)] for i in (-1, 0, 1))
    for _ in range(3):  # halve the bracket around the best
        sides = [(low + middle) / 2, (middle + high) / 2]
        points = sorted({low, sides[0], middle, sides[1], high})
        middle = max(points, key=score)
        at = points.index(middle)
        low, high = points[max(at - 1, 0)], points[min(at + 1, len(points) - 1)]
    gain = tried[middle][1] - tried[0.0][1]
    sure = gain.mean() > _GAIN * gain.std() / math.sqrt(len(gain))
    return tried[middle if sure else 0.0][0]


def agreement(ratios: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how much better than chance each x finds its y, and back; nats, shape (m,).

    Entry (i, j) of the matrix is the log ratio of x_i and y_j. The mean is the average of two
    InfoNCE bounds, largest where the ratio is right up to functions of x alone or of y alone.
    """
    by_x, by_y = normalisers(ratios)
    return np.diagonal(ratios) - (by_x + by_y) / 2


def normalisers(
    ratios: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return log mean exp over the rows' entries, and over the columns'."""
    found = []
    for axis in (1, 0):
        top = ratios.max(axis=axis, keepdims=True)
        found.append(np.log(np.exp(ratios - top).mean(axis=axis)) + top.squeeze(axis))
    return found[0], found[1]
