"""Repetitions of an experiment: the same values with other seeds."""

import dataclasses
from typing import Any


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
