"""Two inverse covariances at once, out of which channels are taken one after another."""

from collections.abc import Sequence

import torch
from torch import Tensor

_PANEL = 256  # columns that wait, so that most of the work is products of matrices
_SHRINK = 0.8  # of the variables left: then the matrices are copied without the others
_ROUNDING = torch.finfo(torch.float64).eps
_TRUSTED = 1e-9  # error of phi, in nats, above which everything is computed anew


class Precisions:
    """P and Q, the inverse covariances of variables S alone and given a target, while S shrinks.

    Without the variables g of a channel the inverse covariance of the others is a Schur
    complement, of either matrix::

        P <- P - P[:, g] P[g, g]^-1 P[g, :]

    and what the channel tells of the target beyond the others is::

        phi(g) = I(A_g; T | A_S without g) = 1/2 log det Q[g, g] - 1/2 log det P[g, g]

    This is Cholesky's method, with phi for the choice of the pivot: O(d^3) for all channels.

    Parameters
    ----------
    pair : (2, d, d) float64
        P and Q; overwritten.
    variables : sequence of sequences of int
        Those of each channel. Columns of no channel stay.
    """

    def __init__(self, pair: Tensor, variables: Sequence[Sequence[int]]) -> None:
        width = max((len(each) for each in variables), default=0)
        padded = [[*each, *[-1] * (width - len(each))] for each in variables]
        self._index = torch.tensor(padded, device=pair.device).long().reshape(len(padded), width)
        self._own = [torch.tensor(each, device=pair.device).long() for each in variables]
        self.left = torch.ones(pair.shape[-1], dtype=torch.bool, device=pair.device)
        self.count = pair.shape[-1]
        self.replace(pair)

    def replace(self, pair: Tensor) -> None:
        """Go on with P and Q of the variables left, computed anew."""
        self._hold(pair)
        real = self._at < self.count
        at = torch.where(real, self._at, 0)
        blocks = pair[:, at[:, :, None], at[:, None, :]]
        unit = torch.eye(at.shape[1], dtype=pair.dtype, device=pair.device)
        self._blocks = torch.where(real[:, :, None] & real[:, None, :], blocks, unit)
        self._start = self._diagonals() * _ROUNDING / _TRUSTED

    @property
    def phi(self) -> Tensor:
        """For each channel, in nats; of those dropped it means nothing."""
        if self._blocks.shape[-1] == 1:
            log_dets = self._blocks[:, :, 0, 0].abs().log()
        else:
            log_dets = torch.linalg.slogdet(self._blocks).logabsdet
        return (log_dets[1] - log_dets[0]) / 2

    def worn(self, channels: Tensor) -> bool:
        """Whether rounding may have grown too large: what is left of a variance is a small rest."""
        small = self._start > self._diagonals().abs()
        return bool(small.any(-1).any(0)[channels].any())

    def drop(self, channel: int) -> None:
        """Take a channel's variables out."""
        own = self._own[channel]
        if not len(own):
            return
        at = self._place[own]
        waiting = self._panel[:, :, : self._waiting]
        columns = self._pair[:, :, at] - waiting[:, :-1] @ waiting[:, at].mT
        factor = torch.linalg.cholesky(columns[:, at])
        half = torch.linalg.solve_triangular(factor, columns.mT, upper=False).mT
        here = self._wait(half)
        of_blocks = self._panel[:, :, here][:, self._at]
        self._blocks -= of_blocks @ of_blocks.mT
        self.left[own] = False
        self.count -= len(own)
        if self.count < _SHRINK * self._pair.shape[-1]:
            self._settle()
            stay = self._place[self.left]
            self._hold(self._pair[:, stay[:, None], stay])

    def _hold(self, pair: Tensor) -> None:
        """Take matrices of the variables left, and find where these are."""
        self._pair, self._waiting = pair, 0
        self._place = self.left.long().cumsum(0) - 1
        # One more row, which stays 0: there are the variables that channels lack or have lost.
        self._panel = pair.new_zeros(2, self.count + 1, _PANEL)
        real = (self._index >= 0) & self.left[self._index]
        self._at = torch.where(real, self._place[self._index], self.count)

    def _wait(self, half: Tensor) -> slice:
        """Put columns into the panel; return where."""
        more = half.shape[-1]
        if self._waiting + more > self._panel.shape[-1]:
            self._settle()
        if more > self._panel.shape[-1]:
            self._panel = half.new_zeros(2, self._panel.shape[1], more)
        here = slice(self._waiting, self._waiting + more)
        self._panel[:, :-1, here] = half
        self._waiting += more
        return here

    def _settle(self) -> None:
        """Subtract what waits."""
        waiting = self._panel[:, :-1, : self._waiting]
        for matrix, columns in zip(self._pair, waiting, strict=True):
            matrix.addmm_(columns, columns.mT, alpha=-1.0)
        self._waiting = 0

    def _diagonals(self) -> Tensor:
        return self._blocks.diagonal(dim1=-2, dim2=-1)
