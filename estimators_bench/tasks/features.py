"""Features to choose from: redundant, synergistic and irrelevant ones, with exact information."""

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.integrate import quad
from scipy.special import digamma, k0, xlogy

from estimators_bench.tasks.discrete import flips
from estimators_bench.tasks.finite import Law, law
from estimators_bench.tasks.kinds import SampleTask, SelectionTask, Truth
from mitools._typing import FloatArray

_FAMILY = "feature selection"


@dataclass(frozen=True, eq=False)
class SymbolFeatures:
    """Features of which a few have a known law with the target; the others are noise.

    Parameters
    ----------
    joint : Law
        Of the few features, in this order, and of the target, which is the last column.
    places : tuple of int
        The column in which each of the few stands.
    features : int
        All columns, d.
    symbols : int
        Values of a column of noise, all equally likely.
    """

    joint: Law
    places: tuple[int, ...]
    features: int
    symbols: int = 2

    def draw(self, n: int, rng: Generator) -> tuple[FloatArray, FloatArray]:
        """Return features (n, d) and targets (n, 1)."""
        known = self.joint.draw(n, rng)
        columns = rng.integers(self.symbols, size=(n, self.features)).astype(np.float64)
        columns[:, list(self.places)] = known[:, :-1]
        return columns, known[:, -1:]

    def information(self, chosen: Collection[int]) -> float:
        """I(X_S; T) in nats: noise adds nothing, so the law of the few is summed over."""
        few = [i for i, place in enumerate(self.places) if place in chosen]
        return self.joint.information(few, [len(self.places)])


@dataclass(frozen=True, eq=False)
class NormalFeatures:
    """Features and targets that are linear in independent standard normal sources.

    Parameters
    ----------
    features : (d, r) float
        Loadings of the features on r sources.
    targets : (t, r) float
        Loadings of the targets.
    """

    features: FloatArray
    targets: FloatArray

    def draw(self, n: int, rng: Generator) -> tuple[FloatArray, FloatArray]:
        """Return features (n, d) and targets (n, t)."""
        sources = rng.standard_normal((n, self.features.shape[1]))
        return sources @ self.features.T, sources @ self.targets.T

    def information(self, chosen: Collection[int]) -> float:
        """I(X_S; T) = 1/2 log det C / det R in nats, C of the targets, R of what S leaves."""
        if not chosen:
            return 0.0
        seen = self.features[sorted(chosen)].T
        left = self.targets.T - seen @ np.linalg.lstsq(seen, self.targets.T, rcond=None)[0]
        before, after = (np.linalg.slogdet(a.T @ a)[1] for a in (self.targets.T, left))
        return 0.5 * float(before - after)


def _every(*alternatives: Collection[int]) -> tuple[frozenset[int], ...]:
    """Return all sets that take one feature of each group of interchangeable ones."""
    return tuple(frozenset(chosen) for chosen in itertools.product(*alternatives))


def _scattered(count: int, d: int) -> tuple[int, ...]:
    """Return where so many features stand among d, so that order tells nothing of them."""
    return tuple((7 * i + 3) % d for i in range(count))


def _symbols_task(
    name: str,
    joint: Law,
    minimal: tuple[frozenset[int], ...],
    about: str,
    *,
    places: tuple[int, ...] | None = None,
    features: int | None = None,
    symbols: int = 2,
) -> SelectionTask:
    """Return a task of symbols; without `places`, all features are those of the law."""
    if places is None:
        places = tuple(range(joint.outcomes.shape[1] - 1))
    known = SymbolFeatures(joint, places, features or len(places), symbols)
    return SelectionTask(
        name, _FAMILY, known.draw, known.features, known.information, minimal, about=about
    )


# The table of exact answers ----------------------------------------------------------------------

_BITS = (2, 2, 2)

_TABLE = (
    _symbols_task(
        "four-redundant",
        law(_BITS, columns=lambda a, b, c: (a, b, c, a, a, a, (a == b) & (b == c))),
        _every({1}, {2}, {0, 3, 4, 5}),
        "Whether three fair bits agree, one of them there four times: no bit tells a thing alone.",
    ),
    _symbols_task(
        "two-triplets",
        law(_BITS, columns=lambda a, b, c: (a, b, c, a, b, c, (a == b) & (b == c))),
        _every({0, 3}, {1, 4}, {2, 5}),
        "Whether three fair bits agree, all there twice: each can go, but not all of them.",
    ),
    _symbols_task(
        "redundant-pair",
        law((2, 2), columns=lambda a, b: (a, b, b, a + 2 * b)),
        _every({0}, {1, 2}),
        "Two fair bits, one of them there twice.",
    ),
    _symbols_task(
        "exclusive-or",
        law((2, 2), columns=lambda a, b: (a, b, a ^ b)),
        _every({0}, {1}),
        "Whether two fair bits differ: neither tells a thing alone.",
    ),
    _symbols_task(
        "sum",
        law((2, 2), columns=lambda a, b: (a, b, a + b, a + b)),
        _every({2}),
        "Two fair bits and their sum, which is the target: one feature is worth two.",
    ),
    _symbols_task(
        "joint-symbol",
        law((2, 2), columns=lambda a, b: (a, b, 2 * a + b, 2 * a + b)),
        _every({2}),
        "Two fair bits and the symbol of both, which is the target.",
    ),
    _symbols_task(
        "secret-key",
        law((11, 11, 11), columns=lambda a, b, c: (a, b, c, 3 * a - 3 * b + c)),
        _every({0}, {1}, {2}),
        "3a - 3b + c of three numbers from 0 to 10, among 22 others that have no part in it.",
        places=(0, 1, 2),
        features=25,
        symbols=11,
    ),
)

# Growing dimension -------------------------------------------------------------------------------


def _parity(d: int) -> SelectionTask:
    joint = law((2,) * 4, lambda a, b, c, t: flips(a ^ b ^ c, t, 0.1))
    places = _scattered(3, d)
    return _symbols_task(
        f"parity-3-of-{d}",
        joint,
        (frozenset(places),),
        f"The parity of three among {d} fair bits, flipped one time in ten: synergy alone.",
        places=places,
        features=d,
    )


def _copies(d: int) -> SelectionTask:
    """Return a noisy exclusive or beside a symbol of three, with more copies the larger d."""
    copies = d // 10
    joint = law(
        (2, 2, 2, 3, 3),
        lambda a, b, flip, c, blur: flips(flip, np.zeros_like(flip), 0.1) * (1.0 + 2 * (blur == 0)),
        lambda a, b, flip, c, blur: (
            b,
            *((a + i) % 2 for i in range(copies)),
            *((c + i) % 3 for i in range(copies + 1)),
            (c + blur) % 3,
            (a ^ b ^ flip) + 2 * c,
        ),
    )
    places = _scattered(2 * copies + 3, d)
    return _symbols_task(
        f"copies-{d}",
        joint,
        _every(places[:1], places[1 : copies + 1], places[copies + 1 : 2 * copies + 2]),
        f"A noisy exclusive or beside a symbol of three, among {d} features: copies that grow "
        "with d, a blurred copy, and noise.",
        places=places,
        features=d,
        symbols=3,
    )


def _linear(d: int) -> SelectionTask:
    """Return two targets linear in four of d normal features, which have copies, clear or noisy."""
    copies = d // 10
    rest = d - 4 - 2 * copies
    own = np.eye(copies + rest)
    blank = np.zeros((4, copies + rest))
    # Sources: one for each relevant feature, one they share, one the rest share, two of targets.
    signal = np.zeros((4, 8))
    signal[:, :4] = math.sqrt(0.8) * np.eye(4)
    signal[:, 4] = math.sqrt(0.2)
    noise = np.zeros((rest, 8))
    noise[:, 5] = 1.0
    rows = np.vstack(
        [
            np.hstack([signal, blank]),
            *(np.hstack([-2.0 * signal[[i % 2]], blank[:1]]) for i in range(copies)),
            *(np.hstack([signal[[2 + i % 2]], 0.5 * own[[i]]]) for i in range(copies)),
            np.hstack([noise, own[copies:]]),
        ]
    )
    wanted = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, -1.0]]) @ signal
    wanted[:, 6:] = np.eye(2)
    places = _scattered(d, d)
    mixed = np.empty_like(rows)
    mixed[list(places)] = rows
    known = NormalFeatures(mixed, np.hstack([wanted, blank[:2]]))
    twins = [places[4 : 4 + copies][i::2] for i in range(2)]
    minimal = _every((places[0], *twins[0]), (places[1], *twins[1]), (places[2],), (places[3],))
    return SelectionTask(
        f"linear-{d}",
        _FAMILY,
        known.draw,
        d,
        known.information,
        minimal,
        ("continuous", "continuous"),
        f"Two noisy sums of four normal features among {d}: some copied, some blurred, the rest "
        "correlated with each other only.",
        source="closed form",
    )


# A variable that only spreads --------------------------------------------------------------------


def _spread(n: int, rng: Generator) -> tuple[FloatArray, ...]:
    y = rng.chisquare(1, size=n)
    return (np.sqrt(y) * rng.standard_normal(n))[:, None], y[:, None]


def _spread_nats() -> float:
    """h(X) - h(X | Y): X is a product of two normal variables, of density K0(|x|) / pi."""

    def integrand(x: float) -> float:
        p = float(k0(x)) / math.pi
        return -2.0 * float(xlogy(p, p))

    parts = ((0.0, 1e-3), (1e-3, 1.0), (1.0, 60.0))  # the density is infinite at 0
    whole = math.fsum(quad(integrand, *ends, epsabs=1e-12, limit=200)[0] for ends in parts)
    mean_log = float(digamma(0.5)) + math.log(2)  # of Y
    return whole - 0.5 * (math.log(2 * math.pi * math.e) + mean_log)


_SPREAD = SampleTask(
    "spread-only",
    _FAMILY,
    Truth(_spread_nats(), "quadrature"),
    _spread,
    about="X ~ N(0, Y) given Y, which is chi-square: a predictor of X by least squares sees none "
    "of it.",
)

TASKS: tuple[SelectionTask | SampleTask, ...] = (
    *_TABLE,
    *(_parity(d) for d in (10, 30, 100)),
    *(_copies(d) for d in (10, 30, 100)),
    *(_linear(d) for d in (10, 50, 200)),
    _SPREAD,
)
