"""How well a network does on data."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mitools.data import as_batches
from mitools.models import check_finite, check_materialized, seeded
from mitools.training.losses import (
    check_outputs,
    check_targets,
    correct,
    cross_entropy,
    loss_of,
    modes_kept,
)

_BATCH = 1024


@dataclass(frozen=True)
class Evaluation:
    """Means over n samples: the loss (nats for cross-entropy), and the accuracy for classes."""

    loss: float
    accuracy: float | None
    n: int

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.4g}"
        return f"loss {self.loss:.4g}{accuracy} on {self.n:,} samples"


def evaluate(model: nn.Module, data: Any, *, loss: str = "auto") -> Evaluation:
    """Return loss and accuracy of a model in evaluation mode; it is left as it was.

    Parameters
    ----------
    model : torch.nn.Module
        Maps inputs (n, ...) to logits (n, classes), or to what targets are in a regression.
    data : DataLoader, Dataset, Samples, or pair (inputs, targets)
        What to evaluate on; a loader keeps its batch size.
    loss : "auto", "cross_entropy" or "mse"
        "auto" follows the targets.

    Raises
    ------
    ValueError
        If the data are empty or not pairs, hold NaN or labels that the model has no output for,
        or the model has NaN or infinite weights.
    """
    check_materialized(model)
    check_finite(dict(model.named_parameters()))
    device, dtype = place_of(model)
    total, hits, n, loss_function = 0.0, 0, 0, None
    with torch.no_grad(), modes_kept(model), seeded(0, [device]):
        model.eval()
        for inputs, targets in as_batches(data, batch_size=_BATCH, argument="data"):
            inputs, targets = placed(inputs, device, dtype), targets.to(device)
            if loss_function is None:
                loss_function = loss_of(loss, targets)
                check_outputs(model, loss_function, inputs, targets)
            outputs = model(inputs)
            check_targets(loss_function, outputs, targets)
            total += float(loss_function(outputs, targets)) * len(targets)
            hits += correct(outputs, targets) if loss_function is cross_entropy else 0
            n += len(targets)
    accuracy = hits / n if loss_function is cross_entropy else None
    return Evaluation(total / n, accuracy, n)


def place_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the floating dtype that a model's inputs should have."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.get_default_dtype()


def placed(inputs: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return inputs on that device; floating ones in that dtype, tokens as they are."""
    return inputs.to(device, dtype if inputs.is_floating_point() else inputs.dtype)
