"""Joint distributions whose mutual information is known, to be drawn from.

Each is a frozen value: ``draw(n, rng)`` returns n samples of X and of Y as rows, ``information``
is what they say about each other. Those of other shapes are in `estimators_bench.tasks.shapes`
and `estimators_bench.tasks.copulas`; maps that leave the information alone are in
`estimators_bench.tasks.maps`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from scipy.special import gammaln, psi

from estimators_bench.tasks.kinds import Truth
from mitools._typing import FloatArray

Pair = tuple[FloatArray, FloatArray]


class Distribution(Protocol):
    """A law of (X, Y) that can be drawn from and knows its mutual information."""

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        ...

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        ...


@dataclass(frozen=True)
class NormalPairs:
    """Standard normal coordinates; X_i and Y_i correlate by `correlations[i]`, all else by 0.

    Every Gaussian is a linear image of one of these: the correlations are its canonical ones.
    I = -1/2 sum_i log(1 - rho_i^2).
    """

    dim_x: int
    dim_y: int
    correlations: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        rows = min(self.dim_x, self.dim_y)
        if len(self.correlations) > rows or any(abs(r) >= 1 for r in self.correlations):
            raise ValueError(
                f"correlations must be at most {rows} numbers strictly between -1 and 1, one a "
                f"pair of columns; got {self.correlations}"
            )

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        return Truth(0.5 * sum(-math.log1p(-(r**2)) for r in self.correlations))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        x, y = rng.standard_normal((n, self.dim_x)), rng.standard_normal((n, self.dim_y))
        paired = len(self.correlations)
        rho = np.array(self.correlations)
        y[:, :paired] = rho * x[:, :paired] + np.sqrt(1 - rho**2) * y[:, :paired]
        return x, y


@dataclass(frozen=True)
class DenseNormal:
    """Standard normal coordinates, every two of them correlated by the same rho >= 0.

    With L(d) = (d - 1) log(1 - rho) + log(1 + (d - 1) rho), the log determinant of d of them,
    I = (L(dim_x) + L(dim_y) - L(dim_x + dim_y)) / 2.
    """

    dim_x: int
    dim_y: int
    correlation: float

    def __post_init__(self) -> None:
        if not 0 <= self.correlation < 1:
            raise ValueError(
                f"correlation must be in [0, 1), as all pairs share it; got {self.correlation}"
            )

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        both = self._log_det(self.dim_x + self.dim_y)
        return Truth(0.5 * (self._log_det(self.dim_x) + self._log_det(self.dim_y) - both))

    def _log_det(self, d: int) -> float:
        rho = self.correlation
        return (d - 1) * math.log1p(-rho) + math.log1p((d - 1) * rho)

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        shared, own = math.sqrt(self.correlation), math.sqrt(1 - self.correlation)
        z = own * rng.standard_normal((n, self.dim_x + self.dim_y))
        z += shared * rng.standard_normal((n, 1))
        return z[:, : self.dim_x], z[:, self.dim_x :]


@dataclass(frozen=True)
class Normal:
    """Centred Gaussian with the covariance given, of which the first `dim_x` columns are X."""

    covariance: tuple[tuple[float, ...], ...]
    dim_x: int

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        whole, d = np.array(self.covariance), self.dim_x
        parts = (whole[:d, :d], whole[d:, d:], whole)
        x, y, both = (float(np.linalg.slogdet(part)[1]) for part in parts)
        return Truth(0.5 * (x + y - both))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        root = np.linalg.cholesky(np.array(self.covariance))
        z = rng.standard_normal((n, len(root))) @ root.T
        return z[:, : self.dim_x], z[:, self.dim_x :]


@dataclass(frozen=True)
class Student:
    """Multivariate Student: a Gaussian over the root of one shared chi-square(nu) / nu.

    X and Y depend even where the Gaussian's do not, as they share the scale. With `h(k)` the
    entropy in k dimensions with identity dispersion, I = I(normal) + h(dim_x) + h(dim_y) -
    h(dim_x + dim_y). Arellano-Valle, Contreras-Reyes, Genton, Scand. J. Stat. 40, 42 (2013),
    eq. 7.
    """

    normal: NormalPairs | DenseNormal | Normal
    nu: float

    def __post_init__(self) -> None:
        if not self.nu > 0:
            raise ValueError(f"nu, the degrees of freedom, must be positive; got {self.nu}")

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        x, y = (part.shape[1] for part in self.normal.draw(0, np.random.default_rng(0)))
        shared = self._entropy(x) + self._entropy(y) - self._entropy(x + y)
        return Truth(self.normal.information.nats + shared)

    def _entropy(self, k: int) -> float:
        half, whole = self.nu / 2, (self.nu + k) / 2
        volume = gammaln(half) - gammaln(whole) + k / 2 * math.log(self.nu * math.pi)
        return float(volume + whole * (psi(whole) - psi(half)))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, dim_x) and y (n, dim_y)."""
        x, y = self.normal.draw(n, rng)
        scale = np.sqrt(self.nu / rng.chisquare(self.nu, (n, 1)))
        return x * scale, y * scale


@dataclass(frozen=True)
class AdditiveUniform:
    """X uniform on (0, 1), Y = X + uniform noise on (-epsilon, epsilon).

    I = epsilon - log(2 epsilon) for epsilon <= 1/2, and 1 / (4 epsilon) above.
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(
                f"epsilon, half the width of the noise, must be positive; got {self.epsilon}"
            )

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        e = self.epsilon
        return Truth(e - math.log(2 * e) if e <= 0.5 else 1 / (4 * e))

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, 1) and y (n, 1)."""
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-self.epsilon, self.epsilon, (n, 1))


@dataclass(frozen=True)
class Together:
    """Independent distributions side by side: columns are joined and information adds up."""

    parts: tuple[Distribution, ...]

    @property
    def information(self) -> Truth:
        """I(X; Y)."""
        truths = [part.information for part in self.parts]
        sources = dict.fromkeys(truth.source for truth in truths)
        error = math.hypot(*(truth.error for truth in truths))
        return Truth(sum(truth.nats for truth in truths), ", ".join(sources), error)

    def draw(self, n: int, rng: Generator) -> Pair:
        """Return x (n, sum of dim_x) and y (n, sum of dim_y)."""
        x, y = zip(*(part.draw(n, rng) for part in self.parts), strict=True)
        return np.hstack(x), np.hstack(y)
