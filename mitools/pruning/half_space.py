"""Steps that send whole channels to zero, proximal or half-space, after those of any optimiser."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mitools.pruning.channel_sums import ChannelSums
from mitools.training import Optimizer

Stage = Literal["proximal", "subgradient", "half-space", "dual"]


@dataclass(frozen=True)
class HalfSpace:
    """An optimiser for one network, with a penalty ``λ Σ_s ‖x_s‖`` on the norms of its channels.

    x is what the channels hold before a step, x̂ what the inner optimiser made of it, α the present
    learning rate. Three kinds of steps:

    - "proximal": ``x_s ← max(0, 1 - α λ / ‖x̂_s‖) x̂_s``;
    - "subgradient": ``x_s ← x̂_s - α λ x_s / ‖x_s‖``;
    - "half-space": the same, and then ``x_s ← 0`` where ``⟨new x_s, x_s⟩ < ε ‖x_s‖²``: where the
      step leaves the half space of directions that x_s is in. What is 0 stays 0;
    - "dual": the same for some channels only. Where ``⟨x_s, d_s⟩ < 0``, with ``d = (x - x̂) / α``,
      the channel would grow, and has a λ of its own: ``amplify · l`` with ``l = -⟨x_s, d_s⟩ /
      ‖x_s‖``, the least that stops the growth, but within λ and ``ceiling · λ``; where that is not
      below ``u = -‖d_s‖² ‖x_s‖ / ⟨x_s, d_s⟩``, up to which the step still descends, (l + u) / 2.

    Parameters
    ----------
    inner : Optimizer
        Whose steps are taken.
    stage : "proximal", "subgradient", "half-space" or "dual"
        The kind.
    penalty, epsilon : float
        λ and ε.
    parameters : mapping of str to Parameter
        Those of the network to be trained.
    channels : ChannelSums
        Its channels.
    droppable : callable
        Given the channels' norms and which of them are to go, says which of these may.
    amplify, ceiling : float
        For "dual".
    penalised : Tensor, optional
        True for channels with a penalty; None: all.
    """

    inner: Optimizer
    stage: Stage
    penalty: float
    epsilon: float
    parameters: Mapping[str, nn.Parameter] = field(repr=False, compare=False)
    channels: ChannelSums = field(repr=False, compare=False)
    droppable: Callable[[Tensor, Tensor], Tensor] = field(repr=False, compare=False)
    amplify: float = 2.0
    ceiling: float = 10.0
    penalised: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def lr(self) -> float:
        """The learning rate of the inner optimiser."""
        return self.inner.lr

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's optimiser, with what is done before and after each of its steps."""
        optimizer = self.inner.build(parameters)
        before: dict[str, Tensor] = {}

        def keep(*_: Any) -> None:
            before.update({name: p.detach().clone() for name, p in self._held.items()})

        def move(made: torch.optim.Optimizer, *_: Any) -> None:
            self._after(before, float(made.param_groups[0]["lr"]))

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(move)
        return optimizer

    @property
    def _held(self) -> dict[str, nn.Parameter]:
        return {name: self.parameters[name] for name in self.channels.names}

    @torch.no_grad()
    def _after(self, x: Mapping[str, Tensor], rate: float) -> None:
        """Change what the inner optimiser made of x, in place."""
        made = {name: parameter.detach() for name, parameter in self._held.items()}
        if self.stage == "proximal":
            shrink = _over(rate * self.penalty, self.channels.norms(made))
            self._multiply(made, (1.0 - shrink).clamp_min(0.0))
            return
        norms = self.channels.norms(x)
        pull = _over(rate * self._penalties(norms, x, made, rate), norms)
        for name, factor in self.channels.factors(pull, x, otherwise=0.0).items():
            made[name] -= factor * x[name]
        if self.stage != "subgradient":
            products = self.channels.sums({name: made[name] * x[name] for name in made})
            leaving = (norms > 0) & (products < self.epsilon * norms.square())
            if self.penalised is not None:
                leaving &= self.penalised.to(leaving.device)
            gone = (norms == 0) | (self.droppable(norms, leaving) if leaving.any() else leaving)
            self._multiply(made, (~gone).to(norms.dtype))

    def _penalties(
        self, norms: Tensor, x: Mapping[str, Tensor], made: Mapping[str, Tensor], rate: float
    ) -> Tensor:
        """Return λ of each channel."""
        penalties = torch.full_like(norms, self.penalty)
        if self.stage == "dual" and rate > 0:
            steps = {name: (x[name] - made[name]) / rate for name in made}
            slopes = self.channels.sums({name: steps[name] * x[name] for name in made})
            grows = slopes < 0
            least = _over(-slopes, norms)
            most = _over(self.channels.norms(steps).square() * norms, -slopes)
            own = (self.amplify * least).clamp(self.penalty, self.ceiling * self.penalty)
            own = torch.where(own >= most, (least + most) / 2, own)
            penalties = torch.where(grows, own, penalties)
        return penalties if self.penalised is None else penalties * self.penalised.to(norms)

    def _multiply(self, tensors: Mapping[str, Tensor], values: Tensor) -> None:
        for name, factor in self.channels.factors(values, tensors, otherwise=1.0).items():
            tensors[name].mul_(factor)


def _over(number: float | Tensor, norms: Tensor) -> Tensor:
    """Return number / norm; 0 where the norm is not positive."""
    return torch.where(norms > 0, number / torch.where(norms > 0, norms, 1.0), 0.0)
