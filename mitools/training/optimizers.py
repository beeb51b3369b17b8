"""Optimisers as frozen values, which build torch's."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn


class Optimizer(Protocol):
    """What a training asks of its optimiser: a learning rate, and torch's object on demand."""

    @property
    def lr(self) -> float:
        """The learning rate that a schedule multiplies."""
        ...

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's optimiser of these parameters, with no state yet."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as torch defines it.

    Parameters
    ----------
    lr : float, >= 0
        Learning rate.
    momentum : float, in [0, 1)
        Share of the last update that is kept.
    weight_decay : float, >= 0
        Added to the gradient, times the weight.
    nesterov : bool
        Look ahead; needs momentum.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check(lr=self.lr, weight_decay=self.weight_decay)
        _check_share(momentum=self.momentum)
        if self.nesterov and self.momentum == 0:
            raise ValueError("momentum must be positive with nesterov=True; got 0. 0.9 is usual.")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's SGD."""
        return _built(torch.optim.SGD, self, parameters)


@dataclass(frozen=True)
class Adam:
    """Adam [1]_; weight decay enters through the gradient.

    Parameters
    ----------
    lr : float, >= 0
        Learning rate.
    betas : tuple of two floats, in [0, 1)
        Decay of the running means of the gradient and of its square.
    eps : float, >= 0
        Added to the denominator.
    weight_decay : float, >= 0
        Added to the gradient, times the weight.

    References
    ----------
    .. [1] Kingma and Ba, arXiv:1412.6980.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_adaptive(self)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's Adam."""
        return _built(torch.optim.Adam, self, parameters)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay [1]_: weights shrink by a factor 1 - lr * weight_decay.

    Parameters
    ----------
    lr, betas, eps
        As for Adam.
    weight_decay : float, >= 0
        Share of a weight lost per step, divided by the learning rate.

    References
    ----------
    .. [1] Loshchilov and Hutter, arXiv:1711.05101.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        _check_adaptive(self)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's AdamW."""
        return _built(torch.optim.AdamW, self, parameters)


def _built(
    kind: Callable[..., torch.optim.Optimizer], value: Any, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return torch's optimiser with the fields of ours, in one kernel where that fits."""
    parameters = list(parameters)
    plain = all(  # what that kernel takes; small networks train twice as fast
        p.device.type in ("cpu", "cuda") and p.is_floating_point() and p.is_contiguous()
        for p in parameters
    )
    return kind(parameters, **asdict(value), fused=True if plain else None)


def _check_adaptive(value: Adam | AdamW) -> None:
    _check(lr=value.lr, eps=value.eps, weight_decay=value.weight_decay)
    _check_share(**{f"betas[{i}]": beta for i, beta in enumerate(value.betas)})


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number >= 0; got {value}. See the defaults.")


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must lie in [0, 1); got {value}. 0.9 is usual.")
