"""The house keeps its own rules: imports point downwards, names are typed, prose is in shape."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.executable).parent


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    "command",
    [
        (str(PYTHON / "ruff"), "check", "."),
        (str(PYTHON / "ruff"), "format", "--check", "."),
        (str(PYTHON / "lint-imports"), "--no-cache"),
        (str(PYTHON / "basedpyright"), "--level", "error"),
    ],
    ids=lambda command: " ".join([Path(command[0]).name, *command[1:]]),
)
def test_tool_has_nothing_to_say(command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        ("mitools, mitools.cli", "torch numpy"),
        ("mitools.measures, mitools.uncertainty", "torch sklearn matplotlib"),
        ("mitools.pruning, mitools.effective, mitools.mipp", "torch_pruning matplotlib dask"),
    ],
)
def test_importing_is_light(rooms, heavy):
    """An estimate between arrays needs no torch, and `mitools --help` next to nothing."""
    code = f"import sys, {rooms}; print(*{{*'{heavy}'.split()}} & {{*sys.modules}})"
    done = run(sys.executable, "-c", code)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_top_level_holds_what_the_plan_says():
    tracked = run("git", "ls-files")
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    allowed = {"README.md", "LICENSE", "pyproject.toml", "constraints.txt", "mitools"}
    allowed |= {"estimators_bench", "examples", "tests", "docs"}
    assert {name for name in top if not name.startswith(".")} <= allowed
