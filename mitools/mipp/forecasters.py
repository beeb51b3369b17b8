"""Forecasts with a channel and without it: by training again, or by training masked."""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from mitools.mipp.forecasts import Forecast
from mitools.mipp.perceptrons import Lesson, Perceptrons, Rows, Shape, drawn, trained

_RENEWED = 0.75  # share of channels left at which amortised networks are trained for those
_TOGETHER = 1 << 22  # numbers that networks trained side by side read and write in one step


class Forecaster(Protocol):
    """What a target is told by the channels left, all of them at first."""

    def information(self) -> float:
        """I(A_S; T) in nats, S the channels left."""
        ...

    def alone(self) -> Tensor:
        """I(A_g; T) of each channel by itself, in nats, (channels,)."""
        ...

    def gain(self, channel: int, again: bool = False) -> Tensor:
        """Try a channel: `Forecast.gains` of its presence beside the others left.

        The last one can be tried again, with more training.
        """
        ...

    def settle(self, kept: bool) -> None:
        """Keep the channel tried last, or drop it."""
        ...


class Retrained:
    """Networks that read the channels left, and those trained without the one tried last."""

    def __init__(
        self,
        forecast: Forecast,
        hidden: int,
        linear: bool,
        first: Lesson,
        retrain: int,
        generator: torch.Generator,
    ) -> None:
        self._forecast, self._generator = forecast, generator
        self._hidden, self._linear = hidden, linear
        self._lesson = replace(first, steps=retrain)
        self._columns = torch.arange(forecast.features.shape[1])
        networks = self._drawn(len(forecast.judge), len(self._columns))
        self._networks = self._trained(networks, self._columns, first, self._seed())
        self._rival = self._networks, self._columns

    def information(self) -> float:
        """I(A_S; T) in nats, S the channels left."""
        outputs = self._networks(self._forecast.features[:, self._columns][self._forecast.judge])
        return float(self._forecast.told(outputs, self._forecast.judge).mean())

    def alone(self) -> Tensor:
        """I(A_g; T) of each channel by itself, in nats, (channels,)."""
        found = self._forecast
        own = [torch.nonzero(found.owner == each).flatten() for each in range(found.channels)]
        widest = max(len(columns) for columns in own)
        x = pad(found.features, (0, 1))  # with a column of zeros, for the narrow
        at = torch.full((len(own), widest), x.shape[1] - 1)
        for channel, columns in enumerate(own):
            at[channel, : len(columns)] = columns
        outputs = len(found.start)
        each = len(found.judge) * self._lesson.batch * (widest + self._hidden + outputs)
        return torch.cat([self._alone(x, some) for some in at.split(max(1, _TOGETHER // each))])

    def gain(self, channel: int, again: bool = False) -> Tensor:
        """Go on with the channel and without it, on the same batches."""
        gone, seed = self._forecast.owner[self._columns] == channel, self._seed()
        columns = self._columns[~gone]
        less = self._rival[0] if again else self._networks.without(gone)
        less = self._trained(less, columns, self._lesson, seed)
        self._networks = self._trained(self._networks, self._columns, self._lesson, seed)
        self._rival = less, columns
        return self._forecast.gains(
            self._judged(less, columns), self._judged(self._networks, self._columns)
        )

    def settle(self, kept: bool) -> None:
        """Go on with the networks that have it, or those that were trained without."""
        if not kept:
            self._networks, self._columns = self._rival

    def _alone(self, x: Tensor, at: Tensor) -> Tensor:
        """Train networks for several channels side by side, each on its own columns."""
        found, count = self._forecast, len(at)
        columns = at.repeat_interleave(len(found.judge), 0)[:, None]
        rows = Rows(found.rows.fit.repeat(count, 1), found.rows.choose.repeat(count, 1))
        networks = trained(
            self._drawn(len(columns), at.shape[1]),
            lambda rows, _: x[rows[:, :, None], columns],
            found.losses,
            rows,
            self._lesson,
            torch.Generator().manual_seed(self._seed()),
        )
        judge = found.judge.repeat(count, 1)
        told = found.told(networks(x[judge[:, :, None], columns]), judge)
        return told.mean(1).reshape(count, -1).mean(1)

    def _trained(
        self, networks: Perceptrons, columns: Tensor, lesson: Lesson, seed: int
    ) -> Perceptrons:
        found, x = self._forecast, self._forecast.features[:, columns]
        batches = torch.Generator().manual_seed(seed)
        return trained(networks, lambda rows, _: x[rows], found.losses, found.rows, lesson, batches)

    def _judged(self, networks: Perceptrons, columns: Tensor) -> Tensor:
        judge = self._forecast.judge
        return self._forecast.judged(networks(self._forecast.features[:, columns][judge]), judge)

    def _drawn(self, count: int, inputs: int) -> Perceptrons:
        start = self._forecast.start
        shape = Shape(inputs, len(start), self._hidden, self._linear)
        return drawn(count, shape, start, self._generator)

    def _seed(self) -> int:
        return int(torch.randint(1 << 62, (), generator=self._generator))


class Amortised:
    """Networks that forecast from any channels: masked at random in training, told the mask."""

    def __init__(
        self,
        forecast: Forecast,
        hidden: int,
        linear: bool,
        first: Lesson,
        retrain: int,
        generator: torch.Generator,
    ) -> None:
        self._forecast, self._generator = forecast, generator
        self._lesson = replace(first, steps=retrain)
        self._left = torch.ones(forecast.channels, dtype=torch.bool)
        self._trained_for, self._tried = forecast.channels, 0
        inputs = forecast.features.shape[1] + forecast.channels
        shape = Shape(inputs, len(forecast.start), hidden, linear)
        networks = drawn(len(forecast.judge), shape, forecast.start, generator)
        self._networks = self._trained(networks, first)
        self._now = self._less = self._judged(self._left)

    def information(self) -> float:
        """I(A_S; T) in nats, S the channels left."""
        return float(self._forecast.told(self._outputs(self._left), self._forecast.judge).mean())

    def alone(self) -> Tensor:
        """I(A_g; T) of each channel by itself, in nats, (channels,)."""
        judge, found = self._forecast.judge, []
        for only in torch.eye(self._forecast.channels, dtype=torch.bool):
            found.append(self._forecast.told(self._outputs(only), judge).mean())
        return torch.stack(found)

    def gain(self, channel: int, again: bool = False) -> Tensor:
        """Forecast without the channel."""
        without = self._left.clone()
        without[channel] = False
        self._tried, self._less = channel, self._judged(without)
        return self._forecast.gains(self._less, self._now)

    def settle(self, kept: bool) -> None:
        """Keep the channel tried last, or drop it; train again once a quarter is gone."""
        if kept:
            return
        self._left[self._tried], self._now = False, self._less
        left = int(self._left.sum())
        if left and left <= _RENEWED * self._trained_for:
            self._trained_for = left
            self._networks = self._trained(self._networks, self._lesson)
            self._now = self._judged(self._left)

    def _trained(self, networks: Perceptrons, lesson: Lesson) -> Perceptrons:
        found, generator = self._forecast, self._generator
        same = self._masks(*found.rows.choose.shape)  # at every check

        def inputs(rows: Tensor, fits: bool) -> Tensor:
            return self._read(rows, self._masks(*rows.shape) if fits else same)

        return trained(networks, inputs, found.losses, found.rows, lesson, generator)

    def _masks(self, k: int, b: int) -> Tensor:
        """Return masks (k, b, channels) of those left: half lack one, half are of every size."""
        left, draw = (
            self._left.float(),
            torch.rand(k, b, len(self._left), generator=self._generator),
        )
        share = torch.rand(k, b, 1, generator=self._generator)
        one = draw < torch.where(self._left, draw, -1.0).amax(-1, keepdim=True)
        half = torch.rand(k, b, 1, generator=self._generator) < 0.5
        return torch.where(half, one, draw < share).float() * left

    def _judged(self, left: Tensor) -> Tensor:
        return self._forecast.judged(self._outputs(left), self._forecast.judge)

    def _outputs(self, left: Tensor) -> Tensor:
        judge = self._forecast.judge
        return self._networks(self._read(judge, left.float().expand(*judge.shape, -1)))

    def _read(self, rows: Tensor, masks: Tensor) -> Tensor:
        stays = pad(masks, (0, 1), value=1.0)[..., self._forecast.owner]
        return torch.cat([self._forecast.features[rows] * stays, masks], dim=-1)
