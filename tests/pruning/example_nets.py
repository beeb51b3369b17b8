"""Small networks of every awkward kind, and data for them."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from mitools.data import Samples
from mitools.models import vit


class Residual(nn.Module):
    """Two residual blocks with batch norm, and a projection on the second shortcut."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.block1 = Block(width, width)
        self.block2 = Block(width, 2 * width)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = self.block2(self.block1(F.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        y += self.shortcut(x)  # in place, as torchvision does
        return F.relu(y)


class Tied(nn.Module):
    """A weight that is used twice, under two names."""

    def __init__(self, width=6, classes=3):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(F.relu(self.second(F.relu(self.first(x)))))


class Attending(nn.Module):
    """One transformer layer over the rows of an image, with dropout and layer norms."""

    def __init__(self, width=8, classes=3):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 2, 12, dropout=0.5, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.layer(x.flatten(1, 2)).mean(1))


def plain(widths=(6, 8, 5, 3), *, bias=True, seed=0, dtype=torch.float32):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        layers = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs, bias=bias, dtype=dtype), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def convolutional():
    """Batch norm, dropout and a frozen layer."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    )
    net[0].bias.requires_grad_(False)
    net[1].eval()
    return net


def samples(shape, n=24, classes=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn((n, *shape), generator=rng)
    return Samples(inputs, torch.randint(classes, (n,), generator=rng), classes=classes)


def _seeded(make):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(1)
        return make()


NETS = {
    "plain": lambda: (plain(), samples((6,))),
    "batch norm": lambda: (_seeded(convolutional), samples((1, 8, 8))),
    "residual": lambda: (_seeded(Residual), samples((1, 8, 8))),
    "tied": lambda: (_seeded(Tied), samples((6,))),
    "bfloat16": lambda: (plain().to(torch.bfloat16), samples((6,))),
    "attention": lambda: (_seeded(Attending), samples((1, 5, 8))),
}
"""Name -> function that makes a fresh (model, samples)."""


class Separable(nn.Module):
    """A depthwise convolution between two plain ones, slopes of a PReLU, two ways joined."""

    def __init__(self, width=6, classes=3):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.slopes = nn.PReLU(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = self.norm(self.depthwise(self.slopes(self.first(x))))
        x = torch.cat([F.relu(x), F.relu(self.second(x))], 1)
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads all before it, through one batch norm."""

    def __init__(self, width=6, growth=4, classes=3):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, growth, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(width + growth)
        self.head = nn.Linear(width + growth, classes)

    def forward(self, x):
        x = self.first(x)
        x = torch.cat([x, self.second(F.relu(self.norm1(x)))], 1)
        return self.head(F.relu(self.norm2(x)).mean((2, 3)))


def flattened():
    """Batch norm, and several inputs of the last layer for a channel."""
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 3),
    )
    net[0].bias.requires_grad_(False)
    return net


def transformer():
    return vit(1, 3, size=8, patch=4, width=16, depth=2, heads=4)


CHANNEL_NETS = {
    "linear": lambda: (plain((6, 16, 12, 3)), samples((6,))),
    "convolutional": lambda: (_seeded(flattened), samples((1, 8, 8))),
    "residual": lambda: (_seeded(lambda: Residual(width=6)), samples((1, 8, 8))),
    "separable": lambda: (_seeded(Separable), samples((1, 8, 8))),
    "dense": lambda: (_seeded(Dense), samples((1, 8, 8))),
    "transformer": lambda: (transformer(), samples((1, 8, 8))),
}
"""The same, of networks with channels to take out, and without dropout."""
