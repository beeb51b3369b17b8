"""Tests and intervals: valid, reproducible, and of measured coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from mitools.measures import (
    entropy,
    multi_information,
    mutual_information,
    pairwise,
    transfer_entropy,
)
from mitools.methods import KSG, ExplainedVariance, Gaussian, PlugIn, Predictive, Ross
from mitools.uncertainty import (
    CircularShifts,
    Jackknife,
    Subsets,
    permutation_test,
    with_error,
)


def pair(seed, rho=0.6, n=200):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(n)


def test_dependence_is_found_and_independence_is_not():
    found = permutation_test(*pair(0, rho=0.9), permutations=199)
    assert found.p_value == 1 / 200 and found.permutations == 199 and found.exceeded == 0
    assert abs(found.null_mean) < 4 * found.null_std / math.sqrt(199)
    assert "p = 0.005 (0 of 199 shuffles" in str(found)


@pytest.mark.parametrize("stop_after", [5, None])
def test_p_values_are_uniform_under_independence(stop_after):
    """At most a share p of p-values is p or less, up to four standard deviations."""
    runs = 200
    p = np.array(
        [
            permutation_test(
                *pair(seed, rho=0.0, n=30),
                Gaussian(),
                permutations=39,
                stop_after=stop_after,
                seed=seed,
            ).p_value
            for seed in range(runs)
        ]
    )
    for level in (0.05, 0.2, 0.5):
        slack = 4 * math.sqrt(level * (1 - level) / runs)
        assert abs(np.mean(p <= level) - level) < slack + 0.01


def test_early_stop_is_the_beginning_of_the_whole():
    x, y = pair(3, rho=0.0)
    whole = permutation_test(x, y, Gaussian(), permutations=300, stop_after=None)
    early = permutation_test(x, y, Gaussian(), permutations=300, stop_after=10)
    assert early.exceeded == 10 and early.permutations < 300
    assert early.p_value == 10 / early.permutations
    assert whole.p_value == (whole.exceeded + 1) / 301
    assert early.p_value == pytest.approx(whole.p_value, abs=0.4)


def test_same_seed_same_test_on_any_number_of_processes():
    x, y = pair(4, rho=0.1)
    one, two = (permutation_test(x, y, permutations=70, n_jobs=jobs) for jobs in (1, 2))
    assert one == two
    assert permutation_test(x, y, permutations=70, seed=1) != one


def test_bad_numbers():
    x, y = pair(0)
    for bad in ({"permutations": 0}, {"stop_after": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            permutation_test(x, y, **bad)
    with pytest.raises(ValueError, match="confidence"):
        with_error(mutual_information, x, y, KSG(), confidence=95)
    with pytest.raises(ValueError, match="200 samples for 500 parts"):
        with_error(mutual_information, x, y, KSG(), error=Jackknife(500))
    with pytest.raises(ValueError, match="groups must be at least 2"):
        Jackknife(1)
    with pytest.raises(ValueError, match="largest"):
        Subsets(1)
    with pytest.raises(ValueError, match=r"Use Jackknife\(ordered=True\)"):
        with_error(transfer_entropy, x, y, KSG())


class Mean:
    """Not information: the mean of x, whose standard error is known exactly."""

    def entropy(self, x):
        return float(x.mean())


def test_jackknife_of_a_mean_is_the_textbook_error():
    x = np.random.default_rng(0).standard_normal(50)
    found = with_error(entropy, x, Mean(), error=Jackknife(groups=50))
    assert found.std_error == pytest.approx(x.std(ddof=1) / math.sqrt(50), rel=1e-10)


def test_subsets_of_a_mean_average_to_the_textbook_error():
    squares = []
    for seed in range(40):
        x = np.random.default_rng(seed).standard_normal(400)
        squares.append(with_error(entropy, x, Mean(), error=Subsets()).std_error ** 2)
    noise = np.std(squares, ddof=1) / math.sqrt(40)
    assert abs(np.mean(squares) - 1 / 400) < 4 * noise


@pytest.mark.parametrize(
    ("method", "error", "least"),
    [
        (Gaussian(), Jackknife(), 0.92),
        (Gaussian(), Subsets(), 0.92),
        (KSG(k=5), Jackknife(), 0.95),
        (KSG(k=5), Subsets(), 0.90),  # which reads too little variance into halves and less
    ],
    ids=repr,
)
def test_coverage(method, error, least):
    """At least the coverage stated in docs/pitfalls.md, up to three standard deviations."""
    runs, truth, hits = 60, -math.log(0.8), 0
    for seed in range(runs):
        low, high = with_error(mutual_information, *pair(seed, n=300), method, error=error).interval
        hits += low <= truth <= high
    assert hits / runs > least - 3 * math.sqrt(least * (1 - least) / runs)


def test_intervals_follow_the_sense():
    x, y = pair(0)
    point = with_error(mutual_information, x, y, Gaussian())
    assert point.interval[0] < point.value < point.interval[1]
    assert point.notes[-1] == "standard error by Jackknife(groups=20, seed=0, ordered=False)"
    bound = with_error(mutual_information, x, y > 0, Predictive(LogisticRegression()))
    assert bound.interval[1] == math.inf and bound.limit < bound.value
    proxy = with_error(mutual_information, x, y, ExplainedVariance(LinearRegression()))
    assert proxy.interval is None and proxy.std_error > 0


def test_resampling_takes_the_place_of_what_a_method_states():
    x, y = pair(0)
    method = Predictive(LogisticRegression())
    stated = mutual_information(x, y > 0, method)
    found = with_error(mutual_information, x, y > 0, method, error=Jackknife(5))
    assert found.value == stated.value and found.std_error != stated.std_error
    errors = [note for note in found.notes if note.startswith("standard error")]
    assert errors == ["standard error by Jackknife(groups=5, seed=0, ordered=False)"]


def test_labels_are_resampled_and_shuffled_as_labels():
    x, _ = pair(0)
    words = np.where(x > 0.3, "high", "low")
    codes = (words == "low").astype(int)
    for error in (Jackknife(10), Subsets(4)):
        assert with_error(mutual_information, x, words, Ross(), error=error) == with_error(
            mutual_information, x, codes, Ross(), error=error
        )
    named = with_error(entropy, words, PlugIn())
    assert named.std_error == with_error(entropy, codes, PlugIn()).std_error
    assert permutation_test(words, words, PlugIn(), permutations=19).p_value == 1 / 20


def test_other_questions_and_series():
    x, y = pair(0)
    assert with_error(multi_information, [x, y, x * y], Gaussian()).std_error > 0
    assert with_error(entropy, x > 0, PlugIn()).std_error > 0
    series = with_error(transfer_entropy, x, y, Gaussian(), error=Subsets(ordered=True), history=2)
    assert series.std_error > 0
    again = with_error(mutual_information, x, y, KSG())
    assert again == with_error(mutual_information, x, y, KSG())


@pytest.mark.parametrize("error", [Jackknife(), Subsets(3)], ids=repr)
def test_variables_as_a_table_are_its_columns(error):
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((90, 3)), columns=list("abc"))
    columns = [table[name] for name in "abc"]
    expected = with_error(multi_information, columns, Gaussian(), error=error)
    for given in (table, tuple(columns), table.to_numpy().T, [list(c) for c in columns]):
        assert with_error(multi_information, given, Gaussian(), error=error) == expected


def test_classes_in_the_place_of_objects_are_named():
    x, y = np.random.default_rng(0).standard_normal((2, 50))
    for wrong in (CircularShifts, 3):
        with pytest.raises(TypeError, match="shuffles must be an object"):
            permutation_test(x, y, shuffles=wrong)
    with pytest.raises(TypeError, match="error must be an object"):
        with_error(mutual_information, x, y, KSG(), error=Jackknife)
    with pytest.raises(TypeError, match="question must be one"):
        with_error(pairwise, x, y, KSG())
    with pytest.raises(TypeError, match="variables must be a DataFrame or a list"):
        multi_information(None)


def test_a_question_is_asked_as_without_an_error():
    x, y = pair(0)
    expected = with_error(mutual_information, x, y, method=Gaussian())
    assert with_error(mutual_information, x, y, Gaussian()) == expected
    assert with_error(mutual_information, x=x, y=y, method=Gaussian()) == expected
    assert with_error(mutual_information, x, y).method == mutual_information(x, y).method
    series = with_error(transfer_entropy, x, y, Gaussian(), history=2, error=Jackknife(5, 0, True))
    assert series.value == transfer_entropy(x, y, Gaussian(), history=2).value
    with pytest.raises(TypeError, match=r"mutual_information\(x, y, method\); missing .* 'y'"):
        with_error(mutual_information, x)
    with pytest.raises(TypeError, match="question must be one"):
        with_error(permutation_test.__class__, x)
