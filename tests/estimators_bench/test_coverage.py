"""The coverage command: what it counts as holding, and that it catches a limit that does not."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from estimators_bench import coverage
from estimators_bench.contenders.kinds import Answer
from estimators_bench.contenders.masks import CONTENDERS
from estimators_bench.tasks.masks import TASKS

BY_NAME = {contender.name: contender for contender in CONTENDERS}
ONE_BIT = next(task for task in TASKS if task.name == "mask-one-bit-in-50-1k")


@dataclass(frozen=True)
class Says:
    """Answers the same, whatever it is asked."""

    answered: Answer
    name: str = "says"

    def answer(self, task, data, seed):
        return self.answered


@pytest.mark.parametrize(
    ("sense", "interval", "held"),
    [
        ("upper", (-math.inf, 0.2), True),
        ("upper", (-math.inf, 0.01), False),
        ("lower", (0.01, math.inf), True),
        ("lower", (0.2, math.inf), False),
    ],
)
def test_a_limit_holds_on_its_own_side_of_the_truth(sense, interval, held):
    says = Says(Answer(0.0, sense, interval))
    truth, limit, holds = coverage.once(ONE_BIT, says, 3, 0)
    assert (truth, holds) == (pytest.approx(0.098, abs=1e-3), held)
    assert limit in interval and math.isfinite(limit)


def test_points_and_bounds_without_an_interval_are_left_out():
    assert coverage.once(ONE_BIT, Says(Answer(1.0, "point", (0.0, 2.0))), 3, 0) is None
    assert coverage.once(ONE_BIT, Says(Answer(1.0, "upper")), 3, 0) is None


def test_rare_bits_show_the_approximate_limit_to_fail_and_the_certified_one_to_hold():
    def held(name):
        return np.mean([coverage.once(ONE_BIT, BY_NAME[name], 8, seed)[2] for seed in range(20)])

    assert held("independent code") < 0.5
    assert held("shared code, certified limit") == 1.0


def test_one_mask_is_enough_and_resamples_are_no_bound():
    def held(name):
        case = coverage.OTHERS[name]
        return np.mean([case(np.random.default_rng([seed, 0]))[2] for seed in range(40)])

    assert held("one mask, fair labels") > 0.9 and held("one mask, labels 10% wrong") > 0.9
    assert held("16 bootstrap resamples (proxy)") == 0.0


def test_the_command_prints_a_line_for_each_bound(monkeypatch, capsys):
    asked = ["coverage", "--runs", "2", "--masks", "3", "--tasks", "mask-lookup-16"]
    monkeypatch.setattr("sys.argv", asked)
    coverage.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 runs, 3 masks each")
    for name in ("counting", "label entropy", "independent code", "label-noise decoding"):
        assert sum(f" {name} " in line for line in lines) == 1
    assert all(line.endswith("1.000") for line in lines[2:] if "decoding" not in line)
