"""Independent random streams from one seed, so that no two purposes ever share their draws."""

from zlib import crc32

import numpy as np


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose: equal for equal arguments, unrelated otherwise.

    Without it, inputs and labels drawn from the same seed would be functions of one another.

    Parameters
    ----------
    seed : int, >= 0
        The seed the user chose.
    purpose : str or int
        What is drawn and, for repeated draws, which one: ``derived_seed(0, "bootstrap", 3)``.

    Raises
    ------
    TypeError, ValueError
        If seed is not an integer, or is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an integer; got {seed!r}. Pass seed=0, 1, 2, … instead.")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}. Pass seed=0, 1, 2, … instead.")
    words = [crc32(word.encode()) if isinstance(word, str) else int(word) for word in purpose]
    state = np.random.SeedSequence([len(words), *words, int(seed)]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return numpy's generator for one purpose; see `derived_seed`."""
    return np.random.default_rng(derived_seed(seed, *purpose))
