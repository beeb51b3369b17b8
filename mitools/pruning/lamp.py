"""LAMP: magnitudes that may be compared between layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mitools.pruning.scoring import parameters_named, precise
from mitools.pruning.selection import Scores


@dataclass(frozen=True)
class LAMP:
    """The squared weight as a share of those in its layer that are no smaller (Lee et al., eq. 5).

    With the weights of a layer in ascending order of magnitude, weight u scores ``w_u²`` over the
    sum of ``w_v²`` for v ≥ u. Within a layer that is the order of magnitude; between layers it
    decides how many each keeps, with nothing to tune. The largest weight of every layer scores 1,
    so no layer is emptied before each has a single weight left. A layer of zeros scores 0.

    Scores the model as it stands and never opens the loader; the paper scores trained weights. Of
    equal weights the earlier scores higher, as everywhere here; the paper breaks ties at random.

    References
    ----------
    Lee et al., *Layer-adaptive sparsity for the magnitude-based pruning*, arXiv 2010.07611.
    """

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return the scores in [0, 1], in float64."""
        return {name: _scored(weight) for name, weight in parameters_named(model, names).items()}


def _scored(weight: Tensor) -> Tensor:
    sizes = weight.detach().to(precise(weight.device)).abs().reshape(-1)
    # The score does not depend on the scale; so scaled, no square leaves the range.
    largest = sizes.max() if sizes.numel() else sizes.sum()
    squares = (sizes / largest.clamp_min(torch.finfo(sizes.dtype).tiny)).square()
    order = torch.sort(squares, descending=True, stable=True).indices
    found = torch.zeros_like(squares)
    ranked = squares[order]
    found[order] = ranked / ranked.cumsum(0).clamp_min(torch.finfo(sizes.dtype).tiny)
    return found.view(weight.shape)
