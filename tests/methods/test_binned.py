"""Binning, the adaptive partition and kernel densities."""

import math

import numpy as np
import pytest

from mitools.methods import (
    NSB,
    AdaptivePartition,
    Binned,
    ChaoShen,
    DarbellayVajda,
    EqualWidth,
    FreedmanDiaconis,
    Grassberger,
    JamesStein,
    KernelDensity,
    MillerMadow,
    PlugIn,
    Quantiles,
)


def pair(seed, rho=0.6, n=500):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 1))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, 1))


def test_bins_by_hand():
    values = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    np.testing.assert_array_equal(EqualWidth(5).bins_of(values), [0, 0, 1, 1, 4])
    np.testing.assert_array_equal(Quantiles(5).bins_of(values), [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(
        Quantiles(2).bins_of(np.array([1.0, 1.0, 1.0, 2.0])), [0, 0, 0, 1]
    )
    # quartiles 1 and 3, width 4 / cbrt(5) = 2.34
    np.testing.assert_array_equal(FreedmanDiaconis().bins_of(values), [0, 0, 0, 1, 4])
    for rule in (EqualWidth(3), Quantiles(3), FreedmanDiaconis()):
        np.testing.assert_array_equal(rule.bins_of(np.full(4, 2.0)), np.zeros(4))
    with pytest.raises(ValueError, match="interquartile range above 0"):
        FreedmanDiaconis().bins_of(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="bins must be at least 1"):
        Quantiles(0)
    huge = np.array([-1e308, 0.0, 1e308])
    np.testing.assert_array_equal(EqualWidth(2).bins_of(huge), [0, 1, 1])


@pytest.mark.parametrize(
    ("bins", "low", "high"),
    # eight bins lose a little; twenty-odd a side leave cells that one term of bias cannot mend
    [(EqualWidth(8), -0.05, 0.0), (Quantiles(8), -0.05, 0.0), (FreedmanDiaconis(), 0.0, 0.1)],
)
def test_binned_recovers_up_to_its_two_biases(bins, low, high):
    method = Binned(bins, MillerMadow())
    found = [method.mutual_information(*pair(seed, n=1000)) for seed in range(20)]
    noise = np.std(found, ddof=1) / math.sqrt(20)
    assert low - 4 * noise < np.mean(found) + math.log(0.8) < high + 4 * noise


def test_binned_questions_are_those_of_the_codes():
    x, y = pair(0)
    z = x + y
    method, codes = (
        Binned(Quantiles(4), PlugIn()),
        [Quantiles(4).bins_of(a[:, 0])[:, None] for a in (x, y, z)],
    )
    assert method.entropy(x) == pytest.approx(math.log(4))
    plug = PlugIn()
    assert method.mutual_information(x, y) == plug.mutual_information(*codes[:2])
    found = method.conditional_mutual_information(x, y, z)
    assert found == plug.conditional_mutual_information(*codes)
    assert method.multi_information((x, y, z)) == plug.multi_information(tuple(codes))
    assert eval(repr(method)) == method
    assert method.mutual_information(np.exp(x), y**3) == method.mutual_information(x, y)


def test_partition_is_independent_of_units_and_zero_under_independence():
    method = AdaptivePartition()
    x, y = pair(0)
    assert method.mutual_information(np.exp(x), y**3) == method.mutual_information(x, y)
    null = [method.mutual_information(*pair(seed, rho=0.0)) for seed in range(40)]
    assert np.mean(np.array(null) == 0) > 0.9  # at level 0.01, twice
    found = [method.mutual_information(*pair(seed, rho=0.8, n=2000)) for seed in range(20)]
    assert np.mean(found) == pytest.approx(-math.log(0.6), abs=0.08)
    steps = np.repeat(np.arange(4.0), 64)[:, None]
    assert method.mutual_information(steps, steps) == pytest.approx(math.log(4), abs=1e-12)
    assert method.mutual_information(0 * x, y) == 0
    with pytest.raises(ValueError, match="one column in x"):
        method.mutual_information(np.hstack((x, y)), y)
    with pytest.raises(ValueError, match="significance"):
        AdaptivePartition(significance=0)


def test_partition_sees_what_quarters_do_not():
    """A pattern whose four quarters hold equal counts: the sixteenths tell."""
    rng = np.random.default_rng(0)
    cell = rng.integers(0, 4, 2000)
    x = cell + rng.random(2000)
    y = np.array([0, 3, 1, 2])[cell] * 1.0
    y = np.where(rng.random(2000) < 0.5, y, (3 - y)) + rng.random(2000)
    found = AdaptivePartition().mutual_information(x[:, None], y[:, None])
    assert found == pytest.approx(math.log(2), abs=0.15)


def test_partition_takes_labels_for_what_they_are():
    """A bit and an independent number: shares that are not equal are no reason to split."""
    rng = np.random.default_rng(0)
    bit, number = (rng.random((2000, 1)) < 0.2).astype(float), rng.random((2000, 1))
    assert AdaptivePartition().mutual_information(bit, number) == 0
    told = number + bit  # which tells the bit: H = 0.5004 nats
    truth = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert AdaptivePartition().mutual_information(bit, told) == pytest.approx(truth, abs=0.02)


JOINT = Binned(DarbellayVajda(), MillerMadow())


@pytest.mark.parametrize(
    "method",
    [PlugIn(), MillerMadow(), Grassberger(), ChaoShen(), JamesStein(), NSB()],
    ids=repr,
)
def test_adaptive_cuts_recover_a_gaussian_in_front_of_any_method(method):
    found = [
        Binned(DarbellayVajda(), method).mutual_information(*pair(seed, n=10_000))
        for seed in range(4)
    ]
    assert np.mean(found) == pytest.approx(-math.log(0.8), abs=0.02)  # spread of one: 0.007


@pytest.mark.parametrize("method", [JOINT, Binned(DarbellayVajda(), NSB())], ids=repr)
def test_adaptive_cuts_do_not_fill_the_dimensions_with_bias(method):
    """Two pairs of correlation 0.8, one of 0; ten quantiles each would say 1.9 for the second."""

    def two(seed, rho):
        return [
            np.hstack(p) for p in zip(*(pair([seed, i], rho, 2000) for i in (0, 1)), strict=True)
        ]

    assert 0.6 < method.mutual_information(*two(0, 0.8)) < -2 * math.log(0.6)
    assert abs(method.mutual_information(*two(0, 0.0))) < 0.01
    assert Binned().mutual_information(*two(0, 0.0)) > 1.0  # what the guard is against


def test_adaptive_cuts_see_ranks_only_and_nothing_under_independence():
    x, y = pair(0, n=2000)
    assert JOINT.mutual_information(x, y) == JOINT.mutual_information(np.exp(x), y**3)
    assert JOINT.mutual_information(x, y) == pytest.approx(JOINT.mutual_information(y, x))
    null = [JOINT.mutual_information(*pair(seed, rho=0.0)) for seed in range(40)]
    assert np.mean(np.array(null) == 0) > 0.9
    assert np.abs(null).max() < 0.05


def test_adaptive_cuts_lie_where_they_are_needed():
    """y tells only whether x is in its upper half and, if so, in which half of that."""
    rng = np.random.default_rng(0)
    x = (rng.permutation(4096)[:, None] + 0.5) / 4096
    y = np.where(x < 0.5, 0, np.where(x < 0.75, 1, 2)) + 0.5 * rng.random((4096, 1))
    bins, _ = DarbellayVajda().bins_together((x, y))
    parts = (x < 0.5, (x > 0.5) & (x < 0.75), x > 0.75)
    assert [len(np.unique(bins[part])) for part in parts] == [1, 1, 1]
    assert JOINT.mutual_information(x, y) == pytest.approx(1.5 * math.log(2), abs=0.02)


def test_adaptive_cuts_are_not_for_dependence_inside_a_variable():
    (x, near), (y, _) = pair(0, rho=0.99), pair(1)
    assert all(
        (bins == 0).all() for bins in DarbellayVajda().bins_together((np.hstack((x, near)), y))
    )
    assert DarbellayVajda().bins_together((x, near))[0].max() > 3


def test_adaptive_cuts_serve_every_question():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((8000, 1))
    x, y = (z + 0.5 * rng.standard_normal((8000, 1)) for _ in range(2))
    whole = JOINT.mutual_information(x, y)
    assert abs(JOINT.conditional_mutual_information(x, y, z)) < whole / 4  # truth: 0
    assert JOINT.multi_information((x, y)) == whole
    assert JOINT.multi_information((x, y, z)) > 2 * whole
    both = JOINT.entropy(np.hstack((x, y)))
    bins = DarbellayVajda().bins_together((x, y))
    assert both == pytest.approx(sum(map(MillerMadow().entropy, bins)) - whole)
    assert eval(repr(JOINT)) == JOINT
    with pytest.raises(ValueError, match=r"needs two; got one\. Use Quantiles"):
        JOINT.entropy(x)
    with pytest.raises(ValueError, match="significance"):
        DarbellayVajda(significance=1.0)


def test_kernel_density_equals_a_slow_twin():
    x = pair(0, n=40)[0]
    y = np.random.default_rng(1).standard_normal((40, 1)) + x
    both = np.hstack((x, y))
    h2 = (40 ** (-1 / 6)) ** 2 * np.cov(both, rowvar=False)
    total = 0.0
    for i in range(40):
        gap = np.delete(both, i, axis=0) - both[i]
        exponents = -np.einsum("ni,ij,nj->n", gap, np.linalg.inv(h2), gap) / 2
        density = np.exp(exponents).mean() / math.sqrt(np.linalg.det(2 * math.pi * h2))
        total -= math.log(density) / 40
    assert KernelDensity().entropy(both) == pytest.approx(total, abs=1e-10)


def test_kernel_density_recovers_and_defines_the_edges():
    found = [KernelDensity().mutual_information(*pair(seed)) for seed in range(20)]
    noise = np.std(found, ddof=1) / math.sqrt(20)
    assert abs(np.mean(found) + math.log(0.8)) < 0.04 + 4 * noise
    x, y = pair(0)
    method = KernelDensity()
    forth, back = method.mutual_information(x, y), method.mutual_information(y, x)
    assert forth == pytest.approx(back, abs=1e-9)
    assert method.mutual_information(1e8 * x, y) == pytest.approx(forth, abs=1e-9)
    assert method.mutual_information(0 * x, y) == 0
    assert method.entropy(0 * x) == -math.inf
    with pytest.raises(ValueError, match="determine each other"):
        method.mutual_information(x, 2 * x)
    with pytest.raises(ValueError, match="bandwidth"):
        KernelDensity(bandwidth=0)
    with pytest.raises(ValueError, match="more samples than columns"):
        method.entropy(x[:2])
