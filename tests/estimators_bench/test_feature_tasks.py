"""Selection tasks: the table of exact answers, minimal sets by brute force, and the samples."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from sample_checks import check_draws, check_mean
from scipy.special import k0
from scipy.stats import norm

from estimators_bench.tasks.features import TASKS
from estimators_bench.tasks.kinds import SelectionTask
from mitools.methods import Gaussian, Grassberger

BY_NAME = {task.name: task for task in TASKS}
SELECTION = [task for task in TASKS if isinstance(task, SelectionTask)]
every = pytest.mark.parametrize("task", SELECTION, ids=lambda task: task.name)
LOG2 = math.log(2)


def everything(task):
    return frozenset(range(task.features))


def single(task):
    return [task.information(frozenset([i])) / LOG2 for i in range(task.features)]


def lost(task):
    """Bits lost with each feature, from the full set."""
    whole = everything(task)
    return [(task.truth.nats - task.information(whole - {i})) / LOG2 for i in range(task.features)]


# bits: all features, each alone, each dropped; the smallest sets
TABLE = {
    "four-redundant": (
        0.8113,
        [0] * 6,
        [0, 0.5, 0.5, 0, 0, 0],
        [{1, 2, 0}, {1, 2, 3}, {1, 2, 4}, {1, 2, 5}],
    ),
    "two-triplets": (
        0.8113,
        [0] * 6,
        [0] * 6,
        [set(each) for each in itertools.product((0, 3), (1, 4), (2, 5))],
    ),
    "redundant-pair": (2, [1, 1, 1], [1, 0, 0], [{0, 1}, {0, 2}]),
    "exclusive-or": (1, [0, 0], [1, 1], [{0, 1}]),
    "sum": (1.5, [0.5, 0.5, 1.5], [0, 0, 0], [{2}]),
    "joint-symbol": (2, [1, 1, 2], [0, 0, 0], [{2}]),
    "secret-key": (
        5.7961,
        [0.5452, 0.5452, 1.6261] + [0] * 22,
        [math.log2(11)] * 3 + [0] * 22,
        [{0, 1, 2}],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_exact_answers(name):
    task = BY_NAME[name]
    whole, alone, dropped, minimal = TABLE[name]
    assert task.truth.nats / LOG2 == pytest.approx(whole, abs=5e-5)
    np.testing.assert_allclose(single(task), alone, atol=5e-5)
    np.testing.assert_allclose(lost(task), dropped, atol=5e-5)
    assert {frozenset(each) for each in minimal} == set(task.minimal)


def test_secret_key_by_counting():
    """I = H(T) - H(T | X) over the 1,331 keys, without the law."""

    def bits(values):
        p = np.array(list(Counter(values).values())) / len(values)
        return -float(p @ np.log2(p))

    keys = list(itertools.product(range(11), repeat=3))
    targets = [3 * a - 3 * b + c for a, b, c in keys]
    task = BY_NAME["secret-key"]
    assert task.truth.nats / LOG2 == pytest.approx(bits(targets), abs=1e-9)
    for i in range(3):
        given = np.mean(
            [bits([t for t, k in zip(targets, keys, strict=True) if k[i] == v]) for v in range(11)]
        )
        assert single(task)[i] == pytest.approx(bits(targets) - given, abs=1e-9)


@pytest.mark.parametrize("d", [10, 30, 100])
def test_growing_symbols_by_formula(d):
    """An exclusive or or a parity through a channel, and log 3 of a symbol."""
    clear = LOG2 + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert BY_NAME[f"parity-3-of-{d}"].truth.nats == pytest.approx(clear)
    assert BY_NAME[f"copies-{d}"].truth.nats == pytest.approx(clear + math.log(3))


@pytest.mark.parametrize("d", [10, 50, 200])
def test_linear_features_by_the_covariance_of_the_relevant(d):
    """Two sums of four variables of variance 1, correlated .2, and noise of variance 1."""
    loadings = np.array([[1, 1, 1, 0], [0, 0, 1, -1]])
    signal = loadings @ (0.8 * np.eye(4) + 0.2) @ loadings.T
    expected = 0.5 * math.log(np.linalg.det(signal + np.eye(2)))
    assert BY_NAME[f"linear-{d}"].truth.nats == pytest.approx(expected)


@every
def test_draws_are_as_described(task):
    features, targets = task.draw(50, 0)
    assert features.shape == (50, task.features)
    assert len(targets) == 50 and targets.ndim == 2
    whole = [(rows == np.rint(rows)).all() for rows in (features, targets)]
    assert whole == [kind == "discrete" for kind in task.kinds]
    np.testing.assert_array_equal(features, task.draw(50, 0)[0])
    assert not np.array_equal(features, task.draw(50, 1)[0])


@every
def test_minimal_sets_tell_all_and_none_of_their_features_is_spare(task):
    assert len({len(chosen) for chosen in task.minimal}) == 1
    whole = task.truth.nats
    for chosen in task.minimal[:: 1 + len(task.minimal) // 30]:
        assert task.information(chosen) == pytest.approx(whole, abs=1e-9)
        for i in chosen:
            assert task.information(chosen - {i}) < whole - 0.01
    assert task.information(frozenset()) == 0.0


def smallest(task):
    """All the smallest sets that tell everything, among all subsets."""
    whole = task.truth.nats
    for size in range(task.features + 1):
        sets = map(frozenset, itertools.combinations(range(task.features), size))
        found = {each for each in sets if task.information(each) > whole - 1e-9}
        if found:
            return found
    raise AssertionError("not even all features tell everything")


@pytest.mark.parametrize(
    "task", [t for t in SELECTION if t.features <= 10], ids=lambda task: task.name
)
def test_minimal_sets_are_all_the_smallest_ones(task):
    assert set(task.minimal) == smallest(task)


@every
def test_information_never_falls_as_features_join(task):
    order = np.random.default_rng(0).permutation(task.features).tolist()
    values = [task.information(frozenset(order[:i])) for i in range(0, task.features + 1, 5)]
    assert (np.diff(values) > -1e-9).all()


@every
def test_samples_say_what_the_information_says(task):
    """Of one minimal set, of it without a feature, and of features outside all of them."""
    features, targets = task.draw(40_000, 0)
    method = Gaussian() if task.kinds[0] == "continuous" else Grassberger()
    chosen = sorted(task.minimal[-1])
    outside = sorted(everything(task).difference(*task.minimal))[:2]
    for columns in (chosen, chosen[1:], outside):
        if columns:
            measured = method.mutual_information(features[:, columns], targets)
            expected = task.information(frozenset(columns))
            assert measured == pytest.approx(expected, abs=0.02)


def test_a_wrong_place_or_a_lost_copy_would_be_noticed():
    task = BY_NAME["copies-10"]
    known = task.information.__self__
    moved = type(known)(known.joint, known.places[::-1], known.features, known.symbols)
    assert any(moved.information(each) < task.truth.nats - 0.01 for each in task.minimal)
    fewer = task.minimal[:-1]
    assert set(fewer) != smallest(task)


def test_spread_only():
    """Printed value; the mean log density ratio at samples; and nothing for least squares."""
    task = BY_NAME["spread-only"]
    check_draws(task)
    assert task.truth.nats == pytest.approx(0.4203, abs=5e-5)
    x, y = (each.ravel() for each in task.draw(40_000, 0))
    check_mean(norm.logpdf(x, 0, np.sqrt(y)) - np.log(k0(np.abs(x)) / math.pi), task.truth.nats)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.05


def test_every_truth_says_how_it_is_known():
    sources = {task.name: task.truth.source for task in TASKS if isinstance(task, SelectionTask)}
    normal = {name for name, source in sources.items() if source == "closed form"}
    assert normal == {name for name in sources if name.startswith("linear-")} != set()
    assert {sources[name] for name in sources.keys() - normal} == {"enumeration"}
