"""One training under way: what changes from step to step, and how it is put down and taken up."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from mitools.data.seeds import derived_seed
from mitools.models import generator_states, seeded, set_generator_states, tensors_of
from mitools.training.evaluation import Evaluation
from mitools.training.losses import Loss, check_targets, correct, cross_entropy
from mitools.training.masking import Enforced
from mitools.training.optimizers import Optimizer
from mitools.training.passes import Passes
from mitools.training.schedules import Schedule
from mitools.training.state import Epoch, TrainState, copy_of, put_

_READ_EVERY = 64  # steps between looks at the loss: each look waits for the device


class Run:
    """A model, its optimiser and their place in the training.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place.
    optimizer, schedule : Optimizer, Schedule
        As in ``Training``.
    loss : Loss
        What is minimised.
    passes : Passes
        The data.
    mask : Enforced
        What stays zero.
    epochs, seed : int
        As in ``Training``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
        loss: Loss,
        passes: Passes,
        mask: Enforced,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.devices = {p.device for p in model.parameters()}
        self.base = optimizer
        self.optimizer = optimizer.build(self.parameters)
        self.schedule = schedule
        self.loss = loss
        self.passes = passes
        self.mask = mask
        self.length = epochs
        self.seed = seed
        self.step = self.epoch = self.batch = 0
        self.sums: tuple[float, int, int] = (0.0, 0, 0)
        self.generators: dict[str, Tensor] = {}
        self.epochs: tuple[Epoch, ...] = ()
        self.best: dict[str, Tensor] | None = None

    def resume(self, state: TrainState, argument: str) -> None:
        """Go on from a state, of which everything is copied; then apply the mask."""
        put_(self.model, state.model, argument)
        groups = self.optimizer.state_dict()["param_groups"]
        # Cloned, for torch keeps the tensors it is given and would train them too.
        own = {i: {k: _cloned(v) for k, v in kept.items()} for i, kept in state.optimizer.items()}
        self.optimizer.load_state_dict({"state": own, "param_groups": groups})
        self.mask.state_(self.optimizer)
        self.mask.weights_()
        self.step, self.epoch, self.batch = state.step, state.epoch, state.batch
        self.sums, self.epochs, self.best = state.sums, state.epochs, state.best
        self.generators = state.generators

    def state(self) -> TrainState:
        """Return a copy of everything needed to go on."""
        kept = self.optimizer.state_dict()["state"]
        return TrainState(
            model=copy_of(tensors_of(self.model)),
            optimizer={i: {k: _cloned(v) for k, v in s.items()} for i, s in kept.items()},
            step=self.step,
            epoch=self.epoch,
            batch=self.batch,
            sums=self.sums,
            generators=self.generators,
            epochs=self.epochs,
            best=self.best,
        )

    def finish_epoch(self, limit: int | None, tick: Callable[[], Any]) -> bool:
        """Train to the end of the present epoch, or to ``limit`` steps in all.

        Returns whether the epoch is complete; ``complete`` then says how it went.
        """
        with seeded(derived_seed(self.seed, "epoch", self.epoch), self.devices):
            if self.generators:
                set_generator_states(self.generators)
                self.generators = {}
            batches = islice(self.passes.of(self.epoch), self.batch, None)
            left = None if limit is None else limit - self.step
            if left is not None:
                batches = islice(batches, left)
            self.model.train()
            with torch.enable_grad():
                taken = self._take_steps(batches, tick)
            if left is not None and taken == left and self.batch != self.passes.steps:
                self.generators = generator_states(self.devices)
                return False
        return True

    def complete(self, validation: Evaluation | None) -> Epoch:
        """Close the epoch and return what it was."""
        total, hits, n = self.sums
        epoch = Epoch(
            epoch=self.epoch + 1,
            step=self.step,
            lr=self._rate(0),
            loss=total / n,
            accuracy=hits / n if self.loss is cross_entropy else None,
            validation_loss=None if validation is None else validation.loss,
            validation_accuracy=None if validation is None else validation.accuracy,
        )
        self.epochs = (*self.epochs, epoch)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, (0.0, 0, 0)
        return epoch

    def _take_steps(self, batches: Iterator[tuple[Tensor, Tensor]], tick: Callable[[], Any]) -> int:
        taken = 0
        unread: list[tuple[Tensor, Tensor, Tensor]] = []
        for inputs, targets in batches:
            rate = self._rate(self.batch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            outputs = self.model(inputs)
            if not self.passes.whole:
                check_targets(self.loss, outputs, targets)
            loss = self.loss(outputs, targets)
            for parameter in self.parameters:
                parameter.grad = None
            _check_depends(loss)
            loss.backward()
            self.mask.gradients_()
            self.optimizer.step()
            self.mask.weights_()
            self.step += 1
            self.batch += 1
            taken += 1
            unread.append((loss.detach(), outputs.detach(), targets))
            if len(unread) == _READ_EVERY:
                self._read(unread)
            tick()
        self._read(unread)
        for parameter in self.parameters:
            parameter.grad = None
        return taken

    def _read(self, unread: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Add the losses and hits of the last steps to the sums; the list is emptied."""
        if not unread:
            return
        total, hits, n = self.sums
        losses = torch.stack([loss for loss, _, _ in unread]).tolist()
        for i, (loss, (_, _, targets)) in enumerate(zip(losses, unread, strict=True)):
            if not math.isfinite(loss):
                self._diverged(f"the loss was {loss} at step {self.step - len(unread) + i + 1:,}")
            total += loss * len(targets)
            n += len(targets)
        if self.loss is cross_entropy:
            _, outputs, targets = zip(*unread, strict=True)
            hits += correct(torch.cat(outputs), torch.cat(targets))
        self.sums = (total, hits, n)
        unread.clear()

    def check_weights(self) -> None:
        """Raise ValueError if the last step broke the weights, which no loss has shown yet."""
        finite = [torch.isfinite(p.detach()).all() for p in self.parameters]
        if not all(finite):
            self._diverged("weights became NaN or infinite")

    def _diverged(self, how: str) -> NoReturn:
        raise ValueError(
            f"training diverged in epoch {self.epoch + 1}: {how}, with {self.base!r}. Try a lower "
            "learning rate, schedule=Warmup(1), or inputs scaled to mean 0 and variance 1. The "
            "model's weights are of no use now."
        )

    def _rate(self, batch: int) -> float:
        steps = self.passes.steps
        time = self.epoch + (batch / steps if steps else 0.0)
        return self.base.lr * self.schedule.factor(time, self.length)


def _check_depends(loss: Tensor) -> None:
    if not loss.requires_grad:
        raise ValueError(
            "model must be differentiable in its weights; autograd sees no way from them to its "
            "output. Is there a detach(), an argmax or no_grad in it?"
        )


def _cloned(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
