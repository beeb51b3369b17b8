"""Which kept weights lie on a path from input to output, and so can matter at all."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.utils.data import DataLoader, Dataset

from mitools.data import as_batches
from mitools.models import untouched
from mitools.pruning.flow import Flow, check_known, tensors_in
from mitools.pruning.names import Place, fit
from mitools.training.evaluation import place_of, placed

TRACED = 1 << 24
"""Weights up to which masks are traced unasked: above, it needs too much memory."""

_RECOMPUTED = "activation checkpointing, which runs layers again, must be switched off"


def on_path(
    tensors: Mapping[str, Tensor], model: nn.Module, example_input: Any
) -> dict[str, Tensor]:
    """Return which kept weights lie on some input-output path through kept weights.

    The network runs once on ones with zeros and ones for weights. Activations, norms, dropout and
    softmax let everything through; a maximum passes on all it chooses from, a product each of its
    factors; no path starts at a bias, a norm's shift or a constant. Weights outside the mask count
    as kept. A bias in the mask is on a path if it reaches the output.

    Parameters
    ----------
    tensors : mapping of str to bool tensor
        The mask.
    model : Module
        Only read: parameters, buffers, gradients, modes and random states stay as they are.
    example_input : Tensor, tuple, dict, or data
        One batch, or positional or keyword arguments, of the right shapes; one sample is enough,
        and is what is taken of a DataLoader or data set. Values do not matter.

    Returns
    -------
    dict of str to bool tensor
        On the CPU if the mask was.

    Raises
    ------
    MaskError
        If the mask does not fit the model.
    ValueError
        If the network cannot be traced: it fails on the example, or it uses a function whose
        paths are unknown, such as a recurrent layer, or its output does not depend on its input.
    TypeError
        If example_input cannot be what a network takes.
    """
    found = fit(tensors, model)
    args, kwargs = arguments_of(example_input)
    with torch.inference_mode(False), torch.enable_grad(), untouched(model):
        leaves = {name: _leaf(tensors[name], place) for name, place in found.items()}
        total = _run(model, _stand_ins(model, found, leaves), args, kwargs)
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: tensors[name] & (grad > 0).to(tensors[name].device)
        if grad is not None
        else torch.zeros_like(tensors[name])
        for name, grad in zip(leaves, grads, strict=True)
    }


def _run(
    model: nn.Module,
    stand_ins: list[tuple[Tensor, Tensor]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """Return the sum of all that flows out."""
    try:
        source = torch.ones((), device=stand_ins[0][1].device, requires_grad=True)
        ones, named_ones = mapped((args, kwargs), lambda tensor: _ones(tensor, source))
        with Flow(stand_ins, source), disable_saved_tensors_hooks(_RECOMPUTED):
            output = model(*ones, **named_ones)
        outputs = [t for t in outputs_of(output) if t.requires_grad]
        if not outputs:
            raise RuntimeError("no floating-point output depends on the input")
        check_known(outputs)
        return torch.stack([t.sum() for t in outputs]).sum()
    except Exception as error:
        check_takes(model, args, kwargs)
        raise ValueError(
            "model must be traceable from input to output; tracing stopped with "
            f"{type(error).__name__}: {str(error).strip() or 'no message'}. Recurrent layers, "
            "TorchScript and functions without a rule cannot be traced."
        ) from error


def check_takes(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    argument: str = "example_input",
) -> None:
    """Raise ValueError unless the network runs on these arguments; messages call them so."""
    device, dtype = place_of(model)
    given = args, dict(kwargs or {})
    there, named = mapped(given, lambda tensor: placed(tensor, device, dtype))
    try:
        with torch.no_grad(), untouched(model):
            model(*there, **named)
    except Exception as error:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors_in(given))
        what = f"shape {shapes}" if shapes else ", ".join(type(arg).__name__ for arg in args)
        raise ValueError(
            f"{argument} must be what the model takes; given {what} it stopped with "
            f"{type(error).__name__}: {str(error).strip() or 'no message'}. Does the shape need a "
            "change, or the model's first layer? The first axis is that of the batch; of a "
            "pair of inputs and targets pass the inputs."
        ) from error


def arguments_of(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments: of a tensor, a tuple, a dict, or the first of data.

    Raises
    ------
    TypeError
        If the example is an array, or nothing.
    """
    if isinstance(example, DataLoader | Dataset):
        inputs, _ = next(iter(as_batches(example, argument="example_input")))
        return (inputs[:1],), {}
    if example is None or isinstance(example, np.ndarray):
        raise TypeError(
            "example_input must be a tensor, a tuple or dict of them, or a DataLoader or data set; "
            f"got {type(example).__name__}. Pass one batch, such as torch.as_tensor(inputs[:1])."
        )
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


def _ones(tensor: Tensor, source: Tensor) -> Tensor:
    """Return ones that flow from the source; integers, such as tokens, as they are."""
    if tensor.is_floating_point():
        return source.expand(tensor.shape).clone()
    return tensor.to(source.device)


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return the value with every tensor in it changed, in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(mapped(item, change) for item in value)
    return value


def _leaf(kept: Tensor, place: Place) -> Tensor:
    return kept.to(place.parameter.device, torch.float32).requires_grad_()


def _stand_ins(
    model: nn.Module, found: Mapping[str, Place], leaves: Mapping[str, Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Return each parameter with what replaces it: its mask, or ones that take no memory."""
    masks = {id(place.parameter): leaves[name] for name, place in found.items()}
    pairs = [
        (place.derived, leaves[name]) for name, place in found.items() if place.derived is not None
    ]
    for parameter in model.parameters():
        ones = torch.ones((), device=parameter.device).expand(parameter.shape)
        pairs.append((parameter, masks.get(id(parameter), ones)))
    return pairs


def outputs_of(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a network returned."""
    if isinstance(value, (Tensor, dict, list, tuple)):
        yield from tensors_in(value)
    elif hasattr(value, "__dict__"):
        yield from tensors_in(vars(value))
