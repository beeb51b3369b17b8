"""Passes over the data: shuffled anew each epoch, the same for the same seed and epoch."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from mitools.data import Batches, Samples, as_batches, samples_of
from mitools.data.seeds import derived_seed
from mitools.models import digest
from mitools.training.evaluation import placed

_GATHERED = 1 << 28  # bytes of inputs that are shuffled as a whole, which is faster


class Passes(Protocol):
    """Data to train on, as (inputs, targets) on the model's device."""

    @property
    def steps(self) -> int | None:
        """Batches of one pass; None if nobody knows."""
        ...

    @property
    def whole(self) -> bool:
        """Whether `first` gives all the targets."""
        ...

    def first(self) -> tuple[Tensor, Tensor]:
        """Return some inputs, and all targets that are at hand, to be checked before training."""
        ...

    def of(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches of one epoch."""
        ...

    def describe(self) -> str:
        """Return what tells these data from others, for checkpoints."""
        ...


def passes_over(
    data: Any, batch_size: int, seed: int, device: torch.device, dtype: torch.dtype
) -> Passes:
    """Return passes over anything ``mitools.data.as_batches`` accepts.

    Samples and pairs of arrays are held on the device and shuffled here. A data loader is used as
    it is, with its own batches and shuffling; other data sets get a shuffling one.
    """
    data = data.source if isinstance(data, Batches) else data
    source = as_batches(data, batch_size=batch_size, argument="data").source
    if isinstance(source, DataLoader) and source is not data:  # made for a data set
        dataset = root = source.dataset
        while isinstance(root, Subset):
            root = root.dataset
        if isinstance(root, TensorDataset):
            source = samples_of(dataset, argument="data")
        elif not isinstance(dataset, IterableDataset):
            source = DataLoader(dataset, batch_size, shuffle=True)
    if isinstance(source, Samples):
        return _Held(source, batch_size, seed, device, dtype)
    return _Loaded(source, seed, device, dtype)


class _Held:
    """Samples on the device, cut into shuffled batches without a loader."""

    def __init__(
        self, samples: Samples, batch_size: int, seed: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._inputs = placed(samples.inputs, device, dtype)
        self._targets = samples.targets.to(device)
        self._seed = seed
        n = len(samples)
        sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
        if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
            # Batch norm cannot normalise a single sample, so it joins the batch before.
            sizes[-2:] = [batch_size + 1]
        self._sizes = sizes
        self.steps = len(sizes)
        self.whole = True

    def first(self) -> tuple[Tensor, Tensor]:
        return self._inputs[:2], self._targets

    def of(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, "order", epoch))
        order = torch.randperm(len(self._inputs), generator=generator).to(self._inputs.device)
        targets = self._targets[order].split(self._sizes)
        if self._inputs.numel() * self._inputs.element_size() <= _GATHERED:
            return zip(self._inputs[order].split(self._sizes), targets, strict=True)
        parts = order.split(self._sizes)
        return ((self._inputs[part], t) for part, t in zip(parts, targets, strict=True))

    def describe(self) -> str:
        n = len(self._inputs)
        some = self._inputs[:: math.ceil(n / 1000)]  # all of them could be gigabytes
        return f"{n:,} samples {digest({'inputs': some, 'targets': self._targets})[:12]}"


class _Loaded:
    """Batches of a loader, in an order that depends on seed and epoch alone."""

    def __init__(self, loader: Any, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self._loader = loader
        self._seed = seed
        self._place = (device, dtype)
        self.whole = False
        try:
            self.steps = len(loader)
        except TypeError:
            self.steps = None

    def first(self) -> tuple[Tensor, Tensor]:
        return next(self.of(0))

    def of(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        seed = derived_seed(self._seed, "order", epoch)
        for inputs, targets in as_batches(self._loader, argument="data", seed=seed):
            yield placed(inputs, *self._place), targets.to(self._place[0])

    def describe(self) -> str:
        return f"{type(self._loader).__name__} of {self.steps} batches"
