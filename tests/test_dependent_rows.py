"""Permutation tests where rows depend on a condition, or on the rows before."""

import math
from collections import Counter

import numpy as np
import pytest

from mitools.methods import KSG, Gaussian, PlugIn
from mitools.uncertainty import (
    BlockShuffles,
    CircularShifts,
    FreeShuffles,
    LocalShuffles,
    permutation_test,
    transfer_entropy_test,
)


def remembering(seed, n=200, memory=0.9):
    """Two independent stationary series of autocorrelation memory^lag, of variance 1."""
    rng = np.random.default_rng(seed)
    series = rng.standard_normal((2, n))
    for t in range(1, n):
        series[:, t] = memory * series[:, t - 1] + math.sqrt(1 - memory**2) * series[:, t]
    return series


def rejected(test, runs, level=0.1):
    """Return the share of p-values of at most the level, and what chance adds to the level."""
    p = np.array([test(seed).p_value for seed in range(runs)])
    return np.mean(p <= level), 3 * math.sqrt(level * (1 - level) / runs)


QUICK = {"permutations": 39, "stop_after": None}


@pytest.mark.parametrize(
    "shuffles", [CircularShifts(), BlockShuffles(30), FreeShuffles()], ids=repr
)
def test_memory_is_kept_by_shifts_and_blocks(shuffles):
    """Series that are independent but remember: only shuffling freely calls them dependent."""

    def test(seed):
        return permutation_test(
            *remembering(seed, 300, 0.75), Gaussian(), shuffles=shuffles, seed=seed, **QUICK
        )

    with pytest.warns(UserWarning, match="successive rows"):
        share, slack = rejected(test, 60)
    if shuffles == FreeShuffles():
        assert share > 0.1 + 2 * slack
    else:
        assert share < 0.1 + slack


def test_dependent_series_are_found_all_the_same():
    one, other = remembering(0, 500, 0.5)
    for shuffles in (CircularShifts(), BlockShuffles(20)):
        found = permutation_test(one, one + 2 * other, shuffles=shuffles, permutations=99)
        assert found.p_value == 0.01


@pytest.mark.parametrize("shuffles", [None, LocalShuffles(10)], ids=repr)
def test_a_common_cause_is_no_dependence_given_it(shuffles):
    def test(seed, condition=True):
        rng = np.random.default_rng(seed)
        z = rng.standard_normal(200)
        x, y = z + 0.5 * rng.standard_normal((2, 200))
        given = {"condition": z, "shuffles": shuffles} if condition else {}
        return permutation_test(x, y, Gaussian(), seed=seed, **given, **QUICK)

    assert test(0, condition=False).p_value == 1 / 40
    share, slack = rejected(test, 60)
    assert share < 0.1 + slack


def test_dependence_given_a_condition_is_found():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(300)
    x, e = rng.standard_normal((2, 300))
    for method in (KSG(k=10), Gaussian()):
        found = permutation_test(x + z, x + e - z, method, condition=z, permutations=49)
        assert found.p_value == 1 / 50
        assert found.estimate.quantity == "I(X; Y | Z)"


@pytest.mark.parametrize("shuffles", [None, LocalShuffles(None)], ids=repr)
def test_labels_are_strata(shuffles):
    """Given one of three labels x and y are independent: p is uniform."""

    def test(seed):
        rng = np.random.default_rng(seed)
        z = rng.integers(0, 3, 90)
        x, y = (z[None] + rng.integers(0, 3, (2, 90))) % 4
        words = np.array(["a", "b", "c"])[z]
        return permutation_test(
            x, y, PlugIn(), condition=words, shuffles=shuffles, seed=seed, **QUICK
        )

    share, slack = rejected(test, 100)
    assert abs(share - 0.1) < slack


def orders(shuffles, n, z=None, draws=300):
    draw = shuffles.orders(n, z)
    return [draw(np.random.default_rng(i)) for i in range(draws)]


def test_shifts_and_blocks_by_hand():
    found = Counter(tuple(order) for order in orders(CircularShifts(), 4))
    assert set(found) == {(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}
    assert min(found.values()) > 40  # 75 on average
    for order in orders(BlockShuffles(3), 10, draws=50):
        assert sorted(order) == list(range(10))
        seams = np.count_nonzero(np.diff(order) % 10 != 1)
        assert seams <= 3  # four blocks
    assert any((np.diff(order) % 10 != 1).sum() == 3 for order in orders(BlockShuffles(3), 10))


def test_local_shuffles_stay_local_and_move_as_far_as_they_may():
    z = np.random.default_rng(0).permutation(60).astype(float)[:, None]
    found = orders(LocalShuffles(4), 60, z)
    steps = np.array([z[order, 0] - z[:, 0] for order in found])
    assert np.abs(steps).max() <= 4  # at an end, the four nearest lie on one side
    inside = (z[:, 0] > 4) & (z[:, 0] < 55)
    assert np.abs(steps[:, inside]).max() == 2
    assert {-2, -1, 0, 1, 2} == set(np.unique(steps[:, inside]))
    reused = np.mean([60 - len(set(order.tolist())) for order in found])
    assert reused < 0.15 * 60  # Runge: without replacement as far as possible


def test_equal_conditions_trade_freely_among_themselves():
    z = np.repeat([0.0, 0.0, 1.0], 4)[:, None]
    for shuffles in (LocalShuffles(3), LocalShuffles(None)):
        found = orders(shuffles, 12, z)
        for order in found:
            assert sorted(order) == list(range(12))
            np.testing.assert_array_equal(z[order], z)
        assert len({order[0] for order in found}) == 8


def test_transfer_between_series_that_remember():
    def test(seed):
        return transfer_entropy_test(*remembering(seed), Gaussian(), seed=seed, **QUICK)

    share, slack = rejected(test, 60)
    assert share < 0.1 + slack
    source, noise = remembering(0)
    target = noise.copy()
    target[2:] += source[:-2]
    for shuffles in (CircularShifts(), BlockShuffles(20), LocalShuffles()):
        found = transfer_entropy_test(source, target, Gaussian(), lag=2, shuffles=shuffles, **QUICK)
        assert found.p_value <= 2 / 40  # the shift by 0 steps is one of them
        assert found.estimate.quantity == "T(source -> target)"


def test_same_seed_same_test_on_any_number_of_processes():
    x, y = remembering(0, 100, 0.0)
    method = Gaussian()
    for options in ({"condition": x + y}, {"shuffles": CircularShifts()}):
        one, two = (
            permutation_test(x, y, method, permutations=20, n_jobs=jobs, **options)
            for jobs in (1, 2)
        )
        assert one == two
    one, two = (
        transfer_entropy_test(x, y, method, permutations=20, n_jobs=jobs) for jobs in (1, 2)
    )
    assert one == two


def test_what_does_not_fit_is_told():
    x, y = remembering(0, 50, 0.0)
    with pytest.raises(ValueError, match="LocalShuffles needs rows to be alike in something"):
        permutation_test(x, y, Gaussian(), shuffles=LocalShuffles())
    with pytest.raises(ValueError, match="length=30 with n=50"):
        permutation_test(x, y, Gaussian(), shuffles=BlockShuffles(30))
    with pytest.raises(ValueError, match="length must be at least 1"):
        BlockShuffles(0)
    with pytest.raises(ValueError, match="neighbors must be at least 1"):
        LocalShuffles(0)
    with pytest.raises(TypeError, match="answers conditional_mutual_information"):
        permutation_test(x, y, object(), condition=x)
