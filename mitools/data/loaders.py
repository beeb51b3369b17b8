"""Going through somebody's loader without leaving a trace in anybody's random state."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mitools.data.seeds import derived_seed


def without_trace(loader: Any, source: Any, seed: int) -> Iterator[Any]:
    """Iterate source, a loader or one of its samplers, moving nobody's generator.

    Loaders draw from torch's global generator even where they do not shuffle. Each step runs on
    states of ours, and between steps everybody finds their own.
    """
    batches = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    owned = {id(g): g for g in found if isinstance(g, torch.Generator)}
    generators = [torch.default_generator, *owned.values()]
    # A generator that the loader owns starts from its seed and ours: else every epoch of a
    # training, which passes its own seed, would come in the same order.
    starts = [torch.Generator().manual_seed(derived_seed(seed, "loader"))]
    for g in owned.values():
        purpose = derived_seed(seed, "loader", g.initial_seed())
        starts.append(torch.Generator(g.device).manual_seed(purpose))
    ours = [start.get_state() for start in starts]
    iterator: Iterator[Any] | None = None
    while True:
        theirs = [g.get_state() for g in generators]
        _restore(generators, ours)
        try:
            iterator = iter(source) if iterator is None else iterator
            item = next(iterator)
        except StopIteration:
            return
        finally:
            ours = [g.get_state() for g in generators]
            _restore(generators, theirs)
        yield item


def _restore(generators: list[torch.Generator], states: list[Tensor]) -> None:
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
