"""The predictive bound by a network."""

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_choice
from mitools.methods._surprise import NUMBERS_NOTE, of_labels, of_numbers
from mitools.methods._symbols import symbols
from mitools.methods.questions import WithError, mean_of
from mitools.neural.densities import gaussian_size, normal_log_density, whitened
from mitools.neural.fitting import (
    Fitting,
    HeldOut,
    Parts,
    Scale,
    checked_method,
    fit,
    parts_of,
    scaled_parts,
    standard_units,
)
from mitools.neural.isolation import checked_device, isolated
from mitools.neural.networks import Perceptron


@dataclass(frozen=True, eq=False)
class NeuralPredictive:
    """The entropy of y less the held-out log-loss of a network that forecasts y from x [1]_, [2]_.

    For any forecast q, E[-log q(Y|X)] = H(Y|X) + E KL(p||q), hence::

        I(X; Y) >= H(Y) - E[-log q(Y|X)]

    a lower bound, tight for the best network. It is fitted on one part of the samples, chosen on
    another and judged on a third. `mitools.methods.Predictive` does the same for scikit-learn.

    A "categorical" forecast takes the rows of y as symbols; H(Y) is the plug-in entropy, which is
    too small on average, so the bound stands. A "gaussian" one has a mean and a covariance that
    depend on x; H(Y) is estimated by `KozachenkoLeonenko`, whose bias the bound inherits.

    Parameters
    ----------
    head : {"categorical", "gaussian"}
        What is forecast.
    network : Perceptron or torch.nn.Module
        A module takes x of shape (n, d_x), scaled, in single precision, and returns one row each:
        logits of the symbols in ascending order; or, for y of d coordinates in standard units, d
        means, the d log-diagonal entries, and the entries below the diagonal, row by row, of the
        lower triangle L for which L (y - mean) is standard normal. Training starts from its weights
        as they are, on a copy. Its repr is not code, so that the method's is not either.
    fitting, scale, seed, device, progress
        As for `Variational`; the scale is that of x.

    References
    ----------
    .. [1] Covert, Lundberg, Lee, NeurIPS 2020, arXiv 2004.00668 (cross-entropy reading).
    .. [2] Barber, Agakov, NIPS 2003 (the bound).

    Examples
    --------
    A bit seen through a channel that flips a tenth:

    >>> import numpy as np
    >>> from mitools.neural import NeuralPredictive
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 2, (2_000, 1)).astype(float)
    >>> y = np.where(rng.random((2_000, 1)) < 0.1, 1 - x, x)
    >>> truth = np.log(2) + 0.1 * np.log(0.1) + 0.9 * np.log(0.9)
    >>> found = NeuralPredictive("categorical").held_out(x, y)
    >>> abs(found.value - truth) < 4 * found.std_error < 0.3
    True
    """

    sense: ClassVar[Sense] = "lower"
    conditional_sense: ClassVar[Sense] = "proxy"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    head: Literal["categorical", "gaussian"]
    network: Perceptron | nn.Module = Perceptron()
    fitting: Fitting = Fitting()
    scale: Scale = "std"
    seed: int = 0
    device: str = "cpu"
    progress: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        checked_choice("head", self.head, ("categorical", "gaussian"))
        checked_method(self.scale, self.seed, self.fitting)
        if not isinstance(self.network, Perceptron | nn.Module):
            raise ValueError(
                "network must be a Perceptron or a torch module; got "
                f"{self.network!r}. Is it a class that lacks its parentheses?"
            )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or repr(other) != repr(self):
            return False
        # Modules of equal repr can differ in their weights.
        return self.network is other.network or not isinstance(self.network, nn.Module)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def symbolic(self) -> frozenset[str]:
        """Which argument may hold labels of any kind."""
        return frozenset({"y"}) if self.head == "categorical" else frozenset()

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """Lower bound on I(X; Y) in nats."""
        return self.held_out(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the bound, with its standard error over the test samples."""
        return self.held_out(x, y).told(() if self.head == "categorical" else (NUMBERS_NOTE,))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """Loss saved by adding x to z, in nats: I(X; Y | Z) for perfect networks, else no bound."""
        return self.conditional_mutual_information_with_error(x, y, z).value

    def conditional_mutual_information_with_error(
        self, x: FloatArray, y: FloatArray, z: FloatArray
    ) -> WithError:
        """Return the loss saved, with its standard error over the test samples."""
        if isinstance(self.network, nn.Module):
            raise ValueError(
                "network must be a Perceptron for I(X; Y | Z), as one network sees z alone and one "
                f"sees x too; got the module {type(self.network).__name__}. Ask for I(X, Z; Y) and "
                "I(Z; Y) with two modules and subtract."
            )
        more, less = self.held_out(np.hstack((x, z)), y), self.held_out(z, y)
        return HeldOut(more.terms - less.terms, more.losses).told()

    def held_out(self, x: FloatArray, y: FloatArray) -> HeldOut:
        """Return H(Y) + log q(y|x) of each test sample, in nats, and the validation losses."""
        device = checked_device(self.device)
        with isolated(self.seed, device) as generator:
            parts = parts_of(len(x), self.fitting, generator)
            forecast = _labels(y, parts) if self.head == "categorical" else _numbers(y, parts)
            given = scaled_parts(x, parts, self.scale, device)
            asked = [part.to(device) for part in forecast.targets]
            network = self._network(x.shape[1], forecast.start).to(device)
            _checked_outputs(network, given[0], len(forecast.start), self.head)

            def loss(rows: Tensor) -> Tensor:
                rows = rows.to(device)
                return self._losses(network(given[0][rows]), asked[0][rows]).mean()

            def validation_loss() -> float:
                return float(self._losses(network(given[1]), asked[1]).mean())

            n = len(parts.train)
            fitted = (n, self.fitting, generator, self.progress)
            losses = fit(network, loss, validation_loss, *fitted)
            with torch.no_grad():
                last = self._losses(network(given[2]), asked[2]).cpu().double().numpy()
        return HeldOut(forecast.surprise - last, losses, forecast.shared_error)

    def _network(self, inputs: int, start: Tensor) -> nn.Module:
        if isinstance(self.network, nn.Module):
            return deepcopy(self.network)
        return self.network.build(inputs, len(start), start)

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.head == "categorical":
            return cross_entropy(outputs, targets, reduction="none")
        white, log_det = whitened(targets, outputs)
        return -(normal_log_density(white) + log_det)


@dataclass(frozen=True, eq=False)
class _Forecast:
    """What is to be forecast, the outputs that know nothing of x, and what y's entropy is made of.

    The surprise is that of the test samples, in the targets' units; the shared error is that of
    what was found from all samples and is in every term.
    """

    targets: tuple[Tensor, ...]
    start: Tensor
    surprise: FloatArray
    shared_error: float = 0.0


def _labels(y: FloatArray, parts: Parts) -> _Forecast:
    label = symbols(y)
    codes = torch.from_numpy(label.codes)
    seen = np.bincount(label.codes[parts.train], minlength=label.kinds) + 0.5
    targets = tuple(codes[torch.from_numpy(part)] for part in parts)
    start = torch.from_numpy(np.log(seen / seen.sum())).float()
    return _Forecast(targets, start, of_labels(label)[parts.test])


def _numbers(y: FloatArray, parts: Parts) -> _Forecast:
    targets = scaled_parts(y, parts, "std", torch.device("cpu"))
    _, spread = standard_units(y[parts.train])
    surprise = of_numbers(y) - math.fsum(np.log(spread))
    start = torch.zeros(gaussian_size(y.shape[1]))
    # Test samples that happen to lie far out have large losses and a large share of the entropy.
    # What a Gaussian would say of that, which averages out over all samples, takes off most of it.
    away = (y - y.mean(axis=0)) / spread
    share = np.einsum("ni,ij,nj->n", away, np.linalg.pinv(away.T @ away / len(y)), away) / 2
    level = mean_of(surprise - share, "all samples")
    return _Forecast(targets, start, (level.value + share)[parts.test], level.std_error)


def _checked_outputs(network: nn.Module, x: Tensor, outputs: int, head: str) -> None:
    network.eval()
    with torch.no_grad():
        found = tuple(network(x[:2]).shape)
    if found != (2, outputs):
        raise ValueError(
            f"network must return {outputs} numbers a sample for this y and a {head} head; got "
            f"shape {found} for 2 samples. Change its last layer."
        )
