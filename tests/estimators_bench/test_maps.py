"""Every map of every continuous task can be undone, so that it keeps the information."""

import math

import numpy as np
import pytest
from scipy import stats

from estimators_bench.tasks import beyond_normal, continuous
from estimators_bench.tasks.images import Blob, Rectangle, Texture
from estimators_bench.tasks.maps import (
    Asinh,
    CauchyQuantile,
    Circles,
    CosineMix,
    Exp,
    HalfCube,
    LomaxSurvival,
    MixtureQuantile,
    NormalCDF,
    Spiral,
    SwissRoll,
    Torus,
    Units,
    Wiggly,
)

TASKS = beyond_normal.TASKS + continuous.TASKS


def undo_wiggly(m, b):
    low, high = b - 2, b + 2
    for _ in range(60):
        middle = (low + high) / 2
        below = m(middle) < b
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def undo_quantile(m, b):
    return sum(w * stats.norm.cdf(b, loc=c) for w, c in zip(m.weights, m.means, strict=True))


def undo_spiral(m, b):
    i, j = m.plane
    angle = -m.speed * np.sum(b**2, axis=1)
    plane = (b[:, i] + 1j * b[:, j]) * np.exp(1j * angle)
    a = b.copy()
    a[:, i], a[:, j] = plane.real, plane.imag
    return a


def undo_roll(m, b):
    t = 21 * np.hypot(b[:, :1], b[:, 1:2])
    return np.hstack([(t / (1.5 * math.pi) - 1) / 2, b[:, 2:]])


def undo_circles(m, b):
    return np.mod(np.arctan2(b[:, 1::2], b[:, ::2]), 2 * math.pi)


def undo_torus(m, b):
    around = np.arctan2(b[:, 1], b[:, 0])
    along = np.arctan2(b[:, 2], np.hypot(b[:, 0], b[:, 1]) - 1)
    return np.mod(np.stack([around, along], axis=1), 2 * math.pi)


def undo_linear(m, b):
    d = b.shape[1]
    zero = m(np.zeros((1, d)))
    return np.linalg.solve((m(np.eye(d)) - zero).T, (b - zero).T).T


def undo_blob(m, b):
    """The ratio of two neighbouring pixels in a row gives the place across, in a column down."""
    middle = m.size // 2
    p = b.reshape(-1, m.size, m.size)
    across = np.log(p[:, middle, middle] / p[:, middle, middle - 1])
    down = np.log(p[:, middle, middle] / p[:, middle - 1, middle])
    centre = middle + m.width**2 * np.stack([across, down], axis=1)
    return (centre - 2 * m.width) / (m.size - 4 * m.width)


def undo_rectangle(m, b):
    """The brightest pixel is covered whole; the centre of mass is the square's own."""
    p = b.reshape(-1, m.size, m.size)
    pixels = np.arange(m.size) + 0.5
    mass = p.sum(axis=(1, 2))
    centre = np.stack([p.sum(axis=1) @ pixels, p.sum(axis=2) @ pixels], axis=1) / mass[:, None]
    place = (centre - m.side / 2) / (m.size - m.side)
    return np.hstack([place, p.max(axis=(1, 2))[:, None] - 0.5])


UNDO = {
    NormalCDF: lambda m, b: stats.norm.ppf(b),
    HalfCube: lambda m, b: np.sign(b) * np.abs(b) ** (2 / 3),
    Asinh: lambda m, b: np.sinh(b),
    Exp: lambda m, b: np.log(b),
    CauchyQuantile: lambda m, b: stats.cauchy.cdf(b),
    LomaxSurvival: lambda m, b: b ** (-1 / m.alpha) - 1,
    Wiggly: undo_wiggly,
    MixtureQuantile: undo_quantile,
    Spiral: undo_spiral,
    SwissRoll: undo_roll,
    Circles: undo_circles,
    Torus: undo_torus,
    Units: undo_linear,
    CosineMix: undo_linear,
    Texture: undo_linear,
    Blob: undo_blob,
    Rectangle: undo_rectangle,
}


@pytest.mark.parametrize(
    "task", [t for t in TASKS if t.sampler.x or t.sampler.y], ids=lambda task: task.name
)
def test_maps_can_be_undone(task):
    """Drawn points come back: relative to their own size in the tails, else to 1e-6."""
    drawn = task.sampler.distribution.draw(100, np.random.default_rng(0))
    for points, maps in zip(drawn, (task.sampler.x, task.sampler.y), strict=True):
        for each in maps:
            images = each(points)
            np.testing.assert_allclose(UNDO[type(each)](each, images), points, 1e-6, 1e-6)
            points = images


@pytest.mark.parametrize(
    "task", [t for t in TASKS if t.sampler.x or t.sampler.y], ids=lambda task: task.name
)
def test_maps_leave_their_argument_alone(task):
    x, _ = task.sampler.distribution.draw(10, np.random.default_rng(0))
    for each in task.sampler.x:
        before = x.copy()
        after = each(x)
        np.testing.assert_array_equal(x, before)
        x = after


def test_turns_are_orthogonal():
    mix = CosineMix()(np.eye(30))
    np.testing.assert_allclose(mix @ mix.T, np.eye(30), atol=1e-12)
    assert np.abs(mix).max() < 2 / math.sqrt(30)  # no column keeps more than its share


def test_a_map_that_might_turn_back_is_refused():
    with pytest.raises(ValueError, match=r"waves .* less than 1.* 1\.2"):
        Wiggly(((0.4, 3.0, 0.0),))


def test_a_lossy_map_would_be_noticed():
    """The planted fault: a square's sign is gone, and no inverse brings it back."""
    points = np.random.default_rng(0).normal(size=(100, 1))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(UNDO[HalfCube](None, np.abs(points) ** 1.5), points, 1e-6, 1e-6)


def test_pictures_are_pictures():
    """Pixels are not negative and nothing leaves the frame, wherever the object is."""
    corners = np.array([(u, v) for u in (0.0, 0.5, 1.0) for v in (0.0, 0.5, 1.0)])
    blob, square = Blob(), Rectangle()
    mass = blob(corners).sum(axis=1)
    np.testing.assert_allclose(mass, 2 * math.pi * blob.width**2, rtol=0.06)
    bright = square(np.hstack([corners, np.ones((9, 1))]))
    np.testing.assert_allclose(bright.sum(axis=1), 1.5 * square.side**2)
    assert bright.min() == 0 and bright.max() == 1.5
