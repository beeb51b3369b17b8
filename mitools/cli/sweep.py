"""`mitools sweep`: many prunings, from a small file."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mitools.cli.setting import processes


def add_to(commands: Any) -> None:
    """Add the command."""
    sweep = commands.add_parser(
        "sweep",
        help="pruners x densities x seeds x data from a small TOML file",
        description="Do all jobs of a file such as examples/sweep.toml (docs/sweeps.md explains "
        "it), and print means over seeds. Every finished job is kept in the folder at once: kill "
        "it whenever you like, the same command goes on. A job that fails becomes a row.",
    )
    sweep.add_argument("file", type=Path, metavar="FILE.toml", help="what to do")
    sweep.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for results (named after the file)"
    )
    sweep.add_argument(
        "--root",
        type=Path,
        default=Path("data"),
        metavar="FOLDER",
        help="of image sets, as torchvision lays them out (data)",
    )
    sweep.add_argument(
        "--jobs", type=processes, default=1, metavar="N", help="processes (1); -1: as many as cores"
    )
    sweep.add_argument("--retry", action="store_true", help="do again what failed before")
    sweep.add_argument("--quiet", action="store_true", help="no progress on stderr")
    sweep.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from mitools.experiments import summary, sweep
    from mitools.experiments.sweep_files import read_sweep, table_of

    jobs, out = read_sweep(options.file), options.out or Path(options.file.stem)
    found = sweep(
        jobs,
        out,
        root=options.root,
        n_jobs=options.jobs,
        retry=options.retry,
        progress=not options.quiet,
    )
    means = summary(found)
    found.to_csv(out / "sweep.csv", index=False)
    means.to_csv(out / "means.csv", index=False)
    print(table_of(means))
    failed = found[found["status"] == "failed"]
    for error, rows in failed.groupby("error", sort=False):
        print(f"mitools: {', '.join(dict.fromkeys(rows['pruner']))}: {error}", file=sys.stderr)
    lost = f"{len(failed)} failed" + ("; --retry does those again" if len(failed) else "")
    print(f"\nwrote {out / 'sweep.csv'} ({len(found)} jobs, {lost}), means.csv")
    return 0
