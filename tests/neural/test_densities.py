"""Densities against torch's own distributions."""

import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from mitools.neural.densities import Mixture, gaussian_size, normal_log_density, whitened


def lower(numbers, d):
    """The triangle that the numbers describe, written out."""
    triangle = torch.diag(numbers[d : 2 * d].exp())
    rest = iter(numbers[2 * d :])
    for i in range(d):
        for j in range(i):
            triangle[i, j] = next(rest)
    return triangle


def normal(numbers, d):
    triangle = lower(numbers, d)
    return MultivariateNormal(numbers[:d], precision_matrix=triangle.T @ triangle)


def test_gaussian_is_torch_s():
    generator = torch.Generator().manual_seed(0)
    for d in (1, 2, 4):
        numbers = torch.randn(gaussian_size(d), generator=generator, dtype=torch.float64)
        y = torch.randn((6, d), generator=generator, dtype=torch.float64)
        white, log_det = whitened(y, numbers)
        found = normal_log_density(white) + log_det
        torch.testing.assert_close(found, normal(numbers, d).log_prob(y), rtol=1e-3, atol=1e-3)


def test_mixture_and_its_changes_are_torch_s():
    d, c = 3, 4
    torch.manual_seed(0)
    mixture = Mixture(torch.randn(c, d)).double()
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
        y = torch.randn((5, d), dtype=torch.float64)
        changes = torch.randn((5, mixture.changes), dtype=torch.float64) / 2
        for i, change in enumerate(changes):
            own, gates, moves = change.split([gaussian_size(d), c, c * d])
            triangle = lower(own, d)
            moved = triangle @ (y[i] - own[:d])
            each = [normal(g, d) for g in mixture.gaussians]
            law = MixtureSameFamily(
                Categorical(logits=mixture.logits + gates),
                MultivariateNormal(
                    torch.stack([e.mean for e in each]) + moves.view(c, d),
                    precision_matrix=torch.stack([e.precision_matrix for e in each]),
                ),
            )
            expected = law.log_prob(moved) + own[d : 2 * d].sum()
            found = mixture(y[i : i + 1], change[None])[0]
            torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
        alone = mixture(y, torch.zeros_like(changes))
        torch.testing.assert_close(mixture(y), alone, rtol=1e-3, atol=1e-3)
