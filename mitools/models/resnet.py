"""Residual networks for small images: the thin ones of CIFAR-10, and those of ImageNet."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mitools._validation import checked_count
from mitools.models.convolutions import Convolution, scaled
from mitools.models.randomness import seeded

Shortcuts = Literal["conv", "pad"]

_WIDE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def resnet(
    depth: int = 20,
    channels: int = 3,
    classes: int = 10,
    *,
    width: float = 1.0,
    shortcuts: Shortcuts = "conv",
    seed: int = 0,
) -> nn.Sequential:
    """Return a residual network with batch norm [1]_.

    Depths 18, 34 and 50 are those of ImageNet (64 to 512 channels, bottlenecks at 50), with a
    3 x 3 first convolution of stride 1 and without max pooling, as small images want it. Every
    other depth 6 n + 2 (20, 32, 44, 56, 110) is of the paper's CIFAR-10 kind: 16 to 64 channels.

    Parameters
    ----------
    depth : int
        Layers with weights, shortcuts not counted.
    channels, classes : int
        Channels of the images, and number of outputs.
    width : float
        Factor on all numbers of channels; 1 is the published network.
    shortcuts : {"conv", "pad"}
        Where the shape changes: a 1 x 1 convolution with batch norm (the paper's option B, and
        what pruning papers use), or every second point and zeros for the new channels (option A,
        the paper's own on CIFAR-10).
    seed : int, >= 0
        Of the weights.

    Returns
    -------
    torch.nn.Sequential
        Takes images of any size, shape (n, channels, height, width). Layers ``conv1``, ``norm1``,
        ``relu1``, ``block1`` and so on, ``fc``; in a block ``conv1``, ``norm1``, ``conv2``,
        ``norm2``, (``conv3``, ``norm3``,) ``shortcut``.

    Raises
    ------
    ValueError
        If there is no ResNet of that depth, or the width, shortcuts or seed is none.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, *Deep residual learning*, arXiv 1512.03385.

    Examples
    --------
    >>> resnet(20, width=0.5).block4.shortcut.conv
    Convolution(8, 16, kernel_size=(1, 1), stride=(2, 2), bias=False)
    """
    if shortcuts not in ("conv", "pad"):
        raise ValueError(f"shortcuts must be 'conv' or 'pad'; got {shortcuts!r}.")
    stages, first = _stages(depth)
    block = Bottleneck if depth == 50 else Block
    inputs = scaled(first, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with seeded(checked_count("seed", seed, least=0)):
        layers["conv1"] = Convolution(channels, inputs)
        layers["norm1"] = nn.BatchNorm2d(inputs)
        layers["relu1"] = nn.ReLU()
        for number, (stage, stride) in enumerate(_blocks(stages), start=1):
            inner = scaled(first * 2**stage, width)
            layers[f"block{number}"] = block(inputs, inner, stride, shortcuts)
            inputs = inner * block.expansion
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


class Block(nn.Module):
    """Two 3 x 3 convolutions around which the input is added."""

    expansion = 1

    def __init__(self, inputs: int, inner: int, stride: int, shortcuts: Shortcuts) -> None:
        super().__init__()
        self.conv1 = Convolution(inputs, inner, stride=stride)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = Convolution(inner, inner)
        self.norm2 = nn.BatchNorm2d(inner)
        self.shortcut = _shortcut(inputs, inner, stride, shortcuts)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of shape (n, inner, height / stride, width / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, around which the input is added."""

    expansion = 4

    def __init__(self, inputs: int, inner: int, stride: int, shortcuts: Shortcuts) -> None:
        super().__init__()
        outputs = self.expansion * inner
        self.conv1 = Convolution(inputs, inner, 1)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = Convolution(inner, inner, stride=stride)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = Convolution(inner, outputs, 1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcuts)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of shape (n, 4 inner, height / stride, width / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


class Padded(nn.Module):
    """Every second point of the image, and zeros for the channels it lacks."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return images with `added` more channels, half before and half after."""
        before = self.added // 2
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, before, self.added - before))


def _shortcut(inputs: int, outputs: int, stride: int, shortcuts: Shortcuts) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if shortcuts == "pad":
        return Padded(outputs - inputs, stride)
    convolution = Convolution(inputs, outputs, 1, stride=stride)
    return nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(outputs)))


def _stages(depth: int) -> tuple[tuple[int, ...], int]:
    """Return the blocks of each stage, and the channels of the first."""
    if depth in _WIDE:
        return _WIDE[depth], 64
    if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
        raise ValueError(
            f"depth must be 18, 34, 50, or 6 n + 2 as in 20, 32, 44, 56 and 110; got {depth!r}."
        )
    return (depth // 6,) * 3, 16


def _blocks(stages: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield stage and stride of every block."""
    for stage, repeats in enumerate(stages):
        for repeat in range(repeats):
            yield stage, 2 if stage and not repeat else 1
