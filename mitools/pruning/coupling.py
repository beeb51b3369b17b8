"""Which channels of a network hang together: proposed by Torch-Pruning, then tried."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mitools.models import check_materialized, seeded
from mitools.pruning.channels import ChannelGroup, Part, Role, positions_of, unnamed
from mitools.pruning.removal import depthwise, heads_of, remove_channels_
from mitools.pruning.tracing import Trace, runner, traced, twin_of

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_OUTPUTS = "its channels are the network's outputs"
_TOLERANCE = 1e-4  # rounding makes about 1e-7, one channel for another at least 1e-3


class _NotPrunable(Exception):
    """Why a group of channels cannot be taken out."""


def channel_groups(
    model: nn.Module, example_input: Any, names: Sequence[str] | None = None
) -> tuple[ChannelGroup, ...]:
    """Return the groups of channels that can be taken out of a network, in forward order.

    Torch-Pruning's dependency graph proposes them. Each is then tried: on a copy with weights of
    our own, taking out some channels and masking them must give the same outputs; so what is
    returned can be removed, whatever the graph understood. Never among them: the network's inputs
    and outputs, what a layer norm reads (it mixes its channels), grouped convolutions unless
    depthwise, shared weights. `left_out` says why a layer is missing.

    A module with a number of heads (an attribute ``heads``, ``num_heads`` or ``n_heads``) and
    separate linear layers for queries, keys and values gives one group of heads.

    Parameters
    ----------
    model : Module
        Only read: everything happens on a copy.
    example_input : Tensor, tuple or dict
        One batch, or positional or keyword arguments, of the right shapes; one sample is enough.
        Floating-point values do not matter.
    names : sequence of str, optional
        Keep only groups that weights of these names make up, so that a mask over them can express
        every removal. None: no such condition.

    Returns
    -------
    tuple of ChannelGroup
        Perhaps empty.

    Raises
    ------
    ImportError
        If Torch-Pruning is not installed.
    ValueError
        If the model fails on the example, or cannot be traced or copied.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> [(g.name, g.size) for g in channel_groups(mlp((4, 3, 2)), torch.ones(1, 4))]
    [('fc1', 3)]
    """
    found, _ = _coupled(model, example_input)
    return tuple(group for group in found if not unnamed(group, names))


def left_out(
    model: nn.Module, example_input: Any, names: Sequence[str] | None = None
) -> dict[str, str]:
    """Return every linear or convolutional layer that no group produces, with the reason.

    Parameters and errors are those of `channel_groups`.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> left_out(mlp((4, 3, 2)), torch.ones(1, 4))
    {'fc2': "its channels are the network's outputs"}
    """
    found, reasons = _coupled(model, example_input)
    for group in found:
        missing = unnamed(group, names)
        for part in group.of_role("produces") if missing else ():
            layer = part.parameter.rpartition(".")[0]
            reasons[layer] = f"{', '.join(missing)} must stay whole: not among the names"
    return reasons


def prunable_groups(
    model: nn.Module, example_input: Any, names: Sequence[str] | None = None
) -> tuple[ChannelGroup, ...]:
    """Return `channel_groups`, at least one.

    Raises
    ------
    ValueError
        If there is none; the message says why, layer by layer.
    """
    groups = channel_groups(model, example_input, names)
    if not groups:
        reasons = left_out(model, example_input, names)
        raise ValueError(
            "model must have channels that can be taken out; found none: "
            + "; ".join(f"{layer or 'the model'}: {reason}" for layer, reason in reasons.items())
            + ". Prune single weights instead, with OneShot(score)."
        )
    return groups


def _coupled(model: nn.Module, example: Any) -> tuple[tuple[ChannelGroup, ...], dict[str, str]]:
    """Return the groups that can be taken out, and why other layers' outputs cannot.

    Errors are those of `channel_groups`.
    """
    check_materialized(model)
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    with torch.inference_mode(False), torch.enable_grad(), seeded(0, devices):
        twin = twin_of(model)
        run = runner(twin, example)
        trace = traced(twin, run)
        groups, reasons = _proposed(trace)
        with torch.no_grad():
            works = _tried(twin, run, groups, reasons)
    order = [name for name in trace.layers if name in reasons]
    return works, {name: reasons[name] for name in order}


def _proposed(trace: Trace) -> tuple[list[ChannelGroup], dict[str, str]]:
    """Return a group for every layer, siblings together, or the reason why there is none."""
    groups: list[ChannelGroup] = []
    reasons: dict[str, str] = {}
    done: set[str] = set()
    for name in trace.layers:
        if name in done:
            continue
        producers = {name}
        try:
            items = _items(trace, name)
            producers |= {trace.name_of(m) for m, out, _ in items if out and trace.is_layer(m)}
            groups.append(_with_heads(trace, _group(trace, name, items)))
        except _NotPrunable as reason:
            reasons |= dict.fromkeys(producers, str(reason))
        done |= producers
    return groups, reasons


_Item = tuple[Any, bool, list[tuple[int, int]]]
"""A module (or operation), whether its outputs are meant, and pairs (index, channel)."""


def _items(trace: Trace, name: str) -> list[_Item]:
    graph, module = trace.graph, trace.modules[name]
    if module not in graph.module2node:
        raise _NotPrunable("the trace from inputs to outputs does not pass through it as a layer")
    pruner = graph.get_pruner_of_module(module)
    size = pruner.get_out_channels(module)
    group = graph.get_pruning_group(module, pruner.prune_out_channels, list(range(size)))
    return [
        (
            item.dep.target.module,
            graph.is_out_channel_pruning_fn(item.dep.handler),
            list(zip(item.idxs, item.root_idxs, strict=True)),
        )
        for item in group
    ]


def _group(trace: Trace, name: str, items: Sequence[_Item]) -> ChannelGroup:
    size = len(items[0][2])
    # Bare parameters last: a layer norm beside them is the better reason.
    items = sorted(items, key=lambda item: isinstance(item[0], nn.Parameter))
    parts = [
        part
        for module, out, pairs in items
        for part in _parts(trace, module, out, lambda pairs=pairs: _positions(pairs, size))
    ]
    if not any(part.role == "consumes" for part in parts):
        raise _NotPrunable(_OUTPUTS)
    order = {layer: i for i, layer in enumerate(trace.calls)}
    return ChannelGroup(
        name, size, tuple(sorted(parts, key=lambda p: order[p.parameter.rpartition(".")[0]]))
    )


def _parts(
    trace: Trace, module: Any, out: bool, positions: Callable[[], tuple[tuple[int, ...], ...]]
) -> Iterator[Part]:
    """Yield what one module holds of a group; operations without parameters hold nothing."""
    kind = type(module).__name__
    if kind == "_OutputOp":
        raise _NotPrunable(_OUTPUTS)
    if isinstance(module, nn.Parameter):
        raise _NotPrunable("a parameter that belongs to no layer is part of its channels")
    if id(module) not in trace.names:
        return
    name = trace.name_of(module)
    if module in trace.shared:
        raise _NotPrunable(f"{name or kind} is used more than once")
    axis, role = _axis_and_role(module, out, name)
    if role is None:
        return
    if "weight" not in module._parameters:
        raise _NotPrunable(f"the weight of {name} is computed from other parameters")
    prefix = f"{name}." if name else ""
    yield Part(f"{prefix}weight", axis, positions(), role)
    if role != "consumes" and module._parameters.get("bias") is not None:
        yield Part(f"{prefix}bias", 0, positions(), "norm")


def _axis_and_role(module: nn.Module, out: bool, name: str) -> tuple[int, Role | None]:
    """Return the axis of the weight along which channels lie, and what the weight does to them."""
    if isinstance(module, nn.modules.conv._ConvNd):
        if depthwise(module):
            return 0, "produces"
        if module.groups > 1:
            raise _NotPrunable(f"{name} is a grouped convolution")
        return int(out == module.transposed), "produces" if out else "consumes"
    if isinstance(module, nn.Linear):
        return int(not out), "produces" if out else "consumes"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if not module.affine:
            raise _NotPrunable(f"{name} is a batch norm without parameters")
        return 0, "norm"
    if isinstance(module, nn.PReLU):
        return 0, "norm" if module.num_parameters > 1 else None
    if next(module.parameters(), None) is None and not isinstance(module, _NORMS):
        return 0, None
    raise _NotPrunable(f"{name}, a {type(module).__name__}, mixes or holds its channels")


def _positions(pairs: Sequence[tuple[int, int]], size: int) -> tuple[tuple[int, ...], ...]:
    found: dict[int, list[int]] = defaultdict(list)
    for index, channel in pairs:
        found[channel].append(index)
    counts = {len(indices) for indices in found.values()}
    if sorted(found) != list(range(size)) or len(counts) != 1:
        raise _NotPrunable("its channels cannot be followed one by one to where they are read")
    return tuple(tuple(sorted(found[channel])) for channel in range(size))


def _with_heads(trace: Trace, group: ChannelGroup) -> ChannelGroup:
    """Return the group with channels joined to heads, if queries, keys and values make it up."""
    producers = {part.parameter.rpartition(".")[0] for part in group.of_role("produces")}
    holders = {name.rpartition(".")[0] for name in producers}
    if len(holders) != 1 or len(producers) < 3:
        return group
    (holder,) = holders
    attribute = heads_of(trace.modules[holder])
    if attribute is None:
        return group
    heads = getattr(trace.modules[holder], attribute)
    if group.size % heads:
        raise _NotPrunable(f"its {group.size} channels do not divide into {heads} heads")
    width = group.size // heads
    return ChannelGroup(holder, heads, tuple(_by_head(part, heads, width) for part in group.parts))


def _by_head(part: Part, heads: int, width: int) -> Part:
    joined = (
        tuple(i for own in part.positions[h * width : (h + 1) * width] for i in own)
        for h in range(heads)
    )
    return dataclasses.replace(part, positions=tuple(joined))


def _tried(
    twin: nn.Module,
    run: Callable[..., list[Tensor]],
    groups: Sequence[ChannelGroup],
    reasons: dict[str, str],
) -> tuple[ChannelGroup, ...]:
    """Return the groups whose removal equals their masking; note the others among the reasons."""
    if _failure(twin, run, groups) is None:
        return tuple(groups)
    works = []
    for group in groups:
        failure = _failure(twin, run, [group])
        if failure is None:
            works.append(group)
            continue
        for part in group.of_role("produces"):
            reasons[part.parameter.rpartition(".")[0]] = failure
    return tuple(works)


def _failure(
    twin: nn.Module, run: Callable[..., list[Tensor]], groups: Sequence[ChannelGroup]
) -> str | None:
    """Stop reading about half of the channels, then remove them; return what differs."""
    kept = {group.name: _about_half(group.size) for group in groups}
    try:
        masked = run(twin, _unread(twin, groups, kept))
        with _restored(twin):
            shrunk = run(remove_channels_(twin, groups, kept))
    except Exception as error:
        return f"without some of its channels the network fails ({type(error).__name__}: {error})"
    if [t.shape for t in masked] != [t.shape for t in shrunk]:
        return _OUTPUTS
    if not all(_close(a, b) for a, b in zip(masked, shrunk, strict=True)):
        return "its channels matter beyond the weights that read them"
    return None


def _unread(
    twin: nn.Module, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the parameters with zeros where channels that are not kept would be read."""
    weights: dict[str, Tensor] = dict(twin.named_parameters())
    for group in groups:
        for part in group.of_role("consumes"):
            weight = weights[part.parameter]
            gone = positions_of(part, ~kept[group.name]).to(weight.device)
            weights[part.parameter] = weight.index_fill(part.axis, gone, 0.0)
    return weights


def _about_half(size: int) -> Tensor:
    chosen = torch.rand(size) < 0.5
    chosen[0] |= not bool(chosen.any())
    if size > 1 and bool(chosen.all()):
        chosen[-1] = False
    return chosen


def _close(a: Tensor, b: Tensor) -> bool:
    scale = a.abs().max() if a.numel() else a.sum()
    return bool(((a - b).abs() <= _TOLERANCE * scale).all())


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Let layers be cut inside; outside they hold what they held."""
    states = [
        (module, dict(vars(module)), dict(module._parameters), dict(module._buffers))
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, parameters, buffers in states:
            vars(module).clear()
            vars(module).update(attributes)
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
