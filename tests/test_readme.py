"""What the README shows works, word for word."""

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(200)
    names = {"x": x, "y": x + rng.standard_normal(200)}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        if "peff(model, mask, loader)" in block and "samples" not in block:
            continue  # the signature, shown before anything is defined
        exec(block, names)
    assert "p_eff = " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"answer.json", "mask.safetensors"}


def test_both_commands_start_from_nothing():
    for name in ("demo", "test"):
        (command,) = re.findall(rf"<!-- {name}-command -->\n```sh\n(.*?)\n```", README)
        assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install")
