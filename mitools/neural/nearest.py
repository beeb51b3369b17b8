"""Nearest-neighbour estimates with the counting done by torch, on a GPU for instance."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import digamma
from torch import Tensor

from mitools._typing import FloatArray, IntArray, Sense
from mitools._validation import checked_count, checked_neighbors
from mitools.methods import KSG
from mitools.methods._neighbors import Scale, ball_counts, checked_scale, pair_counts, psi, scaled
from mitools.neural import counts
from mitools.neural.isolation import checked_device


@dataclass(frozen=True)
class TorchKSG:
    """`mitools.methods.KSG`, variant 1, with the neighbours counted by torch: the same terms.

    All pairs are compared, O(n² d) time, in blocks of bounded memory and double precision. That
    suits a GPU, and many dimensions; on a CPU, and in few dimensions, `KSG` is far faster.

    Parameters
    ----------
    k, scale
        As for `KSG`.
    device : str
        Where torch works.

    Examples
    --------
    >>> import numpy as np
    >>> from mitools.methods import KSG
    >>> from mitools.neural import TorchKSG
    >>> x, y = np.random.default_rng(0).standard_normal((2, 500, 3))
    >>> here, there = KSG(), TorchKSG(device="cpu")
    >>> bool((here.local_mutual_information(x, y) == there.local_mutual_information(x, y)).all())
    True
    """

    sense: ClassVar[Sense] = KSG.sense
    cautions: ClassVar[frozenset[str]] = KSG.cautions
    k: int = 3
    scale: Scale = "std"
    device: str = "cuda"

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        checked_scale(self.scale)

    def mutual_information(self, x: FloatArray, y: FloatArray) -> float:
        """I(X; Y) in nats."""
        return float(np.mean(self.local_mutual_information(x, y)))

    def local_mutual_information(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return the term of each sample, in nats, shape (n,); their mean is I(X; Y)."""
        k = checked_neighbors(self.k, len(x))
        x, y = scaled(x, self.scale), scaled(y, self.scale)
        neighbors, (near_x, near_y) = pair_counts(x, y, k, _On(checked_device(self.device)))
        return psi(neighbors) + digamma(len(x)) - (psi(near_x) + psi(near_y))

    def conditional_mutual_information(self, x: FloatArray, y: FloatArray, z: FloatArray) -> float:
        """I(X; Y | Z) in nats."""
        k = checked_neighbors(self.k, len(x))
        x, y, z = (scaled(rows, self.scale) for rows in (x, y, z))
        spaces = (np.hstack((x, z)), np.hstack((y, z)), z)
        kernels = _On(checked_device(self.device))
        neighbors, (near_xz, near_yz, near_z) = ball_counts(
            spaces, np.hstack((x, y, z)), k, kernels
        )
        return float(np.mean(psi(neighbors) + psi(near_z) - (psi(near_xz) + psi(near_yz))))

    def ceiling(self, n: int) -> float:
        """Return the largest value that n samples without ties can give, in nats."""
        return KSG(self.k).ceiling(n)


@dataclass(frozen=True)
class _On:
    """The kernels' names, arrays in and out, with torch working on a device in between."""

    device: torch.device

    def kth_distance(self, points: FloatArray, k: int) -> FloatArray:
        return self._arrays(counts.kth_distance, points, k)[0]

    def count_within(self, points: FloatArray, radius: FloatArray) -> IntArray:
        return self._arrays(counts.count_within, points, radius)[0]

    def ksg_counts(
        self, x: FloatArray, y: FloatArray, k: int
    ) -> tuple[FloatArray, IntArray, IntArray]:
        radius, near_x, near_y = self._arrays(counts.ksg_counts, x, y, k)
        return radius, near_x, near_y

    def _arrays(
        self, kernel: Callable[..., Tensor | tuple[Tensor, ...]], *arguments: np.ndarray | int
    ) -> list[np.ndarray]:
        placed = [
            torch.tensor(a, device=self.device) if isinstance(a, np.ndarray) else a
            for a in arguments
        ]
        with torch.no_grad():
            found = kernel(*placed)
        return [t.cpu().numpy() for t in ((found,) if isinstance(found, Tensor) else found)]
