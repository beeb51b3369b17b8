"""Any method at all: what each feature adds, as the method answers."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from mitools._typing import FloatArray
from mitools.methods.questions import WithError
from mitools.selection.significance import Finding, OwnTest, Shuffled, Test, tail
from mitools.uncertainty import FreeShuffles, LocalShuffles

_ROUNDING = 1e-10
_SURE = "conditional_mutual_information_with_error"


class AskingWalk:
    """A walk that asks the method for I(X_i; T | others), or else for two I(...; T).

    Parameters
    ----------
    features, target : (n, d), (n, t) float
        X and T.
    method : object
        Answers I(X; Y).
    order : sequence of int
        In which to visit.
    test : Test
        How to test.
    level : float
        The strictest level that p-values will meet.
    """

    def __init__(
        self,
        features: FloatArray,
        target: FloatArray,
        method: Any,
        order: Sequence[int],
        test: Test,
        level: float,
    ) -> None:
        self._features, self._target, self._method = features, target, method
        self._order, self._test, self._level = order, test, level
        self._kept: list[int] = []
        self._turn = 0

    def find(self) -> Finding:
        """Try the feature whose turn it is."""
        i = self._order[self._turn]
        others = sorted([*self._kept, *self._order[self._turn + 1 :]])
        x, z = self._columns([i]), self._columns(others)
        if isinstance(self._test, OwnTest):
            found = told(self._method, x, self._target, z)
            self._check_told(found.value, i)
            return _sure(found)
        phi = added(self._method, x, self._target, z)
        self._check_told(phi, i)
        # A copy adds nothing, and shuffling it adds noise: then all shuffles lie below 0.
        if not phi > _ROUNDING:
            return Finding(phi, 1.0)
        return Finding(phi, self._shuffled(self._test, phi, i, x, z))

    def settle(self, kept: bool) -> None:
        """Keep or drop it, and go on to the next."""
        if kept:
            self._kept.append(self._order[self._turn])
        self._turn += 1

    def _check_told(self, phi: float, i: int) -> None:
        if phi > -math.inf:  # false for nan too
            return
        cure = (
            "A forecast gave probability 0 to what occurred: use Predictive(..., base_rate=0.01), "
            "or a model that hedges."
            if hasattr(self._method, "base_rate")
            else "Use another method."
        )
        raise ValueError(
            f"method must say how much a feature adds; {self._method!r} says {phi} of feature {i}. "
            f"{cure}"
        )

    def _columns(self, which: list[int]) -> FloatArray:
        return np.ascontiguousarray(self._features[:, which])

    def _shuffled(self, test: Shuffled, phi: float, i: int, x: FloatArray, z: FloatArray) -> float:
        given = z if z.shape[1] else None
        shuffles = test.shuffles or (FreeShuffles() if given is None else LocalShuffles())
        draw = shuffles.orders(len(x), given)
        most = test.enough(self._level)
        rng = np.random.default_rng([test.seed, i])

        def values() -> Iterator[float]:
            while True:
                yield added(self._method, x[draw(rng)], self._target, z)

        return tail(phi, values(), most, test.stop_after)


def added(method: Any, x: FloatArray, t: FloatArray, z: FloatArray) -> float:
    """I(X, Z; T) - I(Z; T) = I(X; T | Z) in nats; z may have no columns."""
    if not z.shape[1]:
        return float(method.mutual_information(x, t))
    if hasattr(method, "conditional_mutual_information"):
        return float(method.conditional_mutual_information(x, t, z))
    both = method.mutual_information(np.hstack((x, z)), t)
    return float(both - method.mutual_information(z, t))


def told(method: Any, x: FloatArray, t: FloatArray, z: FloatArray) -> WithError:
    """Return `added` with the method's own standard error.

    Raises
    ------
    TypeError
        If it states none.
    """
    if hasattr(method, _SURE):
        # Models need something to learn from: what never changes tells them the target's rates.
        return getattr(method, _SURE)(x, t, z if z.shape[1] else np.zeros_like(x))
    plain = getattr(method, "mutual_information_with_error", None)
    if plain is not None and not z.shape[1]:
        return plain(x, t)
    if plain is None:
        raise TypeError(
            f"test must be Shuffled() for a method without a test of its own; got OwnTest() with "
            f"{method!r}, which states no standard errors. Leave test out."
        )
    both, rest = plain(np.hstack((x, z)), t), plain(z, t)
    error = math.hypot(both.std_error, rest.std_error)  # as if the two were independent
    return WithError(both.value - rest.value, error, rest.freedom, both.source, both.notes)


def has_own_test(method: Any) -> bool:
    """Return whether a method says how sure it is of what a feature adds."""
    return hasattr(method, _SURE)


def _sure(found: WithError) -> Finding:
    if not found.value > _ROUNDING:
        return Finding(found.value, 1.0)
    if not found.std_error > 0.0:  # every sample gains the same
        return Finding(found.value, 0.0)
    return Finding(found.value, float(student.sf(found.value / found.std_error, found.freedom)))
