"""SynFlow: how much of the flow from input to output passes through each weight."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from mitools.data import Samples
from mitools.models import tensors_of
from mitools.pruning.scoring import canonical, precise, undisturbed
from mitools.pruning.selection import Scores


@dataclass(frozen=True)
class SynFlow:
    """``theta * dR/dtheta`` with R the summed output of ``|theta|`` for an all-ones input.

    Meant for `Iterative` with 100 rounds; a single round can cut the network in two. Never opens
    the loader. Computed in evaluation mode, in float64 on one all-ones input; biases, norm shifts
    and running means count as zero, so that every layer of a chain carries the same total R, and
    biases asked for by name score 0.

    Layers that normalise by what passes through them (LayerNorm, GroupNorm, ...) would make the
    flow constant; here they only multiply by their scales.

    Parameters
    ----------
    input_shape : tuple of int, optional
        Shape of one input, without the batch. None: the first that is known of
        ``loader.input_shape``, ``model.input_shape``, the shape of in-memory data (not its values),
        the width of a first linear layer, and 28 x 28 or 32 x 32 for a first convolution of one
        or three channels.

    References
    ----------
    Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic
    flow*, arXiv 2006.05467.
    """

    input_shape: tuple[int, ...] | None = None

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return the flow through every weight, in float64.

        Raises
        ------
        ValueError
            If the shape of an input is not known.
        """
        shape = self.input_shape or shape_of_input(model, loader)
        first = canonical(model, names)
        device = next(model.parameters()).device
        with undisturbed(model), _linear_norms(model):
            state = _positive_state(model)
            weights = {name: state[first[name]].requires_grad_() for name in names}
            ones = torch.ones((1, *shape), dtype=precise(device), device=device)
            flow = functional_call(model, state, (ones,)).sum()
            slopes = torch.autograd.grad(
                flow, list(weights.values()), allow_unused=True, materialize_grads=True
            )
        return {
            name: (weights[name] * slope).detach().abs()
            for name, slope in zip(names, slopes, strict=True)
        }


def shape_of_input(model: nn.Module, loader: object) -> tuple[int, ...]:
    """Return the shape of one input without reading any.

    Raises
    ------
    ValueError
        If neither the loader nor the model says it.
    """
    for source in (loader, model):
        stated = getattr(source, "input_shape", None)
        if stated is not None:
            return tuple(stated)
    found = _shape_of_data(loader) or _shape_of_first_layer(model)
    if found is None:
        raise ValueError(
            "input_shape must be given, because neither the data nor the first layer of the model "
            f"({type(model).__name__}) tells it. Use SynFlow(input_shape=(channels, height, "
            "width)), without the batch."
        )
    return found


def _shape_of_data(data: object) -> tuple[int, ...] | None:
    """Return the shape that in-memory data show; nothing is indexed or iterated."""
    while isinstance(data, DataLoader | Subset):
        data = data.dataset
    if isinstance(data, Samples):
        return tuple(data.inputs.shape[1:])
    if isinstance(data, TensorDataset):
        return tuple(data.tensors[0].shape[1:])
    if isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data, Dataset):
        shape = getattr(data[0], "shape", None)
        return None if shape is None else tuple(shape[1:])
    return None


def _shape_of_first_layer(model: nn.Module) -> tuple[int, ...] | None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if isinstance(module, nn.Conv2d):
            side = {1: 28, 3: 32}.get(module.in_channels)
            return None if side is None else (module.in_channels, side, side)
        if next(module.parameters(recurse=False), None) is not None:
            return None
    return None


def _positive_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state to score: absolute values in float64, shifts and running means zero."""

    def positive(name: str, tensor: Tensor) -> Tensor:
        values = tensor.clone()
        if not values.is_floating_point():
            return values
        values = values.to(precise(values.device)).abs()
        last = name.rpartition(".")[2]
        return torch.zeros_like(values) if "bias" in last or last == "running_mean" else values

    return {name: positive(name, tensor) for name, tensor in tensors_of(model).items()}


@contextmanager
def _linear_norms(model: nn.Module) -> Iterator[None]:
    """Make norms without running statistics multiply by their scale, and do nothing else."""

    def scaled(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = getattr(module, "weight", None)
        if weight is None:
            return inputs[0]
        by_channel = not hasattr(module, "normalized_shape")
        shape = (-1,) + (1,) * (inputs[0].dim() - 2) if by_channel else weight.shape
        return inputs[0] * weight.view(shape)

    hooks = [m.register_forward_hook(scaled) for m in model.modules() if _normalises(m)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _normalises(module: nn.Module) -> bool:
    """Return whether a module divides its input by a statistic of that very input."""
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    rms = getattr(nn, "RMSNorm", ())
    batch = nn.modules.batchnorm._BatchNorm
    return isinstance(module, (*kinds, rms) if rms else kinds) or (
        isinstance(module, batch) and module.running_mean is None
    )
