"""What forecasts of y say about I(X; Y): against y's own entropy, or against each other."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from mitools._typing import FloatArray, IntArray
from mitools.methods._symbols import Symbols

RIVALS = 2_000
"""Forecasts at most that a sample is set against: pairs cost time and memory."""
_LOG_2PI = math.log(2.0 * math.pi)
_LEAST = 1e-300  # of which the reciprocal is a number
_DETERMINED = 1e-13  # share of a residual variance that is rounding


@dataclass(frozen=True, eq=False)
class Normal:
    """Gaussian forecasts, one a row of means (m, d), with one covariance but for a factor each."""

    means: FloatArray
    whitening: FloatArray
    log_det: float
    log_factor: FloatArray

    @classmethod
    def like(cls, means: FloatArray, residual: FloatArray) -> Self:
        """Return forecasts that are as far off as these residuals, shape (r, d)."""
        largest = np.maximum(np.abs(residual).max(axis=0), np.finfo(np.float64).tiny)
        size = np.sqrt(np.mean((residual / largest) ** 2, axis=0)) * largest
        triangle = np.zeros((len(size), len(size)))
        if (size > _LEAST).all():
            unit = residual / size
            with suppress(np.linalg.LinAlgError):  # which leaves the zeros
                triangle = np.linalg.cholesky(unit.T @ unit / len(unit))
        if not (triangle.diagonal() ** 2 > _DETERMINED).all():
            raise ValueError(
                "y must not be predicted without error, hold columns that determine each other, or "
                "have as many columns as a fold has samples; the residuals have a singular "
                "covariance. I(X; Y) is infinite, or a column too many."
            )
        whitening = solve_triangular(triangle, np.eye(len(size)), lower=True) / size
        log_det = 2.0 * float(np.log(triangle.diagonal()).sum() + np.log(size).sum())
        return cls(means, whitening, log_det, np.zeros(len(means)))

    def losses(self, y: FloatArray) -> FloatArray:
        """Return -log q(y_i | x_i) in nats, shape (m,)."""
        d = y.shape[1]
        away = (((y - self.means) @ self.whitening.T) ** 2).sum(axis=1)
        spread = self.log_det + d * self.log_factor
        return (d * _LOG_2PI + spread + away * np.exp(-self.log_factor)) / 2

    def scores(self, y: FloatArray, rows: IntArray) -> FloatArray:
        """Return log q(y_i | x_j) for these rows, shape (r, r), up to what all have in common."""
        places, means = y[rows] @ self.whitening.T, self.means[rows] @ self.whitening.T
        away = cdist(places, means, "sqeuclidean") * np.exp(-self.log_factor[rows])
        return -(away + y.shape[1] * self.log_factor[rows]) / 2


@dataclass(frozen=True, eq=False)
class Contrast:
    """What forecasts set against each other say of each sample, in nats, shape (m,).

    The influence is the term, and what the sample does as a rival of others: of the same mean, and
    its spread gives the error of that.
    """

    terms: FloatArray
    influence: FloatArray


def contrast(scores: FloatArray) -> Contrast:
    """Return log q(y_i | x_i) - log mean_j q(y_i | x_j) from the scores log q(y_i | x_j)."""
    level: FloatArray = np.asarray(logsumexp(scores, axis=1))
    terms = scores.diagonal() - level + math.log(len(scores))
    return Contrast(terms, terms + 1.0 - np.exp(scores - level[:, None]).sum(axis=0))


def groups(m: int) -> list[IntArray]:
    """Return m rows in groups of at most `RIVALS`, spread evenly: neighbours may be alike."""
    count = -(-m // RIVALS)
    return [np.arange(first, m, count) for first in range(count)]


def of_labels(label: Symbols) -> FloatArray:
    """Return -log of the frequency of each sample's symbol: their mean is the plug-in entropy."""
    return math.log(len(label.codes)) - np.log(label.counts[label.codes])
