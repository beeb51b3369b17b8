"""How steep are pruned networks that fit noise? Lipschitz constants and p_eff over densities.

    python examples/lipschitz.py                       # some minutes; lipschitz.png and .csv
    python examples/lipschitz.py --seeds 2 --densities 0.5 0.1

A random teacher with as much noise as signal, 200 points in 20 dimensions, a student of
20-100-100-1 ReLU units: 12,100 weights. Every pruned network is trained from its initial weights
until its error is half of the noise's variance, so that all fit as well.
"""

import argparse

import pandas as pd

from mitools import plotting
from mitools.experiments import NoisyTeacher, robustness_scaling, slopes
from mitools.pruning import IMP, SNIP, Magnitude, MagnitudeAfterTraining, OneShot, Pruner, Random
from mitools.training import Adam, Training

TRAINING = Training(epochs=400, batch_size=200, optimizer=Adam(lr=1e-3))
PRUNERS: dict[str, Pruner] = {
    "random": OneShot(Random(), scope="layer"),
    "magnitude at init": OneShot(Magnitude(), scope="layer"),
    "SNIP": OneShot(SNIP()),
    "magnitude after training": MagnitudeAfterTraining(TRAINING),
    "IMP": IMP(TRAINING, rate=0.5),
}


def main() -> None:
    """Prune, fit, measure; print means over seeds and slopes, write table and figure."""
    parser = argparse.ArgumentParser(description="Lipschitz constants against p_eff")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 0.2, 0.1, 0.05, 0.03])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--out", default="lipschitz", help="name of the files, without their ending"
    )
    asked = parser.parse_args()
    table = robustness_scaling(
        PRUNERS,
        asked.densities,
        NoisyTeacher(),
        seeds=asked.seeds,
        n_jobs=asked.jobs,
        progress=True,
    )
    table.to_csv(f"{asked.out}.csv", index=False)
    fitted = pd.DataFrame(table[table["fitted"]])
    means = fitted.drop(columns=["seed", "fitted"]).groupby(["density", "pruner"], sort=False)
    print(pd.DataFrame(means.mean()).to_string(float_format="%.3g"))
    print(slopes(table).round(2).to_string(index=False))
    plotting.steepness(table).savefig(f"{asked.out}.png", dpi=150)


if __name__ == "__main__":
    main()
