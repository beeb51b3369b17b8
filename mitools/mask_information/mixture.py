"""The code to use where nothing speaks for another: all of them, mixed."""

from collections.abc import Sequence

from mitools._typing import BoolArray, FloatArray
from mitools.mask_information.codes import CodeLengths, Shape, half_and_half, sizes_of
from mitools.mask_information.featured import featured_code, featured_in_order
from mitools.mask_information.shared import lengths_in_order, shared_code
from mitools.mask_information.trees import tree_code, tree_in_order


def mixed_code(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> CodeLengths:
    """Charge each mask with half of `tree_code`, a quarter of `shared_code` and `featured_code`.

    The price is that of the best one for each mask, and log 2 or log 4 at most.

    Parameters
    ----------
    masks, shapes, weights, kept
        As for `featured_code`.
    """
    groups = shared_code(masks, sizes_of(shapes), kept=kept)
    features = featured_code(masks, shapes, weights, kept=kept)
    trees = tree_code(masks, shapes, weights, kept=kept)
    return groups.mixed_with(features).mixed_with(trees)


def mixed_in_order(
    masks: BoolArray,
    shapes: Sequence[Shape],
    weights: FloatArray | None = None,
    *,
    kept: int | None = None,
) -> FloatArray:
    """Charge each mask so, by codes fitted on the rows above it: for `certified_limit`."""
    groups = lengths_in_order(masks, sizes_of(shapes), kept=kept)
    features = featured_in_order(masks, shapes, weights, kept=kept)
    trees = tree_in_order(masks, shapes, weights, kept=kept)
    return half_and_half(half_and_half(groups, features), trees)
