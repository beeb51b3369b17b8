"""A training in a file: written whole or not at all, and refused where it does not belong."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from mitools._validation import FileFormatError
from mitools.models import load_tensors, save_tensors
from mitools.training.schedules import Schedule
from mitools.training.state import Epoch, TrainState

_KIND = "training checkpoint"


def save_checkpoint(
    path: str | os.PathLike[str], state: TrainState, identity: dict[str, Any]
) -> None:
    """Write a state, and what tells its training from others, as safetensors; atomically.

    Raises
    ------
    TypeError
        If the optimiser keeps something else than tensors and plain values.
    """
    tensors = {f"model.{name}": tensor for name, tensor in state.model.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in (state.best or {}).items()}
    tensors |= {f"generator.{name}": tensor for name, tensor in state.generators.items()}
    plain: dict[str, dict[str, Any]] = {}
    for i, kept in state.optimizer.items():
        for key, value in kept.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{i}.{key}"] = value
            elif value is None or isinstance(value, bool | int | float | str):
                plain.setdefault(str(i), {})[key] = value
            else:
                raise TypeError(
                    "optimizer must keep tensors and plain values to be saved; its state has "
                    f"{key!r}, a {type(value).__name__}. Train without a checkpoint, or with "
                    "SGD, Adam or AdamW."
                )
    metadata = {
        "identity": identity,
        "place": [state.step, state.epoch, state.batch],
        "sums": list(state.sums),
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "optimizer": plain,
    }
    save_tensors(path, tensors, kind=_KIND, metadata=metadata)


def load_checkpoint(
    path: str | os.PathLike[str], identity: dict[str, Any], schedule: Schedule
) -> TrainState:
    """Return the state in a file.

    Raises
    ------
    FileFormatError
        If the file is no checkpoint, or a broken one.
    ValueError
        If it is of another training: the message names the differences.
    """
    tensors, metadata = load_tensors(path, kind=_KIND)
    try:
        state = _state(tensors, metadata)
        found = dict(metadata["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"checkpoint must be one that this version of mitools wrote; {Path(path).name} lacks "
            f"or garbles {error}. Delete it to start again."
        ) from None
    _check_same(Path(path).name, found, identity)
    _check_length(Path(path).name, state, int(found["epochs"]), int(identity["epochs"]), schedule)
    return state


def _state(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> TrainState:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    optimizer: dict[int, dict[str, Any]] = {}
    for name, tensor in parts.get("optimizer", {}).items():
        i, _, key = name.partition(".")
        optimizer.setdefault(int(i), {})[key] = tensor
    for i, kept in metadata["optimizer"].items():
        optimizer.setdefault(int(i), {}).update(kept)
    step, epoch, batch = metadata["place"]
    total, hits, n = metadata["sums"]
    return TrainState(
        model=parts["model"],
        optimizer=optimizer,
        step=step,
        epoch=epoch,
        batch=batch,
        sums=(total, hits, n),
        generators=parts.get("generator", {}),
        epochs=tuple(Epoch(**row) for row in metadata["epochs"]),
        best=parts.get("best"),
    )


def _check_same(name: str, found: dict[str, Any], identity: dict[str, Any]) -> None:
    different = differences(found | {"epochs": identity["epochs"]}, identity)
    if different:
        raise ValueError(
            f"checkpoint must be of this training; {name} is of another: {different}. "
            "Use another file, or the settings of that training."
        )


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Return in words what two records say differently; nothing if they agree."""
    return "; ".join(
        f"{key} is {there.get(key)} there, {here.get(key)} here"
        for key in {**here, **there}
        if there.get(key) != here.get(key)
    )


def _check_length(
    name: str, state: TrainState, found: int, epochs: int, schedule: Schedule
) -> None:
    if state.epoch + (state.batch > 0) > epochs:
        raise ValueError(
            f"epochs must not be less than the checkpoint has done; got {epochs}, and {name} has "
            f"{state.epoch}. Use another file: a training does not go backwards."
        )
    done = [half / 2 for half in range(2 * state.epoch + 2 * (state.batch > 0))]
    if any(schedule.factor(time, found) != schedule.factor(time, epochs) for time in done):
        raise ValueError(
            f"epochs must be that of the checkpoint under {schedule!r}, whose learning rates "
            f"depend on it; got {epochs}, and {name} was for {found}. Pass epochs={found}, or "
            "start again with another file."
        )
