"""The numbers of the report: against literals, closed forms and independent computations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import frame, row, varied
from scipy.stats import binomtest, trim_mean

from estimators_bench.report import summary, terminal
from estimators_bench.report.intervals import bootstrap, interquartile_mean, wilson


@given(of=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_is_the_score_interval(of, share):
    hits = round(share * of)
    asked = binomtest(hits, of).proportion_ci(0.95, "wilson")
    assert wilson(hits, of) == pytest.approx((asked.low, asked.high), abs=1e-12)
    low, high = wilson(hits, of)
    assert 0.0 <= low <= hits / of <= high <= 1.0


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_interquartile_mean_is_the_trimmed_mean():
    values = np.random.default_rng(0).standard_normal((3, 40))
    np.testing.assert_allclose(interquartile_mean(values), trim_mean(values, 0.25, axis=-1))
    assert interquartile_mean(np.array([5.0])) == 5.0
    assert interquartile_mean(np.array([1.0, 3.0])) == 2.0
    # Six values: 1.5 cut at each end, so the second and fifth count half.
    assert interquartile_mean(np.array([0, 1, 2, 3, 10, 99.0])) == (0.5 * 1 + 2 + 3 + 5) / 3


def test_the_bootstrap_draws_tasks_and_seeds():
    rng = np.random.default_rng(0)
    same = [np.full(5, 0.3)] * 10
    assert bootstrap(same) == pytest.approx((0.3, 0.3, 0.3))
    only_tasks = [np.full(5, level) for level in rng.random(40)]
    only_seeds = [rng.random(5)] * 40
    for scores in (only_tasks, only_seeds):
        middle, low, high = bootstrap(scores)
        assert low < middle < high
    # One seed a task leaves the spread over tasks: that of independent values.
    values = rng.standard_normal(60) ** 2
    middle, low, high = bootstrap([values[[i]] for i in range(60)], draws=4_000)
    plain = rng.choice(values, (4_000, 60))
    assert middle == pytest.approx(trim_mean(values, 0.25))
    assert (low, high) == pytest.approx(
        tuple(np.quantile(trim_mean(plain, 0.25, axis=1), [0.025, 0.975])), abs=0.03
    )


def test_the_bootstrap_is_seeded_and_covers():
    rng = np.random.default_rng(1)
    scores = list(rng.random((6, 4)))
    assert bootstrap(scores, seed=3) == bootstrap(scores, seed=3) != bootstrap(scores, seed=4)
    truth, held = trim_mean(np.random.default_rng(0).random(10**6) + 1.0, 0.25), 0
    for _ in range(100):  # tasks and seeds both vary
        levels = rng.random(30)
        tasks = [level + 1.0 + 0.1 * rng.standard_normal(3) for level in levels]
        _, low, high = bootstrap(tasks, draws=200)
        held += low <= truth <= high
    assert held >= 85


def test_tasks_weigh_the_same_however_many_seeds_they_have():
    assert bootstrap([np.zeros(6), np.ones(1)])[0] == pytest.approx(0.5)


def test_cells_are_means_over_seeds():
    found = summary.cells(
        frame(
            row(error=0.1, seed=0, cpu_seconds=1.0, interval=(0.9, 1.2)),
            row(error=-0.3, seed=1, cpu_seconds=3.0, peak_bytes=5e6, interval=(0.6, 0.8)),
            row(seed=2, status="timed out"),
            row(seed=3, status="failed"),
        )
    )
    (cell,) = found.itertuples()
    assert cell.error == pytest.approx(-0.1) and cell.absolute == pytest.approx(0.2)
    assert cell.spread == pytest.approx(0.4 / math.sqrt(2))
    assert (cell.answers, cell.failed, cell.timed_out) == (2, 2, 1)
    assert (cell.stated, cell.covered) == (2, 1)
    assert cell.seconds == 2.0 and cell.peak_bytes == 5e6


def test_cells_where_everything_failed_are_there():
    (cell,) = summary.cells(frame(row(status="failed"))).itertuples()
    assert (cell.answers, cell.failed) == (0, 1) and math.isnan(cell.error)


def test_a_failure_costs_the_rank_and_not_the_row():
    rows = [row(f"t{i}", name, error) for i in range(4) for name, error in (("a", 0.2), ("b", 0.1))]
    rows[1] |= {"status": "failed", "value": math.nan, "error": math.nan, "sense": None}
    rows += [row("t0", "part", 0.01)]
    (board,) = summary.boards(frame(*rows))
    assert list(board.table["contender"]) == ["a", "b", "part"]
    assert board.table["rank"].fillna(0).tolist() == [1, 0, 0]
    assert board.table["failed"].tolist() == [0, 1, 0]
    assert board.table["tasks"].tolist() == [4, 4, 1] and set(board.table["of"]) == {4}


def test_equal_numbers_share_a_rank():
    rows = [row("t", name, error) for name, error in (("a", 0.1), ("a again", 0.1), ("b", 0.2))]
    (board,) = summary.boards(frame(*rows))
    assert board.table["rank"].tolist() == [1, 1, 3]


def test_scores_of_a_board():
    errors = {"t0": (0.1, -0.1), "t1": (0.4, 0.6)}
    rows = [row(t, error=e, seed=s) for t, both in errors.items() for s, e in enumerate(both)]
    (board,) = summary.boards(frame(*rows))
    (found,) = board.table.itertuples()
    assert found.mae == pytest.approx(0.3) and found.bias == pytest.approx(0.25)
    assert found.worst == pytest.approx(0.5)
    assert found.iqm == pytest.approx((0.1 + 0.4) / 2)
    assert found.low <= found.iqm <= found.high


def test_only_the_largest_n_is_ranked():
    rows = [row(error=e, n=n) for n, e in ((100, 9.0), (1000, 0.5))]
    (board,) = summary.boards(frame(*rows))
    assert board.n == 1000 and board.table["iqm"].tolist() == [0.5]


def test_bounds_are_apart_and_scored_by_their_side():
    sides = (
        ("safe", {"sense": "lower", "interval": (0.5, math.inf)}, 0),
        ("beyond", {"sense": "lower", "interval": (1.2, math.inf)}, 1),
        (
            "beyond by less than the truth's error",
            {"sense": "lower", "interval": (1.2, math.inf), "truth_error": 0.3},
            0,
        ),
        ("value beyond, nothing stated", {"sense": "lower", "error": 0.1}, 1),
        (
            "value beyond, limit not",
            {"sense": "lower", "error": 0.1, "interval": (0.9, math.inf)},
            0,
        ),
        ("upper below", {"sense": "upper", "interval": (-math.inf, 0.9)}, 1),
        ("upper above", {"sense": "upper", "interval": (-math.inf, 1.1)}, 0),
        ("proxies promise nothing", {"sense": "proxy", "error": 3.0}, 0),
    )
    rows = [row("t", name, **given) for name, given, _ in sides]
    (board,) = summary.boards(frame(row("t", "estimate", 0.3), *rows))[1:]
    assert board.group == "bounds" and board.title == "Family: bounds"
    found = board.table.set_index("contender")["wrong"]
    assert found.to_dict() == {name: wrong for name, _, wrong in sides}
    assert "estimate" not in found


def test_failures_of_a_bound_stay_with_the_bounds():
    rows = [row("t0", "b", sense="lower", error=-1.0), row("t1", "b", status="failed")]
    (board,) = summary.boards(frame(*rows))
    assert board.group == "bounds" and board.table["failed"].tolist() == [1]


def test_masks_and_choices_have_tables_of_their_own():
    found = {board.group: board for board in summary.boards(varied())}
    masks = found["masks"].table.set_index("contender")
    assert masks["ratio"].to_dict() == {"decode": 1.25, "code": 1.5}
    assert masks["wrong"].to_dict() == {"decode": 3, "code": 0}
    choices = found["selection"].table.set_index("contender")
    assert choices["minimal"].to_dict() == {"right": 3, "wrong": 0}
    assert choices["share"].to_dict() == {"right": 1.0, "wrong": 0.5}
    assert choices["told"].to_dict() == {"right": 3, "wrong": 0}
    assert choices["spare"].to_dict() == {"right": 0.0, "wrong": 2.0}
    assert list(choices.index) == ["right", "wrong"]


def test_coverage_counts_stated_intervals():
    rows = [row(f"t{i}", interval=(0.9, 1.1) if i < 3 else (2.0, 3.0)) for i in range(4)]
    rows.append(row("t4"))
    (found,) = summary.coverage(frame(*rows)).itertuples()
    assert (found.covered, found.stated, found.promised) == (3, 4, 0.95)
    assert (found.low, found.high) == wilson(3, 4)


def test_error_against_n_is_of_those_who_answered_at_every_n():
    found = varied()
    table = summary.by_size(found)
    assert table["n"].tolist() == [100, 1000]
    assert {"good", "poor"} <= set(table.columns) and "late" not in table.columns
    some = found[(found["contender"] == "good") & (found["n"] == 100)]
    assert table["good"][0] == pytest.approx(some["error"].abs().mean())
    board = summary.boards(found)[0]
    assert list(summary.growth(found, board).columns) == list(board.table["contender"][:2])
    assert not len(summary.by_size(found[found["n"] == 1000]))


def test_the_best_of_the_others_is_taken_task_by_task():
    rows = [
        row(task, name, error)
        for name, errors in {
            "first": (0.1, 0.1, 0.1), "again": (0.1, 0.1, 0.1), "early": (0.05, 0.6, 0.6),
            "late": (0.5, 0.4, 0.3), "once": (None, -0.2, None),
        }.items()
        for task, error in zip("abc", errors, strict=True) if error is not None
    ]  # fmt: skip
    (board,) = summary.boards(frame(*rows))
    found = summary.in_hindsight(board)
    assert (found.first, found.others) == ("first", 3)  # not the one with the same numbers
    assert found.mae == pytest.approx((0.05 + 0.2 + 0.3) / 3)
    told = terminal.table(frame(*rows))
    assert "in hindsight: mean 0.183 by the best of the 3 others for each task" in told
    alone = [each for each in rows if each["contender"] in ("first", "again", "once")]
    assert all(summary.in_hindsight(board) is None for board in summary.boards(frame(*alone)))


def test_twins_are_drawn_once():
    rows = [
        row("t", name, error / n, n=n)
        for n in (100, 1000)
        for name, error in (("a", 0.1), ("a again", 0.1), ("b", 0.2))
    ]
    found = frame(*rows)
    (board,) = summary.boards(found)
    assert list(summary.leading(summary.growth(found, board), board).columns) == ["a", "b"]


def test_failures_that_differ_in_numbers_are_one():
    (found,) = summary.failures(varied()).itertuples()
    assert (found.contender, found.status, found.times) == ("late", "timed out", 6)
    assert found.message == "no answer within 0 s" and found.tasks == ("t0",)


def test_the_order_of_the_records_changes_nothing():
    found = varied()
    shuffled = found.sample(frac=1.0, random_state=0)
    for left, right in zip(
        summary.boards(found)[0].table.itertuples(),
        sorted(summary.boards(shuffled), key=lambda b: b.title != "Family")[0].table.itertuples(),
        strict=True,
    ):
        assert left.contender == right.contender
        assert left.mae == pytest.approx(right.mae, nan_ok=True)
