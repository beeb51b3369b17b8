"""Methods: frozen values that know how to estimate information, one family a module.

A method answers a question by having a method of that name: ``mutual_information(x, y)``,
``conditional_mutual_information(x, y, z)``, ``entropy(x)``, ``multi_information((x1, ..., xm))``
or ``local_mutual_information(x, y)``, on float64 arrays of shape (n, d), in nats.
"""

from mitools.methods.binned import Binned, EqualWidth, FreedmanDiaconis, Quantiles
from mitools.methods.by_kind import ByKind
from mitools.methods.calibrated import CalibratedKSG, Calibration
from mitools.methods.density import KernelDensity
from mitools.methods.discrete import (
    ChaoShen,
    Grassberger,
    Jackknifed,
    JamesStein,
    MillerMadow,
    PlugIn,
)
from mitools.methods.gaussian import Gaussian, GaussianCopula
from mitools.methods.knn import KSG, KozachenkoLeonenko
from mitools.methods.lnc import LNC
from mitools.methods.mixed import GaoMixed, MesnerShalizi, Ross
from mitools.methods.nsb import NSB
from mitools.methods.partition import AdaptivePartition, DarbellayVajda
from mitools.methods.predictive import ExplainedVariance, Predictive
from mitools.methods.theiler import TheilerKSG

__all__ = [
    "KSG",
    "LNC",
    "NSB",
    "AdaptivePartition",
    "Binned",
    "ByKind",
    "CalibratedKSG",
    "Calibration",
    "ChaoShen",
    "DarbellayVajda",
    "EqualWidth",
    "ExplainedVariance",
    "FreedmanDiaconis",
    "GaoMixed",
    "Gaussian",
    "GaussianCopula",
    "Grassberger",
    "Jackknifed",
    "JamesStein",
    "KernelDensity",
    "KozachenkoLeonenko",
    "MesnerShalizi",
    "MillerMadow",
    "PlugIn",
    "Predictive",
    "Quantiles",
    "Ross",
    "TheilerKSG",
]
