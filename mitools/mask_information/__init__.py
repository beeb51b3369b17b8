"""Boolean masks in, bounds on I(mask; data) out: counting, coding and decoding, without torch.

Everything here bounds ``I(m; D | W0, S)``: the information that a mask carries about the data when
the initial weights and the pruner's own randomness are held fixed. With both fixed a mask is a
function of the data, so its information is its entropy, and

* any code for masks, fitted without the mask it is charged for, pays at least that entropy;
* any predictor of the data's randomness from the mask recovers at most that information.
"""

from mitools.mask_information.across import contrasted, expected_gap
from mitools.mask_information.channels import channel_code, channel_in_order
from mitools.mask_information.codes import CodeLengths, counting, independent_code
from mitools.mask_information.decoders import (
    decoded_classes,
    decoded_values,
    generalisation_gap,
)
from mitools.mask_information.featured import featured_code
from mitools.mask_information.limits import betting_limit, certified_limit
from mitools.mask_information.mixture import mixed_code, mixed_in_order
from mitools.mask_information.quantities import DATA, NOISE
from mitools.mask_information.sequential import (
    regressed_classes,
    regressed_values,
    threshold_scores,
)
from mitools.mask_information.shared import shared_code
from mitools.mask_information.trees import tree_code, tree_in_order

__all__ = [
    "DATA",
    "NOISE",
    "CodeLengths",
    "betting_limit",
    "certified_limit",
    "channel_code",
    "channel_in_order",
    "contrasted",
    "counting",
    "decoded_classes",
    "decoded_values",
    "expected_gap",
    "featured_code",
    "generalisation_gap",
    "independent_code",
    "mixed_code",
    "mixed_in_order",
    "regressed_classes",
    "regressed_values",
    "shared_code",
    "threshold_scores",
    "tree_code",
    "tree_in_order",
]
