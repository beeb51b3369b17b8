"""A job done: make a network, prune it, train what is left, look at it."""

import dataclasses
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from mitools.data import Samples
from mitools.effective import peff
from mitools.experiments.jobs import Job
from mitools.experiments.reseeding import reseeded
from mitools.models import copied, fingerprint, named, prunable, reads_images
from mitools.pruning import Mask, Ticket, prune
from mitools.pruning.paths import TRACED
from mitools.pruning.pruners import keeps_checkpoints
from mitools.training import TrainState, evaluate, train
from mitools.training.loop import on_threads
from mitools.training.state import put_

RESULTS = (
    *("size", "kept", "density_reached", "on_path"),
    *("accuracy_before", "accuracy", "loss", "train_accuracy"),
    *("mi_lower_limit", "mi_upper_limit", "p_eff_low", "p_eff_high", "mi_quantity"),
    *("seconds_pruning", "seconds"),
)
"""What `run` answers, by name; see there."""


def run(job: Job, root: str | Path = "data", checkpoint: Path | None = None) -> dict[str, Any]:
    """Do a job: plain values come back, the same on any number of cores.

    Parameters
    ----------
    job : Job
        What to do.
    root : path
        The folder of image sets that are files; it takes no part in the results.
    checkpoint : path of a directory, optional
        Where trainings are kept while they are under way; the same call goes on from there.

    Returns
    -------
    dict
        size and kept (weights that may be pruned, and those that stay), density_reached, on_path
        (kept weights on some path from input to output; None if that cannot be traced);
        accuracy_before (of the pruned network where its training begins), accuracy and loss (nats)
        after training, all on the test samples; train_accuracy, on the training labels as given;
        limits on the information of the mask in nats and on p_eff, and what the information is
        about, None if not asked for; seconds_pruning and seconds, of wall time,
        without loading the data. What does not apply, and numbers that are not finite, are None.

    Raises
    ------
    Exception
        Whatever pruning or training raises; `sweep` makes it a row.
    """
    data, pruner, training = (reseeded(v, job.seed) for v in (job.data, job.pruner, job.training))
    if checkpoint is not None:
        checkpoint.mkdir(parents=True, exist_ok=True)
    with on_threads(1 if training is None else training.threads):
        fit, held_out = data.load(root)
        clock = time.perf_counter()
        model, fit, held_out = _network(job, fit, held_out)
        mask, start = _pruned(model, fit, pruner, job.density, checkpoint)
        pruning = time.perf_counter() - clock
        row = _counts(mask, model, fit)
        start = start if job.start == "ticket" else None
        network = _at(model, mask, start)
        row["accuracy_before"] = evaluate(network, held_out).accuracy
        if training is not None:
            path = None if checkpoint is None else checkpoint / "after.safetensors"
            train(network, fit, training, mask=mask, start=start, checkpoint=path)
            row |= _accuracies(network, fit, held_out)
        if job.peff:
            row |= _bounds(model, mask, fit, job.peff if isinstance(job.peff, tuple) else None)
    row |= {"seconds_pruning": pruning, "seconds": time.perf_counter() - clock}
    return {name: _finite(row.get(name)) for name in RESULTS}


def _network(job: Job, fit: Samples, held_out: Samples) -> tuple[nn.Module, Samples, Samples]:
    """Return the network at its initial weights, and the samples in the shape it reads."""
    if not isinstance(job.model, str):
        return job.model.build(fit, job.seed), fit, held_out
    if fit.inputs.ndim == 2 and reads_images(job.model):  # digits come as rows
        side = math.isqrt(fit.inputs.shape[1])
        fit, held_out = (
            dataclasses.replace(part, inputs=part.inputs.unflatten(1, (1, side, side)))
            for part in (fit, held_out)
        )
    shape = tuple(fit.inputs.shape[1:])
    return named(job.model, shape, fit.classes or 1, seed=job.seed), fit, held_out


def _pruned(
    model: nn.Module,
    fit: Samples,
    pruner: Any,
    density: float,
    checkpoint: Path | None,
) -> tuple[Mask, TrainState | None]:
    """Return the mask, and where its pruner would go on training from; None: the initial weights.

    A pruner that trains has a method run, which returns a `Ticket`.
    """
    if pruner is None:
        return Mask.ones_like(model), None
    names = tuple(prunable(model))
    place = None if checkpoint is None else checkpoint / "pruning"
    if not callable(getattr(pruner, "run", None)):
        kept = place if keeps_checkpoints(pruner) else None
        return prune(model, fit, pruner, density=density, checkpoint=kept), None
    found = pruner.run(model, fit, density, names, checkpoint=place)
    if not isinstance(found, Ticket):
        raise TypeError(f"run of a pruner must return a Ticket; {pruner!r} gave {found!r}.")
    mask = found.mask.with_provenance(
        pruner=pruner, density=density, fingerprint=fingerprint(model)
    )
    return mask, found.start


def _at(model: nn.Module, mask: Mask, start: TrainState | None) -> nn.Module:
    """Return the pruned network where its training begins; None: at the initial weights."""
    network = copied(model)
    if start is not None:
        put_(network, start.model, "start")
    mask.apply_(network)
    return network


def _accuracies(network: nn.Module, fit: Samples, held_out: Samples) -> dict[str, Any]:
    after = evaluate(network, held_out)
    train_accuracy = evaluate(network, fit).accuracy
    return {"accuracy": after.accuracy, "loss": after.loss, "train_accuracy": train_accuracy}


def _counts(mask: Mask, model: nn.Module, fit: Samples) -> dict[str, Any]:
    on_path = None
    if mask.size <= TRACED:
        with suppress(ValueError):  # the network does what nobody can trace
            on_path = mask.on_path(model, fit.inputs[:1]).nonzeros
    return {
        "size": mask.size,
        "kept": mask.nonzeros,
        "density_reached": mask.density,
        "on_path": on_path,
    }


def _bounds(
    model: nn.Module, mask: Mask, fit: Samples, methods: Sequence[Any] | None
) -> dict[str, Any]:
    answer = peff(model, mask, fit, methods, init=model)
    p_eff = answer.plain()
    return {
        "mi_lower_limit": answer.lower.limit,
        "mi_upper_limit": answer.upper.limit,
        "p_eff_low": p_eff.low,
        "p_eff_high": p_eff.high,
        "mi_quantity": answer.quantity,
    }


def _finite(value: Any) -> Any:
    if hasattr(value, "item"):  # of numpy, or torch
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
