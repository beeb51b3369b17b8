"""The command `mitools`: results on stdout, progress and errors on stderr, telling exit codes."""

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mitools.data import Samples
    from mitools.pruning import Pruner

_ABOUT = """\
Effective parameters of pruned networks: p_eff = E|mask|_1 + I(mask; data).

A mask that was chosen by looking at the data carries information about them, and that
information counts like weights. mitools prunes networks, and bounds it from both sides.

  mitools demo                                    the whole story on scikit-learn's digits
  mitools prune --data digits --flips 0.2 \\
      --model mlp:64-100-100-10 --pruner snip --density 0.1 --out mask.safetensors
  mitools peff  --data digits --flips 0.2 \\
      --model mlp:64-100-100-10 --mask mask.safetensors
  mitools sweep examples/sweep.toml               pruners x densities x seeds, resumable
  mitools bench                                   every estimator where the truth is known
"""
_EXIT = """\
exit codes: 0 done; 1 a fault of mitools; 2 input that cannot be used; 130 interrupted.
Figures are in nats (1 nat = 1.4427 bits). In Python: from mitools import peff, prune."""

_PRUNERS = (
    *("random", "random-layerwise", "random-erk", "magnitude", "lamp", "snip", "snip-shuffled"),
    *("iter-snip", "force", "grasp", "iter-grasp", "prospr", "synflow"),
    *("magnitude-after-training", "gradual-magnitude", "imp", "autosparse"),
    *("structured-random", "structured-magnitude", "structured-snip", "structured-grasp"),
    "structured-synflow",
)
_DATA = ("digits", "mnist", "fashion-mnist", "cifar10")
_SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = argparse.Namespace(run=_bench, given=given[1:])
    if given[:1] != ["bench"]:  # which reads its own options
        options = _parser().parse_args(given)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("mitools: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        sys.stderr.close()
        return 0
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"mitools: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "mitools",
        description=_ABOUT,
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_prune(commands)
    _add_peff(commands)
    _add_sweep(commands)
    commands.add_parser(
        "bench", help="run estimators, bounds and selectors where the truth is known"
    )
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="prune digits with noisy labels in five ways, and see what each mask knows",
        description="Train, prune with five pruners at one density, bound the information in each "
        "mask, and retrain. Needs no network and about a minute. Writes a table to stdout, and "
        "demo.csv and demo.png to --out.",
    )
    demo.add_argument("--out", type=Path, default=Path("mitools-demo"), metavar="FOLDER")
    demo.add_argument("--density", type=float, default=0.1, help="share of weights kept (0.1)")
    demo.add_argument("--flips", type=float, default=0.5, help="share of wrong labels (0.5)")
    demo.add_argument(
        "--datasets", type=int, default=5, help="noise draws on which to prune again (5)"
    )
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--jobs", type=int, default=-1, help="processes (all cores)")
    demo.add_argument("--quiet", action="store_true", help="no progress on stderr")
    demo.set_defaults(run=_demo)


def _add_prune(commands: Any) -> None:
    prune = commands.add_parser(
        "prune",
        help="make a mask and save it",
        description="Prune a network at its initial weights, or after training where the pruner "
        "trains, and save the mask as safetensors. The mask remembers the pruner, the density and "
        "the fingerprint of the initial weights.",
    )
    _add_setting(prune)
    prune.add_argument("--pruner", required=True, choices=_PRUNERS)
    prune.add_argument("--density", type=float, required=True, help="share of weights kept")
    prune.add_argument("--epochs", type=int, help="of training, for pruners that train")
    prune.add_argument("--out", type=Path, default=Path("mask.safetensors"))
    prune.add_argument("--save-weights", type=Path, metavar="FILE", help="save initial weights too")
    prune.set_defaults(run=_prune)


def _add_peff(commands: Any) -> None:
    peff = commands.add_parser(
        "peff",
        help="effective parameters of a saved mask",
        description="Bound the effective parameter count of a mask. The bounds from one mask take "
        "seconds; --resample runs the pruner again on K data sets for a tighter upper bound.",
    )
    _add_setting(peff)
    peff.add_argument("--mask", type=Path, required=True, help=".safetensors, .npz or torch file")
    peff.add_argument("--resample", type=int, metavar="K", help="run the pruner again K times")
    peff.add_argument("--heldout", action="store_true", help="use the test split for a lower bound")
    peff.add_argument("--bits", action="store_true", help="print p_eff in bits, not nats")
    peff.add_argument("--json", type=Path, metavar="FILE", help="save the whole answer")
    peff.add_argument("--jobs", type=int, help="processes for --resample (1)")
    peff.add_argument(
        "--limit",
        choices=("certified", "student"),
        default="certified",
        help="upper limit of --resample: one that always holds (default), or Student's",
    )
    peff.set_defaults(run=_peff)


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="pruners x densities x seeds x data from a small TOML file",
        description="Do all jobs of a file such as examples/sweep.toml (docs/sweeps.md explains "
        "it), and print means over seeds. Every finished job is kept in the folder at once: kill "
        "it whenever you like, the same command goes on. A job that fails becomes a row.",
    )
    sweep.add_argument("file", type=Path, metavar="FILE.toml")
    sweep.add_argument("--out", type=Path, metavar="FOLDER", help="(named after the file)")
    sweep.add_argument(
        "--root", type=Path, default=Path("data"), help="folder of image sets, torchvision's layout"
    )
    sweep.add_argument("--jobs", type=int, default=1, help="processes (1); -1: all cores")
    sweep.add_argument("--retry", action="store_true", help="do again what failed before")
    sweep.add_argument("--quiet", action="store_true", help="no progress on stderr")
    sweep.set_defaults(run=_sweep)


def _add_setting(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", choices=_DATA, default="digits")
    command.add_argument(
        "--root", type=Path, default=Path("data"), help="folder of image sets, torchvision's layout"
    )
    command.add_argument("--flips", type=float, default=0.0, help="share of labels made wrong")
    command.add_argument("--noise-seed", type=int, default=0, help="which labels are wrong (0)")
    command.add_argument(
        "--model",
        default="mlp:64-100-100-10",
        metavar="NAME",
        help="mlp:WIDTH-…-WIDTH, lenet-300-100, lenet-5; vgg16, resnet20 and other depths, "
        ":FACTOR on their channels; vit, :WIDTH of its tokens",
    )
    command.add_argument("--seed", type=int, default=0, help="of the initial weights (0)")
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="initial weights, safetensors, instead of --seed",
    )
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")


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
    rows = list(demo(job, jobs=options.jobs, progress=not options.quiet))
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
    for label, error in dict(zip(failed["pruner"], failed["error"], strict=True)).items():
        print(f"mitools: {label}: {error}", file=sys.stderr)
    print(f"\nwrote {out / 'sweep.csv'} ({len(found)} jobs, {len(failed)} failed), means.csv")
    return 0


def _bench(options: argparse.Namespace) -> int:
    # By name, when asked: the library does not know its benchmark.
    try:
        bench = importlib.import_module("estimators_bench.__main__")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "estimators_bench":
            raise
        raise ImportError(
            "bench needs the package estimators_bench, which is not installed beside mitools; "
            "install mitools from its repository."
        ) from None
    return bench.main(options.given)


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


def _prune(options: argparse.Namespace) -> int:
    from safetensors.torch import save_file

    from mitools.pruning import prune

    _check_folder("--out", options.out)
    samples, model = _samples(options, train=True), _model(options)
    mask = prune(
        model,
        samples,
        _pruner(options.pruner, options.epochs, options.seed),
        density=options.density,
        progress=not options.quiet,
    )
    mask.save(options.out)
    if options.save_weights is not None:
        save_file({n: t.contiguous() for n, t in model.state_dict().items()}, options.save_weights)
    print(mask)
    for layer in mask.layers():
        print(f"  {layer.name:<24} {layer.kept:>10,} of {layer.size:>10,}  ({layer.density:.2%})")
    print(f"wrote {options.out}")
    return 0


def _peff(options: argparse.Namespace) -> int:
    from mitools.effective import (
        Counting,
        GeneralisationGap,
        ResampledMasks,
        peff,
    )
    from mitools.effective.prequential import affordable_decoders
    from mitools.pruning import Mask

    samples, model = _samples(options, train=True), _model(options)
    if not options.mask.is_file():
        raise ValueError(f"--mask must be a file; there is none at {options.mask}.")
    mask = Mask.of(options.mask, model)
    heldout = _samples(options, train=False) if options.heldout else None
    method = None
    if options.resample is not None:
        method = [
            Counting(),
            ResampledMasks(datasets=options.resample, jobs=options.jobs, limit=options.limit),
        ]
        method += affordable_decoders(mask, samples)[-1:] if options.flips else []
        method += [GeneralisationGap()] if options.heldout else []
    answer = peff(
        model, mask, samples, method, init=model, heldout=heldout, progress=not options.quiet
    )
    print(answer)
    if options.bits:
        print(f"  in bits      p_eff = {answer.plain('bits')}")
    if options.json is not None:
        answer.save(options.json)
        print(f"wrote {options.json}")
    return 0


def _check_folder(option: str, path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} must lie in a folder that exists; {path.parent} does not.")


def _samples(options: argparse.Namespace, *, train: bool) -> "Samples":
    from mitools import data
    from mitools.models import reads_images

    if options.data == "digits":
        samples = data.digits(train=train)
        if reads_images(options.model):
            images = samples.inputs.unflatten(1, _SHAPES["digits"])
            samples = dataclasses.replace(samples, inputs=images)
    else:
        read = {"mnist": data.mnist, "fashion-mnist": data.fashion_mnist, "cifar10": data.cifar10}
        samples = read[options.data](options.root, train=train)
    if options.flips:  # the test split with noise of its own: the same law, other flips
        seed = options.noise_seed if train else options.noise_seed + 1
        return data.SymmetricFlips(options.flips).apply(samples, seed=seed)
    return samples


def _model(options: argparse.Namespace) -> "nn.Module":
    from mitools.models import named

    name, shape = options.model, _SHAPES.get(options.data, (1, 28, 28))
    model = named(name, shape, seed=options.seed)
    if options.weights is not None:
        try:
            model.load_state_dict(_weights(options.weights))
        except RuntimeError as error:
            raise ValueError(f"--weights must fit --model {name}; {error}") from None
    return model


def _weights(path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mitools._validation import FileFormatError

    try:
        return load_file(path)
    except SafetensorError as error:
        raise FileFormatError(
            f"--weights must be a safetensors file of a state dict; {path} is not ({error}). "
            "Save one with safetensors.torch.save_file(model.state_dict(), path)."
        ) from None


def _pruner(name: str, epochs: int | None, seed: int) -> "Pruner":
    from mitools.pruning import PRUNERS

    pruner = PRUNERS[name]
    training = getattr(pruner, "training", None)
    if training is not None and epochs is not None:
        changed = dataclasses.replace(training, epochs=epochs, seed=seed)
        return dataclasses.replace(pruner, training=changed)  # pyright: ignore
    return pruner
