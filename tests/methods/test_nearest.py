"""Nearest-neighbour methods against slow twins that share no code, and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from mitools.methods import KSG, LNC, GaoMixed, KozachenkoLeonenko, MesnerShalizi, Ross
from mitools.methods._neighbors import scaled


def distances(a):
    return np.abs(a[:, None] - a[None]).max(axis=-1)


def others(condition):
    """Count True per row, the diagonal left out."""
    return (condition & ~np.eye(len(condition), dtype=bool)).sum(axis=1)


def kth(distance, k):
    away = distance.copy()
    np.fill_diagonal(away, np.inf)
    return np.sort(away, axis=1)[:, k - 1]


def slow_ksg1(spaces, joint, k):
    """mean psi(k) and the list of mean psi(n + 1), atoms by their multiplicity."""
    radius = kth(distances(joint), k)[:, None]
    top = np.where(radius[:, 0] > 0, k, others(distances(joint) == 0) + 1)
    near = []
    for space in spaces:
        d = distances(space)
        near.append(np.where(radius[:, 0] > 0, others(d < radius), others(d == 0)) + 1)
    return digamma(top).mean(), [digamma(count).mean() for count in near]


def draw(seed, n, lattice):
    rng = np.random.default_rng(seed)
    if lattice:
        return rng.integers(0, 4, (3, n, 1)).astype(float)
    x, z = rng.standard_normal((2, n, 1))
    return x, 0.7 * x + rng.standard_normal((n, 1)), z


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 40),
    k=st.integers(1, 5),
    lattice=st.booleans(),
)
def test_ksg_equals_its_definition_ties_included(seed, n, k, lattice):
    k = min(k, n - 1)
    x, y, z = draw(seed, n, lattice)
    method = KSG(k=k, scale=None)
    top, (near_x, near_y) = slow_ksg1((x, y), np.hstack((x, y)), k)
    slow = top + digamma(n) - near_x - near_y
    assert method.mutual_information(x, y) == pytest.approx(slow, abs=1e-10)
    top, near = slow_ksg1((x, y, z), np.hstack((x, y, z)), k)
    slow = top + 2 * digamma(n) - sum(near)
    assert method.multi_information((x, y, z)) == pytest.approx(slow, abs=1e-10)
    xz, yz = np.hstack((x, z)), np.hstack((y, z))
    top, (near_xz, near_yz, near_z) = slow_ksg1((xz, yz, z), np.hstack((x, y, z)), k)
    slow = top - near_xz - near_yz + near_z
    assert method.conditional_mutual_information(x, y, z) == pytest.approx(slow, abs=1e-10)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_second_variant_equals_its_definition(k):
    n = 60
    x, y, z = draw(k, n, lattice=False)
    joint = distances(np.hstack((x, y, z)))
    np.fill_diagonal(joint, np.inf)
    nearest = np.argsort(joint, axis=1)[:, :k]
    total = 0.0
    for i in range(n):
        logs = 0.0
        for space in (x, y, z):
            d = np.abs(space - space[i]).max(axis=1)
            logs += digamma((np.delete(d, i) <= d[nearest[i]].max()).sum())
        total += digamma(k) - 2 / k + 2 * digamma(n) - logs
    method = KSG(k=k, variant=2, scale=None)
    assert method.multi_information((x, y, z)) == pytest.approx(total / n, abs=1e-12)


@pytest.mark.parametrize(
    "method", [KSG(), KSG(variant=2), GaoMixed(), GaoMixed(form="paper"), MesnerShalizi(), LNC()]
)
def test_symmetric(method):
    x, y, z = draw(0, 200, lattice=False)
    both = np.hstack((x, z))
    forth, back = method.mutual_information(both, y), method.mutual_information(y, both)
    assert forth == pytest.approx(back, abs=1e-12)


@pytest.mark.parametrize("method", [KSG(), KSG(variant=2), GaoMixed(), MesnerShalizi(), LNC()])
def test_units_cancel_bit_for_bit(method):
    x, y, _ = draw(1, 300, lattice=False)
    assert method.mutual_information(x * 2.0**40, y * 2.0**-30) == method.mutual_information(x, y)
    tripled = method.mutual_information(3 * x, y / 7)
    assert tripled == pytest.approx(method.mutual_information(x, y), abs=1e-3)


@pytest.mark.parametrize(
    "method", [KSG(scale="rank"), KSG(variant=2, scale="rank"), GaoMixed(scale="rank")]
)
def test_rank_scale_sees_no_increasing_map(method):
    x, y, _ = draw(2, 300, lattice=False)
    assert method.mutual_information(np.exp(x), y**3) == method.mutual_information(x, y)


def test_scaling_keeps_lattices_exact():
    """Equal distances between integers and between float32 values stay equal."""
    rows = np.random.default_rng(0).integers(-1000, 1000, (500, 1)).astype(float)
    for given_rows in (rows, (rows / 3).astype(np.float32).astype(float)):
        unit = scaled(given_rows, "std")
        step = np.unique(rows - rows.T)
        gaps = {float(s): np.unique((unit - unit.T)[rows - rows.T == s]).size for s in step[:200]}
        if given_rows is rows:
            assert set(gaps.values()) == {1}
    assert scaled(np.full((5, 1), 7.0), "std").ptp() == 0 if hasattr(rows, "ptp") else True


def test_local_values_average_to_the_estimate():
    x, y, z = draw(3, 200, lattice=False)
    for method in (KSG(), KSG(variant=2), GaoMixed()):
        local = method.local_mutual_information(x, y)
        assert local.shape == (200,)
        assert local.mean() == pytest.approx(method.mutual_information(x, y), rel=1e-13, abs=1e-15)
    local = KSG().local_conditional_mutual_information(x, y, z)
    assert local.mean() == KSG().conditional_mutual_information(x, y, z)


def test_ceiling_is_the_most_there_is():
    x = np.arange(50.0)[:, None] ** 2 + np.sqrt(np.arange(50.0))[:, None]
    for method in (KSG(k=2), MesnerShalizi(k=2), GaoMixed(k=2)):
        assert method.mutual_information(x, x) <= method.ceiling(50) + 1e-12
    assert KSG(k=2).mutual_information(x, x) == pytest.approx(KSG(k=2).ceiling(50), abs=1e-12)


@pytest.mark.parametrize("norm", ["max", "euclidean"])
@pytest.mark.parametrize("k", [1, 3])
def test_entropy_of_uniform_and_gaussian(norm, k):
    method = KozachenkoLeonenko(k=k, norm=norm)
    gauss, box = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gauss.append(method.entropy(rng.standard_normal((400, 2)) * [1.0, 1000.0]))
        box.append(method.entropy(rng.uniform(0, 8, (400, 1))))
    truth = math.log(2 * math.pi * math.e) + math.log(1000)
    for found, exact, slack in ((gauss, truth, 0.05), (box, math.log(8), 0.02)):
        noise = np.std(found, ddof=1) / math.sqrt(len(found))
        assert abs(np.mean(found) - exact) < slack + 4 * noise


def test_entropy_equals_its_definition():
    x = np.random.default_rng(0).standard_normal((30, 2))
    radius = kth(np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1)), 2)
    slow = digamma(30) - digamma(2) + math.log(math.pi) + 2 * np.log(radius).mean()
    method = KozachenkoLeonenko(k=2, norm="euclidean", scale=None)
    assert method.entropy(x) == pytest.approx(slow, abs=1e-12)


def test_entropy_follows_the_unit_and_falls_to_minus_infinity_on_atoms():
    x = np.random.default_rng(0).standard_normal((100, 1))
    method = KozachenkoLeonenko()
    assert method.entropy(4 * x) == pytest.approx(method.entropy(x) + math.log(4), abs=1e-12)
    assert method.entropy(np.round(x)) == -math.inf
    assert method.entropy(0 * x) == -math.inf


def test_lnc_without_threshold_is_the_second_variant():
    x, y, _ = draw(4, 200, lattice=False)
    plain = KSG(k=5, variant=2).mutual_information(x, y)
    assert LNC(k=5, alpha=0.0).mutual_information(x, y) == pytest.approx(plain, abs=1e-12)


def test_lnc_equals_a_slow_twin():
    x, y, _ = draw(5, 80, lattice=False)
    y = x + 0.001 * y
    k, alpha = 6, 0.4
    points = scaled(np.hstack((x, y)), "std")
    away = distances(points)
    np.fill_diagonal(away, np.inf)
    total = KSG(k=k, variant=2).mutual_information(x, y)
    for i, row in enumerate(np.argsort(away, axis=1)[:, :k]):
        offset = points[row] - points[i]
        turned = offset @ np.linalg.svd(offset)[2].T
        log_w, log_v = (np.log(np.abs(a).max(axis=0)).sum() for a in (turned, offset))
        if log_w - log_v < math.log(alpha):
            total -= (log_w - log_v) / len(points)
    assert LNC(k=k, alpha=alpha).mutual_information(x, y) == pytest.approx(total, abs=1e-10)


def test_lnc_lifts_the_ceiling():
    """I = 10 nats from 300 samples, of which KSG can show 4.8 at most."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (300, 1))
    noise = math.exp(-10.0)  # Y = X + U(0, e): I = e/2 - log e
    y = x + rng.uniform(0, noise, (300, 1))
    truth = noise / 2 - math.log(noise)
    assert KSG(k=5).mutual_information(x, y) < 5
    assert LNC(k=5).mutual_information(x, y) == pytest.approx(truth, abs=1.0)


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
@pytest.mark.parametrize("kind", [KSG, LNC, Ross, GaoMixed, MesnerShalizi, KozachenkoLeonenko])
def test_bad_neighbour_numbers(kind, k):
    with pytest.raises(ValueError, match="k must be"):
        kind(k=k)


def test_too_few_samples_and_other_bad_fields():
    x = np.arange(3.0)[:, None]
    for method in (KSG(k=3), KSG(k=3, variant=2), GaoMixed(), MesnerShalizi(), LNC(k=3)):
        with pytest.raises(ValueError, match="smaller than the number of samples"):
            method.mutual_information(x, x)
    with pytest.raises(ValueError, match="more neighbours than columns"):
        LNC(k=2).mutual_information(x, x)
    with pytest.raises(ValueError, match="variant must be"):
        KSG(variant=3)
    with pytest.raises(ValueError, match="scale must be one of 'std', 'rank', None"):
        KSG(scale="minmax")
    with pytest.raises(ValueError, match="variant 1 only"):
        KSG(variant=2).conditional_mutual_information(x, x, x)
    with pytest.raises(ValueError, match="alpha"):
        LNC(alpha=2.0)


def test_second_variant_with_ties_takes_all_that_are_as_near():
    """Slowly, from the definition: boxes around everyone within the k-th distance."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal((60, 2)))
    y = np.round(x[:, :1] + rng.standard_normal((60, 1)))
    k, n, terms = 3, 60, []
    for i in range(n):
        dx, dy = np.abs(x - x[i]).max(1), np.abs(y - y[i]).max(1)
        joint = np.maximum(dx, dy)
        radius = np.sort(joint)[k]
        near = (joint <= radius) & (np.arange(n) != i)
        if radius == 0:
            counts = [(one == 0).sum() for one in (joint, dx, dy)]
            size, less = counts[0], 0.0
            nx, ny = counts[1:]
        else:
            size = near.sum()
            less = 1 / size
            nx, ny = ((one <= one[near].max()).sum() - 1 for one in (dx, dy))
        terms.append(digamma(size) - less + digamma(n) - digamma(nx) - digamma(ny))
    found = KSG(k, 2, scale=None).local_mutual_information(x, y)
    np.testing.assert_allclose(found, terms, atol=1e-12)
