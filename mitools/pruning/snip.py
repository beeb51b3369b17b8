"""SNIP: how much the loss would feel the loss of each weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mitools.data import as_batches
from mitools.pruning.scoring import canonical, precise, state_of_model, undisturbed
from mitools.pruning.selection import Scores
from mitools.training import loss_of
from mitools.training.evaluation import place_of, placed
from mitools.training.losses import check_targets


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
        if self.batches is not None and self.batches < 1:
            raise ValueError(f"batches must be at least 1, or None for all; got {self.batches!r}.")

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return ``|theta * dL/dtheta|`` for every weight, in float64."""
        slopes = self.signed(model, loader, names)
        return {name: slope.abs() for name, slope in slopes.items()}

    def signed(self, model: nn.Module, loader: object, names: Sequence[str]) -> dict[str, Tensor]:
        """Return ``theta * dL/dtheta`` with its sign, averaged over the points, in float64."""
        first = canonical(model, names)
        with undisturbed(model):
            state = state_of_model(model)
            weights = {name: state[first[name]].requires_grad_() for name in names}
            state |= {first[name]: weight for name, weight in weights.items()}
            total = {
                name: torch.zeros_like(weight, dtype=precise(weight.device), requires_grad=False)
                for name, weight in weights.items()
            }
            points, place = 0, place_of(model)
            for inputs, targets in islice(as_batches(loader), self.batches):
                outputs = functional_call(model, state, (placed(inputs, *place),))
                targets = targets.to(outputs.device)
                loss_of_outputs = loss_of("auto", targets)
                check_targets(loss_of_outputs, outputs, targets)
                loss = loss_of_outputs(outputs, targets)
                slopes = torch.autograd.grad(
                    loss, list(weights.values()), allow_unused=True, materialize_grads=True
                )
                for name, slope in zip(weights, slopes, strict=True):
                    total[name] += slope.to(total[name].dtype) * len(targets)
                points += len(targets)
        return {name: total[name] / points * weights[name].detach() for name in names}
