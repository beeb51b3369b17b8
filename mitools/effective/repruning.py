"""The pruner run again on other data, from the same weights and seeds; and kept, to go on from."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.utils.data import DataLoader, RandomSampler
from tqdm import tqdm

from mitools._typing import BoolArray
from mitools._validation import ADDRESS
from mitools.data import Samples
from mitools.models import copied, digest, fingerprint
from mitools.pruning import Mask, Pruner
from mitools.pruning.pruners import made_by
from mitools.pruning.scoring import reproducibly


def repruned(
    pruner: Pruner,
    model: nn.Module,
    mask: Mask,
    loaders: Sequence[object],
    *,
    n_jobs: int | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
) -> list[Mask]:
    """Run the pruner on each data set, from the same weights, to the density of mask.

    A pruner that has ``masks(model, loaders, density, names)`` and ``together(model, loaders)``,
    as those that train have, is run on that many data sets at once. Its masks are then those of
    one run after another but for ties up to rounding.

    Parameters
    ----------
    pruner : Pruner
        Run once for each data set.
    model : nn.Module
        At the initial weights; not changed.
    mask : Mask
        Says which parameters take part, and the density.
    loaders : sequence of loaders
        The data sets.
    n_jobs : int or None
        Processes; None leaves it to `joblib.parallel_config`, whose backend "dask" makes them
        those of a cluster.
    progress : bool
        Whether to show a bar on stderr.
    checkpoint : path of a directory, or None
        Where finished runs are kept, for any call of the same pruner, weights, density and data to
        take up. The pruner is known by its repr: one of your own must state its settings there.

    Returns
    -------
    list of Mask
        Each knows the pruner, the density and a fingerprint of the weights.

    Raises
    ------
    MaskError
        If the pruner gives something else than a mask over the same tensors.
    ValueError, TypeError
        As `check_checkpoint`.
    """
    kept = Finished(checkpoint, pruner, model, mask)
    size: int = pruner.together(model, loaders) if _trains_together(pruner) else 1
    groups = [loaders[first : first + size] for first in range(0, len(loaders), size)]
    # A group is run as a whole or not at all: what is mapped over matters in the last digit.
    found = [[kept.load(loader) for loader in group] for group in groups]
    todo = [index for index, masks in enumerate(found) if None in masks]
    runs = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(run)(pruner, model, groups[index], mask) for index in todo
    )
    total = len(loaders)
    done = total - sum(len(groups[index]) for index in todo)
    with tqdm(None, "pruning again", total, False, initial=done, disable=not progress) as bar:
        for index, masks in zip(todo, runs, strict=True):
            assert masks is not None  # joblib's types admit None
            for loader, again in zip(groups[index], masks, strict=True):
                kept.save(loader, again)
            found[index] = masks
            bar.update(len(masks))
    return [again for masks in found for again in masks if again is not None]


class Finished:
    """The masks of finished runs in a directory, each under a name that follows from its making.

    Parameters
    ----------
    directory : path or None
        Made if it does not exist. None: nothing is kept.
    pruner, model, mask
        As for `repruned`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None,
        pruner: Pruner,
        model: nn.Module,
        mask: Mask,
    ) -> None:
        self._directory = None if directory is None else Path(directory)
        if self._directory is not None:
            check_checkpoint(self._directory, pruner)
            self._directory.mkdir(parents=True, exist_ok=True)
            asked = [repr(pruner), fingerprint(model), str(density_of(mask)), *mask]
            self._made_from = "\n".join(asked)

    def load(self, loader: object) -> Mask | None:
        """Return the mask for these data, if it is there; FileFormatError if it is broken."""
        path = self._path(loader)
        return None if path is None or not path.exists() else Mask.load(path)

    def save(self, loader: object, mask: Mask) -> None:
        """Keep the mask for these data, atomically."""
        path = self._path(loader)
        if path is not None:
            mask.save(path)

    def _path(self, loader: object) -> Path | None:
        if self._directory is None:
            return None
        text, samples = self._made_from, loader
        if isinstance(loader, DataLoader):
            samples = loader.dataset
            seed = None if loader.generator is None else loader.generator.initial_seed()
            batching = loader.batch_size, type(loader.sampler).__name__, loader.drop_last, seed
            text += f"\n{batching}"
        if not isinstance(samples, Samples):
            return None  # nobody knows what is in it
        key = digest({"inputs": samples.inputs, "targets": samples.targets}, text)
        return self._directory / f"{key[:32]}.mask.safetensors"


def check_checkpoint(directory: str | os.PathLike[str], pruner: Pruner | None) -> None:
    """Check that runs of a pruner can be kept in a directory.

    Raises
    ------
    ValueError
        If it is a file.
    TypeError
        If the pruner's repr holds a place in memory: no later run would have it, or one of
        another pruner might.
    """
    if Path(directory).exists() and not Path(directory).is_dir():
        raise ValueError(
            f"checkpoint must be a directory, which is made if need be; {Path(directory).name!r} "
            "is a file. Pass another path."
        )
    if ADDRESS.search(repr(pruner)):
        raise TypeError(
            "pruner must have a repr that states its settings where checkpoint is given, for runs "
            f"are known by it; got {pruner!r}. Make it a frozen dataclass, or leave checkpoint out."
        )


def _trains_together(pruner: Any) -> TypeGuard[Any]:
    return callable(getattr(pruner, "together", None)) and callable(getattr(pruner, "masks", None))


def density_of(mask: Mask) -> float:
    """Return the density that was asked for, or else the one there is."""
    asked = mask.requested_density
    return mask.density if asked is None else asked


def run(pruner: Pruner, model: nn.Module, loaders: Sequence[Any], mask: Mask) -> list[Mask]:
    """Run the pruner on each data set to the density of mask, on copies of the model."""
    density, names = density_of(mask), tuple(mask)
    with reproducibly():
        if len(loaders) == 1:
            made = [pruner.mask(copied(model), loaders[0], density, names)]
        else:
            made = pruner.masks(copied(model), loaders, density, names)  # pyright: ignore
    weights, found = fingerprint(model), []
    for again in made:
        again = made_by(pruner, again, model)
        mask.overlap(again)  # MaskError if they do not cover the same tensors
        known = again.with_provenance(pruner=pruner, density=density, fingerprint=weights)
        found.append(known)
    return found


def stacked(masks: Sequence[Mask]) -> BoolArray:
    """Return the masks as rows, shape (masks, weights)."""
    rows = np.empty((len(masks), masks[0].size), np.bool_)
    for row, mask in zip(rows, masks, strict=True):
        row[:] = mask.flat()
    return rows


def check_same(again: Mask, mask: Mask) -> None:
    """Raise ValueError unless the pruner has made the mask again."""
    if again != mask:
        raise ValueError(
            "pruner must be the one that made the mask; run again on these weights and data it "
            f"gave another one (overlap {again.overlap(mask):.3f}). Pass the weights that were "
            "pruned as init=, the loader that was pruned on, and the pruner with the same seed."
        )


def batched_like(loader: object, samples: Samples) -> object:
    """Return samples in the batches, and the kind of order, in which loader gave its own."""
    if not isinstance(loader, DataLoader):
        return samples
    own = loader.generator
    return DataLoader(
        samples,
        loader.batch_size or 1,
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
        generator=None if own is None else torch.Generator().manual_seed(own.initial_seed()),
    )


class _SealOpened(Exception):
    """The pruner tried to read the data."""


class _Sealed:
    """A loader that shows the shape of an input, and remembers whether more was asked of it."""

    def __init__(self, samples: Samples | None) -> None:
        self.opened = False
        if samples is not None:
            self.input_shape = tuple(samples.inputs.shape[1:])

    def __iter__(self) -> Iterator[object]:
        return self._open()

    def __len__(self) -> int:
        return self._open()

    def __getitem__(self, index: object) -> object:
        return self._open()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name == "input_shape":
            raise AttributeError(name)
        return self._open()

    def _open(self) -> Any:
        self.opened = True
        raise _SealOpened


def sealed_run(
    pruner: Pruner, model: nn.Module, mask: Mask, samples: Samples | None
) -> Mask | None:
    """Return the mask that the pruner makes without data; None if it asked for them."""
    sealed = _Sealed(samples)
    try:
        (unread,) = run(pruner, model, [sealed], mask)
    except Exception:  # whatever a pruner raises for want of data, it did not do without them
        return None
    return None if sealed.opened else unread
