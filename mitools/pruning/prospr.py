"""ProsPr: how much the loss after a few steps of training would feel the loss of each weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat

import torch
from torch import Tensor, nn

from mitools.pruning.scoring import undisturbed
from mitools.pruning.selection import Scores
from mitools.pruning.slopes import (
    Losses,
    Precision,
    Statistics,
    check_reading,
    scaled,
    twice_differentiable,
)


@dataclass(frozen=True)
class ProsPr:
    """``|dL(θ_M)/dc|`` at c = 1, where θ_0 = c ⊙ θ and θ_M is M steps of descent further.

    The steps are plain gradient descent on one batch each, by all parameters that require
    gradients, biases and norms included; the loss is that of the next batch, and its slope goes
    back through all steps (Alizadeh et al., algorithm 1). Batches come in the loader's order, again
    from the first when it ends. With ``lr=0`` the score is that of SNIP on the last batch.

    Memory: the graphs of M + 1 forward and M backward passes over a batch at once. For M = 3 that
    is about 7 times what training on a batch takes, and 15 times in float64 (measured in
    docs/pruners.md); ``first_order`` needs one graph.

    Differences from the authors' code: the first step's momentum is differentiated too; any layer
    will do; dropout is off.

    Parameters
    ----------
    steps : int, at least 0
        M.
    lr, momentum : float
        Of the descent.
    fresh_batches : bool
        False: all steps and the last loss on the first batch, as the authors' command line does.
    first_order : bool
        Treat the slopes of the descent as constants: cheaper, the authors' variant of that name.
    statistics : {"batch", "running"}
        What batch norm normalises by; "batch" as in training.
    precision : {"double", "model"}
        "model" computes in the dtype of the weights, at least float32: a quarter of the time and
        half the memory; but the descent amplifies rounding, and with batch norm some per cent of
        the mask may come out otherwise.

    References
    ----------
    Alizadeh et al., *Prospect pruning: finding trainable weights at initialization using
    meta-gradients*, arXiv 2202.08132.
    """

    steps: int = 3
    lr: float = 0.1
    momentum: float = 0.0
    fresh_batches: bool = True
    first_order: bool = False
    statistics: Statistics = "batch"
    precision: Precision = "double"

    def __post_init__(self) -> None:
        check_reading(None, self.statistics, self.precision)
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0; got {self.steps!r}. 3 is usual.")
        for name, value in (("lr", self.lr), ("momentum", self.momentum)):
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number of at least 0; got {value!r}.")

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return ``|dL(θ_M)/dc|`` for every weight, in float64.

        Raises
        ------
        ValueError
            If an operation of the model cannot be differentiated twice.
        """
        with undisturbed(model):
            losses = Losses(
                model, loader, names, statistics=self.statistics, precision=self.precision
            )
            batches = list(islice(self._stream(losses), self.steps + 1))
            with twice_differentiable():
                self._descend(losses, model, batches[:-1])
                slopes = losses.slope_at(*batches[-1])
        return {name: score.abs() for name, score in scaled(losses.weights, slopes).items()}

    def _stream(self, losses: Losses) -> Iterator[tuple[Tensor, Tensor]]:
        """Give batches without end."""
        if not self.fresh_batches:
            return repeat(next(losses.batches()))
        return chain.from_iterable(losses.batches() for _ in repeat(None))

    def _descend(
        self, losses: Losses, model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        """Move the state of the losses down, one step a batch, and let autograd follow."""
        state = losses.state
        moving = [name for name, p in model.named_parameters() if p.requires_grad]
        if not moving:  # all is frozen
            return
        for name in moving:
            state[name].requires_grad_()
        speed: Sequence[Tensor] = ()
        for inputs, targets in batches:
            slopes: Sequence[Tensor] = torch.autograd.grad(
                losses.at(inputs, targets),
                [state[name] for name in moving],
                create_graph=not self.first_order,
                allow_unused=True,
                materialize_grads=True,
            )
            if self.momentum and speed:
                slopes = [
                    slope + self.momentum * before
                    for slope, before in zip(slopes, speed, strict=True)
                ]
            speed = slopes
            for name, step in zip(moving, speed, strict=True):
                state[name] = state[name] - self.lr * step
