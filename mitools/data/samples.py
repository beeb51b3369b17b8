"""Labelled samples in memory, which remember the noise that was put on their labels."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mitools.data.seeds import stream


@runtime_checkable
class LabelNoise(Protocol):
    """A law of label noise, independent across samples: a frozen value."""

    def apply(self, samples: "Samples", seed: int) -> "Samples":
        """Return the samples with noise drawn anew on the clean targets, which are kept."""
        ...

    def entropy(self, classes: int | None = None) -> float:
        """Entropy of the noise in nats per sample, given the clean target."""
        ...

    def log_prob(self, targets: Tensor, clean: Tensor, classes: int | None = None) -> Tensor:
        """Return log p(targets | clean), shape (n,), float64, in nats."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Inputs and targets in memory: a torch data set that is honest about its label noise.

    Checked once, when it is made: equal lengths, finite values, legal labels.

    Parameters
    ----------
    inputs : Tensor, shape (n, ...)
        Floating; integers (token numbers) are kept as they are. n >= 1.
    targets : Tensor, shape (n,) or (n, t)
        Integers: classes 0, 1, …, of shape (n,), kept as int64. Floating: regression.
    clean : Tensor or None
        The targets before noise was added, shaped as `targets`.
    noise : LabelNoise or None
        The law of that noise; needs `clean`.
    name : str
        For reports.
    classes : int or None
        Number of classes; by default one more than the largest label. None for regression.

    Raises
    ------
    TypeError
        If inputs, targets or clean are not tensors of numbers.
    ValueError
        If lengths or shapes disagree, values are not finite, or labels are not in 0 .. classes - 1.
    """

    inputs: Tensor
    targets: Tensor
    clean: Tensor | None = None
    noise: LabelNoise | None = None
    name: str = "samples"
    classes: int | None = None

    def __post_init__(self) -> None:
        targets = checked_targets(self.targets, "targets")
        checked_inputs(self.inputs, "inputs")
        check_lengths("inputs", self.inputs, "targets", targets)
        clean = None if self.clean is None else checked_targets(self.clean, "clean")
        if clean is not None and (clean.shape, clean.dtype) != (targets.shape, targets.dtype):
            raise ValueError(
                f"clean must have the shape and dtype of targets, {_looks(targets)}; "
                f"got {_looks(clean)}. It is the same targets before noise was added."
            )
        if clean is None and self.noise is not None:
            raise ValueError(
                "noise must come with clean, the targets before noise; got clean=None. "
                "Let the noise draw them: noise.apply(samples, seed)."
            )
        # A frozen value is completed here and nowhere else.
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "clean", clean)
        object.__setattr__(self, "classes", _classes(self.classes, targets, clean))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]

    def __repr__(self) -> str:
        shape = "x".join(str(size) for size in self.inputs.shape)
        kind = "regression" if self.classes is None else f"{self.classes} classes"
        noise = "" if self.noise is None else f", {self.noise!r}"
        return f"<Samples {self.name!r}: {shape}, {kind}{noise}>"

    def take(self, indices: slice | Iterable[int] | Tensor) -> Self:
        """Return the samples at these indices, in that order, clean targets and noise kept.

        Where an index comes twice, the law of the noise is dropped: it says that noise is
        independent across samples, and the two share theirs. Whoever needs it then says so.

        Parameters
        ----------
        indices : slice, iterable of int, or bool Tensor of shape (n,)
            A slice shares memory with the whole; the others copy.

        Raises
        ------
        ValueError
            If an index is out of range, or none is given.
        """
        index = indices if isinstance(indices, slice) else self._index(indices)
        noise = self.noise
        if noise is not None and isinstance(index, Tensor) and len(index.unique()) < len(index):
            noise = None
        clean = None if self.clean is None else self.clean[index]
        return replace(
            self, inputs=self.inputs[index], targets=self.targets[index], clean=clean, noise=noise
        )

    def split(self, *sizes: float, seed: int) -> tuple[Self, ...]:
        """Return disjoint random parts of the given sizes; what is over is left out.

        Parameters
        ----------
        sizes : int or float
            Numbers of samples, or all of them fractions of n below 1.
        seed : int
            Equal seeds give equal parts.

        Raises
        ------
        ValueError
            If the parts need more samples than there are, or one would be empty.

        Examples
        --------
        >>> from mitools.data import digits
        >>> train, test = digits().split(0.8, 0.2, seed=0)
        >>> len(train), len(test)
        (1438, 359)
        """
        whole = all(isinstance(size, int | np.integer) for size in sizes)
        ends = np.cumsum(sizes if whole else np.array(sizes) * len(self))
        ends = np.round(ends).astype(int).tolist()
        starts = [0, *ends][: len(ends)]
        if (
            not ends
            or ends[-1] > len(self)
            or any(a >= b for a, b in zip(starts, ends, strict=True))
        ):
            raise ValueError(
                f"sizes must be positive and add up to at most the {len(self)} samples (or to 1, "
                f"as fractions); got {sizes}. Ask for less."
            )
        order = torch.from_numpy(stream(seed, "split").permutation(len(self)))
        return tuple(self.take(order[a:b]) for a, b in zip(starts, ends, strict=True))

    def to(self, device: torch.device | str) -> Self:
        """Return the samples on a device; tensors already there are shared."""
        clean = None if self.clean is None else self.clean.to(device)
        return replace(
            self, inputs=self.inputs.to(device), targets=self.targets.to(device), clean=clean
        )

    def _index(self, indices: Iterable[int] | Tensor) -> Tensor:
        if not isinstance(indices, Tensor):
            indices = torch.as_tensor(np.asarray(list(indices)))
        if indices.dtype == torch.bool and indices.shape == (len(self),):
            return indices.nonzero().flatten().to(self.inputs.device)
        if indices.numel() == 0:
            raise ValueError(
                f"indices must select at least one of the {len(self)} samples; got none. "
                "Is the selection too narrow?"
            )
        if indices.ndim != 1 or not _is_integer(indices):
            raise ValueError(
                f"indices must be integers in one dimension, or {len(self)} booleans; "
                f"got {_looks(indices)}. Flatten them?"
            )
        low, high = (int(end) for end in indices.aminmax())
        if low < -len(self) or high >= len(self):
            raise ValueError(
                f"indices must lie in 0 .. {len(self) - 1}; got {low} .. {high}. "
                "Do they belong to another data set?"
            )
        return (indices.long() % len(self)).to(self.inputs.device)


def without_noise(samples: Samples | None) -> str:
    """Say why samples do not know their label noise, and what to do, for messages."""
    if samples is not None and samples.clean is not None:
        return (
            "they keep clean targets, but no law of the noise, which take(...) drops where a point "
            "comes twice: the two share theirs. Take each once, or add the noise afterwards, with "
            "SymmetricFlips(rate).apply(samples, seed) or AdditiveNoise(std)."
        )
    return (
        "they keep no clean targets. Add noise with SymmetricFlips(rate).apply(samples, seed) or "
        "AdditiveNoise(std).apply(samples, seed)."
    )


def check_samples(samples: object) -> None:
    """Raise TypeError unless it is `Samples`."""
    if not isinstance(samples, Samples):
        raise TypeError(
            f"samples must be mitools.data.Samples; got {type(samples).__name__}. "
            "mitools.data.samples_of(...) makes them of a DataLoader, a Dataset or a pair."
        )


def checked_inputs(inputs: Any, name: str) -> Tensor:
    """Return inputs, a non-empty tensor of finite numbers with samples along its first axis."""
    _check_tensor(inputs, name)
    if not (inputs.is_floating_point() or _is_integer(inputs)):
        raise TypeError(
            f"{name} must be floating (or integer, for tokens); got {inputs.dtype}. "
            "Convert with .float()."
        )
    _check_finite(inputs, name)
    return inputs


def checked_targets(targets: Any, name: str) -> Tensor:
    """Return targets: classes as int64 of shape (n,), or finite floating (n,) or (n, t)."""
    _check_tensor(targets, name)
    if targets.is_floating_point():
        if targets.ndim > 2:
            raise ValueError(
                f"{name} of a regression must have shape (n,) or (n, t); got {_looks(targets)}. "
                "Flatten all but the first axis."
            )
        _check_finite(targets, name)
        return targets
    if targets.dtype != torch.bool and not _is_integer(targets):
        raise TypeError(
            f"{name} must be integer classes or floating numbers; got {targets.dtype}. "
            "Convert with .long() or .float()."
        )
    if targets.ndim != 1:
        raise ValueError(
            f"{name} must hold one class per sample, shape (n,); got {_looks(targets)}. "
            "For one-hot rows pass .argmax(1); for regression .float()."
        )
    targets = targets.long()
    if int(targets.min()) < 0:
        raise ValueError(
            f"{name} must be classes 0, 1, …; got {int(targets.min())} among them. "
            "Relabel, or drop the samples without a label."
        )
    return targets


def check_lengths(one: str, inputs: Tensor, other: str, targets: Tensor) -> None:
    """Raise ValueError unless both hold the same number of samples."""
    if len(inputs) != len(targets):
        raise ValueError(
            f"{one} and {other} must hold the same number of samples; {one} has {len(inputs)}, "
            f"{other} has {len(targets)}. Is one of them transposed, or cut short?"
        )


def _check_tensor(values: Any, name: str) -> None:
    if not isinstance(values, Tensor):
        raise TypeError(
            f"{name} must be a torch tensor; got {type(values).__name__}. "
            "Convert with torch.as_tensor."
        )
    if values.is_meta or values.layout != torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor that holds values; got one "
            f"{'on the meta device' if values.is_meta else f'of layout {values.layout}'}. "
            "Load the values, or call to_dense()."
        )
    if values.ndim == 0 or values.numel() == 0:
        raise ValueError(
            f"{name} must hold at least one sample, along the first axis; got {_looks(values)}. "
            "Is the data set, or a selection from it, empty?"
        )


def _check_finite(values: Tensor, name: str) -> None:
    if not values.is_floating_point():
        return
    # One pass without a temporary; the two ends tell of every NaN and infinity.
    low, high = values.detach().aminmax()
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        return
    bad = (~torch.isfinite(values.detach())).flatten(1 if values.ndim > 1 else 0)
    rows = (bad.any(1) if values.ndim > 1 else bad).nonzero().flatten()
    raise ValueError(
        f"{name} must be finite; {len(rows)} of {len(values)} samples hold NaN or infinity, the "
        f"first at index {int(rows[0])}. Drop or impute them first."
    )


def _classes(classes: int | None, targets: Tensor, clean: Tensor | None) -> int | None:
    if targets.is_floating_point():
        if classes is not None:
            raise ValueError(
                f"targets must be integers where classes is given ({classes}); got "
                f"{targets.dtype}. Convert with .long(), or leave classes out for regression."
            )
        return None
    largest = max(int(t.max()) for t in (targets, clean) if t is not None)
    if classes is None:
        return largest + 1
    if classes <= largest:
        raise ValueError(
            f"classes must exceed every label; got classes={classes} with a label {largest}. "
            "Labels start at 0."
        )
    return int(classes)


def _is_integer(values: Tensor) -> bool:
    return values.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _looks(values: Tensor) -> str:
    return f"shape {tuple(values.shape)}, {values.dtype}"
