"""The questions: data and a method in, a labelled estimate out. Everything is in nats."""

from mitools.measures.amounts import (
    conditional_mutual_information,
    entropy,
    local_mutual_information,
    multi_information,
    mutual_information,
)
from mitools.measures.series import transfer_entropy
from mitools.measures.tables import pairwise

__all__ = [
    "conditional_mutual_information",
    "entropy",
    "local_mutual_information",
    "multi_information",
    "mutual_information",
    "pairwise",
    "transfer_entropy",
]
