"""Gradual magnitude pruning: a little more at a time, while the network trains on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mitools._validation import checked_count
from mitools.models import copied, prunable
from mitools.pruning.levels import Levels
from mitools.pruning.magnitude import Magnitude
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named, reproducibly
from mitools.pruning.selection import (
    Scope,
    check_density,
    check_scope,
    count_kept,
    survivors,
    top_k,
)
from mitools.pruning.trained import Ticket, check_training, mask_of_run
from mitools.training import Training, TrainState, state_of, train
from mitools.training.evaluation import place_of
from mitools.training.passes import passes_over


@dataclass(frozen=True)
class GradualMagnitude:
    """Drop the smallest weights again and again during one training (Zhu and Gupta, eq. 1).

    After pruning j of n the density is ``d + (1 - d)(1 - j/n)³``: fast at first, slower as less is
    left. Training goes on in between and afterwards, the pruned weights at 0; none comes back, as
    it may in code that recomputes the mask from stored weights. The times are shares of the
    training because the paper's are numbers of steps of its own trainings.

    Parameters
    ----------
    training : Training
        The one training; without early stopping.
    prunings : int, at least 1
        n. Where several fall on one step, the last decides.
    begin, end : float, 0 <= begin <= end <= 1
        The shares of the training at which pruning begins and is complete; the first weights go
        one interval after begin.
    scope : "global", "layer", Allocation or Floor
        How survivors are shared out; see `OneShot`. The paper's is "layer".

    References
    ----------
    Zhu and Gupta, *To prune, or not to prune: exploring the efficacy of pruning for model
    compression*, arXiv 1710.01878.
    """

    training: Training = Training()
    prunings: int = 100
    begin: float = 0.1
    end: float = 0.7
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_training(self.training)
        if self.training.early_stopping is not None:
            raise ValueError(
                "training must not stop early, or pruning might not be complete; got "
                f"early_stopping={self.training.early_stopping!r}. Leave it None."
            )
        check_scope(self.scope)
        checked_count("prunings", self.prunings)
        if not 0.0 <= self.begin <= self.end <= 1.0:
            raise ValueError(
                "begin and end must be shares of the training, 0 <= begin <= end <= 1; got "
                f"{self.begin!r} and {self.end!r}."
            )

    def counts(self, size: int, density: float) -> tuple[int, ...]:
        """Return the number of survivors after each pruning.

        Examples
        --------
        >>> GradualMagnitude(prunings=4).counts(1000, density=0.1)
        (480, 213, 114, 100)
        """
        check_density(density)
        left = [(1.0 - j / self.prunings) ** 3 for j in range(1, self.prunings)]
        counts = [count_kept(density + (1.0 - density) * part, size) for part in left]
        return (*counts, count_kept(density, size))

    def steps(self, total: int) -> tuple[int, ...]:
        """Return the optimiser steps, of so many in all, after which each pruning is due.

        Examples
        --------
        >>> GradualMagnitude(prunings=4).steps(100)
        (25, 40, 55, 70)
        """
        span = self.end - self.begin
        due = [self.begin + span * j / self.prunings for j in range(1, self.prunings + 1)]
        return tuple(round(share * total) for share in due)

    mask = mask_of_run

    def run(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str] | None = None,
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Ticket:
        """Return the masks after each pruning, and the trained weights, to be fine-tuned from.

        Parameters
        ----------
        model : nn.Module
            At its initial weights; not changed.
        loader : DataLoader, Dataset, `Samples`, or pair
            The training data; it must know its number of batches.
        density : float in [0, 1]
            The share of the weights that stays in the end.
        names : sequence of str, optional
            Parameters that take part; None: what `mitools.models.prunable` names.
        progress : bool
            Whether to show a bar for each stretch of training on stderr.
        checkpoint : path of a directory, optional
            Where what is done is kept; the same call goes on.

        Raises
        ------
        ValueError
            If nobody knows how long the training is, or the checkpoint is of another run.
        """
        names = tuple(prunable(model)) if names is None else tuple(names)
        survivors(density, parameters_named(model, names), self.scope)  # says so before training
        with reproducibly():
            trained = copied(model)
            ends = self._ends(trained, loader, size_of(model, names), density)
            levels = Levels(checkpoint, self, [count for _, count in ends], model, loader)
            masks = levels.load()[: len(ends) - 1]  # the last stretch's weights are wanted too
            state: TrainState | None = None
            for level in range(len(masks), len(ends)):
                mask = masks[-1] if masks else None
                state = self._stretch(trained, loader, mask, state, ends[level][0], progress,
                                      levels.training_at(level + 1))  # fmt: skip
                if level:  # only now: where to go on from is in the file of this stretch
                    levels.save(level, masks[-1])
                scores = Magnitude().scores(trained, None, names)
                masks.append(Mask(top_k(scores, ends[level][1], self.scope, among=mask)))
            levels.save(len(ends), masks[-1])
        masks[-1].apply_(trained)
        start = state_of(trained)
        return Ticket(tuple(masks), start, start.model)

    def _stretch(
        self,
        model: nn.Module,
        loader: Any,
        mask: Mask | None,
        start: TrainState | None,
        steps: int,
        progress: bool,
        checkpoint: Path | None,
    ) -> TrainState:
        """Train to the next pruning, in place."""
        history = train(
            model,
            loader,
            self.training,
            mask=mask,
            start=start,
            steps=steps,
            progress=progress,
            checkpoint=checkpoint,
        )
        assert history.state is not None
        return history.state

    def _ends(
        self, model: nn.Module, loader: Any, size: int, density: float
    ) -> list[tuple[int, int]]:
        """Return, for each stretch of training, its last step and how many weights stay then."""
        total = steps_in_all(self.training, model, loader)
        counts = self.counts(size, density)
        last = dict(zip(self.steps(total), counts, strict=True))
        return list((last | {total: counts[-1]}).items())


def steps_in_all(training: Training, model: nn.Module, loader: Any) -> int:
    """Return how many optimiser steps a training takes.

    Raises
    ------
    ValueError
        If nobody knows.
    """
    passes = passes_over(loader, training.batch_size, training.seed, *place_of(model))
    if passes.steps is None:
        raise ValueError(
            "loader must know its number of batches, for pruning is timed by it; "
            f"{type(loader).__name__} has no length. Pass data in memory or a sized loader."
        )
    return training.epochs * passes.steps
