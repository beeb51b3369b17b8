"""Pruners that train: what is small after training was not needed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from tqdm import tqdm

from mitools._validation import checked_count
from mitools.models import copied, prunable, tensors_of
from mitools.pruning.levels import Levels
from mitools.pruning.magnitude import Magnitude
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import (
    Score,
    check_score,
    decreasing,
    geometric_counts,
    size_of,
)
from mitools.pruning.scoring import parameters_named, reproducibly
from mitools.pruning.selection import (
    Scope,
    check_density,
    check_scope,
    count_kept,
    survivors,
    top_k,
)
from mitools.training import Training, TrainState, state_of, train, train_together
from mitools.training.stacked import group_size
from mitools.training.state import copy_of, put_

PathLike = str | Path


@dataclass(frozen=True, eq=False)
class Ticket:
    """What a pruner that trains found: the masks, and the weights to go on from.

    Parameters
    ----------
    levels : tuple of Mask
        The mask after each level; the last one is the answer.
    start : TrainState
        Where to train the pruned network from: pass it to `mitools.training.train` with the mask.
    trained : dict of str to Tensor
        Parameters and buffers after the last training, whose magnitudes decided.
    """

    levels: tuple[Mask, ...]
    start: TrainState
    trained: dict[str, Tensor]

    @property
    def mask(self) -> Mask:
        """The mask of the last level."""
        return self.levels[-1]

    def apply_(self, model: nn.Module) -> nn.Module:
        """Give the model the weights of `start`, pruned ones exactly 0, in place."""
        put_(model, self.start.model, "ticket")
        return self.mask.apply_(model)


class Runs(Protocol):
    """Says more than a mask of how it was found."""

    def run(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str] | None = None,
        *,
        progress: bool = False,
        checkpoint: PathLike | None = None,
    ) -> Ticket:
        """Return the masks, and the weights to go on from."""
        ...


def mask_of_run(
    self: Runs,
    model: nn.Module,
    loader: Any,
    density: float,
    names: Sequence[str],
    *,
    progress: bool = False,
    checkpoint: PathLike | None = None,
) -> Mask:
    """Return the mask that keeps exactly ``round(density * size)`` weights.

    The method ``mask`` of all pruners that have ``run``.
    """
    return self.run(model, loader, density, names, progress=progress, checkpoint=checkpoint).mask


@dataclass(frozen=True)
class MagnitudeAfterTraining:
    """Train the dense network, keep its largest weights, at their trained values.

    Parameters
    ----------
    training : Training
        How.
    scope : "global", "layer", Allocation or Floor
        How survivors are shared out; see `OneShot`.
    score : Score
        What stands for the size of a trained weight; ``LAMP()`` compares between layers.
    """

    training: Training = Training()
    scope: Scope = "global"
    score: Score = Magnitude()

    def __post_init__(self) -> None:
        check_training(self.training)
        check_scope(self.scope)
        check_score(self.score)

    mask = mask_of_run

    def run(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str] | None = None,
        *,
        progress: bool = False,
        checkpoint: PathLike | None = None,
    ) -> Ticket:
        """Return the mask and the trained weights, to be fine-tuned from; see `IMP.run`."""
        names = tuple(prunable(model)) if names is None else tuple(names)
        keep = survivors(density, parameters_named(model, names), self.scope)
        with reproducibly():
            trained = copied(model)
            levels = Levels(checkpoint, self, [keep], model, loader)
            train(
                trained, loader, self.training, progress=progress, checkpoint=levels.training_at(1)
            )
            mask = Mask(top_k(self.score.scores(trained, loader, names), keep, self.scope))
            levels.save(1, mask)
        start = state_of(trained)
        return Ticket((mask,), start, start.model)

    def together(self, model: nn.Module, loaders: Sequence[Any]) -> int:
        """Return on how many data sets at once `masks` does best; 1: one after another."""
        return group_size(model, loaders, self.training)

    def masks(
        self, model: nn.Module, loaders: Sequence[Any], density: float, names: Sequence[str]
    ) -> list[Mask]:
        """Return the mask for each data set, from networks trained together where they can be.

        They are those of `mask`, except that where weights are equal up to rounding another of
        them may stay: their law over data sets is the same.
        """
        keep = survivors(density, parameters_named(model, names), self.scope)
        with reproducibly():
            states = train_together(model, loaders, self.training)
            trained = _each_trained(model, states)
            scores = map(self.score.scores, trained, loaders, repeat(names))
            return [Mask(top_k(score, keep, self.scope)) for score in scores]


@dataclass(frozen=True)
class IMP:
    """Iterative magnitude pruning: train, drop the smallest survivors, rewind the rest, repeat.

    Each level starts from the same point k of the same training, of which everything is restored:
    weights, batch-norm statistics, the optimiser's state, the schedule and the order of the data.

    Parameters
    ----------
    training : Training
        How each level is trained.
    rate : float in (0, 1)
        Share of the survivors that each level drops, rounded up; as many levels as it takes. The
        last one drops just what leaves the density asked for.
    rounds : int, optional
        A number of levels instead of a rate; the density then falls by the same factor in each.
    rewind_steps : int
        k: optimiser steps from the initial weights to the point that survivors go back to. 0 is
        the initialisation itself.
    scope : "global", "layer", Allocation or Floor
        How survivors are shared out; see `OneShot`.

    References
    ----------
    Frankle and Carbin, *The lottery ticket hypothesis*, arXiv 1803.03635; Frankle et al., *Linear
    mode connectivity and the lottery ticket hypothesis*, arXiv 1912.05671, for rewinding to k.
    """

    training: Training = Training()
    rate: float = 0.2
    rounds: int | None = None
    rewind_steps: int = 0
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_training(self.training)
        check_scope(self.scope)
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"rate must lie between 0 and 1; got {self.rate!r}. 0.2 is usual.")
        if self.rounds is not None:
            checked_count("rounds", self.rounds)
        if self.rewind_steps < 0:
            raise ValueError(f"rewind_steps must be at least 0; got {self.rewind_steps!r}.")

    def counts(self, size: int, density: float) -> tuple[int, ...]:
        """Return the number of survivors after each level.

        Examples
        --------
        >>> IMP(rate=0.2).counts(266_200, density=0.4)
        (212960, 170368, 136294, 109035, 106480)
        """
        target = count_kept(check_density(density), size)
        if self.rounds is not None:
            return tuple(decreasing(geometric_counts(size, density, self.rounds), size))
        counts, left = [], size
        while left > target:
            # Rounded first: 0.07 * 100 comes out above 7, and its ceiling would be 8.
            left = max(left - math.ceil(round(self.rate * left, 9)), target) if target else 0
            counts.append(left)
        return tuple(counts)

    mask = mask_of_run

    def run(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str] | None = None,
        *,
        progress: bool = False,
        checkpoint: PathLike | None = None,
    ) -> Ticket:
        """Return the masks of all levels, and the point that survivors are rewound to.

        Parameters
        ----------
        model : nn.Module
            At its initial weights; not changed.
        loader : DataLoader, Dataset, `Samples`, or pair
            The training data.
        density : float in [0, 1]
            The share of the weights that stays.
        names : sequence of str, optional
            Parameters that take part; None: what `mitools.models.prunable` names.
        progress : bool
            Whether to show bars of levels and steps on stderr.
        checkpoint : path of a directory, optional
            Where finished levels and the training under way are kept; the same call goes on.

        Raises
        ------
        ValueError
            If training ends before `rewind_steps`, or the checkpoint is of another run.
        """
        names = tuple(prunable(model)) if names is None else tuple(names)
        survivors(density, parameters_named(model, names), self.scope)  # says so before training
        counts = self.counts(size_of(model, names), density)
        with reproducibly():
            levels = Levels(checkpoint, self, counts, model, loader)
            trained = copied(model)
            start = self._start(trained, loader, levels)
            masks = levels.load()
            todo = range(len(masks), len(counts))
            if not todo and masks:  # all done before; only the trained weights are missing
                todo, masks = [len(masks) - 1], masks[:-1]
            for level in _bar(todo, len(counts), progress):
                mask = masks[-1] if masks else None
                train(
                    trained,
                    loader,
                    self.training,
                    mask=mask,
                    start=start,
                    progress=progress,
                    checkpoint=levels.training_at(level + 1),
                )
                masks.append(self._largest(trained, names, counts[level], mask))
                levels.save(level + 1, masks[-1])
        full = Mask.ones_like(Magnitude().scores(model, None, names))
        return Ticket(tuple(masks or [full]), start, copy_of(tensors_of(trained)))

    def together(self, model: nn.Module, loaders: Sequence[Any]) -> int:
        """Return on how many data sets at once `masks` does best; 1: one after another."""
        return group_size(model, loaders, self.training)

    def masks(
        self, model: nn.Module, loaders: Sequence[Any], density: float, names: Sequence[str]
    ) -> list[Mask]:
        """Return the mask for each data set; as `MagnitudeAfterTraining.masks`, level by level."""
        survivors(density, parameters_named(model, names), self.scope)
        masks, starts = None, None
        with reproducibly():
            if self.rewind_steps:
                starts = train_together(model, loaders, self.training, steps=self.rewind_steps)
                for start in starts:
                    self._check_start(start)
            for keep in self.counts(size_of(model, names), density):
                states = train_together(model, loaders, self.training, masks=masks, starts=starts)
                candidates = masks or [None] * len(states)
                masks = [
                    self._largest(trained, names, keep, among)
                    for trained, among in zip(_each_trained(model, states), candidates, strict=True)
                ]
        full = Mask.ones_like(Magnitude().scores(model, None, names))
        return masks or [full] * len(loaders)

    def _largest(
        self, trained: nn.Module, names: Sequence[str], keep: int, among: Mask | None
    ) -> Mask:
        scores = Magnitude().scores(trained, None, names)
        return Mask(top_k(scores, keep, self.scope, among=among))

    def _start(self, model: nn.Module, loader: Any, levels: Levels) -> TrainState:
        """Train to the point of rewinding, and return it."""
        if self.rewind_steps == 0:
            return state_of(model)
        path = levels.training_at(0)
        history = train(model, loader, self.training, steps=self.rewind_steps, checkpoint=path)
        return self._check_start(history.state)

    def _check_start(self, start: TrainState | None) -> TrainState:
        if start is None or start.step < self.rewind_steps or start.epoch >= self.training.epochs:
            done = 0 if start is None else start.step
            raise ValueError(
                f"rewind_steps must leave something to train; got {self.rewind_steps}, and "
                f"training ends after {done} steps. Rewind to fewer, or train for more epochs."
            )
        return start


def _each_trained(model: nn.Module, states: Sequence[TrainState]) -> Iterator[nn.Module]:
    """Yield one network, at the weights of one state after the other."""
    trained = copied(model)
    for state in states:
        put_(trained, state.model, "state")
        yield trained


def _bar(todo: Iterable[int], total: int, progress: bool) -> "tqdm[int]":
    done = total - len(list(todo))
    return tqdm(todo, "levels", total, initial=done, unit="level", disable=not progress)


def check_training(training: object) -> None:
    """Raise TypeError unless it says how to train."""
    if not isinstance(training, Training):
        raise TypeError(
            f"training must be a Training value; got {training!r}. For instance "
            "Training(epochs=20)."
        )
