"""Running a network without leaving a trace in it, and without what torch.compile made of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mitools.models.randomness import seeded


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluate the model inside; outside, all that its forward pass changed is as before.

    That is more than modes: pruning hooks of torch store the weights they compute, and a forward
    pass may count or cache in attributes and buffers. Randomness inside is seeded.
    """
    states = [(m, dict(vars(m)), dict(m._buffers)) for m in model.modules()]
    buffers = [
        (b, b._version, b.detach().clone())
        for *_, own in states
        for b in own.values()
        if b is not None
    ]
    devices = {p.device for m, *_ in states for p in m._parameters.values() if p is not None}
    devices |= {buffer.device for buffer, *_ in buffers}
    with seeded(0, devices):
        try:
            for module, _, _ in states:
                module.training = False  # not eval(), which a model may have overridden
            yield
        finally:
            for module, attributes, own in states:
                vars(module).clear()
                vars(module).update(attributes)
                module._buffers.clear()
                module._buffers.update(own)
            with torch.no_grad():
                for buffer, version, values in buffers:
                    if buffer._version != version:
                        buffer.copy_(values)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled networks as Python inside, where torch can: from 2.6 on."""
    if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield
