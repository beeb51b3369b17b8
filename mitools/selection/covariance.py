"""Gaussian features: what each adds, by downdates of the inverse covariance, and exact tests."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.special import digamma
from scipy.stats import f as f_law

from mitools._typing import FloatArray, IntArray
from mitools.selection.significance import Finding

# Share of a column's variance below which it is a linear function of others, up to rounding.
_DEPENDENT = 1e-9
# Share of a target's variance that is never taken as explained, so that phi stays finite.
_FLOOR = 1e-12


class CovarianceWalk:
    """A walk in closed form; O(d^2 + t^3) a step after O(n d^2 + d^3).

    With G the covariance of the features left, P its inverse, B = P cov(X, T) and R the covariance
    of the targets' residuals::

        phi(i) = 1/2 log(1 + q),  q = b(i)' R^-1 b(i) / P(i, i)

    1/(1 + q) is Wilks' lambda of b(i) = 0, so with s features and t targets
    q (n - s - t) / t has the law F(t, n - s - t) if it is 0. Dropping i::

        R += b(i) b(i)' / P(i, i),   B -= p(i) b(i)' / P(i, i),   P -= p(i) p(i)' / P(i, i)

    A feature that is a linear function of others has phi 0 and no part in P. Which ones these are,
    the order decides: dropped at their turn, they leave the independent features that come last.

    Parameters
    ----------
    features : (n, d) float
        X.
    target : (n, t) float
        T.
    order : sequence of int
        In which to visit.
    correction : bool
        Whether phi is freed of its bias.
    """

    def __init__(
        self, features: FloatArray, target: FloatArray, order: Sequence[int], correction: bool
    ) -> None:
        n = len(features)
        x, t = _standard(features), _standard(target)
        t = t[:, independent(t.T @ t / n, range(t.shape[1]))]
        gram = x.T @ x / n
        kept = independent(gram, order[::-1])
        _check_enough(n, len(kept), t.shape[1])
        self._n, self._order, self._correction = n, order, correction
        self._place = {int(i): place for place, i in enumerate(kept)}
        self._left = np.ones(len(kept), bool)
        self._turn = 0
        factor = np.linalg.cholesky(gram[np.ix_(kept, kept)])
        half = solve_triangular(factor, np.eye(len(kept)), lower=True)
        shadow = half @ (x[:, kept].T @ t / n)
        self._p, self._b = half.T @ half, half.T @ shadow
        self._r = t.T @ t / n - shadow.T @ shadow + _FLOOR * np.eye(t.shape[1])
        self._factor = cho_factor(self._r)

    def find(self) -> Finding:
        """Try the feature whose turn it is."""
        i = self._place.get(self._order[self._turn])
        if i is None:
            return Finding(0.0, 1.0)
        b, s, t = self._b[i], int(self._left.sum()), len(self._r)
        q = float(b @ cho_solve(self._factor, b)) / float(self._p[i, i])
        rest = self._n - s - t
        phi = math.log1p(q) / 2 - (self._bias(s, t) if self._correction else 0.0)
        return Finding(phi, float(f_law.sf(q * rest / t, t, rest)))

    def settle(self, kept: bool) -> None:
        """Keep or drop it, and go on to the next."""
        i = self._place.get(self._order[self._turn])
        self._turn += 1
        if kept or i is None:
            return
        column, b, size = self._p[:, i].copy(), self._b[i].copy(), self._p[i, i]
        self._r += np.outer(b, b / size)
        self._b -= np.outer(column / size, b)
        self._p -= np.outer(column / size, column)
        self._left[i] = False
        self._factor = cho_factor(self._r)

    def _bias(self, s: int, t: int) -> float:
        """Return the mean of phi where it is 0; see `mitools.methods.Gaussian`."""
        return float(digamma((self._n - s) / 2) - digamma((self._n - s - t) / 2)) / 2


def independent(gram: FloatArray, order: Sequence[int]) -> IntArray:
    """Return the columns that are no linear function of those before them in the order."""
    found: list[int] = []
    rows = np.zeros_like(gram)  # Cholesky factor of those found
    for i in order:
        k = len(found)
        row = solve_triangular(rows[:k, :k], gram[found, i], lower=True) if k else np.zeros(0)
        rest = gram[i, i] - row @ row
        if rest > _DEPENDENT * gram[i, i]:
            rows[k, :k], rows[k, k] = row, math.sqrt(rest)
            found.append(int(i))
    return np.array(found, np.int64)


def _standard(rows: FloatArray) -> FloatArray:
    centred = rows - rows.mean(axis=0)
    return centred / np.sqrt((centred**2).mean(axis=0))


def _check_enough(n: int, d: int, t: int) -> None:
    if n <= d + t:
        raise ValueError(
            f"features and target must have fewer independent columns than rows for a Gaussian "
            f"method; got {d} and {t} columns in {n} rows. Use more samples, or fewer features: "
            "top(...) takes the most informative ones."
        )
