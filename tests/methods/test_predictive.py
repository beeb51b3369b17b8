"""Predictive bounds: below the truth, tight for the right model, and honest labels."""

import math

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mitools.methods import ExplainedVariance, Predictive


def channel(seed, n=600, flip=0.1):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, 1)).astype(float)
    return x, np.where(rng.random((n, 1)) < flip, 1 - x, x)


CHANNEL = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)


def spread(found):
    return 4 * np.std(found, ddof=1) / math.sqrt(len(found))


def test_bound_is_below_and_near_the_capacity():
    found = [Predictive(BernoulliNB()).mutual_information(*channel(s)) for s in range(30)]
    assert -0.02 - spread(found) < np.mean(found) - CHANNEL < spread(found)


def test_useless_and_overconfident_models_only_lower_it():
    x, y = channel(0)
    nothing = Predictive(DummyClassifier()).mutual_information(x, y)
    assert -0.02 < nothing <= 1e-6  # H(Y) is the plug-in one: base rates cannot beat it
    noise = np.random.default_rng(0).standard_normal((600, 5))
    tree = DecisionTreeClassifier()
    assert Predictive(tree).mutual_information(noise, y) == -math.inf
    hedged = Predictive(tree, base_rate=0.1).mutual_information(noise, y)
    assert -math.inf < hedged < 0
    assert Predictive(tree, base_rate=1.0).mutual_information(noise, y) == pytest.approx(
        0, abs=0.01
    )


def test_training_loss_would_have_cheated():
    """A tree that remembers every sample: the planted fault of not holding out."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 2)), rng.integers(0, 2, (300, 1)).astype(float)
    forest = RandomForestClassifier(20, random_state=0)
    told = -np.log(forest.fit(x, y[:, 0]).predict_proba(x)[np.arange(300), y[:, 0].astype(int)])
    assert math.log(2) - told.mean() > 0.4
    assert Predictive(forest, base_rate=0.05).mutual_information(x, y) < 0.05


def test_gaussian_head():
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((400, 2))
        y = x @ [[0.8, 0.0], [0.0, 0.6]] + rng.standard_normal((400, 2)) * [0.6, 0.8]
        found.append(Predictive(LinearRegression()).mutual_information(x, y))
    truth = -math.log(0.6) - math.log(0.8)
    assert abs(np.mean(found) - truth) < 0.08 + spread(found)


def test_spread_that_moves_is_seen_only_where_asked():
    """X | Y ~ N(0, Y), Y ~ chi2(1): I = 0.4203, of which a mean predictor sees 0."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal((3000, 1)) ** 2
    w = np.sqrt(v) * rng.standard_normal((3000, 1))
    model = KNeighborsRegressor(100)
    seen = Predictive(model, varying=True).mutual_information(np.log(v), w)
    assert 0.25 < seen < 0.46
    assert abs(ExplainedVariance(LinearRegression()).mutual_information(v, w)) < 0.01
    with pytest.raises(ValueError, match="single column of y"):
        Predictive(model, varying=True).mutual_information(v, np.hstack((w, v)))


def test_explained_variance_is_information_for_gaussians_only():
    found, given = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, z = rng.standard_normal((2, 400, 1))
        y = x + z + rng.standard_normal((400, 1))
        method = ExplainedVariance(LinearRegression())
        found.append(method.mutual_information(x, y) - math.log(3 / 2) / 2)
        given.append(method.conditional_mutual_information(x, y, z) - math.log(2) / 2)
    assert abs(np.mean(found)) < 0.01 + spread(found)
    assert abs(np.mean(given)) < 0.01 + spread(given)
    x, y = channel(0)
    with pytest.raises(ValueError, match="Use Predictive for labels"):
        ExplainedVariance(LogisticRegression())
    with pytest.raises(ValueError, match="single column of y"):
        ExplainedVariance(LinearRegression()).mutual_information(x, np.hstack((x, y)))
    assert ExplainedVariance(LinearRegression()).mutual_information(x, 0 * x) == 0


def numbers(seed, rho=0.6, n=200, d=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal((n, d))


@pytest.mark.parametrize(
    ("method", "draw"),
    [
        (Predictive(LogisticRegression()), channel),
        (Predictive(LinearRegression()), numbers),
        (Predictive(LinearRegression()), lambda seed: numbers(seed, d=3)),
        (ExplainedVariance(LinearRegression()), numbers),
    ],
    ids=["labels", "numbers", "vectors", "explained"],
)
def test_stated_errors_are_the_spread_over_seeds(method, draw):
    runs = 40
    told = [method.mutual_information_with_error(*draw(seed)) for seed in range(runs)]
    spread = np.std([one.value for one in told], ddof=1)
    stated = math.sqrt(np.mean([one.std_error**2 for one in told]))
    assert abs(stated / spread - 1) < 3 / math.sqrt(2 * runs)  # chance, three times over
    assert told[0].value == method.mutual_information(*draw(0))


def test_conditional_errors_are_those_of_the_difference():
    x, z = (numbers(seed)[0] for seed in (0, 1))
    y = x + z + np.random.default_rng(2).standard_normal((200, 1))
    method = Predictive(LinearRegression())
    terms = method.losses(z, y) - method.losses(np.hstack((x, z)), y)
    told = method.conditional_mutual_information_with_error(x, y, z)
    assert told.std_error == pytest.approx(terms.std(ddof=1) / math.sqrt(200), rel=1e-12)
    assert told.value == method.conditional_mutual_information(x, y, z) == terms.mean()


def test_conditional_sees_exclusive_or():
    rng = np.random.default_rng(0)
    x, z = rng.integers(0, 2, (2, 400, 1)).astype(float)
    y = (x + z) % 2
    method = Predictive(RandomForestClassifier(10), base_rate=0.01)
    assert method.conditional_mutual_information(x, y, z) == pytest.approx(math.log(2), abs=0.03)
    assert abs(method.mutual_information(x, y)) < 0.02


def test_values_repeat_and_leave_the_global_generator_alone():
    x, y = channel(0)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    method = Predictive(make_pipeline(StandardScaler(), RandomForestClassifier(5)), base_rate=0.1)
    assert method.mutual_information(x, y) == method.mutual_information(x, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    other = Predictive(RandomForestClassifier(5), base_rate=0.1)
    assert eval(repr(other)) == other and hash(eval(repr(other))) == hash(other)
    assert other != Predictive(RandomForestClassifier(6), base_rate=0.1)
    assert not hasattr(other.model, "classes_")  # the given model is never fitted


def test_rare_labels_and_single_class():
    x, y = channel(0, n=100)
    y[0] = 7.0  # seen once: no model can forecast it, so only hedging keeps the bound finite
    found = Predictive(LogisticRegression(), base_rate=0.05).mutual_information(x, y)
    assert math.isfinite(found)
    assert Predictive(LogisticRegression()).mutual_information(x, y) == -math.inf
    assert Predictive(LogisticRegression()).mutual_information(x, 0 * y) == 0


class Frequencies:
    """A model of no library: forecasts by the frequencies at equal x."""

    def fit(self, x, y):
        self.x, self.y = x, y
        return self

    def predict_proba(self, x):
        rows = [
            np.bincount(self.y[(self.x == one).all(1)], minlength=self.y.max() + 1) for one in x
        ]
        return np.array([row / row.sum() for row in rows])


def test_models_of_no_library_do():
    found = Predictive(Frequencies()).mutual_information(*channel(0))
    assert found == pytest.approx(CHANNEL, abs=0.1)


def test_bad_fields():
    for model in (LogisticRegression, 3, StandardScaler()):
        with pytest.raises(ValueError, match="model must be an object with fit and predict"):
            Predictive(model)
    with pytest.raises(ValueError, match="folds must be at least 2"):
        Predictive(LogisticRegression(), folds=1)
    with pytest.raises(ValueError, match="base_rate"):
        Predictive(LogisticRegression(), base_rate=2)
    x, y = channel(0, n=4)
    with pytest.raises(ValueError, match="folds=5 with n=4"):
        Predictive(LogisticRegression()).mutual_information(x, y)
