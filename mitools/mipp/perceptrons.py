"""Many small networks of one shape, trained together on rows of their own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_CHECKS = 25  # times that a training asks for the rows set aside
_PATIENCE = 5  # of them without a gain for any network, and it ends

Inputs = Callable[[Tensor, bool], Tensor]
"""From the numbers of rows (k, b), and whether they are to fit, to what is read (k, b, inputs)."""

Losses = Callable[[Tensor, Tensor], Tensor]
"""From outputs (k, b, o) and numbers of rows (k, b) to the loss of each row (k, b)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One hidden layer of rectified units, and a linear map beside it.

    Parameters
    ----------
    inputs, outputs, hidden : int
        Sizes of the layers.
    linear : bool
        Whether the linear map is there.
    """

    inputs: int
    outputs: int
    hidden: int
    linear: bool


@dataclass(frozen=True, eq=False)
class Perceptrons:
    """k networks of one shape, every one with weights of its own.

    Parameters
    ----------
    reads : (k, inputs, hidden) tensor
        Weights from inputs to hidden units.
    hidden_bias : (k, 1, hidden) tensor
        Of the hidden units.
    writes : (k, hidden, outputs) tensor
        Weights from hidden units to outputs.
    bias : (k, 1, outputs) tensor
        Of the outputs.
    straight : (k, inputs, outputs) tensor or None
        The linear map from inputs to outputs.
    """

    reads: Tensor
    hidden_bias: Tensor
    writes: Tensor
    bias: Tensor
    straight: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return outputs (k, b, outputs) for inputs (k, b, inputs)."""
        hidden = torch.baddbmm(self.hidden_bias, x, self.reads).relu()
        outputs = torch.baddbmm(self.bias, hidden, self.writes)
        return outputs if self.straight is None else outputs + x @ self.straight

    @property
    def weights(self) -> list[Tensor]:
        """All weights and biases."""
        every = (self.reads, self.hidden_bias, self.writes, self.bias, self.straight)
        return [each for each in every if each is not None]

    def without(self, gone: Tensor) -> "Perceptrons":
        """Return the same networks without the inputs at which a bool tensor is True."""
        straight = None if self.straight is None else self.straight[:, ~gone]
        return Perceptrons(self.reads[:, ~gone], self.hidden_bias, self.writes, self.bias, straight)


def drawn(count: int, shape: Shape, start: Tensor, generator: torch.Generator) -> Perceptrons:
    """Return freshly drawn networks whose outputs are at first the start, (outputs,).

    Weights into hidden units have torch's default law; those into outputs begin at 0.
    """
    bound = 1.0 / math.sqrt(max(shape.inputs, 1))

    def uniform(*size: int) -> Tensor:
        return (2.0 * torch.rand(size, generator=generator) - 1.0) * bound

    return Perceptrons(
        uniform(count, shape.inputs, shape.hidden),
        uniform(count, 1, shape.hidden),
        torch.zeros(count, shape.hidden, shape.outputs),
        start.float().expand(count, 1, -1).clone(),
        torch.zeros(count, shape.inputs, shape.outputs) if shape.linear else None,
    )


@dataclass(frozen=True, slots=True)
class Lesson:
    """How networks are trained: Adam, each keeping the weights best on rows of its own set aside.

    Parameters
    ----------
    steps : int
        At most.
    rate : float
        Of Adam.
    batch : int
        Rows a step.
    """

    steps: int
    rate: float
    batch: int


@dataclass(frozen=True, eq=False)
class Rows:
    """Which rows each network learns from, and which choose among its weights.

    Parameters
    ----------
    fit, choose : (k, m) int64 tensors
        Numbers of rows.
    """

    fit: Tensor
    choose: Tensor


def trained(
    networks: Perceptrons,
    inputs: Inputs,
    losses: Losses,
    rows: Rows,
    lesson: Lesson,
    generator: torch.Generator,
) -> Perceptrons:
    """Return networks trained from the weights of these, which stay as they are."""
    now = _as_leaves(networks)
    optimizer = torch.optim.Adam(now.weights, lr=lesson.rate)
    kept = _Best(networks, _mean_loss(networks, inputs, losses, rows.choose))
    every = max(1, lesson.steps // _CHECKS)
    n, size = rows.fit.shape[1], min(lesson.batch, rows.fit.shape[1])
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, lesson.steps + 1):
        if len(order) < size:
            order = torch.randperm(n, generator=generator)
        batch, order = rows.fit[:, order[:size]], order[size:]
        loss = losses(now(inputs(batch, True)), batch).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every and step < lesson.steps:
            continue
        if kept.try_these(now, _mean_loss(now, inputs, losses, rows.choose)) >= _PATIENCE:
            break
    return kept.networks


class _Best:
    """The weights with the smallest loss on rows set aside, network by network."""

    def __init__(self, networks: Perceptrons, loss: Tensor) -> None:
        self.networks = _detached(networks)
        self._loss, self._waited = loss, 0

    def try_these(self, networks: Perceptrons, loss: Tensor) -> int:
        """Take those that are better; return how often in a row none was."""
        better = loss < self._loss
        self._waited = 0 if bool(better.any()) else self._waited + 1
        self._loss = torch.where(better, loss, self._loss)
        for kept, new in zip(self.networks.weights, networks.weights, strict=True):
            kept[better] = new.detach()[better]
        return self._waited


def _mean_loss(networks: Perceptrons, inputs: Inputs, losses: Losses, rows: Tensor) -> Tensor:
    with torch.no_grad():
        found = losses(networks(inputs(rows, False)), rows).mean(1)
    if not bool(torch.isfinite(found).all()):
        raise ValueError(
            "learning_rate must keep the losses finite; on rows set aside they are "
            f"{found.tolist()}. Lower it, or do the rows hold a few huge values?"
        )
    return found


def _detached(networks: Perceptrons) -> Perceptrons:
    straight = networks.straight
    return Perceptrons(
        networks.reads.detach().clone(),
        networks.hidden_bias.detach().clone(),
        networks.writes.detach().clone(),
        networks.bias.detach().clone(),
        None if straight is None else straight.detach().clone(),
    )


def _as_leaves(networks: Perceptrons) -> Perceptrons:
    leaves = _detached(networks)
    for weight in leaves.weights:
        weight.requires_grad_()
    return leaves
