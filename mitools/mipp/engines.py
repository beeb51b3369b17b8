"""What an engine is given of a layer, and what it answers: which channels stay."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from mitools._validation import checked_count

Reads = Literal["moments", "rows"]


@dataclass(frozen=True, eq=False)
class Relation:
    """Channels A of a layer, and a target T, which is what one consumer makes of them.

    Only what an engine reads is there: moments, or sampled rows.

    Parameters
    ----------
    name : str
        Of the consumer: the parameter with which it reads A.
    variables : tuple of tuple of int
        For every channel, its columns of A: one for a unit, k * k for a filter whose map is read
        by a k x k kernel. Columns that no channel has are there to stay.
    count : int
        Rows from which the moments are, or which there are.
    covariance : (d, d) float64 or None
        Of A.
    weight : (t, d) float64 or None
        W where T = W A + b exactly; None where T depends on more than A.
    cross : (d, t) float64 or None
        Covariance of A and T, where there is no weight.
    spread : (t, t) float64 or None
        Covariance of T, where there is no weight.
    features, target : (n, d) and (n, t) float64, or None
        Sampled rows of A and of T (less b).
    """

    name: str
    variables: tuple[tuple[int, ...], ...]
    count: int
    covariance: Tensor | None = None
    weight: Tensor | None = None
    cross: Tensor | None = None
    spread: Tensor | None = None
    features: Tensor | None = None
    target: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's channels, every consumer of which is a relation of its own.

    What a channel tells is the sum over consumers.

    Parameters
    ----------
    name : str
        Of the group of channels.
    size : int
        Channels, numbered from 0.
    relations : tuple of Relation
        At least one; each has `size` entries in `Relation.variables`.
    """

    name: str
    size: int
    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One channel's turn.

    Parameters
    ----------
    channel : int
        Its number.
    phi : float
        I(A_S; T) - I(A_S without it; T) in nats, for the set S of channels left at that turn.
    p_value : float or None
        Of so large a phi by chance; None where nobody tested.
    kept : bool
        Whether it stayed.
    left : int
        Channels left after this step.
    """

    channel: int
    phi: float
    p_value: float | None
    kept: bool
    left: int


@dataclass(frozen=True, eq=False)
class Elimination:
    """What an engine answers of one layer.

    Parameters
    ----------
    kept : (size,) bool tensor
        Channels that stay.
    steps : tuple of Step
        In the order of the search; those that stay come with what they tell given all others that
        stay, where the engine knows it.
    before, after : float
        I(A; T) in nats with all channels, and with those that stay.
    drift : float
        What rounding may have done to phi, in nats, where the engine knows it.
    notes : tuple of str
        What a careful reader must know.
    """

    kept: Tensor
    steps: tuple[Step, ...]
    before: float
    after: float
    drift: float = 0.0
    notes: tuple[str, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """A way to find which channels tell of the next layer what all of them tell.

    A frozen dataclass of plain values. Same layer, same answer. One that reads rows says by a field
    ``rows: int`` how many of them to keep.
    """

    @property
    def reads(self) -> Reads:
        """Which fields of `Relation` it needs."""
        ...

    def eliminate(
        self, layer: Layer, *, least: int = 1, width: int | None = None, progress: bool = False
    ) -> Elimination:
        """Drop channels one after another, never below `least` of them.

        Without a width its own knob decides when to stop; with one, exactly so many stay.
        """
        ...

    def at(self, strength: float) -> "Engine":
        """Return the same engine with its knob at a strength from 0 (mild) to 1 (all it can).

        A global density is reached by bisection on the strength, one for all layers.
        """
        ...


def check_counts(layer: Layer, least: int, width: int | None) -> None:
    """Check how many channels of a layer are to stay.

    Raises
    ------
    ValueError
        If least is negative, or width neither None nor from 0 to the size of the layer.
    """
    checked_count("least", least, least=0)
    if width is not None and checked_count("width", width, least=0) > layer.size:
        raise ValueError(
            f"width must be at most {layer.size}, the channels of {layer.name!r}; got {width}."
        )
