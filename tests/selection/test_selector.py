"""TERC as scikit-learn knows selectors, and its path as a figure."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import mitools
from mitools import plotting
from mitools.methods import Gaussian, PlugIn, Predictive
from mitools.selection import Selection, Step, TERCSelector, terc, top


@parametrize_with_checks([TERCSelector(Gaussian())])
@pytest.mark.filterwarnings("ignore")  # of data sorted by label, or of no features selected
def test_scikit_learn_finds_nothing_to_say(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([TERCSelector(), TERCSelector(Predictive(LogisticRegression()))])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_nothing_to_say_of_other_methods(estimator, check):
    check(estimator)


def drawn():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(0, 2, (300, 4)), columns=["a", "b", "c", "d"])
    return table, np.where(table["a"] == table["c"], "same", "other")


def test_pipelines_and_pandas():
    table, labels = drawn()
    pipe = make_pipeline(TERCSelector(PlugIn()), StandardScaler()).set_output(transform="pandas")
    seen = pipe.fit_transform(table, labels)
    assert list(seen.columns) == ["a", "c"] and len(seen) == 300
    assert pipe[0].get_feature_names_out().tolist() == ["a", "c"]
    assert pipe[0].get_support().tolist() == [True, False, True, False]
    model = make_pipeline(TERCSelector(PlugIn()), LogisticRegression()).fit(table, labels)
    assert model[-1].n_features_in_ == 2


def test_the_selector_asks_what_terc_asks():
    table, labels = drawn()
    given = {"confidence": 0.9, "correction": "none", "order": "reversed"}
    selector = TERCSelector(PlugIn(), **given)
    assert clone(selector).fit(table, labels).selection_ == terc(table, labels, PlugIn(), **given)
    plain = clone(selector).fit(table.to_numpy(), labels).selection_
    assert plain.chosen == plain.names == (0, 2)
    assert mitools.terc is terc and mitools.TERCSelector is TERCSelector
    with pytest.raises(ValueError, match="confidence must lie strictly between"):
        selector.set_params(confidence=2.0).fit(table, labels)


def test_the_figure_has_a_bar_for_every_step():
    table, labels = drawn()
    figure = plotting.path(terc(table, labels, PlugIn()))
    axes = figure.axes[0]
    assert len(axes.patches) == 4
    widths = sorted(bar.get_width() for bar in axes.patches)
    assert widths[-1] == pytest.approx(np.log(2), abs=0.05) and widths[0] < 0.01
    assert {text.get_text() for text in axes.get_yticklabels()} == set("abcd")
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"kept", "dropped"}
    assert axes.get_title(loc="left") == "TERC: 2 of 4 features"
    assert (
        plotting.path(top(table, labels, PlugIn(), count=1), title="mine")
        .axes[0]
        .get_title(loc="left")
        == "mine"
    )


def test_a_figure_of_what_has_no_width():
    steps = (
        Step("x", 0, 0.0, float("inf"), True, 1),
        Step("y", 1, 0.0, 0.0, False, 1, 1.0, 0.1, False),
    )
    found = Selection(
        chosen=(0,), names=("x",), features=("x", "y"), steps=steps,
        information=float("inf"), search="TERC", method="", samples=2,
    )  # fmt: skip
    axes = plotting.path(found).axes[0]
    assert [text.get_text() for text in axes.texts] == ["inf"]
    assert len(axes.lines) == 2  # the axis, and the mark of what could not be tested
