"""The method made of a bound and a critic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mitools._typing import FloatArray, Sense
from mitools._validation import checked_count
from mitools.methods.questions import WithError
from mitools.neural.bounds import Bound, InfoNCE, log_mean_exp
from mitools.neural.fitting import (
    Fitting,
    HeldOut,
    Scale,
    checked_method,
    fit,
    part_sizes,
    parts_of,
    scaled_parts,
)
from mitools.neural.isolation import checked_device, isolated
from mitools.neural.networks import Critic, Separable

_NO_CAUTIONS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Variational:
    """I(X; Y) by a network that learns to tell true pairs from shuffled ones.

    Samples are split at random: the critic is fitted on one part, chosen on another, and the value
    is that of the bound on the third, which the critic has never seen. Whether the value is a lower
    bound in expectation or only a point estimate, the bound says: see `DV`, `NWJ`, `InfoNCE`,
    `SMILE`. Variables of any kind will do, as long as columns of numbers describe them.

    Parameters
    ----------
    bound : DV, NWJ, InfoNCE or SMILE
        How the critic is trained and read.
    critic : Separable or Concatenated
        What the critic is made of.
    fitting : Fitting
        Steps, batches, early stopping and shares.
    rivals : int
        Test samples are compared in groups of about this many: the K of InfoNCE. Time and memory
        grow in proportion.
    scale : {"std", "rank", None}
        How each column is scaled, as found on the training part: standardised, mapped to normal
        scores of its ranks, or not at all. With heavy tails, ranks keep `DV` and `NWJ` from
        fits that stop early, far below the truth.
    seed : int
        Draws the split, the weights and the batches. On a CPU, the same seed gives the same number
        on any number of threads.
    device : str
        Where torch works, such as ``"cuda"``.
    progress : bool
        Show a progress bar. No part of the method's name.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.neural import DV, Variational
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2_000, 1))
    >>> y = 0.8 * x + 0.6 * rng.standard_normal((2_000, 1))
    >>> found = Variational(DV()).held_out(x, y)
    >>> abs(found.value + np.log(0.6)) < 4 * found.std_error < 0.3  # truth: -log(0.6) = 0.51
    True
    """

    bound: Bound = InfoNCE()
    critic: Critic = Separable()
    fitting: Fitting = Fitting()
    rivals: int = 1_024
    scale: Scale = "std"
    seed: int = 0
    device: str = "cpu"
    progress: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked_count("rivals", self.rivals, least=2)
        checked_method(self.scale, self.seed, self.fitting)
        for name, needed in (("bound", "terms"), ("critic", "build")):
            value = getattr(self, name)
            if isinstance(value, type) or not hasattr(value, needed):
                raise ValueError(
                    f"{name} must be an object with {needed}, such as {name}="
                    f"{'InfoNCE' if name == 'bound' else 'Separable'}(); got {value!r}. "
                    "Is it a class that lacks its parentheses?"
                )

    @property
    def sense(self) -> Sense:
        """What the value is: the bound knows."""
        return self.bound.sense

    @property
    def cautions(self) -> frozenset[str]:
        """Which checks to make on the data and the value."""
        capped = {"saturation"} if isinstance(self.bound, InfoNCE) else _NO_CAUTIONS
        return frozenset({"dependence"}) | capped

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples can give, in nats: log K for InfoNCE."""
        if not isinstance(self.bound, InfoNCE):
            return float("inf")
        return float(np.log(max(_group_sizes(part_sizes(n, self.fitting)[2], self.rivals))))

    @property
    def beyond_ceiling(self) -> str:
        """What to use where InfoNCE shows all that it can: more rivals, or a bound without cap."""
        return (
            f"more samples or a larger share of them to test (the cap is the log of the test "
            f"samples, or of rivals={self.rivals} if they are fewer), Variational(DV()) or NWJ(), "
            "or DifferenceOfEntropies"
        )

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """Return the bound on I(X; Y), or the estimate, in nats."""
        return self.held_out(x, y).value

    def mutual_information_with_error(self, x: FloatArray, y: FloatArray) -> WithError:
        """Return the same, with its standard error over the test samples."""
        return self.held_out(x, y).told()

    def held_out(self, x: FloatArray, y: FloatArray) -> HeldOut:
        """Return the term of each test sample, in nats, and the validation losses."""
        device = checked_device(self.device)
        with isolated(self.seed, device) as generator:
            parts = parts_of(len(x), self.fitting, generator)
            train, validation, test = zip(
                scaled_parts(x, parts, self.scale, device),
                scaled_parts(y, parts, self.scale, device),
                strict=True,
            )
            critic = self.critic.build(x.shape[1], y.shape[1]).to(device)
            losses = fit(
                critic,
                partial(_loss, critic, self.bound.objective(), *train),
                partial(_validation_loss, critic, self.bound, *validation, self.fitting.batch_size),
                len(parts.train),
                self.fitting,
                generator,
                self.progress,
            )
            with torch.no_grad():
                return HeldOut(self._terms(critic, validation, test), losses)

    def _terms(
        self,
        critic: nn.Module,
        validation: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
    ) -> FloatArray:
        groups = [log_mean_exp(s) for s in _groups(critic, *validation, self.rivals)]
        log_mean = float(torch.stack(groups).logsumexp(0)) - np.log(len(groups))
        terms = [self.bound.terms(s, log_mean) for s in _groups(critic, *test, self.rivals)]
        return torch.cat(terms).numpy()


def _loss(
    critic: nn.Module, objective: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, rows: Tensor
) -> Tensor:
    rows = rows.to(x.device)
    return objective(critic(x[rows], y[rows]))


def _validation_loss(critic: nn.Module, bound: Bound, x: Tensor, y: Tensor, size: int) -> float:
    return float(
        torch.stack([bound.validation_loss(s) for s in _groups(critic, x, y, size)]).mean()
    )


def _groups(critic: nn.Module, x: Tensor, y: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the scores of groups of about so many samples, in double precision on the CPU."""
    sizes = _group_sizes(len(x), size)
    for some_x, some_y in zip(x.split(sizes), y.split(sizes), strict=True):
        yield critic(some_x, some_y).cpu().double()


def _group_sizes(n: int, size: int) -> list[int]:
    """Return n in nearly equal parts of `size` or a little more."""
    count = max(1, n // size)
    return [n // count + (i < n % count) for i in range(count)]
