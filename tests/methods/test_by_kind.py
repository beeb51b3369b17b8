"""ByKind: which method is asked."""

import math

import numpy as np
import pandas as pd
import pytest

from mitools.measures import conditional_mutual_information, mutual_information, pairwise
from mitools.methods import ByKind, CalibratedKSG, GaoMixed, Grassberger, MesnerShalizi, Ross
from mitools.methods.by_kind import kind
from mitools.uncertainty import Subsets, with_error

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


def test_strings_and_categories_are_labels():
    words = np.array(["no", "yes", "ay", "nay"])[LABEL[:, 0].astype(int)]
    heard = pd.DataFrame({"said": words, "loud": np.where(REAL[:, 0] > 0, "loud", "low")})
    codes = np.column_stack([np.unique(c, return_inverse=True)[1] for c in heard.to_numpy().T])
    for x, y, numbers in (
        (words, heard, (codes[:, 0], codes)),
        (pd.Series(words, dtype="category"), REAL[:, 0], (codes[:, 0], REAL[:, 0])),
    ):
        told = mutual_information(x, y, ByKind())
        assert told.value == mutual_information(*numbers, ByKind()).value
        assert told.value == mutual_information(y, x, ByKind()).value
    assert mutual_information(words, heard, ByKind()).value == pytest.approx(math.log(4), abs=0.02)
    table = pairwise(heard.assign(score=REAL[:, 0]), method=ByKind())
    assert table.loc["loud", "score"] == pytest.approx(math.log(2), abs=0.05)


def test_labels_that_look_like_numbers_are_refused():
    names = np.array([f"name {i}" for i in range(500)])
    with pytest.raises(ValueError, match="x must hold each label five times on average"):
        mutual_information(names, LABEL, ByKind())
    mixed = pd.DataFrame({"name": np.where(LABEL[:, 0] > 1, "a", "b"), "score": REAL[:, 0]})
    with pytest.raises(ValueError, match="give labels and numbers apart"):
        mutual_information(LABEL, mixed, ByKind())
    with pytest.raises(ValueError, match="features must hold each label"):
        pairwise(pd.DataFrame({"name": names, "score": REAL[:, 0]}), method=ByKind())


def test_answers_name_the_method_asked_and_keep_its_error():
    noisy = REAL + RNG.standard_normal((500, 2))
    for x, y in ((REAL, noisy), (LABEL, LABEL), (REAL, LABEL), (SPIKED, REAL)):
        told, choice = mutual_information(x, y, ByKind()), ByKind().chosen(x, y)
        plain = mutual_information(x, y, choice)
        assert (told.method, told.value, told.sense) == (repr(choice), plain.value, plain.sense)
        assert (told.std_error, told.interval) == (plain.std_error, plain.interval)
        assert set(told.notes) - set(plain.notes) == {
            "ByKind chose this method for what the variables are"
        }
    assert mutual_information(REAL, noisy, ByKind()).std_error > 0.0
    given = conditional_mutual_information(REAL, noisy, LABEL, ByKind())
    assert given.method == repr(MesnerShalizi())


def test_parts_are_asked_by_the_method_of_the_whole():
    few = RNG.integers(0, 8, 80)  # ten of each; a half shows five, a tenth one
    found = with_error(mutual_information, few, few, method=ByKind(), error=Subsets())
    same = with_error(mutual_information, few, few, method=Grassberger(), error=Subsets())
    assert found.method == same.method and found.std_error == same.std_error
