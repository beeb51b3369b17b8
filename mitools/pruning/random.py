"""Random pruning: the control that reads neither the data nor the weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mitools.data.seeds import derived_seed
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import Scores


@dataclass(frozen=True)
class Random:
    """Uniform noise, the same for the same seed on every device; never opens the loader.

    ``OneShot(Random())`` lets chance decide the count of each layer too; with ``scope="layer"``
    every layer has exactly its part, with ``scope=ERK()`` small layers stay denser.

    Parameters
    ----------
    seed : int
        Says which noise; each parameter draws its own, keyed by its name.
    """

    seed: int = 0

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return a draw from [0, 1) for every weight, in float64, on the device of the weight."""
        found = {}
        for name, weight in parameters_named(model, names).items():
            # The CPU's generator, so that the mask is the same on every device.
            rng = torch.Generator().manual_seed(derived_seed(self.seed, "random score", name))
            draw = torch.rand(weight.shape, generator=rng, dtype=torch.float64)
            found[name] = draw.to(weight.device)
        return found
