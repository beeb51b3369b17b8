"""Networks on another device than the data, without one: see pretend_device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot pretend a device",
)
def test_nothing_mixes_devices_and_masks_are_those_of_the_cpu():
    program = Path(__file__).with_name("pretend_device.py")
    found = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stdout[-300:] + found.stderr[-3000:]
    lines = found.stdout.splitlines()
    assert lines[-1] == f"all {len(lines) - 1} done" and len(lines) > 40
