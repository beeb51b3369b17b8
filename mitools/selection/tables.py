"""Features and target at the boundary: checked, named, and what each feature tells alone."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mitools._typing import FloatArray
from mitools._validation import as_samples, coded, column_apart, side_by_side
from mitools.measures._answers import asked, check_labels, symbolic_of, warn
from mitools.methods import KSG, MesnerShalizi, PlugIn
from mitools.methods._cautions import cautions
from mitools.methods._symbols import symbols
from mitools.methods.by_kind import kind


@dataclass(frozen=True, eq=False)
class Table:
    """Checked features and target, and the method to ask.

    Parameters
    ----------
    names : tuple of hashable
        Of the features.
    features, target : (n, d), (n, t) float
        The target's constant columns left out.
    method : object
        Answers I(X; Y).
    varying : tuple of int
        Features that are not constant.
    """

    names: tuple[Hashable, ...]
    features: FloatArray
    target: FloatArray
    method: Any
    varying: tuple[int, ...]

    def columns(self, which: Sequence[int]) -> FloatArray:
        """Return some features, (n, len(which))."""
        return np.ascontiguousarray(self.features[:, list(which)])

    def information(self, which: Sequence[int]) -> float:
        """I(X_which; T) in nats; 0 of nothing."""
        if not which:
            return 0.0
        return float(self.method.mutual_information(self.columns(which), self.target))

    def alone(self) -> FloatArray:
        """I(X_i; T) in nats for every feature, shape (d,); 0 of constants."""
        found = np.zeros(len(self.names))
        together = getattr(self.method, "mutual_information_by_column", None)
        if together is not None and self.varying:
            found[list(self.varying)] = together(self.columns(self.varying), self.target)
            return found
        for i in self.varying:
            found[i] = self.information([i])
        return found


def table_of(features: Any, target: Any, method: Any) -> Table:
    """Return what was given, checked; without a method, the one that suits all columns.

    Raises
    ------
    ValueError
        If features or target are not finite, numeric, non-empty and of one length (labels suit
        methods for labels), or the target is constant.
    TypeError
        If the method does not answer I(X; Y).
    """
    if callable(getattr(target, "mutual_information", None)):
        raise TypeError(f"target must be samples; got {target!r}. Pass it as method=.")
    if method is not None:
        asked("mutual_information", method)
    known = {"x", "y"} if method is None else symbolic_of(method, ("x", "y"))
    features, target = column_apart(features, target)
    features = side_by_side(features, "x" in known)
    labels = [name for name, at in (("features", "x"), ("target", "y")) if at in known]
    x, t = as_samples(labels, features=features, target=target)
    given = {"features": features, "target": target}
    check_labels(method, {"features": x, "target": t}, given, by_column=True)
    names = tuple(features.columns) if hasattr(features, "columns") else tuple(range(x.shape[1]))
    moving = (t != t[:1]).any(axis=0)
    if not moving.any():
        raise ValueError(
            f"target must take more than one value; got {len(t)} equal rows. Nothing can tell of "
            "what never changes: is it the right column?"
        )
    t = np.ascontiguousarray(t[:, moving])
    if method is None:
        labelled = any(coded(name, each) is not each for name, each in given.items())
        method = _suited_to_labels(given.values()) if labelled else _suited(x, t)
    varying = np.flatnonzero((x != x[:1]).any(axis=0)).tolist()
    warn(cautions(method, 0.0, _samples(x[:, varying], t), by_column=True), stacklevel=4)
    return Table(names, x, t, method, tuple(varying))


def _samples(x: FloatArray, t: FloatArray) -> dict[str, FloatArray]:
    return {"features": x, "target": t} if x.shape[1] else {"target": t}


def _suited(x: FloatArray, t: FloatArray) -> Any:
    """Return PlugIn for symbols, KSG for continuous columns, MesnerShalizi for both together."""
    kinds = {kind(column[:, None]) for column in (*x.T, *t.T) if len(np.unique(column)) > 1}
    if kinds <= {"discrete"}:
        return PlugIn()
    return KSG() if kinds == {"continuous"} else MesnerShalizi()


def _suited_to_labels(given: Iterable[Any]) -> Any:
    """Return PlugIn, or MesnerShalizi where some columns beside the labels are continuous."""
    for each in given:
        for column in pd.DataFrame(each).select_dtypes("number").to_numpy(float).T:
            if len(np.unique(column)) > 1 and kind(column[:, None]) != "discrete":
                return MesnerShalizi()
    return PlugIn()


def as_symbols(table: Table) -> tuple[list[Any], Any]:
    """Return the features, one by one, and the target, as symbols."""
    alphabet = getattr(table.method, "symbols", None)
    columns = [symbols(table.columns([i]), alphabet) for i in range(len(table.names))]
    return columns, symbols(table.target, alphabet)
