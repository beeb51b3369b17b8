"""VGG for small images, as pruning papers use it."""

from collections import OrderedDict

from torch import nn

from mitools._validation import checked_count
from mitools.models.convolutions import Convolution, scaled
from mitools.models.randomness import seeded

_STAGES = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


def vgg(
    depth: int = 16, channels: int = 3, classes: int = 10, *, width: float = 1.0, seed: int = 0
) -> nn.Sequential:
    """Return a VGG with batch norm, global average pooling and one linear layer [1]_.

    The three fully connected layers of the paper, made for large images, are one here, as in all
    later work on small ones [2]_: VGG-16 then has 14.7 million parameters.

    Parameters
    ----------
    depth : {11, 13, 16, 19}
        Which VGG: the layers with weights that the paper's has.
    channels, classes : int
        Channels of the images, and number of outputs.
    width : float
        Factor on all numbers of channels; 1 is the published network.
    seed : int, >= 0
        Of the weights.

    Returns
    -------
    torch.nn.Sequential
        Takes images of any size, shape (n, channels, height, width). Layers ``conv1``, ``norm1``,
        ``relu1`` and so on, ``pool1`` to ``pool4`` after stages, ``fc``.

    Raises
    ------
    ValueError
        If there is no VGG of that depth, or the width or seed is none.

    References
    ----------
    .. [1] Simonyan and Zisserman, arXiv 1409.1556, table 1 (A, B, D and E).
    .. [2] For instance Frankle, Dziugaite, Roy and Carbin, arXiv 1912.05671, table A.1.

    Examples
    --------
    >>> vgg(11, width=0.125).conv2
    Convolution(8, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    if depth not in _STAGES:
        raise ValueError(f"depth must be one of {', '.join(map(str, _STAGES))}; got {depth!r}.")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, number = channels, 0
    with seeded(checked_count("seed", seed, least=0)):
        for stage, (repeats, plan) in enumerate(zip(_STAGES[depth], _CHANNELS, strict=True)):
            if stage:  # rounded up, so that an image never vanishes
                layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
            for _ in range(repeats):
                number += 1
                outputs = scaled(plan, width)
                layers[f"conv{number}"] = Convolution(inputs, outputs, bias=True)
                layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
                layers[f"relu{number}"] = nn.ReLU()
                inputs = outputs
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
