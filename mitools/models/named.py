"""Networks by name, as the command line writes them."""

import math
import re

from torch import nn

from mitools.models.networks import lenet5, lenet_300_100, mlp
from mitools.models.resnet import resnet
from mitools.models.transformer import vit
from mitools.models.vgg import vgg

NAMES = "mlp:WIDTH-…-WIDTH, lenet-300-100, lenet-5, vgg16[:FACTOR], resnet20[:FACTOR], vit[:WIDTH]"
"""What `named` knows, for help and messages; other depths of VGG and ResNet too."""

_PATTERN = re.compile(r"(?P<kind>vgg|resnet)(?P<depth>\d+)(:(?P<factor>.+))?|vit(:(?P<width>.+))?")


def named(name: str, shape: tuple[int, ...], classes: int = 10, *, seed: int = 0) -> nn.Sequential:
    """Return the network of this name for inputs of this shape.

    Parameters
    ----------
    name : str
        ``mlp:64-100-10`` (its widths must agree with shape and classes), ``lenet-300-100``,
        ``lenet-5``, ``vgg16``, ``resnet20`` and so on, ``vit``. After a colon, the factor on the
        channels of a VGG or ResNet, or the width of a vision transformer's tokens.
    shape : tuple of int
        Of one input: (channels, height, width) of an image, square for LeNet-5 and ViT.
    classes : int
        Number of outputs.
    seed : int, >= 0
        Of the weights.

    Raises
    ------
    ValueError
        If the name is none of these, what follows the colon is not what belongs there, or an MLP
        does not begin with the numbers of an input or has fewer outputs than classes.

    Examples
    --------
    >>> named("resnet20:0.25", (3, 32, 32)).conv1
    Convolution(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    """
    if name.startswith("mlp:"):
        return mlp(_fitting(name, math.prod(shape), classes), seed=seed)
    if name == "lenet-300-100":
        return lenet_300_100(math.prod(shape), classes, seed=seed)
    found = _PATTERN.fullmatch(name)
    if found is None and name != "lenet-5":
        raise ValueError(f"model must be one of {NAMES}; got {name!r}.")
    channels, size = shape[0], shape[-1]
    if found is None:
        return lenet5(channels, classes, size=size, seed=seed)
    if found["kind"] is None:
        width = int(_number(name, found["width"] or "128", int))
        patch = 4 if size > 16 else 2
        return vit(channels, classes, size=size, patch=patch, width=width, seed=seed)
    build = {"vgg": vgg, "resnet": resnet}[found["kind"]]
    factor = _number(name, found["factor"] or "1", float)
    return build(int(found["depth"]), channels, classes, width=factor, seed=seed)


def check_name(name: str) -> None:
    """Raise ValueError unless there is a network of this name for some shape."""
    named(name, (_widths(name)[0],) if name.startswith("mlp:") else (3, 32, 32), 1)


def reads_images(name: str) -> bool:
    """Return whether the network of this name wants images, not rows of numbers."""
    return not name.startswith("mlp:") and name != "lenet-300-100"


def _fitting(name: str, inputs: int, classes: int) -> list[int]:
    widths = _widths(name)
    if widths[0] != inputs or widths[-1] < classes:
        between = "".join(f"-{width}" for width in widths[1:-1])
        raise ValueError(
            f"model mlp must begin with the {inputs} numbers of an input and end with the "
            f"{classes} classes of the data; got {name!r}. Write mlp:{inputs}{between}-{classes}."
        )
    return widths


def _widths(name: str) -> list[int]:
    try:
        return [int(width) for width in name.removeprefix("mlp:").split("-")]
    except ValueError:
        raise ValueError(
            f"model mlp must be followed by widths, as in mlp:64-100-10; got {name!r}."
        ) from None


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        form = "vit:64" if kind is int else "resnet20:0.5"
        raise ValueError(
            f"model must have a number after the colon, as in {form}; got {name!r}."
        ) from None
