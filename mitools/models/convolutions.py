"""The convolutions of VGG and ResNet, and their widths."""

from torch import nn


class Convolution(nn.Conv2d):
    """A convolution that keeps the image's size at stride 1, drawn as He et al. do [1]_.

    Weights are normal with variance 2/fan_in, so that ReLU networks carry signals of one order
    through all depths; a bias starts at zero.

    References
    ----------
    .. [1] He, Zhang, Ren and Sun, *Delving deep into rectifiers*, arXiv 1502.01852.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias)

    def reset_parameters(self) -> None:
        """Draw fresh weights."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def scaled(channels: int, width: float) -> int:
    """Return a multiple of a number of channels, at least 1.

    Raises
    ------
    ValueError
        If width is not a positive number.
    """
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < 1e3:
        raise ValueError(
            f"width must be a positive factor on the channels; got {width!r}. 1 is the published "
            "network, 0.25 one of a quarter of its channels."
        )
    return max(1, round(channels * width))
