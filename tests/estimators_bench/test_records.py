"""Records: what a row says, and what a folder keeps."""

import json
import math
import subprocess
import sys
from importlib.util import find_spec

import pytest
from entrants import MASKS, TASKS, Mean

from estimators_bench.contenders import Answer
from estimators_bench.costs import Meter
from estimators_bench.plan import Unit
from estimators_bench.records import (
    COSTS,
    RECORDS,
    Journal,
    frame,
    plain,
    planned,
    record,
    save_parquet,
)
from estimators_bench.tasks import SelectionTask
from mitools._validation import FileFormatError

COST = {"seconds": 0.5, "cpu_seconds": 0.4, "peak_bytes": 1_000, "first": True}


def row(n=10, seed=0, answer=None, **changes):
    expected = planned(Unit(TASKS[0], Mean(**changes), n, seed), {"numpy": "9.9"})
    return record(expected, "ok", plain(answer or Answer(0.25, interval=(0.1, 0.4))), "")


def test_a_row_says_what_was_asked_and_answered():
    truth = 0.5 * math.log(2)
    assert row() == {
        "task": "pair-0",
        "family": "Pairs",
        "kind": "samples",
        "question": "mutual_information",
        "dims": [1, 1],
        "contender": "mean",
        "method": "Mean(name='mean', diary='', pause=0.0, package='numpy', fast=True)",
        "package": "numpy",
        "version": "9.9",
        "n": 10,
        "seed": 0,
        "truth": truth,
        "truth_error": 0.0,
        "status": "ok",
        "value": 0.25,
        "error": 0.25 - truth,
        "sense": "point",
        "interval": [0.1, 0.4],
        "confidence": 0.95,
        "covered": True,
        "notes": [],
        "extra": {},
        "message": "",
    }


def test_kinds_of_tasks():
    select = SelectionTask(
        "choose", "Sets", lambda n, rng: None, 3, lambda s: 0.1 * len(s), (frozenset({0}),)
    )
    for task, expected in (
        (MASKS, ("masks", "mask_information", [8], 8 * math.log(2))),
        (select, ("selection", "selection", [3], 0.1 * 3)),
    ):
        found = planned(Unit(task, Mean(), 4, 0), {})
        assert (found["kind"], found["question"], found["dims"], found["truth"]) == expected


@pytest.mark.parametrize(
    "interval, kept, covered",
    [
        (None, None, None),
        ((0.0, 0.3), [0.0, 0.3], False),
        ((0.3, math.inf), [0.3, None], True),
        ((0.4, math.inf), [0.4, None], False),
        ((-math.inf, 0.4), [None, 0.4], True),
    ],
)
def test_coverage_of_open_and_closed_intervals(interval, kept, covered):
    found = row(answer=Answer(0.25, interval=interval))
    assert (found["interval"], found["covered"]) == (kept, covered)


def test_coverage_allows_for_the_error_of_the_truth():
    expected = planned(Unit(TASKS[0], Mean(), 1, 0), {}) | {"truth": 0.5, "truth_error": 0.01}
    held = [
        record(expected, "ok", plain(Answer(0.4, interval=(0.3, high))), "")["covered"]
        for high in (0.495, 0.485)
    ]
    assert held == [True, False]


@pytest.mark.parametrize(
    "answer, message",
    [
        (0.3, "answered float"),
        (Answer(math.nan), "answered nan"),
        (Answer(-math.inf), "answered -inf"),
        (Answer(0.0, interval=(math.nan, 1.0)), "interval"),
        (Answer(0.0, sense="best"), "sense 'best'"),
        (Answer(0.0, extra={"chosen": {1, 2}}), "not JSON"),
    ],
)
def test_bad_answers(answer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        plain(answer)


def test_what_is_appended_stays_even_half_written(tmp_path):
    with Journal(tmp_path) as journal:
        for seed in (2, 0, 1):
            journal.append(row(seed=seed), COST)
    records = tmp_path / RECORDS
    whole = records.read_bytes()
    records.write_bytes(whole[:-30])  # killed within the last line
    assert list(frame(tmp_path)["seed"]) == [2, 0]
    with Journal(tmp_path) as journal:
        assert {key[3] for key in journal.records} == {2, 0}
        assert journal.lacks(row(seed=1)) and not journal.lacks(row(seed=2))
        journal.append(row(seed=1), COST)
    assert records.read_bytes() == whole


def test_order_at_the_end(tmp_path):
    with Journal(tmp_path) as journal:
        for seed, name in ((3, "b"), (1, "b"), (0, "a"), (0, "b")):
            journal.append(row(seed=seed, name=name), COST)
        journal.put_in_order([("pair-0", "b", 10, 1), ("pair-0", "b", 10, 0)])
    for name in (RECORDS, COSTS):
        rows = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        assert [(r["contender"], r["seed"]) for r in rows] == [
            ("b", 1),
            ("b", 0),
            ("a", 0),
            ("b", 3),
        ]


def test_lacking(tmp_path):
    with Journal(tmp_path) as journal:
        assert journal.lacks(row())
        journal.append(row() | {"status": "timed out"}, COST)
        expected = planned(Unit(TASKS[0], Mean(), 10, 0), {"numpy": "9.9"})
        assert not journal.lacks(expected)
        assert journal.lacks(expected, ("timed out",))
        for change in ({"version": "10"}, {"method": "Mean()"}, {"truth": 0.0}, {"dims": [1, 2]}):
            assert journal.lacks(expected | change)


def test_a_table_joins_records_and_costs(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(row(seed=0, answer=Answer(0.1, "lower", (0.0, math.inf))), COST)
        lost = record(planned(Unit(TASKS[0], Mean(), 10, 1), {}), "killed", None, "the process …")
        journal.append(lost, dict.fromkeys(COST))
    found = frame(tmp_path)
    assert list(found.columns[-4:]) == ["seconds", "cpu_seconds", "peak_bytes", "first"]
    assert found["dims"][0] == (1, 1) and found["interval"][0] == (0.0, math.inf)
    assert found["seconds"][0] == 0.5
    assert found["interval"][1] is None and found["covered"][1] is None
    assert math.isnan(found["value"][1]) and math.isnan(found["seconds"][1])
    if find_spec("pyarrow") is None:
        with pytest.raises(ImportError, match="pip install pyarrow"):
            save_parquet(found, tmp_path / "found.parquet")
    else:
        save_parquet(found, tmp_path / "found.parquet")


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / RECORDS).write_text('{"task": 1}\n')
    with pytest.raises(FileFormatError, match=r"line 1 is none"):
        Journal(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"records\.jsonl"):
        frame(tmp_path / "absent")
    with Journal(tmp_path, fresh=True) as journal:  # and the refusal has let go of the folder
        assert not journal.records


def test_one_run_a_folder(tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path), pytest.raises(ValueError, match="no other run"):
        Journal(tmp_path)
    with Journal(tmp_path):
        pass


def test_what_a_block_costs_is_its_own():
    pytest.importorskip("resource")
    code = """
import numpy as np
from estimators_bench.costs import Meter, _reset_peak
before = np.ones(8_000_000)  # 64 MB
del before
meter = Meter()
assert set(meter.cost().values()) == {None}
with meter:
    held = np.ones(4_000_000)
assert 30e6 < meter.peak_bytes < 45e6 or not _reset_peak(), meter.peak_bytes
again = Meter()
with again:
    sum(range(10**5))
assert again.peak_bytes < 5e6, again.peak_bytes
assert 0 < again.cpu_seconds and 0 < again.seconds
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Meter().cost()["seconds"] is None
