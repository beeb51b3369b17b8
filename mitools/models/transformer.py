"""A small vision transformer, in layers that can be pruned and taken apart."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mitools._validation import checked_count
from mitools.models.randomness import seeded


def vit(
    channels: int = 3,
    classes: int = 10,
    *,
    size: int = 32,
    patch: int = 4,
    width: int = 128,
    depth: int = 6,
    heads: int = 4,
    seed: int = 0,
) -> nn.Sequential:
    """Return a vision transformer that averages its tokens [1]_, [2]_.

    Pre-norm blocks; the hidden layer of a block is four times as wide as its tokens. The published
    ViT-Ti/16 (5.7 million parameters) is ``vit(3, 1000, size=224, patch=16, width=192, depth=12,
    heads=3)``, but for its class token.

    Parameters
    ----------
    channels, classes : int
        Channels of the images, and number of outputs.
    size, patch : int
        Height and width of the images, and of the squares that become tokens.
    width, depth, heads : int
        Numbers per token, blocks, and attention heads in each; heads divide the width.
    seed : int, >= 0
        Of the weights, which have torch's default law; positions are normal with deviation 0.02.

    Returns
    -------
    torch.nn.Sequential
        Takes images of shape (n, channels, size, size). Layers ``patches``, ``positions``,
        ``block1`` and so on, ``norm``, ``pool``, ``fc``.

    Raises
    ------
    ValueError
        If patches do not tile the image, or heads do not divide the width.

    References
    ----------
    .. [1] Dosovitskiy et al., *An image is worth 16x16 words*, arXiv 2010.11929.
    .. [2] Beyer, Zhai and Kolesnikov, *Better plain ViT baselines*, arXiv 2205.01580: the average.

    Examples
    --------
    >>> model = vit(1, size=8, patch=2, width=16, depth=1, heads=2)
    >>> model(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    >>> model.block1.attention.heads, model.block1.attention.head_size
    (2, 8)
    """
    _check_divides("patch", patch, "size", size)
    _check_divides("heads", heads, "width", width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with seeded(checked_count("seed", seed, least=0)):
        layers["patches"] = Patches(channels, width, patch)
        layers["positions"] = Positions((size // patch) ** 2, width)
        for number in range(1, depth + 1):
            layers[f"block{number}"] = Block(width, heads)
        layers["norm"] = nn.LayerNorm(width)
        layers["pool"] = Average()
        layers["fc"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


class Patches(nn.Module):
    """Square pieces of an image, each mapped to a token."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of shape (n, pieces, width)."""
        return self.conv(x).flatten(2).transpose(1, 2)


class Positions(nn.Module):
    """What is added to tokens so that they know their places: a bias for each."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(tokens, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh positions."""
        nn.init.normal_(self.bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        return x + self.bias


class Attention(nn.Module):
    """Softmax attention of tokens to tokens, head by head.

    A head is ``head_size`` rows of ``q``, ``k`` and ``v``, and as many columns of ``out``; to take
    one out, cut these and lower ``heads``. ``head_size`` stays.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape, (n, tokens, width)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, self.head_size)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then a hidden layer, each around which its input is added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Average(nn.Module):
    """The mean of an image's tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, width)."""
        return x.mean(1)


def _check_divides(part: str, small: int, whole: str, large: int) -> None:
    if not (isinstance(small, int) and isinstance(large, int) and small >= 1 and large >= small):
        raise ValueError(
            f"{part} and {whole} must be positive integers; got {small!r} and {large!r}."
        )
    if large % small:
        raise ValueError(
            f"{part} must divide {whole}; {small} does not divide {large}. Change either one."
        )
