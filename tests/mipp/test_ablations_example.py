"""The ablations: at toy size each table is made, says what it must, and is not made twice."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "mipp_ablations.py"


@pytest.fixture
def rows(tmp_path, monkeypatch, capsys):
    def ran(table):
        given = [table, "--seeds", "1", "--images", "100", "--epochs", "1", "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["mipp_ablations.py", *given])
        script = runpy.run_path(str(SCRIPT), run_name="ablations")
        script["main"]()
        first = capsys.readouterr().out
        script["bench"].__globals__["bench"] = None  # so that only files can answer
        script["main"]()
        assert capsys.readouterr().out == first
        return [row for path in tmp_path.iterdir() for row in json.loads(path.read_text())]

    return ran


def test_samples(rows):
    found = [row for row in rows("samples") if row["samples"] not in ("dense", "random channels")]
    assert {row["samples"] for row in found} == {"100", "300", "1,000", "1,437"}
    for row in found:
        if row["samples"] == "1,437":
            assert row["in common"] == 1.0
            assert row["reconstructed"] == row["by all samples"]
    assert any(row["in common"] < 1.0 for row in found)


@pytest.mark.slow
def test_kept(rows):
    found = rows("kept")
    masked = [row for row in found if row["method"] == "MIPP"]
    written = [row for row in found if row["method"] == "MIPP, reconstructed"]
    for one, two in zip(masked, written, strict=True):
        # What the first hidden layer tells of the dense second one is no matter of later weights.
        assert one["fc1→dense fc2"] == two["fc1→dense fc2"]
        assert one["fc2→dense fc3"] != two["fc2→dense fc3"]


@pytest.mark.slow
@pytest.mark.parametrize("table", ["target", "transformer"])
def test_equal_shares_are_equal_widths(rows, table):
    found = [row for row in rows(table) if "equal shares" in row["method"]]
    cells = {(row.get("net"), row["density"]) for row in found}
    for cell in cells:
        mine = [row["widths"] for row in found if (row.get("net"), row["density"]) == cell]
        assert len(mine) > 4 and all(each == mine[0] for each in mine)
