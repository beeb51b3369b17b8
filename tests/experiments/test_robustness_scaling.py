"""Lipschitz constants over densities: a case whose constant is known, and what rows must obey."""

import numpy as np
import pandas as pd
import pytest
import torch

from mitools import plotting
from mitools.experiments.noise_correlation import student_teacher
from mitools.experiments.robustness_scaling import NoisyTeacher, robustness_scaling, slopes
from mitools.pruning import OneShot, Random
from mitools.training import Adam, Training

SMALL = NoisyTeacher(30, 5, hidden=(40,), training=Training(400, 30, Adam(lr=0.01)))


def test_a_linear_network_is_as_steep_as_its_least_squares():
    job = NoisyTeacher(40, 5, hidden=(), fit=1e-6, training=Training(300, 40, Adam(lr=0.05)))
    (row,) = robustness_scaling({"all": OneShot(Random())}, [1.0], job, seeds=1).to_dict("records")
    samples, _ = student_teacher(40, 5, 1.0, seed=0)
    inputs = torch.hstack([samples.inputs, torch.ones(40, 1)]).double().numpy()
    targets = samples.targets.double().numpy().reshape(-1)
    weights, left, *_ = np.linalg.lstsq(inputs, targets, rcond=None)
    assert row["at_points"] == pytest.approx(np.linalg.norm(weights[:5]), rel=1e-3)
    assert row["typical"] == pytest.approx(row["at_points"], rel=1e-5)
    assert row["product"] == pytest.approx(row["at_points"], rel=1e-5)
    assert row["error"] == pytest.approx(left[0] / 40, rel=1e-3)
    assert not row["fitted"]


def test_networks_that_fit_are_between_their_bounds_and_repeat():
    pruners = {"random": OneShot(Random(), scope="layer")}
    table = robustness_scaling(pruners, [1.0, 0.6], SMALL, seeds=2)
    assert table["fitted"].all() and (table["error"] <= 0.5).all()
    assert (table["typical"] <= table["at_points"]).all()
    assert (table["at_points"] <= table["product"] * 1.001).all()
    assert table["kept"].tolist() == [240, 240, 144, 144]
    # A random mask knows nothing: both ends of p_eff are the weights kept.
    for column in ("p_eff_low", "p_eff_high"):
        np.testing.assert_array_equal(table[column], table["kept"])
    assert (table["by_p_eff_low"] == table["by_p_eff_high"]).all()
    assert (table["by_weights"] < table["at_points"]).all() and (table["by_p_eff_low"] > 0).all()
    again = robustness_scaling(pruners, [0.6], SMALL, seeds=2)
    pd.testing.assert_frame_equal(table[2:].reset_index(drop=True), again)


def planted():
    kept = np.tile([100.0, 200.0, 400.0], 3)
    factor = np.repeat([1.0, 2.0, 3.0], 3)
    return pd.DataFrame(
        {
            "pruner": "planted",
            "seed": np.repeat([0, 1, 2], 3),
            "kept": kept,
            "p_eff_low": kept,
            "p_eff_high": kept**2,
            "at_points": factor * kept**-0.5,
            "typical": factor,
            "product": factor * kept,
            "fitted": True,
        }
    )


def test_slopes_are_those_of_a_planted_table():
    found = slopes(planted()).set_index(["measured", "against"])["slope"]
    assert found["at_points", "kept"] == pytest.approx(-0.5)
    assert found["at_points", "p_eff_high"] == pytest.approx(-0.25)
    assert found["typical", "p_eff_low"] == pytest.approx(0.0, abs=1e-12)
    spoilt = planted()
    spoilt.loc[2, ["fitted", "at_points"]] = [False, 1e9]  # did not fit: not looked at
    assert slopes(spoilt)["slope"].tolist() == pytest.approx(found.tolist(), abs=1e-9)


def test_the_figure_wants_networks_that_fitted():
    assert plotting.steepness(planted()).axes[0].get_xscale() == "log"
    with pytest.raises(ValueError, match="no row with fitted True"):
        plotting.steepness(planted().assign(fitted=False))
    with pytest.raises(ValueError, match="no at_points"):
        plotting.steepness(planted().drop(columns="at_points"))
