"""The predictive bound by a network."""

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_choice, checked_known
from mitools.methods._forecasts import Contrast, contrast, groups, of_labels
from mitools.methods._symbols import symbols
from mitools.methods.questions import WithError
from mitools.neural.densities import gaussian_size, normal_log_density, whitened
from mitools.neural.fitting import (
    Fitting,
    HeldOut,
    Parts,
    Scale,
    checked_method,
    fit,
    part_sizes,
    parts_of,
    scaled_parts,
    standard_units,
)
from mitools.neural.isolation import checked_device, isolated
from mitools.neural.networks import Perceptron


@dataclass(frozen=True, eq=False)
class NeuralPredictive:
    """What a network that forecasts y from x saves of the held-out log-loss [1]_, [2]_.

    For any forecast q, E[-log q(Y|X)] = H(Y|X) + E KL(p||q), hence::

        I(X; Y) >= H(Y) - E[-log q(Y|X)]

    a lower bound, tight for the best network. It is fitted on one part of the samples, chosen on
    another and judged on a third. `mitools.methods.Predictive` does the same for scikit-learn.

    A "categorical" forecast takes the rows of y as symbols; H(Y) is the plug-in entropy, which is
    too small on average, so the bound stands. A "gaussian" one has a mean and a covariance that
    depend on x. Unless H(Y) is given, the forecast for x_i is set against those for the other
    x_j of the test part, K in all, which is a lower bound for any q and at most log K [3]_::

        I(X; Y) >= E[ log q(y_i|x_i) - log mean_j q(y_i|x_j) ]

    `DifferenceOfEntropies` fits a density to y alone instead: no cap, and no bound.

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
    known_entropy : float or None
        H(Y) in nats, in the units of y, where it is known.

    References
    ----------
    .. [1] Covert, Lundberg, Lee, NeurIPS 2020, arXiv 2004.00668 (cross-entropy reading).
    .. [2] Barber, Agakov, NIPS 2003 (the bound).
    .. [3] Poole et al., ICML 2019, arXiv 1905.06922, section 2.3.

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
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence", "saturation"})
    beyond_ceiling: ClassVar[str] = (
        "more samples, a larger share of them to test, known_entropy=..., or DifferenceOfEntropies"
    )
    head: Literal["categorical", "gaussian"]
    network: Perceptron | nn.Module = Perceptron()
    fitting: Fitting = Fitting()
    scale: Scale = "std"
    seed: int = 0
    device: str = "cpu"
    known_entropy: float | None = None
    progress: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        checked_choice("head", self.head, ("categorical", "gaussian"))
        checked_method(self.scale, self.seed, self.fitting)
        checked_known("known_entropy", self.known_entropy)
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

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples can give, in nats: log K for numbers."""
        if self.head == "categorical" or self.known_entropy is not None:
            return math.inf
        return math.log(len(groups(part_sizes(n, self.fitting)[2])[0]))

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """Lower bound on I(X; Y) in nats."""
        return self.held_out(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the bound, with its standard error over the test samples."""
        return self.held_out(x, y).told()

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
        more, less = self._judged(np.hstack((x, z)), y), self._judged(z, y)
        return HeldOut(less.losses - more.losses, more.validated).told()

    def held_out(self, x: FloatArray, y: FloatArray) -> HeldOut:
        """Return the term of each test sample, in nats, and the validation losses."""
        judged = self._judged(x, y)
        if self.known_entropy is not None:
            return HeldOut(self.known_entropy - judged.losses, judged.validated)
        if self.head == "categorical":
            surprise = of_labels(symbols(y))[judged.test]
            return HeldOut(surprise - judged.losses, judged.validated)
        influence = np.empty(len(judged.losses))
        for rows in groups(len(influence)):
            influence[rows] = _contrast(judged.outputs[rows], judged.targets[rows]).influence
        return HeldOut(influence, judged.validated)

    def _judged(self, x: FloatArray, y: FloatArray) -> "_Judged":
        """Fit the network and return what it says of the test part."""
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
            validated = fit(network, loss, validation_loss, *fitted)
            with torch.no_grad():
                outputs = network(given[2])
                last = self._losses(outputs, asked[2]).cpu().double().numpy()
        return _Judged(parts.test, outputs, asked[2], last + forecast.unit, validated)

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
    """What is to be forecast, and the outputs that know nothing of x.

    The unit is the log of the targets' units, by which densities differ from those of y.
    """

    targets: tuple[Tensor, ...]
    start: Tensor
    unit: float = 0.0


@dataclass(frozen=True, eq=False)
class _Judged:
    """What a fitted network says of the test part: outputs, and losses in the units of y."""

    test: IntArray
    outputs: Tensor
    targets: Tensor
    losses: FloatArray
    validated: tuple[float, ...]


def _labels(y: FloatArray, parts: Parts) -> _Forecast:
    label = symbols(y)
    codes = torch.from_numpy(label.codes)
    seen = np.bincount(label.codes[parts.train], minlength=label.kinds) + 0.5
    targets = tuple(codes[torch.from_numpy(part)] for part in parts)
    start = torch.from_numpy(np.log(seen / seen.sum())).float()
    return _Forecast(targets, start)


def _numbers(y: FloatArray, parts: Parts) -> _Forecast:
    targets = scaled_parts(y, parts, "std", torch.device("cpu"))
    _, spread = standard_units(y[parts.train])
    start = torch.zeros(gaussian_size(y.shape[1]))
    return _Forecast(targets, start, math.fsum(np.log(spread)))


def _contrast(outputs: Tensor, targets: Tensor) -> Contrast:
    """Set the Gaussian forecast for every sample against those for the others."""
    scores = []
    for output in outputs.double():  # of everything, one forecast at a time: memory
        white, log_det = whitened(targets.double(), output)
        scores.append(normal_log_density(white) + log_det)
    return contrast(torch.stack(scores, dim=1).cpu().numpy())


def _checked_outputs(network: nn.Module, x: Tensor, outputs: int, head: str) -> None:
    network.eval()
    with torch.no_grad():
        found = tuple(network(x[:2]).shape)
    if found != (2, outputs):
        raise ValueError(
            f"network must return {outputs} numbers a sample for this y and a {head} head; got "
            f"shape {found} for 2 samples. Change its last layer."
        )
