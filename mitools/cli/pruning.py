"""`mitools prune`: a mask, and the smaller network."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitools.cli.setting import add_setting, check_folder, model_of, samples_of

if TYPE_CHECKING:
    from torch import nn

    from mitools.data import Samples
    from mitools.pruning import Mask, Pruner

_OF_WEIGHTS = (
    *("random", "random-layerwise", "random-erk", "magnitude", "lamp", "snip", "snip-shuffled"),
    *("iter-snip", "force", "grasp", "iter-grasp", "prospr", "synflow"),
    *("magnitude-after-training", "gradual-magnitude", "imp", "autosparse"),
)
_OF_CHANNELS = (
    *("structured-random", "structured-magnitude", "structured-snip", "structured-grasp"),
    *("structured-synflow", "sosp-h", "thinet", "thinet-forward", "oto", "oto-v2"),
    *("mipp", "mipp-layerwise"),
)
PRUNERS = (*_OF_WEIGHTS, *_OF_CHANNELS)
"""Names of pruners, written out: this module is imported before torch."""


def add_to(commands: Any) -> None:
    """Add the command."""
    prune = commands.add_parser(
        "prune",
        help="make a mask and save it, and the smaller network",
        description="Prune a network at its initial weights, or after training where the pruner "
        "trains or --train is given, and save the mask as safetensors. The mask remembers the "
        "pruner, the density and the fingerprint of the weights it was made from.",
    )
    add_setting(prune)
    prune.add_argument(
        "--pruner",
        "--method",
        required=True,
        choices=PRUNERS,
        metavar="NAME",
        help=f"of single weights: {', '.join(_OF_WEIGHTS)}; of whole channels: "
        f"{', '.join(_OF_CHANNELS)}",
    )
    prune.add_argument(
        "--density", type=float, required=True, metavar="SHARE", help="of weights kept"
    )
    prune.add_argument("--train", type=int, metavar="EPOCHS", help="train the whole network first")
    prune.add_argument(
        "--epochs", type=int, metavar="EPOCHS", help="of training, for pruners that train"
    )
    prune.add_argument(
        "--out",
        type=Path,
        default=Path("mask.safetensors"),
        metavar="FILE",
        help="where to save the mask (mask.safetensors)",
    )
    prune.add_argument(
        "--save-weights",
        type=Path,
        metavar="FILE",
        help="save the whole network's weights too, from which the mask was made",
    )
    prune.add_argument(
        "--shrink",
        type=Path,
        metavar="FILE",
        help="save the weights of the network without its dead channels, and say what it costs",
    )
    prune.add_argument(
        "--reconstruct",
        action="store_true",
        help="for --shrink, and pruners of channels: least-squares weights for what stays, so that "
        "it works without training",
    )
    prune.set_defaults(run=make)


def make(options: argparse.Namespace) -> int:
    """Prune, save and say what came out."""
    from mitools.pruning import prune

    for option in ("out", "save_weights", "shrink"):
        if getattr(options, option) is not None:
            check_folder(f"--{option.replace('_', '-')}", getattr(options, option))
    if options.reconstruct and (options.shrink is None or options.pruner not in _OF_CHANNELS):
        raise ValueError(
            "--reconstruct must come with --shrink and a pruner of whole channels; got --pruner "
            f"{options.pruner}{'' if options.shrink else ' without --shrink'}. Such are: "
            f"{', '.join(_OF_CHANNELS)}."
        )
    samples, model = samples_of(options, train=True), model_of(options)
    if options.train is not None:
        _train(model, samples, options)
    pruner = _pruner(options.pruner, options.epochs, options.seed)
    mask = prune(model, samples, pruner, density=options.density, progress=not options.quiet)
    mask.save(options.out)
    if options.save_weights is not None:
        _save(model, options.save_weights)
    print(mask)
    for layer in mask.layers():
        print(f"  {layer.name:<24} {layer.kept:>10,} of {layer.size:>10,}  ({layer.density:.2%})")
    if options.shrink is not None:
        _save(_smaller(model, mask, samples, options), options.shrink)
        print(f"wrote {options.shrink}")
    print(f"wrote {options.out}")
    return 0


def _train(model: "nn.Module", samples: "Samples", options: argparse.Namespace) -> None:
    from mitools.training import SGD, Cosine, Training, train

    optimizer = SGD(lr=0.05, momentum=0.9)
    training = Training(options.train, optimizer=optimizer, schedule=Cosine(), seed=options.seed)
    train(model, samples, training, progress=not options.quiet)


def _smaller(
    model: "nn.Module", mask: "Mask", samples: "Samples", options: argparse.Namespace
) -> "nn.Module":
    """Return the network without its dead channels; print costs and accuracies."""
    from mitools.mipp import moments, reconstructed
    from mitools.models import copied
    from mitools.pruning import cost_table, costs, shrink
    from mitools.training import evaluate

    pruned = mask.apply_(copied(model))
    if options.reconstruct:
        pruned = reconstructed(model, mask, moments(model, samples))
    example = samples.inputs[:1]
    small = shrink(pruned, mask, example)
    table = cost_table(costs(model, example), costs(small, example))
    print(table.to_string(float_format="{:.3g}".format))
    test = samples_of(options, train=False)
    before, after = evaluate(model, test).accuracy, evaluate(small, test).accuracy
    print(f"accuracy on unseen images: {before:.1%} whole, {after:.1%} smaller, as it is")
    return small


def _save(model: "nn.Module", path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, path)


def _pruner(name: str, epochs: int | None, seed: int) -> "Pruner":
    from mitools import pruning
    from mitools.experiments.reseeding import reseeded
    from mitools.mipp import MIPP

    ours = {"mipp": MIPP(), "mipp-layerwise": MIPP(scope="layer")}
    pruner: Pruner = reseeded((ours | pruning.PRUNERS)[name], seed)
    training = getattr(pruner, "training", None)
    if training is None:
        if epochs is not None:
            raise ValueError(
                f"--epochs must be left out for {name}, which does not train; got {epochs}. "
                "--train trains the whole network first."
            )
        return pruner
    if epochs is None:
        return pruner
    trained = dataclasses.replace(training, epochs=epochs)
    return dataclasses.replace(pruner, training=trained)  # pyright: ignore
