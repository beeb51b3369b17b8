"""The flow of ones through absolute weights: its slopes, also where it leaves float64's range."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from mitools.models import copied, tensors_of
from mitools.pruning.scoring import precise, undisturbed
from mitools.pruning.slopes import computing_in, seen

_SAFE = 2.0**64
_FEEBLE = 2.0**-900


class SynapticFlow:
    """A network of absolute weights through which ones flow, as often as asked.

    One float64 copy, with biases, norm shifts and running means at zero, in evaluation mode; its
    weights may be set to zero between two questions.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    wanted : mapping of str to str
        Names to answer under, and first names of the parameters.
    ones : Tensor, shape (1, ...)
        The input.
    """

    def __init__(self, model: nn.Module, wanted: Mapping[str, str], ones: Tensor) -> None:
        with undisturbed(model):
            self._net = _positive(model)
        parameters = dict(self._net.named_parameters())
        self._first = dict(wanted)
        self._weights: dict[str, Tensor] = {first: parameters[first] for first in wanted.values()}
        for weight in self._weights.values():
            weight.requires_grad_()
        self._ones = ones
        _make_norms_linear(self._net)

    def keep_(self, mask: Mapping[str, Tensor]) -> None:
        """Set the weights to zero that a mask, by the names of the answer, leaves out."""
        for name, kept in mask.items():
            weight = self._weights[self._first[name]].detach()
            kept = _laid_out(kept.to(weight.device))
            if weight.device.type == "cpu":
                values = weight.numpy()
                np.multiply(values, kept.numpy(), out=values)  # 5 times as fast as torch's
            else:
                weight.mul_(kept)

    def slopes(self) -> dict[str, Tensor]:
        """Return ``theta * dR/dtheta``, R the sum of all outputs, up to one common factor.

        The factor is 1 unless R leaves float64's range, as it does in networks of a thousand
        layers; then it is a power of two.

        Raises
        ------
        ValueError
            If the network does not run in the dtype of ones, or autograd cannot see how its
            outputs depend on the wanted parameters.
        """
        with undisturbed(self._net):
            flow = self._flow()
            slopes = self._slopes_of(flow)
            sums = [slope.sum().item() for slope in slopes.values() if slope is not None]
            if not all(map(math.isfinite, sums)) or flow.item() < _FEEBLE:
                with _hooked(_cuts(self._net, self._ones), _rescaled):
                    slopes = self._slopes_of(self._flow())
            found = seen(slopes, self._weights, self._flow)
            slopes.clear()
        # One at a time, so that the memory of the last serves the next.
        products = {
            first: (weight.detach() * found.pop(first)).contiguous()
            for first, weight in self._weights.items()
        }
        return {name: products[first] for name, first in self._first.items()}

    def _flow(self, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return R, of other weights where these are given."""
        with computing_in(self._ones.dtype, "a score such as SNIP"):
            if weights is None:
                return self._net(self._ones).sum()
            return functional_call(self._net, dict(weights), (self._ones,)).sum()

    def _slopes_of(self, flow: Tensor) -> dict[str, Tensor | None]:
        if not flow.requires_grad:
            return dict.fromkeys(self._weights)
        found = torch.autograd.grad(flow, list(self._weights.values()), allow_unused=True)
        return dict(zip(self._weights, found, strict=True))


def _positive(model: nn.Module) -> nn.Module:
    """Return a copy of absolute values in float64, no biases or means in it."""
    net = copied(model)
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        tensor.grad = None
        tensor.requires_grad_(False)
        if tensor.is_floating_point():
            values = tensor.data.to(precise(tensor.device)).abs_()
            tensor.data = values.zero_() if _is_shift(name) else _laid_out(values)
    return net


def _laid_out(tensor: Tensor) -> Tensor:
    """Return what convolves faster in float64."""
    if tensor.dim() != 4:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)


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
    state = {name: _of_gain_one(name, tensor) for name, tensor in tensors_of(model).items()}
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
    if not tensor.is_floating_point():
        return tensor.clone()
    fan_in = tensor[0].numel() if tensor.dim() > 1 and len(tensor) else 1
    gain = 0.0 if _is_shift(name) else 1.0 / max(fan_in, 1)
    return torch.full_like(tensor, gain, dtype=precise(tensor.device))


@contextmanager
def _hooked(modules: list[nn.Module], hook: Callable[..., object]) -> Iterator[None]:
    hooks = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def _make_norms_linear(model: nn.Module) -> None:
    """Make norms without running statistics multiply by their scale, and do nothing else."""

    def scaled(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = getattr(module, "weight", None)
        if weight is None:
            return inputs[0]
        by_channel = not hasattr(module, "normalized_shape")
        shape = (-1, *(1,) * (inputs[0].dim() - 2)) if by_channel else weight.shape
        return inputs[0] * weight.view(shape)

    for module in model.modules():
        if _normalises(module):
            module.register_forward_hook(scaled)


def _normalises(module: nn.Module) -> bool:
    """Return whether a module divides its input by a statistic of that very input."""
    rms = getattr(nn, "RMSNorm", nn.LayerNorm)  # torch 2.4 and later
    if isinstance(module, nn.LayerNorm | nn.GroupNorm | rms):
        return True
    batch, instance = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm
    return isinstance(module, batch | instance) and module.running_mean is None
