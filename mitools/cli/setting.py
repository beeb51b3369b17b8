"""What `prune` and `peff` are asked about: the data and the network."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mitools.data import Samples

_DATA = ("digits", "mnist", "fashion-mnist", "cifar10")
_SHAPES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32)}


def add_setting(command: argparse.ArgumentParser) -> None:
    """Add the options that name the data and the network."""
    command.add_argument(
        "--data", choices=_DATA, default="digits", help="what to prune and train on (digits)"
    )
    command.add_argument(
        "--root",
        type=Path,
        default=Path("data"),
        help="of image sets, as torchvision lays them out (data)",
        metavar="FOLDER",
    )
    command.add_argument(
        "--flips", type=float, default=0.0, metavar="SHARE", help="of labels made wrong (0)"
    )
    command.add_argument(
        "--noise-seed", type=int, default=0, metavar="N", help="decides which are wrong (0)"
    )
    command.add_argument(
        "--model",
        default="mlp:64-100-100-10",
        metavar="NAME",
        help="mlp:WIDTH-…-WIDTH, lenet-300-100, lenet-5; vgg16, resnet20 and other depths, "
        ":FACTOR on their channels; vit, :WIDTH of its tokens (mlp:64-100-100-10)",
    )
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of weights, trainings and random masks (0)",
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="safetensors of initial weights, instead of those of --seed",
    )
    command.add_argument("--quiet", action="store_true", help="no progress on stderr")


def processes(text: str) -> int:
    """Return how many processes a --jobs asks for; argparse says what is wrong with it."""
    if text.lstrip("-").isdigit() and int(text) != 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"it must be a number of processes, or -1; got {text!r}")


def check_folder(option: str, path: Path) -> None:
    """Raise ValueError unless a file can be written there."""
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} must lie in a folder that exists; {path.parent} does not.")


def samples_of(options: argparse.Namespace, *, train: bool) -> "Samples":
    """Return the data asked for."""
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


def model_of(options: argparse.Namespace) -> "nn.Module":
    """Return the network asked for."""
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
