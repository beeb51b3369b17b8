"""One job of a sweep, as a value: which network, which data, how pruned and how trained."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from mitools import data as sets
from mitools._validation import ADDRESS, checked_choice, checked_count
from mitools.data import Samples, SymmetricFlips
from mitools.data.seeds import derived_seed
from mitools.mipp import MIPP
from mitools.pruning import PRUNERS, Pruner
from mitools.pruning.pruners import check_pruner
from mitools.pruning.selection import check_density
from mitools.training import Training

IMAGE_SETS = ("digits", "mnist", "fashion-mnist", "cifar10")

NAMED: dict[str, Pruner] = {
    **PRUNERS,
    "mipp": MIPP(),
    "mipp-layerwise": MIPP(scope="layer"),
}
"""Pruners by the names that the command line and files of sweeps give them."""


class DataSource(Protocol):
    """Data of a job: a frozen value that loads them."""

    def load(self, root: str | Path) -> tuple[Samples, Samples]:
        """Return what to prune and train on, and what to test on."""
        ...


class Architecture(Protocol):
    """Network of a job: a frozen value that builds it."""

    def build(self, samples: Samples, seed: int) -> nn.Module:
        """Return the network for such samples, at initial weights that follow from the seed."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """One of the image sets that mitools reads, or a part of it, with labels right or wrong.

    Parameters
    ----------
    name : "digits", "mnist", "fashion-mnist" or "cifar10"
        Which.
    images : int or None
        Take so many training images, at random; None: all. All test images are always used.
    flips : float in [0, 1]
        Share of the training labels replaced by a wrong one. Test labels stay right.
    seed : int, >= 0
        Of the part and of the flips.
    """

    name: str
    images: int | None = None
    flips: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        checked_choice("data", self.name, IMAGE_SETS)
        if self.images is not None:
            checked_count("images", self.images)
        checked_count("seed", self.seed, 0)
        SymmetricFlips(self.flips)  # says what is wrong with it

    def load(self, root: str | Path) -> tuple[Samples, Samples]:
        """Return training and test samples; root is the folder of those that are files."""
        fit, held_out = _read(self.name, str(root))
        if self.images is not None:
            if self.images > len(fit):
                raise ValueError(
                    f"images must be at most {len(fit):,}, all training images of {self.name}; got "
                    f"{self.images:,}. Leave it out to take all."
                )
            fit, *_ = fit.split(self.images, seed=derived_seed(self.seed, "images"))
        if self.flips:
            fit = SymmetricFlips(self.flips).apply(fit, derived_seed(self.seed, "flips"))
        return fit, held_out


@lru_cache(maxsize=2)
def _read(name: str, root: str) -> tuple[Samples, Samples]:
    if name == "digits":
        return sets.digits(train=True), sets.digits(train=False)
    read = {"mnist": sets.mnist, "fashion-mnist": sets.fashion_mnist, "cifar10": sets.cifar10}[name]
    return read(root, train=True), read(root, train=False)


@dataclass(frozen=True)
class Job:
    """One network pruned once: a value, whose repr says all that its results depend on.

    Parameters
    ----------
    model : str or Architecture
        A name that `mitools.models.named` knows, such as ``"mlp:64-100-10"``; or any frozen value
        with ``build(samples, seed)``.
    data : str or DataSource
        A name for `ImageSet`, or an `ImageSet`; or any frozen value with ``load(root)``.
    pruner : Pruner or None
        None leaves the network dense; density is then 1.
    density : float in [0, 1]
        The share of the prunable weights that stays.
    seed : int, >= 0
        Of the initial weights. It is also added to every field ``seed`` inside data, pruner and
        training: jobs that differ in it are independent repetitions, and jobs that share it start
        from the same weights and data.
    training : Training or None
        Of the pruned network; None: it is not trained.
    start : "ticket" or "init"
        Where that training begins. "ticket": where the pruner says, the rewinding point of `IMP`,
        the trained weights of `MagnitudeAfterTraining`. "init": the initial weights for all.
    peff : bool or tuple of methods
        Whether to bound the effective parameters; True: with the methods that `mitools.peff` takes
        by itself; a tuple: with these.
    label : str
        What tables call the pruner. It takes no part in what the job is.

    Raises
    ------
    TypeError, ValueError
        If a field is none of these; or its repr does not say what it is.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from mitools.pruning import SNIP, OneShot
    >>> job = Job("mlp:64-20-10", "digits", OneShot(SNIP()), density=0.1)
    >>> job.label, job.data, job.key == replace(job, label="SNIP").key
    ('snip', ImageSet(name='digits', images=None, flips=0.0, seed=0), True)
    """

    model: str | Architecture
    data: str | DataSource
    pruner: Pruner | None
    density: float = 1.0
    seed: int = 0
    training: Training | None = Training()
    start: Literal["ticket", "init"] = "ticket"
    peff: bool | tuple[Any, ...] = False
    label: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.data, str):
            _put(self, "data", ImageSet(self.data))
        self._check_values()
        _put(self, "density", float(self.density))
        if not self.label:
            _put(self, "label", _name_of(self.pruner))
        if ADDRESS.search(repr(self)):
            raise TypeError(
                "job must hold values whose repr says what they are, since it is known by it; got "
                f"{self!r}. Use frozen dataclasses, without functions in them."
            )

    def _check_values(self) -> None:
        if not isinstance(self.model, str) and not callable(getattr(self.model, "build", None)):
            raise TypeError(
                "model must be a name or a value with build(samples, seed); got "
                f"{self.model!r}. A name is such as 'mlp:64-100-10'."
            )
        if not callable(getattr(self.data, "load", None)):
            raise TypeError(
                f"data must be a name or a value with load(root); got {self.data!r}. "
                f"Names are {', '.join(IMAGE_SETS)}; ImageSet takes a part of one."
            )
        if self.pruner is not None:
            check_pruner(self.pruner)
        check_density(self.density)
        if self.pruner is None and self.density != 1.0:
            raise ValueError(f"density must be 1 without a pruner; got {self.density}. Name one.")
        checked_count("seed", self.seed, 0)
        if self.training is not None and not isinstance(self.training, Training):
            raise TypeError(
                f"training must be a Training value or None; got {self.training!r}. For instance "
                "Training(epochs=20)."
            )
        checked_choice("start", self.start, ("ticket", "init"))
        if not isinstance(self.peff, bool | tuple):
            raise TypeError(
                f"peff must be True, False or a tuple of methods; got {self.peff!r}. For instance "
                "(Counting(), ResampledMasks(datasets=8))."
            )

    @property
    def key(self) -> str:
        """What tells the job from others, in all processes: a hash of its repr, in hex."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:32]

    def columns(self) -> dict[str, Any]:
        """Return what the job asks for, as plain values for a table."""
        data, model = self.data, self.model
        whole = isinstance(data, ImageSet) and data == ImageSet(data.name) and data.name
        return {
            "model": model if isinstance(model, str) else repr(model),
            "data": whole or repr(data),
            "pruner": self.label,
            "density": self.density,
            "seed": self.seed,
            "start": self.start,
            "method": repr(self.pruner),
            "training": repr(self.training),
            "asked": repr(self.peff),
        }


def _name_of(pruner: Any) -> str:
    """Return the name on the command line, or else the repr."""
    if pruner is None:
        return "dense"
    return next((name for name, known in NAMED.items() if known == pruner), repr(pruner))


def _put(job: Job, name: str, value: Any) -> None:
    object.__setattr__(job, name, value)  # a frozen value is completed here and nowhere else
