"""A network as it runs once on a copy: its layers in order, and Torch-Pruning's graph of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mitools.models import copied
from mitools.pruning.paths import arguments_of, outputs_of
from mitools.pruning.removal import torch_pruning
from mitools.training.evaluation import place_of, placed

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


@dataclass(frozen=True, eq=False)
class Trace:
    """A network as it ran once: its dependency graph, its modules in the order of their calls."""

    graph: Any
    modules: dict[str, nn.Module]
    calls: list[str]  # modules in forward order; those never called come last
    shared: frozenset[nn.Module]
    names: dict[int, str]

    @property
    def layers(self) -> list[str]:
        """The names of what may produce channels."""
        return [name for name in self.calls if isinstance(self.modules[name], LAYERS)]

    def name_of(self, module: nn.Module) -> str:
        """Return the name of one of its modules."""
        return self.names[id(module)]

    def is_layer(self, module: Any) -> bool:
        """Return whether this is one of its layers."""
        return isinstance(module, LAYERS) and id(module) in self.names


def twin_of(model: nn.Module) -> nn.Module:
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


def runner(twin: nn.Module, example: Any) -> Callable[..., list[Tensor]]:
    """Return what runs the twin on positive inputs, perhaps with other parameters."""
    device, dtype = place_of(twin)

    def positive(value: Any) -> Any:
        if isinstance(value, Tensor):
            drawn = torch.rand_like(value) + 0.5 if value.is_floating_point() else value
            return placed(drawn, device, dtype)
        if isinstance(value, Mapping):
            return {key: positive(item) for key, item in value.items()}
        return tuple(map(positive, value)) if isinstance(value, list | tuple) else value

    args, kwargs = map(positive, arguments_of(example))

    def run(model: nn.Module, parameters: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        return list(outputs_of(functional_call(model, dict(parameters or {}), args, kwargs)))

    return run


def traced(twin: nn.Module, run: Callable[..., list[Tensor]]) -> Trace:
    """Run the twin once and return what was seen.

    Raises
    ------
    ValueError
        If it does not run, or autograd cannot follow it.
    """
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


def _trace_of(twin: nn.Module, graph: Any, calls: Counter[nn.Module]) -> Trace:
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
    return Trace(graph, modules, [names[id(m)] for m in order], frozenset(shared), names)
