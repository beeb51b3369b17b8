"""The networks inside: perceptrons, and critics that score every x against every y."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from mitools._validation import checked_count

_FLOATS = 1 << 24  # of the largest array inside a critic outside of training


@dataclass(frozen=True)
class Perceptron:
    """A fully connected ReLU network, with a linear map from inputs to outputs beside it.

    The linear map learns from few samples what is linear, in many dimensions above all.

    Parameters
    ----------
    width, depth : int
        Units of a hidden layer, and hidden layers.
    """

    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        checked_count("width", self.width)
        checked_count("depth", self.depth)

    def build(self, inputs: int, outputs: int, start: Tensor | None = None) -> nn.Module:
        """Return a freshly drawn network; with a start, its outputs are at first that constant."""
        sizes = (inputs, *[self.width] * self.depth)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        last = nn.Linear(self.width, outputs)
        linear = nn.Linear(inputs, outputs, bias=False)
        if start is not None:
            with torch.no_grad():
                last.weight.zero_()
                last.bias.copy_(start)
                linear.weight.zero_()
        return _Sum(nn.Sequential(*layers, last), linear)


class _Sum(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.parts
        return first(x) + second(x)


class Critic(Protocol):
    """A kind of network that scores pairs.

    Ours score all pairs alike at first: random scores of outliers can be too wild to recover from.
    """

    def build(self, x_dim: int, y_dim: int) -> nn.Module:
        """Return a network from x (n, x_dim) and y (m, y_dim) to scores (n, m)."""
        ...


@dataclass(frozen=True)
class Separable:
    """Scores f(x)·g(y): n + m network passes for n x m scores, so the fast one.

    Parameters
    ----------
    width, depth : int
        Of both perceptrons.
    embedding : int
        Length of f(x) and g(y).
    """

    width: int = 64
    depth: int = 2
    embedding: int = 32

    def __post_init__(self) -> None:
        Perceptron(self.width, self.depth)
        checked_count("embedding", self.embedding)

    def build(self, x_dim: int, y_dim: int) -> nn.Module:
        """Return a network from x (n, x_dim) and y (m, y_dim) to scores (n, m)."""
        sides = Perceptron(self.width, self.depth)
        nothing = torch.zeros(self.embedding)
        return _Products(
            sides.build(x_dim, self.embedding, nothing), sides.build(y_dim, self.embedding)
        )


class _Products(nn.Module):
    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        left, right = self.left(x), self.right(y)
        return left @ right.T / math.sqrt(left.shape[1]) + self.level


@dataclass(frozen=True)
class Concatenated:
    """Scores h(x, y), one network over both: n x m passes, and the most flexible.

    Parameters
    ----------
    width, depth : int
        Of the perceptron.
    """

    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        Perceptron(self.width, self.depth)

    def build(self, x_dim: int, y_dim: int) -> nn.Module:
        """Return a network from x (n, x_dim) and y (m, y_dim) to scores (n, m)."""
        if self.depth > 1:
            head = Perceptron(self.width, self.depth - 1).build(self.width, 1, torch.zeros(1))
        else:
            head = nn.Linear(self.width, 1)
            nn.init.zeros_(head.weight)
        return _Joint(nn.Linear(x_dim, self.width), nn.Linear(y_dim, self.width), head)


class _Joint(nn.Module):
    def __init__(self, left: nn.Linear, right: nn.Linear, head: nn.Module) -> None:
        super().__init__()
        self.left, self.right, self.head = left, right, head

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        # A layer over (x, y) is a sum of layers over x and over y, so pairs need no copies.
        left, right = self.left(x), self.right(y)
        if self.training:
            return self._scores(left, right)
        rows = max(1, _FLOATS // right.numel())
        return torch.cat([self._scores(some, right) for some in left.split(rows)])

    def _scores(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(torch.relu(left[:, None] + right)).squeeze(-1)
