"""Label noise that is kept, so that what a network or a mask knows of it can be scored."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mitools.data.samples import Samples, check_samples
from mitools.data.seeds import stream


@dataclass(frozen=True)
class SymmetricFlips:
    """With probability `rate` a label becomes one of the c - 1 others, each equally likely.

    At ``rate = (c - 1) / c`` labels are uniform and say nothing of the clean ones.

    Parameters
    ----------
    rate : float, 0 <= rate <= 1
        Share of wrong labels in expectation.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(
                f"rate must be a probability between 0 and 1; got {self.rate!r}. "
                "For 20% wrong labels pass 0.2."
            )

    def apply(self, samples: Samples, seed: int) -> Samples:
        """Return the samples with labels flipped anew from the clean ones, which are kept.

        Equal seeds give equal labels, and at one seed a higher rate flips a superset.

        Raises
        ------
        ValueError
            If samples is not a classification, or has only one class to flip between.
        """
        check_samples(samples)
        clean = samples.targets if samples.clean is None else samples.clean
        classes = _checked_classes(samples.classes, self.rate)
        draw = stream(seed, "symmetric flips")
        flip = torch.from_numpy(draw.random(len(samples)) < self.rate)
        shift = torch.from_numpy(draw.integers(1, max(classes, 2), len(samples)))
        moved = (clean + (shift * flip).to(clean.device)) % classes
        return replace(samples, targets=moved, clean=clean, noise=self)

    def entropy(self, classes: int | None = None) -> float:
        """Entropy of a label given its clean one: h(rate) + rate log(c - 1), in nats."""
        c = _checked_classes(classes, self.rate)
        return -_xlogx(self.rate) - _xlogx(1.0 - self.rate) + self.rate * math.log(max(c - 1, 1))

    def log_prob(self, targets: Tensor, clean: Tensor, classes: int | None = None) -> Tensor:
        """Return log p(label | clean label), shape (n,), float64, in nats; -inf if impossible."""
        c = _checked_classes(classes, self.rate)
        kept, moved = _log(1.0 - self.rate), _log(self.rate / max(c - 1, 1))
        values = torch.tensor([moved, kept], dtype=torch.float64, device=targets.device)
        return values[(targets == clean).long()]


@dataclass(frozen=True)
class AdditiveNoise:
    """Gaussian noise N(0, std²), independent on every coordinate of a regression target.

    Parameters
    ----------
    std : float, > 0
        Standard deviation, in the units of the targets.
    """

    std: float

    def __post_init__(self) -> None:
        if not 0.0 < self.std < math.inf:
            raise ValueError(
                f"std must be positive and finite; got {self.std!r}. "
                "Without noise, leave the samples as they are."
            )

    def apply(self, samples: Samples, seed: int) -> Samples:
        """Return the samples with noise drawn anew on the clean targets, which are kept.

        Raises
        ------
        ValueError
            If samples is a classification.
        """
        check_samples(samples)
        if samples.classes is not None:
            raise ValueError(
                f"samples must have floating targets for additive noise; got "
                f"{samples.classes} classes. Use SymmetricFlips for classes."
            )
        clean = samples.targets if samples.clean is None else samples.clean
        draw = torch.from_numpy(stream(seed, "additive noise").standard_normal(clean.shape))
        noisy = (clean.double() + self.std * draw.to(clean.device)).to(clean.dtype)
        return replace(samples, targets=noisy, clean=clean, noise=self)

    def entropy(self, classes: int | None = None) -> float:
        """Differential entropy ½ log(2πe std²) of each coordinate of a target, in nats.

        `classes` has no meaning here and is ignored.
        """
        return 0.5 * math.log(2.0 * math.pi * math.e) + math.log(self.std)

    def log_prob(self, targets: Tensor, clean: Tensor, classes: int | None = None) -> Tensor:
        """Return the log density of targets given clean ones, shape (n,), float64, in nats.

        Summed over the coordinates of a target. `classes` has no meaning here and is ignored.
        """
        z = (targets.double() - clean.double()) / self.std
        each = -0.5 * z.square() - (0.5 * math.log(2.0 * math.pi) + math.log(self.std))
        return each.reshape(len(each), -1).sum(1)


def flipped(samples: Samples) -> Tensor:
    """Return which labels differ from the clean ones: bool, shape (n,).

    Raises
    ------
    ValueError
        If samples do not know their clean labels, or are a regression.
    """
    if samples.clean is None or samples.classes is None:
        found = "no clean labels" if samples.clean is None else "a regression"
        raise ValueError(
            f"samples must be classes with their clean labels kept; got {found}. "
            "Add the noise with SymmetricFlips(rate).apply(samples, seed)."
        )
    return samples.targets != samples.clean


def _checked_classes(classes: int | None, rate: float) -> int:
    if classes is None:
        raise ValueError(
            "classes must be a number for symmetric flips; got None, a regression. "
            "Use AdditiveNoise for floating targets."
        )
    if classes < 2 and rate > 0.0:
        raise ValueError(
            f"classes must be at least 2 to flip between; got {classes}. "
            "Pass Samples(..., classes=c) if the others merely do not occur."
        )
    return classes


def _log(p: float) -> float:
    return math.log(p) if p > 0.0 else -math.inf


def _xlogx(p: float) -> float:
    return p * math.log(p) if p > 0.0 else 0.0
