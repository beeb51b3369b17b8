"""The paper's experiments on its proxies, small: shapes that must come out, and repeatability."""

import pandas as pd
import pytest

from mitools.experiments.averages import averaged
from mitools.experiments.memorisation import memorisation_capacity
from mitools.experiments.noise_correlation import noise_correlation, student_teacher
from mitools.pruning import IMP, Magnitude, OneShot, Random
from mitools.training import Adam, Training

SHORT = Training(epochs=60, batch_size=30, optimizer=Adam(lr=0.01))


def test_more_weights_memorise_more():
    setting = {"seeds": 3, "hidden": (40,), "points": 20, "dimension": 10, "training": SHORT}
    table = memorisation_capacity({"random": OneShot(Random())}, [0.02, 1.0], **setting)
    assert list(table.columns) == [
        "pruner", "density", "memorised", "std_error", "low", "high", "seeds",
    ]  # fmt: skip
    few, all_ = table["memorised"]
    assert few < 0.3
    assert all_ > 0.9
    again = memorisation_capacity({"random": OneShot(Random())}, [0.02, 1.0], **setting)
    pd.testing.assert_frame_equal(table, again)


def test_a_student_follows_the_noise_more_and_more():
    training = Training(epochs=40, batch_size=64, optimizer=Adam(lr=3e-3))
    table = noise_correlation(
        seeds=2, points=60, dimension=10, width=60, noise=2.0, training=training
    )
    covariance = table.set_index("epoch")["covariance"]
    assert covariance[1] < 1.0
    assert covariance[40] > 2.0  # of a variance of 4
    assert (table["level"] == 0).all()


def test_levels_of_iterative_pruning_begin_again():
    training = Training(epochs=3, batch_size=64, optimizer=Adam(lr=3e-3))
    table = noise_correlation(
        IMP(training, rate=0.5), 0.25, seeds=2, points=40, dimension=5, width=10
    )
    assert table["level"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["kept"].tolist() == pytest.approx([1.0] * 3 + [0.5] * 3, abs=0.01)
    assert table["epoch"].tolist() == [1, 2, 3] * 2


def test_the_student_sees_the_teacher_and_its_noise():
    samples, fresh = student_teacher(2_000, 5, 0.5, seed=3)
    assert float((samples.targets - samples.clean).std()) == pytest.approx(0.5, abs=0.03)
    assert float(samples.clean.std()) == pytest.approx(1.0, abs=0.1)
    assert len(fresh) == 10_000


def test_a_mean_needs_two():
    rows = pd.DataFrame({"a": ["x", "x", "y"], "v": [1.0, 3.0, 2.0]})
    with pytest.raises(ValueError, match="at least 2"):
        averaged(rows, ["a"], "v", 0.95)
    table = averaged(rows[:2], ["a"], "v", 0.95)
    assert table["v"][0] == 2.0
    assert table["std_error"][0] == pytest.approx(1.0)
    assert table["high"][0] == pytest.approx(2.0 + 12.7062, abs=1e-3)


def test_magnitude_at_initialisation_is_a_pruner_too():
    table = memorisation_capacity(
        {"magnitude": OneShot(Magnitude())}, [0.5], seeds=2, hidden=(8,), training=SHORT
    )
    assert 0.0 <= table["memorised"][0] <= 1.0


@pytest.mark.parametrize(
    ("pruners", "densities", "options", "kind", "message"),
    [
        (OneShot(Random()), [0.5], {}, TypeError, "pruners must map names"),
        ({}, [0.5], {}, TypeError, "pruners must map names"),
        ({"random": Random()}, [0.5], {}, TypeError, "pruner must be a value"),
        ({"random": OneShot(Random())}, 0.5, {}, TypeError, "densities must be a sequence"),
        ({"random": OneShot(Random())}, [2.0], {}, ValueError, "density must be a number"),
        (
            {"random": OneShot(Random())},
            [0.5],
            {"seeds": 1},
            ValueError,
            "seeds must be at least 2",
        ),
    ],
)
def test_capacity_names_what_it_cannot_use(pruners, densities, options, kind, message):
    with pytest.raises(kind, match=message):
        memorisation_capacity(pruners, densities, **options)
