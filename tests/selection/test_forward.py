"""Forward searches against scores computed apart, and the diagnosis of minimal sets."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from estimators_bench.tasks.features import TASKS
from mitools.methods import KSG, Gaussian, PlugIn
from mitools.selection import cmim, jmi, minimality, mrmr, top

BY_NAME = {task.name: task for task in TASKS}


def made(seed, n=200):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (n, 6))
    features[:, 3] = (features[:, 0] + (rng.random(n) < 0.2)) % 3
    target = 3 * features[:, 0] + (features[:, 1] + features[:, 2]) % 3
    return features, np.where(rng.random(n) < 0.1, 0, target)


def code(*columns):
    return sum(column * 9**k for k, column in enumerate(columns))


def searched(features, target, score, count):
    """Return the columns in the order of a greedy search, and the scores."""
    taken, scores = [], []
    for _ in range(count):
        open_ = [j for j in range(features.shape[1]) if j not in taken]
        values = [score(features, target, j, taken) for j in open_]
        best = int(np.argmax(np.round(values, 12)))
        taken.append(open_[best])
        scores.append(values[best])
    return taken, scores


def alone(x, t, j, taken):
    return mutual_info_score(x[:, j], t)


def less_redundant(x, t, j, taken):
    shared = [mutual_info_score(x[:, j], x[:, i]) for i in taken]
    return alone(x, t, j, taken) - (sum(shared) / len(shared) if shared else 0.0)


def joint(x, t, j, taken):
    pairs = [mutual_info_score(code(x[:, j], x[:, i]), t) for i in taken]
    return sum(pairs) if pairs else alone(x, t, j, taken)


def new(x, t, j, taken):
    given = [
        mutual_info_score(code(x[:, j], x[:, i]), t) - mutual_info_score(x[:, i], t) for i in taken
    ]
    return min([alone(x, t, j, taken), *given])


@pytest.mark.parametrize(
    ("search", "score"), [(top, alone), (mrmr, less_redundant), (jmi, joint), (cmim, new)]
)
@pytest.mark.parametrize("seed", range(3))
def test_searches_take_what_their_scores_say(search, score, seed):
    features, target = made(seed)
    names = [f"f{j}" for j in range(6)]
    found = search(pd.DataFrame(features, columns=names), target, PlugIn(), count=4)
    taken, scores = searched(features, target, score, 4)
    assert [step.index for step in found.steps] == taken
    assert [step.phi for step in found.steps] == pytest.approx(scores, abs=1e-9)
    assert found.names == tuple(names[j] for j in sorted(taken))
    assert [step.left for step in found.steps] == [1, 2, 3, 4]
    whole = mutual_info_score(code(*features[:, sorted(taken)].T), target)
    assert found.information == pytest.approx(whole, abs=1e-9)
    assert str(found).startswith(f"{found.search}: 4 of 6 features: ")


def test_they_differ_where_they_should():
    """A copy is the second most informative, and tells nothing new."""
    chance = np.random.default_rng(0)
    a, b, noise = chance.integers(0, 2, (3, 400))
    table, target = np.column_stack([a, a, b, noise]), 2 * a + (a & b)
    assert top(table, target, PlugIn(), count=2).chosen == (0, 1)
    for search in (mrmr, jmi, cmim):
        assert search(table, target, PlugIn(), count=2).chosen == (0, 2)
    x = chance.standard_normal((200, 3))
    wanted = 2 * x[:, 0] + x[:, 1] + 0.1 * x[:, 2]
    for method in (Gaussian(), KSG()):
        assert cmim(x, wanted, method, count=2).chosen == (0, 1)


def test_counts_that_cannot_be():
    with pytest.raises(ValueError, match="count must be at most the number of features that vary"):
        top([[0, 1], [1, 1]], [0, 1], PlugIn(), count=2)
    with pytest.raises(ValueError, match="count must be at least 1"):
        jmi([[0, 1], [1, 0]], [0, 1], PlugIn(), count=0)


# Minimal sets -------------------------------------------------------------------------------------


def cases(name):
    """Return all equally likely cases of a task's law."""
    joint = BY_NAME[name].sampler.__self__.joint
    return joint.outcomes[:, :-1], joint.outcomes[:, -1]


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("four-redundant", True),
        ("two-triplets", True),
        ("redundant-pair", True),
        ("exclusive-or", True),
        ("sum", False),
        ("joint-symbol", False),
    ],
)
def test_the_sets_of_the_table(name, condition):
    found = minimality(*cases(name))
    smallest = min(len(names) for names in found.irreducible)
    small = {frozenset(names) for names in found.irreducible if len(names) == smallest}
    assert small == set(BY_NAME[name].minimal)
    assert found.condition == condition == found.certain
    assert found.information == pytest.approx(BY_NAME[name].truth.nats)
    assert ("holds" in str(found)) == condition


@pytest.mark.parametrize("seed", range(4))
def test_irreducible_sets_by_their_definition(seed):
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, 2, (3, 200))
    features = np.column_stack([a, b, a + b, c, b ^ c])[:, rng.permutation(5)]
    target = a + b if seed % 2 else 2 * a + (b ^ c)

    def tells(chosen):
        # Plain Python, row by row: does every case have one target?
        seen = {}
        rows = zip(features[:, list(chosen)].tolist(), target.tolist(), strict=True)
        return all(seen.setdefault(tuple(row), t) == t for row, t in rows)

    every = [s for k in range(6) for s in itertools.combinations(range(5), k) if tells(s)]
    wanted = [s for s in every if not any(set(r) < set(s) for r in every)]
    found = minimality(features, target)
    assert sorted(found.irreducible) == sorted(wanted)
    pairs = {(r, s) for r, s in itertools.combinations(wanted, 2) if not set(r) & set(s)}
    assert {frozenset(p) for p in found.violations} == {
        frozenset(p) for p in pairs if len(p[0]) != len(p[1])
    }


def test_sets_that_overlap_can_differ_in_size_though_the_condition_holds():
    """The condition of the paper speaks of disjoint sets, and is no guarantee in every order."""
    a, b, c = (np.array(each) for each in zip(*itertools.product((0, 1), repeat=3), strict=True))
    found = minimality(np.column_stack([a, b, a + b, c]), 3 * c + a + b)
    assert found.irreducible == ((2, 3), (0, 1, 3))
    assert found.condition and not found.certain


def test_noise_needs_a_tolerance():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 400))
    noisy = a ^ (rng.random(400) < 0.1)
    table = np.column_stack([a, b])
    assert minimality(table, noisy).irreducible == ((0, 1),)
    assert minimality(table, noisy, tolerance=0.02).irreducible == ((0,),)
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        minimality(table, noisy, tolerance=-1.0)
    with pytest.raises(ValueError, match="features must be at most 14"):
        minimality(rng.integers(0, 2, (20, 15)), rng.integers(0, 2, 20))
