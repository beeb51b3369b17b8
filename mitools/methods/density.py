"""Continuous variables: entropies of a kernel density estimate."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from mitools._typing import FloatArray, Sense
from mitools.methods._neighbors import scaled, weights

_BLOCK = 2**22


@dataclass(frozen=True)
class KernelDensity:
    """Entropies under Gaussian kernels, every sample left out of its own density [1]_.

    The kernel has the covariance of the data times h^2, with h = bandwidth * n^(-1/(d + 4))::

        H(X)    = -(1/n) sum_i log [ 1/(n - 1) sum_{j != i} N(x_i; x_j, h^2 S) ]
        I(X; Y) = H(X) + H(Y) - H(X, Y)

    Each entropy is a cross-entropy, hence too large on average, more so in more dimensions, so
    mutual information is mostly too small. Not for heavy tails, nor for more than about five
    dimensions. O(n^2) time.

    Parameters
    ----------
    bandwidth : float
        Factor before Scott's rule; 1 is the rule for Gaussian data.

    References
    ----------
    .. [1] Moon, Rajagopalan and Lall, Phys. Rev. E 52, 2318 (1995).
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence"})
    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.bandwidth < math.inf:
            raise ValueError(f"bandwidth must be positive and finite; got {self.bandwidth!r}.")

    def entropy(self, x: FloatArray) -> float:
        """H(X) in nats; -inf where a column is constant."""
        if (x == x[0]).all(axis=0).any():
            return -math.inf
        return self._standard_entropy(x) - math.fsum(np.log(weights(x)))

    def _standard_entropy(self, x: FloatArray) -> float:
        """Return H(X) in units of about the standard deviation of each column."""
        n, d = x.shape
        if n <= d + 1:
            raise ValueError(
                f"KernelDensity needs more samples than columns plus one; got n={n} samples with "
                f"{d} columns. Use more samples or fewer columns."
            )
        white, log_volume = _whitened(scaled(x, "std"))
        h = self.bandwidth * n ** (-1.0 / (d + 4))
        log_norm = d / 2 * math.log(2 * math.pi) + d * math.log(h) + math.log(n - 1)
        mean = math.fsum(_log_kernel_sums(white / h)) / n
        return log_norm + log_volume - mean

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats; constant columns carry none."""
        return self.multi_information((x, y))

    def multi_information(self, variables: tuple[FloatArray, ...]) -> float:
        """I(X1; ...; Xm) in nats; constant columns carry none."""
        varying = [rows[:, (rows != rows[0]).any(axis=0)] for rows in variables]
        varying = [rows for rows in varying if rows.shape[1]]
        if len(varying) < 2:
            return 0.0
        whole = self._standard_entropy(np.hstack(varying))
        return math.fsum(map(self._standard_entropy, varying)) - whole


def _whitened(rows: FloatArray) -> tuple[FloatArray, float]:
    """Return rows of unit covariance, and the log-determinant of the map that makes them."""
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        factor = np.zeros_like(covariance)
    diagonal = np.diag(factor)
    if diagonal.min() <= 1e-7:  # squared, about the rounding of a correlation
        raise ValueError(
            "KernelDensity needs columns that do not determine each other; got columns of which "
            "one is a linear function of others. Drop it."
        )
    return solve_triangular(factor, rows.T, lower=True).T, math.fsum(np.log(diagonal))


def _log_kernel_sums(points: FloatArray) -> FloatArray:
    """Return log sum_{j != i} exp(-|p_i - p_j|^2 / 2), block by block."""
    n = len(points)
    sums = np.empty(n)
    step = max(1, _BLOCK // n)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        exponents = cdist(points[rows], points, "sqeuclidean") / -2.0
        exponents[rows - start, rows] = -np.inf
        sums[rows] = logsumexp(exponents, axis=1)
    return sums
