"""What a search for features answers: which were chosen, and every step on the way."""

from collections.abc import Hashable
from dataclasses import asdict, dataclass

import pandas as pd

from mitools.results import brief, noted

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Step:
    """One feature's turn.

    Parameters
    ----------
    feature : hashable
        Its name: a DataFrame's label, or the number of its column.
    index : int
        The number of its column.
    alone : float or None
        I(X_i; T) in nats; None where the order did not need it.
    phi : float
        What the search compared, in nats: for TERC I(X_S; T) - I(X_S without i; T).
    kept : bool
        Whether it was kept or, in a forward search, taken.
    left : int
        Features in S after this step.
    p_value : float or None
        Of the test that phi is 0; None where none was made.
    level : float or None
        What the p-value had to be at most.
    testable : bool
        False where no outcome could have been significant, most rows being the only one of theirs
        in all other features: too few samples, or too many features.
    """

    feature: Hashable
    index: int
    alone: float | None
    phi: float
    kept: bool
    left: int
    p_value: float | None = None
    level: float | None = None
    testable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Features that tell of a target what there is to tell, and how they were found.

    Parameters
    ----------
    chosen : tuple of int
        Columns, ascending.
    names : tuple of hashable
        Their names, in the same order.
    features : tuple of hashable
        Names of all features.
    steps : tuple of Step
        In the order of the search; `path` has them as a table.
    information : float
        I(X_chosen; T) in nats, by the method; 0 if nothing was chosen.
    information_of_all : float or None
        The same of all features, where it was asked. On samples the plug-in value of many columns
        is too large, and that of neighbours too small: it is no yardstick then.
    search : str
        "TERC", "mRMR", "JMI", "CMIM" or "top".
    method, test, order, correction : str
        How it was done; enough to do it again.
    samples : int
        Rows.
    confidence : float or None
        Of the tests, as a family; None where there were none.
    notes : tuple of str
        What a careful reader must know.
    """

    chosen: tuple[int, ...]
    names: tuple[Hashable, ...]
    features: tuple[Hashable, ...]
    steps: tuple[Step, ...]
    information: float
    search: str
    method: str
    samples: int
    information_of_all: float | None = None
    test: str = ""
    order: str = ""
    correction: str = ""
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> pd.DataFrame:
        """One row a step, in order, with the fields of `Step` as columns; nats."""
        return pd.DataFrame([asdict(step) for step in self.steps])

    def __str__(self) -> str:
        shown = ", ".join(str(name) for name in self.names[:_SHOWN])
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        whole = self.information_of_all
        beside = "" if whole is None else f"; all features {whole:.4g}"
        lines = [
            f"{self.search}: {len(self.chosen)} of {len(self.features)} features: "
            f"{shown or 'none'}{more}",
            f"  information  {self.information:.4g} nats{beside} [{brief(self.method)}]",
        ]
        if self.confidence is not None:
            lines.append(
                f"  tests        {brief(self.test)}, {self.confidence:.0%} confidence, "
                f"correction: {self.correction}"
            )
        lines.append(f"  order        {self.order}")
        lines.extend(noted(self.notes, 15))
        return "\n".join(lines)
