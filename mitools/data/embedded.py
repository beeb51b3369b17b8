"""Data that needs no files: scikit-learn's digits, and Gaussian inputs with random labels."""

import numpy as np
import torch

from mitools.data.noise import SymmetricFlips
from mitools.data.samples import Samples
from mitools.data.seeds import derived_seed, stream

_DIGITS_HELD_OUT = 360


def digits(train: bool | None = None, *, seed: int = 0) -> Samples:
    """Return scikit-learn's 1,797 handwritten digits, 8x8 pixels in rows of 64, 10 classes.

    Pixels are scaled to mean 0 and standard deviation 1 over the whole set, all pixels together.

    Parameters
    ----------
    train : bool or None
        True: the 1,437 training samples; False: the 360 held out, with the same share of every
        class; None: all, in scikit-learn's order.
    seed : int
        Decides which samples are held out.

    Examples
    --------
    >>> digits(train=True)
    <Samples 'digits-train': 1437x64, 10 classes>
    """
    from sklearn.datasets import load_digits  # takes longer to load than the rest of this package
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - pixels.mean()) / pixels.std()
    samples = Samples(
        torch.from_numpy(pixels.astype(np.float32)), torch.from_numpy(labels), name="digits"
    )
    if train is None:
        return samples
    fit, held_out = train_test_split(
        np.arange(len(labels)),
        test_size=_DIGITS_HELD_OUT,
        stratify=labels,
        random_state=derived_seed(seed, "digits") % 2**32,  # all that scikit-learn takes
    )
    part = samples.take(np.sort(fit if train else held_out))
    return Samples(
        part.inputs, part.targets, name="digits-train" if train else "digits-test", classes=10
    )


def gaussian(n: int, d: int, classes: int = 2, *, seed: int) -> Samples:
    """Return inputs x ~ N(0, I_d) with uniform labels independent of them: all label is noise.

    The clean labels are all 0 and the noise is ``SymmetricFlips((c - 1) / c)``, under which every
    label is equally likely; so each label carries log c nats of noise.

    Parameters
    ----------
    n, d : int, >= 1
        Samples, and coordinates of each.
    classes : int, >= 2
        Number of labels.
    seed : int
        Equal seeds give equal samples.

    Raises
    ------
    ValueError
        If n or d is below 1, or classes below 2.

    Examples
    --------
    >>> gaussian(500, 50, seed=0)
    <Samples 'gaussian': 500x50, 2 classes, SymmetricFlips(rate=0.5)>
    """
    for name, value, least in (("n", n, 1), ("d", d, 1), ("classes", classes, 2)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}; got {value}. Ask for more.")
    inputs = stream(seed, "gaussian inputs").standard_normal((n, d), dtype=np.float32)
    silent = Samples(
        torch.from_numpy(inputs),
        torch.zeros(n, dtype=torch.int64),
        name="gaussian",
        classes=classes,
    )
    noise = SymmetricFlips((classes - 1) / classes)
    return noise.apply(silent, derived_seed(seed, "gaussian labels"))
