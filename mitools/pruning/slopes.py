"""The loss as a function of the weights: its slopes, its curvature, no trace in the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from mitools.data import as_batches
from mitools.models import seeded
from mitools.pruning.scoring import canonical, precise, state_of_model
from mitools.training import cross_entropy, loss_of
from mitools.training.evaluation import placed
from mitools.training.losses import check_targets

Statistics = Literal["running", "batch"]
"""What batch norm normalises by: its running statistics, or each batch's own, as in training."""

Precision = Literal["double", "model"]
"""What to compute in: float64, where the device has it, or the model's dtype, float32 at least."""


class Losses:
    """The loss of a model on data, as a function of the named weights, which require gradients.

    The cross-entropy of logits for integer targets, the mean squared error for floating ones. To be
    used inside `mitools.pruning.scoring.undisturbed`; the model's own tensors are never written.

    Parameters
    ----------
    model : nn.Module
        At the weights in question.
    loader : Any
        The data, as for `mitools.data.as_batches`.
    names : sequence of str
        Parameters to differentiate by.
    batches : int or None
        Read so many batches, from the first, in each pass; None: all.
    temperature : float
        Logits are divided by it; outputs of a regression are not.
    statistics : {"running", "batch"}
        What batch norm normalises by. Dropout is off in both.
    precision : {"double", "model"}
        What to compute in.

    Attributes
    ----------
    state : dict of str to Tensor
        Every parameter and buffer that the network runs on, by its first name.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Any,
        names: Sequence[str],
        *,
        batches: int | None = None,
        temperature: float = 1.0,
        statistics: Statistics = "running",
        precision: Precision = "model",
    ) -> None:
        self._model = model
        self._source = as_batches(loader)
        self._batches = batches
        self._temperature = temperature
        self._first = canonical(model, names)
        found = state_of_model(model)
        self.state = {name: _precise(tensor, precision) for name, tensor in found.items()}
        # Tied weights once, or they would count twice in a product.
        self._names = list(dict.fromkeys(self._first.values()))
        self._weights = [self.state[name].requires_grad_() for name in self._names]
        floating = [tensor for tensor in self.state.values() if tensor.is_floating_point()]
        self._place = floating[0].device, floating[0].dtype
        self._cure = "precision='model'" if precision == "double" else "model.float()"
        if statistics == "batch":
            use_batch_statistics(model)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights differentiated by, by the names that were asked for, without gradients."""
        return self._answer([weight.detach() for weight in self._weights])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the data once."""
        return islice(iter(self._source), self._batches)

    def at(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over a batch, for the present `state`."""
        outputs = self._outputs(inputs, self.state)
        targets = targets.to(outputs.device)
        loss = loss_of("auto", targets)
        check_targets(loss, outputs, targets)
        if loss is cross_entropy and self._temperature != 1.0:
            outputs = outputs / self._temperature
        value = loss(outputs, targets)
        if not value.requires_grad:
            raise ValueError(
                "model must be differentiable in the weights that are scored; its output does not "
                f"depend on {', '.join(self._names)} in a way that autograd can see. Is there a "
                "detach(), an argmax or no_grad in it? Pruners that need no gradients: Magnitude."
            )
        return value

    def slope(self) -> dict[str, Tensor]:
        """Return dL/dθ, the mean over all points, in float64."""
        return self._answer(self._mean(self._slope_on))

    def slope_at(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return dL/dθ on one batch, through whatever led to the present `state`, in float64."""
        found = self._slope_on(inputs, targets)
        return self._answer([slope.to(precise(slope.device)) for slope in found])

    def slope_and_curvature(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return g = dL/dθ and Hg, H the Hessian, means over all points; two passes over the data.

        Weights that are exactly 0 count as pruned: they are left out of g before the product.
        """
        slope = self._mean(self._slope_on)
        along = [g.to(w.dtype) * (w != 0) for g, w in zip(slope, self._weights, strict=True)]
        return self._answer(slope), self._curvature(along)

    def curvature_along(self, direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return Hv for a vector v, by the names that were asked for; one pass over the data."""
        v = {self._first[name]: tensor for name, tensor in direction.items()}
        weights = zip(self._names, self._weights, strict=True)
        return self._curvature([v[name].to(weight.dtype) for name, weight in weights])

    def _curvature(self, along: Sequence[Tensor]) -> dict[str, Tensor]:
        def curved(inputs: Tensor, targets: Tensor) -> Sequence[Tensor]:
            slopes = self._grad(self.at(inputs, targets), create_graph=True)
            products = [(a * g).sum() for a, g in zip(along, slopes, strict=True)]
            if not any(product.requires_grad for product in products):
                raise ValueError(
                    "model must be differentiable twice for this score; its slopes do not depend "
                    "on the weights, as behind sign() or round(). Use a score that needs no "
                    "slopes, such as Magnitude."
                )
            return self._grad(sum(products))

        with twice_differentiable():
            return self._answer(self._mean(curved))

    def _slope_on(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """Return dL/dθ on one batch."""
        found = torch.autograd.grad(self.at(inputs, targets), self._weights, allow_unused=True)
        by_name = dict(zip(self._names, found, strict=True))
        return list(seen(by_name, self.state, lambda state: self._outputs(inputs, state)).values())

    def _outputs(self, inputs: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        with computing_in(self._place[1], self._cure):
            return functional_call(self._model, dict(state), (placed(inputs, *self._place),))

    def _grad(self, value: Any, create_graph: bool = False) -> Sequence[Tensor]:
        return torch.autograd.grad(
            value,
            self._weights,
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )

    def _mean(self, of: Any) -> list[Tensor]:
        """Return the mean over points of what ``of`` makes of each batch."""
        total = [
            torch.zeros_like(weight, dtype=precise(weight.device), requires_grad=False)
            for weight in self._weights
        ]
        points = 0
        for inputs, targets in self.batches():
            for sum_, part in zip(total, of(inputs, targets), strict=True):
                sum_ += part.detach().to(sum_.dtype) * len(targets)
            points += len(targets)
        return [sum_ / points for sum_ in total]

    def _answer(self, found: Sequence[Tensor]) -> dict[str, Tensor]:
        by_name = dict(zip(self._names, found, strict=True))
        return {name: by_name[first] for name, first in self._first.items()}


def use_batch_statistics(model: nn.Module) -> None:
    """Let batch norms normalise by the batch; inside `undisturbed`, which puts the flags back."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.training = True


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Use attention that can be differentiated twice inside; say it plainly of what cannot."""
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except RuntimeError as error:  # NotImplementedError is one
        if "not implemented" not in str(error):
            raise
        raise ValueError(
            "model must be differentiable twice for this score; one of its operations has no "
            f"second derivative ({error}). Use a score of first order, such as SNIP or FORCE."
        ) from error


def seen(
    slopes: Mapping[str, Tensor | None],
    state: Mapping[str, Tensor],
    run: Callable[[Mapping[str, Tensor]], Tensor],
) -> dict[str, Tensor]:
    """Return slopes by the entries of a state, 0 for those that take no part in a network.

    Raises
    ------
    ValueError
        If outputs change with an entry whose slope autograd did not find.
    """
    unseen = [name for name, slope in slopes.items() if slope is None]
    if unseen:
        without = {**state, **{name: torch.zeros_like(state[name]) for name in unseen}}
        answers = []
        for given in (state, without):
            with torch.no_grad(), seeded(0, {state[name].device for name in unseen}):
                answers.append(run(given))
        if not torch.equal(*answers):
            raise ValueError(
                "model must be differentiable in the weights that are scored; its output depends "
                f"on {', '.join(unseen)}, but not in a way that autograd can see. Is there a "
                "detach(), an argmax or no_grad in it? Leave them out by exclude=[...], or take a "
                "pruner that needs no gradients, such as OneShot(Magnitude())."
            )
    return {n: torch.zeros_like(state[n]) if s is None else s for n, s in slopes.items()}


@contextmanager
def computing_in(dtype: torch.dtype, cure: str) -> Iterator[None]:
    """Say it plainly, inside, of networks that insist on a dtype of their own."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("dtype", "scalar type", "Input type")):
            raise
        raise ValueError(
            f"model must run in {dtype}, in which this score computes; it stopped with: {error}. "
            f"Is there a float() in it, or a constant of a fixed dtype? Otherwise: {cure}."
        ) from error


def check_reading(
    batches: int | None, statistics: str = "running", precision: str = "model"
) -> None:
    """Raise ValueError unless these are legal settings of `Losses`."""
    if batches is not None and batches < 1:
        raise ValueError(f"batches must be at least 1, or None for all; got {batches!r}.")
    if statistics not in get_args(Statistics):
        raise ValueError(
            f"statistics must be 'running' or 'batch'; got {statistics!r}. 'batch' normalises by "
            "each batch, as training does."
        )
    if precision not in get_args(Precision):
        raise ValueError(
            f"precision must be 'double' or 'model'; got {precision!r}. 'model' computes in the "
            "dtype of the weights, at least float32: faster and coarser."
        )


def scaled(weights: Mapping[str, Tensor], slopes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``θ · slope``, in the dtype of the slopes."""
    return {name: slope * weights[name] for name, slope in slopes.items()}


def _precise(tensor: Tensor, precision: Precision) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    least = precise(tensor.device) if precision == "double" else torch.float32
    return tensor.to(torch.promote_types(tensor.dtype, least))
