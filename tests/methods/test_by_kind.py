"""ByKind: which method is asked."""

import math

import numpy as np
import pytest

from mitools.methods import ByKind, CalibratedKSG, GaoMixed, Grassberger, MesnerShalizi, Ross
from mitools.methods.by_kind import kind

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((500, 2))
LABEL = RNG.integers(0, 4, (500, 1)).astype(float)
SPIKED = np.maximum(REAL[:, :1], 0.0)


def test_kinds():
    assert kind(REAL) == "continuous"
    assert kind(LABEL) == kind(np.hstack((LABEL, LABEL % 2))) == "discrete"
    assert kind(SPIKED) == kind(np.hstack((REAL, LABEL))) == "mixed"
    assert kind(np.ones((9, 1))) == "discrete"
    assert kind(np.round(REAL, 4)) == "continuous"


def test_who_is_asked():
    method = ByKind()
    assert method.chosen(REAL, REAL) == CalibratedKSG()
    assert method.chosen(LABEL, LABEL) == Grassberger()
    assert method.chosen(REAL, LABEL) == Ross(labels="y")
    assert method.chosen(LABEL, REAL) == Ross(labels="x")
    assert method.chosen(SPIKED, LABEL) == method.chosen(REAL, SPIKED) == GaoMixed()
    assert method.chosen(REAL, REAL, LABEL) == MesnerShalizi()
    assert method.chosen(LABEL, LABEL, LABEL) == Grassberger()
    assert ByKind(mixed=Ross(k=5)).chosen(SPIKED, REAL) == Ross(k=5)


def test_answers_are_those_of_the_method_asked():
    method = ByKind(continuous=CalibratedKSG(learn=False))
    assert method.mutual_information(LABEL, LABEL) == pytest.approx(math.log(4), abs=0.02)
    group = (REAL[:, :1] > 0).astype(float)
    assert method.mutual_information(group, REAL) == pytest.approx(math.log(2), abs=0.08)
    assert method.mutual_information(REAL, group) == method.mutual_information(group, REAL)
    noisy = REAL + RNG.standard_normal((500, 2))
    assert method.mutual_information(REAL, noisy) == pytest.approx(math.log(2), abs=0.15)
    given = method.conditional_mutual_information(REAL, noisy, LABEL)
    assert given == MesnerShalizi().conditional_mutual_information(REAL, noisy, LABEL)
    assert eval(repr(ByKind())) == ByKind()
