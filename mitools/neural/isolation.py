"""Torch runs that depend on their seed alone and leave nothing of the caller's changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import torch


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Run on one CPU thread with torch seeded; threads and generators come back as they were.

    More threads would change the order of sums, and with it the last digits. Yields a generator
    for what is drawn here; what modules draw themselves comes from torch's own.
    """
    # Mixed with a word of ours, so that data drawn from the same seed share nothing with weights.
    state = np.random.SeedSequence([crc32(b"mitools.neural"), seed]).generate_state(2, np.uint64)
    first, second = (int(word >> np.uint64(1)) for word in state)
    threads = torch.get_num_threads()
    cuda = [_index(device)] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.enable_grad():
        # Not torch.manual_seed: that would also reseed devices that are not put back.
        torch.default_generator.manual_seed(first)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(first)
        torch.set_num_threads(1)
        try:
            yield torch.Generator().manual_seed(second)
        finally:
            torch.set_num_threads(threads)


def checked_device(name: str) -> torch.device:
    """Return the device of this name, if this machine has it.

    Raises
    ------
    ValueError
        If it does not exist.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be one that torch can use here; got {name!r}, of which torch says: "
            f"{reason} Use device='cpu'."
        ) from None
    return device


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
