"""SNIP: how much the loss would feel the loss of each weight."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mitools.pruning.scoring import undisturbed
from mitools.pruning.selection import Scores
from mitools.pruning.slopes import Losses, check_reading, scaled


@dataclass(frozen=True)
class SNIP:
    """``|theta * dL/dtheta|``, the derivative of the loss by a mask at 1 (Lee et al., eq. 4).

    At the model's own weights, in evaluation mode; the signed gradient is averaged over the
    points, and the absolute value comes last. The loss is the cross-entropy of logits for integer
    targets and the mean squared error for floating ones. The paper's division by the sum of all
    scores changes no rank and is left out.

    Parameters
    ----------
    batches : int or None
        Read this many batches, from the first; None: the whole loader, once.

    References
    ----------
    Lee, Ajanthan and Torr, *SNIP: single-shot network pruning based on connection sensitivity*,
    arXiv 1810.02340.
    """

    batches: int | None = None

    def __post_init__(self) -> None:
        check_reading(self.batches)

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return ``|theta * dL/dtheta|`` for every weight, in float64."""
        slopes = self.signed(model, loader, names)
        return {name: slope.abs() for name, slope in slopes.items()}

    def signed(self, model: nn.Module, loader: object, names: Sequence[str]) -> dict[str, Tensor]:
        """Return ``theta * dL/dtheta`` with its sign, averaged over the points, in float64."""
        with undisturbed(model):
            losses = Losses(model, loader, names, batches=self.batches)
            return scaled(losses.weights, losses.slope())
