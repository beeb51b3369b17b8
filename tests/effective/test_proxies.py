"""Memorised points and followed noise, against values worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mitools.data import AdditiveNoise, Samples, SymmetricFlips, gaussian
from mitools.effective.proxies import memorised, noise_covariance


class Table(nn.Module):
    """Answers input i with row i."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows[x[:, 0].long()]


def points(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.float32)[:, None]


def test_a_point_is_memorised_if_its_own_loss_is_a_tenth_of_guessing():
    just = math.log(1 / (2**0.1 - 1))  # cross-entropy of exactly log(2) / 10 for two classes
    rows = torch.tensor([[0.0, just + 1e-3], [0.0, just - 1e-3], [9.0, 0.0], [9.0, 0.0]])
    samples = Samples(points(4), torch.tensor([1, 1, 0, 1]))
    assert memorised(Table(rows), samples) == 0.5
    assert memorised(Table(rows), samples, threshold=1.0) == 0.75
    single = Table((rows[:, 1] - rows[:, 0])[:, None])  # one output: the logit of class 1
    assert memorised(single, samples) == 0.5


def test_covariance_with_additive_noise():
    clean = Samples(points(3), torch.zeros(3, 1))
    noisy = AdditiveNoise(2.0).apply(clean, seed=0)
    z = noisy.targets
    assert noise_covariance(Table(z.clone()), noisy, points(3)) == pytest.approx(
        float(((z - z.mean()) * z).mean()), rel=1e-5
    )
    assert noise_covariance(Table(torch.ones(3, 1)), noisy, points(3)) == pytest.approx(0.0)


def test_covariance_with_flipped_labels():
    flips = SymmetricFlips(0.5).apply(Samples(points(4), torch.zeros(4).long(), classes=2), seed=1)
    certain = Table(40.0 * torch.eye(2)[flips.targets])
    share = (flips.targets == 1).double().mean().item()
    # f = onehot(y), E f = (1 - share, share), z = onehot(y) - 1/2
    expected = sum(
        sum(((y == c) - (share if c else 1 - share)) * ((y == c) - 0.5) for c in (0, 1))
        for y in flips.targets.tolist()
    )
    assert noise_covariance(certain, flips, points(4)) == pytest.approx(expected / 4, abs=1e-6)


def test_what_cannot_be_measured_is_said():
    samples = gaussian(10, 3, seed=0)
    linear = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="know their label noise"):
        noise_covariance(linear, replace(samples, clean=None, noise=None), samples.inputs)
    with pytest.raises(ValueError, match="real-valued"):
        memorised(linear, Samples(samples.inputs, torch.zeros(10, 1)))
    with pytest.raises(ValueError, match="output"):
        memorised(nn.Linear(3, 1), gaussian(10, 3, 4, seed=0))
    with pytest.raises(ValueError, match="threshold must be a positive number of nats"):
        memorised(linear, samples, threshold=-1)
    for wrong in (lambda: memorised(samples, linear), lambda: noise_covariance(None, 1, 2)):
        with pytest.raises(TypeError, match="model must be a torch module"):
            wrong()
    with pytest.raises(TypeError, match="samples must be"):
        memorised(linear, 3)
    with pytest.raises(TypeError, match="samples must be"):
        noise_covariance(linear, 3, samples.inputs)
    with pytest.raises(TypeError, match="population must be a torch tensor; got ndarray"):
        noise_covariance(linear, samples, samples.inputs.numpy())


def test_a_pair_of_arrays_will_do():
    samples, linear = gaussian(10, 3, seed=0), nn.Linear(3, 2)
    pair = samples.inputs.numpy(), samples.targets.numpy()
    assert memorised(linear, pair, threshold=0.7) == memorised(linear, samples, threshold=0.7)
