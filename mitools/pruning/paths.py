"""Which kept weights lie on a path from input to output, and so can matter at all."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks

from mitools.models import untouched
from mitools.pruning.flow import Flow, check_known, tensors_in
from mitools.pruning.names import Place, fit

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
    example_input : Tensor, tuple or dict
        One batch, or positional or keyword arguments, of the right shapes; one sample is enough.
        Values do not matter.

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
        args, kwargs = _ones(args, source), _ones(kwargs, source)
        with Flow(stand_ins, source), disable_saved_tensors_hooks(_RECOMPUTED):
            output = model(*args, **kwargs)
        outputs = [t for t in outputs_of(output) if t.requires_grad]
        if not outputs:
            raise RuntimeError("no floating-point output depends on the input")
        check_known(outputs)
        return torch.stack([t.sum() for t in outputs]).sum()
    except Exception as error:
        raise ValueError(
            "model must be traceable from input to output; tracing stopped with "
            f"{type(error).__name__}: {str(error).strip() or 'no message'}. Has example_input the "
            "shape of a batch? Recurrent layers, TorchScript and functions without a rule "
            "cannot be traced."
        ) from error


def arguments_of(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of an example: a tensor, a tuple or a dict."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


def _ones(value: Any, source: Tensor) -> Any:
    """Return the value with every floating tensor in it replaced by ones that flow."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            return source.expand(value.shape).clone()
        return value.to(source.device)
    if isinstance(value, dict):
        return {key: _ones(item, source) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_ones(item, source) for item in value)
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
