"""What comes from outside: a pair of arrays, or a batch, becomes checked tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from mitools.data.samples import Samples, check_lengths, checked_inputs, checked_targets

_ACCEPTED = (
    "a DataLoader, a Dataset or Samples of (input, target), a list of such batches, or a pair "
    "(inputs, targets) of arrays"
)


def checked_batch(batch: Any, argument: str) -> tuple[Tensor, Tensor]:
    """Return batch as (inputs, targets), or raise an error that says what it is instead."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else ""
        raise ValueError(
            f"{argument} must yield (inputs, targets); got a {type(batch).__name__}{size}. "
            "Wrap it in a data set or a collate_fn that returns such pairs."
        )
    for part in batch:
        if not hasattr(part, "shape"):
            raise TypeError(
                f"{argument} must yield batches of tensors or arrays; got {type(part).__name__} in "
                "one. Stack samples in a collate_fn; a pair of lists is passed as a tuple."
            )
    return _checked_pair(batch, argument)


def _checked_pair(pair: Sequence[Any], argument: str) -> tuple[Tensor, Tensor]:
    names = (f"{argument}'s inputs", f"{argument}'s targets")
    inputs = checked_inputs(_as_tensor(pair[0], names[0]), names[0])
    targets = checked_targets(_as_tensor(pair[1], names[1]), names[1])
    check_lengths(names[0], inputs, names[1], targets)
    return inputs, targets


def opened(data: Any, argument: str) -> Any:
    """Turn a pair of arrays into Samples; refuse what cannot be data at all."""
    if type(data) is TensorDataset:
        data = data.tensors
    if _is_pair(data):
        # Numbers that are no tensor are measurements; integer tensors may be tokens, and stay.
        inputs = _as_tensor(data[0], f"{argument}'s inputs", floating=True)
        return Samples(*_checked_pair((inputs, data[1]), argument))
    is_array = isinstance(data, Tensor | np.ndarray | str | bytes | dict)
    if is_array or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        cure = "Pass the data." if data is None else "Did the targets get lost?"
        raise TypeError(f"{argument} must be {_ACCEPTED}; got {type(data).__name__}. {cure}")
    return data


def _is_pair(data: Any) -> bool:
    if isinstance(data, tuple):
        return len(data) == 2 and not all(isinstance(part, tuple) for part in data)
    return (
        isinstance(data, list) and len(data) == 2 and all(hasattr(part, "shape") for part in data)
    )


def is_map(data: Any) -> bool:
    """Tell a map-style data set, which need not inherit from torch's, from a list of batches."""
    return (
        not isinstance(data, tuple | list | DataLoader)
        and hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
    )


def _as_tensor(values: Any, name: str, *, floating: bool = False) -> Tensor:
    """Return values as a tensor; numbers of numpy's and Python's take torch's default precision."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.ascontiguousarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a rectangular array of numbers; got {type(values).__name__} "
            f"({error}). Are the rows of unequal length?"
        ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be numbers; got {type(values).__name__} of {array.dtype}. "
            "Turn images and words into tensors first, with a transform or a collate_fn."
        )
    array = array.reshape(np.shape(values))  # ascontiguousarray gives scalars an axis
    if array.dtype.kind == "f" or floating:
        precision = {torch.float64: np.float64}.get(torch.get_default_dtype(), np.float32)
        return torch.from_numpy(array.astype(precision))
    return torch.from_numpy(array.astype(np.int64))


def check_not_empty(data: Any, argument: str) -> None:
    """Raise ValueError where a data set holds nothing."""
    if len(data) == 0:
        raise ValueError(
            f"{argument} must hold at least one sample; its data set is empty. "
            "Is a selection from it empty, or its folder?"
        )
