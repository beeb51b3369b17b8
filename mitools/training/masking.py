"""Pruned weights stay at zero, whatever the optimiser does."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Masking(Protocol):
    """A mask, as training sees it; a mapping from names to bool tensors is served faster."""

    def apply_(self, model: nn.Module) -> Any:
        """Set the pruned weights of the model to exactly 0, in place."""
        ...


class Enforced:
    """A mask bound to the tensors of one model.

    Gradients of pruned weights are zeroed before each step, so momentum and running means of dead
    weights stay 0 and the norm of the gradient is that of the pruned network; the weights are
    zeroed after each step, so that no optimiser can move them. ``masked_fill_`` rather than a
    product: NaN times 0 is NaN.
    """

    def __init__(self, model: nn.Module, mask: Masking | None) -> None:
        self._model = model
        self._mask = mask
        self._bound: list[tuple[nn.Parameter, Tensor, Tensor]] | None = []
        if mask is None:
            return
        if not callable(getattr(mask, "apply_", None)):
            raise TypeError(
                f"mask must have apply_(model), as mitools.Mask has; got {type(mask).__name__}. "
                "Wrap it: Mask.of(mask, model)."
            )
        mask.apply_(model)
        self._bound = _bind(model, mask)

    def gradients_(self) -> None:
        """Zero the gradients of pruned weights."""
        for parameter, _, dead in self._bound or ():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(dead, 0.0)

    def weights_(self) -> None:
        """Zero the pruned weights."""
        if self._bound is None and self._mask is not None:
            self._mask.apply_(self._model)
            return
        for _, weights, dead in self._bound or ():
            weights.masked_fill_(dead, 0.0)

    def state_(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what an optimiser that started without the mask remembers of pruned weights."""
        for parameter, _, dead in self._bound or ():
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == dead.shape:
                    value.masked_fill_(dead, 0.0)


def _bind(model: nn.Module, mask: Masking) -> list[tuple[nn.Parameter, Tensor, Tensor]] | None:
    """Return (parameter, its values, where it is pruned), or None if names are not parameters'."""
    entries = entries_of(mask)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if entries is None or not entries.keys() <= parameters.keys():
        return None  # reparametrised or wrapped models: the mask knows where to look
    bound = []
    for name, keep in entries.items():
        parameter = parameters[name]
        dead = ~keep.to(parameter.device, torch.bool)
        if dead.any():
            bound.append((parameter, parameter.detach(), dead))
    return bound


def entries_of(mask: Masking | None) -> dict[str, Tensor] | None:
    """Return what a mask keeps, by name, if it is a mapping."""
    items = getattr(mask, "items", None)
    return {name: keep for name, keep in items()} if callable(items) else None  # pyright: ignore  # noqa: C416
