"""Nearest neighbours for time series: those that are near in time do not count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_count
from mitools.methods._neighbors import Scale, checked_scale, psi, scaled

_BLOCK = 1 << 20
"""Distances at a time."""


@dataclass(frozen=True)
class TheilerKSG:
    """KSG's first estimator for a time series, with a Theiler window [1]_.

    Rows less than or as many as `window` steps apart resemble each other because little time has
    passed, not because x and y depend on each other; they are neither neighbours nor counted. Row
    i then has N(i) others, n - 1 less those inside the window, and with the counts as in `KSG`::

        I(X; Y) = psi(k) + mean_i[ psi(N(i) + 1) - psi(nx(i) + 1) - psi(ny(i) + 1) ]
        I(X; Y | Z) = psi(k) - mean_i[ psi(nxz(i) + 1) + psi(nyz(i) + 1) - psi(nz(i) + 1) ]

    ``window=0`` is `KSG`. This takes away the bias that memory causes, not the spread: test with
    `CircularShifts`. All pairs of rows are compared, O(n^2) time.

    Parameters
    ----------
    window : int
        Steps; about the time after which the series has forgotten, such as where the
        autocorrelation has fallen below 1/e.
    k, scale
        As for `KSG`.

    References
    ----------
    .. [1] Theiler, Phys. Rev. A 34, 2427 (1986): the window, for correlation sums.

    Examples
    --------
    Two independent series that remember some twenty steps:

    >>> import numpy as np
    >>> from mitools.methods import KSG, TheilerKSG
    >>> noise = np.random.default_rng(0).standard_normal((2, 2_000))
    >>> x, y = (np.convolve(row, np.ones(20), "valid")[:, None] for row in noise)
    >>> for method in (KSG(), TheilerKSG(20)):  # truth: 0
    ...     print(f"{abs(method.mutual_information(x, y)):.2f}")
    0.08
    0.00
    """

    sense: ClassVar[Sense] = "point"
    cautions: ClassVar[frozenset[str]] = frozenset({"ties", "scales"})
    window: int
    k: int = 3
    scale: Scale = "std"

    def __post_init__(self) -> None:
        checked_count("window", self.window, least=0)
        checked_count("k", self.k)
        checked_scale(self.scale)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return float(np.mean(self.local_mutual_information(x, y)))

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,); their mean is I(X; Y)."""
        spaces = [scaled(rows, self.scale) for rows in (x, y)]
        tied, (near_x, near_y) = self._counts(spaces, [(0,), (1,)])
        row, n = np.arange(len(x)), len(x)
        others = n - 1 - np.minimum(row, self.window) - np.minimum(n - 1 - row, self.window)
        return psi(tied) + psi(others + 1) - (psi(near_x) + psi(near_y))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        spaces = [scaled(rows, self.scale) for rows in (x, y, z)]
        tied, (near_xz, near_yz, near_z) = self._counts(spaces, [(0, 2), (1, 2), (2,)])
        return float(np.mean(psi(tied) + psi(near_z) - (psi(near_xz) + psi(near_yz))))

    def _counts(
        self, spaces: Sequence[FloatArray], asked: Sequence[tuple[int, ...]]
    ) -> tuple[IntArray, list[IntArray]]:
        """Return what stands under the digammas, for all spaces together and those asked for.

        One more than the number of rows strictly nearer than the k-th neighbour; where that is at
        distance 0, the number of rows there, itself included, in place of k too.
        """
        n = len(spaces[0])
        if self.k > n - 1 - 2 * self.window:
            raise ValueError(
                f"k must be at most the number of rows outside of the window; got k={self.k} and "
                f"window={self.window} with n={n} rows. Use more samples or a shorter window."
            )
        tied = np.empty(n, np.int64)
        near = [np.empty(n, np.int64) for _ in asked]
        for rows, apart in self._blocks(spaces):
            joint = np.maximum.reduce(apart)
            radius = np.partition(joint, self.k - 1, axis=1)[:, self.k - 1, None]
            atom = radius[:, 0] == 0.0
            limit = np.where(radius == 0.0, np.nextafter(0.0, 1.0), radius)
            tied[rows] = np.where(atom, (joint < limit).sum(axis=1) + 1, self.k)
            for count, which in zip(near, asked, strict=True):
                distance = np.maximum.reduce([apart[i] for i in which])
                count[rows] = (distance < limit).sum(axis=1) + 1
        return tied, near

    def _blocks(self, spaces: Sequence[FloatArray]) -> Iterator[tuple[slice, list[FloatArray]]]:
        """Yield rows and their distances to all, in each space; infinite inside the window."""
        n = len(spaces[0])
        height = max(1, _BLOCK // n)
        for start in range(0, n, height):
            rows = slice(start, min(n, start + height))
            steps = np.abs(np.arange(rows.start, rows.stop)[:, None] - np.arange(n))
            apart = [_distances(space, rows) for space in spaces]
            for distance in apart:
                distance[steps <= self.window] = np.inf
            yield rows, apart


def _distances(space: FloatArray, rows: slice) -> FloatArray:
    """Return the largest coordinate distance of these rows to all."""
    columns = [np.abs(column[rows, None] - column) for column in space.T]
    return np.maximum.reduce(columns)
