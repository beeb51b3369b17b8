"""One pass over the data, and the activations of every layer as arrays."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from mitools._typing import IntArray
from mitools._validation import checked_choice, checked_count
from mitools.activations.places import Reduce, patches, summary
from mitools.activations.watching import At, chosen_layers, watched
from mitools.data import Batches, Samples, as_batches
from mitools.models import check_finite, check_materialized
from mitools.training.evaluation import place_of, placed

Rows = NDArray[np.float32]

_MEMORY = 1 << 32
# No layer is called so: their names are strings.
_INPUTS, _TARGETS, _INDICES, _READS = ("inputs",), ("targets",), ("indices",), ("reads",)


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, Rows]):
    """What layers computed: a mapping from their names to float32 arrays, in order of execution.

    Parameters
    ----------
    layers : dict of str to array, each of shape (n, d) or, for places, (n, places, channels)
        Row i of every array belongs to the same sample.
    targets : array, shape (n,) or (n, t)
        int64 classes, or float64 values.
    indices : int array, shape (n,)
        Which sample of the pass each row is, counted from 0.
    inputs : array, shape (n, d), or None
        The inputs, flattened, if asked for.
    reads : dict of str to array, each of shape (n, d) or (n, places, channels x kernel)
        With ``reduce="patches"``, what every layer reads for each of its places; else empty.
    """

    layers: dict[str, Rows]
    targets: NDArray[Any]
    indices: IntArray
    inputs: Rows | None = None
    reads: dict[str, Rows] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Rows:
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {rows.shape}" for name, rows in self.items())
        return f"<Activations of {len(self.targets):,} samples, {shapes}>"


def capture(
    model: nn.Module,
    loader: Any,
    layers: Sequence[str] | None = None,
    *,
    at: At = "activation",
    reduce: Reduce = "flatten",
    limit: int | None = None,
    seed: int | None = None,
    inputs: bool = False,
    memory: int = _MEMORY,
    progress: bool = False,
) -> Activations:
    """Return the activations of a network's layers on data, from one pass in evaluation mode.

    The network is left as it was, to the bit. Copies are made at once, so that what later layers
    do in place does no harm. To capture a masked network, apply the mask, or call this inside
    ``with masked(model, mask)``.

    Parameters
    ----------
    model : torch.nn.Module
        Its layers must be Python modules that are called.
    loader : DataLoader, Dataset, Samples, or pair (inputs, targets)
        What to run on.
    layers : sequence of str, or None
        Names of modules. None: every layer that holds prunable weights. A layer that is called
        several times in one run appears as ``fc``, ``fc#2``, ...
    at : {"activation", "output", "input"}
        What to keep of a layer with weights: its output behind the nonlinearity that follows at
        once or after a normalisation (where none follows, as for logits, behind the
        normalisation or as it is); its own output, the pre-activation; or what it reads. Of other
        modules, "activation" is the output.
    reduce : {"flatten", "mean", "places", "patches"}
        Feature maps (n, channels, ...) and sequences (n, ..., features) keep all their values, or
        the mean over places, or the channels at 3 places along each axis, evenly spaced. "patches"
        are such places of what layers give, and of what convolutions read the k x k neighbourhoods
        for those places (in `Activations.reads`, or as the layers if ``at="input"``).
    limit : int or None
        Keep so many samples at most.
    seed : int or None
        None: the first `limit` samples, and the rest is not read. Otherwise a uniform choice among
        all of them, made in the same single pass.
    inputs : bool
        Keep the inputs too.
    memory : int
        Bytes that the arrays may take together; they are refused before they are allocated.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Activations
        Float32 arrays by layer, in order of execution.

    Raises
    ------
    ValueError
        If the data are empty; a layer is unknown, never called, not called equally often in each
        batch, or gives no tensor with one row per sample; activations are NaN or infinite, or
        need more memory than allowed.

    Examples
    --------
    >>> from mitools.activations import capture
    >>> from mitools.data import digits
    >>> from mitools.models import mlp
    >>> capture(mlp((64, 30, 10)), digits(), limit=500)
    <Activations of 500 samples, fc1: (500, 30), fc2: (500, 10)>
    """
    limit = None if limit is None else checked_count("limit", limit)
    chance = None if seed is None else np.random.default_rng(checked_count("seed", seed, least=0))
    batches = as_batches(loader)
    store = _Store(_capacity(batches, limit), checked_count("memory", memory))
    seen = 0
    passed = _passed(model, batches, layers, at, reduce)
    for x, y, found, reads in tqdm(passed, desc="capture", disable=not progress):
        rows, slots = _slots(seen, len(x), limit, chance)
        columns: dict[Any, Tensor] = {**found, **reads, _TARGETS: y}
        if inputs:
            columns[_INPUTS] = x.reshape(len(x), -1)
        arrays = {name: _array(name, tensor[rows]) for name, tensor in columns.items()}
        store.put(slots, {**arrays, _INDICES: seen + rows.numpy()})
        seen += len(x)
        if limit is not None and chance is None and seen >= limit:
            break
    kept = store.arrays(min(seen, limit or seen))
    named = {name: array for name, array in kept.items() if isinstance(name, str)}
    reads = {name[1]: array for name, array in kept.items() if name[0] == _READS}
    return Activations(named, kept[_TARGETS], kept[_INDICES], kept.get(_INPUTS), reads)


def _passed(
    model: nn.Module, loader: Any, layers: Sequence[str] | None, at: At, reduce: Reduce
) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor], dict[tuple[Any, str], Tensor]]]:
    """Yield inputs, targets, activations by layer, and for patches what each layer reads."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {model!r}. Wrap it in one.")
    checked_choice("at", at, ("activation", "output", "input"))
    checked_choice("reduce", reduce, ("flatten", "mean", "places", "patches"))
    check_materialized(model)
    check_finite(dict(model.named_parameters()))
    chosen = chosen_layers(model, layers)
    device, dtype = place_of(model)

    def given(name: str, value: Tensor) -> Tensor:
        return summary(value, chosen[name], reduce)

    def read(name: str, value: Tensor) -> Tensor:
        return patches(value, chosen[name])

    copy = read if reduce == "patches" and at == "input" else given
    expected: tuple[str, ...] | None = None
    for inputs, targets in as_batches(loader):
        inputs = placed(inputs, device, dtype)
        with ExitStack() as stack:
            reads: dict[str, Tensor] = {}
            if reduce == "patches" and at != "input":
                reads = stack.enter_context(watched(model, chosen, "input", read))
            records = stack.enter_context(watched(model, chosen, at, copy))
            _run(model, inputs.clone())  # which it may overwrite
        if expected is None:
            _check_reached(chosen, records)
            expected = tuple(records)
        _check_batch(records, expected, len(inputs))
        if reads:
            _check_batch(reads, expected, len(inputs))
        yield inputs, targets, records, {(_READS, name): reads[name] for name in reads}


def _run(model: nn.Module, inputs: Tensor) -> None:
    try:
        model(inputs)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(
            f"loader must give inputs that the model accepts; it refused a batch of shape "
            f"{tuple(inputs.shape)} and dtype {inputs.dtype}: {error}. Reshape the inputs, or "
            "is this another model's data?"
        ) from error


def _check_reached(chosen: Mapping[str, nn.Module], records: Mapping[str, Tensor]) -> None:
    missed = [name for name in chosen if name not in records]
    if missed:
        raise ValueError(
            f"layers must all be called when the model runs; {', '.join(map(repr, missed))} never "
            f"ran. Reached: {', '.join(records) or 'none'}. Name those in layers=[...]; a layer "
            "whose weights are used without calling it, or in TorchScript, cannot be watched."
        )


def _check_batch(records: Mapping[str, Tensor], expected: tuple[str, ...], n: int) -> None:
    if set(records) != set(expected):
        raise ValueError(
            "model must call its layers equally often for every batch; it called "
            f"{', '.join(records) or 'none'} after {', '.join(expected)} before. Name layers that "
            "always run in layers=[...]."
        )
    for name, values in records.items():
        if values.ndim == 0 or len(values) != n:
            raise ValueError(
                f"layers must give one row for each sample; {name!r} gives shape "
                f"{tuple(values.shape)} for {n} samples. Is its first axis not the batch "
                "(batch_first=True)? Else leave it out of layers=[...]."
            )
        if values.is_complex():
            raise ValueError(
                f"layers must give real numbers; {name!r} gives {values.dtype}. "
                "Leave it out of layers=[...]."
            )
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise ValueError(
                f"layers must give finite activations; {name!r} holds {bad:,} NaN or infinite "
                f"values among {values.numel():,}. Does the model overflow in its dtype? Try "
                "model.double()."
            )


def _array(name: Any, values: Tensor) -> NDArray[Any]:
    """Return a tensor in the type that its array has."""
    kind = torch.float32
    if name == _TARGETS:
        kind = torch.float64 if values.is_floating_point() else torch.int64
    array = values.to("cpu", kind).numpy()
    if kind == torch.float32 and not np.isfinite(array).all():
        what = "inputs" if name == _INPUTS else f"activations of {name!r}"
        raise ValueError(
            f"{what} must fit into float32, in which they are kept; they are larger than 3.4e38. "
            "Scale them down."
        )
    return array


def _slots(
    seen: int, count: int, limit: int | None, chance: np.random.Generator | None
) -> tuple[Tensor, IntArray]:
    """Return which rows of a batch to keep, and where (Vitter's algorithm R)."""
    slots = np.arange(seen, seen + count)
    if limit is None:
        return torch.arange(count), slots
    late = slots >= limit
    if chance is not None:
        slots[late] = chance.integers(0, slots[late] + 1)
    kept = np.flatnonzero(slots < limit)
    # Where a place is taken twice, the later sample has it.
    last = {int(slots[row]): int(row) for row in kept}
    rows = np.array(sorted(last.values()), dtype=np.int64)
    return torch.from_numpy(rows), slots[rows]


def _capacity(batches: Batches, limit: int | None) -> int | None:
    """Return how many samples there will be at most; None if nobody knows."""
    source = batches.source
    try:
        if isinstance(source, Samples):
            known = len(source)
        elif isinstance(source, DataLoader):
            # Not the data set's length: a sampler may repeat samples, or leave some out.
            known = len(source) * source.batch_size if source.batch_size else None
        else:
            known = None
    except TypeError:
        known = None
    return limit if known is None else min(known, limit or known)


class _Store:
    """Arrays by name that are allocated once, or grow where nobody knows the number of samples."""

    def __init__(self, capacity: int | None, memory: int) -> None:
        self._capacity = capacity
        self._memory = memory
        self._arrays: dict[Any, NDArray[Any]] = {}
        self._size = 0

    def put(self, slots: IntArray, batch: Mapping[Any, NDArray[Any]]) -> None:
        needed = int(slots.max(initial=-1)) + 1
        if not self._arrays or needed > self._size:
            self._grow(max(self._capacity or 0, 2 * self._size, needed), batch)
        for name, values in batch.items():
            if values.shape[1:] != self._arrays[name].shape[1:]:
                raise ValueError(
                    f"layers must give the same shape for every batch; {name!r} gave "
                    f"{self._arrays[name].shape[1:]} before and {values.shape[1:]} now. "
                    "Use reduce='mean', or inputs of one size."
                )
            self._arrays[name][slots] = values

    def _grow(self, size: int, batch: Mapping[Any, NDArray[Any]]) -> None:
        row = sum(int(np.prod(v.shape[1:])) * v.itemsize for v in batch.values())
        # While an array grows, its old rows exist too.
        if row * (size + self._size) > self._memory:
            raise ValueError(
                f"memory must hold all activations; {size:,} samples of {row:,} bytes need "
                f"{row * (size + self._size):,}, and memory={self._memory:,}. Pass limit=, "
                "reduce='mean' or fewer layers, or let capture have more memory."
            )
        for name, values in batch.items():
            grown = np.empty((size, *values.shape[1:]), values.dtype)
            if name in self._arrays:
                grown[: self._size] = self._arrays[name]
            self._arrays[name] = grown
        self._size = size

    def arrays(self, n: int) -> dict[Any, NDArray[Any]]:
        return {name: array[:n] for name, array in self._arrays.items()}
