import pytest
import torch

from mitools.data import (
    Bootstrap,
    Folds,
    FreshNoise,
    GaussianInputs,
    HalfSamples,
    Resampling,
    Samples,
    SymmetricFlips,
    gaussian,
)

SCHEMES = [FreshNoise(), Bootstrap(), Folds(3), HalfSamples(), GaussianInputs(40, 2)]


def noisy(n: int = 40) -> Samples:
    i = torch.arange(float(n))
    clean = Samples(torch.stack([i, i % 5], 1), torch.arange(n) % 2, classes=2)
    return SymmetricFlips(0.3).apply(clean, seed=0)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_every_scheme(scheme):
    """Values; equal draws for equal seeds; other draws for other seeds and other indices."""
    assert isinstance(scheme, Resampling) and eval(repr(scheme)) == scheme
    assert scheme.quantity.startswith("I(mask; ")
    samples, before = noisy(), torch.get_rng_state()

    def drawn(index: int, seed: int) -> list:
        part = scheme.draw(samples, index, seed)
        return torch.cat([part.inputs, part.targets[:, None]], 1).tolist()

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(2, 0)
    assert drawn(1, 0) != drawn(1, 1)
    assert scheme.draw(samples, 0, 0).classes == 2
    assert torch.equal(before, torch.get_rng_state())


def test_limits():
    assert [s.count_limit(noisy()) for s in SCHEMES] == [None, None, 3, None, None]


def test_fresh_noise_keeps_inputs_and_clean_labels_and_flips_independently():
    samples = noisy(4_000)
    draws = [FreshNoise().draw(samples, i, 0) for i in range(2)]
    for part in draws:
        assert torch.equal(part.inputs, samples.inputs) and torch.equal(part.clean, samples.clean)
        assert part.noise == samples.noise
    flips = torch.stack([d.targets != d.clean for d in (*draws, samples)]).double()
    assert float((flips.mean(1) - 0.3).abs().max()) < 4 * (0.21 / 4_000) ** 0.5
    correlations = flips.corrcoef() - torch.eye(3)
    assert float(correlations.abs().max()) < 4 / 4_000**0.5


def test_fresh_noise_needs_noise():
    with pytest.raises(ValueError, match="samples must know their label noise"):
        FreshNoise().draw(Samples(torch.zeros(3, 1), torch.zeros(3)), 0, 0)


def test_bootstrap_draws_with_replacement_and_so_drops_the_law():
    part = Bootstrap().draw(noisy(2_000), 0, 0)
    assert len(part) == 2_000 and part.noise is None and part.clean is not None
    distinct = len(part.inputs[:, 0].unique()) / 2_000
    assert abs(distinct - (1 - 2.718281828**-1)) < 0.03
    assert torch.equal(part.clean, part.inputs[:, 0].long() % 2)


def test_folds_are_disjoint_equal_and_leave_the_rest_out():
    folds = [Folds(3).draw(noisy(), i, 5) for i in range(3)]
    rows = torch.cat([fold.inputs[:, 0] for fold in folds])
    assert [len(f) for f in folds] == [13, 13, 13] and len(rows.unique()) == 39
    assert all(f.noise == SymmetricFlips(0.3) for f in folds)


def test_halves_are_halves_without_repeats():
    half = HalfSamples().draw(noisy(41), 0, 0)
    assert len(half) == 20 == len(half.inputs[:, 0].unique()) and half.noise is not None


def test_gaussian_inputs_draws_what_gaussian_draws():
    part = GaussianInputs(40, 2, 3).draw(None, 0, 0)
    assert part.inputs.shape == (40, 2) and part.classes == 3
    assert part.noise == gaussian(40, 2, 3, seed=0).noise


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Folds(1), "count must be at least 2"),
        (lambda: Folds(3).draw(noisy(), 3, 0), r"index must lie in 0 .. 2"),
        (lambda: Folds(3).draw(noisy(), -1, 0), r"index must lie in 0 .. 2"),
        (lambda: Folds(50).draw(noisy(), 0, 0), "count must not exceed"),
        (lambda: HalfSamples().draw(noisy(1), 0, 0), "at least 2"),
        (lambda: GaussianInputs(40, 3).draw(noisy(), 0, 0), r"shape \(40, 3\)"),
    ],
)
def test_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()
