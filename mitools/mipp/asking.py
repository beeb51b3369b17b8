"""The question: which channels preserve what each layer tells of the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from torch import nn

from mitools._validation import checked_count
from mitools.mipp.answers import LayerReport, Preserved
from mitools.mipp.densities import at_density
from mitools.mipp.engines import Engine
from mitools.mipp.gaussian import Gaussian
from mitools.mipp.layers import Found, eliminated
from mitools.mipp.moments import INPUTS, Moments, Reduction, Target, moments
from mitools.pruning.mask import Mask
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import check_density
from mitools.pruning.structured import Competition, check_competition

_LOUD = 3.0  # noise by signal, above which one knob for all layers starves some


def mipp(
    model: nn.Module,
    loader: Any,
    engine: Engine = Gaussian(),
    *,
    density: float | None = None,
    widths: Mapping[str, int] | None = None,
    scope: Competition = "global",
    target: Target = "next",
    inputs: bool = False,
    reduce: Reduction | None = None,
    places: int | None = 64,
    least: int = 1,
    names: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Preserved:
    """Choose the channels of each layer that tell of the next what all its channels tell [1]_.

    From the outputs to the inputs, group by group: of channels A and a target T, what the channels
    already chosen of the next layer compute of A before their nonlinearity, drop one after another
    whatever adds nothing to the others that are left, I(A_S; T) - I(A_S without i; T). How many
    stay is an answer, not a setting. It needs no labels, and the network need not be trained.

    Where several layers read the same channels, what a channel tells is the sum over them.

    Parameters
    ----------
    model : Module
        Not changed.
    loader : DataLoader, Dataset, `Samples`, pair, array or Moments
        The data, or an array of inputs; or what `moments` made of them: then no pass is needed, and
        target, inputs, reduce, places, names and seed are as they were then; to ask for others is
        an error.
    engine : Engine
        How information is told, with the knob that decides what is significant.
    density : float in [0, 1], optional
        At most this share of the prunable weights stays.
    widths : mapping of str to int, optional
        How many channels of each group stay; others stay whole.
    scope : "global" or "layer"
        Of a density: one knob for all groups, found by bisection instead of the engine's own,
        decides how many channels each keeps, but no less than half of an even share; or every
        group keeps the same share.
    target : "next" or "output"
        What is to be told of: the next layer, or the network's output.
    inputs : bool
        Whether to choose among the network's inputs too, as the group "inputs".
    reduce : "patches", "mean" or None
        What a convolution reads: the k x k patches for places of its output, or the mean of each
        channel over places. None: patches, and means where the output is the target.
    places : int or None
        How many places of each sample to take, at random; None: all.
    least : int
        Channels that stay in each group at least.
    names : sequence of str, optional
        Parameters that masks cover; None: what `mitools.models.prunable` names.
    seed : int
        Of the places and rows chosen.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Preserved
        With the mask, the path of all steps, and a report for each layer.

    Raises
    ------
    ValueError
        If an option is not as above, a density is below what `least` channels need, there are too
        few rows for a test, moments are of other weights, or as `moments` and `channel_groups`.

    References
    ----------
    .. [1] Westphal, Hailes and Musolesi, arXiv 2411.00147.

    Examples
    --------
    >>> from mitools.data import digits
    >>> from mitools.models import mlp
    >>> found = mipp(mlp((64, 30, 20, 10)), digits(), Gaussian(noise=0.1))
    >>> [(layer.layer, layer.channels, layer.kept) for layer in found.layers]
    [('fc1', 30, 30), ('fc2', 20, 20)]
    """
    _check(model, engine, density, widths)
    check_competition(scope, least)
    if isinstance(loader, Moments):
        known = loader
        known.check_of(model)
        _check_same(known, target, inputs, reduce, places, names, seed)
    else:
        known = moments(
            model,
            loader,
            target=target,
            inputs=inputs,
            reduce=reduce,
            places=places,
            rows=getattr(engine, "rows", None) if engine.reads == "rows" else None,
            names=names,
            seed=seed,
            progress=progress,
        )
    if density is None:
        _check_widths(widths, known, least)
        found = eliminated(model, known, engine, least=least, widths=widths, progress=progress)
        return _answer(known, engine, found, found.mask.with_provenance(pruner=engine))
    used, found = at_density(
        model, known, engine, density, scope=scope, least=least, progress=progress
    )
    pruner = MIPP(used, scope, known.target, known.reduce, known.places, least, known.seed)
    mask = found.mask.with_provenance(
        pruner=pruner, density=float(density), fingerprint=known.fingerprint
    )
    return _answer(known, used, found, mask, notes=_moved(engine, used))


@dataclass(frozen=True)
class MIPP:
    """Channels that preserve what each layer tells of the next, as many as a density leaves.

    Parameters
    ----------
    engine : Engine
        How information is told.
    scope, target, reduce, places, least, seed
        See `mipp`.

    References
    ----------
    Westphal, Hailes and Musolesi, *Mutual information preserving pruning*, arXiv 2411.00147.
    """

    engine: Engine = Gaussian()
    scope: Competition = "global"
    target: Target = "next"
    reduce: Reduction | None = None
    places: int | None = 64
    least: int = 1
    seed: int = 0

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
    ) -> Mask:
        """Return the mask that keeps at most ``round(density * size)`` weights."""
        check_density(density)
        parameters_named(model, names)
        found = mipp(
            model,
            loader,
            self.engine,
            density=density,
            scope=self.scope,
            target=self.target,
            reduce=self.reduce,
            places=self.places,
            least=self.least,
            names=names,
            seed=self.seed,
            progress=progress,
        )
        return found.mask.with_provenance(pruner=replace(self, engine=found.engine))


def _check(
    model: Any, engine: Any, density: float | None, widths: Mapping[str, int] | None
) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be a torch module; got {type(model).__name__}. The order is "
            "mipp(model, loader, engine)."
        )
    if isinstance(engine, type) or not isinstance(engine, Engine):
        raise TypeError(
            f"engine must be a value such as Gaussian(); got {engine!r}. Does it lack its "
            "parentheses?"
        )
    if density is not None and widths is not None:
        raise ValueError(
            f"density and widths must not both be given; got {density!r} and {widths!r}. Widths "
            "decide the density."
        )


def _check_same(
    known: Moments,
    target: Target,
    inputs: bool,
    reduce: Reduction | None,
    places: int | None,
    names: Sequence[str] | None,
    seed: int,
) -> None:
    """Check that options are as moments were made, or left as they are by default."""
    given = {
        "target": (target, "next", known.target),
        "inputs": (inputs, False, known.groups[0].name == INPUTS),
        "reduce": (reduce, None, known.reduce),
        "places": (places, 64, known.places),
        "names": (None if names is None else tuple(names), None, known.names),
        "seed": (seed, 0, known.seed),
    }
    for name, (asked, default, made) in given.items():
        if asked not in (default, made):
            raise ValueError(
                f"{name} must be as the moments were made, {made!r}; got {asked!r}. Make new ones, "
                f"moments(model, loader, {name}={asked!r}), or give the data."
            )


def _check_widths(widths: Mapping[str, int] | None, known: Moments, least: int) -> None:
    if widths is not None and not isinstance(widths, Mapping):
        raise TypeError(
            f"widths must map groups to how many channels stay; got {widths!r}. An example is "
            f"{ {group.name: max(1, group.size // 2) for group in known.groups[:2]} }."
        )
    sizes = {group.name: group.size for group in known.groups}
    for name, width in (widths or {}).items():
        if name not in sizes:
            raise ValueError(
                f"widths must name groups of channels; {name!r} is none. There are: "
                f"{', '.join(sizes) or 'none'}."
            )
        lowest = min(least, sizes[name])
        if not lowest <= checked_count(f"widths[{name!r}]", width, least=0) <= sizes[name]:
            raise ValueError(
                f"widths must be from {lowest} to the size of the group; got {width} for "
                f"{name!r}, which has {sizes[name]}."
            )


def _moved(asked: Engine, used: Engine) -> tuple[str, ...]:
    """Say which setting of an engine a density moved if somebody had chosen it, or moved far."""
    notes = tuple(
        f"{field.name} of {getattr(asked, field.name)!r} was not used: the density asks for "
        f"{getattr(used, field.name):.3g} in all groups. scope='layer' and widths leave it alone"
        for field in (fields(asked) if is_dataclass(asked) else ())
        if getattr(asked, field.name) not in (getattr(used, field.name), field.default)
    )
    if used != asked and isinstance(used, Gaussian) and used.noise > _LOUD:
        notes += (
            f"noise of {used.noise:.3g} times the signal was needed: layers with little to tell "
            "keep few channels. scope='layer', widths, or a larger least may do better",
        )
    return notes


def _answer(
    known: Moments, engine: Engine, found: Found, mask: Mask, notes: tuple[str, ...] = ()
) -> Preserved:
    layers = tuple(
        LayerReport(
            layer=name,
            channels=len(result.kept),
            kept=int(result.kept.sum()),
            before=result.before,
            after=result.after,
            seconds=found.seconds[name],
            drift=result.drift,
            steps=result.steps,
        )
        for name, result in found.layers.items()
    )
    notes += tuple(f"{name}: {note}" for name, r in found.layers.items() for note in r.notes)
    return Preserved(
        mask=mask,
        kept=found.kept,
        layers=layers,
        engine=engine,
        target=known.target,
        reduce=known.reduce,
        samples=known.samples,
        moments=known,
        notes=notes,
    )
