"""Do the pruners do on real images what was published? Accuracies, mean and spread over seeds.

    python examples/accuracy.py mnist --root data      # LeNet-300-100, 3.6% of the weights
    python examples/accuracy.py fashion --root data    # 784-200-200-10, 2% of the weights

Published: iterative magnitude pruning (IMP) finds subnetworks of LeNet-300-100 with 3.6% of its
weights that do as well on MNIST as the whole (Frankle and Carbin, arXiv 1803.03635, figure 1);
and at high sparsity it does better than pruning once after training, which does better than all
that prunes at initialisation (Frankle et al., arXiv 2009.08576, on larger networks). After pruning
all are trained alike. Finished jobs are kept in the folder --out, so the same command goes on
where it was stopped.
"""

import argparse
from pathlib import Path

from mitools.experiments import ImageSet, Job, grid, summary, sweep
from mitools.pruning import (
    ERK,
    IMP,
    SNIP,
    GraSP,
    Iterative,
    Magnitude,
    MagnitudeAfterTraining,
    OneShot,
    Pruner,
    Random,
    SynFlow,
)
from mitools.training import SGD, Adam, Cosine, Training

SHOWN = ["pruner", "start", "kept", "on_path", "accuracy_before", "accuracy", "accuracy_sd"]
SHOWN += ["train_accuracy", "seeds", "failed", "seconds"]


def at_initialisation() -> dict[str, Pruner]:
    """Return the pruners that do not train."""
    return {
        "random": OneShot(Random()),
        "random, ERK": OneShot(Random(), scope=ERK()),
        "magnitude": OneShot(Magnitude()),
        "SNIP": OneShot(SNIP()),
        "GraSP": OneShot(GraSP()),
        "SynFlow": Iterative(SynFlow(), rounds=100),
    }


def mnist(seeds: int) -> list[Job]:
    """LeNet-300-100 on all 60,000 images: dense, and at 3.6% by IMP in 15 levels; seed by seed."""
    training = Training(epochs=3, batch_size=128, optimizer=Adam(lr=1.2e-3))
    jobs = grid("lenet-300-100", "mnist", {"IMP": IMP(training)}, [0.036], seeds, training=training)
    return sorted(jobs, key=lambda job: job.seed)


def fashion(seeds: int) -> list[Job]:
    """784-200-200-10 on 20,000 images at 2%: all pruners; those that train also from the start."""
    training = Training(
        epochs=15, batch_size=128, optimizer=SGD(lr=0.1, momentum=0.9), schedule=Cosine()
    )
    model, data = "mlp:784-200-200-10", ImageSet("fashion-mnist", images=20_000)
    once = {"magnitude after training": MagnitudeAfterTraining(training)}
    pruners = at_initialisation() | once | {"IMP": IMP(training)}
    return [
        *grid(model, data, pruners, [0.02], seeds, training=training),
        *grid(model, data, once, [0.02], seeds, training=training, dense=False, start="init"),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="accuracies of pruned networks on real images")
    parser.add_argument("which", choices=("mnist", "fashion"))
    parser.add_argument("--root", type=Path, default=Path("data"), help="torchvision's folder")
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    options = parser.parse_args()
    jobs = {"mnist": mnist, "fashion": fashion}[options.which](options.seeds)
    found = sweep(jobs, options.out, root=options.root, n_jobs=options.jobs, progress=True)
    found.to_csv(options.out / f"{options.which}.csv", index=False)
    for error in found.loc[found["status"] == "failed", "error"].unique():
        print(f"failed: {error}")
    print(summary(found)[SHOWN].to_string(index=False, float_format="{:,.4g}".format))


if __name__ == "__main__":
    main()
