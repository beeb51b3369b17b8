"""The networks of the pruning literature that fit on a small machine."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from mitools._validation import checked_count
from mitools.models.randomness import seeded


def mlp(widths: Sequence[int], *, batch_norm: bool = False, seed: int = 0) -> nn.Sequential:
    """Return a fully connected ReLU network; it flattens its input.

    Parameters
    ----------
    widths : sequence of int, at least 2
        Units of every layer, from the inputs to the outputs.
    batch_norm : bool
        Normalise each hidden layer over the batch, before its ReLU.
    seed : int, >= 0
        Of the weights, which have torch's default law: uniform within ±1/sqrt(inputs).

    Returns
    -------
    torch.nn.Sequential
        Layers ``flatten``, ``fc1``, (``norm1``,) ``relu1``, ``fc2``, and so on. Outputs are logits.

    Raises
    ------
    ValueError
        If there are fewer than two widths, or one is not a positive integer.

    Examples
    --------
    >>> mlp((64, 100, 10)).fc2
    Linear(in_features=100, out_features=10, bias=True)
    """
    widths = tuple(widths)
    if len(widths) < 2 or not all(isinstance(w, int) and w >= 1 for w in widths):
        raise ValueError(
            f"widths must be at least two positive integers; got {widths!r}. "
            "For instance (784, 300, 100, 10): inputs, two hidden layers, classes."
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    with seeded(checked_count("seed", seed, least=0)):
        for i, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers[f"fc{i}"] = nn.Linear(inputs, outputs)
            if i < len(widths) - 1:
                if batch_norm:
                    layers[f"norm{i}"] = nn.BatchNorm1d(outputs)
                layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def lenet_300_100(inputs: int = 784, classes: int = 10, *, seed: int = 0) -> nn.Sequential:
    """Return LeNet-300-100: 266,200 weights and 410 biases for 784 inputs and 10 classes [1]_.

    Parameters
    ----------
    inputs, classes : int
        Numbers of inputs (pixels) and of outputs.
    seed : int, >= 0
        Of the weights.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86 (1998), doi:10.1109/5.726791.
    """
    return mlp((inputs, 300, 100, classes), seed=seed)


def lenet5(channels: int = 1, classes: int = 10, *, size: int = 28, seed: int = 0) -> nn.Sequential:
    """Return LeNet-5 in today's form (ReLU, max pooling): 61,706 parameters by default [1]_.

    Parameters
    ----------
    channels, classes : int
        Channels of the images, and number of outputs.
    size : int
        Height and width of the images. Smaller ones than 32 are padded to 32 with zeros, as in
        the paper, so the 8 x 8 digits fit too.
    seed : int, >= 0
        Of the weights.

    Returns
    -------
    torch.nn.Sequential
        Takes inputs of shape (n, channels, size, size).

    References
    ----------
    .. [1] LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86 (1998), doi:10.1109/5.726791.
    """
    if size < 1:
        raise ValueError(f"size must be a positive number of pixels; got {size}. MNIST has 28.")
    padding = max(0, (32 - size + 1) // 2)
    side = ((size + 2 * padding - 4) // 2 - 4) // 2
    with seeded(checked_count("seed", seed, least=0)):
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, 6, 5, padding=padding),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(6, 16, 5),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc1=nn.Linear(16 * side * side, 120),
                relu3=nn.ReLU(),
                fc2=nn.Linear(120, 84),
                relu4=nn.ReLU(),
                fc3=nn.Linear(84, classes),
            )
        )
