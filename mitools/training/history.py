"""What a training did, epoch by epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mitools.training.state import TrainState


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    ``loss`` (nats for cross-entropy) and ``accuracy`` are means over the training samples while
    the weights were changing, in training mode; the validation figures are of the weights at the
    end of the epoch, in evaluation mode. ``lr`` is the learning rate of the first step, ``step``
    counts the optimiser steps since the start. None: not measured.
    """

    epoch: int
    step: int
    lr: float
    loss: float
    accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class History:
    """The answer of ``train``.

    Attributes
    ----------
    epochs : tuple of Epoch
        From the very first one, also when training was resumed.
    best : int or None
        Number of the epoch whose weights the model was given back by early stopping.
    stopped_early : bool
        Whether early stopping ended the training.
    state : TrainState or None
        Where training stands, when it was told to stop after so many steps.
    """

    epochs: tuple[Epoch, ...]
    best: int | None = None
    stopped_early: bool = False
    state: TrainState | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.epochs)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row per epoch, indexed by its number."""
        import pandas as pd

        names = list(Epoch.__dataclass_fields__)
        frame = pd.DataFrame([asdict(epoch) for epoch in self.epochs], columns=names)
        optional = ["accuracy", "validation_loss", "validation_accuracy"]
        return frame.astype(dict.fromkeys(optional, float)).set_index("epoch")

    def __str__(self) -> str:
        if not self.epochs:
            return "no epoch finished"
        last = self.epochs[-1]
        text = f"{len(self)} epochs, {last.step:,} steps: loss {last.loss:.4g}"
        if last.accuracy is not None:
            text += f", accuracy {last.accuracy:.4g}"
        if last.validation_loss is not None:
            text += f"; validation loss {last.validation_loss:.4g}"
        if last.validation_accuracy is not None:
            text += f", accuracy {last.validation_accuracy:.4g}"
        if self.stopped_early:
            text += "; stopped early"
        return text + (f"; weights of epoch {self.best}" if self.best is not None else "")
