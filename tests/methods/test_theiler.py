"""KSG with a Theiler window: KSG without one, a slow twin, and less bias from memory."""

import math

import numpy as np
import pytest
from scipy.special import digamma

from mitools.measures import mutual_information
from mitools.methods import KSG, TheilerKSG


def remembering(seed, n, memory):
    rng = np.random.default_rng(seed)
    series = rng.standard_normal((2, n))
    for t in range(1, n):
        series[:, t] = memory * series[:, t - 1] + math.sqrt(1 - memory**2) * series[:, t]
    return series[0][:, None], series[1][:, None]


@pytest.mark.parametrize("scale", [None, "std", "rank"])
def test_no_window_is_ksg(scale):
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal((150, d)) for d in (2, 1, 3))
    y[::3] = x[::3, :1] = np.round(y[::3])  # some atoms
    plain, windowed = KSG(4, scale=scale), TheilerKSG(0, 4, scale)
    for question, data in (
        ("local_mutual_information", (x, y)),
        ("mutual_information", (y, y.round())),
        ("conditional_mutual_information", (x, y, z)),
        ("conditional_mutual_information", (y.round(), y, z.round())),
    ):
        expected = getattr(plain, question)(*data)
        np.testing.assert_allclose(getattr(windowed, question)(*data), expected, rtol=1e-12)


def test_slow_twin():
    """Row by row from the definition, with repeated values."""
    n, window, k = 60, 4, 2
    rng = np.random.default_rng(1)
    x, y, z = rng.standard_normal((3, n, 1))
    x[20:40], y[20:40] = np.round(x[20:40]), np.round(y[20:40])
    pair, given = [], []
    for i in range(n):
        others = [j for j in range(n) if abs(i - j) > window]
        dx, dy, dz = (np.abs(v[others, 0] - v[i, 0]) for v in (x, y, z))

        def counts(*spaces):
            joint = np.max(spaces, axis=0)
            radius = np.sort(joint)[k - 1]
            tied = k if radius > 0 else 1 + np.sum(joint == 0)
            inside = [(d < radius) if radius > 0 else (d == 0) for d in spaces]
            return tied, inside

        tied, (a, b) = counts(dx, dy)
        ends = digamma(1 + np.sum(a)) + digamma(1 + np.sum(b))
        pair.append(digamma(tied) + digamma(len(others) + 1) - ends)
        tied, (a, b, c) = counts(dx, dy, dz)
        ends = digamma(1 + np.sum(a & c)) + digamma(1 + np.sum(b & c))
        given.append(digamma(tied) + digamma(1 + np.sum(c)) - ends)
    method = TheilerKSG(window, k, scale=None)
    np.testing.assert_allclose(method.local_mutual_information(x, y), pair, rtol=1e-12)
    found = method.conditional_mutual_information(x, y, z)
    assert found == pytest.approx(np.mean(given), rel=1e-12)


def test_memory_feigns_less():
    draws = [remembering(seed, 600, 0.95) for seed in range(10)]
    means = {
        window: np.mean([TheilerKSG(window).mutual_information(*draw) for draw in draws])
        for window in (0, 10)
    }
    assert means[0] > 0.06 and abs(means[10]) < 0.05  # truth: 0


def test_blocks_of_distances_change_nothing(monkeypatch):
    x, y = remembering(0, 100, 0.5)
    whole = TheilerKSG(3).local_mutual_information(x, y)
    monkeypatch.setattr("mitools.methods.theiler._BLOCK", 700)
    np.testing.assert_array_equal(TheilerKSG(3).local_mutual_information(x, y), whole)


def test_bad_numbers():
    x, y = remembering(0, 30, 0.0)
    with pytest.raises(ValueError, match="k=3 and window=14 with n=30"):
        mutual_information(x, y, TheilerKSG(14))
    with pytest.raises(ValueError, match="window must be at least 0"):
        TheilerKSG(-1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        TheilerKSG(3, k=0)
    assert eval(repr(TheilerKSG(3))) == TheilerKSG(3)
