"""Repetitions of an experiment: the same values with other seeds."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mitools.pruning import Pruner
from mitools.pruning.pruners import check_pruner
from mitools.pruning.selection import check_density


def reseeded(value: Any, by: int) -> Any:
    """Return a frozen dataclass with `by` added to every field ``seed``, at any depth.

    Anything else is returned as it is.

    Examples
    --------
    >>> from mitools.pruning import OneShot, Random
    >>> reseeded(OneShot(Random(seed=10)), 2)
    OneShot(score=Random(seed=12), scope='global')
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changed: dict[str, Any] = {}
    for entry in dataclasses.fields(value):
        found = getattr(value, entry.name)
        if entry.name == "seed" and isinstance(found, int):
            changed[entry.name] = found + by
        elif entry.init:
            changed[entry.name] = reseeded(found, by)
    return dataclasses.replace(value, **changed)


def repetitions(
    pruners: Mapping[str, Pruner], densities: Sequence[float], seeds: int
) -> list[tuple[str, Pruner, float, int]]:
    """Return every pruner at every density for every seed, which is added to the pruner's own.

    Raises
    ------
    TypeError, ValueError
        Unless there are pruners by name, and densities in [0, 1].
    """
    if not isinstance(pruners, Mapping) or not pruners:
        raise TypeError(
            f"pruners must map names to pruners; got {pruners!r}. For instance "
            "{'random': OneShot(Random())}."
        )
    for pruner in pruners.values():
        check_pruner(pruner)
    if not isinstance(densities, Sequence | np.ndarray) or not len(densities):
        raise TypeError(f"densities must be a sequence of numbers; got {densities!r}. Try [0.1].")
    for density in densities:
        check_density(float(density) if isinstance(density, np.floating) else density)
    return [
        (name, reseeded(pruner, seed), density, seed)
        for name, pruner in pruners.items()
        for density in densities
        for seed in range(seeds)
    ]
