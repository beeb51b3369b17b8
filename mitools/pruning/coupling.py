"""Which channels of a network hang together: proposed by Torch-Pruning, then tried."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mitools.models import check_materialized, copied, seeded
from mitools.pruning.channels import ChannelGroup, Part, Role, positions_of
from mitools.pruning.paths import arguments_of, outputs_of
from mitools.pruning.removal import depthwise, heads_of, remove_channels_, torch_pruning

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_OUTPUTS = "its channels are the network's outputs"
_TOLERANCE = 1e-4  # rounding makes about 1e-7, one channel for another at least 1e-3


class _NotPrunable(Exception):
    """Why a group of channels cannot be taken out."""


def coupled(model: nn.Module, example: Any) -> tuple[tuple[ChannelGroup, ...], dict[str, str]]:
    """Return the groups that can be taken out, and why other layers' outputs cannot.

    Errors are those of `channels.channel_groups`.
    """
    check_materialized(model)
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    with torch.inference_mode(False), torch.enable_grad(), seeded(0, devices):
        twin = _twin(model)
        run = _runner(example, next(iter(devices), torch.device("cpu")))
        trace = _traced(twin, run)
        groups, reasons = _proposed(trace)
        with torch.no_grad():
            works = _tried(twin, run, groups, reasons)
    order = [name for name in trace.layers if name in reasons]
    return works, {name: reasons[name] for name in order}


@dataclass
class _Trace:
    """A network as it ran once: its dependency graph, its layers in the order of their calls."""

    graph: Any
    modules: dict[str, nn.Module]
    calls: list[str]  # modules in forward order; those never called come last
    shared: frozenset[nn.Module]
    names: dict[int, str]

    @property
    def layers(self) -> list[str]:
        return [name for name in self.calls if isinstance(self.modules[name], _LAYERS)]

    def name_of(self, module: nn.Module) -> str:
        return self.names[id(module)]


def _twin(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, with positive weights: nothing is dead by chance."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ValueError(
            "model must be plain torch; TorchScript cannot be taken apart. Pass the "
            "model it was made from."
        )
    try:
        twin = copied(model).eval()
    except Exception as error:
        raise ValueError(
            f"model must be copyable; copying stopped with {type(error).__name__}: {error}."
        ) from error
    if any(p.dtype != torch.float64 for p in twin.parameters() if p.is_floating_point()):
        twin = twin.float()
    for parameter in twin.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
            values = parameter.detach().uniform_(0.0, 2.0)
            if values.dim() > 1:
                # Means over the inputs, so that depth does not matter; unequal from row to row,
                # so that it shows which channels were taken.
                rows = torch.rand(len(values), *[1] * (values.dim() - 1), device=values.device)
                values.mul_(2 * rows / values[0].numel())
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
    return twin


def _runner(example: Any, device: torch.device) -> Callable[..., list[Tensor]]:
    """Return what runs a network, perhaps with other parameters, on positive inputs."""

    def positive(value: Any) -> Any:
        if isinstance(value, Tensor):
            floating = value.is_floating_point()
            return (torch.rand_like(value) + 0.5 if floating else value).to(device)
        if isinstance(value, Mapping):
            return {key: positive(item) for key, item in value.items()}
        return tuple(map(positive, value)) if isinstance(value, list | tuple) else value

    args, kwargs = arguments_of(example)
    args, kwargs = positive(args), positive(kwargs)

    def cast(value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if isinstance(value, dict):
            return {key: cast(item, dtype) for key, item in value.items()}
        return tuple(cast(item, dtype) for item in value) if isinstance(value, tuple) else value

    def run(model: nn.Module, parameters: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        floating = (p.dtype for p in model.parameters() if p.is_floating_point())
        dtype = next(floating, torch.float32)
        given = cast(args, dtype), cast(kwargs, dtype)
        return list(outputs_of(functional_call(model, dict(parameters or {}), *given)))

    return run


def _traced(twin: nn.Module, run: Callable[..., list[Tensor]]) -> _Trace:
    tp = torch_pruning()
    calls: Counter[nn.Module] = Counter()
    hooks = [
        module.register_forward_hook(lambda module, *_: calls.update([module]))
        for module in twin.modules()
    ]
    graph = tp.DependencyGraph()
    try:
        graph.build_dependency(
            twin, example_inputs=(), forward_fn=lambda model, _: run(model), verbose=False
        )
    except Exception as error:
        raise ValueError(
            "model must run on example_input and be traceable by autograd; tracing stopped with "
            f"{type(error).__name__}: {str(error).strip() or 'no message'}. Has example_input the "
            "shape and the dtype of a batch?"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return _trace_of(twin, graph, calls)


def _trace_of(twin: nn.Module, graph: Any, calls: Counter[nn.Module]) -> _Trace:
    modules = dict(twin.named_modules())
    names = {id(module): name for name, module in modules.items()}
    holders: dict[int, set[int]] = defaultdict(set)
    for module in modules.values():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)].add(id(module))
    shared = {
        module
        for module in modules.values()
        if calls[module] > 1
        or any(len(holders[id(p)]) > 1 for p in module.parameters(recurse=False))
    }
    order = dict.fromkeys([*calls, *modules.values()])  # a Counter keeps the order of first calls
    return _Trace(graph, modules, [names[id(m)] for m in order], frozenset(shared), names)


def _proposed(trace: _Trace) -> tuple[list[ChannelGroup], dict[str, str]]:
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
            producers |= {trace.name_of(m) for m, out, _ in items if out and _is_layer(trace, m)}
            groups.append(_with_heads(trace, _group(trace, name, items)))
        except _NotPrunable as reason:
            reasons |= dict.fromkeys(producers, str(reason))
        done |= producers
    return groups, reasons


def _is_layer(trace: _Trace, module: Any) -> bool:
    return isinstance(module, _LAYERS) and id(module) in trace.names


_Item = tuple[Any, bool, list[tuple[int, int]]]
"""A module (or operation), whether its outputs are meant, and pairs (index, channel)."""


def _items(trace: _Trace, name: str) -> list[_Item]:
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


def _group(trace: _Trace, name: str, items: Sequence[_Item]) -> ChannelGroup:
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
    trace: _Trace, module: Any, out: bool, positions: Callable[[], tuple[tuple[int, ...], ...]]
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


def _with_heads(trace: _Trace, group: ChannelGroup) -> ChannelGroup:
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
