"""When to stop: once a metric no longer improves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitools.training.state import Epoch


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after so many epochs without improvement; keep the best weights.

    The validation data are watched where they are given, else the training data.

    Parameters
    ----------
    patience : int, >= 1
        Epochs without improvement after which training stops.
    metric : "loss" or "accuracy"
        What should improve.
    min_delta : float, >= 0
        What counts as improvement: more than this, over the best so far.
    restore_best : bool
        At the end, however it came, give the model the weights of its best epoch.
    """

    patience: int = 5
    metric: Literal["loss", "accuracy"] = "loss"
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        if not self.patience >= 1:
            raise ValueError(f"patience must be at least 1 epoch; got {self.patience}. Try 5.")
        if self.metric not in ("loss", "accuracy"):
            raise ValueError(
                f"metric must be 'loss' or 'accuracy'; got {self.metric!r}. Which of them, on the "
                "validation or the training data, follows from the data given."
            )
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ValueError(f"min_delta must be finite and >= 0; got {self.min_delta}. Try 0.")

    def best(self, epochs: Sequence[Epoch]) -> int:
        """Return the index of the best epoch: the last that improved by more than min_delta."""
        best, index = math.inf, -1
        for i, epoch in enumerate(epochs):
            value = self._value(epoch)
            if index < 0 or value < best - self.min_delta:
                best, index = value, i
        return index

    def stops(self, epochs: Sequence[Epoch]) -> bool:
        """Whether training ends after these epochs."""
        return bool(epochs) and len(epochs) - 1 - self.best(epochs) >= self.patience

    def _value(self, epoch: Epoch) -> float:
        """Return the metric, the smaller the better."""
        if self.metric == "loss":
            return epoch.loss if epoch.validation_loss is None else epoch.validation_loss
        watched = epoch.accuracy if epoch.validation_loss is None else epoch.validation_accuracy
        if watched is None:
            raise ValueError(
                "metric must be 'loss' where targets are not classes; got 'accuracy' for a "
                "regression. Use EarlyStopping(metric='loss')."
            )
        return -watched
