"""What the bounds look at: a network with weights that no data has touched, its mask, and data."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from mitools import mipp
from mitools.data import Samples
from mitools.data.samples import without_noise
from mitools.mask_information import NOISE, counting
from mitools.models import copied, fingerprint, reinitialized
from mitools.pruning import Mask, Pruner
from mitools.pruning.written import is_ours, pruner_of
from mitools.results import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a bound on I(mask; data) may use.

    Parameters
    ----------
    model : nn.Module
        The network at weights that do not depend on the data. Never changed.
    mask : Mask
        The mask, which fits the model.
    samples : Samples or None
        The data that the mask was made from.
    heldout : Samples or None
        Points of the same population that nobody used.
    confidence : float
        What each bound's interval must reach.
    seed : int
        For whatever is drawn at random.
    original : bool
        Whether the weights are those that the mask was made from.
    loader : object
        The data as the caller gave them: how they come in batches.
    progress : bool
        Whether to show a bar on stderr.
    checkpoint : path of a directory, or None
        Where methods that run a pruner again keep the runs that are finished.
    """

    model: nn.Module
    mask: Mask
    samples: Samples | None = None
    heldout: Samples | None = None
    confidence: float = 0.95
    seed: int = 0
    original: bool = False
    loader: object = None
    progress: bool = False
    checkpoint: str | os.PathLike[str] | None = None


class MaskInformation(Protocol):
    """A method that bounds I(mask; data): a frozen value whose repr rebuilds it."""

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return bounds and points; ValueError where the evidence does not suffice."""
        ...


@dataclass(frozen=True)
class Counting:
    """log C(p, k), exact: a mask with k ones among p carries no more, whoever made it.

    Parameters
    ----------
    fixed_count : bool or None
        Whether k was fixed before the data were seen. None: if the mask remembers a density that
        was asked for, and a pruner of mitools, which all keep exactly that share. Otherwise
        log(p + 1) is added for saying k.
    """

    fixed_count: bool | None = None

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one upper bound; looks at nothing but the mask."""
        mask = evidence.mask
        fixed = count_was_asked_for(mask) if self.fixed_count is None else self.fixed_count
        return (counting(mask.nonzeros, mask.size, fixed_count=fixed),)


def count_was_asked_for(mask: Mask) -> bool:
    """Return whether the number of ones was fixed before the data were seen."""
    density = mask.requested_density
    if density is None or round(density * mask.size) != mask.nonzeros:
        return False
    pruner = remembered_pruner(mask)
    return pruner is not None and is_ours(pruner)


@dataclass(frozen=True)
class LabelEntropy:
    """n H(z), exact: nothing can tell more about the label noise than there is of it."""

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one upper bound; ValueError where the data do not know their noise."""
        samples = evidence.samples
        if samples is None or samples.noise is None or samples.classes is None:
            raise ValueError(
                "loader must hold classes that know their label noise for LabelEntropy; "
                f"{without_noise(samples)}"
            )
        value = len(samples) * samples.noise.entropy(samples.classes)
        return (Estimate(value, repr(self), "upper", NOISE, interval=(-math.inf, value)),)


def untouched_weights(
    model: nn.Module, mask: Mask, init: nn.Module | Mapping[str, Tensor] | None, seed: int
) -> tuple[nn.Module, str, bool]:
    """Return the network at weights independent of the data, what they are, and if they are W0.

    In this order: the ones given as `init`; the model's own, if their fingerprint is the one that
    the mask remembers of its initial weights; else freshly drawn ones, because the model's present
    weights may have been trained.

    Raises
    ------
    ValueError
        If init does not fit the model, or the model's modules cannot draw fresh weights.
    """
    if isinstance(init, nn.Module):
        return init, *_named(init, mask)
    if init is not None:
        given = copied(model)
        try:
            given.load_state_dict(dict(init))
        except RuntimeError as error:
            raise ValueError(f"init must hold the weights of this model; {error}") from None
        return given, *_named(given, mask)
    if mask.fingerprint is not None and fingerprint(model) == mask.fingerprint:
        return model, f"those the mask was made from, {_ASSUMED}", True
    return reinitialized(model, seed), f"drawn afresh (seed {seed})", False


_ASSUMED = "taken to have seen none of the data"


def _named(model: nn.Module, mask: Mask) -> tuple[str, bool]:
    if mask.fingerprint is None or fingerprint(model) != mask.fingerprint:
        return f"given as init, {_ASSUMED}", False
    return f"given as init, which the mask was made from, {_ASSUMED}", True


def remembered_pruner(mask: Mask) -> Pruner | None:
    """Return the pruner that the mask names, read back from its repr if it came from a file."""
    if not isinstance(mask.pruner, str):
        return mask.pruner
    try:
        return pruner_of(mask.pruner, mipp)
    except ValueError:
        return None  # made by a pruner that is not ours
