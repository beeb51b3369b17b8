"""Train, validate, test: networks are fitted on one part, chosen on another, asked on the third."""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor, nn
from tqdm.auto import tqdm

from mitools._typing import FloatArray, IntArray
from mitools._validation import checked_choice, checked_count, checked_share
from mitools.methods.questions import WithError, mean_of

Scale = Literal["std", "rank"] | None


@dataclass(frozen=True)
class Fitting:
    """How a network is fitted: Adam on one part of the samples, stopped early by another.

    Parameters
    ----------
    steps : int
        Optimiser steps at most.
    batch_size : int
        Samples a step. In a variational bound every sample is set against all others of its batch.
    learning_rate, weight_decay : float
        Of Adam; the decay is decoupled.
    every, patience : int
        The validation loss is taken every so many steps; training stops once it has not improved
        for `patience` times. The network of the best time is kept.
    validation, test : float
        Shares of the samples that choose the network, and that the answer is about.
    """

    steps: int = 2_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    every: int = 50
    patience: int = 6
    validation: float = 0.2
    test: float = 0.2

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch_size", 2), ("every", 1), ("patience", 1)):
            checked_count(name, getattr(self, name), least)
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(
                f"learning_rate must be positive and finite; got {self.learning_rate!r}. Try 1e-3."
            )
        if not 0.0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"weight_decay must be finite and at least 0; got {self.weight_decay!r}. Try 0."
            )
        checked_share("validation", self.validation)
        checked_share("test", self.test)
        checked_share("validation + test", self.validation + self.test)


class Parts(NamedTuple):
    """Rows to fit on, rows to choose by, rows to answer from."""

    train: IntArray
    validation: IntArray
    test: IntArray


def part_sizes(n: int, fitting: Fitting) -> tuple[int, int, int]:
    """Return how many of n samples each part gets.

    Raises
    ------
    ValueError
        If one of them gets fewer than two.
    """
    validation, test = round(n * fitting.validation), round(n * fitting.test)
    sizes = (n - validation - test, validation, test)
    if min(sizes) < 2:
        raise ValueError(
            "x and y must hold enough samples for two in each part; got "
            f"{n}, hence {sizes[0]} to train, {sizes[1]} to validate and {sizes[2]} to test. "
            "Use more samples, or larger shares in Fitting(validation=..., test=...)."
        )
    return sizes


def parts_of(n: int, fitting: Fitting, generator: torch.Generator) -> Parts:
    """Return a random split of n samples."""
    order = torch.randperm(n, generator=generator).numpy()
    first, second, _ = np.cumsum(part_sizes(n, fitting))
    return Parts(order[:first], order[first:second], order[second:])


def scaled_parts(
    rows: FloatArray, parts: Parts, scale: Scale, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three parts in the units that networks like, found on the training part alone."""
    trained = rows[parts.train]
    if scale == "std":
        middle, spread = standard_units(trained)
        rows = (rows - middle) / spread
    elif scale == "rank":
        rows = np.column_stack([_by_rank(rows[:, j], trained[:, j]) for j in range(rows.shape[1])])
    whole = torch.from_numpy(rows.astype(np.float32))
    train, validation, test = (whole[torch.from_numpy(part)].to(device) for part in parts)
    return train, validation, test


def standard_units(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of each column; a constant column has unit 1."""
    middle = rows.mean(axis=0)
    spread = (rows - middle).std(axis=0)
    return middle, np.where(spread > 0.0, spread, 1.0)


def _by_rank(column: FloatArray, trained: FloatArray) -> FloatArray:
    scores = norm.ppf(rankdata(trained) / (len(trained) + 1.0))
    order = np.argsort(trained)
    return np.interp(column, trained[order], scores[order])


def fit(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    validation_loss: Callable[[], float],
    rows: int,
    fitting: Fitting,
    generator: torch.Generator,
    progress: bool = False,
) -> tuple[float, ...]:
    """Fit the network in place and leave it at its best; return the validation losses.

    Parameters
    ----------
    network : nn.Module
        What is fitted.
    loss : callable
        From indices of training rows, on the CPU, to the loss of that batch.
    validation_loss : callable
        To what the choice is made by, smaller being better.
    rows : int
        Training rows.
    fitting : Fitting
        How.
    generator : torch.Generator
        Draws the batches.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        If a loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=fitting.learning_rate, weight_decay=fitting.weight_decay
    )
    batches = _batches(rows, fitting.batch_size, generator)
    losses = [_validated(network, validation_loss, 0)]
    best, kept, waited = losses[0], deepcopy(network.state_dict()), 0
    for step in tqdm(range(1, fitting.steps + 1), disable=not progress):
        network.train()
        value = loss(next(batches))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        if step % fitting.every and step < fitting.steps:
            continue
        last = float(value.detach())
        _checked("training", last, step, not math.isfinite(last))
        losses.append(_validated(network, validation_loss, step))
        if losses[-1] < best:
            best, kept, waited = losses[-1], deepcopy(network.state_dict()), 0
        else:
            waited += 1
        if waited == fitting.patience:
            break
    network.load_state_dict(kept)
    network.eval()
    return tuple(losses)


def _batches(rows: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of equal size for ever, every row once a pass but for an incomplete batch."""
    size = min(size, rows)
    while True:
        order = torch.randperm(rows, generator=generator)
        yield from order[: rows - rows % size].split(size)


def _validated(network: nn.Module, validation_loss: Callable[[], float], step: int) -> float:
    network.eval()
    with torch.no_grad():
        loss = validation_loss()
    # Infinite is bad, and will not be chosen; what is no number is a failure.
    return _checked("validation", loss, step, math.isnan(loss))


def _checked(part: str, loss: float, step: int, failed: bool) -> float:
    if failed:
        raise ValueError(
            f"fitting must keep the losses finite; the {part} loss was {loss} at step {step}. "
            "Lower Fitting(learning_rate=...), or use scale='rank' if the data have heavy tails."
        )
    return loss


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the test part says.

    Parameters
    ----------
    terms : float array, shape (m,)
        One term in nats for each of m test samples. Their mean is the estimate, and their spread
        its error, the samples' influence as rivals of others included.
    losses : tuple of float
        Validation loss at the start and at each check, in nats.
    """

    terms: FloatArray
    losses: tuple[float, ...]

    @property
    def value(self) -> float:
        """The estimate in nats."""
        return float(np.mean(self.terms))

    @property
    def std_error(self) -> float:
        """Standard error of `value` over test samples, for the network as fitted, in nats."""
        return self.told().std_error

    def told(self) -> WithError:
        """Return value and error as questions take them."""
        source = f"over {len(self.terms)} held-out samples, for the network as fitted"
        return mean_of(self.terms, source)


def checked_method(scale: Scale, seed: int, fitting: Fitting) -> None:
    """Raise ValueError unless these fields of a method are valid."""
    checked_choice("scale", scale, ("std", "rank", None))
    checked_count("seed", seed, least=0)
    if not isinstance(fitting, Fitting):
        raise ValueError(f"fitting must be a Fitting; got {fitting!r}. Use Fitting(steps=1000).")
