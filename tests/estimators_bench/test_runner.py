"""The runner: equal records whatever the way there, and a row for everything."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from entrants import MASKS, TASKS, Global, Mean, faulty

import estimators_bench
from estimators_bench.plan import chosen, load_file, units
from estimators_bench.progress import TimeLeft, spoken
from estimators_bench.records import COSTS, RECORDS
from estimators_bench.workers import Crew

HERE = Path(__file__).resolve().parent


def run(tasks, contenders, folder, **options):
    settings = {"sizes": (20,), "seeds": 2, "jobs": 1, "progress": False} | options
    return estimators_bench.run(tasks, contenders, out=folder, **settings)


def diary(path):
    return Counter(path.read_text().splitlines())


def test_records_do_not_depend_on_parallelism(tmp_path):
    contenders = (Mean(), Mean("other"), Global("global"), *faulty("raises", "nan"))
    options = {"sizes": (20, 30), "prunings": (4,)}
    one = run((*TASKS, MASKS), contenders, tmp_path / "one", jobs=1, **options)
    two = run((*TASKS, MASKS), contenders, tmp_path / "two", jobs=2, **options)
    records = [(tmp_path / name / RECORDS).read_bytes() for name in ("one", "two")]
    assert records[0] == records[1]
    assert len(one) == len(two) == 3 * 5 * 2 * 2 + 3 * 2
    assert list(one["n"][one["task"] == "coins"]) == [4] * 6
    first = one[(one["task"] == "pair-1") & (one["contender"] == "mean") & (one["n"] == 20)].iloc[1]
    x, _ = TASKS[1].draw(20, 1)
    assert first["value"] == x.mean() and first["error"] == x.mean() - TASKS[1].truth.nats
    assert first["interval"] == (x.mean() - 1.0, np.inf) and first["covered"]
    # All draw alike: the first contender's scribbles are not on the second's data.
    other = one[one["contender"] == "other"]["value"].to_numpy()
    assert (other == one[one["contender"] == "mean"]["value"].to_numpy()).all()
    assert one[one["contender"] == "global"]["value"].nunique() == 14


def test_every_way_to_fail_is_a_row_and_nothing_runs_twice(tmp_path):
    names = (
        "raises",
        "number",
        "nan",
        "inverted",
        "hoards",
        "hangs",
        "spins",
        "exits",
        "crashes",
    )
    book = tmp_path / "diary"
    contenders = (Mean(), *faulty(*names, diary=str(book)))
    options = {"jobs": 2, "timeout": 0.5, "seeds": 1}
    found = run(TASKS[:1], contenders, tmp_path / "out", **options).set_index("contender")
    assert found["status"].to_dict() == {
        "mean": "ok",
        **dict.fromkeys(names[:5], "failed"),
        "hangs": "timed out",
        "spins": "timed out",
        "exits": "killed",
        "crashes": "killed",
    }
    said = found["message"]
    assert said["raises"] == "ZeroDivisionError: first line, <object object>"
    assert said["number"] == "answered float, not an Answer"
    assert said["nan"] == "answered nan"
    assert "interval" in said["inverted"]
    assert said["hoards"].startswith("MemoryError") or "Memory" in said["hoards"]
    assert said["hangs"] == "no answer within 5 s"
    assert said["spins"] == "no answer within 0.5 s of processor time"
    assert said["exits"] == "the process ended with exit code 3"
    assert said["crashes"] == "the process was killed by SIGSEGV"
    assert found["value"].isna().sum() == 9
    assert "second line" in (tmp_path / "out" / "log.txt").read_text()  # the whole traceback

    before = (tmp_path / "out" / RECORDS).read_bytes()
    run(TASKS[:1], contenders, tmp_path / "out", **options)
    assert set(diary(book).values()) == {1}
    assert (tmp_path / "out" / RECORDS).read_bytes() == before

    run(TASKS[:1], contenders, tmp_path / "out", retry=True, **options)
    again = {line.split(" ")[1] for line, count in diary(book).items() if count == 2}
    assert again == set(names)
    assert (tmp_path / "out" / RECORDS).read_bytes() == before


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from entrants import TASKS, Mean
import estimators_bench
contenders = [Mean("a", {diary!r}, {pause}), Mean("b", {diary!r}, {pause})]
estimators_bench.run(TASKS, contenders, (20,), 5, out={out!r}, jobs=2, progress=False)
"""  # without a guard: workers do not run it again


def started(folder):
    text = SCRIPT.format(
        here=str(HERE), diary=str(folder / "diary"), out=str(folder / "out"), pause=0.1
    )
    return subprocess.Popen([sys.executable, "-c", text], cwd=HERE.parent.parent, text=True)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def until(holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_point_it_goes_on(tmp_path):
    records, book = tmp_path / "out" / RECORDS, tmp_path / "diary"
    for least in (3, 9):
        process = started(tmp_path)
        until(lambda least=least: len(lines(records)) >= least)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = len(lines(book))
        time.sleep(0.5)  # its workers are gone: nobody writes any more
        assert len(lines(book)) <= seen + 2
        with records.open("a") as file:
            file.write('{"task": "pair-')  # as if killed within a line
    done = [row for row in lines(records) if row.endswith("}")]
    assert 9 <= len(done) < 30
    assert started(tmp_path).wait() == 0
    run(
        TASKS, [Mean("a", str(book), 0.1), Mean("b", str(book), 0.1)], tmp_path / "at once", seeds=5
    )
    assert records.read_bytes() == (tmp_path / "at once" / RECORDS).read_bytes()
    assert len(lines(tmp_path / "out" / COSTS)) == 30
    # Each ran here once and in "at once" once; only what was in two hands when killed ran again.
    assert sum(diary(book).values()) <= 60 + 4


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_ends_cleanly(tmp_path):
    process = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            SCRIPT.format(
                here=str(HERE), diary=str(tmp_path / "d"), out=str(tmp_path / "out"), pause=1.0
            ),
        ],
        cwd=HERE.parent.parent,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell that starts tests in the background has them ignore the key.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        text=True,
    )
    until(lambda: len(lines(tmp_path / "out" / RECORDS)) >= 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate(timeout=30)
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert len(estimators_bench.frame(tmp_path / "out")) >= 2


def test_rows_that_were_planned_otherwise_are_run_again(tmp_path):
    book = str(tmp_path / "diary")
    run(TASKS[:1], [Mean("a", book), Mean("b", book)], tmp_path, seeds=1)
    found = run(TASKS[:1], [Mean("a", book), Mean("b", book, pause=0.01)], tmp_path, seeds=1)
    assert diary(tmp_path / "diary") == {"pair-0 a 20 0": 1, "pair-0 b 20 0": 2}
    assert len(found) == len(estimators_bench.frame(tmp_path)) == 2
    # What another plan left stays, behind what this plan has.
    run(TASKS[:1], [Mean("a", book)], tmp_path, seeds=2)
    assert list(estimators_bench.frame(tmp_path)["contender"]) == ["a", "a", "b"]
    run(TASKS[:1], [Mean("a", book)], tmp_path, seeds=1, fresh=True)
    assert len(estimators_bench.frame(tmp_path)) == 1
    assert diary(tmp_path / "diary")["pair-0 a 20 0"] == 2


def test_a_lambda_and_a_class_of_nowhere_reach_the_workers(tmp_path):
    class Local(Mean):
        def answer(self, task, data, seed):
            return super().answer(task, (data[0] * 2.0,), seed)

    task = estimators_bench.tasks.SampleTask(
        "lambda", "Pairs", TASKS[0].truth, lambda n, rng: (rng.random((n, 1)), rng.random((n, 1)))
    )
    found = run([task], [Local()], tmp_path, seeds=1)
    assert found["value"][0] == (task.draw(20, 0)[0] * 2.0).mean()


def test_a_task_that_cannot_be_drawn_is_a_row(tmp_path):
    def broken(n, rng):
        raise RuntimeError("no such data")

    task = estimators_bench.tasks.SampleTask("broken", "Pairs", TASKS[0].truth, broken)
    found = run([task], [Mean()], tmp_path, seeds=1)
    assert found["message"][0] == "drawing: RuntimeError: no such data"
    assert np.isnan(found["seconds"][0])


@pytest.mark.parametrize(
    "wanted, names",
    [
        (["pair-1"], ["pair-1"]),
        (["PAIRS"], ["pair-0", "pair-1", "pair-2"]),
        (["coins", "*-[02]"], ["pair-0", "pair-2", "coins"]),
    ],
)
def test_names_families_and_patterns_choose(wanted, names):
    catalogue = {task.name: task for task in (*TASKS, MASKS)}
    assert list(chosen(wanted, catalogue, "tasks")) == names


@pytest.mark.parametrize(
    "broken, message",
    [
        (lambda: chosen(["pair1"], {t.name: t for t in TASKS}, "tasks"), "Did you mean 'pair-1'"),
        (lambda: units(TASKS[:1] * 2, [Mean()], [1], [1], [0]), "two are called 'pair-0'"),
        (lambda: units(TASKS, [Mean(), Mean()], [1], [1], [0]), "two are called 'mean'"),
        (lambda: units(TASKS, [Mean()], [0], [1], [0]), "sizes must be distinct"),
        (lambda: units(TASKS, [Mean()], [1], [1], [2, 2]), "seeds must be distinct"),
        (lambda: units([MASKS], faulty("nan"), [1], [1], [0]), "at least one of the tasks"),
        (lambda: Crew(0, Path("log")), "jobs must be positive"),
        (lambda: load_file("absent.py"), "must name a Python file"),
    ],
)
def test_nonsense_is_told(broken, message):
    with pytest.raises(ValueError, match=message):
        broken()


def test_expected_time_is_learned_by_contender_and_size():
    plan = units(TASKS, [Mean("slow"), Mean("quick")], [100, 1_000], [1], [0])
    slow, slower, quick, quicker = plan[:4]
    left = TimeLeft(plan, longest=50.0)
    assert np.isnan(left.seconds(1)) and left.unknown() == 2
    for unit, seconds in ((slow, 4.0), (slow, 6.0), (quick, 1.0)):
        left.learn(unit, seconds)
    # slow: 5 s each, at ten times the samples ten times that; quick: 1 and 10.
    assert left.seconds(1) == pytest.approx(3 * (5 + 50 + 1 + 10))
    left.strike(slower)
    assert left.seconds(2) == pytest.approx((3 * (5 + 50 + 1 + 10) - 50) / 2)
    left.learn(quicker, 90.0)
    assert left.unknown() == 0
    assert left.seconds(1) == pytest.approx(3 * (5 + 50 + 1 + 50) - 50)  # none beyond the longest


def test_time_is_spoken():
    said = [spoken(s) for s in (float("nan"), 12.4, 120.0, 7200.0)]
    assert said == ["? s", "12 s", "2.0 min", "2.0 h"]


def test_wide_tasks_are_asked_with_few_samples():
    assert sum(TASKS[0].dims) == 2
    for columns, sizes in ((1, [10, 1_000]), (2, [10, 1_000, 1_001])):
        asked = units(TASKS[:1], [Mean()], [10, 1_000, 1_001], [1], [0], columns=columns)
        assert [unit.n for unit in asked] == sizes
    assert [unit.n for unit in units([MASKS], [Mean()], [10], [5_000], [0], columns=1)] == [5_000]
