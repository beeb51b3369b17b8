"""What each channel adds to the layers that read it, at places drawn at random."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mitools.activations.places import padded
from mitools.data import as_batches
from mitools.data.seeds import derived_seed
from mitools.pruning.channels import ChannelGroup, Part
from mitools.training.evaluation import place_of, placed

_AT_ONCE = 64  # images in one pass


def drawn(loader: Any, count: int, seed: int) -> Tensor:
    """Return so many inputs, or all, chosen at random without replacement, in the loader's order.

    Reads the whole loader, once; the choice does not depend on how it is cut into batches.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "images"))
    kept: Tensor | None = None
    keys = torch.empty(0, dtype=torch.float64)
    for inputs, _ in as_batches(loader):
        fresh = torch.rand(len(inputs), generator=generator, dtype=torch.float64)
        kept = inputs if kept is None else torch.cat([kept, inputs])
        keys = torch.cat([keys, fresh])
        if len(keys) > count:
            first = keys.argsort()[:count].sort().values
            kept, keys = kept[first.to(kept.device)], keys[first]
    assert kept is not None  # as_batches refuses what is empty
    return kept


def contributions(
    model: nn.Module, group: ChannelGroup, images: Tensor, pairs: int, seed: int
) -> Tensor:
    """Return what each channel of a group contributes to outputs of the layers that read it.

    For every image and every such layer so many (filter, position) pairs are drawn; a row sums, for
    each channel, weight times input over the kernel there. Rows sum to the output without the bias,
    as far as it comes from this group.

    Parameters
    ----------
    model : Module
        In the mode to run it in.
    group : ChannelGroup
        Its consumers must be `nn.Linear` or `nn.Conv2d`.
    images : Tensor, shape (n, ...)
        The inputs of the network.
    pairs : int
        Pairs for each image and layer.
    seed : int
        Of the pairs.

    Returns
    -------
    Tensor, shape (rows, group.size)
        In float64, on the CPU.

    Raises
    ------
    ValueError
        If another kind of layer reads the channels, or they are not finite.
    """
    place = place_of(model)
    found: list[Tensor] = []
    for part in group.of_role("consumes"):
        generator = torch.Generator().manual_seed(derived_seed(seed, "pairs", part.parameter))
        hook = _Reader(part, pairs, generator, found)
        layer = model.get_submodule(part.parameter.rpartition(".")[0])
        _check_layer(layer, part)
        handle = layer.register_forward_pre_hook(hook)
        try:
            for batch in images.split(_AT_ONCE):
                model(placed(batch, *place))
        finally:
            handle.remove()
    rows = torch.cat(found)
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(
            f"model must compute finite numbers; channels of {group.name!r} are NaN or infinite. "
            "Is there a NaN in the weights, or does the network overflow?"
        )
    return rows


class _Reader:
    """Sees the inputs of a layer pass by, and notes the contributions to some of its outputs."""

    def __init__(
        self, part: Part, pairs: int, generator: torch.Generator, found: list[Tensor]
    ) -> None:
        self._positions = torch.tensor(part.positions)
        self._pairs = pairs
        self._generator = generator
        self._found = found

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shape = (len(inputs[0]), self._pairs, 3)
        draws = torch.rand(shape, generator=self._generator, dtype=torch.float64)
        products = _of_conv if isinstance(layer, nn.Conv2d) else _of_linear
        rows = products(layer, inputs[0].detach(), draws).to("cpu").flatten(0, 1)
        self._found.append(rows[:, self._positions].sum(2))


def _of_linear(layer: nn.Module, x: Tensor, draws: Tensor) -> Tensor:
    """Return weight times input for some (unit, token) of each sample, shape (n, pairs, inputs)."""
    weight = _weight(layer)
    tokens = x.reshape(len(x), -1, x.shape[-1])
    units, places = _indices(draws, (len(weight), tokens.shape[1]), x.device)
    samples = torch.arange(len(x), device=x.device).unsqueeze(1)
    return tokens[samples, places].double() * weight[units]


def _of_conv(layer: nn.Module, x: Tensor, draws: Tensor) -> Tensor:
    """The same of a convolution, summed over the kernel."""
    assert isinstance(layer, nn.Conv2d)
    weight = _weight(layer)
    x = padded(x, layer)
    windows = zip(layer.kernel_size, layer.dilation, layer.stride, x.shape[2:], strict=True)
    reach = [(size - d * (k - 1) - 1) // s + 1 for k, d, s, size in windows]
    filters, *corners = _indices(draws, (len(weight), *reach), x.device)
    rows, columns = (
        corner.unsqueeze(-1) * s + torch.arange(k, device=x.device) * d
        for corner, k, d, s in zip(
            corners, layer.kernel_size, layer.dilation, layer.stride, strict=True
        )
    )
    samples = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    patches = x[samples, :, rows.unsqueeze(-1), columns.unsqueeze(-2)]  # channels last
    return (patches.double() * weight[filters].movedim(2, -1)).sum((2, 3))


def _indices(draws: Tensor, sizes: tuple[int, ...], device: torch.device) -> Iterator[Tensor]:
    """Turn numbers from [0, 1) into indices below each size."""
    for i, size in enumerate(sizes):
        yield (draws[..., i] * size).long().to(device)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double()


def _check_layer(layer: nn.Module, part: Part) -> None:
    plain = isinstance(layer, nn.Linear | nn.Conv2d) and part.axis == 1
    if not plain or (isinstance(layer, nn.Conv2d) and layer.groups != 1):
        raise ValueError(
            "model must read its channels by linear layers or two-dimensional convolutions; "
            f"{part.parameter!r} belongs to a {type(layer).__name__}. Leave it out by "
            "exclude=[...], or take a pruner that reads weights only, such as Structured."
        )
