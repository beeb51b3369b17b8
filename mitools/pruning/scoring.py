"""What every score needs: a network that can be asked without being touched."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mitools.models import tensors_of, untouched


@contextmanager
def reproducibly() -> Iterator[None]:
    """Compute on one CPU thread, and with cuDNN's repeatable algorithms, inside.

    Sums then come in one order, so a mask does not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    cudnn: Any = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    try:
        torch.set_num_threads(1)
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = flags
        torch.set_num_threads(threads)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Ask for slopes inside, `reproducibly`; the model is `untouched`, whatever mode we are in."""
    with reproducibly(), torch.inference_mode(False), torch.enable_grad(), untouched(model):
        yield


def state_of_model(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, detached, tied ones once; buffers are copies.

    For `torch.func.functional_call`: what a forward pass writes lands in the copies.
    """
    written = {name for name, _ in model.named_buffers()}
    return {
        name: tensor.clone() if name in written else tensor
        for name, tensor in tensors_of(model).items()
    }


def parameters_named(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters of these names.

    Raises
    ------
    ValueError
        If the model has no parameter of that name, or one of them holds no floating numbers.
    """
    every = dict(model.named_parameters(remove_duplicate=False))
    missing = [name for name in names if name not in every]
    if missing:
        raise ValueError(
            f"names must be parameters of the model; it has none called {', '.join(missing)}. "
            f"It has: {', '.join(every)}."
        )
    whole = [name for name in names if not every[name].is_floating_point()]
    if whole:
        raise ValueError(
            f"names must be of floating-point parameters; {whole[0]} is {every[whole[0]].dtype}. "
            "Leave it out, or prune before quantising."
        )
    return {name: every[name] for name in names}


def canonical(model: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """Map each name to the first name of the same parameter: a tied weight has several."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    return {name: first[id(p)] for name, p in parameters_named(model, names).items()}


def precise(device: torch.device) -> torch.dtype:
    """Return float64, or float32 where the device knows nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64
