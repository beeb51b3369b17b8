"""Predictive bounds: below the truth, tight for the right model, and honest labels."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mitools._validation import UnreliableEstimate
from mitools.measures import conditional_mutual_information, mutual_information
from mitools.methods import ExplainedVariance, Predictive
from mitools.methods._forecasts import RIVALS, Normal, contrast, groups


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


@pytest.mark.parametrize(("d", "rho", "n"), [(1, 0.6, 300), (5, 0.6, 500), (50, 0.5, 600)])
def test_bounds_for_numbers_are_below_the_truth(d, rho, n):
    """With H(Y) by distances, the last one was 11 nats above it."""
    truth, known = -d / 2 * math.log(1 - rho**2), d / 2 * math.log(2 * math.pi * math.e)
    bounds = Predictive(LinearRegression()), Predictive(LinearRegression(), known_entropy=known)
    for method in bounds:
        told = [
            method.mutual_information_with_error(*numbers(s, rho=rho, n=n, d=d)) for s in range(6)
        ]
        error = math.sqrt(sum(one.std_error**2 for one in told)) / 6
        found = np.mean([one.value for one in told])
        assert method.sense == "lower" and found < truth + 3 * error
        assert found > 0.3 * min(truth, method.ceiling(n))
    nothing = [bounds[0].mutual_information(*numbers(s, rho=0.0, n=n, d=d)) for s in range(6)]
    assert np.mean(nothing) < spread(nothing)


def test_against_rivals_by_hand():
    x, y = numbers(0, n=60, d=2)
    method = Predictive(LinearRegression(), folds=3)
    terms = np.empty(60)
    for train, test in KFold(3, shuffle=True, random_state=0).split(x):
        residual = np.empty((40, 2))
        for less, left in KFold(3, shuffle=True, random_state=0).split(train):
            model = LinearRegression().fit(x[train[less]], y[train[less]])
            residual[left] = y[train[left]] - model.predict(x[train[left]])
        means = LinearRegression().fit(x[train], y[train]).predict(x[test])
        law = multivariate_normal(cov=residual.T @ residual / 40)
        likely = law.pdf(y[test][:, None] - means)
        terms[test] = np.log(likely.diagonal() / likely.mean(axis=1))
        losses = Normal.like(means, residual).losses(y[test])
        np.testing.assert_allclose(losses, -np.log(likely.diagonal()), rtol=1e-10)
    np.testing.assert_allclose(method.local_mutual_information(x, y), terms, atol=1e-10)
    assert method.mutual_information(x, y) == pytest.approx(terms.mean(), rel=1e-10)
    known = Predictive(LinearRegression(), folds=3, known_entropy=1.25)
    expected = 1.25 - known.losses(x, y)
    np.testing.assert_allclose(known.local_mutual_information(x, y), expected, rtol=1e-12)


def test_the_influence_of_a_sample_is_its_weight():
    """The value as a function of the samples' weights, differentiated by differences."""
    scores = np.random.default_rng(0).standard_normal((8, 8))
    found, step = contrast(scores), 1e-6

    def value(weight):
        weight = weight / weight.sum()
        return weight @ (scores.diagonal() - np.log(np.exp(scores) @ weight))

    for i, influence in enumerate(found.influence):
        moved = [value(np.ones(8) + sign * step * np.eye(8)[i]) for sign in (1, -1)]
        slope = (moved[0] - moved[1]) / (2 * step) * 8
        assert influence - found.influence.mean() == pytest.approx(slope, abs=1e-6)
    assert found.influence.mean() == pytest.approx(found.terms.mean(), abs=1e-12)


def test_many_rivals_are_split_into_groups_spread_evenly():
    rows = groups(2 * RIVALS + 1)
    assert len(rows) == 3 and max(map(len, rows)) <= RIVALS
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(2 * RIVALS + 1))
    assert all(one.min() < 3 and one.max() > 2 * RIVALS - 3 for one in rows)


def test_what_is_a_bound_and_what_is_not():
    """Y in two clusters that x names: I = log 2, and no Gaussian for y alone is any good."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (400, 1))
    y = 3 * x + 0.1 * rng.standard_normal((400, 1))
    bound = mutual_information(x, y, Predictive(LinearRegression()))
    assert bound.sense == "lower" and bound.value == pytest.approx(math.log(2), abs=0.01)
    told = mutual_information(x, y, Predictive(LinearRegression(), null="gaussian"))
    assert told.sense == "proxy" and told.interval is None and told.value > 3
    labels = Predictive(LogisticRegression(), null="gaussian")
    assert labels.sense == "lower" and labels.ceiling(100) == math.inf


def test_against_a_gaussian_there_is_no_cap():
    x, y = numbers(0, rho=0.99999, n=400)  # truth 5.41
    method = Predictive(LinearRegression())
    assert method.ceiling(400) == math.log(80)
    with pytest.warns(UnreliableEstimate, match='null="gaussian"'):
        assert mutual_information(x, y, method).value < math.log(80)
    method = Predictive(LinearRegression(), null="gaussian")
    assert method.ceiling(400) == math.inf
    assert mutual_information(x, y, method).value == pytest.approx(5.41, abs=0.2)
    nothing = Predictive(DummyRegressor(), null="gaussian").mutual_information(x, y)
    assert nothing == pytest.approx(0.0, abs=1e-12)


def test_what_cannot_be_forecast_is_told():
    x, y = numbers(0, n=100)
    for null in ("rivals", "gaussian"):
        method = Predictive(LinearRegression(), null=null)
        assert method.mutual_information(x, np.ones_like(y)) == 0.0
        aside = method.mutual_information(x, np.hstack((y, np.ones_like(y))))
        assert aside == method.mutual_information(x, y)
        with pytest.raises(ValueError, match="columns that determine each other"):
            method.mutual_information(x, np.hstack((y, y)))
    with pytest.raises(ValueError, match="predicted without error"):
        Predictive(KNeighborsRegressor(1), varying=True).mutual_information(x.round(), x.round())
    with pytest.raises(ValueError, match="predicted without error"):
        Predictive(LinearRegression()).mutual_information(x, 1e-300 * x)
    for call in (Nowhere(), Nowhere(columns=2)):
        with pytest.raises(ValueError, match="model must predict 1 finite numbers"):
            Predictive(call).mutual_information(x, y)
    for wrong in (np.full((20, 2), np.nan), np.full((20, 3), 0.3), np.full((20, 2), -1.0)):
        with pytest.raises(ValueError, match="model must give probabilities of 2 labels"):
            Predictive(Told(wrong)).mutual_information(x, (y > 0).astype(float))


class Nowhere:
    def __init__(self, columns=1):
        self.columns = columns

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.full((len(x), self.columns), np.nan if self.columns == 1 else 0.0)


class Told:
    def __init__(self, answer):
        self.answer = answer

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return self.answer


def test_units_of_y_do_not_matter():
    x, y = numbers(0, n=100)
    for method in (
        Predictive(LinearRegression()),
        Predictive(LinearRegression(), null="gaussian"),
        ExplainedVariance(LinearRegression()),
    ):
        here = method.mutual_information(x, y)
        for unit in (2.0**400, 2.0**-400, 1e-6):
            assert method.mutual_information(x, unit * y) == pytest.approx(here, rel=1e-9)


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
    for wrong in (math.inf, math.nan, "1", True):
        with pytest.raises(ValueError, match="known_entropy must be a finite number"):
            Predictive(LinearRegression(), known_entropy=wrong)
    with pytest.raises(ValueError, match="null must be one of 'rivals', 'gaussian'"):
        Predictive(LinearRegression(), null="distances")
    with pytest.raises(ValueError, match="folds must be at least 2"):
        Predictive(LogisticRegression(), folds=1)
    with pytest.raises(ValueError, match="base_rate"):
        Predictive(LogisticRegression(), base_rate=2)
    x, y = channel(0, n=4)
    with pytest.raises(ValueError, match="folds=5 with n=4"):
        Predictive(LogisticRegression()).mutual_information(x, y)


def test_differences_of_impossible_forecasts_are_said_to_be_none():
    rng = np.random.default_rng(0)
    x, z, noise = rng.normal(size=(3, 80, 1))
    y = (x + noise > 0).astype(float)
    with pytest.warns(UnreliableEstimate, match="probability 0 .* base_rate"):
        found = conditional_mutual_information(x, y, z, Predictive(DecisionTreeClassifier()))
    assert not np.isfinite(found.value)
