"""How cost grows with the number of samples and of dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from estimators_bench.speed.cases import Case
from estimators_bench.speed.clock import processor_seconds

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
DIMENSIONS = (1, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class Point:
    """Processor seconds of one estimate of ours: the least of a few runs."""

    n: int
    d: int
    seconds: float


def measured(
    sizes: Sequence[int], dimensions: Sequence[int], report: Callable[[str], None]
) -> list[Point]:
    """Time (1,1) at all sizes and (d,d) at n = 10,000."""
    points = []
    for n, d in [(n, 1) for n in sizes] + [(10_000, d) for d in dimensions]:
        case = Case("", "vectors", n, d)
        call = case.ours(*case.samples())
        runs = 5 if n < 1_000_000 else 2 if n < 10_000_000 else 1
        seconds = min(processor_seconds(call)[0] for _ in range(runs))
        points.append(Point(n, d, seconds))
        report(f"growth: n = {n:,}, ({d},{d}): {seconds:.3g} s")
    return points


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of log seconds against log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def drawn(points: Sequence[Point], path: Path) -> tuple[float, float]:
    """Draw both curves into a file; return their exponents."""
    by_n = sorted((p.n, p.seconds) for p in points if p.d == 1)
    by_n = [(n, min(s for m, s in by_n if m == n)) for n in sorted({n for n, _ in by_n})]
    by_d = [(p.d, p.seconds) for p in points if p.n == 10_000]
    by_d = [(d, min(s for e, s in by_d if e == d)) for d in sorted({d for d, _ in by_d})]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    exponents = []
    for axes, curve, label, title in zip(
        figure.subplots(1, 2),
        (by_n, by_d),
        ("samples n", "dimension d of x and of y"),
        ("(1,1)", "(d,d), n = 10,000"),
        strict=True,
    ):
        size, seconds = zip(*curve, strict=True)
        slope = exponent(size, seconds)
        exponents.append(slope)
        axes.loglog(size, seconds, "o-", color="C0")
        axes.set(xlabel=label, title=f"{title}: exponent {slope:.2f}")
        axes.grid(True, which="both", alpha=0.25)
    figure.axes[0].set_ylabel("processor seconds, one thread")
    figure.savefig(path, dpi=150)
    return exponents[0], exponents[1]
