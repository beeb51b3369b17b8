"""Copies of a network: the same weights, or fresh ones."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mitools.models.identity import check_materialized
from mitools.models.randomness import seeded

Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model) -> Model:
    """Return a deep copy, also of models pruned by ``torch.nn.utils.prune`` or weight-normalised.

    There ``copy.deepcopy`` fails: the effective weight is a plain attribute that belongs to a
    graph. It is recomputed before every use, so its value is enough for the copy.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    return deepcopy(model, memo)


def reinitialized(model: Model, seed: int) -> Model:
    """Return a deep copy with fresh weights, as its modules draw them.

    Every module that owns parameters draws them with its own ``reset_parameters``, in the order in
    which constructors do, so that ``reinitialized(mlp(widths), seed)`` equals
    ``mlp(widths, seed=seed)``. The draws are made on the CPU, so they do not depend on the device.
    An initialisation that the model made afterwards (say, Kaiming for all convolutions) is not
    known here.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.
    seed : int, >= 0
        Of the fresh weights.

    Returns
    -------
    torch.nn.Module
        On the same device, in the same dtype and mode; batch-norm statistics are reset.

    Raises
    ------
    ValueError
        If a module cannot draw its parameters anew, or leaves one of them out. Keeping their values
        would keep what they know of the data. (Buffers that no module resets are kept.)
    """
    check_materialized(model)
    stubborn = [name or "(the model itself)" for name, m in model.named_modules() if _stubborn(m)]
    if stubborn:
        raise ValueError(
            f"model must be able to draw fresh weights; {', '.join(stubborn)} own parameters but "
            "no usable reset_parameters(). Give the modules that method, undo a reparametrisation "
            "(torch.nn.utils.prune.remove), or pass the initial weights yourself."
        )
    fresh = copied(model)
    devices = {tensor.device for tensor in (*fresh.parameters(), *fresh.buffers())}
    if len(devices) == 1:
        fresh.cpu()
    floating = {name: p for name, p in fresh.named_parameters() if p.is_floating_point()}
    with torch.no_grad():
        for parameter in floating.values():
            parameter.fill_(torch.nan)  # what is not drawn anew will show
    with seeded(seed, devices):
        for module in _children_first(fresh, set()):
            reset = _reset_of(module)
            if reset is not None:
                reset()
    left = [name for name, parameter in floating.items() if bool(parameter.isnan().any())]
    if left:
        raise ValueError(
            f"model must be able to draw all its weights anew; {', '.join(left)} are not touched "
            "by their modules' reset_parameters(). Draw them there too, or pass initial weights."
        )
    return fresh.to(next(iter(devices))) if len(devices) == 1 else fresh


def _children_first(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    for child in module.children():
        if id(child) not in seen:
            yield from _children_first(child, seen)
    seen.add(id(module))
    yield module


def _reset_of(module: nn.Module) -> Any:
    # MultiheadAttention's has an underscore.
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _stubborn(module: nn.Module) -> bool:
    own = [name for name, _ in module.named_parameters(recurse=False)]
    # weight_orig, weight_g and weight_v stand behind a plain tensor called weight, and that is
    # what reset_parameters would fill, without effect.
    behind = any(isinstance(vars(module).get(name.rpartition("_")[0]), Tensor) for name in own)
    return bool(own) and (behind or not callable(_reset_of(module)))
