"""What is known to mislead a method, looked for in the data and in its answer."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mitools._typing import FloatArray

# Enough rows to see what the whole sample is like, few enough to cost nothing beside an estimate.
_ROWS = 10_000
_REPEATED = 0.25
_DEPENDENCE = 0.5
_SCALES = 30.0
_UNITS = 1e6
_FORECAST = "y"  # what a model forecasts, and does not read
# At three quarters of the ceiling KSG is about 7% short: the table in docs/pitfalls.md.
_CEILING = 0.75
_BULK = 0.1
# With a column more than 3 log10(n) - 1, KSG is about a quarter short: docs/pitfalls.md, too.
_COLUMNS_PER_DECADE = 3.0


def cautions(
    method: Any, value: float, samples: Mapping[str, FloatArray], by_column: bool = False
) -> tuple[str, ...]:
    """Return a sentence for every reason to distrust the value; which ones, the method knows.

    By column: the values asked for are of single columns, and not of all of them together.
    """
    known: frozenset[str] = getattr(method, "cautions", frozenset())
    found: list[str] = []
    if "ties" in known:
        found += [note for name, rows in samples.items() for note in _ties(name, rows)]
    if "scales" in known and getattr(method, "scale", None) is None:
        found += _scales(samples)
    if "units" in known:
        found += _units({name: rows for name, rows in samples.items() if name != _FORECAST})
    if "scales" in known and getattr(method, "scale", None) == "std":
        found += [note for name, rows in samples.items() for note in _tails(name, rows)]
    if "scales" in known and len(samples) > 1 and not by_column:  # it measures distances
        found += _dimension(samples)
    if "dependence" in known:
        found += _dependence(samples)
    # Where the conditional quantity is of another kind, it is a difference, which has no ceiling.
    if "saturation" in known and not (len(samples) > 2 and hasattr(method, "conditional_sense")):
        found += _saturation(method, value, len(next(iter(samples.values()))))
    if not value > -math.inf and hasattr(method, "base_rate"):  # nan too: of a difference
        found.append(
            f"a forecast gave probability 0 to a label that occurred, so the answer is {value}; "
            "use Predictive(..., base_rate=0.01) or a model that hedges"
        )
    return tuple(found)


def _some(rows: FloatArray) -> FloatArray:
    """Return rows spread evenly over the sample, as contiguous columns (d, m)."""
    return np.ascontiguousarray(rows[:: -(-len(rows) // _ROWS)].T)


def _ties(name: str, rows: FloatArray) -> list[str]:
    some = _some(rows)
    if some.shape[1] < 2:
        return []
    if (some == some[:, :1]).all():
        return [f"{name} is constant: no method can learn from it, and it has no density"]
    distinct = min(len(np.unique(column)) for column in some)
    repeated = 1.0 - distinct / some.shape[1]
    if repeated < _REPEATED:
        return []
    return [
        f"{name} repeats values ({repeated:.0%} of them occurred before), but the method assumes a "
        "density; use PlugIn or another discrete method, Ross, GaoMixed or MesnerShalizi"
    ]


def _scales(samples: Mapping[str, FloatArray]) -> list[str]:
    ratio = _spread_ratio(samples)
    if ratio < _SCALES:
        return []
    return [
        f"columns differ {ratio:.0f}-fold in standard deviation, and distances see only the "
        "widest; use scale='std' or scale='rank'"
    ]


def _units(samples: Mapping[str, FloatArray]) -> list[str]:
    ratio = _spread_ratio(samples)
    if ratio < _UNITS:
        return []
    return [
        f"the columns that the model reads differ {ratio:.0e}-fold in standard deviation, and many "
        "models, least squares included, then lose the smallest; put the model behind a scaler: "
        "make_pipeline(StandardScaler(), model)"
    ]


def _spread_ratio(samples: Mapping[str, FloatArray]) -> float:
    """Return the largest standard deviation of a column that varies over the smallest."""
    columns = np.concatenate([_some(rows) for rows in samples.values()])
    columns = columns[(columns != columns[:, :1]).any(axis=1)]
    if len(columns) < 2:
        return 1.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        spread = columns.std(axis=1)
        return float(spread.max() / spread.min())


def _dimension(samples: Mapping[str, FloatArray]) -> list[str]:
    n = len(next(iter(samples.values())))
    most = _COLUMNS_PER_DECADE * math.log10(n) - 1.0
    if sum(rows.shape[1] for rows in samples.values()) <= most:
        return []
    # Columns of repeated values take places, and no dimension.
    columns = [column for rows in samples.values() for column in _some(rows)]
    wide = sum(len(np.unique(c)) > (1.0 - _REPEATED) * len(c) for c in columns)
    if wide <= most:
        return []
    return [
        f"{wide} columns are many for n={n} samples: neighbours are hardly nearer than others, and "
        "the value is probably far too small; use GaussianCopula if it fits, a held-out bound such "
        "as Predictive, or fewer columns"
    ]


def _tails(name: str, rows: FloatArray) -> list[str]:
    some = _some(rows)
    largest = np.abs(some).max(axis=1, keepdims=True)
    some = some / np.maximum(largest, np.finfo(np.float64).tiny)
    low, high = np.quantile(some, [0.25, 0.75], axis=1)
    bulk, spread = (high - low) / 1.349, some.std(axis=1)  # equal for a Gaussian column
    if not ((bulk > 0.0) & (bulk < _BULK * spread)).any():
        return []
    return [
        f"{name} has heavy tails (a few values set its standard deviation), so that distances do "
        "not see its bulk; use scale='rank', or take logarithms first"
    ]


def _dependence(samples: Mapping[str, FloatArray]) -> list[str]:
    memory = sorted((_lag_correlation(rows) for rows in samples.values()), reverse=True)
    shared = memory[0] * memory[min(1, len(memory) - 1)]
    if shared < _DEPENDENCE:
        return []
    worth = (1.0 - shared) / (1.0 + shared)
    return [
        f"successive rows are correlated ({shared:.2f}), so n samples are worth about "
        f"{worth:.0%} as many; take every m-th row, or shuffle rows that were merely sorted"
    ]


def _lag_correlation(rows: FloatArray) -> float:
    """Return the largest correlation of a column with itself one row later; 0 for few rows."""
    some = np.array(rows[:_ROWS].T, order="C")
    if some.shape[1] < 20:
        return 0.0
    some -= some.mean(axis=1, keepdims=True)
    size = (some**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        memory = (some[:, 1:] * some[:, :-1]).sum(axis=1) / size
    return float(np.nanmax(np.where(size > 0.0, memory, 0.0)))


def _saturation(method: Any, value: float, n: int) -> list[str]:
    ceiling = method.ceiling(n)
    if n < 20 or value < _CEILING * ceiling:
        return []
    beyond = getattr(method, "beyond_ceiling", "more samples, LNC, or GaussianCopula if it fits")
    return [
        f"{value:.2f} nats is near the most that n={n} samples can show ({ceiling:.2f}), so the "
        f"truth is probably larger; use {beyond}"
    ]
