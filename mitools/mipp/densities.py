"""A density for the whole network: the same share of every group, or one knob for all layers."""

from collections.abc import Mapping

from torch import nn

from mitools.mipp.engines import Engine
from mitools.mipp.layers import Found, eliminated
from mitools.mipp.moments import Moments
from mitools.pruning.pruners import size_of
from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import check_density, count_kept
from mitools.pruning.structured import Competition, even_widths, weights_of

_HALVINGS = 11
_FLOOR = 2  # one knob leaves a group no less than this part, a half, of an even share


def at_density(
    model: nn.Module,
    known: Moments,
    engine: Engine,
    density: float,
    *,
    scope: Competition,
    least: int,
    progress: bool = False,
) -> tuple[Engine, Found]:
    """Return what stays at a density, and the engine with the knob at which it was found.

    "layer": every group keeps the same share of its channels; the knob is as it was. "global": the
    mildest knob found at which few enough weights stay, and in no group less than half of what it
    keeps with "layer". Where room is left for channels, the last ones dropped come back as long as
    they fit.

    Raises
    ------
    ValueError
        If the density is below what `least` channels in each group need.
    """
    size = size_of(model, known.names)
    keep = count_kept(check_density(density), size)
    weights = parameters_named(model, known.names)
    widths = even_widths(known.groups, weights, keep, least=least)  # checks that there is room
    if scope == "layer" or keep == size:
        return engine, eliminated(
            model, known, engine, least=least, widths=widths, progress=progress
        )
    floor = {name: max(width // _FLOOR, min(least, width)) for name, width in widths.items()}
    return _bisected(model, known, engine, keep, floor, progress)


def _bisected(
    model: nn.Module,
    known: Moments,
    engine: Engine,
    keep: int,
    least: Mapping[str, int],
    progress: bool,
) -> tuple[Engine, Found]:
    """Return the mildest knob found at which few enough weights stay, and what stays there."""
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
