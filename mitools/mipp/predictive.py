"""MIPP as published: networks forecast the next layer with each channel and without it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from scipy.stats import t as student
from torch import Tensor
from tqdm.auto import tqdm

from mitools._validation import checked_choice, checked_count, checked_share
from mitools.mipp.engines import Elimination, Layer, Reads, Step, check_counts
from mitools.mipp.forecasters import Amortised, Forecaster, Retrained
from mitools.mipp.forecasts import Head, forecast_of
from mitools.mipp.perceptrons import Lesson
from mitools.neural.isolation import isolated

_LEAST = {
    "hidden": 1,
    "batch_size": 2,
    "steps": 1,
    "retrain": 1,
    "attempts": 1,
    "repeats": 2,
    "rows": 8,
    "seed": 0,
}
# Steps and learning rate of the first training.
_FIRST = {"retrained": (1_000, 1e-3), "amortised": (2_000, 5e-3)}


@dataclass(frozen=True)
class Predictive:
    """Networks that forecast T from A: the papers' procedure, judged on rows held out [1]_.

    The rows are dealt out to `repeats` networks, each of which is judged on a part of its own that
    it never saw. "retrained": all channels are visited once, the least informative by itself first.
    At each visit the networks go on for a few steps, once with all channels left and once without
    this one, from the same weights and with the same batches. The channel goes as soon as its
    removal no longer hurts with the confidence asked for; the networks without it then take over.
    "amortised": the networks are trained with channels masked at random and the mask as more inputs
    [2]_, so that they forecast from any set and a visit costs one forward pass; whenever a quarter
    of the channels is gone they are trained a little on sets of the others.

    What a channel tells is the loss that it saves, paired. For numbers and the squared error, with
    covariances R of held-out errors and N of the noise::

        phi = 1/2 log det (R without it + N) - 1/2 log det (R + N)

    For classes it is the difference of cross-entropies; for the "normal" head, of log-losses. These
    are information so far as the networks are as good as networks can be.

    Parameters
    ----------
    confidence : float
        A channel stays if what it tells exceeds `margin` with this confidence, each test by itself:
        Student's, over repeats with Nadeau and Bengio's variance [3]_ ("retrained") or over
        held-out rows, the networks as they are ("amortised").
    margin : float, >= 0
        In nats.
    training : {"retrained", "amortised"}
        As above.
    noise : float, >= 0
        Variance of the noise that T is taken with, in units of each target's variance. Not for
        classes.
    head : {"squared", "normal"}
        What is forecast of numbers: the mean, or mean and spread of each target by itself.
    hidden : int
        Units of the one hidden layer.
    linear : bool
        Whether a linear map stands beside it: the next layer is linear in this one.
    learning_rate : float or None
        Of Adam. None: 1e-3, as published, or 5e-3 for amortised networks, which see no set twice.
    batch_size : int
        Rows a step.
    steps : int or None
        Of the first training, at most. None: 1,000, or 2,000 for amortised networks.
    retrain : int
        Steps of every training after it, at most.
    attempts : int
        A channel of which the removal hurts is retrained without so often before it stays.
    repeats : int
        Networks, each with weights, batches and held-out rows of its own.
    rows : int
        Rows of a layer to ask for.
    seed : int
        Deals out the rows; draws weights, batches and masks.

    References
    ----------
    .. [1] Westphal, Hailes, Musolesi, arXiv 2411.00147 and 2401.11512. What they leave open is as
       in the authors' later programs: one hidden layer of 50, Adam at 1e-3, standard units. Ours:
       held-out rows, pairs, weights of its own for each repeat, the linear map, nats.
    .. [2] Covert, Lundberg, Lee, arXiv 2004.00668; Gadgil, Covert, Lee, arXiv 2306.03301.
    .. [3] Nadeau, Bengio, Machine Learning 52, 239 (2003).
    """

    confidence: float = 0.95
    margin: float = 0.01
    training: Literal["retrained", "amortised"] = "retrained"
    noise: float = 0.1
    head: Head = "squared"
    hidden: int = 50
    linear: bool = True
    learning_rate: float | None = None
    batch_size: int = 256
    steps: int | None = None
    retrain: int = 200
    attempts: int = 5
    repeats: int = 5
    rows: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        checked_share("confidence", self.confidence)
        checked_choice("training", self.training, ("retrained", "amortised"))
        checked_choice("head", self.head, ("squared", "normal"))
        for name in ("margin", "noise"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and not negative; got {getattr(self, name)!r}. "
                    f"{type(self).__dataclass_fields__[name].default} is usual."
                )
        if self.learning_rate is not None and not 0.0 < self.learning_rate < math.inf:
            raise ValueError(
                f"learning_rate must be positive and finite; got {self.learning_rate!r}. Try 1e-3."
            )
        for name, least in _LEAST.items():
            if name != "steps" or self.steps is not None:
                checked_count(name, getattr(self, name), least=least)

    @property
    def reads(self) -> Reads:
        """Rows."""
        return "rows"

    def at(self, strength: float) -> "Predictive":
        """Return the same engine with a margin from 1e-6 (strength 0) to 1e3 nats (1)."""
        return replace(self, margin=10.0 ** (-6.0 + 9.0 * strength))

    def eliminate(
        self, layer: Layer, *, least: int = 1, width: int | None = None, progress: bool = False
    ) -> Elimination:
        """Drop channels; see `mitools.mipp.Engine`.

        With a width, the channel that tells least given all others left is dropped again and
        again. What each told is found anew only where its last value is the smallest.

        Raises
        ------
        ValueError
            If the layer comes without rows, or with too few; or least or width is no number of
            channels.
        """
        check_counts(layer, least, width)
        with isolated(self.seed, torch.device("cpu")) as generator:
            search = _Search(layer, self, generator)
            if width is None:
                search.visit(least, progress)
            else:
                search.descend(width, progress)
            return search.answer()


class _Search:
    """Which channels are left, and what was found on the way."""

    def __init__(self, layer: Layer, engine: Predictive, generator: torch.Generator) -> None:
        self._engine, self._name = engine, layer.name
        kind = Retrained if engine.training == "retrained" else Amortised
        steps, rate = _FIRST[engine.training]
        steps, rate = engine.steps or steps, engine.learning_rate or rate
        first = Lesson(steps, rate, engine.batch_size)
        self._states: list[Forecaster] = []
        for relation in layer.relations:
            found = forecast_of(relation, engine.head, engine.noise, engine.repeats, generator)
            size = engine.hidden, engine.linear
            self._states.append(kind(found, *size, first, engine.retrain, generator))
        self._left = torch.ones(layer.size, dtype=torch.bool)
        self._steps: list[Step] = []
        self._before = sum(state.information() for state in self._states)

    def visit(self, least: int, progress: bool) -> None:
        """Visit each channel once, the least informative by itself first."""
        alone = torch.stack([state.alone() for state in self._states]).sum(0)
        again = self._engine.attempts - 1 if self._engine.training == "retrained" else 0
        for channel in tqdm(_ascending(alone), desc=self._name, disable=not progress):
            phi, p_value = self._try(channel, again)
            kept = p_value <= 1.0 - self._engine.confidence or int(self._left.sum()) <= least
            self._settle(channel, phi, p_value, kept)

    def descend(self, width: int, progress: bool) -> None:
        """Drop what tells least until so many are left."""
        known = torch.full(self._left.shape, -math.inf, dtype=torch.float64)
        tried = torch.zeros_like(self._left)  # since the last one went
        with tqdm(total=len(known) - width, desc=self._name, disable=not progress) as bar:
            while int(self._left.sum()) > width:
                known[~self._left] = math.inf
                channel = _ascending(known)[0]
                again = bool(tried[channel])
                known[channel], _ = self._try(channel, 0)
                tried[channel] = True
                others = torch.cat([known[:channel], known[channel + 1 :]])
                goes = again or bool((known[channel] <= others).all())
                self._settle(channel, float(known[channel]), None, not goes)
                if goes:
                    tried[:] = False
                    bar.update()
        for channel in (self._left & known.isneginf()).nonzero().flatten().tolist():
            known[channel], _ = self._try(channel, 0)
            self._settle(channel, 0.0, None, True)
        for channel in _ascending(torch.where(self._left, known, math.inf))[:width]:
            self._steps.append(Step(channel, float(known[channel]), None, True, width))

    def answer(self) -> Elimination:
        """Return what was found."""
        after = sum(state.information() for state in self._states)
        return Elimination(self._left, tuple(self._steps), self._before, after)

    def _try(self, channel: int, again: int) -> tuple[float, float]:
        """Return what a channel tells beyond the others left, and how likely that is by chance."""
        found = self._tested([state.gain(channel) for state in self._states])
        for _ in range(again):
            if found[1] > 1.0 - self._engine.confidence:
                break
            found = self._tested([state.gain(channel, again=True) for state in self._states])
        return found

    def _tested(self, terms: Sequence[Tensor]) -> tuple[float, float]:
        by_repeat = torch.stack([each.mean(1) for each in terms]).sum(0)
        phi, k = float(by_repeat.mean()), len(by_repeat)
        if self._engine.training == "retrained":
            # Repeats share most of the rows that they learn from.
            variance, freedom = float(by_repeat.var()) * (1.0 / k + 1.0 / (k - 1.0)), k - 1
        else:
            variance = sum(float(each.var()) / each.numel() for each in terms)
            freedom = min(each.numel() for each in terms) - 1
        excess = phi - self._engine.margin
        if not variance > 0.0:
            return phi, float(excess <= 0.0)
        return phi, float(student.sf(excess / math.sqrt(variance), freedom))

    def _settle(self, channel: int, phi: float, p_value: float | None, kept: bool) -> None:
        self._left[channel] = kept
        for state in self._states:
            state.settle(kept)
        if p_value is not None or not kept:
            left = int(self._left.sum())
            self._steps.append(Step(channel, phi, p_value, kept, left))


def _ascending(values: Tensor) -> list[int]:
    return torch.sort(values, stable=True).indices.tolist()
