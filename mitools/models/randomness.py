"""Randomness that depends on a seed alone and leaves the caller's generators as they were."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Let torch draw from ``seed`` inside the block; its generators come back as they were.

    Parameters
    ----------
    seed : int
        Start of the streams inside the block.
    devices : iterable of torch.device
        Devices drawn on besides the CPU, such as those of a model; only CUDA devices matter.
    """
    cuda = sorted({_index(device) for device in devices if device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda):
        # Not torch.manual_seed: that would also reseed the devices that are not put back.
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def generator_states(devices: Iterable[torch.device]) -> dict[str, Tensor]:
    """Return where torch's generators stand, the CPU's and those of these CUDA devices."""
    states = {"cpu": torch.get_rng_state()}
    for index in sorted({_index(device) for device in devices if device.type == "cuda"}):
        states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    return states


def set_generator_states(states: dict[str, Tensor]) -> None:
    """Put torch's generators where ``generator_states`` found them."""
    for device, state in states.items():
        if device == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
