"""The question: which channels preserve what each layer tells of the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mitools._validation import checked_count
from mitools.mipp.answers import LayerReport, Preserved
from mitools.mipp.engines import Engine
from mitools.mipp.gaussian import Gaussian
from mitools.mipp.layers import Found, eliminated
from mitools.mipp.moments import INPUTS, Moments, Reduction, Target, moments
from mitools.pruning.mask import Mask
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import check_density, count_kept
from mitools.pruning.structured import weights_of

_HALVINGS = 11
_LOUD = 3.0  # noise by signal, above which one knob for all layers starves some


def mipp(
    model: nn.Module,
    loader: Any,
    engine: Engine = Gaussian(),
    *,
    density: float | None = None,
    widths: Mapping[str, int] | None = None,
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
    loader : DataLoader, Dataset, `Samples`, pair, or Moments
        The data, or what `moments` made of them: then no pass is needed, and target, inputs,
        reduce, places, names and seed are as they were then; to ask for others is an error.
    engine : Engine
        How information is told, with the knob that decides what is significant.
    density : float in [0, 1], optional
        Instead of the knob: at most this share of the prunable weights stays, the same knob for
        all layers, by bisection.
    widths : mapping of str to int, optional
        Instead of the knob: how many channels of each group stay; others stay whole.
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
    _check(model, engine, density, widths, checked_count("least", least))
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
    if density is not None:
        engine, found = _bisected(model, known, engine, density, least, progress)
    else:
        _check_widths(widths, known, least)
        found = eliminated(model, known, engine, least=least, widths=widths, progress=progress)
    return _answer(known, engine, found)


@dataclass(frozen=True)
class MIPP:
    """Channels that preserve what each layer tells of the next, as many as a density leaves.

    Parameters
    ----------
    engine : Engine
        Its knob is moved until the density is met: for `Gaussian` the noise.
    target, reduce, places, least, seed
        See `mipp`.

    References
    ----------
    Westphal, Hailes and Musolesi, *Mutual information preserving pruning*, arXiv 2411.00147.
    """

    engine: Engine = Gaussian()
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
        found = mipp(
            model,
            loader,
            self.engine,
            density=density,
            target=self.target,
            reduce=self.reduce,
            places=self.places,
            least=self.least,
            names=names,
            seed=self.seed,
            progress=progress,
        )
        return found.mask


def _bisected(
    model: nn.Module, known: Moments, engine: Engine, density: float, least: int, progress: bool
) -> tuple[Engine, Found]:
    """Return the mildest knob found at which few enough weights stay, and what stays there.

    Where room is left for channels, the last ones dropped come back as long as they fit.
    """
    size = size_of(model, known.names)
    keep = count_kept(check_density(density), size)
    _check_room(model, known, keep, least)
    if keep == size:
        widths = {group.name: group.size for group in known.groups}
        return engine, eliminated(model, known, engine, least=least, widths=widths)
    mild, strong = 0.0, 1.0
    more = sum(group.size for group in known.groups)
    best: tuple[Engine, Found] | None = None
    for _ in range(_HALVINGS):
        middle = (mild + strong) / 2
        tried = engine.at(middle)
        found = eliminated(model, known, tried, least=least, progress=progress)
        if found.mask.nonzeros > keep:
            mild, more = middle, found.channels
            continue
        strong = middle
        if best is None or found.mask.nonzeros > best[1].mask.nonzeros:
            best = tried, found
        if more - best[1].channels <= 1:
            break
    if best is None:
        tried = engine.at(1.0)
        best = tried, eliminated(model, known, tried, least=least, progress=progress)
    tried, found = best
    widths = _filled(model, known, found, keep)
    if widths != found.widths:
        found = eliminated(model, known, tried, least=least, widths=widths, progress=progress)
    return tried, found


def _filled(model: nn.Module, known: Moments, found: Found, keep: int) -> dict[str, int]:
    """Return widths with as many more channels as fit, those first that were hardest to drop."""
    widths = found.widths
    gone = {
        name: [step for step in result.steps if not step.kept]
        for name, result in found.layers.items()
    }
    fits = set(gone)
    while fits:
        last = {name: gone[name][-1] for name in fits if gone[name]}
        if not last:
            break
        name = min(last, key=lambda n: (last[n].p_value or 0.0, -last[n].phi))
        more = {**widths, name: widths[name] + 1}
        if _weights(model, known, more) <= keep:
            widths = more
            gone[name].pop()
        else:
            fits.remove(name)
    return widths


def _weights(model: nn.Module, known: Moments, widths: Mapping[str, int]) -> int:
    """Return how many weights so many channels have."""
    shapes = {name: p.shape for name, p in parameters_named(model, known.names).items()}
    return weights_of(known.groups, [widths[group.name] for group in known.groups], shapes)


def _check_room(model: nn.Module, known: Moments, keep: int, least: int) -> None:
    needed = _weights(model, known, {g.name: min(least, g.size) for g in known.groups})
    if needed > keep:
        raise ValueError(
            f"density must leave room for {least} channel{'s' * (least > 1)} in every group and "
            f"for what belongs to none: {needed:,} weights, a density of "
            f"{needed / size_of(model, known.names):.3g}; only {keep:,} are to stay. Raise the "
            f"density{', or lower least.' if least > 1 else '.'}"
        )


def _check(
    model: Any, engine: Any, density: float | None, widths: Mapping[str, int] | None, least: int
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


def _answer(known: Moments, engine: Engine, found: Found) -> Preserved:
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
    notes = tuple(f"{name}: {note}" for name, r in found.layers.items() for note in r.notes)
    if isinstance(engine, Gaussian) and engine.noise > _LOUD:
        notes += (
            f"noise of {engine.noise:.3g} times the signal was needed: layers with little to tell "
            "keep hardly a channel. Widths, or a larger least, may do better.",
        )
    return Preserved(
        mask=found.mask.with_provenance(pruner=engine),
        kept=found.kept,
        layers=layers,
        engine=engine,
        target=known.target,
        reduce=known.reduce,
        samples=known.samples,
        moments=known,
        notes=notes,
    )
