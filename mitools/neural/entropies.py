"""I(X; Y) as a difference of two fitted entropies."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_count
from mitools.methods.questions import WithError
from mitools.neural.densities import Mixture
from mitools.neural.fitting import (
    Fitting,
    HeldOut,
    Scale,
    checked_method,
    fit,
    parts_of,
    scaled_parts,
)
from mitools.neural.isolation import checked_device, isolated
from mitools.neural.networks import Perceptron


@dataclass(frozen=True)
class DifferenceOfEntropies:
    """H(Y) - H(Y|X) by densities fitted to y, alone and given x [1]_.

    Each entropy is a held-out cross-entropy, hence too large on average; of the difference nothing
    of the kind is known, and it is a point estimate. It does not suffer from the limit of about
    log n that every trustworthy lower bound has [2]_. Both densities are mixtures of Gaussians with
    full covariances, as in KNIFE [1]_, with the precision factor in place of the covariance; the
    second starts from the first, and a perceptron of x moves its parameters, so that x which tells
    nothing leaves about 0.

    y must have a density; x may be anything that columns of numbers describe.

    Parameters
    ----------
    components : int
        Gaussians in a mixture.
    network : Perceptron
        From x to the mixture's parameters.
    fitting, scale, seed, device, progress
        As for `Variational`.

    References
    ----------
    .. [1] Pichler et al., ICML 2022, arXiv 2202.06618.
    .. [2] McAllester, Stratos, AISTATS 2020, arXiv 1811.04251.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.neural import DifferenceOfEntropies
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2_000, 1))
    >>> y = 0.8 * x + 0.6 * rng.standard_normal((2_000, 1))
    >>> found = DifferenceOfEntropies().held_out(x, y)
    >>> abs(found.value + np.log(0.6)) < 4 * found.std_error < 0.3  # truth: -log(0.6) = 0.51
    True
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"dependence"})
    components: int = 8
    network: Perceptron = Perceptron()
    fitting: Fitting = Fitting()
    scale: Scale = "std"
    seed: int = 0
    device: str = "cpu"
    progress: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked_count("components", self.components)
        checked_method(self.scale, self.seed, self.fitting)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return self.held_out(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the same, with its standard error over the test samples."""
        return self.held_out(x, y).told()

    def held_out(self, x: FloatArray, y: FloatArray) -> HeldOut:
        """Return log q(y|x) / q(y) of each test sample, in nats, and the validation losses."""
        device = checked_device(self.device)
        with isolated(self.seed, device) as generator:
            parts = parts_of(len(x), self.fitting, generator)
            given = scaled_parts(x, parts, self.scale, device)
            asked = scaled_parts(y, parts, self.scale, device)

            some = torch.randperm(len(parts.train), generator=generator)[: self.components]
            alone = Mixture(_repeated(asked[0].cpu()[some], self.components)).to(device)
            # Few parameters, and not behind a network: they can take larger steps.
            faster = replace(self.fitting, learning_rate=10.0 * self.fitting.learning_rate)
            self._fitted(alone, lambda y, _: alone(y), given, asked, faster, generator)

            knowing = _Knowing(alone, self.network, x.shape[1]).to(device)
            losses = self._fitted(knowing, knowing, given, asked, self.fitting, generator)
            with torch.no_grad():
                ratio = knowing(asked[2], given[2]) - alone(asked[2])
        return HeldOut(ratio.cpu().double().numpy(), losses)

    def _fitted(
        self,
        network: nn.Module,
        log_density: Callable[[Tensor, Tensor], Tensor],
        given: tuple[Tensor, ...],
        asked: tuple[Tensor, ...],
        fitting: Fitting,
        generator: torch.Generator,
    ) -> tuple[float, ...]:
        def loss(rows: Tensor) -> Tensor:
            rows = rows.to(asked[0].device)
            return -log_density(asked[0][rows], given[0][rows]).mean()

        def validation_loss() -> float:
            return -float(log_density(asked[1], given[1]).mean())

        n = len(asked[0])
        return fit(network, loss, validation_loss, n, fitting, generator, self.progress)


class _Knowing(nn.Module):
    """A copy of a mixture, changed by a perceptron of x that at first changes nothing."""

    def __init__(self, alone: Mixture, network: Perceptron, x_dim: int) -> None:
        super().__init__()
        self.mixture = deepcopy(alone)
        self.changed = network.build(x_dim, alone.changes, torch.zeros(alone.changes))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return self.mixture(y, self.changed(x))


def _repeated(places: Tensor, count: int) -> Tensor:
    """Return so many places, some more than once where there are too few."""
    return places[torch.arange(count, device=places.device) % len(places)]
