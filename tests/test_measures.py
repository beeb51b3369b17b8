"""The questions: what comes in, what comes out, and what is said about it."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student_t
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from mitools import methods
from mitools._validation import UnreliableEstimate
from mitools.measures import (
    conditional_mutual_information,
    entropy,
    local_mutual_information,
    multi_information,
    mutual_information,
    pairwise,
    transfer_entropy,
)
from mitools.methods import (
    KSG,
    ExplainedVariance,
    GaoMixed,
    Gaussian,
    GaussianCopula,
    KozachenkoLeonenko,
    MillerMadow,
    PlugIn,
    Predictive,
    Ross,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal(200)
Y = 0.8 * X + 0.6 * RNG.standard_normal(200)


def test_answers_are_labelled():
    answer = mutual_information(X, Y)
    assert answer.value == KSG().mutual_information(X[:, None], Y[:, None])
    assert (answer.quantity, answer.sense) == ("I(X; Y)", "point")
    assert eval(answer.method, vars(methods)) == KSG()
    assert entropy(X).quantity == "H(X)"
    assert conditional_mutual_information(X, Y, X + Y, Gaussian()).quantity == "I(X; Y | Z)"
    assert multi_information([X, Y, X * Y]).quantity == "I(X1; X2; X3)"
    assert local_mutual_information(X, Y).mean() == pytest.approx(answer.value, rel=1e-13)
    label = (X > 0).astype(int)
    predictive = Predictive(LogisticRegression())
    assert mutual_information(Y, label, predictive).sense == "lower"
    assert conditional_mutual_information(Y, label, Y**2, predictive).sense == "proxy"
    assert mutual_information(X, Y, ExplainedVariance(LinearRegression())).sense == "proxy"


@pytest.mark.parametrize(
    "given",
    [
        X.tolist(),
        X[:, None],
        pd.Series(X),
        pd.DataFrame({"x": X}),
        torch.tensor(X),
        np.repeat(X, 2)[::2],
        np.ma.masked_array(X),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_container_gives_the_same_number(given):
    assert mutual_information(given, Y).value == mutual_information(X, Y).value


def test_half_precision_is_widened():
    half = X.astype(np.float16)
    assert mutual_information(half, Y) == mutual_information(half.astype(float), Y)


@pytest.mark.parametrize(
    ("method", "question"),
    [(KozachenkoLeonenko(), "mutual_information"), (KSG, "mutual_information"), ("ksg", "mutual")],
)
def test_methods_that_cannot_answer_are_named(method, question):
    with pytest.raises(TypeError, match=f"method must be an object that answers {question}"):
        mutual_information(X, Y, method)


def test_bad_input_is_refused_in_the_callers_words():
    with pytest.raises(ValueError, match="y must be finite; 1 of 200"):
        mutual_information(X, np.where(np.arange(200) == 3, np.nan, Y))
    with pytest.raises(ValueError, match="x has 200, y has 199, z has 200"):
        conditional_mutual_information(X, Y[1:], X)
    with pytest.raises(ValueError, match="k=3 with n=2"):
        mutual_information(X[:2], Y[:2])
    with pytest.raises(ValueError, match="at least two variables; got 1"):
        multi_information([X])
    with pytest.raises(ValueError, match=r"variables\[1\] must be finite"):
        multi_information([X, X * np.inf, Y])
    with pytest.raises(ValueError, match="history must be at least 1"):
        transfer_entropy(X, Y, history=0)
    with pytest.raises(ValueError, match="longer than the history of 250"):
        transfer_entropy(X, Y, history=250)


def warned(*arguments, question=mutual_information):
    with pytest.warns(UnreliableEstimate) as caught:
        answer = question(*arguments)
    assert answer.notes == tuple(str(w.message) for w in caught)
    assert all(w.filename == __file__ for w in caught)  # the caller's line, not ours
    return " ".join(answer.notes)


def test_ties_are_told():
    label = (X > 0).astype(int)
    assert "y repeats values (99%" in warned(X, label)
    assert "x is constant" in warned(0 * X, Y)
    assert "x repeats values" in warned(np.round(X), question=entropy)
    for method in (GaoMixed(), Ross(), MillerMadow()):
        mutual_information(X, label, method)


def test_saturation_is_told():
    assert "near the most that n=200 samples can show (4.37)" in warned(X, X + 1e-6 * Y)


def independent_columns(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n, d))


@pytest.mark.parametrize(
    "method", [KSG(), methods.LNC(k=20), GaoMixed(), methods.MesnerShalizi()], ids=repr
)
def test_many_columns_are_told(method):
    """More than 3 log10(n) - 1 of them: 5 for 100 samples, 8 for 1000."""
    assert "6 columns are many for n=100 samples" in warned(*independent_columns(100, 3), method)
    mutual_information(*independent_columns(100, 2), method)
    mutual_information(*independent_columns(1000, 4), method)
    assert "10 columns are many" in warned(*independent_columns(1000, 5), method)


def test_many_columns_are_told_only_where_they_count_together():
    x, y = independent_columns(100, 10)
    mutual_information(x, y, GaussianCopula())
    pairwise(x, y)  # two at a time
    label = (x[:, 0] > 0).astype(int)
    mutual_information(x[:, :5], label, Ross())
    assert "6 columns are many" in warned(x[:, :6], label, Ross())
    one_hot = np.eye(12)[np.random.default_rng(0).integers(0, 12, 100)]
    mutual_information(one_hot, y[:, :4], methods.MesnerShalizi())
    with pytest.warns(UnreliableEstimate, match="30 columns are many"):
        conditional_mutual_information(x, y, x + y)


def test_successive_rows_are_told():
    steps = np.random.default_rng(0).standard_normal((2, 500)).cumsum(axis=1)
    assert "successive rows are correlated" in warned(*steps)
    assert "successive rows are correlated" in warned(*steps, GaussianCopula())
    transfer_entropy(*np.diff(steps))  # series are expected to have memory
    mutual_information(steps[0], [*Y, *X, *Y[:100]], PlugIn())


def test_scales_are_told_only_where_they_matter():
    assert "columns differ" in warned(X, 1e4 * Y, KSG(scale=None))
    mutual_information(X, 1e4 * Y)
    assert "columns differ" in warned(
        np.column_stack([X, 1e4 * Y]), KozachenkoLeonenko(scale=None), question=entropy
    )


def test_heavy_tails_are_told():
    assert "x has heavy tails" in warned(np.sinh(4 * X), Y)
    mutual_information(np.sinh(4 * X), Y, KSG(scale="rank"))


def test_a_forecast_of_zero_is_told():
    label = np.random.default_rng(1).integers(0, 2, 200)
    assert "use Predictive(..., base_rate" in warned(X, label, Predictive(DecisionTreeClassifier()))


def test_errors_that_a_method_states_reach_the_answer():
    label = (X + Y > 0).astype(int)
    method = Predictive(LogisticRegression())
    found = mutual_information(X, label, method)
    told = method.mutual_information_with_error(X[:, None], label[:, None].astype(float))
    assert (found.value, found.std_error, told.freedom) == (told.value, told.std_error, 199)
    margin = student_t.isf(0.05, 199) * told.std_error  # one-sided, as it is a lower bound
    assert found.interval == (pytest.approx(found.value - margin), math.inf)
    assert found.limit == found.interval[0]
    assert found.notes == (f"standard error {told.source}",)
    assert "200 held-out samples" in told.source
    given = conditional_mutual_information(X, label, Y**2, method)
    assert given.std_error > 0 and given.interval is None  # a proxy
    assert mutual_information(X, Y).std_error is None


def test_an_infinite_bound_has_no_error():
    label = np.random.default_rng(1).integers(0, 2, 200)
    with pytest.warns(UnreliableEstimate):
        found = mutual_information(X, label, Predictive(DecisionTreeClassifier()))
    assert found.value == -math.inf and found.std_error is None and found.interval is None


def test_units_that_a_model_cannot_read_are_told():
    model = LinearRegression()
    for method in (Predictive(model), Predictive(model, null="gaussian"), ExplainedVariance(model)):
        with pytest.warns(UnreliableEstimate, match="put the model behind a scaler"):
            conditional_mutual_information(1e-9 * X, X + Y, Y, method)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            conditional_mutual_information(1e3 * X, 1e9 * (X + Y), Y, method)
            mutual_information(1e-9 * X, Y, method)


def test_a_forecast_of_numbers_says_what_it_is():
    senses = {"rivals": "lower", "gaussian": "proxy"}
    for null, sense in senses.items():
        found = mutual_information(X, Y, Predictive(LinearRegression(), null=null))
        assert found.sense == sense and (found.interval is None) == (sense == "proxy")
    known = Predictive(LinearRegression(), null="gaussian", known_entropy=1.4)
    assert mutual_information(X, Y, known).sense == "lower"


@pytest.mark.parametrize("seed", range(20))
def test_good_data_are_not_warned_about(seed):
    rng = np.random.default_rng(seed)
    x, z = rng.standard_normal((2, 60))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mutual_information(x, x + z)
        mutual_information(np.exp(x), x + 0.3 * z)
        entropy(x)


def test_transfer_entropy_is_the_conditional_of_an_embedding():
    s, t = RNG.standard_normal((2, 100))
    found = transfer_entropy(s, t, Gaussian(), history=2, source_history=1, lag=3)
    times = np.arange(3, 100)
    past = np.column_stack([t[times - 1], t[times - 2]])
    direct = conditional_mutual_information(t[times], s[times - 3], past, Gaussian())
    assert found.value == direct.value
    assert found.quantity == "T(source -> target)"


def test_transfer_entropy_finds_the_direction():
    """target_t = source_{t-1} + noise of equal size: log(2)/2 one way and 0 the other."""
    forth, back = [], []
    for seed in range(10):
        source, noise = np.random.default_rng(seed).standard_normal((2, 500))
        target = np.concatenate([[0.0], source[:-1]]) + noise
        forth.append(transfer_entropy(source, target).value)
        back.append(transfer_entropy(target, source).value)
    for found, truth in ((forth, math.log(2) / 2), (back, 0.0)):
        assert abs(np.mean(found) - truth) < 0.05 + 4 * np.std(found, ddof=1) / math.sqrt(10)


def test_pairwise_is_every_pair():
    table = pd.DataFrame(RNG.standard_normal((60, 3)), columns=list("abc"))
    targets = pd.DataFrame({"u": table["a"] + table["b"], "v": RNG.standard_normal(60)})
    frame = pairwise(table, targets)
    assert list(frame.index) == list("abc") and list(frame.columns) == ["u", "v"]
    for row in frame.index:
        for column in frame.columns:
            single = mutual_information(table[row], targets[column]).value
            assert frame.loc[row, column] == single
    alone = pairwise(table)
    assert np.isnan(np.diag(alone)).all() and (alone.T.equals(alone))
    assert alone.loc["a", "b"] == pytest.approx(mutual_information(table["a"], table["b"]).value)
    series = pairwise(table.to_numpy(), pd.Series(X[:60], name="t"), Gaussian())
    assert list(series.columns) == ["t"] and list(series.index) == [0, 1, 2]


def test_pairwise_in_processes_is_the_same(capsys):
    table = RNG.standard_normal((40, 3))
    pd.testing.assert_frame_equal(pairwise(table, X[:40]), pairwise(table, X[:40], n_jobs=2))
    pairwise(table, X[:40], progress=True)
    assert "3/3" in capsys.readouterr().err


def test_pairwise_warns_once():
    labels = RNG.integers(0, 2, (100, 3))
    with pytest.warns(UnreliableEstimate) as caught:
        pairwise(labels, X[:100])
    assert len(caught) == 1


def test_lists_and_tables_of_variables_are_columns():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.standard_normal((300, 3)), columns=list("abc"))
    variables = [table[name] for name in "abc"]
    by_table = pairwise(table, method=Gaussian())
    np.testing.assert_array_equal(pairwise(variables, method=Gaussian()), by_table)
    from_table = multi_information(table, Gaussian()).value
    assert from_table == multi_information(variables, Gaussian()).value
    assert pairwise([[1.0, 2.0], [3.0, 5.0], [4.0, 4.0], [0.0, 1.0]], method=Gaussian()).shape == (
        2,
        2,
    )


NAMES = np.array(["low", "middle", "high"])[np.digitize(X, [-0.5, 0.5])]
CODES = np.unique(NAMES, return_inverse=True)[1]
DISCRETE = [
    methods.PlugIn(),
    methods.MillerMadow(),
    methods.Jackknifed(),
    methods.Grassberger(),
    methods.ChaoShen(),
    methods.JamesStein(),
    methods.NSB(),
]


@pytest.mark.parametrize("method", DISCRETE, ids=repr)
def test_discrete_methods_take_labels_in_every_question(method):
    other, bits = np.round(Y).astype(int), pd.Categorical(np.where(Y > 0, "yes", "no"))
    flags = np.asarray(Y > 0)
    assert mutual_information(NAMES, other, method) == mutual_information(CODES, other, method)
    assert entropy(pd.Series(NAMES), method) == entropy(CODES, method)
    found = conditional_mutual_information(NAMES, other, bits, method)
    assert found.value == pytest.approx(
        conditional_mutual_information(CODES, other, flags, method).value, abs=1e-12
    )
    assert multi_information([NAMES, bits, other], method).value == pytest.approx(
        multi_information([CODES, flags, other], method).value, abs=1e-12
    )
    assert transfer_entropy(NAMES, bits, method).value == pytest.approx(
        transfer_entropy(CODES, flags, method).value, abs=1e-12
    )


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        (Ross(), "y"),
        (Ross(labels="x"), "x"),
        (Predictive(LogisticRegression()), "y"),
    ],
    ids=repr,
)
def test_methods_for_labels_take_them_on_that_side_only(method, labels):
    def ask(label):
        return mutual_information(*((Y, label) if labels == "y" else (label, Y)), method)

    assert ask(NAMES) == ask(pd.Categorical(NAMES)) == ask(CODES)
    other = "x" if labels == "y" else "y"
    with pytest.raises(ValueError, match=f"{other} must hold real numbers here"):
        mutual_information(NAMES, NAMES, method)


@pytest.mark.parametrize(
    "method", [KSG(), Gaussian(), GaoMixed(), Predictive(LinearRegression()), methods.Binned()]
)
def test_methods_for_numbers_refuse_labels(method):
    with pytest.raises(ValueError, match=r"y must hold real numbers here; .* that takes labels"):
        mutual_information(X, NAMES, method)


def test_pairwise_takes_labels_where_its_method_does():
    table = pd.DataFrame({"name": NAMES, "sign": pd.Categorical(np.where(X > 0, "+", "-"))})
    frame = pairwise(table, pd.Series(np.round(Y), name="t"), PlugIn())
    assert frame.loc["name", "t"] == mutual_information(CODES, np.round(Y), PlugIn()).value
    assert pairwise(table, method=PlugIn()).loc["sign", "name"] > 0.3
    assert pairwise([NAMES, NAMES], method=PlugIn()).loc[0, 1] == pytest.approx(
        entropy(CODES, PlugIn()).value
    )
    by_class = pairwise(np.column_stack([X, Y]), NAMES, Ross())
    assert by_class.loc[0, 0] == pytest.approx(mutual_information(X, CODES, Ross()).value)
    with pytest.raises(ValueError, match="features must hold real numbers here"):
        pairwise(table, NAMES, Ross())


def test_method_in_the_place_of_targets_is_named():
    with pytest.raises(TypeError, match="targets must be samples; got Gaussian"):
        pairwise(np.random.default_rng(0).standard_normal((50, 2)), Gaussian())


def test_namesakes_of_other_rooms_are_told_apart():
    class Gaussian:
        """As `mitools.mipp.Gaussian`, which chooses channels."""

        def __repr__(self):
            return "Gaussian(noise=0.1)"

    with pytest.raises(TypeError, match=rf"got Gaussian\(noise=0.1\) of {__name__}, which does"):
        mutual_information([0.0, 1.0], [0.0, 1.0], Gaussian())
    with pytest.raises(TypeError, match="got 3, which does not"):
        mutual_information([0.0, 1.0], [0.0, 1.0], 3)
