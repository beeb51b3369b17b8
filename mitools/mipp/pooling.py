"""Means and covariances of rows that come in parts, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

_AT_ONCE = 1 << 24  # numbers in float64


class Pool:
    """Mean and covariance of all rows so far; its size does not depend on their number."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._square = torch.zeros(0)

    @property
    def covariance(self) -> Tensor:
        """With the number of rows as divisor."""
        return self._square / self.count

    def add(self, rows: Tensor) -> None:
        """Add rows, (n, d) in float64 (Chan, Golub and LeVeque 1983)."""
        n, mean = len(rows), rows.mean(0)
        centred = rows - mean
        if not self.count:
            self.count, self.mean, self._square = n, mean, centred.T @ centred
            return
        total, shift = self.count + n, mean - self.mean
        self._square.addmm_(centred.T, centred)
        self._square.addr_(shift, shift, alpha=self.count * n / total)
        self.mean += shift * (n / total)
        self.count = total


def slices(value: Tensor, beside: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield parts of a batch that fit into memory as patches."""
    each = max(1, _AT_ONCE // max(1, 9 * value[0].numel()))
    for start in range(0, len(value), each):
        part = slice(start, start + each)
        yield value[part], None if beside is None else beside[part]
