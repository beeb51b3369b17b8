"""Seconds and memory of `peff`, by counting and decoding, on a mask of a hundred million weights.

    python -m estimators_bench.large_mask [--weights 100000000]
    python -m estimators_bench.large_mask --weights 10000000 --masks 16

Memory is the growth of the peak resident set during the call, as a multiple of the mask's own. With
``--masks K`` what is measured is what `ResampledMasks` does with the masks of K data sets, by its
default: the code of independent weights and the certified limit, the masks themselves counted in.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mitools.data import Samples, SymmetricFlips
from mitools.effective import peff
from mitools.mask_information import certified_limit, channel_in_order, independent_code
from mitools.models import fingerprint
from mitools.pruning import Mask


def main() -> None:
    """Build a wide network and a random mask, ask once, print one line."""
    parser = argparse.ArgumentParser(description="peff on a large mask")
    parser.add_argument("--weights", type=int, default=100_000_000)
    parser.add_argument("--masks", type=int, help="code the masks of so many data sets instead")
    parser.add_argument("--orders", type=int, default=8, help="that the limit averages over")
    asked = parser.parse_args()
    width = round(asked.weights**0.5)
    if asked.masks:
        code(width, asked.masks, asked.orders)
        return
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
    inputs = torch.randn(64, width)
    samples = SymmetricFlips(0.5).apply(Samples(inputs, torch.zeros(64).long(), classes=2), seed=0)
    mask = Mask(
        {
            n: torch.empty(w.shape, dtype=torch.bool).bernoulli_(0.1)
            for n, w in model.named_parameters()
            if w.dim() > 1
        }
    )
    mask = mask.with_provenance(fingerprint=fingerprint(model))
    model(inputs[:1])  # what torch itself allocates on first use is not the question
    _forget_peak()
    before, start = _peak(), time.perf_counter()
    answer = peff(model, mask, samples)
    seconds, grown = time.perf_counter() - start, _peak() - before
    print(answer)
    print(
        f"\n{mask.size:,} weights: {seconds:.1f} s; peak memory grew by {grown / 1e6:.0f} MB, "
        f"{grown / mask.size:.2f} x the mask's {mask.size / 1e6:.0f} MB"
    )


def code(width: int, draws: int, orders: int) -> None:
    """Draw masks of a square layer, a fifth of whose weights move; code them; print one line."""
    certified_limit(np.eye(8, dtype=np.bool_), [(2, 4)], code=_quick)  # what is allocated once
    _forget_peak()
    before, start = _peak(), time.perf_counter()
    rng = np.random.default_rng(0)
    size = width * width
    masks = np.empty((draws, size), np.bool_)
    same, moves = rng.random(size, np.float32) < 0.1, rng.random(size, np.float32) < 0.2
    for row in masks:
        row[:] = np.where(moves, rng.random(size, np.float32) < 0.1, same)
    mean = np.mean(independent_code(masks).lengths)
    limit = certified_limit(masks, [(width, width)], orders=orders, code=_quick)
    seconds, grown = time.perf_counter() - start, _peak() - before
    print(
        f"{draws} masks of {size:,} weights: code {mean:,.0f} nats, certified limit {limit:,.0f}; "
        f"{seconds:.0f} s; peak memory grew by {grown / 1e6:.0f} MB,"
        f" the masks' {masks.nbytes / 1e6:.0f} MB included"
    )


_quick = partial(channel_in_order, featured=False)


def _forget_peak() -> None:
    """Let the peak resident set start again from what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the peak resident set, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
