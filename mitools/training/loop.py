"""The one training loop."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from mitools.models import check_finite, check_materialized, digest, seeded, tensors_of
from mitools.training.checkpoint import load_checkpoint, save_checkpoint
from mitools.training.evaluation import evaluate, place_of
from mitools.training.history import History
from mitools.training.losses import check_outputs, loss_of, modes_kept
from mitools.training.masking import Enforced, Masking, entries_of
from mitools.training.optimizers import SGD, Optimizer
from mitools.training.passes import Passes, passes_over
from mitools.training.run import Run
from mitools.training.schedules import Constant, Schedule
from mitools.training.state import TrainState, copy_of, put_
from mitools.training.stopping import EarlyStopping


@dataclass(frozen=True)
class Training:
    """How a network is trained: a value, so that the same training can be asked for twice.

    Parameters
    ----------
    epochs : int, >= 0
        Passes over the data.
    batch_size : int, >= 1
        For data in memory; a data loader keeps its own. A last batch of one sample joins the
        batch before, because batch norm cannot use it.
    optimizer : Optimizer
        ``SGD``, ``Adam``, ``AdamW``, or any value with ``lr`` and ``build(parameters)``.
    schedule : Schedule
        ``Constant``, ``Cosine``, ``MultiStep``, ``Warmup``, or any value with ``factor``.
    early_stopping : EarlyStopping or None
        None trains all epochs.
    loss : "auto", "cross_entropy" or "mse"
        "auto": cross-entropy for integer targets, mean squared error for floating ones.
    seed : int, >= 0
        Of the order of the samples and of dropout. Everything random in epoch e follows from
        (seed, e).
    threads : int, >= 1
        CPU threads. Weights depend on it in their last digits, so it is part of the value and not
        of the machine. One is as fast as several for networks of this size, and leaves the cores
        to repetitions; raise it for large ones.
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Optimizer = SGD()  # noqa: RUF009 - a frozen value
    schedule: Schedule = Constant()  # noqa: RUF009
    early_stopping: EarlyStopping | None = None
    loss: Literal["auto", "cross_entropy", "mse"] = "auto"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be an integer >= {least}; got {value!r}. The defaults are "
                    "epochs=20, batch_size=128, seed=0, threads=1."
                )
        if self.loss not in ("auto", "cross_entropy", "mse"):
            raise ValueError(
                f"loss must be 'auto', 'cross_entropy' or 'mse'; got {self.loss!r}. 'auto' "
                "follows the targets."
            )
        stopping = self.early_stopping
        if stopping is not None and not isinstance(stopping, EarlyStopping):
            raise TypeError(
                f"early_stopping must be an EarlyStopping or None; got {stopping!r}. For instance "
                "EarlyStopping(patience=5)."
            )
        if not callable(getattr(self.optimizer, "build", None)):
            raise TypeError(
                f"optimizer must be a value such as SGD(lr=0.1); got {self.optimizer!r}. Torch's "
                "own optimisers belong to one model: give their settings instead."
            )
        if not callable(getattr(self.schedule, "factor", None)):
            raise TypeError(
                f"schedule must be a value such as Cosine(); got {self.schedule!r}. "
                "Constant() is the default."
            )


def train(
    model: nn.Module,
    data: Any,
    training: Training = Training(),
    *,
    mask: Masking | None = None,
    validation: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    start: TrainState | None = None,
    steps: int | None = None,
    progress: bool = False,
) -> History:
    """Train a model in place; pruned weights are exactly 0 before and after every step.

    The same ``training`` gives the same weights, bit for bit, whatever else draws random numbers,
    on however many cores, and however often training was interrupted.

    Parameters
    ----------
    model : torch.nn.Module
        Changed. Its device and dtype are used; its training mode and gradients are as before
        afterwards, gradients None.
    data : Samples, pair (inputs, targets), DataLoader or Dataset
        Samples and pairs are shuffled here, fast; a loader decides its own batches.
    training : Training
        How.
    mask : Mask or None
        What to keep: anything with ``apply_(model)``.
    validation : as data, or None
        Evaluated after each epoch; early stopping watches it.
    checkpoint : path or None
        Where each epoch is saved. If the file exists, training goes on from there, to
        ``training.epochs`` in all; calling again is how to resume.
    start : TrainState or None
        Where to begin, instead of the model's present weights and a fresh optimiser: rewinding.
    steps : int or None
        Stop after so many optimiser steps in all, those of ``start`` included; the answer's
        ``state`` goes on from there.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the data, the labels or the state do not fit the model, weights are NaN, training
        diverges (epoch, step and remedies are named), or the checkpoint is of another training.
    mitools._validation.FileFormatError
        If the checkpoint is corrupt, cut short, or a pickle, which is never opened.

    Examples
    --------
    >>> from mitools.data import gaussian
    >>> from mitools.models import mlp
    >>> history = train(mlp((8, 32, 2)), gaussian(100, 8, seed=0), Training(60, batch_size=20))
    >>> history.epochs[-1].accuracy > 0.9  # it memorises random labels
    True
    """
    if steps is not None and steps < 0:
        raise ValueError(f"steps must be >= 0, or None for whole epochs; got {steps}.")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint must lie in an existing folder; {str(path.parent)!r} is none. "
            "Make it first."
        )
    with modes_kept(model), on_threads(training.threads):
        run = _run(model, data, training, mask)
        identity = _identity(training, run.passes, mask) if path is not None else {}
        if path is not None and path.exists():
            run.resume(load_checkpoint(path, identity, training.schedule), "checkpoint")
        elif start is not None:
            run.resume(start, "start")
        if steps is not None and run.step > steps:
            raise ValueError(
                f"steps must not be less than what is done already; got {steps}, and "
                f"{run.step} are done. Steps count from the very beginning."
            )
        with _bar(run, training, steps, progress) as bar:
            _to_the_end(run, training, validation, path, identity, steps, bar)
        return _answer(run, training, steps)


def check_trainable(model: nn.Module) -> None:
    """Raise ValueError unless the model has finite weights, and some that require gradients."""
    check_materialized(model)
    check_finite(dict(model.named_parameters()))
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"model must have weights to train; none of the {type(model).__name__}'s requires a "
            "gradient. Unfreeze some: parameter.requires_grad_(True)."
        )


def _run(model: nn.Module, data: Any, training: Training, mask: Masking | None) -> Run:
    """Return a checked run at step 0, with the mask applied."""
    check_trainable(model)
    device, dtype = place_of(model)
    passes = passes_over(data, training.batch_size, training.seed, device, dtype)
    inputs, targets = passes.first()
    loss = loss_of(training.loss, targets)
    with seeded(0, [device]):
        check_outputs(model, loss, inputs, targets)
    return Run(
        model,
        training.optimizer,
        training.schedule,
        loss,
        passes,
        Enforced(model, mask),
        epochs=training.epochs,
        seed=training.seed,
    )


def _to_the_end(
    run: Run,
    training: Training,
    validation: Any,
    path: Path | None,
    identity: dict[str, Any],
    steps: int | None,
    bar: "tqdm[Any]",
) -> None:
    """Train until the last epoch, early stopping or the limit of steps; save every epoch."""
    stopping = training.early_stopping
    while run.epoch < training.epochs and run.step != steps:
        if stopping is not None and stopping.stops(run.epochs):
            return
        finished = run.finish_epoch(steps, bar.update)
        run.check_weights()
        if finished:
            seen = None
            if validation is not None:
                seen = evaluate(run.model, validation, loss=training.loss)
            epoch = run.complete(seen)
            if stopping is not None and stopping.best(run.epochs) == len(run.epochs) - 1:
                run.best = copy_of(tensors_of(run.model)) if stopping.restore_best else None
            bar.set_postfix_str(f"epoch {epoch.epoch}, loss {epoch.loss:.4g}", refresh=False)
        if path is not None:
            save_checkpoint(path, run.state(), identity)


def _answer(run: Run, training: Training, steps: int | None) -> History:
    """Give the model its best weights where that was asked for, and say what happened."""
    stopping = training.early_stopping
    state = None if steps is None else run.state()
    stopped = stopping is not None and stopping.stops(run.epochs)
    over = stopped or run.epoch == training.epochs
    best = None
    if stopping is not None and run.best is not None and over:
        put_(run.model, run.best, "best")
        run.mask.weights_()
        best = run.epochs[stopping.best(run.epochs)].epoch
    return History(run.epochs, best, stopped and run.epoch < training.epochs, state)


def _identity(training: Training, passes: Passes, mask: Masking | None) -> dict[str, Any]:
    """Return what must agree between a checkpoint and the training that goes on from it."""
    settings = {name: repr(getattr(training, name)) for name in training.__dataclass_fields__}
    named = entries_of(mask) or {}
    marks = digest({name: named[name] for name in sorted(named)})[:12] if named else repr(mask)
    return settings | {"data": passes.describe(), "mask": marks, "epochs": training.epochs}


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bar(run: Run, training: Training, steps: int | None, progress: bool) -> "Iterator[tqdm[Any]]":
    total = None if run.passes.steps is None else training.epochs * run.passes.steps
    if steps is not None:
        total = steps if total is None else min(total, steps)
    with tqdm(
        total=total, initial=run.step, desc="training", unit="step", disable=not progress
    ) as bar:
        yield bar
