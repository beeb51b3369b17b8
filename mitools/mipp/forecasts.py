"""A target as networks forecast it: the loss, the rows, and what a smaller loss is worth."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from mitools.mipp.engines import Relation
from mitools.mipp.perceptrons import Rows

Head = Literal["squared", "normal"]

_LOG_SPREADS = (-14.0, 14.0)


@dataclass(frozen=True, eq=False)
class Forecast:
    """One relation in standard units, its rows dealt out to k networks.

    Every row is judged by one network that neither learnt from it nor chose by it.

    Parameters
    ----------
    features : (n, d) float32
        A, each column with mean 0 and spread 1; what never varies is 0.
    target : (n, t) float32, or (n,) int64
        T in the same units, or classes.
    owner : (d,) int64
        The channel of each column; `channels` for columns that are nobody's and stay.
    channels : int
        How many there are.
    rows : Rows
        To learn from.
    judge : (k, m) int64
        Rows to judge on.
    head : {"squared", "normal"}
        For numbers: the squared error, or a normal law with a spread that depends on A.
    noise : float
        Variance of the noise that T is taken with, in units of T's variance.
    """

    features: Tensor
    target: Tensor
    owner: Tensor
    channels: int
    rows: Rows
    judge: Tensor
    head: Head
    noise: float

    @property
    def classes(self) -> bool:
        """Whether the target is one of several classes."""
        return not self.target.is_floating_point()

    @property
    def start(self) -> Tensor:
        """Outputs that know nothing of the features: the mean, or the rates of classes."""
        if not self.classes:
            return torch.zeros(self.target.shape[1] * (2 if self.head == "normal" else 1))
        seen = one_hot(self.target).double().mean(0)
        return ((seen * len(self.target) + 0.5) / (len(self.target) + 0.5 * len(seen))).log()

    def losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of each row, (k, b): what networks are trained on."""
        wanted = self.target[rows]
        if self.classes:
            return cross_entropy(outputs.movedim(-1, 1), wanted, reduction="none")
        if self.head == "squared":
            return (outputs - wanted).square().mean(-1)
        mean, spread = outputs.chunk(2, dim=-1)
        variance = spread.clamp(*_LOG_SPREADS).exp() + self.noise
        error = (mean - wanted).square() + self.noise  # the noise has a mean square of its own
        return (variance.log() + error / variance).mean(-1) / 2.0

    def judged(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return how well rows are forecast: losses (k, m), or for covariances errors (k, m, t)."""
        if self.classes or self.head == "normal":
            width = 1 if self.classes else self.target.shape[1]
            return self.losses(outputs, rows).double() * width
        return (outputs - self.target[rows]).double()

    def told(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the information in forecasts beyond none, `gains`."""
        nothing = self.judged(self.start.float().expand(*rows.shape, -1), rows)
        return self.gains(nothing, self.judged(outputs, rows))

    def gains(self, less: Tensor, more: Tensor) -> Tensor:
        """Return the information in `more` beyond `less`, both `judged`: terms (k, m) in nats.

        For losses, their differences. For errors with covariances R, and noise N::

            1/2 log det (R_less + N) - 1/2 log det (R_more + N)

        is the mean of each network's terms, which tell what each row has to do with it.
        """
        if less.ndim == 2:
            return less - more
        return self._size(less) - self._size(more)

    def _size(self, errors: Tensor) -> Tensor:
        """Return terms whose mean is 1/2 log det (R + N), R the mean square of errors (k, m, t)."""
        t = errors.shape[-1]
        square = errors.mT @ errors / errors.shape[1] + self.noise * torch.eye(t).double()
        factor, failed = torch.linalg.cholesky_ex(square)
        if bool(failed.any()):
            raise ValueError(
                f"noise must be positive where targets are forecast without error, or are more "
                f"({t}) than the rows to judge on ({errors.shape[1]}); got {self.noise}. 0.1 is a "
                "tenth of each target's variance."
            )
        white = torch.linalg.solve_triangular(factor, errors.mT, upper=False)
        share = white.square().sum(1)
        size = factor.diagonal(dim1=-2, dim2=-1).log().sum(1, keepdim=True)
        return size + (share - share.mean(1, keepdim=True)) / 2.0


def forecast_of(
    relation: Relation, head: Head, noise: float, repeats: int, generator: torch.Generator
) -> Forecast:
    """Return a relation, its rows dealt out at random.

    Raises
    ------
    ValueError
        If there are too few rows, or none were kept.
    """
    if relation.features is None or relation.target is None:
        raise ValueError(
            f"layer must come with rows for a predictive engine; {relation.name!r} has none. Ask "
            "for them with rows=..."
        )
    n = len(relation.features)
    if n < 4 * repeats:
        raise ValueError(
            f"rows must be at least four for each of the {repeats} repeats; got {n}. Use more "
            "samples, or fewer repeats."
        )
    parts = torch.randperm(n, generator=generator)[: n - n % repeats].reshape(repeats, -1)
    fit, choose = [], []
    for k in range(repeats):
        rest = torch.cat([parts[j] for j in range(repeats) if j != k])
        rest = rest[torch.randperm(len(rest), generator=generator)]
        few = len(rest) // 5
        choose.append(rest[:few])
        fit.append(rest[few:])
    channels = len(relation.variables)
    owner = torch.full((relation.features.shape[1],), channels)
    for channel, columns in enumerate(relation.variables):
        owner[list(columns)] = channel
    target = relation.target.cpu()
    if target.is_floating_point():
        moves = (target != target[:1]).any(0)
        moves[0] |= not moves.any()  # something must be forecast, if only what never changes
        target = _standard(target[:, moves])
    else:
        target = torch.unique(target, return_inverse=True)[1]
    rows = Rows(torch.stack(fit), torch.stack(choose))
    features = _standard(relation.features.cpu())
    return Forecast(features, target, owner, channels, rows, parts, head, noise)


def _standard(rows: Tensor) -> Tensor:
    """Return columns with mean 0 and spread 1, in single precision."""
    centred = rows.double() - rows.double().mean(0)
    spread = centred.square().mean(0).sqrt()
    # What differs by rounding alone does not vary.
    least = 1e-12 * rows.abs().amax(0).clamp(min=1e-300) if len(rows) else spread
    return torch.where(spread > least, centred / spread, 0.0).float()
