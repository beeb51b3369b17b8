"""Nearest neighbours with their bias measured on surrogates of a fitted model."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_count, checked_neighbors
from mitools.methods._critic import cross_fitted
from mitools.methods._elliptical import Elliptical, chosen, normal, ranked
from mitools.methods._rewiring import LogRatio, mean_normaliser, rewired
from mitools.methods.knn import KSG
from mitools.methods.questions import WithError

_SWEEPS = 100  # until surrogates forget where they started
_FEW_RIVALS = 0.02  # correction for the number of rivals, in nats, beyond which it is not trusted
_NOISE = 2.0  # standard errors below which a difference says nothing


@dataclass(frozen=True, eq=False)
class Calibration:
    """An estimate by `CalibratedKSG` and what it is made of; amounts in nats.

    Parameters
    ----------
    value : float
        ``model_nats + weight * (neighbors - mean of surrogates)``.
    std_error : float
        Standard error of `value`, from the spread of the samples' terms.
    model : str
        The model that was fitted.
    model_nats : float
        I(X; Y) of the model with the samples' own margins.
    gain : float or None
        Nats by which networks told partners better from others than the copula did, on samples
        that they had not seen; None where they were not kept or not tried.
    neighbors : float
        KSG of the samples' normal scores.
    surrogates : tuple of float
        The same of surrogate samples drawn from the model.
    weight : float
        1 where neighbours see a clear difference, 0 where it is within the noise.
    """

    value: float
    std_error: float
    model: str
    model_nats: float
    gain: float | None
    neighbors: float
    surrogates: tuple[float, ...]
    weight: float

    def __str__(self) -> str:
        seen = self.neighbors - float(np.mean(self.surrogates or (self.neighbors,)))
        return (
            f"{self.value:.4g} ± {self.std_error:.2g} nats: {self.model_nats:.4g} by "
            f"{self.model}, and {self.weight:.2f} of the {seen:+.2g} that neighbours see beyond it"
        )


@dataclass(frozen=True)
class CalibratedKSG:
    """A fitted model's information, plus what nearest neighbours see beyond the model.

    A model q of the dependence is fitted to the ranks of every column. Surrogate samples are drawn
    from it: the same x and the same y, joined anew by q. With I(q) its information::

        I(X; Y) = I(q) + w (KSG of the samples - mean KSG of the surrogates)

    The bias of KSG, which is large in many dimensions, cancels if q is near the truth; where q
    misses what few dimensions hold, KSG supplies it. The weight w = max(0, 1 - (2 s / D)^2) drops
    differences D within the noise s of KSG.

    The model is chosen by how well it tells a sample's own partner from others':

    1. the Gaussian copula, or Student's t copula if it tells significantly better;
    2. from four columns and 500 samples on, if `learn`: perceptrons that move the canonical
       coordinates and add interactions, fitted to two thirds of the samples and asked about the
       last, three times; kept only if they tell significantly better on samples not seen.

    Everything depends on ranks alone, so increasing maps of the columns change nothing, and x and y
    may be exchanged. Columns that follow linearly from others in normal scores are left out; x and
    y that determine each other through them share an infinite amount.

    Bias remains where the dependence is neither elliptical nor visible to KSG nor quickly learned:
    the estimate is then too low. Variables with ties are taken as they come, by mean ranks; for
    labels and counts see `ByKind`.

    Parameters
    ----------
    k : int
        Neighbours per sample.
    learn : bool
        Whether networks are tried; they take seconds.
    seed : int
        Draws surrogates, folds and first weights. The result depends on nothing else, such as the
        number of threads.

    References
    ----------
    KSG as in `KSG`. Surrogates: Berrett et al., J. Royal Statistical Society B 82, 175 (2020).
    InfoNCE, by which models are compared: van den Oord et al., arXiv 1807.03748.

    Examples
    --------
    Ten pairs of correlation 1/2, of which only the ranks are left:

    >>> import numpy as np
    >>> from mitools.methods import KSG, CalibratedKSG
    >>> x, noise = np.random.default_rng(0).standard_normal((2, 1_000, 10))
    >>> y = np.exp(x + np.sqrt(3) * noise)
    >>> found = CalibratedKSG(learn=False).mutual_information(x, y)
    >>> plain = KSG(scale="rank").mutual_information(x, y)
    >>> print(f"truth {-5 * np.log(0.75):.2f}, estimate {found:.2f}, KSG {plain:.2f}")
    truth 1.44, estimate 1.37, KSG 0.55
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "dependence"})
    k: int = 3
    learn: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_count("seed", self.seed, least=0)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return self.explained(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """I(X; Y), its standard error, and what it is made of."""
        found = self.explained(x, y)
        surely = found.std_error if found.std_error > 0.0 else math.nan
        source = "by the spread of samples' terms; model and bias are left out"
        return WithError(found.value, surely, len(x) - 1, source, (str(found),))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats, by the chain rule: I(X; Y, Z) - I(X; Z)."""
        both = self.mutual_information(x, np.hstack((y, z)))
        return both - self.mutual_information(x, z)

    def explained(self, x: FloatArray, y: FloatArray) -> Calibration:
        """Return the estimate of I(X; Y), its standard error, and what it is made of."""
        checked_neighbors(self.k, len(x))
        left, right = ranked(x), ranked(y)
        if not left.shape[1] or not right.shape[1]:
            return Calibration(0.0, 0.0, "a constant", 0.0, None, 0.0, (), 0.0)
        if len(left) <= left.shape[1] + right.shape[1]:
            raise ValueError(
                "x and y must have more samples than columns in all; got "
                f"{len(left)} samples with {left.shape[1] + right.shape[1]} columns. Use more "
                "samples or fewer columns."
            )
        if _later(left, right):
            left, right = right, left
        with threadpool_limits(1, "blas"):
            rng = np.random.default_rng(self.seed)
            copula = chosen(left, right, rng.permutation(len(left)))
            if copula.nats == math.inf:
                return Calibration(math.inf, 0.0, copula.name, math.inf, None, 0.0, (), 0.0)
            return self._calibrated(copula, normal(left), normal(right), rng)

    def _calibrated(
        self, copula: Elliptical, x: FloatArray, y: FloatArray, rng: Generator
    ) -> Calibration:
        n, columns = len(x), x.shape[1] + y.shape[1]
        terms = KSG(self.k, scale=None).local_mutual_information(x, y)
        whole = np.zeros(n, np.int64)
        level, doubt = mean_normaliser(copula, whole, rng)
        exact = doubt > _FEW_RIVALS or abs(level) < _NOISE * doubt
        nats, left = copula.nats if exact else None, copula.left
        plain = self._against(copula, nats, level, whole, left, terms, x, y, rng)
        plain = replace(plain, model=copula.name)
        if not (self.learn and columns >= 4 and n >= 500):
            return plain
        found = cross_fitted(copula, rng, insist=plain.weight > 0.0)
        if found is None:
            return plain
        level, doubt = mean_normaliser(found.ratio, found.groups, rng)
        if doubt > _FEW_RIVALS:
            return plain
        last = (level, found.groups, left, terms, x, y, rng)
        better = self._against(found.ratio, None, *last)
        return replace(better, model=f"{copula.name}, corrected by networks", gain=found.gain)

    def _against(
        self,
        model: LogRatio,
        nats: float | None,
        level: float,
        groups: IntArray,
        along: FloatArray,
        terms: FloatArray,
        x: FloatArray,
        y: FloatArray,
        rng: Generator,
    ) -> Calibration:
        """Return the estimate with this model, given KSG's terms of the samples.

        The model's information is `nats`, or what its ratio says of the surrogates, less `level`.
        """
        method, rows = KSG(self.k, scale=None), np.arange(len(x))
        partners, _ = rewired(model, rows, along, groups, _SWEEPS, rng)
        means, found = [], []
        for _ in range(5 if x.shape[1] + y.shape[1] <= 16 else 3):
            partners, mean = rewired(model, partners, along, groups, _SWEEPS // 2, rng)
            means.append(mean)
            joined_anew = np.ascontiguousarray(y[partners])
            found.append(method.mutual_information(x, joined_anew))
        if nats is None:
            nats = float(np.mean(means)) - level
        neighbors = float(np.mean(terms))
        seen = neighbors - float(np.mean(found))
        noise = float(np.std(found, ddof=1)) * math.sqrt(1.0 + 1.0 / len(found))
        weight = 1.0 - min(1.0, (_NOISE * noise / seen) ** 2) if seen else 0.0
        mixed = weight * terms + (1.0 - weight) * model.pairs(rows, rows)
        error = float(np.std(mixed, ddof=1)) / math.sqrt(len(rows))
        value = nats + weight * seen
        return Calibration(value, error, "", nats, None, neighbors, tuple(found), weight)


def _later(x: FloatArray, y: FloatArray) -> bool:
    """Return whether x comes after y in an order of all arrays, so that none is the first."""
    if x.shape[1] != y.shape[1]:
        return x.shape[1] > y.shape[1]
    differ = np.flatnonzero(x.ravel() != y.ravel())
    return len(differ) > 0 and bool(x.flat[differ[0]] > y.flat[differ[0]])
