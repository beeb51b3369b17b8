"""Gaussian methods: unbiased where they say so, and every degenerate case defined."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitools.methods import Gaussian, GaussianCopula

PLAIN = Gaussian(correction=False)


def draw(seed, n, *dims):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 1))
    return [rng.standard_normal((n, d)) + 0.5 * shared for d in dims]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(12, 60))
def test_closed_form_symmetry_chain_rule_and_linear_maps(seed, n):
    x, y, z = draw(seed, n, 2, 3, 1)

    def log_det(*parts):
        return np.linalg.slogdet(
            np.cov(np.hstack(parts), rowvar=False).reshape(sum(p.shape[1] for p in parts), -1)
        )[1]

    slow = (log_det(x) + log_det(y) - log_det(x, y)) / 2
    assert PLAIN.mutual_information(x, y) == pytest.approx(slow, abs=1e-9)
    slow = (log_det(x, z) + log_det(y, z) - log_det(z) - log_det(x, y, z)) / 2
    assert PLAIN.conditional_mutual_information(x, y, z) == pytest.approx(slow, abs=1e-9)
    for method in (PLAIN, Gaussian()):
        back = method.mutual_information(y, x)
        assert method.mutual_information(x, y) == pytest.approx(back, abs=1e-9)
        chain = method.mutual_information(z, y) + method.conditional_mutual_information(x, y, z)
        whole = method.mutual_information(np.hstack((x, z)), y)
        assert whole == pytest.approx(chain, abs=1e-9)
        total = method.multi_information((x, y, z))
        steps = method.mutual_information(x, y) + method.mutual_information(np.hstack((x, y)), z)
        assert total == pytest.approx(steps, abs=1e-9)
        entropies = method.entropy(x) + method.entropy(y) - method.entropy(np.hstack((x, y)))
        assert method.mutual_information(x, y) == pytest.approx(entropies, abs=1e-9)
        mixed = x @ np.array([[2.0, 1.0], [0.0, -3.0]]) + 1e6
        assert method.mutual_information(mixed, y) == pytest.approx(
            method.mutual_information(x, y), abs=1e-6
        )
    coarse = x[:, :1]  # data processing
    assert PLAIN.mutual_information(coarse, y) <= PLAIN.mutual_information(x, y) + 1e-9


def test_correction_makes_it_unbiased_even_at_twelve_samples():
    truth = -math.log(1 - 0.36) / 2
    plain, fair, entropy = [], [], []
    for seed in range(4000):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((12, 2))
        y = 0.6 * x[:, :1] + 0.8 * rng.standard_normal((12, 1))
        plain.append(PLAIN.mutual_information(x, y) - truth)
        fair.append(Gaussian().mutual_information(x, y) - truth)
        entropy.append(Gaussian().entropy(x) - math.log(2 * math.pi * math.e))
    noise = np.std(fair, ddof=1) / math.sqrt(4000)
    assert abs(np.mean(fair)) < 4 * noise
    assert np.mean(plain) > 10 * noise
    assert abs(np.mean(entropy)) < 4 * np.std(entropy, ddof=1) / math.sqrt(4000)


def test_degenerate_columns_are_defined():
    x, y, z = draw(0, 50, 2, 1, 1)
    plain = Gaussian().mutual_information(x, y)
    padded = np.hstack((x, x @ [[1.0], [2.0]], np.full((50, 1), 3.0)))
    assert Gaussian().mutual_information(padded, y) == pytest.approx(plain, abs=1e-10)
    assert Gaussian().mutual_information(x, np.zeros((50, 1))) == 0
    assert Gaussian().mutual_information(x, 2 * x[:, 1:] - 1) == math.inf
    assert Gaussian().conditional_mutual_information(x, y, x) == 0
    given = Gaussian().conditional_mutual_information(x, y, np.zeros((50, 1)))
    assert given == pytest.approx(plain, abs=1e-10)
    assert Gaussian().entropy(padded) == -math.inf
    with pytest.raises(ValueError, match="n=3 samples with 3 columns"):
        Gaussian().mutual_information(x[:3], y[:3])
    shift = Gaussian().entropy(1e-3 * z + 1e6) + math.log(1e3)
    assert shift == pytest.approx(Gaussian().entropy(z), abs=1e-6)


def test_units_cancel_bit_for_bit():
    x, y = draw(1, 80, 2, 2)
    there = Gaussian().mutual_information(x * 2.0**70, y * 2.0**-60)
    assert there == Gaussian().mutual_information(x, y)


def test_copula_sees_no_increasing_map_and_recovers_the_gaussian():
    x, y, z = draw(2, 80, 1, 1, 1)
    copula = GaussianCopula()
    there = copula.mutual_information(np.exp(3 * x), y**3)
    assert there == copula.mutual_information(x, y)
    there = copula.conditional_mutual_information(np.exp(x), y**3, np.arctan(z))
    assert there == copula.conditional_mutual_information(x, y, z)
    assert copula.multi_information((np.exp(x), y, z)) == copula.multi_information((x, y, z))
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((400, 1))
        b = 0.8 * a + 0.6 * rng.standard_normal((400, 1))
        errors.append(copula.mutual_information(np.exp(a), np.exp(b)) + math.log(0.6))
    assert abs(np.mean(errors)) < 0.02 + 4 * np.std(errors, ddof=1) / math.sqrt(40)
