"""Injective maps of one variable, which leave its information about any other unchanged.

Each is a frozen value that takes an (n, d) array and returns a new (n, d') array.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.fft import dct
from scipy.special import ndtr

from mitools._typing import FloatArray


class Map(Protocol):
    """An injective map of the rows of an array."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        ...


@dataclass(frozen=True)
class NormalCDF:
    """Phi on each coordinate: uniform margins, where those were standard normal."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return ndtr(a)


@dataclass(frozen=True)
class HalfCube:
    """t sqrt|t| on each coordinate: longer tails."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return a * np.sqrt(np.abs(a))


@dataclass(frozen=True)
class Asinh:
    """Inverse hyperbolic sine on each coordinate: a logarithm of either tail."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return np.arcsinh(a)


@dataclass(frozen=True)
class Wiggly:
    """t + sum of amplitude * sin(frequency * t + phase) on each coordinate; steeper than 0.

    Parameters
    ----------
    waves : tuple of (amplitude, frequency, phase)
        The products |amplitude * frequency| sum to less than 1, so that the map never falls.
    """

    waves: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        steepest = sum(abs(amplitude * f) for amplitude, f, _ in self.waves)
        if not steepest < 1:
            raise ValueError(
                "waves must have products of amplitude and frequency that sum to less than 1, or "
                f"the map may turn back; they sum to {steepest:g}. Lower the amplitudes."
            )

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return a + sum(amplitude * np.sin(f * a + phase) for amplitude, f, phase in self.waves)


@dataclass(frozen=True)
class MixtureQuantile:
    """Quantiles of a mixture of unit-variance normals, of coordinates in (0, 1)."""

    weights: tuple[float, ...]
    means: tuple[float, ...]

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row, by bisection to the last digits."""
        low = np.full_like(a, min(self.means) - 40.0)
        high = np.full_like(a, max(self.means) + 40.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = self._cdf(middle) < a
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return 0.5 * (low + high)

    def _cdf(self, t: FloatArray) -> FloatArray:
        parts = zip(self.weights, self.means, strict=True)
        return np.sum([w * ndtr(t - mean) for w, mean in parts], axis=0)


@dataclass(frozen=True)
class Spiral:
    """Turn each point in the plane of two coordinates by speed times its squared length.

    x -> exp(speed |x|^2 A) x with A the generator of that rotation. Lengths are kept, so the turn
    can be undone; the Jacobian is 1.
    """

    plane: tuple[int, int]
    speed: float

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        i, j = self.plane
        angle = self.speed * np.einsum("nd,nd->n", a, a)
        turned = a.copy()
        turned[:, i] = np.cos(angle) * a[:, i] - np.sin(angle) * a[:, j]
        turned[:, j] = np.sin(angle) * a[:, i] + np.cos(angle) * a[:, j]
        return turned


@dataclass(frozen=True)
class SwissRoll:
    """Roll up the first coordinate u in (0, 1): t = 3/2 pi (1 + 2u), (t cos t, t sin t) / 21.

    Further coordinates follow as they are, the height of the roll.
    """

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row, one column wider."""
        t = 1.5 * math.pi * (1 + 2 * a[:, :1])
        return np.hstack([t * np.cos(t) / 21, t * np.sin(t) / 21, a[:, 1:]])


@dataclass(frozen=True)
class Exp:
    """exp on each coordinate: log-normal, where those were normal."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return np.exp(a)


@dataclass(frozen=True)
class CauchyQuantile:
    """Quantiles of the Cauchy law, of coordinates in (0, 1): no moments."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return np.tan(math.pi * (a - 0.5))


@dataclass(frozen=True)
class LomaxSurvival:
    """(1 + t)^-alpha on each positive coordinate: uniform, where those were Lomax."""

    alpha: float

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return np.exp(-self.alpha * np.log1p(a))


@dataclass(frozen=True)
class Units:
    """Each column in a unit of its own, and from a zero point of its own."""

    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return a * np.array(self.scales) + np.array(self.offsets)


@dataclass(frozen=True)
class CosineMix:
    """Turn all columns into one another: their orthonormal discrete cosine transform.

    What one of d columns said, each of them then says a small part of.
    """

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row."""
        return np.asarray(dct(a, axis=1, norm="ortho"))


@dataclass(frozen=True)
class Circles:
    """Angles in [0, 2 pi) to points on circles: a -> (cos a, sin a), column by column."""

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row, twice as wide."""
        return np.stack([np.cos(a), np.sin(a)], axis=2).reshape(len(a), -1)


@dataclass(frozen=True)
class Torus:
    """Two angles in [0, 2 pi) to a point on a torus in space, of radii 1 and `tube` < 1."""

    tube: float

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the image of each row: two columns become three."""
        around = 1 + self.tube * np.cos(a[:, 1])
        height = self.tube * np.sin(a[:, 1])
        return np.stack([around * np.cos(a[:, 0]), around * np.sin(a[:, 0]), height], axis=1)
