"""Means over repetitions, with Student's intervals."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy.stats import t as student_t


def averaged(rows: pd.DataFrame, by: Sequence[str], column: str, confidence: float) -> pd.DataFrame:
    """Average a column within groups, in the order of their first rows.

    Returns
    -------
    DataFrame
        The columns `by`, the mean under its own name, std_error, low, high and seeds.

    Raises
    ------
    ValueError
        If a group has a single row, from which no error can be told.
    """
    found: list[dict[str, Any]] = [
        dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        | {column: group[column].mean(), "std_error": group[column].sem(), "seeds": len(group)}
        for key, group in rows.groupby(list(by), sort=False)
    ]
    if any(row["seeds"] < 2 for row in found):
        raise ValueError(
            "seeds must be at least 2, to tell how far a mean can be off; got 1. Repeat it with "
            "other seeds."
        )
    table = pd.DataFrame(found)
    margin = student_t.ppf(0.5 + confidence / 2.0, table["seeds"] - 1) * table["std_error"]
    table["low"], table["high"] = table[column] - margin, table[column] + margin
    return pd.DataFrame(table, columns=[*by, column, "std_error", "low", "high", "seeds"])
