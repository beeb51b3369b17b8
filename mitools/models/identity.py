"""What tells one set of weights from another."""

import hashlib

import torch
from torch import Tensor, nn


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by name, each once, detached and not copied."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach() for name, tensor in named.items()}


def fingerprint(model: nn.Module) -> str:
    """Return what identifies these weights: a SHA-256 of all parameters and buffers, in hex.

    Names, shapes, dtypes and bytes enter, on whatever device the model is; the prefixes that
    ``torch.compile`` and ``DataParallel`` put before names do not. A weight of -0.0 differs from
    one of 0.0.

    Raises
    ------
    ValueError
        If a tensor has no values yet: a lazy module, or the meta device.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> fingerprint(mlp((4, 2), seed=0)) == fingerprint(mlp((4, 2), seed=0))
    True
    """
    check_materialized(model)
    return digest({_plain(name): tensor for name, tensor in tensors_of(model).items()})


def digest(tensors: dict[str, Tensor], text: str = "") -> str:
    """Return the SHA-256, in hex, of tensors with their names, shapes and dtypes, and of a text."""
    total = hashlib.sha256(text.encode())
    for name, tensor in tensors.items():
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        row = tensor.detach().cpu().contiguous().reshape(-1)
        if row.numel():
            total.update(row.view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_module(model: object, cure: str = "Pass the network itself.") -> None:
    """Raise TypeError unless model is a torch module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module; got {type(model).__name__}. {cure}")


def check_materialized(model: nn.Module) -> None:
    """Raise ValueError if a parameter or buffer of the model has no values yet."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"model must be initialised; {name!r} is lazy and has no shape yet. "
                "Run one batch through the model first."
            )
        if tensor.is_meta:
            raise ValueError(
                f"model must hold values; {name!r} is on the meta device, which stores none. "
                "Call model.to_empty(device='cpu') and load or draw its weights first."
            )


def check_finite(named: dict[str, Tensor]) -> None:
    """Raise ValueError if a weight is NaN or infinite, naming the tensor."""
    for name, tensor in named.items():
        if tensor.is_floating_point() and not _all_finite(tensor.detach()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ValueError(
                f"model must have finite weights; {name!r} holds {bad:,} NaN or infinite values "
                f"of {tensor.numel():,}. Did an earlier training "
                "diverge? Draw or load the weights again."
            )


def _all_finite(tensor: Tensor) -> bool:
    """Look at the two ends only, in one pass that needs no memory: they tell of NaN too."""
    return not tensor.numel() or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def _plain(name: str) -> str:
    """Return the name without what torch.compile and DataParallel put into it."""
    return name.replace("_orig_mod.", "").removeprefix("module.")
