"""What a training did, epoch by epoch."""

from dataclasses import asdict, dataclass, field

import pandas as pd

from mitools.training.state import Epoch, TrainState


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
