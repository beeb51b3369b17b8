"""Channels: the smallest parts of a network that can be taken out, and masks made of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mitools.data.batches import as_batches
from mitools.pruning.mask import Mask
from mitools.pruning.paths import check_takes
from mitools.pruning.scoring import parameters_named
from mitools.pruning.synflow import shape_of_input
from mitools.training.evaluation import place_of, placed

Role = Literal["produces", "consumes", "norm"]


@dataclass(frozen=True)
class Part:
    """Where the channels of a group live along one axis of one parameter.

    Attributes
    ----------
    parameter : str
        Name in ``model.named_parameters()``, such as ``"conv1.weight"``.
    axis : int
        The axis along which channels are told apart.
    positions : tuple of tuple of int
        For each channel its indices along the axis: several after a flattening, and for a head.
    role : "produces", "consumes" or "norm"
        Weights that compute the channel, weights that read it, or what comes along: biases,
        batch norm, slopes of a PReLU.
    """

    parameter: str
    axis: int
    positions: tuple[tuple[int, ...], ...] = field(repr=False)
    role: Role


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that go together: filters, biases, batch norm, residual siblings, and readers.

    Attributes
    ----------
    name : str
        The layer that produces them first in forward order, ``"conv1"``; for attention heads the
        module that holds the layers, ``"block1.attention"``.
    size : int
        How many channels, or heads.
    parts : tuple of Part
        Channel c is all that the parts hold at their positions c.
    """

    name: str
    size: int
    parts: tuple[Part, ...]

    def of_role(self, role: Role) -> Iterator[Part]:
        """Yield the parts that play one role."""
        return (part for part in self.parts if part.role == role)


def channel_mask(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    kept: Mapping[str, Tensor],
    names: Sequence[str],
) -> Mask:
    """Return the mask whose kept weights are those of the network without the other channels.

    Of a channel that goes, both the rows that produce it and the columns that read it are out.
    With the columns gone its value does not matter, whatever biases and batch norm do.

    Parameters
    ----------
    model : Module
        For the shapes.
    groups : sequence of ChannelGroup
        From `channel_groups`.
    kept : mapping of str to bool Tensor, shape (size,)
        For each group, by name, the channels that stay; groups not named stay whole.
    names : sequence of str
        The parameters that the mask covers.

    Raises
    ------
    ValueError
        If kept names an unknown group, has a wrong shape, or leaves a group without channels; or
        if a weight that must go is not among the names.
    """
    tensors = {
        name: torch.ones_like(parameter, dtype=torch.bool)
        for name, parameter in parameters_named(model, names).items()
    }
    for group, stays in _checked(groups, kept):
        missing = [] if bool(stays.all()) else unnamed(group, names)
        if missing:
            raise ValueError(
                f"names must hold all weights of a channel that goes; {', '.join(missing)} of "
                f"{group.name!r} are missing. Take the groups from channel_groups(model, "
                "example_input, names)."
            )
        for part in group.parts:
            if part.parameter in tensors:
                gone = positions_of(part, ~stays)
                mask = tensors[part.parameter]
                mask.index_fill_(part.axis, gone.to(mask.device), False)
    return Mask(tensors)


def unnamed(group: ChannelGroup, names: Sequence[str] | None) -> list[str]:
    """Return the weights of a group that are not among the names."""
    weights = (part.parameter for part in group.parts if part.role != "norm")
    return [] if names is None else [w for w in dict.fromkeys(weights) if w not in set(names)]


def kept_channels(groups: Sequence[ChannelGroup], mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return which channels a mask keeps alive, also one that was not made of channels.

    A channel is dead if every weight that reads it is out: removing it changes nothing. Weights
    that only dead channels hold count as out, so that death spreads backwards.

    Parameters
    ----------
    groups : sequence of ChannelGroup
        From `channel_groups`.
    mask : Mask
        Parameters it does not name count as kept.

    Returns
    -------
    dict of str to bool Tensor, shape (size,)
        By group, on the CPU.
    """
    tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in mask.items()}
    alive = {group.name: torch.ones(group.size, dtype=torch.bool) for group in groups}
    changed = True
    while changed:
        changed = False
        for group in reversed(groups):
            dead = alive[group.name] & ~_read(group, tensors)
            if bool(dead.any()):
                changed = True
                alive[group.name] &= ~dead
                for part in group.of_role("produces"):
                    if part.parameter in tensors:
                        gone = positions_of(part, dead)
                        tensors[part.parameter].index_fill_(part.axis, gone, False)
    return alive


def _read(group: ChannelGroup, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return which channels some kept weight reads."""
    read = torch.zeros(group.size, dtype=torch.bool)
    for part in group.of_role("consumes"):
        if part.parameter not in tensors:
            return torch.ones_like(read)
        tensor = tensors[part.parameter].movedim(part.axis, 0)
        used = tensor.reshape(len(tensor), -1).any(1)
        read |= used[torch.tensor(part.positions)].any(1)
    return read


def positions_of(part: Part, chosen: Tensor) -> Tensor:
    """Return the indices along the part's axis of the channels chosen, ascending."""
    picked = [i for c in chosen.nonzero().flatten().tolist() for i in part.positions[c]]
    return torch.tensor(sorted(picked), dtype=torch.long)


def _checked(
    groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> Iterator[tuple[ChannelGroup, Tensor]]:
    by_name = {group.name: group for group in groups}
    for name, stays in kept.items():
        if name not in by_name:
            raise ValueError(
                f"kept must name groups of channels; {name!r} is none. There are: "
                f"{', '.join(by_name) or 'none at all'}."
            )
        group = by_name[name]
        stays = torch.as_tensor(stays).detach().cpu()
        if stays.dtype != torch.bool or stays.shape != (group.size,):
            raise ValueError(
                f"kept must hold one boolean for each of the {group.size} channels of {name!r}; "
                f"got {stays.dtype} of shape {tuple(stays.shape)}."
            )
        if not bool(stays.any()):
            raise ValueError(
                f"kept must leave a channel in every group; {name!r} keeps none of {group.size}, "
                "which would cut the signal. Keep at least one."
            )
        yield group, stays


def example_of(model: nn.Module, loader: Any) -> Tensor:
    """Return one input, as a batch of one, for tracing a model.

    Parameters
    ----------
    model : Module
        Gives the device and the dtype.
    loader : DataLoader, Dataset, `Samples`, pair of arrays, or None
        Ones of ``loader.input_shape`` where it has that attribute, without being opened; else the
        first sample it yields; None: ones of the shape that the model tells.

    Raises
    ------
    ValueError
        If neither tells the shape, or the model tells one that it does not take.
    """
    device, dtype = place_of(model)
    if loader is None:
        return _told_by(model)
    if getattr(loader, "input_shape", None) is not None:
        shape = shape_of_input(model, loader)
        return torch.ones((1, *shape), dtype=dtype, device=device)
    inputs, _ = next(iter(as_batches(loader)))
    return placed(inputs[:1], device, dtype)


def _told_by(model: nn.Module) -> Tensor:
    """Return ones of the shape that a model tells, if it takes them."""
    device, dtype = place_of(model)
    try:
        example = torch.ones((1, *shape_of_input(model, None)), dtype=dtype, device=device)
        check_takes(model, (example,))
    except ValueError as error:
        raise ValueError(
            "loader must be given, because the model does not tell the shape of its inputs; got "
            "None. Pass the data, or set model.input_shape, without the batch."
        ) from error
    return example
