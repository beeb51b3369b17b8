"""Tensors of zeros and ones: checked, converted, and walked through in pieces."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mitools._validation import MaskError

BLOCK = 2**22
"""Elements worked on at once, so that no temporary is as large as a large layer."""


def blocks(tensor: Tensor) -> Iterator[Tensor]:
    """Yield views of consecutive rows of about `BLOCK` elements; all of it where it is small."""
    if tensor.numel() <= BLOCK or tensor.dim() == 0:
        yield tensor
        return
    rows = max(1, BLOCK // (tensor.numel() // len(tensor)))
    yield from tensor.split(rows)


def as_bool(name: str, value: Any) -> Tensor:
    """Return a contiguous boolean copy of 0/1 values; the device is kept.

    Raises
    ------
    MaskError
        If `value` is no array of numbers, or holds a number other than 0 and 1.
    """
    if not isinstance(name, str):
        raise MaskError(f"a mask's names must be strings; got {name!r}. Mask.of reads modules.")
    tensor = _as_tensor(name, value)
    if tensor.dtype == torch.bool:
        return tensor.clone(memory_format=torch.contiguous_format)
    result = torch.empty(tensor.shape, dtype=torch.bool, device=tensor.device)
    for source, target in zip(blocks(tensor), blocks(result), strict=True):
        torch.ne(source, 0, out=target)
        odd = target & (source != 1)
        if bool(odd.any()):
            raise MaskError(
                f"a mask must hold only 0 and 1; {name!r} holds {source[odd][0].item()!r}. "
                "Are these weights or scores rather than a mask?"
            )
    return result


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        value = value.detach()
        if value.layout != torch.strided:
            value = value.to_dense()
        if not value.is_meta:
            return value
        found = "a meta tensor, which has no values"
    else:
        array = None
        try:
            array = np.asarray(value)
        except ValueError:
            found = "rows of different lengths"
        else:
            found = f"{type(value).__name__} of {array.dtype}"
        if array is not None and array.dtype.kind in "biuf":
            native = array.astype(array.dtype.newbyteorder("="), copy=False)
            return torch.from_numpy(np.require(native, requirements=["C", "W"]))
    raise MaskError(
        f"a mask must hold 0/1 tensors, arrays or lists of numbers; {name!r} is {found}."
    )
