"""TERC: from all features, drop one after another whatever adds nothing to the others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from mitools._typing import FloatArray
from mitools._validation import checked_choice, checked_share
from mitools.methods import Gaussian, GaussianCopula
from mitools.methods._neighbors import normal_scores
from mitools.methods.questions import MutualInformation
from mitools.selection.answers import Selection, Step
from mitools.selection.asking import AskingWalk, has_own_test
from mitools.selection.covariance import CovarianceWalk
from mitools.selection.significance import Finding, OwnTest, Shuffled, Test, Walk
from mitools.selection.strata import SymbolWalk
from mitools.selection.tables import Table, as_symbols, table_of

Correction = Literal["holm", "bonferroni", "none"]
Order = Literal["least-informative", "most-informative", "given", "reversed"]

_CORRECTIONS = ("holm", "bonferroni", "none")
_ORDERS = ("least-informative", "most-informative", "given", "reversed")


def terc(
    features: Any,
    target: Any,
    method: MutualInformation | None = None,
    *,
    confidence: float = 0.95,
    correction: Correction = "holm",
    order: Order | Sequence[Any] = "least-informative",
    test: Test | None = None,
    progress: bool = False,
) -> Selection:
    """Choose features that tell of a target all that the features tell, and no more of them.

    From S, all features, each is visited once and dropped if it adds nothing significant to the
    others that are left [1]_::

        phi(i) = I(X_S; T) - I(X_S without i; T) = I(X_i; T | X_S without i)

    Later steps see earlier removals, so that of copies one stays. Visiting the least informative
    first, one feature that is worth several is kept instead of them.

    Parameters
    ----------
    features : array-like, shape (n, d), or list of d arrays of shape (n,)
        X. Columns of a DataFrame keep their names.
    target : array-like, shape (n,) or (n, t), or str
        T, all its columns together. Or the name of a column of the DataFrame, which is then
        none of the features.
    method : MutualInformation or None
        Any method of `mitools.methods` or `mitools.neural` that answers I(X; Y). None: `PlugIn` if
        all columns are symbols, `KSG` if all are continuous, `MesnerShalizi` otherwise.
    confidence : float
        Of all tests together: the chance that any feature with phi = 0 at its turn stays is at
        most 1 - confidence, or about that where the test is.
    correction : {"holm", "bonferroni", "none"}
        How d tests are accounted for: each at (1 - confidence) / d; or Holm's way, in passes
        through all features at (1 - confidence) / (d - k), k being kept by the pass before, until
        no more are; or not at all, which makes confidence that of each test.
    order : str or sequence
        "least-informative" or "most-informative" (by I(X_i; T), equal ones by column), "given",
        "reversed", or all names or columns in the order in which to visit them.
    test : Shuffled, OwnTest or None
        How phi is judged. None: `Shuffled` for counts (exact) and methods without a test;
        `OwnTest` for `Gaussian`, `GaussianCopula`, and methods such as `Predictive` that state the
        error of phi.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Selection
        With the path of all steps.

    Raises
    ------
    ValueError
        If features or target are not finite, numeric, non-empty and of one length, if the target
        is constant, or an option is not as above.

    Warns
    -----
    UnreliableEstimate
        Where the method is known to mislead.

    References
    ----------
    .. [1] Westphal, Hailes, Musolesi, arXiv 2401.11512.

    Examples
    --------
    Two bits, their exclusive or, and a copy of the first:

    >>> import numpy as np
    >>> from mitools.methods import PlugIn
    >>> from mitools.selection import terc
    >>> bits = np.random.default_rng(0).integers(0, 2, (500, 3))
    >>> table = np.column_stack([bits, bits[:, 0]])
    >>> print(terc(table, bits[:, 0] ^ bits[:, 1], PlugIn()))
    TERC: 2 of 4 features: 1, 3
      information  0.6903 nats; all features 0.6903 [PlugIn()]
      tests        Shuffled(...), 95% confidence, correction: holm
      order        least-informative
    """
    checked_share("confidence", confidence)
    checked_choice("correction", correction, _CORRECTIONS)
    table = table_of(features, target, method)
    test = _checked_test(test, table.method)
    alone, visits = _visits(table, order)
    found = _Search(table, visits, test, round(1.0 - confidence, 12), correction).run(progress)
    steps = _steps(table, alone, found)
    chosen = tuple(sorted(step.index for step in steps if step.kept))
    return Selection(
        chosen=chosen,
        names=tuple(table.names[i] for i in chosen),
        features=table.names,
        steps=steps,
        information=table.information(chosen),
        information_of_all=table.information(table.varying),
        search="TERC",
        method=repr(table.method),
        test=repr(test),
        order=order if isinstance(order, str) else "as given",
        correction=correction,
        confidence=confidence,
        samples=len(table.features),
        notes=_notes(table, steps),
    )


class _Search:
    """Passes through the features, and what was found on the way, for passes to come."""

    def __init__(
        self, table: Table, order: list[int], test: Test, error: float, correction: Correction
    ) -> None:
        self._table, self._order, self._test = table, order, test
        self._error, self._correction = error, correction
        self._known: dict[tuple[int, frozenset[int]], Finding] = {}

    def run(self, progress: bool) -> list[tuple[int, Finding, bool, float]]:
        """Return feature, finding, whether it is kept, and the level, in order."""
        kept, d = 0, max(1, len(self._order))
        while True:
            level = self._error / {"none": 1, "bonferroni": d}.get(self._correction, d - kept)
            found = self._pass(level, progress)
            now = sum(stays for _, _, stays, _ in found)
            if self._correction != "holm" or now <= kept or now == d:
                return found
            kept = now

    def _pass(self, level: float, progress: bool) -> list[tuple[int, Finding, bool, float]]:
        walk, left, found = self._walk(), set(self._order), []
        for i in tqdm(self._order, disable=not progress):
            at = (i, frozenset(left))
            if at not in self._known:
                self._known[at] = walk.find()
            kept = self._known[at].p_value <= level
            walk.settle(kept)
            left -= set() if kept else {i}
            found.append((i, self._known[at], kept, level))
        return found

    def _walk(self) -> Walk:
        table, method, order = self._table, self._table.method, self._order
        strictest = self._error / (1 if self._correction == "none" else max(1, len(order)))
        own = isinstance(self._test, OwnTest)
        if own and isinstance(method, Gaussian | GaussianCopula):
            raw = (table.features, table.target)
            x, t = raw if isinstance(method, Gaussian) else map(normal_scores, raw)
            return _ordered_covariance(x, t, order, method.correction)
        if hasattr(method, "entropy_of_counts") and (own or not _shuffles(self._test)):
            columns, t = as_symbols(table)
            return SymbolWalk(columns, t, method, order, self._test, strictest)
        return AskingWalk(table.features, table.target, method, order, self._test, strictest)


def _ordered_covariance(
    x: FloatArray, t: FloatArray, order: list[int], correction: bool
) -> CovarianceWalk:
    """Return the walk over the columns in the order only: constants have no part in it."""
    return CovarianceWalk(np.ascontiguousarray(x[:, order]), t, list(range(len(order))), correction)


def _shuffles(test: Test) -> Any:
    return test.shuffles if isinstance(test, Shuffled) else None


def _checked_test(test: Test | None, method: Any) -> Test:
    closed = isinstance(method, Gaussian | GaussianCopula)
    if test is None:
        return OwnTest() if closed or has_own_test(method) else Shuffled()
    if not isinstance(test, Shuffled | OwnTest):
        raise TypeError(
            f"test must be Shuffled(...), OwnTest() or None; got {test!r}. Both are in "
            "mitools.selection; does it lack its parentheses?"
        )
    return test


def _visits(table: Table, order: Any) -> tuple[FloatArray | None, list[int]]:
    """Return what each feature tells alone, and the features that vary in the order of visits."""
    if not isinstance(order, str):
        return None, [i for i in _places(table, list(order)) if i in table.varying]
    checked_choice("order", order, _ORDERS)
    if order in ("given", "reversed"):
        return None, list(table.varying)[:: 1 if order == "given" else -1]
    alone = table.alone()
    key = alone if order == "least-informative" else -alone
    # Copies may differ by rounding; equal ones go by column.
    ranked = np.argsort(np.round(key, 12), kind="stable").tolist()
    return alone, [i for i in ranked if i in table.varying]


def _places(table: Table, order: list[Any]) -> list[int]:
    names = list(table.names)
    try:
        places = [names.index(each) for each in order]
    except ValueError:
        places = order
    if sorted(places, key=str) != sorted(range(len(names)), key=str):
        raise ValueError(
            f"order must name every one of the {len(names)} features once; got {order!r}. Pass "
            "'least-informative', or all names."
        )
    return places


def _steps(
    table: Table, alone: FloatArray | None, found: list[tuple[int, Finding, bool, float]]
) -> tuple[Step, ...]:
    """Return the steps: constants first, which tell nothing and are tested by nobody."""
    constant = [i for i in range(len(table.names)) if i not in table.varying]
    left = len(found) + len(constant)
    steps = []
    for i in constant:
        left -= 1
        steps.append(Step(table.names[i], i, 0.0, 0.0, False, left))
    for i, finding, kept, level in found:
        left -= not kept
        single = None if alone is None else float(alone[i])
        step = Step(table.names[i], i, single, finding.phi, kept, left)
        judged = {"p_value": finding.p_value, "level": level, "testable": finding.testable}
        steps.append(replace(step, **judged))
    return tuple(steps)


def _notes(table: Table, steps: tuple[Step, ...]) -> tuple[str, ...]:
    notes = []
    constant = [str(step.feature) for step in steps if step.index not in table.varying]
    if constant:
        notes.append(f"dropped because they never change: {', '.join(constant)}")
    blind = sum(not step.testable for step in steps)
    if blind:
        notes.append(
            f"{blind} of {len(steps)} features could not be tested and were dropped: most rows are "
            "the only one of theirs in all other features. What only shows together may be lost; "
            "use more samples, fewer features, or Predictive"
        )
    return tuple(notes)
