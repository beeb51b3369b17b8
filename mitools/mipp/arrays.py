"""Features and a target, without a network, as a layer that engines can be asked about."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mitools._validation import as_samples, checked_count
from mitools.mipp.engines import Layer, Relation


def layer_of(
    features: Any,
    target: Any,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    classes: bool = False,
    name: str = "features",
) -> Layer:
    """Return a layer whose channels are features, with moments and with rows.

    Parameters
    ----------
    features : array-like, shape (n, d)
        A.
    target : array-like, shape (n,) or (n, t)
        T: numbers, or one column of labels.
    groups : sequence of sequences of int, or None
        The columns of each channel; None: each is one. Columns of no group are never dropped.
    classes : bool
        Whether T is one of several classes. Moments are those of one column of 0 and 1 a class.
    name : str
        Of the layer, for progress bars and messages.

    Raises
    ------
    ValueError
        If features or target are not finite, numeric, non-empty and of one length; if classes have
        more than one column; if a column is in two groups or not there, or a group is empty.

    Examples
    --------
    Two bits and noise, of which the target is the exclusive or:

    >>> import numpy as np
    >>> from mitools.mipp import Predictive, layer_of
    >>> bits = np.random.default_rng(0).integers(0, 2, (500, 3))
    >>> layer = layer_of(bits, bits[:, 0] ^ bits[:, 1], classes=True)
    >>> Predictive(training="amortised", steps=500).eliminate(layer).kept
    tensor([ True,  True, False])
    """
    x, t = as_samples({"target"} if classes else (), features=features, target=target)
    if classes and t.shape[1] != 1:
        raise ValueError(
            f"target must have one column for classes=True; got {t.shape[1]}. Join them into "
            "one label, or leave classes out for numbers."
        )
    if groups is None:
        groups = [[i] for i in range(x.shape[1])]
    groups = [[checked_count("groups", i, least=0) for i in group] for group in groups]
    _check_groups(groups, x.shape[1])
    a = torch.from_numpy(x)
    target = torch.from_numpy(t)
    numbers = target
    if classes:
        target = torch.unique(target[:, 0], return_inverse=True)[1]
        numbers = one_hot(target).double()
    variables = tuple(tuple(group) for group in groups)
    relation = Relation(
        "target",
        variables,
        len(a),
        covariance=_covariance(a, a),
        cross=_covariance(a, numbers),
        spread=_covariance(numbers, numbers),
        features=a,
        target=target,
    )
    return Layer(name, len(variables), (relation,))


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    return (a - a.mean(0)).T @ (b - b.mean(0)) / len(a)


def _check_groups(groups: Sequence[Sequence[int]], d: int) -> None:
    every = [i for group in groups for i in group]
    wrong = [i for i in every if not 0 <= i < d]
    twice = sorted({i for i in every if every.count(i) > 1})
    if not groups or not all(groups) or wrong or twice:
        found = (
            f"column {wrong[0]}"
            if wrong
            else f"column {twice[0]} twice"
            if twice
            else "a group without columns"
            if groups
            else "none"
        )
        raise ValueError(
            f"groups must hold columns from 0 to {d - 1}, at least one each and none twice; got "
            f"{found}. Leave groups out for one channel a column."
        )
