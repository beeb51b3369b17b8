"""Densities by mixtures of Gaussians, with parameters that may depend on something."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

_SHARPEST = 10.0  # log of the largest precision, so that a repeated value cannot blow it up
_LOG_2PI = math.log(2.0 * math.pi)


def gaussian_size(d: int) -> int:
    """Return how many numbers describe a Gaussian in d dimensions."""
    return d + d * (d + 1) // 2


def whitened(y: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return L (y - mean), shape (..., d), and log det L, shape (...).

    Parameters
    ----------
    y : Tensor, shape (..., d)
        Where.
    numbers : Tensor, shape (..., p), p = `gaussian_size`
        The mean; the logarithms of the diagonal, and then the entries below the diagonal, row by
        row, of the lower triangle L.
    """
    d = y.shape[-1]
    mean, diagonal, below = numbers.split([d, d, d * (d - 1) // 2], dim=-1)
    residual = y - mean
    log_scale = _SHARPEST - softplus(_SHARPEST - diagonal)
    white = torch.exp(log_scale) * residual
    if d > 1:
        rows, columns = torch.tril_indices(d, d, -1, device=y.device)
        lower = below.new_zeros(*below.shape[:-1], d, d)
        lower[..., rows, columns] = below
        white = white + (lower @ residual[..., None])[..., 0]
    return white, log_scale.sum(-1)


def normal_log_density(white: Tensor) -> Tensor:
    """Return the log density of independent standard normals, shape (...), at (..., d)."""
    return -((white**2).sum(-1) + white.shape[-1] * _LOG_2PI) / 2


class Mixture(nn.Module):
    """A mixture of Gaussians with full covariances that start around the given places (c, d).

    What depends on x comes as changes: one Gaussian's numbers by which all of y is moved and
    stretched first, then the components' logits, and their shifts.
    """

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        c, d = places.shape
        self.changes = gaussian_size(d) + c + c * d
        self.logits = nn.Parameter(torch.zeros(c))
        self.gaussians = nn.Parameter(torch.zeros(c, gaussian_size(d)))
        with torch.no_grad():
            self.gaussians[:, :d] = places / 2  # near the middle, since each is as wide as the data

    def forward(self, y: Tensor, changes: Tensor | None = None) -> Tensor:
        """Return log q(y), shape (n,), for changes of shape (n, self.changes)."""
        c, d = len(self.logits), y.shape[1]
        logits, shifts, stretched = self.logits, y.new_zeros(()), y.new_zeros(())
        if changes is not None:
            own, gates, moves = changes.split([gaussian_size(d), c, c * d], dim=1)
            y, stretched = whitened(y, own)
            logits, shifts = logits + gates, moves.unflatten(1, (c, d))
        white, log_det = whitened(y[:, None] - shifts, self.gaussians)
        each = normal_log_density(white) + log_det + logits.log_softmax(-1)
        return each.logsumexp(1) + stretched
