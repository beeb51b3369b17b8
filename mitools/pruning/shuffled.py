"""Layer-wise shuffling: as many weights in every layer, in other places."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mitools.data.seeds import derived_seed
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import Pruner, check_pruner, made_by, options_of


@dataclass(frozen=True)
class Shuffled:
    """Another pruner's counts in every parameter, and nothing else of its mask.

    The usual check of whether a pruner knows more than how many weights each layer needs.

    Parameters
    ----------
    pruner : Pruner
        Whose counts.
    seed : int
        Of the new places; each parameter draws its own, keyed by its name.

    References
    ----------
    Su et al., *Sanity-checking pruning methods: random tickets can win the jackpot*,
    arXiv 2009.11094; Frankle et al., *Pruning neural networks at initialization: why are we
    missing the mark?*, arXiv 2009.08576.
    """

    pruner: Pruner
    seed: int = 0

    def __post_init__(self) -> None:
        check_pruner(self.pruner)

    @property
    def training(self) -> Any:
        """How the other pruner trains; None if it does not."""
        return getattr(self.pruner, "training", None)

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Mask:
        """Return the other pruner's mask, shuffled within each parameter."""
        options = options_of(self.pruner, progress, checkpoint)
        found = self.pruner.mask(model, loader, density, names, **options)
        return shuffled(made_by(self.pruner, found, model), self.seed)


def shuffled(mask: Mask, seed: int = 0) -> Mask:
    """Return a mask that keeps as many weights of each parameter, in random places.

    Examples
    --------
    >>> mask = Mask({"a": [1, 1, 0, 0, 0, 0], "b": [[1, 1], [1, 0]]})
    >>> [layer.kept for layer in shuffled(mask, seed=1).layers()]
    [2, 3]
    """
    found = {}
    for name, kept in mask.items():
        rng = torch.Generator().manual_seed(derived_seed(seed, "shuffled mask", name))
        places = torch.randperm(kept.numel(), generator=rng).to(kept.device)
        found[name] = kept.reshape(-1)[places].view(kept.shape)
    return Mask(found, fingerprint=mask.fingerprint, source="shuffled")
