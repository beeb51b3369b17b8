"""MIPP in closed form: all of it is linear algebra with the moments of one pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from mitools._validation import checked_choice, checked_share
from mitools.mipp.engines import Elimination, Layer, Reads, Relation, Step, check_counts
from mitools.mipp.precision import Precisions
from mitools.mipp.wilks import wilks_p
from mitools.pruning.scoring import reproducibly

_MILD, _STRONG = -6.0, 12.0  # log10 of the noise
_LITTLE = 1e-9  # nats


@dataclass(frozen=True)
class Gaussian:
    """Linear algebra: exact for Gaussian channels, and for what linear weights can use of any.

    The next layer's pre-activations T = W A + b are linear in this layer's channels A, so that all
    is in the covariance G of A. As they are a function of A, information is infinite without noise:
    T is taken with independent noise of variance ``noise`` times its own. With P = G^-1 and
    Q = P + W' N^-1 W, the inverse covariances of A alone and given T, a channel g tells::

        phi(g) = I(A_g; T | A_S without g) = 1/2 log det Q[g, g] - 1/2 log det P[g, g]

    which is 1/2 log(1 + b' R^-1 b / P[g, g]) for one variable with coefficients b and residuals R.
    Leaving it out is a Schur complement in both matrices.

    Parameters
    ----------
    noise : float, > 0
        Variance of the noise in units of each target's variance: the finer, the more stays.
    confidence : float
        A channel stays if its phi is above 0 with this confidence, by Wilks' lambda (an F test),
        each test by itself.
    order : {"backward", "terc"}
        "backward" always drops, of the channels that are not significant, the one that tells least
        given all others left, until there is none. "terc" visits each once, the least informative
        by itself first, and drops it if what it adds is not significant [1]_.
    ridge : float, >= 0
        Added to the variance of each variable of A, in units of it: what is known of it exactly
        from others, to that accuracy, counts as a copy.

    References
    ----------
    .. [1] Westphal, Hailes, Musolesi, arXiv 2401.11512 and 2411.00147. The closed form is ours.
    """

    noise: float = 0.1
    confidence: float = 0.95
    order: Literal["backward", "terc"] = "backward"
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        if not 0.0 < self.noise < math.inf:
            raise ValueError(
                f"noise must be positive and finite; got {self.noise!r}. Without noise a layer "
                "tells infinitely much of the next; 0.1 is a tenth of each target's variance."
            )
        checked_share("confidence", self.confidence)
        checked_choice("order", self.order, ("backward", "terc"))
        if not 0.0 <= self.ridge < math.inf:
            raise ValueError(
                f"ridge must be finite and not negative; got {self.ridge!r}. 1e-6 is usual."
            )

    @property
    def reads(self) -> Reads:
        """Moments."""
        return "moments"

    def at(self, strength: float) -> "Gaussian":
        """Return the same engine with noise from 1e-6 (strength 0) to 1e12 (1)."""
        return replace(self, noise=10.0 ** (_MILD + (_STRONG - _MILD) * strength))

    def eliminate(
        self, layer: Layer, *, least: int = 1, width: int | None = None, progress: bool = False
    ) -> Elimination:
        """Drop channels; see `mitools.mipp.Engine`.

        Raises
        ------
        ValueError
            If a consumer has too many targets for a test of any channel, and there is no width;
            least or width is no number of channels; or a covariance is singular.
        """
        check_counts(layer, least, width)
        with reproducibly():
            search = _Search(layer, self)
            if width is None:
                _check_testable(layer)
            if self.order == "backward":
                search.descend(least, width)
            else:
                search.visit(least, width)
            return search.answer()


class _Search:
    """Which channels are left, and what was found on the way."""

    def __init__(self, layer: Layer, engine: Gaussian) -> None:
        self._engine = engine
        self._states = [_State(relation, engine) for relation in layer.relations]
        self._left = torch.ones(layer.size, dtype=torch.bool)
        self._count, self._phi = layer.size, self._summed()
        self._steps: list[Step] = []
        self._before = sum(state.information for state in self._states)

    def descend(self, least: int, width: int | None) -> None:
        """Drop the channel that tells least, again and again."""
        while self._more_than(least if width is None else width):
            channel = int(torch.where(self._left, self._phi, math.inf).argmin())
            if width is None and self._significant(channel):
                # Others can tell more and be chance all the same: of more columns.
                rest = (each for each in self._ranked() if not self._significant(each))
                channel = next(rest, -1)
                if channel < 0:
                    return
            self._drop(channel)

    def visit(self, least: int, width: int | None) -> None:
        """Visit each channel once, the least informative by itself first.

        Towards a width, again and again: each time those go that add little, twice as much as the
        time before, until enough are gone.
        """
        alone = torch.stack([state.alone() for state in self._states]).sum(0)
        order = torch.sort(alone, stable=True).indices.tolist()
        most = _LITTLE
        goal = least if width is None else width
        while self._more_than(goal):
            for channel in self._still(order):
                tells = self._significant(channel) if width is None else self._phi[channel] > most
                if not tells and self._more_than(goal):
                    self._drop(channel)
            most *= 2.0
            if width is None:
                return

    def answer(self) -> Elimination:
        """Return what was found, with what those that stay tell at the end."""
        ends = tuple(self._step(channel, True, self._count) for channel in self._ranked())
        after = sum(state.information for state in self._states)
        drift = max(state.drift for state in self._states)
        steps = (*self._steps, *ends)
        return Elimination(self._left, steps, self._before, after, drift, self._notes())

    def _notes(self) -> tuple[str, ...]:
        few = min(self._states, key=lambda state: state.spare)
        if few.spare > 0:
            return ()
        return (
            f"{few.count:,} rows are no more than variables and targets together, {few.needed:,}: "
            "nothing is significant before enough are gone. Use more samples or places",
        )

    def _drop(self, channel: int) -> None:
        self._left[channel] = False
        self._count -= 1
        self._steps.append(self._step(channel, False, self._count))
        for state in self._states:
            state.drop(channel, self._left)
        self._phi = self._summed()

    def _step(self, channel: int, kept: bool, left: int) -> Step:
        phi, p_value = float(self._phi[channel]), self._p_value(channel)
        return Step(channel, phi, p_value, kept, left)

    def _more_than(self, least: int) -> bool:
        return self._count > least

    def _significant(self, channel: int) -> bool:
        return self._p_value(channel) <= 1.0 - self._engine.confidence

    def _ranked(self) -> list[int]:
        """Return the channels left, those that tell least first."""
        stay = self._left.nonzero().flatten()
        return stay[torch.sort(self._phi[stay], stable=True).indices].tolist()

    def _still(self, order: list[int]) -> list[int]:
        return [channel for channel in order if self._left[channel]]

    def _summed(self) -> Tensor:
        return torch.stack([state.phi for state in self._states]).sum(0)

    def _p_value(self, channel: int) -> float:
        """Return the smallest p-value of all consumers, times their number."""
        found = [state.p_value(channel) for state in self._states]
        return min(1.0, len(found) * min(found))


class _State:
    """What one consumer's target is told by the channels left."""

    def __init__(self, relation: Relation, engine: Gaussian) -> None:
        scaled = _Scaled(relation, engine)
        self._scaled, self.count = scaled, relation.count
        self._walk = Precisions(scaled.precisions(), relation.variables)
        self._variables = relation.variables
        self.needed = len(scaled.gram) + scaled.targets
        self.spare = self.count - 1 - self.needed
        self.drift = 0.0
        self._renewed = self._walk.count
        self.phi = self._phi()

    @property
    def information(self) -> float:
        """I(A_S; T) in nats."""
        return self._scaled.information(self._walk.left)

    def alone(self) -> Tensor:
        """Return what each channel tells by itself, in nats."""
        return self._scaled.alone(self._variables)

    def p_value(self, channel: int) -> float:
        """Return that of a channel's phi."""
        own = len(self._variables[channel])
        others, targets = self._walk.count - own, self._scaled.targets
        return wilks_p(float(self.phi[channel]), own, targets, others, self.count)

    def drop(self, channel: int, left: Tensor) -> None:
        """Take a channel out."""
        self._walk.drop(channel)
        if self._due(left):
            before = self._phi()
            self._walk.replace(self._scaled.precisions(self._walk.left))
            self._renewed = self._walk.count
            self.phi = self._phi()
            gap = (self.phi - before)[left].abs()
            self.drift = max(self.drift, float(gap.max()) if len(gap) else 0.0)
        else:
            self.phi = self._phi()

    def _due(self, left: Tensor) -> bool:
        """Whether to compute anew: half are gone, or much rounding since a while ago."""
        now = self._walk.count
        if not now:
            return False
        if now <= self._renewed // 2:
            return True
        return now < self._renewed - self._renewed // 32 and self._walk.worn(left)

    def _phi(self) -> Tensor:
        return self._walk.phi.cpu()


class _Scaled:
    """A relation's covariances in units of each variable's own, with ridge and noise."""

    def __init__(self, relation: Relation, engine: Gaussian) -> None:
        assert relation.covariance is not None
        covariance = relation.covariance
        scale = covariance.diagonal().clamp(min=0.0).sqrt()
        inverse = torch.where(scale > 0.0, 1.0 / scale, 0.0)  # a dead variable stays 0
        self.gram = covariance * inverse[:, None] * inverse
        self.gram.diagonal().add_(engine.ridge)
        self.noise, self._weight = engine.noise, None
        if relation.weight is not None:
            weight = (relation.weight * scale).T
            cross = self.gram @ weight
            spread = weight.T @ cross
        else:
            assert relation.cross is not None and relation.spread is not None
            weight, cross, spread = None, relation.cross * inverse[:, None], relation.spread
        sizes = spread.diagonal().clamp(min=0.0).sqrt()
        live = sizes > 0.0
        self.cross = cross[:, live] / sizes[live]
        self.spread = spread[live][:, live] / sizes[live, None] / sizes[live]
        self.spread.diagonal().add_(self.noise)
        if weight is not None:
            self._weight = weight[:, live] / sizes[live]

    @property
    def targets(self) -> int:
        """Targets that vary."""
        return self.spread.shape[0]

    def precisions(self, left: Tensor | None = None) -> Tensor:
        """Return P and Q, of all variables or of those left."""
        whole = left is None or bool(left.all())
        gram, cross = (
            (self.gram, self.cross) if whole else (self.gram[left][:, left], self.cross[left])
        )
        factor = _factor(gram)
        p = torch.cholesky_inverse(factor)
        if whole and self._weight is not None:
            half = self._weight / math.sqrt(self.noise)
        else:
            shadow = torch.linalg.solve_triangular(factor, cross, upper=False)
            b = torch.linalg.solve_triangular(factor.T, shadow, upper=True)
            root = _factor(self.spread - shadow.T @ shadow)
            half = torch.linalg.solve_triangular(root, b.T, upper=False).T
        return torch.stack([p, torch.addmm(p, half, half.T)])

    def information(self, left: Tensor) -> float:
        """Return I(A_S; T + noise) in nats."""
        if not self.targets:
            return 0.0
        shadow = torch.linalg.solve_triangular(
            _factor(self.gram[left][:, left]), self.cross[left], upper=False
        )
        residual = self.spread - shadow.T @ shadow
        return _log_det(self.spread) / 2 - _log_det(residual) / 2

    def alone(self, variables: Sequence[Sequence[int]]) -> Tensor:
        """Return I(A_g; T + noise) of each channel by itself, in nats."""
        shadow = torch.linalg.solve_triangular(_factor(self.spread), self.cross.T, upper=False)
        found = []
        for own in variables:
            at = torch.tensor(own, dtype=torch.int64, device=self.gram.device)
            block, seen = self.gram[at][:, at], shadow[:, at]
            found.append((_log_det(block) - _log_det(block - seen.T @ seen)) / 2)
        return torch.tensor(found, dtype=torch.float64)


def _check_testable(layer: Layer) -> None:
    for relation in layer.relations:
        first = relation.weight if relation.weight is not None else relation.spread
        targets = 0 if first is None else len(first)
        own = max((len(each) for each in relation.variables), default=0)
        if relation.count - 1 - own < targets:
            raise ValueError(
                f"loader must give more rows than targets for a test; got {relation.count:,} rows "
                f"and {targets:,} targets of {relation.name!r}. Use more samples or places, or "
                "widths=..., which needs no test."
            )


def _factor(matrix: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        raise ValueError(
            f"ridge must be large enough for activations that are functions of one another; "
            f"{matrix.shape[0]:,} of them have a singular covariance. Try ridge=1e-6, or more "
            "samples."
        )
    return factor


def _log_det(matrix: Tensor) -> float:
    return float(torch.linalg.slogdet(matrix).logabsdet)
