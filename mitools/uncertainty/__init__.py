"""How sure an estimate is: permutation tests, standard errors, intervals."""

from mitools.uncertainty.errors import Jackknife, Resampling, Subsets, with_error
from mitools.uncertainty.permutation import (
    PermutationTest,
    permutation_test,
    transfer_entropy_test,
)
from mitools.uncertainty.shuffles import (
    BlockShuffles,
    CircularShifts,
    FreeShuffles,
    LocalShuffles,
    Shuffling,
)

__all__ = [
    "BlockShuffles",
    "CircularShifts",
    "FreeShuffles",
    "Jackknife",
    "LocalShuffles",
    "PermutationTest",
    "Resampling",
    "Shuffling",
    "Subsets",
    "permutation_test",
    "transfer_entropy_test",
    "with_error",
]
