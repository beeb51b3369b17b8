"""Mask tasks: networks pruned again and again, and what their masks are known to tell.

Every row of the list of cases in which I(mask; data | init) is known exactly, from 16 weights to
a million. The information is that of one mask about its own data set.
"""

from typing import Protocol

from numpy.random import Generator

from estimators_bench.tasks.dependent_laws import Branches, NoisyCopies
from estimators_bench.tasks.kinds import MaskData, MaskTask, Truth
from estimators_bench.tasks.mask_laws import (
    Channels,
    Hash,
    Lookup,
    SharedCauses,
    Silent,
    Threshold,
    TopK,
)
from estimators_bench.tasks.tiny_net import Pruner, TinyNet

FAMILY = "Masks"
_FAIR = (0.5, 0.5)


class _Law(Protocol):
    @property
    def size(self) -> int: ...
    @property
    def nats(self) -> float: ...
    def __call__(self, draws: int, rng: Generator) -> MaskData: ...


def _task(
    name: str,
    law: _Law,
    about: str,
    label_law: tuple[float, ...] | None = None,
    source: str = "closed form",
) -> MaskTask:
    return MaskTask(
        f"mask-{name}", FAMILY, Truth(law.nats, source), law, law.size, label_law, about
    )


def _silent() -> tuple[MaskTask, ...]:
    about = "a mask that no data have touched"
    moving = "a random mask whose seed moves with the data set: full of randomness, none of data"
    reading = "a mask that is always the same, although the pruner read its data"
    return (
        _task("silent-16", Silent(16), about, _FAIR),
        _task("silent-1k", Silent(1_000), about, _FAIR),
        _task("silent-1m", Silent(1_000_000), about, _FAIR),
        _task("silent-seeds-move-1k", Silent(1_000, seeds_move=True), moving, _FAIR),
        _task("silent-but-read-1k", Silent(1_000, read=True), reading, _FAIR),
    )


def _thresholds() -> tuple[MaskTask, ...]:
    sizes = {"16": 16, "1k": 1_000, "100k": 100_000, "1m": 1_000_000}
    open_ = "threshold of a mean of 100 points; most weights are open"
    sure = "threshold of a mean of 100 points; a tenth is kept and most weights are sure"
    noisy = "threshold of a mean through as much noise of the pruner's own, not conditioned on"
    return (
        *(_task(f"threshold-{k}", Threshold(p), open_) for k, p in sizes.items()),
        _task("threshold-sure-1k", Threshold(1_000, 4.0, -5.25), sure),
        _task("threshold-sure-100k", Threshold(100_000, 4.0, -5.25), sure),
        *(
            _task(f"threshold-noisy-{k}", Threshold(p, noise=1.0), noisy, source="quadrature")
            for k, p in sizes.items()
        ),
    )


def _lookups() -> tuple[MaskTask, ...]:
    exact = "mask bits are the labels"
    flipped = "mask bits are the labels, flipped by a binary symmetric channel"
    rare = "mask bits are the labels, of which one in ten is 1"
    ten = "one of ten weights is kept, according to one of ten labels"
    most = (0.9, 0.1)
    return (
        _task("lookup-16", Lookup(16, 8), exact, _FAIR),
        _task("lookup-1k", Lookup(1_000, 100), exact, _FAIR),
        _task("lookup-flipped-16", Lookup(16, 12, 0.1), flipped, _FAIR),
        _task("lookup-flipped-1k", Lookup(1_000, 200, 0.1), flipped, _FAIR),
        _task("lookup-flipped-100k", Lookup(100_000, 1_000, 0.25), flipped, _FAIR),
        _task("lookup-flipped-1m", Lookup(1_000_000, 2_000, 0.1), flipped, _FAIR),
        _task("lookup-rare-1k", Lookup(1_000, 100, law=most), rare, most),
        _task("lookup-rare-flipped-1k", Lookup(1_000, 200, 0.05, most), rare, most),
        _task("lookup-ten-1k", Lookup(1_000, 50, law=(0.1,) * 10), ten, (0.1,) * 10),
        _task("lookup-ten-flipped-1k", Lookup(1_000, 50, 0.2, (0.1,) * 10), ten, (0.1,) * 10),
    )


def _exchangeable() -> tuple[MaskTask, ...]:
    about = "the biggest of exchangeable scores: every mask of that count is as likely"
    sizes = {"16": (16, 4), "1k": (1_000, 50), "100k": (100_000, 5_000), "1m": (1_000_000, 20_000)}
    return tuple(_task(f"top-k-{k}", TopK(*law), about) for k, law in sizes.items())


def _dependent() -> tuple[MaskTask, ...]:
    shared = "blocks of weights that follow one hidden bit each: independent codes pay for all"
    rare = "one rare bit of the data decides the whole mask"
    units = "whole hidden units kept by thresholds of means, with their rows and columns"
    tree = "each weight does as another one does, but for one data set in ten: a tree"
    noisy = "blocks of weights that follow one hidden bit each, but for one data set in ten"
    hashed = "a hash of the labels in a random linear code: any two weights are independent"
    return (
        _task("shared-16", SharedCauses(4, 4), shared),
        _task("shared-1k", SharedCauses(100, 10), shared),
        _task("shared-100k", SharedCauses(1_000, 100), shared),
        _task("shared-1m", SharedCauses(1_000, 1_000), shared),
        _task("shared-rare-1k", SharedCauses(100, 10, 0.1), shared),
        _task("one-bit-in-10-1k", SharedCauses(1, 1_000, 0.1), rare),
        _task("one-bit-in-50-1k", SharedCauses(1, 1_000, 0.02), rare),
        _task("channels-1k", Channels((20, 20, 20, 10)), units),
        _task("channels-1m", Channels((250, 800, 800, 200)), units),
        _task("tree-16", Branches(16, 0.1), tree),
        _task("tree-1k", Branches(1_000, 0.1), tree),
        _task("noisy-copies-16", NoisyCopies(4, 4, 0.1), noisy),
        _task("noisy-copies-1k", NoisyCopies(100, 10, 0.1), noisy),
        _task("hash-16", Hash(16, 8), hashed, _FAIR),
        _task("hash-1k", Hash(1_000, 32), hashed, _FAIR),
        _task("hash-1m", Hash(1_000_000, 63), hashed, _FAIR),
    )


def _tiny() -> tuple[MaskTask, ...]:
    about = "the tiny network of appendix C.2 of arXiv 2402.01089, all 1,792 data sets enumerated"
    labels = "the tiny network on six fixed corners, all 64 labellings enumerated"
    names: dict[str, Pruner] = {"trained": "magnitude after training", "snip": "snip"}
    return tuple(
        _task(
            f"tiny-{'labels-' if fixed else ''}{short}-{kept}-of-21",
            TinyNet(pruner, kept, fixed),
            labels if fixed else about,
            _FAIR if fixed else None,
            "enumeration",
        )
        for fixed in (False, True)
        for short, pruner in names.items()
        for kept in (3, 11, 18)
    )


TASKS: tuple[MaskTask, ...] = (
    *_silent(),
    *_thresholds(),
    *_lookups(),
    *_exchangeable(),
    *_dependent(),
    *_tiny(),
)
