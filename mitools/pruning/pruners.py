"""Pruners: a score, a selection, a repetition; and the question that asks them for a mask."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn
from tqdm import tqdm

from mitools._validation import checked_count
from mitools.models import check_module, copied, fingerprint, prunable
from mitools.pruning.channels import example_of
from mitools.pruning.mask import Mask
from mitools.pruning.paths import check_takes
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import (
    Scope,
    Scores,
    check_density,
    check_scope,
    count_kept,
    survivors,
    top_k,
)
from mitools.pruning.synflow import SynFlow
from mitools.pruning.written import is_ours


@runtime_checkable
class Score(Protocol):
    """Says how much each weight deserves to stay: bigger means keep.

    Scoring leaves the model, its gradients and the random state as they were. A score that can set
    itself up once for many rounds may also have the method ``repeatedly``; see `SynFlow`.
    """

    def scores(self, model: nn.Module, loader: Any, names: Sequence[str]) -> Scores:
        """Return a tensor of scores, shaped as the parameter, for each of the names."""
        ...


@runtime_checkable
class Pruner(Protocol):
    """Makes a mask. The same model, data and fields give the same mask.

    One that trains says so by a field ``training``: `mitools.peff` then runs it again on other data
    only if asked. A pruner that takes long may also take ``progress: bool``, and one that can go on
    where it was stopped ``checkpoint: path or None``, both by keyword; `prune` passes them on.
    """

    def mask(self, model: nn.Module, loader: Any, density: float, names: Sequence[str]) -> Mask:
        """Return the mask over the named parameters that keeps this share of their weights."""
        ...


def check_score(score: object) -> None:
    """Raise TypeError unless it is a value that scores weights."""
    if isinstance(score, type) or not isinstance(score, Score):
        raise TypeError(
            f"score must be a value with a method scores(model, loader, names), such as SNIP(); "
            f"got {score!r}."
        )


@dataclass(frozen=True)
class OneShot:
    """Score once, keep the best.

    Parameters
    ----------
    score : Score
        Such as ``SNIP()``.
    scope : "global", "layer", Allocation or Floor
        Whether weights compete across all parameters, only within their own at one density for
        all, or within their own as an allocation says, such as ``ERK()``; ``Floor(1)`` keeps the
        best weight of each first.
    """

    score: Score
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_score(self.score)
        check_scope(self.scope)

    def mask(self, model: nn.Module, loader: Any, density: float, names: Sequence[str]) -> Mask:
        """Return the mask that keeps exactly ``round(density * size)`` weights."""
        keep = survivors(density, parameters_named(model, names), self.scope)
        return Mask(top_k(self.score.scores(model, loader, names), keep, self.scope))


@dataclass(frozen=True)
class Iterative:
    """Score, keep, set the rest to zero, repeat; after round t of T a share density^(t/T) is left.

    Weights that are out stay out, and take part in no later selection. ``Iterative(SNIP(), 60)`` is
    IterSNIP (de Jorge et al., arXiv 2006.09081; the authors' code normalises by the batch); see
    `FORCE` for the sibling in which weights return.

    Parameters
    ----------
    score : Score
        Asked again in every round, of the network as pruned so far.
    rounds : int, at least 1
        100 is SynFlow's own choice. Rounds too small to remove a weight are skipped.
    scope : "global", "layer", Allocation or Floor
        How survivors are shared out; see `OneShot`.

    References
    ----------
    Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic
    flow*, arXiv 2006.05467, algorithm 1.
    """

    score: Score
    rounds: int = 100
    scope: Scope = "global"

    def __post_init__(self) -> None:
        check_score(self.score)
        check_scope(self.scope)
        checked_count("rounds", self.rounds)

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
    ) -> Mask:
        """Return the mask that keeps exactly ``round(density * size)`` weights."""
        parameters = parameters_named(model, names)
        survivors(density, parameters, self.scope)  # too few for a floor show before the rounds
        size = size_of(model, names)
        counts = list(decreasing(geometric_counts(size, density, self.rounds), size))
        mask = Mask.ones_like(parameters)
        scores_under = repeatedly(self.score, model, loader, names)
        for keep in tqdm(counts, "pruning", disable=not progress, leave=False):
            among = None if mask.nonzeros == size else mask
            mask = Mask(top_k(scores_under(mask), keep, self.scope, among=among))
        return mask


def repeatedly(
    score: Score, model: nn.Module, loader: Any, names: Sequence[str]
) -> Callable[[Mask], Scores]:
    """Return a function of a mask that scores the network without the weights left out.

    Each mask must be a part of the one before. A score that can set itself up once for all rounds
    has a method of this name.
    """
    own = getattr(score, "repeatedly", None)
    if own is not None:
        return own(model, loader, names)
    pruned = copied(model)
    return lambda mask: score.scores(mask.apply_(pruned), loader, names)


def geometric_counts(size: int, density: float, rounds: int) -> list[int]:
    """Return the weights left after each round, ``round(size * density^(t / rounds))``."""
    check_density(density)
    return [count_kept(density ** (t / rounds), size) for t in range(1, rounds)] + [
        count_kept(density, size)
    ]


def decreasing(counts: Sequence[int], size: int) -> Iterator[int]:
    """Yield the counts that are smaller than all before them, and than size."""
    for count in counts:
        if count < size:
            size = count
            yield count


SYNFLOW = Iterative(SynFlow(), rounds=100)
"""The pruner that needs nothing: no data, no training."""


def prune(
    model: nn.Module,
    loader: Any = None,
    pruner: Pruner = SYNFLOW,
    *,
    density: float,
    biases: bool = False,
    norms: bool = False,
    exclude: Sequence[str] = (),
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Mask:
    """Choose the weights of a network that stay; the network itself is not changed.

    Parameters
    ----------
    model : nn.Module
        At its initial weights; pruners that train work on a copy.
    loader : DataLoader, Dataset, `Samples`, or pair of arrays or tensors
        The data. Pruners that read none accept None.
    pruner : Pruner
        How to choose.
    density : float in [0, 1]
        The share of the prunable weights that stays.
    biases, norms, exclude
        What counts as prunable; see `mitools.models.prunable`.
    progress : bool
        Whether to show a bar on stderr.
    checkpoint : path of a directory, optional
        For pruners that train: where they keep what is done, so that the same call, made again
        after an interruption, goes on from there and ends with the same mask.

    Returns
    -------
    Mask
        Knows the pruner, with what it found for itself (the noise of `MIPP`), the density and a
        fingerprint of the initial weights.

    Raises
    ------
    ValueError
        If density is not in [0, 1], the model has nothing to prune or does not fit the data, or a
        score is not finite.
    TypeError
        If pruner is not a pruner, or cannot do what checkpoint asks for.

    Examples
    --------
    >>> from mitools.data import digits
    >>> from mitools.models import mlp
    >>> from mitools.pruning import SNIP
    >>> mask = prune(mlp((64, 100, 10)), digits(), OneShot(SNIP()), density=0.05)
    >>> mask.nonzeros, mask.size
    (370, 7400)
    """
    check_module(model, "The order is prune(model, loader, pruner, density=...).")
    check_density(density)
    check_pruner(pruner)
    names = tuple(prunable(model, biases=biases, norms=norms, exclude=exclude))
    options = options_of(pruner, progress, checkpoint)
    # Pruners here leave the model as it was; somebody else's works on a copy.
    given = model if is_ours(pruner) else copied(model)
    try:
        found = pruner.mask(given, loader, density, names, **options)
    except (RuntimeError, ValueError) as error:
        if loader is not None or not isinstance(error, ValueError):
            check_data(model, loader)  # if they do not fit, that is what went wrong
        raise
    mask = made_by(pruner, found, model)
    # One that found a setting of its own says so itself.
    told = mask.pruner if type(mask.pruner) is type(pruner) else pruner
    return mask.with_provenance(pruner=told, density=float(density), fingerprint=fingerprint(model))


def check_data(model: nn.Module, loader: Any) -> None:
    """Raise ValueError unless the model takes the data, or without data what it tells itself."""
    check_takes(model, (example_of(model, loader),), argument="loader's inputs")


def options_of(pruner: Pruner, progress: bool, checkpoint: str | Path | None) -> dict[str, Any]:
    """Return the keywords, of these two, that a pruner's ``mask`` is to be called with.

    Raises
    ------
    TypeError
        If there is a checkpoint, and the pruner keeps none.
    """
    accepted = inspect.signature(pruner.mask).parameters
    options: dict[str, Any] = {}
    if progress and "progress" in accepted:
        options["progress"] = True
    if checkpoint is not None:
        if "checkpoint" not in accepted:
            raise TypeError(
                f"checkpoint must be None for {pruner!r}, which has nothing to resume; got "
                f"{str(checkpoint)!r}. Only pruners that train keep checkpoints."
            )
        options["checkpoint"] = checkpoint
    return options


def keeps_checkpoints(pruner: Pruner) -> bool:
    """Return whether it trains, and can go on where it was stopped."""
    trains = getattr(pruner, "training", None) is not None
    return trains and "checkpoint" in inspect.signature(pruner.mask).parameters


def made_by(pruner: object, found: Any, model: nn.Module) -> Mask:
    """Return what a pruner found as a `Mask` that fits the model; it may be any format of masks.

    Raises
    ------
    TypeError
        If it found nothing at all.
    MaskError
        If it is no mask, or none of this model.
    """
    if found is None:
        raise TypeError(f"pruner must return a Mask from mask(...); {pruner!r} returned None.")
    mask = found if isinstance(found, Mask) else Mask.of(found, model)
    mask.check_fits(model)
    return mask


def size_of(model: nn.Module, names: Sequence[str]) -> int:
    """Return how many weights the named parameters have."""
    return sum(parameter.numel() for parameter in parameters_named(model, names).values())


def check_pruner(pruner: object) -> None:
    """Raise TypeError unless it is a value that makes masks."""
    if isinstance(pruner, type) or not isinstance(pruner, Pruner):
        cure = f" Try OneShot({pruner!r})." if isinstance(pruner, Score) else ""
        raise TypeError(
            "pruner must be a value with a method mask(model, loader, density, names), such as "
            f"OneShot(SNIP()); got {pruner!r}.{cure}"
        )
