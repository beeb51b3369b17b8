"""Renderings: a few hidden numbers, drawn as a picture.

Each is a deterministic, injective function of its numbers: the picture gives them back. So a
picture says of anything else exactly what its numbers say, I(picture; Y) = I(numbers; Y), though
it has `size`² columns, one a pixel, row by row.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import idctn

from mitools._typing import FloatArray


@dataclass(frozen=True)
class Blob:
    """A round spot of Gaussian profile; two numbers in (0, 1) place its centre.

    The centre is the picture's centre of mass but for the frame, and neighbouring pixels' ratio
    gives it exactly. It stays two widths inside the frame.
    """

    size: int = 16
    width: float = 1.5

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the pictures (n, size²) of the centres (n, 2)."""
        pixels = np.arange(self.size) + 0.5
        margin = 2 * self.width
        centre = margin + a * (self.size - 2 * margin)
        profile = np.exp(-(((pixels - centre[:, :, None]) / self.width) ** 2) / 2)
        return _outer(profile[:, 0], profile[:, 1])


@dataclass(frozen=True)
class Rectangle:
    """A square with sharp edges; three numbers in (0, 1) place it and say how bright it is.

    A pixel is as bright as the share of it that the square covers. With sides of at least two
    pixels, some pixel is covered whole: the brightest one gives the brightness, 1/2 to 3/2, and
    the shares of those at the edges then give the place.
    """

    size: int = 16
    side: float = 5.0

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the pictures (n, size²) of places and brightnesses (n, 3)."""
        pixels = np.arange(self.size)
        start = (a[:, :2] * (self.size - self.side))[:, :, None]
        end = np.minimum(pixels + 1, start + self.side)
        covered = np.clip(end - np.maximum(pixels, start), 0, 1)
        return (0.5 + a[:, 2:]) * _outer(covered[:, 0], covered[:, 1])


@dataclass(frozen=True)
class Texture:
    """Clouds: waves of all frequencies, weaker the faster they are; size² amplitudes.

    The two-dimensional inverse cosine transform of the amplitudes over 1 + frequency, the slowest
    waves first. It is linear and invertible.
    """

    size: int = 16

    def __call__(self, a: FloatArray) -> FloatArray:
        """Return the pictures (n, size²) of the amplitudes (n, size²)."""
        frequency = np.add.outer(np.arange(self.size), np.arange(self.size)).ravel()
        waves = np.empty_like(a)
        waves[:, np.argsort(frequency, kind="stable")] = a
        waves /= 1 + frequency
        pictures = idctn(waves.reshape(-1, self.size, self.size), axes=(1, 2), norm="ortho")
        return np.asarray(pictures).reshape(len(a), -1)


def _outer(rows: FloatArray, columns: FloatArray) -> FloatArray:
    return (columns[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
