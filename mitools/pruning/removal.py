"""Taking channels out of the layers of a network, by Torch-Pruning's functions."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

from torch import Tensor, nn

from mitools.pruning.channels import ChannelGroup, Role, positions_of

HEADS = ("heads", "num_heads", "n_heads")
"""Attributes in which modules keep their number of attention heads."""


def torch_pruning() -> ModuleType:
    """Return the library.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError(
            "channels are found and removed by Torch-Pruning, which is not installed. "
            "Run: pip install 'mitools[shrink]'"
        ) from error
    return torch_pruning


def remove_channels_(
    model: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> nn.Module:
    """Take out, in place, the channels that are not kept; new parameters replace the old.

    What several groups take from one axis goes at once, because every index counts from the start.
    """
    gone: dict[tuple[str, Role], set[int]] = defaultdict(set)
    for group in groups:
        for part in group.parts:
            layer, _, tensor = part.parameter.rpartition(".")
            if part.role != "norm" or tensor == "weight":  # biases go with the weight
                gone[layer, part.role].update(positions_of(part, ~kept[group.name]).tolist())
    modules = dict(model.named_modules())
    for (layer, role), positions in gone.items():
        if positions:
            _shrink_layer_(modules[layer], role, sorted(positions))
    for group in groups:
        holder = modules[group.name]
        attribute = heads_of(holder)
        if attribute is not None:
            setattr(holder, attribute, int(kept[group.name].sum()))
    return model


def _shrink_layer_(module: nn.Module, role: Role, positions: list[int]) -> None:
    flags = {name: p.requires_grad for name, p in module.named_parameters(recurse=False)}
    _cut_of(module, role)(module, positions)
    for name, parameter in module.named_parameters(recurse=False):
        parameter.requires_grad_(flags[name])


def _cut_of(module: nn.Module, role: Role) -> Callable[[nn.Module, list[int]], nn.Module]:
    """Return the function that takes positions out of what such a layer gives or reads."""
    tp = torch_pruning()
    reads = role == "consumes"
    if isinstance(module, nn.modules.conv._ConvNd):
        if depthwise(module):
            return tp.prune_depthwise_conv_out_channels
        return tp.prune_conv_in_channels if reads else tp.prune_conv_out_channels
    if isinstance(module, nn.Linear):
        return tp.prune_linear_in_channels if reads else tp.prune_linear_out_channels
    if isinstance(module, nn.PReLU):
        return tp.prune_prelu_out_channels
    return tp.prune_batchnorm_out_channels


def depthwise(module: nn.modules.conv._ConvNd) -> bool:
    """Return whether every channel has a filter of its own, and nothing else."""
    return module.groups == module.in_channels == module.out_channels > 1


def heads_of(module: nn.Module) -> str | None:
    """Return the attribute that holds the module's number of heads, if it has one."""
    for attribute in HEADS:
        value = getattr(module, attribute, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return attribute
    return None
