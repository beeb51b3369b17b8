"""Selectors: how a choice is scored, what each can find, and that none sees the truth."""

import json
from dataclasses import replace

import numpy as np
import pytest

from estimators_bench.contenders import features as entrants
from estimators_bench.contenders.features import (
    CONTENDERS,
    LeastRedundant,
    Recursive,
    Sequential,
    Sparse,
    holm,
    scored,
)
from estimators_bench.tasks.discrete import TASKS as SYMBOLS
from estimators_bench.tasks.features import TASKS
from mitools.methods import KSG, PlugIn

BY_NAME = {task.name: task for task in TASKS}
NAMED = {each.name: each for each in CONTENDERS}
every = pytest.mark.parametrize("contender", CONTENDERS, ids=lambda each: each.name)


def answered(name, task, n=1_000, seed=0):
    task = BY_NAME[task]
    return NAMED[name].answer(task, task.draw(n, seed), seed)


def chosen(name, task, **options):
    return set(answered(name, task, **options).extra["chosen"])


def test_a_choice_is_scored_by_what_it_tells_exactly():
    task = BY_NAME["four-redundant"]
    good = scored(task, np.array([1, 2, 5]))
    assert good.nats == task.truth.nats and good.interval is None
    assert good.extra == {"chosen": [1, 2, 5], "minimal": True, "spare": 0}
    assert scored(task, [5, 4, 2, 1, 0]).extra["spare"] == 2
    short = scored(task, [1, 2])
    assert short.nats == pytest.approx(task.truth.nats - 0.5 * np.log(2))
    assert not short.extra["minimal"] and short.extra["spare"] == 0
    assert scored(task, []).nats == 0.0
    for answer in (good, short):
        assert json.loads(json.dumps(answer.extra)) == answer.extra


def test_holm_by_hand():
    """Levels .05/4, .05/3, .05/2, .05; the first failure ends it."""
    assert holm([0.04, 0.012, 0.016, 0.5], 0.05) == [1, 2]
    assert holm([0.01, 0.017, 0.001, 0.5], 0.05) == [2, 0, 1]
    assert holm([0.02, 0.001, 0.5, 0.03], 0.05) == [1]
    assert holm([0.01, 0.04, 0.015, 0.02], 0.05) == [0, 2, 3, 1]
    assert holm([0.02, 0.02, 0.02], 0.05) == []


@every
def test_contenders_are_values_that_name_themselves(contender):
    scope = {"KSG": KSG, "PlugIn": PlugIn}
    assert eval(repr(contender), vars(entrants) | scope) == contender
    assert contender.package in ("mitools", "scikit-learn")
    assert not contender.takes(SYMBOLS[0]) and not contender.takes(BY_NAME["spread-only"])


@every
def test_same_seed_same_choice_and_nobody_sees_the_truth(contender):
    task = next(t for t in TASKS[::-1] if contender.takes(t) and t.features <= 30)
    data = task.draw(300 if contender.fast else 100, 0)
    first = contender.answer(task, data, 1)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = contender.answer(task, data, 1)
    assert first == again
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    silent = replace(task, information=lambda chosen: 0.0, minimal=(frozenset(),))
    assert contender.answer(silent, data, 1).extra["chosen"] == first.extra["chosen"]
    assert first.nats == task.information(frozenset(first.extra["chosen"]))


@pytest.mark.parametrize(
    ("name", "taken", "declined"),
    [
        ("univariate-plugin", "copies-30", "copies-100"),
        ("univariate-ksg", "linear-10", "linear-50"),
        ("mrmr-plugin", "copies-100", "linear-10"),
        ("mrmr-ksg", "linear-50", "secret-key"),
        ("terc-plugin", "copies-100", "linear-10"),
        ("terc-gaussian", "linear-200", "secret-key"),
        ("terc-ksg", "linear-10", "linear-50"),
        ("terc-tree", "copies-30", "copies-100"),
        ("sequential-forward", "linear-50", "copies-100"),
        ("sequential-backward", "copies-10", "secret-key"),
        ("recursive-tree", "secret-key", "parity-3-of-100"),
        ("sparse-linear", "linear-200", "spread-only"),
    ],
)
def test_contenders_decline_what_is_too_large_or_of_another_kind(name, taken, declined):
    assert NAMED[name].takes(BY_NAME[taken])
    assert not NAMED[name].takes(BY_NAME[declined])


def test_univariate_tests_find_what_shows_alone_and_nothing_else():
    assert chosen("univariate-plugin", "secret-key", n=2_000) == {0, 1, 2}
    assert chosen("univariate-plugin", "redundant-pair") == {0, 1, 2}
    for seed in range(3):
        assert len(chosen("univariate-plugin", "exclusive-or", seed=seed)) <= 1
    linear = BY_NAME["linear-10"]
    dependent = {i for i in range(10) if linear.information(frozenset([i])) > 0.01}
    assert chosen("univariate-ksg", "linear-10", n=400) == dependent


def test_the_correction_keeps_false_discoveries_rare():
    """No feature of a parity shows alone: any choice at all is a false discovery."""
    task, careless = BY_NAME["parity-3-of-10"], replace(NAMED["univariate-plugin"], alpha=0.9)
    runs = [task.draw(150, seed) for seed in range(12)]
    found = [
        sum(bool(each.answer(task, data, 0).extra["chosen"]) for data in runs)
        for each in (NAMED["univariate-plugin"], careless)
    ]
    assert found[0] <= 3 < found[1]  # P(more than 3 of 12 at .05) = .0002


def test_least_redundant_drops_what_is_told_already():
    assert chosen("mrmr-plugin", "sum") == {2}
    assert chosen("mrmr-plugin", "joint-symbol") == {2}
    linear = BY_NAME["linear-10"]
    dependent = {i for i in range(10) if linear.information(frozenset([i])) > 0.01}
    assert chosen("mrmr-ksg", "linear-10") < dependent


def test_searches_by_prediction():
    """A tree sees triples; a forward search by single steps does not see a parity."""
    assert answered("sequential-backward", "parity-3-of-10").extra["minimal"]
    assert not answered("sequential-forward", "parity-3-of-10").extra["minimal"]
    assert answered("sequential-forward", "linear-10").extra["minimal"]
    assert answered("recursive-tree", "sum").extra["chosen"] == [2]


def test_sparse_linear_models_see_sums_and_no_parity():
    assert chosen("sparse-linear", "sum") == {2}
    assert chosen("sparse-linear", "exclusive-or") == set()
    assert answered("sparse-linear", "linear-10").nats == BY_NAME["linear-10"].truth.nats


def test_conditional_shares_find_synergy_and_drop_copies():
    for task in ("parity-3-of-10", "two-triplets", "sum"):
        assert answered("terc-plugin", task, n=600).extra["minimal"]
    assert answered("terc-tree", "copies-10").extra["minimal"]
    assert answered("terc-gaussian", "linear-50").extra["minimal"]


def test_a_choice_made_blindly_says_so():
    wide = answered("terc-plugin", "parity-3-of-30", n=200)
    assert wide.notes and "could not be tested" in wide.notes[0]


def test_limits_and_strengths_matter():
    """The fields do what they say."""
    task = BY_NAME["parity-3-of-10"]
    data = task.draw(300, 0)
    assert not Sequential("forward", most=9).takes(task) and not Recursive(most=9).takes(task)
    assert len(Sparse(10, strength=10.0).answer(task, data, 0).extra["chosen"]) == 10
    assert Sequential("forward", 10, gain=2.0).answer(task, data, 0).extra["spare"] <= 1


def test_more_shuffles_let_fewer_irrelevant_features_in():
    task = BY_NAME["parity-3-of-10"]
    found = [0, 0]
    for seed in range(12):
        data = task.draw(150, seed)
        for i, shuffles in enumerate((1, 19)):
            selector = LeastRedundant("shuffled", PlugIn(), "discrete", 10, shuffles=shuffles)
            found[i] += bool(selector.answer(task, data, 0).extra["chosen"])
    assert found[1] <= 3 < found[0]  # each has probability 1 / (shuffles + 1)


def test_scikit_learn_never_keeps_all_features_in_a_search_by_score():
    """Why both directions miss an exclusive or of two features."""
    for direction in ("forward", "backward"):
        assert len(chosen(f"sequential-{direction}", "exclusive-or")) == 1
