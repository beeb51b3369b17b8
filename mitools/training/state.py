"""Where a training stands: everything needed to go on as if it had never stopped."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mitools.models import tensors_of


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    ``loss`` (nats for cross-entropy) and ``accuracy`` are means over the training samples while
    the weights were changing, in training mode; the validation figures are of the weights at the
    end of the epoch, in evaluation mode. ``lr`` is the learning rate of the first step, ``step``
    counts the optimiser steps since the start. None: not measured.
    """

    epoch: int
    step: int
    lr: float
    loss: float
    accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True, eq=False)
class TrainState:
    """A training stopped after some step, in memory. Nothing here is changed by going on from it.

    Attributes
    ----------
    model : dict of str to Tensor
        Parameters and buffers, batch-norm statistics among them.
    optimizer : dict of int to dict
        Torch's optimiser state, by the number of the parameter.
    step : int
        Optimiser steps done.
    epoch, batch : int
        Epochs done, and steps done in the one that follows.
    sums : tuple of (float, int, int)
        Loss, correct answers and samples so far, in the unfinished epoch.
    generators : dict of str to Tensor
        Torch's random states, by device, in the unfinished epoch.
    epochs : tuple of Epoch
        What happened so far.
    best : dict of str to Tensor or None
        The tensors of the best epoch, for early stopping.
    """

    model: dict[str, Tensor]
    optimizer: dict[int, dict[str, Any]] = field(default_factory=dict)
    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: tuple[float, int, int] = (0.0, 0, 0)
    generators: dict[str, Tensor] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    best: dict[str, Tensor] | None = None

    def __repr__(self) -> str:
        weights = sum(tensor.numel() for tensor in self.model.values())
        return f"<TrainState: step {self.step}, epoch {self.epoch}, {weights:,} numbers>"


def state_of(model: nn.Module) -> TrainState:
    """Return a training at step 0 with the weights the model has now, copied.

    ``train(model, ..., start=state_of(initial))`` thus rewinds the model to initialisation:
    weights, batch-norm statistics and a fresh optimiser. For a later point, ask
    ``train(..., steps=k).state``.
    """
    return TrainState(copy_of(tensors_of(model)))


def copy_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same names with copies of the tensors."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def put_(model: nn.Module, tensors: dict[str, Tensor], argument: str) -> None:
    """Copy tensors into the model's parameters and buffers, all of them or none.

    Raises
    ------
    ValueError
        Naming the first differences, if names, shapes or dtypes are not the model's.
    """
    own = tensors_of(model)
    looks = {name: f"{tuple(t.shape)} {t.dtype}" for name, t in own.items()}
    given = {name: f"{tuple(t.shape)} {t.dtype}" for name, t in tensors.items()}
    if looks != given:
        names = [name for name in {**looks, **given} if looks.get(name) != given.get(name)]
        found = "; ".join(
            f"{name}: {given.get(name, 'absent')} there, {looks.get(name, 'absent')} in the model"
            for name in names[:5]
        )
        raise ValueError(
            f"{argument} must belong to this model; {len(names)} tensors differ: {found}. Build "
            f"the model that was trained, or pass another {argument}."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
