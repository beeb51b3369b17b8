"""Mixed methods against the closed forms of their papers and a twin."""

import math

import numpy as np
import pytest
from scipy.special import digamma

from mitools.methods import KSG, GaoMixed, MesnerShalizi, PlugIn, Ross


def staircase(seed, n=400, m=5):
    """X uniform on 0..m-1, Y ~ U(X, X + 2): I = log m - (m - 1) log(2) / m (Gao et al.)."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, m, (n, 1)).astype(float)
    return x, x + rng.uniform(0, 2, (n, 1))


STAIRCASE = math.log(5) - 0.8 * math.log(2)


def counts_of_rates(seed, n=400):
    """X ~ Exp(1), Y ~ Poisson(X): Gao et al., section 5, without the inflation at 0."""
    rng = np.random.default_rng(seed)
    x = rng.exponential(size=(n, 1))
    return x, rng.poisson(x).astype(float)


POISSON = 2 * math.log(2) - np.euler_gamma - sum(math.log(k) * 2.0**-k for k in range(1, 80))


@pytest.mark.parametrize("method", [GaoMixed(), MesnerShalizi(), Ross(labels="x"), KSG()], ids=repr)
def test_staircase(method):
    found = [method.mutual_information(*staircase(seed)) for seed in range(20)]
    noise = np.std(found, ddof=1) / math.sqrt(20)
    # Mesner and Shalizi's inclusive counts lean downwards by about 0.05 here
    assert abs(np.mean(found) - STAIRCASE) < 0.06 + 4 * noise


@pytest.mark.parametrize("method", [GaoMixed(), MesnerShalizi()], ids=repr)
def test_poisson_of_exponential(method):
    found = [method.mutual_information(*counts_of_rates(seed)) for seed in range(20)]
    noise = np.std(found, ddof=1) / math.sqrt(20)
    assert abs(np.mean(found) - POISSON) < 0.06 + 4 * noise


def test_the_paper_form_leans_lower_on_continuous_data():
    """What the docstring of GaoMixed says."""
    errors = {}
    for form in ("code", "paper"):
        found = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            x = rng.standard_normal((300, 1))
            y = 0.6 * x + 0.8 * rng.standard_normal((300, 1))
            found.append(GaoMixed(form=form).mutual_information(x, y) + math.log(0.8))
        errors[form] = np.mean(found)
    assert abs(errors["code"]) < 0.02
    assert errors["paper"] < -0.03


def test_code_form_is_ksg_where_nothing_ties():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 100, 1))
    shift = math.log(100) - digamma(100)
    found = GaoMixed().mutual_information(x, y)
    assert found == pytest.approx(KSG().mutual_information(x, y) + shift, abs=1e-12)


@pytest.mark.parametrize("method", [GaoMixed(), MesnerShalizi(), Ross(), KSG()], ids=repr)
def test_discrete_pairs_come_close_to_the_plug_in(method):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2000, 1)).astype(float)
    y = np.where(rng.random((2000, 1)) < 0.3, rng.integers(0, 4, (2000, 1)), x)
    plug = PlugIn().mutual_information(x, y)
    assert method.mutual_information(x, y) == pytest.approx(plug, abs=0.01)


def test_ross_equals_a_slow_twin():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 50)
    y[0] = 9  # a label that occurs once is left out
    x = rng.standard_normal((50, 1)) + y[:, None]
    k, terms = 3, []
    for i in range(1, 50):
        same = np.flatnonzero((y == y[i]) & (np.arange(50) != i))
        radius = np.sort(np.abs(x[same] - x[i]).ravel())[min(k, len(same)) - 1]
        m = sum(abs(x[j, 0] - x[i, 0]) < radius for j in range(1, 50) if j != i) + 1
        terms.append(digamma(min(k, len(same))) - digamma(len(same) + 1) - digamma(m))
    slow = np.mean(terms) + digamma(49)
    labels = y[:, None].astype(float)
    assert Ross(k=k, scale=None).mutual_information(x, labels) == pytest.approx(slow, abs=1e-12)
    swapped = Ross(k=k, labels="x", scale=None).mutual_information(labels, x)
    assert swapped == pytest.approx(slow, abs=1e-12)


def test_ross_agrees_with_scikit_learn():
    selection = pytest.importorskip("sklearn.feature_selection._mutual_info")
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 300)
    x = rng.standard_normal(300) + 2 * y
    theirs = selection._compute_mi_cd(x, y, 3)
    ours = Ross(scale=None).mutual_information(x[:, None], y[:, None].astype(float))
    assert ours == pytest.approx(theirs, rel=1e-10)


def test_ksg_agrees_with_scikit_learn():
    selection = pytest.importorskip("sklearn.feature_selection._mutual_info")
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 300))
    y += x
    theirs = selection._compute_mi_cc(x, y, 3)
    ours = KSG(scale=None).mutual_information(x[:, None], y[:, None])
    assert ours == pytest.approx(theirs, rel=1e-10)


def test_single_class_and_all_different():
    x = np.random.default_rng(0).standard_normal((20, 1))
    assert Ross().mutual_information(x, np.zeros((20, 1))) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="y must hold labels that repeat"):
        Ross().mutual_information(x, x)
    with pytest.raises(ValueError, match="labels must be one of 'y', 'x'"):
        Ross(labels="z")


def test_mesner_shalizi_conditional():
    """X = Z + bit, Y = the bit or not: given the discrete Z, the bit is read off or is not."""
    found, nothing = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        z = rng.integers(0, 2, (300, 1)).astype(float)
        bit = rng.integers(0, 2, (300, 1)).astype(float)
        x, y = (z + bit) % 2, bit
        found.append(MesnerShalizi().conditional_mutual_information(x, y, z))
        noise = rng.standard_normal((2, 300, 1))
        method = MesnerShalizi(k=5)
        nothing.append(method.conditional_mutual_information(3 * z + noise[0], 3 * z + noise[1], z))
    assert np.mean(found) == pytest.approx(math.log(2), abs=0.01)
    assert abs(np.mean(nothing)) < 0.02 + 4 * np.std(nothing, ddof=1) / math.sqrt(10)
