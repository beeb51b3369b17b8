"""The benchmark's command line, and its door in the library's."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from entrants import MASKS, TASKS, Mean

import estimators_bench
import estimators_bench.runner  # before the catalogue is replaced, which it would keep for ever
from estimators_bench import __main__ as command
from mitools import cli

ROOT = Path(__file__).resolve().parent.parent.parent
MINE = """
from dataclasses import dataclass

from estimators_bench.contenders import Answer
from neighbour import HALF


@dataclass(frozen=True)
class Half:
    name: str = "Half"
    package: str = "mine"
    fast: bool = True

    def takes(self, task):
        return task.name == "pair-1"

    def answer(self, task, data, seed):
        return Answer(HALF)


CONTENDERS = (Half(),)
"""


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """A catalogue of four tasks and two methods, and a report that shows little."""
    tasks = {task.name: task for task in (*TASKS, MASKS)}
    methods = {"mean": Mean(), "slow": Mean("slow", fast=False)}
    monkeypatch.setattr("estimators_bench.tasks.catalogue", lambda: tasks)
    monkeypatch.setattr("estimators_bench.contenders.entrants", lambda: methods)
    monkeypatch.setattr("estimators_bench.contenders.peers.missing", lambda: ())
    report = {name: ModuleType(name) for name in ("report", "terminal", "page")}
    report["terminal"].table = lambda found: f"table of {len(found)}"
    report["page"].write = lambda found, path: path.write_text("page")
    report["report"].terminal, report["report"].page = report["terminal"], report["page"]
    monkeypatch.setitem(sys.modules, "estimators_bench.report", report["report"])


def test_the_quick_suite_is_what_no_arguments_mean(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0
    out, err = capsys.readouterr()
    assert "table of 12" in out and "12 ok" in out and "bench-results/report.html" in out
    assert err == ""
    found = estimators_bench.frame("bench-results")
    assert set(found["contender"]) == {"mean"}
    assert set(zip(found["task"], found["n"], strict=True)) == {
        ("coins", 16),
        ("pair-0", 1000),
        ("pair-1", 1000),
        ("pair-2", 1000),
    }
    assert (tmp_path / "bench-results" / "report.html").read_text() == "page"
    about = json.loads((tmp_path / "bench-results" / "run.json").read_text())
    assert about["command"] == "python -m estimators_bench run"
    assert command.main(["report"]) == 0
    assert "table of 12" in capsys.readouterr().out


def test_packages_left_out_are_said_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("estimators_bench.contenders.peers.missing", lambda: ("peer: left out",))
    monkeypatch.setattr("estimators_bench.runner.run", lambda *_, **given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command.main(["--out", str(tmp_path)])
    assert capsys.readouterr().err == "peer: left out\n"


def test_a_file_of_ones_own(tmp_path, capsys):
    (tmp_path / "my_method.py").write_text(MINE)
    (tmp_path / "neighbour.py").write_text("HALF = 0.5\n")
    given = ["--with", str(tmp_path / "my_method.py"), "--out", str(tmp_path / "out"), "--quiet"]
    given += ["--methods", "half", "slow", "--tasks", "pair-*", "-n", "50", "--seeds", "1"]
    assert cli.main(["bench", "run", *given]) == 0
    assert "table of 4" in capsys.readouterr().out
    found = estimators_bench.frame(tmp_path / "out").set_index("contender")
    assert found["value"]["Half"] == 0.5 and found["status"]["Half"] == "ok"
    assert list(found.index) == ["slow", "slow", "Half", "slow"]


def test_list(capsys):
    assert command.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "pair-2" in out and "0.347" in out and "slow" in out and "full" in out
    assert command.main(["list", "methods"]) == 0
    assert "pair-2" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "given, message",
    [
        (["--tasks", "pear-1"], "there is no 'pear-1'. Did you mean 'pair-1'"),
        (["--methods", "men"], "Did you mean 'mean'"),
        (["--with", "absent.py"], "must name a Python file"),
        (["-n", "0"], "sizes must be"),
        (["--seeds", "0"], "a size and a seed"),
        (["report", "absent"], "records.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(given, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(given) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("estimators_bench.runner.run", interrupted)
    assert command.main(["--out", str(tmp_path)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_without_the_benchmark_the_library_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "estimators_bench.__main__", None)
    assert cli.main(["bench"]) == 2
    assert "not installed beside mitools" in capsys.readouterr().err


def test_help_of_both_doors():
    code = "from mitools.cli import main; main(['bench', 'run', '--help'])"
    for given in (["-m", "estimators_bench", "run", "--help"], ["-c", code]):
        done = subprocess.run([sys.executable, *given], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "--prunings" in done.stdout
