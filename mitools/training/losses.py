"""The two losses, and what they demand of outputs and targets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) -> the mean over the batch, a scalar."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits (n, c) with classes (n,)."""
    return F.cross_entropy(_at_least_float32(outputs), targets)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of outputs with targets of the same shape; float32 at least.

    Outputs (n, 1) go with targets (n,); nothing else is broadcast.
    """
    outputs = _at_least_float32(outputs)
    if outputs.shape != targets.shape:
        targets = targets.reshape(outputs.shape)
    return F.mse_loss(outputs, targets.to(outputs.dtype))


def loss_of(name: str, targets: Tensor) -> Loss:
    """Return the loss called so: "cross_entropy", "mse", or "auto", which follows the targets.

    Parameters
    ----------
    name : str
        "auto" means cross-entropy for integer targets, mean squared error for floating ones.
    targets : Tensor
        Some of the targets.

    Raises
    ------
    ValueError
        If there is no such loss, or cross-entropy is asked for with targets that are no classes.
    """
    classes = not targets.is_floating_point()
    if name == "mse" or (name == "auto" and not classes):
        return mean_squared_error
    if name not in ("auto", "cross_entropy"):
        raise ValueError(
            f"loss must be 'auto', 'cross_entropy' or 'mse'; got {name!r}. 'auto' follows the "
            "targets: integers are classes, floating numbers a regression."
        )
    if not classes:
        raise ValueError(
            f"loss must be 'mse' for floating targets; got 'cross_entropy' with {targets.dtype}. "
            "If they are classes, convert them with .long()."
        )
    return cross_entropy


def check_outputs(model: nn.Module, loss: Loss, inputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless the model turns inputs into what the loss needs for all targets.

    Parameters
    ----------
    model : torch.nn.Module
        Run once in evaluation mode, on two samples; left as it was.
    loss : Loss
        One of this module's.
    inputs : Tensor, shape (n, ...)
        Some inputs, on the model's device and in its dtype.
    targets : Tensor
        Any number of targets.
    """
    with torch.no_grad(), modes_kept(model):
        model.eval()
        try:
            outputs = model(inputs[:2])
        except RuntimeError as error:
            raise ValueError(
                f"data must fit the model; it could not take inputs of shape "
                f"{tuple(inputs[:2].shape)}: {error}. Reshape the inputs, or change the model's "
                "first layer."
            ) from error
    n = len(inputs[:2])
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != n:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"model must return one tensor with a row per sample; for {n} samples it gave {found}. "
            "Wrap it in a module that returns the logits alone."
        )
    check_targets(loss, outputs, targets)


def check_targets(loss: Loss, outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless targets are legal for such outputs, of other samples perhaps."""
    shape = tuple(outputs.shape[1:])
    returned = f"(n, {', '.join(map(str, shape))})" if shape else "(n,)"
    if loss is not cross_entropy:
        if shape != tuple(targets.shape[1:]) and shape != (*targets.shape[1:], 1):
            raise ValueError(
                f"targets must have the shape of the model's outputs; got {tuple(targets.shape)} "
                f"for outputs {returned}. Make class labels integers; else reshape the targets, or "
                "change the model's last layer."
            )
        return
    if len(shape) != 1:
        raise ValueError(
            f"model must return logits of shape (n, classes); got {returned}. "
            "Flatten or pool its output."
        )
    low, high = (int(end) for end in targets.aminmax())
    if low < 0 or high >= shape[0]:
        raise ValueError(
            f"targets must be classes 0 .. {shape[0] - 1}, the model's outputs; found labels from "
            f"{low} to {high}. Give the model {high + 1} outputs, or relabel the data."
        )


def correct(outputs: Tensor, targets: Tensor) -> int:
    """Return how often the largest logit is the target's."""
    return int((outputs.argmax(1) == targets).sum())


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards every submodule is in training or evaluation mode as it was before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
