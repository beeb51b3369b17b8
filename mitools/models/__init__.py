"""Networks to prune, and what one asks of any network: its prunable weights, their identity."""

from mitools.models.copies import copied, reinitialized
from mitools.models.identity import (
    check_finite,
    check_materialized,
    check_module,
    digest,
    fingerprint,
    tensors_of,
)
from mitools.models.named import named, reads_images
from mitools.models.networks import lenet5, lenet_300_100, mlp
from mitools.models.parameters import Prunable, prunable
from mitools.models.randomness import (
    generator_states,
    seeded,
    set_generator_states,
)
from mitools.models.resnet import resnet
from mitools.models.tensor_files import load_tensors, save_tensors
from mitools.models.transformer import vit
from mitools.models.untouched import eagerly, untouched
from mitools.models.vgg import vgg

__all__ = [
    "Prunable",
    "check_finite",
    "check_materialized",
    "check_module",
    "copied",
    "digest",
    "eagerly",
    "fingerprint",
    "generator_states",
    "lenet5",
    "lenet_300_100",
    "load_tensors",
    "mlp",
    "named",
    "prunable",
    "reads_images",
    "reinitialized",
    "resnet",
    "save_tensors",
    "seeded",
    "set_generator_states",
    "tensors_of",
    "untouched",
    "vgg",
    "vit",
]
