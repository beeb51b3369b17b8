"""Names for the array types that pass between modules."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Sense = Literal["point", "lower", "upper", "proxy"]
"""What a number is: an estimate, a bound from below or above, or something merely related."""

Unit = Literal["nats", "bits"]

Json = dict[str, Any]
