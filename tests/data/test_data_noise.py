import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mitools.data import AdditiveNoise, LabelNoise, Samples, SymmetricFlips, flipped


def classes_of(n: int, c: int) -> Samples:
    return Samples(torch.zeros(n, 1), torch.arange(n) % c, classes=c)


@pytest.mark.parametrize("noise", [SymmetricFlips(0.2), AdditiveNoise(0.5)])
def test_noise_is_a_value(noise):
    assert isinstance(noise, LabelNoise)
    assert eval(repr(noise)) == noise and hash(eval(repr(noise))) == hash(noise)


@given(
    rate=st.sampled_from([0.0, 0.1, 0.5, 0.8, 1.0]), c=st.integers(2, 6), seed=st.integers(0, 99)
)
def test_flips_keep_the_clean_labels_and_stay_legal(rate, c, seed):
    before = classes_of(60, c)
    noisy = SymmetricFlips(rate).apply(before, seed)
    assert torch.equal(noisy.clean, before.targets) and noisy.noise == SymmetricFlips(rate)
    assert int(noisy.targets.min()) >= 0 and int(noisy.targets.max()) < c
    if rate in (0.0, 1.0):
        assert float(flipped(noisy).float().mean()) == rate
    assert torch.equal(SymmetricFlips(rate).apply(before, seed).targets, noisy.targets)


def test_flips_occur_at_their_rate_and_to_every_other_class_alike():
    n, c, rate = 30_000, 3, 0.3
    noisy = SymmetricFlips(rate).apply(classes_of(n, c), seed=7)
    table = torch.zeros(c, c, dtype=torch.float64)
    table.index_put_((noisy.clean, noisy.targets), torch.ones(n).double(), accumulate=True)
    expected = torch.full((c, c), rate / 2).fill_diagonal_(1 - rate) * n / c
    assert float(((table - expected) ** 2 / expected).sum()) < 22.5  # chi-square, 6 d.o.f., 99.9%


def test_a_higher_rate_flips_a_superset():
    low, high = (flipped(SymmetricFlips(r).apply(classes_of(500, 4), 3)) for r in (0.1, 0.4))
    assert bool((high | ~low).all()) and int(high.sum()) > int(low.sum())


def test_noise_is_redrawn_from_the_clean_labels_never_piled_up():
    once = SymmetricFlips(0.4).apply(classes_of(500, 4), 0)
    again = SymmetricFlips(0.1).apply(once, 1)
    assert torch.equal(again.clean, classes_of(500, 4).targets)
    assert torch.equal(again.targets, SymmetricFlips(0.1).apply(classes_of(500, 4), 1).targets)
    assert not torch.equal(SymmetricFlips(0.4).apply(once, 1).targets, once.targets)


@pytest.mark.parametrize(("rate", "c"), [(0.0, 2), (0.25, 2), (0.3, 10), (1.0, 3), (0.5, 2)])
def test_entropy_and_log_prob_of_flips_agree_with_the_law(rate, c):
    law = [1 - rate] + [rate / (c - 1)] * (c - 1)
    noise = SymmetricFlips(rate)
    assert noise.entropy(c) == pytest.approx(stats.entropy(law), abs=1e-12)
    scores = noise.log_prob(torch.arange(c), torch.zeros(c, dtype=torch.int64), c)
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.exp().numpy(), law, atol=1e-15)


def test_uniform_labels_carry_log_c():
    assert SymmetricFlips(0.9).entropy(10) == pytest.approx(math.log(10))
    assert SymmetricFlips(0.0).log_prob(torch.tensor([1]), torch.tensor([0]), 2).item() == -math.inf


def test_additive_noise_has_its_standard_deviation_and_density():
    before = Samples(torch.zeros(20_000, 1), torch.linspace(-1, 1, 20_000))
    noisy = AdditiveNoise(0.5).apply(before, seed=2)
    z = (noisy.targets - noisy.clean).double() / 0.5
    assert stats.kstest(z.numpy(), "norm").pvalue > 0.001
    assert torch.equal(noisy.clean, before.targets) and noisy.targets.dtype == torch.float32
    scores = AdditiveNoise(0.5).log_prob(noisy.targets, noisy.clean)
    expected = stats.norm(noisy.clean.numpy(), 0.5).logpdf(noisy.targets.double().numpy())
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-9)
    assert -float(scores.mean()) == pytest.approx(AdditiveNoise(0.5).entropy(), abs=0.03)
    assert AdditiveNoise(0.5).entropy() == pytest.approx(stats.norm(scale=0.5).entropy())


def test_additive_noise_on_several_coordinates_sums_over_them():
    before = Samples(
        torch.zeros(7, 1), torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    )
    noisy = AdditiveNoise(2.0).apply(before, seed=0)
    scores = AdditiveNoise(2.0).log_prob(noisy.targets, noisy.clean)
    law = stats.norm(before.targets.numpy(), 2.0)
    np.testing.assert_allclose(scores, law.logpdf(noisy.targets.double()).sum(1), atol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_rate_is_a_probability(rate):
    with pytest.raises(ValueError, match="rate must be a probability"):
        SymmetricFlips(rate)


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, math.nan])
def test_std_is_positive(std):
    with pytest.raises(ValueError, match="std must be positive"):
        AdditiveNoise(std)


def test_each_noise_refuses_the_other_kind_of_targets():
    regression = Samples(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="Use AdditiveNoise"):
        SymmetricFlips(0.1).apply(regression, 0)
    with pytest.raises(ValueError, match="Use SymmetricFlips"):
        AdditiveNoise(0.1).apply(classes_of(3, 2), 0)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        SymmetricFlips(0.1).apply(classes_of(3, 1), 0)


def test_flipped_needs_clean_classes():
    with pytest.raises(ValueError, match="got no clean labels"):
        flipped(classes_of(3, 2))
    regression = Samples(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="got a regression"):
        flipped(AdditiveNoise(0.1).apply(regression, 0))


@pytest.mark.parametrize("noise", [SymmetricFlips(0.2), AdditiveNoise(0.2)])
def test_noise_is_for_samples_and_says_how_to_make_them(noise):
    given = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(TypeError, match="samples_of"):
        noise.apply(given, seed=0)
