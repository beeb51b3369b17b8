"""Lipschitz constants against closed forms, and the two laws against their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mitools.effective.robustness import lipschitz_bound, local_lipschitz, spectral_product
from mitools.models import lenet5, mlp
from mitools.pruning import Mask


def test_the_theorems_constants():
    new = lipschitz_bound(500.0, n=10_000, d=20, epsilon=0.5, delta=0.1)
    inside = 10_000 * 20 * 0.1 / (500.0 + 0.05 * math.log(40.0))
    assert new.value == pytest.approx(0.5 / (96 * math.sqrt(72) * math.sqrt(2)) * inside**0.5)
    assert new.needed == pytest.approx(512 * math.log(80.0) / 0.25)
    assert new.applies
    setting = {"n": 10_000, "d": 20, "epsilon": 0.5, "delta": 0.1, "form": "bubeck-sellke"}
    old = lipschitz_bound(500.0, **setting, diameter=3.0, lipschitz=2.0)
    inside = 500.0 * math.log(60 * 6.0 / 0.5) + math.log(40.0)
    assert old.value == pytest.approx(0.5 / 512 * math.sqrt(200_000 / inside))
    assert old.needed == pytest.approx(8 * new.needed)
    assert not lipschitz_bound(500.0, n=100, d=20, epsilon=0.5).applies
    assert "not proven" in str(lipschitz_bound(500.0, n=100, d=20, epsilon=0.5))


def test_bounds_scale_as_one_over_the_root_of_p_eff():
    one, four = (lipschitz_bound(p, n=10**5, d=10, epsilon=1.0).value for p in (1e4, 4e4))
    assert one / four == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"delta": 1.0}, "delta"),
        ({"form": "kumar"}, "form"),
        ({"n": 0}, "n must"),
        ({"form": "bubeck-sellke", "diameter": 1e-9}, "exceed epsilon"),
    ],
)
def test_bad_settings_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        lipschitz_bound(10.0, **({"n": 100, "d": 5, "epsilon": 0.5} | wrong))


def test_a_linear_map_has_its_largest_singular_value_everywhere():
    linear = nn.Linear(6, 4)
    expected = float(torch.linalg.matrix_norm(linear.weight.detach().double(), 2))
    assert local_lipschitz(linear, torch.randn(5, 6)) == pytest.approx(np.full(5, expected))
    assert spectral_product(linear, torch.randn(1, 6)) == pytest.approx(expected, rel=1e-5)


def test_local_constants_are_limits_of_difference_quotients():
    torch.manual_seed(0)
    model = mlp([5, 30, 1], seed=1)
    inputs = torch.randn(4, 5)
    found = local_lipschitz(model, inputs)
    for point, norm in zip(inputs, found, strict=True):
        point = point.clone().requires_grad_()
        model(point[None]).sum().backward()
        assert norm == pytest.approx(float(point.grad.norm()), rel=1e-5)


def test_a_convolution_is_the_matrix_it_is():
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    basis = torch.eye(2 * 5 * 5).reshape(-1, 2, 5, 5)
    matrix = conv(basis).detach().reshape(50, -1).double()
    expected = float(torch.linalg.matrix_norm(matrix, 2))
    assert spectral_product(conv, torch.zeros(1, 2, 5, 5), steps=3_000) == pytest.approx(
        expected, rel=1e-4
    )


def test_the_product_is_above_and_points_are_below():
    model = lenet5(1, 10, seed=0)
    inputs = torch.randn(3, 1, 28, 28)
    assert local_lipschitz(model, inputs).max() <= spectral_product(model, inputs[:1]) * 1.001


def test_masks_apply_to_a_copy():
    model = mlp([4, 8, 2], seed=0)
    before = [p.clone() for p in model.parameters()]
    none = Mask.zeros_like(model)
    assert local_lipschitz(model, torch.randn(3, 4), mask=none).max() == 0.0
    assert spectral_product(model, torch.randn(1, 4), mask=none) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_batch_norm_stretches_by_its_scale():
    norm = nn.BatchNorm1d(3)
    norm.running_var[:] = torch.tensor([0.25, 1.0, 4.0])
    model = nn.Sequential(norm, nn.ReLU())
    assert spectral_product(model, torch.randn(1, 3)) == pytest.approx(2.0, rel=1e-3)


class Around(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.linear, self.relu, self.what = nn.Linear(4, 4), nn.ReLU(), what

    def forward(self, x):
        return self.what(self, x)


@pytest.mark.parametrize(
    "what",
    [
        lambda m, x: 100 * m.linear(x),
        lambda m, x: m.linear(2 * x),
        lambda m, x: m.linear(x + m.relu(m.linear(x))),
        lambda m, x: torch.cat([m.linear(x)] * 2, dim=1),
    ],
)
def test_what_happens_between_layers_is_seen(what):
    with pytest.raises(ValueError, match="plain chain"):
        spectral_product(Around(what), torch.randn(1, 4))


def test_a_layer_that_is_called_twice_counts_twice():
    linear = nn.Linear(4, 4, bias=False)
    once = spectral_product(linear, torch.randn(1, 4))
    twice = spectral_product(nn.Sequential(linear, nn.LeakyReLU(3.0), linear), torch.randn(1, 4))
    assert twice == pytest.approx(3 * once**2)


@pytest.mark.parametrize("layer", [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2, divisor_override=1)])
def test_windows_that_overlap_are_refused(layer):
    with pytest.raises(ValueError, match="Pool2d"):
        spectral_product(nn.Sequential(nn.Conv2d(1, 1, 3), layer), torch.randn(1, 1, 8, 8))


def test_what_is_not_a_chain_is_named():
    with pytest.raises(ValueError, match="LayerNorm"):
        spectral_product(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), torch.randn(1, 4))


@pytest.mark.parametrize("ask", [local_lipschitz, spectral_product])
def test_what_is_no_network_and_no_tensor_is_named(ask):
    with pytest.raises(TypeError, match="model must be a torch module; got Tensor"):
        ask(torch.ones(2, 3), nn.Linear(3, 1))
    with pytest.raises(TypeError, match="must be a torch tensor; got ndarray"):
        ask(nn.Linear(3, 1), np.ones((2, 3)))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        local_lipschitz(nn.Linear(3, 1), torch.ones(2, 3), batch_size=0)
