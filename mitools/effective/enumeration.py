"""Exact information of masks over a finite family of data sets: all of them are pruned at once.

With the initial weights and the pruner's seeds fixed a mask is a function of the data set, so its
information is the entropy of the masks over the family. Small networks are trained together, one
copy a data set, so that thousands take seconds.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mitools._typing import BoolArray, FloatArray
from mitools.models import seeded
from mitools.pruning.scoring import reproducibly
from mitools.training.losses import loss_of

_DIGITS = 10
"""Scores are compared to so many decimals: what is equal on paper is a tie on every machine."""


@dataclass(frozen=True, eq=False)
class DataSets:
    """A finite family of data sets of one shape.

    Parameters
    ----------
    inputs : Tensor, shape (N, n, ...)
        Points of each data set.
    targets : Tensor, shape (N, n)
        Classes (integers) or values (floating).
    probabilities : float array, shape (N,), or None
        How likely each data set is; None: all alike.
    """

    inputs: Tensor
    targets: Tensor
    probabilities: FloatArray | None = None

    def __post_init__(self) -> None:
        count = len(self.inputs)
        law = np.full(count, 1.0 / count) if self.probabilities is None else self.probabilities
        if self.targets.shape[:2] != self.inputs.shape[:2]:
            raise ValueError(
                "targets must have one entry for each point of inputs; got shape "
                f"{tuple(self.targets.shape)} for {tuple(self.inputs.shape)}. "
                "Both start with (data sets, points)."
            )
        if len(law) != count or min(law) < 0 or not math.isclose(sum(law), 1.0, abs_tol=1e-9):
            raise ValueError(
                f"probabilities must be {count} numbers >= 0 that sum to 1; got {len(law)} that "
                f"sum to {sum(law):.6g}. Divide them by their sum."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def law(self) -> FloatArray:
        """Probability of each data set, shape (N,)."""
        if self.probabilities is None:
            return np.full(len(self), 1.0 / len(self))
        return np.asarray(self.probabilities, np.float64)


def sign_data_sets(points: int = 6, dims: int = 3) -> DataSets:
    """Return all data sets of different corners of {±1}^dims with labels ±1.

    Examples
    --------
    >>> len(sign_data_sets())  # C(8, 6) · 2^6, as in appendix C.2 of arXiv 2402.01089
    1792
    """
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=dims)), dtype=torch.float64)
    chosen = torch.tensor(list(itertools.combinations(range(len(corners)), points)))
    labels = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=points)), dtype=torch.float64)
    inputs = corners[chosen].repeat_interleave(len(labels), dim=0)
    return DataSets(inputs, labels.repeat(len(chosen), 1))


def sign_multisets(points: int = 6, dims: int = 3) -> DataSets:
    """Return all data sets of labelled corners of {±1}^dims drawn with replacement, in any order.

    Orders of the same points are one data set, as likely as they all are together: what reads a
    data set as a whole makes one mask of them.

    Examples
    --------
    >>> len(sign_multisets())  # of 16^6 in order
    54264
    """
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=dims + 1)), dtype=torch.float64)
    chosen = np.array(list(itertools.combinations_with_replacement(range(len(signs)), points)))
    log_law = np.full(len(chosen), math.lgamma(points + 1) - points * math.log(len(signs)))
    for corner in range(len(signs)):
        log_law -= gammaln((chosen == corner).sum(axis=1) + 1.0)
    drawn = signs[torch.from_numpy(chosen)]
    return DataSets(drawn[..., :-1], drawn[..., -1], np.exp(log_law))


def sign_network(hidden: int = 4, dims: int = 3, seed: int = 0) -> nn.Sequential:
    """Return the ReLU network of that experiment, in float64: 21 weights, biases counted."""
    with seeded(seed):
        layers = nn.Linear(dims, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    return nn.Sequential(*layers).double()


@dataclass(frozen=True, eq=False)
class Enumerated:
    """The mask of every data set, and what masks tell of data sets.

    Parameters
    ----------
    masks : (N, p) bool
        One row a data set.
    law : (N,) float
        Probability of each data set.
    """

    masks: BoolArray
    law: FloatArray

    @property
    def nats(self) -> float:
        """I(mask; data | init), exactly: the entropy of the masks."""
        packed = np.packbits(self.masks, axis=1)
        _, which = np.unique(packed, axis=0, return_inverse=True)
        shares = np.bincount(which.reshape(-1), weights=self.law)
        shares = shares[shares > 0.0]
        return max(0.0, float(-(shares @ np.log(shares))))

    @property
    def distinct(self) -> int:
        """Number of different masks."""
        return len(np.unique(np.packbits(self.masks, axis=1), axis=0))


def enumerated(data_sets: DataSets, prune: Callable[[Tensor, Tensor], BoolArray]) -> Enumerated:
    """Prune on every data set of the family.

    Parameters
    ----------
    data_sets : DataSets
        The family.
    prune : callable
        ``prune(inputs, targets)`` returns the masks of all data sets, shape (N, p), from the same
        initial weights and seeds. `kept` makes one of scores.

    Raises
    ------
    ValueError
        If prune does not return one boolean row for each data set.
    """
    masks = np.asarray(prune(data_sets.inputs, data_sets.targets))
    if masks.ndim != 2 or masks.dtype != np.bool_ or len(masks) != len(data_sets):
        raise ValueError(
            f"prune must return booleans of shape ({len(data_sets)}, weights), a row for each "
            f"data set; got {masks.dtype} of shape {masks.shape}."
        )
    return Enumerated(masks, data_sets.law)


def at_every_count(data_sets: DataSets, scores: FloatArray) -> FloatArray:
    """Return the exact information of the masks that keep 0, 1, ..., p weights, shape (p + 1,)."""
    counts = range(scores.shape[1] + 1)
    return np.array([Enumerated(kept(scores, k), data_sets.law).nats for k in counts])


def kept(scores: FloatArray, count: int) -> BoolArray:
    """Keep the `count` best scored weights of each row; among equals the earlier one."""
    order = np.argsort(-np.round(scores, _DIGITS), axis=1, kind="stable")
    masks = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(masks, order[:, :count], True, axis=1)
    return masks


# ---- scores of all data sets at once; every parameter takes part, in the order of the model ----


@dataclass(frozen=True)
class FullBatch:
    """Gradient descent on the whole of each data set.

    Parameters
    ----------
    steps : int
        Number of steps.
    lr : float
        Their size.
    """

    steps: int = 200
    lr: float = 0.1


def random_scores(model: nn.Module, data_sets: DataSets, seed: int = 0) -> FloatArray:
    """Return uniform draws, the same for every data set."""
    draws = np.random.default_rng(seed).random(_flat(model).numel())
    return np.tile(draws, (len(data_sets), 1))


def magnitude_scores(model: nn.Module, data_sets: DataSets) -> FloatArray:
    """Return ``|θ|`` at initialisation, the same for every data set."""
    return np.tile(_flat(model).abs().numpy(), (len(data_sets), 1))


def snip_scores(model: nn.Module, data_sets: DataSets) -> FloatArray:
    """Return ``|θ · dL/dθ|`` at initialisation; see `mitools.pruning.SNIP`."""
    flat = _flat(model)
    with reproducibly():
        slopes = vmap(_gradient(model, data_sets), in_dims=(None, 0, 0))
        return (flat * slopes(flat, data_sets.inputs, data_sets.targets)).abs().numpy()


def grasp_scores(model: nn.Module, data_sets: DataSets) -> FloatArray:
    """Return ``θ · H g`` at initialisation, g the gradient and H the Hessian of the loss.

    The biggest are kept, so that the gradient's norm shrinks least (Wang, Zhang and Grosse, eq. 8,
    arXiv 2002.07376, who remove the biggest ``-θ · H g``).
    """
    flat = _flat(model)
    slope = _gradient(model, data_sets)

    def score(inputs: Tensor, targets: Tensor) -> Tensor:
        direction = slope(flat, inputs, targets)

        def along(weights: Tensor) -> Tensor:
            return (slope(weights, inputs, targets) * direction).sum()

        return flat * grad(along)(flat)

    with reproducibly():
        return vmap(score)(data_sets.inputs, data_sets.targets).numpy()


def trained_scores(
    model: nn.Module, data_sets: DataSets, training: FullBatch = FullBatch()
) -> FloatArray:
    """Return ``|θ|`` after training on each data set; see `mitools.pruning`."""
    return trained_together(model, data_sets, training).abs().numpy()


def imp_scores(
    model: nn.Module, data_sets: DataSets, training: FullBatch = FullBatch()
) -> FloatArray:
    """Return how long each weight survives when one a level is dropped and the rest rewound.

    The best ``k`` by these scores are what iterative magnitude pruning keeps at ``k`` weights.
    """
    size = _flat(model).numel()
    rows = np.arange(len(data_sets))
    survived = np.full((len(data_sets), size), size)
    for level in range(size - 1):
        alive = survived == size
        trained = trained_together(model, data_sets, training, torch.from_numpy(alive))
        ranks = np.where(alive, np.round(trained.abs().numpy(), _DIGITS), np.inf)
        # Of equally small ones the last is dropped, as in mitools.pruning.selection.
        last = size - 1 - np.argmin(ranks[:, ::-1], axis=1)
        survived[rows, last] = level
    return survived.astype(np.float64)


def trained_together(
    model: nn.Module,
    data_sets: DataSets,
    training: FullBatch = FullBatch(),
    masks: Tensor | None = None,
) -> Tensor:
    """Train a copy of the model on each data set, all copies at once.

    Parameters
    ----------
    model : nn.Module
        At its initial weights, which every copy starts from; not changed.
    data_sets : DataSets
        The loss is the cross-entropy for integer targets, the mean squared error for floating ones.
    training : FullBatch
        How.
    masks : bool Tensor, shape (N, p), optional
        Weights that are False are 0 throughout.

    Returns
    -------
    Tensor, shape (N, p)
        The weights of each copy, all parameters in the order of the model, flattened.
    """
    with reproducibly():
        slopes = vmap(_gradient(model, data_sets))
        weights = _flat(model).repeat(len(data_sets), 1)
        pull = training.lr if masks is None else training.lr * masks
        weights = weights if masks is None else weights * masks
        for _ in range(training.steps):
            weights = weights - pull * slopes(weights, data_sets.inputs, data_sets.targets)
    return weights


def outputs_of_masked(model: nn.Module, data_sets: DataSets, masks: BoolArray) -> FloatArray:
    """Return what the masked model says of each point of its data set, shape (N, n, ...).

    A last dimension of one output is dropped.
    """
    state, flat = _unflattened(model), _flat(model)

    def outputs(mask: Tensor, inputs: Tensor) -> Tensor:
        return functional_call(model, state(flat * mask), (inputs,))

    with reproducibly(), torch.no_grad():
        found = vmap(outputs)(torch.from_numpy(masks), data_sets.inputs)
    return found.squeeze(-1).numpy() if found.shape[-1] == 1 else found.numpy()


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def _gradient(model: nn.Module, data_sets: DataSets) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return (flat weights, inputs, targets) -> gradient of the loss by the flat weights."""
    state, loss = _unflattened(model), loss_of("auto", data_sets.targets)

    def value(flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return loss(functional_call(model, state(flat), (inputs,)), targets)

    return grad(value)


def _unflattened(model: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return what turns flat weights into the model's parameters and buffers by name."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    buffers = {name: buffer.detach() for name, buffer in model.named_buffers()}

    def state(flat: Tensor) -> dict[str, Tensor]:
        parts = zip(shapes.items(), flat.split(sizes), strict=True)
        return buffers | {name: part.view(shape) for (name, shape), part in parts}

    return state
