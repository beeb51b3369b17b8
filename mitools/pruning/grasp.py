"""GraSP: which weights the flow of the gradient needs; and what published code makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mitools.pruning.scoring import undisturbed
from mitools.pruning.selection import Scores
from mitools.pruning.slopes import Losses, Precision, Statistics, check_reading, scaled


@dataclass(frozen=True)
class GraSP:
    """``θ · Hg``, with the true Hessian–gradient product (Wang, Zhang and Grosse, eq. 8).

    The paper scores ``-θ · Hg``, the change of the gradient's squared norm when a weight goes, and
    removes the highest; here bigger means keep, so the sign is turned. g and H are those of the
    mean loss over all points read, by the named weights that are not exactly 0: of a network that
    is pruned already, those of what is left. IterGraSP, which nobody has defined further, is
    ``Iterative(GraSP(), rounds=60)``.

    Two passes over the data. The second keeps the graph of a batch and of its backward pass: about
    twice the memory that training on that batch takes (measured in docs/pruners.md).

    Differences from the authors' code: it normalises by the batch (``statistics="batch"``), where
    over a filter before a batch norm the scores sum to ``-|g|²``, so that iterating empties
    convolutions; it re-initialises linear layers before scoring; and it keeps one weight too many.

    Parameters
    ----------
    batches : int or None
        Read this many batches, from the first; None: the whole loader, twice.
    temperature : float
        Logits are divided by it, 200 as in the paper; 1 is the plain loss, which ranks differently.
        Outputs of a regression are left alone.
    signed : bool
        False: ``|θ · Hg|``, a common ablation.
    statistics : {"running", "batch"}
        What batch norm normalises by. Dropout is off.
    precision : {"model", "double"}
        "model" computes in the dtype of the weights, at least float32, and sums in float64; a few
        weights in a thousand at most come out otherwise than with "double", which costs about four
        times the time and the memory.

    References
    ----------
    Wang, Zhang and Grosse, *Picking winning tickets before training by preserving gradient flow*,
    arXiv 2002.07376.
    """

    batches: int | None = None
    temperature: float = 200.0
    signed: bool = True
    statistics: Statistics = "running"
    precision: Precision = "model"

    def __post_init__(self) -> None:
        check_reading(self.batches, self.statistics, self.precision)
        if not self.temperature > 0.0:
            raise ValueError(
                f"temperature must be positive; got {self.temperature!r}. The paper's is 200."
            )

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return ``θ · Hg`` for every weight, in float64; reads the loader twice.

        Raises
        ------
        ValueError
            If an operation of the model cannot be differentiated twice.
        """
        with undisturbed(model):
            losses = self._losses(model, loader, names)
            _, curved = losses.slope_and_curvature()
            found = scaled(losses.weights, curved)
        return found if self.signed else {name: score.abs() for name, score in found.items()}

    def _losses(self, model: nn.Module, loader: object, names: Sequence[str]) -> Losses:
        return Losses(
            model,
            loader,
            names,
            batches=self.batches,
            temperature=self.temperature,
            statistics=self.statistics,
            precision=self.precision,
        )


@dataclass(frozen=True)
class SquaredGradient:
    """``(dL/dθ)²``, the weight's share of the gradient's squared norm.

    Called GRASP-It in the code of FORCE, where it is iterated over the survivors:
    ``Iterative(SquaredGradient(), rounds=60)``. It is not GraSP: neither the weight nor the Hessian
    enters.

    Parameters
    ----------
    batches : int or None
        Read this many batches, from the first; None: the whole loader, once.
    statistics : {"running", "batch"}
        What batch norm normalises by; "batch" is that code's. Dropout is off.

    References
    ----------
    de Jorge et al., *Progressive skeletonization: trimming more fat from a network at
    initialization*, arXiv 2006.09081, and the code published with it.
    """

    batches: int | None = None
    statistics: Statistics = "running"

    def __post_init__(self) -> None:
        check_reading(self.batches, self.statistics)

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return the squared slope of the mean loss for every weight, in float64."""
        with undisturbed(model):
            slopes: dict[str, Tensor] = Losses(
                model, loader, names, batches=self.batches, statistics=self.statistics
            ).slope()
        return {name: slope.square() for name, slope in slopes.items()}
