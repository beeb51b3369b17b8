"""Shared work gives what one pair at a time gives."""

import numba
import numpy as np
import pytest
from scipy.special import digamma

from mitools._kernels import ksg_counts, ksg_pair, ksg_screen, ksg_shuffles, ross_screen

N = 400
WORTH = digamma(np.arange(1, N + 1))


@pytest.fixture(params=[1, 2])
def threads(request):
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


def total(x, y, k):
    """Worth of the counts of a pair, and how many samples have a k-th neighbour at 0."""
    radius, nx, ny = ksg_counts(x[:, None].copy(), y[:, None].copy(), k)
    kept = radius > 0
    return WORTH[nx[kept]].sum() + WORTH[ny[kept]].sum(), (~kept).sum()


def columns():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, 4))
    z[:, 1] = np.round(z[:, 1], 1)
    z[:, 2] = z[:, 2] > 0
    return z, np.round(z[:, 0] + rng.standard_normal(N), 2)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_screening_is_one_pair_at_a_time(threads, k):
    features, target = columns()
    totals, atoms = ksg_screen(features, target, k, WORTH)
    for column, found, zeros in zip(features.T, totals, atoms, strict=True):
        expected, expected_zeros = total(column, target, k)
        assert zeros == expected_zeros
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [1, 2])
def test_a_pair_has_the_worth_of_its_counts(threads, d):
    features, target = columns()
    x, y = features[:, :d].copy(), np.column_stack((target, features[:, 1]))[:, :d].copy()
    radius, nx, ny = ksg_counts(x, y, 3)
    kept = radius > 0
    found, zeros = ksg_pair(x, y, 3, WORTH)
    assert zeros == (~kept).sum()
    assert found == pytest.approx(WORTH[nx[kept]].sum() + WORTH[ny[kept]].sum(), rel=1e-12)


def test_a_pair_is_a_screen_of_one_feature_bit_for_bit():
    features, target = columns()
    totals, atoms = ksg_screen(features, target, 3, WORTH)
    for column, screened in zip(features.T, zip(totals, atoms, strict=True), strict=True):
        assert ksg_pair(column[:, None].copy(), target[:, None].copy(), 3, WORTH) == screened


def test_shuffling_is_one_pair_at_a_time(threads):
    features, target = columns()
    rng = np.random.default_rng(1)
    orders = [np.arange(N), *(rng.permutation(N) for _ in range(4))]
    totals, atoms = ksg_shuffles(features[:, 1], target, 3, orders, WORTH)
    for order, found, zeros in zip(orders, totals, atoms, strict=True):
        expected, expected_zeros = total(features[:, 1], target[order], 3)
        assert zeros == expected_zeros
        assert found == pytest.approx(expected, rel=1e-12)


def slow_ross(x, codes, k):
    """Straight from the definition."""
    distances = np.abs(x[:, None] - x)
    np.fill_diagonal(distances, np.inf)
    worth, zeros = 0.0, 0
    for i, code in enumerate(codes):
        same = np.sort(distances[i, codes == code])[:-1]  # without itself, at infinity
        radius = same[min(k, len(same)) - 1]
        if radius > 0:
            worth += WORTH[(distances[i] < radius).sum()]
        zeros += radius == 0
    return worth, zeros


def test_screening_classes_is_the_definition(threads):
    features, _ = columns()
    codes = np.random.default_rng(2).choice(4, N, p=[0.6, 0.3, 0.09, 0.01])
    codes[:2] = 3  # a label with few samples
    totals, atoms = ross_screen(features, codes, 3, WORTH)
    for column, found, zeros in zip(features.T, totals, atoms, strict=True):
        expected, expected_zeros = slow_ross(column, codes, 3)
        assert zeros == expected_zeros
        assert found == pytest.approx(expected, rel=1e-12)


def test_a_thread_more_changes_no_bit():
    features, target = columns()
    before = numba.get_num_threads()
    try:
        found = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            found.append(ksg_screen(features, target, 3, WORTH)[0])
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(*found)
