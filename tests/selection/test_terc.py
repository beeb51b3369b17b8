"""TERC on sets whose answer is known: what is kept, what is dropped, and how often wrongly."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.tree import DecisionTreeClassifier

from estimators_bench.contenders.features import holm
from estimators_bench.tasks.features import TASKS
from mitools._validation import UnreliableEstimate
from mitools.measures import pairwise
from mitools.methods import KSG, Gaussian, GaussianCopula, MesnerShalizi, PlugIn, Predictive
from mitools.methods.questions import WithError
from mitools.selection import OwnTest, Shuffled, terc, top
from mitools.uncertainty import CircularShifts

BY_NAME = {task.name: task for task in TASKS}
BITS = (
    "four-redundant",
    "two-triplets",
    "redundant-pair",
    "exclusive-or",
    "sum",
    "joint-symbol",
)
TREE = Predictive(DecisionTreeClassifier(), base_rate=0.01)


def answered(task, method, n, seed, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreliableEstimate)  # KSG is asked about symbols
        return terc(*BY_NAME[task].draw(n, seed), method, **options)


def misses(task, method, n, seeds, **options):
    """Return the answers that are not minimal."""
    found = [answered(task, method, n, seed, **options).chosen for seed in range(seeds)]
    return [chosen for chosen in found if frozenset(chosen) not in BY_NAME[task].minimal]


@pytest.mark.parametrize("task", BITS)
def test_counts_find_a_minimal_set_every_time(task):
    assert misses(task, PlugIn(), 300, 20) == []
    assert misses(task, PlugIn(), 300, 20, test=OwnTest()) == []


@pytest.mark.parametrize("task", BITS)
def test_predictors_find_a_minimal_set(task):
    assert misses(task, TREE, 300, 3) == []


@pytest.mark.parametrize("task", ["four-redundant", "exclusive-or", "sum"])
def test_neighbours_find_a_minimal_set(task):
    assert misses(task, KSG(), 120, 1) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", BITS)
@pytest.mark.parametrize(("method", "n"), [(TREE, 300), (KSG(), 200)])
def test_a_minimal_set_over_twenty_seeds(task, method, n):
    assert misses(task, method, n, 20) == []


def test_the_secret_key_is_found_among_noise():
    assert misses("secret-key", PlugIn(), 1_000, 3) == []
    assert misses("secret-key", Gaussian(), 300, 20) == []


@pytest.mark.slow
def test_the_secret_key_over_twenty_seeds():
    assert misses("secret-key", PlugIn(), 1_000, 20) == []


def test_linear_features_with_copies_clear_and_noisy():
    for task in ("linear-10", "linear-50"):  # each miss has probability .05, five have .003
        assert len(misses(task, Gaussian(), 500, 20)) <= 4
    assert len(misses("linear-10", GaussianCopula(), 500, 20)) <= 4


def test_what_only_spreads_is_seen_by_neighbours_and_not_by_lines():
    spread, cause = BY_NAME["spread-only"].draw(400, 0)
    noise = np.random.default_rng(0).standard_normal((400, 1))
    features = np.hstack([np.log(cause), noise])
    assert terc(features, spread, KSG(scale="rank")).chosen == (0,)
    assert terc(features, spread, Gaussian()).chosen == ()


def test_the_order_decides_between_one_feature_and_the_two_that_make_it_up():
    assert answered("sum", PlugIn(), 300, 0).chosen == (2,)
    wrong = answered("sum", PlugIn(), 300, 0, order="most-informative")
    assert wrong.chosen == (0, 1)
    features, target = BY_NAME["sum"].draw(300, 0)
    table = pd.DataFrame(features, columns=["a", "b", "a+b"])
    assert terc(table, target, PlugIn(), order=["a+b", "b", "a"]).names == ("a", "b")
    assert terc(table, target, PlugIn(), order=[1, 0, 2]).names == ("a+b",)
    assert terc(table, target, PlugIn(), order="given").names == ("a+b",)
    reverse = terc(table, target, PlugIn(), order="reversed")
    assert [step.index for step in reverse.steps] == [2, 1, 0] and reverse.names == ("a", "b")
    assert reverse.path["alone"].isna().all()


def test_the_path_says_what_each_step_found():
    features, target = BY_NAME["redundant-pair"].draw(400, 0)
    table = pd.DataFrame(features, columns=["a", "b", "copy"])
    found = terc(table, target, PlugIn())
    path = found.path.set_index("feature")
    assert path["left"].tolist() == [3 - (~path["kept"])[: i + 1].sum() for i in range(3)]
    first = next(step for step in found.steps if not step.kept)
    assert first.feature in ("b", "copy") and first.phi == pytest.approx(0.0, abs=1e-12)
    assert path.loc["a", "phi"] == pytest.approx(path.loc["a", "alone"], abs=0.02)
    assert 1.3 < found.information == pytest.approx(found.information_of_all)
    assert (path["alone"].to_numpy()[:-1] <= path["alone"].to_numpy()[1:] + 1e-12).all()
    assert found == terc(table, target, PlugIn()) and hash(found)
    text = str(found)
    assert text.startswith("TERC: 2 of 3 features: a, ") and "95% confidence" in text


def test_one_pass_later_steps_see_earlier_removals():
    """All four copies have phi 0 in the full set; dropped at once, nothing would be left."""
    bit = np.random.default_rng(0).integers(0, 2, 100)
    found = terc(np.column_stack([bit] * 4), bit, PlugIn())
    assert [step.kept for step in found.steps] == [False, False, False, True]
    assert [step.left for step in found.steps] == [3, 2, 1, 1]
    columns = np.column_stack([bit, 3 - 2 * bit, bit + 1e6]).astype(float)
    assert terc(columns, bit, Gaussian()).chosen == (2,)
    x = np.random.default_rng(0).standard_normal((150, 1))
    noisy = x + 0.3 * np.random.default_rng(1).standard_normal((150, 1))
    assert len(terc(np.hstack([x, -2 * x, x]), noisy, KSG()).chosen) == 1


# Error rates --------------------------------------------------------------------------------------


def noise_kept(runs, draw, method, **options):
    """Return in how many runs anything was kept of features that tell nothing."""
    return sum(bool(terc(*draw(seed), method, **options).chosen) for seed in range(runs))


def bits(seed):
    drawn = np.random.default_rng(seed).integers(0, 2, (60, 4))
    return drawn[:, :3], drawn[:, 3]


def normals(seed):
    drawn = np.random.default_rng(seed).standard_normal((30, 7))
    drawn[:, 1] += drawn[:, 0]
    return drawn[:, :5], drawn[:, 5:]


def test_irrelevant_features_stay_as_rarely_as_stated():
    """Of 60 runs at 80% confidence, 12 are expected and more than 22 have probability .001."""
    for draw, method in ((bits, PlugIn()), (normals, Gaussian())):
        assert noise_kept(60, draw, method, confidence=0.8) <= 22
        assert noise_kept(60, draw, method, confidence=0.8, correction="none") > 22


@dataclass(frozen=True)
class Scripted:
    """States how many standard errors each feature is from 0; the column's mean says it."""

    def mutual_information(self, x, y):
        return float(x.mean())

    def conditional_mutual_information_with_error(self, x, y, z):
        return WithError(float(x.mean()), 1.0, 10**9, "script")


@pytest.mark.parametrize("seed", range(6))
def test_passes_are_holms_procedure_where_no_feature_minds_the_others(seed):
    p = np.random.default_rng(seed).uniform(size=8) ** 3
    p[:3] = (0.004, 0.008, 0.011)
    z = student.isf(p, 10**9)
    columns = z + np.array([[-1.0], [1.0]])  # they must vary
    found = {
        how: terc(columns, [0.0, 1.0], Scripted(), correction=how).chosen
        for how in ("holm", "bonferroni", "none")
    }
    positive = np.where(z > 0, p, 1.0)
    assert found["holm"] == tuple(sorted(holm(positive.tolist(), 0.05)))
    assert found["bonferroni"] == tuple(np.flatnonzero(p <= 0.05 / 8))
    assert found["none"] == tuple(np.flatnonzero(p <= 0.05))


@dataclass(frozen=True)
class Together(Scripted):
    """As scripted, but the second feature shows only beside both others."""

    def conditional_mutual_information_with_error(self, x, y, z):
        value = 0.0 if x.mean() > 2.5 and x.mean() < 3.5 and z.shape[1] < 2 else float(x.mean())
        return WithError(value, 1.0, 10**9, "script")


def test_a_later_pass_asks_again_where_other_features_are_left():
    """The first goes at level .02 and takes the second with it; at .03 it stays, and both do."""
    z = np.array([student.isf(0.025, 10**9), 3.0, 4.0]) + np.array([[-0.1], [0.1]])
    given = {"confidence": 0.94, "order": "given"}
    once = terc(z, [0.0, 1.0], Together(), correction="bonferroni", **given)
    assert once.chosen == (2,)
    assert terc(z, [0.0, 1.0], Together(), **given).chosen == (0, 1, 2)


# What the samples cannot show ---------------------------------------------------------------------


def test_it_is_said_where_samples_are_too_few_to_test():
    chance = np.random.default_rng(0).integers(0, 2, (100, 25))
    found = terc(chance, chance[:, 3] ^ chance[:, 7], PlugIn())
    assert any("could not be tested" in note for note in found.notes)
    assert not found.path["testable"].all()
    plain = terc(chance[:, :8], chance[:, 3] ^ chance[:, 7], PlugIn())
    assert plain.chosen == (3, 7) and plain.notes == ()


def test_columns_that_never_change_are_dropped_and_named():
    bit = np.random.default_rng(0).integers(0, 2, 50)
    table = pd.DataFrame({"still": 1, "bit": bit, "calm": 0.5})
    for method in (PlugIn(), Gaussian(), None):
        found = terc(table, bit, method)
        assert found.names == ("bit",)
        assert found.notes == ("dropped because they never change: still, calm",)
    assert terc(table[["still", "calm"]], bit, PlugIn()).chosen == ()


def test_without_a_method_the_columns_choose():
    chance = np.random.default_rng(0)
    bit, other = chance.integers(0, 2, (2, 60))
    x = chance.standard_normal((60, 2))
    assert terc(np.column_stack([bit, other]), bit).method == "PlugIn()"
    assert terc(x, x[:, 0]).method == repr(KSG())
    assert terc(np.column_stack([bit, x[:, 0]]), bit).method == repr(MesnerShalizi())
    words = pd.DataFrame({"a": np.array(["no", "yes"])[bit], "b": np.array(["s", "t"])[other]})
    assert terc(words, words["b"]).names == ("b",)


# Tests of choice ----------------------------------------------------------------------------------


def test_same_seed_same_path_and_the_global_generator_rests():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = answered("four-redundant", PlugIn(), 60, 0, test=Shuffled(seed=1))
    assert first == answered("four-redundant", PlugIn(), 60, 0, test=Shuffled(seed=1))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    noise = [terc(*bits(0), PlugIn(), test=Shuffled(seed=seed)) for seed in (1, 2)]
    assert noise[0].path["p_value"].tolist() != noise[1].path["p_value"].tolist()


def test_shuffles_of_choice_serve_series():
    chance = np.random.default_rng(0)
    x = chance.standard_normal((300, 2)).cumsum(axis=0)
    x -= np.vstack([np.zeros((5, 2)), x[:-5]])  # each row shares four of its five steps
    target = x[:, 0] + chance.standard_normal(300)
    test = Shuffled(CircularShifts(), permutations=99)
    with pytest.warns(UnreliableEstimate, match="successive rows are correlated"):
        assert 0 in terc(x, target, Gaussian(), test=test).chosen


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"features": [[0.0, np.nan], [1.0, 2.0]]}, "features must be finite; 1 of 2 rows"),
        ({"features": np.zeros((3, 2))}, "same number of samples"),
        ({"features": np.zeros((2, 0))}, "at least one sample and one coordinate"),
        ({"target": [1, 1]}, "target must take more than one value; got 2 equal rows"),
        ({"confidence": 1.0}, "confidence must lie strictly between 0 and 1"),
        ({"correction": "fdr"}, "correction must be one of 'holm'"),
        ({"order": "best"}, "order must be one of 'least-informative'"),
        ({"order": [0, 0]}, "order must name every one of the 2 features once"),
        ({"test": Shuffled(permutations=9)}, "permutations must be at least 39"),
    ],
)
def test_errors_name_the_argument_and_the_rule(changed, words):
    given = {"features": [[0, 1], [1, 0]], "target": [0, 1], "method": PlugIn()} | changed
    features, target, method = (given.pop(name) for name in ("features", "target", "method"))
    with pytest.raises(ValueError, match=words):
        terc(features, target, method, **given)


@pytest.mark.parametrize("test", [None, OwnTest()])
def test_forecasts_that_were_impossible_say_nothing_of_features(test):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    y = (x[:, 0] + rng.normal(size=80) > 0).astype(float)  # which no tree foresees without fault
    sure = Predictive(DecisionTreeClassifier(random_state=0))
    with pytest.raises(ValueError, match=r"method must say .* base_rate=0.01"):
        terc(x, y, sure, test=test)


def test_wrong_types_are_refused():
    data = [[0.0, 1.0], [1.0, 0.0], [2.0, 2.5], [0.5, 3.0]], [0.0, 1.0, 2.0, 5.0]
    with pytest.raises(TypeError, match="lacks its parentheses"):
        terc(*data, KSG)
    with pytest.raises(TypeError, match="Pass it as method="):
        terc(data[0], PlugIn())
    with pytest.raises(TypeError, match="test must be Shuffled"):
        terc(*data, Gaussian(), test=OwnTest)
    with pytest.raises(TypeError, match="a test of its own"):
        terc(*data, KSG(k=1), test=OwnTest())
    with pytest.raises(ValueError, match="fewer independent columns than rows"):
        terc(np.random.default_rng(0).standard_normal((5, 6)), np.arange(5.0), Gaussian())


def test_labels_beside_numbers_are_not_made_symbols_of_all():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 400))
    features, target = pd.DataFrame({"a": a, "b": b}), (a > 0).astype(int)
    words = np.where(a > 0, "yes", "no")
    assert terc(features, words).chosen == terc(features, target).chosen == (0,)
    town = rng.choice(["x", "y", "z"], 400)
    found = terc(features.assign(town=town), a + (town == "x") + 0.1 * b)
    assert 0 in found.chosen and found.method.startswith("MesnerShalizi")
    assert terc(pd.DataFrame({"town": town}), words).method == "PlugIn()"


def test_the_target_may_be_a_column():
    a, b, c = np.random.default_rng(0).integers(0, 2, (3, 300))
    table = pd.DataFrame({"a": a, "y": a ^ b, "b": b, "c": c})
    features = table.drop(columns="y")
    expected = terc(features, table["y"], PlugIn())
    found = terc(table, "y", PlugIn())
    assert found == expected and set(found.names) == {"a", "b"}
    assert top(table, "y", PlugIn(), count=1) == top(features, table["y"], PlugIn(), count=1)
    assert pairwise(table, "y", PlugIn()).equals(pairwise(features, table["y"], PlugIn()))
    assert list(table) == ["a", "y", "b", "c"]
    with pytest.raises(ValueError, match=r"^target must be samples.*got 'z', .* a, y, b, c\."):
        terc(table, "z", PlugIn())
    with pytest.raises(ValueError, match="features have no named columns"):
        terc(table.to_numpy(), "y", PlugIn())
    with pytest.raises(ValueError, match="targets must be samples"):
        pairwise(table, "z", PlugIn())
