"""The table: in the terminal, as CSV and as JSON, under a line that says where it was measured."""

import csv
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One contender in one case."""

    case: str
    contender: str
    seconds: float
    runs: int
    times_ours: float
    """Its time by ours, median over pairs of runs."""
    value: float
    goal: float | None


def environment(names: Sequence[str]) -> dict[str, str]:
    """Return what a reader needs to judge the numbers by."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load when started": load,
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(rows: Sequence[Row]) -> str:
    """Return one line a case: our time, each peer's ratio to it, and whether the goal is met."""
    contenders = list(dict.fromkeys(row.contender for row in rows if row.contender != "mitools"))
    lines = [
        f"{'':32}{'mitools':>10}"
        + "".join(f"{name:>14}" for name in contenders)
        + f"{'fastest':>10}{'asked':>8}"
    ]
    for case in dict.fromkeys(row.case for row in rows):
        found = {row.contender: row for row in rows if row.case == case}
        line = f"{case:32}{found['mitools'].seconds:>9.3g}s"
        for name in contenders:
            row = found.get(name)
            mark = "" if row is None or row.runs >= 5 else "*"
            line += f"{'-' if row is None else f'{row.times_ours:.1f}x{mark}':>14}"
        ratios = [row.times_ours for name, row in found.items() if name != "mitools"]
        fastest = min(ratios, default=float("nan"))
        goal = found["mitools"].goal
        line += f"{fastest:>9.1f}x"
        if goal is not None:
            line += f"{goal:>7.0f}x  {'met' if fastest >= goal else 'MISSED'}"
        lines.append(line)
    lines.append("Ratios: a peer's processor time by ours, one thread, medians of paired runs.")
    lines.append("* fewer than 5 runs: far from the fastest, or too slow to wait for.")
    return "\n".join(lines)


def save(rows: Sequence[Row], extra: dict[str, object], folder: Path) -> None:
    """Write speed.csv and speed.json."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [asdict(row) for row in rows]
    with (folder / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    (folder / "speed.json").write_text(json.dumps({**extra, "rows": records}, indent=1))
