"""What a task is: something to draw from, and the truth about it.

Three kinds, after what is drawn: samples of variables, masks of one network pruned again and
again, and features to choose from. A task draws from a generator it is given and from nothing
else, so equal seeds give equal data.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.random import Generator

from mitools._typing import BoolArray, FloatArray, IntArray

Question: TypeAlias = Literal[
    "mutual_information", "conditional_mutual_information", "transfer_entropy"
]
Kind: TypeAlias = Literal["continuous", "discrete", "mixed"]
_Named = TypeVar("_Named", bound=Any)


@dataclass(frozen=True)
class Truth:
    """The information there is.

    Parameters
    ----------
    nats : float
        Its amount.
    source : str
        How it is known: ``"closed form"``, ``"quadrature"``, ``"enumeration"``, ``"Monte Carlo"``.
    error : float
        Half of a 95% interval where the truth is itself measured; 0 where it is exact.
    """

    nats: float
    source: str = "closed form"
    error: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.nats) and 0.0 <= self.error < math.inf):
            raise ValueError(f"a truth is a finite amount with a finite error; got {self}")


@dataclass(frozen=True)
class SampleTask:
    """How much do variables say about each other, given n independent samples of them?

    Parameters
    ----------
    name : str
        Unique among all tasks; lower case with dashes.
    family : str
        The group it is reported in, such as ``"Beyond Normal"``.
    truth : Truth
    sampler : callable
        ``sampler(n, rng)`` returns float arrays (n, d), one a variable, in the order in which the
        question of `mitools.measures` takes them. Time series run along the rows.
    kinds : tuple of {"continuous", "discrete", "mixed"}
        What each variable is; discrete ones hold whole numbers.
    dims : tuple of int
        Columns of each variable.
    question : str
        The function of `mitools.measures` that asks it.
    options : mapping
        Its keyword arguments, such as the history of a transfer entropy.
    about : str
        One sentence: what it is and why it is here, with its source.
    """

    name: str
    family: str
    truth: Truth
    sampler: Callable[[int, Generator], tuple[FloatArray, ...]]
    dims: tuple[int, ...] = (1, 1)
    kinds: tuple[Kind, ...] = ("continuous", "continuous")
    question: Question = "mutual_information"
    options: Mapping[str, int] = field(default_factory=dict)
    about: str = ""

    def draw(self, n: int, seed: int) -> tuple[FloatArray, ...]:
        """Return n samples of the variables."""
        return self.sampler(n, generator(self.name, n, seed))


@dataclass(frozen=True)
class MaskData:
    """Masks of one network and one pruner, each made from data of its own.

    Parameters
    ----------
    masks : (K, p) bool
        Row i was pruned with data set i; the initial weights and the pruner's seeds are the same.
    layers : sequence of int
        Sizes of the layers, in the order of the columns; they sum to p.
    labels : (K, n) int or None
        Label noise of each data set, one symbol a point, where the task has label noise.
    shown : (K, n, c) float or None
        What mask i gives away of point j without having seen its label: scores of the c symbols.
    read : bool
        False where the pruner ran to its end without ever opening its data.
    """

    masks: BoolArray
    layers: Sequence[int]
    labels: IntArray | None = None
    shown: FloatArray | None = None
    read: bool = True


@dataclass(frozen=True)
class MaskTask:
    """How much does a mask know of its data, given the masks of K re-prunings?

    Parameters
    ----------
    name, family, truth, about
        As for `SampleTask`.
    size : int
        Weights, p.
    sampler : callable
        ``sampler(K, rng)`` returns `MaskData` of K masks.
    label_law : tuple of float or None
        Probability of each symbol of the label noise, where the task has it.
    """

    name: str
    family: str
    truth: Truth
    sampler: Callable[[int, Generator], MaskData]
    size: int
    label_law: tuple[float, ...] | None = None
    about: str = ""

    def draw(self, n: int, seed: int) -> MaskData:
        """Return the masks of n re-prunings."""
        return self.sampler(n, generator(self.name, n, seed))


@dataclass(frozen=True)
class SelectionTask:
    """Which features tell all there is to know of a target?

    Parameters
    ----------
    name, family, about
        As for `SampleTask`.
    sampler : callable
        ``sampler(n, rng)`` returns features (n, d) and targets (n, t).
    features : int
        d.
    information : callable
        ``information(S)`` is I(X_S; T) in nats, exactly, for a frozenset of columns.
    minimal : tuple of frozenset of int
        The smallest sets that tell all there is to know.
    kinds : pair
        What features and target are.
    source : str
        How `information` is known; as for `Truth`.
    """

    name: str
    family: str
    sampler: Callable[[int, Generator], tuple[FloatArray, FloatArray]]
    features: int
    information: Callable[[frozenset[int]], float]
    minimal: tuple[frozenset[int], ...]
    kinds: tuple[Kind, Kind] = ("discrete", "discrete")
    about: str = ""
    source: str = "enumeration"

    @property
    def truth(self) -> Truth:
        """What all the features tell."""
        return Truth(self.information(frozenset(range(self.features))), self.source)

    def draw(self, n: int, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return n samples of the features and of the target."""
        return self.sampler(n, generator(self.name, n, seed))


Task: TypeAlias = SampleTask | MaskTask | SelectionTask


def generator(name: str, n: int, seed: int) -> Generator:
    """Return the generator of a task's data: other names, sizes or seeds draw other data."""
    return np.random.default_rng([seed, n, zlib.crc32(name.encode())])


def by_name(named: Iterable[_Named], what: str) -> dict[str, _Named]:
    """Return tasks or contenders by their names, which must be unique."""
    found: dict[str, _Named] = {}
    for each in named:
        if each.name in found:
            raise ValueError(
                f"{what} must have names of their own; two are called {each.name!r}. Rename one."
            )
        found[each.name] = each
    return found
