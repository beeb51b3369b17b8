"""The main question: how many effective parameters does this pruned network have?"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from torch import Tensor, nn

from mitools.data import Samples, samples_of
from mitools.data.samples import without_noise
from mitools.effective.decoding import GeneralisationGap, LabelNoiseDecoding, knows_noise
from mitools.effective.evidence import (
    Counting,
    Evidence,
    LabelEntropy,
    MaskInformation,
    remembered_pruner,
    untouched_weights,
)
from mitools.effective.prequential import TangentDecoding, affordable_decoders
from mitools.effective.repruning import check_checkpoint
from mitools.effective.resampled import ResampledMasks
from mitools.mask_information import DATA, NOISE
from mitools.models import check_finite, check_module, prunable
from mitools.pruning import Mask
from mitools.pruning.names import fit, places
from mitools.pruning.paths import TRACED, check_takes
from mitools.results import EffectiveParameters, Estimate, LayerCount


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
    checkpoint: str | os.PathLike[str] | None = None,
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
        The limits hold together with at least this probability; those from one mask are limits on
        that mask's own information, -log P(mask | init), whose mean is I.
    seed : int
        For freshly drawn weights.
    progress : bool
        Whether to show bars on stderr.
    checkpoint : path of a directory, optional
        Where `ResampledMasks` keeps the masks of runs that are finished; after an interruption
        the same call goes on from there, and its answer is the same. Runs are known by the repr of
        the pruner, so that of a pruner of your own must state all its settings, as a frozen
        dataclass's does.

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
        empty or does not give pairs (inputs, targets); if a method asked for cannot be used; or if
        checkpoint is a file.
    TypeError
        If model is no module, method no method, or the repr of a pruner with checkpoint tells
        nothing of it but its place in memory.

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
    if not (isinstance(confidence, float) and 1e-9 < 1.0 - confidence < 1.0):
        raise ValueError(f"confidence must be a number between 0 and 1; got {confidence!r}.")
    check_module(model, "The order is peff(model, mask, loader).")
    asked = _methods(method)
    check_finite(dict(model.named_parameters()))
    mask = Mask.of(mask, model)
    mask.check_fits(model)
    samples = None if loader is None else samples_of(loader)
    if samples is not None:
        check_takes(model, (samples.inputs[:1],), argument="loader's inputs")
    evidence = Evidence(
        model=model,
        mask=mask,
        samples=samples,
        heldout=None if heldout is None else samples_of(heldout, argument="heldout"),
        loader=loader,
        seed=seed,
        progress=progress,
        checkpoint=checkpoint,
    )
    evidence, weights, obstacle = _at_untouched_weights(evidence, init, asked is None)
    methods = ([Counting()] if obstacle else _affordable(evidence)) if asked is None else asked
    if checkpoint is not None:
        _check_checkpoint(checkpoint, methods, mask)
    share = (1.0 - confidence) / max(1, sum(_RANDOM.get(type(how), 1) for how in methods))
    evidence = dataclasses.replace(evidence, confidence=1.0 - share)
    found, skipped = _found(methods, evidence, asked is None)
    found = [dataclasses.replace(bound, confidence=confidence) for bound in found]
    quantity, lower, upper = _best(found, evidence)
    point, doubt = _between(lower, upper, found)
    layers, traced = _layers(evidence.model, mask, evidence.samples)
    excluded, unmasked = _outside(model, mask)
    return EffectiveParameters(
        nonzeros=mask.nonzeros,
        size=mask.size,
        mean_nonzeros=float(mask.nonzeros),
        lower=lower,
        upper=upper,
        quantity=quantity,
        point=point,
        bounds=tuple(found),
        layers=layers,
        excluded=excluded,
        source=mask.source if mask.pruner is None else f"made by {mask.pruner}",
        weights=weights,
        notes=(
            *unmasked,
            *obstacle,
            *skipped,
            *doubt,
            *traced,
            *_advice(methods, evidence),
        ),
    )


def _check_checkpoint(
    directory: str | os.PathLike[str], methods: Sequence[MaskInformation], mask: Mask
) -> None:
    """Raise what `check_checkpoint` raises before it could become a note."""
    for how in methods:
        if isinstance(how, ResampledMasks):
            check_checkpoint(directory, how.pruner or remembered_pruner(mask))


def _outside(model: nn.Module, mask: Mask) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the mask leaves alone, and why; and a note if pruning could have removed it."""
    masked = {id(place.parameter) for place in fit(mask, model).values()}
    left = {
        stored: place
        for stored, place in places(model).items()
        if id(place.parameter) not in masked
    }
    counted = prunable(model)
    prunable_ones = {name: weight for name, weight in counted.items() if name in left}
    reasons = dict.fromkeys(prunable_ones, "not in the mask") | counted.excluded
    excluded = [f"{left[name].name} ({why})" for name, why in reasons.items() if name in left]
    size = sum(weight.numel() for weight in prunable_ones.values())
    note = f"{size:,} prunable weights are in no mask: kept, but not counted in p_eff"
    return tuple(excluded), (note,) if size else ()


def _methods(method: object) -> list[MaskInformation] | None:
    """Return the methods asked for; None if none was."""
    if method is None:
        return None
    methods = list(method) if isinstance(method, list | tuple) else [method]
    for how in methods:
        if isinstance(how, type) or not callable(getattr(how, "bounds", None)):
            raise TypeError(
                f"method must be a method such as ResampledMasks(), or a list of them; got {how!r}."
            )
    return methods  # pyright: ignore[reportReturnType]


def _at_untouched_weights(
    evidence: Evidence, init: nn.Module | Mapping[str, Tensor] | None, by_default: bool
) -> tuple[Evidence, str, tuple[str, ...]]:
    """Move the evidence to weights that the data have not touched; say which, and what is amiss."""
    if evidence.samples is None and by_default:
        return evidence, "none needed", ()
    try:
        model, weights, original = untouched_weights(
            evidence.model, evidence.mask, init, evidence.seed
        )
        evidence = dataclasses.replace(evidence, model=model, original=original)
        _check_untouched(evidence)
    except ValueError as error:
        if not by_default or init is not None:
            raise
        return evidence, "none", (f"only counting, for want of untouched weights: {error}",)
    return evidence, weights, ()


def _check_untouched(evidence: Evidence) -> None:
    """Raise ValueError if the whole network, unmasked, knows the label noise.

    A mask that keeps everything says nothing; what is decoded through it is in the weights.
    """
    samples = evidence.samples
    if samples is None or not knows_noise(samples):
        return
    everything = Mask.ones_like(evidence.mask)
    told = LabelNoiseDecoding().decode(evidence.model, everything, samples, 0.999)
    if told.limit > 0.0:
        raise ValueError(
            "init must be weights that have seen none of the data; the unmasked network tells "
            f"{told.value:.4g} nats of the label noise. Was it trained on it? "
            "Pass the weights from before training, as init= or as the model."
        )


_RANDOM = {Counting: 0, LabelEntropy: 0, ResampledMasks: 2}
"""How many intervals of a method rest on chance: each gets its share of the error allowed."""


def _found(
    methods: Sequence[MaskInformation], evidence: Evidence, by_default: bool
) -> tuple[list[Estimate], tuple[str, ...]]:
    """Return what the methods find; one that was not asked for may fail with a note."""
    found: list[Estimate] = []
    skipped = []
    for how in methods:
        try:
            found.extend(how.bounds(evidence))
        except Exception as error:
            if not by_default:
                raise
            skipped.append(f"no {how!r}: {error}")
            if isinstance(how, TangentDecoding):  # what only runs the network may still work
                found.extend(_found([LabelNoiseDecoding()], evidence, by_default)[0])
    return found, tuple(skipped)


def _best(found: Sequence[Estimate], evidence: Evidence) -> tuple[str, Estimate, Estimate]:
    """Return what the answer is about, and its best bounds.

    Information about the label noise alone is part of that about the data. So a bound from above on
    the part makes it the subject, and then bounds from below on the whole do not count.
    """
    uppers = [bound for bound in found if bound.sense == "upper"]
    uppers += Counting().bounds(evidence)
    quantity = NOISE if any(bound.quantity == NOISE for bound in uppers) else DATA
    upper = min(
        (bound for bound in uppers if bound.quantity in (DATA, quantity)),
        key=lambda bound: bound.limit,
    )
    if upper.quantity == DATA and not upper.limit > 0.0:
        quantity = DATA  # nothing about the data is nothing about their noise
    lowers = [bound for bound in found if bound.sense == "lower"]
    lowers = [bound for bound in lowers if bound.quantity in (NOISE, quantity)]
    zero = Estimate(0.0, "information is never negative", "lower", quantity, interval=(0.0, inf))
    return quantity, max([*lowers, zero], key=lambda bound: bound.limit), upper


def _affordable(evidence: Evidence) -> list[MaskInformation]:
    """Return the methods that the arguments allow at little cost."""
    samples, heldout = evidence.samples, evidence.heldout
    chosen: list[MaskInformation] = [Counting()]
    if samples is None:
        return chosen
    if knows_noise(samples):
        chosen.extend(affordable_decoders(evidence.mask, samples, original=evidence.original))
    if heldout is not None and not samples.targets.is_floating_point():
        chosen.append(GeneralisationGap())
    if evidence.original and _inexpensive(evidence.mask):
        chosen.append(ResampledMasks())
    return chosen


def _inexpensive(mask: Mask) -> bool:
    """Return whether the mask knows its pruner, and that pruner trains nothing."""
    pruner = remembered_pruner(mask)
    return pruner is not None and getattr(pruner, "training", None) is None


def _between(
    lower: Estimate, upper: Estimate, found: Sequence[Estimate]
) -> tuple[Estimate | None, tuple[str, ...]]:
    """Return the point that the bounds admit; where they refute something, say so."""
    if lower.limit > upper.limit + 1e-6:
        crossed = (
            f"THE BOUNDS CROSS: {lower.method} and {upper.method} cannot both hold. Either this is "
            "the rare error that the confidence allows, or an assumption is broken"
        )
        return None, (crossed,)
    for point in found:
        if point.sense == "point" and point.quantity in (DATA, upper.quantity):
            if lower.limit - 1e-6 <= point.value <= upper.limit + 1e-6:
                return point, ()
            return None, ("no point estimate: weights are not kept independently of each other",)
    return None, ()


def _layers(
    model: nn.Module, mask: Mask, samples: Samples | None
) -> tuple[tuple[LayerCount, ...], tuple[str, ...]]:
    """Count each layer, with the weights on a path where the network can be traced."""
    if samples is None:
        return mask.layers(), ("paths were not traced, for want of an input",)
    if mask.size > TRACED:
        return mask.layers(), (f"paths were not traced: more than {TRACED:,} weights",)
    try:
        on_path = mask.on_path(model, samples.inputs[:1])
    except ValueError as error:
        return mask.layers(), (f"paths were not traced: {error}",)
    return tuple(
        dataclasses.replace(layer, on_path=int(on_path[layer.name].sum()))
        for layer in mask.layers()
    ), ()


def _advice(methods: Sequence[MaskInformation], evidence: Evidence) -> tuple[str, ...]:
    """Say what would make the bounds tighter."""
    notes = []
    if not any(isinstance(how, ResampledMasks) for how in methods):
        if remembered_pruner(evidence.mask) is None:
            notes.append("tighter from above: method=ResampledMasks(pruner) runs the pruner again")
        elif not evidence.original:
            notes.append("tighter from above: pass the mask's initial weights as init=")
        else:
            notes.append("tighter from above: method=ResampledMasks() prunes again on other data")
    if evidence.samples is not None and not knows_noise(evidence.samples):
        notes.append(
            "no lower bound by decoding, and none from above by re-drawn labels: the data do not "
            f"know their label noise; {without_noise(evidence.samples)}"
        )
    return tuple(notes)
