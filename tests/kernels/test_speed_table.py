"""The benchmark's own arithmetic; no time is asserted."""

import json
import re
import time

import numpy as np
import pytest

from estimators_bench.speed import cases, clock, growth, report
from estimators_bench.speed.peers import Peer


def test_a_slower_peer_gets_a_larger_ratio():
    def work(times):
        def call():
            end = time.process_time() + times * 2e-3
            while time.process_time() < end:
                pass
            return float(times)

        return call

    found = clock.paired(work(1), {"slow": work(6), "slowest": work(60)}, 5, 60.0)
    assert found["mitools"].ratio == 1.0 and found["mitools"].runs >= 5
    assert found["slow"].runs == 5 and found["slowest"].runs == 1
    assert 1.0 < found["slow"].ratio < found["slowest"].ratio
    assert found["slow"].value == 6.0


def test_goals_are_judged_by_the_fastest_peer(tmp_path):
    rows = [
        report.Row("a", "mitools", 1.0, 5, 1.0, 0.1, 10.0),
        report.Row("a", "one", 12.0, 5, 12.0, 0.1, 10.0),
        report.Row("a", "two", 9.0, 1, 9.0, 0.1, 10.0),
        report.Row("b", "mitools", 1.0, 5, 1.0, 0.1, 10.0),
        report.Row("b", "one", 11.0, 5, 11.0, 0.1, 10.0),
    ]
    lines = report.table(rows).splitlines()
    assert "9.0x*" in lines[1] and lines[1].endswith("MISSED")
    assert re.search(r"11\.0x\s+10x {2}met$", lines[2])
    report.save(rows, {"environment": report.environment(["numpy", "no such package"])}, tmp_path)
    saved = json.loads((tmp_path / "speed.json").read_text())
    assert len(saved["rows"]) == 5
    assert saved["environment"]["no such package"] == "not installed"
    assert len((tmp_path / "speed.csv").read_text().splitlines()) == 6


def test_a_missing_peer_says_why():
    assert "not installed" in str(Peer("x", "no_such_module_anywhere").missing())
    assert Peer("numpy", "numpy").missing() is None


def test_exponent_of_a_power_law(tmp_path):
    points = [growth.Point(n, 1, 1e-6 * n**1.5) for n in (1_000, 10_000, 100_000)]
    points += [growth.Point(10_000, d, float(d**2)) for d in (2, 4)]
    slopes = growth.drawn(points, tmp_path / "growth.png")
    assert slopes[0] == pytest.approx(1.5)
    assert (tmp_path / "growth.png").stat().st_size > 1_000


@pytest.mark.parametrize("question", ["pair", "screen", "classes", "shuffles"])
def test_every_question_is_answered_alike(question, monkeypatch):
    monkeypatch.setattr(cases, "SHUFFLES", 20)
    case = cases.Case("", question, 300, 3 if question in ("screen", "classes") else 1)
    x, y = case.samples()
    ours = case.ours(x, y)()
    theirs = [call() for call in case.theirs(x, y).values()]
    assert theirs and np.isfinite(ours)  # scikit-learn at least is installed
    assert theirs[0] == pytest.approx(ours, abs=0.02 * x.shape[1])
