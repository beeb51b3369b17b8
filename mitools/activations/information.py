"""How much every layer knows of the inputs, of the targets, and of the next layer."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import nn
from tqdm.auto import tqdm

from mitools._typing import FloatArray, Sense
from mitools._validation import UnreliableEstimate, checked_count
from mitools.activations.capture import capture
from mitools.activations.places import Reduce
from mitools.activations.watching import At
from mitools.measures import mutual_information
from mitools.methods import GaussianCopula, Ross
from mitools.methods.questions import MutualInformation
from mitools.results import Estimate
from mitools.uncertainty import Resampling, with_error

_COPULA = GaussianCopula()
_COLUMNS = (
    "layer next quantity value std_error sense method n dim notes".split()  # noqa: SIM905
)
_RESOLUTION = "layers are functions, so this shows what components and method resolve"


@dataclass(frozen=True, eq=False)
class _Variable:
    """What enters estimates: one array of (n, d), or one for every place of a feature map."""

    places: list[FloatArray]
    notes: tuple[str, ...] = ()

    @property
    def constant(self) -> bool:
        return not any(rows.shape[1] for rows in self.places)


def layer_information(
    model: nn.Module,
    loader: Any,
    method: MutualInformation = _COPULA,
    layers: Sequence[str] | None = None,
    *,
    label_method: MutualInformation | None = None,
    at: At = "activation",
    reduce: Reduce = "mean",
    components: int | None = 10,
    noise: float = 0.0,
    error: Resampling | None = None,
    limit: int | None = 5_000,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """I(X; T), I(T; Y) and I(T; T') of every layer T and the next T' to be run, in nats.

    Activations are captured in one pass (see `capture`). Variables of more than `components`
    columns are reduced to their first principal components, because estimators fail in high
    dimension; by the data processing inequality the information among reduced variables is at
    most that among whole ones.

    Feature maps are averaged over their places, or kept whole, or treated place by place, and the
    values averaged: ``reduce="places"`` takes two maps at the same relative places.
    ``reduce="patches"`` sets the vector that T' gives at a place against what T' reads for it,
    which for a convolution is a k x k neighbourhood, and stands for T in I(T; T') [2]_: after
    pooling and whatever is added on the way, and where T' does not read T but another layer
    (beside a shortcut, say), of that one. A layer over features that reads all places reads one
    patch.

    A network without noise is a function: for continuous inputs the whole I(X; T) and I(T; T')
    are infinite [1]_, and what the table shows is how finely `components`, `noise` and the method
    resolve them. Compare layers under one setting only.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it was. For a pruned one, apply the mask or call this inside ``masked(model,
        mask)``.
    loader : DataLoader, Dataset, Samples, or pair (inputs, targets)
        What to run on.
    method : MutualInformation
        Between real-valued variables.
    layers : sequence of str, or None
        As in `capture`.
    label_method : MutualInformation or None
        For I(T; Y) where Y are classes, T first. None: ``Ross()``.
    at, reduce
        As in `capture`; feature maps are averaged over their places by default.
    components : int or None
        Principal components, of each variable, and of each place or patch. None: all columns.
        Constant columns are always left out.
    noise : float, >= 0
        Standard deviation of Gaussian noise added to T, after the reduction, in units of the root
        mean variance of its columns: I(X; T + noise) is finite.
    error : Resampling or None
        ``Jackknife()`` or ``Subsets()`` for standard errors, at some 20 estimates each.
    limit : int or None
        Samples to use at most, a uniform choice from one full pass.
    seed : int
        Of that choice, the noise, and randomised principal components.
    progress : bool
        Show progress bars.

    Returns
    -------
    DataFrame
        One row a layer and quantity: ``layer``, ``next`` (for I(T; T') only), ``quantity``,
        ``value`` and ``std_error`` in nats (NaN where nobody estimated it), ``sense``, ``method``,
        ``n``, ``dim`` (columns of the two variables) and ``notes``, which holds reductions and
        every reason to distrust the value; x and y there are the quantity's two variables.

    Raises
    ------
    ValueError
        As `capture`, or if the method cannot use these samples; the message names the layer.

    References
    ----------
    .. [1] Amjad and Geiger, IEEE TPAMI 42, 2225 (2020); Goldfeld et al., ICML 2019.
    .. [2] No paper's: the receptive field of one layer, so that both sides are of fixed size.

    Examples
    --------
    >>> from mitools.activations import layer_information
    >>> from mitools.data import digits
    >>> from mitools.models import mlp
    >>> table = layer_information(mlp((64, 30, 10)), digits(), limit=500)
    >>> table[["layer", "quantity", "method", "n", "dim"]].iloc[:2]
      layer quantity                           method    n    dim
    0   fc1  I(X; T)  GaussianCopula(correction=True)  500  10, 10
    1   fc1  I(T; Y)  Ross(k=3, labels='y', scale='std')  500  10, 1
    """
    if components is not None:
        checked_count("components", components)
    if not 0.0 <= noise < math.inf:
        raise ValueError(f"noise must be finite and not negative; got {noise!r}. 0.1 is usual.")
    found = capture(
        model,
        loader,
        layers,
        at=at,
        reduce=reduce,
        limit=limit,
        seed=seed,
        inputs=True,
        progress=progress,
    )
    assert found.inputs is not None
    classes = found.targets.dtype.kind == "i"
    y_method = (label_method or Ross()) if classes else method
    inputs = _variable("X", found.inputs, components, 0.0, seed)
    targets = _variable("Y", found.targets.reshape(len(found.targets), -1), None, 0.0, seed)
    variables = {
        name: _variable("T", rows, components, noise, seed + i)
        for i, (name, rows) in enumerate(found.items(), start=1)
    }
    reads = {
        name: _variable("T", rows, components, noise, seed + i, f"T: what {name} reads")
        for i, (name, rows) in enumerate(found.reads.items(), start=len(variables))
        if i > len(variables)  # the first layer reads no other
    }
    rows = []
    asked = list(_questions(variables, reads, inputs, targets, method, y_method))
    for layer, following, quantity, x, y, how in tqdm(asked, disable=not progress):
        try:
            answer = _answer(x, y, how, error)
        except ValueError as problem:
            raise ValueError(
                f"method must suit {quantity} of layer {layer!r}; {how!r} says: {problem}"
            ) from problem
        if quantity != "I(T; Y)" and not noise and answer["value"]:
            answer["notes"] = "; ".join(filter(None, [answer["notes"], _RESOLUTION]))
        rows.append({"layer": layer, "next": following, "quantity": quantity, **answer})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _questions(
    variables: dict[str, _Variable],
    reads: dict[str, _Variable],
    inputs: _Variable,
    targets: _Variable,
    method: MutualInformation,
    y_method: MutualInformation,
) -> Iterator[tuple[str, str, str, _Variable, _Variable, MutualInformation]]:
    following = dict(pairwise(variables))
    for layer, found in variables.items():
        yield layer, "", "I(X; T)", inputs, found, method
        yield layer, "", "I(T; Y)", found, targets, y_method
        if layer in following:
            after = following[layer]
            yield layer, after, "I(T; T')", reads.get(after, found), variables[after], method


def _answer(
    x: _Variable, y: _Variable, method: MutualInformation, error: Resampling | None
) -> dict[str, Any]:
    """Return the columns of one row that an estimate fills."""
    pairs = list(_places(x, y))
    n = len(x.places[0])
    if x.constant or y.constant:
        constant = "x" if x.constant else "y"
        answers = [_nothing(method, f"{constant} is constant, so the information is 0")]
    else:
        answers = [_estimate(a, b, method, error) for a, b in pairs]
    notes = [*x.notes, *y.notes, *(note for answer in answers for note in answer.notes)]
    if len(pairs) > 1:
        notes.append(f"mean over {len(pairs)} places")
    errors = [math.nan if a.std_error is None else a.std_error for a in answers]
    widths = {f"{a.shape[1]}, {b.shape[1]}": None for a, b in pairs}
    return {
        "value": float(np.mean([answer.value for answer in answers])),
        "std_error": float(np.mean(errors)),  # the largest that the mean over places can have
        "sense": answers[0].sense,
        "method": answers[0].method,
        "n": n,
        "dim": " or ".join(widths),
        "notes": "; ".join(dict.fromkeys(notes)),
    }


def _places(x: _Variable, y: _Variable) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Pair the same places of two maps; every place with what has no such places."""
    if len(x.places) == len(y.places):
        return zip(x.places, y.places, strict=True)
    return product(x.places, y.places)


def _estimate(
    x: FloatArray, y: FloatArray, method: MutualInformation, error: Resampling | None
) -> Estimate:
    if not x.shape[1] or not y.shape[1]:
        return _nothing(method, "some places are constant, where the information is 0")
    with warnings.catch_warnings():  # the reasons are in the estimate's notes as well
        warnings.simplefilter("ignore", UnreliableEstimate)
        if error is None:
            return mutual_information(x, y, method)
        return with_error(mutual_information, x, y, method, error=error)


def _nothing(method: Any, note: str) -> Estimate:
    sense: Sense = getattr(method, "sense", "point")
    return Estimate(0.0, repr(method), sense, std_error=0.0, notes=(note,))


def _variable(
    symbol: str,
    rows: NDArray[Any],
    components: int | None,
    noise: float,
    seed: int,
    *notes: str,
) -> _Variable:
    """Return captured rows without constant columns, reduced, with noise added."""
    whole = rows.shape[-1]
    maps = [rows] if rows.ndim == 2 else [rows[:, place] for place in range(rows.shape[1])]
    places, kept, shares = [], [], []
    for place, values in enumerate(maps):
        values = _varying(values)
        kept.append(values.shape[1])
        if components is not None and values.shape[1] > components:
            values, share = _reduced(values, components, seed)
            shares.append(share)
        values = np.ascontiguousarray(values, dtype=np.float64)
        if noise and values.shape[1]:
            drawn = np.random.default_rng([seed, place]).standard_normal(values.shape)
            values += noise * math.sqrt(float(values.var(axis=0).mean())) * drawn
        places.append(values)
    told = [*notes]
    if min(kept) < whole:
        told.append(f"{symbol}: {whole - min(kept)} of {whole} columns are constant")
    if shares:
        some = f"{min(shares):.0%}" if len(shares) == 1 else f"at least {min(shares):.0%}"
        told.append(f"{symbol}: PCA to {components} of {max(kept)} columns, {some} of variance")
    if noise:
        told.append(f"{symbol}: noise of {noise:g} standard deviations added")
    return _Variable(places, tuple(told))


def _varying(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the columns that are not constant, copied."""
    return rows[:, (rows != rows[:1]).any(axis=0)]


def _reduced(rows: NDArray[Any], components: int, seed: int) -> tuple[NDArray[Any], float]:
    """Return the first principal components, and their share of the variance."""
    rows -= rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)  # exact where means are large
    pca = PCA(min(components, len(rows)), random_state=seed, copy=False)
    scores = pca.fit_transform(rows)
    return scores, float(pca.explained_variance_ratio_.sum())
