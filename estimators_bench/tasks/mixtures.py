"""Mixtures of Gaussians, whose information is known by Monte Carlo.

After Czyż, Grabowski, Vogt, Beerenwinkel, Marx, "On the Properties and Estimation of Pointwise
Mutual Information Profiles", TMLR (2025), arXiv:2310.10240.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import logsumexp

from estimators_bench.tasks.distributions import Pair
from estimators_bench.tasks.kinds import Truth
from mitools._typing import FloatArray

Vector = tuple[float, ...]


@dataclass(frozen=True)
class NormalMixture:
    """Several Gaussians, one of which is chosen for each sample.

    Parameters
    ----------
    weights : tuple of float
        Their probabilities.
    means, covariances : tuples, one entry a Gaussian
        Over all columns; the first `dim_x` are X.
    information : Truth
        I(X; Y) = E log p(x, y) / (p(x) p(y)), averaged over many samples of the mixture by
        ``python -m estimators_bench.tasks.monte_carlo``, which prints it anew.
    """

    weights: Vector
    means: tuple[Vector, ...]
    covariances: tuple[tuple[Vector, ...], ...]
    dim_x: int
    information: Truth

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        which = rng.choice(len(self.weights), size=n, p=np.array(self.weights))
        z = rng.standard_normal((n, len(self.means[0])))
        for i, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            chosen = which == i
            z[chosen] = mean + z[chosen] @ np.linalg.cholesky(np.array(covariance)).T
        return z[:, : self.dim_x], z[:, self.dim_x :]

    def pointwise(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return log p(x, y) / (p(x) p(y)) of each row: its mean is the information."""
        d, both = self.dim_x, np.hstack([x, y])
        joint = self._log_density(both, slice(None))
        return joint - self._log_density(x, slice(d)) - self._log_density(y, slice(d, None))

    def _log_density(self, z: FloatArray, columns: slice) -> FloatArray:
        terms: list[FloatArray] = []
        for w, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            root = np.linalg.cholesky(np.array(covariance)[columns, columns])
            white = np.linalg.solve(root, (z - np.array(mean)[columns]).T)
            scale = np.log(w) - np.sum(np.log(np.diag(root))) - len(root) / 2 * np.log(2 * np.pi)
            terms.append(scale - np.sum(white**2, axis=0) / 2)
        return np.asarray(logsumexp(terms, axis=0))


def correlated(rho: float, scale: float = 1.0) -> tuple[Vector, ...]:
    """Return the covariance of two columns of the scale given that correlate by rho."""
    return ((scale**2, rho * scale**2), (rho * scale**2, scale**2))


def spherical(d: int, scale: float) -> tuple[Vector, ...]:
    """Return the covariance of d independent columns of the scale given."""
    return tuple(map(tuple, (scale**2 * np.eye(d)).tolist()))
