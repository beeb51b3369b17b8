"""The collapse table: resumes, nests, says what data it read, and agrees with `prune`."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from mitools.models import named
from mitools.pruning import SNIP, OneShot, prune

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "collapse.py"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MITOOLS_DATA", raising=False)
    cache = tmp_path / "lines.jsonl"

    def ran(*arguments):
        given = ["collapse.py", "--nets", "lenet-300-100", "--cache", str(cache), *arguments]
        monkeypatch.setattr(sys, "argv", given)
        names = runpy.run_path(str(SCRIPT), run_name="collapse")
        names["main"]()
        lines = [json.loads(line) for line in cache.read_text().splitlines()]
        return names, lines, capsys.readouterr().out

    return ran


def test_lines_are_what_prune_gives_and_are_not_made_twice(run):
    asked = ("--methods", "snip", "magnitude", "--densities", "0.001", "0.1")
    names, lines, out = run(*asked)
    assert [(e["method"], e["density"]) for e in lines] == [
        *(("Magnitude", 0.1), ("Magnitude", 0.001), ("SNIP", 0.1), ("SNIP", 0.001))
    ]
    setting = names["SETTINGS"]["lenet-300-100"]
    samples, model = names["data_of"](setting), named("lenet-300-100", setting.shape)
    data = samples.take(range(setting.batch * setting.batches))
    for line in lines[2:]:
        mask = prune(model, data, OneShot(SNIP()), density=line["density"])
        assert (line["kept"], line["size"]) == (mask.nonzeros, mask.size)
        assert abs(line["on_path"] - mask.on_path(model, data.inputs[:1]).nonzeros) <= 2
        assert line["data"] == "digits, enlarged"
    assert "| | 10 | 0.1 |" in out and "| Magnitude | 100 | cut |" in out
    assert run(*asked)[1] == lines


def test_structured_methods_stop_at_a_channel_a_group(run):
    pytest.importorskip("torch_pruning")
    asked = ("--methods", "magnitude", "structured magnitude", "--densities", "0.001", "0.1")
    names, lines, out = run(*asked)
    assert [(e["method"], e["density"]) for e in lines] == [
        ("Magnitude", 0.1), ("Magnitude", 0.001), ("Structured magnitude", 0.1)
    ]  # fmt: skip
    setting = names["SETTINGS"]["lenet-300-100"]
    model = named("lenet-300-100", setting.shape)
    # 784 inputs to one unit, one weight between the layers, ten outputs.
    assert names["least"](model, names["data_of"](setting)) == 784 + 1 + 10
    assert "| Structured magnitude | 100 | – |" in out
