"""How survivors are shared out among layers: together, evenly, by shape, with a floor."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Size


@runtime_checkable
class Allocation(Protocol):
    """Says how many of the survivors each parameter gets, so that weights compete within it only.

    A frozen value of your own will do.
    """

    def share(self, name: str, shape: Size) -> float:
        """Return the parameter's part of all survivors, up to a common factor; positive."""
        ...


@dataclass(frozen=True)
class ERK:
    """Erdős–Rényi kernels: a layer's survivors in proportion to the sum of its shape.

    So its density is proportional to ``(n_out + n_in + k_h + k_w) / (n_out · n_in · k_h · k_w)``,
    and at most 1: layers that would be over-full are kept whole, and the others share the rest.
    Small layers stay denser.

    References
    ----------
    Evci et al., *Rigging the lottery: making all tickets winners*, arXiv 1911.11134, section 3,
    after Mocanu et al., arXiv 1707.04780.
    """

    def share(self, name: str, shape: Size) -> float:
        """Return the sum of the shape."""
        return float(sum(shape))


@dataclass(frozen=True)
class Floor:
    """Against collapse: every parameter keeps its best few weights, and the rest compete.

    A parameter that has fewer is kept whole. A density of 0 still keeps nothing; another that is
    too small for the floor is refused.

    Parameters
    ----------
    least : int, at least 1
        Weights that every parameter keeps.
    within : "global", "layer" or Allocation
        How the rest compete.
    """

    least: int = 1
    within: "Literal['global', 'layer'] | Allocation" = "global"

    def __post_init__(self) -> None:
        whole = isinstance(self.least, int) and not isinstance(self.least, bool)
        if not whole or self.least < 1:
            raise ValueError(f"least must be an integer of at least 1; got {self.least!r}.")
        if isinstance(self.within, Floor):
            raise ValueError(
                f"within must be 'global', 'layer' or an Allocation; got {self.within!r}. "
                "One floor is enough: the larger."
            )
        check_scope(self.within)


Scope = Literal["global", "layer"] | Allocation | Floor
"""Whether weights compete across all parameters, only within their own, or as a value says."""


def check_scope(scope: Any) -> None:
    """Raise ValueError unless scope is one of `Scope`."""
    named = isinstance(scope, str) and scope in ("global", "layer")
    value = isinstance(scope, Allocation | Floor) and not isinstance(scope, type)
    if not (named or value):
        raise ValueError(
            f"scope must be 'global', 'layer', or a value such as ERK() or Floor(1); got {scope!r}."
        )


def share_of(scope: Literal["layer"] | Allocation, name: str, shape: Size) -> float:
    """Return a parameter's part of the survivors; ValueError unless it is positive."""
    part = float(shape.numel()) if scope == "layer" else scope.share(name, shape)
    if shape.numel() and not 0.0 < part < float("inf"):
        raise ValueError(
            f"scope must give every parameter a positive share; {scope!r} gives {part!r} to "
            f"{name!r}. Leave parameters out by exclude=[...] instead."
        )
    return part
