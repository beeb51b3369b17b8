"""Magnitude pruning: small weights go first."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mitools.pruning.scoring import parameters_named
from mitools.pruning.selection import Scores


@dataclass(frozen=True)
class Magnitude:
    """The absolute weight, as the model stands; never opens the loader.

    On initial weights the mask knows nothing of the data. For trained weights see
    `MagnitudeAfterTraining`.
    """

    def scores(self, model: nn.Module, loader: object, names: Sequence[str]) -> Scores:
        """Return ``|theta|`` for every weight, in its own dtype."""
        return {
            name: parameter.detach().abs()
            for name, parameter in parameters_named(model, names).items()
        }
