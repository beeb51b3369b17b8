"""Feature maps as few numbers: means over places, a grid of places, and what is read for them."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Reduce = Literal["flatten", "mean", "places", "patches"]
"""What becomes of the places of a feature map: all kept, averaged, or a grid of them kept.

"patches" keeps the same grid, and for every layer the neighbourhood that it reads for each place.
"""

_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.LayerNorm, nn.Embedding)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PLACES = 3  # along each axis of a feature map


def summary(value: Tensor, module: nn.Module, reduce: Reduce) -> Tensor:
    """Return a copy of what a module gives, without, or with fewer, places."""
    if value.ndim == 0:
        return value.clone()
    if value.ndim <= 2 or reduce == "flatten":
        return value.reshape(len(value), -1).clone()
    value = value if isinstance(module, _CHANNELS_LAST) else value.movedim(1, -1)
    axes = range(1, value.ndim - 1)
    if reduce == "mean":
        value = value if value.is_floating_point() else value.float()
        return value.mean(dim=tuple(axes))
    for axis in axes:
        picks = torch.tensor(_picks(value.shape[axis]), device=value.device)
        value = value.index_select(axis, picks)
    return value.flatten(1, -2)


def patches(value: Tensor, module: nn.Module) -> Tensor:
    """Return what a module reads for each place of the grid in its output.

    That is, shape (n, places, channels x kernel), for a convolution; all for attention; the same
    place for a layer over features, and the same relative place for any other module.
    """
    if isinstance(module, _CONVOLUTIONS) and value.ndim == 2 + len(module.kernel_size):
        return _neighbourhoods(value, module)
    reduce = "flatten" if isinstance(module, nn.MultiheadAttention) else "places"
    return summary(value, module, reduce)


def _picks(size: int) -> list[int]:
    """Return the middles of equal parts; on tiny maps places repeat, so that grids always match."""
    return [(2 * i + 1) * size // (2 * _PLACES) for i in range(_PLACES)]


def _neighbourhoods(value: Tensor, module: Any) -> Tensor:
    """Return the patches that a convolution multiplies with its kernel, at the grid of places."""
    value = padded(value, module)
    axes = range(2, value.ndim)
    for axis, kernel, stride, dilation in zip(
        reversed(axes),  # so that those still to come keep their numbers
        reversed(module.kernel_size),
        reversed(module.stride),
        reversed(module.dilation),
        strict=True,
    ):
        places = (value.shape[axis] - dilation * (kernel - 1) - 1) // stride + 1
        rows = [[p * stride + dilation * j for j in range(kernel)] for p in _picks(places)]
        index = torch.tensor(rows, device=value.device).flatten()
        value = value.index_select(axis, index).unflatten(axis, (_PLACES, kernel))
    # (n, channels, place, kernel, place, kernel, ...)
    value = value.movedim(tuple(range(2, value.ndim, 2)), tuple(range(1, 1 + len(axes))))
    return value.flatten(1 + len(axes)).flatten(1, len(axes))


def padded(value: Tensor, module: Any) -> Tensor:
    """Return what a convolution reads with its padding around it, copied."""
    if module.padding == "valid":
        return value
    if module.padding == "same":
        total = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        sides = [(size // 2, size - size // 2) for size in total]
    else:
        sides = [(size, size) for size in module.padding]
    widths = [width for pair in reversed(sides) for width in pair]
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(value, widths, mode=mode) if any(widths) else value.clone()
