"""`mitools demo`: the whole story on digits."""

import argparse
from pathlib import Path
from typing import Any

from mitools.cli.setting import processes


def add_to(commands: Any) -> None:
    """Add the command."""
    demo = commands.add_parser(
        "demo",
        help="prune digits with noisy labels in five ways, and see what each mask knows",
        description="Train, prune with five pruners at one density, bound the information in each "
        "mask, and retrain. Needs no network and about a minute. Writes a table to stdout, and "
        "demo.csv and demo.png to --out.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("mitools-demo"),
        metavar="FOLDER",
        help="for demo.csv and demo.png (mitools-demo)",
    )
    demo.add_argument(
        "--density", type=float, default=0.1, metavar="SHARE", help="of weights kept (0.1)"
    )
    demo.add_argument(
        "--flips", type=float, default=0.5, metavar="SHARE", help="of labels made wrong (0.5)"
    )
    demo.add_argument(
        "--datasets",
        type=int,
        default=5,
        metavar="N",
        help="draws of the noise on which to prune again (5)",
    )
    demo.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of weights, noise and trainings (0)"
    )
    demo.add_argument(
        "--jobs", type=processes, default=-1, metavar="N", help="processes (-1: as many as cores)"
    )
    demo.add_argument("--quiet", action="store_true", help="no progress on stderr")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    import pandas as pd
    import torch

    from mitools import plotting
    from mitools.experiments import Demo, demo

    torch.set_num_threads(1)  # the networks are small, and pruning again uses the other cores

    job = Demo(
        density=options.density,
        flips=options.flips,
        datasets=options.datasets,
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    rows = list(demo(job, n_jobs=options.jobs, progress=not options.quiet))
    table = pd.concat([row.to_frame() for row in rows], ignore_index=True)
    network = "-".join(map(str, job.widths))
    print(
        f"{job.images} digits, {job.flips:.0%} of their labels wrong; network {network}; ", end=""
    )
    print(f"{job.density:.0%} of {rows[0].answer.size:,} weights kept\n")
    print(_demo_table(table))
    print("\nI: 95% limits on I(mask; label noise | inputs, init) in nats; p_eff = kept + I;")
    print("memorised: wrong labels reproduced after retraining; accuracy: on unseen clean images")
    table.to_csv(options.out / "demo.csv", index=False)
    figure = plotting.bounds(
        {row.pruner: row.answer for row in rows},
        title=f"Effective parameters, digits with {job.flips:.0%} wrong labels",
    )
    figure.savefig(options.out / "demo.png", dpi=150)
    print(f"\nwrote {options.out / 'demo.csv'} and {options.out / 'demo.png'}")
    return 0


def _demo_table(table: Any) -> str:
    shown = {
        "pruner": table["pruner"],
        "kept": table["nonzeros"].map("{:,}".format),
        "on path": table["on_path"].map("{:,}".format),
        "I lower": table["mi_lower_limit"].map("{:,.0f}".format),
        "I upper": table["mi_upper_limit"].map("{:,.0f}".format),
        "p_eff": [
            f"{low:,.0f} .. {high:,.0f}"
            for low, high in zip(table["p_eff_low"], table["p_eff_high"], strict=True)
        ],
        "memorised": table["memorised"].map("{:.0%}".format),
        "accuracy": table["accuracy"].map("{:.1%}".format),
    }
    return type(table)(shown).to_string(index=False)
