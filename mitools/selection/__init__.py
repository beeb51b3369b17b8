"""Which features tell all there is to know of a target: TERC, and what it is compared with."""

from mitools.selection.answers import Selection, Step
from mitools.selection.estimator import TERCSelector
from mitools.selection.forward import cmim, jmi, mrmr, top
from mitools.selection.minimality import Minimality, minimality
from mitools.selection.significance import OwnTest, Shuffled
from mitools.selection.terc import terc

__all__ = [
    "Minimality",
    "OwnTest",
    "Selection",
    "Shuffled",
    "Step",
    "TERCSelector",
    "cmim",
    "jmi",
    "minimality",
    "mrmr",
    "terc",
    "top",
]
