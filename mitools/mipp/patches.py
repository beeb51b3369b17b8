"""What a layer reads, as rows: one for each sample and place."""

import math

import torch
from torch import Tensor, nn

from mitools.activations.places import padded

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def place_rows(
    value: Tensor, module: nn.Module, places: int | None, generator: torch.Generator
) -> Tensor:
    """Return what a layer multiplies with its weight at places of its output, as rows.

    Parameters
    ----------
    value : Tensor
        What the layer reads: (n, channels, ...) for a convolution, (n, ..., d) for a linear layer.
    module : Module
        The layer.
    places : int or None
        How many places of each sample to choose, uniformly; None: all.
    generator : torch.Generator
        On the CPU; chooses.

    Returns
    -------
    Tensor, shape (rows, d)
        The columns in the order of ``weight.flatten(1)``.
    """
    if isinstance(module, CONVOLUTIONS):
        value = _windows(value, module)
        axes = len(module.kernel_size)
        value = value.flatten(1 + axes)  # (n, place, ..., channels x kernel)
    else:
        axes = value.ndim - 2
    if not axes:
        return value
    shape = value.shape[1 : 1 + axes]
    count = math.prod(shape)
    if places is None or places >= count:
        return value.flatten(0, axes)
    drawn = torch.rand(len(value), count, generator=generator).topk(places).indices
    chosen = torch.unravel_index(drawn.to(value.device), shape)
    sample = torch.arange(len(value), device=value.device)[:, None]
    return value[(sample, *chosen)].flatten(0, 1)


def mean_rows(value: Tensor, module: nn.Module) -> Tensor:
    """Return the mean over places of each channel or feature, a row for each sample."""
    if isinstance(module, CONVOLUTIONS):
        return value.flatten(2).double().mean(2)
    return value if value.ndim == 2 else value.flatten(1, -2).double().mean(1)


def reads_of(weight: Tensor, kernel: int) -> Tensor:
    """Return a layer's weight as a matrix over the columns of its rows, (t, d) in float64.

    Where rows are means over places, a kernel counts with its sum: exact but for borders and
    strides.
    """
    weight = weight.detach().double()
    if weight.ndim > 2 and weight[0, 0].numel() != kernel:
        return weight.flatten(2).sum(2)
    return weight.flatten(1)


def _windows(value: Tensor, module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Tensor:
    """Return (n, place, ..., channels, kernel, ...), without a copy but for the padding."""
    value = padded(value, module)
    axes = len(module.kernel_size)
    for axis in range(axes):
        dilation, stride = module.dilation[axis], module.stride[axis]
        span = dilation * (module.kernel_size[axis] - 1) + 1
        value = value.unfold(2 + axis, span, stride)[..., ::dilation]
    return value.movedim(1, 1 + axes)
