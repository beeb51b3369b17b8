"""The flow of ones through absolute weights: its slopes, also where it leaves float64's range."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mitools.models import tensors_of
from mitools.pruning.scoring import precise

_SAFE = 2.0**64
_FEEBLE = 2.0**-900


def flow_slopes(model: nn.Module, wanted: Mapping[str, str], ones: Tensor) -> dict[str, Tensor]:
    """Return ``theta * dR/dtheta`` for the wanted parameters, up to one common factor.

    R sums the outputs of the network for these inputs, with absolute weights, and biases, norm
    shifts and running means at zero. The factor is 1 unless R leaves float64's range, as it does
    in networks of a thousand layers; then it is a power of two.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    wanted : mapping of str to str
        Names to answer under, and first names of the parameters.
    ones : Tensor, shape (1, ...)
        The input.
    """
    state = _positive_state(model)
    weights = {name: state[first].requires_grad_() for name, first in wanted.items()}
    with _linear_norms(model):
        flow = functional_call(model, state, (ones,)).sum()
        slopes = _slopes(flow, weights)
        finite = all(bool(torch.isfinite(slope.sum())) for slope in slopes.values())
        if not finite or flow.item() < _FEEBLE:
            with _hooked(_cuts(model, ones), _rescaled):
                slopes = _slopes(functional_call(model, state, (ones,)).sum(), weights)
    return {name: (weights[name] * slopes[name]).detach() for name in wanted}


def _slopes(flow: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(
        flow, list(weights.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


def _positive_state(model: nn.Module) -> dict[str, Tensor]:
    """Return absolute parameters and buffers in float64, shifts and running means at zero."""

    def positive(name: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.clone()
        values = tensor.abs().to(precise(tensor.device))
        return torch.zeros_like(values) if _is_shift(name) else values

    return {name: positive(name, tensor) for name, tensor in tensors_of(model).items()}


def _is_shift(name: str) -> bool:
    last = name.rpartition(".")[2]
    return "bias" in last or last == "running_mean"


def _rescaled(module: nn.Module, inputs: object, output: object) -> object:
    """Bring a module's output back to the order of 1, by a power of two, which rounds nothing."""
    if not isinstance(output, Tensor):
        return output
    peak = output.detach().abs().max().item()
    if not (0.0 < peak < math.inf) or 1.0 / _SAFE < peak < _SAFE:
        return output
    return output * 2.0 ** -math.frexp(peak)[1]


def _cuts(model: nn.Module, ones: Tensor) -> list[nn.Module]:
    """Return the modules whose output all of the flow passes through, exactly once.

    Scaling such an output scales every slope alike; scaling one branch of a residual block would
    not. Scale the output of a module by a: where all flow passes once, and only there,
    ``dR/da = R`` at a = 1. Weights of gain 1 keep this R near 1; which modules are cuts is a
    matter of how they are wired, not of the weights.
    """
    state = {name: _of_gain_one(name, t) for name, t in _positive_state(model).items()}
    factors = {module: ones.new_ones((), requires_grad=True) for module in model.modules()}

    def scaled(module: nn.Module, inputs: object, output: object) -> object:
        return output * factors[module] if isinstance(output, Tensor) else output

    with _hooked(list(factors), scaled):
        flow = functional_call(model, state, (ones,)).sum()
    shares = torch.autograd.grad(
        flow, list(factors.values()), allow_unused=True, materialize_grads=True
    )
    return [
        module
        for module, share in zip(factors, shares, strict=True)
        if torch.isclose(share, flow, rtol=1e-6, atol=0.0)
    ]


def _of_gain_one(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or _is_shift(name):
        return tensor
    fan_in = tensor[0].numel() if tensor.dim() > 1 and len(tensor) else 1
    return torch.full_like(tensor, 1.0 / max(fan_in, 1))


@contextmanager
def _hooked(modules: list[nn.Module], hook: Callable[..., object]) -> Iterator[None]:
    hooks = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def _linear_norms(model: nn.Module) -> Iterator[None]:
    """Make norms without running statistics multiply by their scale, and do nothing else."""

    def scaled(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = getattr(module, "weight", None)
        if weight is None:
            return inputs[0]
        by_channel = not hasattr(module, "normalized_shape")
        shape = (-1, *(1,) * (inputs[0].dim() - 2)) if by_channel else weight.shape
        return inputs[0] * weight.view(shape)

    with _hooked([module for module in model.modules() if _normalises(module)], scaled):
        yield


def _normalises(module: nn.Module) -> bool:
    """Return whether a module divides its input by a statistic of that very input."""
    rms = getattr(nn, "RMSNorm", nn.LayerNorm)  # torch 2.4 and later
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | rms):
        return True
    batch, instance = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm
    return isinstance(module, batch | instance) and module.running_mean is None
