"""The main question: how many effective parameters does this pruned network have?"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mitools.data import Samples, samples_of
from mitools.effective.decoding import GeneralisationGap, LabelNoiseDecoding, knows_noise
from mitools.effective.evidence import (
    Counting,
    Evidence,
    MaskInformation,
    remembered_pruner,
    untouched_weights,
)
from mitools.effective.resampled import ResampledMasks
from mitools.mask_information import QUANTITY
from mitools.models import check_finite, prunable
from mitools.pruning import Mask
from mitools.results import EffectiveParameters, Estimate, LayerCount

_TRACED = 1 << 24  # weights up to which paths are traced: above, tracing needs too much memory


def peff(
    model: nn.Module,
    mask: Any = None,
    loader: Any = None,
    method: MaskInformation | Sequence[MaskInformation] | None = None,
    *,
    init: nn.Module | Mapping[str, Tensor] | None = None,
    heldout: Any = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> EffectiveParameters:
    """Effective parameter count of a pruned network, between certified bounds.

    ``p_eff = E‖m‖₁ + I(m; D)``: the weights that the mask keeps, plus what choosing them revealed
    of the data. The information is bounded from above by counting masks and, where the mask knows
    an inexpensive pruner, by running it again on resampled data; from below by decoding the
    data's label noise from the masked network at weights that no data has touched, and by its
    generalisation gap where held-out points are given.

    Parameters
    ----------
    model : nn.Module
        The network; never changed.
    mask : Mask, or whatever `Mask.of` reads
        None reads it from the model.
    loader : DataLoader, Dataset, Samples or pair of arrays
        The data that the mask was made from; None leaves only the bounds that need none.
    method : MaskInformation, sequence of them, or None
        How to bound the information; None takes all that the arguments allow, except for running
        a pruner that trains: pass ``ResampledMasks()`` for that.
    init : nn.Module or state dict, optional
        Weights that do not depend on the data, best of all those that the mask was made from.
        None: the model's own if the mask remembers them, else fresh ones; the answer says which.
    heldout : as loader, optional
        Points of the same population that neither pruning nor training has used.
    confidence : float in (0, 1)
        All intervals of the answer hold together with at least this probability.
    seed : int
        For freshly drawn weights.
    progress : bool
        Whether to show bars on stderr.

    Returns
    -------
    EffectiveParameters
        Prints itself; `to_frame` and `to_json` for tables and files.

    Raises
    ------
    MaskError
        If the mask does not fit the model, or is none.
    ValueError
        If the model has nothing to prune, holds NaN, or does not fit the data; if the loader is
        empty or does not give pairs (inputs, targets); or if a method asked for cannot be used.

    Examples
    --------
    >>> from mitools.data import SymmetricFlips, digits
    >>> from mitools.models import mlp
    >>> from mitools.pruning import OneShot, Random, prune
    >>> noisy = SymmetricFlips(rate=0.2).apply(digits(train=True), seed=0)
    >>> model = mlp([64, 32, 10], seed=0)
    >>> mask = prune(model, noisy, OneShot(Random(seed=0)), density=0.1)
    >>> answer = peff(model, mask, noisy)
    >>> answer.nonzeros, answer.size, answer.upper.value  # a random mask knows nothing
    (237, 2368, 0.0)
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie strictly between 0 and 1; got {confidence!r}.")
    counted = prunable(model)
    check_finite(dict(model.named_parameters()))
    mask = Mask.of(mask, model)
    mask.check_fits(model)
    samples = None if loader is None else samples_of(loader)
    unseen = None if heldout is None else samples_of(heldout, argument="heldout")
    untouched, weights, original = model, "none needed", False
    obstacle: tuple[str, ...] = ()
    if samples is not None or method is not None:
        try:
            untouched, weights, original = untouched_weights(model, mask, init, seed)
        except ValueError as error:
            if method is not None or init is not None:
                raise
            obstacle = (f"only counting, for want of weights that no data has touched: {error}",)
    methods = [Counting()] if obstacle else _chosen(method, mask, samples, unseen, original)
    evidence = Evidence(
        model=untouched,
        mask=mask,
        samples=samples,
        heldout=unseen,
        confidence=1.0 - (1.0 - confidence) / max(1, _random_bounds(methods)),
        seed=seed,
        original=original,
        progress=progress,
    )
    found = [bound for how in methods for bound in how.bounds(evidence)]
    found = [dataclasses.replace(bound, confidence=confidence) for bound in found]
    lower = max(_of("lower", [*found, _never_negative()]), key=lambda bound: bound.limit)
    upper = min(_of("upper", [*found, *Counting().bounds(evidence)]), key=lambda bound: bound.limit)
    point, doubt = _between(lower, upper, _of("point", found))
    layers, traced = _layers(untouched, mask, samples)
    excluded = {name: reason for name, reason in counted.excluded.items() if name not in mask}
    excluded |= {name: "not in the mask" for name in counted if name not in mask}
    return EffectiveParameters(
        nonzeros=mask.nonzeros,
        size=mask.size,
        mean_nonzeros=float(mask.nonzeros),
        lower=lower,
        upper=upper,
        point=point,
        bounds=tuple(found),
        layers=layers,
        excluded=tuple(f"{name} ({reason})" for name, reason in excluded.items()),
        source=mask.source,
        weights=weights,
        notes=(*obstacle, *doubt, *traced, *_advice(methods, mask, samples, original)),
    )


def _chosen(
    method: MaskInformation | Sequence[MaskInformation] | None,
    mask: Mask,
    samples: Samples | None,
    heldout: Samples | None,
    original: bool,
) -> list[MaskInformation]:
    """Return the methods asked for, or all that the arguments allow at little cost."""
    if method is not None:
        return list(method) if isinstance(method, Sequence) else [method]
    chosen: list[MaskInformation] = [Counting()]
    if samples is not None and knows_noise(samples):
        chosen.append(LabelNoiseDecoding())
    if samples is not None and heldout is not None and not samples.targets.is_floating_point():
        chosen.append(GeneralisationGap())
    if original and samples is not None and _inexpensive(mask):
        chosen.append(ResampledMasks())
    return chosen


def _inexpensive(mask: Mask) -> bool:
    """Return whether the mask knows its pruner, and that pruner trains nothing."""
    pruner = remembered_pruner(mask)
    return pruner is not None and getattr(pruner, "training", None) is None


def _random_bounds(methods: Sequence[MaskInformation]) -> int:
    """Return how many intervals rest on chance: each gets its share of the error allowed."""
    return sum(2 if isinstance(how, ResampledMasks) else 1 for how in methods) - sum(
        isinstance(how, Counting) for how in methods
    )


def _of(sense: str, found: Sequence[Estimate]) -> list[Estimate]:
    return [bound for bound in found if bound.sense == sense]


def _between(
    lower: Estimate, upper: Estimate, points: Sequence[Estimate]
) -> tuple[Estimate | None, tuple[str, ...]]:
    """Return the point that the bounds admit; where they refute its assumption, say so."""
    for point in points:
        if lower.limit <= point.value <= upper.limit:
            return point, ()
        return None, (f"no point estimate: {point.notes[0]}, which the bounds refute",)
    return None, ()


def _never_negative() -> Estimate:
    return Estimate(
        0.0, "information is never negative", "lower", QUANTITY, interval=(0.0, math.inf)
    )


def _layers(
    model: nn.Module, mask: Mask, samples: Samples | None
) -> tuple[tuple[LayerCount, ...], tuple[str, ...]]:
    """Count each layer, with the weights on a path where the network can be traced."""
    if samples is None:
        return mask.layers(), ("paths were not traced, for want of an input",)
    if mask.size > _TRACED:
        return mask.layers(), (f"paths were not traced: more than {_TRACED:,} weights",)
    try:
        on_path = mask.on_path(model, samples.inputs[:1])
    except ValueError as error:
        return mask.layers(), (f"paths were not traced: {error}",)
    return tuple(
        dataclasses.replace(layer, on_path=int(on_path[layer.name].sum()))
        for layer in mask.layers()
    ), ()


def _advice(
    methods: Sequence[MaskInformation], mask: Mask, samples: Samples | None, original: bool
) -> tuple[str, ...]:
    """Say what would make the bounds tighter."""
    notes = []
    if not any(isinstance(how, ResampledMasks) for how in methods):
        if remembered_pruner(mask) is None:
            notes.append("tighter from above: method=ResampledMasks(pruner) runs the pruner again")
        elif not original:
            notes.append("tighter from above: pass the mask's initial weights as init=")
        else:
            notes.append("tighter from above: method=ResampledMasks() trains again on other data")
    if samples is not None and not knows_noise(samples):
        notes.append(
            "no lower bound by decoding: the data do not know their label noise "
            "(mitools.data.SymmetricFlips, AdditiveNoise)"
        )
    return tuple(notes)
