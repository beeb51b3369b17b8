"""Whatever holds (input, target) pairs becomes checked batches, or samples in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from mitools.data.loaders import without_trace
from mitools.data.pairs import check_not_empty, checked_batch, is_map, opened
from mitools.data.samples import Samples

_READ_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Batches:
    """(inputs, targets) batches, checked, that can be gone through any number of times.

    Every pass yields the same batches: a shuffling loader is run on random states of our own, and
    neither torch's global generator nor the loader's own is moved.

    Parameters
    ----------
    source : Samples, DataLoader or iterable of batches
        Where they come from.
    batch_size : int
        Size of the batches cut from samples; a loader keeps its own.
    argument : str
        What messages call the source.
    seed : int
        Decides the order in which a shuffling loader yields.
    """

    source: Samples | DataLoader[Any] | Iterable[Any]
    batch_size: int = 256
    argument: str = "loader"
    seed: int = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.source, Samples):
            yield from self._slices(self.source)
            return
        empty = True
        for batch in self._raw(self.source):
            yield checked_batch(batch, self.argument)
            empty = False
        if empty:
            raise ValueError(
                f"{self.argument} must yield at least one batch; it yielded none. Is the data set "
                "empty, smaller than one batch with drop_last=True, or already used up?"
            )

    def _slices(self, samples: Samples) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(samples), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield samples.inputs[part], samples.targets[part]

    def _raw(self, source: DataLoader[Any] | Iterable[Any]) -> Iterator[Any]:
        if isinstance(source, list | tuple):
            return iter(source)
        if isinstance(source, DataLoader) and _is_plain(source):
            # What the loader would yield, without picking and stacking sample by sample.
            samples = samples_of(source.dataset, argument=self.argument)
            drawn = without_trace(source, source.batch_sampler, self.seed)
            picks = (torch.as_tensor(list(indices)) for indices in drawn)
            return ((samples.inputs[pick], samples.targets[pick]) for pick in picks)
        return without_trace(source, source, self.seed)


def as_batches(
    data: Any, *, batch_size: int = 256, argument: str = "loader", seed: int = 0
) -> Batches:
    """Return data as checked batches; nothing is read until they are asked for.

    Parameters
    ----------
    data : DataLoader, Dataset, Samples, iterable of batches, or pair (inputs, targets)
        A tuple of two, or a list of two arrays, is a pair; any other list is one of batches.
    batch_size : int, >= 1
        For data that are not batches already.
    argument : str
        What messages call the data.
    seed : int
        Decides the order in which a shuffling DataLoader yields; it is the same on every pass.

    Raises
    ------
    TypeError
        If data is none of these, or an iterator, which can be gone through only once.
    ValueError
        If data is empty, of unequal lengths, not finite, or its labels are not 0, 1, ….
        Of a loader this is found out batch by batch, as they are read.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}. 256 is a usual size.")
    if isinstance(data, Batches):
        return replace(data, argument=argument, seed=seed)
    if isinstance(data, Iterator):
        raise TypeError(
            f"{argument} must be iterable more than once; got {type(data).__name__}, which is "
            "used up by the first pass. Pass list(...) of it, or the loader itself."
        )
    data = opened(data, argument)
    if isinstance(data, Subset) and _samples_behind(data) is not None:
        data = samples_of(data, argument=argument)
    if isinstance(data, Samples | DataLoader):
        return Batches(data, batch_size, argument, seed)
    if isinstance(data, Dataset) or is_map(data):
        if not isinstance(data, IterableDataset):
            check_not_empty(data, argument)
        return Batches(DataLoader(data, batch_size), batch_size, argument, seed)
    return Batches(data, batch_size, argument, seed)


def samples_of(data: Any, *, limit: int | None = None, argument: str = "loader") -> Samples:
    """Return everything in data as samples in memory, clean targets and noise kept.

    They come in the order of the data set, however a loader shuffles it, so that the same data
    give the same samples. A sampler that leaves some out is obeyed; `drop_last` is not.

    Parameters
    ----------
    data : DataLoader, Dataset, Samples, iterable of batches, or pair (inputs, targets)
        As for `as_batches`.
    limit : int or None
        Read at most so many, the first ones.
    argument : str
        What messages call the data.

    Raises
    ------
    TypeError, ValueError
        As `as_batches` does.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1; got {limit}. Pass None to read everything.")
    if isinstance(data, Batches):
        data = data.source
    data = opened(data, argument)
    if isinstance(data, Samples):
        return data if limit is None or limit >= len(data) else data.take(slice(limit))
    if isinstance(data, Subset) and _samples_behind(data) is not None:
        whole = samples_of(data.dataset, argument=argument)
        return whole.take(np.asarray(data.indices[:limit], dtype=np.int64))
    if isinstance(data, DataLoader):
        return _read_loader(data, limit, argument)
    if not isinstance(data, IterableDataset) and is_map(data):
        check_not_empty(data, argument)
        return _read_items(data, range(len(data)), default_collate, limit, argument)
    return _joined(as_batches(data, argument=argument), limit, argument)


def _samples_behind(data: Any) -> Samples | None:
    # A subclass of Subset may change the samples on their way.
    while isinstance(data, DataLoader) or type(data) is Subset:
        data = data.dataset
    return data if isinstance(data, Samples) else None


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Tell whether a loader only picks and stacks samples that are in memory."""
    return (
        type(loader) is DataLoader
        and loader.batch_sampler is not None
        and loader.collate_fn is default_collate
        and _samples_behind(loader.dataset) is not None
    )


def _read_loader(loader: DataLoader[Any], limit: int | None, argument: str) -> Samples:
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return _joined(Batches(loader, argument=argument), limit, argument)
    check_not_empty(loader.dataset, argument)
    stacked = loader.collate_fn is default_collate
    dataset = opened(loader.dataset, argument) if stacked else loader.dataset
    indices = _indices(loader)
    if not indices:
        raise ValueError(
            f"{argument} must yield at least one sample; its sampler yielded none. "
            "Is the selection empty?"
        )
    if stacked and _samples_behind(dataset) is not None:
        whole = samples_of(dataset, argument=argument)
        same = isinstance(indices, range)
        return samples_of(whole if same else whole.take(indices), limit=limit, argument=argument)
    read = _read_items(dataset, indices, loader.collate_fn, limit, argument)
    known = _samples_behind(dataset)
    if known is None:
        return read
    # A collate function may reshape inputs; if it left the targets alone, the noise still fits.
    kept = samples_of(dataset, argument=argument).take(indices[: len(read)])
    if read.targets.shape == kept.targets.shape and torch.equal(read.targets, kept.targets):
        return replace(kept, inputs=read.inputs)
    return read


def _indices(loader: DataLoader[Any]) -> Sequence[int]:
    """Which samples a loader visits, in the order of its data set."""
    n = len(loader.dataset)  # pyright: ignore[reportArgumentType]
    batches = loader.batch_sampler
    own = type(batches) is BatchSampler
    sampler = batches.sampler if own else None
    if type(sampler) is SequentialSampler:
        return range(n)
    if type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == n:
        return range(n)
    drawn = without_trace(loader, sampler if sampler is not None else batches, seed=0)
    return sorted(int(i) for i in (drawn if own else (i for batch in drawn for i in batch)))


def _read_items(
    dataset: Any, indices: Sequence[int], collate: Any, limit: int | None, argument: str
) -> Samples:
    indices = indices[:limit]
    chunks = (indices[i : i + _READ_AT_ONCE] for i in range(0, len(indices), _READ_AT_ONCE))
    batches = (_collated(collate, _items(dataset, chunk, argument), argument) for chunk in chunks)
    return _joined((checked_batch(batch, argument) for batch in batches), limit, argument)


def _items(dataset: Any, indices: Sequence[int], argument: str) -> list[Any]:
    try:
        return [dataset[i] for i in indices]
    except IndexError as error:
        raise ValueError(
            f"{argument} must be a data set that can be indexed up to its length, {len(dataset)}; "
            f"it failed with IndexError: {error}. Are its parts of equal length?"
        ) from error


def _collated(collate: Any, items: list[Any], argument: str) -> Any:
    try:
        return collate(items)
    except TypeError as error:
        raise TypeError(
            f"{argument} must hold tensors, arrays or numbers; collating its samples failed with: "
            f"{error}. Images want a transform to tensors."
        ) from error
    except RuntimeError as error:
        raise ValueError(_unequal(argument, error)) from None


def _joined(batches: Iterable[tuple[Tensor, Tensor]], limit: int | None, argument: str) -> Samples:
    read: list[tuple[Tensor, Tensor]] = []
    n = 0
    for batch in batches:
        read.append(batch)
        n += len(batch[0])
        if limit is not None and n >= limit:
            break
    try:
        inputs, targets = (torch.cat(parts)[:limit] for parts in zip(*read, strict=True))
    except RuntimeError as error:
        raise ValueError(_unequal(argument, error)) from None
    return Samples(inputs, targets)


def _unequal(argument: str, error: RuntimeError) -> str:
    return (
        f"{argument}'s inputs must have one shape, and its targets too; joining them failed with: "
        f"{error}. Pad or crop the inputs to one size."
    )
