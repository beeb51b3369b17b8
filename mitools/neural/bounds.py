"""Variational bounds: what a critic's scores of true and of shuffled pairs say about I(X; Y).

Scores come as square matrices: entry (i, j) is the score T of the pair (x_i, y_j), so the diagonal
holds the true pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mitools._typing import Sense

_TAME = 10.0


class Bound(Protocol):
    """How to train a critic, and how to read it."""

    sense: ClassVar[Sense]
    """What the value on held-out samples is."""

    def objective(self) -> Callable[[Tensor], Tensor]:
        """Return the loss of a batch of scores; a new one for every fit, as it may remember."""
        ...

    def validation_loss(self, scores: Tensor) -> Tensor:
        """Return what the choice among critics is made by, smaller being better."""
        ...

    def terms(self, scores: Tensor, log_mean: float) -> Tensor:
        """Return one term per sample, in nats; their mean is the value.

        ``log_mean`` is log mean exp(T) of shuffled pairs among the validation samples. A term has
        its sample's influence as a rival added, so that the terms' spread gives the error.
        """
        ...


@dataclass(frozen=True)
class DV:
    """Donsker and Varadhan's bound, trained as MINE [1]_.

    For any score T, with (X', Y') drawn independently::

        I(X; Y) >= E T(X, Y) - log E exp T(X', Y')

    The logarithm of a sample mean is too small on average, so the formula on finite samples lies
    above the bound it stands for, by about the variance of that mean relative to its square,
    halved. The value here keeps the promise in expectation, by log z <= log a + z / a - 1 (TUBA
    [2]_) with a the mean of exp T over the validation samples::

        I(X; Y) >= E T(X, Y) - log a - (E exp T(X', Y') / a - 1)

    Parameters
    ----------
    rate : float, 0 < rate <= 1
        Weight of a new batch in the running mean of exp T by which MINE corrects the bias of the
        gradient; 1 corrects nothing.

    References
    ----------
    .. [1] Belghazi et al., ICML 2018, arXiv 1801.04062, section 3.2.
    .. [2] Poole et al., ICML 2019, arXiv 1905.06922, section 2.2.
    """

    sense: ClassVar[Sense] = "lower"
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate must lie in (0, 1]; got {self.rate!r}. Try 0.1.")

    def objective(self) -> Callable[[Tensor], Tensor]:
        """Return MINE's loss, which has the gradient of -(E T - E exp T / running mean)."""
        running: Tensor | None = None

        def loss(scores: Tensor) -> Tensor:
            nonlocal running
            now = log_mean_exp(scores)
            fresh = now.detach()
            if running is None or self.rate == 1.0:
                running = fresh
            else:
                running = torch.logaddexp(
                    running + math.log(1.0 - self.rate), fresh + math.log(self.rate)
                )
            return _tame_exp(now - running) - scores.diagonal().mean()

        return loss

    def validation_loss(self, scores: Tensor) -> Tensor:
        """Minus the bound as in the first formula."""
        return log_mean_exp(scores) - scores.diagonal().mean()

    def terms(self, scores: Tensor, log_mean: float) -> Tensor:
        """Return the terms of the second formula."""
        return _linear_terms(scores, log_mean)


@dataclass(frozen=True)
class NWJ:
    """Nguyen, Wainwright and Jordan's bound [1]_, also called f-MINE or MINE-f.

    For any score T, and in expectation for any number of samples::

        I(X; Y) >= E T(X, Y) - E exp(T(X', Y') - 1)

    Its variance grows exponentially with I(X; Y).

    References
    ----------
    .. [1] IEEE Trans. Inf. Theory 56, 5847 (2010), doi:10.1109/TIT.2010.2068870.
    """

    sense: ClassVar[Sense] = "lower"

    def objective(self) -> Callable[[Tensor], Tensor]:
        """Return minus the bound."""
        return lambda scores: _tame_exp(log_mean_exp(scores) - 1.0) - scores.diagonal().mean()

    def validation_loss(self, scores: Tensor) -> Tensor:
        """Minus the bound."""
        return torch.exp(log_mean_exp(scores) - 1.0) - scores.diagonal().mean()

    def terms(self, scores: Tensor, log_mean: float) -> Tensor:
        """Return the terms of the formula."""
        return _linear_terms(scores, 1.0)


@dataclass(frozen=True)
class InfoNCE:
    """Van den Oord, Li and Vinyals' bound [1]_: which of K is the partner?

    For any score T, and in expectation for any K, with y_1, ..., y_K of which y_i belongs to x_i::

        I(X; Y) >= mean_i [ T(x_i, y_i) - log mean_j exp T(x_i, y_j) ]

    It cannot exceed log K, where K is the method's `rivals`, or the test samples if they are fewer.
    Variance is low.

    References
    ----------
    .. [1] arXiv 1807.03748; the bound: Poole et al., ICML 2019, arXiv 1905.06922, section 2.3.
    """

    sense: ClassVar[Sense] = "lower"

    def objective(self) -> Callable[[Tensor], Tensor]:
        """Return minus the bound."""
        return self.validation_loss

    def validation_loss(self, scores: Tensor) -> Tensor:
        """Minus the bound."""
        return scores.logsumexp(1).mean() - scores.diagonal().mean() - math.log(len(scores))

    def terms(self, scores: Tensor, log_mean: float) -> Tensor:
        """Return the terms of the formula."""
        normaliser = scores.logsumexp(1)
        as_rival = 1.0 - torch.exp(scores - normaliser[:, None]).sum(0)
        return scores.diagonal() - normaliser + math.log(len(scores)) + as_rival


@dataclass(frozen=True)
class SMILE:
    """Song and Ermon's estimate [1]_: Donsker and Varadhan's with clipped exponentials.

    With T fitted to the log density ratio by the Jensen–Shannon objective::

        I(X; Y) ~ E T(X, Y) - log E clip(exp T(X', Y'), exp -clip, exp clip)

    Clipping trades variance for bias; the result is a bound on neither side.

    Parameters
    ----------
    clip : float
        Largest size of a score under the exponential, in nats; ``math.inf`` for no clipping.

    References
    ----------
    .. [1] ICLR 2020, arXiv 1910.06222, section 4.
    """

    sense: ClassVar[Sense] = "point"
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.clip > 0.0:
            raise ValueError(f"clip must be positive; got {self.clip!r}. Try 5.")

    def objective(self) -> Callable[[Tensor], Tensor]:
        """Return minus the Jensen–Shannon objective, at its best where T is the log ratio."""
        return self.validation_loss

    def validation_loss(self, scores: Tensor) -> Tensor:
        """Minus the Jensen–Shannon objective: a larger estimate is not a better one."""
        n = len(scores)
        shuffled = softplus(scores).sum() - softplus(scores.diagonal()).sum()
        return shuffled / (n * (n - 1)) + softplus(-scores.diagonal()).mean()

    def terms(self, scores: Tensor, log_mean: float) -> Tensor:
        """Return the terms of the formula, to first order in a sample's weight."""
        clipped = scores.clamp(-self.clip, self.clip)
        level = log_mean_exp(clipped)
        return _linear_terms(clipped, float(level)) + (scores - clipped).diagonal()


def log_mean_exp(scores: Tensor) -> Tensor:
    """Return log mean exp(T) over the shuffled pairs."""
    n = len(scores)
    return _shuffled(scores).flatten().logsumexp(0) - math.log(n * (n - 1))


def _tame_exp(exponent: Tensor) -> Tensor:
    """Return exp, but a straight line where one outlier would make a training step overflow."""
    low = exponent.clamp(max=_TAME)
    return torch.exp(low) * (1.0 + exponent - low)


def _linear_terms(scores: Tensor, level: float) -> Tensor:
    """Return terms whose mean is mean T - level - (mean exp(T - level) - 1)."""
    ratio = torch.exp(_shuffled(scores) - level)
    n = len(scores)
    rows, columns = ratio.sum(1) / (n - 1), ratio.sum(0) / (n - 1)
    return scores.diagonal() - level - (rows + columns - rows.mean() - 1.0)


def _shuffled(scores: Tensor) -> Tensor:
    true = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return scores.masked_fill(true, -math.inf)
