"""Learning-rate schedules: factors of the learning rate as functions of the time in epochs."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """What a training asks of its schedule, before every step."""

    def factor(self, epoch: float, epochs: int) -> float:
        """Return what multiplies the learning rate.

        Parameters
        ----------
        epoch : float, in [0, epochs)
            Time since the start in epochs; 2.5 is half-way through the third.
        epochs : int
            Length of the whole training.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same learning rate throughout."""

    def factor(self, epoch: float, epochs: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from the learning rate down to a share of it, step by step [1]_.

    Parameters
    ----------
    end : float, in [0, 1]
        That share.

    References
    ----------
    .. [1] Loshchilov and Hutter, arXiv:1608.03983 (one cycle).

    Examples
    --------
    >>> [round(Cosine().factor(epoch, 4), 3) for epoch in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    end: float = 0.0

    def __post_init__(self) -> None:
        _check_share("end", self.end)

    def factor(self, epoch: float, epochs: int) -> float:
        """Return ``end + (1 - end) (1 + cos(pi epoch / epochs)) / 2``."""
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


@dataclass(frozen=True)
class MultiStep:
    """The learning rate is multiplied by ``gamma`` at each milestone, counted in epochs.

    Parameters
    ----------
    milestones : tuple of float
        Epochs done when the rate drops: (80, 120) trains 80 epochs at the full rate.
    gamma : float, in [0, 1]
        The factor.

    Examples
    --------
    >>> [MultiStep((1, 3), gamma=0.5).factor(epoch, 4) for epoch in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    milestones: tuple[float, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list would not hash
        _check_share("gamma", self.gamma)
        if any(m <= 0 for m in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"milestones must be positive and ascending; got {self.milestones}. They are "
                "epochs, such as (80, 120)."
            )

    def factor(self, epoch: float, epochs: int) -> float:
        """Return gamma to the number of milestones passed."""
        return self.gamma ** sum(milestone <= epoch for milestone in self.milestones)


@dataclass(frozen=True)
class Warmup:
    """A linear rise from a small learning rate, multiplied with another schedule.

    Parameters
    ----------
    epochs : float, > 0
        Length of the rise.
    then : Schedule
        The other one; its clock starts at the beginning too, as in the usual recipes.
    start : float, in [0, 1]
        Where the rise starts. Above 0, so that the first step moves.

    Examples
    --------
    >>> [Warmup(2, MultiStep((3,)), start=0.5).factor(epoch, 4) for epoch in range(4)]
    [0.5, 0.75, 1.0, 0.1]
    """

    epochs: float
    then: Schedule = Constant()
    start: float = 0.01

    def __post_init__(self) -> None:
        _check_share("start", self.start)
        if not self.epochs > 0:
            raise ValueError(f"epochs must be positive; got {self.epochs}. 1 to 5 are usual.")

    def factor(self, epoch: float, epochs: int) -> float:
        """Return ``(start + (1 - start) min(1, epoch / self.epochs)) then.factor(...)``."""
        rise = self.start + (1 - self.start) * min(1.0, epoch / self.epochs)
        return rise * self.then.factor(epoch, epochs)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1]; got {value}. It is a share of the lr.")
