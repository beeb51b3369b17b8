"""FORCE: weights that were pruned too early may come back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from tqdm import tqdm

from mitools._validation import checked_count
from mitools.models import copied
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import geometric_counts, size_of
from mitools.pruning.scoring import parameters_named, undisturbed
from mitools.pruning.selection import Scope, check_scope, survivors, top_k
from mitools.pruning.slopes import Losses, Statistics, check_reading, scaled


@dataclass(frozen=True)
class FORCE:
    """Foresight connection sensitivity: ``|θ · g(m ⊙ θ)|``, in rounds (de Jorge et al., eq. 7).

    In every round all weights compete, at their initial values, under the slopes of the network as
    pruned by the round before; so weights may return while the schedule runs. After round t of T a
    share density^(t/T) is left. One round is SNIP. Its sibling without returning weights is
    IterSNIP, ``Iterative(SNIP(), rounds=60)``.

    Differences from the authors' code: it normalises by the batch (``statistics="batch"``), uses
    ``nll_loss``, which expects log-probabilities, reads the same first batch again when the loader
    does not shuffle, and keeps every weight that ties with the last.

    Parameters
    ----------
    rounds : int, at least 1
        60 is the authors' choice.
    batches : int or None
        Read this many batches in each round, from the first; None: the whole loader.
    statistics : {"running", "batch"}
        What batch norm normalises by. Dropout is off.
    scope : "global", "layer", Allocation or Floor
        How survivors are shared out; see `OneShot`.

    References
    ----------
    de Jorge et al., *Progressive skeletonization: trimming more fat from a network at
    initialization*, arXiv 2006.09081.
    """

    rounds: int = 60
    batches: int | None = None
    statistics: Statistics = "running"
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_reading(self.batches, self.statistics)
        check_scope(self.scope)
        checked_count("rounds", self.rounds)

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
    ) -> Mask:
        """Return the mask that keeps exactly ``round(density * size)`` weights."""
        size = size_of(model, names)
        weights = {name: p.detach() for name, p in parameters_named(model, names).items()}
        survivors(density, weights, self.scope)  # too few for a floor show before the rounds
        mask = Mask.ones_like(weights)
        # A round that keeps everything changes nothing.
        counts = [keep for keep in geometric_counts(size, density, self.rounds) if keep < size]
        for keep in tqdm(counts, "pruning", disable=not progress, leave=False):
            pruned = mask.apply_(copied(model))
            with undisturbed(pruned):
                slopes = Losses(
                    pruned, loader, names, batches=self.batches, statistics=self.statistics
                ).slope()
            scores = {name: score.abs() for name, score in scaled(weights, slopes).items()}
            mask = Mask(top_k(scores, keep, self.scope))
        return mask
