"""Densities by mixtures of Gaussians, with parameters that may depend on something."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

_SHARPEST = 10.0  # log of the largest precision, so that a repeated value cannot blow it up
_LOG_2PI = math.log(2.0 * math.pi)


def parameter_count(components: int, d: int) -> int:
    """Return how many numbers describe a mixture in d dimensions."""
    return components * (1 + d + d * (d + 1) // 2)


def mixture_log_density(y: Tensor, parameters: Tensor, components: int) -> Tensor:
    """Return log q(y), shape (n,), of a mixture of Gaussians with full covariances.

    Parameters
    ----------
    y : Tensor, shape (n, d)
        Where.
    parameters : Tensor, shape (n, p) or (1, p), p = `parameter_count`
        For each y: logits of the components; their means; log-diagonals, and then the entries
        below the diagonal, row by row, of the lower triangle L, where L (y - mean) is standard
        normal.
    components : int
        Gaussians in the mixture.
    """
    d = y.shape[1]
    sizes = [components, components * d, components * d, components * (d * (d - 1) // 2)]
    logits, means, diagonal, below = parameters.split(sizes, dim=1)
    residual = y[:, None] - means.unflatten(1, (components, d))
    log_scale = _SHARPEST - softplus(_SHARPEST - diagonal.unflatten(1, (components, d)))
    white = torch.exp(log_scale) * residual
    if d > 1:
        rows, columns = torch.tril_indices(d, d, -1, device=y.device)
        lower = below.new_zeros(len(below), components, d, d)
        lower[..., rows, columns] = below.unflatten(1, (components, -1))
        white = white + torch.einsum("ncij,ncj->nci", lower.expand(len(y), -1, -1, -1), residual)
    squares = (white**2).sum(-1)
    each = log_scale.sum(-1) - squares / 2 - d * _LOG_2PI / 2
    return (logits.log_softmax(1) + each).logsumexp(1)


class Mixture(nn.Module):
    """The same mixture for every y; at first its components sit on the given places (c, d)."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        c, d = places.shape
        # With so many Gaussians over unit variance, each is narrower than the whole.
        sharp = torch.full((c * d,), math.log(c) / d)
        rest = torch.zeros(parameter_count(c, d) - c - 2 * c * d)
        start = torch.cat([torch.zeros(c), places.flatten(), sharp, rest])
        self.parameters_row = nn.Parameter(start[None])

    def forward(self) -> Tensor:
        """Return the parameters, shape (1, p)."""
        return self.parameters_row
