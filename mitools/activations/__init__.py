"""What the layers of a network compute on data, and how much they know of it."""

from mitools.activations.capture import Activations, capture
from mitools.activations.information import layer_information
from mitools.activations.places import Reduce
from mitools.activations.watching import At, weight_layers

__all__ = [
    "Activations",
    "At",
    "Reduce",
    "capture",
    "layer_information",
    "weight_layers",
]
