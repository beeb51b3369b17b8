"""Methods that need torch: variational bounds, fitted densities and forecasts, counting on a GPU.

Each is a frozen value that answers ``mutual_information(x, y)`` in nats, like those of
``mitools.methods``. Networks are fitted on one part of the samples, chosen on a second, and the
answer comes from a third; ``held_out(x, y)`` also tells its standard error.
"""

from mitools.neural.bounds import DV, NWJ, SMILE, InfoNCE
from mitools.neural.entropies import DifferenceOfEntropies
from mitools.neural.fitting import Fitting, HeldOut
from mitools.neural.nearest import TorchKSG
from mitools.neural.networks import Concatenated, Perceptron, Separable
from mitools.neural.predictive import NeuralPredictive
from mitools.neural.variational import Variational

__all__ = [
    "DV",
    "NWJ",
    "SMILE",
    "Concatenated",
    "DifferenceOfEntropies",
    "Fitting",
    "HeldOut",
    "InfoNCE",
    "NeuralPredictive",
    "Perceptron",
    "Separable",
    "TorchKSG",
    "Variational",
]
