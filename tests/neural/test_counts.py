"""Counts by torch against the compiled kernels: equal bit for bit, ties included."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitools import _kernels
from mitools.methods import KSG
from mitools.neural import TorchKSG, counts

KINDS = ("few values", "normal", "cauchy", "offset", "half discrete", "constant")


def draw(kind, n, d, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, d))
    return {
        "few values": lambda: rng.integers(0, 4, (n, d)).astype(float),
        "normal": lambda: z,
        "cauchy": lambda: rng.standard_cauchy((n, d)),
        "offset": lambda: z + 1e8,
        "half discrete": lambda: np.where(rng.random((n, d)) < 0.5, 0.0, z),
        "constant": lambda: np.zeros((n, d)),
    }[kind]()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(counts, "_BLOCK", 64)


cases = given(
    kind=st.sampled_from(KINDS),
    n=st.integers(2, 40),
    d=st.integers(1, 5),
    k=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
often = settings(  # the fixture sets the same number for every example
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@often
@cases
@pytest.mark.parametrize("euclidean", [False, True])
def test_neighbors_are_those_of_the_kernels(euclidean, kind, n, d, k, seed):
    points, k = draw(kind, n, d, seed), min(k, n - 1)
    expected = _kernels.kth_neighbors(points, k, euclidean)
    found = counts.kth_neighbors(torch.from_numpy(points), k, euclidean)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    reach = counts.kth_distance(torch.from_numpy(points), k, euclidean)
    np.testing.assert_array_equal(reach.numpy(), _kernels.kth_distance(points, k, euclidean))


@often
@cases
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("euclidean", [False, True])
def test_counts_are_those_of_the_kernels(euclidean, strict, kind, n, d, k, seed):
    points = draw(kind, n, d, seed)
    radius = _kernels.kth_distance(points, min(k, n - 1), euclidean)  # so that equality matters
    expected = _kernels.count_within(points, radius, strict, euclidean)
    found = counts.count_within(
        torch.from_numpy(points), torch.from_numpy(radius), strict, euclidean
    )
    np.testing.assert_array_equal(found.numpy(), expected)


@often
@cases
def test_joint_counts_are_those_of_the_kernels(kind, n, d, k, seed):
    x, y, k = draw(kind, n, d, seed), draw(kind, n, 2, seed + 1), min(k, n - 1)
    expected = _kernels.ksg_counts(x, y, k)
    found = counts.ksg_counts(torch.from_numpy(x), torch.from_numpy(y), k)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)


def test_everything_lies_within_an_infinite_radius():
    points = torch.zeros((5, 2), dtype=torch.float64)
    everywhere = torch.full((5,), torch.inf, dtype=torch.float64)
    for strict in (True, False):
        assert counts.count_within(points, everywhere, strict).tolist() == [4] * 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", ["std", "rank", None])
def test_ksg_gives_the_same_number(kind, scale):
    x, y, z = (draw(kind, 90, d, seed) for d, seed in ((1, 1), (3, 2), (2, 3)))
    here, there = KSG(4, scale=scale), TorchKSG(4, scale=scale, device="cpu")
    terms = here.local_mutual_information(x, y)
    np.testing.assert_array_equal(there.local_mutual_information(x, y), terms)
    assert there.mutual_information(x, y) == pytest.approx(here.mutual_information(x, y), abs=1e-12)
    expected = here.conditional_mutual_information(x, y, z)
    assert there.conditional_mutual_information(x, y, z) == expected
    assert there.ceiling(90) == here.ceiling(90)


def test_ksg_refuses_what_it_cannot_do():
    x = np.zeros((5, 1))
    with pytest.raises(ValueError, match="k must be at least 1 and smaller"):
        TorchKSG(5, device="cpu").mutual_information(x, x)
    with pytest.raises(ValueError, match="device must be one that torch can use here"):
        TorchKSG(device="moon").mutual_information(x, x)
    with pytest.raises(ValueError, match="k must be at least 1"):
        TorchKSG(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("euclidean", [False, True])
def test_a_gpu_counts_the_same(kind, euclidean, monkeypatch):
    monkeypatch.setattr(counts, "_BLOCK", 1 << 16)
    points = draw(kind, 1_000, 5, 0)
    placed = torch.from_numpy(points).cuda()
    for a, b in zip(
        counts.kth_neighbors(placed, 3, euclidean),
        _kernels.kth_neighbors(points, 3, euclidean),
        strict=True,
    ):
        np.testing.assert_array_equal(a.cpu().numpy(), b)
    x, y = points[:, :2].copy(), points[:, 2:].copy()
    terms = KSG().local_mutual_information(x, y)
    np.testing.assert_array_equal(TorchKSG().local_mutual_information(x, y), terms)
