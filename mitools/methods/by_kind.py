"""The method that suits what the variables are."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from mitools._typing import FloatArray, Sense
from mitools.methods._symbols import multiplicity
from mitools.methods.calibrated import CalibratedKSG
from mitools.methods.discrete import Grassberger
from mitools.methods.mixed import GaoMixed, MesnerShalizi, Ross

_OFTEN = 5  # times that a symbol occurs, on average
_RARE = 0.02  # share of values that ties may have in a continuous column

Kind = Literal["continuous", "discrete", "mixed"]


@dataclass(frozen=True)
class ByKind:
    """Ask the method that suits the kinds of the variables, which the samples show.

    A variable is *discrete* if its rows occur five times each on average, *continuous* if in no
    column more than 2% of the values are repeated, and *mixed* otherwise. Two continuous variables
    are asked about with `continuous`, two discrete ones with `discrete`, a continuous and a
    discrete one with `labels`, and all others with `mixed`.

    A condition must be of the kind of both variables; else `mixed_condition` is asked. Answers of
    `mitools.mutual_information` name the method that was asked, and carry its standard error.

    x and y may hold strings or categories, which must be discrete in this sense: rarer ones could
    not be told from numbers. Where `mixed` or `mixed_condition` measures distances, labels count as
    0, 1, 2, ... in their order.

    Parameters
    ----------
    continuous, discrete, labels, mixed, mixed_condition : object
        Methods, as in `mitools.methods`. `labels` has a field ``labels``, which is set.
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    symbolic: ClassVar[frozenset[str]] = frozenset({"x", "y"})
    continuous: Any = field(default_factory=CalibratedKSG)
    discrete: Any = field(default_factory=Grassberger)
    labels: Any = field(default_factory=Ross)
    mixed: Any = field(default_factory=GaoMixed)
    mixed_condition: Any = field(default_factory=MesnerShalizi)

    def chosen(self, x: FloatArray, y: FloatArray, z: FloatArray | None = None) -> Any:
        """Return the method for these samples, each of shape (n, d)."""
        kinds = [kind(rows) for rows in (x, y, z) if rows is not None]
        if set(kinds) == {"continuous"}:
            return self.continuous
        if set(kinds) == {"discrete"}:
            return self.discrete
        if z is not None:
            return self.mixed_condition
        if set(kinds) == {"continuous", "discrete"}:
            return replace(self.labels, labels="x" if kinds[0] == "discrete" else "y")
        return self.mixed

    def check_labels(self, name: str, rows: FloatArray) -> None:
        """Raise ValueError unless rows, which were given as labels, show that they are."""
        if kind(rows) != "discrete":
            raise ValueError(
                f"{name} must hold each label five times on average, for ByKind to treat it as one;"
                f" got {len(np.unique(rows, axis=0))} different rows of {len(rows)}. Use PlugIn() "
                "or Grassberger() if all is labels; give labels and numbers apart, or as numbers."
            )

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return self.chosen(x, y).mutual_information(x, y)

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        return self.chosen(x, y, z).conditional_mutual_information(x, y, z)


def kind(rows: FloatArray) -> Kind:
    """Return what the samples of a variable, shape (n, d), show it to be; see `ByKind`."""
    if float(np.mean(1.0 / multiplicity(rows))) * _OFTEN <= 1.0:
        return "discrete"
    repeated = max(float(np.mean(multiplicity(column[:, None]) > 1)) for column in rows.T)
    return "continuous" if repeated <= _RARE else "mixed"
