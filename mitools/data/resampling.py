"""Where other data sets come from, to see what changes with the data: frozen schemes."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mitools.data.embedded import gaussian
from mitools.data.samples import Samples, without_noise
from mitools.data.seeds import derived_seed, stream


@runtime_checkable
class Resampling(Protocol):
    """A way to draw data set number `index`: a frozen value, its draws equal for equal seeds."""

    @property
    def quantity(self) -> str:
        """What information across such data sets is information about."""
        ...

    def draw(self, samples: Samples, index: int, seed: int) -> Samples:
        """Return data set number index."""
        ...

    def count_limit(self, samples: Samples) -> int | None:
        """Return how many data sets there can be; None if there is no limit."""
        ...


@dataclass(frozen=True)
class FreshNoise:
    """The same inputs and clean targets, with label noise drawn anew: independent given them."""

    @property
    def quantity(self) -> str:
        """I(mask; label noise | inputs), never more than I(mask; data)."""
        return "I(mask; label noise | inputs): same inputs, fresh label noise"

    def draw(self, samples: Samples, index: int, seed: int) -> Samples:
        """Return samples with noise number index.

        Raises
        ------
        ValueError
            If samples do not know the law of their noise.
        """
        if samples.noise is None or samples.clean is None:
            raise ValueError(
                f"samples must know their label noise to draw it anew; {without_noise(samples)} "
                "Or resample with Bootstrap() or Folds(k)."
            )
        return samples.noise.apply(samples, derived_seed(seed, "fresh noise", index))

    def count_limit(self, samples: Samples) -> int | None:
        """Return None: noise can be drawn without end."""
        return None


@dataclass(frozen=True)
class Bootstrap:
    """As many samples as there are, drawn with replacement.

    Repeated samples share their noise, so the draws do not know its law.
    """

    @property
    def quantity(self) -> str:
        """Information about the resample, given the sample."""
        return "I(mask; resample | sample): bootstrap, n of n with replacement"

    def draw(self, samples: Samples, index: int, seed: int) -> Samples:
        """Return resample number index."""
        n = len(samples)
        return samples.take(stream(seed, "bootstrap", index).integers(0, n, n))

    def count_limit(self, samples: Samples) -> int | None:
        """Return None: resamples can be drawn without end."""
        return None


@dataclass(frozen=True)
class Folds:
    """Disjoint random parts of equal size, n // count each: independent data sets, but smaller.

    The n mod count samples over are left out, because data sets of two sizes have two laws.

    Parameters
    ----------
    count : int, >= 2
        Number of parts.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count must be at least 2; got {self.count}. One fold is no fold.")

    @property
    def quantity(self) -> str:
        """Information about independent data sets of n // count samples."""
        return f"I(mask; data) at 1/{self.count} of the samples: disjoint folds"

    def draw(self, samples: Samples, index: int, seed: int) -> Samples:
        """Return fold number index.

        Raises
        ------
        ValueError
            If there are fewer than index + 1 folds, or fewer samples than folds.
        """
        size = len(samples) // self.count
        if size < 1:
            raise ValueError(
                f"count must not exceed the number of samples; got count={self.count} with "
                f"{len(samples)} samples. Use fewer folds."
            )
        if not 0 <= index < self.count:
            raise ValueError(
                f"index must lie in 0 .. {self.count - 1} for disjoint folds; got {index}. Ask "
                "for fewer data sets or more folds, or use Bootstrap()."
            )
        order = stream(seed, "folds").permutation(len(samples))
        return samples.take(order[index * size : (index + 1) * size])

    def count_limit(self, samples: Samples) -> int | None:
        """Return the number of folds."""
        return self.count


@dataclass(frozen=True)
class HalfSamples:
    """A random half of the samples, without replacement; two halves overlap."""

    @property
    def quantity(self) -> str:
        """Information about which half, given the sample."""
        return "I(mask; half | sample): random halves without replacement"

    def draw(self, samples: Samples, index: int, seed: int) -> Samples:
        """Return half number index.

        Raises
        ------
        ValueError
            If there are fewer than two samples.
        """
        n = len(samples)
        if n < 2:
            raise ValueError(f"samples must be at least 2 to take half; got {n}. Use more data.")
        order = stream(seed, "half", index).permutation(n)
        return samples.take(np.sort(order[: n // 2]))

    def count_limit(self, samples: Samples) -> int | None:
        """Return None: halves are drawn independently, and may in principle repeat."""
        return None


@dataclass(frozen=True)
class GaussianInputs:
    """Fresh data from the generator `gaussian`: everything redrawn, inputs and labels.

    Parameters
    ----------
    n, d : int, >= 1
        Samples, and coordinates of each.
    classes : int, >= 2
        Number of labels.
    """

    n: int
    d: int
    classes: int = 2

    @property
    def quantity(self) -> str:
        """Information about the data, exactly."""
        return "I(mask; data): fresh Gaussian inputs and random labels"

    def draw(self, samples: Samples | None, index: int, seed: int) -> Samples:
        """Return data set number index; of samples only the shape is compared.

        Raises
        ------
        ValueError
            If samples are given and are not n samples of d coordinates.
        """
        if samples is not None and tuple(samples.inputs.shape) != (self.n, self.d):
            raise ValueError(
                f"samples must be of shape {(self.n, self.d)} to stand for {self!r}; got "
                f"{tuple(samples.inputs.shape)}. Give n and d of the data that were pruned on."
            )
        return gaussian(
            self.n, self.d, self.classes, seed=derived_seed(seed, "gaussian inputs", index)
        )

    def count_limit(self, samples: Samples | None) -> int | None:
        """Return None: a generator has no end."""
        return None
