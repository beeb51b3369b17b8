"""The weights that make the best, linearly, of the channels that stay."""

import torch
from torch import Tensor, nn

from mitools.mipp.moments import Moments, Reading
from mitools.mipp.patches import reads_of
from mitools.models import copied
from mitools.pruning.mask import Mask
from mitools.pruning.names import places


def reconstructed(
    model: nn.Module, mask: Mask, moments: Moments, *, ridge: float = 1e-6
) -> nn.Module:
    """Return a pruned copy of a network whose layers read the channels left by least squares.

    What a layer read of channels A_r that go is replaced by its best linear prediction from those
    that stay, A_s, which changes weights and bias and nothing else::

        W_s <- W_s + W_r K,   b <- b + W_r (mean of A_r - K mean of A_s),   K = G_rs G_ss^-1

    so that W_s, b are the regression of the pre-activations on A_s. A layer without a bias gets the
    regression without an intercept. With ``reduce="mean"`` K is of channels, the same for all
    places of a kernel.

    Parameters
    ----------
    model : Module
        Dense, the one the moments are of; not changed.
    mask : Mask
        Of whole channels, by whatever pruner.
    moments : Moments
        Of the layers that read them, with ``target="next"`` or not.
    ridge : float, >= 0
        Added to the variance of each variable of A_s, in units of it.

    Returns
    -------
    Module
        Masked.

    Raises
    ------
    ValueError
        If the mask is not of whole channels, the moments are of other weights, or a covariance is
        singular and ridge 0.
    MaskError
        If the mask does not fit the model.
    """
    if not isinstance(mask, Mask) or not isinstance(moments, Moments):
        raise TypeError(
            f"mask and moments must be a Mask and Moments; got {type(mask).__name__} and "
            f"{type(moments).__name__}. The order is reconstructed(model, mask, moments(model, "
            "loader))."
        )
    pruned = copied(model)
    mask.check_fits(pruned)
    moments.check_of(model)
    at = places(pruned)
    with torch.no_grad():
        for name, reading in moments.readings.items():
            if name not in mask:
                continue
            columns = columns_of(name, mask[name]).to(reading.mean.device)
            stay = columns.repeat_interleave(reading.kernel)
            if bool(stay.all()):
                continue
            module = at[name].module
            bias = module._parameters.get("bias")
            weight = at[name].parameter
            new, shift = _regressed(reading, weight, stay, bias is not None, ridge)
            weight.copy_(new.to(weight))
            if bias is not None:
                bias.add_(shift.to(bias))
    mask.apply_(pruned)
    return pruned


def _regressed(
    reading: Reading, weight: Tensor, stay: Tensor, centred: bool, ridge: float
) -> tuple[Tensor, Tensor]:
    """Return a weight and what its bias gains."""
    d = reading.columns
    mean, gram = reading.mean[:d], reading.covariance[:d, :d]
    if not centred:
        gram = gram + torch.outer(mean, mean)
    k = solved(gram[stay][:, stay], gram[stay][:, ~stay], ridge, reading.weight).T
    tensor = weight.detach().double().to(mean.device)
    table = tensor.flatten(1) if tensor[0].numel() == d else tensor.flatten(2)
    new = table.clone()
    new[:, stay] += torch.einsum("or...,rs->os...", table[:, ~stay], k)
    shift = reads_of(tensor, reading.kernel)[:, ~stay] @ (mean[~stay] - k @ mean[stay])
    return new.view_as(tensor), shift


def solved(gram: Tensor, cross: Tensor, ridge: float, name: str) -> Tensor:
    """Return least-squares coefficients G^-1 C, the ridge in units of each variable's own size.

    Raises
    ------
    ValueError
        If the matrix is singular and ridge 0; the message names who reads the variables.
    """
    scale = gram.diagonal().clamp(min=0.0).sqrt()
    inverse = torch.where(scale > 0.0, 1.0 / scale, 0.0)
    inner = gram * inverse[:, None] * inverse
    inner.diagonal().add_(ridge)
    inner.diagonal()[inverse == 0.0] = 1.0  # dead, and read by nobody
    factor, failed = torch.linalg.cholesky_ex(inner)
    if int(failed):
        raise ValueError(
            f"ridge must be positive where channels are functions of one another; got {ridge!r}, "
            f"and what {name!r} reads has a singular covariance. Try 1e-6."
        )
    return torch.cholesky_solve(cross * inverse[:, None], factor) * inverse[:, None]


def columns_of(name: str, mask: Tensor) -> Tensor:
    """Return the columns that stay of a weight masked by rows and columns."""
    table = mask.flatten(2).any(2) if mask.ndim > 2 else mask
    rows, columns = table.any(1), table.any(0)
    whole = mask == (rows[:, None] & columns).reshape(*table.shape, *[1] * (mask.ndim - 2))
    if not bool(whole.all()):
        raise ValueError(
            f"mask must take out whole channels; that of {name!r} takes single weights. Use a "
            "structured pruner, such as MIPP()."
        )
    return columns
